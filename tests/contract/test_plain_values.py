"""Numbers and short texts, alone and as the arguments of a call: exactly what was sent, whatever their size."""

import itertools
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import tasks

POWERS = [sign * (1 << bits) for bits in (8, 16, 31, 32, 63) for sign in (1, -1)]
NUMBERS = [0, -1, 2.5, -0.0, math.inf, 10**20, *POWERS, *(power - 1 for power in POWERS)]
SIZES = [0, 1, 2, 255, 256, 8191, 8192, 8193, 65535, 65536]
TEXTS = [*(b"b" * size for size in SIZES), *("s" * size for size in SIZES), "é", "€" * 300, "\ud800", bytearray(b"x")]
OTHERS = [None, True, False, 1j, (), (1,), [1], {}, ...]
VALUES = NUMBERS + TEXTS + OTHERS

atoms = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.binary(), st.text())


def exact(value):
    """Tells apart what is equal: 1, 1.0 and True; 0.0 and -0.0."""
    return repr(value)


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_alone(pool, number):
    value = VALUES[number]
    assert exact(pool.submit(tasks.echo, value).result()) == exact(value)
    assert exact(pool.submit(tasks.everything, value).result()) == exact(((value,), {}))


def test_pairs(pool):
    pairs = list(itertools.product(NUMBERS[:8] + TEXTS[::3] + OTHERS, repeat=2))
    results = [future.result() for future in [pool.submit(tasks.echo, pair) for pair in pairs]]
    assert list(map(exact, results)) == list(map(exact, pairs))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(atoms, max_size=5), st.dictionaries(st.text("abc", min_size=1), atoms, max_size=2))
def test_any_arguments(pool, args, kwargs):
    assert exact(pool.submit(tasks.everything, *args, **kwargs).result()) == exact((tuple(args), kwargs))


@pytest.mark.parametrize("text", ["some text", b"some bytes", "t" * 10_000, b"b" * 10_000])
def test_the_same_object_twice_arrives_as_one(pool, text):
    assert pool.submit(tasks.are_one_object, text, text).result()
    assert pool.submit(tasks.are_one_object, 1, text, text).result()
    one, other = pool.submit(tasks.echo, (text, text)).result()
    assert one is other


def test_nan(pool):
    assert math.isnan(pool.submit(tasks.echo, math.nan).result())


class Number(int):
    pass


class Text(str):
    pass


@pytest.mark.parametrize("value", [Number(3), Text("three")])
def test_subclasses_stay_what_they_are(pool, value):
    assert type(pool.submit(tasks.echo, value).result()) is type(value)
