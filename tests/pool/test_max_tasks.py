"""maxtasksperchild: a worker that has run so many calls or chunks is replaced."""

import pytest

from pool import jobs
from support import processes, tasks
from support.events import eventually


def test_worker_leaves_after_so_many(make_pool):
    pool = make_pool(1, maxtasksperchild=2)
    pids = [pool.apply(tasks.pid) for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert len(set(pids)) == 3


def test_failed_calls_count(make_pool):
    pool = make_pool(1, maxtasksperchild=2)
    first = pool.apply(tasks.pid)
    with pytest.raises(ValueError):
        pool.apply(tasks.fail, (ValueError(),))
    assert pool.apply(tasks.pid) != first


def test_a_chunk_counts_as_one(make_pool):
    pool = make_pool(1, maxtasksperchild=3)
    first = pool.map(tasks.pid, range(10), chunksize=10)
    assert list(pool.imap(tasks.pid, range(10), 10)) == list(pool.imap_unordered(tasks.pid, range(10), 10)) == first
    assert len(set(first)) == 1
    assert pool.apply(tasks.pid) != first[0]


def test_with_a_backlog(make_pool):
    pool = make_pool(2, maxtasksperchild=2)
    pids = [result.get() for result in [pool.apply_async(tasks.pid) for _ in range(7)]]
    assert max(pids.count(pid) for pid in pids) == 2


def test_closed_with_a_backlog(make_pool):
    pool = make_pool(2, maxtasksperchild=1)
    result = pool.map_async(tasks.double, range(4), 1)
    pool.close()
    pool.join()
    assert result.get(0) == [0, 2, 4, 6]


def test_terminated_with_a_backlog(make_pool):
    pool = make_pool(2, maxtasksperchild=1)
    pool.map_async(tasks.double, range(1000), 1)
    pool.terminate()
    pool.join()
    assert not any(worker.is_alive() for worker in pool._pool)


def test_replacement(make_pool, mailbox):
    """The old one runs its finalizers and is gone, the new one takes its place."""
    pool = make_pool(1, maxtasksperchild=1, initializer=jobs.announce_finalizer, initargs=(mailbox,))
    pid = pool.apply(tasks.pid)
    assert mailbox.get() == str(pid)
    eventually(lambda: not processes.status(pid))
    eventually(lambda: len(pool._pool) == 1 and pool._pool[0].pid != pid and pool._pool[0].is_alive())
    assert pool._processes == 1


def test_refilling_by_hand(make_pool):
    """As CPython's test has it."""
    pool = make_pool(2, maxtasksperchild=2)
    before = {worker.pid for worker in pool._pool}
    assert [result.get() for result in [pool.apply_async(tasks.double, (n,)) for n in range(6)]] == list(range(0, 12, 2))
    pool._repopulate_pool()
    # In the standard library there may be more of them than there should be: its own thread refills, too.
    eventually(lambda: all(worker.is_alive() for worker in list(pool._pool)))
    after = {worker.pid for worker in pool._pool}
    assert None not in before | after and before != after
