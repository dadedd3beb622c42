"""What a row works with: pools whose calls know what is expected of them, and a limit on every wait."""

import collections
import contextlib
import faulthandler
import gc
import itertools
import os
import pathlib
import threading
import time

from battery import jobs
from battery.verdicts import Breaks, Hangs, Leaks, NotPossible, Wrong
from support import processes

#: Seconds in which the next future must resolve, a shutdown return, a process end.
PATIENCE = float(os.environ.get("BATTERY_PATIENCE", "5"))

#: The trial of this program; None in workers that have not been forked.
current = None


def eventually(condition, what):
    until = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > until:
            raise Hangs(what)
        time.sleep(0.005)
    return value


# ------------------------------------------------------------------------- expectations
class Value:
    """The call returns this. If the pool may break, it may fail with that instead."""

    def __init__(self, value):
        self.value = value

    def judge(self, pool, value, error):
        if error is None:
            if value != self.value:
                raise Wrong(f"{str(value)[:80]} instead of {str(self.value)[:80]}")
        elif not pool.excuses(error):
            raise (Breaks if pool.library.is_break(error) else Wrong)(f"a call that did nothing: {describe(error)}")


class Fails:
    """The call raises one of these."""

    def __init__(self, *types):
        self.types = types or (Exception,)

    def judge(self, pool, value, error):
        if error is None:
            raise Wrong(f"no exception, but {str(value)[:80]}")
        # what is no Exception ends the worker of some pools, by their specification
        ends = pool.library.survives and not issubclass(self.types[0], Exception) and pool.library.is_death(error)
        if not (isinstance(error, self.types) or ends or pool.library.batches):
            raise Wrong(f"{describe(error)} instead of {self.types[0].__name__}")


class Dies:
    """The worker of the call dies, and the exception says so."""

    may_break = True

    def judge(self, pool, value, error):
        if error is None:
            raise Wrong(f"no exception, but {str(value)[:80]}")
        if not pool.library.is_death(error):
            raise (Breaks if pool.library.is_break(error) else Wrong)(f"a death is told as {describe(error)}")


class Either:
    """One of these."""

    def __init__(self, *choices):
        self.choices = choices
        self.may_break = any(getattr(choice, "may_break", False) for choice in choices)

    def judge(self, pool, value, error):
        for choice in self.choices[:-1]:
            try:
                return choice.judge(pool, value, error)
            except (Wrong, Breaks):
                continue
        return self.choices[-1].judge(pool, value, error)


class Ends:
    """Somehow, but in time."""

    def judge(self, pool, value, error):
        pass


def describe(error):
    try:
        return f"{type(error).__name__}: {str(error)[:120]}"
    except Exception:
        return type(error).__name__


# -------------------------------------------------------------------------------- pools
class Refused:
    """The handle of a call that submit() itself refused."""

    def __init__(self, error):
        self.error = error

    def outcome(self, seconds):
        return None, self.error

    def cancel(self):
        return False


class Call:
    def __init__(self, handle, expect, what):
        self.handle, self.expect, self.what = handle, expect, what

    def judge(self, pool):
        value, error = self.outcome()
        self.expect.judge(pool, value, error)

    def outcome(self):
        outcome = self.handle.outcome(PATIENCE)
        if outcome is None:
            raise Hangs(f"a future of {self.what}")
        return outcome


class Pool:
    """A pool of the library, and the calls that were made to it."""

    def __init__(self, trial, library):
        self.trial, self.library = trial, library
        self.calls = []
        self.ended = False  # closed, stopped, dropped: nothing is asked of it any more
        self.useless = False  # by specification: later calls may fail
        self.may_break = False
        self._expects_errors = False

    def call(self, function, *args, expect, callback=None):
        self.trial.step(f"submit of {function.__name__}")
        self.may_break |= getattr(expect, "may_break", False) and not self.library.survives
        self._expects_errors |= not isinstance(expect, Value)
        try:
            handle = self.library.submit(function, args, callback)
        except NotPossible:
            raise
        except BaseException as error:
            handle = Refused(error)
        call = Call(handle, expect, function.__name__)
        self.calls.append(call)
        return call

    def work(self, count=10, callback=None):
        """Calls that do nothing special."""
        return [self.call(jobs.double, n, expect=Value(2 * n), callback=callback) for n in range(count)]

    def begin(self, count=2, seconds=0.4, expect=None):
        """Calls that run for a while; returns when all of them do: their workers' pids."""
        marks = pathlib.Path(f"marks{next(self.trial.numbers)}")
        for _ in range(count):
            self.call(jobs.mark_and_sleep, str(marks.absolute()), seconds, expect=expect or Value(seconds))
        self.library.flush()
        self.trial.step("start of calls")
        eventually(lambda: marks.exists() and len(marks.read_text().split()) >= count, "calls that ought to start")
        return [int(pid) for pid in marks.read_text().split()]

    def pids(self, count=2):
        """Of its workers."""
        found = set()

        def look():
            found.update(
                call.outcome()[0] for call in [self.call(jobs.pid_after, 0.02, expect=Ends()) for _ in range(2 * count)]
            )
            found.discard(None)
            return len(found) >= count

        eventually(look, f"{count} workers at work")
        return sorted(found)

    def excuses(self, error):
        return (self.may_break and self.library.is_death(error)) or (self.library.batches and self._expects_errors)

    def wait(self):
        """Every call made so far has come to what was expected of it."""
        for call in list(self.calls):
            self.trial.step(f"a future of {call.what}")
            call.judge(self)

    def check_usable(self):
        for n in range(4):
            call = self.call(jobs.double, n, expect=Value(2 * n))
            value, error = call.outcome()
            if error is not None and not (self.useless or (self.may_break and self.library.is_break(error))):
                raise Breaks(f"afterwards: {describe(error)}")

    def close(self):
        self.ended = True
        self._end("shutdown", self.library.close)

    def stop(self):
        """Now, and what runs with it."""
        self.ended = True
        self._end("stop", self.library.stop)

    def let_go(self):
        """It takes no more calls, and ends when those that it has are done."""
        self.ended = True
        self._end("shutdown without waiting", self.library.let_go)

    def _end(self, what, function):
        self.trial.step(what)
        try:
            function()
        except NotPossible:
            raise
        except Exception as error:
            if not self.may_break and not self.useless:
                raise Wrong(f"{what} raises {describe(error)}") from error

    def drop(self):
        """Nobody holds it any more; its calls are still waited for."""
        self.ended = True
        self.trial.step("collection of the pool")
        self.library.drop()
        gc.collect()

    def finish(self):
        self.wait()
        if not self.ended:
            self.check_usable()
            self.close()
        self.calls.clear()


