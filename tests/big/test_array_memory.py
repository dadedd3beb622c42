"""How long the memory is kept that large arrays have arrived in: for the next ones, for a while, and at nobody's cost."""

import contextlib
import ctypes
import mmap
import multiprocessing
import os
import pathlib
import signal
import threading

import pytest

import fastpool
from support import tasks
from support.events import PATIENCE, eventually
from support.holdings import private
from support.processes import sleeping

numpy = pytest.importorskip("numpy", reason="there is no NumPy for this Python yet")
pytestmark = [
    pytest.mark.fastpool_only("the standard library leaves it to malloc"),
    pytest.mark.methods("fork"),  # how a worker was started makes no difference to its memory
]

MIB = 1 << 20
LARGE = 50 * MIB  # malloc keeps nothing of that size


def ones(size):
    return numpy.ones(size, "u1")


class Receiver:
    """A process to which arrays come."""

    def __init__(self, pool, pid, before):
        self.pool, self.pid, self.before = pool, pid, before

    def held(self):
        """MiB more than at first."""
        return private(self.pid) - self.before

    def keeps(self):
        """Does it keep the memory of an array, and use it for the next one? (On a busy machine that may take too long once.)"""
        first = self.place(LARGE)
        return self.held() > 45 and self.place(LARGE - MIB) == first


def address(array):
    return array.ctypes.data


# ------------------------------------------------------------------------------------------- the program
class Program(Receiver):
    """This process, to which results come."""

    def __init__(self, pool):
        super().__init__(pool, "self", private())

    def place(self, size):
        return address(self.pool.submit(ones, size).result())


@pytest.fixture
def program(make_pool):
    return Program(make_pool(1))


def test_memory_of_a_result_is_used_again(program):
    eventually(program.keeps)


def test_idle_memory_of_the_program_goes_back(program):
    eventually(program.keeps)
    eventually(lambda: program.held() < 30)
    arrays = [program.pool.submit(ones, 20 * MIB).result() for _ in range(5)]
    assert program.held() > 90
    del arrays
    eventually(lambda: program.held() < 30)


def test_nothing_is_kept_without_a_pool(program):
    eventually(program.keeps)
    result, unread = program.pool.submit(ones, LARGE).result(), program.pool.submit(ones, MIB)
    program.pool.shutdown()
    assert program.held() > 45
    del result
    assert program.held() < 30
    assert unread.result().all()


def test_each_pool_keeps_what_it_may(program, make_pool):
    """The one that may keep more decides, as long as it is there."""
    eventually(program.keeps)
    small = Program(make_pool(1, shared_memory=256 * MIB))
    small.before = program.before
    assert small.pool.submit(ones, LARGE).result().all()
    eventually(small.keeps)
    program.pool.shutdown()
    eventually(lambda: small.held() < 30)
    assert not small.keeps()


def linger(gate, mailbox, other_gate):
    threading.Thread(target=gate.wait).start()
    tasks.announce_and_wait(mailbox, other_gate)


@pytest.mark.parametrize("last", [tasks.nothing, tasks.kill_self])
def test_pool_whose_workers_do_not_end(make_pool, make_gate, mailbox, last):
    """Nobody listens any more: nothing is kept, however the last task has ended."""
    program, gate, other_gate = Program(make_pool(2, on_worker_death="respawn")), make_gate(), make_gate()
    lingering = [program.pool.submit(linger, gate, mailbox, other_gate) for _ in range(2)]
    assert len(set(mailbox.take(2))) == 2
    other_gate.open()
    assert [call.result(PATIENCE) for call in lingering] == [None, None]
    eventually(program.keeps)
    call = program.pool.submit(last)
    program.pool.shutdown(wait=False)
    assert (call.exception(PATIENCE) is None) == (last is tasks.nothing)
    eventually(lambda: program.held() < 30)


class NoProcesses(type(multiprocessing.get_context("fork"))):
    def Process(self, *args, **kwargs):
        raise OSError("there are no processes")


def test_pool_that_has_not_started(program, make_pool):
    broken = make_pool(1, mp_context=NoProcesses())
    with pytest.raises(OSError, match="no processes"):
        broken.submit(tasks.nothing)
    eventually(program.keeps)
    eventually(lambda: program.held() < 30)


