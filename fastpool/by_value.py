"""Functions that pickle refuses, or that a worker could not find again, go by value: through cloudpickle, if it is there.

That is lambdas, closures and local functions, and whatever was defined at an interactive prompt. A function's pickle
is sent to each worker once; the core compares it at every call, because a function by value takes its globals and
cells along, and they change.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

from fastpool import forking, sharing

if TYPE_CHECKING:
    from fastpool import _core

PROTOCOL = 5

_HOW_TO = " To send it by value, install cloudpickle: pip install 'fastpool[cloudpickle]'."


class Whole:
    """The call of a function that has no place of its own in shared memory: in the worker nothing of this class is left."""

    def __init__(self, function: bytes, arguments: tuple[Any, ...]) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _join, self.parts


def _join(function: bytes, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (pickle.loads(function), *arguments)


def _has_no_name_in_its_module(function: object) -> bool:
    """Is it a lambda or a local function, or a partial of one? Whatever else pickle refuses, it refuses for a reason."""
    if isinstance(function, partial):
        return any(map(_has_no_name_in_its_module, (function.func, *function.args)))
    return isinstance(function, FunctionType) and "<" in function.__qualname__


def _cloudpickle() -> Any:
    if "cloudpickle" not in sys.modules:
        with forking.forking:
            importlib.import_module("cloudpickle")
    return importlib.import_module("cloudpickle")  # another thread may be in the middle of it


def dumps(thing: object) -> bytes:
    """By value, what has to be."""
    data: bytes = _cloudpickle().dumps(thing)
    return data


def dump(thing: object, writer: _core._Writer) -> None:
    """The same, into a payload of the core's."""
    _call_pickler()(writer).dump(thing)


@functools.cache
def _call_pickler() -> Any:
    """cloudpickle's, for a call: shared objects go by reference."""
    base: Any = _cloudpickle().Pickler

    class CallPickler(base):  # type: ignore[misc]
        def __init__(self, writer: _core._Writer) -> None:
            super().__init__(writer, PROTOCOL, writer.take_buffer)
            self._reduce_shared = writer.reduce_shared

        def reducer_override(self, obj: Any) -> Any:
            return self._reduce_shared(obj) if type(obj) is sharing.Shared else super().reducer_override(obj)

    return CallPickler


def function(function: Callable[..., object], error: BaseException | None) -> bytes | None:
    """Its pickle by value; None if it is not to blame for `error`, or cannot go by value either. MemoryError if it may yet.

    If `error` is None, it was defined at an interactive prompt.
    """
    if error is not None and not _has_no_name_in_its_module(function):
        return None
    try:
        return dumps(function)
    except ModuleNotFoundError:  # pickle's own error says what is wrong, and here what can be done
        if error is not None and len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (error.args[0] + _HOW_TO,)
    except MemoryError:
        raise
    except Exception:
        pass
    return None


def for_many_calls(function_: Callable[..., object]) -> bytes | None:
    """The pickle by value of one that cannot go by name, made once for all calls of a map; None if it goes by name."""
    if _has_no_name_in_its_module(function_) or _is_interactive(function_):
        return function(function_, None)
    return None


def _is_interactive(function: object) -> bool:
    return hasattr(sys, "ps1") and isinstance(function, FunctionType) and function.__module__ == "__main__"
