"""Future, and the waiting functions, native for fastpool's futures and open to any mixture."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import _base
from concurrent.futures._base import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, DoneAndNotDoneFutures
from typing import Any, TypeVar

from fastpool import _core

_T = TypeVar("_T")


class Future(_core.FutureBase[_T], _base.Future[_T]):
    """The outcome of a call that may not have ended yet: ``concurrent.futures.Future``, in C."""


Future.__module__ = "fastpool"


def _seconds_left(end: float | None) -> float:
    """For WaitSet.wait: negative means for ever."""
    return -1.0 if end is None else max(end - time.monotonic(), 0.0)


def as_completed(fs: Iterable[_base.Future[_T]], timeout: float | None = None) -> Iterator[_base.Future[_T]]:
    """Yield the futures as they complete (finish or are cancelled), each once; those that are done first.

    Args:
        fs: futures of fastpool, of other executors, or a mixture.
        timeout: seconds from the first ``next()``; None: no limit.

    Raises:
        TimeoutError: a future is still not done when the time is over.
    """
    fs = pending = set(fs)  # from here on no future is held that has been yielded
    end = None if timeout is None else timeout + time.monotonic()
    watched = _core.watch_futures(pending)
    if watched is None:
        others = _base.as_completed(pending, timeout)
        del fs, pending
        yield from others
        return
    ready, waiting = watched
    del watched
    total = len(pending)
    ready.reverse()
    while True:
        while ready:
            pending.discard(ready[-1])
            yield ready.pop()
        if not pending:
            return
        ready = waiting.wait(1, _seconds_left(end))
        if not ready:
            raise _base.TimeoutError(f"{len(pending)} (of {total}) futures unfinished")
        ready.reverse()


def _enough(done: Iterable[_base.Future[Any]], return_when: str) -> bool:
    """Do these futures end a wait() for less than all?"""
    if return_when == FIRST_COMPLETED:
        return bool(done)
    return return_when == FIRST_EXCEPTION and any(not f.cancelled() and f.exception() is not None for f in done)


def wait(
    fs: Iterable[_base.Future[_T]], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDoneFutures[_T]:
    """Wait for the futures to complete.

    Args:
        fs: futures of fastpool, of other executors, or a mixture.
        timeout: seconds; None: no limit.
        return_when: FIRST_COMPLETED, FIRST_EXCEPTION or ALL_COMPLETED.

    Returns:
        The named tuple ``(done, not_done)`` of sets.

    Raises:
        ValueError: ``return_when`` is something else.
    """
    everything = set(fs)
    end = None if timeout is None else timeout + time.monotonic()
    watched = _core.watch_futures(everything)
    if watched is None or return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        return _base.wait(everything, timeout, return_when)
    ready, waiting = watched
    done = set(ready)
    while len(done) < len(everything) and not _enough(ready, return_when):
        missing = len(everything) - len(done)
        ready = waiting.wait(missing if return_when == ALL_COMPLETED else 1, _seconds_left(end))
        done.update(ready)
        if end is not None and time.monotonic() >= end:
            break
    return DoneAndNotDoneFutures(done, everything - done)
