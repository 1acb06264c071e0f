"""Tables read as numbers and written back: every dtype, hole, library, and each refusal."""

from __future__ import annotations

import copy
import datetime
import decimal
import json
import pickle
import subprocess
import sys
import time

import frames
import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skvae.tables.format import ColumnFormat, TableFormat, frame_kind

NAN = np.nan


def there_and_back(X, **options):
    looks = TableFormat.fit(X, **options)
    return looks.write(looks.read(X), like=X)


def kinds_of(X, **options) -> list[str]:
    return [column.kind for column in TableFormat.fit(X, **options).columns]


# Round trips


@given(frames.pandas_frames())
def test_pandas_frames_come_back(X):
    looks = TableFormat.fit(X)
    values = looks.read(X)
    assert values.shape == X.shape
    np.testing.assert_array_equal(np.isnan(values), X.isna().to_numpy())
    pd.testing.assert_frame_equal(looks.write(values, like=X), X)
    plain = X.reset_index(drop=True)
    pd.testing.assert_frame_equal(looks.write(values), plain, check_column_type=False)


@given(frames.polars_frames())
def test_polars_frames_come_back(X):
    looks = TableFormat.fit(X)
    values = looks.read(X)
    missing = np.stack([column.is_null().to_numpy() for column in X], axis=1)
    np.testing.assert_array_equal(np.isnan(values), missing)
    for back in (looks.write(values), looks.write(values, like=X)):
        polars.testing.assert_frame_equal(back, X, check_exact=True)


@given(frames.arrow_tables())
def test_arrow_tables_come_back(X):
    looks = TableFormat.fit(X)
    values = looks.read(X)
    for back in (looks.write(values), looks.write(values, like=X)):
        assert back.schema.equals(X.schema)
        assert back.equals(X.unify_dictionaries())


@given(st.one_of(frames.pandas_frames(), frames.polars_frames(), frames.arrow_tables()))
def test_state_is_json(X):
    looks = TableFormat.fit(X)
    again = TableFormat.from_state(json.loads(json.dumps(looks.to_state(), allow_nan=False)))
    assert again == looks
    assert repr(again) == repr(looks)  # True is not 1 here
    for copied in (pickle.loads(pickle.dumps(looks)), copy.deepcopy(looks)):
        assert copied == looks


@given(frames.pandas_frames(max_rows=5), frames.pandas_frames(max_rows=5))
def test_the_way_through_another_library_keeps_the_numbers(X, other):
    """A frame is read alike from pandas and from pyarrow, where pyarrow takes it."""
    X.columns = [f"c{j}" for j in range(X.shape[1])]
    try:
        table = pa.Table.from_pandas(X, preserve_index=False)
    except pa.ArrowInvalid:  # objects of several types
        return
    looks = TableFormat.fit(X)
    np.testing.assert_array_equal(looks.read(table), looks.read(X))


def test_object_arrays_come_back():
    X = np.array(
        [
            ["b", 1.5, 3, True, datetime.date(2020, 2, 29), None],
            ["a", None, 4, False, None, None],
            [None, 2.5, 5, None, datetime.date(1969, 12, 31), None],
        ],
        dtype=object,
    )
    looks = TableFormat.fit(X)
    assert kinds_of(X) == ["categorical", "numeric", "integer", "boolean", "datetime", "numeric"]
    assert not looks.is_plain
    values = looks.read(X)
    np.testing.assert_array_equal(values[:, 0], [1.0, 0.0, NAN])
    for back in (looks.write(values), looks.write(values, like=X)):
        assert back.dtype == object
        assert pd.DataFrame(back).equals(pd.DataFrame(X))
    assert [type(cell) for cell in looks.write(values)[0]] == [*map(type, X[0, :5]), type(None)]


def test_lists_of_lists_keep_the_types_of_cells():
    looks = TableFormat.fit([["a", 1], ["b", 2]])
    assert [column.kind for column in looks.columns] == ["categorical", "integer"]
    np.testing.assert_array_equal(looks.read([["b", 1]]), [[1.0, 1.0]])
    assert TableFormat.fit([[1.0, 2.0]]).is_plain


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "D", "h"])
@pytest.mark.parametrize("letter", ["M", "m"])
def test_arrays_of_times_come_back(letter, unit):
    X = np.array([[1, 2], [3, -4]]).view(f"{letter}8[{unit}]")
    X[1, 1] = "NaT"
    back = there_and_back(X)
    np.testing.assert_array_equal(back, X, strict=True)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint64", "bool", "object"])
