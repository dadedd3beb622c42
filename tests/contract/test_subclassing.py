"""Programs that derive from the executor."""

import concurrent.futures as standard
import functools

import pytest

from support import tasks


def test_own_constructor_and_attributes(lib, make_pool):
    class Mine(lib.ProcessPoolExecutor):
        def __init__(self, *args, label="default", **kwargs):
            super().__init__(*args, **kwargs)
            self.label = label

    pool = make_pool(1, cls=Mine, label="mine")
    assert pool.label == "mine"
    assert pool.submit(tasks.double, 2).result() == 4
    assert isinstance(pool, standard.Executor)


def test_submit_that_is_overridden_serves_map_too(lib, make_pool):
    class Counting(lib.ProcessPoolExecutor):
        calls = 0

        def submit(self, fn, /, *args, **kwargs):
            self.calls += 1
            return super().submit(fn, *args, **kwargs)

    pool = make_pool(1, cls=Counting)
    assert pool.submit(tasks.double, 2).result() == 4
    assert list(pool.map(tasks.double, range(6), chunksize=2)) == [0, 2, 4, 6, 8, 10]
    assert pool.calls == 4


def test_submit_that_changes_the_function(lib, make_pool):
    class Doubling(lib.ProcessPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(functools.partial(tasks.everything, "before"), *args, **kwargs)

    pool = make_pool(1, cls=Doubling)
    assert pool.submit(tasks.nothing, 1, x=2).result() == (("before", 1), {"x": 2})


def test_shutdown_that_is_overridden_serves_with(lib, context):
    calls = []

    class Mine(lib.ProcessPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            calls.append((wait, cancel_futures))
            super().shutdown(wait, cancel_futures=cancel_futures)

    with Mine(1, mp_context=context) as pool:
        pool.submit(tasks.nothing)
    assert calls == [(True, False)]


def test_map_that_is_overridden(lib, make_pool):
    class Mine(lib.ProcessPoolExecutor):
        def map(self, fn, *iterables, **options):
            return list(super().map(fn, *iterables, **options))

    assert make_pool(1, cls=Mine).map(tasks.double, range(3)) == [0, 2, 4]


def test_attributes_of_an_executor(make_pool):
    pool = make_pool(1)
    pool.tag = "mine"
    assert vars(pool)["tag"] == "mine"


@pytest.mark.usefixtures("resource_sharer")
def test_executor_cannot_be_an_argument(pool):
    with pytest.raises(TypeError, match="cannot pickle"):
        pool.submit(tasks.echo, pool).result()


def test_mixed_in_after_another_class(lib, make_pool):
    class Named:
        name = "named"

    class Mine(Named, lib.ProcessPoolExecutor):
        pass

    assert make_pool(1, cls=Mine).submit(tasks.double, 2).result() == 4
