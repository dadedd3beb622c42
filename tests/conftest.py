"""What every test under tests/ shares: two implementations, three start methods, one deadline.

A test that names the fixture ``lib`` runs once over the standard library and once over fastpool;
one that names ``start_method`` (or ``pool``, or ``make_pool``) runs under each start method that is asked for with
--start-method; unasked under fork alone, or the first that it can be asked for: a third of the time.
"""

import concurrent.futures
import importlib
import multiprocessing
import multiprocessing.resource_sharer
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import deadline, script  # noqa: E402
from support.events import Gate, Mailbox  # noqa: E402

LIBRARIES = {"stdlib": "concurrent.futures", "fastpool": "fastpool"}
START_METHODS = ("fork", "forkserver", "spawn")


def pytest_addoption(parser):
    parser.addoption("--lib", choices=LIBRARIES, help="run the contract over this implementation only")
    parser.addoption(
        "--start-method", choices=(*START_METHODS, "all"), help="use this start method only, for both of them, or all"
    )


def pytest_configure(config):
    for line in (
        "fastpool_only(why): the standard library does otherwise, and we mean to",
        "stdlib_since(major, minor, why): older standard libraries lack this or get it wrong",
        "methods(*names): the start methods that can be asked for this at all",
        "deadline(seconds): how long each phase of the test may take",
    ):
        config.addinivalue_line("markers", line)
    # A shell ignores SIGINT for what it starts in the background, and so would every program of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _forget_main_script()
    config.pluginmanager.register(deadline.Deadline(), "deadline")


def _forget_main_script():
    # Under the `pytest` script each spawned worker would import pytest as its main module.
    main = sys.modules["__main__"]
    if main.__spec__ is None and hasattr(main, "__file__"):
        del main.__file__


def pytest_generate_tests(metafunc):
    for name, values in (("lib", _libraries(metafunc)), ("start_method", _start_methods(metafunc))):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values, indirect=True, scope="session")


def _libraries(metafunc):
    marker = metafunc.definition.get_closest_marker
    since = marker("stdlib_since")
    if marker("fastpool_only") or (since and sys.version_info < since.args[:2]):
        return ["fastpool"]
    return list(LIBRARIES)


def _start_methods(metafunc):
    marker = metafunc.definition.get_closest_marker("methods")
    return marker.args if marker else START_METHODS


def pytest_collection_modifyitems(config, items):
    asked = config.getoption("lib"), config.getoption("start_method")
    config.hook.pytest_deselected(items=[item for item in items if not _is_wanted(item, *asked)])
    items[:] = [item for item in items if _is_wanted(item, *asked)]


def _is_wanted(item, library, method):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if library not in (None, params.get("lib", library)):
        return False
    if method == "all" or "start_method" not in params:
        return True
    marker = item.get_closest_marker("methods")
    first, *_ = marker.args if marker else START_METHODS
    return params["start_method"] == (method or first)


@pytest.fixture(scope="session")
def lib(request):
    """The module under test: concurrent.futures or fastpool. Both have the same names."""
    module = importlib.import_module(LIBRARIES[request.param])
    assert getattr(module, "accelerated", True), module.unaccelerated_reason
    return module


@pytest.fixture(scope="session")
def is_fastpool(lib):
    return lib is not concurrent.futures


@pytest.fixture(scope="session")
def start_method(request):
    return request.param


@pytest.fixture(scope="session")
def context(start_method):
    return multiprocessing.get_context(start_method)


@pytest.fixture
def make_pool(lib, context):
    """A factory of executors, each shut down at the end of the test."""
    pools = []

    def make(max_workers=2, cls=None, **options):
        options.setdefault("mp_context", context)
        pool = (cls or lib.ProcessPoolExecutor)(max_workers, **options)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=True)


@pytest.fixture(scope="session")
def warm_pools(lib, context):
    """Pools of started workers for tests that leave a pool as they found it, by number of workers."""
    pools = {}
    yield pools
    for pool in pools.values():
        pool.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def get_pool(lib, context, make_pool, warm_pools):
    """Like make_pool, but with a pool that an earlier test may have used, where starting one is slow."""

    def get(max_workers):
        if context.get_start_method() == "fork":
            return make_pool(max_workers)
        pool = warm_pools.get(max_workers)
        if pool is None or pool._broken or pool._shutdown_thread:
            pool = warm_pools[max_workers] = lib.ProcessPoolExecutor(max_workers, mp_context=context)
        return pool

    return get


@pytest.fixture
def pool(get_pool):
    return get_pool(2)


@pytest.fixture
def single(get_pool):
    """A pool of one worker."""
    return get_pool(1)


@pytest.fixture
def run_script(lib, start_method, tmp_path):
    """Run a program of its own over this implementation and start method."""
    return script.Runner(lib.__name__, start_method, tmp_path)


@pytest.fixture
def make_gate(make_pool, tmp_path):
    # It names make_pool in order to be undone before it: no pool waits for a shut gate.
    gates = []

    def make():
        gates.append(Gate(tmp_path / f"gate{len(gates)}"))
        return gates[-1]

    yield make
    for gate in gates:
        gate.open()


@pytest.fixture
def gate(make_gate):
    return make_gate()


@pytest.fixture
def mailbox(tmp_path):
    box = Mailbox(tmp_path / "mailbox")
    yield box
    box.close()


@pytest.fixture
def resource_sharer():
    """For what pickles descriptors: multiprocessing's thread for it would make later forks multi-threaded ones."""
    yield
    multiprocessing.resource_sharer.stop()
