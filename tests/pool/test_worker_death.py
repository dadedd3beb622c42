"""A worker that dies: what it was doing fails and says why, it is replaced, and the rest goes on."""

import os
import pickle
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from pool import jobs
from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("in the standard library the result of a lost task is waited for for ever")

DEATHS = {
    "exit 0": (tasks.exit_process, (0,), 0),
    "exit 3": (tasks.exit_process, (3,), 3),
    "SIGKILL": (tasks.kill_self, (signal.SIGKILL,), -signal.SIGKILL),
    "SIGTERM": (tasks.kill_self, (signal.SIGTERM,), -signal.SIGTERM),
    "crash": (tasks.segfault, (), -signal.SIGSEGV),
    "sys.exit": (tasks.unguarded_exit, (), 5),
    "KeyboardInterrupt": (jobs.interrupt, (), -signal.SIGINT),
    "GeneratorExit": (jobs.leave_generator, (), 1),
}


@pytest.fixture(params=DEATHS)
def death(request):
    return DEATHS[request.param]


def check_died(lib, error, pids, exitcode, function):
    """Named: the process, its end, and the user's function."""
    assert type(error) is lib.WorkerDied and isinstance(error, BrokenProcessPool)
    assert error.pid in pids
    assert (error.exitcode, error.function) == (exitcode, f"{function.__module__}.{function.__name__}")
    assert str(error.pid) in str(error) and error.function in str(error)
    assert (signal.Signals(-exitcode).name if exitcode < 0 else f"code {exitcode}") in str(error)


def check_restored(pool, count):
    """As many workers as before, all of them alive, and at work."""
    eventually(lambda: len(pool._pool) == count and all(processes.alive(worker.pid) for worker in pool._pool))
    assert pool._state == "RUN"
    assert pool.map_async(tasks.double, range(20), 1).get(PATIENCE) == [2 * n for n in range(20)]


def test_no_item_but_its_own(lib, make_pool, death):
    """Neither those before it, nor those that wait, nor one in the other worker."""
    function, arguments, exitcode = death
    pool = make_pool(2)
    pids = {worker.pid for worker in pool._pool}
    before = [pool.apply_async(tasks.double, (number,)) for number in range(20)]
    result = pool.apply_async(function, arguments)
    after = [pool.apply_async(jobs.double_slowly, (number,)) for number in range(20)]
    with pytest.raises(lib.WorkerDied) as caught:
        result.get(PATIENCE)
    check_died(lib, caught.value, pids, exitcode, function)
    assert not result.successful()
    for results in (before, after):
        assert [each.get(PATIENCE) for each in results] == [2 * n for n in range(20)]
    check_restored(pool, 2)
    assert len(pids & {worker.pid for worker in pool._pool}) == 1


def test_maps(lib, make_pool):
    """The user's function is named, whatever the pool wraps it in."""
    pool = make_pool(2)
    for call, function, exitcode in [
        (lambda: pool.map_async(jobs.die_at_three, range(6), 1), jobs.die_at_three, 7),
        (lambda: pool.map_async(jobs.die_at_three, range(6), 2), jobs.die_at_three, 7),
        (lambda: pool.map_async(jobs.die_at_three, range(6), 100), jobs.die_at_three, 7),
        (lambda: pool.starmap_async(jobs.add_or_die, zip(range(6), range(6)), 1), jobs.add_or_die, -signal.SIGKILL),
        (lambda: pool.starmap_async(jobs.add_or_die, zip(range(6), range(6)), 2), jobs.add_or_die, -signal.SIGKILL),
    ]:
        pids = [worker.pid for worker in pool._pool]
        with pytest.raises(lib.WorkerDied) as caught:
            call().get(PATIENCE)
        check_died(lib, caught.value, pids, exitcode, function)
        check_restored(pool, 2)


