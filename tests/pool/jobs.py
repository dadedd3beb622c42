"""What the Pool's tests run in workers, beyond support.tasks. Importable under every start method."""

import importlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import time

from support import tasks


def double_or_fail(number, bad=()):
    if number in bad:
        raise ValueError(number)
    return 2 * number


def fail_at_three(number):
    if number == 3:
        raise ValueError(number)
    return number


def fail_odd(number):
    if number % 2:
        raise ValueError(number)
    return number


def raise_coded(number):
    raise tasks.Coded(f"number {number}", number)


def pass_each(pair):
    """A gate and what to return once it is open."""
    gate, value = pair
    gate.wait()
    return value


def wait_at(gates, number):
    gate = gates.get(number)
    if gate is not None:
        gate.wait()
    return number


def announce_and_pass(pair):
    mailbox, gate = pair
    tasks.announce_and_wait(mailbox, gate)


def announce_number(mailbox, number):
    mailbox.put(number)
    return number


def wait_and_fail(gate, error):
    gate.wait()
    raise error


def double_slowly(number):
    time.sleep(0.002)
    return 2 * number


def return_generator():
    return (number for number in range(3))


class Nameless(tasks.FailsToPickle):
    """Neither pickles nor says what it is."""

    def __repr__(self):
        raise ZeroDivisionError("in repr")


def return_nameless():
    return Nameless()


# --- the ends of workers, alone and among others

DEADLY = 3


def die_at_three(number):
    if number == DEADLY:
        os._exit(7)
    return number


def exit_at_three(number):
    if number == DEADLY:
        sys.exit(5)
    return number


def announce_or_die(mailbox, number):
    if number == DEADLY:
        os._exit(7)
    mailbox.put(number)


def announce_and_return_large(mailbox, size):
    data = bytes(size)
    mailbox.put(os.getpid())
    return data


def add_or_die(number, other):
    if number == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    return number + other


def interrupt():
    raise KeyboardInterrupt


def leave_generator():
    raise GeneratorExit


def unpicklable_at_three(number):
    return tasks.FailsToUnpickle() if number == DEADLY else number


def two_arguments_at_three(number):
    if number == DEADLY:
        raise tasks.TwoArguments("no way back", number)
    return number


# --- initializers

shared = {}


def share_positionally(names, *objects):
    shared.update(zip(names, objects, strict=True))


def announce_and_fail(mailbox, error):
    mailbox.put(os.getpid())
    raise error


def announce_and_exit(mailbox, code):
    mailbox.put(os.getpid())
    os._exit(code)


def fail_the_second_time(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise ValueError("the second time") from None


def announce_finalizer(mailbox):
    multiprocessing.util.Finalize(None, mailbox.put, (os.getpid(),), exitpriority=10)


# --- with what was shared


def add_under(lock, number):
    with shared[lock]:
        old = shared["number"].value
        time.sleep(0.0005)
        shared["number"].value = old + number


def add_to_value(number):
    with shared["value"].get_lock():
        shared["value"].value += number


def set_item(array, index):
    shared[array][index] = index * index


def put_into_queue(queue, value):
    shared[queue].put(value)


def get_from_queue(queue):
    return shared[queue].get()


def get_and_mark_done(_):
    value = shared["joinable"].get()
    shared["joinable"].task_done()
    return value


def send(value):
    shared["connection"].send(value)


def wait_for_event(_):
    return shared["event"].wait(60)


def acquire_twice():
    with shared["rlock"], shared["rlock"]:
        return True


def take_permit():
    return shared["semaphore"].acquire(False)


def meet(_):
    shared["barrier"].wait(60)
    return os.getpid()


def notify():
    with shared["condition"]:
        shared["condition"].notify_all()


# --- with a manager's proxies


def append(proxy, value):
    proxy.append(value)


def set_key(proxy, key, value):
    proxy[key] = value


def put(proxy, value):
    proxy.put(value)


def increment(value, lock):
    with lock:
        value.value += 1


# --- processes and pools of a task's own


def nested_pool(module, method, number):
    library = importlib.import_module(module)
    with library.Pool(2, context=multiprocessing.get_context(method)) as pool:
        return sum(pool.map(tasks.double, range(number)))


def nested_process(method, mailbox):
    context = multiprocessing.get_context(method)
    process = context.Process(target=tasks.announce, args=(mailbox, "from the process"))
    process.start()
    process.join()
    return process.exitcode


def nested_pool_that_sleeps(module, method, mailbox):
    """Announces the workers of a pool in this worker, then sleeps."""
    library = importlib.import_module(module)
    pool = library.Pool(2, context=multiprocessing.get_context(method))
    for worker in pool._pool:
        mailbox.put(worker.pid)
    mailbox.put("ready")
    time.sleep(600)


def is_daemon():
    return multiprocessing.current_process().daemon


def process_name():
    return multiprocessing.current_process().name


class Rings:
    """Sends its process a signal when it is unpickled, outside of the workers."""

    def __reduce__(self):
        return _ring, ()


def _ring():
    if multiprocessing.parent_process() is None:
        signal.raise_signal(signal.SIGUSR2)
        sum(range(1000))  # a handler runs between two bytecodes
    return Rings()


def rings_when_unpickled(_):
    return Rings()


# --- inputs


class FailsWhenRead:
    """Says how long it is, and raises when that many have been read."""

    def __init__(self, length, given):
        self.length, self.given = length, given

    def __len__(self):
        return self.length

    def __iter__(self):
        yield from range(self.given)
        raise ZeroDivisionError("in the input")


# --- what recipes put in the place of Process


class NoDaemon:
    @property
    def daemon(self):
        return False

    @daemon.setter
    def daemon(self, value):
        pass


class NoDaemonForkProcess(NoDaemon, multiprocessing.context.ForkProcess):
    pass


class NoDaemonForkServerProcess(NoDaemon, multiprocessing.context.ForkServerProcess):
    pass


class NoDaemonSpawnProcess(NoDaemon, multiprocessing.context.SpawnProcess):
    pass


class NoDaemonForkContext(multiprocessing.context.ForkContext):
    Process = NoDaemonForkProcess


class NoDaemonForkServerContext(multiprocessing.context.ForkServerContext):
    Process = NoDaemonForkServerProcess


class NoDaemonSpawnContext(multiprocessing.context.SpawnContext):
    Process = NoDaemonSpawnProcess


NO_DAEMON_PROCESS = {
    "fork": NoDaemonForkProcess,
    "forkserver": NoDaemonForkServerProcess,
    "spawn": NoDaemonSpawnProcess,
}
NO_DAEMON_CONTEXT = {
    "fork": NoDaemonForkContext,
    "forkserver": NoDaemonForkServerContext,
    "spawn": NoDaemonSpawnContext,
}


# --- a worker loop of a subclass's own


def own_worker(inqueue, outqueue, initializer=None, initargs=(), maxtasks=None, wrap_exception=False):
    """As the standard library's, and every result is marked as having come this way."""
    inqueue._writer.close()
    outqueue._reader.close()
    if initializer is not None:
        initializer(*initargs)
    while (task := inqueue.get()) is not None:
        job, i, function, args, kwds = task
        try:
            answer = (True, ("own", function(*args, **kwds)))
        except Exception as error:
            answer = (False, error)
        outqueue.put((job, i, answer))
