"""Pools, executors and processes that a task starts, and beside a pool."""

import pytest

from pool import jobs
from support import processes, tasks
from support.events import PATIENCE, eventually

daemons = pytest.mark.fastpool_only("the standard library's workers are daemons, and may have no children")


@daemons
def test_pool_in_a_worker(lib, make_pool, start_method):
    assert make_pool(1).apply(jobs.nested_pool, (lib.__name__, start_method, 10)) == 90


@daemons
def test_pool_in_both_workers(lib, make_pool, start_method):
    calls = [(lib.__name__, start_method, count) for count in (5, 6, 7)]
    assert make_pool(2).starmap(jobs.nested_pool, calls, 1) == [20, 30, 42]


@daemons
@pytest.mark.methods("fork")
def test_standard_pool_in_a_worker(make_pool, start_method):
    assert make_pool(1).apply(jobs.nested_pool, ("multiprocessing.pool", start_method, 10)) == 90


@daemons
@pytest.mark.parametrize("module", ["concurrent.futures", "fastpool"])
def test_executor_in_a_worker(make_pool, start_method, module):
    assert make_pool(1).apply(tasks.nested, (module, start_method, 10)) == 90


@daemons
def test_process_in_a_worker(make_pool, start_method, mailbox):
    assert make_pool(1).apply(jobs.nested_process, (start_method, mailbox)) == 0
    assert mailbox.get() == "from the process"


def test_pool_in_a_worker_of_an_executor(lib, context, start_method):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert executor.submit(jobs.nested_pool, lib.__name__, start_method, 10).result() == 90


def test_pool_in_a_process(run_script):
    finished = run_script("""
        def child():
            with Pool(1) as own:
                print(own.apply(tasks.double, (21,)))
        # main
        with Pool() as pool:
            pool.apply(tasks.nothing)
            process = context.Process(target=child)
            process.start()
            process.join()
            print(process.exitcode, pool.apply(tasks.double, (1,)))
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "42\n0 2\n", "")


@daemons
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_workers_of_a_worker_end_with_it(lib, make_pool, start_method, mailbox, end):
    pool = make_pool(1)
    result = pool.apply_async(jobs.nested_pool_that_sleeps, (lib.__name__, start_method, mailbox))
    *below, ready = mailbox.take(3)
    assert ready == "ready" and all(processes.alive(worker) for worker in below)
    if end == "terminate":
        pool.terminate()
    else:
        pool._pool[0].kill()
        with pytest.raises(lib.WorkerDied):
            result.get(PATIENCE)
    eventually(lambda: not any(processes.alive(worker) for worker in below))
