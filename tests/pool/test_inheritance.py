"""Objects that may be shared by inheritance only: given to the initializer, they work under every start method."""

import ctypes
import multiprocessing

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE


@pytest.fixture(scope="module")
def shared(lib, context):
    """One object of each kind, and a pool whose two workers find them in jobs.shared."""
    objects = {
        "lock": context.Lock(),
        "rlock": context.RLock(),
        "semaphore": context.Semaphore(3),
        "event": context.Event(),
        "condition": context.Condition(),
        "barrier": context.Barrier(3),
        "number": context.Value("i", 0, lock=False),
        "value": context.Value("i", 0),
        "array": context.Array(ctypes.c_long, 10),
        "raw": context.RawArray(ctypes.c_long, 10),
        "queue": context.Queue(),
        "simple": context.SimpleQueue(),
        "joinable": context.JoinableQueue(),
    }
    pool = lib.Pool(2, jobs.share_positionally, (list(objects), *objects.values()), context=context)
    yield {"pool": pool, **objects}
    pool.terminate()
    pool.join()
    for name in ("queue", "joinable"):
        objects[name].close()
        objects[name].join_thread()


@pytest.fixture
def pool(shared):
    return shared["pool"]


@pytest.mark.parametrize("kind", ["lock", "rlock"])
def test_lock(shared, pool, kind):
    before = shared["number"].value
    pool.starmap(jobs.add_under, [(kind, number) for number in range(20)], chunksize=1)
    assert shared["number"].value == before + sum(range(20))


def test_reentrant_lock(pool):
    assert pool.apply(jobs.acquire_twice) is True


def test_lock_that_the_parent_holds(shared, pool):
    with shared["lock"]:
        result = pool.apply_async(jobs.add_under, ("lock", 1))
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(0.05)
    assert result.get() is None


def test_semaphore(shared, pool):
    assert sorted(pool.starmap(jobs.take_permit, [()] * 5, chunksize=1)) == [False, False, True, True, True]


def test_event(shared, pool):
    result = pool.map_async(jobs.wait_for_event, range(2), chunksize=1)
    assert not result.ready()
    shared["event"].set()
    assert result.get() == [True, True]


def test_condition(shared, pool):
    with shared["condition"]:
        result = pool.apply_async(jobs.notify)
        assert shared["condition"].wait(PATIENCE)
    result.get()


def test_barrier(shared, pool):
    """Two workers and the parent."""
    result = pool.map_async(jobs.meet, range(2), chunksize=1)
    shared["barrier"].wait(PATIENCE)
    assert len(set(result.get())) == 2


def test_value(shared, pool):
    pool.map(jobs.add_to_value, range(100), chunksize=1)
    assert shared["value"].value == sum(range(100))


@pytest.mark.parametrize("kind", ["array", "raw"])
def test_array(shared, pool, kind):
    pool.starmap(jobs.set_item, [(kind, index) for index in range(10)], chunksize=1)
    assert list(shared[kind]) == [n * n for n in range(10)]


@pytest.mark.parametrize("kind", ["queue", "simple", "joinable"])
def test_queue_from_workers(shared, pool, kind):
    pool.starmap(jobs.put_into_queue, [(kind, number) for number in range(20)], chunksize=1)
    assert sorted(shared[kind].get() for _ in range(20)) == list(range(20))
    if kind == "joinable":
        for _ in range(20):
            shared[kind].task_done()


@pytest.mark.parametrize("kind", ["queue", "simple"])
def test_queue_to_workers(shared, pool, kind):
    result = pool.map_async(jobs.get_from_queue, [kind] * 10, chunksize=1)
    for number in range(10):
        shared[kind].put(number)
    assert sorted(result.get()) == list(range(10))


def test_joinable_queue(shared, pool):
    for number in range(10):
        shared["joinable"].put(number)
    result = pool.map_async(jobs.get_and_mark_done, range(10), chunksize=1)
    shared["joinable"].join()
    assert sorted(result.get()) == list(range(10))


def test_producer_and_consumer(pool):
    """One task puts while another gets."""
    consumed = pool.map_async(jobs.get_from_queue, ["queue"] * 10, chunksize=10)
    produced = pool.starmap_async(jobs.put_into_queue, [("queue", number) for number in range(10)], chunksize=10)
    assert consumed.get() == list(range(10)) and produced.get() == [None] * 10


@pytest.mark.parametrize("kind", ["lock", "rlock", "semaphore", "event", "queue", "simple", "value", "array"])
def test_not_as_an_argument_of_a_task(shared, pool, kind):
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        pool.apply(tasks.echo, (shared[kind],))
    assert pool.apply(tasks.double, (2,)) == 4


def test_with_workers_that_are_replaced(make_pool, context):
    """What was shared is given to each of them."""
    value = context.Value("i", 0)
    pool = make_pool(1, initializer=jobs.share_positionally, initargs=(["value"], value), maxtasksperchild=1)
    pool.map(jobs.add_to_value, range(4), chunksize=1)
    assert value.value == sum(range(4))


@pytest.mark.usefixtures("resource_sharer")
def test_connection(make_pool, context):
    ours, theirs = context.Pipe()
    pool = make_pool(1, initializer=jobs.share_positionally, initargs=(["connection"], theirs))
    pool.apply(jobs.send, ("hello",))
    assert ours.recv() == "hello"
    ours.close()
    theirs.close()


# --- a manager's proxies


@pytest.fixture(scope="module")
def manager(context):
    with context.Manager() as manager:
        yield manager


def test_proxies_as_arguments(pool, manager):
    numbers, by_key, queue = manager.list(), manager.dict(), manager.Queue()
    pool.starmap(jobs.append, [(numbers, number) for number in range(10)])
    pool.starmap(jobs.set_key, [(by_key, number, -number) for number in range(10)])
    pool.starmap(jobs.put, [(queue, number) for number in range(10)])
    assert sorted(numbers) == list(range(10))
    assert dict(by_key) == {number: -number for number in range(10)}
    assert sorted(queue.get() for _ in range(10)) == list(range(10))


def test_lock_and_value_of_a_manager(pool, manager):
    value, lock = manager.Value("i", 0), manager.Lock()
    pool.starmap(jobs.increment, [(value, lock)] * 20, chunksize=1)
    assert value.value == 20


def test_proxy_as_a_result(pool, manager):
    assert pool.apply(tasks.echo, (manager.list([1, 2]),))[:] == [1, 2]


def test_proxies_in_initargs(make_pool, manager):
    queue = manager.Queue()
    pool = make_pool(1, initializer=jobs.share_positionally, initargs=(["queue"], queue))
    pool.starmap(jobs.put_into_queue, [("queue", number) for number in range(3)])
    assert [queue.get() for _ in range(3)] == [0, 1, 2]
