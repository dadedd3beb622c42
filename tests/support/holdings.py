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


def memory_of(pid="self"):
    """Its memory by kind, in MiB: as /proc/PID/status has it."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(value.split()[0]) / 1024 for name, value in fields.items() if name.startswith("Rss")}


def private(pid="self"):
    """MiB that it shares with no file."""
    return memory_of(pid)["RssAnon"]


def resident():
    """MiB of this process that are its own."""
    gc.collect()
    return private() + memory_of()["RssShmem"]
