"""Private attributes that programs use all the same."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually


def test_processes(make_pool, context):
    pool = make_pool(2)
    pool.submit(tasks.pid).result()
    for pid, process in pool._processes.items():
        assert isinstance(process, context.Process)
        assert pid == process.pid and process.is_alive()
        assert process.sentinel >= 0


def test_number_of_workers_and_context(make_pool, context):
    pool = make_pool(3)
    assert (pool._max_workers, pool._mp_context) == (3, context)


def test_backlog(single, gate, mailbox):
    first = single.submit(tasks.announce_and_wait, mailbox, gate)
    mailbox.get()
    futures = [single.submit(tasks.nothing) for _ in range(10)]
    assert len(single._pending_work_items) == 11
    gate.open()
    for future in [first, *futures]:
        future.result()
    eventually(lambda: len(single._pending_work_items) == 0)


def test_flags(make_pool):
    pool = make_pool(1)
    assert (pool._broken, pool._shutdown_thread) == (False, False)
    pool.shutdown()
    assert pool._shutdown_thread is True


def test_manager_thread(make_pool):
    pool = make_pool(1)
    assert pool._executor_manager_thread is None
    pool.submit(tasks.nothing).result()
    manager = pool._executor_manager_thread
    assert manager.is_alive()
    pool.shutdown(wait=False)
    manager.join()
    assert not manager.is_alive()


def test_manager_thread_and_queue_of_a_dropped_pool(lib, context):
    pool = lib.ProcessPoolExecutor(1, mp_context=context)
    assert list(pool.map(tasks.double, range(5))) == [0, 2, 4, 6, 8]
    manager, workers, queue = pool._executor_manager_thread, list(pool._processes.values()), pool._call_queue
    del pool
    manager.join()
    queue.join_thread()
    assert not any(processes.alive(worker.pid) for worker in workers)


@pytest.mark.parametrize("method", ["terminate", "kill"])
def test_stopping_the_workers_by_hand(make_pool, mailbox, method):
    """What programs did before terminate_workers() existed."""
    pool = make_pool(2)
    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(2)]
    mailbox.take(2)
    workers = list(pool._processes.values())
    for worker in workers:
        getattr(worker, method)()
    for future in futures:
        assert isinstance(future.exception(PATIENCE), BrokenProcessPool)
    eventually(lambda: not any(processes.alive(worker.pid) for worker in workers))
    eventually(lambda: pool._broken)
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.nothing)
