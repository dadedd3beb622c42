"""NumPy's arrays, of every kind."""

import pickle

import pytest

from support import tasks

numpy = pytest.importorskip("numpy", reason="there is no NumPy for this Python yet")

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
    "0-d": lambda: numpy.array(5.0),
    "empty": lambda: numpy.empty((0, 3)),
    "small": lambda: numpy.arange(3),
    "read-only": lambda: _read_only(numpy.arange(N)),
    "read-only view": lambda: _read_only(numpy.arange(N)[10:-10]),
    "masked": lambda: numpy.ma.masked_greater(numpy.arange(N), 5),
    "record array": lambda: numpy.rec.fromarrays([numpy.arange(N), numpy.arange(N) / 2], names="a,b"),
}


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


def test_memory_mapped(pool, tmp_path):
    numpy.save(tmp_path / "array.npy", numpy.arange(N))
    mapped = numpy.load(tmp_path / "array.npy", mmap_mode="r")
    result = pool.submit(tasks.echo, mapped).result()
    assert numpy.array_equal(result, mapped) and type(result) is type(pickle.loads(pickle.dumps(mapped, 5)))


def test_chunks_of_a_map(pool):
    arrays = [numpy.full(50_000, number) for number in range(40)]
    for sent, came in zip(arrays, pool.map(tasks.echo, arrays, chunksize=7), strict=True):
        assert numpy.array_equal(sent, came) and came.flags.writeable
