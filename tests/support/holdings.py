"""What this process holds: descriptors, processes, threads, mappings, memory."""

import ctypes
import gc
import pathlib
import threading

from support import processes


def holdings():
    gc.collect()
    return {
        "descriptors": sorted(processes.open_files().values()),
        "processes": sorted(processes.descendants()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": len(list(pathlib.Path("/proc/self/task").iterdir())),
        "mappings": sum("memfd" in line for line in pathlib.Path("/proc/self/maps").read_text().splitlines()),
    }


def _mib(pid, field):
    return int(processes.status(pid)[field].split()[0]) / 1024


def private(pid="self"):
    """MiB that it shares with no file."""
    return _mib(pid, "RssAnon")


def resident():
    """MiB of this process that are its own."""
    gc.collect()
    return private() + _mib("self", "RssShmem")


class _Mallinfo(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def _kept_by_malloc():
    """MiB that were freed. 0 where malloc does not tell: musl, glibc before 2.33."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = _Mallinfo
    return libc.mallinfo2().fordblks / 2**20


def in_use():
    """resident(), without what malloc keeps for the next block.

    How much that is, is chance: once a block of a few MiB was freed, each of glibc's arenas (one per thread, up to eight per
    CPU) keeps up to 64 MiB, mallopt(3). The rest still counts by huge pages.
    """
    return resident() - _kept_by_malloc()
