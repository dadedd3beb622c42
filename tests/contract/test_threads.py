"""Several threads of one program over one pool, and a program's threads inside tasks."""

import random
import threading

from support import tasks
from support.events import PATIENCE


def run_together(function, count):
    """Each with its number, all from the same moment on; raises what any of them raised."""
    start, errors = threading.Barrier(count), []

    def run(number):
        try:
            start.wait(PATIENCE)
            function(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_first_submits_at_once(make_pool):
    pool, answers = make_pool(2), []
    run_together(lambda number: answers.append(pool.submit(tasks.double, number).result(PATIENCE)), 8)
    assert sorted(answers) == [2 * number for number in range(8)]
    assert len(pool._processes) <= 2


def test_many_submits_at_once(pool):
    def work(number):
        futures = [pool.submit(tasks.add, number, step) for step in range(100)]
        assert [future.result(PATIENCE) for future in futures] == [number + step for step in range(100)]

    run_together(work, 6)


def test_round_trips_at_once(pool):
    def work(number):
        for step in range(50):
            assert pool.submit(tasks.add, number, step).result(PATIENCE) == number + step

    run_together(work, 6)


def test_maps_at_once(pool):
    def work(number):
        assert list(pool.map(tasks.add, [number] * 50, range(50), chunksize=number + 1)) == [
            number + step for step in range(50)
        ]

    run_together(work, 4)


def test_one_submits_and_others_ask(pool):
    futures = [pool.submit(tasks.double, number) for number in range(200)]

    def ask(number):
        order = list(enumerate(futures))
        random.Random(number).shuffle(order)
        for index, future in order:
            assert future.result(PATIENCE) == 2 * index

    run_together(ask, 4)


def test_everything_at_once(lib, pool):
    """Waiting, cancelling, callbacks and time limits over the same futures."""
    called = []

    def work(number):
        futures = [pool.submit(tasks.add, number, step) for step in range(60)]
        for future in futures[::3]:
            future.add_done_callback(called.append)
        cancelled = {future for future in futures[::7] if future.cancel()}
        done, not_done = lib.wait(futures, PATIENCE)
        assert not not_done
        for step, future in enumerate(futures):
            if future not in cancelled:
                assert future.result(0) == number + step
        assert all(future.cancelled() for future in cancelled)

    run_together(work, 4)


def test_threads_in_a_task(pool):
    assert pool.submit(tasks.sum_in_threads, range(20)).result() == 2 * sum(range(20))


def test_thread_that_submits_from_another_pools_callback(make_pool):
    first, second = make_pool(1), make_pool(1)
    answers, done = [], threading.Event()

    def forward(future):
        second.submit(tasks.double, future.result()).add_done_callback(finish)

    def finish(future):
        answers.append(future.result())
        if len(answers) == 10:
            done.set()

    for number in range(10):
        first.submit(tasks.double, number).add_done_callback(forward)
    assert done.wait(PATIENCE)
    assert sorted(answers) == [4 * number for number in range(10)]
