"""Profiling with cProfile on both sides: the program that waits, and the tasks where the work is done."""

import cProfile
import pstats
from collections import Counter
from concurrent.futures import ProcessPoolExecutor


def collatz_step(number):
    return number // 2 if number % 2 == 0 else 3 * number + 1


def collatz_length(number):
    steps = 0
    while number != 1:
        number = collatz_step(number)
        steps += 1
    return steps


def profiled(function, *arguments):
    """The function's result, and how often each function was called meanwhile: it can travel, a profiler cannot.

    Where a process has several threads, as that of an executor has, the counts are not exact: from Python 3.12 on
    cProfile takes what they call and return from for one stack (https://github.com/python/cpython/pull/138229).
    """
    profiler = cProfile.Profile()
    result = profiler.runcall(function, *arguments)
    profile = pstats.Stats(profiler).get_stats_profile()
    return result, {name: int(entry.ncalls.split("/")[0]) for name, entry in profile.func_profiles.items()}


def collect(executor, numbers):
    futures = [executor.submit(profiled, collatz_length, number) for number in numbers]
    return [future.result() for future in futures]


def main():
    with ProcessPoolExecutor(max_workers=2) as executor:
        executor.submit(abs, -1).result()  # the workers must not start as copies of a process that is being profiled
        outcomes, here = profiled(collect, executor, range(1, 200))
    in_tasks = Counter()
    for _, calls in outcomes:
        in_tasks.update(calls)
    print("longest:", max(length for length, _ in outcomes), "steps")
    for name in ("collatz_length", "collatz_step"):
        print(f"{name}: called {in_tasks[name]:,} times in the tasks, {here.get(name, 0)} times in this process")


if __name__ == "__main__":
    main()