def test_arrays_of_numbers_come_back_as_floats(dtype):
    X = np.array([[0, 1], [1, 0]], dtype)
    looks = TableFormat.fit(X)
    assert looks.is_plain
    assert looks.names is None
    values = looks.read(X)
    np.testing.assert_array_equal(values, X.astype(np.float64), strict=True)
    assert looks.write(values) is values
    np.testing.assert_array_equal(looks.write(values + 0.25), values + 0.25)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_arrays_are_not_copied(dtype):
    X = np.ones((4, 3), dtype)
    looks = TableFormat.fit(X)
    assert looks.dtype == dtype
    assert looks.read(X) is X
    assert looks.write(X) is X
    assert looks.write(X, like=X) is X
    other = X.astype({"float32": "float64", "float64": "float32"}[dtype])
    assert looks.read(other) is other
    assert looks.write(X, like=other).dtype == other.dtype


def test_wide_arrays_are_cheap():
    X = np.zeros((2, 10_000))
    begun = time.perf_counter()
    looks = TableFormat.fit(X)
    looks.write(looks.read(X))
    assert time.perf_counter() - begun < 0.02
    assert len(json.dumps(looks.to_state())) < 1000
    assert TableFormat.from_state(looks.to_state()) == looks


def test_float_frames_are_not_copied():
    X = pd.DataFrame(np.ones((4, 3)))
    assert np.shares_memory(TableFormat.fit(X).read(X), X.to_numpy())


def test_single_precision_stays():
    for X in (
        pd.DataFrame({"a": np.ones(3, "float32"), "b": np.ones(3, "float32")}),
        pl.DataFrame({"a": np.ones(3, "float32")}),
        pa.table({"a": np.ones(3, "float32")}),
    ):
        looks = TableFormat.fit(X)
        assert looks.dtype == "float32"
        assert looks.read(X).dtype == np.float32
    assert TableFormat.fit(pd.DataFrame({"a": np.ones(3, "float32"), "b": ["x"] * 3})).dtype == (
        "float64"
    )


# What kinds there are


def test_kinds_and_labels_of_pandas():
    X = pd.DataFrame(
        {
            "number": [1.0, NAN],
            "count": [1, 2],
            "yes": [True, False],
            "text": ["b", "a"],
            "group": pd.Categorical(["y", "x"], ["y", "z", "x"]),
            "rank": pd.Categorical(["low", None], ["low", "high"], ordered=True),
            "when": pd.to_datetime(["2020-01-01", None]),
            "long": pd.to_timedelta([1, 2], unit="s"),
        }
    )
    looks = TableFormat.fit(X)
    expected = "numeric integer boolean categorical categorical ordinal datetime duration".split()
    assert [column.kind for column in looks.columns] == expected
    labels = [column.labels for column in looks.columns]
    truth, text = (False, True), ("a", "b")
    assert labels == [None, None, truth, text, ("y", "z", "x"), ("low", "high"), None, None]
    assert looks.names == list(X)
    assert not any(column.stated for column in looks.columns)
    values = looks.read(X)
    np.testing.assert_array_equal(
        values[:, [2, 3, 4, 5]], [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, NAN]]
    )
    assert values[0, 6] == pd.Timestamp("2020-01-01").timestamp()
    assert values[1, 7] == 2.0


def test_stated_kinds():
    X = pd.DataFrame({"zip": [75001, 10115, 75001], "n": [1.0, 2.0, NAN], "y": [0, 1, 1]})
    looks = TableFormat.fit(X, {"zip": "categorical", 1: "integer", "y": "binary"})
    assert [column.kind for column in looks.columns] == ["categorical", "integer", "boolean"]
    assert looks.columns[0].labels == (10115, 75001)
    assert all(column.stated for column in looks.columns)
    values = looks.read(X)
    pd.testing.assert_frame_equal(looks.write(values), X)
    written = looks.write(values + 0.3)
    pd.testing.assert_frame_equal(written, X)


