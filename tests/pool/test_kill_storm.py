"""Workers killed at random moments of a pool at work: each item has its own value, or says that its worker died."""

import random
import signal

import pytest

import support.killer
from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("the standard library loses items here, and then hangs")

ITEMS = 200
WORKERS = 3
KILLS = {"fork": 30, "forkserver": 5, "spawn": 5}


@pytest.fixture
def killer(start_method):
    with support.killer.killer(0.01, KILLS[start_method]) as functions:
        yield functions


def check_restored(pool):
    eventually(lambda: len(pool._pool) == WORKERS and all(processes.alive(worker.pid) for worker in pool._pool))
    assert pool.map_async(tasks.double, range(50), 1).get(PATIENCE) == [2 * n for n in range(50)]
    eventually(lambda: not pool._cache)


def check_deaths(errors, killed):
    """Every error is of one death, and no death costs more than one item."""
    assert all(error.pid in killed and error.exitcode == -signal.SIGKILL for error in errors)
    assert len({error.pid for error in errors}) == len(errors)
    print(f"{len(killed)} kills, {len(errors)} of the items lost")


def test_calls(lib, make_pool, killer):
    start, end = killer
    pool, dice, errors = make_pool(WORKERS), random.Random(30), []
    start(pool, 31)
    results = []
    for number in range(ITEMS):
        if number % 10 == 0:
            size = dice.randrange(300_000)
            results.append((pool.apply_async(tasks.large, (size,)), b"x" * size))
        else:
            seconds = dice.random() / 200
            results.append((pool.apply_async(tasks.sleep, (seconds,)), seconds))
    for result, value in results:
        try:
            assert result.get(PATIENCE) == value
        except lib.WorkerDied as error:
            errors.append(error)
    check_deaths(errors, end())
    check_restored(pool)


@pytest.mark.methods("fork")
def test_lazy_map(lib, make_pool, killer, lazily):
    start, end = killer
    pool, found, errors = make_pool(WORKERS), [], []
    start(pool, 32)
    results = lazily(pool)(tasks.sleep, (number / 1_000_000 for number in range(1000, 1000 + ITEMS)))
    while True:
        try:
            found.append(results.next(PATIENCE))
        except StopIteration:
            break
        except lib.WorkerDied as error:
            errors.append(error)
    assert len(found) + len(errors) == ITEMS == len(set(found)) + len(errors)
    if lazily.ordered:
        assert found == sorted(found)
    check_deaths(errors, end())
    check_restored(pool)


@pytest.mark.methods("fork")
def test_maps(lib, make_pool, killer):
    """A map is done when all its items are, and has failed if one of them has."""
    start, end = killer
    pool, errors = make_pool(WORKERS), []
    start(pool, 33)
    for _ in range(10):
        result = pool.map_async(tasks.sleep, [number / 1_000_000 for number in range(ITEMS // 10)], 2)
        try:
            assert result.get(PATIENCE) == [number / 1_000_000 for number in range(ITEMS // 10)]
        except lib.WorkerDied as error:
            errors.append(error)
    check_deaths(errors, end())
    check_restored(pool)


@pytest.mark.parametrize("way", ["close", "terminate"])
def test_end_of_the_pool(lib, make_pool, killer, way):
    """A worker that goes while the pool ends does not keep it."""
    start, end = killer
    pool = make_pool(WORKERS)
    results = [pool.apply_async(tasks.sleep, (0.001,)) for _ in range(50)]
    start(pool, 34)
    getattr(pool, way)()
    pool.join()
    end()
    for result in results:
        try:
            assert result.get(0) == 0.001
        except lib.WorkerDied:
            pass
        except lib.PoolTerminated:
            assert way == "terminate"
    assert not any(worker.is_alive() for worker in pool._pool)
