"""Memory, descriptors, processes at their limits. Once a limit is lifted, pools work."""

import contextlib
import ctypes
import os
import pathlib
import resource
import signal
import time
from multiprocessing import forkserver

from battery import jobs
from battery.rows import row
from battery.rows.deaths import kill_all
from battery.trial import Dies, Either, Ends, Fails, Value
from battery.verdicts import Hangs, NotPossible, Wrong
from support import processes

LARGE = 200 << 20


@contextlib.contextmanager
def limit(what, most):
    old = resource.getrlimit(what)
    resource.setrlimit(what, (most, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, old)


def try_one(trial):
    """A pool that may not start, or may not do all of its work; but it says so, and ends."""
    try:
        pool = trial.pool()
    except Exception:
        return  # no room even for that
    pool.may_break = pool.useless = True
    for n in range(4):
        pool.call(jobs.double, n, expect=Ends())
    pool.finish()


def fresh_pool_works(trial):
    """It has imported what it imports late, and multiprocessing has started what it keeps."""
    pool = trial.pool()
    pool.work(4)
    pool.finish()


# -------------------------------------------------------------------------- descriptors
@row("descriptors at their limit when a pool starts", limit=60)
def descriptors_at_start(trial):
    fresh_pool_works(trial)
    for spare in (0, 2, 5, 9, 14):
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        with limit(resource.RLIMIT_NOFILE, used + spare):
            try_one(trial)
    time.sleep(0.3)  # a fork server that was cut short may be ending; the next pool starts another one
    fresh_pool_works(trial)


@row("descriptors at their limit while a pool works")
def descriptors_at_work(trial):
    pool = trial.pool()
    pool.work(4)
    pool.wait()
    with limit(resource.RLIMIT_NOFILE, max(int(name) for name in os.listdir("/proc/self/fd"))):
        for size in (10, 100_000, 3_000_000):
            pool.call(jobs.echo, bytes(size), expect=Either(Value(bytes(size)), Fails(OSError, MemoryError)))
        pool.wait()


@row("descriptors at their limit when a worker dies")
def descriptors_at_death(trial):
    pool = trial.pool()
    pids = pool.begin(2, 600, expect=Dies())
    pool.useless = True  # it may break: there is no way to replace the worker
    with limit(resource.RLIMIT_NOFILE, max(int(name) for name in os.listdir("/proc/self/fd"))):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pool.wait()


# ---------------------------------------------------------------------------- processes
def become_somebody(method):
    """A user of whom nobody else is, but who may read what this user may: root has no limit of processes."""
    if os.getuid() != 0:
        raise NotPossible("only root can become somebody who has no other processes")
    libc, user = ctypes.CDLL(None, use_errno=True), 60_000 + os.getpid() % 5000
    read_all = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)(read_all, read_all, read_all, 0, 0, 0)):
        raise NotPossible("capabilities")
    for capability in (1, 2):
        libc.prctl(47, 2, capability, 0, 0)  # PR_CAP_AMBIENT_RAISE: for programs that workers start with, too
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self stays ours
    if method == "forkserver":  # what it forks is to be ours, too
        forkserver._forkserver._stop()
        forkserver.ensure_running()


def tasks_of_user():
    """Threads, as the limit counts them."""
    count = 0
    for process in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == os.getuid():
                count += len(os.listdir(process / "task"))
    return count


@contextlib.contextmanager
def limit_processes(most):
    """For this program, and for those that it may have start others: a fork server, a template."""
    old = resource.getrlimit(resource.RLIMIT_NPROC)
    programs = [os.getpid(), *processes.descendants()]

    def set_all(limits):
        for pid in programs:
            with contextlib.suppress(OSError):  # it has ended, or it is the resource tracker, still the old user's
                resource.prlimit(pid, resource.RLIMIT_NPROC, limits)

    set_all((most, old[1]))
    try:
        yield
    finally:
        set_all(old)


@row("processes at their limit when a pool starts", limit=60)
def processes_at_start(trial):
    become_somebody(trial.method)
    fresh_pool_works(trial)
    for spare in (0, 1, 2, 3, 4):
        with limit_processes(tasks_of_user() + spare):
            try_one(trial)
    fresh_pool_works(trial)


@row("processes at their limit when a worker dies")
def processes_at_death(trial):
    become_somebody(trial.method)
    pool = trial.pool()
    pids = pool.begin(2, 600, expect=Dies())
    pool.useless = True
    with limit_processes(1):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pool.wait()
        time.sleep(0.1)


@row("processes at their limit when one of two workers dies: later there are two again")
def processes_at_one_death(trial):
    become_somebody(trial.method)
    pool = trial.pool()
    pids = pool.pids()
    with limit_processes(1):
        kill_all(pool, pids[:1])
        time.sleep(0.5)
    if pool.library.survives:
        try:
            pool.pids()
        except Hangs:
            raise Wrong("the worker is never replaced") from None


# ------------------------------------------------------------------------------- memory
def address_space():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@row("memory at its limit: a large argument")
def large_argument(trial):
    pool, data = trial.pool(), bytes(LARGE)
    pool.work(4)
    pool.wait()
    with limit(resource.RLIMIT_AS, address_space() + LARGE // 4):
        pool.call(jobs.size_of, data, expect=Either(Value(LARGE), Fails()))
        pool.work()
        pool.wait()


@row("memory at its limit: a large result, in the program")
def large_result(trial):
    pool = trial.pool()
    pool.work(4)
    pool.wait()
    with limit(resource.RLIMIT_AS, address_space() + LARGE // 4):
        pool.call(jobs.large, LARGE, expect=Either(Fails(MemoryError, OSError), Ends()))
        pool.work()
        pool.wait()


@row("memory at its limit: a large result, in a worker")
def large_result_of_worker(trial):
    trial.need("initializer")
    pool = trial.pool(initializer=jobs.limit_memory, initargs=(LARGE // 4,))
    pool.work(4)
    pool.call(jobs.large, LARGE, expect=Fails(MemoryError))
    size = LARGE // 5  # the object finds room, a copy of it does not
    pool.call(jobs.large, size, expect=Either(Value(b"x" * size), Fails()))
    pool.work()