def test_limit_that_comes_later(run_script):
    """What is kept would be missed elsewhere."""
    finished = run_script("""
        from support.holdings import private
        import numpy
        def ones(size):
            return numpy.ones(size, "u1")
        # main
        import resource
        pool = Pool(1)
        array = pool.submit(ones, 50 << 20).result()
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40))
        before = private()
        del array
        print(before - private() > 45, pool.submit(ones, 50 << 20).result().all())
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "True True\n", "")


def test_fork_of_the_program(run_script):
    """The child has its arrays, may have pools of its own, and does not keep what its parent does."""
    finished = run_script("""
        from support.holdings import private
        import numpy
        def ones(size):
            return numpy.ones(size, "u1")
        # main
        pool = Pool(1)
        array, other = (pool.submit(ones, 50 << 20).result() for _ in range(2))
        before = private()
        del other
        child = os.fork()
        if not child:
            right = array.all() and before - private() > 45
            own = Pool(1)
            for _ in range(3):
                right = right and own.submit(ones, 50 << 20).result().all()
            own.shutdown()
            os._exit(0 if right else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), array.all(), pool.submit(ones, 50 << 20).result().all())
        """)
    assert (finished.returncode, finished.stdout) == (0, "0 True True\n")


def test_end_of_the_interpreter(run_script):
    """With arrays that are still held, by whatever goes last, and a result that nobody has asked for."""
    finished = run_script("""
        import builtins, numpy
        def ones(size):
            return numpy.ones(size, "u1")
        # main
        pool = Pool(1)
        builtins.held, sys.held = pool.submit(ones, 1 << 20).result(), [pool.submit(ones, 1 << 20).result()]
        sys.held.append(sys.held)
        unread = pool.submit(ones, 1 << 20)
        print(builtins.held.all())
        """)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "True\n", "")


# ------------------------------------------------------------------------------------------------ a worker
class Worker(Receiver):
    """The one of a pool, to which arguments come."""

    def __init__(self, pool):
        before = pool.submit(private).result()
        super().__init__(pool, *pool._processes, before)
        self.array = ones(LARGE)

    def place(self, size):
        return self.pool.submit(address, self.array[:size]).result()


@pytest.fixture
def worker(make_pool):
    return Worker(make_pool(1))


def test_memory_of_an_argument_is_used_again(worker):
    eventually(worker.keeps)


def test_idle_memory_of_a_worker_goes_back(worker):
    eventually(worker.keeps)
    eventually(lambda: worker.held() < 30)


def test_tasks_have_no_more_memory_than_their_own(worker):
    eventually(worker.keeps)
    assert worker.pool.submit(private).result() - worker.before < 30


def drop_and_measure(arrays):
    before = private()
    arrays.clear()
    return before - private()


def test_what_a_task_drops_is_free_at_once(worker):
    """It may have dropped it to have room for something else."""
    eventually(worker.keeps)
    for _ in range(3):
        assert worker.pool.submit(drop_and_measure, [worker.array]).result() > 45


def most_mappings():
    return int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())


@contextlib.contextmanager
def all_mappings_in_use():
    """As many as the system lets a process have: no mapping can become two any more."""
    pages = most_mappings()
    whole = mmap.mmap(-1, pages * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    first = ctypes.c_char.from_buffer(whole)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    place = ctypes.addressof(first)
    in_use = any(protect(place + page * mmap.PAGESIZE, mmap.PAGESIZE, mmap.PROT_READ) for page in range(1, pages, 2))
    try:
        yield in_use
    finally:
        del first
        whole.close()


def drop_every_other(arrays):
    with all_mappings_in_use() as in_use:
        before = private()
        del arrays[::2]
        return in_use and before - private()


@pytest.mark.skipif(most_mappings() > 200_000, reason="the kernel would need hundreds of MB for so many mappings")
def test_memory_that_cannot_be_unmapped(worker):
    """The system takes arrays side by side for one mapping: to free one of them would make that two."""
    assert worker.pool.submit(drop_every_other, [ones(MIB) for _ in range(40)]).result() > 15


def drop_later(arrays, gate):
    mine = [arrays.pop()]
    threading.Thread(target=lambda: (gate.wait(), mine.clear())).start()


def test_what_a_thread_of_a_task_drops_while_the_worker_sleeps(worker, gate):
    worker.pool.submit(drop_later, [worker.array], gate).result()
    eventually(lambda: sleeping(worker.pid))
    assert worker.held() > 45
    gate.open()
    eventually(lambda: worker.held() < 30)


def tick():
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)


def test_worker_that_signals_keep_awake(worker):
    worker.pool.submit(tick).result()
    eventually(worker.keeps)
    eventually(lambda: worker.held() < 30)


def open_pool():
    with fastpool.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return bool(pool.submit(ones, LARGE).result().all())


def test_pool_of_a_task(worker):
    assert worker.pool.submit(open_pool).result()
    eventually(worker.keeps)


def sum_in_a_child(array):
    child = os.fork()
    if not child:
        os._exit(int(array.sum() == LARGE))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_fork_of_a_task(worker):
    assert worker.pool.submit(sum_in_a_child, worker.array).result() == 1
    eventually(worker.keeps)


def test_share_that_is_too_small(make_pool):
    """Of 128 MiB an eighth: what is larger is malloc's."""
    worker = Worker(make_pool(1, shared_memory=128 * MIB))
    assert not worker.keeps()
    assert worker.pool.submit(tasks.echo, worker.array).result().all()


def test_kept_memory_does_not_count_against_a_worker(make_pool):
    pool = make_pool(1, max_memory_per_worker=64 * MIB, on_worker_death="respawn")
    assert len({pool.submit(tasks.pid, ones(80 * MIB)).result(PATIENCE) for _ in range(10)}) == 1
