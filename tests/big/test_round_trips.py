"""Whatever its size and way, a value arrives as an ordinary pickle would have brought it."""

import copyreg
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from big.payloads import SIZES, Holder, give_back, keep, make, overwrite, pattern
from support import tasks

ordinary = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


buffers = pytest.mark.stdlib_since(3, 14, "before, it pickles with a protocol that knows no buffers")


def pickled(thing):
    return pickle.loads(pickle.dumps(thing, 5))


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_every_size(pool, kind):
    for size in SIZES:
        result = pool.submit(tasks.echo, kind(pattern(size))).result()
        assert type(result) is kind and result == pattern(size)


@pytest.mark.parametrize("letter", ["a", "é", "€", "😀"])
def test_text_of_every_size(pool, letter):
    for size in SIZES:
        text = letter * size
        assert pool.submit(tasks.echo, text).result() == text


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_buffers_of_every_size(pool, kind):
    for size in SIZES:
        holder = Holder(kind(pattern(size)))
        assert pool.submit(tasks.echo, holder).result() == holder == pickled(holder)


@buffers
@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [10, 1 << 20])
def test_bare_buffer(pool, kind, size):
    """Nothing makes an object of it: it comes as the bytes that it shows."""
    result = pool.submit(tasks.echo, pickle.PickleBuffer(kind(pattern(size)))).result()
    assert type(result) is kind and result == pattern(size)


def test_result_made_in_the_worker(pool):
    for size in SIZES:
        assert pool.submit(make, bytearray, size).result() == Holder(bytearray(pattern(size)))


@pytest.mark.parametrize("size", [10, 5000, 1 << 20])
def test_what_is_shared_stays_shared(pool, size):
    data, holder = pattern(size), Holder(bytearray(pattern(size, 7)))
    result = pool.submit(tasks.echo, [data, {"again": data}, holder, (holder, holder)]).result()
    assert result[0] is result[1]["again"]
    assert result[2] is result[3][0] is result[3][1] and result[2] == holder


@pytest.mark.parametrize("size", [10, 5000, 1 << 20])
def test_receiver_owns_what_it_gets(pool, size):
    holder = Holder(bytearray(pattern(size)))
    assert pool.submit(overwrite, holder).result() == (bytes(5), size)
    assert holder.data == pattern(size)
    first, second = pool.submit(tasks.echo, holder).result(), pool.submit(tasks.echo, holder).result()
    first.data[:] = bytes(size)
    assert second == holder


@pytest.mark.parametrize("size", [5000, 200_000, 1 << 20, 40 << 20])
def test_argument_that_the_worker_keeps(make_pool, size):
    """A result that takes its place on the way does not touch it."""
    pool = make_pool(1)
    for kind in (bytes, bytearray, lambda data: data.hex()[:size], lambda data: Holder(bytearray(data)), Holder):
        thing = kind(pattern(size))
        assert pool.submit(keep, thing, size).result() == pattern(size, 9)
        assert pool.submit(give_back).result() == thing


def test_many_buffers(pool):
    holders = [Holder((bytes, bytearray)[n % 2](pattern(100 * n, n))) for n in range(200)]
    assert pool.submit(tasks.echo, holders).result() == holders


@buffers
def test_buffer_in_pieces_is_refused(pool):
    view = memoryview(bytearray(100))[::2]
    with pytest.raises(pickle.PicklingError, match="contiguous"):
        pool.submit(tasks.echo, pickle.PickleBuffer(view)).result()
    assert pool.submit(tasks.double, 2).result() == 4


class Registered:
    def __init__(self, data):
        self.data = data


def _reduce_registered(thing):
    return Holder, (pickle.PickleBuffer(thing.data),)


@buffers
@pytest.mark.parametrize("register", [copyreg.pickle, ForkingPickler.register], ids=["copyreg", "ForkingPickler"])
def test_reducer_registered_after_the_start(pool, register, monkeypatch):
    monkeypatch.setattr(copyreg, "dispatch_table", copyreg.dispatch_table)
    assert pool.submit(tasks.double, 2).result() == 4
    register(Registered, _reduce_registered)
    try:
        data = bytearray(pattern(1 << 20))
        assert pool.submit(tasks.echo, Registered(data)).result() == Holder(data)
    finally:
        copyreg.dispatch_table.pop(Registered, None)
        ForkingPickler._extra_reducers.pop(Registered, None)


blobs = st.builds(
    lambda kind, size, seed: kind(pattern(size, seed)),
    st.sampled_from([bytes, bytearray, lambda data: Holder(data), lambda data: Holder(bytearray(data)), bytes.hex]),
    st.sampled_from(SIZES),
    st.integers(0, 9),
)
leaves = st.one_of(st.none(), st.integers(), st.text(), st.floats(allow_nan=False), blobs)
structures = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(thing=structures)
@settings(max_examples=60, deadline=None, suppress_health_check=ordinary)
def test_any_structure(pool, thing):
    assert pool.submit(tasks.echo, thing).result() == pickled(thing)
