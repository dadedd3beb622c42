"""The initializer: once in each worker, before its first task; and what its failure means."""

import multiprocessing.pool
import os
import signal

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, Mailbox


def test_runs_before_the_first_task(make_pool):
    pool = make_pool(1, initializer=tasks.initialize, initargs=(1, "two"))
    assert pool.apply(tasks.initialized_with) == [(1, "two")]


def test_runs_once_in_each_worker(make_pool, gate, mailbox, tmp_path):
    started = Mailbox(tmp_path / "started")
    pool = make_pool(2, initializer=tasks.initialize_and_announce, initargs=(started,))
    results = [pool.apply_async(tasks.announce_and_wait, (mailbox, gate)) for _ in range(4)]
    running = set(mailbox.take(2))
    gate.open()
    for result in results:
        result.get()
    assert set(started.all()) == running and len(running) == 2
    started.close()


def test_without_arguments(make_pool):
    assert make_pool(1, initializer=tasks.initialize).apply(tasks.initialized_with) == [()]


def test_may_be_a_method(make_pool):
    assert make_pool(1, initializer=tasks.Thing(5).get).apply(tasks.double, (2,)) == 4


@pytest.mark.methods("fork")
def test_is_inherited_by_a_fork_and_so_may_be_anything(make_pool):
    called = []
    pool = make_pool(1, initializer=lambda *values: called.append(values), initargs=(tasks.FailsToPickle(),))
    assert pool.apply(tasks.double, (2,)) == 4
    assert called == []


@pytest.mark.methods("forkserver", "spawn")
def test_argument_that_does_not_pickle_leaves_the_constructor(lib, context):
    with pytest.raises(ZeroDivisionError) as caught:
        lib.Pool(1, tasks.initialize, (tasks.FailsToPickle(),), context=context)
    assert str(caught.value) == "at pickling"


def test_runs_in_replacements_too(make_pool, mailbox):
    pool = make_pool(1, initializer=tasks.initialize_and_announce, initargs=(mailbox,), maxtasksperchild=1)
    pids = [str(pool.apply(tasks.pid)) for _ in range(3)]
    assert len(set(pids)) == 3
    assert mailbox.take(3) == pids


def test_changes_of_the_worker_stay_there(make_pool, monkeypatch):
    monkeypatch.delenv("FASTPOOL_TESTS_PUT", raising=False)
    pool = make_pool(1, initializer=os.putenv, initargs=("FASTPOOL_TESTS_PUT", "here"))
    assert pool.apply(tasks.double, (2,)) == 4
    assert os.getenv("FASTPOOL_TESTS_PUT") is None


# --- where the standard library starts workers without end

respawns = pytest.mark.fastpool_only("the standard library starts workers without end, and get() never returns")
MOST_STARTS = 2 * 2 + 3

CALLS = {
    "apply": lambda pool: pool.apply_async(tasks.double, (2,)),
    "map": lambda pool: pool.map_async(tasks.double, range(100), 1),
    "starmap": lambda pool: pool.starmap_async(tasks.add, [(1, 2)]),
}


@respawns
@pytest.mark.parametrize(
    "error",
    [ValueError("why", 5), tasks.Coded("x", 5)],
    ids=lambda error: type(error).__name__,
)
def test_failure_is_the_result_of_every_call(make_pool, mailbox, error):
    pool = make_pool(2, initializer=jobs.announce_and_fail, initargs=(mailbox, error))
    for _ in range(2):
        for result in [call(pool) for call in CALLS.values()]:
            with pytest.raises(type(error)) as caught:
                result.get(PATIENCE)
            assert caught.value.args == error.args
            assert type(caught.value.__cause__) is multiprocessing.pool.RemoteTraceback
            assert "in announce_and_fail" in str(caught.value.__cause__)
            assert not result.successful()
    assert len(mailbox.all()) <= MOST_STARTS
    pool.close()
    pool.join()
    assert len(mailbox.all()) == 0