def test_stated_kinds_of_arrays():
    X = np.array([[0.5, 3.0, 1.0], [1.5, 7.0, 2.0]])
    looks = TableFormat.fit(X, {1: "categorical", 2: "integer"})
    assert looks.columns[1].labels == (3.0, 7.0)
    assert not looks.is_plain
    values = looks.read(X)
    np.testing.assert_array_equal(values[:, 1], [0.0, 1.0])
    np.testing.assert_array_equal(looks.write(values), X, strict=True)
    written = looks.write(values + 0.25)
    np.testing.assert_array_equal(written, X + np.array([0.25, 0.0, 0.0]))
    assert TableFormat.fit(X, {1: "numeric"}).is_plain
    assert TableFormat.fit(X, {}).is_plain


def test_stated_numbers_and_times():
    X = pd.DataFrame({"yes": [True, False], "t": [0, 86400]})
    looks = TableFormat.fit(X, {"yes": "numeric", "t": "datetime"})
    assert [column.kind for column in looks.columns] == ["numeric", "datetime"]
    pd.testing.assert_frame_equal(looks.write(looks.read(X)), X)
    looks = TableFormat.fit(pd.DataFrame({3: ["a"], 0: ["b"]}), {0: "ordinal"})  # a name
    assert [column.kind for column in looks.columns] == ["categorical", "ordinal"]


@pytest.mark.parametrize(
    ("kinds", "error", "said"),
    [
        ({"z": "numeric"}, ValueError, "'z', which X does not have: names are 'a', 'b'"),
        ({2: "numeric"}, ValueError, "positions go from 0 to 1"),
        ({True: "numeric"}, ValueError, "True, which X does not have"),
        ({"a": "number"}, ValueError, "'a' must be one of numeric, integer, boolean"),
        ({"a": 3}, ValueError, "got 3"),
        ({"a": "numeric", 0: "integer"}, ValueError, "contains two types"),
        ({"a": "boolean"}, ValueError, "column 'a' of X cannot be boolean: it has 3 labels"),
        ({"b": "numeric"}, TypeError, r"column 'b' of X contains labels \('x'\), .*to_numeric"),
        ({"b": "datetime"}, TypeError, "to_datetime"),
        (["categorical"], TypeError, "kinds must be a mapping"),
    ],
)
def test_stated_kinds_that_cannot_be(kinds, error, said):
    X = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    with pytest.raises(error, match=said):
        TableFormat.fit(X, kinds)


def test_times_are_no_classes_and_no_numbers():
    X = pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])})
    with pytest.raises(TypeError, match="convert them to strings"):
        TableFormat.fit(X, {"t": "categorical"})
    with pytest.raises(TypeError, match="cannot be numeric"):
        TableFormat.fit(X, {"t": "numeric"})


# Tables seen later


def test_categories_match_by_label():
    X = pd.DataFrame({"c": pd.Categorical(["a", "b"], ["a", "b", "c"])})
    looks = TableFormat.fit(X)
    later = pd.DataFrame({"c": pd.Categorical(["a", "c"], ["c", "a", "never"])})
    np.testing.assert_array_equal(looks.read(later), [[0.0], [2.0]])


def test_labels_match_by_value_across_libraries():
    X = pd.DataFrame({"n": [1, 2], "yes": [True, False], "t": ["x", "y"]})
    looks = TableFormat.fit(X, {"n": "categorical"})
    expected = looks.read(X)
    cells = [[1.0, 1, "x"], [2.0, 0, "y"]]
    np.testing.assert_array_equal(looks.read(cells), expected)
    np.testing.assert_array_equal(looks.read(pl.from_pandas(X)), expected)
    np.testing.assert_array_equal(looks.read(pa.Table.from_pandas(X)), expected)
    with pytest.raises(ValueError, match="column 'n' of X contains '1', '2', which did not occur"):
        looks.read(X.astype({"n": str}))
    with pytest.raises(ValueError, match="contains 5, 7, 8 and 1 more"):
        looks.read([[k, True, "x"] for k in (5, 7, 8, 9)])


