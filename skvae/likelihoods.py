"""Network outputs to distributions: what is probabilistic returns a distribution.

A `Head` turns the output h of a network into a distribution: `PointHead` and `NormalHead` over
codes, `Gaussian` and `Bernoulli` over rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LOG_2PI = math.log(2.0 * math.pi)
_LOG_VARIANCE_BOUNDS = (-12.0, 4.0)


class Distribution(Protocol):
    """Independent coordinates; draws come from an explicit generator."""

    @property
    def mean(self) -> Tensor: ...
    def log_prob(self, x: Tensor) -> Tensor: ...  # elementwise, (..., d)
    def log_likelihood(self, x: Tensor) -> Tensor: ...  # its sum over features, (...)
    def sample(self, generator: torch.Generator | None) -> Tensor: ...


class Point(NamedTuple):
    """All mass on one point, the posterior of a deterministic encoder."""

    mean: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.mean


class Normal(NamedTuple):
    """Independent normal coordinates."""

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        return torch.exp(0.5 * self.log_variance)

    def log_prob(self, x: Tensor) -> Tensor:
        square = (x - self.mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (square + (self.log_variance + _LOG_2PI))

    def log_likelihood(self, x: Tensor) -> Tensor:
        if self.log_variance.ndim > 1:
            return self.log_prob(x).sum(-1)
        # noise that all rows share: one product instead of several passes over (..., d)
        square = (x - self.mean).square_() @ torch.exp(-self.log_variance)
        return -0.5 * (square + (self.log_variance + _LOG_2PI).sum())

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return torch.addcmul(self.mean, noise, self.std)


class BernoulliRows(NamedTuple):
    """Independent Bernoulli features of rows kept in standardised units.

    `low` and `span` are where 0 and 1 lie in those units: x = low + span * v for v in [0, 1].
    """

    logits: Tensor
    low: Tensor
    span: Tensor

    @property
    def mean(self) -> Tensor:
        return self.low + self.span * torch.sigmoid(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        v = (x - self.low) / self.span
        return v * self.logits - F.softplus(self.logits)

    def log_likelihood(self, x: Tensor) -> Tensor:
        return self.log_prob(x).sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        v = torch.bernoulli(torch.sigmoid(self.logits), generator=generator)
        return self.low + self.span * v


class Head(nn.Module):
    """Outputs (n, width) of a network to a distribution."""

    width: int

    def forward(self, h: Tensor) -> Distribution:
        raise NotImplementedError


class PointHead(Head):
    def __init__(self, n_components: int):
        super().__init__()
        self.width = n_components

    def forward(self, h: Tensor) -> Point:
        return Point(h)


class NormalHead(Head):
    """Means and bounded log-variances, side by side."""

    def __init__(self, n_components: int):
        super().__init__()
        self.width = 2 * n_components

    def forward(self, h: Tensor) -> Normal:
        mean, log_variance = h.chunk(2, dim=-1)
        return Normal(mean, log_variance.clamp(*_LOG_VARIANCE_BOUNDS))


class Likelihood(Head):
    """p(x | h) of rows in standardised units.

    Attributes
    ----------
    density : bool
        Whether log p is a density in the units of X, so that scaling rows shifts it.
    null_loss : Tensor
        Loss of the best constant prediction, the unit of `relative_loss`.
    """

    density = True
    null_loss: Tensor

    def loss(self, p: Distribution, x: Tensor) -> Tensor:
        """Mean over rows of -log p(x), in nats; in training mode the noise may follow the batch."""
        return -p.log_likelihood(x).mean()

    def relative_loss(self, p: Distribution, x: Tensor) -> Tensor:
        """Loss without a unit: 0 is perfect, 1 is no better than the mean of the rows."""
        raise NotImplementedError

    def curvature(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of log p(x | h) in h and its Fisher information, both (n, width)."""
        raise NotImplementedError

    def set_noise(self, squared_residual: Tensor, learned: bool = True) -> None:
        """Store the noise after training, given mean squared residuals (d,) of rows.

        `learned` says whether training has minimised `loss`, which knows the noise.
        """


