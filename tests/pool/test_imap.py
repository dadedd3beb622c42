"""imap() and imap_unordered(): order, errors, time limits, and an input that is read while results are taken."""

import gc
import inspect
import itertools
import multiprocessing
import multiprocessing.pool
import threading
import weakref

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually


def take(results, ordered, count=None):
    """In an order that can be compared."""
    found = list(itertools.islice(results, count))
    return found if ordered else sorted(found)


@pytest.mark.parametrize("chunksize", [1, 2, 7, 100, 1000])
def test_results(pool, lazily, chunksize):
    results = lazily(pool)(tasks.double, range(100), chunksize)
    assert take(results, lazily.ordered) == [2 * n for n in range(100)]


def test_order_of_what_ends_in_another_order(pool, gate):
    results = pool.imap(jobs.pass_each, [(gate, 0)])
    others = pool.imap(tasks.echo, range(1, 20))
    assert list(others) == list(range(1, 20))
    gate.open()
    assert list(results) == [0]


def test_ordered_results_wait_for_the_first(pool, gate):
    results = pool.imap(tasks.functools.partial(jobs.wait_at, {0: gate}), range(10))
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(0.05)
    gate.open()
    assert list(results) == list(range(10))


def test_unordered_results_come_as_they_are_ready(pool, gate):
    results = pool.imap_unordered(tasks.functools.partial(jobs.wait_at, {0: gate}), range(10))
    assert sorted(itertools.islice(results, 9)) == list(range(1, 10))
    gate.open()
    assert list(results) == [0]


def test_classes(pool):
    standard = multiprocessing.pool
    ordered, unordered = pool.imap(tasks.double, range(3)), pool.imap_unordered(tasks.double, range(3))
    assert isinstance(ordered, standard.IMapIterator)
    assert isinstance(unordered, standard.IMapUnorderedIterator) and isinstance(unordered, standard.IMapIterator)
    assert not isinstance(ordered, standard.IMapUnorderedIterator)
    for results in (ordered, unordered):
        assert iter(results) is results and not hasattr(results, "__len__")
        assert sorted(results) == [0, 2, 4]


def test_in_chunks_it_is_a_generator(pool, lazily):
    results = lazily(pool)(tasks.double, range(10), chunksize=3)
    assert inspect.isgenerator(results) and not hasattr(results, "next")
    assert sorted(results) == [2 * n for n in range(10)]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_end_stays_the_end(pool, lazily, chunksize):
    results = lazily(pool)(tasks.double, range(3), chunksize)
    assert sorted([next(results), next(results), next(results)]) == [0, 2, 4]
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(results)


@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("empty", [(), {}, range(0)], ids=repr)
def test_empty_input(pool, lazily, empty, chunksize):
    assert list(lazily(pool)(tasks.double, empty, chunksize)) == []


def test_none_is_a_result_like_any_other(pool, lazily):
    assert list(lazily(pool)(tasks.nothing, range(3))) == [None] * 3


def test_iterator_of_another_thread(pool, lazily):
    results, found = lazily(pool)(tasks.double, range(50)), []
    thread = threading.Thread(target=lambda: found.extend(results))
    thread.start()
    thread.join(PATIENCE)
    assert sorted(found) == [2 * n for n in range(50)]


@pytest.mark.fastpool_only("in the standard library a thread whose item another took gets TimeoutError, or no end")
def test_iterator_of_several_threads(pool, lazily):
    results, found = lazily(pool)(tasks.double, range(300)), []

    def work():
        for result in results:
            found.append(result)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert sorted(found) == [2 * n for n in range(300)]


def test_several_at_once(pool, lazily):
    every = [lazily(pool)(tasks.add, range(start, start + 20)) for start in range(5)]
    found = [list(results) for results in zip(*every, strict=True)]
    for start, results in enumerate(zip(*found, strict=True)):
        assert sorted(results) == list(range(start, start + 20))


def test_many(pool, lazily):
    assert take(lazily(pool)(tasks.double, range(3000)), lazily.ordered) == list(range(0, 6000, 2))


