"""max_tasks_per_child: a worker that has run so many is replaced."""

import pytest

from support import tasks
from support.events import eventually

pytestmark = pytest.mark.methods("forkserver", "spawn")
BACKLOG = pytest.mark.stdlib_since(3, 14, "a backlog deadlocks when a worker leaves")


def test_worker_leaves_after_so_many(make_pool):
    pool = make_pool(1, max_tasks_per_child=3)
    pids = [pool.submit(tasks.pid).result() for _ in range(7)]
    assert pids[0] == pids[1] == pids[2] != pids[3]
    assert pids[3] == pids[4] == pids[5] != pids[6]
    assert len(set(pids)) == 3


def test_one_task_each(make_pool):
    pool = make_pool(1, max_tasks_per_child=1)
    pids = [pool.submit(tasks.pid).result() for _ in range(3)]
    assert len(set(pids)) == 3


def test_failed_tasks_count(make_pool):
    pool = make_pool(1, max_tasks_per_child=2)
    first = pool.submit(tasks.pid).result()
    assert type(pool.submit(tasks.fail, ValueError()).exception()) is ValueError
    assert pool.submit(tasks.pid).result() != first


def test_a_chunk_counts_as_one(make_pool):
    pool = make_pool(1, max_tasks_per_child=2)
    first = list(pool.map(tasks.pid, range(10), chunksize=10))
    assert pool.submit(tasks.pid).result() == first[0]
    assert len(set(first)) == 1
    assert pool.submit(tasks.pid).result() != first[0]


def test_workers_that_left_are_forgotten(make_pool):
    pool = make_pool(1, max_tasks_per_child=1)
    for _ in range(3):
        pool.submit(tasks.nothing).result()
    eventually(lambda: len(pool._processes) <= 1)


def test_initializer_runs_in_each(make_pool):
    pool = make_pool(1, max_tasks_per_child=1, initializer=tasks.initialize, initargs=("x",))
    assert [pool.submit(tasks.initialized_with).result() for _ in range(2)] == [[("x",)]] * 2


def test_shutdown_right_after(make_pool):
    pool = make_pool(3, max_tasks_per_child=1)
    futures = [pool.submit(tasks.double, number) for number in range(3)]
    pool.shutdown()
    assert [future.result() for future in futures] == [0, 2, 4]


@BACKLOG
def test_with_a_backlog(make_pool):
    pool = make_pool(2, max_tasks_per_child=2)
    futures = [pool.submit(tasks.pid) for _ in range(12)]
    pids = [future.result() for future in futures]
    assert max(pids.count(pid) for pid in pids) == 2


@BACKLOG
def test_shutdown_with_a_backlog(make_pool):
    pool = make_pool(2, max_tasks_per_child=1)
    futures = [pool.submit(tasks.double, number) for number in range(8)]
    pool.shutdown()
    assert [future.result() for future in futures] == [2 * number for number in range(8)]


@BACKLOG
def test_shutdown_without_wait_with_a_backlog(make_pool):
    pool = make_pool(1, max_tasks_per_child=1)
    futures = [pool.submit(tasks.double, number) for number in range(4)]
    pool.shutdown(wait=False)
    assert [future.result() for future in futures] == [0, 2, 4, 6]


@BACKLOG
def test_map(make_pool):
    pool = make_pool(2, max_tasks_per_child=2)
    assert list(pool.map(tasks.double, range(10))) == [2 * n for n in range(10)]
