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
        self, batch_size: int, order: torch.Generator, workers: Workers, first: int = 0
    ) -> Iterator[tuple[Batch, float]]:
        """One pass over all rows: this worker's part of each batch, and its share of the rows.

        The order of the rows is a function of ``order.initial_seed()`` alone. With `first` so many
        batches are left out, and the others are what they are without it, to the last bit.
        """

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
        self, batch_size: int, order: torch.Generator, workers: Workers, first: int = 0
    ) -> Iterator[tuple[Batch, float]]:
        """Gathered many batches at a time, because one large gather is cheaper.

        Groups begin where they do without `first`: products may round by where numbers lie.
        """
        n, n_batches = self.n_rows, self.n_batches(batch_size)
        numbers = torch.randperm(n, generator=order, device=self.device)
        if n < 1 << 31:  # every turn has an order of its own
            numbers = numbers.to(torch.int32)
        bounds = [n * i // n_batches for i in range(n_batches + 1)]
        group = max(1, _GATHERED // max(1, batch_size * self.rows.inputs_width))
        for i in range(first - first % group, n_batches, group):
            edges = bounds[i : i + group + 1]
            gathered = self.rows.gather(numbers[edges[0] : edges[-1]])
            sizes = [b - a for a, b in zip(edges, edges[1:], strict=False)]
            for batch in list(gathered.split(sizes))[max(0, first - i) :]:
                yield _part(batch, workers)

    def some(self, most: int) -> Batch:
        return self.rows.some(most)


def _part(batch: Batch, workers: Workers) -> tuple[Batch, float]:
    if workers.size == 1:
        return batch, 1.0
    mine = batch.take(slice(workers.rank, None, workers.size))
    return mine, mine.n_rows / batch.n_rows
