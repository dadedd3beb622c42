"""Programs that end without ending their pool: nothing hangs, nothing is printed, no process is left."""

import sys

import pytest

from support import processes, script
from support.events import Mailbox


def check(finished, stdout="", stderr="", code=0):
    assert (finished.returncode, finished.stdout, finished.stderr) == (code, stdout, stderr)


def test_running_pools_in_every_place(run_script, is_fastpool):
    """Unused, dropped, in a cycle, kept by a module, of a thread that ended."""
    finished = run_script(
        """
        # main
        def start():
            global of_a_thread
            of_a_thread = Pool(1)
            assert of_a_thread.apply(tasks.double, (3,)) == 6
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        unused, dropped, cyclic, sys.pool = [Pool(1) for _ in range(4)]
        for pool in (dropped, cyclic, sys.pool):
            assert pool.apply(tasks.double, (1,)) == 2
        cyclic.myself = cyclic
        print(*[pool._pool[0].pid for pool in (of_a_thread, unused, dropped, cyclic, sys.pool)], flush=True)
        del pool, dropped, cyclic
        """,
        ignore=DeprecationWarning,
    )
    # the standard library's Pool.__del__ may find its queue closed, by chance, and says so
    noise = not is_fastpool and finished.stderr.startswith("Exception ignored in: <function Pool.__del__")
    check(finished, finished.stdout, finished.stderr if noise else "")
    workers = finished.stdout.split()
    assert len(workers) == 5 and not any(processes.alive(worker) for worker in workers)


def test_work_that_is_not_done_is_given_up(run_script, tmp_path):
    """Calls, maps of every kind, and those of a pool that was closed and not joined."""
    mailbox = Mailbox(tmp_path / "box")
    path = run_script.write("""
        from support.events import Post
        # main
        pool, closed, post = Pool(1), Pool(1), Post(sys.argv[1])
        results = [
            *[pool.apply_async(tasks.announce_and_sleep, (post,)) for _ in range(9)],
            pool.map_async(tasks.announce_and_sleep, [post] * 9, 1),
            pool.imap(tasks.announce_and_sleep, [post] * 9),
            pool.imap_unordered(tasks.announce_and_sleep, iter(lambda: post, None)),
            closed.map_async(tasks.announce_and_sleep, [post] * 9, 1),
        ]
        closed.close()
        sys.stdin.read()
        """)
    # A second pool is forked by a process that has threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", path, mailbox.path]
    process = script.start(command, stdin=script.subprocess.PIPE)
    workers = mailbox.take(2)
    check(script.finish(process))
    assert not any(processes.alive(worker) for worker in workers)
    assert mailbox.all() == []
    mailbox.close()


def test_inside_with(run_script):
    """And functions and classes of the program itself."""
    check(
        run_script("""
        class Point:
            def __init__(self, x):
                self.x = x
        def move(point):
            return Point(point.x + 1)
        # main
        with Pool() as pool:
            print([point.x for point in pool.map(move, [Point(1), Point(2)])])
            sys.exit(3)
        """),
        "[2, 3]\n",
        code=3,
    )


def test_use_by_a_thread_and_in_atexit(run_script):
    """What was registered later runs before multiprocessing ends its pools."""
    check(
        run_script("""
        import atexit
        # main
        pool = Pool()
        atexit.register(lambda: print(pool.apply(tasks.double, (2,)), flush=True))
        result = pool.apply_async(tasks.sleep, (0.1,))
        threading.Thread(target=lambda: print(result.get())).start()
        """),
        "0.1\n4\n",
    )


def test_unhandled_error(run_script):
    finished = run_script("""
        # main
        pool = Pool()
        pool.apply(tasks.fail, (ValueError("from the worker"),))
        """)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("multiprocessing.pool.RemoteTraceback: \n")
    assert finished.stderr.count("Traceback (most recent call last):") == 2
    assert finished.stderr.endswith("ValueError: from the worker\n")


def test_output_and_finalizers(run_script):
    """What stood in a buffer at the start is written once, what a worker leaves in its own is not lost."""
    finished = run_script("""
        from multiprocessing import util
        def register():
            print("unflushed")
            util.Finalize(None, print, ("finalized",), {"flush": True}, exitpriority=10)
        # main
        print("before")
        pool = Pool(1)
        pool.apply(register)
        pool.close()
        pool.join()
        print("after")
        """)
    check(finished, finished.stdout)
    assert finished.stdout.split() == ["before", "unflushed", "finalized", "after"]


def test_developer_mode_has_nothing_to_say(run_script):
    """No unclosed file, no unraisable error, no warning."""
    path = run_script.write("""
        # main
        with Pool() as pool:
            print(sum(pool.map(tasks.double, range(100))), sum(pool.imap(tasks.double, range(100))))
            calls = []
            for number in range(100):
                pool.apply_async(tasks.double, (number,), callback=calls.append)
            pool.close()
            pool.join()
        print(sum(calls))
        """)
    check(script.finish(script.start([sys.executable, "-X", "dev", path])), "9900 9900\n9900\n")


@pytest.mark.methods("fork")
def test_program_without_a_guard(lib, tmp_path):
    """Under fork the main module is not imported again."""
    path = tmp_path / "unguarded.py"
    path.write_text(f"""
from {lib.__name__} import Pool
import multiprocessing

def double(number):
    return 2 * number

with Pool(2, context=multiprocessing.get_context("fork")) as pool:
    print(pool.map(double, range(5)))
""")
    check(script.finish(script.start([sys.executable, path])), "[0, 2, 4, 6, 8]\n")


MODULE = """
import {module} as library
import multiprocessing

def double(number):
    return 2 * number

if multiprocessing.parent_process() is None:
    with library.Pool(1, context=multiprocessing.get_context("{method}")) as pool:
        ANSWER = pool.apply_async(double, (21,)).get(20)
        ANSWERS = pool.map_async(double, range(3)).get(20), list(pool.imap(double, range(3)))
"""


@pytest.mark.fastpool_only("pickling in another thread, the standard library waits for the import lock for ever")
def test_pool_used_while_a_module_is_imported(lib, start_method, run_script, tmp_path):
    (tmp_path / "uses_a_pool.py").write_text(MODULE.format(module=lib.__name__, method=start_method))
    check(
        run_script("""
        # main
        import uses_a_pool
        print(uses_a_pool.ANSWER, uses_a_pool.ANSWERS)
        """),
        "42 ([0, 2, 4], [0, 2, 4])\n",
    )
