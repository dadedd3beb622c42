"""on_worker_death="respawn": a worker that dies takes its task along, and nothing else."""

import gc
import os
import signal
import socket
import threading
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import popen_fork

import pytest

from fastpool import launching, template
from fastpool.stopping import end_child
from support import processes, tasks
from support.events import PATIENCE, eventually

pytestmark = pytest.mark.fastpool_only("the standard library's pool always breaks")

DEATHS = [(tasks.exit_process, 0), (tasks.kill_self, signal.SIGKILL), (tasks.kill_self, signal.SIGABRT)]


@pytest.fixture
def make_respawning(make_pool):
    def make(max_workers=2, **options):
        return make_pool(max_workers, on_worker_death="respawn", **options)

    return make


def die_at_first(mailbox, times, value):
    """Dies the first times that it runs; the mailbox counts."""
    mailbox.put("ran")
    with open(mailbox.path + ".count", "a+") as count:
        count.write("x")
        count.seek(0)
        runs = len(count.read())
    if runs <= times:
        os._exit(1)
    return value


def announce_and_initialize(mailbox, error):
    mailbox.put(os.getpid())
    if error is not None:
        raise error


@pytest.mark.parametrize("function, argument", DEATHS)
def test_only_its_own_task_fails(lib, make_respawning, function, argument):
    pool = make_respawning(2)
    before = [pool.submit(tasks.double, number) for number in range(50)]
    fatal = pool.submit(function, argument)
    after = [pool.submit(tasks.double, number) for number in range(50)]
    error = fatal.exception(PATIENCE)
    assert type(error) is lib.WorkerDied and error.function == f"support.tasks.{function.__name__}"
    assert [future.result(PATIENCE) for future in before + after] == [2 * number for number in range(50)] * 2
    assert not pool._broken and pool.submit(tasks.double, 4).result(PATIENCE) == 8


def test_idle_workers_are_replaced_and_nobody_hears_of_it(make_respawning):
    pool = make_respawning(2)
    pids = {pool.submit(tasks.announce_pid_after, 0.01).result() for _ in range(4)}
    for worker in list(pool._processes.values()):
        worker.kill()
    eventually(lambda: not any(processes.alive(pid) for pid in pids))
    assert [pool.submit(tasks.double, number).result(PATIENCE) for number in range(20)] == [2 * n for n in range(20)]
    eventually(lambda: pids.isdisjoint(pool._processes))  # one of them may have done it all


def test_all_killed_at_work(lib, make_respawning, mailbox):
    pool = make_respawning(3)
    running = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(3)]
    victims = {int(pid) for pid in mailbox.take(3)}
    queued = [pool.submit(tasks.double, number) for number in range(30)]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert {future.exception(PATIENCE).pid for future in running} == victims
    assert [future.result(PATIENCE) for future in queued] == [2 * number for number in range(30)]


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_retried_with_the_same_arguments(make_respawning, mailbox, size):
    value = os.urandom(size)
    pool = make_respawning(2, retries=2)
    assert pool.submit(die_at_first, mailbox, 2, value).result(PATIENCE) == value
    assert len(mailbox.all()) == 3


def test_retries_come_to_an_end(lib, make_respawning, mailbox):
    pool = make_respawning(1)
    future = pool.options(retries=2).submit(die_at_first, mailbox, 100, None)
    assert type(future.exception(PATIENCE)) is lib.WorkerDied
    assert len(mailbox.all()) == 3


def test_an_exception_is_never_retried(make_respawning, mailbox):
    pool = make_respawning(1, retries=5)
    with pytest.raises(ValueError):
        pool.submit(announce_and_initialize, mailbox, ValueError()).result(PATIENCE)
    assert len(mailbox.all()) == 1


def test_a_task_waiting_for_its_retry_can_be_cancelled(make_respawning, mailbox, gate):
    pool = make_respawning(1, retries=1)
    future = pool.submit(tasks.announce_and_sleep, mailbox)
    pid = int(mailbox.get())
    blocker = pool.submit(tasks.pass_through, gate, "kept")
    os.kill(pid, signal.SIGKILL)
    eventually(blocker.running)  # the workers had it already
    assert not future.running() and future.cancel()
    gate.open()
    assert blocker.result(PATIENCE) == "kept" and mailbox.all() == []


