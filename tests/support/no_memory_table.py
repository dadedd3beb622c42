"""Every type and public function of fastpool, as operations for `no_memory`: each is tried with allocations that fail.

An operation is a generator: it prepares something, yields what is to be called, and is resumed when that has been
called. It is named after what it covers: ``Type.method`` or ``function``, then, after a space, how.
"""

import array
import contextlib
import functools
import itertools
import os
import pickle
import tempfile
import time
import weakref

import fastpool
from fastpool import _core
from support import tasks
from support.events import PATIENCE, Gate, eventually

OPERATIONS = {}

#: Operations that run Python code of ours or the standard library's. Without memory Python itself loses references,
#: exceptions and locks there: they are only tried with one allocation that fails, and nobody counts what is left.
IN_PYTHON = (
    "AsyncResult.",
    "BoundExecutor.map",
    "Future the whole life",
    "Future._condition",
    "Future.add_done_callback of what raises",
    "Future.cancel with foreign waiters",
    "Future.result of an instance",
    "Future.result of what does not unpickle",
    "Future.result too late",
    "Future.set_",
    "MapResult.",
    "Pool the whole life",
    "Pool.",
    "ProcessPoolExecutor the whole life",
    "ProcessPoolExecutor.kill_workers",
    "ProcessPoolExecutor.map",
    "ProcessPoolExecutor.shutdown",
    "ProcessPoolExecutor.submit by value",
    "ProcessPoolExecutor.submit of an instance",
    "ProcessPoolExecutor.submit of what cannot be pickled",
    "ProcessPoolExecutor.submit of what is too large",
    "ProcessPoolExecutor.submit, and the result",
    "ProcessPoolExecutor.terminate_workers",
    "Shared.__reduce_ex__",
    "_core.Pool.submit_each by value",
    "as_completed of a mixture",
    "wait for a mixture",
)

#: How many rounds fill what is meant to grow up to a bound: the table of functions has room for 512 that go by value.
FILLS = {"ProcessPoolExecutor.submit by value, another each time": 520}

LARGE = 300_000


def operation(name):
    def add(function):
        OPERATIONS[name] = function
        return function

    return add


def collect(*things):
    return things


def settle(futures, results):
    """Each has its result, or the MemoryError that hit it while another was looked at."""
    for future, result in zip(futures, results, strict=True):
        assert isinstance(future.exception(PATIENCE), MemoryError) or future.result() == result


class Things:
    """What is handed over again and again: nobody may keep a reference."""

    def __init__(self):
        self.text = "text " * 40
        self.wide = "\N{SNOWMAN} " * 40
        self.data = bytes(range(256))
        self.large = b"x" * LARGE
        self.numbers = array.array("d", range(10_000))
        self.buffer = pickle.PickleBuffer(bytearray(LARGE))
        self.thing = tasks.Thing([1, "two", {"three": 3.0}])
        self.error = ValueError("an error")
        self.callback = CALLBACK
        self.keyword = "a keyword"
        self.function = (lambda offset: lambda number: number + offset)(40)
        self.items = list(range(12))
        self.pairs = [(n, n + 1) for n in range(8)]

    def all(self):
        functions = [tasks.echo, tasks.double, tasks.add, tasks.fail, tasks.everything, len, collect]
        return [*vars(self).items(), *((function.__qualname__, function) for function in functions)]


class Callback:
    """It remembers nothing of what it is called with."""

    def __init__(self):
        self.called = 0

    def __call__(self, _):
        self.called += 1


CALLBACK = Callback()


