"""ApplyResult and MapResult: get, wait, ready, successful, and what programs read besides."""

import multiprocessing
import multiprocessing.pool
import re
import signal
import threading
import time
import types

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE
from support.interrupts import interrupted_once_asleep

STARTS = {
    "apply": lambda pool, gate: pool.apply_async(tasks.pass_through, (gate, 5)),
    "map": lambda pool, gate: pool.map_async(jobs.pass_each, [(gate, 5)]),
    "starmap": lambda pool, gate: pool.starmap_async(tasks.pass_through, [(gate, 5)]),
}


@pytest.fixture(params=STARTS)
def pending(request, single, gate):
    """A result that waits for the gate; and what it will be."""
    return STARTS[request.param](single, gate), 5 if request.param == "apply" else [5]


def test_classes(pool):
    standard = multiprocessing.pool
    assert isinstance(pool.apply_async(tasks.nothing), standard.ApplyResult)
    for result in (pool.map_async(tasks.nothing, [1]), pool.starmap_async(tasks.nothing, [(1,)])):
        assert isinstance(result, standard.MapResult) and isinstance(result, standard.ApplyResult)
    assert standard.AsyncResult is standard.ApplyResult


@pytest.mark.usefixtures("resource_sharer")
@pytest.mark.parametrize("start", ["apply_async", "map_async", "imap", "imap_unordered"])
def test_connections_that_are_read_after_the_end(make_pool, start):
    pool = make_pool(2)
    if start == "apply_async":
        results = [pool.apply_async(tasks.make_connection, (number,)) for number in range(8)]
    else:
        results = getattr(pool, start)(tasks.make_connection, range(8))
    pool.close()
    pool.join()
    connections = results.get() if start == "map_async" else [getattr(item, "get", lambda item=item: item)() for item in results]
    assert sorted(connection.recv() for connection in connections) == list(range(8))
    for connection in connections:
        connection.close()


def test_result_that_lives_on_an_argument(pool):
    assert pool.apply(tasks.borrow, (tasks.Owner(7),)) == 7
    assert pool.map(tasks.borrow, [tasks.Owner(7), tasks.Owner(8)]) == [7, 8]
    assert pool.starmap(tasks.borrow, [(tasks.Owner(7),)]) == [7]


def test_pending(pending):
    result, _ = pending
    assert result.ready() is False
    assert result.wait(0) is None and result.wait(0.001) is None and result.wait(timeout=-1) is None
    for timeout in (0, 0.001, -1):
        with pytest.raises(multiprocessing.TimeoutError) as caught:
            result.get(timeout)
        assert caught.value.args == ()
    assert not isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, multiprocessing.ProcessError)


def test_not_ready_to_say_whether_it_was_successful(pending):
    result, _ = pending
    with pytest.raises(ValueError) as caught:
        result.successful()
    assert str(caught.value) == f"{result!r} not ready"
    assert re.fullmatch(r"<[\w.]+ object at 0x[0-9a-f]+> not ready", str(caught.value))


def test_done(pending, gate):
    result, value = pending
    gate.open()
    assert result.wait() is None
    assert result.ready() is True and result.successful() is True
    assert result.get(0) == result.get(timeout=PATIENCE) == result.get() == value
    assert result.get() is result.get()


def test_timeout_is_kept(pending):
    result, _ = pending
    for wait in (result.wait, result.get):
        start = time.monotonic()
        try:
            wait(0.05)
        except multiprocessing.TimeoutError:
            pass
        assert 0.05 <= time.monotonic() - start < PATIENCE


@pytest.mark.parametrize("method", ["apply_async", "map_async", "starmap_async"])
def test_failed(pool, method):
    result = getattr(pool, method)(tasks.fail, (ValueError("x"),) if method != "starmap_async" else [(ValueError("x"),)])
    result.wait()
    assert result.ready() is True and result.successful() is False
    errors = []
    for _ in range(2):
        with pytest.raises(ValueError, match="^x$") as caught:
            result.get()
        errors.append(caught.value)
    assert errors[0] is errors[1]


