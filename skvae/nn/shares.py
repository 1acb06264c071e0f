"""Batches shared by several processes, with the results of a single process.

Each worker has its own rows of every batch. Outside of `sharing` there is one worker, and all
functions are those of torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_local = threading.local()


class Share:
    """Part of a batch of one worker: the rows ``rank, rank + size, ...`` of n.

    Tensors of several samples have ``m n`` rows, ordered by samples.

    Parameters
    ----------
    rank, size : int
        Number of this worker, and how many there are.
    n_rows : int
        Rows of the whole batch.
    gather : callable
        Rows of this worker to those of all workers, one worker after another: see `Workers.gather`.
    mean_ : callable
        Replaces a tensor by its mean over workers, weighted by their rows.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        n_rows: int,
        gather: Callable[[Tensor], Tensor],
        mean_: Callable[[Tensor], None],
    ):
        self.rank, self.size, self.n_rows = rank, size, n_rows
        self._gather, self._mean_ = gather, mean_

    @property
    def n_own(self) -> int:
        """Rows of this worker."""
        return len(range(self.rank, self.n_rows, self.size))

    def own(self, whole: Tensor) -> Tensor:
        """The rows of this worker, given all rows (m n, ...)."""
        draws, rest = len(whole) // self.n_rows, whole.shape[1:]
        parts = whole.reshape(draws, self.n_rows, *rest)[:, self.rank :: self.size]
        return parts.reshape(draws * self.n_own, *rest)

    def whole(self, own: Tensor) -> Tensor:
        """All rows (m n, ...) in their order, given this worker's; see `Workers.gather`."""
        draws = len(own) // self.n_own
        numbers = torch.arange(draws * self.n_rows).view(draws, self.n_rows)
        places = torch.cat([numbers[:, r :: self.size].flatten() for r in range(self.size)])
        return self._gather(own)[places.argsort().to(own.device)]

    def mean(self, own: Tensor) -> Tensor:
        """Mean over the rows of all workers, given that over this worker's."""
        found: Tensor = _Mean.apply(own, self._mean_)  # type: ignore[no-untyped-call]
        return found

    def drawn(self, like: Tensor, fill: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the rows of this worker, of those that `fill` samples for all workers."""
        draws, rest = len(like) // self.n_own, like.shape[1:]
        return self.own(fill(like.new_empty((draws * self.n_rows, *rest))))


class _Mean(torch.autograd.Function):
    """The mean over workers, both of values and of their gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, mean_: Callable[[Tensor], None]) -> Tensor:
        ctx.mean_ = mean_
        found = own.detach().clone()
        mean_(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Mean.apply(gradients[0], ctx.mean_), None  # type: ignore[no-untyped-call]


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """Context of work on this share of a batch, in this thread."""
    _local.share = share
    try:
        yield
    finally:
        _local.share = None


def current_share() -> Share | None:
    """Return the part of a batch of this thread; None if it has the whole batch."""
    return getattr(_local, "share", None)


def _drawn(like: Tensor, fill: Callable[[Tensor], Tensor]) -> Tensor:
    share = current_share()
    return fill(torch.empty_like(like)) if share is None else share.drawn(like, fill)


def normal_like(x: Tensor, rng: torch.Generator | None) -> Tensor:
    """Standard normal numbers, one for each of those of rows x (n, ...)."""
    return _drawn(x, lambda found: found.normal_(generator=rng))


def uniform_like(
    x: Tensor, rng: torch.Generator | None, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform numbers, one for each of those of rows x (n, ...)."""
    return _drawn(x, lambda found: found.uniform_(low, high, generator=rng))


def integers(end: int, rows: Tensor, rng: torch.Generator) -> Tensor:
    """A number from 0 to ``end - 1`` for each of the rows, (n,)."""
    like = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    return _drawn(like, lambda found: found.random_(0, end, generator=rng))


def batch_mean(own: Tensor) -> Tensor:
    """Mean over the rows of the whole batch, given that over the rows at hand.

    Losses that are means over rows do not need this, since the trainer averages gradients. Other
    functions of a mean do.
    """
    share = current_share()
    return own if share is None else share.mean(own)


def whole_batch(own: Tensor) -> Tensor:
    """Rows of the whole batch, given those at hand.

    Gradients are right where all workers compute the same from them.
    """
    share = current_share()
    return own if share is None else share.whole(own)


def own_rows(whole: Tensor) -> Tensor:
    """The rows of this worker, given those of the whole batch."""
    share = current_share()
    return whole if share is None else share.own(whole)
