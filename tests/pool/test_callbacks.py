"""callback and error_callback: with what, when, in which order and thread, and what an error in one does."""

import multiprocessing
import multiprocessing.pool
import queue
import threading

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually


def test_called_with_the_value(pool):
    calls = []
    assert pool.apply_async(tasks.double, (21,), callback=calls.append).get() == 42
    assert calls == [42]


@pytest.mark.parametrize("chunksize", [None, 1, 3])
def test_called_once_for_a_map_with_the_whole_list(pool, chunksize):
    calls = []
    result = pool.map_async(tasks.double, range(10), chunksize, calls.append)
    assert result.get() == [2 * n for n in range(10)]
    assert len(calls) == 1 and calls[0] is result.get()
    starred = pool.starmap_async(tasks.add, [(1, 2), (3, 4)], chunksize, calls.append)
    assert starred.get() == [3, 7]
    assert calls[1:] == [[3, 7]]


@pytest.mark.parametrize("empty", [[], {}, (n for n in ())], ids=lambda value: type(value).__name__)
def test_not_called_for_an_empty_map(pool, empty):
    """The standard library has no chunk whose end would call it."""
    calls = []
    assert pool.map_async(tasks.double, empty, callback=calls.append, error_callback=calls.append).get() == []
    assert pool.apply(tasks.double, (2,)) == 4
    assert calls == []


def test_error_callback_is_called_with_the_error(pool):
    calls, errors = [], []
    result = pool.apply_async(tasks.fail, (ValueError("x"),), {}, calls.append, errors.append)
    with pytest.raises(ValueError) as caught:
        result.get()
    assert calls == [] and len(errors) == 1 and errors[0] is caught.value
    assert type(errors[0].__cause__) is multiprocessing.pool.RemoteTraceback


@pytest.mark.parametrize("method", ["map_async", "starmap_async"])
def test_error_callback_is_called_once_for_a_map(pool, method):
    calls, errors = [], []
    items = range(20) if method == "map_async" else [(number,) for number in range(20)]
    result = getattr(pool, method)(jobs.fail_odd, items, 1, calls.append, errors.append)
    with pytest.raises(ValueError) as caught:
        result.get()
    assert calls == [] and errors == [caught.value]


def test_error_callback_waits_for_all_items(pool, gate):
    errors = queue.SimpleQueue()
    items = [({}, 0, "too many"), ({1: gate}, 1), ({}, 2)]
    result = pool.starmap_async(jobs.wait_at, items, chunksize=1, error_callback=errors.put)
    eventually(lambda: result._number_left == 1)
    assert errors.empty()
    gate.open()
    assert type(errors.get(timeout=PATIENCE)) is TypeError


def test_no_error_no_error_callback(pool):
    errors = []
    assert pool.apply_async(tasks.double, (2,), error_callback=errors.append).get() == 4
    assert pool.map_async(tasks.double, [2], error_callback=errors.append).get() == [4]
    assert errors == []


def test_error_without_an_error_callback(pool):
    calls = []
    result = pool.apply_async(tasks.fail, (ValueError("x"),), callback=calls.append)
    result.wait()
    assert not result.successful() and calls == []


def test_error_of_pickling_calls_it_too(pool):
    errors = []
    result = pool.apply_async(tasks.echo, (tasks.FailsToPickle(),), error_callback=errors.append)
    with pytest.raises(ZeroDivisionError) as caught:
        result.get()
    assert str(caught.value) == "at pickling"
    assert errors == [caught.value]


def test_result_that_does_not_pickle_calls_it_too(pool):
    errors = []
    result = pool.apply_async(tasks.make_unpickleable, error_callback=errors.append)
    with pytest.raises(multiprocessing.pool.MaybeEncodingError) as caught:
        result.get()
    assert errors == [caught.value]


STARTS = {
    "apply": lambda pool, gate, **calls: pool.apply_async(tasks.pass_through, (gate, 5), **calls),
    "map": lambda pool, gate, **calls: pool.map_async(jobs.pass_each, [(gate, 5)], **calls),
    "starmap": lambda pool, gate, **calls: pool.starmap_async(tasks.pass_through, [(gate, 5)], **calls),
    "apply that fails": lambda pool, gate, **calls: pool.apply_async(jobs.wait_and_fail, (gate, ValueError()), **calls),
    "map that fails": lambda pool, gate, **calls: pool.starmap_async(
        jobs.wait_and_fail, [(gate, ValueError())], **calls
    ),
}


@pytest.mark.parametrize("start", STARTS)
def test_comes_before_readiness(pool, gate, start):
    """Whoever is told that it is ready finds the work of the callback done."""
    entered, leave, seen = threading.Event(), threading.Event(), []

    def linger(_):
        entered.set()
        leave.wait(PATIENCE)
        seen.append(result.ready())

    result = STARTS[start](pool, gate, callback=linger, error_callback=linger)
    gate.open()
    assert entered.wait(PATIENCE)
    result.wait(0.01)
    assert not result.ready()
    leave.set()
    result.wait()
    assert seen == [False] and result.ready()


def test_comes_without_anybody_asking(pool):
    calls = queue.SimpleQueue()
    pool.apply_async(tasks.double, (21,), callback=calls.put)
    assert calls.get(timeout=PATIENCE) == 42


def test_comes_in_one_thread_of_the_pool(pool, gate):
    threads = []
    results = [
        pool.apply_async(tasks.pass_through, (gate,), callback=lambda _: threads.append(threading.current_thread()))
        for _ in range(10)
    ]
    gate.open()
    for result in results:
        result.wait()
    assert len(threads) == 10 and len(set(threads)) == 1
    assert threads[0] is not threading.current_thread() and threads[0].daemon


