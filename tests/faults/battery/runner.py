"""Runs cells, each in a session of its own, and looks at what it leaves."""

import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from battery.libraries import LIBRARIES
from battery.rows import ROWS
from battery.trial import PATIENCE
from support import processes

FAULTS = pathlib.Path(__file__).parents[1]
SHARED = pathlib.Path("/dev/shm")


@dataclasses.dataclass
class Result:
    word: str
    what: str
    seconds: float
    output: str  # what the program printed

    def __str__(self):
        return f"{self.word} ({self.what})" if self.what else self.word


def run(library, method, title):
    """One cell."""
    if method not in LIBRARIES[library].methods:
        return Result("-", f"no {method}", 0, "")
    with tempfile.TemporaryDirectory(prefix="battery") as folder:
        return Cell(pathlib.Path(folder), ROWS[title]).run(library, method)


class Cell:
    def __init__(self, folder, row):
        self.folder, self.row = folder, row
        self.temporary = folder / "tmp"
        self.temporary.mkdir()

    def run(self, library, method):
        start, shared = time.monotonic(), set(os.listdir(SHARED))
        with open(self.folder / "output", "w") as output:
            program = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "battery.cell", library, method, self.row.title],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                word, what = self._judge(program, shared)
            finally:
                kill_session(program.pid)
                program.wait()
        text = (self.folder / "output").read_text(errors="replace")
        with contextlib.suppress(FileNotFoundError):
            text += (self.folder / "stacks").read_text()
        return Result(word, what, time.monotonic() - start, text[-20000:])

    def _environment(self):
        path = os.pathsep.join(map(str, (FAULTS, FAULTS.parent)))
        # Many programs that import the same: compiled once, wherever that is not wanted in the source's own folders.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _compiled().name}
        return {**os.environ, **compiled, "PYTHONPATH": path, "TMPDIR": str(self.temporary), **self.row.environment}

    def _judge(self, program, shared):
        try:
            status = program.wait(self.row.limit)
        except subprocess.TimeoutExpired:
            return "hangs", f"in {self._report().get('step')}"
        report = self._report()
        if (self.folder / "stacks").exists() and "Timeout" in (self.folder / "stacks").read_text():
            return "hangs", report.get("step")
        if report.get("word", "passes") != "passes":
            return report["word"], report["what"]
        if "word" not in report and "status" not in report:
            return "wrong", f"the program ended with status {status} in {report.get('step')}"
        if status != report.get("status", 0):
            return "wrong", f"the program's exit status is {status}"
        return self._leftovers(program, shared, died=status != 0)

    def _report(self):
        """The last word on everything."""
        report = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / "report").read_text().splitlines():
                report.update(json.loads(line))
        return report

    def _leftovers(self, program, shared, died):
        until = time.monotonic() + PATIENCE
        while True:
            left = []
            if pids := session(program.pid):
                left.append(f"{len(pids)} processes")
            if names := set(os.listdir(SHARED)) - shared:
                left.append(f"{len(names)} files in /dev/shm")
            # A program that is killed leaves multiprocessing's folder of a fork server, whatever it has run.
            if names := [name for name in os.listdir(self.temporary) if not (died and name.startswith("pymp-"))]:
                left.append(f"{len(names)} temporary files")
            if not left:
                return "passes", ""
            if time.monotonic() > until:
                return "leaks", ", ".join(left)
            time.sleep(0.02)


@functools.cache
def _compiled():
    return tempfile.TemporaryDirectory(prefix="battery-compiled")


def session(leader):
    """The living processes of this session."""
    found = []
    for entry in processes.PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == leader and processes.alive(entry.name):
                    found.append(int(entry.name))
    return found


def kill_session(leader):
    for pid in session(leader):
        processes.kill(pid)


def own_shared_memory():
    """Give this thread, and what it starts, a /dev/shm of its own, so that what is left there is a cell's.

    Where that is not allowed, files that others make meanwhile may be taken for a cell's.
    """
    libc = ctypes.CDLL(None)
    namespace, private_and_below = 0x00020000, 1 << 18 | 1 << 14
    if libc.unshare(namespace) == 0 and libc.mount(b"none", b"/", None, private_and_below, None) == 0:
        libc.mount(b"tmpfs", bytes(SHARED), b"tmpfs", 0, None)