@respawns
def test_failure_is_the_result_of_lazy_maps(make_pool, lazily, mailbox):
    pool = make_pool(2, initializer=jobs.announce_and_fail, initargs=(mailbox, ValueError("why")))
    results = lazily(pool)(tasks.double, range(100))
    with pytest.raises(ValueError, match="^why$"):
        results.next(PATIENCE)
    with pytest.raises(ValueError, match="^why$"):
        next(lazily(pool)(tasks.double, range(100), 10))
    assert len(mailbox.all()) <= MOST_STARTS


@respawns
def test_failure_calls_error_callbacks(make_pool):
    pool, errors = make_pool(2, initializer=tasks.failing_initializer), []
    result = pool.apply_async(tasks.double, (2,), error_callback=errors.append)
    with pytest.raises(ValueError, match="^initializer failed$"):
        result.get(PATIENCE)
    assert [str(error) for error in errors] == ["initializer failed"]


@respawns
@pytest.mark.parametrize("end", ["close", "terminate"])
def test_pool_whose_initializer_fails_ends(make_pool, end):
    pool = make_pool(2, initializer=tasks.failing_initializer)
    with pytest.raises(ValueError, match="^initializer failed$"):
        pool.apply_async(tasks.double, (2,)).get(PATIENCE)
    getattr(pool, end)()
    pool.join()
    assert not any(worker.is_alive() for worker in pool._pool)


@respawns
@pytest.mark.parametrize("code", [0, 3])
def test_process_that_ends_in_it(lib, make_pool, mailbox, code):
    pool = make_pool(2, initializer=jobs.announce_and_exit, initargs=(mailbox, code))
    for result in [call(pool) for call in CALLS.values()]:
        with pytest.raises(lib.WorkerDied) as caught:
            result.get(PATIENCE)
        assert caught.value.exitcode == code
    assert len(mailbox.all()) <= MOST_STARTS


@respawns
def test_failure_of_a_later_worker_only(lib, make_pool, tmp_path):
    """A pool that worked goes on with what is left of it, or says why it cannot: no call waits for ever."""
    pool = make_pool(1, initializer=jobs.fail_the_second_time, initargs=(str(tmp_path / "mark"),))
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4
    with pytest.raises(lib.WorkerDied):
        pool.apply_async(tasks.exit_process, (3,)).get(PATIENCE)
    with pytest.raises(ValueError, match="^the second time$"):
        pool.apply_async(tasks.double, (2,)).get(PATIENCE)


@respawns
@pytest.mark.methods("forkserver", "spawn")
def test_initializer_that_does_not_unpickle(make_pool):
    """The worker ends before it can say why."""
    pool = make_pool(2, initializer=tasks.echo, initargs=(tasks.FailsToUnpickle(),))
    result = pool.apply_async(tasks.double, (2,))
    result.wait(PATIENCE)
    assert result.ready() and not result.successful()


@respawns
@pytest.mark.parametrize("error, exitcode", [(SystemExit(7), 7), (KeyboardInterrupt(), -signal.SIGINT)])
def test_what_is_no_error_but_an_end(lib, make_pool, mailbox, error, exitcode):
    pool = make_pool(2, initializer=jobs.announce_and_fail, initargs=(mailbox, error))
    with pytest.raises(lib.WorkerDied, match="before it could take a task") as caught:
        pool.apply_async(tasks.double, (2,)).get(PATIENCE)
    assert caught.value.exitcode == exitcode
    assert len(mailbox.all()) <= MOST_STARTS


def fail_at(number, counter):
    with counter.get_lock():
        counter.value += 1
        if counter.value == number:
            raise OSError("for a moment")


@pytest.mark.parametrize("number", [1, 2, 4])
def test_failure_that_does_not_last(make_pool, context, number):
    """Another worker takes the place of the one that could not start."""
    counter = context.Value("i", 0)
    pool = make_pool(2, initializer=fail_at, initargs=(number, counter), maxtasksperchild=1)
    assert pool.map(tasks.double, range(10), 1) == list(range(0, 20, 2))
