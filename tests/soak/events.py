"""What happens to a pool: each event is a function of an actor. The tables at the end say how often."""

import asyncio
import concurrent.futures
import contextlib
import functools
import itertools
import os
import signal
import time
import zlib

import jobs
from life import LIMIT, ExecutorLife, Over, PoolLife, Promise, Wrong, size_of

import fastpool
from support import processes


class CallbackFailed(Exception):
    """What callbacks raise on purpose."""


class Bell:
    """A callback that counts how often it is called, and then does `more`."""

    def __init__(self, life, more):
        life.bells.append(self)
        self.life, self.more, self.rung, self.wanted = life, more, 0, 1

    def __call__(self, *ignored):
        self.rung += 1
        self.more(self.life)


def submit_another(life):
    with contextlib.suppress(Over):
        life.late.append(life.submit(life.dice, "answer"))


def fail(life):
    raise CallbackFailed


AFTERWARDS = [lambda life: None, submit_another, fail]


# ------------------------------------------------------------------------------------------ of both
def submit_many(actor):
    for _ in range(actor.dice.choice([1, 5, 30, 200])):
        actor.submit()


def submit_and_settle(actor):
    """One after another, each while the workers are idle."""
    for _ in range(actor.dice.randrange(20)):
        actor.submit()
        actor.settle()


def submit_naps(actor):
    for _ in range(actor.dice.randrange(1, 8)):
        actor.submit("answer", seconds=actor.dice.choice([0.001, 0.01, 0.05]))


def settle(actor):
    actor.settle()


def idle(actor):
    actor.settle()
    actor.pause(0.3)


def flood(actor):
    """More than 256 MiB on their way: calls are deferred."""
    actor.settle()
    with actor.life.refusals():
        for _ in range(90):
            number, job = next(actor.life.numbers), jobs.JOBS["answer"]
            actor.life.runs[number] = 0, actor.life.tries
            promise = Promise(number, job, 0, "bytes", 4 * jobs.MIB, None, actor.life.tries)
            call = number, 0, "bytes", jobs.piece(number, 4 * jobs.MIB)
            if (pool := actor.life.pool) is None:
                raise Over
            promise.result = actor.life.call(pool, job.function, call, {})
            actor.promises.append(promise)
            actor.life.figures.add("tasks")
    if actor.dice.random() < 0.5:
        actor.settle()


def with_limits(actor):
    dice = actor.dice
    for _ in range(dice.randrange(1, 6)):
        terms = dict(
            timeout=dice.choice([0.02, 0.1, 0.5]), grace=dice.choice([None, 0.05]), name=dice.choice([None, "a limited call"])
        )
        if actor.life.tries > 1 or isinstance(actor.life, PoolLife):
            terms["retries"] = dice.choice([0, 1, 2])
        kind = dice.choice(["answer", "answer", "forever", "spin", "ignore SIGTERM"])
        extra = {"seconds": terms["timeout"] + dice.uniform(-0.01, 0.003)} if kind == "answer" else {}
        actor.submit(kind, terms, **extra)


def with_shared(actor):
    dice, life = actor.dice, actor.life
    data = jobs.piece(dice.randrange(1000), size_of(dice))
    handle = fastpool.share(data)
    for _ in range(dice.randrange(1, 10)):
        number = next(life.numbers)
        life.runs[number] = 0, life.tries
        life.figures.add("tasks")
        if (pool := life.pool) is None:
            raise Over
        with life.refusals():
            result = life.call(pool, jobs.sum_of_shared, (number, handle), {})
        if dice.random() < 0.5:
            value, error = life.outcome(result)
            if error is None and value != (number, zlib.crc32(data)):
                raise Wrong(f"call {number} saw another shared object, of {len(data)} bytes")
            with life.judged():
                if error is not None:
                    raise error
            life.figures.add("bytes of shared objects read", len(data))


def kill_worker(actor):
    life = actor.life
    if life.mortal and (pid := life.worker(actor.dice)):
        life.victims.add(pid)
        signum = actor.dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
        if signum == signal.SIGSEGV and not life.all_are_ready():  # workers that crash at their start break a pool, rightly
            signum = signal.SIGKILL
        life.signal(pid, signum)
        life.figures.add("workers killed")


