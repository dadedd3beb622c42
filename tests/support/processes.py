"""What /proc says about processes."""

import contextlib
import os
import pathlib
import signal

PROC = pathlib.Path("/proc")


def status(pid):
    """The fields of /proc/PID/status; empty once the process is gone."""
    with contextlib.suppress(OSError):
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {}


def pending(pid, signum):
    """Whether a signal has been sent to it that has not come yet."""
    return bool(int(status(pid).get("ShdPnd", "0"), 16) >> (signum - 1) & 1)


def alive(pid):
    """Whether it still runs; a zombie does not."""
    return status(pid).get("State", "X")[0] not in "XZ"


def sleeping(pid):
    return status(pid).get("State", "X")[0] == "S"


def descendants(pid=None):
    """Every living process below this one, the nearest first."""
    children = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            parent = status(entry.name).get("PPid")
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid or os.getpid()]
    while todo:
        for child in children.get(str(todo.pop(0)), ()):
            if alive(child):
                found.append(child)
                todo.append(child)
    return found


def zombies():
    """Children of this process that have ended, and that nobody has waited for."""
    stats = ((PROC / entry.name / "stat") for entry in PROC.iterdir() if entry.name.isdigit())
    found = set()
    for stat in stats:
        with contextlib.suppress(OSError):
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
            if (state, parent) == ("Z", str(os.getpid())):
                found.add(int(stat.parent.name))
    return found


def kill_descendants(spared=()):
    """All but multiprocessing's resource tracker, which the tests to come need."""
    for pid in descendants():
        if pid not in spared and "resource_tracker" not in command(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def command(pid):
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def catches(pid, signum):
    mask = int(status(pid).get("SigCgt", "0"), 16)
    return bool(mask >> (signum - 1) & 1)


def describe(pid):
    fields, where = status(pid), "?"
    with contextlib.suppress(OSError):
        where = (PROC / str(pid) / "wchan").read_text()
    return f"{fields.get('State')} in {where}; {fields.get('Threads')} threads; {command(pid)[:200]}"


def open_files():
    """Descriptor -> what it refers to, of this process."""
    found = {}
    for entry in (PROC / "self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = os.readlink(entry)
    return found


def kill(pid):
    """SIGKILL for a process that may have ended by now; was it there?"""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
