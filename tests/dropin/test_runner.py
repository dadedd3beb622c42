"""`python -m fastpool PROGRAM`: to the last letter and the exit code what `python PROGRAM` is."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastpool
from program_runs import FASTPOOL, Outcome, run, run_both_ways

SHOW = """
import os, sys, traceback
print(sys.argv, sys.orig_argv, sys.flags, sys.warnoptions)
print(sys.path, os.environ.get("PYTHONPATH"))
print(sorted(globals()), __name__, globals().get("__file__"), __package__, type(__loader__))
print(__spec__ and (__spec__.name, __spec__.origin, __spec__.parent))
print(sys.modules["__main__"].__dict__ is globals(), [frame.name for frame in traceback.extract_stack()])
print(os.getcwd(), sys.stdin.read())
"""

ENDINGS = {
    "falls off the end": "print('done')",
    "exit without a code": "import sys; sys.exit()",
    "exit code": "import sys; sys.exit(3)",
    "exit code as wide as a byte": "import sys; sys.exit(256 + 7)",
    "exit with True": "raise SystemExit(True)",
    "exit with a message": "import sys; sys.exit('no more')",
    "exit with a tuple": "import sys; sys.exit((1, 2))",
    "at once": "import os; os._exit(9)",
    "exception": "def f():\n    raise ValueError('wrong')\nf()",
    "exception with a cause": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('key') from e",
    "exceptions in a group": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "base exception": "class Odd(BaseException): pass\nraise Odd('odd')",
    "recursion": "def f(n):\n    return f(n + 1)\nf(0)",
    "depth": "import sys\ndef f(n):\n    try: return f(n + 1)\n    except RecursionError: return n\nprint(f(0))",
    "syntax": "print('never')\nx = = 1",
    "interrupted": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)",
    "terminated": "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)",
    "at exit": "import atexit\natexit.register(print, 'last')\nprint('first')\nraise OSError(5, 'broken')",
    "its own excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0], a[2].tb_next)\nraise ValueError",
    "a thread goes on": "import threading, time\nt = threading.Timer(0.1, print, ['later'])\nt.start()\nprint('main ends')",
    "a stack": "import traceback\ndef f(): traceback.print_stack()\nf()",
    "a warning": "import warnings\nwarnings.warn('careful', stacklevel=1)",
    "an exception of a task": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(1) as executor:\n"
        "        print(type(executor.submit(divmod, 1, 0).exception()))\n"
    ),
}


@pytest.fixture
def program(tmp_path):
    def write(text, name="program.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def assert_same(*arguments, cwd, **options):
    before, after = run_both_ways(*arguments, cwd=cwd, **options)
    assert after == before
    return after


@pytest.mark.parametrize("ending", ENDINGS)
def test_ending(ending, program, tmp_path):
    program(ENDINGS[ending])
    outcome = assert_same("program.py", cwd=tmp_path)
    assert outcome.stdout or outcome.stderr or outcome.exitcode in (0, 1, 3, 7, 9, -signal.SIGTERM)


def test_interrupt_is_death_by_signal(program, tmp_path):
    program(ENDINGS["interrupted"])
    outcome = run(FASTPOOL, "program.py", cwd=tmp_path)
    assert outcome.exitcode == -signal.SIGINT
    assert outcome.stderr.count("Traceback") == 1


@pytest.mark.parametrize("arguments", [[], ["a", "b c", ""], ["--compare"], ["-m", "x", "--help"], ["--", "-c"]])
def test_arguments_and_surroundings(arguments, program, tmp_path):
    program(SHOW)
    outcome = assert_same("program.py", *arguments, cwd=tmp_path, stdin="what it reads")
    assert outcome.exitcode == 0 and "what it reads" in outcome.stdout


def test_script_in_another_folder(program, tmp_path):
    program(SHOW, "below/program.py")
    assert f"'{tmp_path}/below'" in assert_same("below/program.py", cwd=tmp_path).stdout


def test_module(program, tmp_path):
    program(SHOW, "package/module.py")
    assert assert_same("-m", "package.module", "x", cwd=tmp_path).exitcode == 0


def test_package(program, tmp_path):
    program("", "package/__init__.py")
    program(SHOW, "package/__main__.py")
    assert assert_same("-m", "package", "x", cwd=tmp_path).exitcode == 0


def test_code(tmp_path):
    assert assert_same("-c", SHOW, "x", "y", cwd=tmp_path).exitcode == 0


def test_standard_input(tmp_path):
    assert assert_same("-", "x", cwd=tmp_path, stdin="import sys\nprint(sys.argv, __name__)").exitcode == 0


def test_folder_and_archive(program, tmp_path):
    main = program(SHOW, "folder/__main__.py")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.write(main, "__main__.py")
    assert assert_same("folder", cwd=tmp_path).exitcode == 0
    assert assert_same("program.zip", "x", cwd=tmp_path).exitcode == 0


@pytest.mark.parametrize(
    "arguments", [["nothing.py"], ["-m", "no_such_module"], ["."], ["-c"], ["--no-such-option"], ["-m", "os.path.x"]]
)
def test_what_python_refuses(arguments, tmp_path):
    outcome = assert_same(*arguments, cwd=tmp_path)
    assert outcome.exitcode in (1, 2) and outcome.stderr


def test_missing_file(tmp_path):
    outcome = run(FASTPOOL, "nothing.py", cwd=tmp_path)
    assert outcome.exitcode == 2
    assert "can't open file" in outcome.stderr


@pytest.mark.parametrize(
    "options", [["-X", "dev"], ["-O"], ["-W", "error"], ["-B", "-q"], ["-X", "utf8=0", "-OO"], ["-u"]]
)
def test_options_of_the_interpreter(options, program, tmp_path):
    """Those before `-m fastpool` are for the program as well; those after it come to the same."""
    program(SHOW)
    plain = run([sys.executable, *options], "program.py", cwd=tmp_path)
    assert plain.exitcode == 0
    assert run([sys.executable, *options, "-m", "fastpool"], "program.py", cwd=tmp_path) == plain
    assert run([*FASTPOOL, *options], "program.py", cwd=tmp_path) == plain


@pytest.mark.parametrize("spelling", [["-Bm", "fastpool"], ["-B", "-mfastpool"], ["-Bmfastpool"]])
def test_spellings(spelling, program, tmp_path):
    program("import sys; print(sys.dont_write_bytecode, sys.argv)")
    outcome = run([sys.executable, *spelling], "program.py", "x", cwd=tmp_path)
    assert outcome.stdout == "True ['program.py', 'x']\n"


@pytest.mark.parametrize("option", ["-E", "-I"])
def test_options_that_cannot_be(option, program, tmp_path):
    program("print('never')")
    for launcher in (
        [sys.executable, option, "-m", "fastpool"],
        [*FASTPOOL, "-X", "dev", option],
        [*FASTPOOL, f"-q{option[1:]}"],
    ):
        outcome = run(launcher, "program.py", cwd=tmp_path)
        assert outcome.exitcode == 2 and not outcome.stdout
        assert "-E, -I or -S" in outcome.stderr


def test_options_of_the_program_are_not_the_interpreters(program, tmp_path):
    program("import sys; print(sys.argv)")
    assert run(FASTPOOL, "program.py", "-I", cwd=tmp_path).stdout == "['program.py', '-I']\n"
    assert run(FASTPOOL, "-m", "program", "-E", cwd=tmp_path).exitcode == 0
    assert run(FASTPOOL, "-W", "ignore", "-c", "import sys; print(sys.argv)", "-S", cwd=tmp_path).exitcode == 0


def test_the_users_own_path(program, tmp_path):
    program("print('found')", "elsewhere/found.py")
    program(SHOW + "\nimport found")
    assert_same("program.py", cwd=tmp_path, environment={"PYTHONPATH": str(tmp_path / "elsewhere")})


@pytest.mark.parametrize("text", ["print('mine', __file__)", "raise ValueError('mine')", "import no_such_module"])
def test_the_users_own_sitecustomize(text, program, tmp_path):
    program(text, "elsewhere/sitecustomize.py")
    program("import sys\nprint('program', sys.modules.keys() >= {'sitecustomize'})")
    mine = {"PYTHONPATH": str(tmp_path / "elsewhere")}
    before, after = run_both_ways("program.py", cwd=tmp_path, environment=mine)
    assert "mine" in before.stdout + before.stderr or "no_such_module" in before.stderr
    assert after.stdout.replace("True", "False") == before.stdout.replace("True", "False")
    assert after.stderr == before.stderr * 2  # the launcher is a python, too


def test_program_without_a_guard(program, tmp_path):
    """It runs under every version's default start method."""
    program("from multiprocessing import Pool\nwith Pool(1) as pool:\n    print(pool.apply(abs, (-5,)))")
    assert run(FASTPOOL, "program.py", cwd=tmp_path) == Outcome("5\n", "", 0)


