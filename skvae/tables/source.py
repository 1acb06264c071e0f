"""Sources of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Index = slice | np.ndarray

_MOST_COUNTED = 2.0**53  # whole numbers that float64 adds exactly


def _numbers(index: Index, n: int) -> np.ndarray:
    """Return the positions of n rows that an index selects."""
    return np.arange(*index.indices(n)) if isinstance(index, slice) else index


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in the units of the user.

    Attributes
    ----------
    values : ndarray of shape (n, d)
    observed : ndarray of bool of shape (n, d), or None
        Mask of observed values; None if all are. Other values are arbitrary.
    context : ndarray of shape (n, c), or None
        Condition of the rows, such as one-hot labels.
    row_index : ndarray of int64 of shape (n,), or None
        Positions of the rows in their source.
    """

    values: np.ndarray
    observed: np.ndarray | None = None
    context: np.ndarray | None = None
    row_index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def column(self, j: int) -> np.ndarray:
        """Return the observed values of a column."""
        values: np.ndarray = self.values[:, j]
        return values if self.observed is None else values[self.observed[:, j]]

    def hide(self, columns: Sequence[int], cells: np.ndarray | bool = True) -> Rows:
        """Return rows in which values of some columns are masked.

        `cells` of shape (n, n_columns) selects the values; None selects all of them.
        """
        observed = np.ones(self.values.shape, bool) if self.observed is None else self.observed
        observed = observed.copy()
        observed[:, columns] &= ~np.asarray(cells)
        return Rows(self.values, observed, self.context, self.row_index)

    def copy(self) -> Rows:
        """Return a copy of the rows, without their positions."""
        parts = (self.values, self.observed, self.context)
        return Rows(*(None if a is None else a.copy() for a in parts))  # type: ignore[arg-type]

    def take(self, index: Index) -> Rows:
        """Return some of the rows."""
        parts = (self.values, self.observed, self.context, self.row_index)
        return Rows(*(None if a is None else a[index] for a in parts))  # type: ignore[arg-type]


def repeated(weights: np.ndarray, n: int, offset: float = 0.5) -> np.ndarray:
    """Numbers of n rows in order, each row as often as its weight says, rounded down or up.

    Systematic sampling: row i covers its weight's length of a line, on which n equidistant points
    lie, the first one `offset` steps from the beginning. With an `offset` that is uniform in
    [0, 1) the mean number of each row is its exact share.

    Examples
    --------
    >>> repeated(np.array([1.0, 0.5, 2.5]), 4).tolist()
    [0, 2, 2, 2]
    """
    ends = np.cumsum(weights, dtype=np.float64)
    points = (np.arange(n) + offset) * (ends[-1] / n)
    numbers: np.ndarray = np.searchsorted(ends, points, side="right").clip(max=len(weights) - 1)
    return numbers


def n_counted(weights: np.ndarray) -> int:
    """Return the number of rows that weighted rows stand for: whole weights are counts."""
    total = float(weights.sum())
    is_count = total < _MOST_COUNTED and bool((weights == np.floor(weights)).all())
    return int(total) if is_count else len(weights)


def accepted(weights: np.ndarray, highest: float, seed: int) -> np.ndarray:
    """Return a mask of rows that follow the weighted distribution, none of them twice.

    Rejection sampling: a row is accepted with probability ``weight / highest``.
    """
    found: np.ndarray = np.random.default_rng(seed).random(len(weights)) * highest < weights
    return found


