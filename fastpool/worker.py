"""What runs in a worker process, and how it tells the parent of exceptions."""

import contextlib
import faulthandler
import io
import os
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures import _base
from concurrent.futures.process import _ExceptionWithTraceback
from multiprocessing.context import get_spawning_popen
from multiprocessing.pool import ExceptionWithTraceback, MaybeEncodingError  # type: ignore[attr-defined]
from multiprocessing.process import current_process
from multiprocessing.reduction import DupFd, ForkingPickler
from traceback import format_exception
from types import TracebackType
from typing import Any, NamedTuple

from fastpool import _core, sharing
from fastpool.errors import UnpicklingFailed, initializer_failed
from fastpool.stopping import WHERE_ARE_YOU

#: In how many pools, each in a worker of another, is this process?
depth = 0


#: Where this process's faulthandler writes; -1: nowhere of ours.
crash_log = -1


class Bounds(NamedTuple):
    """When a worker goes by itself; 0: never for that."""

    max_tasks: int = 0
    max_memory: int = 0  # bytes of its own that a task may leave it with
    idle_timeout: float = 0.0  # seconds without a task


class Place:
    """The index of a worker, and the ticket of the process that is to be it.

    The process waits until the program knows of it and admits it: ``_core.Pool.enlist``. One that was forked and never told
    of (its fork server died, say) ends when another is admitted, or nobody is to be that worker any more.
    """

    def __init__(self) -> None:
        self.index, self.ticket = -1, 0  # ``_core.Pool.new_worker`` writes the index here, which no interrupt can lose


class Attachment:
    """The descriptors of a pool's shared memory, on their way into a worker under any start method."""

    def __init__(self, *descriptors: int) -> None:
        self.descriptors = descriptors

    def detach(self) -> list[int]:
        """In the worker: the descriptors, its own from now on."""
        return list(self.descriptors)

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:
            raise TypeError("the shared memory of a pool goes to its own workers only")
        return _Passed, tuple(DupFd(fd) for fd in self.descriptors)


class _Passed:
    """An Attachment that came through spawn or forkserver."""

    def __init__(self, *handles: Any) -> None:
        # A fork server lets its processes begin without that. Up to here they end silently of an interrupt; from here on
        # multiprocessing would print its traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.handles = handles

    def detach(self) -> list[int]:
        descriptors = [handle.detach() for handle in self.handles]
        for fd in descriptors:
            os.set_inheritable(fd, False)
        return descriptors