def test_unknown_labels():
    X = pd.DataFrame({"c": ["a", "b"], "x": [1.0, 2.0]})
    looks = TableFormat.fit(X)
    later = pd.DataFrame({"c": ["b", "new", None], "x": [1.0, NAN, 2.0]})
    with pytest.raises(ValueError, match=r"column 'c' .* 'new', .* handle_unknown=\"missing\""):
        looks.read(later)
    values = looks.read(later, handle_unknown="missing")
    np.testing.assert_array_equal(values, [[1.0, 1.0], [NAN, NAN], [NAN, 2.0]])
    with pytest.raises(ValueError, match="handle_unknown must be"):
        looks.read(later, handle_unknown="ignore")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["1.5", "2"], "contains categorical values .'1.5'., but contained numeric values in fit"),
        (pd.to_datetime(["2020-01-01"] * 2), "contains datetime values .15778"),
    ],
)
def test_other_cells_than_in_the_fit(column, said):
    looks = TableFormat.fit(pd.DataFrame({"x": [1.0, 2.0]}))
    with pytest.raises(TypeError, match=f"column 'x' of X {said}"):
        looks.read(pd.DataFrame({"x": column}))


def test_times_want_times_but_arrays_hold_seconds():
    X = pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None]), "x": [1.0, 2.0]})
    looks = TableFormat.fit(X)
    values = looks.read(X)
    np.testing.assert_array_equal(looks.read(values), values)
    with pytest.raises(TypeError, match="column 't' of X contains numeric values"):
        looks.read(X.assign(t=[3.0, 4.0]))
    with pytest.raises(TypeError, match="column 't' of X contains boolean values"):
        looks.read(X.assign(t=[True, False]))
    np.testing.assert_array_equal(looks.read(X.assign(t=[NAN, NAN]))[:, 0], [NAN, NAN])
    with pytest.raises(TypeError, match="column 'c' of X contains datetime values"):
        TableFormat.fit(pd.DataFrame({"c": ["a"]})).read(X[["t"]].rename(columns={"t": "c"}))


def test_columns_that_are_all_missing():
    X = pd.DataFrame(
        {"x": [NAN] * 2, "o": pd.Series([None] * 2, dtype=object), "c": pd.Categorical([None] * 2)}
    )
    looks = TableFormat.fit(X)
    assert [column.kind for column in looks.columns] == ["numeric", "numeric", "categorical"]
    assert looks.columns[2].labels == ()
    pd.testing.assert_frame_equal(looks.write(looks.read(X)), X)
    assert looks.write(np.ones((2, 3)))["c"].isna().all()
    later = pd.DataFrame({"x": [None, None], "o": [1.0, 2.0], "c": [NAN, NAN]})
    np.testing.assert_array_equal(looks.read(later)[:, 1], [1.0, 2.0])


def test_booleans_and_numbered_categories_are_numbers_where_numbers_were():
    looks = TableFormat.fit(pd.DataFrame({"a": [1.0], "b": [2]}))
    later = pd.DataFrame({"a": [True, False], "b": pd.Categorical([5, None])})
    np.testing.assert_array_equal(looks.read(later), [[1.0, 5.0], [0.0, NAN]])


def test_infinity_and_empty_strings_are_kept():
    X = pd.DataFrame({"x": [np.inf, -np.inf], "t": ["", "a"]})
    looks = TableFormat.fit(X)
    np.testing.assert_array_equal(looks.read(X), [[np.inf, 0.0], [-np.inf, 1.0]])


def test_nan_in_polars_is_missing():
    X = pl.DataFrame({"x": [1.0, NAN, None]})
    looks = TableFormat.fit(X)
    np.testing.assert_array_equal(looks.read(X), [[1.0], [NAN], [NAN]])
    assert looks.write(looks.read(X))["x"].to_list() == [1.0, None, None]


def test_masked_arrays_are_holes():
    X = np.ma.MaskedArray([[1, 2], [3, 4]], [[False, True], [False, False]])
    np.testing.assert_array_equal(TableFormat.fit(X).read(X), [[1.0, NAN], [3.0, 4.0]])
    texts = np.ma.MaskedArray(np.array([["a"], ["b"]], object), [[True], [False]])
    np.testing.assert_array_equal(TableFormat.fit(texts).read(texts), [[NAN], [0.0]])


# Writing


