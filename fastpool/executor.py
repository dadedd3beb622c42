"""ProcessPoolExecutor: the standard library's, on the C core."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import _base
from concurrent.futures.process import BrokenProcessPool, _check_system_limits
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal, TypeVar

from fastpool import _compat, _core, forking
from fastpool.errors import pool_broken
from fastpool.executor_team import ExecutorTeam
from fastpool.launching import Manager, abandon, start
from fastpool.options import BoundExecutor, check_retries, check_worker_limits, make_terms
from fastpool.start_methods import default_context
from fastpool.worker import Bounds

_T = TypeVar("_T")

#: Bytes: less would not hold a few results of ordinary size.
LEAST_SHARED_MEMORY = 16 << 20

#: Makes an executor's view on certain terms.
Binder = Callable[["ProcessPoolExecutor"], BoundExecutor]

_BROKEN = "A child process terminated abruptly, the process pool is not usable anymore"


class ProcessPoolExecutor(_core.ExecutorBase, _base.Executor):
    """Run calls in a pool of worker processes.

    Args:
        max_workers: the most processes at a time; None: as many as the process has CPUs.
        mp_context: a multiprocessing context; None: multiprocessing's default, except that a script without an
            ``if __name__ == "__main__"`` guard gets fork, the only method that can run it.
        initializer: called in every worker before its first task.
        initargs: its arguments.
        max_tasks_per_child: a worker ends after so many tasks, and another takes its place; None: never. Without an
            ``mp_context`` it means spawn. With fork only together with ``on_worker_death="respawn"``.
        on_worker_death: ``"break"``: a worker that ends without being told to breaks the pool, as in the standard library.
            ``"respawn"``: only the call that it was running fails, with ``WorkerDied``, and another worker takes its place
            at once. A pool whose workers end again and again before they can take a call breaks all the same, with what
            the initializer raised.
        retries: how often a call that was lost with its worker is run again; needs ``"respawn"``. Never for an exception.
        max_memory_per_worker: bytes. A worker that has come to need more since its first call (resident, and shared with no
            file) ends after its call, and another takes its place; one that comes to need twice as much in the middle of a
            call is killed, and the call fails with ``WorkerDied``, whatever `retries` says. None: no limit.
        idle_timeout: seconds after which a worker without a call ends; another starts when it is needed. None: never.
        min_workers: so many stay, however idle; they start with the first call.
        shared_memory: bytes that calls and results of more than 464 bytes may take together, on their way; None: half of
            the machine's memory, or of the control group's limit. What finds no room is a ``MemoryError`` of its future.

    Raises:
        ValueError, TypeError: for the arguments that the standard library refuses, with its texts; for an
            `on_worker_death` that is neither word, for `retries` without ``"respawn"``, for a `shared_memory` that is no
            integer or less than 16 MiB, for limits of a worker that are not above 0.
        NotImplementedError: where the system has no semaphores for multiprocessing.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_death: Literal["break", "respawn"] = "break",
        retries: int = 0,
        max_memory_per_worker: int | None = None,
        idle_timeout: float | None = None,
        min_workers: int = 0,
        shared_memory: int | None = None,
    ) -> None:
        _check_system_limits()
        if max_workers is None:
            max_workers = _compat.cpu_count() or 1
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = max_workers
        if mp_context is None:
            mp_context = default_context() if max_tasks_per_child is None else multiprocessing.get_context("spawn")
        self._mp_context = mp_context
        self._safe_to_dynamically_spawn_children = mp_context.get_start_method(allow_none=False) != "fork"
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._initializer = initializer
        self._initargs = initargs
        if on_worker_death not in ("break", "respawn"):
            raise ValueError(f'on_worker_death must be "break" or "respawn", not {on_worker_death!r}')
        self._survives = on_worker_death == "respawn"
        check_retries(retries, self._survives)
        self._retries = retries
        check_worker_limits(max_memory_per_worker, idle_timeout, min_workers, max_workers)
        self._min_workers = min_workers
        # whoever ends and is replaced is so by a copy of what had no threads
        self._wants_template = self._survives or max_memory_per_worker is not None or idle_timeout is not None
        self._check_max_tasks(max_tasks_per_child)
        self._max_tasks_per_child = max_tasks_per_child
        self._bounds = Bounds(max_tasks_per_child or 0, max_memory_per_worker or 0, idle_timeout or 0.0)
        self._check_shared_memory(shared_memory)
        self._shared_memory = shared_memory
        self._executor_manager_thread: Manager | None = None
        self._processes: dict[int | None, BaseProcess] | None = {}
        self._shutdown_thread = False
        # Reentrant: a signal's handler may shut the pool down in the middle of a submit() that starts a worker.
        self._shutdown_lock = threading.RLock()
        forking.executors.add(self)
        self._starting = False
        self._team: ExecutorTeam | None = None
        self._has_broken = False
        self._call_queue: _compat.CallQueue | None = _compat.CallQueue()

    def _check_max_tasks(self, max_tasks_per_child: int | None) -> None:
        if max_tasks_per_child is None:
            return
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
        if self._mp_context.get_start_method(allow_none=False) == "fork" and not self._survives:
            raise ValueError(
                "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                "supply a different mp_context."
            )

    @staticmethod
    def _check_shared_memory(shared_memory: int | None) -> None:
        if shared_memory is None:
            return
        if not isinstance(shared_memory, int):
            raise TypeError("shared_memory must be an integer, a number of bytes")
        if shared_memory < LEAST_SHARED_MEMORY:
            raise ValueError(f"shared_memory must be >= {LEAST_SHARED_MEMORY} bytes")

    @property
    def _broken(self) -> str | bool:
        pool = self._pool
        return _BROKEN if self._has_broken or (pool is not None and pool.broken) else False

    @property
    def _pending_work_items(self) -> _compat.PendingWorkItems:
        return _compat.PendingWorkItems(self._pool)

    def _prepare(self) -> None:
        """Called by submit() when a worker may have to be started, or to say why there can be no more tasks."""
        with self._shutdown_lock:
            if self._broken:
                raise BrokenProcessPool(_BROKEN)
            self._refuse_after_shutdown()
            if forking.exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            if self._starting:
                raise RuntimeError("submit() called by what has interrupted the pool's first submit(): no worker has started")
            team, processes = self._team, self._processes
            if team is not None:
                if team.starts_on_demand and team.pool.wants_worker():
                    team.start_worker()
                return
            self._starting = True
            try:
                self._refuse_after_shutdown()  # again: a signal's handler may have come between
                assert processes is not None
                self._start(processes)
            finally:
                self._starting = False

    def _reinforce(self) -> None:
        """Called by submit() when the last workers have gone between `_prepare()` and the call's being there."""
        with self._shutdown_lock:
            team = self._team
            if team is not None and team.starts_on_demand:
                team.maintain()

    def _refuse_after_shutdown(self) -> None:
        if self._shutdown_thread:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _start(self, processes: dict[int | None, BaseProcess]) -> None:
        team = ExecutorTeam(
            self._mp_context,
            self._max_workers,
            self._initializer,
            self._initargs,
            self._bounds,
            processes,
            self._shared_memory,
            self._survives,
            self._retries,
            self._min_workers,
        )
        team.close_with(self)
        # with fork all workers, and every time all workers before the first thread
        count = max(1, self._min_workers) if team.starts_on_demand else self._max_workers
        self._executor_manager_thread = start(team, count, self._wants_template and team.start_method == "fork")
        self._team = team
        self._pool = team.pool
        if self._shutdown_thread:  # by what has interrupted this
            team.pool.close()
        self._open = not self._shutdown_thread

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Like the builtin ``map``, in the workers; results come in the order of the input.

        Args:
            fn: called with one item of each iterable.
            timeout: seconds from this call in which every result must be there; None: no limit.
            chunksize: so many calls travel, and fail, together.
            buffersize: so many chunks are submitted ahead of the one whose result is taken; None: all, at once.

        Raises:
            TimeoutError: from the iterator, when the time is over.
            Exception: from the iterator, what a call raised; the rest is cancelled.
        """
        return self._map(None, fn, iterables, timeout, chunksize, buffersize)

    def _map(
        self,
        bind: Binder | None,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
    ) -> Iterator[_T]:
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1 and isinstance(chunksize, int):
            return self._map_each(bind, fn, zip(*iterables), timeout, buffersize)
        chunks = ((chunk,) for chunk in _compat.batched(zip(*iterables), chunksize))
        return _flatten(self._map_each(bind, partial(_compat.process_chunk, fn), chunks, timeout, buffersize))

    def _map_each(
        self,
        bind: Binder | None,
        fn: Callable[..., _T],
        calls: Iterator[tuple[Any, ...]],
        timeout: float | None,
        buffersize: int | None,
    ) -> Iterator[_T]:
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else timeout + time.monotonic()
        submit = (bind(self) if bind else self).submit
        if buffersize is None:
            return _results([submit(fn, *args) for args in calls], end)
        futures: deque[_base.Future[_T]] = deque(submit(fn, *args) for args in itertools.islice(calls, buffersize))
        del submit  # the iterator must not keep the executor alive
        return _buffered_results(futures, end, weakref.ref(self), bind, fn, calls)

    def options(
        self, *, timeout: float | None = None, grace: float | None = None, retries: int | None = None, name: str | None = None
    ) -> BoundExecutor:
        """This executor on other terms: an object with its ``submit`` and ``map``.

        Args:
            timeout: seconds that a call may run, from when a worker begins with it. After that its worker is stopped, with
                the children that it has started, and replaced; the future raises ``TaskTimeout``, a ``TimeoutError``.
                None: no limit.
            grace: seconds between SIGTERM and SIGKILL when a call is stopped, be it for its timeout or by
                ``Future.kill()``; None: SIGKILL at once.
            retries: how often the call is run again if its worker dies; None: as the executor has it.
            name: what errors call it instead of the function's name.

        Raises:
            ValueError: `timeout` or `grace` is not above 0; `retries` is below 0, or not 0 although the pool breaks when a
                worker dies.
        """
        if not self._wants_template and self._team is None:
            self._wants_template = True  # a worker that is killed is replaced
        terms = make_terms(timeout, grace, self._retries if retries is None else retries, name, self._survives)
        return BoundExecutor(self, terms)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Take no more calls, and free the processes once those that are there have ended.

        Args:
            wait: return only when all that has happened.
            cancel_futures: cancel what no worker has started.
            timeout: seconds to wait; then the workers are killed, and what has not ended fails with BrokenProcessPool.
                None: as long as it takes.
        """
        with self._shutdown_lock:
            self._shutdown_thread = True
            self._open = False
            if self._team is not None:
                self._team.pool.close()
                if cancel_futures:
                    self._team.pool.cancel_pending()
        manager = self._executor_manager_thread
        if manager is not None and wait:
            if not manager.join_all(timeout):
                return  # in the middle of a submit(): a later call waits
            if manager.is_alive():
                manager.team.kill(pool_broken(f"The call had not ended when the {timeout:g} s of shutdown() were over."))
                manager.wait()  # not for callbacks, which may take as long as they like
            self._let_go()
        self._executor_manager_thread = None
        self._call_queue = None
        self._processes = None

    def _let_go(self) -> None:
        """All has ended: shared memory and descriptors stay only for results that nobody has asked for."""
        if threading.current_thread() not in (self._team.threads if self._team else ()):
            self._has_broken = bool(self._broken)
            self._team = self._pool = None

    def __exit__(self, exc_type: type[BaseException] | None, exc_val: object, exc_tb: object) -> Literal[False]:
        manager = self._executor_manager_thread
        if manager is not None and exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            abandon(manager)
        self.shutdown(wait=True)
        return False

    def _force_shutdown(self, operation: str) -> None:
        if operation not in ("terminate", "kill"):
            raise ValueError(f"Unsupported operation: {operation!r}")
        processes, team = dict(self._processes or {}), self._team
        if team is not None:
            team.pool.check_owner()
            team.no_more_workers = True
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            try:
                if process.is_alive():
                    process.terminate() if operation == "terminate" else process.kill()
            except (ValueError, ProcessLookupError):
                continue  # closed, or gone just now
        for pid in team.strays() if team is not None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if operation == "terminate" else signal.SIGKILL)

    def terminate_workers(self) -> None:
        """Cancel what has not started, and end the workers with SIGTERM. The pool cannot be used any more."""
        self._force_shutdown(operation="terminate")

    def kill_workers(self) -> None:
        """Cancel what has not started, and end the workers with SIGKILL. The pool cannot be used any more."""
        self._force_shutdown(operation="kill")


