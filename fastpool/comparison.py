"""`python -m fastpool --compare`: a program under the standard library and under fastpool, side by side."""

import difflib
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from signal import Signals
from typing import IO

import fastpool
from fastpool.proctree import Bill, MemorySampler, adopt_orphans

DIFF_LINES = 20
COMPARED_LINES = 5_000
TIME_TO_FOLLOW = 5.0  # for processes that end a moment after the program, as multiprocessing's fork server does


@dataclass(frozen=True)
class Run:
    """What the program did, and what it cost."""

    stdout: str
    stderr: str
    exitcode: int
    wall: float
    cpu: float
    memory: int  # of all its processes at a time; 0 if it could not be seen
    largest: int  # of its largest process, which the kernel always keeps
    all_ended: bool

    @property
    def ending(self) -> str:
        return f"exit code {self.exitcode}" if self.exitcode >= 0 else f"killed by {Signals(-self.exitcode).name}"


def report(command: list[str], plain: dict[str, str], replaced: dict[str, str]) -> int:
    """Run `command` in both environments and print what was found; the program's exit code, or 1 if the runs differ."""
    if not fastpool.accelerated:
        say(f"not accelerated: {fastpool.unaccelerated_reason}")
    adopt_orphans()
    say("running it under the standard library")
    before = run(command, plain)
    say("running it under fastpool")
    after = run(command, replaced)
    differences = list(behaviour_differs(before, after))
    print_behaviour(before, after, differences)
    print_cost(before, after)
    if differences:
        return 1
    return after.exitcode if after.exitcode >= 0 else 128 - after.exitcode


def say(text: str) -> None:
    print("fastpool:", text, file=sys.stderr, flush=True)


def run(command: list[str], environment: dict[str, str]) -> Run:
    # The same seed for both: else the order of a set of strings is another in every run.
    environment = {"PYTHONHASHSEED": "0", **environment}
    bill, sampler = Bill(), MemorySampler()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr, program_input() as stdin:
        start = time.monotonic()
        process = subprocess.Popen(
            command, executable=sys.executable, env=environment, stdin=stdin, stdout=stdout, stderr=stderr
        )
        with sampler:
            process.returncode = bill.wait_for(process.pid)
            wall = time.monotonic() - start
        all_ended = bill.wait_for_all(TIME_TO_FOLLOW)
        return Run(
            stdout=text_of(stdout),
            stderr=text_of(stderr),
            exitcode=process.returncode,
            wall=wall,
            cpu=bill.cpu,
            memory=sampler.peak,
            largest=bill.largest,
            all_ended=all_ended,
        )


def program_input() -> IO[bytes]:
    """A file on standard input is read from its start by both runs; anything else could serve only one of them."""
    is_file = stat.S_ISREG(os.fstat(0).st_mode)
    return open("/dev/stdin" if is_file else os.devnull, "rb")


def text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="backslashreplace")


def behaviour_differs(before: Run, after: Run) -> Iterator[str]:
    if before.stdout != after.stdout:
        yield "stdout"
    if before.stderr != after.stderr:
        yield "stderr"
    if before.exitcode != after.exitcode:
        yield "exit code"


def print_behaviour(before: Run, after: Run, differences: list[str]) -> None:
    if not differences:
        print(
            f"The same under both: {line_count(after.stdout)} on stdout, {line_count(after.stderr)} on stderr, "
            f"{after.ending}."
        )
        return
    print(f"NOT the same: {', '.join(differences)}.")
    if before.exitcode != after.exitcode:
        print(f"- {before.ending} under the standard library, {after.ending} under fastpool")
    print_diff("stdout", before.stdout, after.stdout)
    print_diff("stderr", before.stderr, after.stderr)


def line_count(text: str) -> str:
    count = len(text.splitlines())
    return f"{count or 'no'} line{'' if count == 1 else 's'}"


def print_diff(name: str, before: str, after: str) -> None:
    a, b = before.splitlines()[:COMPARED_LINES], after.splitlines()[:COMPARED_LINES]
    diff = difflib.unified_diff(a, b, f"{name}, standard library", f"{name}, fastpool", n=1, lineterm="")
    for line in islice(diff, DIFF_LINES):
        print(line)
    rest = sum(1 for _ in diff)
    if rest:
        print(f"... and {rest} lines more")


def print_cost(before: Run, after: Run) -> None:
    seen = before.memory and after.memory
    peaks = (before.memory, after.memory) if seen else (before.largest, after.largest)
    print()
    print(f"{'':16}{'standard library':>18}{'fastpool':>14}")
    print_row("wall time", before.wall, after.wall, seconds)
    print_row("processor time", before.cpu, after.cpu, seconds)
    print_row("peak memory", *peaks, mebibytes)
    print()
    print("Processor time is that of all processes of the program, user and system.")
    if seen:
        print("Peak memory is the largest sum of their proportional set sizes (PSS) seen, in samples some 20 ms apart.")
    else:
        print("Peak memory is the largest resident set (RSS) of any one of them: sums cannot be had here.")
    for run, name in (before, "the standard library"), (after, "fastpool"):
        if not run.all_ended:
            print(f"Under {name} it left processes behind: what they used is not in these numbers.")


def print_row(name: str, before: float, after: float, shown: Callable[[float], str]) -> None:
    print(f"{name:16}{shown(before):>18}{shown(after):>14}   {ratio(before, after)}")


def seconds(value: float) -> str:
    return f"{value:.3f} s"


def mebibytes(value: float) -> str:
    return f"{value / 2**20:.1f} MiB"


def ratio(before: float, after: float) -> str:
    if not before or not after:
        return ""
    if 0.95 < before / after < 1.05:
        return "about the same"
    return f"{before / after:.1f} times less" if after < before else f"{after / before:.1f} times more"