class World:
    """The pools that all operations share: they have to stay usable."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.gate = os.path.join(self.folder.name, "gate")  # the same each time: 3.12 keeps the names of paths for ever
        self.numbers = itertools.count()
        self.things = Things()
        self.executor = fastpool.ProcessPoolExecutor(2)
        self.single = fastpool.ProcessPoolExecutor(1, on_worker_death="respawn", shared_memory=16 << 20)
        self.pool = fastpool.Pool(2)
        self.lonely = fastpool.Pool(1)
        self.shared = fastpool.share(self.things.numbers)
        self.check()
        for executor in (self.executor, self.single):  # their couriers run from now on
            future = executor.submit(tasks.sleep, 0.1)
            future.add_done_callback(self.things.callback)
            assert future.result() and executor._team.threads
        self.pool.apply_async(tasks.nothing, callback=self.things.callback).get()
        self.lonely.apply_async(tasks.nothing, callback=self.things.callback).get()

    def check(self):
        for submit in (self.executor.submit, self.single.submit):
            assert submit(tasks.double, 21).result(PATIENCE) == 42
        for pool in (self.pool, self.lonely):
            assert pool.apply_async(tasks.double, (21,)).get(PATIENCE) == 42

    def let_go(self):
        """Until nothing is held for calls that have ended: the couriers drop it, a moment later, in turns."""
        references = []
        for pool in (self.executor, self.single, self.pool, self.lonely):
            last = tasks.Thing(0)
            references.append(weakref.ref(last))
            if isinstance(pool, fastpool.ProcessPoolExecutor):
                pool.submit(tasks.nothing, last).result(PATIENCE)
            else:
                pool.apply(tasks.nothing, (last,))
            del last
        eventually(lambda: all(reference() is None for reference in references))

    def shut_down(self):
        self.executor.shutdown()
        self.single.shutdown()
        for pool in (self.pool, self.lonely):
            pool.close()
            pool.join()
        self.folder.cleanup()

    @contextlib.contextmanager
    def busy(self, submit=None):
        """The only worker has something to do, and what is submitted waits."""
        gate = Gate(self.gate)
        future = (submit or self.single.submit)(tasks.pass_through, gate)
        while not future.running():
            time.sleep(0.0002)
        try:
            yield future
        finally:
            gate.open()
            future.exception(PATIENCE)
            os.unlink(gate.path)

    def done(self, function, *args):
        """A future that is done, and whose result nobody has seen yet."""
        future = self.executor.submit(function, *args)
        end = time.monotonic() + PATIENCE
        while not future.done():
            assert time.monotonic() < end
            time.sleep(0.0002)
        return future


# ------------------------------------------------------------------------------- submit


def _add_submits():
    def simple(name, function, *args, **kwargs):
        @operation(f"ProcessPoolExecutor.submit {name}")
        def submit(w):
            values = [getattr(w.things, arg) for arg in args]
            keywords = {key: getattr(w.things, arg) for key, arg in kwargs.items()}
            yield lambda: w.executor.submit(function, *values, **keywords)

    simple("without arguments", tasks.nothing)
    simple("of a builtin", len, "text")
    simple("of text", tasks.size_of, "text")
    simple("of wide text", tasks.size_of, "wide")
    simple("of bytes", tasks.size_of, "data")
    simple("of a large argument", tasks.size_of, "large")
    simple("of large arguments", tasks.nothing, "large", "large", "numbers")
    simple("of an array", tasks.size_of, "numbers")
    simple("of a buffer", tasks.size_of, "buffer")
    simple("of an instance", tasks.echo, "thing")
    simple("with keywords", tasks.add, a="text", b="keyword")
    simple("with both", tasks.everything, "text", one="data", two="items")
    simple("of what raises", tasks.fail, "error")


_add_submits()


@operation("ProcessPoolExecutor.submit of a method")
def submit_method(w):
    yield lambda: w.executor.submit(w.things.thing.get)


@operation("ProcessPoolExecutor.submit of a partial")
def submit_partial(w):
    yield lambda: w.executor.submit(functools.partial(tasks.add, 1), b=2)


@operation("ProcessPoolExecutor.submit by value")
def submit_by_value(w):
    yield lambda: w.executor.submit(w.things.function, 2)


@operation("ProcessPoolExecutor.submit by value, another each time")
def submit_other_by_value(w):
    function = (lambda offset: lambda number: number + offset - offset)(next(w.numbers))
    yield lambda: w.executor.submit(function, 2)


@operation("ProcessPoolExecutor.submit of what cannot be pickled")
def submit_unpicklable(w):
    yield lambda: w.executor.submit(tasks.echo, tasks.FailsToPickle())


@operation("ProcessPoolExecutor.submit of what is too large")
def submit_too_large(w):
    data = bytes(40 << 20)
    yield lambda: w.single.submit(tasks.size_of, data)


@operation("ProcessPoolExecutor.submit, and the result")
def submit_and_wait(w):
    yield lambda: w.executor.submit(tasks.echo, w.things.thing).result(PATIENCE)


@operation("ProcessPoolExecutor.submit of a shared object")
def submit_shared(w):
    yield lambda: w.executor.submit(tasks.nothing, w.shared)


@operation("ProcessPoolExecutor.submit while another runs")
def submit_while_busy(w):
    with w.busy():
        yield lambda: w.single.submit(tasks.echo, w.things.text)


@operation("ProcessPoolExecutor.submit that is pickled later")
def submit_deferred(w):
    with w.busy():
        data = bytes(1 << 20)
        before = [w.single.submit(tasks.size_of, data) for _ in range(9)]
        yield lambda: w.single.submit(tasks.echo, w.things.text)
    settle(before, 9 * [1 << 20])


@operation("ProcessPoolExecutor.submit of a Shared in a dict")
def submit_nested_shared(w):
    yield lambda: w.executor.submit(tasks.nothing, {"shared": w.shared, "again": [w.shared]})


@operation("ProcessPoolExecutor.options")
def options(w):
    yield lambda: w.single.options(timeout=PATIENCE, grace=1.0, retries=2, name="a name")._terms


@operation("BoundExecutor.submit")
def options_submit(w):
    bound = w.single.options(timeout=PATIENCE, grace=1.0, retries=2, name="a name")
    yield lambda: bound.submit(tasks.add, 1, b=2)


@operation("BoundExecutor.map")
def options_map(w):
    bound = w.single.options(timeout=PATIENCE, name="a name")
    yield lambda: list(bound.map(tasks.double, w.things.items))


# ------------------------------------------------------------------------------- executor


@operation("ProcessPoolExecutor.map")
def executor_map(w):
    yield lambda: list(w.executor.map(tasks.double, w.things.items))


@operation("ProcessPoolExecutor.map in chunks")
def executor_map_chunks(w):
    yield lambda: list(w.executor.map(tasks.add, w.things.items, w.things.items, chunksize=5))


@operation("ProcessPoolExecutor.map with a buffer")
def executor_map_buffered(w):
    yield lambda: list(w.executor.map(tasks.double, w.things.items, buffersize=3))


@operation("ProcessPoolExecutor.map of what raises")
def executor_map_raises(w):
    yield lambda: list(w.executor.map(tasks.fail, [w.things.error] * 3))


@operation("ProcessPoolExecutor the whole life")
def executor_life(w):
    pool = fastpool.ProcessPoolExecutor(1)
    yield lambda: pool.submit(tasks.double, 2)
    pool.shutdown()


@operation("ProcessPoolExecutor.shutdown")
def executor_shutdown(w):
    pool = fastpool.ProcessPoolExecutor(1)
    pool.submit(tasks.double, 2).result(PATIENCE)
    yield pool.shutdown
    pool.shutdown()


@operation("ProcessPoolExecutor.kill_workers")
def executor_kill_workers(w):
    pool = fastpool.ProcessPoolExecutor(1)
    pool.submit(tasks.double, 2).result(PATIENCE)
    manager = pool._executor_manager_thread
    yield pool.kill_workers
    pool.kill_workers()
    manager.join_all()


@operation("ProcessPoolExecutor.terminate_workers")
def executor_terminate_workers(w):
    pool = fastpool.ProcessPoolExecutor(1)
    pool.submit(tasks.double, 2).result(PATIENCE)
    manager = pool._executor_manager_thread
    yield pool.terminate_workers
    pool.terminate_workers()
    manager.join_all()


# ------------------------------------------------------------------------------- futures

RESULTS = {
    "None": (tasks.nothing,),
    "an int": (tasks.echo, 70_000),
    "a float": (tasks.echo, 0.5),
    "text": (tasks.echo, "some text"),
    "bytes": (tasks.echo, b"some bytes"),
    "a tuple": (tasks.echo, (1, "two", 3.0)),
    "a list": (tasks.echo, [1, "two", {"three": (None, True)}]),
    "wide text": (tasks.echo, "\N{SNOWMAN}" * 300),
    "large bytes": (tasks.large, LARGE),
    "a very large text": (tasks.echo, "y" * 1_500_000),
    "an array": (tasks.echo, array.array("d", range(5_000))),
    "buffers": (tasks.echo, [pickle.PickleBuffer(bytes(20_000)), pickle.PickleBuffer(bytearray(LARGE))]),
    "an instance": (tasks.make_thing, ["value"]),
    "an exception": (tasks.fail, ValueError("an error")),
    "what does not unpickle": (tasks.make_un_unpickleable,),
}


def _add_results():
    def result(kind, call):
        @operation(f"Future.result of {kind}")
        def result(w):
            yield w.done(*call).result

    for kind, call in RESULTS.items():
        result(kind, call)


_add_results()


@operation("Future.exception")
def exception(w):
    future = w.done(tasks.fail, w.things.error)
    yield future.exception


@operation("Future.exception, none")
def no_exception(w):
    future = w.done(tasks.echo, w.things.data)
    yield future.exception


@operation("Future.result that is waited for")
def result_to_come(w):
    future = w.executor.submit(tasks.sleep, 0.001)
    yield future.result


@operation("Future.result too late")
def result_too_late(w):
    with w.busy() as future:
        yield lambda: future.result(timeout=0.0001)


@operation("Future.cancel")
def cancel(w):
    with w.busy():
        future = w.single.submit(tasks.nothing)
        yield future.cancel
    with contextlib.suppress(fastpool.CancelledError):
        future.result(PATIENCE)


@operation("Future.cancel with a callback")
def cancel_with_callback(w):
    with w.busy():
        future = w.single.submit(tasks.nothing)
        future.add_done_callback(w.things.callback)
        yield future.cancel
    with contextlib.suppress(fastpool.CancelledError):
        future.result(PATIENCE)


@operation("Future.cancel with foreign waiters")
def cancel_foreign(w):
    with w.busy():
        future = w.single.submit(tasks.nothing)
        assert future._condition
        yield future.cancel
    with contextlib.suppress(fastpool.CancelledError):
        future.result(PATIENCE)


@operation("Future.cancel when it is done")
def cancel_done(w):
    yield w.done(tasks.nothing).cancel


@operation("Future.kill")
def kill(w):
    with w.busy():
        future = w.single.submit(tasks.nothing)
        yield future.kill
    with contextlib.suppress(fastpool.CancelledError):
        future.result(PATIENCE)


@operation("Future.kill of a call that runs")
def kill_running(w):
    future = w.single.submit(tasks.sleep, 600)
    while not future.running():
        time.sleep(0.0002)
    yield future.kill
    future.kill()
    with contextlib.suppress(fastpool.CancelledError):
        future.result(PATIENCE)


@operation("Future.cancelled")
def cancelled(w):
    yield w.done(tasks.nothing).cancelled


@operation("Future.running")
def running(w):
    with w.busy() as future:
        yield future.running


@operation("Future.done")
def done(w):
    yield w.done(tasks.nothing).done


@operation("Future.add_done_callback")
def add_done_callback(w):
    with w.busy():
        future = w.single.submit(tasks.nothing)
        yield lambda: future.add_done_callback(w.things.callback)
    future.result(PATIENCE)


@operation("Future.add_done_callback when it is done")
def add_done_callback_done(w):
    future = w.done(tasks.nothing)
    yield lambda: future.add_done_callback(w.things.callback)


@operation("Future.add_done_callback of what raises")
def add_done_callback_raises(w):
    future = w.done(tasks.nothing)
    yield lambda: future.add_done_callback(len)


@operation("Future.__repr__ pending")
def repr_pending(w):
    future = fastpool.Future()
    yield lambda: repr(future).split(" at ")[0]


@operation("Future.__repr__ finished")
def repr_finished(w):
    future = w.done(tasks.echo, w.things.data)
    yield lambda: (repr(future), future)[1]


@operation("Future.__repr__ failed")
def repr_failed(w):
    future = w.done(tasks.fail, w.things.error)
    yield lambda: (repr(future), future)[1]


@operation("Future.set_result")
def set_result(w):
    future = fastpool.Future()
    future.add_done_callback(w.things.callback)
    yield lambda: future.set_result(w.things.thing)


@operation("Future.set_exception")
def set_exception(w):
    future = fastpool.Future()
    yield lambda: future.set_exception(w.things.error)


@operation("Future.set_running_or_notify_cancel")
def set_running(w):
    future = fastpool.Future()
    yield future.set_running_or_notify_cancel


@operation("Future the whole life")
def future_life(w):
    def life():
        future = fastpool.Future()
        future.set_running_or_notify_cancel()
        future.add_done_callback(w.things.callback)
        future.set_result(w.things.thing)
        return future.result()

    yield life


@operation("Future._get_snapshot")
def get_snapshot(w):
    future = w.done(tasks.echo, w.things.data)
    yield lambda: (future._get_snapshot(), future)[1]


@operation("Future._condition")
def condition(w):
    with w.busy() as future:
        yield lambda: future._condition and None


@operation("Future.__class_getitem__")
def class_getitem(w):
    yield lambda: fastpool.Future[int]


@operation("wait")
def wait(w):
    futures = [w.executor.submit(tasks.double, n) for n in range(6)]
    yield lambda: len(fastpool.wait(futures, PATIENCE).done)


@operation("wait for the first")
def wait_first(w):
    with w.busy() as future:
        futures = [w.single.submit(tasks.double, n) for n in range(6)]
        futures.append(w.done(tasks.nothing))
        yield lambda: len(fastpool.wait([future, *futures], PATIENCE, fastpool.FIRST_COMPLETED).done)
    assert fastpool.wait(futures, PATIENCE).not_done == set()


@operation("wait for a mixture")
def wait_mixture(w):
    futures = [w.executor.submit(tasks.double, 1), w.single.submit(tasks.double, 2)]
    yield lambda: len(fastpool.wait(futures, PATIENCE).done)
    settle(futures, [2, 4])


@operation("as_completed")
def as_completed(w):
    futures = [w.executor.submit(tasks.double, n) for n in range(6)]
    yield lambda: sorted(future.result() for future in fastpool.as_completed(futures, PATIENCE))


@operation("as_completed of a mixture")
def as_completed_mixture(w):
    futures = [w.executor.submit(tasks.double, 1), w.single.submit(tasks.double, 2)]
    yield lambda: sorted(future.result() for future in fastpool.as_completed(futures, PATIENCE))
    settle(futures, [2, 4])


# ------------------------------------------------------------------------------- Pool


@operation("Pool.apply")
def pool_apply(w):
    yield lambda: w.pool.apply(tasks.add, (1,), {"b": 2})


@operation("Pool.apply_async")
def pool_apply_async(w):
    yield lambda: w.pool.apply_async(tasks.echo, (w.things.thing,)).get(PATIENCE)


@operation("Pool.apply_async with callbacks")
def pool_apply_async_callbacks(w):
    yield lambda: w.pool.apply_async(tasks.double, (4,), callback=CALLBACK, error_callback=CALLBACK).get(PATIENCE)


@operation("Pool.apply_async of what raises")
def pool_apply_async_raises(w):
    yield lambda: w.pool.apply_async(tasks.fail, (w.things.error,), error_callback=CALLBACK).get(PATIENCE)


@operation("Pool.map")
def pool_map(w):
    yield lambda: w.pool.map(tasks.double, w.things.items)


@operation("Pool.map by value")
def pool_map_by_value(w):
    yield lambda: w.pool.map(w.things.function, w.things.items)


@operation("Pool.map_async")
def pool_map_async(w):
    yield lambda: w.pool.map_async(tasks.double, w.things.items, 3, CALLBACK, CALLBACK).get(PATIENCE)


@operation("Pool.starmap")
def pool_starmap(w):
    yield lambda: w.pool.starmap(tasks.add, w.things.pairs)


@operation("Pool.starmap_async")
def pool_starmap_async(w):
    yield lambda: w.pool.starmap_async(tasks.add, w.things.pairs, 2).get(PATIENCE)


@operation("Pool.imap")
def pool_imap(w):
    yield lambda: list(w.pool.imap(tasks.double, w.things.items))


@operation("Pool.imap in chunks")
def pool_imap_chunks(w):
    yield lambda: list(w.pool.imap(tasks.double, w.things.items, 5))


@operation("Pool.imap_unordered")
def pool_imap_unordered(w):
    yield lambda: sorted(w.pool.imap_unordered(tasks.double, w.things.items))


@operation("Pool.options")
def pool_options(w):
    yield lambda: w.pool.options(timeout=PATIENCE, name="a name").apply(tasks.add, (1, 2))


@operation("AsyncResult.ready")
def result_ready(w):
    result = w.pool.apply_async(tasks.nothing)
    result.wait(PATIENCE)
    yield lambda: (result.ready(), result.successful() or result.get())


@operation("MapResult.ready")
def map_result_ready(w):
    result = w.pool.map_async(tasks.double, w.things.items, 3)
    result.wait(PATIENCE)
    yield lambda: (result.ready(), result.successful() or result.get())


@operation("Pool the whole life")
def pool_life(w):
    def life():
        with fastpool.Pool(1) as pool:
            return pool.apply(tasks.double, (2,))

    yield life


@operation("Pool.close")
def pool_close(w):
    pool = fastpool.Pool(1)
    yield pool.close
    pool.close()
    pool.join()


@operation("Pool.terminate")
def pool_terminate(w):
    pool = fastpool.Pool(1)
    yield pool.terminate
    pool.terminate()
    pool.join()


@operation("Pool.join")
def pool_join(w):
    pool = fastpool.Pool(1)
    pool.close()
    yield lambda: pool.join(PATIENCE)
    pool.join()


# ------------------------------------------------------------------------------- share


@operation("share")
def share(w):
    yield lambda: fastpool.share(w.things.numbers).nbytes


@operation("share of large text")
def share_text(w):
    text = "text" * 50_000
    yield lambda: fastpool.share([text, w.things.data]).value == [text, w.things.data]


@operation("Shared.value")
def shared_value(w):
    shared = fastpool.share({"numbers": w.things.numbers, "large": w.things.buffer})
    yield lambda: len(shared.value["numbers"])


@operation("Shared.__repr__")
def shared_repr(w):
    yield lambda: repr(w.shared)


@operation("Shared.__reduce_ex__")
def shared_reduce(w):
    yield lambda: len(pickle.dumps(w.shared, 5))


@operation("Shared unpickled elsewhere")
def shared_unpickled(w):
    shared = fastpool.share(w.things.numbers)
    data = pickle.dumps(shared, 5)
    del shared
    yield lambda: pickle.loads(data).value


# ------------------------------------------------------------------------------- what only the package itself uses


@operation("_core.share")
def core_share(w):
    yield lambda: _core.share(w.things.thing).nbytes


@operation("_core.Pages")
def core_pages(w):
    pages = _core.share(w.things.numbers)
    yield lambda: (pages.load(), pages.is_open, len(pages.where), len(pages.token), memoryview(pages).nbytes)


@operation("_core.open_pages")
def open_pages(w):
    pages = _core.share(w.things.numbers)
    owner, descriptor = pages.where
    token = pages.token
    yield lambda: _core.open_pages(owner, descriptor, token).nbytes


@operation("_core.adopt_pages")
def adopt_pages(w):
    pages = _core.share(w.things.numbers)
    descriptor = os.dup(pages.where[1])
    yield lambda: _core.adopt_pages(descriptor).nbytes
    with contextlib.suppress(OSError):
        os.close(descriptor)


@operation("_core.copy_pages")
def copy_pages(w):
    data = bytes(_core.share(w.things.numbers))
    yield lambda: _core.copy_pages(data).nbytes


@operation("_core.watch_futures")
def watch_futures(w):
    with w.busy() as running:
        futures = [running, w.done(tasks.nothing)]
        yield lambda: [type(part) for part in _core.watch_futures(futures)]


@operation("_core.WaitSet")
def waitset(w):
    futures = [w.executor.submit(tasks.double, n) for n in range(6)]

    def life():
        ready, waiting = _core.watch_futures(futures)
        return len(ready) + len(waiting.wait(6 - len(ready), PATIENCE))

    yield life


@operation("_core.CompletionQueue")
def completion_queue(w):
    with w.busy():
        futures = [w.single.submit(tasks.double, n) for n in range(4)] + [fastpool.Future() for _ in range(12)]

        def life():
            queue, there = _core.CompletionQueue(w.single._pool), 0
            for future in futures:
                queue.add(future)
            number = len(queue)
            while queue.get(0) is not None:
                there += 1
            return number, there

        yield life


@operation("_core.Pool")
def core_pool(w):
    yield lambda: _core.Pool(1, fastpool.Future, collect).attachment() and None


@operation("_core.Pool.submit_each")
def submit_each(w):
    yield lambda: w.pool._team.pool.submit_each(tasks.double, (1, 2, 3), False)


@operation("_core.Pool.submit_each by value")
def submit_each_by_value(w):
    from fastpool import by_value

    def submit():
        return w.pool._team.pool.submit_each(w.things.function, (1, 2, 3), False, by_value.dumps(w.things.function))

    yield submit


@operation("_core.Pool.submit_on")
def submit_on(w):
    yield lambda: w.pool._team.pool.submit_on((PATIENCE, 1.0, 1, "a name"), tasks.add, 1, b=2)


@operation("_core.Pool.call_when_done")
def call_when_done(w):
    with w.busy(w.lonely._submit):
        core = w.lonely._team.pool
        future = core.submit(tasks.nothing)
        yield lambda: core.call_when_done(future, w.things.callback)
    future.result(PATIENCE)


@operation("_core.Pool facts")
def pool_facts(w):
    core = w.pool._team.pool
    yield lambda: (core.unfinished, core.waiting, core.broken, core.drained, core.ready, core.started, core.size)


@operation("_core.obstacle")
def obstacle(w):
    yield _core.obstacle
