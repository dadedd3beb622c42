"""``import fastpool.multiprocessing as multiprocessing``: all of it, with another Pool."""

import importlib
import multiprocessing
import multiprocessing.pool
import os

import pytest

from pool import jobs
from support import script, tasks

pytestmark = pytest.mark.fastpool_only("is the other side of the comparison")


@pytest.fixture
def module(lib):
    return importlib.import_module("fastpool.multiprocessing")


def test_has_every_name(module):
    assert set(multiprocessing.__all__) <= set(module.__all__)
    names = {name for name in dir(multiprocessing) if not name.startswith("_")}
    assert names <= set(dir(module))


def test_what_is_not_a_pool_is_the_standard_librarys(module):
    others = set(multiprocessing.__all__) - {"Pool", "get_context"}
    for name in sorted(others):
        ours, theirs = getattr(module, name), getattr(multiprocessing, name)
        # A method of the default context is made anew each time.
        assert ours == theirs or ours.__func__ is theirs.__func__, name


def test_star(module):
    names = {}
    exec("from fastpool.multiprocessing import *", names)
    assert names["Process"] is multiprocessing.Process
    with names["Pool"](1) as pool:
        assert pool.apply(tasks.double, (2,)) == 4
    pool.join()


def test_pool(lib, module):
    with module.Pool(2) as pool:
        assert type(pool) is lib.Pool
        assert pool.map(tasks.double, range(3)) == [0, 2, 4]
        assert pool._ctx.get_start_method() == multiprocessing.get_start_method()
    pool.join()


def test_arguments_of_pool(module):
    with module.Pool(1, tasks.initialize, (1, 2), 5) as pool:
        assert pool.apply(tasks.initialized_with) == [(1, 2)] and pool._maxtasksperchild == 5
    pool.join()
    with module.Pool(processes=1, initializer=tasks.initialize, initargs=(1,), maxtasksperchild=5) as pool:
        assert pool.apply(tasks.initialized_with) == [(1,)]
    pool.join()
    with pytest.raises(ValueError, match="^Number of processes must be at least 1$"):
        module.Pool(0)


def test_contexts(lib, module, start_method, mailbox):
    context = module.get_context(start_method)
    assert context.get_start_method() == start_method
    assert issubclass(context.Process, multiprocessing.get_context(start_method).Process)
    with context.Pool(1) as pool:
        assert type(pool) is lib.Pool and pool._ctx.get_start_method() == start_method
        assert pool.apply(tasks.double, (2,)) == 4
    pool.join()
    process = context.Process(target=tasks.announce, args=(mailbox, "hello"))
    process.start()
    process.join()
    assert process.exitcode == 0 and mailbox.get() == "hello"


def test_default_context(lib, module):
    with module.get_context().Pool(1) as pool:
        assert type(pool) is lib.Pool
    pool.join()
    with pytest.raises(ValueError, match="cannot find context for 'no such method'"):
        module.get_context("no such method")


def test_pool_module(lib, module):
    assert module.pool.Pool is lib.Pool
    assert module.pool.ThreadPool is multiprocessing.pool.ThreadPool
    for name in ("ApplyResult", "AsyncResult", "MapResult", "IMapIterator", "MaybeEncodingError", "RemoteTraceback"):
        assert hasattr(module.pool, name)
    assert module.pool.MaybeEncodingError is multiprocessing.pool.MaybeEncodingError


def test_pool_of_threads(module):
    with module.pool.ThreadPool(2) as pool:
        assert type(pool) is multiprocessing.pool.ThreadPool
        assert pool.map(lambda number: (number, os.getpid()), range(2)) == [(0, os.getpid()), (1, os.getpid())]
    pool.join()


def test_standard_module_is_as_it_was(module):
    with multiprocessing.Pool(1) as pool:
        assert type(pool) is multiprocessing.pool.Pool
    pool.join()
    assert module.pool is not multiprocessing.pool
    assert multiprocessing.pool.Pool.__module__ == "multiprocessing.pool"


def test_shared_objects_and_managers(module, start_method):
    context = module.get_context(start_method)
    value = context.Value("i", 0)
    with context.Pool(2, jobs.share_positionally, (["value"], value)) as pool:
        pool.map(jobs.add_to_value, range(10), 1)
    pool.join()
    assert value.value == 45
    with context.Manager() as manager, context.Pool(2) as pool:
        numbers = manager.list()
        pool.starmap(jobs.append, [(numbers, number) for number in range(5)])
        assert sorted(numbers) == list(range(5))
    pool.join()


def test_program(start_method, run_script):
    """One that uses more of the module than Pool."""
    path = run_script.write(f"""
        import fastpool.multiprocessing as mp
        from fastpool.multiprocessing import Pool, Process, Queue, cpu_count, current_process
        def put(queue):
            queue.put(current_process().name != "MainProcess")
        # main
        mp.set_start_method({start_method!r}, force=True)
        queue = Queue()
        process = Process(target=put, args=(queue,))
        process.start()
        print(queue.get(), cpu_count() == os.cpu_count(), mp.get_start_method() == {start_method!r})
        process.join()
        with Pool(2) as pool:
            print(type(pool).__module__, pool._ctx.get_start_method() == {start_method!r})
            print(pool.map(tasks.double, range(3)))
        """)
    finished = script.finish(script.start([script.sys.executable, path]))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == ["True True True", "fastpool True", "[0, 2, 4]"]
