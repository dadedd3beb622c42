"""Programs of their own: what happens at interpreter exit, at Ctrl-C and at death cannot be seen from inside."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

from support import processes
from support.events import PATIENCE

TESTS = str(pathlib.Path(__file__).parents[1])

HEAD = """\
import {module} as futures
import multiprocessing, os, sys, threading, time
from support import tasks
context = multiprocessing.get_context({method!r})

def Pool(max_workers=2, **options):
    return futures.ProcessPoolExecutor(max_workers, mp_context=context, **options)
"""


class Runner:
    """Writes and runs programs that find `futures`, `context`, `Pool` and `tasks` defined.

    What stands before a line `# main` is the module's body, in workers too; the rest is run by the main process alone.
    """

    def __init__(self, module, method, folder):
        self.module, self.method, self.folder = module, method, folder
        self._count = 0

    def write(self, source):
        body, mark, main = textwrap.dedent(source).rpartition("# main\n")
        text = HEAD.format(module=self.module, method=self.method) + body
        text += 'if __name__ == "__main__":\n' + textwrap.indent(main, "    ")
        self._count += 1
        path = self.folder / f"program{self._count}.py"
        path.write_text(text)
        return path

    def start(self, source, *arguments, **options):
        return start([sys.executable, self.write(source), *arguments], **options)

    def __call__(self, source, *arguments, ignore=None):
        """Run to the end, without the warnings of that category: exit code, stdout and stderr."""
        options = ["-W", f"ignore::{ignore.__name__}"] if ignore else []
        return finish(start([sys.executable, *options, self.write(source), *arguments]))


def start(command, **options):
    """In a session of its own, so that signals for its group stay there."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(
        [str(part) for part in command], text=True, start_new_session=True, env=environment(), **options
    )


def environment():
    path = os.pathsep.join(filter(None, (TESTS, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": ""}


def finish(process, timeout=PATIENCE):
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        stacks = _stacks(process)
        kill_session(process)
        stdout, stderr = process.communicate()
        raise AssertionError(f"not finished in {timeout} s\n{stacks}\n{stdout}\n{stderr}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _stacks(process):
    from support.deadline import print_all_stacks

    print_all_stacks()
    return "\n".join(f"{pid}: {processes.describe(pid)}" for pid in [process.pid, *processes.descendants(process.pid)])


def kill_session(process):
    """Everything that has the program's session, orphans too."""
    for entry in processes.PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == process.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
