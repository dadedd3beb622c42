"""Calls that are stopped while they run: options(timeout=...), Future.kill()."""

import asyncio
import os
import pickle
import random
import signal
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("the standard library cannot stop a call")


@pytest.fixture(params=["break", "respawn"])
def make_pool_of_kind(request, make_pool):
    def make(max_workers=2, **options):
        return make_pool(max_workers, on_worker_death=request.param, **options)

    return make


def test_over_its_time(lib, make_pool_of_kind, mailbox):
    pool = make_pool_of_kind(2)
    other = pool.submit(tasks.sleep, 0.5)
    start = time.monotonic()
    future = pool.options(timeout=0.1).submit(tasks.announce_and_spin, mailbox)
    error = future.exception(PATIENCE)
    assert time.monotonic() - start >= 0.1
    assert type(error) is lib.TaskTimeout and isinstance(error, TimeoutError)
    assert error.limit == 0.1 and 0.1 <= error.elapsed < PATIENCE and error.function == "support.tasks.announce_and_spin"
    assert "in announce_and_spin" in error.stack and "worker.py" not in error.stack
    assert "0.1 s" in str(error) and error.stack in error.__notes__[0]
    pid = int(mailbox.get())
    eventually(lambda: not processes.alive(pid))
    assert other.result(PATIENCE) == 0.5
    assert [pool.submit(tasks.double, n).result(PATIENCE) for n in range(10)] == [2 * n for n in range(10)]
    assert len(pool._processes) <= 2 and pid not in pool._processes


def test_error_pickles(lib, make_pool):
    error = make_pool(1).options(timeout=0.05).submit(tasks.sleep, 600).exception(PATIENCE)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.limit, copy.elapsed, copy.stack) == (
        lib.TaskTimeout,
        str(error),
        error.limit,
        error.elapsed,
        error.stack,
    )


def test_time_in_the_queue_does_not_count(make_pool):
    pool = make_pool(1)
    blocker = pool.submit(tasks.sleep, 0.4)
    future = pool.options(timeout=0.3).submit(tasks.sleep, 0.01)
    assert future.result(PATIENCE) == 0.01 and blocker.done()


def test_a_limit_that_is_not_reached(make_pool_of_kind):
    pool = make_pool_of_kind(2)
    pids = set(pool.options(timeout=60).map(tasks.pid, range(2000)))
    assert pids <= set(pool._processes)


def test_of_many_at_once(lib, make_pool, start_method):
    """Limits that are reached just when the call ends: the one or the other, and always in time."""
    pool, dice = make_pool(4), random.Random(7)
    with_limit, count = pool.options(timeout=0.02), 60 if start_method == "fork" else 20
    futures = [with_limit.submit(tasks.sleep, 0.02 + dice.uniform(-0.002, 0.002)) for _ in range(count)]
    outcomes = [future.exception(PATIENCE) for future in futures]
    assert lib.TaskTimeout in {type(error) for error in outcomes} <= {lib.TaskTimeout, type(None)}
    assert pool.submit(tasks.double, 1).result(PATIENCE) == 2


def test_more_than_the_ring_holds(lib, make_pool):
    """Those in the backlog get into the ring while nobody looks."""
    pool = make_pool(2)
    futures = [pool.submit(tasks.nothing) for _ in range(3000)]
    late = pool.options(timeout=0.1).submit(tasks.sleep, 600)
    futures += [pool.submit(tasks.nothing) for _ in range(3000)]
    assert type(late.exception(PATIENCE)) is lib.TaskTimeout
    assert all(future.result(PATIENCE) is None for future in futures)


def test_a_worker_that_does_not_answer(lib, make_pool, mailbox):
    pool = make_pool(1)
    future = pool.options(timeout=0.3).submit(tasks.announce_and_sleep, mailbox)
    pid = int(mailbox.get())
    os.kill(pid, signal.SIGSTOP)
    error = future.exception(PATIENCE)
    assert type(error) is lib.TaskTimeout and error.stack is None
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4


