"""Processes that share a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Workers:
    """Processes that train one model together; this class is a single process.

    Each worker processes its share of every global batch. All use the same order of rows and take
    the same decisions.

    Attributes
    ----------
    rank, size : int
        Number of this process, and how many there are.
    """

    rank: int = 0
    size: int = 1

    def mean_(self, tensors: Sequence[Tensor], share: float) -> None:
        """Replace tensors by their weighted sums over workers, weights `share`, which add to 1."""

    def gather(self, z: Tensor, share: float) -> Tensor:
        """Return the codes (n, k) of the whole batch, given this worker's codes.

        Gradients flow to the worker's own codes, divided by its `share` of the rows, so that
        `mean_` of the gradients is the gradient of the whole.
        """
        return z

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all workers, any objects, in the order of their ranks."""
        return [value]

    def place(self, device: str) -> str:
        """Return the device of this worker, given that of an estimator."""
        return device

    def first(self, value: Any) -> Any:
        """Return the value of the first worker, any object; others may differ by rounding."""
        return value

    def broadcast_(self, module: nn.Module) -> None:
        """Copy the weights of the first worker to all workers."""

    def agree(self, flag: bool) -> bool:
        """Return whether the flag is true for all workers."""
        return flag
