"""The public names, and what is the same object in both implementations."""

import builtins
import concurrent.futures as standard
import types
from concurrent.futures.process import BrokenProcessPool

import pytest


@pytest.mark.parametrize("name", sorted(standard.__all__))
def test_every_standard_name_is_there(lib, name):
    assert name in lib.__all__
    assert getattr(lib, name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "FIRST_COMPLETED",
        "FIRST_EXCEPTION",
        "ALL_COMPLETED",
        "CancelledError",
        "TimeoutError",
        "BrokenExecutor",
        "Executor",
        "ThreadPoolExecutor",
        "InvalidStateError",
    ],
)
def test_shared_names_are_the_standard_objects(lib, name):
    assert getattr(lib, name) is getattr(standard, name)


def test_timeout_error_is_the_builtin(lib):
    assert lib.TimeoutError is builtins.TimeoutError


def test_base_classes(lib):
    assert issubclass(lib.ProcessPoolExecutor, standard.Executor)
    assert issubclass(lib.Future, standard.Future)


def test_class_names(lib):
    assert lib.ProcessPoolExecutor.__name__ == "ProcessPoolExecutor"
    assert lib.Future.__name__ == "Future"


def test_broken_pool_is_a_runtime_error():
    assert BrokenProcessPool.__mro__[1:3] == (standard.BrokenExecutor, RuntimeError)


@pytest.mark.fastpool_only("names of its own")
def test_own_names(lib):
    assert lib.BrokenProcessPool is BrokenProcessPool
    assert issubclass(lib.WorkerDied, BrokenProcessPool)
    assert lib.unaccelerated_reason is None
    assert isinstance(lib.__version__, str)


@pytest.mark.fastpool_only("the standard library's star import is the same set by definition")
def test_star_import(lib):
    names = {}
    exec(f"from {lib.__name__} import *", names)
    assert {"ProcessPoolExecutor", "Future", "wait", "as_completed", "BrokenProcessPool"} <= set(names)


def test_future_is_generic(lib):
    assert isinstance(lib.Future[int], types.GenericAlias)
    assert lib.Future[int].__origin__ is lib.Future
