"""In a memory control group: what does not fit is a MemoryError of one future, and nobody is killed."""

import os
import pathlib
import re

import pytest

pytestmark = [
    pytest.mark.fastpool_only("the standard library is killed here"),
    pytest.mark.methods("fork"),
    pytest.mark.deadline(120),
]

MIB = 1 << 20
LIMIT = 400 * MIB
V1, V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")


def own_group():
    """The folder of this process's group that may get a child with a limit of its own, and the limit's name."""
    lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    for line in lines:
        if (found := re.match(r"\d+:(?:.*,)?memory(?:,.*)?:(.*)", line)) and V1.exists():
            return V1 / found[1].lstrip("/"), "memory.limit_in_bytes"
    if (V2 / "cgroup.controllers").exists() and "memory" in (V2 / "cgroup.subtree_control").read_text():
        return V2, "memory.max"
    raise OSError("no control group for memory")


@pytest.fixture
def group():
    """A group with the limit; skips where this machine does not let us make one."""
    try:
        parent, name = own_group()
        folder = parent / f"fastpool-test-{os.getpid()}"
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        (folder / name).write_text(str(LIMIT))
        yield folder
    finally:
        folder.rmdir()


HEAD = """
import mmap, pickle
MIB = 1 << 20
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))

class Untouched:
    # zeros that take no memory until they are copied
    def __init__(self, size):
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    def __reduce_ex__(self, protocol):
        return bytes, (pickle.PickleBuffer(self.memory),)

def make(size):
    return Untouched(size)

def fill(size):
    return len(b"x" * size)
# main
"""


def run(run_script, group, main):
    done = run_script(HEAD + main, group)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_call_larger_than_the_limit(run_script, group):
    lines = run(
        run_script,
        group,
        """
with Pool() as pool:
    error = pool.submit(len, Untouched(1 << 30)).exception()
    print(type(error).__name__, "1,073,74" in str(error))
    print(pool.submit(len, Untouched(20 * MIB)).result())
""",
    )
    assert lines == ["MemoryError True", str(20 * MIB)]


def test_results_larger_than_the_limit(run_script, group):
    lines = run(
        run_script,
        group,
        """
with Pool() as pool:
    error = pool.submit(make, 1 << 30).exception()
    print(type(error).__name__, "1,073,74" in str(error))
    calls = [pool.submit(make, 20 * MIB) for _ in range(40)]
    futures.wait(calls)
    ended = [type(call.exception()).__name__ for call in calls if call.exception()]
    print(set(ended) == {"MemoryError"}, 0 < len(ended) < 40)
    del calls
    print(len(pool.submit(make, 20 * MIB).result()))
""",
    )
    assert lines == ["MemoryError True", "True True", str(20 * MIB)]


def test_many_calls_wait_for_their_turn(run_script, group):
    lines = run(
        run_script,
        group,
        """
with Pool() as pool:
    calls = [pool.submit(len, Untouched(10 * MIB)) for _ in range(100)]
    print({call.result() for call in calls})
""",
    )
    assert lines == [str({10 * MIB})]


def test_shared_object_larger_than_the_limit(run_script, group):
    lines = run(
        run_script,
        group,
        """
try:
    futures.share(Untouched(1 << 30))
except MemoryError as error:
    print(error)
""",
    )
    assert len(lines) == 1 and "bytes of shared memory are more than there is left" in lines[0]


def test_worker_that_the_kernel_kills(run_script, group):
    """Its error says why, and one that dies of something else does not."""
    lines = run(
        run_script,
        group,
        """
with Pool(on_worker_death="respawn") as pool:
    killed = pool.submit(tasks.kill_self).exception()
    print(killed.out_of_memory, "want of memory" in str(killed))
    large = pool.submit(fill, 1 << 30).exception()
    print(large.out_of_memory, "probably for want of memory" in str(large), large.peak_memory > 100 * MIB)
    print(pool.submit(tasks.double, 2).result())
""",
    )
    assert lines == ["False False", "True True True", "4"]
