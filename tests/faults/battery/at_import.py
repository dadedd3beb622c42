"""A module whose body has a pool run a function of its own."""

from battery import trial
from battery.trial import Value


def answer():
    return 42


if trial.current is not None:
    _pool = trial.current.pool()
    _pool.call(answer, expect=Value(42))
    _pool.wait()
    del _pool
