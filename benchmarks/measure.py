"""One measurement in a process of its own: python measure.py NAME IMPLEMENTATION, which prints one number.

Results are checked outside the timed part; a wrong one ends the measurement.
"""

import gc
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType

import workloads

MICROSECONDS = 1e6
IDLE_SECONDS = 10.0


def check(results: Sequence[int], count: int) -> None:
    if list(results) != list(range(count)):
        raise SystemExit("wrong results")


def timed(run: Callable[..., Sequence[int]], pool, count: int, *args) -> float:
    """Seconds of one run of `count` tasks."""
    start = time.perf_counter()
    results = run(pool, count, *args)
    seconds = time.perf_counter() - start
    check(results, count)
    return seconds


def cpu_seconds(pool) -> float:
    """Of this process and of every worker: the kernel's process clocks, whose ids are made from pids."""
    clocks = [~pid << 3 | 2 for pid in pool._processes]
    return time.process_time() + sum(time.clock_gettime(clock) for clock in clocks)


def resident_bytes() -> int:
    with open("/proc/self/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith(("Rss:", "Swap:"))) * 1024


# ------------------------------------------------------------------------ measurements
def submit(module: ModuleType, workers: int = 2, count: int = 20_000) -> float:
    with workloads.warm_pool(module, workers) as pool:
        return timed(workloads.submit_all, pool, count) / count * MICROSECONDS


def submit8(module: ModuleType) -> float:
    return submit(module, workers=8)


def submit64(module: ModuleType) -> float:
    return submit(module, workers=64)


def round_trips(module: ModuleType, count: int, pause: float = 0) -> float:
    times, results = [], []
    with workloads.warm_pool(module) as pool:
        for i in range(count):
            if pause:
                time.sleep(pause)
            start = time.perf_counter()
            results.append(pool.submit(workloads.identity, i).result())
            times.append(time.perf_counter() - start)
    check(results, count)
    return statistics.median(times) * MICROSECONDS


def roundtrip(module: ModuleType) -> float:
    return round_trips(module, 5_000)


def slept(module: ModuleType) -> float:
    return round_trips(module, 50, pause=0.05)


def map_(module: ModuleType, count: int = 20_000) -> float:
    with workloads.warm_pool(module) as pool:
        return timed(workloads.map_all, pool, count) / count * MICROSECONDS


def share(module: ModuleType, count: int = 10_000) -> float:
    with workloads.warm_pool(module) as pool:
        seconds = timed(workloads.submit_all, pool, count, workloads.busy)
    return count * workloads.TASK_SECONDS / 2 / seconds * 100


def bare(module: ModuleType, count: int = 10_000) -> float:
    """The same work in two processes without any pool: the share that this machine can give just now."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(3)

    def work() -> None:
        gate.wait()
        for i in range(count // 2):
            workloads.busy(i)
        gate.wait()

    processes = [context.Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    gate.wait()
    start = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return count * workloads.TASK_SECONDS / 2 / seconds * 100


def as_completed(module: ModuleType, count: int = 10_000) -> float:
    with workloads.warm_pool(module) as pool:
        return timed(workloads.as_completed_all, pool, count, module) / count * MICROSECONDS


def gather(module: ModuleType, count: int = 10_000) -> float:
    with workloads.warm_pool(module) as pool:
        return timed(workloads.gather_all, pool, count) / count * MICROSECONDS


def cpu(module: ModuleType, count: int = 20_000) -> float:
    with workloads.warm_pool(module) as pool:
        before = cpu_seconds(pool)
        results = workloads.submit_all(pool, count)
        seconds = cpu_seconds(pool) - before
    check(results, count)
    return seconds / count * MICROSECONDS


def memory(module: ModuleType, count: int = 20_000) -> float:
    """Growth of this process while tasks queue up behind workers that are all blocked."""
    reader, writer = os.pipe()
    with workloads.warm_pool(module) as pool:
        blockers = [pool.submit(workloads.block, reader) for _ in range(2)]
        while not all(blocker.running() for blocker in blockers):
            time.sleep(0.001)
        gc.collect()
        before = resident_bytes()
        futures = [pool.submit(workloads.identity, i) for i in range(count)]
        gc.collect()
        grown = resident_bytes() - before
        os.write(writer, b"xx")
        check([future.result() for future in futures], count)
    return grown / count


def idle(module: ModuleType) -> float:
    with workloads.warm_pool(module) as pool:
        time.sleep(0.5)
        before = cpu_seconds(pool)
        time.sleep(IDLE_SECONDS)
        return (cpu_seconds(pool) - before) * 1e3


def cold(module: ModuleType) -> float:
    executor = module.ProcessPoolExecutor
    context = multiprocessing.get_context("fork")
    start = time.perf_counter()
    with executor(2, mp_context=context) as pool:
        result = pool.submit(workloads.identity, 0).result()
    seconds = time.perf_counter() - start
    check([result], 1)
    return seconds * 1e3


# ------------------------------------------------------------------------------- Pool
def per_call(workload: Callable[..., Sequence[int]], count: int) -> Callable[[ModuleType], float]:
    """A measurement of one of Pool's methods: microseconds per call or item."""

    def measure(module: ModuleType) -> float:
        with workloads.warm_process_pool(module) as pool:
            return timed(workload, pool, count) / count * MICROSECONDS

    return measure


def apply(module: ModuleType) -> float:
    times, results = [], []
    with workloads.warm_process_pool(module) as pool:
        for i in range(5_000):
            start = time.perf_counter()
            results.append(pool.apply(workloads.identity, (i,)))
            times.append(time.perf_counter() - start)
    check(results, 5_000)
    return statistics.median(times) * MICROSECONDS


def pool_cold(module: ModuleType) -> float:
    pool_class, context = workloads.pool_class(module), multiprocessing.get_context("fork")
    start = time.perf_counter()
    pool = pool_class(2, context=context)
    results = pool.map(workloads.identity, range(10))
    pool.close()
    pool.join()
    seconds = time.perf_counter() - start
    check(results, 10)
    return seconds * 1e3


MEASUREMENTS: dict[str, Callable[[ModuleType], float]] = {
    "submit": submit,
    "submit8": submit8,
    "submit64": submit64,
    "roundtrip": roundtrip,
    "slept": slept,
    "map": map_,
    "share": share,
    "bare": bare,
    "as_completed": as_completed,
    "gather": gather,
    "cpu": cpu,
    "memory": memory,
    "idle": idle,
    "cold": cold,
    "apply_async": per_call(workloads.apply_async_all, 20_000),
    "apply": apply,
    "imap": per_call(workloads.imap_all, 20_000),
    "imap_unordered": per_call(workloads.imap_unordered_all, 20_000),
    "pool_map": per_call(workloads.pool_map_all, 200_000),
    "starmap": per_call(workloads.starmap_all, 200_000),
    "pool_cold": pool_cold,
}


if __name__ == "__main__":
    name, which = sys.argv[1:]
    print(json.dumps(MEASUREMENTS[name](workloads.implementation(which))))
