"""Values that are given for some columns of rows: which columns, and where their cells are."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from .containers import Array, Table, as_array, frame_kind, kind_named, open_table, table_array


def place_of(key: Any, places: Mapping[Any, int], d: int, asked: str, table: str = "X") -> int:
    """The position of a column that is called by its name or position.

    Parameters
    ----------
    key : str, int or float
    places : mapping
        From names to positions.
    d : int
        How many columns there are.
    asked : str
        What names the column, for the message.
    table : str
        What the table is called there.
    """
    try:
        j = places.get(key, key)
    except TypeError:  # not to be hashed
        j = None
    if isinstance(j, Integral) and not isinstance(j, bool) and 0 <= int(j) < d:
        return int(j)
    some = ", ".join(map(repr, [*places][:10])) + (", ..." if len(places) > 10 else "")
    choices = f"names are {some}; " if places else ""
    raise ValueError(
        f"{asked} names the column {key!r}, which {table} does not have: {choices}positions go "
        f"from 0 to {d - 1}."
    )


def columns_given(given: Any, d: int) -> Iterator[tuple[Any, Table, int]]:
    """Columns that are given: name or position of each, a table and its number in there."""
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
            f"given is an array of {table.shape[1]} columns, but X has {d}: name those that are "
            "given, by a mapping or a frame, or fill the others with NaN."
        )
    yield from ((key, table, i) for i, key in enumerate(table.names or range(d)))


def _one_column(key: Any, value: Any) -> Table:
    """One value, or several, as a table of one column."""
    if hasattr(value, "to_frame"):  # a series
        return open_table(value.to_frame(name="given"))
    several = isinstance(value, list | tuple) or hasattr(value, "__array__")
    cells = table_array(value, "given") if several else as_array(np.array([value], object))
    if cells.ndim > 1:
        raise ValueError(
            f"given holds an array of shape {cells.shape} for the column {key!r}, where there must "
            "be one value, or one a row."
        )
    if cells.dtype.kind == "O":
        naive = np.empty(cells.size, object)
        naive[:] = [_in_utc(cell) for cell in cells.ravel()]
        cells = naive
    return Array(cells.reshape(-1, 1))


def _in_utc(cell: Any) -> Any:
    """A datetime with a time zone as one in UTC without; anything else as it is."""
    if isinstance(cell, datetime.datetime) and cell.tzinfo is not None:
        return cell.astimezone(datetime.UTC).replace(tzinfo=None)
    return cell
