"""``multiprocessing.pool``, with ``Pool`` fastpool's; ``ThreadPool`` is the standard library's."""

from __future__ import annotations

import multiprocessing.pool as _standard
from multiprocessing.pool import ThreadPool
from typing import Any

from fastpool import Pool

__all__ = ["Pool", "ThreadPool"]


def __getattr__(name: str) -> Any:
    """The classes of results, the errors, the states."""
    return getattr(_standard, name)
