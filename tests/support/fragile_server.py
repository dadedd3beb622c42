"""Preloaded into a fork server: with a file named `$FRAGILE_SERVER.armed` it dies once it has forked, before it can tell."""

import os
import signal

_LOST = os.environ.get("FRAGILE_SERVER")  # where the pid of that worker goes; then later servers are as usual
_fork = os.fork


def _fork_and_die():
    pid = _fork()
    if pid and os.path.exists(f"{_LOST}.armed") and not os.path.exists(_LOST):
        with open(_LOST, "w") as file:
            file.write(str(pid))
        os.kill(os.getpid(), signal.SIGKILL)
    return pid


if _LOST is not None:
    os.fork = _fork_and_die
