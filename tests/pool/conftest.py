"""The fixtures of tests/conftest.py, over ``multiprocessing.pool`` and ``fastpool`` instead of the executors."""

import importlib
import multiprocessing.pool
import pathlib
import textwrap

import pytest

from support import script

MODULES = {"stdlib": "multiprocessing.pool", "fastpool": "fastpool"}
HERE = pathlib.Path(__file__).parent
SECONDS = 60

HEAD = """\
import {module} as library
import multiprocessing, multiprocessing.pool, os, sys, threading, time
from support import tasks
from pool import jobs
context = multiprocessing.get_context({method!r})

def Pool(processes=2, **options):
    return library.Pool(processes, context=context, **options)
"""


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("deadline"):
            item.add_marker(pytest.mark.deadline(SECONDS))


@pytest.fixture(scope="session")
def lib(request):
    """The module under test: multiprocessing.pool or fastpool. Both have a Pool."""
    module = importlib.import_module(MODULES[request.param])
    assert getattr(module, "accelerated", True), module.unaccelerated_reason
    return module


@pytest.fixture(scope="session")
def is_fastpool(lib):
    return lib is not multiprocessing.pool


@pytest.fixture
def make_pool(lib, context):
    """A factory of pools, each terminated and joined at the end of the test."""
    pools = []

    def make(processes=2, cls=None, **options):
        options.setdefault("context", context)
        pool = (cls or lib.Pool)(processes, **options)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        end(pool)


@pytest.fixture(scope="session")
def warm_pools(lib, context):
    """Pools of started workers for tests that leave a pool as they found it, by number of workers."""
    pools = {}
    yield pools
    for pool in pools.values():
        end(pool)


@pytest.fixture
def get_pool(lib, context, make_pool, warm_pools):
    """Like make_pool, but with a pool that an earlier test may have used, where starting one is slow."""

    def get(processes):
        if context.get_start_method() == "fork":
            return make_pool(processes)
        pool = warm_pools.get(processes)
        used_up = pool is None or pool._state != multiprocessing.pool.RUN or pool._cache
        if used_up or getattr(pool, "_feeders", None):  # one that reads on would take time from every later test
            if pool is not None:
                end(pool)
            pool = warm_pools[processes] = lib.Pool(processes, context=context)
        return pool

    return get


def end(pool):
    pool.terminate()
    pool.join()


@pytest.fixture
def pool(get_pool):
    return get_pool(2)


@pytest.fixture
def single(get_pool):
    """A pool of one worker."""
    return get_pool(1)


class Runner(script.Runner):
    """Programs that find `library`, `context`, `Pool`, `tasks` and `jobs` defined."""

    def write(self, source):
        body, mark, main = textwrap.dedent(source).rpartition("# main\n")
        text = HEAD.format(module=self.module, method=self.method) + body
        text += 'if __name__ == "__main__":\n' + textwrap.indent(main, "    ")
        self._count += 1
        path = self.folder / f"program{self._count}.py"
        path.write_text(text)
        return path


@pytest.fixture
def run_script(lib, start_method, tmp_path):
    """Run a program of its own over this implementation and start method."""
    return Runner(lib.__name__, start_method, tmp_path)


@pytest.fixture(params=["imap", "imap_unordered"])
def lazily(request):
    """Both lazy maps, called as `lazily(pool)(function, iterable, ...)`."""

    def bind(pool):
        return getattr(pool, request.param)

    bind.ordered = request.param == "imap"
    return bind
