"""What a task may return and raise, and how it looks on this side."""

import concurrent.futures.process as standard
import multiprocessing
import pickle
import sys
import threading
import traceback

import pytest

from support import tasks


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 10**100, 1.5, float("inf"), "", "text", "\ud800", b"", b"\0", (), [1], {1: 2}, {3}, ..., int],
    ids=ascii,
)
def test_values(pool, value):
    result = pool.submit(tasks.echo, value).result()
    assert result == value and type(result) is type(value)


def test_result_that_lives_on_an_argument(pool):
    assert pool.submit(tasks.borrow, tasks.Owner(7)).result() == 7
    assert list(pool.map(tasks.borrow, [tasks.Owner(7), tasks.Owner(8)])) == [7, 8]


def test_an_exception_may_be_a_value(pool):
    future = pool.submit(tasks.echo, ValueError("a value"))
    assert future.exception() is None
    assert repr(future.result()) == "ValueError('a value')"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 5),
        KeyError("key"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("ascii", b"\xff", 0, 1, "why"),
        StopIteration(3),
        TimeoutError("mine"),
        AssertionError(),
        SystemExit(3),
        KeyboardInterrupt("mine"),
        GeneratorExit(),
        tasks.Coded("x", 5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors(single, error):
    before = single.submit(tasks.pid).result()
    caught = single.submit(tasks.fail, error).exception()
    assert type(caught) is type(error)
    assert caught.args == error.args and str(caught) == str(error)
    assert getattr(caught, "code", None) == getattr(error, "code", None)
    assert single.submit(tasks.pid).result() == before


def test_sys_exit_is_an_error_of_its_task(single):
    with pytest.raises(SystemExit) as caught:
        single.submit(tasks.unguarded_exit).result()
    assert caught.value.code == 5
    assert single.submit(tasks.double, 2).result() == 4


def test_errors_of_the_executor_itself_may_be_raised_by_a_task(lib, pool):
    caught = pool.submit(tasks.fail, lib.CancelledError("mine")).exception()
    assert type(caught) is lib.CancelledError and caught.args == ("mine",)


def test_exception_group(pool):
    group = ExceptionGroup("several", [ValueError(1), TypeError(2)])
    caught = pool.submit(tasks.fail, group).exception()
    assert type(caught) is ExceptionGroup
    assert [repr(error) for error in caught.exceptions] == ["ValueError(1)", "TypeError(2)"]


def test_notes_travel(pool):
    assert pool.submit(tasks.raise_with_note).exception().__notes__ == ["a note"]


def test_remote_traceback_is_the_cause(pool):
    error = pool.submit(tasks.fail, ValueError("the message")).exception()
    assert error.__traceback__ is None
    cause = error.__cause__
    assert type(cause) is standard._RemoteTraceback
    assert str(cause) == cause.tb
    assert cause.tb.startswith('\n"""\nTraceback (most recent call last):\n')
    assert cause.tb.endswith('ValueError: the message\n"""')
    assert "in fail\n    raise error\n" in cause.tb


def test_remote_traceback_is_shown(pool):
    with pytest.raises(ValueError) as caught:
        pool.submit(tasks.fail, ValueError("the message")).result()
    text = "".join(traceback.format_exception(caught.value))
    assert text.startswith("concurrent.futures.process._RemoteTraceback: \n")
    assert "\nThe above exception was the direct cause of the following exception:\n" in text
    assert text.count("ValueError: the message") == 2


def test_cause_of_the_task_is_in_the_text(pool):
    error = pool.submit(tasks.fail_from, ValueError("outer"), KeyError("inner")).exception()
    assert type(error.__cause__) is standard._RemoteTraceback
    assert "KeyError: 'inner'" in error.__cause__.tb


def test_traceback_holds_no_cycle(pool):
    future = pool.submit(tasks.fail, ValueError())
    error = future.exception()
    with pytest.raises(ValueError):
        future.result()
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[0] == "test_traceback_holds_no_cycle"


def pickling_error(value):
    """What pickle itself says."""
    try:
        multiprocessing.reduction.ForkingPickler.dumps(value)
    except BaseException as error:
        return type(error), str(error)
    raise AssertionError("it pickles")


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (n for n in ()), lambda: sys, tasks.FailsToPickle, multiprocessing.Lock],
    ids=["lock", "generator", "module", "raising", "multiprocessing lock"],
)
def test_argument_that_does_not_pickle(pool, make):
    argument = make()
    future = pool.submit(tasks.echo, argument)
    error = future.exception()
    assert (type(error), str(error)) == pickling_error(argument)
    assert type(error.__cause__) is standard._RemoteTraceback
    assert pool.submit(tasks.double, 2).result() == 4


