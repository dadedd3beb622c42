"""The exceptions of fastpool, and what the C core calls to make them."""

import signal
import threading
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
        peak_memory: bytes that it had at most; None if unknown.
        out_of_memory: it was killed while the kernel killed something for want of memory: probably this was it.
        crash: what ``faulthandler`` wrote in it, the stacks of its threads; None if nothing.
    """

    def __init__(
        self,
        message: str,
        pid: int = 0,
        exitcode: int | None = None,
        function: str | None = None,
        peak_memory: int | None = None,
        out_of_memory: bool = False,
        crash: str | None = None,
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode
        self.function = function
        self.peak_memory = peak_memory
        self.out_of_memory = out_of_memory
        self.crash = crash

    def __reduce__(self) -> tuple[Any, ...]:
        facts = (self.pid, self.exitcode, self.function, self.peak_memory, self.out_of_memory, self.crash)
        return type(self), (str(self), *facts), self.__dict__


class UnpicklingFailed(BrokenProcessPool):
    """A call, a result or an exception arrived, but could not be unpickled. Only its own future fails.

    ``__cause__`` is the error that unpickling raised, or its remote traceback.
    """


class TaskTimeout(TimeoutError):
    """A call ran for longer than ``options(timeout=...)`` allows, and was stopped.

    Attributes:
        function: what ran, ``module.name``.
        limit: seconds that it had.
        elapsed: seconds that it ran for.
        stack: where its worker was then, as ``faulthandler`` says it; None if it did not answer.
    """

    def __init__(
        self, message: str, function: str | None = None, limit: float = 0.0, elapsed: float = 0.0, stack: str | None = None
    ) -> None:
        super().__init__(message)
        self.function = function
        self.limit = limit
        self.elapsed = elapsed
        self.stack = stack

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.function, self.limit, self.elapsed, self.stack), self.__dict__


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


def worker_died(
    pid: int,
    exitcode: int | None,
    function: str | None,
    ready: object = True,
    peak: int = 0,
    oom: object = False,
    crash: str | None = None,
) -> WorkerDied:
    """The error of every future that was not done when that worker died, or of the one that it was running."""
    idle = "while it was idle" if ready else "before it could take a task"
    doing = f"while it was running {function}" if function else idle
    memory = f", having used up to {peak >> 20:,} MiB" if peak else ""
    why = ", probably for want of memory" if oom else ""
    what = f"Worker process {pid} {_how_it_ended(exitcode)} {doing}{why}{memory if oom else ''}."
    error = WorkerDied(f"{_DIED} ({what})", pid, exitcode, function, peak or None, bool(oom), crash or None)
    if crash:
        error.add_note(crash)
    if exitcode:
        error.__cause__ = remote_traceback(f"\n'''\nProcess {pid} terminated abruptly with exit code {exitcode}'''")
    return error


def timed_out(function: str | None, limit: float, elapsed: float, stack: str) -> TaskTimeout:
    """The error of a call that has been stopped because its time was over."""
    message = f"{function or 'The call'} ran for {elapsed:.3f} s, longer than the {limit:g} s of its timeout, and was stopped."
    error = TaskTimeout(message, function, limit, elapsed, stack or None)
    if stack:
        error.add_note(f"Its worker process was here:\n{stack}")
    return error


def too_large(pid: int, function: str | None, limit: int) -> WorkerDied:
    """The error of a call in which its worker came to need far too much memory."""
    return WorkerDied(
        f"Worker process {pid} was killed because it needed more than {limit >> 20:,} MiB of memory, twice its "
        f"max_memory_per_worker, while it was running {function}.",
        pid,
        -signal.SIGKILL,
        function,
        out_of_memory=True,
    )


def pool_broken(reason: str) -> BrokenProcessPool:
    """The error of every future that was not done when the pool broke for another reason."""
    return BrokenProcessPool(reason)


def initializer_failed(error: BaseException) -> BrokenProcessPool:
    """The error of every future of a pool whose workers' initializer raises again and again."""
    try:
        what = repr(error)
    except Exception:
        what = type(error).__name__
    return BrokenProcessPool(f"The initializer of the pool's workers raised {what}.")


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


def tell_waiters(future: Any) -> None:
    """Its outcome is there, but memory ran out while those were told who wait for it the standard library's way."""
    cancelled = future.cancelled()
    if threading.current_thread().name == "fastpool-courier":  # there nobody is in the middle of something else
        while future._condition._is_owned():
            future._condition.release()  # there was no memory for that, either
    with future._condition:
        for waiter in future._waiters:
            if any(told is future for told in waiter.finished_futures):
                waiter.event.set()  # perhaps too early, but not never
            elif cancelled:
                waiter.add_cancelled(future)
            elif future._exception is None:
                waiter.add_result(future)
            else:
                waiter.add_exception(future)
        future._condition.notify_all()
    future._invoke_callbacks()
