"""``share()`` where the C core cannot run: the object goes along with each call, pickled once."""

from __future__ import annotations

import pickle
from typing import Any, Generic, TypeVar, final

_T = TypeVar("_T")


@final
class Shared(Generic[_T]):
    """A handle of an object. Made by ``share()``."""

    __slots__ = ("__weakref__", "_data", "_value")

    _data: bytes
    _value: _T

    def __init__(self) -> None:
        raise TypeError("use fastpool.share(object)")

    @property
    def value(self) -> _T:
        """The object: unpickled when it is first asked for in this process."""
        try:
            return self._value
        except AttributeError:
            self._value = pickle.loads(self._data)
            return self._value

    @property
    def nbytes(self) -> int:
        """Bytes of the object's pickle."""
        return len(self._data)

    def __repr__(self) -> str:
        return f"<fastpool.Shared, {self.nbytes} bytes, not shared>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle, (self._data,)


def _handle(data: bytes) -> Shared[Any]:
    shared: Shared[Any] = Shared.__new__(Shared)
    shared._data = data
    return shared


def share(obj: _T) -> Shared[_T]:
    """Pickle `obj` once, for any number of tasks.

    Args:
        obj: anything that can be pickled.

    Returns:
        A handle. Its ``value`` is a copy of the object, in this process and in every task that gets the handle.

    Raises:
        Exception: what pickling `obj` raised.
    """
    return _handle(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL))
