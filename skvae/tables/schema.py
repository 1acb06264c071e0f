"""Column types and scales of a table, and conversion of rows to tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..nn.batch import Batch
from .checks import Axes, Each, Fields, Flag, Maybe, Number, Row, Sizes, Text, Whole
from .kinds import ColumnKind, check_kind
from .layout import Layout
from .marginals import QuantileNormal, check_knots, match_counts, match_ranks, match_shares
from .source import Rows, RowSource
from .summary import Summary

_BLOCK = 4096  # rows encoded at once
_CONSTANT = 1e-6  # scale of a constant column, relative to its value, or of a column of zeros
# Encoded numbers are clipped, so that networks and squares stay in the range of the dtype.
FARTHEST = {torch.float32: 1e12, torch.float64: 1e100}


_KIND = Row((Text(), Each(Number()), Each(Whole(1, 1 << 40)), Flag()))
_STATE = Fields(
    {
        "location": Axes(("d",)),
        "scale": Axes(("d",), above=0.0),
        "low": Axes(("d",)),
        "high": Axes(("d",)),
        "names": Maybe(Each(Text(), name="d")),
        "kinds": Maybe(Each(_KIND, name="d")),
        "marginals": Each(Row((Whole(), Axes(), Axes()))),
        "sees_masks": Flag(),
        "examples": Each(Row((Whole(), Axes()))),
    }
)


def check_schema(state: Any, where: str, sizes: Sizes) -> None:
    """Raise an error for an invalid state of a `Schema` of "d" columns."""
    _STATE(state, where, sizes)
    d, kinds = sizes["d"], state["kinds"] or []
    for kind, values, counts, _ in kinds:
        check_kind(kind, values, counts, where)
    for name in ("marginals", "examples"):
        places = [j for j, *_ in state[name]]
        if len({*places}) != len(places) or not all(j < d for j in places):
            raise ValueError(f"{where}.{name} refers to columns that do not exist")
    for _, x, z in state["marginals"]:
        check_knots(x, z, where)
    if not all(values.ndim == 1 and len(values) for _, values in state["examples"]):
        raise ValueError(f"{where}.examples has columns without values")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str or None
    kind : str
        See `ColumnKind`.
    dtype : str
    location, scale : float
        Location and scale of the standardisation, in the units of the column.
    low, high : float
        Smallest and largest observed value, in the units of the column.
    """

    name: str | None
    kind: str
    dtype: str
    location: float
    scale: float
    low: float
    high: float


def _scale_of_constant(location: np.ndarray) -> np.ndarray:
    """Return the scale of a constant column: a millionth of its value."""
    scale: np.ndarray = _CONSTANT * np.abs(location)
    return np.where(scale > 0.0, scale, _CONSTANT)


