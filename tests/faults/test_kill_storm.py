"""Hundreds of kills at random moments of pools at work: every future is resolved, and rightly."""

import random
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from support import processes, tasks
from support.events import PATIENCE

pytestmark = [pytest.mark.fastpool_only("the standard library loses futures here"), pytest.mark.deadline(240)]

POOLS = {"fork": 100, "forkserver": 12, "spawn": 6}
WORKERS = 3


def check(futures, wanted):
    """Each has its own right result, or says that the pool broke."""
    died = 0
    for future, value in zip(futures, wanted, strict=True):
        error = future.exception(PATIENCE)
        if error is None:
            assert future.result() == value
        else:
            assert isinstance(error, BrokenProcessPool), error
            died += 1
    return died


def storm(pool, dice):
    """Submit, and meanwhile kill every worker, one after another."""
    futures, wanted = [], []
    pool.submit(tasks.nothing).result()
    victims = list(pool._processes.values())
    kill_at = sorted(dice.randrange(200) for _ in victims)
    for number in range(200):
        while kill_at and kill_at[0] == number:
            kill_at.pop(0)
            processes.kill(victims.pop().pid)
        try:
            if number % 10 == 0:
                size = dice.randrange(200_000)
                futures.append(pool.submit(tasks.large, size))
                wanted.append(b"x" * size)
            else:
                futures.append(pool.submit(tasks.double, number))
                wanted.append(2 * number)
        except BrokenProcessPool:
            break
        if dice.random() < 0.05:
            time.sleep(dice.random() / 1000)
    return futures, wanted


def test_storm(lib, context, start_method):
    dice = random.Random(20)
    kills = died = total = 0
    for _ in range(POOLS[start_method]):
        with lib.ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
            futures, wanted = storm(pool, dice)
            kills += WORKERS if start_method == "fork" else 1
            total += len(futures)
            died += check(futures, wanted)
    print(f"{kills} kills, {total} tasks, {died} of them failed with their pool")
    assert total > died > 0


def test_storm_of_waiters(lib, context, start_method):
    """Threads in result(), wait() and as_completed() when the worker goes."""
    dice = random.Random(21)
    for _ in range(max(4, POOLS[start_method] // 5)):
        with lib.ProcessPoolExecutor(2, mp_context=context) as pool:
            futures = [pool.submit(tasks.sleep, dice.random() / 200) for _ in range(60)]
            ended = []

            def wait_in_every_way(futures=futures, ended=ended):
                for future in lib.as_completed(futures, PATIENCE):
                    future.exception(0)
                assert lib.wait(futures, PATIENCE).not_done == set()
                ended.append("waited")

            threads = [threading.Thread(target=wait_in_every_way) for _ in range(3)]
            for thread in threads:
                thread.start()
            time.sleep(dice.random() / 20)
            for worker in list(pool._processes):
                processes.kill(worker)
            for thread in threads:
                thread.join()
            assert ended == ["waited"] * 3


def test_storm_at_shutdown(lib, context, start_method):
    """A worker that goes while the pool closes does not keep it open."""
    dice = random.Random(22)
    for _ in range(max(4, POOLS[start_method] // 5)):
        pool = lib.ProcessPoolExecutor(2, mp_context=context)
        futures = [pool.submit(tasks.double, number) for number in range(100)]
        workers = list(pool._processes)
        pool.shutdown(wait=False, cancel_futures=dice.random() < 0.5)
        time.sleep(dice.random() / 500)
        for worker in workers:
            processes.kill(worker)
        pool.shutdown()
        for future in futures:
            assert future.done() or isinstance(future.exception(PATIENCE), BrokenProcessPool)
