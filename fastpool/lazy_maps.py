"""imap() and imap_unordered(): the input is read and submitted ahead of the consumer, but not without bound.

The standard library reads the whole input at once, however slowly the results are taken: an infinite input fills the
memory. Here at most `buffersize` items are ahead of the one that is taken next, so that memory is constant; by default
enough that the workers find work while the consumer's thread is elsewhere for a while. The bound is for a consumer that
will come: when the Pool is closed, or the iterator dropped, the rest of the input is submitted without waiting for one,
as the standard library does it, with at most so many calls unfinished at a time. Only who asked for a `buffersize` and
drops the iterator has said that the rest is not wanted.

Reading an input may run user code that takes its time, or waits for the consumer: that is for a thread of its own, as
in the standard library. Lists and the like run none and are read by the consumer itself, as far as there is one: two
threads that hand the interpreter to and fro cost as much as the calls themselves, and starting one as much as many.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing.pool
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing.context import TimeoutError
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fastpool import _core
from fastpool.errors import PoolTerminated
from fastpool.futures import Future

if TYPE_CHECKING:
    from fastpool.pool import Pool

_T = TypeVar("_T")

Submit = Callable[[Any], Future[Any]]

_COLLECTIONS: tuple[Iterable[Any], ...] = (
    [],
    (),
    range(0),
    range(2**63, 2**63),  # has an iterator of its own
    set(),
    frozenset(),
    {},
    {}.keys(),
    {}.values(),
    {}.items(),
)

#: Inputs that cannot run user code and have the next item at once: the builtin collections and their iterators.
_READ_BY_CONSUMER = frozenset(type(kind) for items in _COLLECTIONS for kind in (items, iter(items)))


#: Items that are submitted without a look at what other threads want.
_AT_ONCE = 64


def default_buffersize(processes: int) -> int:
    """A thousand calls of 10 us each are 10 ms: what one Python thread may have to wait for another."""
    return max(1024, 16 * processes)


def _waitable(timeout: float) -> float:
    """Not negative nor NaN, which are over at once, and no longer than a lock can wait, which is for ever."""
    return min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0


def _seconds_left(end: float | None) -> float | None:
    return None if end is None else max(end - time.monotonic(), 0)


class _Sorted:
    """Calls in the order of the input."""

    def __init__(self) -> None:
        self.futures: deque[Future[Any]] = deque()
        self.ready: deque[Future[Any]] = deque()  # done: the head of the line, if somebody has asked for its length
        self.add: Callable[[Future[Any]], object] = self.futures.append

    def take(self, timeout: float | None) -> Future[Any] | None:
        """The next, done; None if time is over. There is one."""
        if self.ready:
            return self.ready.popleft()
        try:
            self.futures[0].exception(timeout)
        except FutureTimeoutError:
            return None
        return self.futures.popleft()

    def __len__(self) -> int:
        return len(self.ready) + len(self.futures)

    def find_ready(self) -> None:
        while self.futures and self.futures[0].done():
            self.ready.append(self.futures.popleft())


class _AsCompleted:
    """Calls in the order of their completion."""

    def __init__(self, pool: _core.Pool) -> None:
        self.queue = _core.CompletionQueue(pool)
        self.add = self.queue.add
        self.ready: deque[Future[Any]] = deque()

    def take(self, timeout: float | None) -> Future[Any] | None:
        if self.ready:
            return self.ready.popleft()
        return self.queue.get(-1 if timeout is None else timeout)

    def __len__(self) -> int:
        return len(self.ready) + len(self.queue)

    def find_ready(self) -> None:
        while (future := self.queue.get(0)) is not None:
            self.ready.append(future)


class _Dropped(_Sorted):
    """Calls whose results nobody will take."""

    def __init__(self) -> None:
        super().__init__()
        self.add = id


class Line:
    """What feeder and consumer share: the calls that were submitted and not taken.

    Neither side has a lock. A bell is a queue, which remembers that it was rung and which may be rung anywhere: in
    a signal handler or by the garbage collector, too, even between another's look at the line and its wait.
    """

    def __init__(self, calls: _Sorted | _AsCompleted, bound: int, low: int) -> None:
        self.calls = calls
        self.bound = bound
        self.limit = bound  # as many may be here
        self.low = low  # with so many left the feeder comes back
        self.submitted = 0  # the feeder's
        self.taken = 0  # the consumer's
        self.ended = False  # no more will be submitted
        self.error: BaseException | None = None  # of the input: comes after the last call
        self.lifted = False  # the consumer is not waited for any more
        self.consumer_waits = self.feeder_waits = False
        self.consumer_bell: SimpleQueue[None] = SimpleQueue()
        self.feeder_bell: SimpleQueue[None] = SimpleQueue()

    def room(self) -> int:
        return self.limit - (self.submitted - self.taken)

    def is_low(self) -> bool:
        """Is it time for the feeder to come back?"""
        return self.submitted - self.taken <= self.low

    # Both sides first say that they are about to wait, then look once more; and change the number, then look
    # whether the other one waits: so one of them sees the other.
    def wait_for_room(self) -> None:
        """The feeder's."""
        if self.room() > 0 or self.lifted:
            return
        self.feeder_waits = True
        while not (self.is_low() or self.lifted):
            self.feeder_bell.get()
            self.feeder_waits = True
        self.feeder_waits = False

    def put(self, future: Future[Any]) -> None:
        self.calls.add(future)
        self.submitted += 1
        if self.consumer_waits:
            self.consumer_waits = False
            self.consumer_bell.put(None)

    def extend(self, submit: Submit, items: Iterable[Any]) -> bool:
        """Put some at once. False: there are no more. For a consumer that reads the input itself: nobody waits meanwhile."""
        calls, before = self.calls, self.submitted
        try:
            some = itertools.islice(items, min(self.room(), _AT_ONCE))
            deque(map(calls.add, map(submit, some)), maxlen=0)  # no byte code is run for each
        finally:
            if calls is self.calls:  # not dropped meanwhile
                self.submitted = self.taken + len(calls)
        return self.submitted != before

    def wait_for_call(self, end: float | None) -> bool:
        """The consumer's, if there is none: is there one? Without one the input has ended, or time is over."""
        if not self.ended:
            self.consumer_waits = True
            with contextlib.suppress(Empty):
                while self.taken == self.submitted and not self.ended:
                    self.consumer_bell.get(timeout=_seconds_left(end))
                    self.consumer_waits = True
            self.consumer_waits = False
        return self.taken != self.submitted

    def make_room(self) -> None:
        """Nothing has been taken, but somebody counts: what is ready does not keep the rest from being submitted."""
        more = self.bound + len(self.calls.ready) - self.limit
        self.limit += more
        self.low += more
        self.call_feeder()

    def call_feeder(self) -> None:
        """The consumer's, when there is more room."""
        if self.feeder_waits and self.is_low():
            self.feeder_waits = False
            self.feeder_bell.put(None)

    def end(self, error: BaseException | None = None) -> None:
        if not self.ended:
            self.error = error
            self.ended = True
            self.consumer_bell.put(None)

    def lift(self) -> None:
        self.lifted = True
        self.feeder_bell.put(None)