@dataclass(eq=False)
class Schema:
    """Columns of a table, with conversion of rows to tensors and back; part of a fitted model.

    A number is encoded as ``(x - location) / scale``, of the number itself or of its normal score.
    A missing value is encoded as 0, and numbers farther than `FARTHEST` scales from the location
    are clipped. Classes are one-hot encoded, after all numbers.

    Attributes
    ----------
    location, scale : ndarrays of shape (d,)
        Location and scale in the units of each column; 0 and 1 for columns without numbers.
    low, high : ndarrays of shape (d,)
        Smallest and largest observed value, in the units of each column.
    names : list of str or None
    kinds : list of ColumnKind, or None
        Column types; None if all columns are plain numbers.
    marginals : dict of int to QuantileNormal
        Maps of the columns whose numbers are transformed to normal scores.
    sees_masks : bool
        Whether the encoder receives a mask of observed numbers.
    examples : dict of int to ndarray
        Sorted training values of columns of numbers, a few thousand each.
    """

    location: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    names: list[str] | None = None
    kinds: list[ColumnKind] | None = None
    marginals: dict[int, QuantileNormal] = field(default_factory=dict)
    sees_masks: bool = False
    examples: dict[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        summary: Summary,
        one_scale: bool = False,
        names: list[str] | None = None,
        kinds: list[ColumnKind] | None = None,
        marginals: dict[int, QuantileNormal] | None = None,
        sees_masks: bool = False,
        examples: dict[int, np.ndarray] | None = None,
    ) -> Schema:
        """Learn the columns of a table; with `one_scale` they are pixels and share one scale."""
        location, scale = summary.mean.copy(), summary.std.copy()
        low, high = summary.low, summary.high
        unseen = ~(high >= low)
        low, high = np.where(unseen, 0, low), np.where(unseen, 0, high)
        if one_scale:
            size = scale.max()  # so that squares stay in range
            scale[:] = size * np.sqrt(np.mean(np.square(scale / size))) if size > 0.0 else 1.0
        else:
            scale = np.where(scale > 0.0, scale, _scale_of_constant(location))
        for j, kind in enumerate(kinds or []):
            if kind.values:  # including spikes
                low[j], high[j] = min(low[j], *kind.values), max(high[j], *kind.values)
            if not kind.has_number or j in (marginals or {}):
                location[j], scale[j] = 0.0, 1.0
        known = (names, kinds, marginals or {}, sees_masks, examples or {})
        return cls(location, scale, low, high, *known)

    def widened(self, source: RowSource) -> Schema:
        """Return a schema with ranges extended by further rows."""
        if not any(kind.is_whole or kind.kind == "spiked" for kind in self.kinds or []):
            return self
        found = Summary.of(source)
        low, high = np.minimum(self.low, found.low), np.maximum(self.high, found.high)
        return replace(self, low=low, high=high)

    def rescaled(self, source: RowSource) -> Schema | None:
        """Return a schema with scales of all rows for constant columns; None if these still are."""
        constant = self.scale == _scale_of_constant(self.location)
        if not constant.any():
            return None
        found = Summary.of(source)
        varies = constant & (found.std > 0.0)
        if not varies.any():
            return None
        low, high = np.minimum(self.low, found.low), np.maximum(self.high, found.high)
        return replace(
            self,
            scale=np.where(varies, found.std, self.scale),
            low=np.where(varies, low, self.low),
            high=np.where(varies, high, self.high),
        )

    def __post_init__(self) -> None:
        self.layout = Layout.of(self.kinds or [ColumnKind("numeric")] * len(self.location))

    @property
    def n_columns(self) -> int:
        """Number of columns of the table."""
        return len(self.location)

    @property
    def columns(self) -> list[Column]:
        """Return the columns one by one."""
        names: Sequence[str | None] = self.names or [None] * self.n_columns
        kinds = ["numeric"] * self.n_columns if self.kinds is None else [k.kind for k in self.kinds]
        numbers = zip(names, kinds, self.location, self.scale, self.low, self.high, strict=True)
        dtype = str(self.low.dtype)
        return [
            Column(n, kind, dtype, float(m), float(s), float(a), float(b))
            for n, kind, m, s, a, b in numbers
        ]

    @property
    def range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the smallest and largest encoded value of each feature."""
        ends = []
        for end, of_class in ((self.low, 0.0), (self.high, 1.0)):
            encoded = np.full(self.layout.n_features, of_class)
            if not self.layout.starts and not self.marginals:
                encoded = (end - self.location) / self.scale
            else:
                numbers = self.layout.numbers
                encoded[: len(numbers)] = self._standardised(end[None])[0, numbers]
            ends.append(torch.tensor(encoded, dtype=torch.float32))
        return ends[0], ends[1]

    @property
    def units(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return location and scale as tensors of float64."""
        return torch.tensor(self.location), torch.tensor(self.scale)

    def _standardised(self, values: np.ndarray) -> np.ndarray:
        """Return numbers (n, d) in standardised units; arbitrary for columns without numbers."""
        with np.errstate(over="ignore", invalid="ignore"):
            x: np.ndarray = (values - self.location) / self.scale
        for j, marginal in self.marginals.items():
            x[:, j] = marginal.forward(values[:, j])
        return x

    def encode(
        self, rows: Rows, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
    ) -> Batch:
        """Encode rows as tensors, by default in the dtype of the rows."""
        if dtype is None:
            dtype = torch.float32 if rows.values.dtype == np.float32 else torch.float64
        kind = np.float32 if dtype == torch.float32 else np.float64
        rows = self._without_unseen(rows)
        x = np.zeros((len(rows), self.layout.n_features), kind)
        observed, encoded = rows.observed, self._standardised(rows.values)
        n_numbers = len(self.layout.numbers)
        if self.layout.starts:
            encoded = encoded[:, self.layout.numbers]
            seen = np.ones(rows.values.shape, bool) if observed is None else observed
            observed = self.layout.encode_classes(rows.values, seen, x)
        with np.errstate(over="ignore", invalid="ignore"):
            far = FARTHEST[dtype]
            np.clip(encoded, -far, far, out=x[:, :n_numbers], casting="same_kind")
        if observed is not None:
            x[:, :n_numbers][~observed[:, :n_numbers]] = 0.0
            observed = None if observed.all() else observed
        parts = (observed, None if rows.context is None else np.array(rows.context, kind))
        found = [
            None if a is None else torch.from_numpy(np.ascontiguousarray(a)).to(device)
            for a in (*parts, rows.row_index)
        ]
        return Batch(torch.from_numpy(x).to(device), *found)

    def _without_unseen(self, rows: Rows) -> Rows:
        """Return rows in which columns without values in training are masked."""
        unseen = [j for j, kind in enumerate(self.kinds or []) if kind.kind == "missing"]
        return rows.hide(unseen) if unseen else rows

    def encode_all(
        self, source: RowSource, dtype: torch.dtype, device: str | torch.device
    ) -> Batch:
        """Encode all rows of a source as tensors, block by block."""
        n, e = source.n_rows, self.layout.n_features
        x = torch.empty(n, e, dtype=dtype)
        observed: torch.Tensor | None = None
        context = torch.empty(n, source.n_context, dtype=dtype) if source.n_context else None
        begun = 0
        for rows in source.blocks(_BLOCK):
            part, here = self.encode(rows, dtype), slice(begun, begun + len(rows))
            x[here] = part.x
            if part.observed is not None:
                if observed is None:
                    observed = torch.ones(n, e, dtype=torch.bool)
                observed[here] = part.observed
            if context is not None and part.context is not None:
                context[here] = part.context
            begun += len(rows)
        return Batch(x, observed, context).to(device)

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Decode features, or their means, to values (n, d) in the units of the columns.

        Probabilities of classes are decoded to the mean for numbers and to the most probable label
        for labels. Numbers that overflow are infinite, and columns without values in training NaN.
        """
        if self.kinds is None:
            with np.errstate(over="ignore"):
                X: np.ndarray = x * self.scale + self.location
            return X
        numbers = self.layout.numbers
        with np.errstate(over="ignore"):
            cells = x[:, : len(numbers)] * self.scale[numbers] + self.location[numbers]
        for i, j in enumerate(numbers):
            if j in self.marginals:
                cells[:, i] = self.marginals[j].inverse(x[:, i])
        rows: np.ndarray = self.layout.decode(x, cells.astype(np.float64), self.location)
        return rows

    def settle(self, X: np.ndarray) -> np.ndarray:
        """Round samples to possible values of columns, in the range of spiked columns."""
        for j, kind in enumerate(self.kinds or []):
            if kind.is_whole:
                X[:, j] = np.rint(X[:, j])
            if kind.is_whole or kind.kind == "spiked":
                X[:, j] = np.clip(X[:, j], self.low[j], self.high[j])
        return X

    @property
    def has_marginals(self) -> bool:
        """Return whether the training marginals are stored."""
        return bool(self.examples) or bool(self.layout.starts)

    def match_marginals(self, X: np.ndarray) -> np.ndarray:
        """Return samples (n, d) with the training marginals and the same ranks."""
        matched = X.copy()
        for j, cells in enumerate(X.T):
            kind = None if self.kinds is None else self.kinds[j]
            if j in self.examples:
                matched[:, j] = match_ranks(cells, self.examples[j])
            elif kind is not None and kind.values:
                values, counts = np.array(kind.values), np.array(kind.counts)
                if kind.is_label:
                    matched[:, j] = match_shares(cells, values, counts)
                else:
                    matched[:, j] = match_counts(cells, values, counts)
        return matched

    def by_column(self, features: np.ndarray) -> np.ndarray:
        """Sums (n, d) of the features of each column."""
        return self.layout.by_column(features) if self.layout.starts else features

    def log_volume(self, rows: Rows) -> np.ndarray:
        """Return the log-determinant of the encoding, (d,) or (n, d), to subtract from densities.

        This is the logarithm of the scale for a number, and 0 for a class. A number that is not one
        of the values of its discrete column is encoded as not observed. New values did not occur in
        n rows, so the next value is new with probability ``1 / (n + 1)`` (rule of succession), and
        it is one of at least as many new values: it has log-probability ``-2 log(n + 1)``. A new
        value that is 1e12 times as far from 0 as the values has density 0, like extreme numbers of
        other columns.
        """
        rows = self._without_unseen(rows)
        each: np.ndarray = np.log(self.scale)
        if rows.observed is None and not self.layout.starts and not self.marginals:
            return each
        found = np.repeat(each[None], len(rows), 0)
        for j, kind in enumerate(self.kinds or []):
            cells = rows.values[:, j]
            if j in self.marginals:
                found[:, j] = -self.marginals[j].log_slope(cells)
            if kind.values:
                known = np.isin(cells, kind.values)
                if kind.kind == "spiked":
                    found[known, j] = 0.0
                else:
                    found[:, j] = np.where(known, 0.0, 2.0 * np.log(sum(kind.counts) + 1.0))
                    found[_is_far(cells, kind.values), j] = np.inf
        return found if rows.observed is None else np.where(rows.observed, found, 0.0)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and arrays."""
        kinds, marginals = self.kinds, self.marginals
        return {
            **{name: getattr(self, name) for name in ("location", "scale", "low", "high", "names")},
            "kinds": kinds
            and [[k.kind, list(k.values), list(k.counts), k.is_whole] for k in kinds],
            "marginals": [[j, m.x, m.z] for j, m in marginals.items()],
            "sees_masks": self.sees_masks,
            "examples": [[j, values] for j, values in self.examples.items()],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Schema:
        """Restore a schema from the result of `to_state`."""
        kinds = state["kinds"]
        known = (
            None
            if kinds is None
            else [
                ColumnKind(kind, tuple(values), tuple(counts), whole)
                for kind, values, counts, whole in kinds
            ]
        )
        marginals = {j: QuantileNormal(x, z) for j, x, z in state["marginals"]}
        examples = dict(state["examples"])
        return cls(**{**state, "kinds": known, "marginals": marginals, "examples": examples})


def _is_far(cells: np.ndarray, values: Sequence[float]) -> np.ndarray:
    """Return which values (n,) are too far from the values of a discrete column."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(values).max() or 1.0
        far: np.ndarray = np.abs(cells / size) > FARTHEST[torch.float32]
    return far
