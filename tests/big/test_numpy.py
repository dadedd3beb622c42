"""NumPy's arrays, of every kind."""

import copyreg
import gc
import pickle
import random
import sys
import tracemalloc
from multiprocessing.reduction import ForkingPickler

import pytest

from support import tasks
from support.events import PATIENCE, eventually

numpy = pytest.importorskip("numpy", reason="there is no NumPy for this Python yet")

MIB = 1 << 20
N = 200_000
ARRAYS = {
    "float64": lambda: numpy.arange(N, dtype="f8"),
    "big-endian": lambda: numpy.arange(N, dtype=">i4"),
    "bool": lambda: numpy.arange(N) % 3 == 0,
    "complex": lambda: numpy.arange(N) * 1j,
    "dates": lambda: numpy.arange(N).astype("M8[s]"),
    "text": lambda: numpy.array(["one", "two", "three"] * 20_000),
    "objects": lambda: numpy.array([{"a": 1}, None, "text"] * 1000, dtype=object),
    "structured": lambda: numpy.zeros(N // 4, dtype=[("a", "i4"), ("b", "f8", (2,))]),
    "Fortran": lambda: numpy.asfortranarray(numpy.arange(N).reshape(100, -1)),
    "three dimensions": lambda: numpy.arange(N).reshape(10, 20, -1),
    "every other": lambda: numpy.arange(N)[::2],
    "reversed": lambda: numpy.arange(N)[::-1],
    "transposed": lambda: numpy.arange(N).reshape(100, -1).T,
    "broadcast": lambda: numpy.broadcast_to(numpy.arange(1000), (100, 1000)),
    "columns": lambda: wide()[:, 10:-10],
    "columns of every other row": lambda: wide()[::2, :-1],
    "columns, upside down": lambda: wide()[::-1, 1:],
    "columns of one row": lambda: wide()[3:4, 5:],
    "columns, read-only": lambda: _read_only(wide()[:, 10:-10]),
    "columns, dimensions swapped": lambda: wide().reshape(10, 10, -1).transpose(1, 0, 2)[:, :, 5:],
    "columns of one dimension": lambda: wide().reshape(10, 10, -1)[:, 4],
    "columns, bool": lambda: (wide() > 9)[:, 10:],
    "columns, float16": lambda: wide("f2")[:, 10:],
    "columns, big-endian": lambda: wide(">f8")[:, 10:],
    "columns, dates": lambda: wide("M8[s]")[:, 10:],
    "columns, text": lambda: wide("U5")[:, 10:],
    "columns, objects": lambda: wide(object)[:, 10:],
    "columns, structured": lambda: wide([("a", "i4"), ("b", "f8")])[:, 10:],
    "columns, of a Fortran array": lambda: numpy.asfortranarray(wide())[:, 10:-10],
    "few columns": lambda: wide()[:, 10:13],
    "rows of a Fortran array": lambda: numpy.asfortranarray(wide())[10:-10],
    "swapped": lambda: wide().reshape(10, 10, -1).transpose(1, 0, 2),
    "windows": lambda: numpy.lib.stride_tricks.sliding_window_view(numpy.arange(2000), 500),
    "0-d": lambda: numpy.array(5.0),
    "empty": lambda: numpy.empty((0, 3)),
    "small": lambda: numpy.arange(3),
    "read-only": lambda: _read_only(numpy.arange(N)),
    "read-only view": lambda: _read_only(numpy.arange(N)[10:-10]),
    "masked": lambda: numpy.ma.masked_greater(numpy.arange(N), 5),
    "record array": lambda: numpy.rec.fromarrays([numpy.arange(N), numpy.arange(N) / 2], names="a,b"),
}


def wide(dtype="f8"):
    return (numpy.arange(N) % 60_000).astype(dtype).reshape(100, -1)


def _read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", ARRAYS)
def test_array(pool, kind, is_fastpool):
    array, protocol = ARRAYS[kind](), 5 if is_fastpool else pickle.DEFAULT_PROTOCOL
    wanted, result = pickle.loads(pickle.dumps(array, protocol)), pool.submit(tasks.echo, array).result()
    assert type(result) is type(wanted) and result.dtype == wanted.dtype and result.shape == wanted.shape
    assert numpy.array_equal(result, wanted)
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE", "ALIGNED"):
        assert result.flags[flag] == wanted.flags[flag], flag
    assert result.strides == wanted.strides


def test_memory_mapped(pool, tmp_path):
    numpy.save(tmp_path / "array.npy", numpy.arange(N))
    mapped = numpy.load(tmp_path / "array.npy", mmap_mode="r")
    result = pool.submit(tasks.echo, mapped).result()
    assert numpy.array_equal(result, mapped) and type(result) is type(pickle.loads(pickle.dumps(mapped, 5)))


def test_chunks_of_a_map(pool):
    arrays = [numpy.full(50_000, number) for number in range(40)]
    for sent, came in zip(arrays, pool.map(tasks.echo, arrays, chunksize=7), strict=True):
        assert numpy.array_equal(sent, came) and came.flags.writeable


def ones(size, first=1):
    array = numpy.ones(size, "u1")
    array[0] = first
    return array


def is_writable_and_ones(array):
    same = bool((array == 1).all())
    array[:] = 0
    return same and not array.any()


@pytest.mark.parametrize("size", [1000, (256 << 10) - 1, 256 << 10, MIB, 3 * MIB, 40 * MIB])
def test_each_array_is_the_receivers_own(pool, size):
    """However often the same memory is used."""
    sent = numpy.ones(size, "u1")
    for _ in range(5):
        assert pool.submit(is_writable_and_ones, sent).result()
        assert is_writable_and_ones(pool.submit(tasks.echo, sent).result())
        assert sent.all()


def test_arrays_that_are_held_do_not_change(pool):
    """Results that are dropped and kept in any order, of sizes that use each other's memory."""
    dice = random.Random(5)
    held = {}
    for number in range(300):
        size = int(dice.choice([200, 256, 300, 320, 1000, 1100, 3000])) << 10
        held[number % 40] = (size, number % 251, pool.submit(ones, size, number % 251).result())
        if len(held) > 5:
            del held[dice.choice(list(held))]
        for size, first, array in held.values():
            assert array.size == size and array[0] == first and array[1:].all()


@pytest.mark.fastpool_only("the standard library pickles with protocol 4")
@pytest.mark.parametrize("read_only", [False, True])
def test_buffer_of_an_array_is_no_array(pool, read_only):
    """It arrives as pickle has it, whatever it is a buffer of."""
    array = numpy.ones(MIB, "u1")
    array.flags.writeable = not read_only
    wanted = pickle.loads(pickle.dumps(pickle.PickleBuffer(array), 5))
    for sent in (pickle.PickleBuffer(array), [array, pickle.PickleBuffer(array)], [pickle.PickleBuffer(array), array]):
        came = pool.submit(tasks.echo, sent).result()
        buffers = [part for part in (came if isinstance(came, list) else [came]) if type(part) is not numpy.ndarray]
        assert [(type(buffer), buffer) for buffer in buffers] == [(type(wanted), wanted)]


def reduce_to_size(array):
    return int, (array.size,)


@pytest.mark.parametrize("registry", [copyreg.dispatch_table, ForkingPickler._extra_reducers], ids=["copyreg", "ForkingPickler"])
def test_registered_reducer(pool, monkeypatch, registry):
    """Also one that is registered between two calls."""
    array = numpy.ones(MIB, "u1")
    assert pool.submit(len, array).result() == MIB
    monkeypatch.setitem(registry, numpy.ndarray, reduce_to_size)
    assert pool.submit(tasks.double, array).result() == 2 * MIB


class Impostor:
    """By its name an array."""

    def __reduce_ex__(self, protocol):
        return tasks.echo, (pickle.PickleBuffer(bytearray(MIB)),)


Impostor.__name__ = "numpy.ndarray"


@pytest.mark.fastpool_only("the standard library pickles with protocol 4")
def test_class_that_is_called_an_array(pool):
    assert type(pool.submit(tasks.echo, Impostor()).result()) is bytearray


@pytest.mark.fastpool_only("the standard library copies several times")
def test_columns_are_not_copied_before_they_are_sent(pool):
    columns = numpy.ones((4, 3 * MIB))[:, MIB : 2 * MIB]
    tracemalloc.start()
    try:
        assert pool.submit(numpy.sum, columns).result() == 4 * MIB
        assert tracemalloc.get_traced_memory()[1] < columns.nbytes / 8
    finally:
        tracemalloc.stop()


def columns_of(array):
    return array[:, 10:-10]


@pytest.mark.parametrize("read_only", [False, True])
def test_columns_as_a_result(pool, read_only):
    array = _read_only(wide()) if read_only else wide()
    result = pool.submit(columns_of, array).result()
    assert numpy.array_equal(result, columns_of(array)) and result.flags.writeable and result.flags.c_contiguous


def endless(count):
    """Rows that are the same bytes again and again: of 4 EiB each."""
    return [numpy.broadcast_to(numpy.zeros(1024, "u1"), (1 << 52, 1024)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 4, 5])
def test_more_bytes_than_can_be_counted(lib, pool, count, is_fastpool):
    with pytest.raises(MemoryError):
        pool.submit(len, endless(count)).result(PATIENCE)
    with pytest.raises(MemoryError):
        pool.submit(endless, count).result(PATIENCE)
    if is_fastpool:
        with pytest.raises(MemoryError):
            lib.share(endless(count))


class Unpicklable:
    def __reduce__(self):
        raise ValueError("not this one")


@pytest.mark.fastpool_only("the standard library's feeder thread holds on to the last call")
def test_references_to_columns(pool):
    """However the pickling ends."""
    array = wide()
    columns = array[:, 10:]
    before = sys.getrefcount(array), sys.getrefcount(columns)
    for _ in range(3):
        assert pool.submit(numpy.sum, columns).result() == columns.sum()
        with pytest.raises(ValueError, match="not this one"):
            pool.submit(tasks.echo, [columns, Unpicklable()]).result()
    gc.collect()
    eventually(lambda: (sys.getrefcount(array), sys.getrefcount(columns)) == before)


def test_columns_twice(pool):
    """What was one object is one object, and views of the same memory are not."""
    array = wide()
    columns, rest = array[:, 10:], array[:, 9:]
    first, second, other = pool.submit(tasks.echo, (columns, columns, rest)).result()
    assert first is second and numpy.array_equal(first, columns) and numpy.array_equal(other, rest)


def test_same_array_twice(pool):
    """What was one object is one object."""
    array = numpy.ones(MIB, "u1")
    first, second, others = pool.submit(tasks.echo, (array, array, [array])).result()
    assert first is second is others[0] and pool.submit(tasks.are_one_object, array, array).result()