def test_pandas_without_a_missing_value():
    X = pd.DataFrame({"n": [1, 2], "yes": [True, False], "N": pd.array([1, 2], dtype="Int8")})
    written = TableFormat.fit(X).write(np.array([[1.0, 1.0, 1.0], [NAN, NAN, NAN]]))
    assert [str(dtype) for dtype in written.dtypes] == ["float64", "object", "Int8"]
    assert written.loc[0].tolist() == [1.0, True, 1]
    assert written.isna().loc[1].all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "Int16", "int32[pyarrow]"])
def test_integers_are_rounded_and_stay_in_range(dtype):
    X = pd.DataFrame({"n": pd.Series([1, 2], dtype=dtype)})
    looks = TableFormat.fit(X)
    written = looks.write(np.array([[1e30], [-1e30], [1.6]]))["n"]
    assert written.dtype == X["n"].dtype
    info = np.iinfo(dtype.lower().removesuffix("[pyarrow]"))
    assert written[0] == pytest.approx(info.max)
    assert written[1] == info.min
    assert written[2] == 2


@pytest.mark.parametrize("unit", frames.UNITS)
def test_times_stay_in_range(unit):
    X = pd.DataFrame({"t": pd.to_datetime(["2020-01-01"]).as_unit(unit)})
    written = TableFormat.fit(X).write(np.array([[1e300], [-np.inf]]))["t"].to_numpy().view("i8")
    assert written[0] > 4e18
    assert written[1] < -4e18
    objects = pd.DataFrame({"d": [datetime.date(2020, 1, 1)]})
    written = TableFormat.fit(objects).write(np.array([[1e300], [-1e300]]))["d"].tolist()
    assert written == [datetime.date(9999, 12, 31), datetime.date(1, 1, 1)]


def test_spans_of_a_few_nanoseconds_are_kept():
    X = pd.DataFrame({"t": pd.to_timedelta([1, -7, 123_456_789], unit="ns")})
    pd.testing.assert_frame_equal(there_and_back(X), X)


def test_spans_as_objects_come_back():
    spans = [datetime.timedelta(days=-3, microseconds=5), None, datetime.timedelta(hours=7)]
    X = pd.DataFrame({"s": pd.Series(spans, dtype=object)})
    pd.testing.assert_frame_equal(there_and_back(X), X)
    moments = [datetime.datetime(1960, 1, 2, 3, 4, 5, 6), pd.NaT]
    X = pd.DataFrame({"m": pd.Series(moments, dtype=object)})
    pd.testing.assert_frame_equal(there_and_back(X), X)


def test_classes_are_those_of_the_nearest_number():
    X = pl.DataFrame({"c": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b", "c"]))})
    written = TableFormat.fit(X).write(np.array([[-7.0], [0.4], [1.6], [99.0], [NAN]]))
    assert written["c"].to_list() == ["a", "a", "c", "c", None]
    assert written.schema == X.schema


def test_written_beside_another_table():
    X = pd.DataFrame({"x": [0.5, 1.5], "n": [1, 2], "c": ["a", "b"], "t": ["2020-01-01"] * 2})
    X["t"] = pd.to_datetime(X["t"])
    looks = TableFormat.fit(X)
    values = looks.read(X)
    later = X.astype({"x": "float32", "c": "category"}).set_index(pd.Index(["u", "v"], name="i"))
    pd.testing.assert_frame_equal(looks.write(values, like=later), later)
    fewer = later.assign(c=pd.Categorical(["a", "a"], ["a"]), n=[1.0, NAN])
    written = looks.write(values, like=fewer)
    assert written["c"].tolist() == ["a", "b"]
    assert written["n"].tolist() == [1.0, 2.0]
    assert str(written["n"].dtype) == "float64"
    whole = X.assign(x=[1, 2])  # a number that happens to be whole
    assert looks.write(values, like=whole)["x"].tolist() == [0.5, 1.5]
    other = pl.from_pandas(X)
    assert looks.write(values, like=other).equals(other)
    arrow = looks.write(values, like=pa.Table.from_pandas(X, preserve_index=False))
    assert arrow.column("c").to_pylist() == ["a", "b"]
    cells = looks.write(values, like=X.to_numpy(dtype=object))
    assert cells[1].tolist() == [1.5, 2, "b", X["t"][1].to_pydatetime()]


def test_an_array_written_as_a_frame():
    X = np.array([[0.5, 3.0], [1.5, 7.0]])
    frame = pd.DataFrame(X, columns=["a", "b"], index=[5, 6])
    looks = TableFormat.fit(X)
    pd.testing.assert_frame_equal(looks.write(X, like=frame), frame)
    assert looks.write(X, like=pl.DataFrame(X)).equals(pl.DataFrame(X))
    looks = TableFormat.fit(X, {1: "categorical"})
    pd.testing.assert_frame_equal(looks.write(looks.read(X), like=frame), frame)
    np.testing.assert_array_equal(looks.write(looks.read(X), like=X), X, strict=True)
    looks = TableFormat.fit(pl.DataFrame(X))
    np.testing.assert_array_equal(looks.write(X, like=X), X, strict=True)


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, pa.table])
def test_every_kind_has_a_dtype_in_every_library(container):
    ranks = pd.Categorical(["lo", None], ["lo", "hi"], ordered=True)
    times = {"t": pd.to_datetime(["2020-01-01", None]), "s": pd.to_timedelta([1, None], unit="s")}
    numbers = {"x": [0.5, NAN], "n": pd.array([1, None], dtype="Int64")}
    classes = {"c": ["a", None], "o": ranks, "b": pd.array([True, None], dtype="boolean")}
    X = pd.DataFrame(numbers | classes | times)
    looks = TableFormat.fit(X)
    # nothing to go by: whole columns of numbers where something else belongs
    like = container({name: [0.5, 1.5] for name in X})
    values = looks.read(X)
    written = looks.write(values, like=like)
    assert frame_kind(written) == frame_kind(like)
    if container is pd.DataFrame:  # a dtype of floats holds integers and booleans, too
        pd.testing.assert_frame_equal(written, X.astype({"n": float, "b": float}))
    np.testing.assert_array_equal(looks.read(written), values)
    found = TableFormat.fit(written)
    assert found.names == list(X)
    assert [column.labels for column in found.columns[2:4]] == [("a",), ("lo", "hi")]
    assert [column.kind for column in found.columns[5:]] == ["datetime", "duration"]


