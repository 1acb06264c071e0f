"""Kinds of columns: numbers, classes, and numbers among which some values come again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .cells import CLASSES, KINDS
from .format import ColumnFormat
from .source import Rows, RowSource

_SAMPLE_CELLS = 1 << 21  # cells that are looked at to find candidates
_SAMPLE_ROWS = (256, 4096)
_BLOCK = 16_384  # rows that are counted at once
_KINDS = (*KINDS, "binary", "discrete", "spiked", "constant", "missing")
_MOST_VALUES = 20  # distinct values of a discrete column
_LEAST_ROWS = 20  # rows of a value, in the mean of a discrete column, and of a spike
_LEAST_SHARE = 0.05  # of the rows, that have a spike
_UNUSUAL = 10.0  # times as frequent as the other values are in the mean
_MOST_SPIKES = 5
_MOST_CLASSES = 8  # for each column, in the mean of all, but for columns of two values


@dataclass(frozen=True)
class ColumnKind:
    """What the values of one column are, and how often the values that are classes come.

    Parameters
    ----------
    kind : str
        "numeric", "integer", "datetime" or "duration": numbers. "binary", "discrete": numbers of
        few values, each of which is a class. "spiked": a number, or one of some frequent values.
        "boolean", "categorical", "ordinal": labels. "constant": one number. "missing": no cell was
        seen.
    values : tuple of float
        Values that are classes: of labels their numbers.
    counts : tuple of int
        How many training rows have each.
    is_whole : bool
        Whether all numbers that were seen are whole ones.

    Examples
    --------
    >>> hours = ColumnKind("spiked", (40.0,), (470,))
    >>> hours.n_classes, hours.has_number
    (2, True)
    """

    kind: str
    values: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    is_whole: bool = False

    @property
    def is_label(self) -> bool:
        """Whether values are numbers of labels, so that a mean of them says nothing."""
        return self.kind in CLASSES

    @property
    def has_number(self) -> bool:
        """Whether cells are encoded by a number, alone or beside classes."""
        return not self.values or self.kind == "spiked"

    @property
    def n_classes(self) -> int:
        """Classes of a cell; of a spiked column the last is "another number"."""
        return len(self.values) + (self.kind == "spiked")


def check_kind(kind: str, values: Sequence[float], counts: Sequence[int], where: str) -> None:
    """Refuse values of a file that no `ColumnKind` has."""
    if kind not in _KINDS:
        raise ValueError(f"{where} has a column that is {kind}")
    if len(values) != len(counts) or any(a >= b for a, b in zip(values, values[1:], strict=False)):
        raise ValueError(f"{where} has a column whose values are not in order, each with a count")
    classes = kind in CLASSES or kind in ("binary", "discrete", "spiked")
    if bool(values) != classes:
        raise ValueError(f"{where} has a column that is {kind} with {len(values)} values")
    if kind in CLASSES and not all(v >= 0 and float(v).is_integer() for v in values):
        raise ValueError(f"{where} has a column that is {kind} with values that number no labels")


def find_kinds(
    source: RowSource,
    columns: Sequence[ColumnFormat] | None,
    by_values: bool = True,
    spikes: bool = True,
) -> list[ColumnKind]:
    """Kinds of the columns of a source.

    A column of numbers has discrete values where it has at most 20 of them and 20 rows for each in
    the mean, and spikes where single values come in 5 % of the rows and are ten times as frequent
    as the others are in the mean. Where discrete values are many in all columns together, as in
    images, only columns of two values are taken for discrete. A kind that the user states is not
    questioned.

    Parameters
    ----------
    source : RowSource
    columns : sequence of ColumnFormat or None
        How the columns look to the user; None for arrays of numbers.
    by_values : bool
        Whether numbers are looked at; labels are classes in any case.
    spikes : bool
        Whether spikes are looked for, too.

    Returns
    -------
    kinds : list of ColumnKind
    """
    d = source.n_features
    names = ["numeric"] * d if columns is None else [column.kind for column in columns]
    kinds = [ColumnKind(name, is_whole=name == "integer") for name in names]
    stated = [columns is not None and columns[j].stated for j in range(d)]
    tallies = {j: _Tally() for j in range(d) if kinds[j].is_label}
    if by_values:
        rows = source.some(int(np.clip(_SAMPLE_CELLS // max(1, d), *_SAMPLE_ROWS)))
        for j in range(d):
            if not kinds[j].is_label and not stated[j]:
                tally = _Tally.after(_observed(rows, j), spikes)
                if tally is not None:
                    tallies[j] = tally
    if tallies:
        for block in source.blocks(_BLOCK):
            for j, tally in tallies.items():
                tally.add(_observed(block, j))
    for j, tally in tallies.items():
        if kinds[j].is_label:
            kinds[j] = _classes(kinds[j].kind, tally.counts)
        else:
            kinds[j] = _of_numbers(kinds[j].kind, tally)
    return _without_many_classes(kinds)


def _observed(rows: Rows, j: int) -> np.ndarray:
    """Cells of a column that were observed."""
    cells = rows.values[:, j]
    return cells if rows.observed is None else cells[rows.observed[:, j]]


@dataclass
class _Tally:
    """What is counted of a column: all of its values, or those that a sample showed often."""

    often: tuple[float, ...] | None = None  # None: all values
    counts: dict[float, int] = field(default_factory=dict)
    n: int = 0
    is_whole: bool = True

    @classmethod
    def after(cls, cells: np.ndarray, spikes: bool) -> _Tally | None:
        """What is to be counted after a sample; None where numbers are just numbers."""
        values, counts = np.unique(cells, return_counts=True)
        if len(values) <= _MOST_VALUES:
            return cls()
        order = np.argsort(-counts, kind="stable")[:_MOST_SPIKES]
        usual = (len(cells) - counts[order].sum()) / (len(values) - len(order))
        least = max(0.9 * _LEAST_SHARE * len(cells), _UNUSUAL * usual)
        often = tuple(float(values[i]) for i in order if spikes and counts[i] >= least)
        whole = bool((values == np.rint(values)).all())
        return cls(often, is_whole=whole) if often or whole else None

    def add(self, cells: np.ndarray) -> None:
        self.n += len(cells)
        values, counts = np.unique(cells, return_counts=True)
        if self.often is not None:
            kept = np.isin(values, self.often)
            values, counts = values[kept], counts[kept]
        for value, count in zip(values, counts, strict=True):
            self.counts[float(value)] = self.counts.get(float(value), 0) + int(count)
        self.is_whole = self.is_whole and bool((cells == np.rint(cells)).all())


def _classes(kind: str, counts: dict[float, int]) -> ColumnKind:
    values = tuple(sorted(counts))
    if not values:
        return ColumnKind("missing")
    return ColumnKind(kind, values, tuple(counts[v] for v in values))


def _of_numbers(kind: str, tally: _Tally) -> ColumnKind:
    """The kind of a column of numbers that were counted."""
    counts, n = tally.counts, tally.n
    if n == 0:
        return ColumnKind("missing")
    if tally.often is None:
        if len(counts) == 1:
            return ColumnKind("constant")
        if len(counts) <= _MOST_VALUES and n >= _LEAST_ROWS * len(counts):
            return _classes("binary" if len(counts) == 2 else "discrete", counts)
    else:
        least = max(_LEAST_ROWS, _LEAST_SHARE * n)
        spikes = {value: count for value, count in counts.items() if count >= least}
        if spikes:
            return replace(_classes("spiked", spikes), is_whole=tally.is_whole)
    if kind == "numeric" and tally.is_whole:
        kind = "integer"
    return ColumnKind(kind, is_whole=tally.is_whole)


def _without_many_classes(kinds: list[ColumnKind]) -> list[ColumnKind]:
    n_classes = sum(k.n_classes for k in kinds if k.kind == "discrete")
    if n_classes <= _MOST_CLASSES * len(kinds):
        return kinds
    return [ColumnKind("numeric") if k.kind == "discrete" else k for k in kinds]
