"""What differs between Python versions, and the private attributes of the standard library's classes that programs use."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from fastpool import _core

_T = TypeVar("_T")


def cpu_count() -> int | None:
    """The default number of workers: of the CPUs, on 3.13 and later of those that this process may use."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count()
    return os.cpu_count()


def batched(items: Iterator[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """Tuples of `size` items. Refuses a size that is no integer as the standard library of this version does."""
    if sys.version_info >= (3, 13):
        return itertools.batched(items, size)
    return iter(lambda: tuple(itertools.islice(items, size)), ())


def process_chunk(fn: Callable[..., _T], chunk: Iterable[tuple[Any, ...]]) -> list[_T]:
    """In the worker: the calls of one chunk of map()."""
    return [fn(*args) for args in chunk]


class CallQueue:
    """``executor._call_queue``: there is no such queue, so there is nothing to wait for."""

    def join_thread(self) -> None:
        pass

    cancel_join_thread = close = join_thread


class PendingWorkItems:
    """``executor._pending_work_items`` and ``pool._cache``: its length is the number of calls that have not ended."""

    def __init__(self, pool: _core.Pool | None) -> None:
        self._pool = pool

    def __len__(self) -> int:
        return 0 if self._pool is None else self._pool.unfinished


class TaskQueue:
    """``pool._taskqueue``: the calls that no worker has taken yet."""

    def __init__(self, pool: _core.Pool) -> None:
        self._pool = pool

    def qsize(self) -> int:
        return self._pool.waiting

    def empty(self) -> bool:
        return self._pool.waiting == 0
