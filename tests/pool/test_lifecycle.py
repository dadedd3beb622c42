"""close, join, terminate, with; what a pool refuses then; and what is left afterwards."""

import copy
import gc
import multiprocessing
import multiprocessing.pool
import pickle
import threading
import time
import warnings
import weakref

import pytest

from pool import jobs
from support import processes, tasks
from support.events import PATIENCE, eventually
from support.holdings import holdings
from support.interrupts import interrupted_once_asleep


def test_states_and_repr(lib, make_pool):
    pool = make_pool(2)
    assert (pool._state, repr(pool)) == ("RUN", f"<{lib.__name__}.Pool state=RUN pool_size=2>")
    pool.close()
    assert (pool._state, repr(pool)) == ("CLOSE", f"<{lib.__name__}.Pool state=CLOSE pool_size=2>")
    pool.join()
    assert pool._state == "CLOSE"
    pool.terminate()
    assert pool._state == "TERMINATE"
    assert repr(pool).startswith(f"<{lib.__name__}.Pool state=TERMINATE pool_size=")


def test_is_a_pool_of_multiprocessing(make_pool):
    assert isinstance(make_pool(1), multiprocessing.pool.Pool)


CALLS = {
    "apply": lambda pool: pool.apply(tasks.nothing),
    "apply_async": lambda pool: pool.apply_async(tasks.nothing),
    "map": lambda pool: pool.map(tasks.nothing, [1]),
    "map_async": lambda pool: pool.map_async(tasks.nothing, [1]),
    "starmap": lambda pool: pool.starmap(tasks.nothing, [(1,)]),
    "starmap_async": lambda pool: pool.starmap_async(tasks.nothing, [(1,)]),
    "map of nothing": lambda pool: pool.map(tasks.nothing, []),
    "imap": lambda pool: pool.imap(tasks.nothing, [1]),
    "imap_unordered": lambda pool: pool.imap_unordered(tasks.nothing, [1]),
    "imap in chunks": lambda pool: pool.imap(tasks.nothing, [1], 2),
    "imap in chunks of nothing": lambda pool: pool.imap(tasks.nothing, [1], 0),
    "with": lambda pool: pool.__enter__(),
}


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_refuses_everything_then(make_pool, end):
    pool = make_pool(1)
    getattr(pool, end)()
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"^Pool not running$"):
            call(pool)
    pool.join()
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"^Pool not running$"):
            call(pool)


def test_input_is_not_read_then(make_pool):
    pool, read = make_pool(1), []
    pool.close()
    with pytest.raises(ValueError):
        pool.map(tasks.nothing, (read.append(n) for n in range(3)))
    assert read == []


def test_join_of_a_running_pool(pool):
    with pytest.raises(ValueError, match=r"^Pool is still running$"):
        pool.join()
    assert pool.apply(tasks.double, (2,)) == 4


def test_close_and_join_finish_all_work(make_pool):
    pool = make_pool(2)
    results = [pool.apply_async(jobs.double_slowly, (number,)) for number in range(50)]
    mapped = pool.map_async(tasks.double, range(100))
    pool.close()
    pool.join()
    assert all(result.ready() for result in (*results, mapped))
    assert [result.get() for result in results] == [2 * n for n in range(50)]
    assert mapped.get() == [2 * n for n in range(100)]


def test_close_returns_before_the_work_is_done(make_pool, gate):
    pool = make_pool(1)
    result = pool.apply_async(tasks.pass_through, (gate, 5))
    pool.close()
    assert not result.ready() and all(worker.is_alive() for worker in pool._pool)
    gate.open()
    pool.join()
    assert result.get() == 5


def test_join_waits(make_pool, gate):
    pool, joined = make_pool(1), threading.Event()
    result = pool.apply_async(tasks.pass_through, (gate,))
    pool.close()

    def join():
        pool.join()
        joined.set()

    thread = threading.Thread(target=join)
    thread.start()
    assert not joined.wait(0.02) and not result.ready()
    gate.open()
    assert joined.wait(PATIENCE) and result.ready()
    thread.join()


def test_workers_end_of_their_own_accord(make_pool, mailbox):
    """So that finalizers of multiprocessing's kind run."""
    pool = make_pool(2, initializer=jobs.announce_finalizer, initargs=(mailbox,))
    pool.map(tasks.nothing, range(10))
    workers = list(pool._pool)
    pool.close()
    pool.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not any(processes.alive(worker.pid) for worker in workers)
    assert set(mailbox.take(2)) == {str(worker.pid) for worker in workers}


def test_again_and_again(make_pool):
    pool = make_pool(1)
    for _ in range(2):
        pool.close()
    for _ in range(2):
        pool.join()
    for _ in range(2):
        pool.terminate()
    pool.join()
    pool.close()
    assert pool._state == "TERMINATE"


def test_closed_by_another_thread(make_pool):
    pool = make_pool(1)
    result = pool.apply_async(tasks.double, (2,))

    def end():
        pool.close()
        pool.join()

    thread = threading.Thread(target=end)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive() and result.get(0) == 4