# Its guard is none that can be recognized without running it.
WITH_A_METHOD = """
import multiprocessing

def kind():
    return type(multiprocessing.current_process()).__name__

is_main = __name__ == "__main__"
if is_main:
    {choice}
    with {make}(1) as pool:
        print(pool.apply(kind))
"""


CHOICES = [("multiprocessing.set_start_method({!r})", "multiprocessing.Pool"), ("", "multiprocessing.get_context({!r}).Pool")]


@pytest.mark.parametrize("name", ["Fork", "ForkServer", "Spawn"])
@pytest.mark.parametrize("choice, make", CHOICES, ids=["for all", "for this pool"])
def test_a_method_that_the_program_chooses(name, choice, make, program, tmp_path):
    method = name.lower()
    program(WITH_A_METHOD.format(choice=choice.format(method), make=make.format(method)))
    assert assert_same("program.py", cwd=tmp_path) == Outcome(f"{name}Process\n", "", 0)


def test_programs_that_the_program_starts_are_left_alone(program, tmp_path):
    look = "from concurrent.futures import ProcessPoolExecutor as p; print(p.__module__, flush=True)"
    program(f"{look}\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', {look!r}])")
    outcome = run(FASTPOOL, "program.py", cwd=tmp_path)
    assert outcome.stdout.split() == [fastpool.ProcessPoolExecutor.__module__, "concurrent.futures.process"]


