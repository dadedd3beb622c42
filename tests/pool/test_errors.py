"""What a task may return and raise, and how errors look on this side."""

import multiprocessing
import multiprocessing.pool
import pickle
import re
import sys
import threading
import traceback

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE

RemoteTraceback, MaybeEncodingError = multiprocessing.pool.RemoteTraceback, multiprocessing.pool.MaybeEncodingError


def error_of(result):
    with pytest.raises(BaseException) as caught:
        result.get(PATIENCE)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 10**100, 1.5, float("inf"), "", "text", "\ud800", b"", b"\0", (), [1], {1: 2}, {3}, ..., int],
    ids=ascii,
)
def test_values(pool, value):
    for result in (pool.apply(tasks.echo, (value,)), *pool.map(tasks.echo, [value]), *pool.imap(tasks.echo, [value])):
        assert result == value and type(result) is type(value)


def test_an_exception_may_be_a_value(pool):
    result = pool.apply_async(tasks.echo, (ValueError("a value"),))
    assert repr(result.get()) == "ValueError('a value')" and result.successful()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 5),
        KeyError("key"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("ascii", b"\xff", 0, 1, "why"),
        StopIteration(3),
        TimeoutError("mine"),
        multiprocessing.TimeoutError("mine"),
        EOFError(),
        AssertionError(),
        tasks.Coded("x", 5),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_errors(single, error):
    before = single.apply(tasks.pid)
    caught = error_of(single.apply_async(tasks.fail, (error,)))
    assert type(caught) is type(error)
    assert caught.args == error.args and str(caught) == str(error)
    assert getattr(caught, "code", None) == getattr(error, "code", None)
    assert single.apply(tasks.pid) == before


def test_exception_group(pool):
    group = ExceptionGroup("several", [ValueError(1), TypeError(2)])
    caught = error_of(pool.apply_async(tasks.fail, (group,)))
    assert type(caught) is ExceptionGroup
    assert [repr(error) for error in caught.exceptions] == ["ValueError(1)", "TypeError(2)"]


def test_notes_travel(pool):
    assert error_of(pool.apply_async(tasks.raise_with_note)).__notes__ == ["a note"]


def test_exception_that_is_false(pool):
    assert type(error_of(pool.apply_async(tasks.fail, (tasks.FalseError(),)))) is tasks.FalseError


CALLS = {
    "apply": lambda pool, error: pool.apply_async(tasks.fail, (error,)),
    "map": lambda pool, error: pool.map_async(tasks.fail, [error]),
    "starmap": lambda pool, error: pool.starmap_async(tasks.fail, [(error,)]),
}


@pytest.mark.parametrize("call", CALLS)
def test_remote_traceback_is_the_cause(pool, call):
    cause = error_of(CALLS[call](pool, ValueError("the message"))).__cause__
    assert type(cause) is RemoteTraceback
    assert str(cause) == cause.tb
    assert cause.tb.startswith('\n"""\nTraceback (most recent call last):\n')
    assert cause.tb.endswith('ValueError: the message\n"""')
    assert "in fail\n    raise error\n" in cause.tb


def test_remote_traceback_is_shown(pool):
    text = "".join(traceback.format_exception(error_of(pool.apply_async(tasks.fail, (ValueError("the message"),)))))
    assert text.startswith('multiprocessing.pool.RemoteTraceback: \n"""\nTraceback')
    assert "\nThe above exception was the direct cause of the following exception:\n" in text
    assert text.count("ValueError: the message") == 2


def test_cause_of_the_task_is_in_the_text(pool):
    error = error_of(pool.apply_async(tasks.fail_from, (ValueError("outer"), KeyError("inner"))))
    assert type(error.__cause__) is RemoteTraceback
    assert "KeyError: 'inner'" in error.__cause__.tb


def test_error_comes_without_frames_of_the_worker(pool):
    error = error_of(pool.apply_async(tasks.fail, (ValueError(),)))
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][0] == "error_of"


def test_error_pickles_again(pool):
    error = pickle.loads(pickle.dumps(error_of(pool.apply_async(tasks.fail, (tasks.Coded("x", 5),)))))
    assert type(error) is tasks.Coded and error.code == 5


# --- results that do not pickle


@pytest.mark.parametrize("method, arguments", [("apply_async", ()), ("map_async", [None]), ("starmap_async", [()])])
def test_result_that_does_not_pickle(single, method, arguments):
    before = single.apply(tasks.pid)
    error = error_of(getattr(single, method)(tasks.make_unpickleable, arguments))
    assert type(error) is MaybeEncodingError and error.__cause__ is None
    assert error.exc == "ZeroDivisionError('at pickling')"
    assert "FailsToPickle object at 0x" in error.value
    assert str(error) == f"Error sending result: '{error.value}'. Reason: '{error.exc}'"
    assert repr(error) == f"<MaybeEncodingError: {error}>"
    assert single.apply(tasks.pid) == before


def test_result_of_a_map_that_does_not_pickle_is_its_chunk(pool):
    error = error_of(pool.map_async(tasks.make_unpickleable, [None, None], 2))
    assert re.fullmatch(r"\[(<support.tasks.FailsToPickle object at 0x[0-9a-f]+>(, |\])){2}", error.value)


