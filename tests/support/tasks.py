"""What the tests run in workers. Importable under every start method."""

import contextlib
import copyreg
import ctypes
import functools
import multiprocessing
import multiprocessing.reduction
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from multiprocessing.reduction import DupFd

from support.deadline import listen_for_stack_requests

listen_for_stack_requests()


def nothing(*args, **kwargs):
    return None


def echo(value):
    return value


def double(number):
    return 2 * number


def add(a, b=0):
    return a + b


def everything(*args, **kwargs):
    return args, kwargs


def are_one_object(*things):
    return things[-1] is things[-2]


def pid(*ignored):
    return os.getpid()


def fail(error):
    raise error


def fail_if(number, bad):
    if number == bad:
        raise ValueError(number)
    return number


def fail_from(error, cause):
    raise error from cause


def pass_through(gate, value=None):
    gate.wait()
    return value


def announce(mailbox, line="", value=None):
    mailbox.put(line)
    return value


def announce_and_wait(mailbox, gate, value=None):
    """Say which process this is, then wait."""
    mailbox.put(os.getpid())
    gate.wait()
    return value


def announce_and_sleep(mailbox, seconds=600):
    mailbox.put(os.getpid())
    # In pieces: one that is about to sleep, between its last look for signals and the system call, sleeps through one.
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(seconds, 0.05))


def announce_and_spin(mailbox):
    mailbox.put(os.getpid())
    while True:
        pass


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def exit_process(code):
    os._exit(code)


def kill_self(signum=signal.SIGKILL):
    signal.signal(signum, signal.SIG_DFL) if signum not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), signum)
    time.sleep(600)


def segfault():
    """By the signal itself, as a crash in C would."""
    import faulthandler
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    faulthandler._sigsegv()


def scribble(everything: bool, byte: int) -> None:
    """Write over all slots of the pool, or over everything in front of them as well."""
    with open("/proc/self/maps") as maps:
        start = next(int(line.split("-")[0], 16) for line in maps if "memfd:fastpool" in line)
    size = 512 * ctypes.c_uint32.from_address(start + 16).value
    slots = ctypes.c_uint64.from_address(start + 64).value
    ctypes.memset(start if everything else start + slots, byte, slots + size if everything else size)


def unguarded_exit():
    sys.exit(5)


def worker_facts():
    import multiprocessing

    process = multiprocessing.current_process()
    return {
        "pid": os.getpid(),
        "name": process.name,
        "daemon": process.daemon,
        "parent": multiprocessing.parent_process().pid,
        "main_thread": threading.current_thread() is threading.main_thread(),
    }


class Thing:
    """Has identity, weak references, and methods of every kind."""

    def __init__(self, value=None):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Thing) and self.value == other.value

    __hash__ = None

    def get(self):
        return self.value

    @staticmethod
    def static(value):
        return "static", value

    @classmethod
    def of(cls, value):
        return cls(value)

    def __call__(self, extra):
        return self.value, extra

    class Inner:
        @staticmethod
        def name():
            return "inner"


partial_add = functools.partial(add, 40)


def make_thing(value):
    return Thing(value)


# --- state kept in a worker

state = []


def remember(value):
    state.append(value)


def forget():
    state.clear()


def recall():
    return list(state)


def forget_and_recall():
    old = list(state)
    state.clear()
    return old


def remember_and_announce(mailbox, value):
    state.append(value)
    mailbox.put(os.getpid())


class Tracked:
    """Counts its living instances in each process."""

    alive = 0

    def __init__(self):
        Tracked.alive += 1

    def __reduce__(self):
        return Tracked, ()

    def __del__(self):
        Tracked.alive -= 1


def take_tracked(tracked):
    return Tracked.alive


def living_arguments():
    return Tracked.alive


# --- a function that gets another meaning


def version():
    return "first"


def _other_version():
    return "second"


_other_version.__name__ = _other_version.__qualname__ = "version"
first_version = version


def rebind_version(to_second):
    globals()["version"] = _other_version if to_second else first_version


# --- pickling


class Owner:
    def __init__(self, number):
        self.number = number


class Borrows:
    """Lives on something else, as an array may on shared memory; pickled, it is its number."""

    def __init__(self, owner):
        self.owner = weakref.ref(owner)

    def __reduce__(self):
        return int, (self.owner().number,)


def borrow(owner):
    return Borrows(owner)


def make_connection(word):
    ours, theirs = multiprocessing.Pipe()
    with ours:
        ours.send(word)
    return theirs


def raise_connection(word):
    raise ValueError(make_connection(word))


def make_connection_behind(gate, word):
    gate.wait()
    return make_connection(word)


class Gated:
    """Its receiver passes the gate, and gets the value."""

    def __init__(self, gate, value):
        self.parts = (gate, value)


def _reduce_gated(gated):
    return pass_through, gated.parts


multiprocessing.reduction.ForkingPickler.register(Gated, _reduce_gated)


def make_gated(gate, value):
    return Gated(gate, value)


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


class Descriptor:
    def __init__(self, number):
        self.number = number


def _reduce_descriptor(descriptor):
    return _fetch_descriptor, (type(descriptor), DupFd(descriptor.number))


def _fetch_descriptor(cls, handle):
    return cls(handle.detach())


