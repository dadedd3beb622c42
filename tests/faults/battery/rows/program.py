"""The program itself: it dies, it forks, it is just being imported."""

import importlib
import os
import signal
import sys
import threading
import time

from battery import jobs
from battery import trial as trials
from battery.rows import row
from battery.trial import Ends, Value


def at_work(trial, seconds=600):
    pool = trial.pool()
    pool.begin(2, seconds, expect=Ends())
    if "calls in flight" in pool.library.features:
        for _ in range(10):
            pool.call(jobs.sleep, seconds, expect=Ends())
    return pool


@row("the program is killed by SIGKILL while tasks run")
def killed(trial):
    at_work(trial)
    trial.die(-signal.SIGKILL, os.kill, os.getpid(), signal.SIGKILL)


@row("the program is killed by SIGTERM while tasks run")
def terminated(trial):
    at_work(trial)
    trial.die(-signal.SIGTERM, os.kill, os.getpid(), signal.SIGTERM)


@row("the program calls os._exit while tasks run")
def exits(trial):
    at_work(trial)
    trial.die(5, os._exit, 5)


@row("the program is killed by SIGKILL while the workers are idle")
def killed_idle(trial):
    trial.pool().pids()
    trial.die(-signal.SIGKILL, os.kill, os.getpid(), signal.SIGKILL)


@row("the thread that made the pool ends")
def thread(trial):
    def make():
        pool = trial.pool()
        pool.begin(2, 0.5)
        pool.work()

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    (pool,) = trial.pools
    pool.wait()
    time.sleep(0.2)
    pool.work()


def forked(trial, child):
    trial.need("calls in flight")
    pool = trial.pool()
    pool.begin(2, 0.4)
    pool.work()
    pid = trial.fork()
    if not pid:
        child(pool)
        os._exit(0)
    trial.reap(pid)
    pool.work()
    pool.wait()


@row("the program forks while tasks run; the child calls os._exit")
def forks(trial):
    forked(trial, lambda pool: None)


@row("the program forks while tasks run; the child ends as programs do")
def forks_and_leaves(trial):
    forked(trial, lambda pool: sys.exit(0))


@row("the program forks while tasks run; the child submits to the pool")
def forks_and_submits(trial):
    """It may be refused."""

    def submit(pool):
        call = pool.call(jobs.double, 2, expect=Ends())
        os._exit(call.outcome() is None)

    forked(trial, submit)


@row("a pool is used while its module is imported")
def imports(trial):
    trials.current = trial
    importlib.import_module("battery.at_import")
    assert [call.expect.value for call in trial.pools[0].calls] == [Value(42).value]
