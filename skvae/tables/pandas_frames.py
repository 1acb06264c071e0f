"""Reading and writing of pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from .cells import (
    Cells,
    as_numpy_times,
    as_objects,
    marks,
    numpy_times,
    of_objects,
    take_objects,
    whole,
)
from .containers import Name, Table, numbers_of, unreadable

_OF_LETTER = {"f": "numeric", "i": "integer", "u": "integer", "b": "boolean"}


def _name_of(dtype: Any) -> str:
    """Return the name of a dtype, from which `_dtype_of` restores it without categories."""
    if isinstance(dtype, pd.CategoricalDtype):
        inner = _name_of(dtype.categories.dtype)
        return f"category({inner}, ordered)" if dtype.ordered else f"category({inner})"
    if isinstance(dtype, pd.StringDtype):
        usual = pd.api.types.pandas_dtype(str(dtype))
        return str(dtype) if dtype == usual else f"{dtype}({dtype.storage})"
    return str(dtype)


def _dtype_of(name: str) -> Any:
    """Return the dtype of a name, for all dtypes but categories."""
    base, _, rest = name.partition("(")
    if base in ("str", "string") and rest:
        storage = rest.removesuffix(")")
        missing = {"na_value": np.nan} if base == "str" else {}
        return pd.StringDtype(storage, **missing)
    if base == "object":
        return np.dtype(object)
    return pd.api.types.pandas_dtype(name)


class PandasFrame(Table):
    """A pandas frame."""

    container = "pandas"

    def __init__(self, X: pd.DataFrame):
        self.X = X
        self.shape = X.shape
        if isinstance(X.columns, pd.MultiIndex):
            raise TypeError(
                "the columns of X have several levels (a MultiIndex): join their names, for "
                "example with X.columns = ['_'.join(map(str, name)) for name in X.columns]."
            )
        self.names = [_plain_name(name) for name in X.columns]
        self._dtypes = list(X.dtypes)

    def cells(self, j: int) -> Cells:
        dtype = self._dtypes[j]
        name = _name_of(dtype)
        if isinstance(dtype, pd.CategoricalDtype):
            labels = tuple(dtype.categories.tolist())
            kind = "ordinal" if dtype.ordered else "categorical"
            return Cells(kind, name, lambda: (_codes(self._column(j)), labels), labels)
        if isinstance(dtype, pd.StringDtype):
            return Cells("categorical", name, lambda: _factorized(self._column(j)))
        if _is_arrow(name):
            return _arrow_cells(self._column(j), name)
        if dtype == np.dtype(object):
            return of_objects(self._column(j).to_numpy())
        letter = getattr(dtype, "kind", "O")
        if letter in "mM" and isinstance(dtype, np.dtype | pd.DatetimeTZDtype):
            if "tzfile(" in name:  # a time zone of dateutil, which cannot be restored from its name
                raise unreadable(dtype, "use a named time zone, with .dt.tz_convert('UTC')")
            kind = "datetime" if letter == "M" else "duration"
            return Cells(kind, name, lambda: (_seconds(self._column(j)), None))
        if letter == "c":
            raise ValueError(
                "Complex data not supported: pass real and imaginary parts as columns."
            )
        if letter not in _OF_LETTER or isinstance(dtype, pd.SparseDtype):
            remedy = "convert it to numbers, strings or dates, for example with .astype(str)"
            raise unreadable(dtype, remedy)
        if letter == "b":
            truth = (False, True)
            return Cells("boolean", name, lambda: (_codes_of_truth(self._column(j)), truth), truth)
        return Cells(_OF_LETTER[letter], name, lambda: (_floats(self._column(j)), None))

    def _column(self, j: int) -> pd.Series:
        return self.X.iloc[:, j]

    def numbers(self) -> np.ndarray | None:
        dtypes = set(self._dtypes)
        if not all(isinstance(d, np.dtype) and d.kind in "fiub" for d in dtypes):
            return None
        single = dtypes == {np.dtype(np.float32)}
        values: np.ndarray = self.X.to_numpy(dtype=np.float32 if single else np.float64)
        return values

    @classmethod
    def natural(cls, kind: str, labels: Sequence[Any] | None) -> str:
        if labels is None:
            return {"datetime": "datetime64[us]", "duration": "timedelta64[us]"}.get(
                kind, "int64" if kind == "integer" else "float64"
            )
        if kind == "boolean" and labels == (False, True):
            return "bool"
        inner = _name_of(pd.Index(labels).dtype) if labels else "object"
        if kind == "ordinal":
            return f"category({inner}, ordered)"
        text = all(isinstance(label, str) for label in labels)
        return _name_of(pd.Series(["text"]).dtype) if text else f"category({inner})"

    @classmethod
    def of_numbers(cls, values: np.ndarray, kind: str, dtype: str) -> Any:
        if _is_arrow(dtype):
            from .arrow_tables import ArrowTable, type_of

            made = ArrowTable.of_numbers(values, kind, dtype.removesuffix("[pyarrow]"))
            return pd.array(made, dtype=pd.ArrowDtype(type_of(dtype.removesuffix("[pyarrow]"))))
        if dtype.startswith("object"):
            return as_objects(values, kind, dtype)
        target = _dtype_of(dtype)
        if target.kind in "mM":
            return _times(values, target)
        missing = np.isnan(values)
        if target.kind == "f":
            with np.errstate(over="ignore"):
                if isinstance(target, np.dtype):
                    return values.astype(target, copy=False)
                inner = target.numpy_dtype
                return pd.arrays.FloatingArray(values.astype(inner), missing)
        filled = np.where(missing, 0.0, values)
        inner = target if isinstance(target, np.dtype) else target.numpy_dtype
        exact = filled >= 0.5 if inner.kind == "b" else whole(filled, inner)
        if not isinstance(target, np.dtype):
            masked = pd.arrays.BooleanArray if inner.kind == "b" else pd.arrays.IntegerArray
            return masked(exact, missing)
        if not missing.any():
            return exact
        # numpy's integers and booleans have no missing value: use the dtype that pandas uses
        if inner.kind == "b":
            return np.where(missing, np.nan, exact.astype(object))
        return np.where(missing, np.nan, exact.astype(np.float64))

    @classmethod
    def of_codes(cls, codes: np.ndarray, labels: Sequence[Any], dtype: str) -> Any:
        if dtype.startswith("category"):
            inner = _dtype_of(_inner(dtype))
            target = pd.CategoricalDtype(
                pd.Index(list(labels), dtype=inner), "ordered" in marks(dtype)
            )
            return pd.Categorical.from_codes(codes, dtype=target)
        if _is_arrow(dtype):
            from .arrow_tables import ArrowTable, type_of

            arrow = dtype.removesuffix("[pyarrow]")
            made = ArrowTable.of_codes(codes, labels, arrow)
            return pd.array(made, dtype=pd.ArrowDtype(type_of(arrow)))
        if dtype.startswith("object"):
            return take_objects(codes, labels, dtype)
        target = _dtype_of(dtype)
        if isinstance(target, pd.StringDtype):
            return pd.array(list(labels), dtype=target).take(codes, allow_fill=True)
        return cls.of_numbers(numbers_of(codes, labels), "numeric", dtype)

    def column(self, j: int) -> Any:
        column = self._column(j).copy()
        return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array

    @classmethod
    def merge(cls, given: Any, made: Any, missing: np.ndarray) -> Any:
        if missing.all():
            return made
        cells, filled = pd.Series(given, dtype=given.dtype), pd.Series(made, dtype=made.dtype)
        if cells.dtype == np.dtype(object):
            filled = filled.astype(object)
        elif cells.dtype != filled.dtype:
            cells = cells.astype(filled.dtype)
        merged = cells.mask(missing, filled)
        return merged.to_numpy() if isinstance(merged.dtype, np.dtype) else merged.array

    @classmethod
    def build(cls, columns: list[Any], names: Sequence[Name], like: Any) -> Any:
        header = pd.Index(list(names)) if like is None else like.columns
        index = None if like is None else like.index
        kinds = {getattr(column, "dtype", None) for column in columns}
        if len(kinds) == 1 and all(isinstance(k, np.dtype) and k.kind == "f" for k in kinds):
            return pd.DataFrame(np.stack(columns, axis=1), index, header, copy=False)
        # as series, since a frame would convert objects that are strings
        series = [pd.Series(c, index, dtype=getattr(c, "dtype", None)) for c in columns]
        # by position, since names may be equal as keys of a dictionary
        frame = pd.DataFrame(dict(enumerate(series)), index=index, copy=False)
        frame.columns = header
        return frame


def _is_arrow(dtype: str) -> bool:
    return dtype.endswith("[pyarrow]")


def _inner(dtype: str) -> str:
    """Return the dtype of categories, in the parentheses of "category(...)"."""
    inside = dtype.removeprefix("category(").removesuffix(")")
    return inside.removesuffix(", ordered")


def _plain_name(name: Any) -> Name:
    if isinstance(name, str):
        return str(name)
    if isinstance(name, Integral):
        return int(name)
    if isinstance(name, Real) and name == name:
        return float(name)
    raise TypeError(
        f"X has a column named {name!r} ({type(name).__name__}): names must be strings or numbers; "
        "convert them with X.columns = X.columns.astype(str)."
    )


def _codes(column: pd.Series) -> np.ndarray:
    codes: np.ndarray = column.cat.codes.to_numpy().astype(np.int64)
    return codes


def _factorized(column: pd.Series) -> tuple[np.ndarray, list[Any]]:
    codes, labels = pd.factorize(column)
    return codes, labels.tolist()


def _floats(column: pd.Series) -> np.ndarray:
    masked = {} if isinstance(column.dtype, np.dtype) else {"dtype": float, "na_value": np.nan}
    floats: np.ndarray = column.to_numpy(**masked)
    return floats


def _codes_of_truth(column: pd.Series) -> np.ndarray:
    if isinstance(column.dtype, np.dtype):
        codes: np.ndarray = column.to_numpy().astype(np.int64)
        return codes
    codes = column.fillna(False).to_numpy(dtype=np.int64)
    return np.where(column.isna(), -1, codes)


def _seconds(column: pd.Series) -> np.ndarray:
    dtype = column.dtype
    return numpy_times(np.asarray(column, dtype=f"{dtype.kind}8[{_unit(dtype)}]"))


def _unit(dtype: Any) -> str:
    """Return the unit of a dtype of times."""
    return str(dtype.unit if isinstance(dtype, pd.DatetimeTZDtype) else np.datetime_data(dtype)[0])


def _times(values: np.ndarray, dtype: Any) -> Any:
    if isinstance(dtype, np.dtype):
        return as_numpy_times(values, dtype)
    naive = as_numpy_times(values, np.dtype(f"M8[{dtype.unit}]"))
    return pd.DatetimeIndex(naive).tz_localize("UTC").tz_convert(dtype.tz).array


def _arrow_cells(column: pd.Series, name: str) -> Cells:
    from .arrow_tables import cells_of

    return replace(cells_of(column.array.__arrow_array__()), dtype=name)
