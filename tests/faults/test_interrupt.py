"""Ctrl-C: SIGINT to the whole group of a program that waits for its pool."""

import os
import signal
import time

import pytest

from support import processes, script
from support.events import Mailbox

pytestmark = pytest.mark.fastpool_only(
    "the standard library finishes its queue first, and prints a traceback per worker"
)

# What is promised; the bound of the test leaves room for a machine that does other things.
PROMISED, BOUND = 0.2, 1.5

PROGRAMS = {
    "with": """
        from support.events import Post
        # main
        with Pool() as pool:
            futures = [pool.submit(tasks.announce_and_sleep, Post(sys.argv[1]), 1) for _ in range(6)]
            for future in futures:
                future.result()
        """,
    "map": """
        from support.events import Post
        # main
        with Pool() as pool:
            print(list(pool.map(tasks.announce_and_sleep, [Post(sys.argv[1])] * 6, [1] * 6)))
        """,
    "no with": """
        from support.events import Post
        # main
        pool = Pool()
        for future in [pool.submit(tasks.announce_and_sleep, Post(sys.argv[1]), 1) for _ in range(6)]:
            future.result()
        """,
    "as_completed": """
        from support.events import Post
        # main
        with Pool() as pool:
            for future in futures.as_completed([pool.submit(tasks.announce_and_sleep, Post(sys.argv[1]), 1) for _ in range(6)]):
                future.result()
        """,
}


def interrupt(run_script, source, path, running=2):
    """Start the program, wait until its tasks run, and press Ctrl-C: the ended program, and after how long."""
    mailbox = Mailbox(path)
    process = run_script.start(source, mailbox.path)
    workers = [int(line) for line in mailbox.take(running) if line.isdigit()]
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    # Without a limit: with one it looks every 50 ms only.
    process.wait()
    seconds = time.monotonic() - start
    mailbox.close()
    print(f"{seconds:.3f} s from SIGINT to the end ({PROMISED} s promised)")
    return script.finish(process), seconds, workers


@pytest.mark.parametrize("program", PROGRAMS)
def test_ends_at_once_with_one_traceback(run_script, tmp_path, program):
    finished, seconds, workers = interrupt(run_script, PROGRAMS[program], tmp_path / "box")
    assert finished.returncode == -signal.SIGINT
    assert finished.stdout == ""
    assert finished.stderr.count("Traceback (most recent call last):") == 1
    assert finished.stderr.endswith("KeyboardInterrupt\n")
    assert finished.stderr.count("KeyboardInterrupt") == 1
    assert "program1.py" in finished.stderr
    assert seconds < BOUND
    assert not any(processes.alive(worker) for worker in workers)


def test_idle_workers_say_nothing(run_script, tmp_path):
    finished, seconds, _ = interrupt(
        run_script,
        """
        from support.events import Post
        # main
        post = Post(sys.argv[1])
        with Pool(2, initializer=tasks.initialize_and_announce, initargs=(post,)) as pool:
            futures.wait([pool.submit(tasks.sleep, 0.01) for _ in range(10)])
            post.put("ready")
            while True:  # in pieces: Python loses a signal that comes between its last look and a sleep
                time.sleep(0.01)
        """,
        tmp_path / "box",
        running=3,
    )
    assert finished.returncode == -signal.SIGINT
    assert finished.stderr.count("Traceback") == 1
    assert seconds < BOUND


def test_starting_workers_say_nothing(run_script, tmp_path):
    finished, seconds, _ = interrupt(
        run_script,
        """
        from support.events import Post
        # main
        with Pool(4) as pool:
            calls = [pool.submit(tasks.sleep, 1) for _ in range(4)]
            Post(sys.argv[1]).put(os.getpid())
            futures.wait(calls)
        """,
        tmp_path / "box",
        running=1,
    )
    assert finished.returncode == -signal.SIGINT
    assert finished.stderr.count("Traceback") == 1
    assert seconds < BOUND


def test_program_that_handles_it_goes_on(run_script, tmp_path):
    finished, _, _ = interrupt(
        run_script,
        """
        from support.events import Post
        # main
        pool = Pool()
        pool.submit(tasks.double, 1).result()
        try:
            Post(sys.argv[1]).put(os.getpid())
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            print(pool.submit(tasks.double, 21).result())
        """,
        tmp_path / "box",
        running=1,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "42\n", "")


def test_only_the_main_process_interrupted(run_script, tmp_path):
    """As `kill -INT` from another terminal: the workers are told by their parent's end."""
    mailbox = Mailbox(tmp_path / "box")
    process = run_script.start(PROGRAMS["no with"], mailbox.path)
    workers = [int(line) for line in mailbox.take(2)]
    start = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    finished = script.finish(process)
    print(f"{time.monotonic() - start:.3f} s")
    assert finished.returncode == -signal.SIGINT
    assert finished.stderr.count("Traceback") == 1
    assert not any(processes.alive(worker) for worker in workers)
    mailbox.close()
