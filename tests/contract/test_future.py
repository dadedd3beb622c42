"""A Future by itself: states, what it answers in each, and in which words."""

import copy
import gc
import logging
import pickle
import re
import sys
import threading
import time
import weakref

import pytest

from support.events import PATIENCE
from support.tasks import FalseError

PENDING, RUNNING = "PENDING", "RUNNING"
CANCELLED, NOTIFIED, FINISHED = "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"

SHOWN = {
    PENDING: "pending",
    RUNNING: "running",
    CANCELLED: "cancelled",
    NOTIFIED: "cancelled",
    FINISHED: "finished returned int",
}


def in_state(lib, state):
    future = lib.Future()
    if state in (CANCELLED, NOTIFIED):
        future.cancel()
    if state in (RUNNING, NOTIFIED):
        future.set_running_or_notify_cancel()
    if state == FINISHED:
        future.set_result(5)
    return future


@pytest.mark.parametrize(
    "state, cancelled, running, done",
    [
        (PENDING, False, False, False),
        (RUNNING, False, True, False),
        (CANCELLED, True, False, True),
        (NOTIFIED, True, False, True),
        (FINISHED, False, False, True),
    ],
)
def test_states(lib, state, cancelled, running, done):
    future = in_state(lib, state)
    assert future._state == state
    assert (future.cancelled(), future.running(), future.done()) == (cancelled, running, done)
    assert re.fullmatch(rf"<Future at 0x[0-9a-f]+ state={SHOWN[state]}>", repr(future))


@pytest.mark.parametrize(
    "state, accepted, after",
    [
        (PENDING, True, CANCELLED),
        (RUNNING, False, RUNNING),
        (CANCELLED, True, CANCELLED),
        (NOTIFIED, True, NOTIFIED),
        (FINISHED, False, FINISHED),
    ],
)
def test_cancel(lib, state, accepted, after):
    future = in_state(lib, state)
    assert future.cancel() is accepted
    assert future._state == after


def test_repr_of_an_error(lib):
    future = lib.Future()
    future.set_exception(ValueError("x"))
    assert re.fullmatch(r"<Future at 0x[0-9a-f]+ state=finished raised ValueError>", repr(future))


def test_repr_of_none(lib):
    future = lib.Future()
    future.set_result(None)
    assert repr(future).endswith(" state=finished returned NoneType>")


def test_repr_names_the_address_and_the_class(lib):
    class Mine(lib.Future):
        pass

    future = Mine()
    assert repr(future) == f"<Mine at {id(future):#x} state=pending>"


def test_result(lib):
    future, value = lib.Future(), object()
    future.set_result(value)
    assert future.result() is value
    assert future.result(timeout=0) is value
    assert future.result(1) is value
    assert future.exception() is None
    assert future.exception(timeout=0) is None


def test_exception(lib):
    future, error = lib.Future(), ValueError("x")
    future.set_exception(error)
    assert future.exception() is error
    assert future.exception(0) is error
    for _ in range(2):
        with pytest.raises(ValueError) as caught:
            future.result()
        assert caught.value is error


def test_traceback_of_an_error_shows_who_asked(lib):
    future, error = lib.Future(), ValueError("x")
    future.set_exception(error)
    assert error.__traceback__ is None
    with pytest.raises(ValueError) as caught:
        future.result()
    assert caught.traceback[0].name == "test_traceback_of_an_error_shows_who_asked"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(4)])
def test_any_exception_is_kept(lib, error):
    future = lib.Future()
    future.set_exception(error)
    assert future.exception() is error
    with pytest.raises(type(error)) as caught:
        future.result()
    assert caught.value is error


def test_no_exception_means_no_result(lib):
    future = lib.Future()
    future.set_exception(None)
    assert future.done()
    assert future.exception() is None
    assert future.result() is None


@pytest.mark.stdlib_since(3, 14, "a false exception was taken for none")
def test_false_exception(lib):
    future, error = lib.Future(), FalseError()
    future.set_exception(error)
    assert future.exception() is error
    with pytest.raises(FalseError):
        future.result()


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("state", [CANCELLED, NOTIFIED])
def test_asking_a_cancelled_one(lib, method, state):
    with pytest.raises(lib.CancelledError) as caught:
        getattr(in_state(lib, state), method)()
    assert caught.value.args == ()


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("state", [PENDING, RUNNING])
@pytest.mark.parametrize("timeout", [0, 0.0, 0.01, -1])
def test_asking_too_early(lib, method, state, timeout):
    with pytest.raises(TimeoutError) as caught:
        getattr(in_state(lib, state), method)(timeout=timeout)
    assert caught.value.args == ()


@pytest.mark.parametrize("method", ["result", "exception"])
def test_time_limit_is_kept(lib, method):
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        getattr(lib.Future(), method)(0.05)
    assert 0.05 <= time.monotonic() - start < PATIENCE


@pytest.mark.parametrize("state", [FINISHED, CANCELLED, NOTIFIED])
@pytest.mark.parametrize("call", [lambda f: f.set_result(1), lambda f: f.set_exception(ValueError())])
def test_finishing_twice(lib, state, call):
    future = in_state(lib, state)
    text = f"{state}: {future!r}"
    with pytest.raises(lib.InvalidStateError) as caught:
        call(future)
    assert str(caught.value) == text
    assert future._state == state


def test_set_running(lib):
    future = lib.Future()
    assert future.set_running_or_notify_cancel() is True
    assert future._state == RUNNING


