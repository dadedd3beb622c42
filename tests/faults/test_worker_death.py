"""What the error says about a worker that died, and how soon it is there."""

import asyncio
import concurrent.futures
import os
import pickle
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("WorkerDied is fastpool's")

DEATHS = [
    (tasks.exit_process, (0,), 0),
    (tasks.exit_process, (3,), 3),
    (tasks.kill_self, (signal.SIGKILL,), -signal.SIGKILL),
    (tasks.kill_self, (signal.SIGTERM,), -signal.SIGTERM),
    (tasks.kill_self, (signal.SIGABRT,), -signal.SIGABRT),
    (tasks.segfault, (), -signal.SIGSEGV),
]


@pytest.mark.parametrize("function, arguments, exitcode", DEATHS, ids=lambda value: getattr(value, "__name__", None))
def test_error_names_process_ending_and_function(lib, make_pool, function, arguments, exitcode):
    pool = make_pool(1)
    pid = pool.submit(tasks.pid).result()
    error = pool.submit(function, *arguments).exception(PATIENCE)
    assert type(error) is lib.WorkerDied and isinstance(error, BrokenProcessPool)
    assert (error.pid, error.exitcode, error.function) == (pid, exitcode, f"support.tasks.{function.__name__}")
    assert str(pid) in str(error) and error.function in str(error)
    assert (signal.Signals(-exitcode).name if exitcode < 0 else f"code {exitcode}") in str(error)


def test_error_pickles(lib, make_pool):
    error = make_pool(1).submit(tasks.exit_process, 3).exception(PATIENCE)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is lib.WorkerDied
    assert (copy.pid, copy.exitcode, copy.function, str(copy)) == (error.pid, 3, error.function, str(error))


def test_each_future_has_an_error_of_its_own(lib, make_pool, gate, mailbox):
    pool = make_pool(2)
    futures = [pool.submit(tasks.announce_and_wait, mailbox, gate) for _ in range(6)]
    victim = int(mailbox.get())
    mailbox.get()
    pool._processes[victim].kill()
    errors = [future.exception(PATIENCE) for future in futures]
    assert all(isinstance(error, BrokenProcessPool) for error in errors)
    assert len({id(error) for error in errors}) == 6
    assert any(getattr(error, "pid", None) == victim for error in errors)


def test_what_was_done_before_the_death_is_kept(make_pool, gate, mailbox):
    """Its last reply had been written: the death does not take it back."""
    pool = make_pool(1)
    futures = [pool.submit(tasks.double, number) for number in range(20)]
    futures.append(pool.submit(tasks.exit_process, 1))
    assert isinstance(futures[-1].exception(PATIENCE), BrokenProcessPool)
    assert [future.result() for future in futures[:-1]] == [2 * number for number in range(20)]


@pytest.mark.parametrize("count", [1, 3])
def test_idle_workers_killed(lib, make_pool, count):
    pool = make_pool(3)
    futures = [pool.submit(tasks.sleep, 0.05) for _ in range(3)]
    for future in futures:
        future.result()
    workers = list(pool._processes.values())
    for worker in workers[:count]:
        worker.kill()
    eventually(lambda: pool._broken)
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.nothing)
    eventually(lambda: not any(processes.alive(worker.pid) for worker in workers))
    assert [future.result() for future in futures] == [0.05] * 3


def test_all_killed_at_work(make_pool, mailbox):
    pool = make_pool(3)
    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(9)]
    mailbox.take(3)
    for worker in pool._processes.values():
        worker.kill()
    assert all(isinstance(future.exception(PATIENCE), BrokenProcessPool) for future in futures)


def test_killed_before_its_first_task(make_pool):
    pool = make_pool(2)
    future = pool.submit(tasks.sleep, 600)
    for worker in list(pool._processes.values()):
        worker.kill()
    assert isinstance(future.exception(PATIENCE), BrokenProcessPool)


@pytest.mark.methods("forkserver", "spawn")
def test_started_while_the_pool_breaks(make_pool, context, mailbox, monkeypatch):
    """The submit that needs one more worker is still busy with it when another worker's death ends the pool."""
    pool, started, start = make_pool(2), [], context.Process.start
    future = pool.submit(tasks.announce_and_sleep, mailbox)
    worker = pool._processes[int(mailbox.get())]

    def start_late(process):
        start(process)
        started.append(process)
        worker.kill()
        eventually(lambda: pool._broken)
        pool._executor_manager_thread.join(0.2)  # it must not end before this one

    monkeypatch.setattr(context.Process, "start", start_late)
    late = pool.submit(tasks.announce_and_sleep, mailbox)
    monkeypatch.undo()
    pool.shutdown()
    assert len(started) == 1 and not processes.alive(started[0].pid)
    for each in (future, late):
        assert isinstance(each.exception(0), BrokenProcessPool)


def test_shut_down_while_a_submit_starts_a_worker(make_pool, context, monkeypatch):
    """As by a signal's handler: it cannot wait for the submit that it has interrupted, which then is too late."""
    pool, started, start = make_pool(2), [], context.Process.start

    def start_and_shut_down(process):
        start(process)
        started.append(process)
        pool.shutdown()

    monkeypatch.setattr(context.Process, "start", start_and_shut_down)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.nothing)
    monkeypatch.undo()
    eventually(lambda: not any(processes.alive(process.pid) for process in started))


