"""What a program costs with all the processes that it starts: their processor time, and their memory while they run.

Everything here is about the children of this process: it must have no others meanwhile.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from glob import glob
from types import TracebackType

PR_SET_CHILD_SUBREAPER = 36
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
SHORTEST_PAUSE = 0.02
LONGEST_SHARE = 0.05  # of one processor, for looking
POLL_EVERY = 0.005


def adopt_orphans() -> bool:
    """Have the kernel give us the program's processes that outlive their parents, so that they are counted as well.

    Workers of a fork server are such: the server waits for them, but nobody waits for the server.
    """
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


class Bill:
    """What the children that ended have cost."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.largest = 0

    def wait_for(self, pid: int) -> int:
        """Wait for one child, and take in whatever else ends before it; its exit code."""
        while True:
            ended, status = self._wait(0)
            if ended == pid:
                return os.waitstatus_to_exitcode(status)

    def wait_for_all(self, seconds: float) -> bool:
        """Wait until no child is left; False if some are, after so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                ended, _ = self._wait(os.WNOHANG)
            except ChildProcessError:
                return True
            if not ended:
                time.sleep(POLL_EVERY)
        return False

    def _wait(self, options: int) -> tuple[int, int]:
        pid, status, usage = os.wait4(-1, options)
        if pid:
            self.cpu += usage.ru_utime + usage.ru_stime
            self.largest = max(self.largest, usage.ru_maxrss * RSS_UNIT)
        return pid, status


class MemorySampler:
    """Looks again and again, while entered, at the memory of all descendants of this process.

    Memory is the sum of their proportional set sizes: a page that several of them share is counted once. `peak` is the
    largest sum seen, and 0 where the kernel does not tell.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)

    def __enter__(self) -> "MemorySampler":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._leave.set()
        self._thread.join()

    def _look_again_and_again(self) -> None:
        pause = 0.0
        while not self._leave.wait(pause):
            start = time.thread_time()
            self.peak = max(self.peak, sum(map(proportional_set_size, descendants(os.getpid()))))
            pause = max(SHORTEST_PAUSE, (time.thread_time() - start) / LONGEST_SHARE)


def descendants(pid: int) -> Iterator[int]:
    for path in glob(f"/proc/{pid}/task/*/children"):
        for child in read(path).split():
            yield int(child)
            yield from descendants(int(child))


def proportional_set_size(pid: int) -> int:
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def read(path: str) -> str:
    """The text of a file under /proc, empty once the process is gone."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
