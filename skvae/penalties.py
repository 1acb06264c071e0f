"""Terms of an objective beside the reconstruction: a draw in, a scalar out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .model import Draw, Model


class Penalty(nn.Module):
    """A weighted scalar of one pass of a batch."""

    def forward(self, draw: Draw, model: Model) -> Tensor:
        raise NotImplementedError


class Rate(Penalty):
    """beta KL(q(z | x) || N(0, I)), closed form, mean over rows (Kingma & Welling 2014).

    ``KL_j = 1/2 (m_j^2 + s_j^2 - 1 - log s_j^2)``.

    Parameters
    ----------
    weight : float
        beta (Higgins et al. 2017).
    warmup : float
        Share of the training over which the weight grows from 0 (Bowman et al. 2016).
    free_bits : float
        Nats a code coordinate may carry at no cost (Kingma et al. 2016): its mean KL over the
        batch counts as at least this.
    """

    def __init__(self, weight: float = 1.0, warmup: float = 0.0, free_bits: float = 0.0):
        super().__init__()
        self.weight, self.warmup, self.free_bits = float(weight), float(warmup), float(free_bits)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        mean, log_variance = draw.q
        n, k = mean.shape
        twice = torch.addcmul(log_variance.exp() - log_variance, mean, mean)  # (n, k), 1 too large
        if self.free_bits:
            rate = 0.5 * (twice.mean(0) - 1.0).clamp(min=2.0 * self.free_bits).sum()
        else:
            rate = twice.sum() * (0.5 / n) - 0.5 * k
        weight = self.weight
        if self.warmup:
            weight *= min(1.0, draw.progress / self.warmup)
        return rate if weight == 1.0 else weight * rate


class Match(Penalty):
    """weight D(codes, prior) for a divergence D between a sample and a law."""

    def __init__(self, divergence: nn.Module, weight: float = 1.0):
        super().__init__()
        self.divergence = divergence
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        return self.weight * self.divergence(draw.z)
