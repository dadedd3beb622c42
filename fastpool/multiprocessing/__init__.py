"""All of ``multiprocessing``, with ``Pool`` fastpool's: ``import fastpool.multiprocessing as multiprocessing``.

`Pool()` and the method `Pool` of whatever `get_context()` returns make fastpool's. The rest (`Process`, `Queue`,
`Lock`, `Manager`, `cpu_count`, the submodules, ...) is the standard library's own, not a copy: objects of both mix.
"""

from __future__ import annotations

import importlib
import multiprocessing as _standard
import sys
from collections.abc import Callable, Iterable
from multiprocessing import *  # noqa: F403
from multiprocessing.context import BaseContext as _BaseContext
from typing import Any

import fastpool

__all__ = list(_standard.__all__)


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


def get_context(method: str | None = None) -> Any:  # type: ignore[no-redef]
    """The context of that start method, None: of the one that is set or the default."""
    context = _standard.get_context(method)
    if context not in _contexts:
        ours = type(type(context).__name__, (_WithPool, type(context)), {"__module__": __name__})()
        vars(ours).update(vars(context))
        _contexts[context] = ours
    return _contexts[context]


def Pool(  # type: ignore[no-redef]
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
    """Submodules, and whatever else programs find in ``multiprocessing``."""
    if name == "pool":
        return importlib.import_module(f"{__name__}.pool")
    try:
        return getattr(_standard, name)
    except AttributeError:
        if f"multiprocessing.{name}" in sys.modules:
            return sys.modules[f"multiprocessing.{name}"]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
