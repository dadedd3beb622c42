"""add_done_callback: when, in which order, in which thread, and what an error in one does."""

import gc
import logging
import queue
import threading
import time
import weakref

import pytest

from support import tasks
from support.events import PATIENCE, eventually


def test_called_once_with_the_future(pool):
    calls = queue.SimpleQueue()
    future = pool.submit(tasks.echo, 5)
    future.add_done_callback(calls.put)
    assert calls.get(timeout=PATIENCE) is future
    assert future.result() == 5
    assert calls.empty()


def test_result_is_there_when_it_runs(pool, gate):
    calls = queue.SimpleQueue()
    future = pool.submit(tasks.pass_through, gate, 5)
    future.add_done_callback(lambda f: calls.put((f.done(), f.running(), f.result(0))))
    gate.open()
    assert calls.get(timeout=PATIENCE) == (True, False, 5)


def test_error_is_there_when_it_runs(pool, gate):
    calls = queue.SimpleQueue()
    future = pool.submit(tasks.fail, ValueError("x"))
    future.add_done_callback(lambda f: calls.put(repr(f.exception(0))))
    assert calls.get(timeout=PATIENCE) == "ValueError('x')"


def test_in_order_of_registration(pool, gate):
    calls, done = [], threading.Event()
    future = pool.submit(tasks.pass_through, gate)
    for number in range(10):
        future.add_done_callback(lambda _, number=number: calls.append(number))
    future.add_done_callback(lambda _: done.set())
    gate.open()
    assert done.wait(PATIENCE)
    assert calls == list(range(10))


def test_same_callback_twice(lib):
    future, calls = lib.Future(), []
    future.add_done_callback(calls.append)
    future.add_done_callback(calls.append)
    future.set_result(1)
    assert calls == [future, future]


def test_runs_in_a_thread_of_the_pool(pool, gate):
    threads = queue.SimpleQueue()
    future = pool.submit(tasks.pass_through, gate)
    future.add_done_callback(lambda _: threads.put(threading.current_thread()))
    gate.open()
    assert threads.get(timeout=PATIENCE) is not threading.current_thread()


def test_runs_without_anybody_asking(pool):
    done = threading.Event()
    pool.submit(tasks.nothing).add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE)


def test_runs_at_once_if_already_done(pool):
    future, threads = pool.submit(tasks.nothing), []
    future.result()
    eventually(future.done)
    future.add_done_callback(lambda _: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize(
    "finish", [lambda f: f.set_result(1), lambda f: f.set_exception(ValueError()), lambda f: f.cancel()]
)
def test_runs_in_the_thread_that_finishes(lib, finish):
    future, calls = lib.Future(), []
    future.add_done_callback(lambda f: calls.append((f, f.done(), threading.get_ident())))
    thread = threading.Thread(target=finish, args=(future,))
    thread.start()
    thread.join()
    assert calls == [(future, True, thread.ident)]


def test_cancelled_future_calls_once(lib):
    future, calls = lib.Future(), []
    future.add_done_callback(calls.append)
    future.cancel()
    future.cancel()
    future.set_running_or_notify_cancel()
    assert calls == [future]


def test_returns_none_and_takes_anything(lib, caplog):
    future = lib.Future()
    assert future.add_done_callback("not callable") is None
    future.set_result(1)
    assert caplog.records[0].exc_info[0] is TypeError


@pytest.mark.parametrize("already_done", [False, True])
def test_error_is_logged_and_the_rest_run(lib, caplog, already_done):
    future, calls = lib.Future(), []
    if already_done:
        future.set_result(1)
    future.add_done_callback(lambda _: tasks.fail(ZeroDivisionError("in a callback")))
    future.add_done_callback(calls.append)
    if not already_done:
        future.set_result(1)
    assert calls == [future]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("concurrent.futures", logging.ERROR)
    assert record.getMessage() == f"exception calling callback for {future!r}"
    assert record.exc_info[0] is ZeroDivisionError


def test_base_exception_leaves_set_result(lib):
    future = lib.Future()
    future.add_done_callback(lambda _: tasks.fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        future.set_result(1)
    assert future.result() == 1


def test_error_in_a_callback_does_not_hurt_the_pool(pool, caplog):
    called = threading.Event()
    future = pool.submit(tasks.echo, 5)
    future.add_done_callback(lambda _: tasks.fail(ZeroDivisionError()))
    future.add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)
    assert future.result() == 5
    assert pool.submit(tasks.double, 2).result() == 4
    # The second is called here, perhaps while the first is on its way, if the call had ended before it was added.
    eventually(lambda: "exception calling callback for" in caplog.text)


def test_callback_adds_a_callback(pool, gate):
    calls = queue.SimpleQueue()
    future = pool.submit(tasks.pass_through, gate)
    future.add_done_callback(lambda f: f.add_done_callback(calls.put))
    gate.open()
    assert calls.get(timeout=PATIENCE) is future


def test_callback_submits(pool):
    inner = queue.SimpleQueue()
    pool.submit(tasks.nothing).add_done_callback(lambda _: inner.put(pool.submit(tasks.double, 21)))
    assert inner.get(timeout=PATIENCE).result() == 42


def test_chain_of_callbacks(pool):
    done = queue.SimpleQueue()

    def follow(future):
        value = future.result()
        if value < 20:
            pool.submit(tasks.add, value, 1).add_done_callback(follow)
        else:
            done.put(value)

    pool.submit(tasks.add, 0, 1).add_done_callback(follow)
    assert done.get(timeout=PATIENCE) == 20


def test_callback_shuts_the_pool_down(make_pool):
    pool, closed = make_pool(1), threading.Event()

    def close(_):
        pool.shutdown(wait=False)
        closed.set()

    future = pool.submit(tasks.echo, 5)
    future.add_done_callback(close)
    assert closed.wait(PATIENCE)
    assert future.result() == 5
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.nothing)