def test_large_items(pool, lazily):
    sizes = range(100_000, 100_020)
    assert sorted(len(result) for result in lazily(pool)(tasks.large, sizes)) == list(sizes)


# --- errors


def test_iteration_goes_on_after_an_error(pool):
    results = pool.imap(jobs.fail_odd, range(6))
    for number in range(6):
        if number % 2:
            with pytest.raises(ValueError) as caught:
                next(results)
            assert caught.value.args == (number,)
            assert type(caught.value.__cause__) is multiprocessing.pool.RemoteTraceback
        else:
            assert next(results) == number
    with pytest.raises(StopIteration):
        next(results)


def drain(results):
    """What it gives and what it raises, to the end."""
    found, failed = [], []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return sorted(found), sorted(failed, key=repr)
        except Exception as error:
            failed.append(error)


def test_unordered_iteration_goes_on_after_errors(pool):
    found, failed = drain(pool.imap_unordered(jobs.fail_odd, range(10)))
    assert found == [0, 2, 4, 6, 8]
    assert [error.args[0] for error in failed] == [1, 3, 5, 7, 9]


def test_in_chunks_an_error_ends_it(single, lazily):
    results = lazily(single)(jobs.fail_at_three, range(12), chunksize=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError) as caught:
        next(results)
    assert caught.value.args == (3,)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)
    assert single.apply(tasks.double, (2,)) == 4


def test_argument_that_does_not_pickle(pool, lazily):
    items = [0, tasks.FailsToPickle(), 2, threading.Lock(), 4]
    found, failed = drain(lazily(pool)(tasks.echo, items))
    assert found == [0, 2, 4]
    assert [type(error) for error in failed] == [TypeError, ZeroDivisionError]
    assert all(error.__cause__ is None for error in failed)


def test_result_that_does_not_pickle(pool, lazily):
    found, failed = drain(lazily(pool)(tasks.make_unpickleable, range(3)))
    assert found == [] and [type(error) for error in failed] == [multiprocessing.pool.MaybeEncodingError] * 3


def test_function_that_does_not_pickle(pool, lazily):
    found, failed = drain(lazily(pool)(tasks.FailsToPickle(), range(3)))
    assert found == [] and [type(error) for error in failed] == [ZeroDivisionError] * 3


# --- next(timeout)


def test_timeout(single, gate, lazily):
    results = lazily(single)(jobs.pass_each, [(gate, 5), (gate, 6)])
    for timeout in (0, 0.001):
        with pytest.raises(multiprocessing.TimeoutError) as caught:
            results.next(timeout)
        assert caught.value.args == () and not isinstance(caught.value, TimeoutError)
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(timeout=0.001)
    gate.open()
    assert [results.next(PATIENCE), results.next(timeout=None)] == [5, 6]
    with pytest.raises(StopIteration):
        results.next(PATIENCE)
    with pytest.raises(StopIteration):
        results.next(0)


OVER_AT_ONCE = [0, -1, float("nan"), float("-inf")]


@pytest.mark.parametrize("timeout", OVER_AT_ONCE, ids=repr)
def test_timeout_that_is_over_at_once(single, gate, lazily, timeout):
    results = lazily(single)(jobs.pass_each, [(gate, 5)])
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(timeout)
    gate.open()
    assert list(results) == [5]


@pytest.mark.parametrize("timeout", [*OVER_AT_ONCE, float("inf"), 1e300, 10**400], ids=lambda value: f"{value!r:.9}")
def test_no_timeout_keeps_what_is_there(single, lazily, timeout):
    results = lazily(single)(tasks.double, [2])
    eventually(lambda: results._index == 1)
    assert results.next(timeout) == 4


@pytest.mark.fastpool_only("in the standard library it is an OverflowError, unless the result is there")
@pytest.mark.parametrize("timeout", [float("inf"), 1e10, 10**400], ids=lambda value: f"{value!r:.9}")
def test_timeout_without_end(single, gate, lazily, timeout):
    results = lazily(single)(jobs.pass_each, [(gate, 5)])
    thread = threading.Thread(target=gate.open)
    thread.start()
    assert results.next(timeout) == 5
    thread.join()


