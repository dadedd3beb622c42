"""Signatures, what the constructor refuses, in which order and words, and what it starts."""

import gc
import inspect
import multiprocessing
import os
import sys
import unittest.mock
import warnings

import pytest

from support import processes, tasks


def parameters(function):
    """As text, without annotations."""
    return [
        str(parameter.replace(annotation=inspect.Parameter.empty))
        for parameter in inspect.signature(function).parameters.values()
    ]


def test_constructor_signature(lib):
    wanted = ["processes=None", "initializer=None", "initargs=()", "maxtasksperchild=None", "context=None"]
    assert parameters(lib.Pool)[:5] == wanted
    found = list(inspect.signature(lib.Pool).parameters.values())
    assert [parameter.kind for parameter in found[:5]] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 5
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in found[5:])


METHODS = {
    "apply": ["self", "func", "args=()", "kwds={}"],
    "apply_async": ["self", "func", "args=()", "kwds={}", "callback=None", "error_callback=None"],
    "map": ["self", "func", "iterable", "chunksize=None"],
    "map_async": ["self", "func", "iterable", "chunksize=None", "callback=None", "error_callback=None"],
    "starmap": ["self", "func", "iterable", "chunksize=None"],
    "starmap_async": ["self", "func", "iterable", "chunksize=None", "callback=None", "error_callback=None"],
    "close": ["self"],
    "terminate": ["self"],
}


@pytest.mark.parametrize("method", METHODS)
def test_method_signature(lib, method):
    assert parameters(getattr(lib.Pool, method)) == METHODS[method]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_signature_of_the_lazy_maps(lib, is_fastpool, method):
    wanted = ["self", "func", "iterable", "chunksize=1"]
    if is_fastpool or sys.version_info >= (3, 16):
        wanted.append("buffersize=None")
    assert parameters(getattr(lib.Pool, method)) == wanted


def test_join_signature(lib, is_fastpool):
    assert parameters(lib.Pool.join) == (["self", "timeout=None"] if is_fastpool else ["self"])


@pytest.mark.parametrize("count", [0, -1, -100])
def test_too_few_processes(lib, count):
    with pytest.raises(ValueError, match=r"^Number of processes must be at least 1$"):
        lib.Pool(count)
    with pytest.raises(ValueError, match=r"^Number of processes must be at least 1$"):
        lib.Pool(processes=count)


@pytest.mark.parametrize("count", ["2", 1.5, (2,)])
def test_number_of_processes_is_an_integer(lib, count):
    with pytest.raises(TypeError):
        lib.Pool(count)


@pytest.mark.parametrize("count", [0, -1, 0.5, 1.0, "12", ()])
def test_maxtasksperchild_must_be_a_positive_integer(lib, count):
    with pytest.raises(ValueError, match=r"^maxtasksperchild must be a positive int or None$"):
        lib.Pool(1, maxtasksperchild=count)


@pytest.mark.parametrize("initializer", [3, "name", ()])
def test_initializer_must_be_callable(lib, initializer):
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        lib.Pool(1, initializer)


def test_order_of_checks(lib):
    with pytest.raises(ValueError, match="Number of processes"):
        lib.Pool(0, 3, maxtasksperchild=0)
    with pytest.raises(ValueError, match="maxtasksperchild"):
        lib.Pool(1, 3, maxtasksperchild=0)
    with pytest.raises(TypeError, match="initializer"):
        lib.Pool(1, 3)


# The standard library complains that a pool which was never made has no state.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_unknown_option(lib):
    with pytest.raises(TypeError):
        lib.Pool(1, no_such_option=1)


def test_refused_pool_starts_nothing_and_is_not_warned_of(lib):
    children = processes.descendants()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError):
            lib.Pool(0)
        gc.collect()
    assert processes.descendants() == children
    assert [str(warning.message) for warning in caught if "pool" in str(warning.message)] == []


def test_all_workers_start_in_the_constructor(make_pool):
    pool = make_pool(3)
    assert len(pool._pool) == 3 and all(worker.is_alive() for worker in pool._pool)
    assert {worker.pid for worker in pool._pool} <= {child.pid for child in multiprocessing.active_children()}


def test_defaults(make_pool):
    pool = make_pool(None, context=None)
    count = os.process_cpu_count() if sys.version_info >= (3, 13) else os.cpu_count()
    assert len(pool._pool) == pool._processes == count
    assert pool._ctx.get_start_method() == multiprocessing.get_start_method()


def test_context_that_is_given(make_pool, context):
    pool = make_pool(1)
    assert pool._ctx is context
    assert all(isinstance(worker, context.Process) for worker in pool._pool)


def test_arguments_by_position(lib, context):
    with lib.Pool(1, tasks.initialize, (1, "two"), 5, context) as pool:
        assert pool.apply(tasks.initialized_with) == [(1, "two")]
        assert (pool._ctx, pool._maxtasksperchild) == (context, 5)


def test_initargs_may_be_any_iterable_that_unpacks(make_pool):
    pool = make_pool(1, initializer=tasks.initialize, initargs=[1, 2])
    assert pool.apply(tasks.initialized_with) == [(1, 2)]


class FailsToStart:
    """All that a context's Process needs to have; the fourth one does not start."""

    made = []

    def __init__(self, **options):
        self.name, self.exitcode, self.calls = "Process-1", None, []
        self.made.append(self)

    def start(self):
        if len(self.made) == 4:
            raise OSError("no more processes")
        self.calls.append("start")

    def terminate(self):
        self.calls.append("terminate")
        self.exitcode = -15

    def join(self):
        self.calls.append("join")

    def is_alive(self):
        return self.calls[-1:] in (["start"], ["terminate"])


def test_worker_that_fails_to_start_leaves_none_behind(lib, monkeypatch):
    monkeypatch.setattr(FailsToStart, "made", [])
    with pytest.raises(OSError, match=r"^no more processes$"):
        lib.Pool(6, context=unittest.mock.MagicMock(Process=FailsToStart))
    assert len(FailsToStart.made) == 4
    assert [process.calls for process in FailsToStart.made[:3]] == [["start", "terminate", "join"]] * 3
