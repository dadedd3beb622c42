"""What does not pickle or unpickle, on either side."""

import importlib.util
import os
import signal
import sys

from battery import jobs
from battery.rows import row
from battery.trial import Dies, Either, Fails, Value
from battery.verdicts import NotPossible


def among_others(trial, function, *args, expect):
    pool = trial.pool()
    pool.work(4)
    pool.call(function, *args, expect=expect)
    pool.work()
    return pool


@row("a result that does not pickle")
def result(trial):
    among_others(trial, jobs.make_no_pickle, expect=Fails())


@row("an argument that does not pickle")
def argument(trial):
    among_others(trial, jobs.echo, jobs.NoPickle(), expect=Fails())


@row("a lambda, without cloudpickle", environment={"BATTERY_WITHOUT": "cloudpickle"})
def lambda_alone(trial):
    """A library that brings a pickler of its own may send it."""
    among_others(trial, lambda: 42, expect=Fails() if not trial.library.by_value else Either(Value(42), Fails()))


@row("a lambda, with cloudpickle")
def lambda_by_value(trial):
    if importlib.util.find_spec("cloudpickle") is None:
        raise NotPossible("cloudpickle is not installed")
    among_others(trial, lambda: 42, expect=Value(42) if trial.library.by_value else Either(Value(42), Fails()))


@row("a result that raises when unpickled")
def result_raises(trial):
    among_others(trial, jobs.make_when_unpickled, jobs.fail, ZeroDivisionError("at unpickling"), expect=Fails())


@row("a result that calls sys.exit when unpickled")
def result_exits(trial):
    among_others(trial, jobs.make_when_unpickled, sys.exit, 3, expect=Fails(Exception, SystemExit))


@row("a result that crashes when unpickled: the program dies, nothing is left")
def result_crashes(trial):
    pool = trial.pool()
    pool.begin(1, 1)

    def submit_and_wait():
        pool.call(jobs.make_when_unpickled, jobs.signal_self, signal.SIGSEGV, expect=Fails()).outcome()

    trial.die(-signal.SIGSEGV, submit_and_wait)


@row("an argument that raises when unpickled")
def argument_raises(trial):
    among_others(trial, jobs.echo, jobs.WhenUnpickled(jobs.fail, ZeroDivisionError("at unpickling")), expect=Fails())


@row("an argument that calls sys.exit when unpickled")
def argument_exits(trial):
    among_others(trial, jobs.echo, jobs.WhenUnpickled(sys.exit, 3), expect=Fails(Exception, SystemExit))


@row("an argument that ends its process when unpickled")
def argument_ends(trial):
    among_others(trial, jobs.echo, jobs.WhenUnpickled(os._exit, 3), expect=Dies())


@row("an argument that crashes when unpickled")
def argument_crashes(trial):
    among_others(trial, jobs.echo, jobs.WhenUnpickled(jobs.signal_self, signal.SIGSEGV), expect=Dies())


@row("a reducer that submits to the same pool")
def reducer(trial):
    trial.need("calls in flight")
    pool = trial.pool()
    submit = lambda: pool.call(jobs.double, 4, expect=Value(8))  # noqa: E731
    for _ in range(5):
        pool.call(jobs.echo, jobs.SubmitsWhenPickled(submit), expect=Value(42))
    pool.wait()
    del submit
