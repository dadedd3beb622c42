"""Time and throughput of an echo by its size, 64 B to 1 GiB: python benchmarks/plot_sizes.py [--largest BYTES] [PICTURE].

For the standard library, fastpool and the machine's own memcpy (one copy of the same bytes, in one process). Bytes go to
a worker and come back, so GB/s counts them twice. Prints the table; draws it if matplotlib is there and PICTURE is given.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import big
import peers

SIZES = [64 * 4**n for n in range(13)]
NAMES = {"std": "standard library", "fastpool": "fastpool", "memcpy": "memcpy"}


class Memcpy:
    """What any transport must do at least once in each direction."""

    def call(self, fn: object, data: bytes) -> bytearray:
        bytearray(data)
        return bytearray(data)

    def close(self) -> None:
        pass


def measure(name: str, size: int) -> float:
    """Seconds of one echo, the median of some."""
    peer = Memcpy() if name == "memcpy" else peers.PEERS[name]()
    data = os.urandom(min(size, big.MIB)) * max(size // big.MIB, 1)
    start = time.perf_counter()
    peer.call(big.echo, data)
    times = min(max(int(0.5 / (time.perf_counter() - start)), 3), 1000)
    seconds = big.repeated(lambda: peer.call(big.echo, data), lambda result: len(result) == size, times)
    peer.close()
    return seconds


def measured(name: str, size: int) -> float:
    command = [sys.executable, str(Path(__file__)), "--measure", name, str(size)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def draw(sizes: list[int], table: dict[str, list[float]], picture: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (times, rates) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name, seconds in table.items():
        times.loglog(sizes, [second * 1e6 for second in seconds], marker="o", label=NAMES[name])
        rates.loglog(
            sizes, [2 * size / second / 1e9 for size, second in zip(sizes, seconds)], marker="o", label=NAMES[name]
        )
    for axes, label in ((times, "microseconds for an echo"), (rates, "GB/s, there and back")):
        axes.set_xlabel("bytes")
        axes.set_xscale("log", base=2)
        axes.set_ylabel(label)
        axes.grid(True, which="major", alpha=0.3)
        axes.legend()
    figure.savefig(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("picture", nargs="?", metavar="PICTURE", help="draw into this file")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out what is larger")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "BYTES"), help="one measurement, in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]))))
        return
    sizes = [size for size in SIZES if size <= options.largest]
    table: dict[str, list[float]] = {name: [] for name in NAMES}
    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"{'bytes':>12}" + "".join(f"{title:>30}" for title in NAMES.values()))
    for size in sizes:
        cells = []
        for name, seconds in table.items():
            seconds.append(measured(name, size))
            cells.append(f"{seconds[-1] * 1e6:14.4g} us {2 * size / seconds[-1] / 1e9:7.3g} GB/s")
        print(f"{size:12}" + "".join(f"{cell:>30}" for cell in cells), flush=True)
    if options.picture:
        draw(sizes, table, options.picture)


if __name__ == "__main__":
    main()
