"""as_completed(): the standard one and the implementation's own."""

import concurrent.futures as standard
import gc
import threading
import weakref

import pytest

from support import tasks
from support.events import PATIENCE


@pytest.fixture(params=["standard", "own"])
def as_completed(request, lib):
    return {"standard": standard.as_completed, "own": lib.as_completed}[request.param]


def test_every_future_once(pool, as_completed):
    futures = [pool.submit(tasks.double, number) for number in range(200)]
    found = list(as_completed(futures))
    assert len(found) == 200 and set(found) == set(futures)
    assert sorted(future.result() for future in found) == [2 * number for number in range(200)]


def test_in_order_of_completion(make_pool, make_gate, as_completed):
    pool = make_pool(3)
    gates = [make_gate() for _ in range(3)]
    futures = [pool.submit(tasks.pass_through, gate, n) for n, gate in enumerate(gates)]
    completed = as_completed(futures, PATIENCE)
    for number in (2, 0, 1):
        gates[number].open()
        assert next(completed) is futures[number]
    with pytest.raises(StopIteration):
        next(completed)


def test_done_ones_come_first(single, gate, as_completed):
    done = single.submit(tasks.nothing)
    done.result()
    slow = single.submit(tasks.pass_through, gate)
    completed = as_completed([slow, done])
    assert next(completed) is done
    gate.open()
    assert next(completed) is slow


def test_errors_and_cancelled_ones(lib, pool, as_completed):
    failing, cancelled = pool.submit(tasks.fail, ValueError()), lib.Future()
    cancelled.cancel()
    cancelled.set_running_or_notify_cancel()
    assert set(as_completed([failing, cancelled], PATIENCE)) == {failing, cancelled}


def test_cancelled_meanwhile(lib, as_completed):
    future = lib.Future()

    def cancel():
        future.cancel()
        future.set_running_or_notify_cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    assert list(as_completed([future], PATIENCE)) == [future]
    thread.join()


def test_duplicates(pool, as_completed):
    future = pool.submit(tasks.nothing)
    assert list(as_completed([future, future], PATIENCE)) == [future]


def test_nothing(as_completed):
    assert list(as_completed([])) == []
    assert list(as_completed(iter(()), timeout=0)) == []


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_timeout(single, gate, as_completed, timeout):
    done = single.submit(tasks.nothing)
    done.result()
    slow = [single.submit(tasks.pass_through, gate) for _ in range(2)]
    completed = as_completed([done, *slow], timeout=timeout)
    assert next(completed) is done
    with pytest.raises(TimeoutError) as caught:
        next(completed)
    assert str(caught.value) == "2 (of 3) futures unfinished"
    gate.open()


def test_timeout_counts_from_the_first_step(lib, as_completed):
    """It is a generator: neither the futures nor the clock are looked at before."""
    with pytest.raises(TimeoutError, match=r"^1 \(of 1\) futures unfinished$"):
        list(as_completed([lib.Future()], timeout=0.02))


def test_mixture(lib, pool, as_completed):
    with standard.ThreadPoolExecutor(1) as threads:
        by_hand = [lib.Future(), standard.Future()]
        futures = [pool.submit(tasks.double, 1), threads.submit(tasks.double, 1), *by_hand]
        completed = as_completed(futures, PATIENCE)
        assert {next(completed), next(completed)} == set(futures[:2])
        for future in by_hand:
            future.set_result(None)
            assert next(completed) is future


def test_futures_are_not_kept(pool, as_completed):
    futures = [pool.submit(tasks.make_thing, number) for number in range(10)]
    completed = as_completed(futures)
    futures.clear()
    for future in completed:
        reference = weakref.ref(future)
        del future
        gc.collect()
        assert reference() is None


def test_finished_future_is_not_kept(lib, as_completed):
    future = lib.Future()
    future.set_result(1)
    completed = as_completed([future])
    reference = weakref.ref(future)
    del future
    assert next(completed) is reference()
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("way", ["exhausted", "closed"])
def test_no_waiter_is_left_behind(lib, as_completed, way):
    done, other = lib.Future(), lib.Future()
    done.set_result(1)
    completed = as_completed([done, other])
    assert next(completed) is done
    if way == "exhausted":
        other.set_result(1)
        assert list(completed) == [other]
    else:
        completed.close()
    assert list(other._waiters) == []


def test_submitting_while_iterating(pool, as_completed):
    futures = [pool.submit(tasks.double, number) for number in range(10)]
    more = [pool.submit(tasks.double, future.result()) for future in as_completed(futures)]
    assert sorted(future.result() for future in as_completed(more)) == [4 * number for number in range(10)]


def test_several_threads(pool, gate, as_completed):
    futures, answers = [pool.submit(tasks.pass_through, gate, n) for n in range(20)], []
    threads = [threading.Thread(target=lambda: answers.append(set(as_completed(futures)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert answers == [set(futures)] * 3


def test_dropped_iterator_leaves_the_rest_alone(pool, as_completed):
    futures = [pool.submit(tasks.double, number) for number in range(20)]
    completed = as_completed(futures)
    next(completed)
    del completed
    assert [future.result() for future in futures] == [2 * number for number in range(20)]


def test_mixture_is_not_held(lib, pool, as_completed):
    """Nothing is held that has been yielded, whoever waits."""
    by_hand = lib.Future()
    futures = {pool.submit(tasks.make_thing, number) for number in range(5)} | {by_hand}
    standard.wait(futures - {by_hand})
    by_hand.set_result(None)
    completed = as_completed(futures)
    futures.clear()
    del by_hand
    for future in completed:
        seen = weakref.ref(future)
        del future
        assert seen() is None
