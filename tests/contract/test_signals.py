"""Signals in the program that waits, and in workers that are idle."""

import os
import signal
import threading
import time

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt():
    """Let the main thread be interrupted by an error once it waits."""

    def handler(signum, frame):
        raise Interrupted

    old = signal.signal(signal.SIGUSR2, handler)
    timers = []

    def later():
        timers.append(threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR2)))
        timers[-1].start()

    yield later
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGUSR2, old)


WAYS = {
    "result": lambda lib, pool, future: future.result(PATIENCE),
    "result without limit": lambda lib, pool, future: future.result(),
    "exception": lambda lib, pool, future: future.exception(PATIENCE),
    "wait": lambda lib, pool, future: lib.wait([future], PATIENCE),
    "as_completed": lambda lib, pool, future: list(lib.as_completed([future], PATIENCE)),
}


@pytest.mark.parametrize("way", WAYS)
def test_handler_that_raises_ends_the_wait(lib, single, gate, interrupt, way):
    future = single.submit(tasks.pass_through, gate, "value")
    interrupt()
    with pytest.raises(Interrupted):
        WAYS[way](lib, single, future)
    assert not future.done()
    gate.open()
    assert future.result() == "value"


def test_handler_that_returns_lets_the_wait_go_on(single, gate):
    future, calls = single.submit(tasks.pass_through, gate, "value"), []

    def handler(signum, frame):
        calls.append(signum)
        gate.open()

    old = signal.signal(signal.SIGUSR2, handler)
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    timer.start()
    try:
        assert future.result(PATIENCE) == "value"
    finally:
        timer.join()
        signal.signal(signal.SIGUSR2, old)
    assert calls == [signal.SIGUSR2]


def test_storm_of_signals(pool):
    """Calls that the system interrupts are made again."""
    calls = []
    old = signal.signal(signal.SIGUSR2, lambda *_: calls.append(1))
    stop = threading.Event()

    def send():
        while not stop.is_set():
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(5):
            assert list(pool.map(tasks.double, range(100))) == [2 * n for n in range(100)]
            assert pool.submit(tasks.sleep, 0.01).result() == 0.01
    finally:
        stop.set()
        thread.join()
        signal.signal(signal.SIGUSR2, old)
    assert calls


def test_alarm_in_a_task(single):
    """A task may use signals as any main thread may."""
    assert single.submit(tasks.wait_for_alarm).result(PATIENCE) == "alarm"
    assert single.submit(tasks.double, 2).result() == 4


def test_interrupt_of_a_running_worker_is_an_error_of_its_task(single, mailbox):
    future = single.submit(tasks.announce_and_sleep, mailbox)
    os.kill(int(mailbox.get()), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        future.result(PATIENCE)
    assert single.submit(tasks.double, 2).result() == 4


def test_stopped_worker_goes_on(single, mailbox, gate):
    future = single.submit(tasks.announce_and_wait, mailbox, gate, "value")
    worker = int(mailbox.get())
    os.kill(worker, signal.SIGSTOP)
    gate.open()
    with pytest.raises(TimeoutError):
        future.result(0.05)
    os.kill(worker, signal.SIGCONT)
    assert future.result() == "value"


@pytest.mark.fastpool_only("in the standard library an idle worker dies of it, and the pool with it")
def test_interrupt_of_an_idle_worker_is_ignored(make_pool, mailbox, gate):
    pool = make_pool(2)
    futures = [pool.submit(tasks.announce_and_wait, mailbox, gate, number) for number in range(2)]
    pids = {int(mailbox.get()) for _ in futures}  # both have started: one that is about to ends of it
    gate.open()
    assert [future.result(PATIENCE) for future in futures] == [0, 1]
    for _ in range(3):
        for worker in pool._processes:
            os.kill(worker, signal.SIGINT)
            eventually(lambda: not processes.pending(worker, signal.SIGINT))  # noqa: B023 # it is called at once
        assert pool.submit(tasks.double, 2).result(PATIENCE) == 4
    assert set(pool._processes) == pids and not pool._broken


@pytest.mark.fastpool_only("the standard library sleeps through a signal that comes between its last look and its sleep")
@pytest.mark.methods("fork")  # it is about the program alone
def test_handler_does_not_wait_for_the_next_task(make_pool, make_gate):
    """A signal that arrives while results stream in, in a moment when nobody sleeps, is handled all the same."""
    pool, arrived = make_pool(1), []
    rounds = 20

    def handler(signum, frame):
        arrived.append(time.monotonic())
        gate.open()

    old = signal.signal(signal.SIGUSR2, handler)
    try:
        for _ in range(rounds):
            gate = make_gate()
            calls = [pool.submit(tasks.nothing) for _ in range(3000)] + [pool.submit(tasks.pass_through, gate)]
            timer = threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGUSR2))
            timer.start()
            calls[-1].result(PATIENCE)
            timer.join()
    finally:
        signal.signal(signal.SIGUSR2, old)
    assert len(arrived) == rounds
