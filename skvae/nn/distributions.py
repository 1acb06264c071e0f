"""Distributions of rows and codes.

They have independent coordinates, use an explicit random generator, and share one interface.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from .flows import Flow
from .fused import NormalDraw, run
from .shares import normal_like

LOG_2PI = math.log(2.0 * math.pi)
_SOBOL_SEED = 0
_ROUNDING = 1e-5  # by which values may leave [0, 1]


def normal_points(
    n_draws: int,
    n_components: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Fixed standard normal points (K, k): scrambled Sobol, or the origin alone for K = 1."""
    if n_draws == 1:
        return torch.zeros(1, n_components, dtype=dtype, device=device)
    engine = torch.quasirandom.SobolEngine
    sobol = engine(n_components, scramble=True, seed=_SOBOL_SEED)  # type: ignore[no-untyped-call]
    u = sobol.draw(n_draws, dtype=torch.float64).clamp(1e-9, 1.0 - 1e-9)
    points: Tensor = torch.special.ndtri(u)
    return points.to(device, dtype)


def standard_log_prob(u: Tensor) -> Tensor:
    """Log-density (...,) of N(0, I) at u (..., k)."""
    return -0.5 * (u.square() + LOG_2PI).sum(-1)


class Distribution(ABC):
    """A distribution of rows or codes.

    Attributes
    ----------
    has_density : bool
        False where all mass lies on one point: `log_prob` is then 0 there and -inf elsewhere.
    """

    has_density: bool = True

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Mean, (..., d)."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """Variance, (..., d)."""

    @property
    def std(self) -> Tensor:
        """Standard deviation, (..., d)."""
        return self.variance.sqrt()

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each coordinate, (..., d)."""

    def log_likelihood(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log-density (...,) of rows (..., d), a sum over their observed cells."""
        each = self.log_prob(x)
        return each.sum(-1) if observed is None else (each * observed).sum(-1)

    @abstractmethod
    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        """Sample once for each row."""

    @abstractmethod
    def repeat(self, n: int) -> Distribution:
        """The distributions of rows that are repeated `n` times, one after another."""

    def kl_to_standard_normal(self, z: Tensor) -> Tensor:
        """KL(self || N(0, I)) of each row, (n, k) by coordinate or (n, 1) by the draw z (n, k)."""
        return (self.log_likelihood(z) - standard_log_prob(z))[:, None]


class Dirac(Distribution):
    """All mass on one point: the posterior of a deterministic encoder, a row without noise."""

    has_density = False

    def __init__(self, mean: Tensor):
        self._mean = mean

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self._mean)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.where(x == self._mean, 0.0, -math.inf).to(x)

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        return self._mean

    def repeat(self, n: int) -> Dirac:
        return Dirac(self._mean.repeat(n, 1))


class Normal(Distribution):
    """Independent normal coordinates.

    Parameters
    ----------
    mean : Tensor of shape (..., d)
    log_variance : Tensor of shape (..., d), or (d,) where all rows share it
    """

    def __init__(self, mean: Tensor, log_variance: Tensor):
        self._mean, self.log_variance = mean, log_variance

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def std(self) -> Tensor:
        return torch.exp(0.5 * self.log_variance)

    @property
    def variance(self) -> Tensor:
        return self.log_variance.exp()

    def log_prob(self, x: Tensor) -> Tensor:
        square = (x - self._mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (square + (self.log_variance + LOG_2PI))

    def log_likelihood(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if self.log_variance.ndim > 1:
            return super().log_likelihood(x, observed)
        # noise that all rows share: one product instead of several passes over (..., d)
        square = (x - self._mean).square_()
        constant = self.log_variance + LOG_2PI
        if observed is None:
            return -0.5 * (square @ torch.exp(-self.log_variance) + constant.sum())
        seen = observed.to(square)
        return -0.5 * ((square * seen) @ torch.exp(-self.log_variance) + seen @ constant)

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        noise = normal_like(self._mean, rng)
        return run(NormalDraw(), self._mean, self.log_variance.expand_as(noise), noise)[0]

    def repeat(self, n: int) -> Normal:
        shared = self.log_variance.ndim == 1
        variance = self.log_variance if shared else self.log_variance.repeat(n, 1)
        return Normal(self._mean.repeat(n, 1), variance)

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]:
        std = self.std
        z = self._mean[:, None] + std[:, None] * points
        return z, standard_log_prob(points) - std.log().sum(-1, keepdim=True)

    def kl_to_standard_normal(self, z: Tensor) -> Tensor:
        """``1/2 (m_j^2 + s_j^2 - 1 - log s_j^2)`` by coordinate, (n, k)."""
        v = self.log_variance
        return 0.5 * (torch.addcmul(v.exp() - v, self._mean, self._mean) - 1.0)


class FlowedNormal(Distribution):
    """Normal coordinates carried through an invertible network that depends on the row.

    Its mean and variance are averages over fixed points; its density is known at once for its
    own latest draw, and by the slow inverse elsewhere.
    """

    def __init__(self, base: Normal, context: Tensor, flow: Flow, points: Tensor):
        self.base, self.context, self.flow, self.points = base, context, flow, points
        self._drawn: tuple[Tensor, Tensor] | None = None

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        u = self.base.sample(rng)
        z: Tensor
        z, log_det = self.flow(u, self.context)
        self._drawn = z, self.base.log_likelihood(u) - log_det
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError("the coordinates of a flow are not independent")

    def log_likelihood(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is not None:
            raise NotImplementedError("a flow has no density of some of its coordinates")
        if self._drawn is not None and x is self._drawn[0]:
            return self._drawn[1]
        u = self.flow.inverse(x, self.context)
        log_det: Tensor = self.flow(u, self.context)[1]
        return self.base.log_likelihood(u) - log_det

    def repeat(self, n: int) -> FlowedNormal:
        return FlowedNormal(self.base.repeat(n), self.context.repeat(n, 1), self.flow, self.points)

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]:
        u, log_r = self.base.place(points)
        z, log_det = self.flow(u, self.context[:, None])
        return z, log_r - log_det

    @property
    def mean(self) -> Tensor:
        return self.place(self.points)[0].mean(1)

    @property
    def variance(self) -> Tensor:
        return self.place(self.points)[0].var(1, correction=0)

    @property
    def std(self) -> Tensor:
        return self.place(self.points)[0].std(1, correction=0)


class ScaledBernoulli(Distribution):
    """Independent Bernoulli features of rows kept in standardised units.

    `low` and `span` are where 0 and 1 lie in those units: x = low + span * v for v in [0, 1].
    Probabilities, not densities: scaling rows does not shift them. A value outside of [0, 1] counts
    as the nearest of the two, and costs ``1 + |logit|`` for each unit that it is away; without
    `strict` it counts as it is, and may be more likely than any value inside.
    """

    def __init__(self, logits: Tensor, low: Tensor, span: Tensor, strict: bool = True):
        self.logits, self.low, self.span, self.strict = logits, low, span, strict

    @property
    def mean(self) -> Tensor:
        return self.low + self.span * torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        s = torch.sigmoid(self.logits)
        return self.span.square() * s * (1.0 - s)

    def log_prob(self, x: Tensor) -> Tensor:
        v = (x - self.low) / self.span
        inside = v * self.logits - F.softplus(self.logits)
        if not self.strict:
            return inside
        beyond = v - v.clamp(-_ROUNDING, 1.0 + _ROUNDING)
        return inside - beyond * self.logits - beyond.abs() * (1.0 + self.logits.abs())

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        v = torch.bernoulli(torch.sigmoid(self.logits), generator=rng)
        return self.low + self.span * v

    def repeat(self, n: int) -> ScaledBernoulli:
        return ScaledBernoulli(self.logits.repeat(n, 1), self.low, self.span, self.strict)
