"""The results of all cells as a page of Markdown."""

import collections
import importlib.metadata
import itertools
import platform
import textwrap

from battery.libraries import LIBRARIES
from battery.rows import ROWS
from battery.trial import PATIENCE

HEAD = """\
# What becomes of a pool when something goes wrong

This page is written by `python tests/faults/battery --table docs/reliability_table.md`; `tests/faults/battery` has every
row as a small function. It was measured on {system}, Python {python}, with {versions}.

Each cell is one row in one kind of pool, in a program of its own, under each start method that is measured: {methods}.
It **passes** if every future resolves with the right value or the right exception, none later than {patience:g} s after
the one before; if the pool can be used afterwards, or is broken as its specification says; if its shutdown returns within
{patience:g} s; and if then no process, descriptor, mapping, or file in `/dev/shm` or the temporary folder is left of it.
By that, a pool that its specification lets break when a worker dies (the standard executor, loky, joblib, mpire, fastpool
by default) passes if it breaks at once and says so to every future; one that is made to survive (the Pools, pebble,
deadpool, fastpool with `on_worker_death="respawn"`) passes if only the call of the dead worker fails. joblib has no
futures: a list of calls passes or fails as one.

**hangs**: a future never resolves, or a shutdown does not return. **breaks**: the pool is of no use afterwards, though no
worker had to die for it. **wrong**: a wrong value or exception, such as a call lost that did nothing. **leaks**: something
is left. **-**: the library has no such thing. A cell that differs by start method names the methods. What depends on
chance may come out otherwise the next time; the last list says what exactly was seen.
"""

TITLES = {
    "fastpool": "fastpool",
    "fastpool-respawn": "fastpool respawn",
    "fastpool-Pool": "fastpool Pool",
    "executor": "standard executor",
    "Pool": "standard Pool",
}

THEMES = {
    "deaths": "Workers that die or stop",
    "pickling": "What does not pickle",
    "exceptions": "Exceptions",
    "callbacks": "Callbacks",
    "initializers": "Initializers",
    "program": "The program itself",
    "ends": "The end, in every state",
    "many": "Many at once",
    "limits": "Limits",
}

DISTRIBUTIONS = {
    "loky": "loky",
    "joblib": "joblib",
    "pebble": "Pebble",
    "mpire": "mpire",
    "deadpool": "deadpool-executor",
}


def write(path, results):
    """`results`: of (library, method, title)."""
    path.write_text("\n".join(_lines(results)) + "\n")


def _lines(results):
    versions = ", ".join(f"{library} {importlib.metadata.version(name)}" for library, name in DISTRIBUTIONS.items())
    head = HEAD.format(
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=versions,
        methods="; ".join(
            f"{', '.join(methods)} for {', '.join(names)}" for methods, names in _measured(results).items()
        ),
        patience=PATIENCE,
    )
    yield from (textwrap.fill(paragraph, 120, break_on_hyphens=False) + "\n" for paragraph in head.split("\n\n"))
    libraries = [library for library in LIBRARIES if any(cell[0] == library for cell in results)]
    titles = sorted({cell[2] for cell in results}, key=_order)
    yield from _sums(results, libraries)
    for theme, group in itertools.groupby(titles, lambda title: ROWS[title].theme):
        yield f"\n## {THEMES[theme]}\n"
        yield "| | " + " | ".join(TITLES.get(library, library) for library in libraries) + " |"
        yield "|---" * (len(libraries) + 1) + "|"
        for title in group:
            yield f"| {title} | " + " | ".join(_cell(results, library, title) for library in libraries) + " |"
    yield "\n## What was seen\n"
    for (library, method, title), result in sorted(results.items(), key=lambda item: _place(item[0])):
        if result.word not in ("passes", "-"):
            yield f"- {title}; {TITLES.get(library, library)}, {method}: {result}".replace("\n", " ")


def _order(title):
    """By theme, and within it as they stand in their file."""
    return list(THEMES).index(ROWS[title].theme), list(ROWS).index(title)


def _place(cell):
    library, method, title = cell
    return _order(title), list(LIBRARIES).index(library), method


def _measured(results):
    """Start methods -> the libraries that all of these were measured with."""
    found = collections.defaultdict(list)
    for library, kind in LIBRARIES.items():
        methods = tuple(method for method in kind.methods if any(cell[:2] == (library, method) for cell in results))
        if methods:
            found[methods].append(TITLES.get(library, library))
    return found


def _sums(results, libraries):
    yield "| of all cells | " + " | ".join(TITLES.get(library, library) for library in libraries) + " |"
    yield "|---" * (len(libraries) + 1) + "|"
    for word in ("passes", "hangs", "breaks", "wrong", "leaks"):
        counts = collections.Counter(cell[0] for cell, result in results.items() if result.word == word)
        yield f"| {word} | " + " | ".join(str(counts[library]) for library in libraries) + " |"


def _cell(results, library, title):
    """One word, or the words that are not 'passes' with the methods that have them."""
    cells = ((library, method, title) for method in LIBRARIES[library].methods)
    words = {cell[1]: results[cell].word for cell in cells if cell in results}
    if not words:
        return ""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    by_word = collections.defaultdict(list)
    for method, word in words.items():
        by_word[word].append(method)
    return ", ".join(f"{'/'.join(methods)}: {word}" for word, methods in by_word.items())