def test_terminate_ends_running_tasks(make_pool, mailbox):
    pool = make_pool(2)
    for _ in range(6):
        pool.apply_async(tasks.announce_and_sleep, (mailbox,))
    workers = list(map(int, mailbox.take(2)))
    pool.terminate()
    pool.join()
    assert not any(processes.alive(worker) for worker in workers)
    assert mailbox.all() == []


def test_terminate_with_much_to_do(make_pool):
    """10,000 calls of five minutes each."""
    pool = make_pool(2)
    pool.map_async(tasks.sleep, [300] * 10_000, chunksize=1)
    start = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - start < PATIENCE


def test_terminate_an_idle_pool(make_pool):
    pool = make_pool(2)
    workers = list(pool._pool)
    pool.terminate()
    pool.join()
    assert not any(worker.is_alive() for worker in workers)
    assert all(worker.exitcode is not None for worker in workers)


def test_terminate_a_closed_pool_at_work(make_pool, mailbox):
    pool = make_pool(1)
    pool.apply_async(tasks.announce_and_sleep, (mailbox,))
    mailbox.get()
    pool.close()
    pool.terminate()
    pool.join()
    assert pool._state == "TERMINATE"


def test_terminate_by_signal(make_pool, mailbox):
    """SIGTERM, which a task may handle."""
    pool = make_pool(1)
    pool.apply_async(tasks.announce_sigterm, (mailbox,))
    mailbox.get()
    pool.terminate()
    pool.join()
    assert mailbox.get() == "terminated"


def test_with(make_pool):
    pool = make_pool(2)
    with pool as entered:
        assert entered is pool
        assert pool.map(tasks.double, range(3)) == [0, 2, 4]
    assert pool._state == "TERMINATE"
    pool.join()
    with pytest.raises(ValueError, match=r"^Pool not running$"):
        with pool:
            pass


def test_with_lets_errors_through(make_pool):
    pool = make_pool(1)
    with pytest.raises(ZeroDivisionError, match="mine"):
        with pool:
            raise ZeroDivisionError("mine")
    assert pool._state == "TERMINATE"
    assert pool.__exit__(None, None, None) is None


def test_with_does_not_wait_for_work(make_pool, mailbox):
    with make_pool(1) as pool:
        pool.apply_async(tasks.announce_and_sleep, (mailbox,))
        worker = int(mailbox.get())
    pool.join()
    assert not processes.alive(worker)


@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy])
def test_pool_does_not_pickle(pool, dump):
    with pytest.raises(NotImplementedError) as caught:
        dump(pool)
    assert str(caught.value) == "pool objects cannot be passed between processes or pickled"


def test_pool_as_an_argument(pool):
    with pytest.raises(NotImplementedError):
        pool.apply(tasks.echo, (pool,))


# --- pools that nobody ends


def gone(reference):
    return reference() is None or (gc.collect() and False)


def test_warning(lib, context):
    pool = lib.Pool(1, context=context)
    pool.apply(tasks.nothing)
    workers = [worker.pid for worker in pool._pool]
    with pytest.warns(ResourceWarning) as caught:
        del pool
        gc.collect()
    assert [str(warning.message) for warning in caught] == [
        f"unclosed running multiprocessing pool <{lib.__name__}.Pool state=RUN pool_size=1>"
    ]
    # It names its source, and so keeps it.
    del caught
    eventually(lambda: not any(map(processes.alive, workers)) or gc.collect() and False)


def test_warning_follows_the_state(make_pool):
    """As CPython's test has it."""
    pool = make_pool(1)
    pool.terminate()
    pool.join()
    pool._state = multiprocessing.pool.RUN
    with pytest.warns(ResourceWarning, match="^unclosed running multiprocessing pool <"):
        pool.__del__()
    pool._state = multiprocessing.pool.TERMINATE


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_no_warning_once_ended(lib, context, end):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        pool = lib.Pool(1, context=context)
        getattr(pool, end)()
        pool.join()
        del pool
        gc.collect()
    assert [str(warning.message) for warning in caught if "pool" in str(warning.message)] == []


@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
@pytest.mark.parametrize("way", ["del", "cycle"])
def test_dropped_pool_ends(lib, context, way):
    before = threading.active_count()
    pool = lib.Pool(2, context=context)
    pool.map(tasks.nothing, range(10))
    workers, reference = [worker.pid for worker in pool._pool], weakref.ref(pool)
    if way == "cycle":
        pool.myself = pool
    del pool
    eventually(lambda: gone(reference))
    eventually(lambda: not any(map(processes.alive, workers)))
    eventually(lambda: threading.active_count() <= before)


