"""The pools, each behind the same few words."""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import threading
from multiprocessing import heap

from battery.verdicts import NotPossible

START_METHODS = ("fork", "forkserver", "spawn")


class FutureHandle:
    def __init__(self, future, callback):
        self.future = future
        if callback:
            with contextlib.suppress(BaseException):  # of the callback of a future that is done: it is called here
                future.add_done_callback(lambda future: callback())

    def outcome(self, seconds):
        """(value, error), or None if it is still open after that time."""
        try:
            return self.future.result(seconds), None
        except BaseException as error:
            return (None, error) if self.future.done() else None

    def cancel(self):
        return self.future.cancel()


class ResultHandle:
    """Of an AsyncResult."""

    def __init__(self, result):
        self.result = result

    def outcome(self, seconds):
        try:
            return self.result.get(seconds), None
        except BaseException as error:
            return (None, error) if self.result.ready() else None


class Library:
    """A pool of this kind; a class attribute says what kind that is."""

    methods = START_METHODS
    features = frozenset({"callbacks", "cancel", "initializer", "shutdown without waiting", "calls in flight"})
    survives = False  # a worker's death fails its own call only; the others' pools break
    batches = False  # an error is that of all calls made together
    by_value = False  # functions without a name are sent all the same

    @classmethod
    def warm_up(cls):
        """What a program's first pool leaves on purpose, for all of its pools."""

    def flush(self):
        """What has been submitted is on its way."""

    def drop(self):
        self.raw = None

    def is_death(self, error):
        return self.is_break(error)

    def is_break(self, error):
        return isinstance(error, concurrent.futures.BrokenExecutor)


# ------------------------------------------------------------------- executors with futures
class Executor(Library):
    def submit(self, function, args, callback):
        future = self.raw.submit(function, *args)
        return FutureHandle(future, callback)

    def close(self):
        self.raw.shutdown(wait=True)

    def let_go(self):
        self.raw.shutdown(wait=False)


class StandardExecutor(Executor):
    module = "concurrent.futures"
    options: dict[str, str] = {}

    def __init__(self, method, workers, initializer=None, initargs=()):
        context = multiprocessing.get_context(method)
        executor = importlib.import_module(self.module).ProcessPoolExecutor
        self.raw = executor(workers, mp_context=context, initializer=initializer, initargs=initargs, **self.options)

    def stop(self):
        """kill_workers() of Python 3.14, and what programs do before."""
        if hasattr(self.raw, "kill_workers"):
            self.raw.kill_workers()
            return
        workers = dict(self.raw._processes or {})
        self.raw.shutdown(wait=False, cancel_futures=True)
        for worker in workers.values():
            worker.kill()


class FastpoolBreak(StandardExecutor):
    module = "fastpool"
    by_value = True

    @classmethod
    def warm_up(cls):
        """The pipe by which workers see the program's end."""
        pool = cls("fork", 1)
        pool.submit(abs, (-1,), None).outcome(5)
        pool.close()


class FastpoolRespawn(FastpoolBreak):
    options = {"on_worker_death": "respawn"}
    survives = True

    def is_death(self, error):
        return isinstance(error, importlib.import_module("fastpool").WorkerDied)


class Loky(Executor):
    methods = ("loky",)
    by_value = True

    @classmethod
    def warm_up(cls):
        from loky.backend import resource_tracker

        resource_tracker.ensure_running()

    def __init__(self, method, workers, initializer=None, initargs=()):
        import loky

        self.raw = loky.ProcessPoolExecutor(workers, initializer=initializer, initargs=initargs)

    def stop(self):
        self.raw.shutdown(wait=True, kill_workers=True)


class Deadpool(Executor):
    survives = True

    def __init__(self, method, workers, initializer=None, initargs=()):
        import deadpool

        self.raw = deadpool.Deadpool(workers, mp_context=method, initializer=initializer, initargs=initargs)

    def stop(self):
        self.raw.shutdown(wait=False, cancel_futures=True)

    def is_death(self, error):
        import deadpool

        return isinstance(error, deadpool.ProcessError)


class Pebble(Library):
    survives = True

    def __init__(self, method, workers, initializer=None, initargs=()):
        import pebble

        context = multiprocessing.get_context(method)
        self.raw = pebble.ProcessPool(workers, initializer=initializer, initargs=initargs, context=context)

    def submit(self, function, args, callback):
        future = self.raw.schedule(function, args=args)
        return FutureHandle(future, callback)

    def close(self):
        self.raw.close()
        self.raw.join()

    def let_go(self):
        self.raw.close()

    def stop(self):
        self.raw.stop()
        self.raw.join()

    def is_death(self, error):
        import pebble

        return isinstance(error, pebble.ProcessExpired)

    def is_break(self, error):
        return super().is_break(error) or "error within the Pool" in str(error)


