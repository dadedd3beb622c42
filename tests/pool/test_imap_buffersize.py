"""buffersize: how far a lazy map reads its input ahead of the results that are taken."""

import gc
import itertools
import threading

import pytest

from support import tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("buffersize is new in 3.16, and without it the standard library has no bound")


class Counted:
    """An input without end that knows how much of it has been read."""

    def __init__(self):
        self.read, self.closed = 0, False

    def __iter__(self):
        try:
            while True:
                self.read += 1
                yield self.read - 1
        finally:
            self.closed = True


@pytest.mark.parametrize("buffersize", [0, -1])
def test_must_be_positive(pool, lazily, buffersize):
    with pytest.raises(ValueError, match="buffersize"):
        lazily(pool)(tasks.double, range(3), buffersize=buffersize)


@pytest.mark.parametrize("buffersize", ["2", 1.5])
def test_must_be_an_integer(pool, lazily, buffersize):
    with pytest.raises(TypeError, match="buffersize"):
        lazily(pool)(tasks.double, range(3), buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [None, 1, 2, 5, 1000])
@pytest.mark.parametrize("chunksize", [1, 3, 50])
def test_results_are_the_same(pool, lazily, chunksize, buffersize):
    results = lazily(pool)(tasks.double, iter(range(100)), chunksize, buffersize=buffersize)
    assert sorted(results) == [2 * n for n in range(100)]


@pytest.mark.parametrize("buffersize", [1, 2, 7])
def test_never_more_than_so_many_ahead(pool, lazily, buffersize):
    numbers = Counted()
    results = lazily(pool)(tasks.double, numbers, buffersize=buffersize)
    eventually(lambda: numbers.read >= buffersize)
    for taken in range(50):
        assert numbers.read <= taken + buffersize
        next(results)
    del results


def test_never_more_than_so_many_chunks_ahead(pool, lazily):
    numbers = Counted()
    results = lazily(pool)(tasks.double, numbers, 5, buffersize=4)
    for taken in range(100):
        assert numbers.read <= taken + (4 + 1) * 5  # the chunk that results are taken from is not ahead
        next(results)
    results.close()


def test_everything_that_may_be_read_is_read(pool, lazily):
    numbers = Counted()
    results = lazily(pool)(tasks.double, numbers, buffersize=10)
    for taken in range(5):
        eventually(lambda taken=taken: numbers.read == taken + 10)
        next(results)
    del results


def test_bound_by_default(make_pool, lazily, gate):
    """As much as the documents say, whether the results are ready and not taken, or not ready."""
    pool, bound = make_pool(1), 1024
    ready = Counted()
    results = lazily(pool)(tasks.echo, ready)
    eventually(lambda: ready.read >= bound)
    assert pool.apply(tasks.double, (2,)) == 4
    unready = Counted()
    others = lazily(pool)(tasks.pass_through, map(lambda _: gate, unready))
    eventually(lambda: unready.read >= bound)
    assert ready.read <= bound + 1 and unready.read <= bound + 1
    gate.open()
    assert sorted(itertools.islice(results, 5)) == list(range(5))
    del others


def test_index_does_not_lift_a_bound_that_was_given(pool, lazily):
    numbers = Counted()
    results = lazily(pool)(tasks.echo, numbers, buffersize=5)
    eventually(lambda: results._index == 5)
    assert pool.apply(tasks.double, (2,)) == 4
    assert results._index == numbers.read == 5


def test_index_does_not_lift_the_bound_for_who_takes_results(make_pool, lazily):
    pool, numbers = make_pool(1), Counted()
    results = lazily(pool)(tasks.echo, numbers)
    next(results)
    eventually(lambda: results._index >= 1024)
    assert pool.apply(tasks.double, (2,)) == 4
    assert results._index <= numbers.read <= 1026


def test_bound_by_default_of_chunks(make_pool, lazily):
    pool, numbers = make_pool(1), Counted()
    results = lazily(pool)(tasks.echo, numbers, 10)
    eventually(lambda: numbers.read >= 10 * 1024)
    assert pool.apply(tasks.double, (2,)) == 4
    assert numbers.read <= 10 * 1025
    results.close()


def test_more_than_the_bound_in_the_end(pool, lazily):
    assert sum(lazily(pool)(tasks.double, iter(range(5000)))) == 5000 * 4999


def test_input_without_end(pool, lazily):
    results = lazily(pool)(tasks.echo, itertools.count(), buffersize=8)
    taken = list(itertools.islice(results, 200))
    assert taken == list(range(200)) or not lazily.ordered
    assert len(set(taken)) == 200 and max(taken) < 208
    del results


def test_close_lifts_the_bound(make_pool, lazily):
    pool = make_pool(2)
    results = lazily(pool)(tasks.double, iter(range(500)), buffersize=3)
    first = next(results)
    pool.close()
    pool.join()
    assert sorted([first, *results]) == list(range(0, 1000, 2))


@pytest.mark.parametrize("chunksize", [1, 4])
def test_dropped_iterator_lets_go_of_the_input(make_pool, lazily, chunksize):
    """Nobody can take its results any more: reading on would never end."""
    pool, numbers = make_pool(1), Counted()
    results = lazily(pool)(tasks.double, numbers, chunksize, buffersize=5)
    next(results)
    del results
    eventually(lambda: gc.collect() or numbers.closed)
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4
    pool.close()
    pool.join()


def test_waiting_reader_holds_nobody_up(pool, lazily):
    """One that may not read on does not keep other maps from being read."""
    numbers = Counted()
    results = lazily(pool)(tasks.double, numbers, buffersize=1)
    eventually(lambda: numbers.read == 1)
    assert sorted(lazily(pool)(tasks.double, iter(range(20)))) == [2 * n for n in range(20)]
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4
    del results


def test_terminate_wakes_the_reader(make_pool, lazily):
    pool, numbers = make_pool(1), Counted()
    before = threading.active_count()
    results = lazily(pool)(tasks.double, numbers, buffersize=2)
    eventually(lambda: numbers.read == 2)
    pool.terminate()
    pool.join()
    eventually(lambda: threading.active_count() < before)
    del results  # held until here: the reader has not ended because nobody could ask


def count_futures(lib):
    return sum(isinstance(thing, lib.Future) for thing in gc.get_objects())


def test_results_of_a_dropped_iterator_are_dropped(lib, make_pool, lazily):
    """The rest of the input is run, but what comes of it is not kept."""
    pool, numbers, others = make_pool(1), Counted(), count_futures(lib)
    results = lazily(pool)(tasks.make_thing, numbers)
    next(results)
    before = numbers.read
    del results
    eventually(lambda: numbers.read > before + 3000)
    assert count_futures(lib) - others <= 2 * 1024
