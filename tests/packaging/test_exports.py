"""The names that `fastpool` exports."""

import concurrent.futures
import importlib.metadata
import inspect
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import fastpool

OURS = ("ProcessPoolExecutor", "Future", "wait", "as_completed")


def test_drop_in():
    assert set(concurrent.futures.__all__) <= set(fastpool.__all__)
    assert {"BrokenProcessPool", "WorkerDied"} <= set(fastpool.__all__)


def test_each_once():
    assert len(fastpool.__all__) == len(set(fastpool.__all__))
    assert all(hasattr(fastpool, name) for name in fastpool.__all__)


@pytest.mark.parametrize("name", sorted(set(concurrent.futures.__all__) - set(OURS)))
def test_the_rest_is_the_standard_librarys(name):
    assert getattr(fastpool, name) is getattr(concurrent.futures, name)


def test_relations():
    assert issubclass(fastpool.ProcessPoolExecutor, concurrent.futures.Executor)
    assert issubclass(fastpool.Future, concurrent.futures.Future)
    assert fastpool.BrokenProcessPool is BrokenProcessPool
    assert issubclass(fastpool.WorkerDied, BrokenProcessPool)


def test_accelerated():
    assert fastpool.accelerated is True
    assert fastpool.unaccelerated_reason is None


def test_one_version():
    assert fastpool.__version__ == importlib.metadata.version("fastpool")


def test_typed():
    package = Path(fastpool.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_core.pyi").exists()


@pytest.mark.parametrize("method", ["__init__", "map", "shutdown", "terminate_workers", "kill_workers"])
def test_executor_has_hints(method):
    signature = inspect.signature(getattr(fastpool.ProcessPoolExecutor, method))
    untyped = [p.name for p in signature.parameters.values() if p.name != "self" and p.annotation is p.empty]
    assert untyped == []
    assert signature.return_annotation is not signature.empty