def test_set_running_on_a_cancelled_one(lib):
    future = in_state(lib, CANCELLED)
    assert future.set_running_or_notify_cancel() is False
    assert future._state == NOTIFIED


@pytest.mark.parametrize("state", [RUNNING, NOTIFIED, FINISHED])
def test_set_running_at_the_wrong_time(lib, state, caplog):
    future = in_state(lib, state)
    with pytest.raises(RuntimeError, match=r"^Future in unexpected state$"):
        future.set_running_or_notify_cancel()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("concurrent.futures", logging.CRITICAL)
    assert record.getMessage() == f"Future {id(future)} in unexpected state: {state}"
    assert future._state == state


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("finish", ["set_result", "set_exception", "cancel"])
def test_waiting_thread_is_woken(lib, method, finish):
    future, answers = lib.Future(), []
    error = ValueError("x")

    def ask():
        try:
            answers.append(getattr(future, method)(PATIENCE))
        except (ValueError, lib.CancelledError) as caught:
            answers.append(type(caught))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    {
        "set_result": lambda: future.set_result(5),
        "set_exception": lambda: future.set_exception(error),
        "cancel": future.cancel,
    }[finish]()
    for thread in threads:
        thread.join()
    wanted = {
        ("result", "set_result"): 5,
        ("exception", "set_result"): None,
        ("result", "set_exception"): ValueError,
        ("exception", "set_exception"): error,
    }.get((method, finish), lib.CancelledError)
    assert answers == [wanted] * 3


@pytest.mark.parametrize("state", [PENDING, RUNNING])
def test_can_be_finished_from_either_open_state(lib, state):
    future = in_state(lib, state)
    future.set_result("value")
    assert future.result() == "value"


def test_weak_references(lib):
    future = lib.Future()
    gone = []
    reference = weakref.ref(future, gone.append)
    assert reference() is future
    del future
    gc.collect()
    assert reference() is None and gone == [reference]


def test_identity_and_hash(lib):
    first, second = lib.Future(), lib.Future()
    assert first == first and first != second
    assert len({first, second, first}) == 2


def test_own_attributes(lib):
    future = lib.Future()
    future.tag = "mine"
    assert future.tag == "mine" and vars(future)["tag"] == "mine"


def test_takes_no_arguments(lib):
    with pytest.raises(TypeError):
        lib.Future(1)


@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy])
def test_cannot_be_copied(lib, way):
    with pytest.raises(TypeError, match="cannot pickle"):
        way(lib.Future())


def test_subclass(lib):
    class Mine(lib.Future):
        def __init__(self, label):
            super().__init__()
            self.label = label

        def result(self, timeout=None):
            return self.label, super().result(timeout)

    future = Mine("label")
    future.set_result(1)
    assert isinstance(future, lib.Future)
    assert future.result() == ("label", 1)


def test_cycle_through_a_future_is_collected(lib):
    future = lib.Future()
    future.myself = future
    future.add_done_callback(future.__class__.cancel)
    future.set_result([future])
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_cycle_through_a_callback_is_collected(lib):
    future = lib.Future()
    future.add_done_callback(lambda _, future=future: future)
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


if sys.version_info >= (3, 15):

    def test_snapshot(lib):
        error = ValueError("x")
        failed = lib.Future()
        failed.set_exception(error)
        assert tuple(in_state(lib, PENDING)._get_snapshot()) == (False, False, None, None)
        assert tuple(in_state(lib, RUNNING)._get_snapshot()) == (False, False, None, None)
        assert tuple(in_state(lib, CANCELLED)._get_snapshot()) == (True, True, None, None)
        assert tuple(in_state(lib, FINISHED)._get_snapshot()) == (True, False, 5, None)
        assert tuple(failed._get_snapshot()) == (True, False, None, error)


def test_private_attributes(lib):
    future = lib.Future()
    callback = print
    future.add_done_callback(callback)
    assert (future._result, future._exception) == (None, None)
    assert list(future._done_callbacks) == [callback]
    assert list(future._waiters) == []
    with future._condition:
        assert future._state == PENDING


def test_private_condition_is_notified(lib):
    future = lib.Future()
    with future._condition:
        thread = threading.Thread(target=future.set_result, args=(1,))
        thread.start()
        assert future._condition.wait_for(lambda: future._state == FINISHED, PATIENCE)
    thread.join()
    assert future._result == 1


def test_waiters_are_told_under_the_condition(lib):
    told = []

    class Waiter:
        def add_result(self, future):
            told.append(("result", future._condition.acquire(blocking=False)))
            future._condition.release()

        def add_exception(self, future):
            told.append(("exception", None))

        def add_cancelled(self, future):
            told.append(("cancelled", None))

    futures = [lib.Future() for _ in range(3)]
    for future in futures:
        with future._condition:
            future._waiters.append(Waiter())
    futures[0].set_result(1)
    futures[1].set_exception(ValueError())
    futures[2].cancel()
    futures[2].set_running_or_notify_cancel()
    # The condition's lock is recursive: whoever holds it may take it again.
    assert told == [("result", True), ("exception", None), ("cancelled", None)]


def test_subclass_that_forgets_to_initialize(lib):
    class Forgetful(lib.Future):
        def __init__(self):
            pass

    with pytest.raises((AttributeError, TimeoutError)):
        Forgetful().result(0)


@pytest.mark.parametrize("raised, kind", [(KeyError, KeyError), ("no exception", TypeError)])
def test_exception_that_is_none(lib, raised, kind):
    future = lib.Future()
    future.set_exception(raised)
    with pytest.raises(kind):
        future.result()
