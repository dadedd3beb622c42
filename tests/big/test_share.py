"""fastpool.share(): one copy in shared memory for every task, and none once nobody has it."""

import copy
import gc
import mmap
import multiprocessing
import os
import pathlib
import pickle
import resource
import signal
import threading
from multiprocessing.reduction import ForkingPickler

import pytest

from support import processes, tasks
from support.events import PATIENCE, eventually

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.fastpool_only("the standard library has nothing like it")

MIB = 1 << 20
NORESERVE = 0x4000  # of Linux; the mmap module names it since Python 3.13


@pytest.fixture(scope="module")
def array():
    return np.arange(MIB, dtype=float)


def pages_of(pid="self"):
    """How many files of shared objects a process holds, by descriptor."""
    found = 0
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += "fastpool-shared" in os.readlink(entry)
        except FileNotFoundError:
            pass
    return found


def held_here():
    gc.collect()
    return pages_of()


def element(shared, index):
    return shared.value[index]


def is_writable(shared):
    return shared.value.flags.writeable


def inode(shared):
    """Which file the pages of the value are in."""
    address = shared.value.__array_interface__["data"][0]
    for line in open("/proc/self/maps"):
        where, _, _, _, number, *_ = line.split()
        first, end = (int(part, 16) for part in where.split("-"))
        if first <= address < end:
            return int(number)


def pages_in_worker(_=None):
    return pages_of()


def sizes(things):
    return {name: len(thing.value) for name, thing in things.items()}


def same_value_again(shared):
    return shared.value is shared.value and shared.value


def back(shared):
    return shared


def scaled(shared, factor):
    return float(shared.value[:10].sum() * factor)


class Registered:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return Registered, (self.number,)


def refuse_to_reduce(registered):
    raise AssertionError("this is no call")


def registered_values(shared):
    first, rest = shared.value
    return first.number, rest["again"].number


@pytest.fixture
def clean_registry():
    yield
    ForkingPickler._extra_reducers.pop(Registered, None)


def share_here(count):
    import fastpool

    return fastpool.share(np.ones(count))


def through_a_pool_of_its_own(shared):
    import fastpool

    with fastpool.ProcessPoolExecutor(1) as pool:
        return pool.submit(element, shared, 3).result()


def test_value_is_a_read_only_view_of_one_copy(lib, pool, array):
    shared = lib.share(array)
    assert np.array_equal(shared.value, array) and not shared.value.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        shared.value[0] = 1
    assert [pool.submit(element, shared, n).result() for n in (0, 5, -1)] == [0, 5, MIB - 1]
    assert not pool.submit(is_writable, shared).result()
    assert {pool.submit(inode, shared).result() for _ in range(4)} == {inode(shared)}
    assert array.size * 8 <= shared.nbytes < array.size * 8 + 4096


def test_later_changes_of_the_original_are_not_seen(lib, pool):
    array = np.zeros(1000)
    shared = lib.share(array)
    array[0] = 1
    assert pool.submit(element, shared, 0).result() == 0


def test_anything_that_can_be_pickled(lib, pool, array):
    things = {"array": array, "text": "x" * MIB, "bytes": bytes(MIB), "empty": b"", "list": list(range(1000))}
    assert pool.submit(sizes, {name: lib.share(thing) for name, thing in things.items()}).result() == {
        name: len(thing) for name, thing in things.items()
    }
    nested = {"a": [array, {"b": array}], "c": "text"}
    value = pool.submit(same_value_again, lib.share(nested)).result()
    assert value["a"][0] is value["a"][1]["b"] and np.array_equal(value["a"][0], array) and value["c"] == "text"


def test_zero_length_fortran_order_and_structured_arrays(lib):
    for array in (np.zeros((0, 3)), np.asfortranarray(np.ones((300, 200))), np.zeros(5000, "i4,f8"), np.array("0-d")):
        value = lib.share(array).value
        assert np.array_equal(value, array) and value.dtype == array.dtype
        assert value.flags.f_contiguous == array.flags.f_contiguous


