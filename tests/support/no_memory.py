"""A program: the operations of `no_memory_table`, with allocations that fail, and without.

    no_memory.py failures LIBRARY SEED TRIALS OPERATION...    TRIALS 0: every allocation
    no_memory.py rounds ROUNDS SECONDS OPERATION...           so many rounds of each, or so many seconds

LIBRARY is no_memory.c, which has to be preloaded for the first.
"""

import array
import collections
import concurrent.futures
import concurrent.futures.thread
import ctypes
import faulthandler
import gc
import logging
import pickle
import random
import sys
import threading
import time

import fastpool
from support import tasks
from support.events import PATIENCE
from support.no_memory_table import FILLS, IN_PYTHON, OPERATIONS, World

#: An operation beside those of the table.
COURIER = "the courier"

#: How many allocations fail: one, or all until the operation has ended.
LENGTHS = (1, 1 << 40)

#: Of the rounds.
QUARTERS = 4

#: So often an operation is tried before more memory each time counts as a leak: caches fill first.
MOST_SWEEPS = 6

#: An operation of which so many fail without an end is stuck in a circle.
MOST = 20_000


class Library:
    """no_memory.c."""

    def __init__(self, path):
        functions = ctypes.PyDLL(path)
        self.attempt, self.failed, self.live = functions.fp_attempt, functions.fp_failed, functions.fp_live
        self.fail_from, self.fail_no_more = functions.fp_fail_from, functions.fp_fail_no_more
        self.attempt.restype = ctypes.py_object
        self.attempt.argtypes = [ctypes.py_object, ctypes.c_long, ctypes.c_long]
        self.fail_from.argtypes = [ctypes.c_long, ctypes.c_long]
        self.failed.restype = self.live.restype = self.fail_no_more.restype = ctypes.c_long


#: What Python takes before a fork.
shutdown_lock, logging_lock = concurrent.futures.thread._global_shutdown_lock, logging._lock

#: The cache of types holds the names that were looked for last.
clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


def call(function):
    return function()


def outcome(world, name, attempt):
    """What came of an operation, as something that can be compared."""
    steps = OPERATIONS[name](world)
    function = next(steps)
    try:
        value, error = attempt(function), None
    except BaseException as why:
        value, error = None, why.with_traceback(None)
    del function
    for _ in steps:
        raise AssertionError("an operation yields once")
    if isinstance(value, fastpool.Future):
        error = value.exception(PATIENCE)
        value = None if error else value.result()
    if isinstance(value, BaseException):
        value, error = None, value
    return value if error is None else describe(error)


def describe(error):
    return type(error), str(error)


def forget_memory_error(_):
    """Nobody can be told of it otherwise, and here it is meant."""


#: What Python's own code makes of a MemoryError, or of one that it has lost.
DISGUISES = (
    (pickle.PicklingError, "import of module"),
    (pickle.PicklingError, "not found as"),
    (ConnectionRefusedError, "Connection refused"),  # the fork server ends if a client hangs up in the midst
    (AttributeError, "Can't pickle local object"),  # and cloudpickle said one of the others
    (fastpool.UnpicklingFailed, "UnpicklingError("),
    (RuntimeError, "can't allocate"),
    (RuntimeError, "can't start new thread"),
    (RuntimeError, "cannot release un-acquired lock"),
    (SystemError, "without"),
)


def is_good(result, usual):
    if result == usual:
        return True
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], type)):
        return False
    kind, text = result
    return kind is MemoryError or any(issubclass(kind, other) and words in text for other, words in DISGUISES)


def let_go_of_locks():
    """Python takes locks before a fork and lets go of them after it. If there is no memory to call that, they stay taken."""
    if shutdown_lock.locked():
        shutdown_lock.release()
    while logging_lock._is_owned():
        logging_lock.release()


def make_world():
    """What is there from now on is not looked at again: that takes time."""
    world = World()
    gc.collect()
    gc.freeze()
    return world


def objects(world):
    """The objects of fastpool, by type, and the references to what is handed over. Dead objects are gone."""
    gc.collect()
    names = collections.Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
    # of processes there may be others by now
    held = {name: n for name, n in names.items() if name.startswith("fastpool") and not name.endswith("._Popen")}
    return held | {name: sys.getrefcount(thing) for name, thing in world.things.all()}


def check_objects(world, name, before):
    """No more than before, as soon as other threads have let go of what they have just worked on."""
    end = time.monotonic() + PATIENCE
    while more := {key: (before.get(key, 0), n) for key, n in objects(world).items() if n > before.get(key, 0)}:
        assert time.monotonic() < end, f"{name}: before and after: {more}"
        time.sleep(0.01)


