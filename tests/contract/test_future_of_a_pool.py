"""The same questions put to a future that a pool gave."""

import gc
import pickle
import re
import threading
import weakref

import pytest

from support import tasks
from support.events import PATIENCE, eventually


def test_running_then_finished(single, gate, mailbox):
    future = single.submit(tasks.announce_and_wait, mailbox, gate, "value")
    mailbox.get()
    assert future.running() and not future.done() and not future.cancelled()
    assert future._state == "RUNNING"
    assert re.fullmatch(r"<Future at 0x[0-9a-f]+ state=running>", repr(future))
    gate.open()
    assert future.result() == "value"
    assert future._state == "FINISHED"
    assert re.fullmatch(r"<Future at 0x[0-9a-f]+ state=finished returned str>", repr(future))
    assert not future.running() and future.done()


def test_done_becomes_true_without_asking_for_the_result(pool):
    future = pool.submit(tasks.nothing)
    eventually(future.done)
    assert future.result(0) is None


def test_repr_becomes_finished_without_asking_for_the_result(pool):
    future = pool.submit(tasks.fail, ValueError("x"))
    eventually(lambda: repr(future).endswith(" state=finished raised ValueError>"))


def test_private_state_becomes_finished(pool):
    future = pool.submit(tasks.echo, 5)
    eventually(lambda: future._state == "FINISHED")
    assert future._result == 5 and future._exception is None


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_asking_too_early(single, gate, method, timeout):
    future = single.submit(tasks.pass_through, gate, "value")
    with pytest.raises(TimeoutError) as caught:
        getattr(future, method)(timeout)
    assert caught.value.args == ()
    gate.open()
    assert future.result() == "value"


def test_result_is_the_same_object_each_time(pool):
    future = pool.submit(tasks.make_thing, 5)
    assert future.result() is future.result() is future._result


def test_exception_is_the_same_object_each_time(pool):
    future = pool.submit(tasks.fail, ValueError("x"))
    error = future.exception()
    assert future.exception() is error
    for _ in range(2):
        with pytest.raises(ValueError) as caught:
            future.result()
        assert caught.value is error


def test_exception_of_a_success(pool):
    assert pool.submit(tasks.nothing).exception() is None


def test_many_threads_wait_for_one(single, gate):
    future, answers = single.submit(tasks.pass_through, gate, "value"), []
    threads = [threading.Thread(target=lambda: answers.append(future.result(PATIENCE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert answers == ["value"] * 8
    assert all(answer is answers[0] for answer in answers)


def test_many_threads_wait_for_their_own(pool, gate):
    answers = {}

    def ask(number, future):
        answers[number] = future.result(PATIENCE)

    blockers = [pool.submit(tasks.pass_through, gate) for _ in range(2)]
    threads = [threading.Thread(target=ask, args=(n, pool.submit(tasks.double, n))) for n in range(16)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert answers == {number: 2 * number for number in range(16)}
    assert [blocker.result() for blocker in blockers] == [None, None]


def test_own_attributes_and_weak_references(pool):
    future = pool.submit(tasks.nothing)
    future.tag = "mine"
    reference = weakref.ref(future)
    assert reference().tag == "mine"
    future.result()
    del future
    eventually(lambda: gc.collect() or reference() is None)


def test_a_future_nobody_keeps_still_runs(single, mailbox):
    single.submit(tasks.announce, mailbox, "ran")
    assert mailbox.get() == "ran"


def test_finishing_it_by_hand_after_the_worker_did(lib, pool):
    future = pool.submit(tasks.nothing)
    future.result()
    with pytest.raises(lib.InvalidStateError):
        future.set_result(1)


def test_it_cannot_be_an_argument(pool):
    future = pool.submit(tasks.nothing)
    with pytest.raises(TypeError, match="cannot pickle"):
        pool.submit(tasks.echo, future).result()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(future)


def test_reference_to_the_call_is_not_kept(single):
    argument = tasks.make_thing(1)
    reference = weakref.ref(argument)
    future = single.submit(tasks.echo, argument)
    del argument
    assert future.result() == tasks.Thing(1)
    eventually(lambda: reference() is None)
    assert future.done()


def test_result_dies_with_its_future(pool):
    future = pool.submit(tasks.make_thing, 1)
    reference = weakref.ref(future.result())
    del future
    eventually(lambda: gc.collect() or reference() is None)
