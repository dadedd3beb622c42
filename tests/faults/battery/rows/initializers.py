"""Initializers that fail."""

import time

from battery import jobs
from battery.rows import row
from battery.trial import Ends, Fails
from battery.verdicts import Wrong


def failing(trial, initializer, expect):
    """No call can run; each says so, and the pool is of no use."""
    trial.need("initializer")
    pool = trial.pool(initializer=initializer)
    pool.useless = pool.may_break = True
    for n in range(6):
        pool.call(jobs.double, n, expect=expect)
    pool.wait()


@row("the initializer raises")
def raises(trial):
    failing(trial, jobs.raise_at_once, Fails())


@row("the initializer ends its process")
def exits(trial):
    failing(trial, jobs.exit_at_once, Fails())


@row("the initializer hangs; the pool is stopped after a time limit")
def hangs(trial):
    trial.need("initializer")
    pool = trial.pool(initializer=time.sleep, initargs=(600,))
    pool.useless = True
    for n in range(6):
        pool.call(jobs.double, n, expect=Ends())
    if pool.calls[0].handle.outcome(0.5) is not None:
        raise Wrong("the call ran before the initializer had ended")
    pool.stop()


@row("the initializer takes a second")
def slow(trial):
    trial.need("initializer")
    trial.pool(initializer=time.sleep, initargs=(1,)).work()
