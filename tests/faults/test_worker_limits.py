"""When workers go by themselves: max_memory_per_worker, idle_timeout, min_workers."""

import threading
import time

import pytest

from support import tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("the standard library's workers stay")

MIB = 1 << 20
kept = []


def grow(mib):
    kept.append(b"x" * (mib * MIB))
    return tasks.pid()


def grow_and_shrink(mib):
    large = b"x" * (mib * MIB)
    del large
    return tasks.pid()


def grow_without_end(mailbox):
    mailbox.put("begun")
    while True:
        kept.append(b"x" * (8 * MIB))
        time.sleep(0.001)


def test_too_large_after_a_task(make_pool):
    pool = make_pool(1, max_memory_per_worker=150 * MIB)
    first = pool.submit(grow, 1).result(PATIENCE)
    assert pool.submit(grow_and_shrink, 250).result(PATIENCE) == first
    assert pool.submit(grow, 200).result(PATIENCE) == first  # its result arrives all the same
    second = pool.submit(grow, 1).result(PATIENCE)
    assert second != first and pool.submit(tasks.pid).result(PATIENCE) == second


@pytest.mark.parametrize("policy", ["break", "respawn"])
def test_far_too_large_in_the_middle_of_a_task(lib, make_pool, mailbox, policy):
    pool = make_pool(2, max_memory_per_worker=100 * MIB, on_worker_death=policy)
    future = pool.submit(grow_without_end, mailbox)
    others = [pool.submit(tasks.double, n) for n in range(50)]
    error = future.exception(PATIENCE)
    assert type(error) is lib.WorkerDied and error.out_of_memory
    assert "200 MiB" in str(error) and "grow_without_end" in str(error)
    assert [other.result(PATIENCE) for other in others] == [2 * n for n in range(50)]
    assert pool.submit(tasks.double, 3).result(PATIENCE) == 6


@pytest.mark.parametrize("least", [0, 1, 2])
def test_idle_workers_go_and_come_back(make_pool, gate, mailbox, least):
    pool = make_pool(3, idle_timeout=0.05, min_workers=least)
    blocked = [pool.submit(tasks.announce_and_wait, mailbox, gate) for _ in range(3)]
    assert len(set(mailbox.take(3))) == 3
    gate.open()
    for future in blocked:
        future.result(PATIENCE)
    eventually(lambda: len(pool._processes) == least)
    assert [pool.submit(tasks.double, n).result(PATIENCE) for n in range(20)] == [2 * n for n in range(20)]


def test_tasks_that_come_just_when_a_worker_leaves(make_pool, start_method):
    pool, pids = make_pool(2, idle_timeout=0.004), set()
    for n in range(150 if start_method == "fork" else 20):  # each may start a worker
        pids.add(pool.submit(tasks.pid).result(PATIENCE))
        time.sleep(0.0035 + n % 10 / 10000)  # no event tells that a worker is about to leave
    assert len(pids) > 2


def test_min_workers_start_at_once(make_pool):
    pool = make_pool(4, idle_timeout=PATIENCE, min_workers=3)
    pool.submit(tasks.nothing).result(PATIENCE)
    assert len(pool._processes) == 3


@pytest.mark.parametrize(
    "options, error",
    [
        ({"max_memory_per_worker": 0}, ValueError),
        ({"max_memory_per_worker": 1.5}, TypeError),
        ({"idle_timeout": 0}, ValueError),
        ({"idle_timeout": "1"}, TypeError),
        ({"min_workers": 3}, ValueError),
        ({"min_workers": -1}, ValueError),
        ({"min_workers": None}, TypeError),
    ],
)
def test_bad_limits(lib, options, error):
    with pytest.raises(error, match=next(iter(options))):
        lib.ProcessPoolExecutor(2, **options)


@pytest.mark.methods("fork")
def test_what_the_program_has_is_not_the_workers(run_script):
    program = run_script(
        """
        # main
        large = b"x" * (300 << 20)
        with Pool(1, max_memory_per_worker=100 << 20) as pool:
            pids = {pool.submit(tasks.announce_pid_after, 0.1).result() for _ in range(4)}
            print(len(pids))
        """
    )
    assert program.stdout == "1\n"


def leave_a_thread():
    threading.Thread(target=time.sleep, args=(600,)).start()
    return tasks.pid()


def test_a_worker_that_cannot_leave(make_pool):
    """A thread of its task keeps it: whoever waits gets another worker."""
    pool = make_pool(1, idle_timeout=0.05)
    first = pool.submit(leave_a_thread).result(PATIENCE)
    eventually(lambda: pool._team.pool.retired)
    assert pool.submit(tasks.pid).result(PATIENCE) != first


class SlowToPickle:
    """Long enough for every idle worker to go meanwhile."""

    def __init__(self, pool):
        self.pool = pool

    def __reduce__(self):
        eventually(lambda: not self.pool._processes)
        return int, (21,)


def test_the_last_worker_goes_while_a_call_is_being_pickled(make_pool):
    pool = make_pool(2, idle_timeout=0.05)
    pool.submit(tasks.nothing).result(PATIENCE)
    assert pool.submit(tasks.double, SlowToPickle(pool)).result(PATIENCE) == 42


@pytest.mark.methods("forkserver", "spawn")
def test_the_last_worker_retires_while_a_call_is_being_pickled(make_pool):
    pool = make_pool(1, max_tasks_per_child=1)
    pool.submit(tasks.nothing).result(PATIENCE)
    assert pool.submit(tasks.double, SlowToPickle(pool)).result(PATIENCE) == 42
