"""Terms of an objective beside the reconstruction: a draw in, a scalar out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .likelihoods import Normal, standard_log_prob
from .model import Draw, Model
from .networks import Network, SpectralNorm, push
from .priors import StandardNormal

_TINY = 1e-12


class Penalty(nn.Module):
    """A weighted scalar of one pass of a batch."""

    def forward(self, draw: Draw, model: Model) -> Tensor:
        raise NotImplementedError


class Rate(Penalty):
    """beta KL(q(z | x) || p(z)), mean over rows (Kingma & Welling 2014).

    In closed form for normal q and standard normal p, ``KL_j = 1/2 (m_j^2 + s_j^2 - 1 - log
    s_j^2)``, and else ``log q(z | x) - log p(z)`` of the draws z.

    Parameters
    ----------
    weight : float
        beta (Higgins et al. 2017).
    warmup : float
        Share of the training over which the weight grows from 0 (Bowman et al. 2016).
    free_bits : float
        Nats a code coordinate may carry at no cost (Kingma et al. 2016): its mean KL over the
        batch counts as at least this. Without the closed form, all coordinates together may.
    to_normal : bool
        Whether p is N(0, I) whatever the model's prior is.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup: float = 0.0,
        free_bits: float = 0.0,
        to_normal: bool = False,
    ):
        super().__init__()
        self.weight, self.warmup, self.free_bits = float(weight), float(warmup), float(free_bits)
        self.to_normal = to_normal

    def forward(self, draw: Draw, model: Model) -> Tensor:
        normal = self.to_normal or isinstance(model.prior, StandardNormal)
        if normal and isinstance(draw.q, Normal):
            rate = self._closed_form(draw.q)
        else:
            log_p = standard_log_prob if normal else model.prior.log_prob
            rate = (draw.q.log_likelihood(draw.z) - log_p(draw.z)).mean()
            if self.free_bits:
                rate = rate.clamp(min=self.free_bits * draw.z.shape[1])
        weight = self.weight
        if self.warmup:
            weight *= min(1.0, draw.progress / self.warmup)
        return rate if weight == 1.0 else weight * rate

    def _closed_form(self, q: Normal) -> Tensor:
        mean, log_variance = q
        n, k = mean.shape
        twice = torch.addcmul(log_variance.exp() - log_variance, mean, mean)  # (n, k), 1 too large
        if self.free_bits:
            return 0.5 * (twice.mean(0) - 1.0).clamp(min=2.0 * self.free_bits).sum()
        return twice.sum() * (0.5 / n) - 0.5 * k


class Match(Penalty):
    """weight D(codes, N(0, I)) for a divergence D between a sample and the normal law."""

    def __init__(self, divergence: nn.Module, weight: float = 1.0):
        super().__init__()
        self.divergence = divergence
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        return self.weight * self.divergence(draw.z, draw.generator)


class CodeNorm(Penalty):
    """weight / 2 |z|^2, mean over rows: codes drawn from N(0, I / weight) a priori."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        return 0.5 * self.weight * draw.z.square().sum(1).mean()


class AbsoluteCodes(Penalty):
    """weight sum_j |z_j| |w_j|, mean over rows, w_j the decoder's weights of coordinate j.

    Where the w_j have length 1, as sparse coding asks, this is the Laplace prior's sum of |z_j|;
    in general it cannot be evaded by small codes and large weights. A decoder of the user's own
    has |w_j| = 1 here.
    """

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        size = draw.z.abs().mean(0)
        if isinstance(model.decoder.network, Network):
            size = size * model.decoder.network.input_norms()[: len(size)]
        return self.weight * size.sum()


class ActivationRate(Penalty):
    """weight sum_j KL(target || mean of z_j over the batch), Bernoulli, for codes in (0, 1)."""

    def __init__(self, weight: float, target: float):
        super().__init__()
        self.weight, self.target = float(weight), float(target)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        r, t = draw.z.mean(0).clamp(1e-6, 1.0 - 1e-6), self.target
        kl = t * (math.log(t) - r.log()) + (1.0 - t) * (math.log1p(-t) - torch.log1p(-r))
        return self.weight * kl.sum()


class Contraction(Penalty):
    """weight |df/dx|_F^2, mean over rows, f the encoder's mean (Rifai et al. 2011).

    Parameters
    ----------
    weight : float
    exact : bool
        Row by row of the Jacobian, k backward passes; else Hutchinson's estimate
        ``E |v' df/dx|^2`` with one normal v for each row.
    """

    def __init__(self, weight: float, exact: bool):
        super().__init__()
        self.weight, self.exact = float(weight), exact

    def forward(self, draw: Draw, model: Model) -> Tensor:
        with torch.enable_grad():
            x = draw.x.detach().requires_grad_()
            z = model.encoder(x, draw.context).mean  # (n, k)
            if self.exact:
                heads = [z[:, j].sum() for j in range(z.shape[1])]
            else:
                heads = [(z * torch.empty_like(z).normal_(generator=draw.generator)).sum()]
            total = sum(
                torch.autograd.grad(h, x, create_graph=True)[0].square().sum() for h in heads
            )
        return self.weight / len(x) * total


class DecoderNorm(Penalty):
    """weight / 2 |parameters of the decoder's network|^2."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        return 0.5 * self.weight * sum(p.square().sum() for p in model.decoder.network.parameters())


class SpectralNorms(Penalty):
    """weight / 2 sum of the squared largest singular values of the decoder's layers' weights."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        layers = [m for m in model.decoder.network.modules() if isinstance(m, SpectralNorm)]
        if not layers:
            raise ValueError("decoder_penalty='spectral_norm' needs decoder=None.")
        return 0.5 * self.weight * sum(torch.exp(2.0 * layer.log_norm) for layer in layers)


class DecoderSlope(Penalty):
    """weight |dg/dz|_F^2, mean over rows, by one random direction v in N(0, I): E |dg/dz v|^2."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        v = torch.empty_like(draw.z).normal_(generator=draw.generator)
        slope = push(lambda z: model.decoder(z, draw.context).mean, draw.z, v)
        return self.weight * slope.square().sum(1).mean()


class LogVolume(Penalty):
    """weight k / 2 log(1 + |dg/dz v|^2 / noise), mean over rows, v uniform on the unit sphere.

    The square is a sum over features, each in units of its noise. The mean over v is at least
    ``1/2 log det(I + J' Sigma^-1 J)``, J = dg/dz, with equality where all its singular values
    agree (Kumar et al. 2020, without noise): the volume that Laplace's approximation of log p(x)
    subtracts.
    """

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, draw: Draw, model: Model) -> Tensor:
        v = torch.empty_like(draw.z).normal_(generator=draw.generator)
        v = v / v.norm(dim=1, keepdim=True).clamp(min=_TINY)
        slope = push(lambda z: model.decoder(z, draw.context).mean, draw.z, v)
        noise = model.likelihood.at_training_noise(draw.p, draw.x).variance
        length2 = (slope.square() / noise.clamp(min=1e-6)).sum(1)
        return 0.5 * self.weight * draw.z.shape[1] * torch.log1p(length2).mean()
