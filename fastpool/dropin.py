"""The drop-in: programs that ask the standard library for its `ProcessPoolExecutor` or `Pool` get fastpool's.

`install()` rebinds the names where programs look for them, in this process and in every child that multiprocessing
starts from now on. A forked child inherits the rebinding. A spawned child, and the fork server, import the main module
before anything else of the program's, so the rebinding travels to them with what multiprocessing itself sends ahead.

`multiprocessing.pool` as a whole gives way to a copy with another `Pool` in it: the module's own code uses that name
(`ThreadPool` calls `Pool.__init__`), and everything that makes a Pool for a program imports it from there when called.
The function `multiprocessing.Pool` is another too: the standard library's hands its default context over as if the
program had chosen one.
"""

import concurrent.futures
import concurrent.futures.process
import multiprocessing.pool
import multiprocessing.spawn
import os
import sys
from types import ModuleType
from typing import Any

import fastpool
import fastpool.multiprocessing

__all__ = ["install", "installed", "uninstall"]

_HOMES = (concurrent.futures, concurrent.futures.process)
_standard_executor = concurrent.futures.process.ProcessPoolExecutor
_standard_pool_module = multiprocessing.pool
_standard_pool_function = multiprocessing.Pool
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


def _copy_with_pool(pool: type) -> ModuleType:
    module = ModuleType(_standard_pool_module.__name__, _standard_pool_module.__doc__)
    vars(module).update(vars(_standard_pool_module), Pool=pool)
    return module


_pool_module = _copy_with_pool(fastpool.Pool)


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
    """From now on `concurrent.futures.ProcessPoolExecutor` and `multiprocessing.Pool` are fastpool's, here and in new
    child processes.
    """
    _bind(fastpool.ProcessPoolExecutor, _pool_module, fastpool.multiprocessing.Pool, _preparation_data)


def uninstall() -> None:
    """Give the standard library its own classes back; processes that already run keep what they have."""
    _bind(_standard_executor, _standard_pool_module, _standard_pool_function, _standard_preparation_data)


def installed() -> bool:
    return multiprocessing.spawn.get_preparation_data is _preparation_data


def _bind(executor: type, pool: ModuleType, pool_function: Any, preparation_data: Any) -> None:
    # Only names are bound, to objects made once: twice over, or from two threads at a time, it comes to the same.
    for home in _HOMES:
        vars(home)["ProcessPoolExecutor"] = executor
    sys.modules["multiprocessing.pool"] = pool
    vars(sys.modules["multiprocessing"]).update(pool=pool, Pool=pool_function)
    managers = sys.modules.get("multiprocessing.managers")
    if managers is not None:  # it has registered the class already
        managers.SyncManager.register("Pool", vars(pool)["Pool"], managers.PoolProxy)
    multiprocessing.spawn.get_preparation_data = preparation_data
