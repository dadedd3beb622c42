"""How much memory big calls and results take, and when it goes back."""

import contextlib
import os
import pickle
import queue
import threading

import pytest

from big.payloads import Holder, first_byte, length, make, pattern, wait_and_measure
from support import tasks
from support.events import PATIENCE, eventually

pytestmark = [
    pytest.mark.fastpool_only("the standard library keeps these bytes elsewhere"),
    pytest.mark.methods("fork"),  # how a worker was started makes no difference to its memory
]

MIB = 1 << 20


def held(pool):
    """Bytes of shared memory that exist."""
    return os.fstat(pool._pool.attachment()[0]).st_blocks * 512


def test_calls_that_wait_cost_a_bounded_amount(pool, gate):
    """Calls over the budget are pickled when their turn comes."""
    blocked = [pool.submit(tasks.pass_through, gate) for _ in range(2)]
    holder = Holder(bytes(10 * MIB))
    calls = [pool.submit(first_byte, holder) for _ in range(200)]
    assert held(pool) < 300 * MIB
    gate.open()
    assert [call.result(PATIENCE) for call in calls] == [0] * 200
    assert all(call.done() for call in blocked)


def fill(pool, gate):
    """Both workers are busy and the budget is used up: calls from now on are pickled later. Returns the calls."""
    holder = Holder(bytes(60 * MIB))
    return [pool.submit(wait_and_measure, gate, holder) for _ in range(8)]


def test_order_is_kept(make_pool, gate, mailbox):
    pool = make_pool(1)
    calls = fill(pool, gate)
    numbers = [
        pool.submit(tasks.announce, mailbox) if n % 2 else pool.submit(first_byte, Holder(b"a" * MIB))
        for n in range(20)
    ]
    after = pool.submit(tasks.double, 21)
    gate.open()
    assert after.result(PATIENCE) == 42
    assert all(call.done() for call in [*calls, *numbers])


def test_value_is_that_of_the_sending(pool, gate):
    """What the documents say of a call that is pickled later."""
    calls, changing = fill(pool, gate), bytearray(MIB)
    late = pool.submit(first_byte, Holder(changing))
    changing[0] = 7
    gate.open()
    assert late.result(PATIENCE) == 7
    assert [call.result() for call in calls] == [60 * MIB] * 8


def test_late_call_that_does_not_pickle(pool, gate):
    fill(pool, gate)
    late, after = pool.submit(first_byte, tasks.FailsToPickle()), pool.submit(tasks.double, 2)
    gate.open()
    with pytest.raises(ZeroDivisionError, match="at pickling"):
        late.result(PATIENCE)
    assert after.result(PATIENCE) == 4


class Exits:
    def __reduce__(self):
        raise SystemExit(3)


def test_late_call_that_wants_to_exit(pool, gate):
    """There is no caller whose exit it could be: it is the call's error, and the others go on."""
    fill(pool, gate)
    late, after = pool.submit(first_byte, Exits()), pool.submit(tasks.double, 2)
    gate.open()
    assert isinstance(late.exception(PATIENCE), SystemExit)
    assert after.result(PATIENCE) == 4


def test_no_thread_for_the_sender(make_pool, gate, monkeypatch):
    """The call that needs it fails; one that another thread has made meanwhile is sent as soon as there are threads."""
    pool, start, there_are_threads, meanwhile = make_pool(2), threading.Thread.start, threading.Event(), []

    def refuse(thread):
        if thread.name != "fastpool-sender" or there_are_threads.is_set():
            return start(thread)
        if not meanwhile:
            other = threading.Thread(target=lambda: meanwhile.append(pool.submit(tasks.double, 21)))
            start(other)
            other.join(PATIENCE)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    calls, holder = [], Holder(bytes(60 * MIB))
    while not meanwhile:
        calls.append(pool.submit(wait_and_measure, gate, holder))
    for refused in (calls.pop(), pool.submit(tasks.double, 1)):
        with pytest.raises(RuntimeError, match="can't start new thread"):
            refused.result(PATIENCE)
    there_are_threads.set()
    gate.open()
    assert meanwhile.pop().result(PATIENCE) == 42
    assert [call.result(PATIENCE) for call in calls] == len(calls) * [60 * MIB]