@pytest.mark.parametrize("grace", [None, PATIENCE])
@pytest.mark.parametrize("way", ["timeout", "kill"])
def test_children_of_the_task_end_with_it(make_pool, mailbox, way, grace):
    pool = make_pool(1)
    terms = pool.options(timeout=0.3 if way == "timeout" else None, grace=grace)
    future = terms.submit(tasks.start_child_and_wait, mailbox)
    child = int(mailbox.get())
    if way == "kill":
        assert future.kill()
    with pytest.raises((TimeoutError, CancelledError)):
        future.result(PATIENCE)
    eventually(lambda: not processes.alive(child))


@pytest.mark.parametrize("way", ["timeout", "kill"])
def test_grace(make_pool, mailbox, way):
    """SIGTERM first."""
    pool = make_pool(1)
    future = pool.options(timeout=0.2 if way == "timeout" else None, grace=PATIENCE).submit(tasks.announce_sigterm, mailbox)
    mailbox.get()
    if way == "kill":
        future.kill()
    assert mailbox.get() == "terminated"
    assert future.exception(PATIENCE) if way == "timeout" else future.cancelled()
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4


def test_grace_comes_to_an_end(make_pool, mailbox):
    pool = make_pool(1)
    future = pool.options(grace=0.1).submit(tasks.announce_and_ignore_sigterm, mailbox)
    pid = int(mailbox.get())
    start = time.monotonic()
    future.kill()
    eventually(lambda: not processes.alive(pid))
    assert time.monotonic() - start >= 0.1
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4


def test_kill_a_call_that_runs(make_pool_of_kind, mailbox):
    pool, seen = make_pool_of_kind(1), []
    future = pool.submit(tasks.announce_and_spin, mailbox)
    future.add_done_callback(seen.append)
    waiting = [pool.submit(tasks.double, n) for n in range(10)]
    pid = int(mailbox.get())
    assert future.running() and not future.cancel()
    assert future.kill() and future.cancelled() and future.done() and not future.running()
    with pytest.raises(CancelledError):
        future.result()
    eventually(lambda: not processes.alive(pid))
    assert [other.result(PATIENCE) for other in waiting] == [2 * n for n in range(10)]
    assert seen == [future] and pid not in pool._processes


def test_kill_a_call_that_waits(make_pool, gate):
    pool = make_pool(1)
    blocker = pool.submit(tasks.pass_through, gate, "kept")
    future = pool.submit(tasks.double, 2)
    assert future.kill() and future.cancelled()
    gate.open()
    assert blocker.result(PATIENCE) == "kept"


def test_kill_a_call_that_is_done(make_pool):
    future = make_pool(1).submit(tasks.double, 2)
    assert future.result(PATIENCE) == 4
    assert not future.kill() and future.result() == 4


def test_kill_and_shut_down(make_pool_of_kind, mailbox):
    pool = make_pool_of_kind(2)
    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(2)]
    pids = [int(pid) for pid in mailbox.take(2)]
    assert all(future.kill() for future in futures)
    pool.shutdown()
    assert not any(processes.alive(pid) for pid in pids)


def test_killed_under_asyncio(make_pool, mailbox):
    pool = make_pool(1)

    async def main():
        future = pool.submit(tasks.announce_and_sleep, mailbox)
        wrapped = asyncio.wrap_future(future)
        await asyncio.to_thread(mailbox.get)
        future.kill()
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    asyncio.run(main())


def test_a_storm_of_kills(make_pool_of_kind):
    """At any moment of their lives: each is cancelled, or has its value."""
    pool, dice = make_pool_of_kind(2), random.Random(11)
    for _ in range(15):
        futures = [pool.submit(tasks.sleep, dice.choice([0, 0, 0.001, 0.01])) for _ in range(10)]
        time.sleep(dice.uniform(0, 0.01))
        for future in dice.sample(futures, 3):
            assert future.kill() == future.cancelled()
        for future in futures:
            assert future.cancelled() or future.exception(PATIENCE) is None
    future = pool.submit(tasks.sleep, 600)
    eventually(future.running)
    assert future.kill() and future.cancelled()


@pytest.mark.parametrize("grace", [None, 5])
def test_a_stopped_task_is_no_crash(run_script, grace):
    """Its stack is in the error; faulthandler does not show it as well."""
    finished = run_script(f"""
        import faulthandler
        # main
        faulthandler.enable()
        with Pool(1) as pool:
            error = pool.options(timeout=0.2, grace={grace}).submit(tasks.sleep, 600).exception()
            print(type(error).__name__)
        """)
    assert (finished.stdout, finished.stderr, finished.returncode) == ("TaskTimeout\n", "", 0)