def kill_worker_at_large_calls(actor):
    for _ in range(5):
        actor.submit("answer")
        kill_worker(actor)
        time.sleep(actor.dice.uniform(0, 0.002))


def stop_worker(actor):
    life = actor.life
    if pid := life.worker(actor.dice):
        life.signal(pid, signal.SIGSTOP)
        life.figures.add("workers stopped for a while")
        submit_naps_or_over(actor)
        actor.pause(0.2)
        life.signal(pid, signal.SIGCONT)


def submit_naps_or_over(actor):
    with contextlib.suppress(Over):
        submit_naps(actor)


def fork_program(actor):
    """The child is told that the pool, which has begun, is not its own."""
    actor.submit("answer")
    if (pool := actor.life.pool) is None:
        raise Over
    submit = pool.submit if isinstance(actor.life, ExecutorLife) else pool.apply_async
    child = os.fork()
    if not child:
        try:
            submit(os.getpid)
        except (RuntimeError, ValueError):  # the latter from a Pool that has been closed
            os._exit(0)
        finally:
            os._exit(1)
    end = time.monotonic() + LIMIT
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGUSR1)  # its stacks
            time.sleep(1)
            raise Wrong(f"the child of a fork still runs after {LIMIT} s: {processes.describe(child)}")
        time.sleep(0.001)
    if ended[1]:
        raise Wrong(f"the child of a fork has ended with {os.waitstatus_to_exitcode(ended[1])}")
    actor.life.figures.add("forks of the program")


# ---------------------------------------------------------------------------------- of an executor
def cancel_some(actor):
    for _ in range(actor.dice.randrange(1, 60)):
        actor.submit("answer")
    for promise in actor.dice.sample(actor.promises, min(20, len(actor.promises))):
        if promise.result.cancel():
            promise.cancelled = True
            actor.life.figures.add("calls cancelled")


def kill_calls(actor):
    dice = actor.dice
    for _ in range(dice.randrange(1, 5)):
        terms = {"grace": 0.05} if dice.random() < 0.3 else {}
        promise = actor.submit(dice.choice(["answer", "forever", "spin"]), terms)
        if dice.random() < 0.5:
            actor.pause(0.03)
        if promise.result.kill():
            promise.killed = True
            actor.life.figures.add("calls killed")
        if promise.result.cancelled() < promise.killed:
            raise Wrong(f"kill() said {promise.killed} of {promise.result}")


def add_callbacks(actor):
    for _ in range(actor.dice.randrange(1, 20)):
        future = actor.submit().result
        for _ in range(actor.dice.randrange(3)):
            future.add_done_callback(Bell(actor.life, actor.dice.choice(AFTERWARDS)))


def wait_for_some(actor):
    submit_many(actor)
    futures = [promise.result for promise in actor.promises]
    module = actor.dice.choice([fastpool, concurrent.futures])
    match actor.dice.randrange(3):
        case 0:
            module.wait(futures, LIMIT, actor.dice.choice([module.FIRST_COMPLETED, module.FIRST_EXCEPTION]))
        case 1:
            if module.wait(futures, LIMIT).not_done:
                raise Wrong(f"wait() has waited for {LIMIT} s")
        case 2:
            try:
                come = list(module.as_completed(futures, actor.dice.choice([0.01, LIMIT])))
            except TimeoutError:
                return
            if len(come) != len(futures):
                raise Wrong(f"as_completed() yielded {len(come)} of {len(futures)} futures")


def map_calls(actor):
    dice, life = actor.dice, actor.life
    calls = life.calls(dice, dice.randrange(60))
    options = dict(chunksize=dice.choice([1, 1, 3, 50]), buffersize=dice.choice([None, None, 1, 5]))
    if (pool := life.pool) is None:
        raise Over
    with life.judged():
        with life.refusals():
            results = pool.map(jobs.answer_each, calls, timeout=LIMIT, **options)
        taken = dice.choice([0, 3, 60, 60])
        with life.refusals():
            life.check_map(calls[:taken], list(itertools.islice(results, taken)))


