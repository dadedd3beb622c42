"""Has the kernel killed something for want of memory? It does not say whom; a count that grew is a hint."""

from __future__ import annotations

import functools
import os


@functools.cache
def _counter() -> str:
    """The file that counts: this process's control group's, if there is one, else the whole machine's."""
    try:
        with open("/proc/self/cgroup") as file:
            for line in file:
                _, controllers, group = line.rstrip("\n").split(":", 2)
                if controllers == "":
                    counter = f"/sys/fs/cgroup{group}/memory.events"
                else:
                    counter = f"/sys/fs/cgroup/{controllers}{group}/memory.oom_control"
                if os.path.exists(counter):
                    return counter
    except OSError:
        pass
    return "/proc/vmstat"


def kills() -> int:
    """How many there have been; it only ever grows."""
    try:
        with open(_counter()) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except OSError:
        return 0
