"""The workers of a ProcessPoolExecutor: started as tasks need them, replaced when they retire, never after a death."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from fastpool.errors import pool_broken
from fastpool.launching import Team


class ExecutorTeam(Team):
    """Keeps the executor's ``_processes`` true."""

    def __init__(
        self,
        context: BaseContext,
        size: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks: int | None,
        by_pid: dict[int | None, BaseProcess],
        shared_memory: int | None,
    ) -> None:
        super().__init__(context, size, initializer, initargs, max_tasks, shared_memory)
        self.by_pid = by_pid
        self.force_shutting_down = False

    def has_started(self, process: BaseProcess) -> None:
        self.by_pid[process.pid] = process

    def has_ended(self, process: BaseProcess, how: str, error: bytes | None) -> None:
        if how == "retired":
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
        """With fork all workers start at once, before there are threads; else one by one, as they are needed."""
        return self.start_method != "fork"

    def maintain(self) -> None:
        """As many workers as there are tasks to run; only under the start methods that may start them from a thread."""
        if not self.starts_on_demand:
            return
        while not self.pool.broken and self.pool.started < min(self.pool.unfinished, self.pool.size):
            obstacle = self._obstacle_to_replacement() or self._start_replacement()
            if obstacle is not None:
                if self.pool.started == 0:
                    self.break_(pool_broken(obstacle))
                return

    def _start_replacement(self) -> str | None:
        """None, or why it could not be started."""
        try:
            self.start_worker()
        except Exception as error:
            return (
                "A replacement worker process could not be started, leaving the pool without workers to run the "
                f"remaining work: {error!r}"
            )
        return None

    def _obstacle_to_replacement(self) -> str | None:
        """Why no worker may take the place of one that has run its number of tasks, in the standard library's words."""
        if self.force_shutting_down:
            return (
                "A worker process exited while the pool was being forcefully shut down; work that was still enqueued "
                "will not be run."
            )
        if self._executor() is None:
            return (
                "The ProcessPoolExecutor was garbage collected with work pending after its last worker process exited "
                "upon reaching max_tasks_per_child; the pending work can never be run."
            )
        return None
