"""Workers that end before they are of use: when is it hopeless to start another?"""

from __future__ import annotations

import signal
import time

#: Seconds: one that lives longer has a chance of a task, and does not keep the machine busy with starting the next.
_SHORT_LIFE = 1.0


class StartFailures:
    """Counts them in succession. A pool that replaces its workers would start them for ever."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hopeless = False  # the next one would end in the same way
        self._in_succession = 0
        self._born: dict[int | None, float] = {}

    def note_start(self, pid: int | None) -> None:
        """A worker has been started."""
        self._born[pid] = time.monotonic()

    def note_end(self, pid: int | None, exitcode: int | None, how: str) -> None:
        """It has ended; `how`: see ``_core.Pool.reap``."""
        life = time.monotonic() - self._born.pop(pid, 0.0)
        killed = exitcode in (-signal.SIGKILL, -signal.SIGTERM)  # by somebody else: that says little about the next
        useless = how == "unready" or (how == "idle" and life < _SHORT_LIFE and not killed)
        self._in_succession = self._in_succession + 1 if useless else 0
        tries = 10 * self.size if killed else self.size
        self.hopeless = self._in_succession > tries
