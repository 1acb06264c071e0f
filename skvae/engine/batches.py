"""Rows as training reads them: shuffled, a batch at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from ..nn.batch import Batch
from .workers import Workers

_GATHERED = 1 << 18  # numbers that are shuffled at once: they stay near the processor


class BatchSource(ABC):
    """Encoded rows in shuffled batches of nearly equal size: there is no small last one.

    Attributes
    ----------
    n_rows : int
    device : torch.device
    """

    n_rows: int
    device: torch.device

    def n_batches(self, batch_size: int) -> int:
        return -(-self.n_rows // batch_size)

    @abstractmethod
    def batches(
        self, batch_size: int, rng: torch.Generator, workers: Workers
    ) -> Iterator[tuple[Batch, float]]:
        """One pass over all rows: this worker's part of each batch, and its share of the rows."""

    @abstractmethod
    def some(self, most: int) -> Batch:
        """At most about `most` rows, evenly spread."""


class TensorSource(BatchSource):
    """Encoded rows in memory.

    Parameters
    ----------
    rows : Batch
    """

    def __init__(self, rows: Batch):
        self.rows = rows
        self.n_rows, self.device = rows.n_rows, rows.x.device

    def batches(
        self, batch_size: int, rng: torch.Generator, workers: Workers
    ) -> Iterator[tuple[Batch, float]]:
        """Gathered many batches at a time, because one large gather is cheaper."""
        n, n_batches = self.n_rows, self.n_batches(batch_size)
        order = torch.randperm(n, generator=rng, device=self.device)
        if n < 1 << 31:  # every turn has an order of its own
            order = order.to(torch.int32)
        bounds = [n * i // n_batches for i in range(n_batches + 1)]
        group = max(1, _GATHERED // max(1, batch_size * self.rows.inputs_width))
        for i in range(0, n_batches, group):
            edges = bounds[i : i + group + 1]
            gathered = self.rows.gather(order[edges[0] : edges[-1]])
            sizes = [b - a for a, b in zip(edges, edges[1:], strict=False)]
            for batch in gathered.split(sizes):
                yield _part(batch, workers)

    def some(self, most: int) -> Batch:
        return self.rows.some(most)


def _part(batch: Batch, workers: Workers) -> tuple[Batch, float]:
    if workers.size == 1:
        return batch, 1.0
    mine = batch.take(slice(workers.rank, None, workers.size))
    return mine, mine.n_rows / batch.n_rows
