"""The life of one pool: how it is made, what its calls may come to, how it ends."""

import contextlib
import functools
import gc
import itertools
import multiprocessing
import os
import random
import threading
import weakref
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

from jobs import FORMS, JOBS, MIB, RECORD, Boom, initialize, piece

import fastpool
from fastpool.stopping import private_memory
from support import processes
from support.events import eventually

#: Seconds in which a call must have ended, whatever was done to it.
LIMIT = 60
#: Calls, and bytes, that an actor leaves open.
OPEN_CALLS, OPEN_BYTES = 400, 48 * MIB


class Wrong(Exception):
    """fastpool did what it must not do."""


class Over(Exception):
    """The pool takes no more calls, and that is right."""


class Promise:
    """A call that has been made, and what is known of it."""

    def __init__(self, number, job, size, form, sent, limit, tries):
        self.number, self.job, self.size, self.form, self.sent = number, job, size, form, sent
        self.limit = limit  # seconds it may run
        self.tries = tries  # times it may run
        self.cancelled = self.killed = False  # by cancel(), kill() that said True
        self.bells = ()  # its callbacks
        self.result = None  # the Future or AsyncResult


class Actor(threading.Thread):
    """Makes events happen, as its own dice say, until the life is over."""

    def __init__(self, life, seed):
        super().__init__(name=f"actor of {seed}")
        self.life, self.dice, self.promises = life, random.Random(seed), []
        self.error = None

    def run(self):
        life = self.life
        try:
            while not life.over.is_set():
                (event,) = self.dice.choices(life.events, life.weights)
                event(self)
                if len(self.promises) > OPEN_CALLS or sum(p.sent + p.size for p in self.promises) > OPEN_BYTES:
                    self.settle()
        except Over:
            pass
        except BaseException as error:
            self.error = error
        life.over.set()

    def submit(self, *arguments, **options):
        self.promises.append(promise := self.life.submit(self.dice, *arguments, **options))
        return promise

    def settle(self):
        self.dice.shuffle(self.promises)
        while self.promises:
            self.life.judge(self.promises.pop())

    def pause(self, most):
        self.life.over.wait(self.dice.uniform(0, most))