def test_what_the_initializer_raised(make_respawning, mailbox):
    pool = make_respawning(2, initializer=announce_and_initialize, initargs=(mailbox, ValueError("no database")))
    futures = [pool.submit(tasks.double, number) for number in range(5)]
    for future in futures:
        error = future.exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool) and "ValueError('no database')" in str(error)
        assert "announce_and_initialize" in str(error.__cause__)
    assert 2 <= len(mailbox.all()) <= 6  # a few tries, no storm
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.nothing)


def test_workers_that_die_before_their_first_task(make_respawning, mailbox):
    pool = make_respawning(2, initializer=os._exit, initargs=(9,))
    error = pool.submit(tasks.nothing).exception(PATIENCE)
    assert isinstance(error, BrokenProcessPool) and "code 9 before it could take a task" in str(error)


@pytest.mark.methods("fork")
def test_a_replacement_is_no_copy_of_a_process_with_threads(make_respawning, context):
    """But it is a child of the program, and has what only a fork can hand over."""
    lock = threading.Lock()
    pool = make_respawning(1, initializer=tasks.initialize, initargs=(lock,))
    first = pool.submit(tasks.pid).result(PATIENCE)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: first not in pool._processes)
    facts = pool.submit(tasks.worker_facts).result(PATIENCE)
    worker = eventually(lambda: pool._processes.get(facts["pid"]))
    assert facts["parent"] == int(processes.status(facts["pid"])["PPid"]) == os.getpid()
    assert facts["name"] == worker.name and facts["main_thread"] and not facts["daemon"]
    assert pool.submit(tasks.recall_lock).result(PATIENCE) == "_thread.lock"
    os.kill(pool._team.template.pid, signal.SIGKILL)  # from here on the program has to fork
    os.kill(facts["pid"], signal.SIGKILL)
    assert pool.submit(tasks.double, 3).result(PATIENCE) == 6


@pytest.mark.methods("fork")
def test_nothing_is_left(make_respawning):
    before = set(processes.descendants())
    pool = make_respawning(3)
    for _ in range(5):
        pool.submit(tasks.kill_self).exception(PATIENCE)
    pool.shutdown()
    eventually(lambda: set(processes.descendants()) <= before)


@pytest.mark.methods("fork")
def test_max_tasks_per_child_works_with_fork(make_respawning):
    pool = make_respawning(1, max_tasks_per_child=3)
    pids = [pool.submit(tasks.pid).result(PATIENCE) for _ in range(9)]
    assert [pids.count(pid) for pid in sorted(set(pids), key=pids.index)] == [3, 3, 3]


def test_300_tasks_with_12_deaths(lib, make_respawning):
    pool, data = make_respawning(2), os.urandom(256 << 10)
    futures = [pool.submit(tasks.kill_self if n % 25 == 24 else tasks.echo, 9 if n % 25 == 24 else data) for n in range(300)]
    for n, future in enumerate(futures):
        if n % 25 == 24:
            assert type(future.exception(PATIENCE)) is lib.WorkerDied
        else:
            assert future.result(PATIENCE) == data


@pytest.mark.parametrize("stop", ["terminate_workers", "kill_workers"])
def test_a_stopped_pool_starts_no_more_workers(make_respawning, mailbox, stop):
    pool = make_respawning(2, retries=5)
    futures = [pool.submit(tasks.announce_and_sleep, mailbox) for _ in range(6)]
    mailbox.take(2)
    manager = pool._executor_manager_thread
    getattr(pool, stop)()
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(PATIENCE), BrokenProcessPool)
    manager.join(PATIENCE)
    assert not manager.is_alive() and mailbox.all() == []


def test_a_dropped_executor_finishes_its_work(make_respawning, lib, context):
    pool = lib.ProcessPoolExecutor(1, mp_context=context, on_worker_death="respawn")
    futures = [pool.submit(tasks.kill_self if n == 3 else tasks.double, 9) for n in range(8)]
    del pool
    gc.collect()
    assert [future.exception(PATIENCE) is None for future in futures] == [n != 3 for n in range(8)]


