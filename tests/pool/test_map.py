"""map() and its like: order, errors, and inputs of every kind."""

import collections
import itertools
import multiprocessing.pool
import threading

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually


@pytest.mark.parametrize("chunksize", [None, 1, 2, 3, 7, 100, 1000])
def test_order(pool, chunksize):
    assert pool.map(tasks.double, range(100), chunksize) == [2 * n for n in range(100)]
    assert pool.map_async(tasks.double, range(100), chunksize=chunksize).get() == [2 * n for n in range(100)]


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2, 3],
        (1, 2, 3),
        {1: "a", 2: "b", 3: "c"},
        collections.deque([1, 2, 3]),
        range(1, 4),
        b"\1\2\3",
    ],
    ids=lambda value: type(value).__name__,
)
def test_inputs_with_a_length(pool, numbers):
    assert pool.map(tasks.double, numbers) == [2, 4, 6]


@pytest.mark.parametrize(
    "make",
    [lambda: (n for n in (1, 2, 3)), lambda: iter([1, 2, 3]), lambda: map(int, "123"), lambda: zip((1, 2, 3))],
    ids=["generator", "iterator", "map", "zip"],
)
def test_inputs_without_a_length(pool, make):
    assert pool.map(tasks.echo, make()) == list(make())


def test_list_comes_back(pool):
    assert type(pool.map(tasks.double, (1, 2))) is list
    assert type(pool.map(tasks.double, ())) is list


def test_input_without_a_length_is_read_in_the_caller(single, gate):
    blocker, readers = single.apply_async(tasks.pass_through, (gate,)), []

    def numbers():
        for number in range(300):
            readers.append(threading.current_thread())
            yield number

    result = single.map_async(tasks.double, numbers())
    assert readers == [threading.current_thread()] * 300
    gate.open()
    assert result.get() == [2 * n for n in range(300)] and blocker.get() is None


@pytest.mark.parametrize("empty", [[], (), {}, "", range(0)], ids=repr)
def test_empty_input(pool, empty):
    assert pool.map(tasks.double, empty) == []
    assert pool.starmap(tasks.add, empty) == []
    result = pool.map_async(tasks.double, empty)
    assert result.ready() and result.successful() and result.get(0) == []


def test_empty_generator(pool):
    assert pool.map(tasks.double, (n for n in ())) == []


def test_empty_input_and_a_chunksize(pool):
    assert pool.map(tasks.double, [], chunksize=10) == []


def test_none_is_a_result_like_any_other(pool):
    assert pool.map(tasks.nothing, range(5)) == [None] * 5


def test_error_of_an_item(pool):
    with pytest.raises(ValueError) as caught:
        pool.map(jobs.fail_at_three, range(10))
    assert caught.value.args == (3,)
    assert type(caught.value.__cause__) is multiprocessing.pool.RemoteTraceback


def test_error_waits_for_all_items(pool, gate):
    """None is given up because an earlier one has failed."""
    result = pool.starmap_async(jobs.wait_at, [({}, 0, "too many"), ({1: gate}, 1), ({}, 2)], chunksize=1)
    eventually(lambda: result._number_left == 1)
    assert not result.ready()
    gate.open()
    with pytest.raises(TypeError):
        result.get()


def test_first_error_that_arrives_is_the_one(single):
    with pytest.raises(ValueError) as caught:
        single.map(jobs.fail_odd, range(10), chunksize=1)
    assert caught.value.args == (1,)


def test_every_item_runs_in_spite_of_an_error(single, mailbox):
    items = [(mailbox, "zero"), (mailbox,) * 9, (mailbox, "two"), (mailbox, "three")]
    with pytest.raises(TypeError):
        single.starmap(tasks.announce, items, chunksize=1)
    assert mailbox.all() == ["zero", "two", "three"]


