"""fastpool beside the standard library, row by row: python benchmarks/compare.py [--row NAME] [--rounds N] [--json].

Every measurement runs in a process of its own, and the two implementations take turns, so that what else the machine
does falls on both. Of all rounds the median counts. Two workers, fork, unless the row says otherwise.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEASURE = Path(__file__).with_name("measure.py")
IMPLEMENTATIONS = ("std", "fastpool")


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    unit: str
    must: float
    aim: float | None = None
    rounds: float = 1.0  # of the rounds asked for
    base: str | None = None  # the measurement of the same implementation to compare with, in place of the other's
    limit: str | None = None  # a measurement without any pool: what this machine allows at the time


@dataclass(frozen=True)
class Share(Row):
    """Judged by fastpool's own figure: the more the better."""


@dataclass(frozen=True)
class Ceiling(Row):
    """Judged by fastpool's own figure: the less the better."""


ROWS = (
    Row("submit", "submit 20,000, then every result, per task", "us", 25, 45),
    Row("roundtrip", "one submit().result() after another, median", "us", 15, 40),
    Row("slept", "the same, both sides asleep before", "us", 2, 4),
    Row("map", "map over range(20,000), chunksize 1, per item", "us", 25, 45),
    Share("share", "tasks of 100 us: share of the ideal time", "%", 90, 97, limit="bare"),
    Row("as_completed", "as_completed over 10,000, per task", "us", 10, 25),
    Row("gather", "asyncio gather of 10,000, per task", "us", 5, 10),
    Row("cpu", "CPU time of all processes, per task", "us", 15, 40),
    Row("memory", "memory of the parent, per queued task", "B", 2, 5),
    Ceiling("idle", "CPU time of an idle pool in 10 s", "ms", 1, rounds=0.2),
    Row("cold", "construct, one result, shutdown", "ms", 1, 2, rounds=3),
    Ceiling("submit8", "8 workers: cost per task against 2", "x", 1.5, base="submit"),
    Ceiling("submit64", "64 workers: cost per task against 2", "x", 1.5, base="submit"),
    Row("apply_async", "Pool.apply_async 20,000, then get, per call", "us", 8, 15),
    Row("apply", "Pool.apply one after another, median", "us", 15, 40),
    Row("imap", "Pool.imap over 20,000, chunksize 1, per item", "us", 8, 15),
    Row("imap_unordered", "Pool.imap_unordered, the same", "us", 8, 15),
    Row("pool_map", "Pool.map over 200,000, default chunks, per item", "us", 1, 1.5),
    Row("starmap", "Pool.starmap, the same", "us", 1, 1.5),
    Row("pool_cold", "Pool(2), one map, close, join", "ms", 1, 2, rounds=3),
)


@dataclass(frozen=True)
class Outcome:
    row: Row
    figures: dict[str, float]  # by implementation; and the row's limit

    @property
    def score(self) -> float | None:
        """What must reach `must`: how many times cheaper, or fastpool's own figure."""
        ours, theirs = self.figures.get("fastpool"), self.figures.get("std")
        if isinstance(self.row, Share | Ceiling):
            return ours
        return theirs / ours if ours and theirs else None

    def reaches(self, goal: float) -> bool | None:
        if self.score is None:
            return None
        return self.score <= goal if isinstance(self.row, Ceiling) else self.score >= goal

    @property
    def verdict(self) -> str:
        if self.score is None:
            return "-"
        if self.row.aim is not None and self.reaches(self.row.aim):
            return "aim"
        return "pass" if self.reaches(self.row.must) else "MISS"


def measure(name: str, implementation: str) -> float:
    command = [sys.executable, str(MEASURE), name, implementation]
    # The standard library has its bytecode, so ours may keep its own: what compiling leaves in the heap makes forks slow.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} of {implementation} failed ({done.returncode})")
    return float(json.loads(done.stdout))


def turns(row: Row, rounds: int, implementations: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """(implementation, figure): A B, B A, A B and so on."""
    for i in range(max(1, round(rounds * row.rounds))):
        for implementation in implementations[:: 1 if i % 2 == 0 else -1]:
            base = measure(row.base, implementation) if row.base else 1.0
            yield implementation, measure(row.name, implementation) / base
        if row.limit:
            yield row.limit, measure(row.limit, "std")


def run(row: Row, rounds: int, implementations: tuple[str, ...]) -> Outcome:
    figures: dict[str, list[float]] = {}
    for implementation, figure in turns(row, rounds, implementations):
        figures.setdefault(implementation, []).append(figure)
    return Outcome(row, {name: statistics.median(values) for name, values in figures.items()})


def show(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def line(*cells: str) -> str:
    title, *rest = cells
    return f"{title:<46}" + "".join(f"{cell:>12}" for cell in rest)


def table_line(outcome: Outcome) -> str:
    row, figures = outcome.row, outcome.figures
    own = isinstance(row, Share | Ceiling)
    unit = row.unit if own else "x"
    both = [f"{show(figures[name])} {row.unit}" if name in figures else "-" for name in IMPLEMENTATIONS]
    sign = "<=" if isinstance(row, Ceiling) else ">="
    ratio = "" if own or outcome.score is None else f"{outcome.score:.1f} x"
    aim = f"{show(row.aim)} {unit}" if row.aim else ""
    return line(row.title, *both, ratio, f"{sign} {show(row.must)} {unit}", aim, outcome.verdict)


def limit_line(outcome: Outcome) -> str:
    row = outcome.row
    assert row.limit is not None
    return f"    without any pool, at the same time: {show(outcome.figures[row.limit])} {row.unit}"


def as_json(outcome: Outcome) -> dict[str, object]:
    row = outcome.row
    return {
        "row": row.name,
        "title": row.title,
        "unit": row.unit,
        **outcome.figures,
        "score": outcome.score,
        "must": row.must,
        "aim": row.aim,
        "verdict": outcome.verdict,
    }


def report(outcome: Outcome, machine_readable: bool) -> None:
    if machine_readable:
        print(json.dumps(as_json(outcome)), flush=True)
        return
    print(table_line(outcome), flush=True)
    if outcome.row.limit:
        print(limit_line(outcome), flush=True)


def about() -> str:
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    cpus = len(os.sched_getaffinity(0))
    return f"Python {platform.python_version()}, {platform.machine()}, {cpus} CPUs, load {load}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument(
        "--row", action="append", choices=names, metavar="NAME", help=f"only this one: {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (%(default)s)")
    parser.add_argument("--only", choices=IMPLEMENTATIONS, help="measure one implementation alone")
    parser.add_argument("--json", action="store_true", help="print JSON, one row a line")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a row misses what it must reach")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    implementations = (args.only,) if args.only else IMPLEMENTATIONS
    rows = [row for row in ROWS if not args.row or row.name in args.row]
    if not args.json:
        print(about())
        print(line("", *IMPLEMENTATIONS, "ratio", "must reach", "aim", ""), flush=True)
    outcomes = []
    for row in rows:
        outcomes.append(run(row, args.rounds, implementations))
        report(outcomes[-1], args.json)
    return int(args.strict and any(outcome.verdict == "MISS" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