class Late(Exception):
    """What a signal's handler may raise while a thread starts. When it is pickled the thread begins, and ends."""

    def __init__(self, begin):
        super().__init__("too late")
        self.begin = begin

    def __reduce__(self):
        self.begin()
        return Late, (None,)


def test_sender_that_begins_after_its_start_has_failed(make_pool, gate, monkeypatch):
    pool, start, begun, threads = make_pool(2), threading.Thread.start, threading.Event(), []

    def begin():
        gate.open()
        begun.set()
        threads[0].join(PATIENCE)

    def start_late(thread):
        if thread.name != "fastpool-sender" or threads:
            return start(thread)
        threads.append(thread)
        run = thread.run
        thread.run = lambda: begun.wait() and run()
        start(thread)
        raise Late(begin)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    calls, holder = [], Holder(bytes(60 * MIB))
    while not threads:
        calls.append(pool.submit(wait_and_measure, gate, holder))
    with pytest.raises(Late, match="too late"):
        calls.pop().result(PATIENCE)
    assert [call.result(PATIENCE) for call in calls] == len(calls) * [60 * MIB]
    assert not threads[0].is_alive() and pool.submit(tasks.double, 21).result(PATIENCE) == 42


class Submits:
    """An argument that starts another call when it is dropped, as soon as it has been sent."""

    def __init__(self, pool, calls):
        self.again = lambda: calls.put(pool.submit(tasks.double, 21))

    def __del__(self):
        self.again()

    def __reduce__(self):
        return Holder, (b"a" * MIB,)


def test_late_call_that_starts_another(make_pool):
    """One sender at a time, whatever happens between two calls."""
    pool, calls, data = make_pool(2), queue.SimpleQueue(), bytes(60 * MIB)
    for _ in range(3):
        sizes = [pool.submit(length, data) for _ in range(8)]
        last = pool.submit(first_byte, Submits(pool, calls))
        assert calls.get(timeout=PATIENCE).result(PATIENCE) == 42
        assert last.result(PATIENCE) == ord("a")
        assert [size.result(PATIENCE) for size in sizes] == [60 * MIB] * 8
    assert sum(thread.name == "fastpool-sender" for thread in threading.enumerate()) <= 1


class Counted:
    pickled = 0

    def __reduce__(self):
        Counted.pickled += 1
        return Counted, ()

    def method(self, other):
        return 5


def test_late_call_is_pickled_once(pool, gate, monkeypatch):
    """A reducer may do something that must not be done twice, as that of a Connection does."""
    monkeypatch.setattr(Counted, "pickled", 0)
    fill(pool, gate)
    late = [pool.submit(Counted().method, Counted()) for _ in range(5)]
    assert Counted.pickled <= 5  # the functions, to see whether they can be
    gate.open()
    assert [call.result(PATIENCE) for call in late] == [5] * 5
    assert Counted.pickled == 15


def test_buffer_that_its_owner_releases(pool):
    """The copy is made without the GIL: what is copied stays until it is done."""
    holder = Releases(bytearray(pattern(100 * MIB)))
    releaser = threading.Thread(target=holder.release)
    releaser.start()
    assert pool.submit(tasks.echo, holder).result(PATIENCE) == 100 * MIB
    releaser.join()


class Releases:
    def __init__(self, data):
        self.data, self.buffers = data, queue.SimpleQueue()

    def __reduce_ex__(self, protocol):
        buffer = pickle.PickleBuffer(self.data)
        self.buffers.put(buffer)
        return len, (buffer,)

    def release(self):
        self.buffers.get().release()
        with contextlib.suppress(BufferError):
            self.data.clear()


