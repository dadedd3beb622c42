"""Memory runs out, at any allocation: MemoryError, and nothing else comes of it. And without that, no reference is left.

Every type and public function is in a table, `support.no_memory_table`. Programs of their own go through it, with a
library (`support/no_memory.c`) before the C library's that lets allocations fail in one thread. All allocations are tried
with FASTPOOL_THOROUGH=1 in the environment, which takes half an hour; otherwise some.
"""

import contextlib
import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import sys
import sysconfig
from multiprocessing import popen_fork

import pytest

import fastpool
from fastpool import _core, launching
from fastpool.executor_team import ExecutorTeam
from fastpool.lazy_maps import Line
from support import processes, script, tasks
from support.events import PATIENCE
from support.no_memory import COURIER
from support.no_memory_table import FILLS, IN_PYTHON, OPERATIONS

pytestmark = pytest.mark.deadline(3600 if os.environ.get("FASTPOOL_THOROUGH") else 240)

THOROUGH = bool(os.environ.get("FASTPOOL_THOROUGH"))
TRIALS = 0 if THOROUGH else 4
ROUNDS, SECONDS = 1000, 3600 if THOROUGH else 0.1

GROUPS = {
    "executor": ("ProcessPoolExecutor", "BoundExecutor"),
    "future": ("Future", "wait", "as_completed"),
    "pool": ("Pool", "AsyncResult", "MapResult"),
    "share": ("share", "Shared"),
    "core": ("_core",),
}

#: What is not in the table: in workers only, or before there is anything.
ELSEWHERE = {
    "_core": {
        "admitted",
        "crash_log",
        "fork_sibling",
        "keep_for_next_task",
        "let_go_of_pages",
        "peak_memory",
        "resign",
        "set_shared_type",
        "watch_owner",
        "without_interrupts",
        "work",
    },
    "Pool": {"Process"},
}

#: Types of the core that are known by another name.
NAMES = {"ExecutorBase": "ProcessPoolExecutor", "FutureBase": "Future"}


#: 3.12 and 3.13 crash in a generator of which an allocation fails, without fastpool as well: nothing in Python is tried.
PYTHON_CRASHES = sys.version_info[:2] in ((3, 12), (3, 13))


def group(prefixes):
    return [name for name in OPERATIONS if name.replace(".", " ").split()[0] in prefixes]


def may_fail(prefixes):
    left_out = (*IN_PYTHON, "as_completed") if PYTHON_CRASHES else ()
    return [name for name in group(prefixes) if not name.startswith(left_out)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler for the library that lets allocations fail")
    source = pathlib.Path(script.TESTS, "support", "no_memory.c")
    library = tmp_path_factory.mktemp("no_memory") / "no_memory.so"
    include = sysconfig.get_path("include")
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", f"-I{include}"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    return library


def run(*arguments, **environment):
    program = script.start(
        ["env", *(f"{name}={value}" for name, value in environment.items())]
        + [sys.executable, "-m", "support.no_memory", *arguments]
    )
    ended = script.finish(program, timeout=3600 if THOROUGH else 200)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


def try_failures(library, *names):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    run("failures", library, str(seed), str(TRIALS), *names, LD_PRELOAD=library, PYTHONMALLOC="malloc")


@pytest.mark.parametrize("prefixes", GROUPS.values(), ids=GROUPS)
def test_allocations_that_fail(library, prefixes):
    try_failures(library, *may_fail(prefixes))


def test_allocations_that_fail_in_the_courier(library):
    try_failures(library, COURIER)


@pytest.mark.parametrize("prefixes", GROUPS.values(), ids=GROUPS)
def test_references(prefixes):
    run("rounds", str(ROUNDS), str(SECONDS), *group(prefixes))


@contextlib.contextmanager
def no_memory_for(owner, name):
    """The next call of that fails."""

    def fail(*args, **kwargs):
        patch.undo()
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fail)
        yield


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (popen_fork.util, "Finalize"),
        (ExecutorTeam, "has_started"),
        (ExecutorTeam, "close_with"),
        (launching, "_start_manager"),
        (launching.Manager, "__init__"),
        (launching.Manager, "start"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_worker_is_left_of_a_start_that_fails(owner, name):
    before = processes.descendants()
    with fastpool.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        with no_memory_for(owner, name), pytest.raises(MemoryError):
            pool.submit(tasks.nothing)
        assert processes.descendants() == before
        assert pool.submit(tasks.double, 21).result() == 42


def test_an_input_whose_end_cannot_be_told_keeps_no_pool_from_ending():
    with fastpool.Pool(1) as pool:
        with no_memory_for(Line, "end"), pytest.raises(MemoryError):
            pool.imap(tasks.double, [1, 2])
        assert list(pool.imap(tasks.double, [1, 2])) == [2, 4]
        pool.close()
        assert not pool.join(PATIENCE)
        assert not pool._worker_handler.is_alive()


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_table_is_whole():
    covered = {name.split()[0].rstrip(",") for name in OPERATIONS}
    assert sum(len(group(prefixes)) for prefixes in GROUPS.values()) == len(OPERATIONS)
    for name, cls in (
        ("Future", fastpool.Future),
        ("ProcessPoolExecutor", fastpool.ProcessPoolExecutor),
        ("Pool", fastpool.Pool),
        ("_core", _core),
    ):
        wanted = public(cls) - ELSEWHERE.get(name, set())
        assert {f"{NAMES.get(n, f'{name}.{n}')}" for n in wanted} - covered == set()
    assert {"share", "wait", "as_completed", "Shared.value", "BoundExecutor.submit", "BoundExecutor.map"} <= covered
    assert all(any(name.startswith(prefix) for name in OPERATIONS) for prefix in IN_PYTHON)
    assert set(FILLS) <= set(OPERATIONS)
