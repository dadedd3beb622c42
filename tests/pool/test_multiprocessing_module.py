"""The submodules of `multiprocessing`, which `fastpool.multiprocessing` has too: each is the very same module there."""

import importlib
import multiprocessing
import pkgutil
import sys
import textwrap

import pytest

from support import script

OF_WINDOWS = "popen_spawn_win32"


def submodules(package):
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    return sorted(name.removeprefix(f"{package}.") for _, name, _ in found)


SHARED = [name for name in submodules("multiprocessing") if name not in ("pool", OF_WINDOWS)]

# Each leaves the submodule in `found`.
FORMS = {
    "import": "import {package}.{name}; found = {package}.{name}",
    "import-as": "import {package}.{name} as found",
    "from-import": "from {parent} import {last} as found",
    "attribute": "import {package} as mp, {package}.{name}; found = mp.{name}",
    "by-name": "import importlib; found = importlib.import_module('{package}.{name}')",
    "standard-first": "import multiprocessing.{name}, {package}.{name}; found = {package}.{name}",
    "parent-first": "import {parent}; from {parent} import {last} as found",
    "twice": "import {package}.{name}; from {parent} import {last} as found",
}
CHECK = """
import multiprocessing.{name}, {package}.{name}, sys
assert found is sys.modules["{package}.{name}"] is sys.modules["multiprocessing.{name}"], "{name}"
assert found is multiprocessing.{name}, "{name}"
assert found.__name__ == found.__spec__.name == "multiprocessing.{name}", "{name}"
"""


@pytest.fixture(scope="module")
def package(is_fastpool):
    return "fastpool.multiprocessing" if is_fastpool else "multiprocessing"


def run(program):
    finished = script.finish(script.start([sys.executable, "-c", textwrap.dedent(program)]))
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


def test_all_are_there(package):
    assert submodules(package) == submodules("multiprocessing")


@pytest.mark.parametrize("form", FORMS)
def test_each_is_the_standard_librarys(package, form):
    steps = []
    for name in SHARED:
        parent, _, last = f"{package}.{name}".rpartition(".")
        steps.append((FORMS[form] + CHECK).format(package=package, parent=parent, name=name, last=last))
    run("".join(steps))


@pytest.mark.parametrize("name", SHARED)
def test_names_of_each(package, name):
    module = importlib.import_module(f"multiprocessing.{name}")
    names = {}
    exec(f"from {package}.{name} import *", names)
    del names["__builtins__"]
    public = [own for own in vars(module) if not own.startswith("_")]
    assert names == {own: getattr(module, own) for own in getattr(module, "__all__", public)}


def test_that_of_windows_says_what_it_lacks(package):
    with pytest.raises(ImportError, match="msvcrt"):
        importlib.import_module(f"{package}.{OF_WINDOWS}")


def test_import_of_the_package_alone_loads_none_that_is_not_needed(package):
    loaded = run(f"import sys, {package}; print(*sys.modules)").split()
    for name in ("dummy", "dummy.connection", "managers", "shared_memory", "sharedctypes", "synchronize"):
        assert f"multiprocessing.{name}" not in loaded and f"{package}.{name}" not in loaded


def test_one_that_does_not_exist(package):
    with pytest.raises(ModuleNotFoundError, match=rf"^No module named '{package}\.no_such_module'$"):
        importlib.import_module(f"{package}.no_such_module")
    with pytest.raises(ImportError, match=rf"^cannot import name 'no_such_module' from '{package}'"):
        exec(f"from {package} import no_such_module")
    with pytest.raises(AttributeError, match=rf"^module '{package}' has no attribute 'no_such_module'$"):
        importlib.import_module(package).no_such_module  # noqa: B018


def test_objects_of_either_are_of_the_same_class(package):
    queues, reduction = (importlib.import_module(f"{package}.{name}") for name in ("queues", "reduction"))
    assert type(multiprocessing.Queue()) is queues.Queue
    assert reduction.ForkingPickler.loads(reduction.ForkingPickler.dumps(queues.Queue)) is queues.Queue


def test_pool_of_threads_by_its_other_name(package):
    dummy = importlib.import_module(f"{package}.dummy")
    with dummy.Pool(2) as pool:
        assert isinstance(pool, multiprocessing.pool.ThreadPool)
        assert pool.map(lambda number: number + 1, range(3)) == [1, 2, 3]
    pool.join()


def test_program(run_script, package, start_method):
    """Its workers find in the submodules what the program has sent them."""
    finished = run_script(f"""
        import {package} as mp
        from {package} import shared_memory
        from {package}.managers import SharedMemoryManager
        def write(memory, number):
            memory.buf[number] = number
            memory.close()
        # main
        mp.set_start_method({start_method!r})
        with SharedMemoryManager() as manager, mp.Pool(2) as pool:
            memory = manager.SharedMemory(10)
            pool.starmap(write, [(memory, number) for number in range(10)], 1)
            print(isinstance(memory, shared_memory.SharedMemory), list(memory.buf[:10]) == list(range(10)))
        """)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == ["True True"]
