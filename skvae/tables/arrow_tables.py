"""Reading and writing of pyarrow tables, and of other libraries via the Arrow interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.interchange import from_dataframe

from .cells import DAY, Cells, to_seconds, to_ticks, whole
from .containers import Name, Table, unreadable

_ZONED = re.compile(r"timestamp\[(\w+), tz=(.+)\]")
_DICTIONARY = re.compile(r"dictionary<values=(.+), indices=(\w+), ordered=([01])>")
_MILLISECONDS_OF_DAY = 86_400_000


def type_of(name: str) -> Any:
    """Return the Arrow type of this name."""
    zoned, dictionary = _ZONED.fullmatch(name), _DICTIONARY.fullmatch(name)
    if zoned:
        return pa.timestamp(zoned[1], tz=zoned[2])
    if dictionary:
        index, ordered = type_of(dictionary[2]), dictionary[3] == "1"
        return pa.dictionary(index, type_of(dictionary[1]), ordered)
    return pa.type_for_alias(name)


def _is_text(kind: Any) -> bool:
    types = pa.types
    return any(
        is_it(kind) for is_it in (types.is_string, types.is_large_string, types.is_string_view)
    )


def cells_of(column: pa.ChunkedArray) -> Cells:
    """Return an Arrow column as `Cells`."""
    kind, types = column.type, pa.types
    name = str(kind)
    if types.is_dictionary(kind):
        joined = _joined(column.unify_dictionaries())
        labels = tuple(joined.dictionary.to_pylist())
        return Cells(
            "ordinal" if kind.ordered else "categorical",
            name,
            lambda: (_codes(joined.indices), labels),
            labels,
        )
    if _is_text(kind):
        return Cells("categorical", name, lambda: _encoded(column))
    if types.is_boolean(kind):
        truth = (False, True)
        return Cells("boolean", name, lambda: (_codes(column.cast(pa.int8())), truth), truth)
    if types.is_floating(kind) or types.is_null(kind):
        return Cells("numeric", name, lambda: (_floats(column), None))
    if types.is_integer(kind):
        return Cells("integer", name, lambda: (_floats(column), None))
    if types.is_timestamp(kind) or types.is_date(kind):
        return Cells("datetime", name, lambda: (_seconds(column), None))
    if types.is_duration(kind):
        return Cells("duration", name, lambda: (_seconds(column), None))
    remedy = "cast it to a floating type" if types.is_decimal(kind) else "cast or drop it"
    raise unreadable(kind, remedy)


class ArrowTable(Table):
    """A pyarrow table; other frames are converted to one, and returned as one."""

    container = "pyarrow"

    def __init__(self, X: Any):
        if isinstance(X, pa.RecordBatch):
            X = pa.Table.from_batches([X])
        elif not isinstance(X, pa.Table):
            X = pa.table(X) if hasattr(X, "__arrow_c_stream__") else from_dataframe(X)
        self.X = X
        self.shape = X.shape
        self.names = list(X.column_names)

    def cells(self, j: int) -> Cells:
        return cells_of(self.X.column(j))

    @classmethod
    def natural(cls, kind: str, labels: Sequence[Any] | None) -> str:
        if labels is None:
            return {"datetime": "timestamp[us]", "duration": "duration[us]"}.get(
                kind, "int64" if kind == "integer" else "double"
            )
        if kind == "boolean" and labels == (False, True):
            return "bool"
        inner = pa.array(list(labels)).type
        if kind == "ordinal":
            return str(pa.dictionary(pa.int32(), inner, ordered=True))
        return str(inner)

    @classmethod
    def of_numbers(cls, values: np.ndarray, kind: str, dtype: str) -> Any:
        target, missing = type_of(dtype), np.isnan(values)
        if pa.types.is_null(target):
            return pa.nulls(len(values))
        if pa.types.is_floating(target):
            with np.errstate(over="ignore"):
                return pa.array(values.astype(target.to_pandas_dtype()), target, missing)
        filled = np.where(missing, 0.0, values)
        if pa.types.is_boolean(target):
            return pa.array(filled >= 0.5, target, missing)
        if pa.types.is_integer(target):
            return pa.array(whole(filled, np.dtype(target.to_pandas_dtype())), target, missing)
        if pa.types.is_date(target):
            days = whole(np.floor(filled / DAY), np.dtype(np.int32))
            if pa.types.is_date64(target):
                days = days.astype(np.int64) * _MILLISECONDS_OF_DAY
            return pa.array(days, mask=missing).cast(target)
        return pa.array(to_ticks(filled, target.unit), mask=missing).cast(target)

    @classmethod
    def of_codes(cls, codes: np.ndarray, labels: Sequence[Any], dtype: str) -> Any:
        target, missing = type_of(dtype), codes < 0
        if not pa.types.is_dictionary(target):
            places = pa.array(np.maximum(codes, 0), mask=missing)
            return pa.array(list(labels), target).take(places)
        places = pa.array(np.maximum(codes, 0), target.index_type, missing)
        known = pa.array(list(labels), target.value_type)
        return pa.DictionaryArray.from_arrays(places, known, ordered=target.ordered)

    def column(self, j: int) -> Any:
        return self.X.column(j)

    @classmethod
    def merge(cls, given: Any, made: Any, missing: np.ndarray) -> Any:
        cells, n = _joined(given if given.type == made.type else given.cast(made.type)), len(made)
        both = pa.chunked_array([cells, _joined(made)]).unify_dictionaries()
        return both.take(pa.array(np.arange(n) + n * missing))

    @classmethod
    def build(cls, columns: list[Any], names: Sequence[Name], like: Any) -> Any:
        return pa.table(columns, names=[str(name) for name in names])


def _joined(column: Any) -> Any:
    joined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


def _codes(indices: Any) -> np.ndarray:
    joined = _joined(indices).cast(pa.int64())
    codes: np.ndarray = joined.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes


def _encoded(column: Any) -> tuple[np.ndarray, list[Any]]:
    encoded = _joined(pc.dictionary_encode(_joined(column)))
    return _codes(encoded.indices), encoded.dictionary.to_pylist()


def _floats(column: Any) -> np.ndarray:
    joined = _joined(column).cast(pa.float64(), safe=False)
    floats: np.ndarray = joined.to_numpy(zero_copy_only=False)
    return floats.astype(np.float64, copy=False)


def _seconds(column: Any) -> np.ndarray:
    joined, kind = _joined(column), column.type
    if pa.types.is_date32(kind):
        days = joined.cast(pa.int32())
        seconds: np.ndarray = days.fill_null(0).to_numpy(zero_copy_only=False) * DAY
    else:
        unit = "ms" if pa.types.is_date64(kind) else kind.unit
        ticks = joined.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        seconds = to_seconds(ticks, unit)
    if joined.null_count:
        seconds[joined.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return seconds
