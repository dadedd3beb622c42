"""Workers that die, at work and idle, and workers that are stopped for a while."""

import os
import signal
import threading
import time

from battery import jobs
from battery.rows import row
from battery.trial import Dies, Either, Value

LARGE = 64 << 20

DEATHS = {
    "by SIGKILL": (jobs.signal_self, signal.SIGKILL),
    "by SIGSEGV": (jobs.signal_self, signal.SIGSEGV),
    "by os._exit": (jobs.exit_process, 3),
    "by abort": (jobs.abort,),
}


def _register(name, function, *args):
    @row(f"a task kills itself {name}")
    def kill(trial):
        pool = trial.pool()
        pool.work()
        pool.call(function, *args, expect=Dies())
        pool.work()


for name, (function, *args) in DEATHS.items():
    _register(name, function, *args)


def kill_all(pool, pids):
    pool.may_break |= not pool.library.survives
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@row("an idle worker is killed")
def idle(trial):
    pool = trial.pool()
    pids = pool.pids()
    time.sleep(0.1)
    kill_all(pool, pids[:1])
    time.sleep(0.2)
    pool.work()


@row("all workers are killed at once, at work")
def all_at_work(trial):
    pool = trial.pool()
    pids = pool.begin(2, 600, expect=Dies())
    pool.work(20)
    kill_all(pool, pids)


@row("all workers are killed at once, idle")
def all_idle(trial):
    pool = trial.pool()
    pids = pool.pids()
    time.sleep(0.1)
    kill_all(pool, pids)
    pool.work(20)


@row("300 tasks of 256 KB, 12 of which kill themselves", limit=60)
def storm(trial):
    pool, data = trial.pool(), os.urandom(256 << 10)
    for n in range(300):
        if n % 25 == 24:
            pool.call(jobs.signal_self, signal.SIGKILL, expect=Either(Dies(), Value(None)))
        else:
            pool.call(jobs.echo, data, expect=Value(data))


@row("a worker is killed during a large argument", limit=60)
def large_argument(trial):
    data = bytes(LARGE)
    for pause in (0.002, 0.01, 0.03):
        pool = trial.pool()
        pids = pool.pids()
        killer = threading.Timer(pause, kill_all, (pool, pids))
        killer.start()
        for _ in range(2):
            pool.call(jobs.size_of, data, expect=Either(Value(LARGE), Dies()))
        pool.library.flush()
        killer.join()
        pool.finish()


@row("a worker is killed during a large result", limit=60)
def large_result(trial):
    for pause in (0.001, 0.01, 0.03):
        pool = trial.pool()
        pool.call(jobs.large_and_die, LARGE, pause, expect=Either(Value(b"x" * LARGE), Dies()))
        pool.work()
        pool.wait()
        time.sleep(0.1)  # it dies idle, if not before
        pool.finish()


@row("workers get SIGSTOP, then SIGCONT")
def stopped(trial):
    pool = trial.pool()
    pids = pool.begin(2, 0.3)
    pool.work(40)
    for signum in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            os.kill(pid, signum)
        time.sleep(0.5)
    pool.work()


@row("one worker gets SIGSTOP: the other goes on")
def one_stopped(trial):
    pool = trial.pool()
    pids = pool.begin(2, 0.3)
    os.kill(pids[0], signal.SIGSTOP)
    calls = pool.work(4)
    try:
        for call in calls:
            call.judge(pool)
    finally:
        os.kill(pids[0], signal.SIGCONT)


@row("the program gets SIGSTOP, then SIGCONT")
def program_stopped(trial):
    pool = trial.pool()
    pool.begin(2, 0.2)
    pool.work(40)
    pid = os.getpid()
    if not trial.fork():
        for signum in (signal.SIGSTOP, signal.SIGCONT):
            os.kill(pid, signum)
            time.sleep(0.5)
        os._exit(0)
    os.wait()