def use_asyncio(actor):
    dice, life = actor.dice, actor.life
    calls = life.calls(dice, dice.randrange(1, 40))
    cancels = dice.random() < 0.3

    async def main():
        loop, futures = asyncio.get_running_loop(), []
        try:
            with life.refusals():
                if (pool := life.pool) is None:
                    raise Over
                for call in calls:
                    futures.append(loop.run_in_executor(pool, jobs.answer, *call))
        except BaseException:  # the pool broke between two of them: those that there are end, too
            await asyncio.gather(*futures, return_exceptions=True)
            raise
        if cancels:
            futures[-1].cancel()
        return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), LIMIT)

    for call, outcome in zip(calls, asyncio.run(main()), strict=True):
        if isinstance(outcome, asyncio.CancelledError) and cancels and call is calls[-1]:
            continue
        with life.judged():
            if isinstance(outcome, asyncio.CancelledError):
                raise concurrent.futures.CancelledError
            if isinstance(outcome, BaseException):
                raise outcome
            life.check_map([call], [outcome])


def exceed_memory(actor):
    if "max_memory_per_worker" in actor.life.options:
        actor.submit(actor.dice.choice(["grow", "grow", "grow without end"]))


def kill_template(actor):
    """Workers that are replaced are forked from the program then."""
    team = getattr(actor.life.pool, "_team", None)
    if team is not None and (template := team.template) is not None and actor.dice.random() < 0.3:
        actor.life.signal(template.pid, signal.SIGKILL)
        actor.life.figures.add("templates killed")


# --------------------------------------------------------------------------------------- of a Pool
def apply_with_callbacks(actor):
    """One of the two is called, unless the Pool is terminated first."""
    for _ in range(actor.dice.randrange(1, 20)):
        bell = Bell(actor.life, actor.dice.choice(AFTERWARDS))
        try:
            actor.submit(callback=bell, error_callback=bell).bells = (bell,)
        except BaseException:
            bell.wanted = 0
            raise


def pool_map(actor):
    dice, life = actor.dice, actor.life
    calls = life.calls(dice, dice.randrange(60))
    if (pool := life.pool) is None:
        raise Over
    chunksize = dice.choice([None, 1, 7])
    with life.judged():
        with life.refusals():
            if dice.random() < 0.5:
                result = pool.map_async(jobs.answer_each, calls, chunksize)
            else:
                result = pool.starmap_async(jobs.answer, calls, chunksize)
        values, error = life.outcome(result)
        if error is not None:
            raise error
        life.check_map(calls, values)


def pool_imap(actor):
    dice, life = actor.dice, actor.life
    calls = life.calls(dice, dice.randrange(100))
    if (pool := life.pool) is None:
        raise Over
    iterate = dice.choice([pool.imap, pool.imap_unordered])
    source = calls if dice.random() < 0.5 else (call for call in calls)  # the latter is read by a thread
    options = dict(chunksize=dice.choice([1, 1, 4]), buffersize=dice.choice([None, None, 1, 10]))
    with life.refusals():
        results = iterate(jobs.answer_each, source, **options)
    take = functools.partial(results.next, LIMIT) if options["chunksize"] == 1 else functools.partial(next, results)
    by_number = {call[0]: call for call in calls}
    for _ in range(dice.choice([3, 100, 100])):
        try:
            with life.judged():
                value = take()
                life.check_map([by_number.pop(value[0])], [value])
        except StopIteration:
            break


BOTH = {
    submit_many: 20,
    submit_and_settle: 10,
    submit_naps: 8,
    settle: 4,
    idle: 2,
    flood: 0.2,
    with_limits: 3,
    with_shared: 5,
    kill_worker: 14,
    kill_worker_at_large_calls: 5,
    stop_worker: 2,
    fork_program: 2,
}

OF_EXECUTORS = {
    cancel_some: 8,
    kill_calls: 3,
    add_callbacks: 6,
    wait_for_some: 8,
    map_calls: 8,
    use_asyncio: 3,
    exceed_memory: 3,
    kill_template: 1,
}

OF_POOLS = {
    apply_with_callbacks: 8,
    pool_map: 12,
    pool_imap: 12,
}

for kind, table in (ExecutorLife, BOTH | OF_EXECUTORS), (PoolLife, BOTH | OF_POOLS):
    kind.events, kind.weights = list(table), list(table.values())