@pytest.mark.methods("forkserver", "spawn")
def test_shut_down_while_a_submit_starts_a_second_worker(make_pool, context, gate, monkeypatch):
    pool, start = make_pool(2), context.Process.start
    future = pool.submit(tasks.pass_through, gate, "value")

    def start_and_shut_down(process):
        start(process)
        pool.shutdown()

    monkeypatch.setattr(context.Process, "start", start_and_shut_down)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.nothing)
    monkeypatch.undo()
    assert not future.done()
    gate.open()
    pool.shutdown()  # this one waits
    assert future.done() and future.result() == "value"


@pytest.mark.methods("fork")
@pytest.mark.fastpool_only("of multiprocessing the Pool waits for ever")
@pytest.mark.parametrize("what", ["ProcessPoolExecutor(2, mp_context=context).submit(abs, 1)", "Pool(2, context=context)"])
def test_the_system_refuses_a_worker_of_a_program_that_handles_sigterm(run_script, what):
    finished = run_script(f"""
        import signal
        # main
        signal.signal(signal.SIGTERM, lambda *_: None)
        fork, calls = os.fork, []
        def fork_once():
            calls.append(fork)
            if len(calls) == 2:
                raise BlockingIOError("no more")
            return fork()
        os.fork = fork_once
        try:
            futures.{what}
        except BlockingIOError as error:
            print(error, len(multiprocessing.active_children()))
        """)
    assert (finished.stdout, finished.stderr, finished.returncode) == ("no more 0\n", "", 0)


def test_no_thread_can_be_had(make_pool, monkeypatch):
    """As while the interpreter ends, in Python 3.12: the workers that have been started already end again."""
    pool, before = make_pool(2), set(processes.descendants())

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.submit(tasks.nothing)
    monkeypatch.undo()
    helpers = {"forkserver", "resource_tracker"}
    left = set(processes.descendants()) - before
    assert not [pid for pid in left if not any(name in processes.command(pid) for name in helpers)]
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4


class Interrupted(BaseException):
    pass


def test_interrupted_when_the_manager_has_just_started(make_pool, monkeypatch):
    pool, threads, start = make_pool(2), [], threading.Thread.start

    def start_and_interrupt(thread):
        start(thread)
        threads.append(thread)
        raise Interrupted

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(Interrupted):
        pool.submit(tasks.nothing)
    monkeypatch.undo()
    assert len(threads) == 1
    eventually(lambda: not threads[0].is_alive())
    assert not pool._processes
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4


def test_interrupted_between_the_start_of_a_worker_and_its_place_in_the_pool(make_pool, context, monkeypatch):
    """Nobody would know of that worker, and another would get its place in shared memory."""
    pool, started, start = make_pool(2), [], context.Process.start

    def start_and_fail(process):
        start(process)
        started.append(process)
        raise Interrupted

    monkeypatch.setattr(context.Process, "start", start_and_fail)
    with pytest.raises(Interrupted):
        pool.submit(tasks.nothing)
    monkeypatch.undo()
    assert started and not any(processes.alive(process.pid) for process in started)
    assert [future.result() for future in [pool.submit(tasks.double, n) for n in range(50)]] == list(range(0, 100, 2))


def seconds_to_kill_and_join(context, mailbox):
    """What the system itself takes to end a process."""
    process = context.Process(target=tasks.announce_and_sleep, args=(mailbox,))
    process.start()
    mailbox.get()
    start = time.perf_counter()
    process.kill()
    process.join()
    return time.perf_counter() - start


@pytest.mark.deadline(120)
def test_noticed_fast(make_pool, mailbox, context):
    """From the kill to the error in the hands of the thread that waits: 10 ms on top of twice the kill itself.

    The fastest of each. Twice, since both wait for a CPU where others compute, and one waits for another thread as well.
    """
    times, kills = [], []
    for _ in range(9):
        kills.append(seconds_to_kill_and_join(context, mailbox))
        pool = make_pool(1)
        future = pool.submit(tasks.announce_and_sleep, mailbox)
        worker = pool._processes[int(mailbox.get())]
        start = time.perf_counter()
        worker.kill()
        assert isinstance(future.exception(PATIENCE), BrokenProcessPool)
        times.append(time.perf_counter() - start)
        pool.shutdown()
    print("milliseconds:", *(f"{1000 * seconds:.2f}" for seconds in sorted(times)))
    assert min(times) < 0.010 + 2 * min(kills)


def test_noticed_in_spite_of_a_grandchild(make_pool, mailbox):
    """It holds the worker's pipes open for as long as it lives."""
    pool = make_pool(1)
    future = pool.submit(tasks.start_child_that_sleeps, mailbox)
    grandchild = int(mailbox.get())
    try:
        future.result()
        future = pool.submit(tasks.announce_and_sleep, mailbox)
        pool._processes[int(mailbox.get())].kill()
        assert isinstance(future.exception(PATIENCE), BrokenProcessPool)
        pool.shutdown()
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_waiters_of_every_kind_hear_of_it(lib, make_pool, mailbox):
    pool = make_pool(1)

    async def ask(future):
        return await asyncio.wrap_future(future)

    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(4)]
    called = []
    futures[3].add_done_callback(called.append)
    pool._processes[int(mailbox.get())].kill()
    assert concurrent.futures.wait(futures[:1], PATIENCE).done == {futures[0]}
    assert list(lib.as_completed(futures[1:2], PATIENCE)) == [futures[1]]
    with pytest.raises(BrokenProcessPool):
        asyncio.run(ask(futures[2]))
    eventually(lambda: called == [futures[3]])