@pytest.mark.parametrize(
    "options, error",
    [
        ({"on_worker_death": "ignore"}, ValueError),
        ({"retries": 1}, ValueError),
        ({"on_worker_death": "respawn", "retries": -1}, ValueError),
        ({"on_worker_death": "respawn", "retries": "many"}, TypeError),
    ],
)
def test_bad_options(lib, options, error):
    with pytest.raises(error, match="retries|on_worker_death"):
        lib.ProcessPoolExecutor(1, **options)


class Interrupted(BaseException):
    pass


def _workers_are_who_they_are(pool):
    """Each is booked under its own pid."""
    pids = {pool.submit(tasks.announce_pid_after, 0.01).result(PATIENCE) for _ in range(8)}
    return eventually(lambda: pids <= set(pool._processes))


@pytest.mark.methods("fork")
def test_interrupted_between_request_and_answer(make_respawning, monkeypatch):
    """The answer that comes late must not be taken for the next one's."""
    pool = make_respawning(2, idle_timeout=PATIENCE)
    pool.submit(tasks.nothing).result(PATIENCE)
    blocker = pool.submit(tasks.sleep, 0.2)
    before = set(processes.descendants())

    def interrupt(*arguments):
        monkeypatch.undo()
        raise Interrupted

    monkeypatch.setattr(pool._team.template, "_receive", interrupt)
    with pytest.raises(Interrupted):
        pool.submit(tasks.nothing)
    assert set(processes.descendants()) < before  # neither that worker nor the template is left
    assert blocker.result(PATIENCE) == 0.2
    assert _workers_are_who_they_are(pool)


@pytest.mark.methods("fork")
def test_no_room_for_the_descriptors_of_a_new_worker(make_respawning, monkeypatch):
    pool = make_respawning(2, idle_timeout=PATIENCE)
    pool.submit(tasks.nothing).result(PATIENCE)
    blocker = pool.submit(tasks.sleep, 0.2)
    before = set(processes.descendants())
    receive = socket.recv_fds

    def receive_less(*arguments):
        message, descriptors, *rest = receive(*arguments)
        os.close(descriptors.pop())
        return message, descriptors, *rest

    ended = []
    for module in (template, launching):
        monkeypatch.setattr(module, "end_child", lambda pid: ended.append(pid) or end_child(pid))
    monkeypatch.setattr(socket, "recv_fds", receive_less)
    with pytest.raises(OSError, match="Too many open files"):
        pool.submit(tasks.nothing)
    monkeypatch.undo()
    assert len(ended) == 1  # who has been waited for may be somebody else by the second time
    assert set(processes.descendants()) == before
    assert blocker.result(PATIENCE) == 0.2
    assert _workers_are_who_they_are(pool)


@pytest.mark.methods("fork")
def test_a_worker_started_between_request_and_answer(make_respawning, monkeypatch):
    """By a signal's handler that submits: the template is busy, so the program forks; the copy that it waits for is not ended."""
    pool = make_respawning(3, idle_timeout=PATIENCE)
    blockers = [pool.submit(tasks.sleep, 600)]
    eventually(blockers[0].running)
    receive = socket.recv_fds

    def submit_and_receive(*arguments):
        monkeypatch.undo()
        pool._team.start_worker()
        return receive(*arguments)

    monkeypatch.setattr(socket, "recv_fds", submit_and_receive)
    blockers += [pool.submit(tasks.sleep, 600) for _ in range(2)]
    assert len(pool._processes) == 3 and all(processes.alive(pid) for pid in pool._processes)
    eventually(lambda: all(call.running() for call in blockers))
    assert all(call.kill() for call in blockers)


