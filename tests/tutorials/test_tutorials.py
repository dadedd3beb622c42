"""Every program of the tutorials that uses an executor does under `python -m fastpool` what it does under python."""

import ast
import multiprocessing
import re
from dataclasses import dataclass

import pytest

import tutorial_text
import tutorial_world
from program_runs import FASTPOOL, PLAIN, Outcome, run

PROGRAMS = {program.name: program for program in tutorial_text.programs(tutorial_text.SEEDS)}

# What the text of the profiling fragment leaves to its reader.
BEFORE_PROFILING = """
data = range(20)

def some_function(number):
    print(f"worked on {number}")
    return number * 2
"""
AFTER_PROFILING = """
if __name__ == "__main__":
    profile_parallel_function()
"""

# A recursion 1,000 calls deep, as in one program, is more than python allows by itself.
DEEPER = "import sys\nsys.setrecursionlimit(5000)\n"

# Without a guard a script runs only where children are forked; fastpool sees to it, the standard library has to be told.
FORKING = "import multiprocessing\nmultiprocessing.set_start_method('fork')\n"


@dataclass(frozen=True)
class Seen:
    outcome: Outcome
    files: dict


@pytest.fixture(scope="module")
def web():
    with tutorial_world.web() as address:
        yield address


@pytest.fixture(scope="module")
def under_plain_python(tmp_path_factory, web):
    """What a program does under plain python; programs that differ only in layout are run once."""
    seen = {}

    def look(text):
        key = ast.dump(ast.parse(text))
        if key not in seen:
            seen[key] = look_at(PLAIN, text, tmp_path_factory.mktemp("plain"), web)
        return seen[key]

    return look


def look_at(launcher, text, folder, web):
    tutorial_world.furnish(folder)
    (folder / "program.py").write_text(text.replace("https://", web))
    outcome = run(launcher, "program.py", cwd=folder, environment={"no_proxy": "127.0.0.1"})
    (folder / "program.py").unlink()
    return Seen(outcome, tutorial_world.files(folder))


def compare(text, under_plain_python, folder, web, guarded=True):
    forks = multiprocessing.get_start_method() == "fork"
    before = under_plain_python(text if guarded or forks else FORKING + text)
    after = look_at(FASTPOOL, text, folder, web)
    assert comparable(after.outcome.stdout) == comparable(before.outcome.stdout), after.outcome.stderr
    assert last_line(after.outcome.stderr) == last_line(before.outcome.stderr)
    assert after.outcome.exitcode == before.outcome.exitcode
    assert after.files == before.files
    return after.outcome


def comparable(text):
    """The text without what is another in any two runs: times, pids, and which worker prints first."""
    text, _, profile = text.partition("   Ordered by: ")
    text = re.sub(r"in process: \d+", "in process: PID", text)
    text = re.sub(r"\d+\.\d+ ?(?=s\b|second)", "TIME ", text)
    text = re.sub(r"\d+ function calls( \(.*\))?", "CALLS", text)
    lines = text.splitlines()
    if any("was processed..." in line or "worked on" in line for line in lines):
        lines.sort()
    return lines, profile.partition("\n")[0]


def last_line(text):
    return (text.splitlines() or [""])[-1]


def cancelled_consistently(outcome):
    """Whether a task starts before it is cancelled is a race; what follows from either is not."""
    first, second, *rest = outcome.stdout.splitlines()
    assert re.fullmatch("Task 1 cancelled: (True|False)", first)
    if second == "Task 2 cancelled: False":
        assert rest == ["Task completed after 5 seconds"] and outcome.exitcode == 0 and not outcome.stderr
    else:
        assert second == "Task 2 cancelled: True"
        assert not rest and outcome.exitcode == 1 and "CancelledError" in last_line(outcome.stderr)


COMPARED = [name for name in PROGRAMS if not re.search("slide-6$|^004-block-16$", name)]
CANCELLING = [name for name in PROGRAMS if name.endswith("slide-6")]


def test_all_programs_are_found():
    slides = [f"{text}-slide-{number}" for text in ("000", "001") for number in range(1, 14)]
    assert list(PROGRAMS) == [*slides, "002-block-12", "002-block-15", "004-block-5", "004-block-16"]


@pytest.mark.parametrize("name", COMPARED)
def test_program(name, under_plain_python, tmp_path, web):
    program = PROGRAMS[name]
    outcome = compare(program.text, under_plain_python, tmp_path, web, program.guarded)
    assert outcome.stdout or name == "004-block-5"  # which ends at python's limit of recursion


@pytest.mark.parametrize("name", CANCELLING)
def test_cancelling(name, under_plain_python, tmp_path, web):
    text = PROGRAMS[name].text
    forks = multiprocessing.get_start_method() == "fork"
    cancelled_consistently(under_plain_python(text if forks else FORKING + text).outcome)
    cancelled_consistently(look_at(FASTPOOL, text, tmp_path, web).outcome)


def test_recursion_with_room_enough(under_plain_python, tmp_path, web):
    outcome = compare(DEEPER + PROGRAMS["004-block-5"].text, under_plain_python, tmp_path, web)
    assert [line.partition(":")[0] for line in outcome.stdout.splitlines()] == ["Sequential", "Parallel"]


def test_profiling(under_plain_python, tmp_path, web):
    text = BEFORE_PROFILING + PROGRAMS["004-block-16"].text + AFTER_PROFILING
    outcome = compare(text, under_plain_python, tmp_path, web)
    assert "Ordered by: cumulative time" in outcome.stdout
    assert outcome.stdout.count("worked on") == 20
