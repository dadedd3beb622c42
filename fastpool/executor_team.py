"""The workers of a ProcessPoolExecutor: started as tasks need them, replaced when they retire; after a death if asked to."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from fastpool.errors import pool_broken
from fastpool.launching import MOST_REFUSALS, Team
from fastpool.worker import Bounds, Place


class ExecutorTeam(Team):
    """Keeps the executor's ``_processes`` true."""

    def __init__(
        self,
        context: BaseContext,
        size: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        bounds: Bounds,
        by_pid: dict[int | None, BaseProcess],
        shared_memory: int | None,
        survives: bool,
        retries: int,
        min_workers: int,
    ) -> None:
        super().__init__(
            context,
            size,
            initializer,
            initargs,
            bounds,
            shared_memory,
            survives=survives,
            retries=retries,
            min_workers=min_workers,
        )
        self.by_pid = by_pid
        self.min_workers = min_workers

    def arguments(self, place: Place, owner: int) -> tuple[Any, ...]:
        return (*super().arguments(place, owner), self.survives)

    def has_started(self, process: BaseProcess) -> None:
        self.by_pid[process.pid] = process

    def has_ended(self, process: BaseProcess, how: str, error: bytes | None) -> None:
        if self.survives or how in ("retired", "killed"):
            self.by_pid.pop(process.pid, None)

    def processes(self) -> list[BaseProcess]:
        return list(self.by_pid.values())

    def give_up(self) -> None:
        super().give_up()
        self.by_pid.clear()

    def close_with(self, executor: object) -> None:
        """When nobody holds the executor any more: what was submitted is finished, then the workers go."""
        pool = self.pool
        self._executor = weakref.ref(executor, lambda _: pool.close())

    @property
    def starts_on_demand(self) -> bool:
        """With fork all workers start at once, before there are threads; else one by one, as they are needed.

        So do those that go again when they are idle.
        """
        return self.start_method != "fork" or self.bounds.idle_timeout > 0

    @property
    def wanted(self) -> int:
        """How many workers there should be now: all, or as many as there are tasks to run."""
        if not self.starts_on_demand:
            return self.pool.size
        return max(min(self.pool.unfinished, self.pool.size), self.min_workers)

    def maintain(self) -> None:
        """Start those that are wanted."""
        pool = self.pool
        while not (pool.broken or self.ended or self.failures.hopeless) and pool.started < self.wanted:
            obstacle = self._obstacle_to_replacement() or self._start_replacement()
            if obstacle is not None:
                if pool.started == 0 and (not self.survives or self.no_more_workers or self.refusals >= MOST_REFUSALS):
                    self.break_(pool_broken(obstacle))
                return
        self.refusals = 0

    def _start_replacement(self) -> str | None:
        """None, or why it could not be started."""
        try:
            self.start_worker()
            self.refusals = 0
        except Exception as error:
            self.refusals += 1
            return (
                "A replacement worker process could not be started, leaving the pool without workers to run the "
                f"remaining work: {error!r}"
            )
        return None

    def _obstacle_to_replacement(self) -> str | None:
        """Why no worker may take the place of one that has ended, in the standard library's words."""
        if self.no_more_workers:
            return (
                "A worker process exited while the pool was being forcefully shut down; work that was still enqueued "
                "will not be run."
            )
        if self.bounds.max_tasks and not self.survives and self._executor() is None:
            return (
                "The ProcessPoolExecutor was garbage collected with work pending after its last worker process exited "
                "upon reaching max_tasks_per_child; the pending work can never be run."
            )
        return None
