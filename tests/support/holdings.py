"""What this process holds: descriptors, processes, threads, mappings, memory."""

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
