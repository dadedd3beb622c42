"""Workers do not outlive their parent, whatever they are doing."""

import os
import signal
import time

import pytest

from support import processes, script
from support.events import PATIENCE, Mailbox, eventually

pytestmark = pytest.mark.fastpool_only("the standard library's workers live on")

PROMISED = 1.0

def kill_and_wait(process, workers):
    """The program ends by SIGKILL, and its workers after it: how long that takes."""
    assert workers and all(processes.alive(worker) for worker in workers)
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    try:
        eventually(lambda: not any(processes.alive(worker) for worker in workers))
        seconds = time.monotonic() - begin
        # Nobody holds the program's output open: a shell's pipeline would end.
        process.communicate(timeout=PATIENCE)
    finally:
        script.kill_session(process)
    print(f"{len(workers)} workers gone {seconds:.3f} s after the parent")
    return seconds


def test_gone_soon_after_the_parent_was_killed(run_script, tmp_path):
    """One sleeps, one loops, one is idle, one has replaced another."""
    mailbox = Mailbox(tmp_path / "box")
    process = run_script.start(
        """
        from support.events import Post
        # main
        pools, post = [Pool(1), Pool(1), Pool(1), Pool(1, maxtasksperchild=1)], Post(sys.argv[1])
        pools[3].apply(tasks.nothing)
        busy = [
            pools[0].apply_async(tasks.announce_and_sleep, (post,)),
            pools[1].apply_async(tasks.announce_and_spin, (post,)),
            pools[3].apply_async(tasks.announce_and_sleep, (post,)),
        ]
        post.put(pools[2].apply(tasks.pid))
        time.sleep(600)
        """,
        mailbox.path,
    )
    workers = mailbox.take(4)
    mailbox.close()
    assert kill_and_wait(process, workers) < PROMISED


def test_workers_of_workers(run_script, tmp_path):
    mailbox = Mailbox(tmp_path / "box")
    process = run_script.start(
        """
        from support.events import Post
        # main
        pool, post = Pool(1), Post(sys.argv[1])
        pool.apply_async(jobs.nested_pool_that_sleeps, (library.__name__, context.get_start_method(), post))
        post.put(pool._pool[0].pid)
        time.sleep(600)
        """,
        mailbox.path,
    )
    lines = mailbox.take(4)
    mailbox.close()
    assert kill_and_wait(process, [line for line in lines if line != "ready"]) < 2 * PROMISED
