"""Can the C core run here?"""

import sys


def _reason() -> str | None:
    if not sys.platform.startswith("linux"):
        return f"fastpool's C core is for Linux, and this is {sys.platform}."
    try:
        from fastpool import _core
    except ImportError as error:
        return f"fastpool's C core is not there: {error}."
    obstacle = _core.obstacle()
    return None if obstacle is None else f"fastpool's C core cannot run here: {obstacle}."


unaccelerated_reason: str | None = _reason()
