"""Given values of some columns: which columns, and where their values are."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from .containers import Array, Table, as_array, frame_kind, kind_named, open_table, table_array


def place_of(key: Any, places: Mapping[Any, int], d: int, asked: str, table: str = "X") -> int:
    """Return the position of a column given by name or position.

    Parameters
    ----------
    key : str, int or float
    places : mapping
        Mapping from names to positions.
    d : int
        Number of columns.
    asked : str
        What refers to the column, for the message.
    table : str
        Name of the table in the message.
    """
    try:
        j = places.get(key, key)
    except TypeError:  # not hashable
        j = None
    if isinstance(j, Integral) and not isinstance(j, bool) and 0 <= int(j) < d:
        return int(j)
    some = ", ".join(map(repr, [*places][:10])) + (", ..." if len(places) > 10 else "")
    choices = f"names are {some}; " if places else ""
    raise ValueError(
        f"{asked} refers to the column {key!r}, which {table} does not have: {choices}positions go "
        f"from 0 to {d - 1}."
    )


def columns_given(given: Any, d: int) -> Iterator[tuple[Any, Table, int]]:
    """Yield the given columns: name or position, a table, and the position in this table."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            yield key, _one_column(key, value), 0
        return
    library = frame_kind(given)
    if library == "array":
        given = table_array(given, "given")
    if library is None or getattr(given, "ndim", 2) < 2:
        raise TypeError(
            "given must be a mapping from columns to values, a frame with some of the columns, or "
            f"an array with all; got {kind_named(given)}."
        )
    table = open_table(given)
    if table.names is None and table.shape[1] != d:
        raise ValueError(
            f"given is an array of {table.shape[1]} columns, but X has {d}: pass a mapping or a "
            "frame with the given columns, or fill the others with NaN."
        )
    yield from ((key, table, i) for i, key in enumerate(table.names or range(d)))


def _one_column(key: Any, value: Any) -> Table:
    """Convert one value or several values to a table of one column."""
    if hasattr(value, "to_frame"):  # a series
        return open_table(value.to_frame(name="given"))
    several = isinstance(value, list | tuple) or hasattr(value, "__array__")
    cells = table_array(value, "given") if several else as_array(np.array([value], object))
    if cells.ndim > 1:
        raise ValueError(
            f"given contains an array of shape {cells.shape} for the column {key!r}, but there "
            "must be one value, or one for each row."
        )
    if cells.dtype.kind == "O":
        naive = np.empty(cells.size, object)
        naive[:] = [_in_utc(cell) for cell in cells.ravel()]
        cells = naive
    return Array(cells.reshape(-1, 1))


def _in_utc(cell: Any) -> Any:
    """Convert a datetime with a time zone to UTC without one; return anything else unchanged."""
    if isinstance(cell, datetime.datetime) and cell.tzinfo is not None:
        return cell.astimezone(datetime.UTC).replace(tzinfo=None)
    return cell
