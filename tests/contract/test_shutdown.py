"""shutdown(), `with`, and executors that are merely dropped."""

import gc
import threading
import time
import weakref

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually


def workers_of(pool):
    return list(pool._processes.values())


def wait_for_end(workers):
    # Not by join(): the pool's own thread joins them, and only one of two gets the exit code.
    eventually(lambda: not any(processes.alive(worker.pid) for worker in workers))


def test_with_waits_for_everything(lib, context):
    with lib.ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(tasks.double, number) for number in range(100)]
        workers = workers_of(pool)
    assert all(future.done() for future in futures)
    assert all(worker.exitcode == 0 for worker in workers)


def test_with_gives_the_pool_and_lets_errors_through(lib, context):
    with pytest.raises(ZeroDivisionError):
        with lib.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert type(pool) is lib.ProcessPoolExecutor
            future = pool.submit(tasks.double, 2)
            raise ZeroDivisionError
    assert future.result(0) == 4


def test_with_on_a_closed_pool_enters(make_pool):
    pool = make_pool(1)
    pool.shutdown()
    with pool as entered:
        assert entered is pool


def test_shutdown_waits(make_pool):
    pool = make_pool(2)
    futures = [pool.submit(tasks.double, number) for number in range(50)]
    workers = workers_of(pool)
    assert pool.shutdown() is None
    assert all(future.done() for future in futures)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def test_shutdown_waits_for_what_runs(make_pool, gate, mailbox):
    pool = make_pool(1)
    future = pool.submit(tasks.announce_and_wait, mailbox, gate, "value")
    mailbox.get()
    thread = threading.Thread(target=pool.shutdown)
    thread.start()
    eventually(lambda: pool._shutdown_thread)
    assert thread.is_alive() and not future.done()
    gate.open()
    thread.join()
    assert future.result(0) == "value"


def test_without_wait_the_work_is_done_all_the_same(make_pool, gate):
    pool = make_pool(2)
    futures = [pool.submit(tasks.pass_through, gate, number) for number in range(20)]
    workers = workers_of(pool)
    pool.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    gate.open()
    assert [future.result() for future in futures] == list(range(20))
    wait_for_end(workers)


def test_shutdown_twice(make_pool):
    pool = make_pool(1)
    pool.submit(tasks.nothing)
    pool.shutdown()
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)


def test_shutdown_without_a_task(make_pool):
    make_pool(1).shutdown()
    make_pool(1).shutdown(wait=False)
    make_pool(1).shutdown(cancel_futures=True)


def test_shutdown_with_idle_workers(make_pool):
    pool = make_pool(2)
    assert list(pool.map(tasks.double, range(10))) == [2 * n for n in range(10)]
    workers = workers_of(pool)
    pool.shutdown()
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


@pytest.mark.fastpool_only("in the standard library the threads trip over each other's clearing up")
def test_shutdown_from_several_threads(make_pool):
    pool, ended = make_pool(2), []
    future = pool.submit(tasks.double, 2)
    threads = [threading.Thread(target=lambda: ended.append(pool.shutdown())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [None] * 4
    assert future.result(0) == 4


def test_result_asked_for_during_shutdown(make_pool, gate):
    pool, answers = make_pool(1), []
    future = pool.submit(tasks.pass_through, gate, "value")
    thread = threading.Thread(target=lambda: answers.append(future.result(PATIENCE)))
    thread.start()
    pool.shutdown(wait=False)
    gate.open()
    thread.join()
    assert answers == ["value"]


def test_private_attributes_are_none_afterwards(make_pool):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    pool.shutdown()
    assert (pool._processes, pool._executor_manager_thread, pool._call_queue) == (None, None, None)


def test_options_are_checked(make_pool):
    pool = make_pool(1)
    with pytest.raises(TypeError):
        pool.shutdown(True, True)
    with pytest.raises(TypeError):
        pool.shutdown(now=True)


def test_dropped_pool_finishes_its_work(lib, context):
    pool = lib.ProcessPoolExecutor(2, mp_context=context)
    futures = [pool.submit(tasks.double, number) for number in range(50)]
    workers = workers_of(pool)
    del pool
    gc.collect()
    assert [future.result() for future in futures] == [2 * number for number in range(50)]
    wait_for_end(workers)


def test_dropped_idle_pool_ends_its_workers(lib, context):
    pool = lib.ProcessPoolExecutor(2, mp_context=context)
    assert pool.submit(tasks.double, 2).result() == 4
    workers, reference = workers_of(pool), weakref.ref(pool)
    del pool
    eventually(lambda: gc.collect() or reference() is None)
    wait_for_end(workers)


def test_pool_is_collectable_while_it_works(lib, context, gate):
    pool = lib.ProcessPoolExecutor(1, mp_context=context)
    future, workers, reference = pool.submit(tasks.pass_through, gate, "value"), workers_of(pool), weakref.ref(pool)
    del pool
    eventually(lambda: gc.collect() or reference() is None)
    assert not future.done()
    gate.open()
    assert future.result() == "value"
    wait_for_end(workers)


def test_pool_in_a_cycle_is_collected(lib, context):
    pool = lib.ProcessPoolExecutor(1, mp_context=context)
    pool.myself = pool
    pool.submit(tasks.nothing).result()
    workers, reference = workers_of(pool), weakref.ref(pool)
    del pool
    eventually(lambda: gc.collect() or reference() is None)
    wait_for_end(workers)


def test_unused_pool_is_collected(lib):
    reference = weakref.ref(lib.ProcessPoolExecutor(1))
    gc.collect()
    assert reference() is None


def test_futures_outlive_their_pool(make_pool):
    pool = make_pool(2)
    futures = [pool.submit(tasks.make_thing, number) for number in range(10)]
    failed = pool.submit(tasks.fail, ValueError("x"))
    pool.shutdown()
    assert [future.result().value for future in futures] == list(range(10))
    assert type(failed.exception()) is ValueError


def test_no_thread_remains(lib, context):
    before = set(threading.enumerate())
    with lib.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(tasks.nothing).add_done_callback(tasks.nothing)
    assert set(threading.enumerate()) <= before


def test_many_pools_one_after_another(lib, context):
    for number in range(5):
        with lib.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(tasks.double, number).result() == 2 * number


def test_shutdown_races_with_submit(make_pool):
    """Every submit either gives a future that finishes, or is refused in the known words."""
    pool, futures, refused = make_pool(1), [], []

    def submit():
        try:
            while True:
                futures.append(pool.submit(tasks.nothing))
                time.sleep(0)
        except RuntimeError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(futures) > 20)
    pool.shutdown()
    for thread in threads:
        thread.join()
    assert refused == ["cannot schedule new futures after shutdown"] * 3
    assert [future.result() for future in futures] == [None] * len(futures)
