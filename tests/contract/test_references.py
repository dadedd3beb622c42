"""Who keeps what alive: nothing longer than the task needs it."""

import gc
import weakref

import pytest

from support import tasks
from support.events import PATIENCE, eventually
from support.tasks import Thing


@pytest.fixture
def started(single):
    # A worker forked later would inherit the arguments themselves.
    single.submit(tasks.nothing).result()
    return single


def test_worker_drops_the_argument(started):
    assert started.submit(tasks.take_tracked, tasks.Tracked()).result() == 1
    assert started.submit(tasks.living_arguments).result() == 0


def test_worker_drops_the_result(started):
    assert isinstance(started.submit(tasks.echo, tasks.Tracked()).result(), tasks.Tracked)
    assert started.submit(tasks.living_arguments).result() == 0


def test_worker_drops_the_argument_of_a_failed_task(started):
    with pytest.raises(ValueError):
        started.submit(tasks.fail_holding, tasks.Tracked()).result()
    assert started.submit(tasks.living_arguments).result() == 0


def test_parent_drops_the_call_once_it_has_been_made(single):
    argument, function = Thing(1), Thing(2)
    references = [weakref.ref(argument), weakref.ref(function)]
    future = single.submit(function, argument)
    del argument, function
    assert future.result() == (2, Thing(1))
    eventually(lambda: gc.collect() or all(reference() is None for reference in references))


def test_parent_drops_the_call_that_was_cancelled(single, gate, mailbox):
    for _ in range(3):
        single.submit(tasks.announce_and_wait, mailbox, gate)
    mailbox.get()
    argument = Thing(1)
    reference = weakref.ref(argument)
    future = single.submit(tasks.echo, argument)
    del argument
    assert future.cancel()
    gate.open()
    eventually(lambda: gc.collect() or reference() is None)


def test_parent_drops_the_call_that_does_not_pickle(single):
    argument = tasks.FailsToPickle()
    reference = weakref.ref(argument)
    future = single.submit(tasks.echo, argument)
    del argument
    assert future.exception()
    del future
    # The standard library's feeder thread holds the last thing that it sent.
    single.submit(tasks.nothing).result()
    eventually(lambda: gc.collect() or reference() is None)


def test_error_dies_with_its_future(pool):
    future = pool.submit(tasks.fail, tasks.Coded("x", 1))
    reference = weakref.ref(future.exception())
    del future
    gc.collect()
    assert reference() is None


def test_asking_for_an_error_leaves_no_cycle(pool):
    """Without the collector's help: result() itself must not tie the error to its own frame."""

    def ask():
        try:
            pool.submit(tasks.fail, tasks.Coded("x", 1)).result()
        except tasks.Coded as error:
            return weakref.ref(error)

    gc.disable()
    try:
        reference = ask()
        eventually(lambda: reference() is None)
    finally:
        gc.enable()


def test_callback_and_its_future_are_let_go(pool):
    future, called = pool.submit(tasks.nothing), []
    reference = weakref.ref(future)
    future.add_done_callback(lambda _: called.append(1))
    future.result()
    eventually(lambda: called)
    del future
    eventually(lambda: gc.collect() or reference() is None)


def test_nothing_accumulates(pool):
    for _ in range(3):
        list(pool.map(tasks.double, range(50)))
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(20):
        list(pool.map(tasks.double, range(50)))
        pool.submit(tasks.fail, ValueError()).exception(PATIENCE)
    eventually(lambda: gc.collect() or len(gc.get_objects()) < before + 100)