def main(
    attachment: Attachment,
    place: Place,
    owner: int,
    nested: int,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    bounds: Bounds,
    resigns: bool = False,
) -> None:
    """A worker's life. SIGINT is blocked when it begins, so that Ctrl-C finds nothing half-made.

    `resigns`: what its initializer raises is for the parent to know.
    """
    try:
        memfd, bell = _begin(attachment, place, owner, nested)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if initializer is not None:
            error = _initialize(initializer, initargs)
            if error is not None:
                if resigns and isinstance(error, Exception):
                    text = _traceback_text(error, error.__traceback__)
                    _core.resign(memfd, bell, place.index, _encode(initializer_failed(error), text))
                return
        _core.work(memfd, bell, place.index, bounds, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        pass  # the parent has been interrupted as well, and says so


def pool_main(
    attachment: Attachment,
    place: Place,
    owner: int,
    nested: int,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    bounds: Bounds,
) -> None:
    """The same for a worker of a Pool: what is no ``Exception`` ends it, and the parent sees how."""
    try:
        memfd, bell = _begin(attachment, place, owner, nested)
        # A task may have children: like its owner this process ends them, and a pool's workers end with their owner.
        current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if initializer is not None:
            try:
                initializer(*initargs)
            except Exception as error:
                _resign(memfd, bell, place.index, error)
                return
        _core.work(memfd, bell, place.index, bounds, True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _begin(attachment: Attachment, place: Place, owner: int, nested: int) -> tuple[int, int]:
    """What comes first in any worker. Returns the descriptors of the pool's memory and of its manager's bell."""
    global depth
    depth = nested
    memfd, bell, lifeline = attachment.detach()
    _core.watch_owner(owner, lifeline)
    if not _core.admitted(memfd, place.index, place.ticket):
        os._exit(1)
    sharing.let_go_of_inherited()
    _tell_crashes(memfd, place.index)
    if isinstance(sys.stdout, io.TextIOWrapper):
        with contextlib.suppress(ValueError):  # closed
            sys.stdout.reconfigure(line_buffering=True)  # what a task has printed is not lost when its worker dies
    return memfd, bell


def _tell_crashes(memfd: int, index: int) -> None:
    """What faulthandler says, of a crash or when the parent asks where this process is, is for the parent to read."""
    global crash_log
    try:
        crash_log = _core.crash_log(memfd, index)
    except OSError:  # no /proc here
        return
    faulthandler.enable(crash_log)
    faulthandler.register(WHERE_ARE_YOU, crash_log)
    os.register_at_fork(after_in_child=_forget_crash_log)


def _forget_crash_log() -> None:
    """In a child that a task has forked: its end is not the worker's."""
    global crash_log
    if crash_log >= 0:
        faulthandler.disable()
        faulthandler.unregister(WHERE_ARE_YOU)
        os.close(crash_log)
        crash_log = -1


def _resign(memfd: int, bell: int, index: int, error: Exception) -> None:
    try:
        _core.resign(memfd, bell, index, encode_pool_exception(error))
    except MemoryError:  # there is little room for it
        short = UnpicklingFailed(f"The initializer raised what is too large to be sent: {_safe_repr(error)[:1000]}")
        _core.resign(memfd, bell, index, encode_pool_exception(short))


def _initialize(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> BaseException | None:
    try:
        initializer(*initargs)
    except KeyboardInterrupt as error:
        return error
    except BaseException as error:
        _base.LOGGER.critical("Exception in initializer:", exc_info=True)
        return error
    return None


def _is_plain(error: BaseException) -> bool:
    """A builtin exception with builtin arguments is known to survive pickling."""
    return (
        type(error).__module__ == "builtins"
        and not error.__dict__
        and all(type(argument) in (str, int, float, bytes, type(None)) for argument in error.args)
        and not isinstance(error, BaseExceptionGroup)
    )


def _stand_in(error: BaseException, why: BaseException) -> UnpicklingFailed:
    kind = type(error)
    return UnpicklingFailed(
        f"The exception {kind.__module__}.{kind.__qualname__} of a call could not be unpickled: {why!r}. "
        f"It was {_safe_repr(error)} with args {_safe_repr(error.args)}."
    )


def _safe_repr(thing: object) -> str:
    try:
        return repr(thing)
    except Exception as error:
        return f"<{type(thing).__qualname__} object, whose repr() raised {type(error).__name__}>"


def _traceback_text(error: BaseException, traceback: TracebackType | None) -> str:
    text = "".join(format_exception(type(error), error, traceback))
    return f'\n"""\n{text}"""'


def _encode(error: BaseException, traceback: str | None = None) -> bytes:
    """Pickled as the standard library does it: on arrival its cause is the traceback, as text."""
    wrapped: Any = _ExceptionWithTraceback(error, error.__traceback__)  # type: ignore[arg-type]  # None will do
    if traceback is not None:
        wrapped.tb = traceback
    return bytes(ForkingPickler.dumps(wrapped))


def hands_over(data: bytes) -> bool:
    """Does this pickle name what its receiver fetches from this process, once? To try it would be to fetch it."""
    return b"multiprocessing.resource_sharer" in data


def encode_exception(error: BaseException) -> bytes:
    """The exception of a call as bytes that are sure to unpickle, if need be of a stand-in or of the pickling error."""
    raised, traceback = error, error.__traceback__  # which the standard library's wrapper takes off
    try:
        data = _encode(error)
    except BaseException as pickling_error:
        error = pickling_error
        try:
            data = _encode(error)
        except BaseException as hopeless:
            return _encode(_stand_in(error, hopeless))
    if not _is_plain(error) and not hands_over(data):
        try:
            if not isinstance(pickle.loads(data), BaseException):
                raise TypeError("it unpickles as something that is no exception")
        except BaseException as why:
            text = _traceback_text(error, traceback) if error is raised else None
            data = _encode(_stand_in(error, why), text)
    return data


class _Shown:
    """Something to be shown whose own repr may raise."""

    def __init__(self, thing: object) -> None:
        self.text = _safe_repr(thing)

    def __repr__(self) -> str:
        return self.text


def maybe_encoding_error(error: Exception, value: object) -> MaybeEncodingError:
    """Pool's error for a value that cannot be pickled because of `error`."""
    return MaybeEncodingError(_Shown(error), _Shown(value))


def encode_pool_exception(error: BaseException) -> bytes:
    """The same as Pool does it, with its own class for the traceback; what pickle refuses is a MaybeEncodingError."""
    try:
        data = bytes(ForkingPickler.dumps(ExceptionWithTraceback(error, error.__traceback__)))
    except Exception as why:
        return bytes(ForkingPickler.dumps(maybe_encoding_error(why, error)))
    if not _is_plain(error) and not hands_over(data):
        try:
            if not isinstance(pickle.loads(data), BaseException):
                raise TypeError("it unpickles as something that is no exception")
        except BaseException as why:
            stand_in: Any = ExceptionWithTraceback(_stand_in(error, why), error.__traceback__)
            data = bytes(ForkingPickler.dumps(stand_in))
    return data


def encode_unwrapped(error: BaseException) -> bytes:
    """An exception of the transport's own."""
    return bytes(ForkingPickler.dumps(error))


def encode_unreadable_call(error: BaseException) -> bytes:
    """The call itself could not be unpickled here."""
    failure = UnpicklingFailed(f"The call could not be unpickled in the worker process: {_safe_repr(error)}")
    return _encode(failure, _traceback_text(error, error.__traceback__))


def encode_plainly(error: BaseException) -> bytes:
    """When encode_exception itself was interrupted."""
    return _encode(UnpicklingFailed(f"An exception was lost on its way: {_safe_repr(error)}"))