class RowSource(ABC):
    """Base class of sources whose rows can be read repeatedly, in order or by position.

    Attributes
    ----------
    n_rows, n_features, n_context : int
    dtype : numpy dtype
        Dtype of the features.
    has_missing : bool
        Whether there are missing values.
    """

    n_rows: int
    n_features: int
    n_context: int
    dtype: np.dtype
    has_missing: bool

    @abstractmethod
    def take(self, index: Index) -> Rows:
        """Return rows by a slice or by their positions."""

    def blocks(self, size: int) -> Iterator[Rows]:
        """Yield all rows in order, `size` at a time, independent of divisions of the source."""
        for i in range(0, self.n_rows, size):
            yield self.take(slice(i, min(i + size, self.n_rows)))

    def some(self, most: int) -> Rows:
        """Return at most about `most` evenly spaced rows."""
        return self.take(slice(None, None, -(-self.n_rows // most)))

    def subset(self, numbers: np.ndarray) -> RowSource:
        """Return the rows at these positions as a source."""
        return Subset(self, numbers)

    def weighted(self, weights: np.ndarray | None) -> RowSource:
        """Return as many rows, sampled in proportion to their weights: see `repeated`."""
        return self if weights is None else self.subset(repeated(weights, self.n_rows))

    def without(self, numbers: np.ndarray) -> RowSource:
        """Return a source without the rows at a few sorted positions."""
        return Without(self, numbers)


class ArraySource(RowSource):
    """Rows in memory.

    Parameters
    ----------
    values : ndarray of shape (n, d)
    context : ndarray of shape (n, c), optional
    observed : ndarray of bool of shape (n, d), optional
        Mask of observed values; if not given, all values but NaN are observed.
    """

    def __init__(
        self,
        values: np.ndarray,
        context: np.ndarray | None = None,
        observed: np.ndarray | None = None,
    ):
        self.rows = Rows(values, observed, context)
        self.n_rows, self.n_features = values.shape
        self.n_context = 0 if context is None else context.shape[1]
        self.dtype = values.dtype
        if observed is None:  # without a mask of all values, which takes memory
            self.has_missing = bool(values.size) and bool(np.isnan(values.min()))
        else:
            self.has_missing = not bool(observed.all())

    def take(self, index: Index) -> Rows:
        found = self.rows.take(index)
        observed = found.observed if self.has_missing else None
        if self.has_missing and observed is None:
            observed = ~np.isnan(found.values)
        return Rows(found.values, observed, found.context, _numbers(index, self.n_rows))


class Stacked(RowSource):
    """Concatenation of sources, such as the files of a data set.

    Parameters
    ----------
    parts : sequence of RowSource
        Sources with the same columns.
    """

    def __init__(self, parts: Sequence[RowSource]):
        self.parts = list(parts)
        first = self.parts[0]
        if any((p.n_features, p.n_context) != (first.n_features, first.n_context) for p in parts):
            raise ValueError("sources that are stacked must have the same columns.")
        self.n_features, self.n_context = first.n_features, first.n_context
        self.n_rows = sum(p.n_rows for p in parts)
        self.dtype = np.result_type(*(p.dtype for p in parts))
        self.has_missing = any(p.has_missing for p in parts)

    def take(self, index: Index) -> Rows:
        numbers = _numbers(index, self.n_rows)
        values = np.empty((len(numbers), self.n_features), self.dtype)
        observed = np.ones(values.shape, bool) if self.has_missing else None
        context = np.empty((len(numbers), self.n_context)) if self.n_context else None
        begun = 0
        for part in self.parts:
            here = np.flatnonzero((numbers >= begun) & (numbers < begun + part.n_rows))
            if len(here):
                rows = part.take(numbers[here] - begun)
                values[here] = rows.values
                if observed is not None and rows.observed is not None:
                    observed[here] = rows.observed
                if context is not None:
                    context[here] = rows.context
            begun += part.n_rows
        return Rows(values, observed, context, numbers)


class Subset(RowSource):
    """Some rows of another source, by their positions."""

    def __init__(self, source: RowSource, numbers: np.ndarray):
        self.source, self.numbers = source, numbers
        self.n_rows = len(numbers)
        self.n_features, self.n_context = source.n_features, source.n_context
        self.dtype, self.has_missing = source.dtype, source.has_missing

    def take(self, index: Index) -> Rows:
        return self.source.take(self.numbers[index])


class Without(RowSource):
    """All rows of another source but a few, given by sorted positions."""

    def __init__(self, source: RowSource, left_out: np.ndarray):
        self.source, self.left_out = source, left_out
        self.n_rows = source.n_rows - len(left_out)
        self.n_features, self.n_context = source.n_features, source.n_context
        self.dtype, self.has_missing = source.dtype, source.has_missing
        self._kept_before = left_out - np.arange(len(left_out))  # number of kept rows before each

    def take(self, index: Index) -> Rows:
        numbers = _numbers(index, self.n_rows)
        return self.source.take(numbers + self._kept_before.searchsorted(numbers, side="right"))