ProcessPoolExecutor.__module__ = "fastpool"


def _result_or_cancel(future: _base.Future[_T], end: float | None) -> _T:
    try:
        try:
            return future.result(None if end is None else end - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future  # an exception's traceback holds this frame


def _results(futures: list[_base.Future[_T]], end: float | None) -> Iterator[_T]:
    """A generator of map()'s results. The futures are there before it starts; no result is held once it was yielded."""
    try:
        futures.reverse()
        while futures:
            yield _result_or_cancel(futures.pop(), end)
    finally:
        for future in futures:
            future.cancel()


def _buffered_results(
    futures: deque[_base.Future[_T]],
    end: float | None,
    executor: weakref.ref[ProcessPoolExecutor],
    bind: Binder | None,
    fn: Callable[..., _T],
    calls: Iterator[tuple[Any, ...]],
) -> Iterator[_T]:
    """The same, submitting one more call for each result taken. Holds the executor once it has begun."""
    try:
        alive = executor()
        while futures:
            _submit_next(futures, bind(alive) if alive and bind else alive, fn, calls)
            yield _result_or_cancel(futures.popleft(), end)
    finally:
        for future in futures:
            future.cancel()


def _submit_next(
    futures: deque[_base.Future[_T]],
    executor: ProcessPoolExecutor | BoundExecutor | None,
    fn: Callable[..., _T],
    calls: Iterator[tuple[Any, ...]],
) -> None:
    args = next(calls, None)
    if args is None:
        return
    if executor is None:  # the standard library drops the rest of the input here, without a word
        raise RuntimeError("cannot schedule new futures after the executor was garbage-collected")
    futures.append(executor.submit(fn, *args))


def _flatten(chunks: Iterator[list[_T]]) -> Iterator[_T]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