def test_map_waits_for_all_items(lib, make_pool, mailbox):
    """As it does after any other error."""
    pool = make_pool(1)
    items = [(mailbox, 0), (mailbox, 3), (mailbox, 1), (mailbox, 2)]
    with pytest.raises(lib.WorkerDied):
        pool.starmap_async(jobs.announce_or_die, items, 1).get(PATIENCE)
    assert sorted(mailbox.all()) == ["0", "1", "2"]


def drain(results):
    """What it gives and what it raises, to the end."""
    found, failed = [], []
    while True:
        try:
            found.append(results.next(PATIENCE))
        except StopIteration:
            return found, failed
        except BrokenProcessPool as error:
            failed.append(error)


def test_lazy_map_goes_on(lib, make_pool, lazily):
    pool = make_pool(2)
    pids = [worker.pid for worker in pool._pool]
    found, (error,) = drain(lazily(pool)(jobs.exit_at_three, range(10)))
    assert sorted(found) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    if lazily.ordered:
        assert found == sorted(found)
    check_died(lib, error, pids, 5, jobs.exit_at_three)
    check_restored(pool, 2)


def test_lazy_map_in_chunks_ends(lib, make_pool, lazily):
    pool = make_pool(1)
    pid = pool.apply(tasks.pid)
    results = lazily(pool)(jobs.die_at_three, range(10), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(lib.WorkerDied) as caught:
        next(results)
    check_died(lib, caught.value, [pid], 7, jobs.die_at_three)
    with pytest.raises(StopIteration):
        next(results)
    check_restored(pool, 1)


def test_error_callback(lib, make_pool):
    pool, calls, errors = make_pool(1), [], []
    result = pool.apply_async(tasks.exit_process, (3,), callback=calls.append, error_callback=errors.append)
    mapped = pool.map_async(jobs.die_at_three, range(6), 1, calls.append, errors.append)
    for each in (result, mapped):
        with pytest.raises(lib.WorkerDied):
            each.get(PATIENCE)
    assert calls == [] and [type(error) for error in errors] == [lib.WorkerDied] * 2


def test_error_pickles(lib, make_pool):
    with pytest.raises(lib.WorkerDied) as caught:
        make_pool(1).apply_async(tasks.exit_process, (3,)).get(PATIENCE)
    error, copy = caught.value, pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is lib.WorkerDied
    assert (copy.pid, copy.exitcode, copy.function, str(copy)) == (error.pid, 3, error.function, str(error))


def test_every_worker_dies(lib, make_pool):
    """One after another, more often than there are workers."""
    pool = make_pool(2)
    results = [pool.apply_async(tasks.exit_process, (3,)) for _ in range(6)]
    errors = []
    for result in results:
        with pytest.raises(lib.WorkerDied) as caught:
            result.get(PATIENCE)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == len({error.pid for error in errors}) == 6
    check_restored(pool, 2)


def test_killed_from_outside_at_work(lib, make_pool, mailbox, gate):
    pool = make_pool(2)
    results = {}
    for _ in range(2):
        result = pool.apply_async(tasks.announce_and_wait, (mailbox, gate, "alive"))
        results[int(mailbox.get())] = result
    victim, survivor = results
    waiting = pool.apply_async(tasks.double, (2,))
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(lib.WorkerDied) as caught:
        results[victim].get(PATIENCE)
    check_died(lib, caught.value, [victim], -signal.SIGKILL, tasks.announce_and_wait)
    assert waiting.get(PATIENCE) == 4 and not results[survivor].ready()
    gate.open()
    assert results[survivor].get(PATIENCE) == "alive"
    check_restored(pool, 2)


def test_idle_workers_killed(make_pool):
    """One, then all; nothing fails."""
    pool = make_pool(2)
    for count, signum in [(1, signal.SIGKILL), (2, signal.SIGKILL), (1, signal.SIGTERM)]:
        assert pool.map(tasks.double, range(30), 1) == [2 * n for n in range(30)]
        victims = {worker.pid for worker in pool._pool[:count]}
        for victim in victims:
            os.kill(victim, signum)
        eventually(lambda victims=victims: not {worker.pid for worker in pool._pool} & victims)
        check_restored(pool, 2)


def test_killed_before_its_first_task(make_pool):
    pool = make_pool(2)
    for worker in list(pool._pool):
        worker.kill()
    check_restored(pool, 2)


def test_death_while_the_pool_closes(lib, make_pool):
    """The rest is done, by workers started for it if need be."""
    pool = make_pool(1)
    died = pool.apply_async(tasks.exit_process, (3,))
    results = [pool.apply_async(tasks.double, (number,)) for number in range(10)]
    pool.close()
    pool.join()
    with pytest.raises(lib.WorkerDied):
        died.get(0)
    assert [result.get(0) for result in results] == [2 * n for n in range(10)]


def test_death_with_max_tasks(lib, make_pool):
    pool = make_pool(1, maxtasksperchild=2)
    for _ in range(2):
        assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4
        with pytest.raises(lib.WorkerDied):
            pool.apply_async(tasks.exit_process, (3,)).get(PATIENCE)
    check_restored(pool, 1)


def test_replacement_is_initialized(lib, make_pool):
    pool = make_pool(1, initializer=tasks.initialize, initargs=("x",))
    with pytest.raises(lib.WorkerDied):
        pool.apply_async(tasks.exit_process, (3,)).get(PATIENCE)
    assert pool.apply_async(tasks.initialized_with).get(PATIENCE) == [("x",)]


def test_waiters_of_every_kind_hear_of_it(lib, make_pool, mailbox):
    pool = make_pool(1)
    result = pool.apply_async(tasks.announce_and_sleep, (mailbox,))
    ended = []

    def wait(way):
        try:
            getattr(result, way)(PATIENCE)
        except lib.WorkerDied:
            pass
        ended.append((way, result.ready(), result.successful()))

    threads = [threading.Thread(target=wait, args=(way,)) for way in ("get", "wait")]
    for thread in threads:
        thread.start()
    os.kill(int(mailbox.get()), signal.SIGKILL)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(ended) == [("get", True, False), ("wait", True, False)]


def test_noticed_in_spite_of_a_grandchild(lib, make_pool, mailbox):
    """It holds the worker's pipes open for as long as it lives."""
    pool = make_pool(1)
    result = pool.apply_async(tasks.start_child_that_sleeps, (mailbox,))
    grandchild = int(mailbox.get())
    try:
        assert result.get(PATIENCE) == grandchild
        result = pool.apply_async(tasks.announce_and_sleep, (mailbox,))
        os.kill(int(mailbox.get()), signal.SIGKILL)
        with pytest.raises(lib.WorkerDied):
            result.get(PATIENCE)
        check_restored(pool, 1)
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_interrupt_of_an_idle_worker_hurts_nobody(make_pool):
    pool = make_pool(2)
    pool.map(tasks.nothing, range(10))
    for worker in list(pool._pool):
        os.kill(worker.pid, signal.SIGINT)
    check_restored(pool, 2)


def test_large_result_that_is_cut_off(lib, make_pool, mailbox):
    """Killed at some moment of its sending: the half is nobody's result."""
    pool = make_pool(1)
    for delay in range(5):
        result = pool.apply_async(jobs.announce_and_return_large, (mailbox, 20_000_000))
        worker = int(mailbox.get())
        time.sleep(delay / 500)
        os.kill(worker, signal.SIGKILL)
        try:
            assert len(result.get(PATIENCE)) == 20_000_000
        except lib.WorkerDied as error:
            assert error.pid == worker
    check_restored(pool, 1)


@pytest.mark.methods("spawn")
def test_somebody_else_kills_them_as_they_start(make_pool):
    """That says nothing about the next ones: they are started all the same."""
    pool, killed = make_pool(2), set()
    while len(killed) < 7:
        for worker in list(pool._pool):
            if worker.pid not in killed and processes.kill(worker.pid):
                killed.add(worker.pid)
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4
