"""Workers do not outlive their parent, whatever they are doing."""

import os
import signal
import time

import pytest

from support import processes, script
from support.events import PATIENCE, Mailbox, eventually

pytestmark = pytest.mark.fastpool_only("the standard library's workers live on")

PROMISED = 1.0

DOING = {
    "sleeping": "tasks.announce_and_sleep",
    "looping": "tasks.announce_and_spin",
    "idle": "tasks.announce",
}

PROGRAM = """
    from support.events import Post
    # main
    post = Post(sys.argv[1])
    pool = Pool(3, initializer=tasks.initialize_and_announce, initargs=(post,))
    calls = [pool.submit({task}, post) for _ in range(3)]
    {then}
    post.put("ready")
    time.sleep(600)
    """


def start(run_script, path, doing):
    """The program once its tasks run, or have run, and the pids of its workers."""
    mailbox = Mailbox(path)
    then = "futures.wait(calls)" if doing == "idle" else "pass"
    process = run_script.start(PROGRAM.format(task=DOING[doing], then=then), mailbox.path)
    workers, lines = set(), []
    while "ready" not in lines or not workers or (doing != "idle" and len(lines) < 7):
        lines.append(mailbox.get())
        workers |= {int(line) for line in lines[-1:] if line.isdigit()}
    mailbox.close()
    return process, workers


@pytest.mark.parametrize("doing", DOING)
def test_gone_soon_after_the_parent_was_killed(run_script, tmp_path, doing):
    process, workers = start(run_script, tmp_path / "box", doing)
    assert workers and all(processes.alive(worker) for worker in workers)
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    try:
        eventually(lambda: not any(processes.alive(worker) for worker in workers))
        seconds = time.monotonic() - begin
    finally:
        script.kill_session(process)
    print(f"{len(workers)} workers gone {seconds:.3f} s after the parent")
    assert seconds < PROMISED
    # Nobody holds the program's output open: a shell's pipeline would end.
    process.communicate(timeout=PATIENCE)


def test_workers_started_by_a_thread_that_ended(run_script, tmp_path):
    """They are the process's, not the thread's."""
    finished = run_script("""
        # main
        def start():
            global pool, calls
            pool = Pool(2)
            calls = [pool.submit(tasks.sleep, 0.2) for _ in range(4)]
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        print([call.result() for call in calls])
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "[0.2, 0.2, 0.2, 0.2]\n", "")


def test_parent_killed_while_workers_start(run_script, tmp_path):
    mailbox = Mailbox(tmp_path / "box")
    process = run_script.start(
        """
        from support.events import Post
        # main
        pool = Pool(4)
        Post(sys.argv[1]).put(os.getpid())
        calls = [pool.submit(tasks.sleep, 600) for _ in range(8)]
        time.sleep(600)
        """,
        mailbox.path,
    )
    mailbox.get()
    eventually(lambda: processes.descendants(process.pid))
    workers = processes.descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    try:
        eventually(lambda: not any(processes.alive(worker) for worker in workers))
        process.communicate(timeout=PATIENCE)
    finally:
        script.kill_session(process)
        mailbox.close()
