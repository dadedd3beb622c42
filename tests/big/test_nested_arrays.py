"""Structures of arrays, frames, bytes and buffers, nested and shared: as pickle alone would deliver them."""

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from big.payloads import SIZES, Holder, pattern
from support import tasks

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")

ordinary = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

DTYPES = ["u1", "<i2", ">i4", "f4", "f8", "c16", "M8[us]", "S7", "U3", "?", [("a", "i4"), ("b", "f8", (2,))], object]


def read_only(array):
    array.flags.writeable = False
    return array


LAYOUTS = {
    "C": lambda array: array,
    "Fortran": lambda array: numpy.asfortranarray(array.reshape(2, -1)) if array.size % 2 == 0 else array,
    "transposed": lambda array: array.reshape(2, -1).T if array.size % 2 == 0 else array,
    "every other": lambda array: array[::2],
    "reversed": lambda array: array[::-1],
    "a view": lambda array: array[1:],
    "columns": lambda array: array.reshape(2, -1)[:, 1:] if array.size % 2 == 0 else array,
    "read-only": read_only,
    "one element": lambda array: array[:1].reshape(()) if array.size else array,
    "a matrix": lambda array: array.view(numpy.matrix),
}


def make_array(dtype, size, layout):
    """Of about `size` bytes."""
    dtype = numpy.dtype(dtype)
    count = size // dtype.itemsize
    if dtype.kind in "iufcM":
        array = numpy.frombuffer(bytearray(pattern(count * dtype.itemsize)), dtype)
    elif dtype.kind == "O":
        array = numpy.array([f"object {number}" for number in range(min(count, 500))], object)
    else:
        array = numpy.arange(count).astype("u1").astype(dtype) if dtype.kind != "V" else numpy.ones(count, dtype)
    return LAYOUTS[layout](array)


def make_frame(size, kinds):
    rows = size // 8
    columns = {
        "float": lambda: numpy.arange(rows) / 3,
        "int": lambda: numpy.arange(rows),
        "flag": lambda: numpy.arange(rows) % 2 == 0,
        "text": lambda: [f"row {number % 31}" for number in range(rows)],
        "kind": lambda: pandas.Categorical(numpy.arange(rows) % 5),
        "time": lambda: pandas.to_datetime(numpy.arange(rows)),
        "optional": lambda: pandas.array(numpy.arange(rows), dtype="Int64"),
    }
    return pandas.DataFrame({kind: columns[kind]() for kind in kinds})


COLUMNS = ["float", "int", "flag", "text", "kind", "time", "optional"]
sizes = st.sampled_from(SIZES)
arrays = st.builds(make_array, st.sampled_from(DTYPES), sizes, st.sampled_from(sorted(LAYOUTS)))
frames = st.builds(make_frame, sizes, st.lists(st.sampled_from(COLUMNS), unique=True))
series = st.builds(lambda size, kind: make_frame(size, [kind])[kind], sizes, st.sampled_from(COLUMNS))
buffers = st.builds(
    lambda kind, size, seed: Holder(kind(pattern(size, seed))),
    st.sampled_from([bytes, bytearray]),
    sizes,
    st.integers(0, 9),
)
texts = st.builds(
    lambda kind, size, seed: kind(pattern(size, seed)),
    st.sampled_from([bytes, bytearray, bytes.hex]),
    sizes,
    st.integers(0, 9),
)
leaves = st.one_of(arrays, frames, series, buffers, texts)


@st.composite
def structures(draw):
    """A few big things, each of them in several places."""
    things = draw(st.lists(leaves, min_size=1, max_size=4))
    one = st.sampled_from(things)
    inner = st.one_of(one, st.integers(), st.none())
    nested = st.recursive(
        inner,
        lambda more: st.one_of(
            st.lists(more, max_size=4), st.dictionaries(st.text("ab"), more, max_size=3), st.tuples(more, more)
        ),
        max_leaves=10,
    )
    return [*things, draw(nested)]


def outline(thing, seen):
    """Everything that can be told of a structure, and which of its parts are one object."""
    if isinstance(thing, (list, tuple)):
        return type(thing), [outline(item, seen) for item in thing]
    if isinstance(thing, dict):
        return dict, [(key, outline(value, seen)) for key, value in thing.items()]
    if thing is None or isinstance(thing, int):
        return thing
    if id(thing) not in seen:
        seen[id(thing)] = len(seen)
    return seen[id(thing)], type(thing), facts(thing)


def facts(thing):
    if isinstance(thing, numpy.ndarray):
        names = ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE", "ALIGNED")
        content = thing.tolist() if thing.dtype.hasobject else thing.tobytes()  # bytes: NaN is not itself
        return str(thing.dtype), thing.shape, [thing.flags[name] for name in names], content
    if isinstance(thing, (pandas.DataFrame, pandas.Series)):
        return str(getattr(thing, "dtypes", None)), list(thing.index[:3]), thing.to_dict()
    return thing.data if isinstance(thing, Holder) else thing


@given(thing=structures())
@settings(max_examples=50, deadline=None, suppress_health_check=ordinary)
def test_any_structure(pool, thing, is_fastpool):
    wanted = pickle.loads(pickle.dumps(thing, 5 if is_fastpool else pickle.DEFAULT_PROTOCOL))
    result = pool.submit(tasks.echo, thing).result()
    assert outline(result, {}) == outline(wanted, {})
