"""options(): the same pool on other terms, without taking a name from ``submit(fn, *args, **kwargs)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from fastpool.executor import ProcessPoolExecutor
    from fastpool.futures import Future

_P = ParamSpec("_P")
_T = TypeVar("_T")


#: Seconds to run, seconds from SIGTERM to SIGKILL (0: none), retries, name: as the core takes them.
Terms = tuple[float, float, int, str | None]


def make_terms(timeout: float | None, grace: float | None, retries: int, name: str | None, survives: bool) -> Terms:
    """The terms of a call, checked; see ``ProcessPoolExecutor.options``."""
    for what, seconds in (("timeout", timeout), ("grace", grace)):
        if seconds is not None and not isinstance(seconds, (int, float)):
            raise TypeError(f"{what} must be a number of seconds, or None")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{what} must be > 0 seconds")
    check_retries(retries, survives)
    if not isinstance(name, (str, type(None))):
        raise TypeError("name must be a str, or None")
    return timeout or 0.0, grace or 0.0, retries, name


def check_retries(retries: int, survives: bool) -> None:
    """A pool that breaks with its first worker has nobody to try again."""
    if not isinstance(retries, int):
        raise TypeError("retries must be an integer")
    if not 0 <= retries < 2**31:
        raise ValueError("retries must be >= 0")
    if retries and not survives:
        raise ValueError('retries needs a pool that survives the death of a worker: on_worker_death="respawn"')


def check_worker_limits(
    max_memory: int | None, idle_timeout: float | None, min_workers: int, max_workers: int
) -> None:
    """Arguments of ``ProcessPoolExecutor``."""
    if max_memory is not None and not isinstance(max_memory, int):
        raise TypeError("max_memory_per_worker must be an integer, a number of bytes")
    if max_memory is not None and max_memory <= 0:
        raise ValueError("max_memory_per_worker must be > 0 bytes")
    if idle_timeout is not None and not isinstance(idle_timeout, (int, float)):
        raise TypeError("idle_timeout must be a number of seconds")
    if idle_timeout is not None and not idle_timeout > 0:
        raise ValueError("idle_timeout must be > 0 seconds")
    if not isinstance(min_workers, int):
        raise TypeError("min_workers must be an integer")
    if not 0 <= min_workers <= max_workers:
        raise ValueError("min_workers must be between 0 and max_workers")


class BoundExecutor:
    """What ``ProcessPoolExecutor.options`` returns: its ``submit`` and ``map`` on these terms.

    It holds the executor, whose ``shutdown`` ends it as well.
    """

    def __init__(self, executor: ProcessPoolExecutor, terms: Terms) -> None:
        self._executor = executor
        self._terms = terms

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """See ``ProcessPoolExecutor.submit``."""
        return self._executor._submit_on(self._terms, fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """See ``ProcessPoolExecutor.map``, whose `timeout` is for all results together. A chunk is one call."""
        return self._executor._map(partial(BoundExecutor, terms=self._terms), fn, iterables, timeout, chunksize, buffersize)

    def __repr__(self) -> str:
        timeout, grace, retries, name = self._terms
        return f"<{self._executor!r} with {timeout=}, {grace=}, {retries=}, {name=}>"