def test_name_and_map(make_pool):
    pool = make_pool(2)
    view = pool.options(timeout=0.2, name="the slow step")
    with pytest.raises(TimeoutError, match="the slow step ran for"):
        list(view.map(tasks.sleep, [0.01, 600, 0.01]))
    assert list(view.map(tasks.add, [1, 2, 3], [4, 5, 6], chunksize=2)) == [5, 7, 9]
    assert list(view.map(tasks.double, range(9), buffersize=2)) == [2 * n for n in range(9)]
    assert view.submit(tasks.everything, 1, timeout=2, name=3).result(PATIENCE) == ((1,), {"timeout": 2, "name": 3})


@pytest.mark.parametrize(
    "options, error",
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"grace": 0}, ValueError),
        ({"retries": 1}, ValueError),
        ({"name": 3}, TypeError),
        ({"timeouts": 1}, TypeError),
    ],
)
@pytest.mark.methods("fork")
def test_bad_options(make_pool, options, error):
    with pytest.raises(error, match=next(iter(options))):
        make_pool(1).options(**options)


def test_shutdown_with_a_time_limit(make_pool, mailbox):
    """Whatever the worker is at: one that is stopped does not follow SIGTERM."""
    pool = make_pool(2)
    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(5)]
    pids = [int(pid) for pid in mailbox.take(2)]
    os.kill(pids[0], signal.SIGSTOP)
    pool.shutdown(timeout=0.2)
    assert not any(processes.alive(pid) for pid in pids)
    for future in futures:
        with pytest.raises(BrokenProcessPool, match=r"0.2 s of shutdown\(\)"):
            future.result(PATIENCE)


def test_shutdown_within_its_time_limit(make_pool):
    pool = make_pool(2)
    future = pool.submit(tasks.sleep, 0.05)
    pool.shutdown(timeout=PATIENCE)
    assert future.result() == 0.05


def test_kill_workers_that_are_stopped(make_pool, mailbox):
    pool = make_pool(2)
    future = pool.submit(tasks.announce_and_sleep, mailbox)
    os.kill(int(mailbox.get()), signal.SIGSTOP)
    pool.kill_workers()
    pool.shutdown()
    assert isinstance(future.exception(PATIENCE), BrokenProcessPool)


@pytest.mark.methods("fork")
def test_what_a_task_printed_is_not_lost_with_its_worker(run_script):
    program = run_script(
        """
        def say_and_die():
            print("last words")
            os.kill(os.getpid(), 9)

        # main
        with Pool(1) as pool:
            print(type(pool.submit(say_and_die).exception()).__name__)
        """
    )
    assert sorted(program.stdout.split("\n")) == ["", "WorkerDied", "last words"]


@pytest.mark.methods("fork")
def test_pools_in_pools_in_pools(run_script):
    program = run_script(
        """
        def nest(depth):
            try:
                with Pool(1) as pool:
                    return pool.submit(nest, depth + 1).result()
            except RuntimeError as error:
                return depth, str(error)

        # main
        print(nest(0))
        """
    )
    assert "6 deep" in program.stdout


def test_killed_and_waited_for_by_the_program(make_pool, mailbox, start_method):
    """Then its number may be another process's."""
    pool = make_pool(1, on_worker_death="respawn")
    for _ in range(10 if start_method == "fork" else 3):
        future = pool.options(grace=PATIENCE).submit(tasks.announce_and_sleep, mailbox)
        pid = int(mailbox.get())
        worker = eventually(lambda: pool._processes.get(pid))  # noqa: B023 - called here and now
        worker.kill()
        worker.join()
        future.kill()
    assert pool.submit(tasks.double, 3).result(PATIENCE) == 6


def test_a_callback_does_not_hold_a_shutdown_with_a_time_limit(make_pool, make_gate):
    pool, task, callback = make_pool(1), make_gate(), make_gate()
    future = pool.submit(tasks.pass_through, task)
    future.add_done_callback(lambda _: callback.wait())
    task.open()
    stuck = pool.submit(tasks.sleep, 600)
    pool.shutdown(timeout=0.2)
    assert isinstance(stuck.exception(PATIENCE), BrokenProcessPool)
    callback.open()
