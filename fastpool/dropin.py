"""The drop-in: programs that ask the standard library for its `ProcessPoolExecutor` get fastpool's.

`install()` rebinds the name where programs look for it, in this process and in every child that multiprocessing
starts from now on. A forked child inherits the rebinding. A spawned child, and the fork server, import the main module
before anything else of the program's, so the rebinding travels to them with what multiprocessing itself sends ahead.
"""

import concurrent.futures
import concurrent.futures.process
import multiprocessing.spawn
import os
import sys
from typing import Any

import fastpool

__all__ = ["install", "installed", "uninstall"]

_HOMES = (concurrent.futures, concurrent.futures.process)
_standard_executor = concurrent.futures.process.ProcessPoolExecutor
_standard_preparation_data = multiprocessing.spawn.get_preparation_data

# Where this package was found: the program's own path need not lead to it.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_ON_ARRIVAL = f"""
import sys
before = sys.path[:]
sys.path[:] = [*path, {_ROOT!r}]
try:
    import fastpool.dropin
finally:
    sys.path[:] = before
fastpool.dropin.install()
"""


class _PathThatInstalls(list[str]):
    """A `sys.path` for a child process, which installs the drop-in when it arrives there.

    The path is what multiprocessing hands to a new interpreter of either kind before the main module is imported: to a
    spawned child in a pickle, to the fork server as a literal on its command line. Both ways of writing it are
    replaced by an expression that installs first, and whose value is the plain list.
    """

    def __repr__(self) -> str:
        return f"(lambda path: (exec({_ON_ARRIVAL!r}, {{'path': path}}), path)[1])({list(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (repr(self), {})


def _preparation_data(name: str) -> dict[str, Any]:
    data = _standard_preparation_data(name)
    data["sys_path"] = _PathThatInstalls(data.get("sys_path", sys.path))
    return data


def install() -> None:
    """From now on `concurrent.futures.ProcessPoolExecutor` is fastpool's, here and in new child processes."""
    _bind(fastpool.ProcessPoolExecutor, _preparation_data)


def uninstall() -> None:
    """Give the standard library its own class back; processes that already run keep what they have."""
    _bind(_standard_executor, _standard_preparation_data)


def installed() -> bool:
    return multiprocessing.spawn.get_preparation_data is _preparation_data


def _bind(executor: type, preparation_data: Any) -> None:
    # Only names are bound, to objects made once: twice over, or from two threads at a time, it comes to the same.
    for home in _HOMES:
        vars(home)["ProcessPoolExecutor"] = executor
    multiprocessing.spawn.get_preparation_data = preparation_data
