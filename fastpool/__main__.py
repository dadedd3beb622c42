"""`python -m fastpool [--compare] script.py [args]`: run a program for the standard library with fastpool's executor.

The program is not imitated inside this process: a fresh interpreter takes this one's place, exactly as it would have
been started without fastpool, and `_start/sitecustomize.py` installs the drop-in there before the program's first line.
So `__main__`, tracebacks, exit codes and all else are plain Python's own.
"""

import os
import sys

import fastpool

USAGE = """\
usage: python -m fastpool [--compare] (script.py | -m module | -c code) [args]

Run a program that uses concurrent.futures.ProcessPoolExecutor with fastpool's in its place.

  --compare   run it under plain python too, say whether it does the same, and what both runs cost
  --version   print fastpool's version
  --help      print this text

All else is given to python as it stands.
"""

START = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_start")


def main(arguments: list[str]) -> int:
    option = arguments[0] if arguments else None
    if option in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if option == "--version":
        print("fastpool", fastpool.__version__)
        return 0
    compare = option == "--compare"
    program = arguments[1:] if compare else arguments
    if not program:
        return complain(USAGE.rstrip())
    command = [*interpreter_and_options(), *program]
    if passes_start_by(command[1:]):
        return complain("fastpool: with -E, -I or -S python does not read what installs the replacement")
    environment = dict(os.environ)
    if compare:
        from fastpool import comparison

        return comparison.report(command, environment, replaced(environment))
    os.execve(sys.executable, command, replaced(environment))


def complain(text: str) -> int:
    print(text, file=sys.stderr)
    return 2


def interpreter_and_options() -> list[str]:
    """What stands before `-m fastpool`, such as `-X dev`: the program is to have it too."""
    *options, last = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv[1:])]
    if last == "fastpool":
        last = options.pop()
    last = last.removesuffix("fastpool").removesuffix("m")  # it may hold other letters: -Bm
    return options if last == "-" else [*options, last]


def passes_start_by(arguments: list[str]) -> bool:
    """Do options among python's arguments keep it from reading PYTHONPATH, or `sitecustomize`?"""
    remaining = iter(arguments)
    for argument in remaining:
        if not argument.startswith("-"):
            return False
        for letter in argument[1:]:
            if letter in "EIS":
                return True
            if letter in "cm":
                return False
            if letter in "WX":
                if argument.endswith(letter):
                    next(remaining, None)
                break
    return False


def replaced(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which an interpreter runs `_start/sitecustomize.py` first."""
    rest = environment.get("PYTHONPATH")
    return {**environment, "PYTHONPATH": os.pathsep.join([START, rest]) if rest else START}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
