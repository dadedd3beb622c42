"""Cancelling, one by one and all at shutdown."""

import concurrent.futures as standard
import threading

import pytest

from support import tasks
from support.events import PATIENCE, eventually

# The standard library's queue to the workers holds one call more than there are workers, and
# what is in there cannot be cancelled: the tests count from behind it.
QUEUED = 2


def block(pool, gate, mailbox):
    """Occupy the one worker, and the queue in front of it."""
    futures = [pool.submit(tasks.announce_and_wait, mailbox, gate) for _ in range(1 + QUEUED)]
    mailbox.get()
    eventually(futures[0].running)
    return futures


def test_pending_tasks_can_be_cancelled(lib, single, gate, mailbox):
    blockers = block(single, gate, mailbox)
    futures = [single.submit(tasks.announce, mailbox, f"task {n}", n) for n in range(6)]
    assert all(future.cancel() for future in futures[::2])
    assert all(future.cancel() for future in futures[::2])
    assert [future.cancelled() for future in futures] == [True, False] * 3
    assert all(future.done() and not future.running() for future in futures[::2])
    for method in ("result", "exception"):
        with pytest.raises(lib.CancelledError):
            getattr(futures[0], method)()
    gate.open()
    assert [future.result() for future in futures[1::2]] == [1, 3, 5]
    assert [line for line in mailbox.all() if line.startswith("task")] == ["task 1", "task 3", "task 5"]
    assert [future.result() for future in blockers] == [None] * 3


def test_running_task_cannot_be_cancelled(single, gate, mailbox):
    future = single.submit(tasks.announce_and_wait, mailbox, gate, "value")
    mailbox.get()
    assert future.cancel() is False
    assert not future.cancelled()
    gate.open()
    assert future.result() == "value"


def test_finished_task_cannot_be_cancelled(pool):
    future = pool.submit(tasks.echo, 5)
    assert future.result() == 5
    assert future.cancel() is False
    assert future.result() == 5


def test_all_but_the_running_task_cancelled(single, gate, mailbox):
    block(single, gate, mailbox)
    futures = [single.submit(tasks.nothing) for _ in range(200)]
    assert all(future.cancel() for future in futures)
    gate.open()
    assert single.submit(tasks.double, 2).result() == 4
    assert {future._state for future in futures} == {"CANCELLED_AND_NOTIFIED"}


def test_waiting_thread_hears_of_it(lib, single, gate, mailbox):
    block(single, gate, mailbox)
    future, answers = single.submit(tasks.nothing), []

    def ask():
        with pytest.raises(lib.CancelledError):
            future.result(PATIENCE)
        answers.append("cancelled")

    thread = threading.Thread(target=ask)
    thread.start()
    future.cancel()
    thread.join()
    assert answers == ["cancelled"]
    gate.open()


def test_callback_runs_in_the_thread_that_cancels(single, gate, mailbox):
    block(single, gate, mailbox)
    future, calls = single.submit(tasks.nothing), []
    future.add_done_callback(lambda f: calls.append((f, f.cancelled(), threading.get_ident())))
    assert future.cancel()
    assert calls == [(future, True, threading.get_ident())]
    gate.open()


def test_shutdown_cancels_what_is_pending(make_pool, gate, mailbox):
    pool = make_pool(1)
    blockers = block(pool, gate, mailbox)
    futures = [pool.submit(tasks.nothing) for _ in range(10)]
    pool.shutdown(wait=False, cancel_futures=True)
    eventually(lambda: all(future.cancelled() for future in futures))
    assert not blockers[0].done()
    gate.open()
    assert blockers[0].result() is None


def test_shutdown_with_wait_cancels_and_finishes_the_rest(make_pool, gate, mailbox):
    pool = make_pool(1)
    blockers = block(pool, gate, mailbox)
    futures = [pool.submit(tasks.nothing) for _ in range(10)]
    thread = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True})
    thread.start()
    eventually(lambda: all(future.cancelled() for future in futures))
    gate.open()
    thread.join()
    assert blockers[0].result() is None
    assert all(future.done() for future in blockers)