@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
def test_dropped_pool_does_its_work_first(lib, context, gate):
    """Results keep it alive until they are there."""
    pool = lib.Pool(1, context=context)
    workers, reference = [worker.pid for worker in pool._pool], weakref.ref(pool)
    results = [pool.apply_async(tasks.pass_through, (gate, number)) for number in range(3)]
    mapped = pool.map_async(tasks.double, range(30))
    del pool
    gc.collect()
    assert reference() is not None
    gate.open()
    assert [result.get(PATIENCE) for result in results] == [0, 1, 2]
    assert mapped.get(PATIENCE) == [2 * n for n in range(30)]
    eventually(lambda: gone(reference))
    eventually(lambda: not any(map(processes.alive, workers)))


@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
def test_temporary(lib, context):
    assert lib.Pool(2, context=context).map(tasks.double, range(10)) == [2 * n for n in range(10)]
    assert lib.Pool(2, context=context).apply_async(tasks.double, (2,)).get(PATIENCE) == 4


def test_collected_after_its_end(make_pool, lib, context):
    pool = lib.Pool(1, context=context)
    result = pool.apply_async(tasks.double, (2,))
    result.wait()
    reference = weakref.ref(pool)
    pool.close()
    pool.join()
    del pool
    eventually(lambda: gone(reference))
    assert result.get() == 4


# --- what is left


def counts():
    """Pipes have other numbers each time."""
    return {key: len(value) if isinstance(value, list) else value for key, value in holdings().items()}


def use(lib, context, end):
    pool = lib.Pool(1, context=context)
    assert sum(pool.map(tasks.double, range(100))) == 9900
    assert sum(pool.imap(tasks.double, range(100))) == 9900
    getattr(pool, end)()
    pool.join()


def test_nothing_is_left(lib, context):
    # The first pool starts what stays on purpose: the fork server, the resource tracker.
    use(lib, context, "close")
    before = counts()
    use(lib, context, "close")
    use(lib, context, "terminate")
    eventually(lambda: counts() == before)


def test_many_pools_at_once(make_pool):
    pools = [make_pool(1) for _ in range(4)]
    results = [pool.map_async(tasks.double, range(number, number + 10)) for number, pool in enumerate(pools)]
    for number, result in enumerate(results):
        assert result.get() == [2 * n for n in range(number, number + 10)]
    assert len({pool.apply(tasks.pid) for pool in pools}) == 4


@pytest.mark.methods("fork")
def test_large_pool(make_pool):
    pool = make_pool(50)
    assert len(set(pool.map(tasks.pid, range(2000), chunksize=1))) > 1
    assert len(pool._pool) == 50
    pool.close()
    pool.join()


# --- workers


NAMES = {"fork": "Fork", "forkserver": "ForkServer", "spawn": "Spawn"}


def test_names(make_pool, start_method):
    pool = make_pool(2)
    for worker in pool._pool:
        kind, number = worker.name.split("-")
        assert kind == f"{NAMES[start_method]}PoolWorker" and number.isdigit()
    assert pool.apply(jobs.process_name) in [worker.name for worker in pool._pool]


def test_daemons(make_pool, is_fastpool):
    """So that multiprocessing ends them with the program. A worker of fastpool does not know it, and may have children."""
    pool = make_pool(1)
    assert [worker.daemon for worker in pool._pool] == [True]
    assert pool.apply(jobs.is_daemon) is not is_fastpool


# --- what fastpool adds


@pytest.mark.fastpool_only("join(timeout=) is fastpool's")
@pytest.mark.parametrize("timeout", [0, 0.05])
def test_join_for_so_long(make_pool, gate, timeout):
    pool = make_pool(1)
    result = pool.apply_async(tasks.pass_through, (gate, 5))
    pool.close()
    start = time.monotonic()
    assert pool.join(timeout) is None and pool.join(timeout=timeout) is None
    assert 2 * timeout <= time.monotonic() - start < PATIENCE
    assert not result.ready() and all(worker.is_alive() for worker in pool._pool)
    gate.open()
    pool.join(PATIENCE)
    assert result.get(0) == 5 and not any(worker.is_alive() for worker in pool._pool)


@pytest.mark.fastpool_only("join(timeout=) is fastpool's")
def test_join_for_so_long_of_a_running_pool(pool):
    with pytest.raises(ValueError, match=r"^Pool is still running$"):
        pool.join(0.01)


def test_join_after_one_that_was_interrupted(make_pool, gate):
    """Ctrl-C in join() ends that one; the next waits as if nothing had been."""
    pool = make_pool(1)
    result = pool.apply_async(tasks.pass_through, (gate, 5))
    pool.close()
    with interrupted_once_asleep():
        pool.join()
    opener = threading.Timer(0.1, gate.open)
    opener.start()
    pool.join()
    assert result.ready() and result.get() == 5 and not any(processes.alive(worker.pid) for worker in pool._pool)
    opener.join()


def test_closed_while_a_map_is_submitted(make_pool, lib):
    """All of it is run, or none: not its first chunks alone."""
    pool = make_pool(2)

    class Items(list):
        def __iter__(self):
            for number in range(40):
                if number == 20:
                    pool.close()
                yield number

    assert pool.map(abs, Items(range(40)), 1) == list(range(40))
    with pytest.raises(ValueError, match="Pool not running"):
        pool.map(abs, [1])
