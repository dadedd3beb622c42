"""map(): order, errors, chunks, time limits, and what an iterator that nobody finishes does."""

import itertools
import sys
import time
import weakref

import pytest

from support import tasks
from support.events import PATIENCE, eventually


@pytest.mark.parametrize("chunksize", [1, 2, 3, 7, 100, 1000])
def test_order(pool, chunksize):
    assert list(pool.map(tasks.double, range(100), chunksize=chunksize)) == [2 * n for n in range(100)]


def test_shortest_iterable_ends_it(pool):
    found = pool.map(tasks.everything, range(3), itertools.count(10), "abcdef")
    assert [arguments for arguments, _ in found] == [(0, 10, "a"), (1, 11, "b"), (2, 12, "c")]


def test_no_iterables(pool):
    assert list(pool.map(tasks.nothing)) == []


@pytest.mark.parametrize("chunksize", [1, 10])
def test_empty_iterable(pool, chunksize):
    assert list(pool.map(tasks.nothing, [], chunksize=chunksize)) == []


def test_input_may_be_a_generator(pool):
    assert list(pool.map(tasks.double, (n for n in range(5)))) == [0, 2, 4, 6, 8]


def test_result_is_an_iterator(pool):
    results = pool.map(tasks.double, range(3))
    assert iter(results) is results
    assert not hasattr(results, "__len__")
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


def test_none_is_a_result_like_any_other(pool):
    assert list(pool.map(tasks.nothing, range(3))) == [None] * 3


def test_first_error_ends_it(pool):
    results = pool.map(tasks.fail_if, range(5), itertools.repeat(1))
    assert next(results) == 0
    with pytest.raises(ValueError) as caught:
        next(results)
    assert caught.value.args == (1,)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


def test_error_takes_its_whole_chunk(pool):
    results = pool.map(tasks.fail_if, range(9), itertools.repeat(4), chunksize=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_chunksize_must_be_positive(pool, chunksize):
    with pytest.raises(ValueError, match=r"^chunksize must be >= 1\.$"):
        pool.map(tasks.double, range(3), chunksize=chunksize)


def test_chunksize_must_be_an_integer(pool):
    # Which of the two depends on what the version cuts the input with.
    with pytest.raises(ValueError if sys.version_info < (3, 12) else (TypeError, ValueError)):
        list(pool.map(tasks.double, range(3), chunksize=1.5))


def test_function_that_does_not_pickle(pool):
    with pytest.raises(ZeroDivisionError, match="^at pickling"):
        list(pool.map(tasks.FailsToPickle(), range(3)))
    assert pool.submit(tasks.double, 2).result() == 4


def test_input_is_consumed_before_the_first_result(single, gate):
    blocker = single.submit(tasks.pass_through, gate)
    source = iter(range(300))
    results = single.map(tasks.double, source)
    assert list(source) == []
    gate.open()
    assert list(results) == [2 * n for n in range(300)]
    assert blocker.result() is None


@pytest.mark.parametrize("chunksize", [1, 2])
def test_error_of_the_input_leaves_map(pool, chunksize):
    def numbers():
        yield 1
        raise ZeroDivisionError("in the input")

    with pytest.raises(ZeroDivisionError, match="^in the input$"):
        pool.map(tasks.double, numbers(), chunksize=chunksize)


def test_input_that_cannot_be_iterated(pool):
    with pytest.raises(TypeError, match="not iterable|must support iteration"):
        pool.map(tasks.double, 5)


def test_timeout(single, gate):
    results = single.map(tasks.pass_through, [gate] * 5, range(5), timeout=0.1)
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        next(results)
    assert caught.value.args == () and time.monotonic() - start < PATIENCE
    with pytest.raises(StopIteration):
        next(results)
    gate.open()


def test_timeout_counts_from_the_call(single, gate):
    start = time.monotonic()
    results = single.map(tasks.pass_through, [gate] * 2, range(2), timeout=0.2)
    eventually(lambda: time.monotonic() - start > 0.2)
    late = time.monotonic()
    with pytest.raises(TimeoutError):
        next(results)
    assert time.monotonic() - late < 0.2
    gate.open()


def test_timeout_does_not_hide_what_is_done(pool):
    results = pool.map(tasks.double, range(3), timeout=PATIENCE)
    assert list(results) == [0, 2, 4]


def test_timeout_cancels_the_rest(single, gate, mailbox):
    blocker = single.submit(tasks.announce_and_wait, mailbox, gate)
    mailbox.get()
    results = single.map(tasks.announce, [mailbox] * 50, range(50), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    blocker.result()
    single.submit(tasks.nothing).result()
    assert len(mailbox.all()) < 10


def test_iterator_dropped_before_its_start(single, gate, mailbox):
    blocker = single.submit(tasks.pass_through, gate)
    results = single.map(tasks.announce, [mailbox] * 20, range(20))
    del results
    gate.open()
    blocker.result()
    assert mailbox.take(20) == [str(n) for n in range(20)]


@pytest.mark.parametrize("way", ["del", "close"])
def test_iterator_dropped_after_its_start_cancels_the_rest(make_pool, make_gate, mailbox, way):
    pool = make_pool(1)
    gates = [make_gate() for _ in range(2)]
    results = pool.map(tasks.announce_and_wait, [mailbox] * 20, [gates[0]] + [gates[1]] * 19, range(20))
    gates[0].open()
    assert next(results) == 0
    if way == "del":
        del results
    else:
        results.close()
    gates[1].open()
    pool.shutdown()
    assert 1 <= len(mailbox.all()) < 10


def test_yielded_results_are_not_kept(pool):
    for result in pool.map(tasks.make_thing, range(10)):
        reference = weakref.ref(result)
        del result
        assert reference() is None


def test_map_of_a_pool_that_nobody_keeps(lib, context):
    results = lib.ProcessPoolExecutor(2, mp_context=context).map(tasks.double, range(20))
    assert list(results) == [2 * n for n in range(20)]


def test_several_maps_at_once(pool):
    pairs = zip(pool.map(tasks.double, range(50)), pool.map(tasks.add, range(50), range(50)), strict=True)
    assert all(left == right for left, right in pairs)


def test_large_map(pool):
    assert sum(pool.map(tasks.double, range(3000))) == 3000 * 2999


def test_large_items(pool):
    sizes = range(100_000, 100_020)
    assert [len(result) for result in pool.map(tasks.large, sizes)] == list(sizes)


def test_map_after_shutdown_of_started_iterator(make_pool):
    pool = make_pool(2)
    results = pool.map(tasks.double, range(10))
    pool.shutdown()
    assert list(results) == [2 * n for n in range(10)]


def test_stop_iteration_in_a_task(pool):
    results = pool.map(tasks.fail, [StopIteration("mine")])
    with pytest.raises((RuntimeError, StopIteration)):
        next(results)