def test_columns(lib):
    matrix = np.arange(400_000.0).reshape(100, -1)
    for columns in (matrix[:, 10:-10], matrix[::-2, 1000:]):  # of more than 1 KiB each
        value = lib.share(columns).value
        assert np.array_equal(value, columns) and not value.flags.writeable


def test_arrays_of_every_kind_are_read_only(lib, pool):
    numbers = np.arange(100.0)
    table = np.zeros(100, "i4,f8")
    arrays = [
        numbers,
        numbers[:1],
        numbers[::3],
        numbers[::-1],
        np.broadcast_to(numbers[:3], (4, 3)),
        table,
        table["f1"],
        numbers.reshape(10, 10)[::2, 1:].T,
        numbers[::2].astype(">f8"),
    ]
    for array, value in zip(arrays, lib.share(arrays).value, strict=True):
        assert np.array_equal(array, value) and value.dtype == array.dtype
        assert not value.flags.writeable
    assert not pool.submit(is_writable, lib.share(numbers[::2])).result()


def test_arrays_of_objects_are_copies(lib):
    array = np.array([1, "two", [3]], object)
    assert lib.share(array[::2]).value.tolist() == [1, [3]]


def test_what_is_registered_with_multiprocessing(lib, pool, clean_registry):
    """Its reducer is for one receiver: a connection's for one that fetches it, once."""
    ForkingPickler.register(Registered, refuse_to_reduce)
    shared = lib.share([Registered(1), {"again": Registered(2)}])
    assert [pool.submit(registered_values, shared).result() for _ in range(4)] == [(1, 2)] * 4
    with multiprocessing.Pipe()[0] as connection, pytest.raises(TypeError, match="Connection.*Pass it as an argument"):
        lib.share([connection])


def test_what_cannot_be_pickled(lib):
    with pytest.raises(TypeError, match="cannot pickle '_thread.lock' object"):
        lib.share(threading.Lock())
    with pytest.raises(TypeError, match=r"use fastpool\.share"):
        lib.Shared()


def test_handles_everywhere_in_a_call(lib, pool, array):
    shared = lib.share(array)
    assert pool.submit(sizes, things={"deep": shared}).result() == {"deep": MIB}
    assert list(pool.map(element, [shared] * 100, range(100))) == list(range(100))
    assert list(pool.map(element, [shared] * 100, range(100), chunksize=7)) == list(range(100))


def test_pool(lib, context, array):
    shared = lib.share(array)
    with lib.Pool(2, context=context) as pool:
        assert pool.apply(element, (shared, 3)) == 3
        assert pool.starmap(element, [(shared, n) for n in range(50)]) == list(range(50))
        assert list(pool.imap(back, [shared] * 3))[2] is shared


def test_function_by_value(lib, pool, array):
    pytest.importorskip("cloudpickle")
    shared, factor = lib.share(array), 2
    assert pool.submit(lambda handle: handle.value[3] * factor, shared).result() == 6
    assert pool.submit(lambda: shared.value[3] * factor).result() == 6  # as a cell: a copy


def test_initializer_and_inherited(lib, make_pool, array):
    shared = lib.share(array)
    pool = make_pool(2, initializer=tasks.remember, initargs=(shared,))
    assert pool.submit(recalled_element, 7).result() == 7
    assert pool.submit(element, shared, 8).result() == 8


def recalled_element(index):
    (shared,) = tasks.forget_and_recall()
    tasks.remember(shared)
    return shared.value[index]


