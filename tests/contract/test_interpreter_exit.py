"""Programs that end without shutting down: the work is done, nothing hangs, nothing is printed."""

import sys

import pytest

from support import script


def check(finished, stdout="", stderr="", code=0):
    assert (finished.returncode, finished.stdout, finished.stderr) == (code, stdout, stderr)


def test_queued_work_is_done(run_script):
    check(run_script("""
        # main
        pool = Pool()
        for number in range(20):
            pool.submit(tasks.echo, number).add_done_callback(lambda f: print(f.result(), flush=True) if f.result() == 19 else 0)
        """), "19\n")  # fmt: skip


def test_queued_work_is_done_by_its_effects(run_script, mailbox):
    finished = run_script(f"""
        from support.events import Post
        # main
        pool = Pool()
        post = Post({mailbox.path!r})
        for number in range(20):
            pool.submit(tasks.announce, post, number)
        """)
    check(finished)
    assert sorted(int(line) for line in mailbox.all()) == list(range(20))


def test_shutdown_without_wait(run_script):
    check(run_script("""
        # main
        pool = Pool()
        future = pool.submit(tasks.double, 21)
        future.add_done_callback(lambda f: print(f.result(), flush=True))
        pool.shutdown(wait=False)
        """), "42\n")  # fmt: skip


def test_dropped_pool(run_script):
    check(run_script("""
        # main
        Pool().submit(tasks.double, 21).add_done_callback(lambda f: print(f.result(), flush=True))
        """), "42\n")  # fmt: skip


def test_idle_pool(run_script):
    check(run_script("""
        # main
        pool = Pool()
        print(pool.submit(tasks.double, 21).result())
        """), "42\n")  # fmt: skip


def test_unused_pool(run_script):
    check(run_script("""
        # main
        pool = Pool()
        """))  # fmt: skip


def test_pool_in_a_cycle(run_script):
    check(run_script("""
        # main
        pool = Pool()
        pool.myself = pool
        print(pool.submit(tasks.double, 21).result())
        sys.pool = pool
        """), "42\n")  # fmt: skip


def test_inside_with(run_script):
    check(run_script("""
        # main
        with Pool() as pool:
            print(sum(pool.map(tasks.double, range(10))))
            sys.exit(3)
        """), "90\n", code=3)  # fmt: skip


def test_pool_made_by_a_thread_that_ended(run_script):
    check(run_script("""
        # main
        def work():
            global pool, future
            pool = Pool()
            future = pool.submit(tasks.double, 21)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(future.result())
        """), "42\n")  # fmt: skip


def test_result_asked_for_by_a_thread_at_exit(run_script):
    check(run_script("""
        # main
        pool = Pool()
        future = pool.submit(tasks.sleep, 0.2)
        threading.Thread(target=lambda: print(future.result())).start()
        """), "0.2\n")  # fmt: skip


@pytest.mark.parametrize("registered", ["before", "after"])
def test_submit_in_atexit_is_refused(run_script, registered):
    finished = run_script(f"""
        import atexit
        # main
        def late():
            try:
                pool.submit(tasks.nothing)
            except RuntimeError as error:
                print(error, flush=True)
        if {registered == "before"}:
            atexit.register(late)
        pool = Pool()
        pool.submit(tasks.nothing).result()
        if {registered == "after"}:
            atexit.register(late)
        """)
    assert finished.stdout.startswith("cannot schedule new futures after")
    assert (finished.returncode, finished.stderr) == (0, "")


def test_submit_by_a_thread_at_exit_is_refused(run_script):
    finished = run_script("""
        # main
        pool = Pool()
        pool.submit(tasks.nothing).result()
        def submit():
            threading.main_thread().join()
            while True:
                try:
                    pool.submit(tasks.nothing).result()
                except RuntimeError as error:
                    print(error)
                    return
        threading.Thread(target=submit).start()
        """)
    assert finished.stdout.startswith("cannot schedule new futures after")
    assert (finished.returncode, finished.stderr) == (0, "")


def test_unhandled_error(run_script):
    finished = run_script("""
        # main
        pool = Pool()
        pool.submit(tasks.fail, ValueError("from the worker")).result()
        """)
    assert finished.returncode == 1
    assert finished.stderr.count("Traceback (most recent call last):") == 2
    assert finished.stderr.endswith("ValueError: from the worker\n")


def test_output_is_written_once(run_script):
    finished = run_script("""
        # main
        print("before", end=" ")
        with Pool() as pool:
            pool.submit(print, "in the worker", flush=True).result()
        print("after")
        """)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert sorted(finished.stdout.split()) == sorted("before in the worker after".split())


def test_output_of_a_worker_is_flushed(run_script):
    check(run_script("""
        # main
        with Pool(1) as pool:
            pool.submit(print, "unflushed").result()
        """), "unflushed\n")  # fmt: skip


def test_worker_runs_its_own_finalizers(run_script):
    check(run_script("""
        from multiprocessing import util
        def at_exit():
            print("finalized", flush=True)
        def register():
            util.Finalize(None, at_exit, exitpriority=10)
        # main
        with Pool(1) as pool:
            pool.submit(register).result()
        """), "finalized\n")  # fmt: skip


def test_functions_of_the_program_itself(run_script):
    check(run_script("""
        class Point:
            def __init__(self, x):
                self.x = x
        def move(point):
            return Point(point.x + 1)
        # main
        with Pool() as pool:
            print([point.x for point in pool.map(move, [Point(1), Point(2)])])
        """), "[2, 3]\n")  # fmt: skip


def test_programs_exit_with_a_pool_that_is_broken(run_script):
    finished = run_script("""
        # main
        pool = Pool()
        try:
            pool.submit(tasks.exit_process, 3).result()
        except futures.BrokenExecutor as error:
            print("broken")
        """)
    check(finished, "broken\n")


def test_developer_mode_has_nothing_to_say(run_script):
    """No unclosed file, no unraisable error, no warning."""
    path = run_script.write("""
        # main
        with Pool() as pool:
            print(sum(pool.map(tasks.double, range(100))))
        """)
    check(script.finish(script.start([sys.executable, "-X", "dev", path])), "9900\n")
