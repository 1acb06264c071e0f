"""Format of a user's table: conversion to numbers and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from .cells import CLASSES, KINDS, NUMBERS, Cells, LabelsError, UnreadableError
from .checks import Each, Either, Fields, Flag, Maybe, Number, Sizes, Text, Whole
from .containers import SINGLE, Name, Table, frame_kind, library, open_table
from .given import columns_given, place_of
from .labels import Label, check_labels, learn, to_numbers

__all__ = ["ColumnFormat", "TableFormat", "frame_kind"]

_SYNONYMS = {"binary": "boolean"}
_DECLARE = ("category", "Categorical", "Enum", "dictionary")  # in names of dtypes with labels


@dataclass(frozen=True)
class ColumnFormat:
    """Format of one column.

    Parameters
    ----------
    name : str, int, float or None
        Name of the column, None in arrays; numbers are valid names in pandas.
    dtype : str
        Name of the dtype in its library: "float32", "Int64", "datetime64[us, UTC]", "Enum".
        Information that is needed to restore it is added in parentheses: "category(str, ordered)"
        contains the dtype of the categories, "object(None)" the missing value.
    kind : {"numeric", "integer", "boolean", "categorical", "ordinal", "datetime", "duration"}
    labels : tuple of str, int, float or bool, or None
        Labels of categories, in the order of their codes 0, 1, ...; None for numbers and times.
    stated : bool
        Whether the column type was given by the user.

    Examples
    --------
    >>> ColumnFormat("size", "category(str, ordered)", "ordinal", ("S", "M", "L")).labels
    ('S', 'M', 'L')
    """

    name: Name
    dtype: str
    kind: str
    labels: tuple[Label, ...] | None = None
    stated: bool = False

    @property
    def is_category(self) -> bool:
        """Return whether values are strings or categories, and not numbers, booleans or times."""
        return self.kind in ("categorical", "ordinal")

    @property
    def has_declared_labels(self) -> bool:
        """Return whether labels and their order are those of a dtype and not of the values."""
        return any(word in self.dtype for word in _DECLARE) and not self.stated

    @property
    def is_plain_number(self) -> bool:
        """Return whether a column of an array contains numbers that need no conversion."""
        if self.labels is not None:
            return self.dtype == "bool" and not self.stated
        return self.kind == "numeric" or (self.kind == "integer" and not self.stated)


_FIELDS = fields(ColumnFormat)
_WIDE = re.compile(r"[USVa]\d{5,}")  # dtypes of numpy with this number of characters per value
_LABEL = Either((Text(), Number(), Flag()))


def check_format(state: Any, where: str, sizes: Sizes) -> None:
    """Raise an error for an invalid state of a `TableFormat` of "d" columns."""
    _STATE(state, where, sizes)
    columns = state["columns"]
    lengths = {len(values) for values in columns.values()}
    if lengths not in ({1}, {sizes["d"]}):
        raise ValueError(f"{where} describes {lengths} columns, but there are {sizes['d']}")
    if any(_WIDE.search(dtype) for dtype in columns["dtype"]):
        raise ValueError(f"{where} has a column with an invalid length of strings")
    for kind, labels in zip(columns["kind"], columns["labels"], strict=True):
        if (kind in CLASSES) != (labels is not None):
            raise ValueError(f"{where} has a column that is {kind} with the labels {labels}")
        if labels is not None and len(set(labels)) != len(labels):
            raise ValueError(f"{where} has a duplicate label")


_STATE = Fields(
    {
        "container": Text(("array", "pandas", "polars", "pyarrow")),
        "dtype": Text(("float32", "float64")),
        "columns": Fields(
            {
                "name": Each(Maybe(Either((Text(), Number())))),
                "dtype": Each(Text()),
                "kind": Each(Text(KINDS)),
                "labels": Each(Maybe(Each(_LABEL))),
                "stated": Each(Flag()),
            }
        ),
        "n_columns": Whole(1, name="d"),
    }
)


@dataclass(frozen=True)
class TableFormat:
    """Format of a training table, with conversion of tables to numbers and back.

    A table is converted to a matrix of numbers: numbers unchanged, categories as the code of their
    label, datetimes as seconds since 1970 (UTC), durations as seconds, and missing values (NaN,
    None, pandas.NA, NaT, null) as NaN. The resolution of seconds in float64 is a fraction of a
    microsecond, so nanoseconds of a datetime are rounded, as are integers above 2^53.

    Parameters
    ----------
    container : {"array", "pandas", "polars", "pyarrow"}
        Library of the table; "pyarrow" for frames of other libraries that implement the data frame
        protocol, or Arrow's.
    columns : tuple of ColumnFormat
    dtype : {"float32", "float64"}
        Dtype of the matrix: "float32" if all columns have single precision.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"age": [39, 50], "sex": ["male", None]})
    >>> looks = TableFormat.fit(people)
    >>> values = looks.read(people)
    >>> values
    array([[39.,  0.],
           [50., nan]])
    >>> looks.write(values + 0.2)
       age   sex
    0   39  male
    1   50   NaN
    """

    container: str
    columns: tuple[ColumnFormat, ...]
    dtype: str

    @classmethod
    def fit(cls, X: Any, kinds: Mapping[Any, str] | None = None) -> TableFormat:
        """Learn the format of a table.

        Parameters
        ----------
        X : array, frame or list of lists of shape (n, d)
        kinds : mapping, optional
            Column types by name or position of columns, which override the type inferred from the
            dtype. The labels of columns given as categorical are their sorted distinct values.
            Numbers in columns given as times are seconds.

        Raises
        ------
        TypeError
            If X is not a table, or is lazy or sparse, or a column has an unsupported type.
        ValueError
            If a type or a column in `kinds` is unknown, or a column has too many labels.
        """
        table = open_table(X)
        stated = _stated(kinds, table)
        d = table.shape[1]
        if table.shared is not None and d:
            columns = [_learned(table, 0, None)] * d
            for j, kind in stated.items():
                columns[j] = _learned(table, j, kind)
        else:
            columns = [_learned(table, j, stated.get(j)) for j in range(d)]
        single = d > 0 and all(c.labels is None and c.dtype in SINGLE for c in columns)
        return cls(table.container, tuple(columns), "float32" if single else "float64")

    def joined(
        self,
        other: TableFormat,
        unseen: frozenset[int] = frozenset(),
        unseen_there: frozenset[int] = frozenset(),
    ) -> TableFormat:
        """Return the format of tables of which this and `other` are parts, with the labels of both.

        `unseen` and `unseen_there` are positions of columns in which a part has no values: they get
        the format of the other part.

        Raises
        ------
        TypeError
            If the types of a column differ.
        ValueError
            If the order of ordered labels differs, or a column has too many labels.
        """
        self._check_width(len(other.columns))
        single = self.dtype == other.dtype == "float32"
        columns = []
        for j, (here, there) in enumerate(zip(self.columns, other.columns, strict=True)):
            if j in unseen or j in unseen_there:
                columns.append(there if j in unseen and j not in unseen_there else here)
            else:
                columns.append(_joined_column(here, there, j))
        return replace(self, columns=tuple(columns), dtype="float32" if single else "float64")

    def unseen(self, X: Any) -> frozenset[int]:
        """Return the positions of the columns of a table in which all values are missing."""
        missing = np.isnan(self.read(X)).all(axis=0)
        return frozenset(map(int, np.flatnonzero(missing)))

    @property
    def has_labels_of_rows(self) -> bool:
        """Return whether columns have labels taken from the rows of the fit."""
        return any(c.labels is not None and c.labels != (False, True) for c in self.columns)

    @property
    def names(self) -> list[str] | None:
        """Names of the columns; None without names, or if some are numbers."""
        names = [column.name for column in self.columns]
        texts = [name for name in names if isinstance(name, str)]
        return texts if len(texts) == len(names) > 0 else None

    @cached_property
    def is_plain(self) -> bool:
        """Return whether tables are arrays of numbers, which need no conversion."""
        each = {
            id(column): column for column in self.columns
        }  # most arrays have one format for all columns
        return self.container == "array" and all(c.is_plain_number for c in each.values())

    def read(self, X: Any, handle_unknown: str = "error") -> np.ndarray:
        """Convert a table to numbers.

        Parameters
        ----------
        X : array, frame or list of lists of shape (n, d)
            Table of this library or another; columns are matched by position, labels by value.
            Arrays of numbers may contain seconds for times.
        handle_unknown : {"error", "missing"}
            Whether an unknown label raises an error or is treated as missing.

        Returns
        -------
        values : ndarray of shape (n, d)
            Values, NaN for missing values; float32 if all columns of X have single precision,
            otherwise float64. Arrays of these dtypes are returned without a copy, and results for
            other tables may be read-only.

        Raises
        ------
        TypeError
            If X is not a table, or a column has values of another type.
        ValueError
            If a label is unknown, or the number of columns of X differs.
        """
        if handle_unknown not in ("error", "missing"):
            raise ValueError(
                f'handle_unknown must be "error" or "missing"; got {handle_unknown!r}.'
            )
        table = open_table(X)
        self._check_width(table.shape[1])
        plain = self.is_plain or all(c.kind in NUMBERS for c in self.columns)
        values = table.numbers() if plain else None
        if values is not None:
            return values
        n, d = table.shape
        seconds = table.container == "array"
        filled = np.empty((n, d))
        single = d > 0
        for j, column in enumerate(self.columns):
            with _naming(column.name, j):
                cells = table.cells(j)
                filled[:, j] = to_numbers(
                    cells, column.kind, column.labels, handle_unknown, seconds or column.stated
                )
            single = single and column.labels is None and cells.dtype in SINGLE
        return filled.astype(np.float32) if single else filled

    def write(self, values: np.ndarray, like: Any = None) -> Any:
        """Convert numbers to a table of the user's library, with the dtypes of its columns.

        NaN is converted to the missing value of the dtype. If a dtype has none, as numpy's integers
        and booleans, a pandas column with missing values is float64 or object. Integers and times
        are rounded and clipped to the range of their dtype; codes of categories are rounded. Arrays
        of numbers are float32 or float64.

        Parameters
        ----------
        values : ndarray of shape (n, d)
        like : table of shape (n, d), optional
            Table whose library, index and column names are used, and its dtypes if these are
            compatible with the column types.

        Returns
        -------
        X : array or frame of shape (n, d)
        """
        values = np.asarray(values)
        self._check_width(values.shape[1])
        if like is None:
            if self.is_plain:
                return values.astype(self.dtype, copy=False)
            home = library(self.container)
            names = [column.name for column in self.columns]
            return home.build(self._made(values, self.columns, home), names, None)
        table = open_table(like)
        self._check_width(table.shape[1])
        if len(values) != table.shape[0]:
            raise ValueError(
                f"like has {table.shape[0]} rows, but there are {len(values)} to write."
            )
        if self.is_plain and table.shared is not None:
            single = table.shared.dtype in SINGLE
            return values.astype(np.float32 if single else np.float64, copy=False)
        looks = []
        for j, column in enumerate(self.columns):
            with _naming(column.name, j):
                looks.append(_alike(column, table, j, table.container == self.container))
        made = self._made(values, looks, type(table))
        return table.build(made, table.names or [None] * len(looks), table.X)

    def fill(self, X: Any, values: np.ndarray, missing: np.ndarray) -> Any:
        """Return a table with some values replaced by numbers, and the others unchanged.

        Parameters
        ----------
        X : table of shape (n, d)
        values : ndarray of shape (n, d)
        missing : ndarray of bool of shape (n, d)
            Mask of the values to replace; other values are bitwise unchanged.

        Returns
        -------
        filled : table of shape (n, d)
            Table with the library, index, names and order of X. Columns without replaced values
            keep their dtype, and others do if it can represent the new values, as in `write`.
        """
        table = open_table(X)
        self._check_width(table.shape[1])
        columns = [table.column(j) for j in range(table.shape[1])]
        for j in np.flatnonzero(missing.any(axis=0)):
            column = self.columns[j]
            with _naming(column.name, int(j)):
                look = _alike(column, table, int(j), table.container == self.container)
                made = _made_column(column, look, type(table), values[:, j])
                columns[j] = table.merge(columns[j], made, missing[:, j])
        return table.build(columns, table.names or [None] * len(columns), table.X)

    def read_given(self, given: Any, n: int, handle_unknown: str = "error") -> np.ndarray:
        """Convert given values of `n` rows to numbers.

        Parameters
        ----------
        given : mapping, frame or array-like
            Mapping from columns, by name or position, to one value or `n` values; or a frame with
            some of the columns, or an array with all columns and NaN for values that are not given,
            of one row or `n` rows.
        n : int
        handle_unknown : {"error", "missing"}
            As in `read`.

        Returns
        -------
        values : ndarray of shape (n, d)
            Values, NaN for values that are not given.

        Raises
        ------
        TypeError
            If `given` has another type, or the type of a value does not match its column.
        ValueError
            If a column or label is unknown, or the number of values is wrong.
        """
        d = len(self.columns)
        filled = np.full((n, d), np.nan, self.dtype)
        places = {
            column.name: j for j, column in enumerate(self.columns) if column.name is not None
        }
        for key, table, i in columns_given(given, d):
            j = place_of(key, places, d, "given")
            column = self.columns[j]
            seconds = self.container == "array" or column.stated
            with _naming(column.name, j, "given"):
                cells = table.cells(i)
                values = to_numbers(cells, column.kind, column.labels, handle_unknown, seconds)
            if len(values) not in (1, n):
                raise ValueError(
                    f"given contains {len(values)} values for the column {key!r}, but there must "
                    f"be one value, or one for each of {n} rows."
                )
            filled[:, j] = values
        return filled

    def _made(
        self, values: np.ndarray, looks: Sequence[ColumnFormat], home: type[Table]
    ) -> list[Any]:
        """Build columns of a library with the dtypes and labels of `looks`."""
        pairs = enumerate(zip(self.columns, looks, strict=True))
        return [_made_column(column, look, home, values[:, j]) for j, (column, look) in pairs]

    def _check_width(self, d: int) -> None:
        if d != len(self.columns):
            raise ValueError(
                f"X has {d} columns, but the table of the fit had {len(self.columns)}."
            )

    def to_state(self) -> dict[str, Any]:
        """Return the state as lists, dictionaries, strings, numbers and booleans."""
        shared = len({id(column) for column in self.columns}) == 1
        some = self.columns[:1] if shared else self.columns
        columns = {each.name: [getattr(column, each.name) for column in some] for each in _FIELDS}
        columns["labels"] = [None if given is None else list(given) for given in columns["labels"]]
        state = {"container": self.container, "dtype": self.dtype, "columns": columns}
        return state | {"n_columns": len(self.columns)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TableFormat:
        """Restore a format from the result of `to_state`, also after conversion to JSON."""
        entries = zip(*(state["columns"][each.name] for each in _FIELDS), strict=True)
        columns = []
        for name, dtype, kind, given, stated in entries:
            labels = None if given is None else tuple(given)
            columns.append(ColumnFormat(name, dtype, kind, labels, stated))
        if len(columns) == 1:
            columns *= state["n_columns"]
        return cls(state["container"], tuple(columns), state["dtype"])


def _joined_column(here: ColumnFormat, there: ColumnFormat, j: int) -> ColumnFormat:
    """Return the format of a column of two tables."""
    if here.labels == there.labels and here.kind == there.kind:
        return here
    with _naming(here.name, j):
        if here.labels is None and there.labels is None and {here.kind, there.kind} <= {*NUMBERS}:
            return here if here.kind == "numeric" else there
        if here.kind != there.kind or here.labels is None or there.labels is None:
            raise UnreadableError(
                f"contains {here.kind} values in one table and {there.kind} values in another: use "
                "the same type."
            )
        if not here.has_declared_labels:
            try:
                labels = tuple(sorted({*here.labels, *there.labels}))
            except TypeError:
                raise UnreadableError(
                    "contains strings in one table and numbers in another: use the same type."
                ) from None
        elif here.kind == "ordinal":
            raise LabelsError(
                f"contains the ordered labels {here.labels} in one table and {there.labels} in "
                "another: use the same categories in the same order in all tables."
            )
        else:
            labels = tuple(dict.fromkeys((*here.labels, *there.labels)))
        check_labels(here.kind, labels)
    return replace(here, labels=labels)


def _made_column(
    column: ColumnFormat, look: ColumnFormat, home: type[Table], values: np.ndarray
) -> Any:
    """Build a column of a library with the dtype and labels of `look`."""
    numbers = values.astype(np.float64)
    if column.labels is None or look.labels is None:
        numbers = np.rint(numbers) if column.kind == "integer" else numbers
        return home.of_numbers(numbers, column.kind, look.dtype)
    codes = _nearest(numbers, column.labels, look.labels)
    return home.of_codes(codes, look.labels, look.dtype)


def _learned(table: Table, j: int, stated: str | None) -> ColumnFormat:
    name = None if table.names is None else table.names[j]
    with _naming(name, j):
        cells = table.cells(j)
        kind, labels = learn(cells, stated)
    return ColumnFormat(name, cells.dtype, kind, labels, stated is not None)


@contextmanager
def _naming(name: Name, j: int, table: str = "X") -> Iterator[None]:
    """Context in which a column is read, with errors that name it."""
    where = f"column {j if name is None else repr(name)} of {table}"
    try:
        yield
    except UnreadableError as error:
        raise TypeError(f"{where} {error}") from error
    except (LabelsError, OverflowError) as error:
        raise ValueError(f"{where} {error}") from error


def _stated(kinds: Mapping[Any, str] | None, table: Table) -> dict[int, str]:
    """Return the column types given by the user, by the position of the column."""
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise TypeError(
            "kinds must be a mapping from columns, by name or position, to column types; got "
            f"{type(kinds).__name__}."
        )
    places = {name: j for j, name in enumerate(table.names or [])}
    d = table.shape[1]
    found: dict[int, str] = {}
    choices = ", ".join([*KINDS, *_SYNONYMS])
    for key, kind in kinds.items():
        known = _SYNONYMS.get(kind, kind) if isinstance(kind, str) else kind
        if known not in KINDS:
            raise ValueError(f"the type of column {key!r} must be one of {choices}; got {kind!r}.")
        j = place_of(key, places, d, "kinds")
        if found.setdefault(j, known) != known:
            raise ValueError(f"kinds contains two types for the column {key!r}.")
    return found


def _nearest(numbers: np.ndarray, labels: Sequence[Label], written: Sequence[Label]) -> np.ndarray:
    """Return codes of the nearest labels among those that are written, -1 for NaN."""
    missing = np.isnan(numbers) if len(labels) else np.ones(len(numbers), bool)
    codes = np.clip(np.rint(np.where(missing, 0.0, numbers)), 0, max(len(labels) - 1, 0))
    codes = np.where(missing, -1, codes).astype(np.int64)
    if written is labels:
        return codes
    place = {label: number for number, label in enumerate(written)}
    table = np.array([*(place[label] for label in labels), -1])
    moved: np.ndarray = table[codes]
    return moved


def _alike(column: ColumnFormat, table: Table, j: int, same: bool) -> ColumnFormat:
    """Return the format for a column next to a column of another table: its dtype if possible."""
    cells = table.cells(j)
    if _suits(column, cells):
        labels = column.labels if cells.declared is None else cells.declared
        return replace(column, dtype=cells.dtype, labels=labels)
    if same:
        return column
    return replace(column, dtype=table.natural(column.kind, column.labels))


def _suits(column: ColumnFormat, cells: Cells) -> bool:
    """Return whether a dtype can represent the values of a column without loss."""
    nothing = cells.dtype.lower() == "null"
    if column.labels is None:
        if column.kind in NUMBERS:
            objects = cells.dtype.startswith("object")  # may contain only None
            whole = column.kind == "integer" and cells.kind == "numeric"
            return (cells.kind == column.kind or whole) and not objects and not nothing
        return cells.kind == column.kind
    if cells.declared is not None:
        return set(column.labels) <= set(cells.declared)
    texts = [isinstance(label, str) for label in column.labels]
    if cells.kind in CLASSES:
        return all(texts) and cells.kind != "boolean"
    if cells.kind == "integer":
        return not any(texts) and all(float(label).is_integer() for label in column.labels)
    return cells.kind == "numeric" and not any(texts) and not nothing