def test_callbacks_of_many_futures(pool):
    finished, lock = [], threading.Lock()

    def note(future):
        with lock:
            finished.append(future.result())

    for number in range(500):
        pool.submit(tasks.echo, number).add_done_callback(note)
    eventually(lambda: len(finished) >= 500)
    assert sorted(finished) == list(range(500))


def test_callback_keeps_nothing_alive(lib):
    class Callback:
        def __call__(self, future):
            pass

    future, callback = lib.Future(), Callback()
    reference = weakref.ref(callback)
    future.add_done_callback(callback)
    del callback
    assert reference() is not None
    del future
    assert reference() is None


@pytest.mark.fastpool_only("in the standard library this kills the manager thread, and every later result() hangs")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_base_exception_in_a_callback_does_not_hurt_the_pool(pool, gate, error, caplog):
    future, called = pool.submit(tasks.pass_through, gate, 5), threading.Event()
    future.add_done_callback(lambda _: tasks.fail(error()))
    future.add_done_callback(lambda _: called.set())
    gate.open()
    assert future.result() == 5
    assert called.wait(PATIENCE)
    after = pool.submit(tasks.double, 2)
    calls = queue.SimpleQueue()
    after.add_done_callback(calls.put)
    assert calls.get(timeout=PATIENCE).result() == 4


@pytest.mark.fastpool_only("in the standard library the callback waits in the thread that would bring the result")
def test_callback_may_wait_for_another_task(pool, gate):
    answers = queue.SimpleQueue()
    future = pool.submit(tasks.pass_through, gate)
    future.add_done_callback(lambda _: answers.put(pool.submit(tasks.double, 21).result(PATIENCE)))
    gate.open()
    assert answers.get(timeout=PATIENCE) == 42


@pytest.mark.fastpool_only("in the standard library every result waits for the callback")
def test_results_do_not_wait_for_a_callback(pool, gate):
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def linger(_):
        entered.set()
        leave.wait(2 * PATIENCE)
        left.set()

    pool.submit(tasks.pass_through, gate).add_done_callback(linger)
    gate.open()
    assert entered.wait(PATIENCE)
    assert pool.submit(tasks.double, 21).result(PATIENCE) == 42
    assert not left.is_set()
    leave.set()


@pytest.mark.fastpool_only("the standard library logs that a thread cannot join itself")
def test_callback_may_shut_down_and_wait(make_pool, gate, caplog):
    pool, closed = make_pool(1), threading.Event()

    def close(_):
        pool.shutdown(wait=True)
        closed.set()

    futures = [pool.submit(tasks.pass_through, gate, number) for number in range(3)]
    futures[0].add_done_callback(close)
    gate.open()
    assert closed.wait(PATIENCE)
    assert [future.result() for future in futures] == [0, 1, 2]
    assert caplog.text == ""


@pytest.mark.fastpool_only("the standard library's thread for callbacks is the one that would make the result visible")
def test_may_wait_for_a_future_that_others_wait_for_too(pool, make_gate):
    first_gate, second_gate, answers = make_gate(), make_gate(), queue.SimpleQueue()
    first, second = pool.submit(tasks.pass_through, first_gate, 1), pool.submit(tasks.pass_through, second_gate, 2)
    with second._condition:
        pass  # from now on it is published by the thread that calls back

    def wait_for_second(_):
        second_gate.open()
        answers.put(second.result(PATIENCE))

    first.add_done_callback(wait_for_second)
    first_gate.open()
    assert answers.get(timeout=PATIENCE) == 2
    assert second.result(PATIENCE) == 2


def test_callback_added_while_garbage_is_collected(pool):
    """To make room for a callback may run a collection, and with it anything: the call may end just then."""

    class Slow:
        def __del__(self):
            time.sleep(0.005)

    finished, threshold = [], gc.get_threshold()
    callback = finished.append
    pool.submit(tasks.nothing).add_done_callback(callback)
    try:
        for _ in range(20):
            gc.disable()
            no_spare_lists = [[] for _ in range(100)]
            garbage = Slow()
            garbage.itself = garbage
            del garbage
            future = pool.submit(tasks.sleep, 0.001)
            gc.set_threshold(1)
            gc.enable()
            future.add_done_callback(callback)
            gc.set_threshold(*threshold)
            del no_spare_lists
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
    eventually(lambda: len(finished) == 21)
