"""The workers of a Pool: all of them from the start, each replaced when it ends, whatever the reason."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from fastpool import forking, worker
from fastpool.errors import pool_broken
from fastpool.launching import MOST_REFUSALS, Team


def _weakly(hook: Callable[..., BaseProcess]) -> Callable[[], Callable[..., BaseProcess] | None]:
    """The ``Process`` hook of a Pool, without holding the Pool if it is a method of it."""
    return weakref.WeakMethod(hook) if inspect.ismethod(hook) else lambda: hook


class PoolTeam(Team):
    """Keeps the Pool's ``_pool`` true."""

    target = staticmethod(worker.pool_main)
    of_pool = True

    def __init__(
        self,
        context: BaseContext,
        size: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks: int | None,
        hook: Callable[..., BaseProcess],
        roster: list[BaseProcess],
    ) -> None:
        super().__init__(context, size, initializer, initargs, worker.Bounds(max_tasks or 0), survives=True)
        self.size = size
        self.hook = _weakly(hook)
        self.roster = roster

    def make_process(self, **options: Any) -> BaseProcess:
        hook = self.hook()
        process = super().make_process(**options) if hook is None else hook(self.context, **options)
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        return process

    def has_started(self, process: BaseProcess) -> None:
        self.roster.append(process)

    def has_ended(self, process: BaseProcess, how: str, error: bytes | None) -> None:
        self.roster.remove(process)

    def maintain(self) -> None:
        """As many workers as at the start. Called by the manager's thread, and by whoever asks for it."""
        with forking.forking:
            while not self.ended and not self.pool.broken and len(self.by_index) < self.size:
                if self.failures.hopeless:
                    return  # those that are there go on alone
                if not self._start_replacement():
                    return

    def _start_replacement(self) -> bool:
        try:
            self.start_worker()
        except Exception as error:
            self.refusals += 1
            if not self.by_index and self.refusals >= MOST_REFUSALS:
                self.break_(pool_broken(f"A replacement worker process could not be started: {error!r}"))
            return False
        self.refusals = 0
        return True
