"""The tutorials' programs that use multiprocessing do under `python -m fastpool` what they do under python."""

from dataclasses import replace

import pytest

import pool_text
import tutorial_text
from tutorial_runs import FORKING, assert_same, case, comparable, last_line

PROGRAMS = {
    program.name: program
    for find in (pool_text.programs, tutorial_text.multiprocessing_programs)
    for program in find(tutorial_text.SEEDS)
}

# The end of a Pool may come before its workers have written what they have printed.
PROMPT = "import functools\nprint = functools.partial(print, flush=True)\n"

CONNECTION = """
import sqlite3

def connect():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE users (id, name)")
    connection.execute("INSERT INTO users VALUES (1, 'Ada')")
    connection.execute("CREATE TABLE orders (id, user)")
    return connection
"""
# Its cursors cannot travel.
CURSORS = "\ncreate_database_connection = connect\n"
ROWS = """
class create_database_connection:
    def __init__(self):
        self.connection = connect()

    def execute(self, sql):
        return self.connection.execute(sql).fetchall()
"""

# The library need not be there: the functions that use it are not called.
WITHOUT_AIOHTTP = "import sys, types\nsys.modules['aiohttp'] = types.ModuleType('aiohttp')\n"
BENCHMARK = """
if __name__ == "__main__":
    print(benchmark_cpu_multiprocessing([1000, 2000, 3000]) > 0)
"""

# For programs that say nothing of what they have done.
PRINT_RESULTS = "    print(results)\n"
PRINT_END = "    print('ended')\n"

COMPLETED = {
    "003-block-1": {"before": PROMPT},
    "003-block-4": {"after": PRINT_RESULTS},
    "003-block-17": {"after": PRINT_END},
    "003-block-18": {"before": PROMPT},
    "003-block-19": {"before": PROMPT + CONNECTION + ROWS, "after": PRINT_RESULTS},
    # What stands outside of its guard would be run, and print, again in each child that is not forked.
    "004-block-4": {"before": FORKING},
    "004-block-9": {"before": WITHOUT_AIOHTTP, "after": BENCHMARK},
}
LOCAL_FUNCTIONS = "003-block-23"
COMPARED = [case(program, **COMPLETED.get(name, {})) for name, program in PROGRAMS.items() if name != LOCAL_FUNCTIONS]
# Two end with an error of their own: one takes a label for a number, one gives an argument to a function without any.
UNPACKS_WRONGLY = "003-block-24"
FAILING = {UNPACKS_WRONGLY: "TypeError: not all arguments", "004-block-13": "TypeError: cpu_task() takes 0"}

SENDING_CURSORS = case(PROGRAMS["003-block-19"], before=PROMPT + CONNECTION + CURSORS)


def corrected(program, *corrections):
    text = program.text
    for wrong, right in corrections:
        assert wrong in text
        text = text.replace(wrong, right)
    return replace(program, text=text)


# With the two names in the order of the pair, and with numbers of 12 digits: those of 18 take minutes.
# Only children that are forked have its function, which stands behind the guard.
PRIMES = case(
    corrected(
        PROGRAMS[UNPACKS_WRONGLY],
        ("num, label = test_cases[0]", "label, num = test_cases[0]"),
        ("100109100129", "100109"),
    ),
    before=FORKING,
)

LOCALS = case(PROGRAMS[LOCAL_FUNCTIONS])
# The standard library takes local functions where no process has to find them: as a pool of threads.
THREADS = "import multiprocessing.dummy\nmultiprocessing.Pool = multiprocessing.dummy.Pool\n"
LIKE_THREADS = replace(LOCALS, plain=THREADS + LOCALS.text)
# It ends at its own part on errors. These are that part, with what it means to call, and those that follow.
LAST_PARTS = case(
    corrected(
        PROGRAMS[LOCAL_FUNCTIONS],
        ("pool.starmap(risky_division", "pool.map(risky_division"),
        ("pool.starmap(safe_division", "pool.map(safe_division"),
        ("    # IMPORTANT: This guard is required on Windows\n    main()\n", ""),
        (
            'if __name__ == "__main__":\n',
            """if __name__ == "__main__":
    pool_error_handling()
    pool_chunksize_optimization()
    real_world_example_image_processing()
""",
        ),
    )
)
LAST_PARTS_LIKE_THREADS = replace(LAST_PARTS, plain=THREADS + LAST_PARTS.text)


def test_all_programs_are_found():
    assert list(PROGRAMS) == [
        *(f"003-block-{number}" for number in range(1, 25)),
        *(f"003-exercise-{number}" for number in range(1, 4)),
        *("002-block-4", "002-block-11"),
        *("004-block-4", "004-block-6", "004-block-9", "004-block-13"),
    ]


@pytest.mark.parametrize("case", [LOCALS], ids=str)
def test_local_functions_go_on_where_python_ends(case, runs):
    before, after = runs.both(case)
    assert before.outcome.exitcode == 1 and "local object" in last_line(before.outcome.stderr)
    lines = comparable(before.outcome.stdout)[0]
    assert "Parallel execution" in lines[-1]
    assert comparable(after.outcome.stdout)[0][: len(lines)] == lines


@pytest.mark.parametrize("case", [LIKE_THREADS], ids=str)
def test_local_functions_do_what_they_do_in_threads(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert "safe_division() takes 1 positional argument but 2 were given" in last_line(after.outcome.stderr)


@pytest.mark.parametrize("case", [LAST_PARTS_LIKE_THREADS], ids=str)
def test_last_parts_of_local_functions(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert "15/0: ✗ Error: division by zero" in after.outcome.stdout
    assert "✓ Processed 50 images" in after.outcome.stdout


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_program(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    if case.name in FAILING:
        assert FAILING[case.name] in last_line(after.outcome.stderr)
    else:
        assert after.outcome.stdout and after.outcome.exitcode == 0, after.outcome


@pytest.mark.parametrize("case", [PRIMES], ids=str)
def test_primes(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert after.outcome.exitcode == 0
    assert after.outcome.stdout.count("trivial non-prime    (112272535095295):") == 3


@pytest.mark.parametrize("case", [SENDING_CURSORS], ids=str)
def test_result_that_cannot_travel(case, runs):
    before, after = runs.both(case)
    assert_same(before, after)
    assert "MaybeEncodingError" in last_line(after.outcome.stderr)
