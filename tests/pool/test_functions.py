"""Functions that have no name in their module: lambdas, closures, local ones."""

import functools
import pickle
import sys
import threading

import pytest

from support import script, tasks
from support.events import PATIENCE

by_value = pytest.mark.fastpool_only("the standard library refuses them")


def make_adder(number):
    def add(other):
        return number + other

    return add


CALLS = {
    "apply": lambda pool, function: pool.apply(function, (1,)),
    "apply_async": lambda pool, function: pool.apply_async(function, (1,)).get(PATIENCE),
    "map": lambda pool, function: pool.map(function, [1])[0],
    "starmap": lambda pool, function: pool.starmap(function, [(1,)])[0],
    "imap": lambda pool, function: next(pool.imap(function, [1])),
    "imap in chunks": lambda pool, function: next(pool.imap(function, [1], 2)),
    "imap_unordered": lambda pool, function: next(pool.imap_unordered(function, [1])),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


@by_value
@pytest.mark.parametrize(
    "function",
    [lambda number: number + 41, make_adder(41), functools.partial(lambda a, b: a + b, 41)],
    ids=["lambda", "closure", "partial"],
)
def test_by_value(pool, call, function):
    assert call(pool, function) == 42


@by_value
def test_closures_that_look_alike(pool):
    assert [pool.apply(make_adder(number), (1,)) for number in range(20)] == list(range(1, 21))
    assert [next(pool.imap(make_adder(number), [1])) for number in range(20)] == list(range(1, 21))


@by_value
def test_recursive(pool):
    def factorial(number):
        return number * factorial(number - 1) if number else 1

    assert pool.map(factorial, range(5)) == [1, 1, 2, 6, 24]


@by_value
def test_method_of_a_local_class(pool):
    class Local:
        @staticmethod
        def double(number):
            return 2 * number

    assert pool.map(Local.double, range(3)) == [0, 2, 4]


@by_value
def test_closure_over_what_does_not_pickle(pool):
    lock = threading.Lock()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        pool.apply_async(lambda: lock).get(PATIENCE)
    assert pool.apply(tasks.double, (2,)) == 4


def test_refused_by_name(lib, call, make_pool, monkeypatch):
    """Without cloudpickle: pickle's error, for that call alone."""
    pool = make_pool(1)
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises((AttributeError, pickle.PicklingError), match="local object|lambda"):
        call(pool, lambda number: number)
    assert pool.apply(tasks.double, (2,)) == 4


@by_value
def test_error_says_what_to_install(make_pool, monkeypatch):
    pool = make_pool(1)
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises((AttributeError, pickle.PicklingError), match="cloudpickle"):
        pool.apply_async(lambda number: number, (1,)).get(PATIENCE)


PROMPT = """\
import multiprocessing, {module} as library
def double(number):
    return factor * number

factor = 2
pool = library.Pool(2, context=multiprocessing.get_context({method!r}))
print(pool.map(double, range(5)), pool.apply(double, (21,)))
def double(number):
    return 10 * factor * number

print(list(pool.imap(double, range(3))))
"""


@by_value
def test_functions_of_an_interactive_prompt(lib, start_method):
    """A worker cannot import its main module, and what it would find there changes."""
    process = script.start([sys.executable, "-i", "-q"], stdin=script.subprocess.PIPE)
    process.stdin.write(PROMPT.format(module=lib.__name__, method=start_method))
    finished = script.finish(process)
    assert (finished.returncode, finished.stdout) == (0, "[0, 2, 4, 6, 8] 42\n[0, 20, 40]\n")
    assert "Traceback" not in finished.stderr


@pytest.mark.methods("forkserver", "spawn")
@pytest.mark.fastpool_only("the standard library's workers die of it, one after another")
def test_function_of_a_program_that_workers_cannot_import(lib, start_method):
    """It has a name, but a worker does not find it: an answer."""
    source = f"""
import multiprocessing, {lib.__name__} as library
def double(number):
    return 2 * number
with library.Pool(1, context=multiprocessing.get_context({start_method!r})) as pool:
    try:
        print(pool.apply(double, (21,)))
    except library.UnpicklingFailed as error:
        print("double" in str(error))
"""
    finished = script.finish(script.start([sys.executable, "-c", source]))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout in ("42\n", "True\n")
