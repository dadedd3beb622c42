"""What the rows run in workers."""

import os
import signal
import sys
import threading
import time


def nothing():
    return None


def double(number):
    return 2 * number


def echo(value):
    return value


def size_of(value):
    return len(value)


def large(size):
    return b"x" * size


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def mark_and_sleep(path, seconds):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{os.getpid()} ".encode())
    os.close(file)
    time.sleep(seconds)
    return seconds


# --- deaths


def signal_self(signum):
    import faulthandler
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()  # no stacks on the terminal
    os.kill(os.getpid(), signum)
    time.sleep(600)


def exit_process(code):
    os._exit(code)


def abort():
    import faulthandler
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    os.abort()


def large_and_die(size, seconds):
    """Dies so many seconds after it has returned, perhaps while its result is sent."""
    result = b"x" * size
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return result


# --- exceptions


def fail(error):
    raise error


def fail_with(kind):
    raise kind("from the task")


def recurse(depth=0):
    return recurse(depth + 1)


class TwoArguments(Exception):
    """Pickles, and does not unpickle: `args` holds one of its two arguments."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def fail_with_two_arguments():
    raise TwoArguments("no way back", 3)


class RaisesWhenPickled(Exception):
    def __reduce__(self):
        raise ZeroDivisionError("at pickling")


class RaisesWhenUnpickled(Exception):
    def __reduce__(self):
        return fail, (ZeroDivisionError("at unpickling"),)


class RaisesInRepr(Exception):
    def __repr__(self):
        raise ZeroDivisionError("in repr")


class Odd(BaseException):
    """Not an Exception, and nobody's but ours."""


# --- pickling


class NoPickle:
    def __reduce__(self):
        raise TypeError("it does not pickle")


def make_no_pickle():
    return NoPickle()


def exit_politely():
    sys.exit(3)


class WhenUnpickled:
    """Unpickling it calls this."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def make_when_unpickled(function, *args):
    return WhenUnpickled(function, *args)


class SubmitsWhenPickled:
    """Its reducer calls a function of the program."""

    def __init__(self, submit):
        self.submit = submit

    def __reduce__(self):
        self.submit()
        return double, (21,)


# --- initializers


def exit_at_once():
    os._exit(4)


def raise_at_once():
    raise ValueError("from the initializer")


def limit_memory(spare):
    """This process gets no more than so many bytes above what it has."""
    import resource

    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + spare, resource.RLIM_INFINITY))
