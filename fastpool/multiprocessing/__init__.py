"""All of ``multiprocessing``, with ``Pool`` fastpool's: ``import fastpool.multiprocessing as multiprocessing``.

`Pool()` and the method `Pool` of whatever `get_context()` returns make fastpool's. The rest (`Process`, `Queue`,
`Lock`, `Manager`, `cpu_count`, ...) is the standard library's own, not a copy: objects of both mix.

So are the submodules, except `pool`: importing `fastpool.multiprocessing.queues` runs the file of that name here, which
puts `multiprocessing.queues` itself into `sys.modules` in its own place.
"""

from __future__ import annotations

import importlib
import multiprocessing as _standard
from collections.abc import Callable, Iterable
from multiprocessing import (
    Array,
    AuthenticationError,
    Barrier,
    BoundedSemaphore,
    BufferTooShort,
    Condition,
    Event,
    JoinableQueue,
    Lock,
    Manager,
    Pipe,
    Process,
    ProcessError,
    Queue,
    RawArray,
    RawValue,
    RLock,
    Semaphore,
    SimpleQueue,
    TimeoutError,
    Value,
    active_children,
    allow_connection_pickling,
    cpu_count,
    current_process,
    freeze_support,
    get_all_start_methods,
    get_logger,
    get_start_method,
    log_to_stderr,
    parent_process,
    reducer,
    set_executable,
    set_forkserver_preload,
    set_start_method,
)
from multiprocessing.context import BaseContext as _BaseContext
from typing import Any

import fastpool

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]


class _WithPool:
    """What a context's ``Pool`` is here."""

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> fastpool.Pool:
        """Returns a process pool object"""
        context: Any = self.get_context()
        return fastpool.Pool(processes, initializer, initargs, maxtasksperchild, context=context)

    def get_context(self, method: str | None = None) -> _BaseContext:
        return self if method is None else get_context(method)  # type: ignore[return-value]


_contexts: dict[_BaseContext, _BaseContext] = {}


def get_context(method: str | None = None) -> Any:
    """The context of that start method, None: of the one that is set or the default."""
    context = _standard.get_context(method)
    if context not in _contexts:
        ours: Any = type(type(context).__name__, (_WithPool, type(context)), {"__module__": __name__})()
        vars(ours).update(vars(context))
        _contexts[context] = ours
    return _contexts[context]


def Pool(
    processes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasksperchild: int | None = None,
) -> fastpool.Pool:
    """Returns a process pool object"""
    return fastpool.Pool(processes, initializer, initargs, maxtasksperchild)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_standard)})


def __getattr__(name: str) -> Any:
    """`pool`, and whatever else programs find in ``multiprocessing``."""
    if name == "pool":
        return importlib.import_module(f"{__name__}.pool")
    try:
        return getattr(_standard, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