# --- how many there are


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_index_counts_what_has_come(make_pool, lazily, gate, taken):
    """In the order of the input, if the results are."""
    results = lazily(make_pool(2))(tasks.functools.partial(jobs.wait_at, {2: gate}), range(6))
    found = [next(results) for _ in range(taken)]
    eventually(lambda: results._index == (2 if lazily.ordered else 5))
    eventually(lambda: results._length == 6)  # the input may end later than these results came
    gate.open()
    eventually(lambda: results._index == 6)
    found += results
    assert (found if lazily.ordered else sorted(found)) == list(range(6))
    assert results._index == results._length == 6


def test_index_while_somebody_waits(single, gate, lazily):
    results, found = lazily(single)(tasks.functools.partial(jobs.wait_at, {2: gate}), range(4)), []
    thread = threading.Thread(target=lambda: found.extend(results))
    thread.start()
    eventually(lambda: len(found) == 2)
    eventually(lambda: results._index == 2)
    gate.open()
    eventually(lambda: results._index == 4)
    thread.join(PATIENCE)
    assert found == list(range(4))


@pytest.mark.parametrize("kind", [list, iter])
def test_index_is_asked_until_all_are_there(pool, lazily, kind):
    """Nobody takes any result before."""
    results = lazily(pool)(tasks.double, kind(range(3000)))
    eventually(lambda: results._index == results._length == 3000)
    assert take(results, lazily.ordered) == list(range(0, 6000, 2))


def test_index_counts_errors(pool, lazily):
    results = lazily(pool)(jobs.fail_odd, [0, 1, 2, tasks.FailsToPickle()])
    eventually(lambda: results._index == 4)
    found, failed = drain(results)
    assert found == [0, 2] and [type(error) for error in failed] == [ValueError, ZeroDivisionError]


# --- the input


def test_input_is_read_by_another_thread_and_nobody_waits_for_it(pool, lazily):
    go_on, readers = threading.Event(), []

    def numbers():
        readers.append(threading.current_thread())
        go_on.wait(PATIENCE)
        yield from range(3)

    results = lazily(pool)(tasks.double, numbers())
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(0.01)
    go_on.set()
    assert sorted(results) == [0, 2, 4]
    assert len(readers) == 1 and readers[0] is not threading.current_thread()


@pytest.mark.parametrize("chunksize", [1, 3])
def test_input_is_read_without_anybody_asking(single, lazily, gate, chunksize):
    """As far as it goes, which here is not far: a first task that takes its time does not hold it up."""
    read = []
    blocker = single.apply_async(tasks.pass_through, (gate,))
    results = lazily(single)(tasks.double, (read.append(n) or n for n in range(100)), chunksize)
    eventually(lambda: len(read) == 100)
    assert not blocker.ready()
    gate.open()
    assert sorted(results) == [2 * n for n in range(100)]


def test_results_come_before_the_input_ends(pool, lazily):
    """An input that waits for the results of what it has given."""
    permits = threading.Semaphore(2)

    def numbers():
        for number in range(30):
            assert permits.acquire(timeout=PATIENCE)
            yield number

    found = []
    for result in lazily(pool)(tasks.double, numbers()):
        found.append(result)
        permits.release()
    assert sorted(found) == [2 * n for n in range(30)]


