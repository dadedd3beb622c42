"""map(buffersize=): no more of the input is taken than that ahead of the results."""

import gc
import itertools
import weakref

import pytest

from support import tasks
from support.events import eventually

pytestmark = pytest.mark.stdlib_since(3, 14, "new there; fastpool has it everywhere")


class Source:
    """Counts what was taken from it."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        while True:
            self.taken += 1
            yield self.taken - 1


@pytest.mark.parametrize("buffersize", ["4", 1.5, ()])
def test_type(pool, buffersize):
    with pytest.raises(TypeError, match=r"^buffersize must be an integer or None$"):
        pool.map(tasks.double, range(3), buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [0, -1])
def test_value(pool, buffersize):
    with pytest.raises(ValueError, match=r"^buffersize must be None or > 0$"):
        pool.map(tasks.double, range(3), buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [1, 2, 5, 100, None])
def test_results(pool, buffersize):
    assert list(pool.map(tasks.double, range(30), buffersize=buffersize)) == [2 * n for n in range(30)]


def test_infinite_input(pool):
    results = pool.map(tasks.double, itertools.count(), buffersize=3)
    assert list(itertools.islice(results, 10)) == [2 * n for n in range(10)]


def test_exactly_so_much_is_taken(pool):
    source = Source()
    results = pool.map(tasks.double, source, buffersize=4)
    assert source.taken == 4
    for count in (1, 2, 3):
        assert next(results) == 2 * (count - 1)
        assert source.taken == 4 + count


def test_it_counts_chunks(pool):
    source = Source()
    results = pool.map(tasks.double, source, buffersize=2, chunksize=3)
    assert source.taken == 6
    assert next(results) == 0
    assert source.taken == 9


def test_several_inputs(pool):
    results = pool.map(tasks.add, itertools.count(), range(5), buffersize=2)
    assert list(results) == [0, 2, 4, 6, 8]


def test_no_and_empty_inputs(pool):
    assert list(pool.map(tasks.double, buffersize=2)) == []
    assert list(pool.map(tasks.double, [], buffersize=2)) == []


def test_error_ends_it(pool):
    results = pool.map(tasks.fail_if, itertools.count(), itertools.repeat(2), buffersize=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_iterator_that_has_not_begun_does_not_hold_the_pool(lib, context, is_fastpool):
    pool = lib.ProcessPoolExecutor(1, mp_context=context)
    reference = weakref.ref(pool)
    results = pool.map(tasks.double, itertools.count(), buffersize=2)
    del pool
    eventually(lambda: gc.collect() or reference() is None)
    if is_fastpool:
        # The rest of the input has nobody to go to: the standard library drops it without a word.
        with pytest.raises(RuntimeError, match="garbage-collected"):
            list(results)
    else:
        assert list(results) == [0, 2]


def test_iterator_that_has_begun_holds_the_pool(lib, context):
    pool = lib.ProcessPoolExecutor(1, mp_context=context)
    results = pool.map(tasks.double, itertools.count(), buffersize=2)
    assert next(results) == 0
    del pool
    gc.collect()
    assert [next(results) for _ in range(10)] == [2 * n for n in range(1, 11)]
