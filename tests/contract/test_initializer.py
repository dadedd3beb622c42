"""The initializer: once in each worker, before its first task, and what its failure means."""

import multiprocessing
from concurrent.futures.process import BrokenProcessPool

import pytest

from support import tasks
from support.events import Mailbox, eventually

GONE = "A process in the process pool was terminated abruptly while the future was running or pending."
REFUSED = "A child process terminated abruptly, the process pool is not usable anymore"


def test_runs_before_the_first_task(make_pool):
    pool = make_pool(1, initializer=tasks.initialize, initargs=(1, "two"))
    assert pool.submit(tasks.initialized_with).result() == [(1, "two")]


def test_runs_once_in_each_worker(make_pool, gate, mailbox, tmp_path):
    started = Mailbox(tmp_path / "started")
    pool = make_pool(2, initializer=tasks.initialize_and_announce, initargs=(started,))
    futures = [pool.submit(tasks.announce_and_wait, mailbox, gate) for _ in range(4)]
    running = set(mailbox.take(2))
    gate.open()
    for future in futures:
        future.result()
    assert set(started.all()) == running
    assert len(running) == 2
    started.close()


def test_without_arguments(make_pool):
    pool = make_pool(1, initializer=tasks.initialize)
    assert pool.submit(tasks.initialized_with).result() == [()]


def test_is_inherited_and_so_may_be_given_locks(make_pool, context):
    event = context.Event()
    pool = make_pool(1, initializer=tasks.initialize_events, initargs=(event,))
    assert pool.submit(tasks.set_event, 0).result() is True
    assert event.is_set()


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_failure_breaks_the_pool(make_pool, error):
    pool = make_pool(2, initializer=tasks.failing_initializer, initargs=(error,))
    futures = []
    with pytest.raises(BrokenProcessPool):
        while True:
            futures.append(pool.submit(tasks.nothing))
            futures[-1].result()
    for future in futures:
        with pytest.raises(BrokenProcessPool):
            future.result()
    eventually(lambda: pool._broken)
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.nothing)


def test_words_of_the_failure(make_pool):
    pool = make_pool(1, initializer=tasks.failing_initializer)
    error = pool.submit(tasks.nothing).exception()
    assert str(error).startswith(GONE)
    with pytest.raises(BrokenProcessPool) as caught:
        pool.submit(tasks.nothing)
    assert str(caught.value).startswith(REFUSED)


def test_process_that_ends_in_it(make_pool):
    pool = make_pool(1, initializer=tasks.exit_process, initargs=(3,))
    assert isinstance(pool.submit(tasks.nothing).exception(), BrokenProcessPool)


def test_initializer_that_does_not_pickle(make_pool, start_method):
    pool = make_pool(1, initializer=tasks.initialize, initargs=(tasks.FailsToPickle(),))
    if start_method == "fork":
        assert pool.submit(tasks.double, 2).result() == 4
    else:
        with pytest.raises(ZeroDivisionError, match="^at pickling"):
            pool.submit(tasks.nothing)


def test_failure_is_logged_in_the_worker(run_script, is_fastpool):
    finished = run_script("""
        # main
        pool = Pool(1, initializer=tasks.failing_initializer)
        try:
            pool.submit(tasks.nothing).result()
        except futures.BrokenExecutor:
            print("broken")
        """)
    assert (finished.returncode, finished.stdout) == (0, "broken\n")
    assert finished.stderr.startswith("Exception in initializer:\nTraceback (most recent call last):\n")
    assert "\nValueError: initializer failed\n" in finished.stderr
    if is_fastpool:  # the standard library's feeder thread may find its pipe closed, by chance, and says so
        assert finished.stderr.count("Traceback") == 1


def test_queue_of_multiprocessing_as_an_argument(make_pool, context):
    queue = context.Queue()
    pool = make_pool(1, initializer=tasks.initialize, initargs=(queue,))
    pool.submit(tasks.put_into_first, "through the queue").result()
    assert queue.get(timeout=30) == "through the queue"
    assert multiprocessing.active_children()
    queue.close()
    queue.join_thread()
