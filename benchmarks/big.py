"""Big arguments and results, beside the standard library and other libraries: python benchmarks/big.py [--row NAME] [--rounds N].

Every measurement runs in a process of its own; the libraries take turns, and of all rounds the median counts. Two
workers. A measurement is the median of several calls after a few that are not counted, so that each library's memory is
warm; results are checked. What is not installed is left out: pip install 'fastpool[peers]' brings all.
"""

import argparse
import gc
import importlib.util
import json
import os
import pickle
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers

KIB, MIB = 1 << 10, 1 << 20


# ------------------------------------------------------------------- run by the workers
def echo(value: Any) -> Any:
    return value


def length(value: Any) -> int:
    return len(value)


def make_array(count: int) -> Any:
    import numpy

    return numpy.ones(count)


def aggregate(piece: Any) -> Any:
    return piece.groupby("key").agg({"number": "sum", "text": "count", "flag": "mean"})


# ------------------------------------------------------------------------ measurements
def repeated(call: Callable[[], Any], check: Callable[[Any], bool], times: int) -> float:
    """Median seconds."""
    seconds = []
    for number in range(times + 2):
        start = time.perf_counter()
        result = call()
        if number >= 2:
            seconds.append(time.perf_counter() - start)
        if not check(result):
            raise SystemExit("a wrong result")
        del result
    return statistics.median(seconds)


def echo_bytes(size: int, times: int) -> Callable[[Any], float]:
    def measure(peer: Any) -> float:
        data = os.urandom(MIB) * (size // MIB) if size >= MIB else os.urandom(size)
        return repeated(lambda: peer.call(echo, data), lambda result: result == data, times) * 1e3

    return measure


def numpy_argument(peer: Any) -> float:
    array = make_array(8 * MIB)
    return repeated(lambda: peer.call(length, array), lambda result: result == 8 * MIB, 7) * 1e3


def numpy_result(peer: Any) -> float:
    return repeated(lambda: peer.call(make_array, 8 * MIB), lambda result: len(result) == 8 * MIB, 7) * 1e3


def numpy_echo(peer: Any) -> float:
    array = make_array(8 * MIB)
    return repeated(lambda: peer.call(echo, array), lambda result: result[-1] == 1, 7) * 1e3


def columns(peer: Any) -> float:
    import numpy

    array = numpy.ones((8, 1_100_000))[:, 50_000 : 50_000 + MIB]
    return repeated(lambda: peer.call(length, array), lambda result: result == 8, 7) * 1e3


def map_arrays(count: int, size: int) -> Callable[[Any], float]:
    def measure(peer: Any) -> float:
        arrays = [make_array(size // 8) for _ in range(count)]
        return (
            repeated(lambda: peer.map(echo, arrays), lambda result: len(result) == count and result[-1][-1] == 1, 3)
            * 1e3
        )

    return measure


def make_records() -> dict[str, Any]:
    return {f"name-{i}": {"id": i, "score": i / 7, "tags": ["a", "b", str(i)]} for i in range(100_000)}


def records(peer: Any) -> float:
    data = make_records()
    return repeated(lambda: peer.call(echo, data), lambda result: result == data, 3) * 1e3


def records_transport(peer: Any) -> float:
    """Percent of the time of an echo that pickle alone, both ways in one process, does not need."""
    data = make_records()

    def by_pickle_alone() -> Any:
        gc.disable()
        try:
            return pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(data, 5)), 5))
        finally:
            gc.enable()

    alone = repeated(by_pickle_alone, lambda result: result == data, 5)
    return 100 * (1 - alone / repeated(lambda: peer.call(echo, data), lambda result: result == data, 5))