def test_late_call_that_is_cancelled(pool, gate):
    fill(pool, gate)
    late, after = pool.submit(first_byte, Holder(bytes(MIB))), pool.submit(tasks.double, 2)
    assert late.cancel() and late.cancelled()
    gate.open()
    assert after.result(PATIENCE) == 4


@pytest.mark.parametrize("cancel", [False, True])
def test_shutdown_with_late_calls(make_pool, gate, cancel, lib):
    pool = make_pool(2)
    calls = fill(pool, gate) + [pool.submit(first_byte, Holder(b"b" * MIB)) for _ in range(5)]
    pool.shutdown(wait=False, cancel_futures=cancel)
    gate.open()
    assert not lib.wait(calls, PATIENCE).not_done
    assert any(call.cancelled() for call in calls) == cancel
    assert cancel or calls[-1].result() == ord("b")


def test_worker_dies_before_late_calls(make_pool, gate, lib):
    pool = make_pool(2)
    calls = fill(pool, gate)
    next(iter(pool._processes.values())).kill()
    for call in calls:
        assert isinstance(call.exception(PATIENCE), lib.BrokenProcessPool)


def test_late_calls_at_the_interpreters_end(run_script):
    finished = run_script("""
        # main
        pool = Pool()
        import functools
        data = bytes(60 << 20)
        for number in range(12):
            pool.submit(len, data).add_done_callback(lambda call: print(call.result() >> 20))
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "60\n" * 12, "")


def test_idle_memory_goes_back(pool):
    assert pool.submit(length, bytes(100 * MIB)).result() == 100 * MIB
    assert len(pool.submit(bytes, 100 * MIB).result()) == 100 * MIB
    assert held(pool) > 150 * MIB
    eventually(lambda: held(pool) < 32 * MIB)


@pytest.mark.parametrize("size", [2_000, 100_000, 700_000])
def test_idle_memory_of_smaller_calls_goes_back(pool, gate, size):
    blocked = [pool.submit(tasks.pass_through, gate) for _ in range(2)]
    calls = [pool.submit(length, bytes(size)) for _ in range(100 * MIB // size)]
    assert held(pool) > 64 * MIB
    gate.open()
    assert {call.result(PATIENCE) for call in calls} == {size} and all(call.done() for call in blocked)
    eventually(lambda: held(pool) < 32 * MIB)


def test_call_that_waits_for_results_to_be_read(lib, make_pool, gate):
    """The room that they leave is as good as that of calls that have ended."""
    pool = make_pool(2, shared_memory=64 * MIB)
    unread = [pool.submit(bytes, 9 * MIB) for _ in range(6)]
    assert not lib.wait(unread, PATIENCE).not_done  # exception() would read them
    running = pool.submit(wait_and_measure, gate, Holder(bytes(2_000)))
    late, after = pool.submit(length, bytes(12 * MIB)), pool.submit(tasks.double, 2)
    assert not late.done()
    assert {len(call.result()) for call in unread} == {9 * MIB}
    assert late.result(PATIENCE) == 12 * MIB and after.result(PATIENCE) == 4 and not running.done()
    gate.open()
    assert running.result(PATIENCE) == 2_000


def test_memory_in_use_stays(pool):
    for _ in range(3):
        assert pool.submit(length, bytes(50 * MIB)).result() == 50 * MIB
    unread = pool.submit(make, bytes, 50 * MIB)
    other = pool.submit(make, bytes, 50 * MIB)
    assert other.exception(PATIENCE) is None and unread.exception(PATIENCE) is None
    del other
    eventually(lambda: held(pool) < 80 * MIB)
    assert unread.result().data == pattern(50 * MIB)


def test_unread_results_stop_nobody(pool):
    calls = [pool.submit(make, bytes, MIB) for _ in range(200)]
    assert pool.submit(tasks.double, 2).result(PATIENCE) == 4
    data = pattern(MIB)
    assert all(call.result(PATIENCE).data == data for call in calls)


def test_room_that_runs_out(run_script):
    """An exception of that call, with the size and the limit; the pool goes on."""
    finished = run_script("""
        # main
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
        pool = Pool()
        for call in (pool.submit(len, bytes(200 << 20)), pool.submit(bytes, 200 << 20)):
            print(call.exception())
        print(pool.submit(len, bytes(5 << 20)).result(), len(pool.submit(bytes, 5 << 20).result()))
        """)
    assert (finished.returncode, finished.stderr) == (0, "")
    first, second, last = finished.stdout.splitlines()
    for said in (first, second):
        assert "at most" in said and "209,715," in said
    assert last == "5242880 5242880"


def test_little_address_space_in_workers(run_script):
    """A limit far below the room that the pool has: calls need what they need, as with the standard library."""
    finished = run_script("""
        import resource
        def limit(size):
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
        # main
        pool = Pool(initializer=limit, initargs=(1 << 30,))
        for size in (100, 1 << 10, 30 << 10, 1 << 20, 100 << 20):
            data = b"x" * size
            print(pool.submit(tasks.echo, data).result() == data)
        print(type(pool.submit(bytes, 2 << 30).exception()).__name__, type(pool.submit(bytes, 600 << 20).exception()).__name__)
        print(pool.submit(pow, 2, 3).result())
        """)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "True\n" * 5 + "MemoryError MemoryError\n8\n"


def test_few_descriptors(run_script):
    finished = run_script("""
        # main
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        pool = Pool()
        for size in (1 << 10, 1 << 20, 50 << 20):
            print(len(pool.submit(tasks.echo, bytes(size)).result()) == size)
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "True\n" * 3, "")


