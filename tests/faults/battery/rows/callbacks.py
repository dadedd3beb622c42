"""Callbacks that do what they ought not to."""

import threading
import time

from battery import jobs
from battery.rows import row
from battery.trial import PATIENCE, Ends, Value, eventually
from battery.verdicts import Hangs


def with_callback(trial, callback):
    trial.need("callbacks")
    pool = trial.pool()
    pool.work(3, callback)
    pool.work()
    pool.wait()
    pool.work(3, callback)


@row("a callback raises")
def raises(trial):
    def callback():
        raise ValueError("from a callback")

    with_callback(trial, callback)


@row("a callback raises a BaseException")
def raises_odd(trial):
    def callback():
        raise jobs.Odd("from a callback")

    with_callback(trial, callback)


@row("a callback blocks until the other calls are done")
def blocks(trial):
    trial.need("callbacks")
    pool, others_done = trial.pool(), threading.Event()
    pool.work()
    pool.wait()
    pool.call(jobs.sleep, 0.2, expect=Value(0.2), callback=others_done.wait)
    time.sleep(0.4)
    for call in pool.work():
        call.judge(pool)
    others_done.set()


@row("a callback submits")
def submits(trial):
    trial.need("callbacks")
    pool, inner = trial.pool(), []

    def callback():
        inner.append(pool.call(jobs.double, 4, expect=Value(8)))

    pool.work(10, callback)
    eventually(lambda: len(inner) == 10, "callbacks")
    pool.wait()


def ended_by_callback(trial, end, expect):
    """`end` is called in the callback of a call, while others are on their way."""
    trial.need("callbacks")
    pool, called, errors = trial.pool(), threading.Event(), []

    def callback():
        try:
            end(pool)
        except Exception as error:  # "cannot join current thread": as it is specified
            errors.append(error)
        finally:
            called.set()

    pool.call(jobs.sleep, 0.1, expect=expect or Value(0.1), callback=callback)
    for n in range(10):
        pool.call(jobs.sleep, n / 100, expect=expect or Value(n / 100))
    trial.step("a callback")
    if not called.wait(PATIENCE):
        raise Hangs("a callback that ends the pool")
    pool.wait()
    pool.close()


@row("a callback shuts the pool down")
def shuts_down(trial):
    ended_by_callback(trial, lambda pool: pool.library.close(), None)


@row("a callback terminates the pool")
def terminates(trial):
    ended_by_callback(trial, lambda pool: pool.library.stop(), Ends())
