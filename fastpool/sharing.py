"""A large read-only object that many tasks need: put into shared memory once, instead of being sent with every call.

A ``Shared`` that is an argument of a call, of ``ProcessPoolExecutor`` or ``Pool``, travels by reference: some hundred
bytes that name the pages, which the worker maps. So do arguments of a new process, and what a fork inherits. Anywhere
else (a result, a queue, a file) the data itself goes along, and what arrives is shared among those there.
"""

from __future__ import annotations

import os
import threading
import weakref
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from pickle import PickleBuffer
from typing import Any, Generic, TypeVar, final

from fastpool import _core

_T = TypeVar("_T")


@final
class Shared(Generic[_T]):
    """A handle of an object in shared memory. Made by ``share()``."""

    __slots__ = ("__weakref__", "_pages", "_value")

    _pages: _core.Pages
    _value: _T

    def __init__(self) -> None:
        raise TypeError("use fastpool.share(object)")

    @property
    def value(self) -> _T:
        """The object: unpickled when it is first asked for in this process, and the same from then on.

        Arrays, and whatever else pickles its memory out of band, are read-only views of the shared pages; the rest (``str``,
        ``bytes``, the structure around the arrays, empty arrays, arrays of objects, subclasses of ``numpy.ndarray``) is a copy
        of this process's own.

        Raises:
            FileNotFoundError: nobody has the object any more. Only in a worker that was forked while the program had
                the handle, inherits it (as a global variable, say) and first uses it when the program has dropped its own.
        """
        if not hasattr(self, "_value"):
            value = self._pages.load()  # without the lock: it may run anything
            with _first:
                if not hasattr(self, "_value"):
                    self._value = value
        return self._value

    @property
    def nbytes(self) -> int:
        """Bytes of shared memory that the object takes: its pickle and its buffers."""
        return self._pages.nbytes

    def __repr__(self) -> str:
        return f"<fastpool.Shared, {self.nbytes} bytes, {self._pages.token.hex()[:8]}>"

    def __copy__(self) -> Shared[_T]:
        return self

    def __deepcopy__(self, memo: object) -> Shared[_T]:
        return self

    def __reduce_ex__(self, protocol: Any, /) -> tuple[Any, ...]:
        """Anywhere but in a call, where the core does it: see ``_referenced``."""
        if get_spawning_popen() is not None:
            return _inherited, (DupFd(self._pages.where[1]),)
        return _copied, (self._pages.token, PickleBuffer(self._pages) if protocol >= 5 else bytes(self._pages))

    def _forget(self) -> None:
        """The value can be had again from the pages."""
        if hasattr(self, "_value"):
            del self._value


#: Held while a value that has been unpickled becomes the value. (Reentrant: a signal's handler may want it, too.)
_first = threading.RLock()

#: Those that this process has, by token.
_known: weakref.WeakValueDictionary[bytes, Shared[Any]] = weakref.WeakValueDictionary()


def _handle(pages: _core.Pages) -> Shared[Any]:
    """The handle of these pages, one in each process."""
    shared = _known.get(pages.token)
    if shared is None:
        shared = Shared.__new__(Shared)
        shared._pages = pages
        shared = _known.setdefault(pages.token, shared)  # another thread may have been faster
    return shared


def share(obj: _T) -> Shared[_T]:
    """Put `obj` into shared memory once, for any number of tasks.

    Args:
        obj: anything that can be pickled. A class's own way comes before what it has registered with multiprocessing's
            ``ForkingPickler``, which may be for one receiver; so it is with a ``Connection`` or a socket, which cannot be
            shared. Its arrays become views of the shared pages in each process; other objects are unpickled once in a
            process, not once in a task, and a task that changed them would change them for the next.
            Another handle inside the object is a copy of its own in each process.

    Returns:
        A handle. Its ``value`` is the object, in this process and in every task that gets the handle. The memory is
        freed when no process has the handle, the value or a view of it any more. A call that has not been run yet holds
        one; a worker that was idle for a second, or whose last two tasks were without the handle, has dropped its own.

    Raises:
        MemoryError: the object is larger than the memory of the machine, or of the control group, that is left.
        OSError: the system refused the memory.
        TypeError: `obj` has in it what one process can only hand over to one other, such as a ``Connection``.
        Exception: what pickling `obj` raised.
    """
    shared: Shared[_T] = _handle(_core.share(obj))
    return shared


def _referenced(token: bytes, owner: int, descriptor: int) -> Shared[Any]:
    """In a call: the process that made it keeps that descriptor open until the call has ended."""
    shared = _known.get(token)
    if shared is None:
        try:
            shared = _handle(_core.open_pages(owner, descriptor, token))
        except OSError as error:
            error.add_note(
                f"Process {os.getpid()} could not open what process {owner} had put there with fastpool.share(): it needs "
                "to see the other in /proc, and the right to look at its files, as processes of one user have."
            )
            raise
    _core.keep_for_next_task(shared)  # which is likely to want it, too
    return shared


def _inherited(descriptor: Any) -> Shared[Any]:
    return _handle(_core.adopt_pages(descriptor.detach()))


def _copied(token: bytes, data: bytes) -> Shared[Any]:
    shared = _known.get(token)
    return _handle(_core.copy_pages(data)) if shared is None else shared


def let_go_of_inherited() -> None:
    """In a new worker: what a fork copied from its parent must not hold the memory for as long as the pool lives.

    A handle that is used here all the same (a global variable, an initializer's argument) is opened again.
    """
    handles = list(_known.items())
    for _, shared in handles:
        shared._forget()
    _core.let_go_of_pages()
    for token, shared in handles:
        if not shared._pages.is_open:
            del _known[token]  # a call that brings it has a newer name for it


def _in_child() -> None:
    global _first
    _first = threading.RLock()


os.register_at_fork(after_in_child=_in_child)
_core.set_shared_type(Shared, _referenced)
