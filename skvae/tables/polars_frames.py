"""Reading and writing of polars frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from .cells import DAY, Cells, to_seconds, to_ticks, whole
from .containers import Name, Table, unreadable

_TIMES = re.compile(r"(Datetime|Duration)\(time_unit='(\w+)'(?:, time_zone=(?:None|'(.+)'))?\)")
_NUMBERS = {
    str(kind): kind
    for kind in (
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
        *(pl.Float32, pl.Float64, pl.Boolean, pl.Null),
    )
}


def _name_of(dtype: Any) -> str:
    """Return the name of a dtype; the categories of an Enum are stored separately."""
    return "Enum" if isinstance(dtype, pl.Enum) else str(dtype)


def _dtype_of(name: str, labels: Sequence[Any] = ()) -> Any:
    """Return the dtype of a name."""
    times = _TIMES.fullmatch(name)
    if times:
        unit: Any = times[2]
        return pl.Datetime(unit, times[3]) if times[1] == "Datetime" else pl.Duration(unit)
    if name == "Enum":
        return pl.Enum(list(labels))
    return (
        _NUMBERS.get(name)
        or {
            "String": pl.String,
            "Categorical": pl.Categorical,
            "Date": pl.Date,
        }[name]
    )


class PolarsFrame(Table):
    """A polars frame."""

    container = "polars"

    def __init__(self, X: pl.DataFrame):
        self.X = X
        self.shape = X.shape
        self.names = list(X.columns)

    def cells(self, j: int) -> Cells:
        column = self.X.to_series(j)
        dtype, name = column.dtype, _name_of(column.dtype)
        if isinstance(dtype, pl.Enum):
            labels = tuple(dtype.categories)
            return Cells(
                "categorical", name, lambda: (_codes(column.to_physical()), labels), labels
            )
        if name in ("String", "Categorical"):
            return Cells("categorical", name, lambda: _encoded(column))
        if name == "Boolean":
            truth = (False, True)
            return Cells("boolean", name, lambda: (_codes(column), truth), truth)
        if name in _NUMBERS:
            kind = "integer" if dtype.is_integer() else "numeric"
            return Cells(kind, name, lambda: (_floats(column), None))
        if name == "Date" or _TIMES.fullmatch(name):
            kind = "duration" if name.startswith("Duration") else "datetime"
            return Cells(kind, name, lambda: (_seconds(column), None))
        raise unreadable(dtype, _remedy(dtype))

    def numbers(self) -> np.ndarray | None:
        if not all(dtype.is_float() and _name_of(dtype) in _NUMBERS for dtype in self.X.dtypes):
            return None
        values: np.ndarray = self.X.to_numpy(order="c")
        single = values.dtype == np.float32
        return values if single else values.astype(np.float64, copy=False)

    @classmethod
    def natural(cls, kind: str, labels: Sequence[Any] | None) -> str:
        if labels is None:
            number = pl.Int64 if kind == "integer" else pl.Float64
            times = {"datetime": pl.Datetime("us"), "duration": pl.Duration("us")}
            return str(times.get(kind, number))
        if kind == "boolean" and labels == (False, True):
            return "Boolean"
        if all(isinstance(label, str) for label in labels):
            return "Enum" if kind == "ordinal" else "String"
        return "Int64" if all(isinstance(label, int) for label in labels) else "Float64"

    @classmethod
    def of_numbers(cls, values: np.ndarray, kind: str, dtype: str) -> Any:
        target, missing = _dtype_of(dtype), np.isnan(values)
        if target == pl.Null:
            return pl.Series("", [None] * len(values), pl.Null)
        filled = np.where(missing, 0.0, values)
        if target.is_float():
            with np.errstate(over="ignore"):
                inner = np.float32 if target == pl.Float32 else np.float64
                return pl.Series("", values.astype(inner), target, nan_to_null=True)
        if target == pl.Boolean:
            made = pl.Series("", filled >= 0.5)
        elif target.is_integer():
            made = pl.Series("", whole(filled, np.dtype(dtype.lower())))
        elif target == pl.Date:
            days = whole(np.floor(filled / DAY), np.dtype(np.int32))
            made = pl.Series("", days).cast(pl.Date)
        else:
            ticks = to_ticks(filled, str(target.time_unit))
            made = pl.Series("", ticks).cast(target)
        return made.set(pl.Series(missing), None) if missing.any() else made

    @classmethod
    def of_codes(cls, codes: np.ndarray, labels: Sequence[Any], dtype: str) -> Any:
        places = pl.Series("", codes)
        if (codes < 0).any():
            places = places.set(places < 0, None)
        known = pl.Series("", list(labels), _dtype_of(dtype, labels))
        if not len(labels):
            return pl.Series("", [None] * len(codes), known.dtype)
        return known.gather(places)

    def column(self, j: int) -> Any:
        return self.X.to_series(j)

    @classmethod
    def merge(cls, given: pl.Series, made: pl.Series, missing: np.ndarray) -> pl.Series:
        cells = given if given.dtype == made.dtype else given.cast(made.dtype)
        merged: pl.Series = cells.zip_with(pl.Series(~missing), made)
        return merged

    @classmethod
    def build(cls, columns: list[Any], names: Sequence[Name], like: Any) -> Any:
        pairs = zip(names, columns, strict=True)
        return pl.DataFrame([column.alias(str(name)) for name, column in pairs])


def _remedy(dtype: Any) -> str:
    if isinstance(dtype, pl.Categorical):
        return "cast it to pl.Categorical without named categories, or to pl.Enum"
    if dtype.is_decimal() or dtype.is_numeric():
        return "cast it to pl.Float64"
    return "cast it to numbers, strings or dates, or drop it"


def _codes(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Int64).fill_null(-1).to_numpy()


def _encoded(column: pl.Series) -> tuple[np.ndarray, list[Any]]:
    text = column.cast(pl.String)
    labels = text.drop_nulls().unique()
    return _codes(text.cast(pl.Enum(labels)).to_physical()), labels.to_list()


def _floats(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).to_numpy()


def _seconds(column: pl.Series) -> np.ndarray:
    ticks = column.to_physical()
    missing, dtype = column.is_null().to_numpy(), column.dtype
    numbers = ticks.fill_null(0).to_numpy()
    if isinstance(dtype, pl.Datetime | pl.Duration):
        seconds = to_seconds(numbers, str(dtype.time_unit))
    else:
        seconds = numbers * DAY
    seconds[missing] = np.nan
    return seconds