def frame(peer: Any) -> float:
    import numpy
    import pandas

    rows = 4_000_000
    key = numpy.arange(rows) % 1000
    text = numpy.array(["some", "text", "of", "few", "words"])[key % 5]
    whole = pandas.DataFrame(
        {"key": key, "number": numpy.arange(rows) / 3, "other": numpy.ones(rows), "flag": key % 2 == 0, "text": text}
    )
    whole["text"] = whole["text"].astype("category")
    pieces = [whole.iloc[start : start + rows // 10] for start in range(0, rows, rows // 10)]
    return (
        repeated(lambda: peer.map(aggregate, pieces), lambda result: len(result) == 10 and len(result[0]) == 1000, 9)
        * 1e3
    )


def small_argument(size: int) -> Callable[[Any], float]:
    """How many times the cost of the same task with an argument of no bytes it has. Both in turns: the machine's pace changes."""

    def measure(peer: Any) -> float:
        count = 5000

        def cost(data: bytes) -> float:
            start = time.perf_counter()
            results = [future.result() for future in [peer.pool.submit(length, data) for _ in range(count)]]
            seconds = time.perf_counter() - start
            assert results == [len(data)] * count
            return seconds

        data = os.urandom(size)
        rounds = [(cost(data), cost(b"")) for _ in range(11)][2:]
        return statistics.median(some for some, _ in rounds) / statistics.median(none for _, none in rounds)

    return measure


def proportional_memory(processes: list[int]) -> int:
    """Bytes of all of them together, a page that several have counted once."""
    total = 0
    for pid in processes:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total * KIB


def peak_memory(peer: Any) -> float:
    """MiB above rest, of this process and the workers, during an echo of 128 MiB; the data itself is not counted."""
    data = os.urandom(MIB) * 128
    peer.call(echo, b"")
    processes = [os.getpid(), *peer.processes()]
    rest, peak, stop = proportional_memory(processes), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.is_set():
            peak = max(peak, proportional_memory(processes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        peer.call(echo, data)
    stop.set()
    watcher.join()
    return (peak - rest) / MIB


class Row:
    def __init__(
        self,
        title: str,
        unit: str,
        measure: Callable[[Any], float],
        must: float | None = None,
        aim: float | None = None,
        peers: dict[str, Callable[[], Any]] = peers.PEERS,
        only: tuple[str, ...] = (),
        ceiling: bool = False,
    ) -> None:
        self.title, self.unit, self.measure, self.must, self.aim = title, unit, measure, must, aim
        self.peers = {name: make for name, make in peers.items() if not only or name in only}
        self.ceiling = ceiling  # judged by fastpool's own figure: the less the better


EXECUTORS = ("std", "fastpool", "loky")
ROWS = {
    "echo_1m": Row("echo of bytes, 1 MiB", "ms", echo_bytes(MIB, 50), 4, 10),
    "echo_16m": Row("echo of bytes, 16 MiB", "ms", echo_bytes(16 * MIB, 15), 6, 10),
    "echo_128m": Row("echo of bytes, 128 MiB", "ms", echo_bytes(128 * MIB, 5), 6, 10),
    "numpy_argument": Row("NumPy 64 MiB, argument only", "ms", numpy_argument, 7, 12),
    "numpy_result": Row("NumPy 64 MiB, result only", "ms", numpy_result, 7, 12),
    "numpy_echo": Row("NumPy 64 MiB, echo", "ms", numpy_echo, 7, 12),
    "columns": Row("columns of a NumPy array, 64 MiB, argument only", "ms", columns, 1),
    "map_arrays": Row("map over 200 arrays of 1 MiB, in and out", "ms", map_arrays(200, MIB), 4, 8),
    "pool_map_arrays": Row(
        "Pool.map over 64 arrays of 4 MiB, in and out", "ms", map_arrays(64, 4 * MIB), 4, 8, peers.POOLS
    ),
    "records": Row("dict of 100,000 records, echo", "ms", records, 1),
    "records_transport": Row(
        "the same: the transport's own share", "%", records_transport, 10, only=("std", "fastpool"), ceiling=True
    ),
    "frame": Row("DataFrame of 104 MB, groupby over 10 pieces", "ms", frame, 2, 4),
    "peak": Row("peak memory above rest, echo of 128 MiB", "MiB", peak_memory, 1, None, only=EXECUTORS),
    "argument_1k": Row(
        "argument of 1 KiB, against one of 0 bytes", "x", small_argument(KIB), 1.3, only=EXECUTORS, ceiling=True
    ),
    "argument_16k": Row("argument of 16 KiB, the same", "x", small_argument(16 * KIB), 2, only=EXECUTORS, ceiling=True),
}


# ------------------------------------------------------------------------------- table
def is_there(name: str) -> bool:
    return name == "std" or importlib.util.find_spec(name) is not None


def measured(row: str, peer: str) -> float | None:
    command = [sys.executable, str(Path(__file__)), "--measure", row, peer]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        print(f"{row}, {peer}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


def verdict(row: Row, figures: dict[str, float]) -> str:
    ours, theirs = figures.get("fastpool"), figures.get("std")
    if ours is None or theirs is None or row.must is None:
        return ""
    if row.ceiling:
        return f"must be <= {row.must:g}: {'pass' if ours <= row.must else 'MISS'}"
    ratio = theirs / ours
    reached = "MISS" if ratio < row.must else "aim" if row.aim and ratio >= row.aim else "pass"
    return f"{ratio:.1f} x the standard library, must be {row.must:g}: {reached}"


def compare(names: list[str], rounds: int) -> None:
    for name in names:
        row = ROWS[name]
        figures: dict[str, list[float]] = {}
        for _ in range(rounds):
            for peer in filter(is_there, row.peers):
                figure = measured(name, peer)
                if figure is not None:
                    figures.setdefault(peer, []).append(figure)
        medians = {peer: statistics.median(values) for peer, values in figures.items()}
        print(f"{row.title}: {verdict(row, medians)}")
        print("    " + ", ".join(f"{peer} {median:.3g} {row.unit}" for peer, median in medians.items()), flush=True)


def measure(row: str, peer: str) -> None:
    pool = ROWS[row].peers[peer]()
    figure = ROWS[row].measure(pool)
    pool.close()
    print(json.dumps(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--row", action="append", choices=ROWS, help="only this one")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--measure", nargs=2, metavar=("ROW", "PEER"), help="one measurement, in this process")
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
    else:
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}", flush=True)
        compare(options.row or list(ROWS), options.rounds)


if __name__ == "__main__":
    main()
