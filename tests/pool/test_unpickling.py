"""What does not unpickle, on either side, costs its own item and nothing else."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE

pytestmark = pytest.mark.fastpool_only("in the standard library the thread or the worker that reads it dies")


@pytest.fixture
def started(single):
    single.old_pid = single.apply(tasks.pid)
    return single


def error_of(result):
    with pytest.raises(Exception) as caught:
        result.get(PATIENCE)
    return caught.value


def check_unharmed(pool):
    assert pool.apply_async(tasks.pid).get(PATIENCE) == pool.old_pid
    assert pool.map_async(tasks.double, range(10)).get(PATIENCE) == [2 * n for n in range(10)]
    assert not pool._cache


def check_told(lib, error, cause):
    assert type(error) is lib.UnpicklingFailed
    assert repr(cause) in str(error)


STARTS = {
    "apply": lambda pool, function, argument: pool.apply_async(function, (argument,)),
    "map": lambda pool, function, argument: pool.map_async(function, [argument]),
    "starmap": lambda pool, function, argument: pool.starmap_async(function, [(argument,)]),
}


@pytest.fixture(params=STARTS)
def start(request):
    return STARTS[request.param]


def test_argument(lib, started, start):
    before = [started.apply_async(tasks.echo, (n,)) for n in range(3)]
    error = error_of(start(started, tasks.echo, tasks.FailsToUnpickle()))
    check_told(lib, error, ZeroDivisionError("at unpickling"))
    assert "in fail" in str(error.__cause__)
    assert [result.get() for result in before] == [0, 1, 2]
    check_unharmed(started)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_argument_that_exits(started, error):
    assert isinstance(
        error_of(started.apply_async(tasks.echo, (tasks.FailsToUnpickle(error),))), BrokenProcessPool
    )
    assert started.apply_async(tasks.double, (2,)).get(PATIENCE) == 4


def test_argument_that_ends_the_worker(lib, make_pool):
    pool = make_pool(1)
    pid = pool.apply(tasks.pid)
    error = error_of(pool.apply_async(tasks.echo, (tasks.DiesWhenUnpickled(),)))
    assert type(error) is lib.WorkerDied and (error.pid, error.exitcode) == (pid, 7)
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4


def test_function(lib, started, monkeypatch):
    """Defined in this process after the worker started, so unknown there."""

    def newcomer(_=None):
        return 5

    newcomer.__module__, newcomer.__qualname__ = tasks.__name__, "newcomer"
    monkeypatch.setattr(tasks, "newcomer", newcomer, raising=False)
    for start in STARTS.values():
        error = error_of(start(started, newcomer, None))
        assert type(error) is lib.UnpicklingFailed and "newcomer" in str(error)
    check_unharmed(started)


def test_result(lib, started, start):
    result = start(started, tasks.make_un_unpickleable, ZeroDivisionError("at unpickling"))
    error = error_of(result)
    check_told(lib, error, ZeroDivisionError("at unpickling"))
    assert not result.successful() and error_of(result) is error
    check_unharmed(started)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_result_that_exits(started, error):
    with pytest.raises(BaseException) as caught:
        started.apply_async(tasks.make_un_unpickleable, (error,)).get(PATIENCE)
    assert isinstance(caught.value, (BrokenProcessPool, type(error)))
    check_unharmed(started)


def test_results_among_others(started):
    results = [started.apply_async(tasks.make_un_unpickleable if n % 3 == 0 else tasks.nothing) for n in range(12)]
    for number, result in enumerate(results):
        result.wait(PATIENCE)
        assert result.successful() is bool(number % 3)
    check_unharmed(started)


def test_exception(started, start):
    """With two arguments of which `args` holds one: the commonest that has no way back."""
    error = error_of(start(started, jobs.two_arguments_at_three, 3))
    text = f"{error!r} {error} {error.__cause__}"
    assert "TwoArguments" in text and "no way back" in text
    assert "in two_arguments_at_three" in text
    check_unharmed(started)


def test_exception_calls_error_callbacks(started):
    errors = []
    result = started.apply_async(tasks.raise_two_arguments, error_callback=errors.append)
    assert errors == [error_of(result)]
    check_unharmed(started)


@pytest.mark.parametrize("function", [jobs.unpicklable_at_three, jobs.two_arguments_at_three], ids=["result", "error"])
def test_lazy_map_goes_on(started, lazily, function):
    results, found, failed = lazily(started)(function, range(6)), [], []
    for _ in range(6):
        try:
            found.append(results.next(PATIENCE))
        except Exception as error:
            failed.append(error)
    assert found == [0, 1, 2, 4, 5] and len(failed) == 1
    with pytest.raises(StopIteration):
        results.next(PATIENCE)
    check_unharmed(started)


def test_item_of_a_lazy_map(lib, started, lazily):
    results = lazily(started)(tasks.echo, [1, tasks.FailsToUnpickle(), 3])
    assert results.next(PATIENCE) == 1
    with pytest.raises(lib.UnpicklingFailed):
        results.next(PATIENCE)
    assert results.next(PATIENCE) == 3
    check_unharmed(started)
