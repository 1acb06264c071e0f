"""Random tables for hypothesis: columns of every kind, holes of each library's sort, odd names.

Numbers, times and their units are such that a matrix of float64 holds them exactly.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

EXACT = 2**53
ZONES = ("UTC", "Europe/Paris", "Asia/Kolkata", "America/St_Johns")
UNITS = ("s", "ms", "us", "ns")
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
singles = st.floats(allow_nan=False, allow_infinity=False, width=32)
_seconds = st.integers(-(2**31), 2**32)  # 1901 to 2106
_label_lists = st.lists(texts, min_size=1, max_size=5, unique=True)


def _integers(dtype: str) -> st.SearchStrategy[int]:
    info = np.iinfo(dtype.lower())
    return st.integers(max(info.min, -EXACT), min(info.max, EXACT))


@st.composite
def _cells(draw: Any, cells: st.SearchStrategy, n: int, holes: bool) -> list[Any]:
    """Some cells, None where one is missing."""
    some = st.none() | cells if holes else cells
    return draw(st.lists(some, min_size=n, max_size=n))


@st.composite
def _ticks(draw: Any, unit: str) -> int:
    """Whole microseconds in a unit of time."""
    rest = draw(st.integers(0, 999_999)) if unit in ("us", "ns") else 0
    per = _PER_SECOND[unit]
    return draw(_seconds) * per + rest * per // 10**6


def _times(ticks: list[int | None], kind: str, unit: str) -> np.ndarray:
    missing = np.iinfo(np.int64).min  # NaT
    numbers = np.array([missing if t is None else t for t in ticks], np.int64)
    return numbers.view(f"{kind}8[{unit}]")


def _with_nan(cells: list[Any], dtype: str) -> np.ndarray:
    return np.array([np.nan if c is None else c for c in cells], dtype)


@st.composite
def pandas_columns(draw: Any, n: int, holes: bool = True) -> pd.Series:
    """A column of n cells."""
    sort = draw(
        st.sampled_from(
            "float float32 int uint8 bool Int64 UInt16 boolean Float64 str string object "
            "object_numbers category numbered_category ordered datetime zoned timedelta date "
            "arrow_int arrow_string arrow_zoned all_missing".split()
        )
    )

    def some(cells: st.SearchStrategy, may: bool = True) -> list[Any]:
        return draw(_cells(cells, n, holes and may))

    if sort == "float":
        return pd.Series(_with_nan(some(floats), "float64"))
    if sort == "float32":
        return pd.Series(_with_nan(some(singles), "float32"))
    if sort in ("int", "uint8"):
        dtype = {"int": "int64"}.get(sort, sort)
        return pd.Series(np.array(some(_integers(dtype), may=False), dtype))
    if sort == "bool":
        return pd.Series(np.array(some(st.booleans(), may=False), bool))
    if sort in ("Int64", "UInt16"):
        return pd.Series(pd.array(some(_integers(sort)), dtype=sort))
    if sort == "boolean":
        return pd.Series(pd.array(some(st.booleans()), dtype=sort))
    if sort == "Float64":
        return pd.Series(pd.array(some(floats), dtype=sort))
    if sort in ("str", "string"):
        storage = draw(st.sampled_from(["python", "pyarrow"]))
        missing = {"na_value": np.nan} if sort == "str" else {}
        return pd.Series(pd.array(some(texts), dtype=pd.StringDtype(storage, **missing)))
    if sort in ("object", "object_numbers"):
        missing = draw(st.sampled_from([None, np.nan, pd.NA]))
        cells = some(texts if sort == "object" else _integers("int64"))
        return pd.Series([missing if c is None else c for c in cells], dtype=object)
    if sort in ("category", "numbered_category", "ordered"):
        numbers = st.lists(st.integers(-5, 5), min_size=1, max_size=5, unique=True)
        labels = draw(numbers if sort.startswith("numbered") else _label_lists)
        codes = [-1 if c is None else c for c in some(st.integers(0, len(labels) - 1))]
        return pd.Series(pd.Categorical.from_codes(codes, labels, ordered=sort == "ordered"))
    if sort in ("datetime", "zoned", "timedelta"):
        unit = draw(st.sampled_from(UNITS))
        times = pd.Series(_times(some(_ticks(unit)), "m" if sort == "timedelta" else "M", unit))
        zone = draw(st.sampled_from(ZONES))
        return times.dt.tz_localize("UTC").dt.tz_convert(zone) if sort == "zoned" else times
    if sort == "date":
        return pd.Series(some(st.dates()), dtype=object)
    if sort == "all_missing":
        return pd.Series([None] * n, dtype=draw(st.sampled_from(["object", "category", "float"])))
    return pd.Series(_arrow_backed(sort, some))


def _arrow_backed(sort: str, some: Any) -> Any:
    kinds = {
        "arrow_int": (pa.int64(), _integers("int64")),
        "arrow_string": (pa.string(), texts),
        "arrow_zoned": (pa.timestamp("us", "Europe/Paris"), _ticks("us")),
    }
    kind, cells = kinds[sort]
    return pd.array(pa.array(some(cells), kind), dtype=pd.ArrowDtype(kind))


@st.composite
def pandas_frames(draw: Any, max_rows: int = 8, holes: bool = True) -> pd.DataFrame:
    """A frame with odd names and an index of some kind; its rows may be none."""
    n = draw(st.integers(0, max_rows))
    columns = draw(st.lists(pandas_columns(n, holes), min_size=1, max_size=6))
    frame = pd.concat(columns, axis=1) if n else pd.DataFrame(dict(enumerate(columns)))
    numbered = draw(st.booleans())
    header = st.integers(-9, 99) if numbered else names
    d = len(columns)
    frame.columns = draw(st.lists(header, min_size=d, max_size=d, unique=True))
    index = draw(st.sampled_from(["range", "shuffled", "texts", "days", "levels"]))
    if index == "shuffled":
        frame.index = pd.Index(np.arange(n)[::-1] * 3, name="row")
    elif index == "texts":
        frame.index = pd.Index([f"row {i // 2}" for i in range(n)])
    elif index == "days":
        frame.index = pd.date_range("2020-02-28", periods=n, name="day")
    elif index == "levels":
        frame.index = pd.MultiIndex.from_arrays([np.arange(n) // 2, np.arange(n)], names=["a", "b"])
    return frame


@st.composite
def polars_columns(draw: Any, n: int, holes: bool = True) -> pl.Series:
    """A column of n cells."""
    plain = {
        pl.Float64: floats,
        pl.Float32: singles,
        pl.Boolean: st.booleans(),
        pl.String: texts,
        pl.Categorical: texts,
        pl.Date: st.dates(),
        pl.Null: st.none(),
    }
    plain |= {kind: _integers(str(kind)) for kind in (pl.Int8, pl.Int64, pl.UInt32, pl.UInt64)}
    sort = draw(st.sampled_from([*plain, "Enum", "Datetime", "Duration"]))
    if sort == "Enum":
        labels = draw(_label_lists)
        return pl.Series("", draw(_cells(st.sampled_from(labels), n, holes)), pl.Enum(labels))
    if sort in ("Datetime", "Duration"):
        unit = draw(st.sampled_from(["ms", "us", "ns"]))
        zone = draw(st.none() | st.sampled_from(ZONES))
        kind = pl.Datetime(unit, zone) if sort == "Datetime" else pl.Duration(unit)
        return pl.Series("", draw(_cells(_ticks(unit), n, holes)), pl.Int64).cast(kind)
    return pl.Series("", draw(_cells(plain[sort], n, holes)), sort)


@st.composite
def polars_frames(draw: Any, max_rows: int = 8, holes: bool = True) -> pl.DataFrame:
    """A frame with odd names; its rows may be none."""
    n = draw(st.integers(0, max_rows))
    columns = draw(st.lists(polars_columns(n, holes), min_size=1, max_size=6))
    header = draw(st.lists(names, min_size=len(columns), max_size=len(columns), unique=True))
    return pl.DataFrame([c.alias(name) for c, name in zip(columns, header, strict=True)])


@st.composite
def arrow_tables(draw: Any, max_rows: int = 8, holes: bool = True) -> pa.Table:
    """A table of pyarrow; its rows may be none, and in several chunks."""
    n = draw(st.integers(0, max_rows))
    plain = {
        pa.int32(): _integers("int32"),
        pa.uint64(): _integers("uint64"),
        pa.float64(): floats,
        pa.float32(): singles,
        pa.bool_(): st.booleans(),
        pa.string(): texts,
        pa.large_string(): texts,
        pa.date32(): st.dates(),
        pa.timestamp("us", "Asia/Kolkata"): _ticks("us"),
        pa.duration("ms"): _ticks("ms"),
        pa.null(): st.none(),
    }
    columns = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(list(plain)))
        column = pa.array(draw(_cells(plain[kind], n, holes)), kind)
        if kind == pa.string() and draw(st.booleans()):
            column = column.dictionary_encode()
        columns.append(column)
    header = draw(st.lists(names, min_size=len(columns), max_size=len(columns), unique=True))
    table = pa.table(columns, names=header)
    cut = draw(st.integers(0, n))
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)])


def people(n: int = 60, seed: int = 0, holes: float = 0.1) -> pd.DataFrame:
    """A mixed frame of pandas in which columns hang together, with holes."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    city = rng.choice(["Paris", "Rome", "Oslo"], n, p=[0.6, 0.3, 0.1])
    size = np.digitize(age + 10.0 * rng.normal(size=n), [35, 55])
    begun = datetime.datetime(2020, 1, 1)
    frame = pd.DataFrame(
        {
            "age": pd.array(age, dtype="Int64"),
            "income": 100.0 * age * (1.0 + (city == "Rome")) + 50.0 * rng.normal(size=n),
            "city": city,
            "size": pd.Categorical.from_codes(size, ["S", "M", "L"], ordered=True),
            "member": pd.array(rng.random(n) < 0.3, dtype="boolean"),
            "gain": np.where(rng.random(n) < 0.8, 0.0, rng.exponential(1000.0, n)),
            "since": [begun + datetime.timedelta(days=int(a)) for a in age],
            "stay": pd.to_timedelta(rng.integers(1, 1000, n), unit="h"),
        }
    )
    return frame.mask(pd.DataFrame(rng.random(frame.shape) < holes, columns=frame.columns))


def mixed(n: int = 1000, seed: int = 0) -> np.ndarray:
    """Columns: normal, whole, of two values, of four values, mostly zero, constant, never seen."""
    rng = np.random.default_rng(seed)
    X = np.empty((n, 7))
    X[:, 0] = rng.normal(10.0, 3.0, n)
    X[:, 1] = rng.integers(-200, 200, n)
    X[:, 2] = rng.random(n) < 0.02
    X[:, 3] = rng.choice([1.5, 2.5, 7.0, -1.0], n)
    X[:, 4] = np.where(rng.random(n) < 0.7, 0.0, rng.exponential(1000.0, n))
    X[:, 5] = 0.001
    X[:, 6] = np.nan
    return X