def test_value_and_success(pool):
    result = pool.apply_async(tasks.double, (21,))
    result.wait()
    assert (result._success, result._value) == (True, 42)
    result = pool.apply_async(tasks.fail, (ValueError("x"),))
    result.wait()
    assert (result._success, repr(result._value)) == (False, "ValueError('x')")
    result = pool.map_async(tasks.double, range(3))
    result.wait()
    assert (result._success, result._value) == (True, [0, 2, 4])


def test_value_of_a_map_fills_up(single, gate):
    """Its list is there from the start."""
    result = single.map_async(jobs.pass_each, [(gate, 5)] * 3, chunksize=2)
    assert result._value == [None, None, None]
    gate.open()
    assert result.get() == [5, 5, 5] and result._value == [5, 5, 5]


def test_jobs_are_numbered(pool):
    results = [pool.apply_async(tasks.nothing), pool.map_async(tasks.nothing, [1]), pool.apply_async(tasks.nothing)]
    jobs_of_results = [result._job for result in results]
    assert all(type(job) is int for job in jobs_of_results)
    assert jobs_of_results == sorted(set(jobs_of_results))
    for result in results:
        result.wait()


def test_class_takes_a_parameter(pool):
    for result in (pool.apply_async(tasks.nothing), pool.map_async(tasks.nothing, [])):
        alias = type(result)[int]
        assert isinstance(alias, types.GenericAlias)
        assert alias.__origin__ is type(result) and alias.__args__ == (int,)
        result.wait()


@pytest.mark.parametrize("way", ["get", "wait"])
def test_several_threads_wait(pending, gate, way):
    result, value = pending
    ended = []

    def wait():
        getattr(result, way)(PATIENCE)
        ended.append(result.get(0))

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended == [value] * 4


def test_results_in_any_order(pool):
    results = [pool.apply_async(tasks.double, (number,)) for number in range(100)]
    for number in (99, 0, 50, 99, 1, *range(100)):
        assert results[number].get() == 2 * number


def test_asked_for_by_a_task_of_a_thread_that_ended(pool):
    results = []
    thread = threading.Thread(target=lambda: results.append(pool.apply_async(tasks.double, (2,))))
    thread.start()
    thread.join()
    assert results[0].get() == 4


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_result_outlives_its_pool(make_pool, end):
    pool = make_pool(1)
    done = [pool.apply_async(tasks.double, (2,)), pool.map_async(tasks.double, range(3))]
    failed = pool.apply_async(tasks.fail, (ValueError("x"),))
    for result in (*done, failed):
        result.wait()
    getattr(pool, end)()
    pool.join()
    del pool
    assert [result.get() for result in done] == [4, [0, 2, 4]]
    assert not failed.successful()
    with pytest.raises(ValueError, match="^x$"):
        failed.get()


@pytest.mark.parametrize("limit", [PATIENCE, None])
def test_signal_handler_that_raises_ends_the_wait(single, gate, limit):
    result = single.apply_async(tasks.pass_through, (gate, 5))
    with interrupted_once_asleep():
        result.get(limit)
    assert not result.ready()
    gate.open()
    assert result.get() == 5


def test_map_result_in_a_signal_handler(single, limit=PATIENCE):
    """While it is unpickled, which runs the user's code, nothing is held that the handler would wait for."""
    result = single.map_async(jobs.rings_when_unpickled, range(3), 1)
    seen = []
    old = signal.signal(signal.SIGUSR2, lambda *_: seen.append(result.ready()))
    try:
        assert len(result.get(limit)) == 3
    finally:
        signal.signal(signal.SIGUSR2, old)
    assert seen


def test_progress_of_many_chunks(single, gate):
    """Asking again and again costs little, however many chunks there are."""
    result = single.map_async(jobs.pass_each, [(gate, 1)] * 20_000, 1)
    started = time.monotonic()
    for _ in range(1000):
        assert not result.ready()
    assert time.monotonic() - started < 1
    gate.open()
    assert result.get(PATIENCE) == [1] * 20_000 and result._number_left == 0