def test_cancelled_while_everything_is_submitted(single, mailbox):
    """Cancelling races with claiming: whichever wins, the future says what happened."""
    futures = [single.submit(tasks.announce, mailbox, n, n) for n in range(300)]
    cancelled = {n for n, future in enumerate(futures) if future.cancel()}
    ran = {future.result() for n, future in enumerate(futures) if n not in cancelled}
    assert ran == set(range(300)) - cancelled
    single.submit(tasks.nothing).result()
    assert {int(line) for line in mailbox.all()} == ran


@pytest.mark.fastpool_only("the standard library calls a task running once it is in the queue to the workers")
def test_everything_is_pending_until_a_worker_has_it(single, gate, mailbox):
    first = single.submit(tasks.announce_and_wait, mailbox, gate)
    mailbox.get()
    futures = [single.submit(tasks.nothing) for _ in range(5)]
    assert [future.running() for future in [first, *futures]] == [True] + [False] * 5
    assert all(future.cancel() for future in futures)
    gate.open()
    first.result()


@pytest.mark.fastpool_only("the standard library notifies only when a worker would have had the task")
@pytest.mark.parametrize("implementation", ["standard", "own"])
@pytest.mark.parametrize("way", ["wait", "as_completed"])
def test_waiting_for_a_cancelled_future(lib, single, gate, mailbox, implementation, way):
    module = lib if implementation == "own" else standard
    block(single, gate, mailbox)
    futures = [single.submit(tasks.nothing) for _ in range(3)]
    for future in futures:
        future.cancel()
    if way == "wait":
        assert module.wait(futures, PATIENCE).not_done == set()
    else:
        assert set(module.as_completed(futures, PATIENCE)) == set(futures)
    gate.open()


@pytest.mark.fastpool_only("the standard library never notifies these: wait() and as_completed() hang")
@pytest.mark.parametrize("implementation", ["standard", "own"])
@pytest.mark.parametrize("way", ["wait", "as_completed"])
def test_waiting_for_futures_that_shutdown_cancelled(lib, make_pool, gate, mailbox, implementation, way):
    module = lib if implementation == "own" else standard
    pool = make_pool(1)
    first = pool.submit(tasks.announce_and_wait, mailbox, gate)
    mailbox.get()
    futures = [pool.submit(tasks.nothing) for _ in range(8)]
    pool.shutdown(wait=False, cancel_futures=True)
    if way == "wait":
        assert module.wait(futures, PATIENCE).not_done == set()
    else:
        assert set(module.as_completed(futures, PATIENCE)) == set(futures)
    assert {future._state for future in futures} == {"CANCELLED_AND_NOTIFIED"}
    gate.open()
    assert first.result() is None


@pytest.mark.fastpool_only("the standard library never wakes who waits already")
@pytest.mark.parametrize("implementation", ["standard", "own"])
def test_shutdown_wakes_who_waits_already(lib, make_pool, gate, mailbox, implementation):
    module = lib if implementation == "own" else standard
    pool = make_pool(1)
    pool.submit(tasks.announce_and_wait, mailbox, gate)
    mailbox.get()
    futures, answers = [pool.submit(tasks.nothing) for _ in range(8)], []
    thread = threading.Thread(target=lambda: answers.append(module.wait(futures, PATIENCE)))
    thread.start()
    pool.shutdown(wait=False, cancel_futures=True)
    thread.join()
    assert answers[0].done == set(futures)
    gate.open()


def test_too_late_once_the_task_has_ended(single, gate, mailbox, is_fastpool):
    """Though nobody may see the end yet: who publishes it waits for the condition."""
    future, seen = single.submit(tasks.pass_through, gate), []
    after = single.submit(tasks.announce, mailbox)
    if not is_fastpool:  # its publisher is also who hands out the tasks
        eventually(after.running)
    with future._condition:
        gate.open()
        mailbox.get()  # so the one before has ended
        thread = threading.Thread(target=lambda: seen.extend(standard.as_completed([future], PATIENCE)))
        eventually(lambda: future._state == "RUNNING")
        assert not future.cancel()
    thread.start()
    thread.join()
    assert seen == [future] and not future.cancelled()
