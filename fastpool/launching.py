"""Starting worker processes, watching them, ending them: the part of a pool that outlives its executor.

Actors:
    Team      the workers of one pool and what is needed to start more. Holds no reference to the executor.
    Manager   a thread per pool. Sleeps in C until a worker ends, the last task of a closed pool has ended, or
              the ring of tasks runs low (which C handles alone). Never runs user code.
    courier   a thread per pool, started when a future first needs it: callbacks and foreign waiters.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from fastpool import _core, worker
from fastpool.futures import Future

#: Seconds that a worker has to follow SIGTERM before SIGKILL comes.
TERMINATION_GRACE = 2.0

#: Seconds that running tasks have to end by themselves after Ctrl-C.
INTERRUPT_GRACE = 0.05


@contextlib.contextmanager
def _interrupts_blocked(start_method: str | None) -> Iterator[None]:
    """A worker inherits the signal mask, and unblocks SIGINT when it is ready for it.

    Not with forkserver: the server, and all that it ever forks, would inherit it instead. With spawn, the first
    process also starts multiprocessing's resource tracker, which ends by unblocking SIGINT: that has to come first.
    """
    if start_method == "forkserver":
        yield
        return
    if start_method == "spawn":
        resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_courier(couriers: list[threading.Thread], pool: _core.Pool) -> None:
    """Called by the pool. (A method of Team would tie the two in a cycle.)"""
    courier = threading.Thread(target=pool.deliver, name="fastpool-courier")
    courier.start()
    couriers.append(courier)


class Team:
    """The workers of one pool."""

    def __init__(
        self,
        context: BaseContext,
        max_workers: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks_per_child: int | None,
        processes: dict[int | None, BaseProcess],
    ) -> None:
        self.context = context
        self.start_method = context.get_start_method(allow_none=False)
        self.initializer = initializer
        self.initargs = initargs
        self.max_tasks_per_child = max_tasks_per_child
        self.processes = processes
        self.force_shutting_down = False
        self.by_index: dict[int, BaseProcess] = {}
        self.couriers: list[threading.Thread] = []
        self.pool = _core.Pool(max_workers, Future, partial(_start_courier, self.couriers))
        self.attachment = worker.Attachment(*self.pool.attachment())

    def close_with(self, executor: object) -> None:
        """When nobody holds the executor any more: what was submitted is finished, then the workers go."""
        pool = self.pool
        self._executor = weakref.ref(executor, lambda _: pool.close())

    @property
    def starts_on_demand(self) -> bool:
        """With fork all workers start at once, before there are threads; else one by one, as they are needed."""
        return self.start_method != "fork"

    def start_worker(self) -> None:
        """The only place that starts processes."""
        index = self.pool.new_worker()
        try:
            process = self.context.Process(  # type: ignore[attr-defined]
                target=worker.main,
                args=(
                    self.attachment,
                    index,
                    os.getpid(),
                    self.initializer,
                    self.initargs,
                    self.max_tasks_per_child,
                ),
            )
            with _interrupts_blocked(self.start_method):
                process.start()
        except BaseException:
            self.pool.cancel_worker(index)
            raise
        self.by_index[index] = process
        self.processes[process.pid] = process
        self.pool.watch(index, process.pid, process.sentinel)

    def start_all(self, count: int) -> None:
        """Start `count` workers, or none."""
        try:
            for _ in range(count):
                self.start_worker()
        except BaseException:
            self.terminate()
            for index, process in list(self.by_index.items()):
                process.join()
                self.pool.cancel_worker(index)
            self.by_index.clear()
            self.processes.clear()
            raise

    def reap(self, index: int) -> None:
        """The worker has ended for certain."""
        process = self.by_index.pop(index, None)
        if process is None or process.pid is None:
            return
        process.join()
        if self.pool.reap(index, process.pid, process.exitcode):
            self.processes.pop(process.pid, None)

    def replace_retired(self) -> None:
        """As many workers as there are tasks to run; only under the start methods that may start them from a thread."""
        while not self.pool.broken and self.pool.started < min(self.pool.unfinished, self.pool.size):
            obstacle = self._obstacle_to_replacement() or self._start_replacement()
            if obstacle is not None:
                if self.pool.started == 0:
                    self.pool.break_(obstacle)
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

    def terminate(self, kill_after: float = TERMINATION_GRACE) -> None:
        """SIGTERM for every worker, SIGKILL for those that do not follow."""
        for process in list(self.processes.values()):
            process.terminate()
        deadline = time.monotonic() + kill_after
        for process in list(self.processes.values()):
            process.join(max(deadline - time.monotonic(), 0))
            if process.is_alive():
                process.kill()

    def end(self) -> None:
        """Nothing is left to do, or the pool is broken."""
        if self.pool.broken:
            self.terminate()
        else:
            self.pool.stop_workers()
        for process in list(self.processes.values()):
            process.join()
        self.pool.bury()
        self.pool.dismiss_courier()


class Manager(threading.Thread):
    """The thread that looks after a team until nothing is left of it."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.team = team

    def run(self) -> None:
        team = self.team
        pool = team.pool
        try:
            while not (pool.broken or pool.drained):
                for index in pool.manage():
                    team.reap(index)
                if team.starts_on_demand:
                    team.replace_retired()
        except BaseException as error:
            pool.break_(f"The pool's manager thread failed: {error!r}")
            raise
        finally:
            team.end()

    def join_all(self) -> None:
        """Wait for the end of the pool: this thread, and every callback, unless one of them is waiting here."""
        self.join()
        for courier in self.team.couriers:
            if courier is not threading.current_thread():
                courier.join()


_managers: weakref.WeakSet[Manager] = weakref.WeakSet()
_exiting = False


def start_manager(team: Team) -> Manager:
    manager = Manager(team)
    manager.start()
    _managers.add(manager)
    return manager


def is_exiting() -> bool:
    """Is the interpreter on its way out?"""
    return _exiting


def abandon(manager: Manager) -> None:
    """After Ctrl-C: no task starts any more, those that run are given a moment, then their workers end."""
    pool = manager.team.pool
    pool.close()
    pool.cancel_pending()
    manager.join(INTERRUPT_GRACE)
    if manager.is_alive():
        for process in list(manager.team.processes.values()):
            process.terminate()


def _ends_by_interrupt() -> bool:
    """Has an uncaught KeyboardInterrupt ended the program?"""
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")


def _at_exit() -> None:
    """Before threads are joined: finish what is queued, as the standard library does."""
    global _exiting
    _exiting = True
    managers = list(_managers)
    interrupted = _ends_by_interrupt()
    for manager in managers:
        if interrupted:
            abandon(manager)
        manager.team.pool.close()
    for manager in managers:
        manager.join_all()


threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