def test_input_one_at_a_time(pool, lazily):
    """The next is there only once the last one's result has been taken."""
    permits, given = threading.Semaphore(1), []

    def numbers():
        for number in range(10):
            assert permits.acquire(timeout=PATIENCE)
            given.append(number)
            yield number

    results = lazily(pool)(tasks.echo, numbers())
    for number in range(10):
        assert results.next(PATIENCE) == number == given[-1]
        permits.release()
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [1, 2])
def test_input_that_raises(single, lazily, chunksize):
    """What came before comes out, but for the chunk that was being filled; the error has not been in a worker's hands."""

    def numbers():
        yield from range(3)
        raise ZeroDivisionError("in the input")

    results = lazily(single)(tasks.double, numbers(), chunksize)
    assert [next(results) for _ in range(3 // chunksize * chunksize)] == [0, 2, 4][: 3 // chunksize * chunksize]
    with pytest.raises(ZeroDivisionError, match="^in the input$") as caught:
        next(results)
    assert caught.value.__cause__ is None
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)
    assert single.apply(tasks.double, (2,)) == 4


def test_input_that_raises_at_once(pool, lazily):
    def numbers():
        raise ZeroDivisionError("in the input")
        yield

    results = lazily(pool)(tasks.double, numbers())
    with pytest.raises(ZeroDivisionError, match="^in the input$"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_input_that_cannot_be_iterated(pool, lazily):
    with pytest.raises(TypeError):
        next(lazily(pool)(tasks.double, 5))
    assert pool.apply(tasks.double, (2,)) == 4


def test_inputs_are_read_one_after_another(pool, lazily):
    """Each imap has the reader to itself: the second input waits for the first to end."""
    go_on = threading.Event()

    def numbers():
        yield 1
        go_on.wait(PATIENCE)
        yield 2

    first = lazily(pool)(tasks.double, numbers())
    assert next(first) == 2
    second = lazily(pool)(tasks.double, [3])
    go_on.set()
    assert list(first) == [4] and list(second) == [6]


# --- the end of the pool, and of the iterator


def test_pool_closed_before_all_results_are_taken(make_pool, lazily):
    """All the input is worked off, however much that is."""
    pool = make_pool(2)
    started = lazily(pool)(tasks.double, iter(range(500)))
    untouched = [lazily(pool)(tasks.double, iter(range(3000)), chunksize) for chunksize in (1, 10)]
    first = [next(started) for _ in range(3)]
    pool.close()
    pool.join()
    assert sorted(first + list(started)) == list(range(0, 1000, 2))
    for results in untouched:
        assert take(results, lazily.ordered) == list(range(0, 6000, 2))


@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
def test_pool_that_nobody_keeps(lib, context, lazily):
    results = lazily(lib.Pool(1, context=context))(tasks.double, range(20))
    assert sorted(results) == [2 * n for n in range(20)]


def test_iterator_that_is_dropped(make_pool, mailbox, lazily):
    """Nobody takes the results, and the tasks run all the same."""
    pool = make_pool(1)
    for chunksize, taken in itertools.product([1, 3], [0, 1, 5]):
        results = lazily(pool)(tasks.functools.partial(jobs.announce_number, mailbox), range(20), chunksize)
        for _ in range(taken):
            next(results)
        del results
        assert pool.apply(tasks.double, (2,)) == 4
    pool.close()
    pool.join()
    assert mailbox.take(6 * 20) == [str(number) for number in range(20)] * 6


@pytest.mark.parametrize("chunksize", [1, 3])
def test_loop_that_is_left(pool, lazily, chunksize):
    for result in lazily(pool)(tasks.double, range(100), chunksize):
        if result == 10:
            break
    assert pool.apply(tasks.double, (2,)) == 4
    eventually(lambda: not pool._cache)


def test_terminate_over_an_input_without_end(make_pool, lazily):
    pool, ended = make_pool(2), []

    def numbers():
        try:
            yield from itertools.count()
        finally:
            ended.append(True)

    results, untouched = lazily(pool)(tasks.double, numbers()), lazily(pool)(tasks.double, numbers(), 3)
    for _ in range(3):
        next(results)
    pool.terminate()
    pool.join()
    eventually(lambda: ended or gc.collect() and False)
    del untouched


def test_results_are_not_kept(pool, lazily):
    for result in lazily(pool)(tasks.make_thing, range(10)):
        reference = weakref.ref(result)
        del result
        assert reference() is None


def test_with_workers_that_leave(make_pool):
    pool = make_pool(2, maxtasksperchild=3)
    assert list(pool.imap(tasks.double, range(6))) == [0, 2, 4, 6, 8, 10]
    assert sorted(pool.imap_unordered(tasks.double, range(6))) == [0, 2, 4, 6, 8, 10]
