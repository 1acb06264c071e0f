"""Tables to compare, with the same columns: numbers and integer-coded categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...tables.containers import Table, open_table
from ...tables.format import ColumnFormat, TableFormat
from ...tables.given import place_of
from ...tables.labels import Label, learn

_SOME = 5  # names listed in a message


@dataclass(frozen=True, eq=False)
class Tables:
    """Tables with the same columns.

    Attributes
    ----------
    first : str
        Parameter name of the table that defines the columns.
    columns : tuple of ColumnFormat
        Columns of the first table, with the labels of all tables.
    values : dict of str to ndarray of shape (n, d)
        Values of each table: numbers, or the codes of labels; NaN for missing values.
    """

    first: str
    columns: tuple[ColumnFormat, ...]
    values: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> list[str]:
        """Names of the columns; x0, x1, ... without names."""
        names = enumerate(column.name for column in self.columns)
        return [f"x{j}" if name is None else str(name) for j, name in names]

    def labels(self, j: int) -> tuple[Label, ...] | None:
        """Return the labels of a categorical column, None for numbers and times."""
        return self.columns[j].labels

    def place(self, name: Any, parameter: str) -> int:
        """Return the position of a column given by name or position."""
        names = enumerate(column.name for column in self.columns)
        places = {known: j for j, known in names if known is not None}
        return place_of(name, places, len(self), parameter, self.first)


def read_tables(kinds: Mapping[Any, str] | None, **given: Any) -> Tables:
    """Read tables with the same columns.

    The first table defines the columns and their types. Columns of the others are matched by name,
    or by position if a table has no names. Labels that occur only in other tables are numbered
    after those of the first.

    Parameters
    ----------
    kinds : mapping or None
        Column types: see `TableFormat.fit`.
    **given : tables
        Tables by the name of their parameter.

    Raises
    ------
    TypeError
        If an argument is not a table, or a column has values of an unsupported or another type.
    ValueError
        If a table has no rows or columns, its columns differ, or it contains infinite numbers.
    """
    (first, X), *others = given.items()
    with _reading(first):
        columns = list(TableFormat.fit(X, kinds).columns)
    if not columns:
        raise ValueError(f"{first} has no columns.")
    places = {first: list(range(len(columns)))}
    for parameter, Y in others:
        with _reading(parameter):
            table = open_table(Y)
        places[parameter] = _places(columns, table, first, parameter)
        for j, place in enumerate(places[parameter]):
            with _reading(parameter, columns[j].name, j):
                columns[j] = _with_labels(columns[j], table, place)
    values = {}
    for parameter, Y in given.items():
        order = places[parameter]
        moved = [columns[j] for j in np.argsort(order)]
        # not the format of an array, whose booleans would be read as numbers
        looks = TableFormat("pandas", tuple(moved), "float64")
        with _reading(parameter):
            read = looks.read(Y)
        values[parameter] = np.asarray(read, np.float64)[:, order]
        _check_values(values[parameter], columns, parameter)
    return Tables(first, tuple(columns), values)


def _places(columns: Sequence[ColumnFormat], table: Table, first: str, parameter: str) -> list[int]:
    """Return the positions of the columns of the first table in another one."""
    names = [column.name for column in columns]
    if table.names is None or None in names:
        if table.shape[1] != len(columns):
            raise ValueError(
                f"{parameter} has {table.shape[1]} columns, but {first} has {len(columns)}."
            )
        return list(range(len(columns)))
    missing = [name for name in names if name not in table.names]
    if missing:
        raise ValueError(f"{parameter} lacks columns of {first}: {_listed(missing)}.")
    more = [name for name in table.names if name not in names]
    if more:
        raise ValueError(f"{parameter} has columns that are not in {first}: {_listed(more)}.")
    return [table.names.index(name) for name in names]


def _with_labels(column: ColumnFormat, table: Table, place: int) -> ColumnFormat:
    """Return a categorical column extended by the labels of a further table."""
    if column.labels is None:
        return column
    found = learn(table.cells(place), "categorical")[1] or ()
    more = [label for label in found if label not in column.labels]
    return replace(column, labels=(*column.labels, *more)) if more else column


def _check_values(values: np.ndarray, columns: Sequence[ColumnFormat], parameter: str) -> None:
    if not len(values):
        raise ValueError(f"{parameter} has no rows.")
    infinite = np.flatnonzero(np.isinf(values).any(axis=0))
    if len(infinite):
        name = columns[infinite[0]].name
        where = f"column {infinite[0]}" if name is None else f"column {name!r}"
        raise ValueError(
            f"{parameter}: {where} contains infinite numbers: replace them or mark them as missing."
        )


@contextmanager
def _reading(parameter: str, name: Any = None, j: int | None = None) -> Iterator[None]:
    """Context in which a table or column is read, with errors that name the parameter."""
    where = "" if j is None else f"column {j} " if name is None else f"column {name!r} "
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{parameter}: {where}{error}") from error
    except ValueError as error:
        raise ValueError(f"{parameter}: {where}{error}") from error


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names[:_SOME])) + (", ..." if len(names) > _SOME else "")
