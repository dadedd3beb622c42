"""What ``Pool.options`` returns: the Pool's methods, with other terms for the calls that they make."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastpool.futures import Future
from fastpool.options import Terms
from fastpool.pool import Pool


class BoundPool:
    """It holds the Pool, whose ``close`` and ``terminate`` end it as well. What it does not have itself is the Pool's."""

    def __init__(self, pool: Pool, terms: Terms) -> None:
        self._itself = pool
        self._terms = terms
        self._submit = partial(pool._team.pool.submit_on, terms)

    def _submit_each(
        self, func: Any, items: tuple[Any, ...], star: Any, data: bytes | None = None
    ) -> Future[list[Any]]:
        return self._itself._team.pool.submit_each(func, items, star, data, self._terms)

    apply = Pool.apply
    apply_async = Pool.apply_async
    imap = Pool.imap
    imap_unordered = Pool.imap_unordered
    map = Pool.map
    map_async = Pool.map_async
    starmap = Pool.starmap
    starmap_async = Pool.starmap_async
    _imap = Pool._imap
    _map_async = Pool._map_async
    _submit_chunks = Pool._submit_chunks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._itself, name)

    def __repr__(self) -> str:
        timeout, grace, retries, name = self._terms
        return f"<{self._itself!r} with {timeout=}, {grace=}, {retries=}, {name=}>"
