"""terminate_workers() and kill_workers()."""

import pytest

from support import processes, tasks
from support.events import eventually

pytestmark = pytest.mark.stdlib_since(3, 14, "new there; fastpool has them everywhere")
METHODS = ["terminate_workers", "kill_workers"]


def wait_for_end(workers):
    eventually(lambda: not any(processes.alive(worker.pid) for worker in workers))


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def test_ends_running_tasks(make_pool, mailbox, method):
    pool = make_pool(2)
    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(6)]
    mailbox.take(2)
    workers = list(pool._processes.values())
    assert getattr(pool, method)() is None
    wait_for_end(workers)
    eventually(lambda: all(future.done() for future in futures))
    assert all(future.cancelled() or isinstance(future.exception(), Exception) for future in futures)


def test_by_which_signal(make_pool, mailbox, method):
    pool = make_pool(1)
    pool.submit(tasks.announce_sigterm, mailbox)
    mailbox.get()
    workers = list(pool._processes.values())
    getattr(pool, method)()
    wait_for_end(workers)
    assert mailbox.all() == (["terminated"] if method == "terminate_workers" else [])


def test_no_new_tasks(make_pool, method):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    getattr(pool, method)()
    with pytest.raises(RuntimeError):
        pool.submit(tasks.nothing)


def test_on_an_unused_pool(make_pool, method):
    pool = make_pool(1)
    getattr(pool, method)()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.nothing)


def test_on_a_closed_pool(make_pool, method):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    pool.shutdown()
    getattr(pool, method)()


def test_twice(make_pool, method):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    getattr(pool, method)()
    getattr(pool, method)()


def test_on_idle_workers(make_pool, method):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    workers = list(pool._processes.values())
    getattr(pool, method)()
    wait_for_end(workers)


def test_on_dead_workers(make_pool, method):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    (worker,) = pool._processes.values()
    worker.kill()
    wait_for_end([worker])
    getattr(pool, method)()


def test_finished_results_stay(make_pool, method):
    pool = make_pool(1)
    future = pool.submit(tasks.double, 21)
    eventually(future.done)
    getattr(pool, method)()
    assert future.result() == 42


def test_unknown_operation(make_pool):
    pool = make_pool(1)
    with pytest.raises(ValueError, match=r"^Unsupported operation: 'other'$"):
        pool._force_shutdown(operation="other")