def test_error_of_a_lock_argument(pool):
    with pytest.raises(RuntimeError) as caught:
        pool.submit(tasks.echo, multiprocessing.Lock()).result()
    assert str(caught.value) == "Lock objects should only be shared between processes through inheritance"


def test_function_that_does_not_pickle(pool):
    with pytest.raises(ZeroDivisionError, match="^at pickling"):
        pool.submit(tasks.FailsToPickle()).result()
    with pytest.raises(ZeroDivisionError, match="^at pickling"):
        pool.submit(tasks.echo, value=tasks.FailsToPickle()).result()


def test_function_of_another_name(pool, monkeypatch):
    monkeypatch.setattr(tasks.double, "__qualname__", "no_such_name")
    with pytest.raises((AttributeError, pickle.PicklingError), match="no_such_name"):
        pool.submit(tasks.double, 1).result()


def test_error_among_others(pool):
    futures = [pool.submit(tasks.echo, tasks.FailsToPickle() if n % 3 == 0 else n) for n in range(30)]
    found = [type(future.exception()) if future.exception() else future.result() for future in futures]
    assert found == [ZeroDivisionError if n % 3 == 0 else n for n in range(30)]


def test_too_deep_to_pickle(pool):
    with pytest.raises(RecursionError):
        pool.submit(tasks.echo, tasks.nested_list(200_000)).result()
    assert pool.submit(tasks.double, 2).result() == 4


def test_result_that_does_not_pickle(single):
    before = single.submit(tasks.pid).result()
    error = single.submit(tasks.make_unpickleable).exception()
    assert (type(error), str(error)) == (ZeroDivisionError, "at pickling")
    assert type(error.__cause__) is standard._RemoteTraceback
    assert "in __reduce__" in error.__cause__.tb
    assert single.submit(tasks.pid).result() == before


def test_result_that_exits_when_pickled(single):
    error = single.submit(tasks.make_unpickleable, SystemExit(4)).exception()
    assert type(error) is SystemExit and error.code == 4
    assert single.submit(tasks.double, 2).result() == 4


@pytest.mark.parametrize("letter", ["x", "\u20ac"], ids=["ascii", "wide"])
def test_long_text(single, letter):
    """As an argument, as a result, and in an error."""
    text = letter * 3_000_000
    assert single.submit(tasks.echo, text).result() == text
    assert single.submit(tasks.fail, ValueError(text)).exception().args == (text,)


def test_result_too_deep_to_pickle(single):
    with pytest.raises(RecursionError):
        single.submit(tasks.nested_list, 200_000).result()
    assert single.submit(tasks.double, 2).result() == 4


def test_error_whose_value_does_not_pickle(single):
    caught = single.submit(tasks.fail_with_lock).exception()
    assert caught is not None
    assert single.submit(tasks.double, 2).result() == 4


@pytest.mark.fastpool_only("pickling in a feeder thread, the standard library loses the error and hangs")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_while_pickling_leaves_submit(pool, error):
    with pytest.raises(error):
        pool.submit(tasks.echo, tasks.FailsToPickle(error()))
    assert pool.submit(tasks.double, 2).result() == 4
