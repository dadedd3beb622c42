"""The memory that large arrays arrive in: kept for the next one, for a while, and never seen by anybody."""

import copyreg
import pickle
import random

import pytest

from support import tasks
from support.events import PATIENCE, eventually
from support.holdings import private

numpy = pytest.importorskip("numpy", reason="there is no NumPy for this Python yet")

MIB = 1 << 20


def ones(size, first=1):
    array = numpy.ones(size, "u1")
    array[0] = first
    return array


def address(array):
    return array.ctypes.data


def make_address(size):
    return address(numpy.ones(size, "u1"))


def is_writable_and_ones(array):
    same = bool((array == 1).all())
    array[:] = 0
    return same and not array.any()


# ------------------------------------------------------------------------------------------- what arrives
@pytest.mark.parametrize("size", [1000, (256 << 10) - 1, 256 << 10, MIB, 3 * MIB, 40 * MIB])
def test_each_array_is_the_receivers_own(pool, size):
    """However often the same memory is used."""
    sent = numpy.ones(size, "u1")
    for _ in range(5):
        assert pool.submit(is_writable_and_ones, sent).result()
        assert is_writable_and_ones(pool.submit(tasks.echo, sent).result())
        assert sent.all()


def test_arrays_that_are_held_do_not_change(pool):
    """Results that are dropped and kept in any order, of sizes that use each other's memory."""
    dice = random.Random(5)
    held = {}
    for number in range(300):
        size = int(dice.choice([200, 256, 300, 320, 1000, 1100, 3000])) << 10
        held[number % 40] = (size, number % 251, pool.submit(ones, size, number % 251).result())
        if len(held) > 5:
            del held[dice.choice(list(held))]
        for size, first, array in held.values():
            assert array.size == size and array[0] == first and array[1:].all()


@pytest.mark.fastpool_only("the standard library pickles with protocol 4")
@pytest.mark.parametrize("read_only", [False, True])
def test_buffer_of_an_array_is_no_array(pool, read_only):
    """It arrives as pickle has it, whatever it is a buffer of."""
    array = numpy.ones(MIB, "u1")
    array.flags.writeable = not read_only
    wanted = pickle.loads(pickle.dumps(pickle.PickleBuffer(array), 5))
    for sent in (pickle.PickleBuffer(array), [array, pickle.PickleBuffer(array)], [pickle.PickleBuffer(array), array]):
        came = pool.submit(tasks.echo, sent).result()
        buffers = [part for part in (came if isinstance(came, list) else [came]) if type(part) is not numpy.ndarray]
        assert [(type(buffer), buffer) for buffer in buffers] == [(type(wanted), wanted)]


def reduce_by_size(array):
    return make_address, (array.size,)


def test_registered_reducer(pool, monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, numpy.ndarray, reduce_by_size)
    assert type(pool.submit(tasks.echo, numpy.ones(MIB, "u1")).result()) is int


def test_same_array_twice(pool):
    """What was one object is one object."""
    array = numpy.ones(MIB, "u1")
    first, second, others = pool.submit(tasks.echo, (array, array, [array])).result()
    assert first is second is others[0] and pool.submit(tasks.are_one_object, array, array).result()


# ---------------------------------------------------------------------------------------------- how long
def only_here(test):
    without_the_others = pytest.mark.fastpool_only("the standard library leaves it to malloc")
    return without_the_others(pytest.mark.methods("fork")(test))  # how a worker was started makes no difference to its memory


@only_here
def test_memory_is_used_again(make_pool):
    """malloc gives so much back at once."""
    pool = make_pool(1)
    before, places = private(), set()
    for size in (50, 48, 50):
        places.add(address(pool.submit(ones, size * MIB).result()))
        assert 45 < private() - before < 70
    assert len(places) == 1
    worker, sent = next(iter(pool._processes)), numpy.ones(50 * MIB, "u1")
    before, places = private(worker), set()
    for _ in range(3):
        places.add(pool.submit(address, sent).result())
        eventually(lambda: 45 < private(worker) - before < 70)
    assert len(places) == 1


@only_here
def test_idle_memory_goes_back(pool):
    """Of the program, and of workers that have nothing to do."""
    before = private()
    arrays = [pool.submit(ones, 20 * MIB).result() for _ in range(5)]
    assert private() - before > 90
    del arrays
    eventually(lambda: private() - before < 30)
    sizes = {pid: private(pid) for pid in pool._processes}
    assert pool.submit(len, numpy.ones(100 * MIB, "u1")).result() == 100 * MIB
    eventually(lambda: all(private(pid) - size < 30 for pid, size in sizes.items()))


@only_here
def test_nothing_is_kept_without_a_pool(make_pool):
    pool = make_pool(1)
    result, unread = pool.submit(ones, 100 * MIB).result(), pool.submit(ones, MIB)
    before = private()
    pool.shutdown()
    del result
    assert before - private() > 90
    assert unread.result().all()


def drop_and_measure(arrays):
    before = private()
    arrays.clear()
    return before - private()


@only_here
def test_what_a_task_drops_is_free_at_once(make_pool):
    """It may have dropped it to have room for something else."""
    pool = make_pool(1)
    for _ in range(3):
        assert pool.submit(drop_and_measure, [numpy.ones(50 * MIB, "u1")]).result() > 45


@only_here
def test_tasks_have_no_more_memory_than_their_own(make_pool):
    pool = make_pool(1)
    before = pool.submit(private).result()
    assert pool.submit(len, numpy.ones(100 * MIB, "u1")).result() == 100 * MIB
    assert pool.submit(private).result() - before < 30


@only_here
def test_kept_memory_does_not_count_against_a_worker(make_pool):
    pool = make_pool(1, max_memory_per_worker=64 * MIB, on_worker_death="respawn")
    pids = {pool.submit(tasks.pid, numpy.ones(80 * MIB, "u1")).result(PATIENCE) for _ in range(10)}
    assert len(pids) == 1
