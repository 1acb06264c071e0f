"""Penalties: terms of an objective in addition to the reconstruction.

Penalties that several methods share are here, others in the file of their method.
"""

from __future__ import annotations

from torch import Tensor, nn

from .fused import NormalKL
from .model import ForwardPass, Model


class Penalty(nn.Module):
    """A weighted scalar of one pass of a batch."""

    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        raise NotImplementedError

    def kl_operation(self, model: Model) -> NormalKL | None:
        """The term, but for `weighted`, as a function of a normal posterior, if it is one."""
        return None

    def weighted(self, value: Tensor, progress: float) -> Tensor:
        """What to make of the value of `kl_operation` at this progress of the training."""
        return value


class LatentDivergence(Penalty):
    """Penalty weight D(codes, N(0, I)) for a divergence D of a sample from N(0, I)."""

    def __init__(self, divergence: nn.Module, weight: float = 1.0):
        super().__init__()
        self.divergence = divergence
        self.weight = float(weight)

    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        value: Tensor = self.divergence(done.gather(done.z), done.rng)
        return self.weight * value


class CodeNorm(Penalty):
    """weight / 2 |z|^2, mean over rows: codes drawn from N(0, I / weight) a priori."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        return 0.5 * self.weight * done.z.square().sum(1).mean()
