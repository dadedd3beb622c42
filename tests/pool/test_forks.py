"""Forks of a program that has pools: of its own, of multiprocessing's, and of the pools' threads."""

import multiprocessing
import threading

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually

FORKED = """
    # main
    with Pool(2) as pool:
        before = sorted(worker.pid for worker in pool._pool)
        assert pool.apply(tasks.double, (2,)) == 4
        child = os.fork()
        if not child:
            {child}
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, pool.apply(tasks.double, (21,)), sorted(worker.pid for worker in pool._pool) == before)
    """


@pytest.mark.fastpool_only("in the standard library the child ends the parent's workers")
@pytest.mark.parametrize(
    "child", ["sys.exit(3)", "pool.terminate(); sys.exit(3)", "pool.close(); del pool; sys.exit(3)", "pool.join; os._exit(3)"]
)
def test_child_that_leaves(run_script, child):
    finished = run_script(FORKED.format(child=child), ignore=DeprecationWarning)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "3 42 True\n", "")


@pytest.mark.methods("fork")
def test_processes_forked_while_pools_start(make_pool):
    """Whatever a thread holds at that moment, the child ends."""
    stop = threading.Event()

    def work():
        while not stop.is_set():
            pool = make_pool(1)
            pool.terminate()
            pool.join()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(40):
            process = multiprocessing.get_context("fork").Process(target=tasks.nothing)
            process.start()
            process.join(PATIENCE)
            # not at once: the start of a worker in the other thread may have reaped it, as multiprocessing does
            eventually(lambda process=process: process.exitcode is not None)
            assert process.exitcode == 0
    finally:
        stop.set()
        thread.join()


@pytest.mark.methods("fork")
@pytest.mark.fastpool_only("the standard library does not send functions by value")
def test_first_lambda_while_replacements_are_forked(run_script):
    """What has to be imported for it, the workers import too."""
    finished = run_script(
        """
        # main
        pool = Pool(2, maxtasksperchild=1)
        pool.map(tasks.double, range(4), 1)
        print(pool.apply(lambda: 5))
        pool.terminate()
        """
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "5\n", "")


@pytest.mark.fastpool_only("the standard library's map() then divides by the number of workers, which is 0")
def test_map_while_no_worker_is_there(make_pool, lib):
    pool = make_pool(1)
    for _ in range(10):
        with pytest.raises(lib.WorkerDied):
            pool.apply(tasks.exit_process, (1,))
        assert pool.map(tasks.double, [1, 2]) == [2, 4]
    assert all(processes.alive(worker.pid) for worker in pool._pool)
