"""Programs that derive from the pool, and those that put their own parts into its machinery."""

import multiprocessing.pool
import threading

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE, eventually


def test_own_constructor_and_attributes(lib, make_pool):
    class Mine(lib.Pool):
        def __init__(self, *args, label="default", **kwargs):
            super().__init__(*args, **kwargs)
            self.label = label

    pool = make_pool(1, cls=Mine, label="mine")
    assert pool.label == "mine" and pool.apply(tasks.double, (2,)) == 4
    assert isinstance(pool, multiprocessing.pool.Pool)
    assert repr(pool) == f"<{__name__}.test_own_constructor_and_attributes.<locals>.Mine state=RUN pool_size=1>"


def test_own_methods(lib, make_pool):
    calls = []

    class Mine(lib.Pool):
        def apply_async(self, func, args=(), kwds={}, callback=None, error_callback=None):  # noqa: B006
            calls.append(func)
            return super().apply_async(func, args, kwds, callback, error_callback)

        def map(self, func, iterable, chunksize=None):
            return tuple(super().map(func, iterable, chunksize))

    pool = make_pool(1, cls=Mine)
    assert pool.apply(tasks.double, (2,)) == 4
    assert pool.map(tasks.double, range(3)) == (0, 2, 4)
    assert calls == [tasks.double]


@pytest.mark.parametrize("method", ["map", "starmap", "map_async", "starmap_async"])
def test_own_map_async(lib, make_pool, method):
    """The one method behind all four."""
    seen = []

    class Mine(lib.Pool):
        def _map_async(self, func, iterable, mapper, *arguments, **options):
            seen.append((func, mapper.__name__))
            return super()._map_async(func, iterable, mapper, *arguments, **options)

    result = getattr(make_pool(1, cls=Mine), method)(tasks.echo, [(1,), (2,)])
    star = method.startswith("star")
    assert (result.get() if method.endswith("async") else result) == ([1, 2] if star else [(1,), (2,)])
    assert seen == [(tasks.echo, "starmapstar" if star else "mapstar")]


def test_terminate_that_is_overridden_serves_with(lib, context):
    calls = []

    class Mine(lib.Pool):
        def terminate(self):
            calls.append("terminate")
            super().terminate()

    with Mine(1, context=context) as pool:
        pool.apply(tasks.nothing)
    pool.join()
    assert calls == ["terminate"]


def test_attributes_of_a_pool(make_pool):
    pool = make_pool(1)
    pool.tag = "mine"
    assert vars(pool)["tag"] == "mine"


def test_mixed_in_after_another_class(lib, make_pool):
    class Named:
        name = "named"

    class Mine(Named, lib.Pool):
        pass

    assert make_pool(1, cls=Mine).apply(tasks.double, (2,)) == 4


# --- the NoDaemonPool recipe


def with_a_class_attribute(lib, process):
    class NoDaemonPool(lib.Pool):
        Process = staticmethod(lambda ctx, *args, **kwds: process(*args, **kwds))

    return NoDaemonPool, {}


def with_a_static_method(lib, process):
    class NoDaemonPool(lib.Pool):
        @staticmethod
        def Process(ctx, *args, **kwds):
            return process(*args, **kwds)

    return NoDaemonPool, {}


def with_a_method(lib, process):
    class NoDaemonPool(lib.Pool):
        def Process(self, ctx, *args, **kwds):
            worker = super().Process(ctx, *args, **kwds)
            worker.__class__ = process
            return worker

    return NoDaemonPool, {}


def with_a_context(lib, process):
    (method,) = (name for name, known in jobs.NO_DAEMON_PROCESS.items() if known is process)
    return lib.Pool, {"context": jobs.NO_DAEMON_CONTEXT[method]()}


@pytest.fixture(params=[with_a_class_attribute, with_a_static_method, with_a_method, with_a_context])
def make_no_daemon_pool(request, lib, make_pool, start_method):
    cls, options = request.param(lib, jobs.NO_DAEMON_PROCESS[start_method])
    return lambda *arguments, **others: make_pool(*arguments, cls=cls, **options, **others)


def test_no_daemon_pool(make_no_daemon_pool, start_method, mailbox):
    """Its tasks may have children, and what replaces a worker is of the same kind."""
    pool = make_no_daemon_pool(1, maxtasksperchild=2)
    for _ in range(2):
        assert [(type(worker), worker.daemon) for worker in pool._pool] == [
            (jobs.NO_DAEMON_PROCESS[start_method], False)
        ]
        worker = pool._pool[0]
        assert pool.apply(jobs.is_daemon) is False
        assert pool.apply(jobs.nested_process, ("fork", mailbox)) == 0
        assert mailbox.get() == "from the process"
        eventually(lambda old=worker: len(pool._pool) == 1 and pool._pool[0] is not old and pool._pool[0].is_alive())
    assert pool.map(tasks.double, range(4), 4) == [0, 2, 4, 6]


