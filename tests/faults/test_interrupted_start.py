"""A signal's handler raises while a worker is being started: at any line of ours, of multiprocessing and of socket.

But for what other modules do around a fork: interrupted there, logging keeps its lock for ever.
"""

import linecache
import multiprocessing
import os
import re
import signal
import sys

import pytest

from fastpool.launching import Team
from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = [pytest.mark.fastpool_only("the standard library loses processes, and its own state"), pytest.mark.deadline(40)]

STARTS = re.compile(r"/((fastpool|multiprocessing)/\w+|socket)\.py$")

#: Under these a start takes a while: not every line is tried.
STEP = {"fork": 1, "forkserver": 37, "spawn": 37}
#: The lines are shared out among so many tests: all of them take a while, too, where the machine is busy.
PARTS = 4

by_parts = pytest.mark.parametrize("part", range(PARTS))


class Interrupted(BaseException):
    pass


class InterruptAt:
    """A signal comes at that line of all that is executed while `Team._launch` is; its handler raises."""

    def __init__(self, number):
        self.left = number
        self.owner = os.getpid()
        self.launch = None
        self.previous = {}  # line of each frame, by its id
        self.tracer = self.trace  # CPython 3.11 calls one that has been replaced meanwhile, and does not own it

    def trace(self, frame, event, argument):
        if os.getpid() != self.owner:
            sys.settrace(None)
            return None
        if frame.f_code is Team._launch.__code__ and self.launch is None:
            self.launch = frame
        if self.launch is None or not STARTS.search(frame.f_code.co_filename):
            return None
        if event == "line" and not only_a_tracer_can_raise(frame, self.previous[id(frame)]):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR2)
        self.previous[id(frame)] = frame.f_lineno
        if event == "return" and frame is self.launch:
            self.launch = None
        return self.tracer

    def handle(self, signum, frame):
        raise Interrupted

    def __enter__(self):
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.before = signal.signal(signal.SIGUSR2, self.handle)
        sys.settrace(self.tracer)
        return self

    def __exit__(self, kind, error, traceback):
        sys.settrace(None)
        signal.signal(signal.SIGUSR2, self.before)
        assert signal.pthread_sigmask(signal.SIG_SETMASK, self.mask) == self.mask, "a signal stays blocked"
        while error is not None and not isinstance(error, Interrupted):
            error = error.__context__  # multiprocessing's own clean-up may fail of it: it closes a descriptor twice
        return error is not None


def only_a_tracer_can_raise(frame, previous):
    """Python does not look for signals at a ``try``, nor, since the body, where a ``with`` ends or a ``finally`` begins.

    What is raised there leaves a ``with`` without its end.
    """
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).strip()
    ends_with = previous > line and text.startswith("with ")
    return ends_with or text == "try:" or linecache.getline(file, line - 1).strip() == "finally:"


def lines_of(part, start_method):
    """The number of each line that this part has, until there is no such line any more; and what raises there."""
    number = 1 + part * STEP[start_method]
    while True:
        at = InterruptAt(number)
        yield at
        if at.left > 0:
            return
        number += PARTS * STEP[start_method]


@pytest.fixture
def bystander():
    """A process of the program that is none of the pool's business, nor a fork server's, which an interrupt may end."""
    process = multiprocessing.get_context("fork").Process(target=tasks.sleep, args=(600,))
    process.start()
    yield process
    process.kill()
    process.join()


@pytest.mark.parametrize("options", [{}, {"on_worker_death": "respawn"}], ids=["break", "respawn"])
@by_parts
def test_first_worker(make_pool, start_method, bystander, options, part):
    before, zombies, tried = set(processes.descendants()), processes.zombies(), 0
    for at in lines_of(part, start_method):
        pool = make_pool(1, **options)
        with at:
            pool.submit(tasks.nothing)
        assert pool.submit(tasks.double, 2).result(PATIENCE) == 4
        pool.shutdown()
        tried += 1
    assert tried > 50 // (PARTS * STEP[start_method])
    assert bystander.is_alive()
    assert not {child.pid for child in multiprocessing.active_children()} - before
    assert not processes.zombies() - zombies
    names = {processes.command(pid) for pid in set(processes.descendants()) - before}
    assert all("forkserver" in name or "resource_tracker" in name for name in names), names


@by_parts
def test_another_worker(make_pool, start_method, bystander, part):
    """One that a call wants beside those that there are: later deaths are noticed, later calls are run."""
    pool = make_pool(2, on_worker_death="respawn", idle_timeout=PATIENCE)
    blocker = pool.submit(tasks.sleep, 600)
    eventually(blocker.running)
    for at in lines_of(part, start_method):
        with at:
            pool.submit(tasks.nothing)
        pid = pool.submit(tasks.pid).result(PATIENCE)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(pool._processes) == 1)  # noqa: B023 # it is called at once
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4
    assert bystander.is_alive() and blocker.kill()
    pool.shutdown()