class Life:
    """What executors and Pools have in common."""

    events = endings = ()  # ExecutorLife and PoolLife get theirs in events.py

    def __init__(self, seed, folder, figures):
        self.seed, self.figures = seed, figures
        self.dice = dice = random.Random(seed)
        self.numbers = itertools.count(1)
        self.over = threading.Event()
        self.ending = None  # its name, once it has begun
        self.cancels = self.forced = False  # does the ending cancel what has not started; does it end workers
        self.victims = set()  # pids of workers that got a signal
        self.deadly = False  # was there a call that ends its worker
        self.runs = {}  # number: how often it must run at least, at most
        self.late = []  # promises of callbacks
        self.bells = []  # all callbacks
        self.seconds = dice.choice([0.1, 0.3, 0.5, 1, 2, 3])
        self.mortal = dice.random() < 0.6  # may workers die at all
        self.method = dice.choices(["fork", "forkserver", "spawn"], [24, 1, 1])[0]
        if self.method != "fork":
            self.seconds += 2
        self.workers = dice.choice([1, 2, 2, 3, 5])
        self.path = f"{folder}/{seed}".replace(":", "-")
        open(self.path, "w").close()
        self.options = dict(initializer=initialize, initargs=(self.path,))
        self.options[self.context_name] = multiprocessing.get_context(self.method)
        self.given = set(self.options)
        self.tries = 1
        self.draw_options(dice)
        self.jobs = [kind for kind, job in JOBS.items() if job.weight and (self.mortal or not job.kills)]
        self.job_weights = [JOBS[kind].weight for kind in self.jobs]
        self.actors = [Actor(self, f"{seed}:{number}") for number in range(dice.choice([1, 1, 2, 3]))]
        self.ending_drawn = dice.choice(list(self.endings))
        self.hasty = dice.random() < 0.4  # does it end while the actors go on

    def __repr__(self):
        options = {name: value for name, value in self.options.items() if name not in self.given}
        return (
            f"{type(self).__name__}({self.seed!r}): {self.workers} workers by {self.method}, {options}, "
            f"{len(self.actors)} actors, {self.seconds} s, {'mortal, ' if self.mortal else ''}"
            f"ends {'hastily ' if self.hasty else ''}by {self.ending_drawn.__name__}"
        )

    # -------------------------------------------------------------------------------- from birth to death
    def live(self):
        self.pool = self.make()
        alive = weakref.ref(self.pool)
        for actor in self.actors:
            actor.start()
        self.over.wait(self.seconds)
        if not self.hasty:
            self.join_actors()
        self.ending = self.ending_drawn.__name__
        self.ending_drawn(self)
        self.join_actors()
        for actor in self.actors:
            actor.settle()
        for bell in self.bells:
            eventually(lambda bell=bell: bell.rung >= bell.wanted, LIMIT)
        for promise in self.late:
            self.judge(promise)
        self.pool = None
        eventually(lambda: gc.collect() is not None and alive() is None, LIMIT)

    def join_actors(self):
        self.over.set()
        for actor in self.actors:
            actor.join()
            if actor.error is not None:
                raise actor.error

    def check_runs(self):
        """Each call has run as often as it may have. To be called when no worker is left."""
        with open(self.path, "rb") as log:
            runs = list(RECORD.iter_unpack(log.read()))
        os.unlink(self.path)
        counts = Counter(number for number, _, _ in runs)
        for number in counts.keys() | self.runs.keys():
            least, most = self.runs[number]
            if not least <= counts[number] <= most:
                where = [f"in {pid} at {time} us" for other, pid, time in runs if other == number]
                raise Wrong(f"{self}: call {number} has run {counts[number]} times, {where}, not {least} to {most}")
        for bell in self.bells:
            if bell.rung != bell.wanted:
                raise Wrong(f"a callback was called {bell.rung} times, not {bell.wanted}")

    # -------------------------------------------------------------------------------------------- calls
    def draw_call(self, dice, kind="answer"):
        """The arguments of one call, with its number."""
        number, job, form = next(self.numbers), JOBS[kind], dice.choice(list(FORMS))
        if job.payload:
            return number, 0, form, job.payload()
        payload = FORMS[dice.choice(list(FORMS))](piece(number, size_of(dice)))
        return number, size_of(dice), form, payload

    def submit(self, dice, kind=None, terms=None, **extra):
        """One call; `terms` are those of options()."""
        pool, terms = self.pool, terms or {}
        if pool is None:
            raise Over
        kind = kind or dice.choices(self.jobs, self.job_weights)[0]
        job, call = JOBS[kind], self.draw_call(dice, kind)
        number, size, form, payload = call
        sent = 0 if job.payload else len(bytes(payload))
        tries = self.tries if terms.get("retries") is None else 1 + terms["retries"]
        promise = Promise(number, job, size, form, sent, terms.get("timeout"), tries)
        self.runs[number] = 0, tries
        self.deadly |= job.kills
        with self.refusals():
            promise.result = self.call(pool.options(**terms) if terms else pool, job.function, call, extra)
        self.figures.add("tasks")
        return promise

    @contextlib.contextmanager
    def refusals(self):
        """A call may be refused once the pool ends or is broken."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if self.ending and any(words in str(error) for words in ("shutdown", "not running", "takes no more tasks")):
                raise Over from None
            if isinstance(error, BrokenProcessPool) and self.explains(error):
                raise Over from None
            raise

    def calls(self, dice, count, tries=None):
        """Arguments for a map of answer_each."""
        calls = [self.draw_call(dice) for _ in range(count)]
        self.runs.update((call[0], (0, tries or self.tries)) for call in calls)
        self.figures.add("tasks", count)
        return calls

    # ---------------------------------------------------------------------------------------- judgement
    def judge(self, promise):
        """Wait for it; is what it came to possible?"""
        value, error = self.outcome(promise.result)
        promise.result = None
        if error is not None:
            self.figures.add(type(error).__name__)
            if not self.explains(error, promise):
                raise Wrong(f"call {promise.number} ended with {error!r}") from error
        elif not promise.job.returns:
            raise Wrong(f"call {promise.number}, {promise.job.function.__name__}, returned {value!r:.200}")
        else:
            self.check_value(value, promise.number, promise.size, promise.form, promise.sent)
        if promise.cancelled and not isinstance(error, CancelledError):
            raise Wrong(f"call {promise.number} was cancelled, and ended with {error!r}")
        if isinstance(error, fastpool.PoolTerminated):
            for bell in promise.bells:
                bell.wanted = 0
        never_ran = isinstance(error, CancelledError) and not promise.killed and promise.tries == 1
        self.runs[promise.number] = int(error is None), 0 if never_ran else promise.tries

    def check_value(self, value, number, size, form, sent):
        wanted = FORMS["bytes" if form == "buffer" else form]
        if (
            type(value) is not tuple
            or value[0] != number
            or type(value[1]) is not type(wanted(b""))
            or bytes(value[1]) != piece(number + 1, size)
        ):
            raise Wrong(f"call {number} returned {value!r:.200}, not its {size} bytes as {form}")
        self.figures.add("bytes", size + sent)

    def check_map(self, calls, values):
        for call, value in zip(calls, values, strict=True):
            self.check_value(value, *call[:3], len(bytes(call[3])))

    def explains(self, error, promise=None):
        """Can that have happened to that call (None: to one that is answered), after all that was done to the pool?"""
        if isinstance(error, Boom) and error.args != (promise.number,):
            return False
        if promise is not None and isinstance(error, promise.job.fails):
            return True
        if isinstance(error, CancelledError):
            return self.cancels or (promise is not None and (promise.cancelled or promise.killed))
        if isinstance(error, fastpool.TaskTimeout):
            return promise is not None and promise.limit == error.limit <= error.elapsed
        if isinstance(error, fastpool.PoolTerminated):
            return self.ending is not None and self.forced
        return (
            isinstance(error, BrokenProcessPool)
            and not isinstance(error, fastpool.UnpicklingFailed)
            and self.explains_death(error)
        )

    def explains_death(self, error):
        """Of a worker under a call that does not end it."""
        return self.forced or getattr(error, "pid", None) in self.victims

    @contextlib.contextmanager
    def judged(self):
        """The block takes results of calls that are answered: what it raises is judged."""
        try:
            yield
        except (Over, Wrong, StopIteration):
            raise
        except Exception as error:
            self.figures.add(type(error).__name__)
            if not self.explains(error):
                raise

    # ------------------------------------------------------------------------------------------ signals
    def worker(self, dice):
        """The pid of one that runs now; None if there is none."""
        pids = [pid for pid in self.pids() if processes.alive(pid)]
        return dice.choice(pids) if pids else None

    def all_are_ready(self):
        team = getattr(self.pool, "_team", None)
        return team is not None and team.pool.ready >= len(team.by_index)

    def signal(self, pid, signum):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


class ExecutorLife(Life):
    context_name = "mp_context"

    def draw_options(self, dice):
        self.survives = dice.random() < 0.6
        if self.survives:
            retries = dice.choice([0, 0, 0, 1, 2])
            self.tries += retries
            self.options.update(on_worker_death="respawn", retries=retries)
        else:
            self.mortal &= dice.random() < 0.4
        if (self.survives or self.method != "fork") and dice.random() < 0.2:
            self.options.update(max_tasks_per_child=dice.choice([2, 20, 100]) if self.method == "fork" else 30)
        if dice.random() < 0.15:
            self.options.update(idle_timeout=dice.choice([0.004, 0.05, 0.5]), min_workers=dice.randrange(self.workers))
        if dice.random() < 0.1:
            self.options.update(max_memory_per_worker=private_memory(os.getpid()) + 100 * MIB)
        if dice.random() < 0.05:
            self.options.update(shared_memory=64 * MIB)

    def make(self):
        return fastpool.ProcessPoolExecutor(self.workers, **self.options)

    def pids(self):
        return list(getattr(self.pool, "_processes", None) or ())

    def call(self, target, function, call, extra):
        return target.submit(function, *call, **extra)

    def outcome(self, future):
        try:
            return future.result(LIMIT), None
        except BaseException as error:
            if not future.done():
                raise Wrong(f"{future} has not ended in {LIMIT} s") from error
            return None, error

    def explains_death(self, error):
        if self.survives:
            return super().explains_death(error)
        collected = "max_tasks_per_child" in self.options and self.ending == "drop"
        return self.forced or self.deadly or bool(self.victims) or collected

    def explains(self, error, promise=None):
        if isinstance(error, MemoryError) and "shared_memory" in self.options:
            return True
        return super().explains(error, promise)

    # ------------------------------------------------------------------------------------------ endings
    def shut_down(self):
        self.pool.shutdown()

    def shut_down_at_once(self):
        self.pool.shutdown(wait=False)

    def cancel(self):
        self.cancels = True
        self.pool.shutdown(cancel_futures=True)

    def cancel_at_once(self):
        self.cancels = True
        self.pool.shutdown(wait=False, cancel_futures=True)

    def leave_block(self):
        with self.pool:
            pass

    def shut_down_in_threads(self):
        self.cancels = True
        shutdown = self.pool.shutdown
        kinds = [functools.partial(shutdown, wait=wait, cancel_futures=cancel) for wait in (0, 1) for cancel in (0, 1)]
        self.dice.shuffle(kinds)
        together(kinds)

    def terminate_workers(self):
        self.cancels = self.forced = True
        self.pool.terminate_workers()

    def kill_workers(self):
        self.cancels = self.forced = True
        self.pool.kill_workers()

    def drop(self):
        if self.dice.random() < 0.3:
            self.pool.itself = self.pool
        self.pool = None
        gc.collect()

    endings = (
        shut_down, shut_down_at_once, cancel, cancel_at_once, leave_block, shut_down_in_threads, terminate_workers,
        kill_workers, drop, drop,
    )


class PoolLife(Life):
    context_name = "context"

    def draw_options(self, dice):
        if dice.random() < 0.2:
            self.options["maxtasksperchild"] = dice.choice([2, 20, 100]) if self.method == "fork" else 30

    def make(self):
        return fastpool.Pool(self.workers, **self.options)

    def pids(self):
        return [worker.pid for worker in list(getattr(self.pool, "_pool", ()))]

    def call(self, target, function, call, extra):
        callbacks = {name: extra.pop(name) for name in ("callback", "error_callback") if name in extra}
        return target.apply_async(function, call, extra, **callbacks)

    def outcome(self, result):
        result.wait(LIMIT)
        if not result.ready():
            raise Wrong(f"{result} is not ready in {LIMIT} s")
        try:
            return result.get(), None
        except BaseException as error:
            return None, error

    # ------------------------------------------------------------------------------------------ endings
    def close_and_join(self):
        self.pool.close()
        self.pool.join()

    def terminate(self):
        self.forced = True
        self.pool.terminate()
        self.pool.join()

    def close_then_terminate(self):
        self.forced = True
        self.pool.close()
        self.pool.join(self.dice.uniform(0, 0.1))
        self.pool.terminate()
        self.pool.join()

    def leave_block(self):
        self.forced = True
        with self.pool:
            pass

    def drop(self):
        self.pool = None
        gc.collect()

    endings = close_and_join, terminate, close_then_terminate, leave_block, drop


def size_of(dice):
    """Bytes: nothing to 4 MiB, mostly few."""
    return int(2 ** (22 * dice.random() ** 2)) - 1


def together(functions):
    """Call each in a thread of its own; raise what one raised."""
    errors = []

    def call(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