@pytest.mark.fastpool_only("the standard library does not answer")
def test_no_daemon_pool_is_fastpools(lib, make_no_daemon_pool):
    """Only Process is another: the rest is what it was."""
    pool = make_no_daemon_pool(1)
    with pytest.raises(lib.WorkerDied):
        pool.apply_async(tasks.exit_process, (3,)).get(PATIENCE)
    assert pool.apply_async(tasks.double, (2,)).get(PATIENCE) == 4


# --- subclasses with machinery of their own, that the standard library's has to run


def uses_standard_machinery(pool):
    return all(
        isinstance(getattr(pool, name, None), threading.Thread)
        for name in ("_worker_handler", "_task_handler", "_result_handler")
    )


# Overridden by a subclass, each is called in its instance, or is not, because the class is named where it is called.
HOOKS = {
    "_setup_queues": True,
    "_repopulate_pool": True,
    "_repopulate_pool_static": True,
    "_get_sentinels": True,
    "_terminate_pool": True,
    "_help_stuff_finish": True,
    "_guarded_task_generation": True,
    "_handle_workers": False,
    "_handle_tasks": False,
    "_handle_results": False,
    "_maintain_pool": False,
    "_join_exited_workers": False,
    "_get_worker_sentinels": False,
    "_wait_for_updates": False,
    "_get_tasks": False,
}


def overriding(lib, names, called):
    """A subclass with methods of these names, that say that they were called and do what the inherited ones do."""

    def override(name, inherited):
        kind = type(inherited) if isinstance(inherited, (staticmethod, classmethod)) else None
        function = inherited.__func__ if kind else inherited

        def hook(*arguments, **options):
            called.add(name)
            return function(*arguments, **options)

        return kind(hook) if kind else hook

    return type("Mine", (lib.Pool,), {name: override(name, vars(multiprocessing.pool.Pool)[name]) for name in names})


def use(pool):
    assert uses_standard_machinery(pool)
    assert pool.map(tasks.double, range(10)) == [2 * n for n in range(10)]
    assert list(pool.imap(tasks.double, range(10), 3)) == [2 * n for n in range(10)]
    assert pool.apply(tasks.double, (2,)) == 4
    pool.terminate()
    pool.join()


@pytest.mark.methods("fork")
@pytest.mark.parametrize("name", HOOKS)
def test_hook_that_is_overridden(lib, make_pool, name):
    called = set()
    use(make_pool(1, cls=overriding(lib, [name], called)))
    assert called == ({name} if HOOKS[name] else set())


def test_all_hooks_that_are_overridden(lib, make_pool):
    called = set()
    use(make_pool(1, cls=overriding(lib, HOOKS, called)))
    assert called == {name for name in HOOKS if HOOKS[name]}


def test_queues_of_its_own(lib, make_pool):
    """As joblib's MemmappingPool and torch.multiprocessing have them."""
    sent, received = [], []

    class Mine(lib.Pool):
        def _setup_queues(self):
            super()._setup_queues()
            put, get = self._inqueue._writer.send, self._outqueue._reader.recv
            self._quick_put = lambda task: (sent.append(task), put(task))
            self._quick_get = lambda: (received.append(get()), received[-1])[1]

    pool = make_pool(2, cls=Mine)
    assert uses_standard_machinery(pool)
    assert pool.map(tasks.double, range(8), 2) == [2 * n for n in range(8)]
    assert pool.apply(tasks.double, (2,)) == 4
    assert len([task for task in sent if task]) == len([result for result in received if result]) == 5


def test_worker_loop_of_its_own(lib, make_pool):
    """As torch.multiprocessing has it."""

    class Mine(lib.Pool):
        def _repopulate_pool(self):
            for _ in range(self._processes - len(self._pool)):
                arguments = (self._inqueue, self._outqueue, self._initializer, self._initargs, self._maxtasksperchild)
                worker = self.Process(self._ctx, target=jobs.own_worker, args=arguments)
                self._pool.append(worker)
                worker.name = worker.name.replace("Process", "PoolWorker")
                worker.daemon = True
                worker.start()

    pool = make_pool(2, cls=Mine, initializer=tasks.initialize, initargs=(5,))
    assert uses_standard_machinery(pool)
    assert pool.apply(tasks.double, (2,)) == ("own", 4)
    assert pool.apply(tasks.initialized_with) == ("own", [(5,)])
    assert list(pool.imap(tasks.double, range(3))) == [("own", 0), ("own", 2), ("own", 4)]
    pool.close()
    pool.join()
    assert [worker.exitcode for worker in pool._pool] == [0, 0]


def test_static_worker_loop_of_its_own(lib, make_pool):
    class Mine(lib.Pool):
        @staticmethod
        def _repopulate_pool_static(ctx, Process, processes, pool, inqueue, outqueue, *others):
            for _ in range(processes - len(pool)):
                worker = Process(ctx, target=jobs.own_worker, args=(inqueue, outqueue))
                worker.daemon = True
                worker.start()
                pool.append(worker)

    pool = make_pool(2, cls=Mine)
    assert uses_standard_machinery(pool)
    assert pool.apply(tasks.double, (2,)) == ("own", 4)


@pytest.mark.fastpool_only("is about what the standard library cannot but have")
def test_pool_without_hooks_has_other_machinery(make_pool):
    assert not uses_standard_machinery(make_pool(1))
