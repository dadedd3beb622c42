"""Private attributes that programs use all the same."""

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually


def test_workers(make_pool, context):
    """As dask and parmap count them, and others look at them."""
    pool = make_pool(2)
    assert len(pool._pool) == pool._processes == 2
    for worker in pool._pool:
        assert isinstance(worker, context.Process)
        assert type(worker.pid) is int and worker.is_alive() and worker.exitcode is None
        assert worker.sentinel >= 0 and worker.ident == worker.pid
    assert {pool.apply(tasks.pid)} <= {worker.pid for worker in pool._pool}


def test_workers_of_an_ended_pool(make_pool):
    pool = make_pool(2)
    pool.close()
    pool.join()
    assert all(worker.exitcode == 0 for worker in pool._pool)


def test_what_the_constructor_was_given(make_pool, context):
    pool = make_pool(1, initializer=tasks.initialize, initargs=(1,), maxtasksperchild=5)
    assert (pool._ctx, pool._initializer, pool._initargs) == (context, tasks.initialize, (1,))
    assert pool._maxtasksperchild == 5 and pool._wrap_exception is True


def test_state(make_pool):
    pool = make_pool(1)
    pool._check_running()
    pool.close()
    with pytest.raises(ValueError, match="^Pool not running$"):
        pool._check_running()


def test_cache_is_what_is_not_done(single, gate):
    assert not single._cache and len(single._cache) == 0
    results = [single.apply_async(tasks.pass_through, (gate,)) for _ in range(3)]
    mapped = single.map_async(tasks.double, range(100))
    lazy = single.imap(tasks.double, range(10))
    assert single._cache and len(single._cache) >= 5  # the chunks of a map may count one by one
    gate.open()
    for result in (*results, mapped):
        result.wait()
    assert len(list(lazy)) == 10
    eventually(lambda: not single._cache)
    assert len(single._cache) == 0


def test_cache_forgets_what_failed(single):
    for argument in (tasks.FailsToPickle(), ValueError("x")):
        single.apply_async(tasks.fail, (argument,)).wait()
    eventually(lambda: len(single._cache) == 0)


def test_cache_is_asked_until_it_is_empty(make_pool):
    """As progress bars do."""
    pool = make_pool(2)
    for number in range(100):
        pool.apply_async(tasks.double, (number,))
    eventually(lambda: len(pool._cache) == 0)
    assert pool.apply(tasks.double, (2,)) == 4


def test_queue_of_tasks(single):
    results = [single.apply_async(tasks.double, (number,)) for number in range(10)]
    for result in results:
        result.wait()
    eventually(single._taskqueue.empty)
    assert single._taskqueue.qsize() == 0


@pytest.mark.fastpool_only("the standard library's idle worker takes the lock of the queue into its grave")
def test_worker_terminated_by_hand_is_replaced(make_pool):
    pool = make_pool(1)
    assert pool.apply(tasks.double, (2,)) == 4
    old = pool._pool[0]
    old.terminate()
    eventually(lambda: [worker for worker in pool._pool if worker is not old and worker.is_alive()])
    assert len(pool._pool) == 1
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4


def test_attributes_of_a_result_to_come(single, gate):
    """A manager that makes a proxy reads all that there are: none waits, none raises."""
    results = [single.apply_async(tasks.pass_through, (gate, 5)), single.map_async(jobs.pass_each, [(gate, 5)])]
    for result in results:
        assert all(getattr(result, name, True) is not result for name in dir(result))
    gate.open()
    assert [result.get() for result in results] == [5, [5]]
