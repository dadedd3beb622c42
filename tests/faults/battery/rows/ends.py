"""The interpreter ends, or the pool is dropped, in every state that a pool can be in."""

import signal
import threading

from battery import jobs
from battery.rows import row
from battery.trial import Dies, Ends, Value


def never_used(trial):
    return trial.pool()


def idle(trial):
    pool = trial.pool()
    pool.work(4)
    pool.wait()
    return pool


def at_work(trial):
    pool = trial.pool()
    pool.begin(2, 0.4)
    return pool


def with_a_queue(trial):
    pool = trial.pool()
    for _ in range(30):
        pool.call(jobs.sleep, 0.02, expect=Value(0.02))
    return pool


def let_go(trial):
    trial.need("shutdown without waiting")
    pool = with_a_queue(trial)
    pool.let_go()
    return pool


def shut_down(trial):
    pool = idle(trial)
    pool.close()
    return pool


def after_a_death(trial):
    pool = trial.pool()
    pool.call(jobs.signal_self, signal.SIGKILL, expect=Dies())
    pool.wait()
    return pool


def stopped(trial):
    pool = trial.pool()
    pool.begin(2, 600, expect=Ends())
    pool.stop()
    return pool


def waited_for(trial):
    pool = at_work(trial)
    for call in pool.calls:
        threading.Thread(target=call.handle.outcome, args=(600,)).start()
    return pool


STATES = {
    "before its first call": never_used,
    "idle": idle,
    "at work": at_work,
    "with a queue": with_a_queue,
    "after shutdown(wait=False)": let_go,
    "after shutdown()": shut_down,
    "after a worker's death": after_a_death,
    "after it was stopped": stopped,
    "while threads wait for results": waited_for,
}


def _register(state, make):
    @row(f"the interpreter ends: a pool {state}")
    def leave(trial):
        trial.need("calls in flight")
        make(trial)
        trial.leave()

    @row(f"the pool is dropped: {state}")
    def drop(trial):
        trial.need("calls in flight")
        pool = make(trial)
        pool.drop()


for state, make in STATES.items():
    _register(state, make)
