"""Every program of the tutorials that uses an executor does under `python -m fastpool` what it does under python."""

import re

import pytest

import tutorial_text
from tutorial_runs import assert_same, case, last_line

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


def cancelled_consistently(outcome):
    """Whether a task starts before it is cancelled is a race; what follows from either is not."""
    first, second, *rest = outcome.stdout.splitlines()
    assert re.fullmatch("Task 1 cancelled: (True|False)", first)
    if second == "Task 2 cancelled: False":
        assert rest == ["Task completed after 5 seconds"] and outcome.exitcode == 0 and not outcome.stderr
    else:
        assert second == "Task 2 cancelled: True"
        assert not rest and outcome.exitcode == 1 and "CancelledError" in last_line(outcome.stderr)


COMPARED = [case(program) for name, program in PROGRAMS.items() if not re.search("slide-6$|^004-block-16$", name)]
CANCELLING = [case(program) for name, program in PROGRAMS.items() if name.endswith("slide-6")]
DEEP = case(PROGRAMS["004-block-5"], before=DEEPER)
PROFILING = case(PROGRAMS["004-block-16"], before=BEFORE_PROFILING, after=AFTER_PROFILING)


def test_all_programs_are_found():
    slides = [f"{text}-slide-{number}" for text in ("000", "001") for number in range(1, 14)]
    assert list(PROGRAMS) == [*slides, "002-block-12", "002-block-15", "004-block-5", "004-block-16"]


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_program(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert after.outcome.stdout or case.name == "004-block-5"  # which ends at python's limit of recursion


@pytest.mark.parametrize("case", CANCELLING, ids=str)
def test_cancelling(case, runs):
    for seen in runs.both(case):
        cancelled_consistently(seen.outcome)


@pytest.mark.parametrize("case", [DEEP], ids=str)
def test_recursion_with_room_enough(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert [line.partition(":")[0] for line in after.outcome.stdout.splitlines()] == ["Sequential", "Parallel"]


@pytest.mark.parametrize("case", [PROFILING], ids=str)
def test_profiling(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert "Ordered by: cumulative time" in after.outcome.stdout
    assert after.outcome.stdout.count("worked on") == 20
