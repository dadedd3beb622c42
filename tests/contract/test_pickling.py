"""Pickling follows the tables that programs extend, at any time, and names that change their meaning."""

import copyreg
import multiprocessing.reduction
import pickle

import pytest

from support import tasks
from support.tasks import NoReducer, Thing


@pytest.fixture
def clean_registry():
    yield
    copyreg.dispatch_table.pop(NoReducer, None)
    multiprocessing.reduction.ForkingPickler._extra_reducers.pop(NoReducer, None)


def register_with_forking_pickler():
    multiprocessing.reduction.ForkingPickler.register(NoReducer, tasks.reduce_registered)


REGISTRIES = [tasks.register_with_copyreg, register_with_forking_pickler]


@pytest.mark.parametrize("register", REGISTRIES)
def test_reducer_registered_after_the_start(pool, clean_registry, register):
    with pytest.raises(TypeError, match="no reducer"):
        pool.submit(tasks.echo, NoReducer(1)).result()
    register()
    assert pool.submit(tasks.echo, NoReducer(2)).result() == Thing(2)


@pytest.mark.parametrize("register", REGISTRIES)
def test_reducer_of_a_callable(pool, clean_registry, register):
    register()
    assert pool.submit(NoReducer("value"), "extra").result() == ("value", "extra")


def test_reducer_taken_away_again(pool, clean_registry):
    tasks.register_with_copyreg()
    assert pool.submit(tasks.echo, NoReducer(1)).result() == Thing(1)
    del copyreg.dispatch_table[NoReducer]
    with pytest.raises(TypeError, match="no reducer"):
        pool.submit(tasks.echo, NoReducer(2)).result()


def test_reducer_registered_in_the_worker(make_pool):
    pool = make_pool(1)
    with pytest.raises(TypeError, match="no reducer"):
        pool.submit(tasks.return_no_reducer, 1).result()
    pool.submit(tasks.register_with_copyreg).result()
    assert pool.submit(tasks.return_no_reducer, 2).result() == Thing(2)


@pytest.mark.usefixtures("resource_sharer")
def test_connection_as_an_argument(pool):
    ours, theirs = multiprocessing.Pipe(duplex=False)
    future = pool.submit(tasks.send_through, theirs, "hello")
    assert ours.recv() == "hello"
    assert future.result() is None
    ours.close()
    theirs.close()


def test_reducer_that_submits_to_the_same_pool(pool, monkeypatch):
    monkeypatch.setattr(tasks.SubmitsWhenPickled, "pool", pool)
    monkeypatch.setattr(tasks.SubmitsWhenPickled, "futures", [])
    outer = pool.submit(tasks.echo, tasks.SubmitsWhenPickled())
    assert outer.result() == Thing("outer")
    (inner,) = tasks.SubmitsWhenPickled.futures
    assert inner.result() == 42


def test_function_that_got_another_meaning(single, monkeypatch):
    assert single.submit(tasks.version).result() == "first"
    old = tasks.version
    monkeypatch.setattr(tasks, "version", tasks._other_version)
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        single.submit(old).result()
    # By name, the worker finds what it has under that name.
    assert single.submit(tasks.version).result() == "first"


def test_function_that_got_another_meaning_in_the_worker(make_pool):
    pool = make_pool(1)
    assert pool.submit(tasks.version).result() == "first"
    pool.submit(tasks.rebind_version, True).result()
    assert pool.submit(tasks.version).result() == "second"
    pool.submit(tasks.rebind_version, False).result()
    assert pool.submit(tasks.version).result() == "first"


def test_function_that_went_away_in_the_parent(single, monkeypatch):
    function = tasks.version
    assert single.submit(function).result() == "first"
    monkeypatch.delattr(tasks, "version")
    with pytest.raises((AttributeError, pickle.PicklingError), match="version"):
        single.submit(function).result()


def test_bound_method_of_an_object_that_changes(single):
    thing = Thing(1)
    assert single.submit(thing.get).result() == 1
    thing.value = 2
    assert single.submit(thing.get).result() == 2


def test_partial_whose_arguments_change(single):
    shared = [1]
    partial = tasks.functools.partial(tasks.echo, shared)
    assert single.submit(partial).result() == [1]
    shared.append(2)
    assert single.submit(partial).result() == [1, 2]


def test_many_different_functions(pool):
    names = [name for name in dir(str) if name.startswith("is")]
    futures = [(name, pool.submit(getattr(str, name), "text")) for name in names * 20]
    assert all(future.result() == getattr("text", name)() for name, future in futures)