def test_error_of_a_generator_leaves_map(pool):
    def numbers():
        yield 1
        raise ZeroDivisionError("in the input")

    for method in (pool.map, pool.map_async, pool.starmap, pool.starmap_async):
        with pytest.raises(ZeroDivisionError, match="^in the input$"):
            method(tasks.double, numbers())
    assert pool.map(tasks.double, [1]) == [2]


@pytest.mark.parametrize("method", ["map", "starmap"])
def test_error_of_an_input_with_a_length(pool, method):
    with pytest.raises(ZeroDivisionError, match="^in the input$") as caught:
        getattr(pool, method)(tasks.double, jobs.FailsWhenRead(1, 0), 1)
    assert caught.value.__cause__ is None
    assert pool.map(tasks.double, [1]) == [2]


def test_error_after_the_last_item(pool):
    with pytest.raises(ZeroDivisionError):
        pool.map(tasks.double, jobs.FailsWhenRead(4, 3), 1)


class CannotBeIterated:
    def __len__(self):
        return 1


def test_input_that_cannot_be_iterated(pool):
    with pytest.raises(TypeError):
        pool.map(tasks.double, 5)
    with pytest.raises(TypeError):
        pool.map(tasks.double, CannotBeIterated())
    assert pool.map(tasks.double, [1]) == [2]


class Sequence:
    """No __iter__, but items by number, as old sequences have."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return [1, 2, 3][index]


def test_input_that_has_only_items(pool):
    assert pool.map(tasks.double, Sequence()) == [2, 4, 6]


def test_several_maps_at_once(pool):
    results = [pool.map_async(tasks.add, range(start, start + 50)) for start in range(10)]
    assert [result.get() for result in results] == [list(range(start, start + 50)) for start in range(10)]


def test_maps_of_several_threads(pool):
    found = {}

    def work(number):
        found[number] = pool.map(tasks.double, range(number, number + 30), number + 1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {number: [2 * n for n in range(number, number + 30)] for number in range(5)}


def test_large_map(pool):
    assert sum(pool.map(tasks.double, range(20_000))) == 20_000 * 19_999


def test_large_items(pool):
    sizes = range(100_000, 100_020)
    assert [len(result) for result in pool.map(tasks.large, sizes)] == list(sizes)


# --- starmap


def test_starmap(pool):
    assert pool.starmap(tasks.add, zip(range(10), range(10, 20))) == list(range(10, 30, 2))
    assert pool.starmap_async(tasks.add, [(1, 2), [3, 4], "ab", (5,)]).get() == [3, 7, "ab", 5]
    assert pool.starmap(tasks.add, itertools.product([1, 2], [10, 20]), chunksize=3) == [11, 21, 12, 22]


def test_starmap_of_items_that_do_not_unpack(pool):
    with pytest.raises(TypeError):
        pool.starmap(tasks.add, [(1, 2), 3])
    with pytest.raises(TypeError):
        pool.starmap(tasks.add, [(1, 2, 3)])
    assert pool.starmap(tasks.everything, [()]) == [((), {})]


# --- where the standard library hangs


@pytest.mark.fastpool_only("the standard library waits for the chunks that were never sent")
@pytest.mark.parametrize("given", [0, 1, 5])
def test_error_of_an_input_long_before_its_end(pool, given):
    with pytest.raises(ZeroDivisionError, match="^in the input$"):
        pool.map_async(tasks.double, jobs.FailsWhenRead(10, given), 1).get(PATIENCE)
    assert pool.map(tasks.double, [1]) == [2]


class ShorterThanItSays:
    def __len__(self):
        return 10

    def __iter__(self):
        return iter(range(3))


@pytest.mark.fastpool_only("the standard library waits for the chunks that were never sent")
def test_input_that_is_shorter_than_it_says(pool):
    result = pool.map_async(tasks.double, ShorterThanItSays(), 1)
    result.wait(PATIENCE)
    assert result.ready()
    if result.successful():
        assert result.get()[:3] == [0, 2, 4]
    assert pool.map(tasks.double, [1]) == [2]
