"""A worker that ends unasked breaks the pool, in both implementations in the same words."""

import queue
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually

GONE = "A process in the process pool was terminated abruptly while the future was running or pending."
REFUSED = "A child process terminated abruptly, the process pool is not usable anymore"

ENDINGS = [
    (tasks.exit_process, 0),
    (tasks.exit_process, 3),
    (tasks.kill_self, signal.SIGKILL),
    (tasks.kill_self, signal.SIGTERM),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: f"{e[0].__name__} {int(e[1])}")
def test_every_future_fails(make_pool, make_gate, mailbox, ending):
    pool, gates = make_pool(2), [make_gate() for _ in range(2)]
    # Both workers run: the standard library does not end one that it is about to start.
    first = [pool.submit(tasks.announce_and_wait, mailbox, gate) for gate in gates]
    mailbox.take(2)
    workers = list(pool._processes.values())
    futures = [pool.submit(*ending)] + [pool.submit(tasks.sleep, 600) for _ in range(5)]
    gates[0].open()
    assert first[0].result() is None
    for future in [first[1], *futures]:
        error = future.exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool)
        assert str(error).startswith(GONE)
    eventually(lambda: not any(processes.alive(worker.pid) for worker in workers))


def test_submit_is_refused(make_pool):
    pool = make_pool(1)
    pool.submit(tasks.exit_process, 1).exception(PATIENCE)
    for call in (pool.submit, pool.map):
        with pytest.raises(BrokenProcessPool) as caught:
            call(tasks.nothing, [1])
        assert str(caught.value).startswith(REFUSED)


def test_refusal_comes_before_that_of_a_closed_pool(make_pool):
    pool = make_pool(1)
    pool.submit(tasks.exit_process, 1).exception(PATIENCE)
    pool.shutdown()
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.nothing)


def test_finished_results_stay(make_pool):
    pool = make_pool(1)
    finished = pool.submit(tasks.double, 21)
    finished.result()
    pool.submit(tasks.exit_process, 1).exception(PATIENCE)
    assert finished.result() == 42


def test_callbacks_and_waiters_hear_of_it(lib, make_pool, gate):
    pool, calls = make_pool(1), queue.SimpleQueue()
    future = pool.submit(tasks.exit_process, 1)
    future.add_done_callback(calls.put)
    assert calls.get(timeout=PATIENCE) is future
    assert lib.wait([future], PATIENCE).done == {future}
    assert isinstance(future.exception(), lib.BrokenExecutor)


def test_map_ends_with_it(make_pool):
    pool = make_pool(1)
    with pytest.raises(BrokenProcessPool):
        list(pool.map(tasks.exit_process, [1, 1, 1]))


def test_shutdown_of_a_broken_pool(make_pool):
    pool = make_pool(2)
    pool.submit(tasks.exit_process, 1).exception(PATIENCE)
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)


def test_with_around_a_broken_pool(lib, context):
    with pytest.raises(BrokenProcessPool):
        with lib.ProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(tasks.kill_self).result()


def test_idle_worker_killed(make_pool):
    pool = make_pool(2)
    pool.submit(tasks.nothing).result()
    list(pool._processes.values())[0].kill()
    eventually(lambda: pool._broken)
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.nothing)


def test_a_new_pool_works_after_a_broken_one(make_pool):
    make_pool(1).submit(tasks.exit_process, 1).exception(PATIENCE)
    assert make_pool(1).submit(tasks.double, 2).result() == 4


def test_sys_exit_and_interrupts_do_not_break_it(single):
    assert isinstance(single.submit(tasks.fail, SystemExit()).exception(), SystemExit)
    assert isinstance(single.submit(tasks.fail, KeyboardInterrupt()).exception(), KeyboardInterrupt)
    assert single.submit(tasks.double, 2).result() == 4
