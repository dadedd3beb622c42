"""Running whole programs as a user would, under plain python and under `python -m fastpool`."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

PLAIN = (sys.executable,)
FASTPOOL = (sys.executable, "-m", "fastpool")
LONGEST_RUN = 240.0

# Unbuffered, what two workers print would mingle within a line.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ENVIRONMENT["PYTHONFAULTHANDLER"] = "1"


@dataclass(frozen=True)
class Outcome:
    stdout: str
    stderr: str
    exitcode: int


def run(launcher, *arguments, cwd, stdin="", environment=None, timeout=LONGEST_RUN):
    """Run a program to its end; if it does not come to one, fail with the stacks of its processes."""
    process = subprocess.Popen(
        [*launcher, *map(str, arguments)],
        cwd=cwd,
        env={**ENVIRONMENT, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"no end after {timeout} s: {process.args}\n{last_words(process)}") from None
    return Outcome(stdout, stderr, process.returncode)


def last_words(process):
    """What all processes of the session say when they are aborted: each its stacks, by faulthandler."""
    os.killpg(process.pid, signal.SIGABRT)
    try:
        return "\n".join(process.communicate(timeout=10))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "\n".join(process.communicate())


def run_both_ways(*arguments, cwd, **options):
    return tuple(run(launcher, *arguments, cwd=cwd, **options) for launcher in (PLAIN, FASTPOOL))
