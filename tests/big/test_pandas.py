"""DataFrames arrive as pickle alone would deliver them, their blocks out of band."""

import pickle
import tracemalloc

import pytest

from support import tasks

pandas = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")


ROWS = 20_000


def mixed():
    return pandas.DataFrame(
        {
            "number": np.arange(ROWS) / 3,
            "integer": np.arange(ROWS),
            "small": np.arange(ROWS, dtype="int16"),
            "flag": np.arange(ROWS) % 3 == 0,
            "text": [f"name {number % 97}" for number in range(ROWS)],
            "kind": pandas.Categorical([f"kind {number % 5}" for number in range(ROWS)]),
            "time": pandas.date_range("2020-01-01", periods=ROWS, freq="min", tz="Europe/Paris"),
            "span": pandas.to_timedelta(np.arange(ROWS), unit="s"),
            "optional": pandas.array([None if number % 7 == 0 else number for number in range(ROWS)], dtype="Int64"),
        }
    )


FRAMES = {
    "mixed": mixed,
    "rows of it": lambda: mixed().iloc[100:15_000:3],
    "columns of it": lambda: mixed()[["integer", "text"]],
    "indexed": lambda: mixed().set_index(["kind", "integer"]),
    "one block": lambda: pandas.DataFrame(np.arange(4.0 * ROWS).reshape(ROWS, 4), columns=list("abcd")),
    "empty": lambda: pandas.DataFrame({"a": np.zeros(0), "b": np.zeros(0, "i8")}),
    "series": lambda: mixed()["number"],
    "index": lambda: pandas.Index(np.arange(ROWS)),
}


def same(one, other):
    check = {
        pandas.DataFrame: pandas.testing.assert_frame_equal,
        pandas.Series: pandas.testing.assert_series_equal,
    }.get(type(one), pandas.testing.assert_index_equal)
    check(one, other)


def total_after_change(frame):
    frame.loc[:, "number"] = 1.0
    frame["new"] = 2
    return frame["number"].sum(), frame["new"].sum()


def aggregated(frame):
    return frame.groupby("kind", observed=True).agg({"number": "sum", "text": "count"})


@pytest.mark.parametrize("name", FRAMES)
def test_round_trip(pool, name):
    value = FRAMES[name]()
    same(pool.submit(tasks.echo, value).result(), pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)))


def test_many_in_one_call(pool):
    value = {name: make() for name, make in FRAMES.items()}
    result = pool.submit(tasks.echo, [value, value]).result()
    assert result[0] is result[1]
    for name, frame in value.items():
        same(result[0][name], frame)


def test_a_task_may_change_what_it_gets(pool):
    value = mixed()
    assert pool.submit(total_after_change, value).result() == (ROWS, 2 * ROWS)
    same(value, mixed())
    result = pool.submit(tasks.echo, value).result()
    result.loc[:, "number"] = 0.0
    assert result["number"].sum() == 0


def test_pieces(pool):
    whole = mixed()
    pieces = [whole.iloc[start : start + ROWS // 5] for start in range(0, ROWS, ROWS // 5)]
    for result, piece in zip(pool.map(aggregated, pieces), pieces, strict=True):
        same(result, aggregated(piece))


def total(frame):
    return frame.to_numpy().sum()


@pytest.mark.fastpool_only("the standard library copies several times")
def test_pieces_are_not_copied_before_they_are_sent(pool):
    """Nor by pandas, which from 3.1 on does so for protocol 5."""
    rows = 1 << 20
    piece = pandas.DataFrame({name: np.ones(3 * rows) for name in "abcd"}).copy().iloc[rows : 2 * rows]
    tracemalloc.start()
    try:
        assert pool.submit(total, piece).result() == 4 * rows
        assert tracemalloc.get_traced_memory()[1] < 8 * rows
    finally:
        tracemalloc.stop()


def slices(rows):
    piece = pandas.DataFrame(np.arange(8.0 * ROWS).reshape(-1, 8)).copy().iloc[50 : 50 + rows]
    return piece, piece.astype(float)


def change_the_second(first, second):
    second.iloc[0, 0] = -1.0
    return first, second


@pytest.mark.fastpool_only("with protocol 4, which is the standard library's, they arrive with the same values")
@pytest.mark.parametrize("rows", [100, 20_000])
def test_slices_that_share_memory(pool, rows):
    """Of two frames with the same values one may change where both arrive, and the other does not."""
    piece, _ = slices(rows)
    first, second = pool.submit(change_the_second, *slices(rows)).result()
    assert (first.iloc[0, 0], second.iloc[0, 0]) == (400.0, -1.0)
    again, other = pool.submit(slices, rows).result()
    other.iloc[0, 0] = -1.0
    same(again, piece)


@pytest.mark.fastpool_only("the standard library has nothing like it")
@pytest.mark.parametrize("step", [1, 2, -1])
def test_shared_slice(lib, step):
    piece = pandas.DataFrame({name: np.arange(8.0 * ROWS) for name in "abcd"}).copy().iloc[10 : 6 * ROWS].iloc[::step]
    value = lib.share(piece).value
    same(value, piece)
    assert not value._mgr.blocks[0].values.flags.writeable


@pytest.mark.fastpool_only("the standard library has nothing like it")
def test_shared(lib, pool):
    value = mixed()
    same(pool.submit(aggregated_value, lib.share(value)).result(), aggregated(value))


def aggregated_value(shared):
    return aggregated(shared.value)
