"""Programs that end without shutting down: the work is done, nothing hangs, nothing is printed."""

import sys

from support import script


def check(finished, stdout="", stderr="", code=0):
    assert (finished.returncode, finished.stdout, finished.stderr) == (code, stdout, stderr)


def test_queued_work_is_done(run_script, mailbox):
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


def test_pools_in_every_state(run_script):
    """Unused, idle, closed without waiting, dropped at work, in a cycle, kept by a module, of a thread that ended."""
    check(
        run_script(
            """
        # main
        def show(future):
            print(future.result(), flush=True)
        def work(pool):
            pool.submit(tasks.double, 1).add_done_callback(show)
        def start():
            pools.append(Pool(1))
            pools[-1].submit(tasks.nothing).result()
        unused, pools = Pool(1), []
        # All workers first: a fork while another thread prints would inherit the lock of stdout.
        for _ in range(5):
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
        idle, closed, dropped, cyclic, sys.pool = pools
        pools.clear()
        for pool in (closed, dropped, cyclic, sys.pool):
            work(pool)
        closed.shutdown(wait=False)
        cyclic.myself = cyclic
        del pool, dropped, cyclic
        """,
            ignore=DeprecationWarning,
        ),
        "2\n" * 4,
    )


def test_inside_with(run_script):
    check(
        run_script("""
        # main
        with Pool() as pool:
            print(sum(pool.map(tasks.double, range(10))))
            sys.exit(3)
        """),
        "90\n",
        code=3,
    )


def test_result_asked_for_by_a_thread_at_exit(run_script):
    check(
        run_script("""
        # main
        pool = Pool()
        future = pool.submit(tasks.sleep, 0.2)
        threading.Thread(target=lambda: print(future.result())).start()
        """),
        "0.2\n",
    )


def test_submit_in_atexit_is_refused(run_script):
    finished = run_script("""
        import atexit
        # main
        def late():
            try:
                pool.submit(tasks.nothing)
            except RuntimeError as error:
                print(error, flush=True)
        atexit.register(late)
        pool = Pool()
        pool.submit(tasks.nothing).result()
        atexit.register(late)
        """)
    refusals = finished.stdout.splitlines()
    assert len(refusals) == 2
    assert all(line.startswith("cannot schedule new futures after") for line in refusals)
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


def test_output_and_finalizers(run_script):
    """What stood in a buffer at the start is written once, what a worker leaves in its own is not lost."""
    finished = run_script("""
        from multiprocessing import util
        def register():
            print("unflushed")
            util.Finalize(None, print, ("finalized",), {"flush": True}, exitpriority=10)
        # main
        print("before")
        with Pool(1) as pool:
            pool.submit(register).result()
        print("after")
        """)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert sorted(finished.stdout.split()) == sorted("before unflushed finalized after".split())


def test_functions_of_the_program_itself(run_script):
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
        """),
        "[2, 3]\n",
    )


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


def test_first_call_of_a_thread_while_the_program_ends(run_script):
    finished = run_script("""
        def call():
            try:
                pool.submit(tasks.double, 1).result()
            except RuntimeError:
                pass  # too late
        # main
        for workers in range(1, 9):
            pool = Pool(workers)
            if workers < 8:
                call()
        threading.Thread(target=call).start()
        """)
    assert (finished.returncode, finished.stdout) == (0, "")
