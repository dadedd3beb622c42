"""After a shutdown nothing of the pool is left: descriptors, processes, threads, mappings."""

import gc
import pathlib
import threading

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("counted for fastpool; the standard library has its own tests")


def use(lib, context, workers=2):
    with lib.ProcessPoolExecutor(workers, mp_context=context) as pool:
        assert sum(pool.map(tasks.double, range(100))) == 9900
        assert len(pool.submit(tasks.large, 3_000_000).result()) == 3_000_000
        pool.submit(tasks.nothing).add_done_callback(tasks.nothing)


def break_one(lib, context):
    with lib.ProcessPoolExecutor(2, mp_context=context) as pool:
        pool.submit(tasks.exit_process, 1).exception(PATIENCE)


def drop_one(lib, context):
    pool = lib.ProcessPoolExecutor(2, mp_context=context)
    pool.submit(tasks.double, 2).result()


def kill_one(lib, context):
    pool = lib.ProcessPoolExecutor(2, mp_context=context)
    pool.submit(tasks.double, 2).result()
    pool.kill_workers()


def never_use_one(lib, context):
    lib.ProcessPoolExecutor(2, mp_context=context)


def holdings():
    gc.collect()
    return {
        "descriptors": sorted(processes.open_files().values()),
        "processes": sorted(processes.descendants()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": len(list(pathlib.Path("/proc/self/task").iterdir())),
        "mappings": sum("memfd" in line for line in pathlib.Path("/proc/self/maps").read_text().splitlines()),
    }


@pytest.mark.parametrize("life", [use, break_one, drop_one, kill_one, never_use_one])
def test_nothing_is_left(lib, context, life):
    # The first pool starts what stays on purpose: the fork server, the resource tracker.
    life(lib, context)
    use(lib, context)
    eventually(_settled)
    before = holdings()
    for _ in range(3):
        life(lib, context)
    try:
        eventually(lambda: holdings() == before)
    except AssertionError:
        assert holdings() == before


def _settled():
    """No pool of this or an earlier test is still ending."""
    gc.collect()
    return not any("ProcessPool" in type(thread).__name__ for thread in threading.enumerate())


def test_shut_down_executor_holds_nothing(lib, context):
    with lib.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(tasks.nothing).result()
    eventually(_settled)
    before = holdings()
    shut_down = []
    for _ in range(3):
        with lib.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert sum(pool.map(tasks.double, range(100))) == 9900
        shut_down.append(pool)
    del pool
    eventually(_settled)
    assert holdings() == before
