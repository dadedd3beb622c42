"""Runs of programs under plain python and under fastpool, several at a time: most programs sleep most of the time."""

import ast
import multiprocessing
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import tutorial_world
from program_runs import FASTPOOL, PLAIN, Outcome, run

AT_ONCE = 5

# Without a guard a script runs only where children are forked. fastpool sees to that, the standard library is told.
FORKING = "import multiprocessing\nmultiprocessing.set_start_method('fork')\n"

# Lines that come from several processes, or in the order in which tasks end.
UNORDERED = re.compile(
    r"was processed\.\.\.|worked on|: computing \d|^(Produced|Consumed|Completed|Success): | \d+ words$", re.MULTILINE
)
# What is another in any two runs, and what stands for it.
RANDOM = [
    (r"(process: |Process |Worker )\d+", r"\1PID"),
    (r"\d+\.\d+ ?(?=s\b|second)", "TIME "),
    (r"\d+ function calls( \(.*\))?", "CALLS"),
    (r"0x[0-9a-f]+", "ADDRESS"),
    (r"\d+\.\d+(?=x|%| MB| images)", "NUMBER"),
    (r"(Completed: \(\d+), [\d.]+", r"\1, TIME"),
    (r"(Completed #\d+: item) \d+", r"\1 ANY"),
    (r"(   Tasks remaining: \d+\n)(   Tasks remaining: \d+\n)*", r"\1"),
    (r"(Still working...\n)+", r"\1"),
    (r"(Worker PID.*\n)\1*", r"\1"),  # a Pool may be at its end before its last worker has begun
    (r"(   ✓ Success: .*\n)+", lambda lines: "".join(sorted(lines[0].splitlines(keepends=True)))),
    (r"(Interpretation:\n)(  .*\n)+", r"\1"),
]


@dataclass(frozen=True)
class Case:
    """A program, and what plain python is to run for comparison."""

    name: str
    text: str
    plain: str

    def __str__(self):
        return self.name


def case(program, before="", after=""):
    text = before + program.text + after
    forks = program.guarded or multiprocessing.get_start_method() == "fork"
    return Case(program.name, text, text if forks else FORKING + text)


@dataclass(frozen=True)
class Seen:
    outcome: Outcome
    files: dict


class Runs:
    """What programs did. Those that differ only in layout are run once."""

    def __init__(self, web, make_folder):
        self._web, self._make_folder = web, make_folder
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._begun = {}

    def begin(self, case):
        return self._begin(PLAIN, case.plain), self._begin(FASTPOOL, case.text)

    def both(self, case):
        """What it did under plain python and under fastpool."""
        return tuple(future.result() for future in self.begin(case))

    def end(self):
        self._threads.shutdown(cancel_futures=True)

    def _begin(self, launcher, text):
        key = launcher, ast.dump(ast.parse(text))
        if key not in self._begun:
            self._begun[key] = self._threads.submit(look_at, launcher, text, self._make_folder(), self._web)
        return self._begun[key]


def look_at(launcher, text, folder, web):
    tutorial_world.furnish(folder)
    (folder / "program.py").write_text(text.replace("https://", web), encoding="utf-8")
    outcome = run(launcher, "program.py", cwd=folder, environment={"no_proxy": "127.0.0.1"})
    (folder / "program.py").unlink()
    return Seen(outcome, tutorial_world.files(folder))


def assert_same(before, after):
    assert comparable(after.outcome.stdout) == comparable(before.outcome.stdout), after.outcome.stderr
    assert last_line(after.outcome.stderr) == last_line(before.outcome.stderr)
    assert after.outcome.exitcode == before.outcome.exitcode
    assert after.files == before.files


def comparable(text):
    """The text without what is another in any two runs: times, pids, and which worker prints first."""
    text, _, profile = text.partition("   Ordered by: ")
    unordered = UNORDERED.search(text)
    for pattern, replacement in RANDOM:
        text = re.sub(pattern, replacement, text)
    lines = text.splitlines()
    return sorted(lines) if unordered else lines, profile.partition("\n")[0]


def last_line(text):
    """Of an error its own, not one of the notes that pickle adds from Python 3.14 on."""
    lines = [line for line in text.splitlines() if not line.startswith("when serializing ")]
    return re.sub("0x[0-9a-f]+", "ADDRESS", (lines or [""])[-1])
