"""Encoded rows as tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Encoded rows, in the units of the networks.

    Attributes
    ----------
    x : Tensor of shape (n, d)
        Standardised features; 0 for missing values.
    observed : Tensor of bool of shape (n, d), or None
        Mask of observed values; None if all are.
    context : Tensor of shape (n, c), or None
        Condition of the model, such as one-hot labels.
    row_index : Tensor of int64 of shape (n,), or None
        Positions of the rows in their source.
    """

    x: Tensor
    observed: Tensor | None = None
    context: Tensor | None = None
    row_index: Tensor | None = None

    @property
    def n_rows(self) -> int:
        return self.x.shape[0]

    @property
    def inputs_width(self) -> int:
        return self.x.shape[1] + (0 if self.context is None else self.context.shape[1])

    def take(self, index: Tensor | slice) -> Batch:
        """Return some of the rows."""
        return Batch(self.x[index], *(None if t is None else t[index] for t in self[1:]))

    def gather(self, index: Tensor) -> Batch:
        """Return rows by their positions, faster than `take`."""
        others = (None if t is None else t.index_select(0, index) for t in self[1:])
        return Batch(self.x.index_select(0, index), *others)

    def some(self, most: int) -> Batch:
        """Return at most about `most` evenly spaced rows, as views."""
        return self.take(slice(None, None, -(-self.n_rows // most)))

    def split(self, sizes: int | list[int]) -> Iterator[Batch]:
        """Split into consecutive parts, as views."""
        parts = [None if t is None else torch.split(t, sizes) for t in self[1:]]
        for i, x in enumerate(torch.split(self.x, sizes)):
            yield Batch(x, *(None if p is None else p[i] for p in parts))

    def repeat(self, n: int) -> Batch:
        """Return all rows, repeated `n` times."""
        return Batch(
            self.x.repeat(n, 1),
            None if self.observed is None else self.observed.repeat(n, 1),
            None if self.context is None else self.context.repeat(n, 1),
            None if self.row_index is None else self.row_index.repeat(n),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        context = None if self.context is None else self.context.to(device, dtype)
        observed = None if self.observed is None else self.observed.to(device)
        index = None if self.row_index is None else self.row_index.to(device)
        return Batch(self.x.to(device, dtype), observed, context, index)

    @property
    def inputs(self) -> Tensor:
        """Return the input of an encoder: features followed by the context (n, d + c)."""
        return self.x if self.context is None else torch.cat([self.x, self.context], -1)
