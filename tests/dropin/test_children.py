"""The drop-in reaches children of every kind, and theirs, before they import the main module."""

import multiprocessing

import pytest

import fastpool
from program_runs import FASTPOOL, PLAIN, run

METHODS = multiprocessing.get_all_start_methods()
REPLACEMENT = fastpool.ProcessPoolExecutor.__module__

# What a process sees: the name as the main module's import found it, and as it stands in both modules.
LOOK = """
import concurrent.futures, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import ProcessPoolExecutor as AlsoProcessPoolExecutor

def look():
    homes = concurrent.futures, concurrent.futures.process
    found = [ProcessPoolExecutor, AlsoProcessPoolExecutor, *(home.ProcessPoolExecutor for home in homes)]
    return {each.__module__ for each in found}

def look_below(depth, context):
    seen = [look()]
    if depth:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
            seen += executor.submit(look_below, depth - 1, multiprocessing.get_context(sys.argv[1])).result()
    return seen
"""

NESTED = """
if __name__ == "__main__":
    print(look_below(2, multiprocessing.get_context(sys.argv[1])))
"""

WITH_PROCESS = """
def tell(connection):
    connection.send(look())

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    here, there = context.Pipe()
    child = context.Process(target=tell, args=(there,))
    child.start()
    print([look(), here.recv()])
    child.join()
"""

WITH_POOL = """
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print([look(), pool.apply(look)])
"""

INSTALLS_WHEN_RUN = """
if __name__ == "__main__":
    from fastpool.dropin import install
    install()
    print(look_below(2, multiprocessing.get_context(sys.argv[1]))[1:])
"""

SERVER_IS_OLDER = """
def look_again():
    return {concurrent.futures.ProcessPoolExecutor.__module__, concurrent.futures.process.ProcessPoolExecutor.__module__}

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as standard:
        standard.submit(abs, 1).result()
    from fastpool.dropin import install
    install()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print([executor.submit(look_again).result()])
"""

PACKAGE_IS_OFF_THE_PATH = """
if __name__ == "__main__":
    import os, fastpool
    root = os.path.dirname(os.path.dirname(fastpool.__file__))
    sys.path[:] = [folder for folder in sys.path if folder != root]
    print(look_below(2, multiprocessing.get_context(sys.argv[1])))
"""

CHILDREN_SEE = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor

def facts():
    return sys.path, sys.argv, os.environ.get("PYTHONPATH"), __name__, __file__, "sitecustomize" in sys.modules

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    with ProcessPoolExecutor(1) as executor:
        for fact in executor.submit(facts).result()[:5]:
            print(fact)
"""

# sys.path is the main program's own again where the server was asked to import something else beforehand
PRELOADS = """
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "json"])
    print(look_below(1, context))
"""


def seen(text, folder, launcher, *arguments):
    """What the program's processes saw, each a set."""
    (folder / "program.py").write_text(LOOK + text)
    outcome = run(launcher, "program.py", *arguments, cwd=folder)
    assert outcome.exitcode == 0, outcome.stderr
    return eval(outcome.stdout)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [NESTED, PACKAGE_IS_OFF_THE_PATH])
def test_nested_pools(text, method, tmp_path):
    assert seen(text, tmp_path, FASTPOOL, method) == [{REPLACEMENT}] * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [WITH_PROCESS, WITH_POOL])
def test_children_that_are_no_workers_of_ours(text, method, tmp_path):
    assert seen(text, tmp_path, FASTPOOL, method) == [{REPLACEMENT}] * 2


@pytest.mark.parametrize("method", sorted({*METHODS} - {"fork"}))
def test_installed_by_the_program_itself(method, tmp_path):
    """The children's main module does not install anything: it is never `__main__` there."""
    assert seen(INSTALLS_WHEN_RUN, tmp_path, PLAIN, method) == [{REPLACEMENT}] * 2


def test_fork_server_that_was_there_before(tmp_path):
    assert seen(SERVER_IS_OLDER, tmp_path, PLAIN) == [{REPLACEMENT}]


def test_fork_server_with_a_list_to_preload(tmp_path):
    assert seen(PRELOADS, tmp_path, FASTPOOL, "forkserver") == [{REPLACEMENT}] * 2


@pytest.mark.parametrize("method", METHODS)
def test_children_see_what_they_would_see(method, tmp_path):
    (tmp_path / "program.py").write_text(CHILDREN_SEE)
    before, after = (run(launcher, "program.py", method, "b", cwd=tmp_path) for launcher in (PLAIN, FASTPOOL))
    assert before.exitcode == 0 and len(before.stdout.splitlines()) == 5, before
    assert after == before
