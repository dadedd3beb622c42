"""After a shutdown nothing of the pool is left: descriptors, processes, threads, mappings."""

import gc
import random
import threading

import pytest

from support import processes, script, tasks
from support.events import PATIENCE, eventually
from support.holdings import holdings, resident

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


@pytest.mark.methods("fork")
@pytest.mark.deadline(240)
def test_a_thousand_pools(run_script):
    """In a program that is small: a fork of this one takes far longer than a pool."""
    program = run_script.start("""
        from support.events import eventually
        from support.holdings import holdings, resident
        def use(count):
            for _ in range(count):
                with Pool() as pool:
                    assert len(pool.submit(tasks.large, 70_000).result()) == 70_000
        # main
        use(50)
        before, memory = holdings(), resident()
        use(950)
        eventually(lambda: holdings() == before)
        print(resident() < memory + 5 or (memory, resident()))
        """)
    finished = script.finish(program, timeout=200)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "True\n", "")


@pytest.mark.methods("fork")
@pytest.mark.deadline(240)
def test_a_hundred_thousand_transfers(lib, context):
    """Of every size from nothing to a mebibyte, mostly small, both ways."""
    dice = random.Random(7)

    def transfers(count):
        sizes = [min(int(2 ** (20 * dice.random() ** 2)), 1 << 20) for _ in range(count)]
        data = bytes(1 << 20)
        for start in range(0, count, 1000):
            futures = [pool.submit(tasks.echo, data[:size]) for size in sizes[start : start + 1000]]
            for future, size in zip(futures, sizes[start : start + 1000], strict=True):
                assert len(future.result()) == size

    with lib.ProcessPoolExecutor(2, mp_context=context) as pool:
        transfers(10_000)
        before, memory = holdings(), resident()
        workers = {pid: processes.status(pid)["RssAnon"] for pid in pool._processes}
        transfers(90_000)
        assert holdings() == before
        eventually(lambda: resident() < memory + 20)  # idle shared pages go back after a while
        grown = {pid: int(processes.status(pid)["RssAnon"].split()[0]) - int(size.split()[0]) for pid, size in workers.items()}
        assert max(grown.values()) < 10_000  # KiB