@pytest.mark.methods("fork")
def test_the_template_is_stopped(make_respawning):
    pool = make_respawning(1)
    pid = pool.submit(tasks.pid).result(PATIENCE)
    os.kill(pool._team.template.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4
    assert _workers_are_who_they_are(pool)


@pytest.mark.methods("fork")
def test_the_template_dies_before_it_can_tell_of_a_copy(make_respawning, mailbox, monkeypatch):
    """That copy must not be a worker: another has its place."""

    def tell_nobody(channel, process):
        mailbox.put(popen_fork.Popen(process).pid)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(template, "_answer", tell_nobody)
    pool = make_respawning(1)
    first = pool.submit(tasks.pid).result(PATIENCE)
    os.kill(first, signal.SIGKILL)
    pids = {pool.submit(tasks.pid).result(PATIENCE) for _ in range(100)}
    copy = int(mailbox.get())
    assert os.waitpid(copy, 0) == (copy, 1 << 8) and copy not in pids
    assert _workers_are_who_they_are(pool)


@pytest.mark.methods("forkserver")
def test_the_fork_server_dies_before_it_can_tell_of_a_worker(run_script, tmp_path):
    """Another takes its place, and the one of which nobody knows ends."""
    finished = run_script("""
        from support import processes
        from support.events import eventually
        # main
        path = os.environ["FRAGILE_SERVER"] = sys.argv[1]
        context.set_forkserver_preload(["support.fragile_server"])
        pool = Pool(1, on_worker_death="respawn")
        first = pool.submit(tasks.pid).result()
        open(path + ".armed", "w").close()
        os.kill(first, 9)
        pids = {pool.submit(tasks.pid).result() for _ in range(300)}
        lost = int(open(path).read())
        eventually(lambda: not processes.alive(lost))
        pids |= {pool.submit(tasks.pid).result() for _ in range(300)}
        print(len(pids - {first}), lost in pids)
        pool.shutdown()
        """, tmp_path / "lost")
    assert (finished.stdout, finished.stderr, finished.returncode) == ("1 False\n", "", 0)


@pytest.mark.methods("forkserver")
@pytest.mark.parametrize("way", ["kill_workers", "terminate_workers", "shutdown"])
def test_workers_outlive_their_fork_server(run_script, tmp_path, way):
    """multiprocessing takes them for dead then; they are stopped, and waited for, all the same."""
    finished = run_script(f"""
        from multiprocessing import forkserver, util
        from support import processes
        from support.events import Post, eventually
        def say_goodbye(path):
            util.Finalize(None, Post(path).put, args=("goodbye",), exitpriority=1)
        # main
        from support.events import Mailbox
        mailbox = Mailbox(sys.argv[1])
        pool = Pool(1, initializer=say_goodbye, initargs=(mailbox.path,))
        worker = pool.submit(tasks.pid).result()
        running = pool.submit(tasks.sleep, 600) if {way!r} != "shutdown" else None
        if running is not None:
            eventually(running.running)
        server = forkserver._forkserver._forkserver_pid
        os.kill(server, 9)
        eventually(lambda: not processes.alive(server))
        pool.{way}()
        if running is None:
            print(mailbox.all())
        else:
            print(type(running.exception(10)).__name__)
        eventually(lambda: not processes.alive(worker))
        """, tmp_path / "box")
    expected = "['goodbye']" if way == "shutdown" else "WorkerDied"
    assert (finished.stdout, finished.stderr, finished.returncode) == (f"{expected}\n", "", 0)


def end_soon():
    threading.Timer(0.005, os._exit, [3]).start()


@pytest.mark.methods("fork")
def test_workers_that_die_while_they_are_idle_again_and_again(make_respawning):
    pool = make_respawning(2, initializer=end_soon)
    pool.submit(tasks.nothing).exception(PATIENCE)
    eventually(lambda: pool._broken)


@pytest.mark.methods("fork")
def test_a_worker_that_the_system_refuses_is_tried_again(make_respawning, monkeypatch):
    pool, refused = make_respawning(2), []
    pid = pool.submit(tasks.pid).result(PATIENCE)
    os.kill(pool._team.template.pid, signal.SIGKILL)

    def refuse():
        refused.append(1)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: refused)
    monkeypatch.undo()
    eventually(lambda: len(pool._processes) == 2)
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4