def test_frames_of_polars_written_as_pandas():
    """Where no dtype fits, pandas gets its usual ones."""
    X = pl.DataFrame(
        {
            "x": [0.5, None],
            "n": [1, 2],
            "b": [True, False],
            "c": ["a", None],
            "e": pl.Series(["u", "v"], dtype=pl.Enum(["v", "u"])),
            "t": [datetime.datetime(2020, 1, 1), None],
            "s": [datetime.timedelta(1), None],
            "k": [3, 7],
        }
    )
    looks = TableFormat.fit(X, {"e": "ordinal", "k": "categorical"})
    values = looks.read(X)
    # strings where there are numbers, numbers where there are strings: of no use
    like = pd.DataFrame(
        {name: ["text"] * 2 for name in X.columns} | {name: [0.5, 1.5] for name in "ce"}
    )
    written = looks.write(values, like=like.set_index(pd.Index([7, 8])))
    dtypes = "float64 int64 bool str category datetime64[us] timedelta64[us] category".split()
    assert [str(dtype) for dtype in written.dtypes] == dtypes
    assert written["e"].cat.ordered
    assert written["k"].tolist() == [3, 7]
    assert written.index.tolist() == [7, 8]
    np.testing.assert_array_equal(looks.read(written), values)
    texts = pd.DataFrame({name: ["text"] * 2 for name in X.columns})
    arrow = looks.write(values, like=pa.Table.from_pandas(texts))
    np.testing.assert_array_equal(looks.read(arrow), values)
    again = TableFormat.fit(arrow, {"k": "categorical"})
    polars_again = again.write(again.read(arrow), like=X)
    polars.testing.assert_frame_equal(polars_again, X)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.5, None], pa.float16()),
        pa.array([datetime.date(1969, 12, 31), None], pa.date64()),
        pa.array([1, None, 2], pa.timestamp("s")),
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), ["lo", "hi"], ordered=True),
        pa.DictionaryArray.from_arrays(pa.array([1, 0]), [5, 7]),
    ],
    ids=lambda column: str(column.type),
)
def test_further_types_of_arrow(column):
    X = pa.table({"a": column})
    assert there_and_back(X).equals(X)
    backed = pd.DataFrame({"a": pd.array(column, dtype=pd.ArrowDtype(column.type))})
    pd.testing.assert_frame_equal(there_and_back(backed), backed)


