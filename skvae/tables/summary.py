"""Summary statistics of columns in one pass over the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .kinds import ColumnKind
from .source import Rows, RowSource

_BLOCK = 16_384  # rows read at once
_COLUMNS = 64  # columns of which moments are computed at once


@dataclass(frozen=True, eq=False)
class Summary:
    """Summary statistics of the observed values of a source.

    Attributes
    ----------
    count, mean, std, low, high : ndarrays of shape (d,)
    """

    count: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, source: RowSource, kinds: Sequence[ColumnKind] | None = None) -> Summary:
        """Compute the summary in one pass, in blocks independent of divisions of the source.

        Spikes of spiked columns among `kinds` are left out.
        """
        total: Summary | None = None
        for rows in source.blocks(_BLOCK):
            part = cls._of_rows(rows if kinds is None else _without_spikes(rows, kinds))
            total = part if total is None else total.merge(part)
        if total is None:
            raise ValueError("the source has no rows.")
        return total

    @classmethod
    def _of_rows(cls, rows: Rows) -> Summary:
        X, seen = rows.values, rows.observed
        n, d = X.shape
        low, high = X.min(0), X.max(0)
        count = np.full(d, float(n))
        if seen is not None:
            low = np.where(seen, X, np.inf).min(0)
            high = np.where(seen, X, -np.inf).max(0)
            count = seen.sum(0).astype(np.float64)
        size = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
        size[(size == 0.0) | ~np.isfinite(size)] = 1.0  # so that squares stay in range
        mean, std = np.zeros(d), np.zeros(d)
        for j in range(0, d, _COLUMNS):
            some = slice(j, j + _COLUMNS)
            part = X[:, some] / size[some]
            if seen is None:
                mean[some] = part.mean(axis=0, dtype=np.float64)
                std[some] = part.std(axis=0, dtype=np.float64)
                continue
            here, weight = seen[:, some], np.maximum(count[some], 1.0)
            mean[some] = np.where(here, part, 0.0).sum(0) / weight
            std[some] = np.sqrt(np.where(here, part - mean[some], 0.0).__pow__(2).sum(0) / weight)
        std[std <= 1e-10 * np.abs(mean)] = 0.0  # constant up to rounding
        return cls(count, mean * size, std * size, low, high)

    def merge(self, other: Summary) -> Summary:
        """Return the summary of the rows of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1.0)
        step = other.mean - self.mean
        size = np.maximum.reduce([self.std, other.std, np.abs(step), np.full_like(step, 1e-300)])
        variance = (
            (1.0 - share) * np.square(self.std / size)
            + share * np.square(other.std / size)
            + share * (1.0 - share) * np.square(step / size)
        )
        mean, std = self.mean + share * step, size * np.sqrt(variance)
        std[std <= 1e-10 * np.abs(mean)] = 0.0
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Summary(count, mean, std, low, high)


def _without_spikes(rows: Rows, kinds: Sequence[ColumnKind]) -> Rows:
    """Return rows in which spikes are masked."""
    spiked = [j for j, kind in enumerate(kinds) if kind.kind == "spiked"]
    if not spiked:
        return rows
    spikes = [np.isin(rows.values[:, j], kinds[j].values) for j in spiked]
    return rows.hide(spiked, np.stack(spikes, axis=1))
