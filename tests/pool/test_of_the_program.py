"""What the program itself does to its pool: forks, and Ctrl-C."""

import os
import signal

import pytest

from support import processes, script
from support.events import Mailbox


def test_fork_that_ends_at_once(run_script):
    """The child neither disturbs its parent's pool nor hangs when it ends."""
    finished = run_script(
        """
        # main
        pool = Pool()
        print(pool.apply(tasks.double, (1,)), flush=True)
        child = os.fork()
        if not child:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(sum(pool.map(tasks.double, range(10))))
        """,
        ignore=DeprecationWarning,
    )  # since 3.12 for the threads there are
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "2\n7\n90\n", "")


@pytest.mark.fastpool_only("the standard library's workers are terminated by the child as if they were its own")
def test_fork_that_ends_as_a_program_does(run_script):
    finished = run_script(
        """
        # main
        pool = Pool()
        assert pool.apply(tasks.double, (1,)) == 2
        child = os.fork()
        if not child:
            sys.exit(4)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(sum(pool.map(tasks.double, range(100))))
        """,
        ignore=DeprecationWarning,
    )
    assert (finished.returncode, finished.stdout) == (0, "4\n9900\n")


@pytest.mark.fastpool_only("the standard library's child waits for threads that it does not have")
def test_use_in_a_fork_is_refused(run_script):
    finished = run_script(
        """
        # main
        pool = Pool()
        assert pool.apply(tasks.double, (1,)) == 2
        result = pool.apply_async(tasks.sleep, (0.2,))
        child = os.fork()
        if not child:
            for call in (
                lambda: pool.apply(tasks.nothing),
                lambda: pool.map(tasks.nothing, [1]),
                lambda: next(pool.imap(tasks.nothing, [1])),
                lambda: result.get(5),
            ):
                try:
                    call()
                except Exception as error:
                    print(type(error).__name__, error, flush=True)
            os._exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, pool.apply(tasks.double, (21,)), result.get())
        """,
        ignore=DeprecationWarning,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    *said, parent = finished.stdout.splitlines()
    assert len(said) == 4 and all("fork" in line for line in said)
    assert parent == "3 42 0.2"


PROGRAMS = {
    "with": """
        from support.events import Post
        # main
        with Pool() as pool:
            pool.map(tasks.announce_and_sleep, [Post(sys.argv[1])] * 4)
        """,
    "imap": """
        from support.events import Post
        # main
        pool = Pool()
        for result in pool.imap(tasks.announce_and_sleep, [Post(sys.argv[1])] * 4):
            pass
        """,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_interrupt(run_script, tmp_path, is_fastpool, program):
    """SIGINT to the whole group of a program that waits for its pool: it ends, and its workers with it."""
    mailbox = Mailbox(tmp_path / "box")
    process = run_script.start(PROGRAMS[program], mailbox.path)
    workers = mailbox.take(2)
    os.killpg(process.pid, signal.SIGINT)
    finished = script.finish(process)
    mailbox.close()
    assert finished.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in finished.stderr
    if is_fastpool:
        # Of the standard library's program every worker has its say, too, and all at once.
        assert finished.stderr.count("Traceback (most recent call last):") == 1
        assert "program1.py" in finished.stderr and finished.stderr.endswith("KeyboardInterrupt\n")
    assert not any(processes.alive(worker) for worker in workers)
