"""Where the columns of a table lie among the features that networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .kinds import ColumnKind


@dataclass(frozen=True, eq=False)
class Layout:
    """Features of encoded rows: all numbers, then the classes of one column after another.

    Attributes
    ----------
    kinds : sequence of ColumnKind
    numbers : ndarray of int
        The column of each number.
    starts : dict of int to int
        The feature of the first class of each column that has classes, in the order of features.
    columns : ndarray of int of shape (e,)
        The column of each feature.
    """

    kinds: Sequence[ColumnKind]
    numbers: np.ndarray
    starts: dict[int, int]
    columns: np.ndarray

    @classmethod
    def of(cls, kinds: Sequence[ColumnKind]) -> Layout:
        numbers = [j for j, kind in enumerate(kinds) if kind.has_number]
        starts, columns = {}, list(numbers)
        for j, kind in enumerate(kinds):
            if kind.n_classes:
                starts[j] = len(columns)
                columns += [j] * kind.n_classes
        return cls(kinds, np.array(numbers, int), starts, np.array(columns, int))

    @property
    def n_features(self) -> int:
        return len(self.columns)

    @property
    def classes(self) -> list[int]:
        """How many classes each group of class features has."""
        return [self.kinds[j].n_classes for j in self.starts]

    def encode_classes(self, values: np.ndarray, seen: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Write zeros and ones to their features of x; which features (n, e) were observed.

        A value that is none of the classes counts as not observed, and the number of a spiked
        column, where the cell is a spike, too.
        """
        observed = seen[:, self.columns]
        place = {j: i for i, j in enumerate(self.numbers)}
        for j, start in self.starts.items():
            kind = self.kinds[j]
            known = np.array(kind.values)
            cells = np.where(seen[:, j], values[:, j], known[0])
            code = np.searchsorted(known, cells).clip(0, len(known) - 1)
            found = known[code] == cells
            if kind.kind == "spiked":
                observed[:, place[j]] &= ~found
                code = np.where(found, code, len(known))
                found = np.ones(len(code), bool)
            found &= seen[:, j]
            observed[:, start : start + kind.n_classes] = found[:, None]
            rows = np.flatnonzero(found)
            x[rows, start + code[rows]] = 1.0
        return observed

    def decode(self, x: np.ndarray, numbers: np.ndarray, constants: np.ndarray) -> np.ndarray:
        """Cells (n, d), given features (n, e) and numbers (n, m) in the units of their columns."""
        X = np.empty((len(x), len(self.kinds)))
        X[:, self.numbers] = numbers
        for j, kind in enumerate(self.kinds):
            if kind.kind == "constant":
                X[:, j] = constants[j]
            elif kind.kind == "missing":
                X[:, j] = np.nan
        for j, start in self.starts.items():
            kind = self.kinds[j]
            share = x[:, start : start + kind.n_classes].astype(np.float64)
            values = np.array(kind.values)
            if kind.is_label:
                X[:, j] = values[share.argmax(1)]
            elif kind.kind == "spiked":
                other = share[:, -1]
                number = np.where(other > 0.0, other * X[:, j], 0.0)
                X[:, j] = share[:, :-1] @ values + number
            else:
                X[:, j] = share @ values
        return X

    def by_column(self, features: np.ndarray) -> np.ndarray:
        """Sums (n, d) of the features of each column."""
        found = np.zeros((len(features), len(self.kinds)))
        found[:, self.numbers] = features[:, : len(self.numbers)]
        for j, start in self.starts.items():
            found[:, j] += features[:, start : start + self.kinds[j].n_classes].sum(1)
        return found