# -------------------------------------------------------------------------------- trial
class Leave(BaseException):
    """The program ends here, with its pools as they are."""


class Trial:
    def __init__(self, library, method, report):
        self.library, self.method, self.report = library, method, report
        self.pools = []
        self.numbers = itertools.count()
        self._armed = 0.0
        self._stacks = open("stacks", "w")  # noqa: SIM115  # for as long as the program lives

    def pool(self, workers=2, **options):
        """A new one; `options` are initializer and initargs."""
        self.step("start of a pool")
        pool = Pool(self, self.library(self.method, workers, **options))
        self.pools.append(pool)
        return pool

    def need(self, *features):
        for feature in features:
            if feature not in self.library.features:
                raise NotPossible(feature)

    def step(self, what, seconds=None):
        """From here on `what` is done, in a second more than PATIENCE: or else this program ends, showing its stacks."""
        now = time.monotonic()
        if what != self.report.last or now > self._armed + 0.2:
            self._armed = now
            self.report.step(what)
            with contextlib.suppress(RuntimeError):  # no more threads: then the runner's limit has to do
                faulthandler.dump_traceback_later((seconds or PATIENCE) + 1, exit=True, file=self._stacks)

    def finish(self):
        for pool in self.pools:
            pool.finish()
        self.pools.clear()

    def leave(self):
        """End the program by the end of its main module."""
        self.report.will_end_with(0)
        self.step("the interpreter's end")
        raise Leave

    def die(self, status, how, *args):
        """End the program in an evil way; `status` is its exit code, negative for a signal."""
        self.report.will_end_with(status)
        self.step("the program's death")
        how(*args)
        time.sleep(PATIENCE)
        raise Wrong("it did not die")

    def fork(self):
        # The child would wait at its end for faulthandler's thread, which it does not have.
        faulthandler.cancel_dump_traceback_later()
        self._armed = 0.0
        return os.fork()

    def reap(self, child):
        """A child that this program has forked ends, with exit code 0."""
        self.step("end of the forked child")
        until = time.monotonic() + PATIENCE
        while not (found := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > until:
                processes.kill(child)
                os.waitpid(child, 0)
                raise Hangs("the forked child")
            time.sleep(0.005)
        if found[1]:
            raise Wrong(f"the forked child ended with status {found[1]}")


# ----------------------------------------------------------------------------- holdings
KEPT = ("resource_tracker", "forkserver", "semaphore_tracker")  # multiprocessing's, for the whole program


def holdings():
    """What this program has that a pool may leave."""
    gc.collect()
    maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return {
        "processes": sorted(pid for pid in processes.descendants() if not _is_kept(pid)),
        "descriptors": sorted(kind.split(":")[0].split(" (")[0] for kind in processes.open_files().values()),
        "mappings": ["shared" for line in maps if "memfd" in line or "/dev/shm" in line],
        "threads": sorted(thread.name for thread in threading.enumerate() if not thread.daemon),
    }


def _is_kept(pid):
    """A fork server's children have its command, but another parent."""
    return processes.status(pid).get("PPid") == str(os.getpid()) and any(
        name in processes.command(pid) for name in KEPT
    )


def check_holdings(trial, before):
    trial.step("end of what the pool has")
    until = time.monotonic() + PATIENCE
    while left := _left(before, holdings()):
        if time.monotonic() > until:
            raise Leaks(", ".join(left))
        time.sleep(0.02)


def _left(before, after):
    """What there is more of, in words."""
    left = []
    for what in before:
        more = collections.Counter(after[what]) - collections.Counter(before[what])
        kinds = f" ({', '.join(sorted(more))})" if what == "descriptors" else ""
        if more:
            left.append(f"{more.total()} {what}{kinds}")
    return left