SOON = {
    "a value": lambda pool, call: pool.apply_async(tasks.double, (2,), callback=call),
    "no pickle": lambda pool, call: pool.apply_async(tasks.double, (tasks.FailsToPickle(),), error_callback=call),
    "a map's value": lambda pool, call: pool.map_async(tasks.double, range(3), callback=call),
    "a map's input": lambda pool, call: pool.map_async(tasks.double, jobs.FailsWhenRead(1, 0), error_callback=call),
}


@pytest.mark.parametrize("start", SOON)
def test_never_comes_in_the_thread_that_asks(single, start):
    """However soon the result is there: so one may ask while one holds a lock that the callback takes."""
    lock, threads = threading.RLock(), queue.SimpleQueue()

    def callback(_):
        with lock:
            threads.put(threading.current_thread())

    with lock:
        for _ in range(100):
            SOON[start](single, callback)
    for _ in range(100):
        assert threads.get(timeout=PATIENCE) is not threading.current_thread()


def test_comes_in_the_order_of_the_results(single):
    calls = []
    results = [single.apply_async(tasks.echo, (number,), callback=calls.append) for number in range(100)]
    results[-1].wait()
    assert calls == list(range(100))


def test_comes_for_a_small_task_while_a_large_one_runs(pool, gate):
    calls = queue.SimpleQueue()
    result = pool.apply_async(tasks.pass_through, (gate, "slow"), callback=calls.put)
    pool.apply_async(tasks.echo, ("fast",), callback=calls.put)
    assert calls.get(timeout=PATIENCE) == "fast"
    gate.open()
    assert calls.get(timeout=PATIENCE) == "slow" and result.get() == "slow"


def test_value_that_it_returns_is_nobodys(pool):
    assert pool.apply_async(tasks.double, (21,), callback=lambda value: value + 1).get() == 42


def test_value_that_it_changes_is_changed(pool):
    assert pool.apply_async(tasks.echo, ([1],), callback=lambda value: value.append(2)).get() == [1, 2]


def test_may_start_other_tasks(pool):
    done = queue.SimpleQueue()

    def follow(value):
        if value < 20:
            pool.apply_async(tasks.add, (value, 1), callback=follow)
        else:
            done.put(value)

    pool.apply_async(tasks.add, (0, 1), callback=follow)
    assert done.get(timeout=PATIENCE) == 20


def test_may_close_the_pool(make_pool):
    pool = make_pool(1)
    assert pool.apply_async(tasks.double, (2,), callback=lambda _: pool.close()).get() == 4
    pool.join()
    with pytest.raises(ValueError, match="^Pool not running$"):
        pool.apply(tasks.nothing)


def test_all_of_them_come_before_join_returns(make_pool):
    pool, calls = make_pool(2), []
    for number in range(200):
        pool.apply_async(tasks.echo, (number,), callback=calls.append)
    pool.close()
    pool.join()
    assert sorted(calls) == list(range(200))


# --- where the standard library hangs


@pytest.fixture
def complaints(monkeypatch):
    """What came to threading.excepthook."""
    found = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: found.put(arguments.exc_value))
    return found


@pytest.mark.fastpool_only("the standard library's result thread dies of it, and every later get() hangs")
@pytest.mark.parametrize(
    "error", [ZeroDivisionError("mine"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("start", STARTS)
def test_error_in_one_hurts_nobody(pool, gate, complaints, start, error):
    def complain(_):
        raise error

    result = STARTS[start](pool, gate, callback=complain, error_callback=complain)
    gate.open()
    result.wait(PATIENCE)
    assert result.ready()
    if "fails" in start:
        with pytest.raises(ValueError):
            result.get(0)
    else:
        assert result.get(0) in (5, [5])
    if not isinstance(error, SystemExit):
        assert complaints.get(timeout=PATIENCE) is error
    calls = queue.SimpleQueue()
    assert pool.apply_async(tasks.double, (21,), callback=calls.put).get(PATIENCE) == 42
    assert calls.get(timeout=PATIENCE) == 42


@pytest.mark.fastpool_only("the standard library's result thread dies of it, and every later get() hangs")
def test_callback_that_is_none(pool, complaints):
    assert pool.apply_async(tasks.double, (21,), callback="not callable").get(PATIENCE) == 42
    assert type(complaints.get(timeout=PATIENCE)) is TypeError
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4


@pytest.mark.fastpool_only("in the standard library the result thread waits for itself")
def test_may_terminate_the_pool(lib, make_pool, gate):
    pool, terminated = make_pool(2), threading.Event()

    def end(_):
        pool.terminate()
        terminated.set()

    waiting = pool.apply_async(tasks.pass_through, (gate,))
    result = pool.apply_async(tasks.double, (2,), callback=end)
    assert result.get(PATIENCE) == 4
    assert terminated.wait(PATIENCE)
    with pytest.raises(lib.PoolTerminated):
        waiting.get(PATIENCE)
    pool.join()
    assert not any(worker.is_alive() for worker in pool._pool)


@pytest.mark.usefixtures("resource_sharer")
def test_callbacks_with_connections(make_pool):
    """Which have to be fetched from their worker: also while the callbacks are only being arranged."""
    for _ in range(5):
        pool = make_pool(2)
        words = []

        def read(connections, words=words):
            for connection in connections:
                with connection:
                    words.append(connection.recv())

        pool.map_async(tasks.make_connection, range(40), chunksize=1, callback=read)
        pool.apply_async(tasks.make_connection, (40,), callback=lambda connection: read([connection]))
        pool.close()
        pool.join()
        assert sorted(words) == list(range(41))
