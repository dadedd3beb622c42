"""Small arguments beside what the machine itself takes to move their bytes: python benchmarks/transfer.py [--rounds N].

For each size in turns: two bare processes (transfer.c: one copies the bytes into shared memory, the other out of it), and a
task with such an argument, in three ways: many submits and then their results, one after the other, and map. The first
line is the task without bytes. Microseconds, medians of all rounds; needs gcc.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workloads

HERE = Path(__file__).parent
CORE = HERE.parent / "csrc" / "core"
SIZES = [0, 1 << 10, 4 << 10, 16 << 10, 64 << 10]
TASKS = 3000


def together(pool: Any, data: bytes) -> None:
    for future in [pool.submit(len, data) for _ in range(TASKS)]:
        future.result()


def one_by_one(pool: Any, data: bytes) -> None:
    for _ in range(TASKS):
        pool.submit(len, data).result()


def by_map(pool: Any, data: bytes) -> None:
    list(pool.map(len, [data] * TASKS))


WAYS: list[Callable[[Any, bytes], None]] = [together, one_by_one, by_map]
COLUMNS = ["write", "read", *(way.__name__ for way in WAYS)]


def build(folder: str) -> str:
    """The program that moves bytes between two bare processes."""
    program = str(Path(folder) / "transfer")
    sources = [str(source) for source in (HERE / "transfer.c", CORE / "copy.c", CORE / "os.c")]
    subprocess.run(["gcc", "-std=c11", "-O2", "-pthread", "-o", program, *sources], check=True)
    return program


def bare(program: str, size: int) -> list[float]:
    if size == 0:
        return [0.0, 0.0]
    output = subprocess.run([program, str(size)], check=True, capture_output=True, text=True).stdout
    return [int(ns) / 1e3 for ns in output.split()]


def per_task(pool: Any, data: bytes) -> list[float]:
    figures = []
    for way in WAYS:
        start = time.perf_counter()
        way(pool, data)
        figures.append((time.perf_counter() - start) / TASKS * 1e6)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    table: dict[int, list[list[float]]] = {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory() as folder, workloads.warm_pool(workloads.implementation("fastpool")) as pool:
        program = build(folder)
        per_task(pool, b"")
        for _ in range(options.rounds):
            for size, rounds in table.items():
                rounds.append(bare(program, size) + per_task(pool, os.urandom(size)))
    print(f"load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}; in brackets: times the task without bytes")
    print(f"{'bytes':>8}" + "".join(f"{name:>16}" for name in COLUMNS))
    empty = [statistics.median(column) for column in zip(*table[0])]
    for size, rounds in table.items():
        medians = [statistics.median(column) for column in zip(*rounds)]
        cells = [f"{us:.2f} ({us / none:.2f})" if none else f"{us:.2f}" for us, none in zip(medians, empty)]
        print(f"{size:>8}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
