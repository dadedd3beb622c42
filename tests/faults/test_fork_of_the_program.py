"""os.fork() in a program that has a pool: the child is told that the pool is not its own, and the parent feels nothing."""

import pytest

pytestmark = pytest.mark.fastpool_only("in the standard library the child hangs, or takes the parent's results")

HEAD = """
    # main
    pool = Pool()
    done = pool.submit(tasks.double, 1)
    assert done.result() == 2
    """

USES = {
    "submit": "pool.submit(tasks.double, 2)",
    "map": "list(pool.map(tasks.double, range(3)))",
    "open result": "open_call.result(5)",
    "wait": "futures.wait([open_call], 5)",
    "as_completed": "list(futures.as_completed([open_call], 5))",
    "kill": "pool.kill_workers()",
}


def forked(child, parent="pass", before="open_call = pool.submit(tasks.sleep, 0.3)"):
    return (
        HEAD
        + f"""
    {before}
    child = os.fork()
    if not child:
        try:
            {child}
        except RuntimeError as error:
            print(type(error).__name__, error, flush=True)
            os._exit(3)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    {parent}
    print(code, pool.submit(tasks.double, 21).result(), open_call.result())
    pool.shutdown()
    """
    )


@pytest.mark.parametrize("use", USES)
def test_use_in_the_child_is_refused(run_script, use):
    finished = run_script(forked(USES[use]), ignore=DeprecationWarning)
    assert (finished.returncode, finished.stderr) == (0, "")
    *said, parent = finished.stdout.splitlines()
    assert len(said) == 1 and said[0].startswith("RuntimeError ") and "fork" in said[0]
    assert parent == "3 42 0.3"


def test_results_of_before_are_the_childs_too(run_script):
    finished = run_script(forked("os._exit(0 if done.result() == 2 and done.done() else 9)"), ignore=DeprecationWarning)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "0 42 0.3\n", "")


@pytest.mark.parametrize("close", ["pool.shutdown()", "pool.shutdown(wait=False)", "del pool", "open_call.cancel()"])
def test_closing_in_the_child_leaves_the_parent_alone(run_script, close):
    finished = run_script(forked(close), ignore=DeprecationWarning)
    assert finished.stderr == "" and finished.returncode == 0
    assert finished.stdout.splitlines()[-1] in ("3 42 0.3", "0 42 0.3")


def test_child_that_ends_as_a_program_does(run_script):
    """Through atexit and multiprocessing's own clearing up, which says that the workers are not its children."""
    finished = run_script(
        HEAD
        + """
    child = os.fork()
    if not child:
        sys.exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(sum(pool.map(tasks.double, range(100))))
    """,
        ignore=DeprecationWarning,
    )
    assert (finished.returncode, finished.stdout) == (0, "4\n9900\n")
    assert "fastpool" not in finished.stderr


@pytest.mark.methods("fork", "spawn")  # multiprocessing's fork server serves the process that started it
def test_child_may_have_a_pool_of_its_own(run_script):
    finished = run_script(
        HEAD
        + """
    child = os.fork()
    if not child:
        with Pool(1) as own:
            print(own.submit(tasks.double, 50).result(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(pool.submit(tasks.double, 21).result())
    """,
        ignore=DeprecationWarning,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "100\n42\n", "")


def test_forks_while_tasks_run(run_script):
    finished = run_script(
        HEAD
        + """
    calls = [pool.submit(tasks.double, number) for number in range(3000)]
    for _ in range(10):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    print(sum(call.result() for call in calls))
    """,
        ignore=DeprecationWarning,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"{3000 * 2999}\n", "")


def test_task_whose_child_comes_back(run_script):
    """A fork in a task that returns twice: the parent's result counts, the child ends."""
    finished = run_script("""
        # main
        with Pool(1) as pool:
            print(pool.submit(tasks.fork_and_return, 5).result())
            print(sum(pool.map(tasks.double, range(100))))
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "5\n9900\n", "")


def test_large_result_that_nobody_has_read(run_script):
    """It lies in memory that a forked child does not have."""
    finished = run_script(
        HEAD
        + """
    large = pool.submit(tasks.large, 3_000_000)
    futures.wait([large])
    child = os.fork()
    if not child:
        try:
            large.result()
        except RuntimeError as error:
            print("refused", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(len(large.result()))
    """,
        ignore=DeprecationWarning,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "refused\n3000000\n", "")
