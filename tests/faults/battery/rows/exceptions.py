"""What a task may raise."""

from battery import jobs
from battery.rows import row
from battery.rows.pickling import among_others
from battery.trial import Fails


def _register(kind):
    @row(f"{kind.__name__} in a task")
    def fail(trial):
        among_others(trial, jobs.fail_with, kind, expect=Fails(kind))


for kind in (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, MemoryError):
    _register(kind)


@row("RecursionError in a task")
def recursion(trial):
    among_others(trial, jobs.recurse, expect=Fails(RecursionError))


@row("an exception whose class needs two arguments")
def two_arguments(trial):
    among_others(trial, jobs.fail_with_two_arguments, expect=Fails())


@row("an exception that raises when pickled")
def at_pickling(trial):
    among_others(trial, jobs.fail_with, jobs.RaisesWhenPickled, expect=Fails())


@row("an exception that raises when unpickled")
def at_unpickling(trial):
    among_others(trial, jobs.fail_with, jobs.RaisesWhenUnpickled, expect=Fails())


@row("an exception that raises in __repr__")
def in_repr(trial):
    among_others(trial, jobs.fail_with, jobs.RaisesInRepr, expect=Fails(jobs.RaisesInRepr))
