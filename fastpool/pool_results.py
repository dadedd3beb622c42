"""What Pool's asynchronous methods return: AsyncResult and MapResult."""

from __future__ import annotations

import multiprocessing.pool
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing.context import TimeoutError
from typing import TYPE_CHECKING, Any, TypeVar

from fastpool.errors import PoolTerminated
from fastpool.futures import Future, wait

if TYPE_CHECKING:
    from fastpool.pool import Pool

_T = TypeVar("_T")

Callback = Callable[[Any], object]


def run_callback(callback: Callback, value: object) -> None:
    """Whatever it raises is shown as an uncaught exception of this thread is: the pool goes on."""
    try:
        callback(value)
    except BaseException:
        kind, error, traceback = sys.exc_info()
        threading.excepthook(threading.ExceptHookArgs((kind, error, traceback, threading.current_thread())))


class ApplyResult(multiprocessing.pool.ApplyResult[_T]):
    """The outcome of ``apply_async()``, and what it shares with that of ``map_async()``.

    Without callbacks `_future` is the call's own. With callbacks it is one that is set when they have run: whoever
    sees the result also sees what they did.
    """

    _future: Future[Any]

    def __init__(
        self, pool: Pool, future: Future[_T], callback: Callback | None, error_callback: Callback | None
    ) -> None:
        self._pool: Pool | None = pool
        self._callback = callback
        self._error_callback = error_callback
        self._job = next(multiprocessing.pool.job_counter)  # type: ignore[attr-defined]
        if callback or error_callback:
            self._follow(pool, future)
        else:
            self._future = future

    def _follow(self, pool: Pool, future: Future[Any]) -> None:
        self._future = Future()
        pool._team.pool.call_when_done(future, self._finish)

    def _finish(self, future: Future[Any]) -> None:
        """In the courier's thread: callbacks first, then everybody may know."""
        error: BaseException | None
        value: Any = None
        try:
            error = future.exception()
            if error is None:
                value = future.result()
        except BaseException as why:  # of the value, as it was unpickled: it is nobody else's here
            error = why
        self._end(error, value)

    def _end(self, error: BaseException | None, value: Any) -> None:
        if error is None:
            if self._callback:
                run_callback(self._callback, value)
        elif self._error_callback and not isinstance(error, PoolTerminated):
            run_callback(self._error_callback, error)
        self._future._settle(error, value)  # memory or not: nobody else would do it

    def ready(self) -> bool:
        """Has the call ended?"""
        return self._future.done()

    def successful(self) -> bool:
        """Has it returned, not raised? ValueError if it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._future.exception() is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        try:
            self._future.exception(timeout)
        except FutureTimeoutError:
            return
        self._pool = None

    def get(self, timeout: float | None = None) -> _T:
        """What it returned, or raise what it raised.

        Raises:
            multiprocessing.TimeoutError: it has not ended within `timeout` seconds.
            WorkerDied: its worker process died.
            PoolTerminated: the Pool was terminated first.
        """
        if timeout is not None:
            self.wait(timeout)
            if not self.ready():
                raise TimeoutError
        try:
            value: _T = self._future.result()
        except BaseException:
            if self._future.done():
                self._pool = None
            raise
        self._pool = None
        return value

    # A manager looks at every attribute when it makes a proxy of this: these two neither wait nor raise.
    @property
    def _success(self) -> bool:
        return not self.ready() or self.successful()

    @property
    def _value(self) -> Any:
        if not self.ready():
            return None
        error = self._future.exception()
        return self._future.result() if error is None else error


AsyncResult = ApplyResult


class MapResult(ApplyResult[list[_T]], multiprocessing.pool.MapResult):  # type: ignore[type-arg]
    """The outcome of ``map_async()`` and ``starmap_async()``: there when all chunks are, even if one has failed.

    No lock is held while results are unpickled: that runs user code, and so do the signal handlers that may come.
    """

    def __init__(
        self,
        pool: Pool,
        chunks: list[Future[list[_T]]],
        chunksize: int,
        length: int,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> None:
        self._chunks = chunks
        self._chunksize = chunksize
        self._length = length
        self._ended = 0  # so many chunks, at least, from the first on
        super().__init__(pool, Future(), callback, error_callback)
        if not chunks:  # as the standard library has it, without the callback
            self._future.set_result([None] * length)
        elif callback or error_callback:
            self._left = len(chunks)
            for chunk in chunks:
                pool._team.pool.call_when_done(chunk, self._count)

    def _follow(self, pool: Pool, future: Future[Any]) -> None:
        self._future = future

    def _count(self, _: Future[Any]) -> None:
        """In the courier's thread, once for each chunk."""
        self._left -= 1
        if self._left == 0:
            try:
                whole: Future[Any] = Future()
                self._settle(whole)
            except Exception as error:  # of memory that is missing
                self._end(error, None)
                return
            self._finish(whole)

    def _settle(self, whole: Future[Any]) -> None:
        """All chunks have ended: put them together."""
        error = next((e for e in (chunk.exception() for chunk in self._chunks) if e is not None), None)
        if error is not None:
            whole.set_exception(error)
            return
        value: list[Any] = []
        for chunk in self._chunks:
            value += chunk.result()
        whole.set_result(value)

    @property
    def _has_callbacks(self) -> bool:
        return bool(self._callback or self._error_callback)

    def _all_ended(self) -> bool:
        """Looks at every chunk once, and again only at the first that has not ended."""
        chunks, ended = self._chunks, self._ended
        while ended < len(chunks) and chunks[ended].done():
            ended += 1
        self._ended = max(ended, self._ended)
        return ended == len(chunks)

    @property
    def _number_left(self) -> int:
        """Chunks that have not ended."""
        return 0 if self._all_ended() else sum(not chunk.done() for chunk in self._chunks[self._ended :])

    def _whole(self) -> Future[Any]:
        """The outcome, which is there: for all who ask the same."""
        if not self._has_callbacks and not self._future.done():
            whole: Future[Any] = Future()
            self._settle(whole)
            self._future = self.__dict__.setdefault("_first_whole", whole)
        return self._future

    def ready(self) -> bool:
        return self._future.done() or (not self._has_callbacks and self._all_ended())

    def successful(self) -> bool:
        if self.ready():
            self._whole()
        return super().successful()

    def wait(self, timeout: float | None = None) -> None:
        if self._has_callbacks or self._future.done():
            super().wait(timeout)
            return
        end = None if timeout is None else time.monotonic() + timeout
        chunk = self._chunks[-1]  # when it has ended, so have nearly all
        while not wait([chunk], None if end is None else max(end - time.monotonic(), 0)).not_done:
            if self._all_ended():
                self._pool = None
                return
            chunk = self._chunks[self._ended]

    def get(self, timeout: float | None = None) -> list[_T]:
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        self._whole()
        return super().get()

    @property
    def _value(self) -> Any:
        if not self.ready():
            return [None] * self._length
        self._whole()
        return super()._value
