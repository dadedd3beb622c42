"""chunksize: its default, what is refused and what is not, and the counting of chunks that progress bars read."""

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually


def wanted_chunksize(length, processes):
    """Four chunks for each process, rounded up."""
    return -(-length // (4 * processes))


@pytest.mark.parametrize("method", ["map_async", "starmap_async"])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 17, 100, 1001])
def test_default(pool, method, length):
    result = getattr(pool, method)(tasks.echo, [(number,) for number in range(length)])
    assert result._chunksize == wanted_chunksize(length, 2)
    assert len(result.get()) == length


def test_default_follows_the_number_of_processes(single, make_pool):
    assert single.map_async(tasks.echo, range(100))._chunksize == 25
    assert make_pool(3).map_async(tasks.echo, range(100))._chunksize == 9


@pytest.mark.parametrize("chunksize", [0, -1, -100])
@pytest.mark.parametrize("method", ["map_async", "starmap_async"])
def test_map_in_chunks_of_nothing_calls_nothing(pool, mailbox, method, chunksize):
    """A quirk of the standard library that costs nothing to keep."""
    result = getattr(pool, method)(tasks.announce, [(mailbox,)] * 2, chunksize)
    assert result.ready() and result.successful()
    assert result.get(0) == [None, None]
    assert pool.apply(tasks.double, (2,)) == 4
    assert mailbox.all() == []


@pytest.mark.parametrize("chunksize", [0, -1, -100])
def test_lazy_map_in_chunks_of_nothing_is_refused(pool, lazily, chunksize):
    with pytest.raises(ValueError) as caught:
        lazily(pool)(tasks.double, [1, 2], chunksize)
    assert str(caught.value) == f"Chunksize must be 1+, not {chunksize}"
    assert not pool._cache


def test_chunksize_that_is_no_number(make_pool, lazily):
    pool = make_pool(1)
    with pytest.raises(TypeError):
        pool.map(tasks.double, [1, 2], "2")
    with pytest.raises(TypeError):
        lazily(pool)(tasks.double, [1, 2], "2")


@pytest.mark.parametrize("length, chunksize", [(0, None), (0, 5), (1, 1), (7, 3), (9, 3), (10, 100), (100, None)])
def test_number_of_chunks_left(single, gate, length, chunksize):
    blocker = single.apply_async(tasks.pass_through, (gate,))
    result = single.map_async(tasks.double, range(length), chunksize)
    size = result._chunksize
    assert size == (0 if not length else chunksize or wanted_chunksize(length, 1))
    assert result._number_left == (length // size + bool(length % size) if length else 0)
    gate.open()
    assert result.get() == [2 * number for number in range(length)]
    assert result._number_left == 0 and blocker.get() is None


def test_number_falls_with_each_chunk(single, make_gate):
    gates = [make_gate() for _ in range(4)]
    result = single.map_async(jobs.pass_each, [(gate, n) for n, gate in enumerate(gates)], chunksize=1)
    for left, gate in zip([3, 2, 1, 0], gates, strict=True):
        gate.open()
        eventually(lambda left=left: result._number_left == left)
        assert left == 0 or not result.ready()
    assert result.get() == [0, 1, 2, 3]


def test_number_falls_with_failed_chunks_too(single):
    result = single.map_async(jobs.fail_odd, range(10), chunksize=1)
    result.wait()
    assert result._number_left == 0 and not result.successful()


def test_chunk_runs_in_one_worker(make_pool):
    pool = make_pool(2, maxtasksperchild=1)
    pids = pool.map(tasks.pid, range(9), chunksize=3)
    assert pids[0] == pids[1] == pids[2] and pids[3] == pids[4] == pids[5] and pids[6] == pids[7] == pids[8]
    assert len(set(pids)) == 3


def test_error_ends_its_chunk(single, mailbox):
    """What follows it in the chunk is not called; the other chunks are."""
    items = [(mailbox, 0), (mailbox, 1, 1, 1), (mailbox, 2), (mailbox, 3), (mailbox, 4), (mailbox, 5)]
    with pytest.raises(TypeError):
        single.starmap(tasks.announce, items, chunksize=3)
    assert mailbox.all() == ["0", "3", "4", "5"]


@pytest.mark.fastpool_only("the standard library cannot cut the input, and waits for the chunks")
def test_map_in_chunks_of_a_fraction(pool):
    with pytest.raises((TypeError, ValueError)):
        pool.map_async(tasks.double, range(4), 1.5).get(PATIENCE)
    assert pool.map(tasks.double, [1]) == [2]
