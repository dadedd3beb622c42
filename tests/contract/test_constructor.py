"""Signatures, and what the constructor refuses: which first, and in which words."""

import inspect
import multiprocessing
import os
import sys
import threading

import pytest

from support import tasks


def parameters(function):
    """As text, without annotations."""
    return [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
    ]


def test_constructor_signature(lib):
    found = parameters(lib.ProcessPoolExecutor)
    wanted = ["max_workers=None", "mp_context=None", "initializer=None", "initargs=()", "max_tasks_per_child=None"]
    assert [str(parameter) for parameter in found[:5]] == wanted
    assert [parameter.kind for parameter in found[:4]] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 4
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in found[4:])


def test_submit_signature(lib):
    found = parameters(lib.ProcessPoolExecutor.submit)
    assert [str(parameter) for parameter in found] == ["self", "fn", "*args", "**kwargs"]
    assert found[1].kind is inspect.Parameter.POSITIONAL_ONLY


def test_map_signature(lib, is_fastpool):
    found = [str(parameter) for parameter in parameters(lib.ProcessPoolExecutor.map)]
    wanted = ["self", "fn", "*iterables", "timeout=None", "chunksize=1"]
    if is_fastpool or sys.version_info >= (3, 14):
        wanted.append("buffersize=None")
    assert found == wanted


def test_shutdown_signature(lib, is_fastpool):
    found = parameters(lib.ProcessPoolExecutor.shutdown)
    wanted = ["self", "wait=True", "cancel_futures=False"]
    assert [str(parameter) for parameter in found] == wanted + ["timeout=None"] * is_fastpool
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in found[2:])


@pytest.mark.parametrize("workers", [0, -1, -100])
def test_too_few_workers(lib, workers):
    with pytest.raises(ValueError, match=r"^max_workers must be greater than 0$"):
        lib.ProcessPoolExecutor(workers)
    with pytest.raises(ValueError, match=r"^max_workers must be greater than 0$"):
        lib.ProcessPoolExecutor(max_workers=workers)


def test_number_of_workers_is_a_number(lib):
    with pytest.raises(TypeError):
        lib.ProcessPoolExecutor("2")


@pytest.mark.parametrize("initializer", [3, "name", ()])
def test_initializer_must_be_callable(lib, context, initializer):
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        lib.ProcessPoolExecutor(1, context, initializer)


@pytest.mark.parametrize("count", ["2", 1.5, ()])
def test_max_tasks_must_be_an_integer(lib, context, count):
    with pytest.raises(TypeError, match=r"^max_tasks_per_child must be an integer$"):
        lib.ProcessPoolExecutor(1, context, max_tasks_per_child=count)


@pytest.mark.parametrize("count", [0, -3])
def test_max_tasks_must_be_positive(lib, context, count):
    with pytest.raises(ValueError, match=r"^max_tasks_per_child must be >= 1$"):
        lib.ProcessPoolExecutor(1, context, max_tasks_per_child=count)


def test_max_tasks_needs_another_method_than_fork(lib):
    with pytest.raises(ValueError) as caught:
        lib.ProcessPoolExecutor(1, multiprocessing.get_context("fork"), max_tasks_per_child=1)
    assert str(caught.value) == (
        "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method;"
        " supply a different mp_context."
    )


def test_order_of_checks(lib):
    fork = multiprocessing.get_context("fork")
    with pytest.raises(ValueError, match="max_workers"):
        lib.ProcessPoolExecutor(0, fork, 3, max_tasks_per_child="2")
    with pytest.raises(TypeError, match="initializer"):
        lib.ProcessPoolExecutor(1, fork, 3, max_tasks_per_child="2")
    with pytest.raises(TypeError, match="must be an integer"):
        lib.ProcessPoolExecutor(1, fork, max_tasks_per_child="2")
    with pytest.raises(ValueError, match=">= 1"):
        lib.ProcessPoolExecutor(1, fork, max_tasks_per_child=0)


def test_options_are_keywords(lib):
    with pytest.raises(TypeError):
        lib.ProcessPoolExecutor(1, None, None, (), 5)
    with pytest.raises(TypeError):
        lib.ProcessPoolExecutor(1, no_such_option=1)


def test_default_number_of_workers(lib):
    count = os.process_cpu_count() if sys.version_info >= (3, 13) else os.cpu_count()
    assert lib.ProcessPoolExecutor()._max_workers == count


def test_default_context(lib):
    assert lib.ProcessPoolExecutor(1)._mp_context.get_start_method() == multiprocessing.get_start_method()


def test_max_tasks_chooses_spawn(lib):
    assert lib.ProcessPoolExecutor(1, max_tasks_per_child=1)._mp_context.get_start_method() == "spawn"


def test_given_context_is_kept(make_pool, context):
    assert make_pool(1)._mp_context is context


def test_nothing_starts_before_the_first_task(make_pool):
    threads, children = threading.enumerate(), multiprocessing.active_children()
    pool = make_pool(2)
    assert threading.enumerate() == threads
    assert multiprocessing.active_children() == children
    assert len(pool._processes) == 0


def test_initargs_may_be_any_iterable_that_unpacks(make_pool):
    pool = make_pool(1, initializer=tasks.initialize, initargs=[1, 2])
    assert pool.submit(tasks.initialized_with).result() == [(1, 2)]


def test_context_must_be_one(lib):
    with pytest.raises(AttributeError):
        lib.ProcessPoolExecutor(1, "fork", initializer="not looked at any more")