# ---------------------------------------------------------------------- pools with results
class StandardPool(Library):
    module = "multiprocessing.pool"
    features = Library.features - {"cancel"}
    survives = True

    def __init__(self, method, workers, initializer=None, initargs=()):
        pool = importlib.import_module(self.module).Pool
        self.raw = pool(workers, initializer, initargs, context=multiprocessing.get_context(method))

    def submit(self, function, args, callback):
        told = (lambda value: callback()) if callback else None
        return ResultHandle(self.raw.apply_async(function, args, callback=told, error_callback=told))

    def close(self):
        self.raw.close()
        self.raw.join()

    def let_go(self):
        self.raw.close()

    def stop(self):
        self.raw.terminate()
        self.raw.join()

    def is_death(self, error):
        return False


class FastpoolPool(StandardPool):
    module = "fastpool"
    by_value = True
    warm_up = FastpoolBreak.warm_up

    def is_death(self, error):
        return isinstance(error, importlib.import_module("fastpool").WorkerDied)


class Mpire(Library):
    features = Library.features - {"cancel", "shutdown without waiting"}

    @classmethod
    def warm_up(cls):
        """multiprocessing's heap of shared values."""
        heap.BufferWrapper(1)

    def __init__(self, method, workers, initializer=None, initargs=()):
        import mpire

        self.raw = mpire.WorkerPool(workers, start_method=method)
        self.initializer = (lambda: initializer(*initargs)) if initializer and initargs else initializer

    def submit(self, function, args, callback):
        told = (lambda value: callback()) if callback else None
        options = {"callback": told, "error_callback": told, "worker_init": self.initializer}
        # a tuple that holds one iterable is taken for the arguments themselves: by name there is no doubt
        return ResultHandle(self.raw.apply_async(_Applied(function), (args,), **options))

    def close(self):
        self.raw.stop_and_join()

    def stop(self):
        self.raw.terminate()

    def is_break(self, error):
        return isinstance(error, RuntimeError)


class _Applied:
    def __init__(self, function):
        self.function = function

    def __call__(self, args):
        return self.function(*args)


# ------------------------------------------------------------------------ a list at a time
class Batch:
    """The calls made until somebody asks for a result: one Parallel."""

    def __init__(self, workers):
        self.workers, self.calls, self.started, self.thread = workers, [], False, None
        self.values, self.error = None, None

    def start(self):
        if self.started:
            return
        self.started, thread = True, threading.Thread(target=self._run, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: a submit() would say so
            self.error = error
        else:
            self.thread = thread

    def _run(self):
        import joblib

        try:
            calls = [joblib.delayed(function)(*args) for function, args in self.calls]
            self.values = joblib.Parallel(n_jobs=self.workers, backend="loky", batch_size=1)(calls)
        except BaseException as error:
            self.error = error


class BatchHandle:
    def __init__(self, batch, index):
        self.batch, self.index = batch, index

    def outcome(self, seconds):
        self.batch.start()
        if self.batch.thread is not None:
            self.batch.thread.join(seconds)
            if self.batch.thread.is_alive():
                return None
        return (None, self.batch.error) if self.batch.error else (self.batch.values[self.index], None)


class Joblib(Library):
    methods = ("loky",)
    features = frozenset[str]()
    batches = True
    by_value = True

    @classmethod
    def warm_up(cls):
        from joblib.externals.loky.backend import resource_tracker

        resource_tracker.ensure_running()

    def __init__(self, method, workers, initializer=None, initargs=()):
        if initializer:
            raise NotPossible("initializer")
        self.workers, self.batch = workers, Batch(workers)

    def submit(self, function, args, callback):
        if callback:
            raise NotPossible("callbacks")
        if self.batch.started:
            self.batch = Batch(self.workers)
        self.batch.calls.append((function, args))
        return BatchHandle(self.batch, len(self.batch.calls) - 1)

    def flush(self):
        self.batch.start()

    def drop(self):
        self.batch = None

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def stop(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def let_go(self):
        raise NotPossible("shutdown without waiting")

    def is_break(self, error):
        from joblib.externals.loky.process_executor import BrokenProcessPool

        return isinstance(error, (BrokenProcessPool, concurrent.futures.BrokenExecutor))


#: By the name that a command line gives them, in the order of the table.
LIBRARIES = {
    "fastpool": FastpoolBreak,
    "fastpool-respawn": FastpoolRespawn,
    "fastpool-Pool": FastpoolPool,
    "executor": StandardExecutor,
    "Pool": StandardPool,
    "loky": Loky,
    "joblib": Joblib,
    "pebble": Pebble,
    "mpire": Mpire,
    "deadpool": Deadpool,
}
