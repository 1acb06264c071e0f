"""Shuffled mini-batches of rows for training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from ..nn.batch import Batch
from ..tables.schema import Schema
from ..tables.source import Rows, RowSource, repeated
from .workers import Workers

_GATHERED = 1 << 18  # numbers shuffled at once, which fit the cache
MOST_ENCODED = 1 << 30  # bytes of encoded rows kept in memory
_WINDOW, _BLOCK = 1 << 22, 1 << 11  # values shuffled at once, and values in consecutive rows
_LEAST_BLOCK = 16  # rows


class BatchSource(ABC):
    """Encoded rows in shuffled mini-batches of nearly equal size, without a small last one.

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
        """Yield this worker's part of each batch of one pass, and its share of the rows.

        The order of the rows depends only on ``order.initial_seed()``. With `first`, that number of
        batches is skipped, and the others are bitwise unchanged.
        """

    @abstractmethod
    def some(self, most: int) -> Batch:
        """Return at most about `most` evenly spaced rows."""


class TensorSource(BatchSource):
    """Encoded rows in memory.

    Parameters
    ----------
    rows : Batch
    weights : ndarray of shape (n,), optional
        A pass takes as many rows as there are, each in proportion to its weight: as often as that
        says, rounded down or up by chance.
    """

    def __init__(self, rows: Batch, weights: np.ndarray | None = None):
        self.rows = rows
        self.n_rows, self.device = rows.n_rows, rows.x.device
        self.weights = weights

    def batches(
        self, batch_size: int, order: torch.Generator, workers: Workers, first: int = 0
    ) -> Iterator[tuple[Batch, float]]:
        """Gather many batches at a time, because one large gather is cheaper.

        Groups begin as they do without `first`, since rounding of products may depend on alignment.
        """
        n, n_batches = self.n_rows, self.n_batches(batch_size)
        numbers = torch.randperm(n, generator=order, device=self.device)
        if self.weights is not None:
            chance = float(torch.rand((), generator=order, device=self.device, dtype=torch.float64))
            drawn = torch.from_numpy(repeated(self.weights, n, chance))
            numbers = drawn.to(self.device)[numbers]
        if n < 1 << 31:  # every network has an order of its own
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
        if self.weights is None:
            return self.rows.some(most)
        numbers = repeated(self.weights, min(most, self.n_rows))
        return self.rows.take(torch.from_numpy(numbers).to(self.device))


class EncodedSource(BatchSource):
    """Rows that are encoded when they are read, without an encoded copy in memory.

    An epoch reads blocks of consecutive rows, in random order. A window of about two thousand
    blocks is in memory at once, and its rows are shuffled. The rows of a batch therefore come from
    the whole source, even if it is sorted. With several workers, each encodes only its own rows.

    Parameters
    ----------
    schema : Schema
    source : RowSource
    device : str
    """

    def __init__(self, schema: Schema, source: RowSource, device: str):
        self.schema, self.source, self.device = schema, source, torch.device(device)
        self.n_rows = source.n_rows
        self.width = max(1, schema.layout.n_features + source.n_context)
        self.block = min(self.n_rows, max(_LEAST_BLOCK, _BLOCK // self.width))

    def batches(
        self, batch_size: int, order: torch.Generator, workers: Workers, first: int = 0
    ) -> Iterator[tuple[Batch, float]]:
        """Yield batches window by window."""
        n, n_batches, seed = self.n_rows, self.n_batches(batch_size), order.initial_seed()
        blocks = torch.randperm(-(-n // self.block), generator=_seeded(seed)).numpy()
        starts = self._starts(blocks)
        group = max(1, _WINDOW // (batch_size * self.width))
        for i in range(first // group * group, n_batches, group):
            edges = [n * j // n_batches for j in range(i, min(i + group, n_batches) + 1)]
            numbers = self._neighbours(blocks, starts, edges[0], edges[-1])
            mixed = torch.randperm(len(numbers), generator=_seeded(seed + i + 1))
            own = [
                mixed[a - edges[0] : b - edges[0]][workers.rank :: workers.size]
                for a, b in pairwise(edges)
            ]
            read = torch.zeros(len(numbers), dtype=torch.bool)
            read[torch.cat(own)] = True
            rows, places = self._encoded(self.source.take(numbers[read.numpy()])), read.cumsum(0)
            for j in range(max(i, first), i + len(own)):
                some = places[own[j - i]] - 1
                share = len(some) / (edges[j - i + 1] - edges[j - i])
                yield rows.gather(some).to(self.device), share

    def _starts(self, blocks: np.ndarray) -> np.ndarray:
        """Return the start of each block and the end of the last, for consecutive blocks."""
        starts = np.arange(len(blocks) + 1) * self.block
        starts[np.argmax(blocks) + 1 :] -= (
            -self.n_rows % self.block
        )  # the last block may be shorter
        return starts

    def _neighbours(
        self, blocks: np.ndarray, starts: np.ndarray, begin: int, end: int
    ) -> np.ndarray:
        """Return the positions of rows in a range of consecutive blocks."""
        first, last = np.searchsorted(starts, [begin, end - 1], side="right") - 1
        places = np.arange(begin, end)
        edges = np.clip(starts[first : last + 2], begin, end)
        holds = np.repeat(np.arange(first, last + 1), edges[1:] - edges[:-1])
        numbers: np.ndarray = blocks[holds] * self.block + places - starts[holds]
        return numbers

    def _encoded(self, rows: Rows) -> Batch:
        return self.schema.encode(rows, torch.float32)._replace(row_index=None)

    def some(self, most: int) -> Batch:
        return self._encoded(self.source.some(most)).to(self.device)


def encoded_size(schema: Schema, source: RowSource) -> int:
    """Return the size in bytes of the encoded rows of a source."""
    n_features = schema.layout.n_features
    return source.n_rows * ((4 + source.has_missing) * n_features + 4 * source.n_context)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % (1 << 62))


def _part(batch: Batch, workers: Workers) -> tuple[Batch, float]:
    if workers.size == 1:
        return batch, 1.0
    mine = batch.take(slice(workers.rank, None, workers.size))
    return mine, mine.n_rows / batch.n_rows
