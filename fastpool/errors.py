"""The exceptions of fastpool, and what the C core calls to make them."""

import signal
from collections.abc import Callable
from concurrent.futures import _base
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from multiprocessing import ProcessError
from traceback import format_exception
from typing import Any

_DIED = "A process in the process pool was terminated abruptly while the future was running or pending."


# typeshed says that it takes a traceback object; it takes the text of one
remote_traceback: Callable[[str], BaseException] = _RemoteTraceback  # type: ignore[assignment]


class WorkerDied(BrokenProcessPool):
    """A worker process ended although nobody had told it to.

    Attributes:
        pid: its process id.
        exitcode: its exit code, ``-N`` if signal N killed it (as ``multiprocessing.Process.exitcode``); None if unknown.
        function: what it was running, ``module.name``; None if it was idle.
    """

    def __init__(self, message: str, pid: int = 0, exitcode: int | None = None, function: str | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.pid, self.exitcode, self.function)


class UnpicklingFailed(BrokenProcessPool):
    """A call, a result or an exception arrived, but could not be unpickled. Only its own future fails.

    ``__cause__`` is the error that unpickling raised, or its remote traceback.
    """


class PoolTerminated(ProcessError):
    """The Pool was terminated before the call had ended."""


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None:
        return "ended"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"


def worker_died(pid: int, exitcode: int | None, function: str | None, ready: object = True) -> WorkerDied:
    """The error of every future that was not done when that worker died, or of the one that it was running."""
    idle = "while it was idle" if ready else "before it could take a task"
    doing = f"while it was running {function}" if function else idle
    error = WorkerDied(f"{_DIED} (Worker process {pid} {_how_it_ended(exitcode)} {doing}.)", pid, exitcode, function)
    if exitcode:
        error.__cause__ = remote_traceback(f"\n'''\nProcess {pid} terminated abruptly with exit code {exitcode}'''")
    return error


def pool_broken(reason: str) -> BrokenProcessPool:
    """The error of every future that was not done when the pool broke for another reason."""
    return BrokenProcessPool(reason)


def result_unreadable(cause: BaseException | None, function: str | None) -> UnpicklingFailed:
    """The error of a future whose result does not unpickle."""
    what = f"The result of {function}" if function else "A result"
    if cause is None:
        return UnpicklingFailed(f"{what} is not what a worker process sends.")
    error = UnpicklingFailed(f"{what} could not be unpickled: {cause!r}")
    error.__cause__ = cause
    return error


def out_of_memory(function: str | None, size: int, limit: int) -> MemoryError:
    """The error of a future whose call or result found no room in shared memory; `size` is 0 if it is not known."""
    what = f"{size:,} bytes of " if size else ""
    return MemoryError(
        f"No room in the shared memory of the pool (at most {limit >> 20:,} MiB) for {what}a call to {function} or its "
        "result."
    )


def add_remote_traceback(error: BaseException) -> None:
    """What the standard library gives a call that could not be pickled: the traceback as text, as the cause."""
    text = "".join(format_exception(type(error), error, error.__traceback__))
    error.__cause__ = remote_traceback(f'\n"""\n{text}"""')


def log_callback(future: Any, error: BaseException) -> None:
    """A callback has raised."""
    _base.LOGGER.error("exception calling callback for %r", future, exc_info=error)