def test_frames_of_single_precision_may_hold_none():
    X = pd.DataFrame({"a": pd.array([1.5, None], dtype="Float32")})
    assert TableFormat.fit(X).read(X).dtype == np.float32
    pd.testing.assert_frame_equal(there_and_back(X), X)
    objects = pd.DataFrame({"a": pd.Categorical(["u", None], pd.Index(["v", "u"], dtype=object))})
    pd.testing.assert_frame_equal(there_and_back(objects), objects)


def test_wrong_shapes():
    looks = TableFormat.fit(np.ones((3, 2)))
    with pytest.raises(ValueError, match="X has 3 columns, but the table of the fit had 2"):
        looks.read(np.ones((3, 3)))
    with pytest.raises(ValueError, match="1 columns"):
        looks.write(np.ones((3, 1)))
    with pytest.raises(ValueError, match="like has 4 rows, but there are 3"):
        looks.write(np.ones((3, 2)), like=np.ones((4, 2)))


# What is no table, or one that cannot be read


@pytest.mark.parametrize(
    ("X", "error", "said"),
    [
        (None, TypeError, "got None"),
        (3, TypeError, "got a int"),
        (pl.LazyFrame({"a": [1]}), TypeError, r"lazy .* X.collect\(\)"),
        (
            sparse.csr_matrix(np.eye(2)),
            TypeError,
            r"sparse .* pass the original frame.* X.toarray\(\)",
        ),
        (np.ones(3), ValueError, "Expected 2D array, got 1D array instead"),
        (pd.Series([1.0]), ValueError, "Expected 2D"),
        (pl.Series([1.0]), ValueError, "Expected 2D"),
        ([[1.0], [1.0, 2.0]], ValueError, "different lengths"),
        (np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        (pd.DataFrame({"z": [1j]}), ValueError, "Complex data not supported"),
        (np.zeros((2, 1), [("a", float)]), TypeError, "structured"),
        (np.array([[b"a"]]), TypeError, "array of |S1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "several columns named 'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), ValueError, "several columns named 'a'"),
        (
            pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            TypeError,
            "MultiIndex",
        ),
        (pd.DataFrame([[1]], columns=[datetime.date(2020, 1, 1)]), TypeError, "astype.str"),
    ],
    ids=str,
)
def test_no_tables(X, error, said):
    with pytest.raises(error, match=said):
        TableFormat.fit(X)


INTERVALS = pd.cut(pd.Series([1.0, 2.0]), 2)


@pytest.mark.parametrize(
    ("column", "error", "said"),
    [
        (["a", 1], TypeError, r"integer \(1\) and text \('a'\)"),
        ([{"a": 1}, 2.0], TypeError, "a dict, but each argument must be a string or a number"),
        ([[1], [2]], TypeError, "a list, but"),
        ([True, 2], TypeError, "bool .* and integer"),
        ([10**400, 1], ValueError, "too large for float64"),
        ([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)], TypeError, "time zone"),
        ([f"id {i}" for i in range(1001)], ValueError, "1001 labels, .* drop it .*, or group"),
        (pd.Categorical(["a"], [str(i) for i in range(2000)] + ["a"]), ValueError, "2001 labels"),
        (
            pd.DatetimeIndex(["2020"]).tz_localize("dateutil/Europe/Paris"),
            TypeError,
            "use a named time zone",
        ),
        (INTERVALS, TypeError, "Interval.* convert its labels to strings"),
        (pd.period_range("2020", periods=2, freq="M"), TypeError, r"dtype period\[M\]"),
        (pd.arrays.SparseArray([1.0, 0.0]), TypeError, "dtype Sparse"),
        (pl.Series([[1], [2]]), TypeError, "dtype List"),
        (pl.Series([decimal.Decimal("1.5")]), TypeError, "Decimal.* cast it to pl.Float64"),
        (pl.Series([datetime.time(1)]), TypeError, "dtype Time"),
        (pl.Series(["a"], dtype=pl.Categorical(pl.Categories("own"))), TypeError, "pl.Enum"),
        (pa.array([decimal.Decimal("1.5")]), TypeError, "decimal128.* floating"),
        (pa.array([[1]]), TypeError, "list<"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_columns_that_cannot_be_read(column, error, said):
    if isinstance(column, pl.Series):
        X = pl.DataFrame({"odd": column})
    elif isinstance(column, pa.Array):
        X = pa.table({"odd": column})
    else:
        column = pd.Series(column, dtype=object) if isinstance(column, list) else column
        X = pd.DataFrame({"odd": column})
    with pytest.raises(error, match=f"column 'odd' of X .*{said}"):
        looks = TableFormat.fit(X)
        looks.read(X)


def test_a_thousand_labels_are_few_enough():
    X = pd.DataFrame({"c": [f"label {i}" for i in range(1000)]})
    assert len(TableFormat.fit(X).columns[0].labels) == 1000


def test_array_columns_are_named_by_number():
    with pytest.raises(TypeError, match="column 1 of X contains"):
        TableFormat.fit(np.array([[1.0, "a"], [2.0, 3]], object))


# Other frames


class Protocol:
    """A frame of a library that is not known here."""

    def __init__(self, frame, method):
        self.frame = frame
        setattr(type(self), method, lambda self, *a, **k: getattr(self.frame, method)(*a, **k))


@pytest.mark.parametrize("method", ["__arrow_c_stream__", "__dataframe__"])
def test_frames_of_other_libraries_are_read_by_arrow(method):
    X = pa.table({"a": [1.5, None], "b": ["x", "y"]})
    other = type("Other", (Protocol,), {})(X, method)
    assert frame_kind(other) == "pyarrow"
    looks = TableFormat.fit(other)
    assert looks.write(looks.read(other)).to_pydict() == X.to_pydict()


def test_what_a_table_is():
    assert frame_kind(np.ones(3)) == frame_kind([[1]]) == "array"
    assert frame_kind(pd.DataFrame()) == "pandas"
    assert frame_kind(pl.DataFrame()) == "polars"
    assert frame_kind(pa.table({})) == "pyarrow"
    assert frame_kind(pa.record_batch({"a": [1]})) == "pyarrow"
    assert frame_kind("text") is None
    assert frame_kind(pl.LazyFrame()) is None
    batch = pa.record_batch({"a": [1.5]})
    assert there_and_back(batch).column("a").to_pylist() == [1.5]


def test_several_dictionaries_of_arrow_are_one():
    parts = [pa.array(cells).dictionary_encode() for cells in (["a", "b"], ["c", "a", None])]
    X = pa.table({"c": pa.chunked_array(parts)})
    looks = TableFormat.fit(X)
    assert looks.columns[0].labels == ("a", "b", "c")
    np.testing.assert_array_equal(looks.read(X)[:, 0], [0.0, 1.0, 2.0, 0.0, NAN])


def test_names_that_are_numbers():
    X = pd.DataFrame([[1.0, 2.0]], columns=[3, 0.5])
    looks = TableFormat.fit(X)
    assert looks.names is None
    assert [column.name for column in looks.columns] == [3, 0.5]
    pd.testing.assert_frame_equal(looks.write(looks.read(X)), X)


def test_a_frame_without_rows():
    X = pd.DataFrame({"x": np.empty(0), "c": pd.Categorical([], ["a"])})
    looks = TableFormat.fit(X)
    assert looks.read(X).shape == (0, 2)
    pd.testing.assert_frame_equal(looks.write(looks.read(X)), X)


def test_importing_loads_no_library_of_frames():
    program = """if True:
        import sys
        from skvae.tables.format import TableFormat
        import numpy as np
        TableFormat.fit(np.ones((2, 2))).read([[1.0, 2.0]])
        loaded = {"torch", "pandas", "polars", "pyarrow"} & set(sys.modules)
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_library_that_is_not_installed(monkeypatch):
    state = TableFormat.fit(pl.DataFrame({"a": [1.0]})).to_state()
    monkeypatch.delitem(sys.modules, "skvae.tables.polars_frames", raising=False)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pip install polars"):
        TableFormat.from_state(state).write(np.ones((1, 1)))


def test_columns_are_values():
    column = ColumnFormat("a", "str", "categorical", ("x",))
    assert column == ColumnFormat("a", "str", "categorical", ("x",))
    assert len({column, column}) == 1


def test_people():
    X = frames.people()
    pd.testing.assert_frame_equal(there_and_back(X), X)
    assert X.isna().any().all()
