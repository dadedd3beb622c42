"""Ending one worker process, with what it has started, and asking it beforehand where it is."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

#: A worker answers it with its stack, through faulthandler. Real-time, so that no program uses it by default.
WHERE_ARE_YOU = signal.SIGRTMAX - 4

#: The frame that called the task, as faulthandler shows it.
_OWN_FRAME = f'"{Path(__file__).with_name("worker.py")}"'

#: Seconds in which it has to answer: it may be stopped, or be deep in the kernel. While it only waits for a CPU: the second.
ANSWER_WITHIN, ANSWER_AT_LAST = 0.003, 0.1


def _children(pid: int) -> Iterator[int]:
    for name in glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(name) as file:
            yield from map(int, file.read().split())


def private_memory(pid: int) -> int:
    """Bytes that a process shares with no file; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * resource.getpagesize()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _stop_descendants(pid: int) -> Iterator[int]:
    """All that came of a process that is stopped: each is stopped before its own children are looked for."""
    for child in list(_children(pid)):
        _send(child, signal.SIGSTOP)
        yield from _stop_descendants(child)
        yield child


def kill_tree(pid: int) -> None:
    """SIGKILL for a process of ours that has not been waited for, and for its descendants."""
    _send(pid, signal.SIGSTOP)  # it cannot start more meanwhile
    for descendant in list(_stop_descendants(pid)):
        _send(descendant, signal.SIGKILL)
    _send(pid, signal.SIGKILL)


def end_child(pid: int) -> None:
    """SIGKILL for a child that nobody else waits for."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def watch_descendants(pid: int) -> list[int]:
    """Pidfds of what a process has started by now: when it has ended itself, nobody can tell whose they were."""
    found = []
    for child in list(_children(pid)):
        with contextlib.suppress(OSError):
            found.append(os.pidfd_open(child))
        found += watch_descendants(child)
    return found


def kill_watched(pidfds: list[int]) -> None:
    """SIGKILL for those that are still there."""
    for fd in pidfds:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


def without_own_frames(stack: str) -> str:
    """What faulthandler wrote, each thread's stack down to where this package called."""
    lines, wanted = [], True
    for line in stack.splitlines():
        if not line.startswith("  File "):
            wanted = True
        elif _OWN_FRAME in line:
            wanted = False
        if wanted:
            lines.append(line)
    return "\n".join(lines).strip()


def _waits_for_cpu(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "R"
    except (OSError, IndexError):
        return False


def ask_for_stack(pid: int, answer: Iterator[str]) -> str:
    """What the worker says of where it is; '' if it does not. `answer` yields what there is of it by now."""
    before = next(answer)
    _send(pid, WHERE_ARE_YOU)
    asked, text = time.monotonic(), before
    for now in answer:
        waited = time.monotonic() - asked
        is_late = waited > ANSWER_WITHIN and (waited > ANSWER_AT_LAST or not _waits_for_cpu(pid))
        if (now == text and now != before) or is_late:
            return without_own_frames(now[len(before) :])
        text = now
        time.sleep(0.0002)
    return ""