class Feeder:
    """Reads one input and submits it, in a thread of its own or in the consumer's. Holds the Pool until it has.

    Who reads has `_reading`, and runs user code meanwhile: the input's and that of pickling. This code, a signal handler
    in the midst of it and the garbage collector may close or terminate the Pool or drop the iterator, as any other
    thread may. So nobody waits for the lock but a thread of the feeder's own. Others leave word, and whoever reads
    finds it: after the next item if it is to stop, and after what it came to read if somebody is to go on.
    """

    def __init__(self, pool: Pool, submit: Submit, items: Iterable[Any], line: Line) -> None:
        self.pool: Pool | None = pool
        self.submit = submit
        self.items = items
        self.line = line
        self.by_consumer = False  # from the start until a thread takes over, if the input is of that kind
        self.stopped = False
        self._reading = threading.Lock()
        self._unfinished: deque[Future[Any]] = deque()

    def start(self) -> None:
        if type(self.items) in _READ_BY_CONSUMER:
            self.items = iter(self.items)
            self.by_consumer = True
            self.feed_ahead()
        else:
            self._start_thread()

    def _start_thread(self) -> None:
        threading.Thread(target=self._run, name="fastpool-feeder", daemon=True).start()

    def feed_ahead(self) -> None:
        """In the consumer's thread: as much as there is room for, unless another reads already."""
        if self._reading.acquire(blocking=False):
            try:
                self._fill()
            finally:
                self._reading.release()
            if self.stopped:
                self.stop()
            elif self.line.lifted:
                self.go_on_alone()

    def _fill(self) -> None:
        line = self.line
        error: BaseException | None = None
        try:
            for _ in range(0, line.room(), _AT_ONCE):
                if self.stopped or not line.extend(self.submit, self.items):
                    break
        except Exception as why:
            error = why
        if error is not None or self.stopped or line.room() > 0:
            self._end(error)

    def abandon(self, asked_for_a_bound: bool) -> None:
        """The iterator has been dropped."""
        self.line.calls = _Dropped()
        if asked_for_a_bound:
            self.stop()
        else:
            self._hand_over()  # without a thread the rest waits for close(): the garbage collector is no place for it

    def go_on_alone(self) -> None:
        """The Pool has been closed: what is left of the input is run, whether or not somebody takes the results."""
        if not self._hand_over() and self._reading.acquire(blocking=False):
            try:
                self._read_on()
            finally:
                self._reading.release()

    def _hand_over(self) -> bool:
        """To a thread, if it is the consumer who reads. False: there is none to be had."""
        self.line.lift()
        if self.by_consumer and not self.line.ended:
            self.by_consumer = False
            try:
                self._start_thread()  # a second one, if two come here at once, will find nothing left
            except Exception:
                self.by_consumer = True
                return False
        return True

    def stop(self, error: BaseException | None = None) -> None:
        """Read no more. A consumer gets `error` after what was submitted."""
        self.stopped = True
        self.line.end(error)
        self.line.lift()
        if self._reading.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._reading.release()

    def terminate(self) -> None:
        self.stop(PoolTerminated("The Pool was terminated before its input was read."))

    def _run(self) -> None:
        with self._reading:
            self._read_on()

    def _read_on(self) -> None:
        """To the end."""
        error: BaseException | None = None
        try:
            self._feed(iter(self.items))
        except Exception as why:
            error = why
        finally:
            self._end(error)

    def _end(self, error: BaseException | None = None) -> None:
        """For whoever reads."""
        self.items = ()
        self._unfinished.clear()  # an exception's traceback may hold the iterator, whose finalizer holds this
        try:
            self.line.end(error)
        finally:  # even if there was no memory to ring a bell: the Pool waits for this
            if self.pool is not None:
                self.pool._has_fed(self)
                self.pool = None

    def _feed(self, items: Iterator[Any]) -> None:
        line = self.line
        while True:
            line.wait_for_room()
            if line.lifted:
                self._wait_for_one()
            if self.stopped:
                return
            try:
                item = next(items)
            except StopIteration:
                return
            future = self.submit(item)
            del item
            line.put(future)
            if line.lifted:
                self._unfinished.append(future)

    def _wait_for_one(self) -> None:
        """Nobody takes results: no more unfinished calls than there would be, if somebody did."""
        if len(self._unfinished) >= self.line.bound:
            self._unfinished.popleft().exception()


