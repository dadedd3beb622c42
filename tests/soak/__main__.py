"""Soak: pools of every kind, with everything that may happen to them, for a set time.

    python tests/soak --seconds 120 [--seed N] [--episode N]

An episode is the life of one pool, or of two side by side. Its seed, printed when it fails, is SEED:EPISODE; with
--episode only that one is run, again and again: its dice fall the same way each time, the moments differ.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import events
from life import LIMIT, ExecutorLife, PoolLife, together

import fastpool
from support import processes
from support.deadline import print_all_stacks
from support.events import eventually
from support.holdings import holdings, in_use
from support.watchdog import Watchdog

#: Seconds for an episode: more than its own limit for each call.
EPISODE_LIMIT = LIMIT + 60
#: MiB that this process may grow by after the first quarter of the time.
GROWTH = 30


class Figures(Counter):
    """What has happened, counted by any thread."""

    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def add(self, name, count=1):
        with self._lock:
            self[name] += count


# ------------------------------------------------------------------------- what nobody waits for
complaints = []


def listen_for_complaints():
    """What callbacks raise on purpose is shown by a log or a hook; nothing else may be."""

    def note(what, error):
        if not isinstance(error, events.CallbackFailed):
            complaints.append(f"{what}: {error!r}\n" + "".join(traceback.format_exception(error)))

    class Handler(logging.Handler):
        def emit(self, record):
            note(record.getMessage(), record.exc_info[1] if record.exc_info else None)

    for name in "concurrent.futures", "asyncio":
        logging.getLogger(name).addHandler(Handler())
        logging.getLogger(name).propagate = False
    threading.excepthook = lambda args: note(f"in {args.thread}", args.exc_value)
    sys.unraisablehook = lambda args: note(f"{args.err_msg} {args.object!r}", args.exc_value)
    warnings.simplefilter("ignore", ResourceWarning)  # of a Pool that is dropped
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads


# --------------------------------------------------------------------------------------- leaks
def check_holdings(before):
    with contextlib.suppress(AssertionError):
        eventually(lambda: holdings() == before)
        return
    after = holdings()
    left = {name: f"{before[name]} -> {after[name]}" for name in before if before[name] != after[name]}
    raise events.Wrong(f"left behind: {left}")


def check_growth(sizes):
    quarter = len(sizes) // 4
    if quarter >= 10 and min(sizes[-quarter:]) > max(sizes[:quarter]) + GROWTH:
        raise events.Wrong(f"this process has grown: {[round(size) for size in sizes[:: quarter // 5]]} MiB")


# --------------------------------------------------------------------------------------- episodes
@contextlib.contextmanager
def deadline(watchdog, seed, name):
    """For an episode that hangs."""

    def on_alarm(signum, frame):
        give_up(watchdog, seed, f"{name} hangs")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, EPISODE_LIMIT)
    watchdog.expect_within(EPISODE_LIMIT + 20)  # should this thread be deaf
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    watchdog.expect_within(0)


def give_up(watchdog, seed, what):
    """All that can be seen of it, and the end."""
    print(f"\n{what}\nagain: python tests/soak --seed {seed.replace(':', ' --episode ')}", file=sys.stderr, flush=True)
    print_all_stacks()
    processes.kill_descendants(spared=[watchdog.process.pid])
    os._exit(1)


def run_episode(seed, folder, figures, watchdog):
    dice = random.Random(seed)
    lives = [
        dice.choice([ExecutorLife, ExecutorLife, PoolLife])(f"{seed}:{number}", folder, figures)
        for number in range(dice.choice([1, 1, 2]))
    ]
    name = f"episode {seed}: " + "; ".join(map(repr, lives))
    before = holdings()
    try:
        with deadline(watchdog, seed, name):
            together([life.live for life in lives])
            check_holdings(before)
            for life in lives:
                life.check_runs()
            if complaints:
                raise events.Wrong(complaints[0])
    except BaseException:
        give_up(watchdog, seed, f"{name} failed\n{traceback.format_exc()}")
    figures.add("episodes")
    figures.add("pools", len(lives))


def warm_up():
    """What the first pools start is there to stay: the fork server, the resource tracker."""
    for method in "fork", "forkserver", "spawn":
        with fastpool.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            pool.submit(os.getpid).result()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--episode", type=int)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    listen_for_complaints()
    watchdog, figures, sizes, minutes = Watchdog(), Figures(), [], []
    warm_up()
    start = time.monotonic()
    number = 0 if options.episode is None else options.episode
    with tempfile.TemporaryDirectory() as folder:
        while (seconds := time.monotonic() - start) < options.seconds:
            if seconds > 60 * len(minutes):
                minutes.append(f"{seconds:.0f} s: {figures['episodes']} episodes, {figures['tasks']} tasks, {in_use():.0f} MiB")
                print(minutes[-1], flush=True)
            run_episode(f"{options.seed}:{number}", folder, figures, watchdog)
            sizes.append(in_use())
            number += options.episode is None
    watchdog.stop()
    for name, count in sorted(figures.items()):
        print(f"{count:>16,} {name}")
    print(f"this process uses {sizes[0]:.0f} MiB after the first episode, {sizes[-1]:.0f} at the end, {max(sizes):.0f} at most")
    check_growth(sizes)
    print("leaks: none")


if __name__ == "__main__":
    main()
