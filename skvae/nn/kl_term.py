"""The KL term of variational methods."""

from __future__ import annotations

from torch import Tensor

from .fused import NormalKL, fusible
from .model import ForwardPass, Model
from .shared_penalties import Penalty
from .shares import batch_mean


class KL(Penalty):
    """beta KL(q(z | x) || p(z)), mean over rows (Kingma & Welling 2014).

    In closed form for normal q and standard normal p, ``KL_j = 1/2 (m_j^2 + s_j^2 - 1 - log
    s_j^2)``, and otherwise ``log q(z | x) - log p(z)`` of the sampled z.

    Parameters
    ----------
    weight : float
        beta (Higgins et al. 2017).
    warmup : float
        Fraction of the training over which the weight increases from 0 (Bowman et al. 2016).
    free_bits : float
        Nats that a latent coordinate may carry at no cost (Kingma et al. 2016): its mean KL over
        the batch counts as at least this. Without the closed form, the limit is for all coordinates
        together.
    """

    def __init__(self, weight: float = 1.0, warmup: float = 0.0, free_bits: float = 0.0):
        super().__init__()
        self.weight, self.warmup, self.free_bits = float(weight), float(warmup), float(free_bits)

    @fusible
    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        each = model.prior.kl(done.q, done.z, model)  # (n, k) or (n, 1)
        if self.free_bits:
            least = self.free_bits * done.z.shape[1] / each.shape[1]
            kl = batch_mean(each.mean(0)).clamp(min=least).sum()
        else:
            kl = each.sum() / len(each)
        return self.weighted(kl, done.progress)

    def weighted(self, value: Tensor, progress: float) -> Tensor:
        weight = self.weight
        if self.warmup:
            weight *= min(1.0, progress / self.warmup)
        return value if weight == 1.0 else weight * value

    def kl_operation(self, model: Model) -> NormalKL | None:
        return NormalKL(self.free_bits) if model.prior.is_standard_normal else None
