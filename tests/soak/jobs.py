"""What the soak's pools run in their workers. Importable under every start method."""

import os
import random
import signal
import struct
import sys
import time
import zlib
from multiprocessing.pool import MaybeEncodingError
from pickle import PickleBuffer
from typing import NamedTuple

import fastpool
from support.deadline import listen_for_stack_requests

os.environ["OPENBLAS_NUM_THREADS"] = "1"
try:
    import numpy
except ImportError:
    numpy = None

listen_for_stack_requests()

MIB = 1 << 20
#: Of a call that begins: its number, the worker's pid, the time in us.
RECORD = struct.Struct("<IIQ")
#: Every payload is a piece of it, so both sides know what must arrive.
BLOCK = random.Random(0).randbytes(8 * MIB)
FORMS = {"bytes": bytes, "bytearray": bytearray, "buffer": PickleBuffer}
if numpy is not None:
    FORMS["array"] = lambda data: numpy.frombuffer(bytearray(data), "u1")
    FORMS["read-only array"] = lambda data: numpy.frombuffer(data, "u1")


def piece(number, size):
    start = number * 4099 % (len(BLOCK) - size)
    return BLOCK[start : start + size]


# ------------------------------------------------------------------------------------ in a worker
log = None
kept = []


class Boom(Exception):
    """Its one argument is the call's number."""


class Refused(Exception):
    pass


class NotPickled:
    def __reduce__(self):
        raise Refused


def refuse(*ignored):
    raise Refused


class NotUnpickled(Exception):
    def __reduce__(self):
        return refuse, ()


def initialize(path):
    global log
    log = os.open(path, os.O_WRONLY | os.O_APPEND)


def _note(number):
    """That this call has begun, and where."""
    os.write(log, RECORD.pack(number, os.getpid(), time.monotonic_ns() // 1000))


def answer(number, size, form, payload, seconds=0.0):
    _note(number)
    if bytes(payload) != piece(number, len(payload)):
        raise AssertionError(f"the argument of call {number}, {len(payload)} bytes, has changed on its way")
    if numpy is not None and type(payload) is numpy.ndarray and payload.flags.writeable:
        payload[:] = 0  # its memory is this call's, and may be another's next
    if seconds:
        time.sleep(seconds)
    return number, FORMS[form](piece(number + 1, size))


def answer_each(call):
    return answer(*call)


def forever(number, *ignored):
    _note(number)
    while True:
        time.sleep(0.05)


def spin(number, *ignored):
    _note(number)
    while True:
        pass


def ignore_sigterm(number, *ignored):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    forever(number)


def boom(number, *ignored):
    _note(number)
    raise Boom(number)


def leave(number, *ignored):
    _note(number)
    sys.exit(number % 7)


def die(number, *ignored):
    """One way or another."""
    _note(number)
    if number % 4 == 0:
        os._exit(number % 3)
    os.kill(os.getpid(), (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)[number % 4 - 1])
    time.sleep(600)


def die_or_answer(number, *arguments):
    if os.urandom(1)[0] < 128:
        die(number)
    return answer(number, *arguments)


def return_what_does_not_pickle(number, *ignored):
    _note(number)
    return NotPickled()


def return_what_does_not_unpickle(number, *ignored):
    _note(number)
    return NotUnpickled()


def raise_what_does_not_unpickle(number, *ignored):
    _note(number)
    raise NotUnpickled


def unreachable(number, *ignored):
    _note(number)
    raise AssertionError("its argument does not get here")


def grow(number, *arguments):
    kept.append(bytes(60 * MIB))
    return answer(number, *arguments)


def grow_without_end(number, *ignored):
    _note(number)
    for _ in range(128):
        kept.append(b"x" * (8 * MIB))
        time.sleep(0.005)
    time.sleep(600)


def sum_of_shared(number, handle):
    _note(number)
    return number, zlib.crc32(handle.value)


# ------------------------------------------------------------------------------------- their table
class Job(NamedTuple):
    function: object
    weight: int = 0  # among the jobs that may be drawn
    fails: tuple = ()  # what it raises
    returns: bool = False  # though it may fail
    kills: bool = False  # its worker
    payload: type | None = None  # its argument, instead of bytes


JOBS = {
    "answer": Job(answer, 60, returns=True),
    "boom": Job(boom, 4, (Boom,)),
    "leave": Job(leave, 1, (SystemExit, fastpool.WorkerDied)),
    "die": Job(die, 2, (fastpool.WorkerDied,), kills=True),
    "die or answer": Job(die_or_answer, 1, (fastpool.WorkerDied,), returns=True, kills=True),
    "return what does not pickle": Job(return_what_does_not_pickle, 1, (Refused, MaybeEncodingError)),
    "return what does not unpickle": Job(return_what_does_not_unpickle, 1, (fastpool.UnpicklingFailed,)),
    "raise what does not unpickle": Job(raise_what_does_not_unpickle, 1, (fastpool.UnpicklingFailed,)),
    "take what does not pickle": Job(unreachable, 1, (Refused,), payload=NotPickled),
    "take what does not unpickle": Job(unreachable, 1, (fastpool.UnpicklingFailed,), payload=NotUnpickled),
    "forever": Job(forever),
    "spin": Job(spin),
    "ignore SIGTERM": Job(ignore_sigterm),
    "grow": Job(grow, returns=True),
    "grow without end": Job(grow_without_end, fails=(fastpool.WorkerDied,)),
}