def test_as_a_result(lib, pool, array):
    shared = lib.share(array)
    assert pool.submit(back, shared).result() is shared
    made = pool.submit(share_here, 1000).result()
    assert np.array_equal(made.value, np.ones(1000)) and not made.value.flags.writeable
    future = pool.submit(back, shared)
    lib.wait([future])
    del shared
    assert np.array_equal(future.result().value, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_through_plain_pickle_and_copy(lib, array, protocol):
    before = held_here()
    shared = lib.share(array)
    data = pickle.dumps(shared, protocol)
    assert pickle.loads(data) is shared
    del shared
    assert held_here() == before
    assert np.array_equal(pickle.loads(data).value, array)


def test_pools_in_workers(lib, pool, array):
    assert pool.submit(through_a_pool_of_its_own, lib.share(array)).result(PATIENCE) == 3


def test_freed_with_the_handle(lib, make_pool, array):
    before = held_here()
    shared = lib.share(array)
    pool = make_pool(2)
    for n in range(10):
        assert pool.submit(element, shared, n).result() == n
    eventually(lambda: held_here() == before + 1)
    del shared
    eventually(lambda: held_here() == before)
    workers = list(pool._processes)
    eventually(lambda: sum(map(pages_of, workers)) == 0)  # they have nothing to do


def test_worker_that_is_busy_keeps_only_what_it_uses(lib, make_pool, array):
    pool = make_pool(1)
    handles = [lib.share(array) for _ in range(20)]
    counts = []
    for shared in handles:
        pool.submit(element, shared, 0)
        counts.append(pool.submit(pages_in_worker))
    assert max(count.result() for count in counts) <= 2


def test_value_outlives_the_handle(lib, array):
    before = held_here()
    view = lib.share(array).value[5:10]
    assert view.tolist() == [5, 6, 7, 8, 9]
    assert held_here() == before + 1
    del view
    eventually(lambda: held_here() == before)


def test_call_on_its_way_holds_it(lib, single, gate, array):
    before = held_here()
    blocked = single.submit(tasks.pass_through, gate)
    call = single.submit(element, lib.share(array), 5)
    cancelled = single.submit(element, lib.share(array), 6)
    dropped = single.submit(element, lib.share(array), 7)
    eventually(lambda: held_here() == before + 3)
    assert cancelled.cancel()
    eventually(lambda: held_here() == before + 2)
    del dropped
    gate.open()
    assert blocked.result() is None and call.result() == 5
    assert single.submit(tasks.double, 1).result() == 2
    eventually(lambda: held_here() == before)


def test_call_that_is_pickled_later_holds_it(lib, pool, gate, array):
    before = held_here()
    blocked = [pool.submit(tasks.pass_through, gate, bytes(60 * MIB)) for _ in range(8)]
    call = pool.submit(scaled, lib.share(array), 2)
    eventually(lambda: held_here() == before + 1)
    gate.open()
    assert call.result(PATIENCE) == 90 and len(blocked) == 8
    eventually(lambda: held_here() == before)


def test_nothing_is_left_after_a_death(lib, make_pool, mailbox, array):
    before = held_here()
    pool = make_pool(1)
    future = pool.submit(tasks.announce_and_sleep, mailbox)
    waiting = pool.submit(element, lib.share(array), 0)
    os.kill(int(mailbox.get()), signal.SIGKILL)
    assert isinstance(future.exception(PATIENCE), lib.BrokenProcessPool)
    assert isinstance(waiting.exception(PATIENCE), lib.BrokenProcessPool)
    eventually(lambda: held_here() == before)


def test_nothing_is_left_after_the_death_of_the_program(run_script, mailbox):
    """Its workers hold the pages for as long as they live, which is not long."""
    program = run_script.start(
        """
        import numpy
        from support.events import Post

        def wait(shared, post):
            post.put(f"{os.getpid()} {len(shared.value)}")
            time.sleep(600)
        # main
        shared = futures.share(numpy.ones(1000))
        pool = Pool()
        calls = [pool.submit(wait, shared, Post(sys.argv[1])) for _ in range(2)]
        time.sleep(600)
        """,
        mailbox.path,
    )
    answers = [line.split() for line in mailbox.take(2)]
    assert [length for _, length in answers] == ["1000"] * 2
    program.kill()
    program.communicate()
    eventually(lambda: not any(processes.alive(int(worker)) for worker, _ in answers))


class Huge:
    """More than there is, none of it touched."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 1 << 42, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)

    def __reduce_ex__(self, protocol):
        return bytes, (pickle.PickleBuffer(self.memory),)


def test_out_of_memory_is_a_memory_error(lib):
    with pytest.raises(MemoryError, match="4398046511[0-9]+ bytes of shared memory are more than there is left"):
        lib.share(Huge())


def test_no_descriptor_left(lib):
    handles, (soft, hard) = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            handles.extend(lib.share(n) for n in range(limit))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [handle.value for handle in handles] == list(range(len(handles)))


def test_threads_that_share_and_drop(lib, pool, array):
    before, errors = held_here(), []

    def work():
        try:
            for n in range(50):
                assert pool.submit(element, lib.share(array), n).result(PATIENCE) == n
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    eventually(lambda: held_here() == before)


def test_repr_and_typing(lib, array):
    shared = lib.share(array)
    assert repr(shared).startswith(f"<fastpool.Shared, {shared.nbytes} bytes, ")
    assert lib.Shared[int]


def loads_of(shared):
    return shared.value.loads


class Counting:
    """Counts how often it is unpickled in a process."""

    loads = 0

    def __reduce__(self):
        return count_load, ()


def count_load():
    Counting.loads += 1
    found = Counting.__new__(Counting)
    found.loads = Counting.loads
    return found


def test_unpickled_once_in_a_worker_even_if_it_rests_meanwhile(lib, make_pool):
    pool, shared = make_pool(1), lib.share(Counting())
    for _ in range(5):
        assert pool.submit(loads_of, shared).result() == 1
        eventually(lambda: all(map(processes.sleeping, pool._processes)))


def test_one_value_for_all_threads(lib):
    shared = lib.share({number: str(number) for number in range(100_000)})
    with lib.ThreadPoolExecutor(4) as threads:
        values = list(threads.map(lambda _: shared.value, range(4)))
    assert all(value is values[0] for value in values)


def test_by_reference_at_an_interactive_prompt(run_script):
    """There every argument goes through cloudpickle."""
    pytest.importorskip("cloudpickle")
    done = run_script(
        """
        import numpy
        sys.ps1 = ">>> "
        def inode(shared):
            address = shared.value.__array_interface__["data"][0]
            for line in open("/proc/self/maps"):
                first, end = (int(part, 16) for part in line.split()[0].split("-"))
                if first <= address < end:
                    return line.split()[4]
        # main
        shared = futures.share(numpy.ones(100_000))
        with Pool() as pool:
            print(pool.submit(inode, shared).result() == inode(shared))
        """
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_freed_although_it_was_looked_at_before_the_fork(lib, make_pool, array):
    shared = lib.share(array)
    assert shared.value[1] == 1
    pool = make_pool(2)
    assert pool.submit(element, shared, 2).result() == 2
    del shared
    workers = list(pool._processes)
    eventually(lambda: sum(map(pages_of, workers)) == 0)


inherited = None


def inherited_element(index):
    return inherited.value[index]


@pytest.mark.methods("fork")
def test_inherited_and_dropped_by_the_program(lib, make_pool, array):
    global inherited
    inherited = lib.share(array)
    pool = make_pool(1)
    assert pool.submit(inherited_element, 3).result() == 3
    pool.shutdown()
    pool = make_pool(1)
    assert pool.submit(tasks.double, 1).result() == 2
    inherited = None
    with pytest.raises(FileNotFoundError, match="the shared object is gone"):
        pool.submit(inherited_element, 3).result()


def test_copies_are_the_handle_itself(lib, array):
    shared = lib.share(array)
    assert copy.copy(shared) is shared and copy.deepcopy({"a": shared})["a"] is shared


def test_large_one_that_a_call_had_last_is_freed(lib, single, array):
    before = held_here()
    assert single.submit(element, lib.share(array), 4).result() == 4
    eventually(lambda: held_here() == before)