def test_from_the_source_folder(program, tmp_path):
    """The package is found where `-m` found it, though the program's path does not lead there."""
    (tmp_path / "source").mkdir()
    os.symlink(Path(fastpool.__file__).parent, tmp_path / "source" / "fastpool")
    program(
        "import fastpool, sys\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "print(fastpool.__file__, ProcessPoolExecutor is fastpool.ProcessPoolExecutor)"
    )
    outcome = run(FASTPOOL, "../program.py", cwd=tmp_path / "source")
    assert outcome.stdout.endswith(" True\n"), outcome


def test_without_a_program(tmp_path):
    outcome = run(FASTPOOL, cwd=tmp_path)
    assert outcome.exitcode == 2 and outcome.stderr.startswith("usage:") and not outcome.stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option, tmp_path):
    outcome = run(FASTPOOL, option, cwd=tmp_path)
    assert outcome.exitcode == 0 and outcome.stdout.startswith("usage: python -m fastpool")


def test_version(tmp_path):
    assert run(FASTPOOL, "--version", cwd=tmp_path).stdout == f"fastpool {fastpool.__version__}\n"


def test_interrupt_from_the_keyboard(program, tmp_path):
    """To the terminal it is one process: the program's own, under the pid that was started."""
    program("import os, time\nprint(os.getpid(), flush=True)\nwhile True: time.sleep(0.01)")
    with subprocess.Popen([*FASTPOOL, "program.py"], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as process:
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert stderr.endswith("KeyboardInterrupt\n") and "fastpool" not in stderr