def test_worker_survives_results_that_do_not_pickle(single):
    before = single.apply(tasks.pid)
    for _ in range(20):
        assert type(error_of(single.apply_async(jobs.return_generator))) is MaybeEncodingError
    assert single.apply(tasks.pid) == before


def test_error_that_does_not_pickle(single):
    before = single.apply(tasks.pid)
    error = error_of(single.apply_async(tasks.fail_with_lock))
    assert type(error) is MaybeEncodingError and "lock" in error.exc
    assert single.apply(tasks.pid) == before


# --- calls that do not pickle


def pickling_error(value):
    """What pickle itself says."""
    try:
        multiprocessing.reduction.ForkingPickler.dumps(value)
    except BaseException as error:
        return type(error), str(error)
    raise AssertionError("it pickles")


UNPICKLABLE = {
    "lock": threading.Lock,
    "generator": lambda: (n for n in ()),
    "module": lambda: sys,
    "raising": tasks.FailsToPickle,
    "multiprocessing lock": multiprocessing.Lock,
    "multiprocessing queue": multiprocessing.Queue,
}


@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_argument_that_does_not_pickle(pool, kind):
    """The error itself, and for this call alone."""
    argument = UNPICKLABLE[kind]()
    wanted = pickling_error(argument)
    for result in (
        pool.apply_async(tasks.echo, (argument,)),
        pool.apply_async(tasks.echo, kwds={"value": argument}),
        pool.map_async(tasks.echo, [argument]),
        pool.starmap_async(tasks.echo, [(argument,)]),
    ):
        error = error_of(result)
        assert (type(error), str(error)) == wanted
        assert error.__cause__ is None
    assert pool.apply(tasks.double, (2,)) == 4


def test_error_of_a_lock_argument(pool):
    error = error_of(pool.apply_async(tasks.echo, (multiprocessing.Lock(),)))
    assert str(error) == "Lock objects should only be shared between processes through inheritance"


def test_function_that_does_not_pickle(pool):
    for result in (
        pool.apply_async(tasks.FailsToPickle()),
        pool.map_async(tasks.FailsToPickle(), range(10)),
        pool.starmap_async(tasks.FailsToPickle(), [()]),
    ):
        assert repr(error_of(result)) == "ZeroDivisionError('at pickling')"
    assert pool.apply(tasks.double, (2,)) == 4


def test_function_of_another_name(pool, monkeypatch):
    monkeypatch.setattr(tasks.double, "__qualname__", "no_such_name")
    with pytest.raises((AttributeError, pickle.PicklingError), match="no_such_name"):
        pool.apply(tasks.double, (1,))


def test_argument_too_deep_to_pickle(pool):
    assert type(error_of(pool.apply_async(tasks.echo, (tasks.nested_list(200_000),)))) is RecursionError
    assert pool.apply(tasks.double, (2,)) == 4


def test_item_that_does_not_pickle_takes_its_map_along(pool):
    error = error_of(pool.map_async(tasks.echo, [0, 1, tasks.FailsToPickle(), 3], 1))
    assert repr(error) == "ZeroDivisionError('at pickling')"


def test_errors_among_others(pool):
    results = [pool.apply_async(tasks.echo, (tasks.FailsToPickle() if n % 3 == 0 else n,)) for n in range(30)]
    for number, result in enumerate(results):
        if number % 3 == 0:
            assert type(error_of(result)) is ZeroDivisionError
        else:
            assert result.get() == number


def test_reducer_registered_after_the_start(pool):
    multiprocessing.reduction.ForkingPickler.register(tasks.NoReducer, tasks.reduce_registered)
    try:
        assert pool.apply(tasks.echo, (tasks.NoReducer(2),)) == tasks.Thing(2)
    finally:
        del multiprocessing.reduction.ForkingPickler._extra_reducers[tasks.NoReducer]


@pytest.mark.usefixtures("resource_sharer")
def test_connection_as_an_argument(pool):
    ours, theirs = multiprocessing.Pipe(duplex=False)
    result = pool.apply_async(tasks.send_through, (theirs, "hello"))
    assert ours.recv() == "hello"
    assert result.get() is None
    ours.close()
    theirs.close()


# --- where the standard library hangs


@pytest.mark.fastpool_only("the standard library's worker dies of the repr, and nobody answers")
@pytest.mark.parametrize("call", [(tasks.nested_list, (200_000,)), (jobs.return_nameless, ())], ids=["too deep", "raising"])
def test_result_that_has_neither_a_pickle_nor_a_repr(single, call):
    before = single.apply(tasks.pid)
    error = error_of(single.apply_async(*call))
    assert type(error) is MaybeEncodingError
    assert single.apply_async(tasks.pid).get(PATIENCE) == before


@pytest.mark.fastpool_only("the standard library's worker dies of what is no Exception, and nobody answers")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_result_that_exits_when_pickled(lib, single, error):
    assert isinstance(error_of(single.apply_async(tasks.make_unpickleable, (error,))), (MaybeEncodingError, lib.WorkerDied))
    assert single.apply_async(tasks.double, (2,)).get(PATIENCE) == 4


@pytest.mark.fastpool_only("the standard library's task thread dies of it, and every later get() hangs")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_interruption_while_pickling(pool, error):
    """It leaves the call, or is the call's result, but does no harm beyond."""
    with pytest.raises(error):
        pool.apply_async(tasks.echo, (tasks.FailsToPickle(error()),)).get(PATIENCE)
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4
