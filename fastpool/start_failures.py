"""Workers that end before they are of use: when is it hopeless to start another?"""

from __future__ import annotations

import signal
import time

#: Seconds: one that lives longer has a chance of a task, and does not keep the machine busy with starting the next.
_SHORT_LIFE = 1.0


class StartFailures:
    """Counts them in succession, those that were killed apart. A pool that replaces its workers would start them for ever."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hopeless = False  # the next one would end in the same way
        self._killed = self._by_themselves = self._served = 0
        self._born: dict[int, float] = {}  # by index

    def note_start(self, index: int) -> None:
        """A worker has been started."""
        self._born[index] = time.monotonic()

    def note_end(self, index: int, exitcode: int | None, how: str, served: int) -> None:
        """It has ended; `how`: see ``_core.Pool.reap``; `served`: how many tasks have been, by all workers."""
        life = time.monotonic() - self._born.pop(index, 0.0)
        killed = exitcode in (-signal.SIGKILL, -signal.SIGTERM)  # by somebody else: that says little about the next
        progress, self._served = served > self._served, served
        useless = how == "unready" or (how == "idle" and life < _SHORT_LIFE and not killed and not progress)
        if not useless:
            self._killed = self._by_themselves = 0
        elif killed:
            self._killed += 1
        else:
            self._by_themselves += 1
        self.hopeless = self._by_themselves > self.size or self._killed > 10 * self.size
