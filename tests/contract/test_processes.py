"""Pools inside workers, forks of a task's own, forks of the program's own, and modules that use a pool while imported."""

import sys

import pytest

from support import script, tasks


def test_pool_in_a_worker(lib, make_pool, start_method):
    future = make_pool(1).submit(tasks.nested, lib.__name__, start_method, 10)
    assert future.result() == 90


def test_pool_in_both_workers(lib, make_pool, start_method):
    assert list(make_pool(2).map(tasks.nested, [lib.__name__] * 3, [start_method] * 3, [5, 6, 7])) == [20, 30, 42]


def test_task_that_forks(single):
    assert single.submit(tasks.fork_here).result() == 3
    assert single.submit(tasks.double, 2).result() == 4


def test_fork_of_the_program_leaves_the_pool_alone(run_script):
    """The child neither disturbs its parent's pool nor hangs when it ends."""
    finished = run_script(
        """
        # main
        pool = Pool()
        print(pool.submit(tasks.double, 1).result(), flush=True)
        child = os.fork()
        if not child:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(sum(pool.map(tasks.double, range(10))))
        pool.shutdown()
        """,
        ignore=DeprecationWarning,
    )  # since 3.12 for the threads there are
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "2\n7\n90\n", "")


def test_process_of_multiprocessing_beside_the_pool(run_script):
    finished = run_script("""
        def child():
            with Pool(1) as own:
                print(own.submit(tasks.double, 21).result())
        # main
        with Pool() as pool:
            pool.submit(tasks.nothing).result()
            process = context.Process(target=child)
            process.start()
            process.join()
            print(process.exitcode, pool.submit(tasks.double, 1).result())
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "42\n0 2\n", "")


MODULE = """
import {module} as futures
import multiprocessing

def double(number):
    return 2 * number

if multiprocessing.parent_process() is None:
    with futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("{method}")) as pool:
        ANSWER = pool.submit(double, 21).result({timeout})
        ANSWERS = list(pool.map(double, range(3)))
"""


@pytest.mark.fastpool_only("pickling in another thread, the standard library waits for the import lock for ever")
def test_pool_used_while_a_module_is_imported(lib, start_method, run_script, tmp_path):
    (tmp_path / "uses_a_pool.py").write_text(MODULE.format(module=lib.__name__, method=start_method, timeout=20))
    finished = run_script("""
        # main
        import uses_a_pool
        print(uses_a_pool.ANSWER, uses_a_pool.ANSWERS)
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "42 [0, 2, 4]\n", "")


@pytest.mark.methods("fork")
def test_program_without_a_guard(lib, tmp_path):
    """Under fork the main module is not imported again."""
    path = tmp_path / "unguarded.py"
    path.write_text(f"""
from {lib.__name__} import ProcessPoolExecutor
import multiprocessing

def double(number):
    return 2 * number

with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    print(list(pool.map(double, range(5))))
""")
    finished = script.finish(script.start([sys.executable, path]))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "[0, 2, 4, 6, 8]\n", "")
