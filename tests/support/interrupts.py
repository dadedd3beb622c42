"""What Ctrl-C does to a wait, with a signal that pytest does not listen for."""

import contextlib
import signal
import threading

import pytest

from support import processes
from support.events import eventually


class Interrupted(Exception):
    pass


def _raise(signum, frame):
    raise Interrupted


@contextlib.contextmanager
def interrupted_once_asleep():
    """The block waits in the main thread: it is interrupted as soon as that sleeps, and leaves with Interrupted."""
    main, entered = threading.main_thread(), threading.Event()

    def interrupt():
        entered.wait()
        eventually(lambda: processes.sleeping(main.native_id))
        signal.pthread_kill(main.ident, signal.SIGUSR2)

    old = signal.signal(signal.SIGUSR2, _raise)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            entered.set()
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR2, old)
