"""Column types: numbers, categories, and numbers with some frequent values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .cells import CLASSES, KINDS
from .format import ColumnFormat
from .source import RowSource

_SAMPLE_CELLS = 1 << 21  # values sampled to find candidates
_SAMPLE_ROWS = (256, 4096)
_BLOCK = 16_384  # rows counted at once
_KINDS = (*KINDS, "binary", "discrete", "spiked", "constant", "missing")
_MOST_VALUES = 20  # largest number of distinct values of a discrete column
_LEAST_ROWS = 20  # mean number of rows per value of a discrete column, and rows of a spike
_LEAST_SHARE = 0.05  # least proportion of the rows with a spike
_UNUSUAL = 10.0  # frequency of a spike, relative to the mean of the other values
_MOST_SPIKES = 5
_MOST_CLASSES = 8  # classes per column, on average over all columns except binary ones


@dataclass(frozen=True)
class ColumnKind:
    """Type of one column, with the counts of the values that are classes.

    Parameters
    ----------
    kind : str
        "numeric", "integer", "datetime" or "duration": numbers. "binary", "discrete": numbers with
        few values, each of which is a class. "spiked": numbers with some frequent values.
        "boolean", "categorical", "ordinal": labels. "constant": a single number. "missing": no
        observed values.
    values : tuple of float
        Values that are classes; codes for labels.
    counts : tuple of int
        Number of training rows with each value.
    is_whole : bool
        Whether all observed numbers are integers.

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
        """Return whether values are codes of labels, whose mean is meaningless."""
        return self.kind in CLASSES

    @property
    def has_number(self) -> bool:
        """Return whether values are encoded by a number, alone or in addition to classes."""
        return not self.values or self.kind == "spiked"

    @property
    def n_classes(self) -> int:
        """Number of classes; the last class of a spiked column is "another number"."""
        return len(self.values) + (self.kind == "spiked")


def check_kind(kind: str, values: Sequence[float], counts: Sequence[int], where: str) -> None:
    """Raise an error for an invalid state of a `ColumnKind`."""
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
    """Infer the types of the columns of a source.

    A column of numbers is discrete if it has at most 20 values, with 20 rows for each value on
    average. It is spiked if single values occur in 5 % of the rows and are ten times as frequent as
    the other values on average. If the total number of discrete values in all columns is large, as
    in images, only columns of two values are treated as discrete. Types given by the user are not
    changed.

    Parameters
    ----------
    source : RowSource
    columns : sequence of ColumnFormat or None
        Formats of the columns; None for arrays of numbers.
    by_values : bool
        Whether numbers can be classes; labels are classes in any case.
    spikes : bool
        Whether to search for spikes.

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
                tally = _Tally.after(rows.column(j), spikes)
                if tally is not None:
                    tallies[j] = tally
    if tallies:
        for block in source.blocks(_BLOCK):
            for j, tally in tallies.items():
                tally.add(block.column(j))
    for j, tally in tallies.items():
        if kinds[j].is_label:
            kinds[j] = _classes(kinds[j].kind, tally.counts)
        else:
            kinds[j] = _of_numbers(kinds[j].kind, tally)
    return _without_many_classes(kinds)


@dataclass
class _Tally:
    """Counts of a column: of all of its values, or of those that are frequent in a sample."""

    often: tuple[float, ...] | None = None  # None: all values
    counts: dict[float, int] = field(default_factory=dict)
    n: int = 0
    is_whole: bool = True

    @classmethod
    def after(cls, cells: np.ndarray, spikes: bool) -> _Tally | None:
        """Return what to count after a sample; None if a column is numerical."""
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
    """Return the type of a counted column of numbers."""
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