def sweep(world, library, name, usual, numbers, length):
    """The operation, with the n-th allocation failing. The number of the last one that it has made."""
    for n in numbers:
        result = outcome(world, name, lambda function, n=n: library.attempt(function, n, length))
        failed = library.failed()
        let_go_of_locks()
        assert is_good(result, usual), f"{name}: allocation {n} ({length}) failed: {result!r} instead of {usual!r}"
        result = None
        world.check()
        if failed == 0:
            return n
    return None


def try_failures(world, library, dice, trials, name):
    usual = outcome(world, name, call)
    outcome(world, name, call)
    in_python = name.startswith(IN_PYTHON)
    for length in LENGTHS[:1] if in_python else LENGTHS:
        numbers = range(1, MOST)
        if trials:
            numbers = sorted({*range(1, trials // 2), *dice.sample(range(1, 8 * trials), trials)})
        last = sweep(world, library, name, usual, numbers, length)
        assert last or trials, f"{name}: no end of allocations"
        if not in_python:
            check_leaks(world, library, name, usual, [n for n in numbers if n <= (last or n)], length)


def check_leaks(world, library, name, usual, numbers, length):
    world.let_go()
    before = objects(world)
    live = array.array("q", [0] * MOST_SWEEPS)  # to write a number down takes no memory
    for i in range(MOST_SWEEPS):
        sweep(world, library, name, usual, numbers, length)
        world.let_go()
        check_objects(world, name, before)
        clear_caches()
        live[i] = library.live()
        if i > 0 and live[i] <= live[i - 1]:
            return
    raise AssertionError(f"{name}: blocks of memory are left each time: {live}")


def try_courier(world, library, dice, trials):
    """Memory runs out in the courier's thread, while it makes the outcome of a future known."""
    numbers = sorted({*range(1, trials), *dice.sample(range(1, 8 * trials), trials)}) if trials else range(1, MOST)
    for n in numbers:
        failed = []
        with world.busy():
            arm, future, disarm = (world.single.submit(tasks.echo, number) for number in range(3))
            arm.add_done_callback(lambda _, n=n: library.fail_from(n, 1))
            assert future._condition
            future.add_done_callback(world.things.callback)
            disarm.add_done_callback(lambda _, failed=failed: failed.append(library.fail_no_more()))
        while not failed:  # that callback was what had no memory
            another = world.single.submit(tasks.nothing)
            another.add_done_callback(lambda _, failed=failed: failed.append(library.fail_no_more()))
            another.result(PATIENCE)
        # not before: an Event that is set without memory may keep its lock, and who waits for it waits for ever
        done, _ = concurrent.futures.wait([future], PATIENCE)
        assert done == {future}
        assert isinstance(future.exception(PATIENCE), MemoryError) or future.result() == 1
        world.check()
        if failed[0] == 0:
            return


def failures(path, seed, trials, *names):
    library, dice, trials = Library(path), random.Random(int(seed)), int(trials)
    world = make_world()
    for name in names:
        faulthandler.dump_traceback_later(10 * PATIENCE, exit=True)
        before = time.monotonic()
        if name == COURIER:
            try_courier(world, library, dice, trials)
        else:
            try_failures(world, library, dice, trials, name)
        print(f"{name}: {time.monotonic() - before:.1f} s", flush=True)
    world.shut_down()


def rounds(count, seconds, *names):
    world = make_world()
    for name in names:
        faulthandler.dump_traceback_later(10 * PATIENCE, exit=True)
        check_rounds(world, int(count), float(seconds), name)
    world.shut_down()


def check_rounds(world, count, seconds, name):
    for _ in range(FILLS.get(name, 1)):
        usual = outcome(world, name, call)
    before = objects(world)
    totals, done = array.array("q", [0] * QUARTERS), array.array("q", [0] * QUARTERS)
    for quarter in range(QUARTERS):
        end = time.monotonic() + seconds / QUARTERS
        while done[quarter] < count // QUARTERS and time.monotonic() < end:
            result = outcome(world, name, call)
            assert result == usual, f"{name}: {result!r} instead of {usual!r}"
            result = None
            done[quarter] += 1
        check_objects(world, name, before)
        clear_caches()
        totals[quarter] = getattr(sys, "gettotalrefcount", int)()
    # what grows with each round grows in every quarter by as much at least; what another thread holds does not
    left = [totals[i] - totals[i - 1] for i in range(1, QUARTERS)]
    grows = all(n >= rounds for n, rounds in zip(left, done[1:], strict=True))
    assert not grows, f"{name}: references are left: {left} in {list(done[1:])} rounds"


def main(what, *arguments):
    faulthandler.enable()
    gc.disable()
    sys.unraisablehook = threading.excepthook = forget_memory_error
    logging.disable()
    {"failures": failures, "rounds": rounds}[what](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
