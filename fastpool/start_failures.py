"""Workers that end before they can take a task: when is it hopeless to start another?"""

from __future__ import annotations

import signal


class StartFailures:
    """Counts them in succession. A pool that replaces its workers would start them for ever."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hopeless = False  # the next one would end in the same way
        self._in_succession = 0

    def note(self, ended_unready: bool, exitcode: int | None) -> None:
        """A worker has ended."""
        self._in_succession = self._in_succession + 1 if ended_unready else 0
        # one that somebody else has killed says little about the next
        tries = 10 * self.size if exitcode in (-signal.SIGKILL, -signal.SIGTERM) else self.size
        self.hopeless = self._in_succession > tries
