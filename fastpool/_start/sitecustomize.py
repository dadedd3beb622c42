"""Installs the drop-in in a program that `python -m fastpool` starts, before its first line.

The launcher puts this folder first on PYTHONPATH, and the interpreter imports `sitecustomize` when its path is
complete and nothing of the program has run. Everything that led here is then taken back: the program sees the
environment and the path that it would see under plain `python`.
"""

import importlib
import os
import sys


def restore_environment(folder: str) -> None:
    rest = os.environ["PYTHONPATH"].removeprefix(folder).removeprefix(os.pathsep)
    if rest:
        os.environ["PYTHONPATH"] = rest
    else:
        del os.environ["PYTHONPATH"]


def restore_path(folder: str) -> None:
    sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)


def install(root: str) -> None:
    before = sys.path[:]
    sys.path.append(root)  # last: it is needed only where the package is used from its source folder
    try:
        import fastpool.dropin
    finally:
        sys.path[:] = before
    fastpool.dropin.install()


def run_the_one_behind() -> None:
    """The machine's own `sitecustomize`, which this one hid."""
    this = sys.modules.pop("sitecustomize")
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = this  # the import system wants to find here what it is loading


_here = os.path.dirname(os.path.abspath(__file__))
restore_environment(_here)
restore_path(_here)
install(os.path.dirname(os.path.dirname(_here)))
run_the_one_behind()
