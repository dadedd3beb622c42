"""Functions that pickle refuses (lambdas, closures, local functions) go by value, through cloudpickle if it is there."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any


class _ByValue:
    """Pickles as the function that it stands for: in the worker nothing of this class is left."""

    def __init__(self, function: Callable[..., object]) -> None:
        import cloudpickle  # type: ignore[import-untyped,import-not-found,unused-ignore]

        self.data: bytes = cloudpickle.dumps(function)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.data,)


def _has_no_name_in_its_module(function: object) -> bool:
    """Is it a lambda or a local function, or a partial of one? Whatever else pickle refuses, it refuses for a reason."""
    if isinstance(function, partial):
        return any(map(_has_no_name_in_its_module, (function.func, *function.args)))
    return isinstance(function, FunctionType) and "<" in function.__qualname__


def pack(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """A call whose pickling has failed, as bytes; None if the function is not to blame, or cannot go by value either."""
    if not _has_no_name_in_its_module(function):
        return None
    try:
        return bytes(ForkingPickler.dumps((_ByValue(function), args, kwargs)))
    except Exception:  # no cloudpickle, or it refuses too: pickle's own error says what was wrong
        return None