multiprocessing.reduction.ForkingPickler.register(Descriptor, _reduce_descriptor)


def read_one(descriptor):
    try:
        return len(os.read(descriptor.number, 1))
    finally:
        os.close(descriptor.number)


def read_one_behind(gate, descriptor):
    gate.wait()
    return read_one(descriptor)


@contextlib.contextmanager
def pipe_full_of(data):
    read, write = os.pipe()
    os.write(write, data * 100)
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def die_holding(thing):
    kill_self()


class UnregisteredDescriptor(Descriptor):
    __reduce__ = _reduce_descriptor


def make_pipe(data):
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return UnregisteredDescriptor(read)


def read_all(descriptor):
    with open(descriptor.number, "rb") as file:
        return file.read()


class OwnedFile:
    """A file of five bytes, which goes with the object that has made it. Its pickle is its name."""

    def __init__(self, path):
        path.write_bytes(b"bytes")
        self.path = path

    def __reduce__(self):
        return _NamedFile, (self.path,)

    def __del__(self):
        self.path.unlink()

    def size(self):
        return self.path.stat().st_size


class _NamedFile(OwnedFile):
    def __init__(self, path):
        self.path = path

    def __del__(self):
        pass


def size_of_file(file):
    return file.size()


class FailsToPickle:
    def __init__(self, error=None):
        self.error = error or ZeroDivisionError("at pickling")

    def __reduce__(self):
        raise self.error


class FailsToUnpickle:
    """Unpickling it raises `error`."""

    def __init__(self, error=None):
        self.error = error or ZeroDivisionError("at unpickling")

    def __reduce__(self):
        return fail, (self.error,)


def make_unpickleable(error=None):
    return FailsToPickle(error)


def make_un_unpickleable(error=None):
    return FailsToUnpickle(error)


class DiesWhenUnpickled:
    def __reduce__(self):
        return os._exit, (7,)


class NoReducer:
    """Pickles only through a reducer that somebody registers."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        raise TypeError("no reducer is registered")

    def __call__(self, extra):
        raise AssertionError("its reducer makes it a Thing")


def reduce_registered(instance):
    return make_thing, (instance.value,)


def register_with_copyreg():
    copyreg.pickle(NoReducer, reduce_registered)


def return_no_reducer(value):
    return NoReducer(value)


class TwoArguments(Exception):
    """Pickles, and does not unpickle: `args` holds one of its two arguments."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def raise_two_arguments():
    raise TwoArguments("no way back", 3)


class Coded(Exception):
    """With an attribute, and a way back."""

    def __init__(self, message, code):
        super().__init__(message, code)
        self.code = code


class FalseError(Exception):
    def __bool__(self):
        return False


def raise_with_note():
    error = ValueError("noted")
    error.add_note("a note")
    raise error


def nested_list(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


class SubmitsWhenPickled:
    """Its reducer submits to a pool, which so is entered while it pickles."""

    futures = []
    pool = None

    def __reduce__(self):
        self.futures.append(self.pool.submit(double, 21))
        return Thing, ("outer",)


def send_through(connection, value):
    connection.send(value)
    connection.close()


def large(size):
    return b"x" * size


def size_of(value):
    return len(value)


# --- initializers

initialized = []


def initialize(*values):
    initialized.append(values)


def initialized_with():
    return list(initialized)


def initialize_and_announce(mailbox):
    mailbox.put(os.getpid())


def initialize_events(*events):
    initialized.extend(events)


def set_event(index):
    initialized[index].set()
    return initialized[index].is_set()


def failing_initializer(error=None):
    raise error or ValueError("initializer failed")


# --- processes and threads of a task's own


def nested(module, method, number):
    """A pool inside a worker of a pool."""
    import importlib
    import multiprocessing

    futures = importlib.import_module(module)
    with futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        return sum(pool.map(double, range(number)))


def fork_here():
    """A child of the task's own, that ends at once: its exit code."""
    child = os.fork()
    if not child:
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_and_return(value):
    """The child comes back out of the task, as a careless program's would."""
    os.fork()
    return value


def sum_in_threads(numbers):
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(2 * n)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(results)


def start_child_that_sleeps(mailbox):
    """A grandchild that holds whatever it inherited, and outlives the worker."""
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    mailbox.put(child)
    return child


def start_child_and_wait(mailbox):
    start_child_that_sleeps(mailbox)
    time.sleep(600)


def announce_and_ignore_sigterm(mailbox):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    announce_and_sleep(mailbox)


def announce_pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def recall_lock():
    """What initialize() was given cannot come back: its type's name does."""
    ((lock,),) = initialized
    return f"{type(lock).__module__}.{type(lock).__name__}"


def pickled_size(value):
    return len(pickle.dumps(value))


def fail_with_lock():
    raise ValueError(threading.Lock())


def put_into_first(value):
    initialized[0][0].put(value)


def announce_sigterm(mailbox):
    def end(signum, frame):
        mailbox.put("terminated")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    mailbox.put(os.getpid())
    time.sleep(600)


def fail_holding(value):
    raise ValueError("with the argument in its frame")


def wait_for_alarm():
    rang = []
    old = signal.signal(signal.SIGALRM, lambda *_: rang.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    while not rang:
        signal.pause()
    signal.signal(signal.SIGALRM, old)
    return rang[0]