class IMapIterator(multiprocessing.pool.IMapIterator, Generic[_T]):  # type: ignore[type-arg]  # not at run time
    """The results of ``imap()``, in the order of the input.

    ``_index`` is the number of those that are there, taken or not, and ``_length`` how many there will be, None until
    the input has been read: programs ask until they are equal. Who asks although nothing has been taken is waited
    for no longer: what is there does not count against the bound any more, and all of the input gets run, as long as
    somebody asks now and then. A ``buffersize`` that was given stands all the same, until ``close()``.
    """

    def __init__(self, pool: Pool, submit: Submit, items: Iterable[Any], buffersize: int | None) -> None:
        self._pool: Pool | None = pool
        self._turn = threading.Lock()  # one consumer at a time
        self._exact = buffersize is not None
        bound = buffersize or default_buffersize(pool._processes)
        low = bound - 1 if buffersize else bound // 2  # exact, or with few changes between two threads
        self._line = Line(self._calls(pool), bound, low)
        self._feeder = Feeder(pool, submit, items, self._line)
        pool._feeds(self._feeder)
        try:
            weakref.finalize(self, self._feeder.abandon, self._exact).atexit = False
        except BaseException:
            self._feeder.stop()  # nobody will have this iterator, and the Pool would wait for the end of its input
            raise

    def _calls(self, pool: Pool) -> _Sorted | _AsCompleted:
        return _Sorted()

    def __iter__(self) -> IMapIterator[_T]:
        return self

    def next(self, timeout: float | None = None) -> _T:
        """The next result, or raise what its call raised; the one after that can still be had.

        Raises:
            multiprocessing.TimeoutError: it is not there within `timeout` seconds.
            StopIteration: there are no more.
        """
        if timeout is None:
            with self._turn:
                future = self._next_done(None)
        else:
            timeout = _waitable(timeout)
            end = time.monotonic() + timeout
            if not self._turn.acquire(timeout=timeout):
                raise TimeoutError
            try:
                future = self._next_done(end)
            finally:
                self._turn.release()
        return future.result()  # type: ignore[no-any-return]

    __next__ = next

    def _next_done(self, end: float | None) -> Future[Any]:
        line = self._line
        if self._feeder.by_consumer and line.submitted - line.taken <= line.low:
            self._feed_ahead()
        if line.taken == line.submitted and not line.wait_for_call(end):
            if not line.ended:
                raise TimeoutError
            self._pool = None
            error, line.error = line.error, None
            raise error or StopIteration
        future = line.calls.take(None if end is None else _seconds_left(end))
        if future is None:
            raise TimeoutError
        line.taken += 1
        if line.feeder_waits:
            line.call_feeder()
        return future

    def _feed_ahead(self) -> None:
        feeder = self._feeder
        if feeder.by_consumer and not self._line.ended and self._line.is_low():
            feeder.feed_ahead()

    @property
    def _length(self) -> int | None:
        return self._line.submitted if self._line.ended else None

    @property
    def _index(self) -> int:
        line = self._line
        # a consumer who has its turn is waiting, so that nothing is ready, or will be gone in a moment
        if self._turn.acquire(blocking=False):
            try:
                line.calls.find_ready()
                if not (line.taken or self._exact):
                    line.make_room()
                    self._feed_ahead()
            finally:
                self._turn.release()
        return line.taken + len(line.calls.ready)


class IMapUnorderedIterator(IMapIterator[_T], multiprocessing.pool.IMapUnorderedIterator):  # type: ignore[type-arg]
    """The results of ``imap_unordered()``, as they come."""

    def _calls(self, pool: Pool) -> _Sorted | _AsCompleted:
        return _AsCompleted(pool._team.pool)
