"""What the columns of a table mean, and the way from rows to tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..nn.batch import Batch
from .source import Rows, RowSource

_BLOCK = 16_384  # rows that are read at once
_COLUMNS = 64  # columns whose moments are computed at once
# Encoded numbers go no further from 0, so that networks and squares stay in the range of the dtype.
FARTHEST = {torch.float32: 1e12, torch.float64: 1e100}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str or None
    kind : {"numeric"}
    dtype : str
    location, scale : float
        What is subtracted, and what the rest is divided by, in the units of the column.
    low, high : float
        Smallest and largest value that was seen, in the units of the column.
    """

    name: str | None
    kind: str
    dtype: str
    location: float
    scale: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Summary:
    """One pass over a source, over its observed cells.

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
    def of(cls, source: RowSource) -> Summary:
        """Read the source once, in blocks whose size does not depend on how it is divided."""
        total: Summary | None = None
        for rows in source.blocks(_BLOCK):
            part = cls._of_rows(rows)
            total = part if total is None else total.merge(part)
        if total is None:
            raise ValueError("a source without rows has no summary.")
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
        std[std <= 1e-10 * np.abs(mean)] = 0.0  # constant but for rounding
        return cls(count, mean * size, std * size, low, high)

    def merge(self, other: Summary) -> Summary:
        """The summary of the rows of both."""
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


@dataclass(eq=False)
class Schema:
    """Columns, and the way from rows to tensors and back. It travels with the fitted model.

    A feature is encoded as ``(x - location) / scale``, a cell that was not observed as 0, and one
    that is farther from the location than `FARTHEST` scales as if it were that far.

    Attributes
    ----------
    location, scale : ndarrays of shape (d,)
        In the units of each column.
    low, high : ndarrays of shape (d,)
        Smallest and largest value that was seen, in the units of each column.
    names : list of str or None
    """

    location: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    names: list[str] | None = None

    @classmethod
    def fit(
        cls, summary: Summary, one_scale: bool = False, names: list[str] | None = None
    ) -> Schema:
        """Columns of a table; with `one_scale` they are pixels, and share their scale."""
        scale = summary.std.copy()
        if one_scale:
            scale[:] = np.sqrt(np.mean(np.square(scale)))
        scale[scale == 0.0] = 1.0
        return cls(summary.mean, scale, summary.low, summary.high, names)

    @property
    def n_features(self) -> int:
        return len(self.location)

    @property
    def columns(self) -> list[Column]:
        """The columns one by one."""
        names: Sequence[str | None] = self.names or [None] * self.n_features
        numbers = zip(names, self.location, self.scale, self.low, self.high, strict=True)
        dtype = str(self.low.dtype)
        return [
            Column(n, "numeric", dtype, float(m), float(s), float(a), float(b))
            for n, m, s, a, b in numbers
        ]

    @property
    def range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Smallest and largest encoded value (d,) of each feature."""
        ends = [(end - self.location) / self.scale for end in (self.low, self.high)]
        low, high = (torch.tensor(end, dtype=torch.float32) for end in ends)
        return low, high

    @property
    def units(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Location and scale as tensors of float64."""
        return torch.tensor(self.location), torch.tensor(self.scale)

    def encode(
        self, rows: Rows, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
    ) -> Batch:
        """Rows as tensors, in the dtype of the rows unless told."""
        if dtype is None:
            dtype = torch.float32 if rows.values.dtype == np.float32 else torch.float64
        kind = np.float32 if dtype == torch.float32 else np.float64
        x = np.empty(rows.values.shape, kind)
        with np.errstate(over="ignore"):
            np.clip(
                (rows.values - self.location) / self.scale,
                -FARTHEST[dtype],
                FARTHEST[dtype],
                out=x,
                casting="same_kind",
            )
        observed = context = index = None
        if rows.observed is not None:
            x[~rows.observed] = 0.0
            observed = torch.from_numpy(np.ascontiguousarray(rows.observed)).to(device)
        if rows.context is not None:
            context = torch.from_numpy(np.array(rows.context, kind)).to(device)
        if rows.row_index is not None:
            index = torch.from_numpy(np.ascontiguousarray(rows.row_index)).to(device)
        return Batch(torch.from_numpy(x).to(device), observed, context, index)

    def encode_all(
        self, source: RowSource, dtype: torch.dtype, device: str | torch.device
    ) -> Batch:
        """All rows of a source as tensors, written block by block into their place."""
        n, kind = source.n_rows, torch.bool
        x = torch.empty(n, self.n_features, dtype=dtype)
        observed = torch.empty(n, self.n_features, dtype=kind) if source.has_holes else None
        context = torch.empty(n, source.n_context, dtype=dtype) if source.n_context else None
        begun = 0
        for rows in source.blocks(_BLOCK // 4):
            part, here = self.encode(rows, dtype), slice(begun, begun + len(rows))
            x[here] = part.x
            if observed is not None:
                observed[here] = True if part.observed is None else part.observed
            if context is not None and part.context is not None:
                context[here] = part.context
            begun += len(rows)
        return Batch(x, observed, context).to(device)

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Encoded features (n, d) in the units of the columns, infinite where they overflow."""
        with np.errstate(over="ignore"):
            X: np.ndarray = x * self.scale + self.location
        return X

    def log_volume(self, observed: np.ndarray | None = None) -> np.ndarray:
        """Logarithm of the scales: (d,), or its sum over observed cells (n,).

        A log-density of encoded rows less this is one in the units of the columns.
        """
        each: np.ndarray = np.log(self.scale)
        if observed is not None:
            each = observed @ each
        return each
