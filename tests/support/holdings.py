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


def resident():
    """MiB of this process that are its own."""
    gc.collect()
    fields = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return (int(fields["RssAnon"].split()[0]) + int(fields["RssShmem"].split()[0])) / 1024
