"""What a big call leaves behind must not make the small ones dear."""

import gc
import time

import pytest

from support import tasks

pytestmark = pytest.mark.methods("fork")


def best_round(pool):
    """Seconds for 100 small calls, the best of some rounds: what else the machine does falls on all of them."""
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        for call in [pool.submit(tasks.echo, [None]) for _ in range(100)]:
            call.result()
        best = min(best, time.perf_counter() - started)
    return best


def test_small_calls_after_one_of_many_objects(pool):
    before = best_round(pool)
    records = {number: (str(number), [number]) for number in range(100_000)}
    assert pool.submit(tasks.echo, records).result() == records
    assert best_round(pool) < 10 * before


RECORDS = [[number] for number in range(50_000)]


def collector_after(records):
    return len(records), gc.isenabled()


def switch_collector_off():
    gc.disable()
    return gc.isenabled()


def test_the_collector_stays_on(pool):
    assert pool.submit(collector_after, RECORDS).result() == (len(RECORDS), True)
    assert pool.submit(tasks.echo, RECORDS).result() == RECORDS and gc.isenabled()


def test_the_collector_stays_off(make_pool):
    """Whoever has switched it off wants it so, in the program or in the worker."""
    pool = make_pool(1)
    assert not pool.submit(switch_collector_off).result()
    assert pool.submit(collector_after, RECORDS).result() == (len(RECORDS), False)
    gc.disable()
    try:
        assert pool.submit(tasks.echo, RECORDS).result() == RECORDS
        assert not gc.isenabled()
    finally:
        gc.enable()
