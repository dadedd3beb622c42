"""Runs cells by hand, or all of them for the table."""

import argparse
import dataclasses
import json
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

FAULTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(FAULTS), str(FAULTS.parent)]

from battery.libraries import LIBRARIES  # noqa: E402
from battery.rows import ROWS  # noqa: E402
from battery.runner import Result, own_shared_memory, run  # noqa: E402


def main():
    options = parse()
    titles = [title for title in ROWS if not options.row or any(word in title for word in options.row)]
    cells = [
        (library, method, title)
        for title in titles
        for library in options.library or LIBRARIES
        for method in LIBRARIES[library].methods
        if method in (options.start_method or LIBRARIES[library].methods)
    ] * options.times
    results = {}
    with ThreadPoolExecutor(options.jobs, initializer=own_shared_memory) as threads:
        running = {threads.submit(run, *cell): cell for cell in cells}
        for done in as_completed(running):
            library, method, title = running[done]
            results[running[done]] = result = done.result()
            keep(options.results, running[done], result)
            print(f"{library:16} {method:10} {title}: {result} [{result.seconds:.1f} s]", flush=True)
            if options.verbose and result.word != "passes":
                print(result.output)
    if options.table:
        from battery.table import write

        write(options.table, {**kept(options.results), **results})
    return any(result.word not in ("passes", "-") for result in results.values())


def keep(path, cell, result):
    if path:
        with path.open("a") as file:
            file.write(json.dumps([cell, dataclasses.astuple(result)]) + "\n")


def kept(path):
    """By cell; the latest of each."""
    lines = path.read_text().splitlines() if path and path.exists() else []
    return {tuple(cell): Result(*result) for cell, result in map(json.loads, lines)}


def parse():
    parser = argparse.ArgumentParser(prog="battery", description=__doc__)
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="only this one; may be given again")
    parser.add_argument("--start-method", action="append", help="only this one; may be given again")
    parser.add_argument(
        "--row", action="append", help="only rows that have these words in their title; may be given again"
    )
    parser.add_argument("--times", type=int, default=1, help="run each cell so often")
    parser.add_argument("--jobs", type=int, default=1, help="so many cells at a time")
    parser.add_argument("--verbose", action="store_true", help="show what the programs print that do not pass")
    parser.add_argument(
        "--results", type=pathlib.Path, help="add the results to this file; the table has what it holds, too"
    )
    parser.add_argument("--table", type=pathlib.Path, help="write all results into this file, as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
