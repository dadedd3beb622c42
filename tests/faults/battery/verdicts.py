"""What a cell can come to."""


class Verdict(Exception):
    """Raised where it is seen; a cell without one passes."""

    word = "wrong"


class Hangs(Verdict):
    """A future, or a call that ought to return, takes longer than it may."""

    word = "hangs"


class Breaks(Verdict):
    """The pool is of no use any more, although no worker of a pool that breaks by its specification had to die."""

    word = "breaks"


class Wrong(Verdict):
    """A wrong value, a wrong exception, none where there ought to be one."""


class Leaks(Verdict):
    """A process, a descriptor, a mapping, a file is left."""

    word = "leaks"


class NotPossible(Verdict):
    """The library has no such thing."""

    word = "-"
