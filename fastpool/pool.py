"""Pool: multiprocessing's, on the C core."""

from __future__ import annotations

import functools
import itertools
import multiprocessing.pool
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import util
from multiprocessing.context import BaseContext
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from fastpool import _compat, by_value
from fastpool.errors import PoolTerminated
from fastpool.futures import Future
from fastpool.launching import Manager, start
from fastpool.lazy_maps import Feeder, IMapIterator, IMapUnorderedIterator
from fastpool.options import make_terms
from fastpool.pool_results import ApplyResult, Callback, MapResult
from fastpool.pool_team import PoolTeam
from fastpool.start_methods import default_context

if TYPE_CHECKING:
    from fastpool.pool_options import BoundPool

_S = TypeVar("_S")
_T = TypeVar("_T")

_StandardPool = multiprocessing.pool.Pool

#: A subclass that has one of these of its own means the standard library's queues and threads.
_MACHINERY = frozenset(
    """
    _get_sentinels _get_tasks _get_worker_sentinels _guarded_task_generation _handle_results _handle_tasks
    _handle_workers _help_stuff_finish _join_exited_workers _maintain_pool _map_async _repopulate_pool
    _repopulate_pool_static _setup_queues _terminate_pool _wait_for_updates _wrap_exception
    """.split()
)


def _or_standard(method: Callable[..., Any]) -> Callable[..., Any]:
    """The standard library's method, for a subclass on the standard library's machinery."""
    standard = getattr(_StandardPool, method.__name__)

    @functools.wraps(method)
    def choose(self: Pool, /, *args: Any, **kwargs: Any) -> Any:
        if self._on_standard_machinery:
            return standard(self, *args, **kwargs)
        return method(self, *args, **kwargs)

    return choose


#: Made while importing is possible: a Pool may end when it is not.
_TERMINATED = pickle.dumps(PoolTerminated("The Pool was terminated before the call had ended."))


def _end(team: PoolTeam, manager: Manager, feeders: set[Feeder]) -> None:
    """At the interpreter's end, or when asked to: now. When the Pool is dropped: what was submitted is finished.

    A Finalize calls it: never in a process forked from the Pool's.
    """
    if not (team.ended or util.is_exiting()):
        team.pool.close()
        return
    team.pool.break_(_TERMINATED)
    for feeder in list(feeders):
        feeder.terminate()
    manager.join_all()


def _unpacking_error(func: Callable[..., object], args: Any, kwds: Any) -> TypeError:
    """What ``func(*args, **kwds)`` says of arguments that cannot be unpacked."""

    def like_it(*args: object, **kwds: object) -> None: ...

    like_it.__module__ = getattr(func, "__module__", like_it.__module__)
    like_it.__qualname__ = getattr(func, "__qualname__", type(func).__qualname__)
    try:
        like_it(*args, **kwds)
    except TypeError as error:
        return error
    raise AssertionError("they could be unpacked")


