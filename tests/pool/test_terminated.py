"""terminate() while somebody waits, and get() afterwards: an answer, where the standard library has none."""

import functools
import multiprocessing
import threading

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("the standard library never answers what it gave up")

def start_all(pool, gate):
    """Every kind of result; what asks each of them for its first."""
    pairs = [(gate, number) for number in range(20)]
    results = {
        "apply": pool.apply_async(tasks.pass_through, (gate,)),
        "map": pool.map_async(jobs.pass_each, pairs, 1),
        "map in one chunk": pool.map_async(jobs.pass_each, pairs, 20),
        "starmap": pool.starmap_async(tasks.pass_through, pairs),
    }
    iterators = {
        "imap": pool.imap(jobs.pass_each, pairs),
        "imap_unordered": pool.imap_unordered(jobs.pass_each, pairs),
        "imap in chunks": pool.imap(jobs.pass_each, pairs, 3),
        "endless imap": pool.imap(jobs.pass_each, iter(lambda: (gate, 1), None)),
    }
    asking = {kind: result.get for kind, result in results.items()}
    asking["apply, with a limit"] = lambda: results["apply"].get(PATIENCE)
    return asking | {kind: functools.partial(next, iterator) for kind, iterator in iterators.items()}


def wait_in_thread(call):
    """Starts it; returns a function that says how it ended."""
    ended, entered = [], threading.Event()

    def run():
        entered.set()
        try:
            ended.append(call())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    entered.wait()

    def outcome():
        thread.join(PATIENCE)
        return ended[0]

    return outcome


def leave_with(pool):
    pool.__exit__(None, None, None)


def terminate(pool):
    pool.terminate()


@pytest.fixture(params=[terminate, leave_with])
def end(request):
    return request.param


def test_class(lib):
    assert issubclass(lib.PoolTerminated, multiprocessing.ProcessError)
    assert not issubclass(lib.PoolTerminated, multiprocessing.TimeoutError)


def test_who_waits_is_told(lib, make_pool, gate, end):
    pool = make_pool(1)
    outcomes = {kind: wait_in_thread(ask) for kind, ask in start_all(pool, gate).items()}
    end(pool)
    told = {kind: type(outcome()) for kind, outcome in outcomes.items()}
    assert told == dict.fromkeys(outcomes, lib.PoolTerminated)


def test_who_asks_afterwards_is_told(lib, make_pool, gate, end):
    pool = make_pool(2)
    asking = start_all(pool, gate)
    end(pool)
    pool.join()
    told = {kind: type(wait_in_thread(ask)()) for kind, ask in asking.items()}
    assert told == dict.fromkeys(asking, lib.PoolTerminated)


def test_is_told_again_and_with_every_limit(lib, make_pool, gate):
    pool = make_pool(1)
    result = pool.apply_async(tasks.pass_through, (gate,))
    waiting = wait_in_thread(result.wait)
    pool.terminate()
    assert waiting() is None
    for arguments in [(), (0,), (PATIENCE,)]:
        with pytest.raises(lib.PoolTerminated):
            result.get(*arguments)


def test_call_that_waits(lib, make_pool, mailbox, gate, end):
    pool = make_pool(3)
    outcomes = [
        wait_in_thread(lambda: pool.apply(tasks.announce_and_wait, (mailbox, gate))),
        wait_in_thread(lambda: pool.map(jobs.announce_and_pass, [(mailbox, gate)])),
        wait_in_thread(lambda: pool.starmap(tasks.announce_and_wait, [(mailbox, gate)])),
    ]
    mailbox.take(3)
    end(pool)
    assert [type(outcome()) for outcome in outcomes] == [lib.PoolTerminated] * 3


def test_what_was_done_is_kept(lib, make_pool, gate):
    pool = make_pool(1)
    done = [pool.apply_async(tasks.double, (2,)), pool.map_async(tasks.double, range(3))]
    lazy = pool.imap(tasks.double, range(3))
    done[-1].wait()
    assert next(lazy) == 0
    pending = pool.apply_async(tasks.pass_through, (gate,))
    pool.terminate()
    assert [result.get(0) for result in done] == [4, [0, 2, 4]]
    with pytest.raises(lib.PoolTerminated):
        pending.get(0)


def test_closed_pool(lib, make_pool, gate):
    pool = make_pool(1)
    result = pool.apply_async(tasks.pass_through, (gate,))
    pool.close()
    pool.terminate()
    with pytest.raises(lib.PoolTerminated):
        result.get(PATIENCE)
    pool.join()


def test_by_several_threads_at_once(lib, make_pool, gate):
    pool = make_pool(2)
    result = pool.map_async(jobs.pass_each, [(gate, 1)] * 20, 1)
    outcomes = [wait_in_thread(pool.terminate) for _ in range(4)]
    with pytest.raises(lib.PoolTerminated):
        result.get(PATIENCE)
    assert [outcome() for outcome in outcomes] == [None] * 4


def test_by_the_input_of_a_lazy_map(lib, make_pool, lazily):
    """In the thread that reads it."""
    pool = make_pool(1)

    def numbers():
        yield 1
        pool.terminate()
        yield 2

    results = lazily(pool)(tasks.double, numbers())
    with pytest.raises(lib.PoolTerminated):
        for _ in range(3):
            results.next(PATIENCE)
    pool.join(PATIENCE)
    eventually(lambda: not any(worker.is_alive() for worker in pool._pool))


@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
def test_nobody_waits_for_ever_for_a_closed_pool_that_is_dropped(lib, context):
    pool = lib.Pool(1, context=context)
    result = pool.map_async(tasks.double, range(100), 1)
    pool.close()
    del pool
    assert result.get(PATIENCE) == [2 * n for n in range(100)]
