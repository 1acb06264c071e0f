"""How a user's table looks: read as numbers, one a cell, and written back as it came."""

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
    """How one column looks.

    Parameters
    ----------
    name : str, int, float or None
        None in arrays; numbers are names that pandas allows.
    dtype : str
        What its library calls it: "float32", "Int64", "datetime64[us, UTC]", "Enum". Where that
        is not enough to make it again, parentheses add to it: "category(str, ordered)" names the
        dtype of the categories, "object(None)" what stands for missing cells.
    kind : {"numeric", "integer", "boolean", "categorical", "ordinal", "datetime", "duration"}
    labels : tuple of str, int, float or bool, or None
        Of classes, in the order of their numbers 0, 1, ...; None for numbers and times.
    stated : bool
        Whether the user stated the kind.

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
        """Whether cells are strings or categories, and no numbers, booleans or times."""
        return self.kind in ("categorical", "ordinal")

    @property
    def has_declared_labels(self) -> bool:
        """Whether the labels, and their order, are those of a dtype and not of some cells."""
        return any(word in self.dtype for word in _DECLARE) and not self.stated

    @property
    def is_plain_number(self) -> bool:
        """Whether an array's column is numbers as they are, which nothing is done to."""
        if self.labels is not None:
            return self.dtype == "bool" and not self.stated
        return self.kind == "numeric" or (self.kind == "integer" and not self.stated)


_FIELDS = fields(ColumnFormat)
_WIDE = re.compile(r"[USVa]\d{5,}")  # dtypes of numpy with that many characters a cell
_LABEL = Either((Text(), Number(), Flag()))


