"""Network outputs to distributions: what is probabilistic returns a distribution.

A `Head` turns the output h of a network into a distribution: `PointHead`, `NormalHead` and others
over codes, `Gaussian`, `Bernoulli` and `Exact` over rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .flows import Flow

_LOG_2PI = math.log(2.0 * math.pi)
_LOG_VARIANCE_BOUNDS = (-12.0, 4.0)
_MEAN_POINTS = 32
_SOBOL_SEED = 0


def normal_points(
    n_draws: int, n_components: int, dtype: torch.dtype = torch.float32, device="cpu"
) -> Tensor:
    """Fixed standard normal points (K, k): scrambled Sobol, or the origin alone for K = 1."""
    if n_draws == 1:
        return torch.zeros(1, n_components, dtype=dtype, device=device)
    sobol = torch.quasirandom.SobolEngine(n_components, scramble=True, seed=_SOBOL_SEED)
    u = sobol.draw(n_draws, dtype=torch.float64).clamp(1e-9, 1.0 - 1e-9)
    return torch.special.ndtri(u).to(device, dtype)


def standard_log_prob(u: Tensor) -> Tensor:
    """Log-density (...,) of N(0, I) at u (..., k)."""
    return -0.5 * (u.square() + _LOG_2PI).sum(-1)


class Distribution(Protocol):
    """Independent coordinates; draws come from an explicit generator."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def variance(self) -> Tensor: ...
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

    @property
    def variance(self) -> Tensor:
        return self.log_variance.exp()

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

    def repeat(self, n_draws: int) -> Normal:
        """The distributions of rows that are repeated one after another."""
        return Normal(self.mean.repeat(n_draws, 1), self.log_variance.repeat(n_draws, 1))

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (K, k) of N(0, I) carried to each of n rows: (n, K, k), log-density (n, K)."""
        std = self.std
        z = self.mean[:, None] + std[:, None] * points
        return z, standard_log_prob(points) - std.log().sum(-1, keepdim=True)


class Flowed:
    """Normal coordinates carried through an invertible network that depends on the row.

    Its mean and deviations are averages over fixed points.
    """

    def __init__(self, base: Normal, context: Tensor, flow: Flow, points: Tensor):
        self.base, self.context, self.flow, self.points = base, context, flow, points
        self._drawn: tuple[Tensor, Tensor] | None = None

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        u = self.base.sample(generator)
        z, log_det = self.flow(u, self.context)
        self._drawn = z, self.base.log_likelihood(u) - log_det
        return z

    def log_likelihood(self, z: Tensor) -> Tensor:
        if self._drawn is not None and z is self._drawn[0]:
            return self._drawn[1]
        u = self.flow.inverse(z, self.context)
        _, log_det = self.flow(u, self.context)
        return self.base.log_likelihood(u) - log_det

    def repeat(self, n_draws: int) -> Flowed:
        context = self.context.repeat(n_draws, 1)
        return Flowed(self.base.repeat(n_draws), context, self.flow, self.points)

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]:
        u, log_r = self.base.place(points)
        z, log_det = self.flow(u, self.context[:, None])
        return z, log_r - log_det

    @property
    def mean(self) -> Tensor:
        return self.place(self.points)[0].mean(1)

    @property
    def std(self) -> Tensor:
        return self.place(self.points)[0].std(1, correction=0)


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

    @property
    def variance(self) -> Tensor:
        s = torch.sigmoid(self.logits)
        return self.span.square() * s * (1.0 - s)

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


class SigmoidHead(PointHead):
    """Codes in (0, 1)."""

    def forward(self, h: Tensor) -> Point:
        return Point(torch.sigmoid(h))


class Mask(nn.Module):
    """a = 1 - exp(-m) with m >= 0 learned: the share of each code coordinate that passes."""

    def __init__(self, n_components: int, start: float = 1.0):
        super().__init__()
        self.m = nn.Parameter(torch.full((n_components,), start))

    def forward(self) -> Tensor:
        return -torch.expm1(-self.m.clamp(min=0.0))


class MaskedHead(PointHead):
    """Codes times a mask."""

    def __init__(self, n_components: int):
        super().__init__(n_components)
        self.mask = Mask(n_components)

    def forward(self, h: Tensor) -> Point:
        return Point(h * self.mask())


class FlowHead(NormalHead):
    """Means, log-variances and the context of an invertible network that the draws go through."""

    def __init__(
        self, n_components: int, n_context: int, hidden: list[int], generator: torch.Generator
    ):
        super().__init__(n_components)
        self.n_components = n_components
        self.width = 2 * n_components + n_context
        self.flow = Flow(n_components, n_context, hidden, generator)
        self.register_buffer("points", normal_points(_MEAN_POINTS, n_components))

    def forward(self, h: Tensor) -> Flowed:
        k = self.n_components
        base = super().forward(h[..., : 2 * k])
        return Flowed(base, h[..., 2 * k :], self.flow, self.points)


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
    n_features: int
    null_loss: Tensor

    def at_training_noise(self, p: Distribution, x: Tensor) -> Distribution:
        """`p` with the noise that `loss` reckons with in training."""
        return p

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

    def at_training_noise(self, p: Normal, x: Tensor) -> Normal:
        if not self.training or self.noise in ("network", "fixed"):
            return p
        if self.noise == "feature":
            return Normal(p.mean, torch.log(torch.exp(2.0 * self.log_std) + self.floor))
        variance = (x - p.mean).square().mean() + self.floor
        return Normal(p.mean, torch.log(variance).expand(self.n_features))

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
        self.width = self.n_features = n_features
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


class Exact(Gaussian):
    """Rows without noise, as generators without a likelihood make them."""

    def __init__(self, n_features: int, bounds: tuple[Tensor, Tensor] | None = None):
        super().__init__(n_features, "fixed", bounds=bounds)

    def forward(self, h: Tensor) -> Point:
        return Point(super().forward(h).mean)


class InfoCodes(NamedTuple):
    """Codes made of noise, one of several categories (one-hot) and independent uniform numbers.

    The law that InfoGAN's second network sees in a row: it says nothing of the noise, and gives the
    numbers as normal.
    """

    log_shares: Tensor  # (n, categories)
    numbers: Normal  # (n, numbers)

    @property
    def mean(self) -> Tensor:
        return torch.cat([self.log_shares.exp(), self.numbers.mean], -1)

    def log_likelihood(self, z: Tensor) -> Tensor:
        n_categories, n_numbers = self.log_shares.shape[-1], self.numbers.mean.shape[-1]
        c = z[..., z.shape[-1] - n_categories - n_numbers :]
        category = (c[..., :n_categories] * self.log_shares).sum(-1)
        return category + self.numbers.log_likelihood(c[..., n_categories:])


class InfoHead(Head):
    """Outputs to `InfoCodes`; one of the two parts may be missing."""

    def __init__(self, n_categories: int, n_numbers: int):
        super().__init__()
        self.n_categories, self.numbers = n_categories, NormalHead(n_numbers)
        self.width = n_categories + self.numbers.width

    def forward(self, h: Tensor) -> InfoCodes:
        log_shares = torch.log_softmax(h[..., : self.n_categories], -1)
        return InfoCodes(log_shares, self.numbers(h[..., self.n_categories :]))
