"""Who keeps what alive: nothing longer than the call needs it."""

import gc
import weakref

import pytest

from support import tasks
from support.events import Gate, eventually
from support.tasks import Thing


def gone(*references):
    return all(reference() is None for reference in references) or (gc.collect() and False)


@pytest.fixture
def started(single):
    # A worker forked later would inherit the arguments themselves, as it did those of earlier tests.
    single.apply(gc.collect)  # which else may come in the middle of a test, and take away what was inherited as garbage
    single.inherited = single.apply(tasks.living_arguments)
    return single


CALLS = {
    "apply": lambda pool, function, argument: pool.apply(function, (argument,)),
    "map": lambda pool, function, argument: pool.map(function, [argument])[0],
    "starmap": lambda pool, function, argument: pool.starmap(function, [(argument,)])[0],
    "imap": lambda pool, function, argument: next(pool.imap(function, [argument])),
    "imap_unordered": lambda pool, function, argument: next(pool.imap_unordered(function, [argument])),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


def test_worker_drops_the_argument(started, call):
    assert call(started, tasks.take_tracked, tasks.Tracked()) == started.inherited + 1
    assert started.apply(tasks.living_arguments) == started.inherited


def test_worker_drops_the_result(started, call):
    assert isinstance(call(started, tasks.echo, tasks.Tracked()), tasks.Tracked)
    assert started.apply(tasks.living_arguments) == started.inherited


def test_worker_drops_the_argument_of_a_failed_task(started, call):
    with pytest.raises(ValueError):
        call(started, tasks.fail_holding, tasks.Tracked())
    assert started.apply(tasks.living_arguments) == started.inherited


def test_parent_drops_the_call_once_it_has_been_made(started, call):
    argument, function = Thing(1), Thing(2)
    references = [weakref.ref(argument), weakref.ref(function)]
    assert call(started, function, argument) == (2, Thing(1))
    del argument, function
    # The standard library's threads hold the last thing that they handled.
    started.apply(tasks.nothing)
    eventually(lambda: gone(*references))


@pytest.mark.fastpool_only("the standard library drops an argument once it is sent, perhaps before it is read")
def test_argument_lives_until_its_call_has_ended(single, tmp_path):
    paths = [tmp_path / str(number) for number in range(24)]
    results = [single.apply_async(tasks.size_of_file, (tasks.OwnedFile(path),)) for path in paths[:8]]
    assert [result.get() for result in results] == [5] * 8
    assert single.map(tasks.size_of_file, map(tasks.OwnedFile, paths[8:16])) == [5] * 8
    assert list(single.imap(tasks.size_of_file, map(tasks.OwnedFile, paths[16:]), 3)) == [5] * 8
    eventually(lambda: not any(path.exists() for path in paths))


def test_parent_drops_the_call_that_does_not_pickle(started):
    argument = tasks.FailsToPickle()
    reference = weakref.ref(argument)
    started.apply_async(tasks.echo, (argument,)).wait()
    del argument
    started.apply(tasks.nothing)
    eventually(lambda: gone(reference))


def test_results_die_with_those_who_asked(started, call):
    reference = weakref.ref(call(started, tasks.make_thing, 1))
    started.apply(tasks.nothing)
    eventually(lambda: gone(reference))


def test_error_dies_with_its_result(started):
    result = started.apply_async(tasks.fail, (tasks.Coded("x", 1),))
    result.wait()
    reference = weakref.ref(result._value)
    del result
    started.apply(tasks.nothing)
    eventually(lambda: gone(reference))


@pytest.mark.parametrize("method", ["apply_async", "map_async", "imap", "imap_unordered"])
def test_unfinished_result_that_nobody_keeps(started, gate, method):
    """It is done all the same, and gone then."""
    if method == "apply_async":
        result = started.apply_async(tasks.pass_through, (gate,))
    else:
        result = getattr(started, method)(Gate.wait, [gate])
    reference = weakref.ref(result)
    del result
    gate.open()
    assert started.apply(tasks.double, (2,)) == 4
    eventually(lambda: gone(reference))


def test_result_lets_go_of_its_pool(lib, context):
    pool = lib.Pool(1, context=context)
    results = [pool.apply_async(tasks.double, (2,)), pool.map_async(tasks.double, [2]), pool.imap(tasks.double, [2])]
    assert [results[0].get(), results[1].get(), list(results[2])] == [4, [4], [4]]
    reference = weakref.ref(pool)
    pool.terminate()
    pool.join()
    del pool
    eventually(lambda: gone(reference))
    assert results[0].get() == 4


def test_nothing_accumulates(pool):
    def use():
        pool.map(tasks.double, range(50), 1)
        list(pool.imap(tasks.double, range(20)))
        with pytest.raises(ValueError):
            pool.apply(tasks.fail, (ValueError(),))

    for _ in range(3):
        use()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        use()
    eventually(lambda: gc.collect() or len(gc.get_objects()) < before + 100)