def test_shared_memory_can_be_limited(make_pool, lib):
    pool = make_pool(2, shared_memory=32 * MIB)
    assert pool.submit(length, bytes(20 * MIB)).result() == 20 * MIB
    with pytest.raises(MemoryError, match=r"at most 32 MiB.* for 41,943,... bytes of a call to big\.payloads\.length"):
        pool.submit(length, bytes(40 * MIB)).result()
    with pytest.raises(MemoryError, match="at most 32 MiB"):
        pool.submit(bytes, 40 * MIB).result()
    assert list(pool.map(length, [bytes(5 * MIB)] * 20)) == [5 * MIB] * 20


def test_result_takes_the_place_of_its_argument(make_pool):
    """So both together need no more than the larger of them; a call that may be tried again is kept, of course."""
    pool = make_pool(1, shared_memory=32 * MIB, on_worker_death="respawn")
    data = pattern(20 * MIB)
    assert pool.submit(tasks.echo, data).result() == data
    with pytest.raises(MemoryError, match="at most 32 MiB"):
        pool.options(retries=1).submit(tasks.echo, data).result()
    assert held(pool) < 32 * MIB


def test_late_call_that_is_too_large(make_pool, gate):
    pool = make_pool(1, shared_memory=32 * MIB)
    before = [pool.submit(wait_and_measure, gate, Holder(bytes(10 * MIB))) for _ in range(5)]
    late = pool.submit(length, bytes(40 * MIB))
    gate.open()
    with pytest.raises(MemoryError, match=r"at most 32 MiB.* for 41,943,... bytes of a call to big\.payloads\.length"):
        late.result(PATIENCE)
    assert [call.result() for call in before] == [10 * MIB] * 5


@pytest.mark.parametrize("value, error", [(1 << 20, ValueError), (0, ValueError), (-1, ValueError), ("1", TypeError)])
def test_limit_that_makes_no_sense(lib, value, error):
    with pytest.raises(error, match="shared_memory"):
        lib.ProcessPoolExecutor(2, shared_memory=value)
