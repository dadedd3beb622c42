"""`python -m fastpool --compare`: what it says about two runs, and whether it is true."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastpool
from program_runs import FASTPOOL, run

COMPARE = [*FASTPOOL, "--compare"]
WHICH = "from concurrent.futures import ProcessPoolExecutor as executor\nprint(executor.__module__)\n"

WORK = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor

def work():
    memory = bytearray(b"x") * 64_000_000
    end = time.process_time() + 0.6
    while time.process_time() < end:
        pass
    return len(memory)

if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1])) as executor:
        futures = [executor.submit(work) for _ in range(2)]
        print([future.result() for future in futures])
"""


def compare(text, folder, *arguments, launcher=COMPARE, **options):
    (folder / "program.py").write_text(text)
    return run(launcher, "program.py", *arguments, cwd=folder, **options)


def row(name, outcome):
    """The two numbers in a row of the table."""
    (found,) = re.findall(rf"^{name} +([\d.]+) \w+ +([\d.]+) \w+", outcome.stdout, re.MULTILINE)
    return tuple(map(float, found))


def test_the_same(tmp_path):
    outcome = compare("import sys; print('one\\ntwo'); print('three', file=sys.stderr)", tmp_path)
    assert outcome.exitcode == 0
    assert outcome.stdout.startswith("The same under both: 2 lines on stdout, 1 line on stderr, exit code 0.\n")
    assert outcome.stderr == "fastpool: running it under the standard library\nfastpool: running it under fastpool\n"


@pytest.mark.parametrize("name", ["wall time", "processor time", "peak memory"])
def test_the_table(name, tmp_path):
    assert all(number > 0 for number in row(name, compare("import time; time.sleep(0.1)", tmp_path)))


def test_different_output(tmp_path):
    outcome = compare(f"print('before')\n{WHICH}print('after')", tmp_path)
    assert outcome.exitcode == 1
    assert outcome.stdout.startswith("NOT the same: stdout.\n")
    assert "\n before\n-concurrent.futures.process\n+fastpool\n after\n" in outcome.stdout


def test_different_exit_codes(tmp_path):
    outcome = compare(f"{WHICH}import sys; sys.exit(executor.__module__ == 'fastpool')", tmp_path)
    assert outcome.exitcode == 1
    assert "NOT the same: stdout, exit code.\n" in outcome.stdout
    assert "exit code 0 under the standard library, exit code 1 under fastpool" in outcome.stdout


def test_a_long_difference_is_cut(tmp_path):
    outcome = compare(f"{WHICH}for i in range(100): print(executor.__module__, i)", tmp_path)
    shown = [line for line in outcome.stdout.splitlines() if line[:1] in tuple("-+@ ") and line.strip()]
    assert len([line for line in shown if line[0] in "-+@"]) == 20
    assert re.search(r"^\.\.\. and \d+ lines more$", outcome.stdout, re.MULTILINE)


def test_output_that_is_no_text(tmp_path):
    outcome = compare("import sys; sys.stdout.buffer.write(bytes(range(256)))", tmp_path)
    assert outcome.exitcode == 0, outcome


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_programs_exit_code(code, tmp_path):
    outcome = compare(f"import sys; sys.exit({code})", tmp_path)
    assert outcome.exitcode == code
    assert f"exit code {code}." in outcome.stdout


def test_a_program_that_is_killed(tmp_path):
    outcome = compare("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", tmp_path)
    assert outcome.exitcode == 128 + 15
    assert "killed by SIGTERM." in outcome.stdout


def test_sets_of_strings_come_in_the_same_order(tmp_path):
    assert compare("print({str(i) for i in range(1000)})", tmp_path).exitcode == 0


def test_both_read_the_same_file(tmp_path):
    (tmp_path / "program.py").write_text("import sys; print(len(sys.stdin.read()))")
    with open(tmp_path / "program.py") as file:
        command = [*COMPARE, "-c", "import sys; sys.exit(len(sys.stdin.read()))"]
        assert subprocess.run(command, stdin=file, capture_output=True, timeout=60).returncode == 40


def test_a_pipe_is_read_by_neither(tmp_path):
    outcome = compare("import sys; print(repr(sys.stdin.read()))", tmp_path, stdin="text")
    assert outcome.exitcode == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_all_processes_are_counted(method, tmp_path):
    """A fork server's workers are nobody's children that the program waits for."""
    outcome = compare(WORK, tmp_path, method)
    assert outcome.exitcode == 0, outcome
    assert all(1.2 < number < 10 for number in row("processor time", outcome)), outcome.stdout
    assert all(122 < number < 400 for number in row("peak memory", outcome)), outcome.stdout


def test_processes_left_behind(tmp_path):
    """What outlives the program is waited for, but not for ever."""
    code = (
        "import subprocess, time\n"
        "from fastpool.proctree import Bill, adopt_orphans\n"
        "adopt_orphans()\n"
        "child = subprocess.Popen(['sh', '-c', 'sleep 60 & echo $!'], stdout=subprocess.PIPE, text=True)\n"
        "grandchild = int(child.stdout.readline())\n"
        "bill = Bill()\n"
        "child.returncode = bill.wait_for(child.pid)\n"
        "print(child.returncode, bill.wait_for_all(0.2))\n"
        "import os; os.kill(grandchild, 9)\n"
        "print(bill.wait_for_all(30))\n"
    )
    outcome = run([sys.executable], "-c", code, cwd=tmp_path)
    assert outcome.stdout == "0 False\nTrue\n", outcome


def test_where_nothing_is_accelerated(tmp_path):
    """Without the C core there is nothing to replace: it works all the same, and says why it is no faster."""
    package = Path(fastpool.__file__).parent
    shutil.copytree(package, tmp_path / "elsewhere" / "fastpool", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    # in its place: an editable install would find the extension elsewhere
    (tmp_path / "elsewhere" / "fastpool" / "_core.py").write_text("raise ImportError('not built')")
    outcome = compare(WHICH, tmp_path, environment={"PYTHONPATH": str(tmp_path / "elsewhere")})
    assert outcome.exitcode == 0, outcome
    assert outcome.stdout.startswith("The same under both: 1 line")
    assert outcome.stderr.startswith("fastpool: not accelerated: fastpool's C core is not there:")
