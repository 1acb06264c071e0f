"""Layout of the columns of a table among the input features of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .kinds import ColumnKind


@dataclass(frozen=True, eq=False)
class Layout:
    """Features of encoded rows: first all numbers, then the classes of each column.

    Attributes
    ----------
    kinds : sequence of ColumnKind
    numbers : ndarray of int
        Column of each number.
    starts : dict of int to int
        First class feature of each column with classes, in the order of features.
    columns : ndarray of int of shape (e,)
        Column of each feature.
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
        """Number of classes of each group of class features."""
        return [self.kinds[j].n_classes for j in self.starts]

    def encode_classes(self, values: np.ndarray, seen: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Write one-hot features to x, and return which features (n, e) are observed.

        A value that is not one of the classes counts as not observed, and so does the number of a
        spiked column if the value is a spike.
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
        """Return values (n, d), given features (n, e) and numbers (n, m) in units of columns."""
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
        """Return sums (n, d) over the features of each column."""
        found = np.zeros((len(features), len(self.kinds)))
        found[:, self.numbers] = features[:, : len(self.numbers)]
        for j, start in self.starts.items():
            found[:, j] += features[:, start : start + self.kinds[j].n_classes].sum(1)
        return found
