"""What a pickle only names: a descriptor that the receiver fetches from the sender, once; a file that goes with its object."""

import contextlib
import threading
import weakref

import pytest

from support import tasks
from support.events import PATIENCE, eventually
from support.tasks import Thing

pytestmark = pytest.mark.usefixtures("resource_sharer")

COUNT = 8


def words_from(connections):
    words = []
    for connection in connections:
        with connection:
            words.append(connection.recv())
    return words


def test_connections_that_are_read_after_the_shutdown(make_pool):
    with make_pool(2) as pool:
        futures = [pool.submit(tasks.make_connection, number) for number in range(COUNT)]
    assert words_from(future.result() for future in futures) == list(range(COUNT))


def test_connections_of_a_map_that_are_read_after_the_shutdown(make_pool):
    with make_pool(2) as pool:
        results = pool.map(tasks.make_connection, range(COUNT), chunksize=3)
    assert words_from(results) == list(range(COUNT))


def test_connections_in_exceptions(make_pool):
    with make_pool(2) as pool:
        futures = [pool.submit(tasks.raise_connection, number) for number in range(COUNT)]
    assert words_from(future.exception().args[0] for future in futures) == list(range(COUNT))


def test_connections_with_callbacks(make_pool):
    words = []
    with make_pool(2) as pool:
        for number in range(COUNT):
            future = pool.submit(tasks.make_connection, number)
            future.add_done_callback(lambda future: words.extend(words_from([future.result()])))
    assert sorted(words) == list(range(COUNT))


def test_connections_that_others_wait_for(lib, make_pool):
    with make_pool(2) as pool:
        futures = [pool.submit(tasks.make_connection, number) for number in range(COUNT)]
        with futures[0]._condition:  # the standard library's way
            pass
        assert lib.wait(futures).not_done == set()
    assert words_from(future.result() for future in futures) == list(range(COUNT))


def test_shutdown_in_a_callback(make_pool):
    """One that waits, in the standard library for its own thread: it says so. The pool ends all the same."""
    pool = make_pool(2)
    over = threading.Event()

    def shut_down(_):
        with contextlib.suppress(RuntimeError):
            pool.shutdown(wait=True)
        over.set()

    futures = [pool.submit(tasks.make_connection, number) for number in range(COUNT)]
    futures[0].add_done_callback(shut_down)
    assert over.wait(PATIENCE)
    assert words_from(future.result() for future in futures) == list(range(COUNT))


def test_result_is_not_there_before_it_is_fetched(single, gate):
    """Here it takes until the gate is open."""
    future = single.submit(tasks.make_gated, gate, "value")
    with pytest.raises(TimeoutError):
        future.result(timeout=0.1)
    assert not future.done() and not future.cancel()
    gate.open()
    assert future.result() == "value"


@pytest.mark.fastpool_only("one thread reads all results of the standard library")
def test_others_go_on_while_one_is_fetched(single, gate):
    late = single.submit(tasks.make_gated, gate, "late")
    assert [single.submit(tasks.double, number).result() for number in range(5)] == [0, 2, 4, 6, 8]
    assert not late.done()
    gate.open()
    assert late.result() == "late"


def test_first_one_comes_when_the_program_ends(run_script, tmp_path):
    """Since Python 3.12 no thread can be started then."""
    finished = run_script(f"""
        from support.events import Gate
        # main
        gate, pool = Gate({str(tmp_path / "gate")!r}), Pool(1)
        threading._register_atexit(gate.open)  # that is when it ends
        future = pool.submit(tasks.make_connection_behind, gate, "word")
        future.add_done_callback(lambda future: print(future.result().recv()))
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "word\n", "")


def test_connections_that_nobody_asks_for(single):
    """Whoever hands one over holds it until it is fetched."""
    before = single.submit(tasks.open_descriptors).result()
    for number in range(COUNT):
        single.submit(tasks.make_connection, number)
    with single.submit(tasks.make_connection, "last").result() as connection:
        assert connection.recv() == "last"
    # The thread that hands over has a socket, and another while somebody fetches.
    eventually(lambda: single.submit(tasks.open_descriptors).result() <= before + 2)


def test_descriptors_of_a_class_that_is_not_registered(make_pool):
    with make_pool(1) as pool:
        futures = [pool.submit(tasks.make_pipe, b"word") for _ in range(COUNT)]
    assert [tasks.read_all(future.result()) for future in futures] == [b"word"] * COUNT


def test_more_calls_than_descriptors(run_script):
    """Each call hands one over: they are not all pickled before the first has run."""
    finished = run_script("""
        import os, resource
        # main
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        read, write = os.pipe()
        os.write(write, bytes(400))
        with Pool(2) as pool:
            print(sum(pool.map(tasks.read_one, [tasks.Descriptor(read)] * 400)), flush=True)
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "400\n", "")


