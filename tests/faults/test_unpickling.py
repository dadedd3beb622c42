"""What does not unpickle, on either side, costs its own future and nothing else."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from support import tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("in the standard library each of these breaks the pool")


@pytest.fixture
def started(make_pool):
    pool = make_pool(1)
    pool.pid = pool.submit(tasks.pid).result()
    return pool


def check_told(error, cause):
    """The class that the standard library raises, and what went wrong."""
    assert isinstance(error, BrokenProcessPool)
    assert repr(cause) in str(error)


def check_unharmed(pool):
    assert not pool._broken
    assert pool.submit(tasks.pid).result(PATIENCE) == pool.pid


def test_argument(started):
    futures = [started.submit(tasks.echo, n) for n in range(3)]
    error = started.submit(tasks.echo, tasks.FailsToUnpickle()).exception(PATIENCE)
    check_told(error, ZeroDivisionError("at unpickling"))
    assert "in fail" in str(error.__cause__)
    assert [future.result() for future in futures] == [0, 1, 2]
    check_unharmed(started)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_argument_that_exits(started, error):
    check_told(started.submit(tasks.echo, tasks.FailsToUnpickle(error)).exception(PATIENCE), error)
    check_unharmed(started)


def test_argument_that_ends_the_worker(started):
    assert isinstance(started.submit(tasks.echo, tasks.DiesWhenUnpickled()).exception(PATIENCE), BrokenProcessPool)
    assert started._broken


def test_function(started, monkeypatch):
    """Defined in this process after the worker started, so unknown there."""

    def newcomer():
        return 5

    newcomer.__module__, newcomer.__qualname__ = tasks.__name__, "newcomer"
    monkeypatch.setattr(tasks, "newcomer", newcomer, raising=False)
    error = started.submit(newcomer).exception(PATIENCE)
    assert isinstance(error, BrokenProcessPool) and "newcomer" in str(error)
    check_unharmed(started)


def test_result(started):
    future = started.submit(tasks.make_un_unpickleable)
    error = future.exception(PATIENCE)
    check_told(error, ZeroDivisionError("at unpickling"))
    assert future.exception() is error
    check_unharmed(started)


def test_result_among_others(started):
    futures = [started.submit(tasks.make_un_unpickleable if n % 3 == 0 else tasks.nothing) for n in range(12)]
    failed = [future.exception(PATIENCE) is not None for future in futures]
    assert failed == [n % 3 == 0 for n in range(12)]
    check_unharmed(started)


def test_exception(started):
    future = started.submit(tasks.raise_two_arguments)
    error = future.exception(PATIENCE)
    assert isinstance(error, Exception)
    text = f"{error!r} {error} {error.__cause__}"
    assert "TwoArguments" in text and "no way back" in text
    assert "in raise_two_arguments" in text
    check_unharmed(started)


def test_exception_whose_pickling_raises(started):
    error = started.submit(tasks.fail_with_lock).exception(PATIENCE)
    assert isinstance(error, Exception)
    check_unharmed(started)


def test_map_goes_as_far_as_it_can(started):
    results = started.map(tasks.echo, [1, tasks.FailsToUnpickle(), 3])
    assert next(results) == 1
    with pytest.raises(BrokenProcessPool):
        next(results)
    check_unharmed(started)


def test_callbacks_and_waiting(lib, started, gate):
    called = []
    first = started.submit(tasks.pass_through, gate)
    future = started.submit(tasks.make_un_unpickleable)
    future.add_done_callback(lambda f: called.append(type(f.exception())))
    gate.open()
    assert lib.wait([first, future], PATIENCE).done == {first, future}
    assert next(lib.as_completed([future], PATIENCE)) is future
    eventually(lambda: len(called) == 1)
    assert issubclass(called[0], BrokenProcessPool)
    check_unharmed(started)
