"""A test that hangs prints the stacks of every process that it has, fails, and lets the others run.

SIGALRM interrupts the main thread. Where that does not help (a wait that is deaf to signals) the
watchdog ends the process: better no report than a run that never ends.
"""

import contextlib
import faulthandler
import os
import pathlib
import signal
import sys
import time

import pytest

from support import processes
from support.watchdog import Watchdog

# After this many seconds more an alarm counts as unheard.
GRACE = 20
SECONDS = {"contract": 60, "faults": 60, "big": 60}
OTHERS = 600


class Deadline:
    def __init__(self):
        self.watchdog = Watchdog()

    def pytest_unconfigure(self):
        self.watchdog.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        with self._limit(item, "setup"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        with self._limit(item, "call"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item):
        with self._limit(item, "teardown"):
            return (yield)

    @contextlib.contextmanager
    def _limit(self, item, phase):
        seconds = _seconds(item)

        def on_alarm(signum, frame):
            print_all_stacks()
            processes.kill_descendants(spared=[self.watchdog.process.pid])
            pytest.fail(f"{item.nodeid}: {phase} took more than {seconds} s", pytrace=True)

        old = signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self.watchdog.expect_within(seconds + GRACE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.watchdog.expect_within(0)
            signal.signal(signal.SIGALRM, old)


def _seconds(item):
    marker = item.get_closest_marker("deadline")
    if marker:
        return marker.args[0]
    return SECONDS.get(pathlib.Path(item.fspath).parent.name, OTHERS)


def print_all_stacks():
    """Of this process by faulthandler; of the others by theirs, where they listen for SIGUSR1."""
    print(f"--- process {os.getpid()}: every thread", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(file=2)
    for pid in processes.descendants():
        print(f"--- process {pid}: {processes.describe(pid)}", file=sys.stderr, flush=True)
        if processes.catches(pid, signal.SIGUSR1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
    # The others write into the captured stderr on their own time.
    time.sleep(0.5)


def listen_for_stack_requests():
    """For workers: print every thread's stack at SIGUSR1."""
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=False)