def check_format(state: Any, where: str, sizes: Sizes) -> None:
    """Refuse what is not the state of a `TableFormat` of "d" columns."""
    _STATE(state, where, sizes)
    columns = state["columns"]
    lengths = {len(values) for values in columns.values()}
    if lengths not in ({1}, {sizes["d"]}):
        raise ValueError(f"{where} describes {lengths} columns, where there are {sizes['d']}")
    if any(_WIDE.search(dtype) for dtype in columns["dtype"]):
        raise ValueError(f"{where} has a column whose cells have room for far too long strings")
    for kind, labels in zip(columns["kind"], columns["labels"], strict=True):
        if (kind in CLASSES) != (labels is not None):
            raise ValueError(f"{where} has a column that is {kind} with the labels {labels}")
        if labels is not None and len(set(labels)) != len(labels):
            raise ValueError(f"{where} has a label twice")


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
    """How a training table looks: the way from tables to numbers and back.

    A table is read as a matrix with one number a cell: numbers as they are, classes as the
    number of their label, datetimes as seconds since 1970 (UTC) and durations as seconds, NaN for
    every cell that is missing (NaN, None, pandas.NA, NaT, null). float64 tells such seconds apart
    to a fraction of a microsecond, so nanoseconds of a datetime, and integers above 2^53, are
    rounded.

    Parameters
    ----------
    container : {"array", "pandas", "polars", "pyarrow"}
        Frames of other libraries that follow the data frame protocol, or Arrow's, count as
        "pyarrow".
    columns : tuple of ColumnFormat
    dtype : {"float32", "float64"}
        Of the matrix: "float32" where all columns are of single precision.

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
        """Learn how a table looks.

        Parameters
        ----------
        X : array, frame or list of lists of shape (n, d)
        kinds : mapping, optional
            From names or positions of columns to their kinds, which come before what the dtype
            says. Classes that are stated have their sorted distinct values as labels. Numbers
            that are stated to be times are seconds.

        Raises
        ------
        TypeError
            If X is no table, or is lazy or sparse, or a column holds what cannot be read.
        ValueError
            If a kind or a column in `kinds` is unknown, or a column has too many labels.
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
        """How tables look of which this is a part and `other` another, with the labels of both.

        `unseen` and `unseen_there` are places of columns in which a part has no cell: they look as
        in the other.

        Raises
        ------
        TypeError
            If a column is of one kind here and of another there.
        ValueError
            If ordered labels are in another order, or a column has too many labels.
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
        """Places of the columns of a table in which all cells are missing."""
        missing = np.isnan(self.read(X)).all(axis=0)
        return frozenset(map(int, np.flatnonzero(missing)))

    @property
    def has_labels_of_rows(self) -> bool:
        """Whether columns have the labels that came in the rows of the fit."""
        return any(c.labels is not None and c.labels != (False, True) for c in self.columns)

    @property
    def names(self) -> list[str] | None:
        """Names of the columns, None where there are none or some are numbers."""
        names = [column.name for column in self.columns]
        texts = [name for name in names if isinstance(name, str)]
        return texts if len(texts) == len(names) > 0 else None

    @cached_property
    def is_plain(self) -> bool:
        """Whether tables are arrays of nothing but numbers, which nothing is done to."""
        each = {id(column): column for column in self.columns}  # most arrays have one for all
        return self.container == "array" and all(c.is_plain_number for c in each.values())

    def read(self, X: Any, handle_unknown: str = "error") -> np.ndarray:
        """A table as numbers.

        Parameters
        ----------
        X : array, frame or list of lists of shape (n, d)
            Of this library or another; columns are taken by their position, labels by their value.
            Arrays of numbers may hold seconds for times.
        handle_unknown : {"error", "missing"}
            Whether a label that was not there in the fit is an error, or read as missing.

        Returns
        -------
        values : ndarray of shape (n, d)
            NaN where a cell is missing. float32 if all columns of X are of single precision, else
            float64. Arrays of one of these dtypes come back as they are, not copied, and those of
            other tables may be read-only.

        Raises
        ------
        TypeError
            If X is no table, or a column holds cells of another kind.
        ValueError
            If a label is unknown, or X has another number of columns.
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
        """Numbers as a table of the user's library, in the dtypes of its columns.

        NaN becomes what is missing in the dtype; where a dtype has nothing for that, as numpy's
        integers and booleans, a pandas column with missing cells is float64, or objects. Integers
        and times are rounded and kept in the range of their dtype, classes are those of the
        nearest number. Arrays of numbers come back as float32 or float64.

        Parameters
        ----------
        values : ndarray of shape (n, d)
        like : table of shape (n, d), optional
            Its library, index and names of columns are taken, and its dtypes where they hold
            cells of the kind.

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
        """A table with numbers written into some of its cells, the others as they are.

        Parameters
        ----------
        X : table of shape (n, d)
        values : ndarray of shape (n, d)
        missing : ndarray of bool of shape (n, d)
            Where values are taken; cells elsewhere keep the bits that they have.

        Returns
        -------
        filled : table of shape (n, d)
            Of the library, index, names and order of X. A column keeps its dtype where that holds
            what is written, as with `write`, and any column without such a cell does.
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
        """Cells that are given of `n` rows, as numbers.

        Parameters
        ----------
        given : mapping, frame or array-like
            From columns, by name or position, to one value or to `n`; or a frame with some of the
            columns by their names, or an array with all, NaN where nothing is given, of one row
            or of `n`.
        n : int
        handle_unknown : {"error", "missing"}
            As for `read`.

        Returns
        -------
        values : ndarray of shape (n, d)
            NaN where nothing is given.

        Raises
        ------
        TypeError
            If `given` is nothing of that, or a value is of another kind than its column.
        ValueError
            If a column or label is unknown, or the number of values is another.
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
                    f"given holds {len(values)} values for the column {key!r}, where there must be "
                    f"one, or one for each of {n} rows."
                )
            filled[:, j] = values
        return filled

    def _made(
        self, values: np.ndarray, looks: Sequence[ColumnFormat], home: type[Table]
    ) -> list[Any]:
        """Columns of a library in the dtypes, and with the labels, of `looks`."""
        pairs = enumerate(zip(self.columns, looks, strict=True))
        return [_made_column(column, look, home, values[:, j]) for j, (column, look) in pairs]

    def _check_width(self, d: int) -> None:
        if d != len(self.columns):
            raise ValueError(
                f"X has {d} columns, but the table of the fit had {len(self.columns)}."
            )

    def to_state(self) -> dict[str, Any]:
        """All that is known, in lists, dictionaries, strings, numbers and booleans."""
        shared = len({id(column) for column in self.columns}) == 1
        some = self.columns[:1] if shared else self.columns
        columns = {each.name: [getattr(column, each.name) for column in some] for each in _FIELDS}
        columns["labels"] = [None if given is None else list(given) for given in columns["labels"]]
        state = {"container": self.container, "dtype": self.dtype, "columns": columns}
        return state | {"n_columns": len(self.columns)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TableFormat:
        """What `to_state` gave, also after a way through JSON."""
        entries = zip(*(state["columns"][each.name] for each in _FIELDS), strict=True)
        columns = []
        for name, dtype, kind, given, stated in entries:
            labels = None if given is None else tuple(given)
            columns.append(ColumnFormat(name, dtype, kind, labels, stated))
        if len(columns) == 1:
            columns *= state["n_columns"]
        return cls(state["container"], tuple(columns), state["dtype"])


def _joined_column(here: ColumnFormat, there: ColumnFormat, j: int) -> ColumnFormat:
    """One column of two tables."""
    if here.labels == there.labels and here.kind == there.kind:
        return here
    with _naming(here.name, j):
        if here.labels is None and there.labels is None and {here.kind, there.kind} <= {*NUMBERS}:
            return here if here.kind == "numeric" else there
        if here.kind != there.kind or here.labels is None or there.labels is None:
            raise UnreadableError(
                f"holds {here.kind} cells in one table and {there.kind} ones in another: give it "
                "one type."
            )
        if not here.has_declared_labels:
            try:
                labels = tuple(sorted({*here.labels, *there.labels}))
            except TypeError:
                raise UnreadableError(
                    "holds strings in one table and numbers in another: give it one type."
                ) from None
        elif here.kind == "ordinal":
            raise LabelsError(
                f"holds the ordered labels {here.labels} in one table and {there.labels} in "
                "another: give all tables all of its labels, in one order."
            )
        else:
            labels = tuple(dict.fromkeys((*here.labels, *there.labels)))
        check_labels(here.kind, labels)
    return replace(here, labels=labels)


def _made_column(
    column: ColumnFormat, look: ColumnFormat, home: type[Table], values: np.ndarray
) -> Any:
    """A column of a library in the dtype, and with the labels, of `look`."""
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
    """While a column is read: errors that name it."""
    where = f"column {j if name is None else repr(name)} of {table}"
    try:
        yield
    except UnreadableError as error:
        raise TypeError(f"{where} {error}") from error
    except (LabelsError, OverflowError) as error:
        raise ValueError(f"{where} {error}") from error


def _stated(kinds: Mapping[Any, str] | None, table: Table) -> dict[int, str]:
    """Kinds that the user states, by the position of their column."""
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise TypeError(
            "kinds must be a mapping from columns, by name or position, to kinds; got "
            f"{type(kinds).__name__}."
        )
    places = {name: j for j, name in enumerate(table.names or [])}
    d = table.shape[1]
    found: dict[int, str] = {}
    choices = ", ".join([*KINDS, *_SYNONYMS])
    for key, kind in kinds.items():
        known = _SYNONYMS.get(kind, kind) if isinstance(kind, str) else kind
        if known not in KINDS:
            raise ValueError(f"the kind of {key!r} must be one of {choices}; got {kind!r}.")
        j = place_of(key, places, d, "kinds")
        if found.setdefault(j, known) != known:
            raise ValueError(f"kinds states two kinds for the column {key!r}.")
    return found


def _nearest(numbers: np.ndarray, labels: Sequence[Label], written: Sequence[Label]) -> np.ndarray:
    """Codes of the nearest labels among those that are written, -1 for NaN."""
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
    """How a column is written beside a column of another table: in its dtype where that fits."""
    cells = table.cells(j)
    if _suits(column, cells):
        labels = column.labels if cells.declared is None else cells.declared
        return replace(column, dtype=cells.dtype, labels=labels)
    if same:
        return column
    return replace(column, dtype=table.natural(column.kind, column.labels))


def _suits(column: ColumnFormat, cells: Cells) -> bool:
    """Whether the dtype of some cells holds what a column may hold, without loss."""
    nothing = cells.dtype.lower() == "null"
    if column.labels is None:
        if column.kind in NUMBERS:
            objects = cells.dtype.startswith("object")  # which may be but None
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
