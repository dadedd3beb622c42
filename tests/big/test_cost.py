"""What a big call leaves behind must not make the small ones dear."""

import gc
import time

import pytest

from support import tasks
from support.events import eventually

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


DEAR = {
    "many objects": lambda: {number: (str(number), [number]) for number in range(100_000)},
    "few bytes, many objects": lambda: [[] for _ in range(5000)],
    "long frames": lambda: [b"x" * 60_000, b"y" * 60_000],
    "large bytes": lambda: b"x" * (10 << 20),
}


@pytest.mark.parametrize("kind", DEAR)
def test_small_calls_after_a_dear_one(pool, kind):
    pool.submit(tasks.echo, None).result()
    before = best_round(pool)
    dear = DEAR[kind]()
    assert pool.submit(tasks.echo, dear).result() == dear
    eventually(lambda: best_round(pool) < 3 * before)  # another process may have both CPUs for a while


# ----------------------------------------------------- the garbage collector
RECORDS = [[str(number)] for number in range(150_000)]  # 1.5 MB of pickle


def collector_after(records):
    return len(records), gc.isenabled()


def switch_collector_off():
    gc.disable()
    return gc.isenabled()


class Looks:
    """Knows whether the collector was on when it was unpickled."""

    def __init__(self):
        self.on = None

    def __reduce__(self):
        return Looks, (), (self.on,)

    def __setstate__(self, state):
        self.on = gc.isenabled()


class SwitchesOff(Looks):
    def __reduce__(self):
        return switch_collector_off, ()


@pytest.fixture
def collector():
    yield
    gc.enable()


def test_the_collector_stays_on(pool):
    assert pool.submit(collector_after, RECORDS).result() == (len(RECORDS), True)
    assert pool.submit(tasks.echo, RECORDS).result() == RECORDS and gc.isenabled()


def test_the_collector_is_on_for_code_of_the_user(pool):
    assert pool.submit(tasks.echo, [RECORDS, Looks(), RECORDS]).result()[1].on


def test_the_collector_stays_off(make_pool, collector):
    """Whoever has switched it off wants it so, in the program or in the worker."""
    pool = make_pool(1)
    assert not pool.submit(switch_collector_off).result()
    assert pool.submit(collector_after, RECORDS).result() == (len(RECORDS), False)
    gc.disable()
    assert pool.submit(tasks.echo, RECORDS).result() == RECORDS
    assert not gc.isenabled()


def test_the_collector_switched_off_by_what_is_unpickled(make_pool):
    assert make_pool(1).submit(collector_after, [RECORDS, SwitchesOff(), RECORDS]).result() == (3, False)


def test_the_collector_after_what_does_not_unpickle(make_pool):
    pool = make_pool(1)
    with pytest.raises(Exception, match="unpickle|broken|terminated"):
        pool.submit(tasks.echo, [RECORDS, tasks.FailsToUnpickle()]).result()
    with make_pool(1) as pool:
        assert pool.submit(collector_after, RECORDS).result() == (len(RECORDS), True)
    assert gc.isenabled()