class Gaussian(Likelihood):
    """N(x; mean, noise), its noise learned, given by the network, or fixed.

    One noise for all features is profiled out in training: with r the mean squared residual of
    the batch the loss is ``d/2 log(2 pi e (r + floor))``, whose gradient is that of the Gaussian
    likelihood at the best noise of the moment (Rybkin, Daniilidis & Levine 2021, "optimal
    sigma-VAE"). Noise of each feature is ``exp(2 s_j) + floor``, s_j a parameter that starts at 0:
    it falls at the pace of the optimiser, so features that are soon predicted too well (constant,
    discrete, memorised) keep some. After training `set_noise` stores in `variance` that noise or
    the mean squared residual, whichever is larger.

    Parameters
    ----------
    n_features : int
    noise : {"feature", "scalar", "network", "fixed"}
    floor : float
        Smallest noise variance, added to the learned one.
    variance : Tensor of shape (n_features,), optional
        The fixed noise, or the noise before training (1).
    bounds : (low, span), optional
        Tensors (n_features,) and (); means are then ``low + span * sigmoid(h)``.
    """

    variance: Tensor
    low: Tensor
    span: Tensor

    def __init__(self, n_features, noise="feature", floor=0.0025, variance=None, bounds=None):
        super().__init__()
        self.noise = noise
        self.floor = float(floor)
        self.n_features = n_features
        self.width = 2 * n_features if noise == "network" else n_features
        self.bounded = bounds is not None
        low, span = bounds if self.bounded else (torch.zeros(n_features), torch.ones(()))
        self.register_buffer("low", low)
        self.register_buffer("span", span)
        self.register_buffer("variance", torch.ones(n_features) if variance is None else variance)
        self.register_buffer("null_loss", torch.tensor(float(n_features)))
        if noise == "feature":
            self.log_std = nn.Parameter(torch.zeros(n_features))

    def forward(self, h: Tensor) -> Normal:
        if self.noise == "network":
            h, raw = h[..., : self.n_features], h[..., self.n_features :]
            log_variance = torch.log(raw.clamp(*_LOG_VARIANCE_BOUNDS).exp() + self.floor)
        else:
            log_variance = torch.log(self.variance)
        mean = torch.addcmul(self.low, torch.sigmoid(h), self.span) if self.bounded else h
        return Normal(mean, log_variance)

    def loss(self, p: Normal, x: Tensor) -> Tensor:
        if not self.training or self.noise in ("network", "fixed"):
            return super().loss(p, x)
        r = (x - p.mean).square().mean(0)  # (d,)
        if self.noise == "scalar":
            log_noise = self.n_features * (torch.log(r.mean() + self.floor) + 1.0)
        else:
            v = torch.exp(2.0 * self.log_std) + self.floor
            log_noise = (torch.log(v) + r / v).sum()
        return 0.5 * (log_noise + self.n_features * _LOG_2PI)

    def relative_loss(self, p: Normal, x: Tensor) -> Tensor:
        if self.noise == "network":
            return self.loss(p, x) / self.n_features
        return (x - p.mean).square().sum(-1).mean() / self.null_loss

    def curvature(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        p = self(h)
        precision = torch.exp(-p.log_variance)
        residual = x - p.mean
        gradient, fisher = residual * precision, precision.expand_as(residual)
        if self.bounded:
            s = torch.sigmoid(h[..., : self.n_features])
            slope = self.span * s * (1.0 - s)
            gradient, fisher = gradient * slope, fisher * slope.square()
        if self.noise == "network":
            raw = h[..., self.n_features :].clamp(*_LOG_VARIANCE_BOUNDS).exp()
            share = raw * precision  # d log v / d raw
            noise_gradient = 0.5 * share * (residual.square() * precision - 1.0)
            gradient = torch.cat([gradient, noise_gradient], -1)
            fisher = torch.cat([fisher, 0.5 * share.square()], -1)
        return gradient, fisher

    def set_noise(self, squared_residual: Tensor, learned: bool = True) -> None:
        noise = squared_residual
        if self.noise == "scalar":
            noise = noise.mean().expand_as(noise)
        elif self.noise == "feature" and learned:
            noise = torch.maximum(noise, torch.exp(2.0 * self.log_std))
        if self.noise in ("feature", "scalar"):
            self.variance.copy_(noise + self.floor)


class Bernoulli(Likelihood):
    """Independent Bernoulli features for data in [0, 1]; log p is a log-probability."""

    density = False
    low: Tensor
    span: Tensor

    def __init__(self, n_features: int, bounds: tuple[Tensor, Tensor]):
        super().__init__()
        self.width = n_features
        self.register_buffer("low", bounds[0])
        self.register_buffer("span", bounds[1])
        self.register_buffer("null_loss", torch.tensor(float(n_features)))

    def forward(self, h: Tensor) -> BernoulliRows:
        return BernoulliRows(h, self.low, self.span)

    def relative_loss(self, p: Distribution, x: Tensor) -> Tensor:
        return self.loss(p, x) / self.null_loss

    def curvature(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(h)
        return (x - self.low) / self.span - s, s * (1.0 - s)
