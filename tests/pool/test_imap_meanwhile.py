"""imap() and imap_unordered() while the Pool is closed or terminated in the midst of it, and when there are no threads."""

import contextlib
import functools
import gc
import itertools
import signal
import sys
import threading

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE

COUNT = 3000  # more than is read ahead by default
FIRST, LATER = 5, 1500  # read when imap() is called, and when results are taken


class Acting:
    """Becomes a number when it is pickled, and does something else then."""

    def __init__(self, number, action=None):
        self.number, self.action = number, action

    def __reduce__(self):
        action, self.action = self.action, None
        if action:
            action()
        return int, (self.number,)


def numbers(act_at, action):
    return [Acting(number, action if number == act_at else None) for number in range(COUNT)]


def directly(action):
    action()


def in_another_thread(action):
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def in_signal_handler(action):
    """Of the main thread, which reads a list."""
    before = signal.signal(signal.SIGUSR1, lambda *_: action())
    signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def take(results, ordered):
    found = list(results)
    return found if ordered else sorted(found)


# --- close()


@pytest.mark.parametrize("position", [FIRST, LATER])
@pytest.mark.parametrize("how", [directly, in_another_thread])
def test_closed_by_what_is_pickled(make_pool, lazily, how, position):
    pool = make_pool(2)
    results = lazily(pool)(tasks.echo, numbers(position, lambda: how(pool.close)))
    assert take(results, lazily.ordered) == list(range(COUNT))
    pool.join()


@pytest.mark.fastpool_only("the standard library pickles in a thread, where there are no signal handlers")
@pytest.mark.parametrize("position", [FIRST, LATER])
def test_closed_in_a_signal_handler(make_pool, lazily, position):
    pool = make_pool(2)
    results = lazily(pool)(tasks.echo, numbers(position, lambda: in_signal_handler(pool.close)))
    assert take(results, lazily.ordered) == list(range(COUNT))
    pool.join()


@pytest.mark.parametrize("position", [FIRST, LATER])
def test_closed_by_the_input(make_pool, lazily, position):
    pool = make_pool(2)

    def items():
        for number in range(COUNT):
            if number == position:
                pool.close()
            yield number

    assert take(lazily(pool)(tasks.echo, items()), lazily.ordered) == list(range(COUNT))
    pool.join()


@pytest.mark.methods("fork")  # many pools
def test_closed_at_any_time(make_pool, lazily):
    """All results in their order, or none: nothing is read twice, and no task refused."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for wait in range(20):
            pool, progress = make_pool(1), threading.Semaphore(0)

            def close(pool=pool, progress=progress, wait=wait):
                for _ in range(10 * wait):
                    progress.acquire(timeout=PATIENCE)
                pool.close()

            items = [Acting(number, progress.release) for number in range(COUNT // 2)]
            thread = threading.Thread(target=close)
            thread.start()
            try:
                assert take(lazily(pool)(tasks.echo, items), lazily.ordered) == list(range(COUNT // 2))
            except ValueError as error:
                assert str(error) == "Pool not running"
            thread.join()
            pool.join()
    finally:
        sys.setswitchinterval(interval)


# --- terminate()


@pytest.mark.fastpool_only("the standard library never answers what it gave up")
@pytest.mark.parametrize("position", [FIRST, LATER])
@pytest.mark.parametrize("how", [directly, in_another_thread, in_signal_handler])
def test_terminated_by_what_is_pickled(lib, make_pool, lazily, how, position):
    pool = make_pool(2)
    with pytest.raises(lib.PoolTerminated):
        list(lazily(pool)(tasks.echo, numbers(position, lambda: how(pool.terminate))))
    pool.join()


@pytest.mark.fastpool_only("the standard library never answers what it gave up")
def test_terminated_while_the_input_waits(lib, make_pool, lazily):
    """The consumer does not wait for the input to say something."""
    pool, go_on = make_pool(1), threading.Event()

    def items():
        yield 1
        go_on.wait(PATIENCE)

    results = lazily(pool)(tasks.double, items())
    assert next(results) == 2
    pool.terminate()
    with pytest.raises(lib.PoolTerminated):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    go_on.set()


@pytest.mark.fastpool_only("the standard library reads all of it")
def test_terminated_input_is_let_go(make_pool, lazily):
    pool, items = make_pool(1), [tasks.double] * COUNT
    before = sys.getrefcount(items)
    results = lazily(pool)(tasks.make_thing, items)
    pool.terminate()
    assert sys.getrefcount(items) == before
    del results


# --- dropped


def test_dropped_by_what_is_pickled(make_pool, mailbox, lazily):
    """One iterator, by the garbage collector, while another reads."""
    pool = make_pool(1)
    cycle = [lazily(pool)(functools.partial(jobs.announce_number, mailbox), range(LATER))]
    cycle.append(cycle)
    del cycle
    results = lazily(pool)(tasks.echo, numbers(FIRST, gc.collect))
    assert take(results, lazily.ordered) == list(range(COUNT))
    pool.close()
    pool.join()
    assert mailbox.take(LATER) == [str(number) for number in range(LATER)]


# --- without threads


@contextlib.contextmanager
def no_threads():
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


without_threads = pytest.mark.fastpool_only("the standard library starts its threads with the Pool")


@without_threads
def test_no_thread_for_the_input(make_pool, lazily):
    """That map fails, and only that."""
    pool = make_pool(1)
    with no_threads(), pytest.raises(RuntimeError, match="new thread"):
        lazily(pool)(tasks.double, (number for number in range(3)))
    assert pool.apply(tasks.double, (2,)) == 4
    pool.close()
    pool.join()


@without_threads
@pytest.mark.parametrize("taken", [0, 1])
def test_closed_without_a_thread_for_the_rest(make_pool, lazily, taken):
    pool = make_pool(2)
    results = lazily(pool)(tasks.echo, range(COUNT))
    found = [next(results) for _ in range(taken)]
    with no_threads():
        pool.close()
    pool.join()
    assert take(itertools.chain(found, results), lazily.ordered) == list(range(COUNT))


@without_threads
@pytest.mark.parametrize("position", [FIRST, LATER])
def test_closed_without_a_thread_by_what_is_pickled(make_pool, lazily, position):
    pool = make_pool(2)
    with no_threads():
        results = lazily(pool)(tasks.echo, numbers(position, pool.close))
        assert take(results, lazily.ordered) == list(range(COUNT))
    pool.join()


@without_threads
def test_dropped_without_a_thread_for_the_rest(make_pool, mailbox, lazily):
    """It is run when the Pool is closed."""
    pool = make_pool(2)
    results = lazily(pool)(functools.partial(jobs.announce_number, mailbox), range(LATER))
    with no_threads():
        del results
        gc.collect()
    pool.close()
    pool.join()
    assert sorted(mailbox.take(LATER), key=int) == [str(number) for number in range(LATER)]


BUILTIN = [
    list,
    tuple,
    set,
    frozenset,
    dict.fromkeys,
    lambda numbers: dict.fromkeys(numbers).keys(),
    lambda numbers: dict(enumerate(numbers)).values(),
    lambda numbers: dict.fromkeys(numbers).items(),
    lambda numbers: numbers,
    lambda numbers: range(2**64, 2**64 + len(numbers)),
]


@without_threads
@pytest.mark.parametrize("iterate", [False, True])
@pytest.mark.parametrize("make", BUILTIN)
def test_builtin_collections_need_no_thread(pool, lazily, make, iterate):
    items = make(range(COUNT))
    expected = list(items)
    with no_threads():
        assert take(lazily(pool)(tasks.echo, iter(items) if iterate else items), lazily.ordered) == expected
