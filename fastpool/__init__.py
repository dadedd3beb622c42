"""A drop-in replacement for ``concurrent.futures.ProcessPoolExecutor``, at a fraction of its cost per task.

Everything that ``concurrent.futures`` exports is here under the same name, so ``import fastpool as futures`` and
``from fastpool import ProcessPoolExecutor, as_completed`` are drop-ins. Where the C core cannot run (not Linux on
x86-64 or aarch64, or a kernel that refuses what it needs), the names are the standard library's own classes:
``accelerated`` is False then, and ``unaccelerated_reason`` says why.
"""

import sys
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    InvalidStateError,
    ThreadPoolExecutor,
    TimeoutError,
)
from concurrent.futures.process import BrokenProcessPool

from fastpool._support import unaccelerated_reason
from fastpool.errors import PoolTerminated, TaskTimeout, UnpicklingFailed, WorkerDied

accelerated: bool = unaccelerated_reason is None

if accelerated:
    from fastpool.executor import ProcessPoolExecutor
    from fastpool.futures import Future, as_completed, wait
    from fastpool.pool import Pool
    from fastpool.sharing import Shared, share
else:
    from concurrent.futures import Future, as_completed, wait  # type: ignore[assignment]
    from concurrent.futures.process import ProcessPoolExecutor  # type: ignore[assignment]
    from multiprocessing.pool import Pool  # type: ignore[assignment]

    from fastpool._unshared import Shared, share  # type: ignore[assignment]

__version__ = "0.1.0.dev0"

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "Pool",
    "PoolTerminated",
    "ProcessPoolExecutor",
    "Shared",
    "TaskTimeout",
    "ThreadPoolExecutor",
    "TimeoutError",
    "UnpicklingFailed",
    "WorkerDied",
    "accelerated",
    "as_completed",
    "share",
    "unaccelerated_reason",
    "wait",
]

if sys.version_info >= (3, 14):
    from concurrent.futures import InterpreterPoolExecutor

    __all__ += ["InterpreterPoolExecutor"]