class Pool(_StandardPool):
    """Run calls in a pool of worker processes.

    Args:
        processes: how many; None: as many as the process has CPUs.
        initializer: called in every worker before its first task.
        initargs: its arguments.
        maxtasksperchild: a worker ends after so many tasks (a chunk is one), and another takes its place; None: never.
        context: a multiprocessing context; None: multiprocessing's default, except that a script without an
            ``if __name__ == "__main__"`` guard gets fork, the only method that can run it.

    A worker that dies takes only the task along that it was running, whose error is a ``WorkerDied``; another worker
    takes its place. A call that has not ended when the Pool is terminated ends with ``PoolTerminated``.

    A subclass that overrides the standard library's own machinery (its queues, its threads' loops, how workers are
    added) runs on that machinery; one that overrides ``Process`` alone does not.

    Raises:
        ValueError, TypeError: for the arguments that the standard library refuses, with its texts.
    """

    _on_standard_machinery = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = itertools.takewhile(lambda base: base is not Pool, cls.__mro__)
        if any(not _MACHINERY.isdisjoint(vars(base)) for base in own):
            cls._on_standard_machinery = True

    @_or_standard
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
    ) -> None:
        # first, so that __del__ finds them
        self._pool: list[BaseProcess] = []
        self._state = INIT
        self._ctx = context or default_context()
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = initargs
        if processes is None:
            processes = _compat.cpu_count() or 1
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._feeders: set[Feeder] = set()
        self._submitting: set[object] = set()  # maps whose chunks are being submitted
        self._start()

    def _start(self) -> None:
        self._team = team = PoolTeam(
            self._ctx,
            self._processes,
            self._initializer,
            tuple(self._initargs),
            self._maxtasksperchild,
            self.Process,
            self._pool,
        )
        self._submit, self._submit_each = team.pool.submit, team.pool.submit_each
        self._cache = _compat.PendingWorkItems(team.pool)
        self._taskqueue = _compat.TaskQueue(team.pool)
        self._worker_handler = manager = start(team, self._processes)
        try:
            self._terminate = util.Finalize(self, _end, args=(team, manager, self._feeders), exitpriority=15)
        except BaseException:
            _end(team, manager, self._feeders)
            raise
        self._state = RUN

    def _check_running(self) -> None:
        if self._state != RUN:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError("Pool not running")

    @_or_standard
    def _repopulate_pool(self) -> None:
        self._team.maintain()

    # ------------------------------------------------------------------ calls
    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> ApplyResult[_T]:
        """Have a worker call ``func(*args, **kwds)``, and return an AsyncResult for it.

        Args:
            callback: called with the result, before anybody sees it; in a thread of the Pool's.
            error_callback: called with the exception instead, if there is one.
        """
        if self._on_standard_machinery:
            return super().apply_async(func, args, kwds, callback, error_callback)  # type: ignore[return-value]
        if self._state != RUN:
            self._refuse()
        try:
            future = self._submit(func, *args, **kwds)
        except TypeError:  # what is no sequence or no mapping is for the call to find out, as in the standard library
            future = Future()
            future.set_exception(_unpacking_error(func, args, kwds))
        return ApplyResult(self._itself, future, callback, error_callback)

    @_or_standard
    def _map_async(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Any],
        mapper: Callable[..., Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult[_T]:
        """What map, starmap and their asynchronous counterparts share."""
        self._check_running()
        items: Any = iterable if hasattr(iterable, "__len__") else list(iterable)
        length = len(items)
        if chunksize is None:
            chunksize, extra = divmod(length, 4 * (len(self._pool) or self._processes))
            chunksize += bool(extra)
        if length == 0:
            chunksize = 0
        star = mapper is not multiprocessing.pool.mapstar  # type: ignore[attr-defined]
        this = object()
        self._submitting.add(this)  # who closes the Pool meanwhile leaves that to the last of these
        try:
            self._check_running()
            chunks = list(self._submit_chunks(func, items, chunksize, star)) if chunksize > 0 else []
        finally:
            self._submitting.discard(this)
            self._close_if_fed()
        return MapResult(self._itself, chunks, chunksize, length, callback, error_callback)

    def _submit_chunks(
        self, func: Callable[..., Any], items: Iterable[Any], chunksize: int, star: bool
    ) -> Iterator[Future[list[Any]]]:
        submit = self._submit_each
        data = by_value.for_many_calls(func)
        try:
            for chunk in _compat.batched(iter(items), chunksize):
                yield submit(func, chunk, star, data)
        except Exception as error:  # of the input
            failed: Future[list[Any]] = Future()
            failed.set_exception(error)
            yield failed

    def imap(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int | None = 1, *, buffersize: int | None = None
    ) -> IMapIterator[_T]:
        """Like the builtin ``map``, in the workers. The input is read ahead: in a thread of its own, unless it is a builtin
        collection or the iterator of one.

        Args:
            chunksize: so many items travel together.
            buffersize: so many chunks are read ahead of the one that is taken next; None: 1024, or 16 for each process
                if that is more. After ``close()`` all are. Who gives it and drops the iterator drops the rest of the input.

        Returns:
            An iterator, with a method ``next(timeout=None)``; a plain generator unless ``chunksize`` is 1.
        """
        results: IMapIterator[_T] = self._imap(
            IMapIterator, "Chunksize must be 1+, not {0:n}", func, iterable, chunksize, buffersize
        )
        return results

    def imap_unordered(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int | None = 1, *, buffersize: int | None = None
    ) -> IMapIterator[_T]:
        """Like ``imap()``, but results come as they are there."""
        results: IMapIterator[_T] = self._imap(
            IMapUnorderedIterator, "Chunksize must be 1+, not {0!r}", func, iterable, chunksize, buffersize
        )
        return results

    def _imap(
        self,
        kind: type[IMapIterator[Any]],
        complaint: str,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: Any,
        buffersize: int | None,
    ) -> Any:
        if self._on_standard_machinery:
            name = "imap_unordered" if kind is IMapUnorderedIterator else "imap"
            return getattr(_StandardPool, name)(self, func, iterable, chunksize)
        self._check_running()
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if chunksize == 1:
            return kind(self._itself, functools.partial(self._submit, func), iterable, buffersize)
        if chunksize < 1:
            raise ValueError(complaint.format(chunksize))
        submit_each = self._submit_each
        chunks = kind(
            self._itself,
            lambda chunk: submit_each(func, chunk, False),
            _compat.batched(iter(iterable), chunksize),
            buffersize,
        )
        return (item for chunk in chunks for item in chunk)

    @property
    def _itself(self) -> Pool:
        """Of a view, whose methods are these: what it is a view of."""
        return self

    def options(
        self, *, timeout: float | None = None, grace: float | None = None, retries: int = 0, name: str | None = None
    ) -> BoundPool:
        """This Pool on other terms: an object with its ``apply``, ``map`` and ``imap`` methods. A chunk is one call.

        Args:
            timeout: seconds that a call may run, from when a worker begins with it. After that its worker is stopped, with
                the children that it has started, and replaced; the result is ``TaskTimeout``, a ``TimeoutError``. None: no
                limit.
            grace: seconds between SIGTERM and SIGKILL when a call is stopped; None: SIGKILL at once.
            retries: how often the call is run again if its worker dies.
            name: what errors call it instead of the function's name.

        Raises:
            ValueError: `timeout` or `grace` is not above 0, `retries` is below 0.
            NotImplementedError: a subclass runs on the standard library's machinery.
        """
        from fastpool.pool_options import BoundPool

        if self._on_standard_machinery:
            raise NotImplementedError("options() needs fastpool's own machinery, and this class overrides the standard one's")
        return BoundPool(self, make_terms(timeout, grace, retries, name, survives=True))

    def _feeds(self, feeder: Feeder) -> None:
        self._feeders.add(feeder)
        try:
            self._check_running()  # again: who closes the Pool meanwhile either finds the feeder or is found here
            feeder.start()
        except BaseException:
            feeder.stop()
            raise

    def _has_fed(self, feeder: Feeder) -> None:
        self._feeders.discard(feeder)
        self._close_if_fed()

    # ---------------------------------------------------------------- the end
    def _close_if_fed(self) -> None:
        """The core takes tasks until the last input has been read, and the last map has all of its chunks there."""
        if self._state == CLOSE and not self._feeders and not self._submitting:
            self._team.pool.close()

    @_or_standard
    def close(self) -> None:
        """Take no more calls; the workers go when those that are there have ended."""
        if self._state in (RUN, CLOSE):  # again: the first time may have failed in the middle
            self._state = CLOSE
            for feeder in list(self._feeders):
                feeder.go_on_alone()
            self._close_if_fed()

    @_or_standard
    def terminate(self) -> None:
        """End the workers now. What has not ended fails with PoolTerminated."""
        self._state = TERMINATE
        self._team.ended = True
        self._terminate()
        if not self._team.pool.broken:  # the first time it failed in the middle, and will not be called again
            _end(self._team, self._worker_handler, self._feeders)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the workers to end, after ``close()`` or ``terminate()``; at most `timeout` seconds.

        Raises:
            ValueError: the Pool is still running.
        """
        if self._on_standard_machinery:
            super().join()
            return
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._worker_handler.join_all(timeout)


Pool.__module__ = "fastpool"
