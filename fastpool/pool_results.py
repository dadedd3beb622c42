"""What Pool's asynchronous methods return: AsyncResult and MapResult."""

from __future__ import annotations

import multiprocessing.pool
import sys
import threading
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
        self._follow(pool, future)

    def _follow(self, pool: Pool, future: Future[Any]) -> None:
        if self._callback or self._error_callback:
            self._future = Future()
            pool._team.pool.call_when_done(future, self._finish)
        else:
            self._future = future

    def _finish(self, future: Future[Any]) -> None:
        """In the courier's thread: callbacks first, then everybody may know."""
        error = future.exception()
        if error is None:
            value = future.result()
            if self._callback:
                run_callback(self._callback, value)
            self._future.set_result(value)
        else:
            if self._error_callback and not isinstance(error, PoolTerminated):
                run_callback(self._error_callback, error)
            self._future.set_exception(error)

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
            return value
        finally:
            if self._future.done():
                self._pool = None

    @property
    def _success(self) -> bool:
        return self.successful()

    @property
    def _value(self) -> Any:
        error = self._future.exception() if self.ready() else None
        return self._future.result() if error is None else error


AsyncResult = ApplyResult


class MapResult(ApplyResult[list[_T]], multiprocessing.pool.MapResult):  # type: ignore[type-arg]
    """The outcome of ``map_async()`` and ``starmap_async()``: there when all chunks are, even if one has failed."""

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
        self._lock = threading.Lock()
        self._left = len(chunks)
        super().__init__(pool, Future(), callback, error_callback)
        if not chunks:  # as the standard library has it, without the callback
            self._future.set_result([None] * length)
        elif callback or error_callback:
            for chunk in chunks:
                pool._team.pool.call_when_done(chunk, self._count)

    def _follow(self, pool: Pool, future: Future[Any]) -> None:
        self._future = future

    def _count(self, _: Future[Any]) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        whole: Future[Any] = Future()
        self._settle(whole)
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
    def _number_left(self) -> int:
        """Chunks that have not ended."""
        return sum(not chunk.done() for chunk in self._chunks)

    def _gather(self) -> None:
        if self._callback or self._error_callback:
            return  # _count does it
        with self._lock:
            if not self._future.done() and self._number_left == 0:
                self._settle(self._future)

    def ready(self) -> bool:
        self._gather()
        return self._future.done()

    def wait(self, timeout: float | None = None) -> None:
        if not (self._callback or self._error_callback):
            wait(self._chunks, timeout)
            self._gather()
            timeout = 0 if timeout is not None else None
        super().wait(timeout)

    def get(self, timeout: float | None = None) -> list[_T]:
        self.wait(timeout)
        return super().get(0 if timeout is not None else None)

    @property
    def _value(self) -> Any:
        return super()._value if self.ready() else [None] * self._length
