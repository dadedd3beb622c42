"""Starting worker processes, watching them, ending them: the part of a pool that outlives its executor.

Actors:
    Team      the workers of one pool and what is needed to start more. Holds no reference to the executor or Pool.
              What differs between these two is in ``executor_team`` and ``pool_team``.
    Manager   a thread per pool. Sleeps in C until a worker ends, the last task of a closed pool has ended, or
              the ring of tasks runs low (which C handles alone). Never runs user code.
    courier   a thread per pool, started when a future first needs it: callbacks and foreign waiters.
    reader    a thread per pool, started when first needed: results that have to be fetched from their worker.
    sender    a thread that lives while there are calls to be pickled later, because too much is on its way already.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import forkserver, popen_fork, resource_tracker
from multiprocessing.context import BaseContext, get_spawning_popen, set_spawning_popen
from multiprocessing.process import BaseProcess
from traceback import walk_tb
from typing import Any, TypeVar

from fastpool import _core, forking, oom, worker
from fastpool.errors import pool_broken, timed_out, too_large, worker_died
from fastpool.futures import Future
from fastpool.start_failures import StartFailures
from fastpool.stopping import (
    ask_for_stack,
    end_child,
    kill_tree,
    kill_watched,
    private_memory,
    watch_descendants,
    without_own_frames,
)
from fastpool.template import Template, TemplateUnavailable

_T = TypeVar("_T")

#: Seconds that a worker has to follow SIGTERM before SIGKILL comes.
TERMINATION_GRACE = 2.0

#: Pools may be nested so deep: far beyond any use, far below what would take the machine down.
MOST_NESTED = 6

#: Seconds between two looks at how large the workers are, if that is limited; else at those that go by themselves.
LOOK_AT_MEMORY = 0.05
LOOK_AT_LEAVERS = 1.0

#: Times, a second apart, that the system may refuse the only worker of a pool before the pool breaks.
MOST_REFUSALS = 5

#: Seconds that a worker has to end after its last task, if there is no other and tasks wait.
LEAVE_WITHIN = 5.0

#: Seconds until it is certain that a fork server which has not answered has died: multiprocessing then starts another.
SERVER_PAUSES = (0.01, 0.04, 0.16, 0.64, 2.56)

#: Seconds between two looks at workers that cannot be waited for otherwise.
STRAY_PAUSE = 0.01

#: Seconds between two attempts to start a thread, where the system has none.
THREAD_PAUSE = 0.05

#: Times the memory that a task may leave its worker with: for that it is killed at once.
HARD_MULTIPLE = 2

#: Seconds that running tasks have to end by themselves after Ctrl-C.
INTERRUPT_GRACE = 0.05


def _without_interrupts(start_method: str | None, start: Callable[[], _T]) -> _T:
    """A worker inherits the signal mask, and unblocks SIGINT when it is ready for it.

    Not with forkserver: the server, and all that it ever forks, would inherit it instead. With spawn, the first
    process also starts multiprocessing's resource tracker, which ends by unblocking SIGINT: that has to come first.
    """
    if start_method == "forkserver":
        return start()
    if start_method == "spawn":
        resource_tracker.ensure_running()
    return _core.without_interrupts(start)


def _close_pipes_of(error: OSError) -> None:
    """What multiprocessing leaves open if the system refuses the fork, or the second pipe: only its frame knows them."""
    for frame, _ in walk_tb(error.__traceback__):
        code, found = frame.f_code, frame.f_locals
        by_fork = code is popen_fork.Popen._launch.__code__  # type: ignore[attr-defined]
        by_server = code is forkserver.ForkServer.connect_to_new_process.__code__ and "child_r" not in found  # else it does
        if by_fork or by_server:
            for pipe_end in ("parent_r", "child_w", "child_r", "parent_w"):
                if pipe_end in found:
                    os.close(found[pipe_end])


def _end_unknown(process: BaseProcess | None, error: BaseException) -> None:
    """A worker of which nobody will hear: `error` came after its start, or in multiprocessing's midst of it.

    Without this it would not be admitted, and end by itself; but as a child that nobody waits for.
    """
    if process is not None and getattr(process, "pid", None) is not None:
        process.kill()
        process.join()
        return
    for frame, _ in walk_tb(error.__traceback__):
        found = frame.f_locals  # others' processes may be looked at meanwhile, too
        popen = found.get("self") if process is not None and found.get("process_obj") is process else None
        if isinstance(popen, popen_fork.Popen) and (getattr(popen, "pid", None) or 0) > 0:
            end_child(popen.pid)
            return


def _start_thread(threads: list[PatientThread], daemon: bool, pool: _core.Pool, method: str, name: str) -> None:
    """Called by the pool, for a thread that runs one of its methods. (A method of Team would tie the two in a cycle.)"""
    thread = PatientThread(getattr(pool, method), f"fastpool-{name}", daemon)
    thread.start()
    threads.append(thread)
    for old in threads[:-1]:
        if not old.is_alive():
            with contextlib.suppress(ValueError):  # another thread did the same
                threads.remove(old)


class Team:
    """The workers of one pool."""

    #: What a worker process runs.
    target: Callable[..., None] = staticmethod(worker.main)
    #: Set when a worker that ends is not to be replaced any more.
    no_more_workers = False
    #: With multiprocessing.Pool's manners? Then nobody need wait for the pool at the interpreter's end, either.
    of_pool = False

    def __init__(
        self,
        context: BaseContext,
        size: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        bounds: worker.Bounds,
        shared_memory: int | None = None,
        *,
        survives: bool = False,
        retries: int = 0,
        min_workers: int = 0,
    ) -> None:
        """`survives`: a worker's death fails its task only, after so many `retries`."""
        if worker.depth >= MOST_NESTED:
            raise RuntimeError(
                f"This is a worker of a pool in a worker of a pool, {worker.depth} deep: it may have no pool of its own. "
                "Does a task start the program again that submits it?"
            )
        self.context = context
        self.start_method = context.get_start_method(allow_none=False)
        self.initializer = initializer
        self.initargs = initargs
        self.bounds = bounds
        self.survives = survives
        self.by_index: dict[int, BaseProcess] = {}
        self.threads: list[PatientThread] = []
        self.ended = False  # no worker starts any more; `end` sets it with `forking.forking` held
        start_thread = partial(_start_thread, self.threads, self.of_pool)
        self.pool = _core.Pool(
            size, Future, start_thread, self.of_pool, survives, shared_memory or 0, retries, min_workers
        )
        self.attachment = worker.Attachment(*self.pool.attachment())
        self.template: Template | None = None
        #: By index: pidfds of the processes that a worker had started when it was told to end.
        self.heirs: dict[int, list[int]] = {}
        #: How often in succession the system has refused a worker that was to take another's place.
        self.refusals = 0
        #: By index: when a worker was first seen to have taken its last task.
        self.leaving: dict[int, float] = {}
        self.failures = StartFailures(size)
        self.oom_kills = 0
        forking.teams.add(self)

    def make_process(self, **options: Any) -> BaseProcess:
        """A worker's process, not started."""
        process: BaseProcess = self.context.Process(**options)  # type: ignore[attr-defined]
        return process

    def has_started(self, process: BaseProcess) -> None:
        """For the list of processes that users know."""

    def has_ended(self, process: BaseProcess, how: str, error: bytes | None) -> None:
        """The same. `how`, `error`: see ``_core.Pool.reap``."""

    def maintain(self) -> None:
        """Start workers for those that have gone. Called by the manager's thread."""

    def processes(self) -> list[BaseProcess]:
        """All that may still run."""
        return list(self.by_index.values())

    def arguments(self, place: worker.Place, owner: int) -> tuple[Any, ...]:
        """Of `target`."""
        return self.attachment, place, owner, worker.depth + 1, self.initializer, self.initargs, self.bounds

    def start_template(self) -> None:
        """While there are no threads yet: see ``template``."""
        owner = os.getpid()

        def fork() -> None:
            self.template = Template(
                lambda place: self.make_process(target=self.target, args=self.arguments(place, owner)),
                owner,
                self.attachment.descriptors[2],
            )

        with forking.forking:
            _without_interrupts(self.start_method, fork)

    def _start_process(self, process: BaseProcess, place: worker.Place) -> None:
        if self.template is not None:
            place.ticket = self.pool.new_ticket(place.index)
            vars(process)["_Popen"] = self.template.popen(place)
            try:
                process.start()
                return
            except TemplateUnavailable:
                pass
            finally:
                del vars(process)["_Popen"]
        for pause in (*SERVER_PAUSES, None):
            place.ticket = self.pool.new_ticket(place.index)  # who made one before may only have been unable to tell
            try:
                process.start()
                return
            except (OSError, EOFError) as error:
                if isinstance(error, OSError):
                    _close_pipes_of(error)
                server_died = self.start_method == "forkserver" and isinstance(error, (ConnectionError, EOFError))
                if pause is None or not server_died:
                    raise
            time.sleep(pause)

    def _launch(self, enlist: bool = True) -> bool:
        """The only place that starts processes, with `forking.forking` held. False: all are started, or it is over.

        Without `enlist`: see there.
        """
        place = worker.Place()
        process: BaseProcess | None = None
        listed = False
        outer = get_spawning_popen()  # a signal's handler may start a worker while another is being pickled
        try:
            if self.ended or not self.pool.new_worker(place):
                return False
            process = self.make_process(target=self.target, args=self.arguments(place, os.getpid()))
            _without_interrupts(self.start_method, partial(self._start_process, process, place))
            self.by_index[place.index] = process
            listed = True
            self.failures.note_start(place.index)
            self.has_started(process)
            if enlist:
                self._enlist(place.index)
        except BaseException as error:
            # one that is enlisted is the manager's; so is one that is in the list no more
            is_ours = place.index < 0 or not self.pool.enlisted(place.index)
            if is_ours and (self.by_index.pop(place.index, None) is not None or not listed):
                self._take_back(place.index, process, error)
            raise
        finally:
            set_spawning_popen(outer)
        return True

    def _enlist(self, index: int) -> None:
        """From here on its end is noticed, and it may run a task, which may be stopped."""
        process = self.by_index[index]
        assert process.pid is not None
        self.pool.enlist(index, process.pid, process.sentinel)

    def _take_back(self, index: int, process: BaseProcess | None, error: BaseException) -> None:
        """The start of a worker that nobody knows has failed; index -1: before there was anything."""
        try:
            _end_unknown(process, error)
        finally:
            if process is not None:
                with contextlib.suppress(ValueError):  # it was not in the list yet
                    self.has_ended(process, "killed", None)
            if index >= 0:
                self.pool.cancel_worker(index)

    def start_worker(self) -> None:
        """Start one more, if there may be more."""
        with forking.forking:
            self._launch()

    def start_all(self, count: int) -> None:
        """Start `count` workers."""
        for _ in range(count):
            with forking.forking:
                self._launch(enlist=False)
        for index in self.by_index:
            self._enlist(index)

    def give_up(self) -> None:
        """End all, before there is a manager."""
        for process in self.processes():
            if process.exitcode is None:
                process.terminate()
        self.pool.stop_workers()  # those that handle SIGTERM, too
        for index, process in list(self.by_index.items()):
            if not self.pool.enlisted(index):
                self.pool.cancel_worker(index)  # the same for one that waits to be admitted
            process.join()
            if self.pool.enlisted(index):
                self.pool.cancel_worker(index)
        self.by_index.clear()
        if self.template is not None:
            self.template.end()

    def reap(self, index: int) -> None:
        """The worker has been seen to end."""
        if self.pool.lives(index):
            return  # that was the one before it, whose start an interrupt took back
        process = self.by_index.pop(index, None)
        if process is None or process.pid is None:
            return
        peak = _core.peak_memory(process.pid)
        process.join()
        # one that was told to end has said where it was, no more; and SIGKILL leaves no time to write anything
        crashed = process.exitcode not in (0, -signal.SIGKILL) and index not in self.heirs
        crash = self._crash_of(index) if crashed else None
        out_of_memory = process.exitcode == -signal.SIGKILL and self._has_memory_run_out()
        kill_watched(self.heirs.pop(index, []))
        self.leaving.pop(index, None)
        ended = self.pool.reap(index, process.pid, process.exitcode, peak, out_of_memory, crash)
        how, error = ended
        self.failures.note_end(index, process.exitcode, how, self.pool.served)
        self.has_ended(process, how, error)
        if self.survives and self.failures.hopeless and self.pool.ready == 0:
            self.pool.break_(error or pickle.dumps(worker_died(process.pid, process.exitcode, None, how == "idle")))

    def _crash_of(self, index: int) -> str | None:
        """What its faulthandler has written. A program that has switched its own on expects to see that, too."""
        crash = self.pool.crash_text(index)
        if crash and faulthandler.is_enabled():
            with contextlib.suppress(OSError):
                os.write(2, crash.encode())
        return without_own_frames(crash) or None

    def _has_memory_run_out(self) -> bool:
        before, self.oom_kills = self.oom_kills, oom.kills()
        return self.oom_kills > before

    def _pid(self, index: int) -> int:
        """Of that worker while it lives; then 0, whatever process may have the number by then.

        Not what multiprocessing says: when a fork server dies, it takes all that came from there for dead.
        """
        process = self.by_index.get(index)
        return process.pid or 0 if process is not None and self.pool.lives(index) else 0

    def strays(self) -> list[int]:
        """Pids of the workers that live, and that multiprocessing takes for dead since their fork server is."""
        pids = []
        for index, process in list(self.by_index.items()):
            with contextlib.suppress(ValueError):  # closed by somebody: it has ended
                if not process.is_alive() and (pid := self._pid(index)):
                    pids.append(pid)
        return pids

    @property
    def most_memory(self) -> int:
        """Bytes that a worker may come to need in the middle of a task before it is killed; 0: no limit."""
        return HARD_MULTIPLE * self.bounds.max_memory

    @property
    def look_every(self) -> float | None:
        """Seconds between two looks at the workers; None: nothing is to be seen."""
        if self.bounds.max_memory:
            return LOOK_AT_MEMORY
        return LOOK_AT_LEAVERS if any(self.bounds) or self.refusals else None

    def look_at_workers(self) -> None:
        """Condemn those that have become far too large, and kill those that go and do not come to an end."""
        retired = self.pool.retired
        for index in list(self.by_index):
            pid = self._pid(index)
            if pid and self.most_memory and private_memory(pid) > self.pool.base_memory(index) + self.most_memory:
                self.pool.condemn_for_memory(index)
            if index in retired:
                since = self.leaving.setdefault(index, time.monotonic())
                if pid and time.monotonic() - since > LEAVE_WITHIN and self.pool.waiting and not self.pool.ready:
                    kill_tree(pid)  # a thread that its task has left keeps it, and the tasks that wait have nobody else

    def carry_out_sentences(self) -> None:
        """Kill the workers whose task is to be stopped; nothing that they do counts any more."""
        while (fate := self.pool.next_fate()) is not None:
            index, gently, why, elapsed, limit, function = fate
            pid = self._pid(index)
            if why == "time":
                answer = map(self.pool.crash_text, itertools.repeat(index))
                stack = ask_for_stack(pid, answer) if pid else ""
                self.pool.fail_overdue(index, pickle.dumps(timed_out(function, limit, elapsed, stack)))
            elif why == "memory":
                self.pool.fail_overdue(index, pickle.dumps(too_large(pid, function, self.most_memory)))
            if not pid:
                continue
            if gently:
                self.heirs[index] = watch_descendants(pid)
                os.kill(pid, signal.SIGTERM)
            else:
                kill_tree(pid)

    def break_(self, error: BaseException) -> None:
        """Fail every task that has not ended."""
        self.pool.break_(pickle.dumps(error))

    def terminate(self, kill_after: float = TERMINATION_GRACE) -> None:
        """SIGTERM for every worker, SIGKILL for those that do not follow."""
        for process in self.processes():
            process.terminate()
        for pid in self.strays():
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + kill_after
        for process in self.processes():
            process.join(max(deadline - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
        self._await_strays(deadline)
        for pid in self.strays():
            os.kill(pid, signal.SIGKILL)

    def _await_strays(self, deadline: float = math.inf) -> None:
        while self.strays() and time.monotonic() < deadline:
            time.sleep(STRAY_PAUSE)

    def kill(self, error: BaseException) -> None:
        """End it now, with that error for whatever has not ended."""
        self.break_(error)
        for index in list(self.by_index):
            if pid := self._pid(index):
                kill_tree(pid)

    def end(self) -> None:
        """Nothing is left to do, or the pool is broken."""
        with forking.forking:  # a worker that a submit is starting just now is ended with the others
            self.ended = True
        if self.pool.broken:
            self.terminate()
        else:
            self.pool.stop_workers()
        for process in self.processes():
            process.join()
        self._await_strays()
        if self.template is not None:
            self.template.end()
        for watched in self.heirs.values():
            kill_watched(watched)
        for index in list(self.by_index):
            self.pool.unwatch(index)
        self.by_index.clear()
        self.pool.bury()
        self.pool.dismiss_threads()


class PatientThread(threading.Thread):
    """One that can be waited for again. (A ``join()`` that Ctrl-C interrupts takes its thread for ended, in Python 3.11.)"""

    def __init__(self, target: Callable[[], object], name: str | None, daemon: bool) -> None:
        super().__init__(target=target, name=name, daemon=daemon)
        self._over = threading.Event()

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._over.set()

    def wait(self, timeout: float | None = None) -> None:
        """Until it has ended, at most `timeout` seconds. In a forked child it has."""
        if self.is_alive() and self._over.wait(timeout):
            self.join()


class Manager(PatientThread):
    """The thread that looks after a team until nothing is left of it."""

    def __init__(self, team: Team) -> None:
        super().__init__(self._manage, None, daemon=team.of_pool)
        self.team = team

    def _manage(self) -> None:
        team = self.team
        pool = team.pool
        missed = False  # the courier, the reader or the sender
        try:
            team.oom_kills = oom.kills()  # here it is in nobody's way
            while not (pool.broken or pool.drained):
                missed = pool.make_up_for_threads(missed)
                if missed and forking.exiting:  # no thread starts any more, since Python 3.12
                    pool.read_replies()
                ended = pool.manage(THREAD_PAUSE if missed else team.look_every)
                if team.look_every is not None:
                    team.look_at_workers()
                team.carry_out_sentences()  # first: a worker that ended may be one of those
                for index in ended:
                    team.reap(index)
                team.maintain()
            team.carry_out_sentences()  # even if the pool broke meanwhile
        except BaseException as error:
            team.break_(pool_broken(f"The pool's manager thread failed: {error!r}"))
            raise
        finally:
            team.end()
            pool.let_go_of_calls()  # what nobody else will do any more; nothing is left to look after
            while (missed := pool.make_up_for_threads(missed)) and not forking.exiting:  # then there are no more threads
                time.sleep(THREAD_PAUSE)
            if missed:
                pool.read_replies()

    def _threads(self) -> Iterator[PatientThread]:
        """This one first: until its end it may start others."""
        yield self
        yield from list(self.team.threads)

    def join_all(self, timeout: float | None = None) -> bool:
        """Wait for the end of the pool: this thread, and every callback, unless one of them is waiting here.

        Nor can a signal's handler wait for it that has interrupted the start of a worker: the pool waits for that one.
        False: it has not been waited for.
        """
        if self.is_alive() and forking.forking._is_owned():  # type: ignore[attr-defined]
            return False
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads():
            if thread is not threading.current_thread():
                thread.wait(None if end is None else max(end - time.monotonic(), 0))
        return True


def start(team: Team, count: int, template: bool = False) -> Manager:
    """The first `count` workers, and the thread that looks after them; or none. With a template first, if asked for."""
    try:
        if template:
            team.start_template()
        team.start_all(count)
        return _start_manager(team)
    except BaseException:  # perhaps from a signal's handler, when the thread runs already: then it finds nothing to do
        team.pool.close()
        team.give_up()
        raise


def _start_manager(team: Team) -> Manager:
    manager = Manager(team)
    with forking.registering:  # a thread may make its first call while the main thread ends
        manager.start()
        if not team.of_pool:
            forking.managers.add(manager)
            if forking.exiting:
                team.pool.close()
    return manager


def abandon(manager: Manager) -> None:
    """After Ctrl-C: no task starts any more, those that run are given a moment, then their workers end."""
    pool = manager.team.pool
    manager.team.no_more_workers = True
    pool.close()
    pool.cancel_pending()
    manager.wait(INTERRUPT_GRACE)
    if manager.is_alive():
        manager.team.terminate()


def _ends_by_interrupt() -> bool:
    """Has an uncaught KeyboardInterrupt ended the program?"""
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")


def _at_exit() -> None:
    """Before threads are joined: finish what is queued, as the standard library does."""
    with forking.registering:
        forking.exiting = True
        managers = list(forking.managers)
    interrupted = _ends_by_interrupt()
    for manager in managers:
        if interrupted:
            abandon(manager)
        manager.team.pool.close()
    for manager in managers:
        manager.join_all()


threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
