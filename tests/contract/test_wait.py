"""wait(): the standard one and the implementation's own, over futures of every origin."""

import concurrent.futures as standard
import threading
import time

import pytest

from support import tasks
from support.events import PATIENCE, eventually


@pytest.fixture(params=["standard", "own"])
def wait(request, lib):
    return {"standard": standard.wait, "own": lib.wait}[request.param]


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_all(pool, wait):
    futures = [pool.submit(tasks.double, number) for number in range(50)]
    done, not_done = wait(futures)
    assert done == set(futures) and not_done == set()
    assert all(future.done() for future in futures)


def test_named_result(lib, wait):
    future = lib.Future()
    future.set_result(1)
    answer = wait([future])
    assert type(answer).__name__ == "DoneAndNotDoneFutures"
    assert answer.done == answer[0] == {future}
    assert answer.not_done == answer[1] == set()
    assert isinstance(answer, tuple)


def test_nothing_to_wait_for(wait):
    assert wait([]) == (set(), set())
    assert wait(iter(())) == (set(), set())


@pytest.mark.parametrize("when", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_everything_done_already(lib, pool, wait, when):
    futures = [pool.submit(tasks.double, number) for number in range(3)]
    for future in futures:
        future.result()
    assert wait(futures, return_when=getattr(lib, when)).done == set(futures)


def test_duplicates_and_generators(pool, wait):
    future = pool.submit(tasks.nothing)
    assert wait(f for f in [future, future]) == ({future}, set())


def test_first_completed(lib, pool, gate, wait):
    slow, quick = pool.submit(tasks.pass_through, gate), pool.submit(tasks.nothing)
    assert wait([slow, quick], return_when=lib.FIRST_COMPLETED) == ({quick}, {slow})
    gate.open()
    assert wait([slow, quick], PATIENCE).not_done == set()


def test_first_completed_counts_errors(lib, pool, gate, wait):
    slow, failing = pool.submit(tasks.pass_through, gate), pool.submit(tasks.fail, ValueError())
    assert wait([slow, failing], return_when=lib.FIRST_COMPLETED) == ({failing}, {slow})
    gate.open()


def test_first_completed_of_done_and_open(lib, pool, gate, wait):
    quick = pool.submit(tasks.nothing)
    quick.result()
    slow = pool.submit(tasks.pass_through, gate)
    assert wait([slow, quick], return_when=lib.FIRST_COMPLETED) == ({quick}, {slow})
    gate.open()


def test_first_exception(lib, pool, gate, wait):
    slow = pool.submit(tasks.pass_through, gate)
    quick, failing = pool.submit(tasks.nothing), pool.submit(tasks.fail, ValueError())
    done, not_done = wait([slow, quick, failing], return_when=lib.FIRST_EXCEPTION)
    assert failing in done and slow in not_done
    gate.open()


def test_first_exception_of_an_old_error(lib, pool, gate, wait):
    failing = pool.submit(tasks.fail, ValueError())
    assert failing.exception()
    slow = pool.submit(tasks.pass_through, gate)
    assert wait([slow, failing], return_when=lib.FIRST_EXCEPTION) == ({failing}, {slow})
    gate.open()


def test_first_exception_without_one_waits_for_all(lib, pool, wait):
    futures = [pool.submit(tasks.double, number) for number in range(20)]
    assert wait(futures, return_when=lib.FIRST_EXCEPTION).done == set(futures)


def test_first_exception_ignores_the_cancelled(lib, wait):
    cancelled, other = lib.Future(), lib.Future()
    cancelled.cancel()
    cancelled.set_running_or_notify_cancel()
    assert wait([cancelled, other], 0.01, lib.FIRST_EXCEPTION) == ({cancelled}, {other})


@pytest.mark.parametrize("timeout", [0, 0.0, 0.02, -1])
def test_timeout(pool, gate, wait, timeout):
    quick = pool.submit(tasks.nothing)
    quick.result()
    slow = pool.submit(tasks.pass_through, gate)
    start = time.monotonic()
    assert wait([slow, quick], timeout=timeout) == ({quick}, {slow})
    assert max(timeout, 0) <= time.monotonic() - start < PATIENCE
    gate.open()


def test_unknown_condition(lib, wait):
    future = lib.Future()
    with pytest.raises(ValueError, match="Invalid return condition: 'SOMETIME'"):
        wait([future], return_when="SOMETIME")


def test_what_is_no_future(wait):
    with pytest.raises((AttributeError, TypeError)):
        wait([5])


def test_futures_of_its_own_making(lib, wait):
    futures = [lib.Future() for _ in range(3)]
    thread = in_thread(lambda: [future.set_result(1) for future in futures])
    assert wait(futures, PATIENCE).done == set(futures)
    thread.join()


@pytest.mark.parametrize("finish", [lambda f: f.set_result(1), lambda f: f.set_exception(ValueError())])
def test_one_of_its_own_making_ends_it(lib, wait, finish):
    futures = [lib.Future() for _ in range(3)]
    thread = in_thread(lambda: finish(futures[1]))
    assert wait(futures, PATIENCE, lib.FIRST_COMPLETED).done == {futures[1]}
    thread.join()


def test_mixture(lib, pool, gate, wait):
    """A pool's, one by hand of each class, and a thread pool's."""
    with standard.ThreadPoolExecutor(1) as threads:
        slow = pool.submit(tasks.pass_through, gate)
        by_hand = [lib.Future(), standard.Future()]
        futures = [slow, *by_hand, threads.submit(tasks.double, 1), pool.submit(tasks.double, 1)]
        assert wait(futures, PATIENCE, lib.FIRST_COMPLETED).not_done >= {slow, *by_hand}
        for future in by_hand:
            future.set_result(None)
        assert wait(futures[1:], PATIENCE).done == set(futures[1:])
        gate.open()
        assert wait(futures, PATIENCE).done == set(futures)


def test_several_threads_wait_for_the_same(lib, pool, gate, wait):
    futures, answers = [pool.submit(tasks.pass_through, gate, n) for n in range(10)], []
    threads = [in_thread(lambda: answers.append(wait(futures, PATIENCE))) for _ in range(4)]
    gate.open()
    for thread in threads:
        thread.join()
    assert answers == [(set(futures), set())] * 4


def test_waiting_in_turn(lib, pool, wait):
    waiting = {pool.submit(tasks.double, number) for number in range(60)}
    found = []
    while waiting:
        done, waiting = wait(waiting, return_when=lib.FIRST_COMPLETED)
        assert done
        found += [future.result() for future in done]
    assert sorted(found) == [2 * number for number in range(60)]


def test_two_pools(make_pool, wait):
    pools = [make_pool(1) for _ in range(2)]
    futures = [pool.submit(tasks.double, number) for number in range(20) for pool in pools]
    assert wait(futures, PATIENCE).done == set(futures)


def test_no_waiter_is_left_behind(lib, pool, wait):
    future = lib.Future()
    other = pool.submit(tasks.nothing)
    wait([future, other], 0.01)
    wait([future, other], 0.01, lib.FIRST_COMPLETED)
    assert list(future._waiters) == [] and list(other._waiters) == []


@pytest.mark.fastpool_only("the standard library has no courier")
@pytest.mark.parametrize("refusals", [1, 3, 20])
def test_no_thread_for_the_courier_that_two_wait_for(make_pool, gate, monkeypatch, refusals):
    """The first who waits the standard way is told; the second, who came meanwhile, is served as soon as there are threads."""
    pool = make_pool(1)
    future = pool.submit(tasks.pass_through, gate)
    start, refused, second = threading.Thread.start, [], []

    def refuse(thread):
        if thread.name != "fastpool-courier" or len(refused) == refusals:
            return start(thread)
        if not second:
            second.append(in_thread(lambda: standard.wait([future])))
            eventually(lambda: future._waiters)
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        standard.wait([future])
    gate.open()
    pool.shutdown(wait=False)
    second[0].join(PATIENCE)
    assert not second[0].is_alive() and len(refused) == refusals


@pytest.mark.fastpool_only("the standard library has no courier")
def test_courier_that_begins_although_its_start_has_failed(make_pool, gate, monkeypatch):
    """A signal's handler that raises is enough. There is one courier at a time, and none is left."""
    pool, start, threads, begun = make_pool(1), threading.Thread.start, [], threading.Event()
    futures = [pool.submit(tasks.pass_through, gate, number) for number in range(2)]

    def start_and_raise(thread):
        if thread.name != "fastpool-courier" or threads:
            return start(thread)
        threads.append(thread)
        run = thread.run
        thread.run = lambda: begun.wait() and run()
        start(thread)
        raise TimeoutError("a handler")

    monkeypatch.setattr(threading.Thread, "start", start_and_raise)
    with pytest.raises(TimeoutError, match="a handler"):
        standard.wait(futures)
    called = threading.Event()
    futures[1].add_done_callback(lambda _: called.set())
    begun.set()
    gate.open()
    assert standard.wait(futures, PATIENCE).done == set(futures) and called.wait(PATIENCE)
    pool.shutdown()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()


@pytest.mark.fastpool_only("the standard library has no courier")
def test_another_thread_while_the_courier_starts(make_pool, gate, monkeypatch):
    """The first who waits the standard way starts it; meanwhile another does, too, and the call ends."""
    pool = make_pool(1)  # in which nobody has waited so
    future, last = [pool.submit(tasks.pass_through, gate, number) for number in range(2)]
    started, start = threading.Event(), threading.Thread.start
    threads = []

    def wait():
        assert standard.wait([future]).done == {future}

    def start_late(thread):
        if thread.name == "fastpool-courier":
            threads.append(in_thread(wait))
            eventually(lambda: future._waiters)
            gate.open()
            assert last.result() == 1
            run = thread.run
            thread.run = lambda: started.wait() and run()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    threads.append(in_thread(wait))
    eventually(lambda: len(future._waiters) == 2)
    started.set()
    for thread in threads:
        thread.join()
    assert future.result() == 0
