"""What is measured: tasks that run in the workers, and ways to hand many of them to a pool."""

import asyncio
import concurrent.futures
import multiprocessing
import multiprocessing.pool
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

TASK_SECONDS = 100e-6


def implementation(name: str) -> ModuleType:
    if name == "std":
        return concurrent.futures
    import fastpool

    if not fastpool.accelerated:
        raise SystemExit(f"fastpool is not accelerated here: {fastpool.unaccelerated_reason}")
    return fastpool


@contextmanager
def warm_pool(module: ModuleType, workers: int = 2) -> Iterator[concurrent.futures.Executor]:
    """A pool whose workers have all started and have all had a chance to work."""
    context = multiprocessing.get_context("fork")
    with module.ProcessPoolExecutor(workers, mp_context=context) as pool:
        submit_all(pool, 20 * workers)
        yield pool


def pool_class(module: ModuleType) -> type:
    """The Pool of the same implementation."""
    return multiprocessing.pool.Pool if module is concurrent.futures else module.Pool


@contextmanager
def warm_process_pool(module: ModuleType, workers: int = 2) -> Iterator:
    """A multiprocessing Pool, or fastpool's, whose workers are at work."""
    with pool_class(module)(workers, context=multiprocessing.get_context("fork")) as pool:
        pool.map(identity, range(20 * workers))
        yield pool


# ------------------------------------------------------------------- run by the workers
def identity(value: int) -> int:
    return value


def busy(value: int) -> int:
    end = time.perf_counter() + TASK_SECONDS
    while time.perf_counter() < end:
        pass
    return value


def block(descriptor: int) -> bytes:
    return os.read(descriptor, 1)


# ------------------------------------------------------- each returns the results, in order
def submit_all(pool, count, task=identity):
    futures = [pool.submit(task, i) for i in range(count)]
    return [future.result() for future in futures]


def one_after_another(pool, count):
    return [pool.submit(identity, i).result() for i in range(count)]


def map_all(pool, count):
    return list(pool.map(identity, range(count)))


def as_completed_all(pool, count, module):
    futures = [pool.submit(identity, i) for i in range(count)]
    return sorted(future.result() for future in module.as_completed(futures))


def gather_all(pool, count):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, identity, i) for i in range(count)))

    return asyncio.run(main())


def apply_async_all(pool, count):
    results = [pool.apply_async(identity, (i,)) for i in range(count)]
    return [result.get() for result in results]


def imap_all(pool, count):
    return list(pool.imap(identity, range(count)))


def imap_unordered_all(pool, count):
    return sorted(pool.imap_unordered(identity, range(count)))


def pool_map_all(pool, count):
    return pool.map(identity, range(count))


def starmap_all(pool, count):
    return pool.starmap(identity, [(i,) for i in range(count)])