@pytest.mark.fastpool_only("the standard library does not run a call again")
def test_what_was_fetched_is_not_sent_again(lib, make_pool):
    pool = make_pool(1, on_worker_death="respawn", retries=2)
    with tasks.pipe_full_of(b"words") as read, pytest.raises(lib.WorkerDied):
        pool.submit(tasks.die_holding, tasks.Descriptor(read)).result()
    assert pool.submit(tasks.double, 2).result() == 4


def test_argument_lives_until_its_call_has_ended(single, tmp_path):
    paths = [tmp_path / str(number) for number in range(COUNT)]
    futures = [single.submit(tasks.size_of_file, tasks.OwnedFile(path)) for path in paths]
    assert [future.result() for future in futures] == [5] * COUNT
    eventually(lambda: not any(path.exists() for path in paths))


def test_argument_of_a_map_lives_until_its_call_has_ended(single, tmp_path):
    files = (tasks.OwnedFile(tmp_path / str(number)) for number in range(COUNT))
    assert list(single.map(tasks.size_of_file, files)) == [5] * COUNT


def test_function_lives_until_its_call_has_ended(single, tmp_path):
    futures = [single.submit(tasks.OwnedFile(tmp_path / str(number)).size) for number in range(COUNT)]
    assert [future.result() for future in futures] == [5] * COUNT


def test_argument_of_a_call_that_is_pickled_late(single, gate, tmp_path):
    """Behind so many that hand something over that it has to wait."""
    with tasks.pipe_full_of(b"words") as read:
        for _ in range(COUNT):
            single.submit(tasks.read_one_behind, gate, tasks.Descriptor(read))
        paths = [tmp_path / str(number) for number in range(COUNT)]
        futures = [single.submit(tasks.size_of_file, tasks.OwnedFile(path)) for path in paths]
        gate.open()
        assert [future.result() for future in futures] == [5] * COUNT
    eventually(lambda: not any(path.exists() for path in paths))


@pytest.mark.fastpool_only("the standard library has no functions by value")
def test_what_a_function_closes_over_lives_until_its_call_has_ended(single, tmp_path):
    pytest.importorskip("cloudpickle")

    def submit(path):
        file = tasks.OwnedFile(path)
        return single.submit(lambda: file.size())

    futures = [submit(tmp_path / str(number)) for number in range(COUNT)]
    assert [future.result() for future in futures] == [5] * COUNT


def test_finalizers_do_not_run_in_a_submit(single):
    """Else this would wait for itself."""
    lock = threading.Lock()

    class Locked(Thing):
        def __del__(self):
            with lock:
                gone.set()

        def __reduce__(self):
            return Thing, (self.value,)

    for number in range(COUNT):
        gone = threading.Event()
        single.submit(tasks.nothing, Locked(number)).result()
        with lock:
            single.submit(tasks.nothing).result()
            single.submit(tasks.nothing).result()
        assert gone.wait(PATIENCE)


def test_argument_goes_although_nobody_asks_for_the_result(single, mailbox):
    argument = Thing(1)
    reference = weakref.ref(argument)
    future = single.submit(tasks.announce, mailbox, "", argument)
    del argument
    mailbox.get()
    eventually(lambda: reference() is None)
    assert future.result() == Thing(1)


def test_arguments_go_with_a_pool_that_nobody_asks(make_pool):
    arguments = [Thing(number) for number in range(COUNT)]
    references = [weakref.ref(argument) for argument in arguments]
    with make_pool(1) as pool:
        for argument in arguments:
            pool.submit(tasks.nothing, argument)
        del argument, arguments
    assert [reference() for reference in references] == [None] * COUNT
