"""Likelihoods, from outputs of a decoder's network to a distribution of rows, and losses.

A likelihood is a product over features, or over groups of features of different types. Missing
values do not contribute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from .batch import Batch
from .distributions import LOG_2PI, Dirac, Distribution, Normal, ScaledBernoulli
from .fused import (
    FeatureNoise,
    KnownNoise,
    NetworkNoise,
    Operation,
    ScalarNoise,
    fusible,
    run,
)
from .heads import LOG_VARIANCE_BOUNDS
from .modules import ModuleList
from .shares import batch_mean

_SMALLEST = 1e-6


class Bounds(NamedTuple):
    """Positions of 0 and 1 in standardised units, for values in [0, 1]: x = low + span v."""

    low: Tensor  # (d,)
    span: Tensor  # ()


class Likelihood(nn.Module):
    """Base class of likelihoods p(x | h) of rows in standardised units.

    Attributes
    ----------
    n_features, width : int
        Number of features of a row, and number of outputs of the network.
    has_density : bool
        Whether p is a density in the units of X, so that scaling of rows shifts log p.
    is_integral : bool
        Whether samples are integers in the units of X.
    null_loss : Tensor
        Loss of the best constant prediction, by which `relative_loss` is scaled.
    """

    n_features: int
    width: int
    has_density: bool = True
    is_integral: bool = False
    null_loss: Tensor

    @property
    def operation(self) -> Operation | None:
        """`loss` in training, of means, rows and `tensors()`, where all cells are observed.

        Where the network gives the noise it is one of outputs in the place of means. None where it
        is no such function.
        """
        return None

    @property
    def mean_bounds(self) -> tuple[Tensor, ...]:
        """Return low and span, if means are ``low + span * sigmoid(h)``."""
        return ()

    def tensors(self) -> list[Tensor]:
        """Return the inputs of `operation` in addition to means and rows."""
        raise NotImplementedError

    def forward(self, h: Tensor) -> Distribution:
        raise NotImplementedError

    def log_prob(self, p: Distribution, batch: Batch) -> Tensor:
        """Return the log-density of each value (n, d), 0 for missing values."""
        each = p.log_prob(batch.x)
        return each if batch.observed is None else each * batch.observed

    def at_training_noise(self, p: Distribution, batch: Batch) -> Distribution:
        """Return `p` with the noise that `loss` uses in training."""
        return p

    def loss(self, p: Distribution, batch: Batch) -> Tensor:
        """Return the mean of -log p(x) in nats; in training the noise may depend on the batch."""
        return -p.log_likelihood(batch.x, batch.observed).mean()

    def relative_loss(self, p: Distribution, batch: Batch) -> Tensor:
        """Return a dimensionless loss: 0 is perfect, 1 is that of the mean of the rows."""
        return self.loss(p, batch) / self.null_loss

    @torch.no_grad()
    def set_null_loss(self, batch: Batch) -> None:
        """Store the loss of the best constant prediction of these rows."""
        self.null_loss.copy_(self._null_loss(batch).clamp(min=_SMALLEST))

    def _null_loss(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def curvature(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradient of log p(x | h) in h and its Fisher information, both (n, width).

        If the Fisher information is not diagonal, `information` is overridden instead.
        """
        raise NotImplementedError

    def information(self, h: Tensor, batch: Batch, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradient and Fisher information of log p(x | h) in coordinates on which h depends.

        Parameters
        ----------
        h : Tensor of shape (n, width)
        batch : Batch
        columns : Tensor of shape (k, n, width)
            Derivatives J of h in each coordinate.

        Returns
        -------
        gradient : Tensor of shape (n, k)
            ``J' g``.
        fisher : Tensor of shape (n, k, k)
            ``J' F J``.
        """
        gradient, fisher = self.curvature(h, batch)
        along = torch.einsum("anw,nw->na", columns, gradient)
        return along, torch.einsum("anw,bnw->nab", columns * fisher, columns)

    def set_noise(self, squared_residual: Tensor, learned: bool = True) -> None:
        """Set the noise after training, given mean squared residuals (d,) of rows.

        `learned` is True if training has minimised `loss`, which depends on the noise.
        """

    def network_noise(self, h: Tensor) -> Tensor | None:
        """Return log-variances (..., f) of outputs h (..., width) in training, or None."""
        return None

    def temper(self, slope: float, level: float, centre: Tensor) -> None:
        """Use ``centre + level + slope (l - centre)`` after training, with l of `network_noise`.

        With a slope of 0 each feature has one noise for all rows.
        """

    def restore_noise(self) -> None:
        """Undo `temper`."""

    def change_units(self, factor: Tensor) -> None:
        """Keep noise fixed by the user if encoded features are scaled by `factor` (d,)."""

    @property
    def is_quadratic(self) -> bool:
        """Return whether log p(x | h) is a quadratic function of the outputs h."""
        return False

    @property
    def noise_by_feature(self) -> Tensor | None:
        """Variance (d,) of additive noise common to all rows, or None."""
        return None

    @property
    def density_by_feature(self) -> Tensor:
        """`has_density` of each feature, (d,)."""
        return torch.full((self.n_features,), self.has_density)

    @property
    def integral_by_feature(self) -> Tensor:
        """`is_integral` of each feature, (d,)."""
        return torch.full((self.n_features,), self.is_integral)

    def linear_outputs(
        self, weight: Tensor, offsets: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor]:
        """Return a linear map to outputs that gives approximately probabilistic PCA.

        Parameters
        ----------
        weight : Tensor of shape (d, k)
        offsets : Tensor of shape (d, c)
            Contribution of the context to the mean.
        mean : Tensor of shape (d,)
        noise : float
            Variance of each feature.

        Returns
        -------
        weight, bias : Tensors of shapes (width, k + c) and (width,)
        """
        return torch.hstack([weight, offsets]), mean


def _mean_cells(square: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean (d,) of observed values, and the proportion (d,) of observed values."""
    if observed is None:
        return square.mean(0), torch.ones_like(square[0])
    share = batch_mean(observed.to(square).mean(0))
    return batch_mean((square * observed).mean(0)) / share.clamp(min=1e-12), share


def _logit_line(v: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """Return logits of values in [0, 1], and their slopes in standardised units."""
    centre = v.clamp(0.02, 0.98)
    slope = 1.0 / (span * (centre * (1.0 - centre)).clamp(min=0.05))
    return torch.log(centre / (1.0 - centre)), slope


def _logits(bounds: Bounds, weight: Tensor, offsets: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return a linear function through the logits of the mean."""
    low, span = bounds.low.to(mean), float(bounds.span)
    bias, slope = _logit_line((mean - low) / span, span)
    shifted = _logit_line((mean + offsets.T - low) / span, span)[0].T  # (d, c)
    return torch.hstack([weight * slope[:, None], shifted - bias[:, None]]), bias


class Gaussian(Likelihood):
    """Gaussian likelihood N(x; mean, noise), with learned, network or fixed noise.

    One noise for all features is profiled out in training: with r the mean squared residual of
    the batch the loss is ``d/2 log(2 pi e (r + floor))``, whose gradient is that of the Gaussian
    likelihood at the best noise of the moment (Rybkin, Daniilidis & Levine 2021, "optimal
    sigma-VAE"). Noise of each feature is ``exp(2 s_j) + floor``, s_j a parameter that starts at 0:
    it falls at the pace of the optimiser, so features that are soon predicted too well (constant,
    discrete, memorised) keep some. After training `set_noise` stores in `variance` that noise or
    the mean squared residual, whichever is larger. Noise of the network is ``exp(l) + floor``, l an
    output of it, and after training ``exp(shift + slope l) + floor``: see `temper`.

    Parameters
    ----------
    n_features : int
    noise : {"feature", "scalar", "network", "fixed"}
    floor : float
        Smallest noise variance, added to the learned one.
    variance : Tensor of shape (n_features,), optional
        The fixed noise, or the noise before training (1).
    bounds : Bounds, optional
        Means are then ``low + span * sigmoid(h)``.
    """

    variance: Tensor
    low: Tensor
    span: Tensor
    log_std: nn.Parameter
    slope: Tensor
    shift: Tensor

    def __init__(
        self,
        n_features: int,
        noise: str = "feature",
        floor: float = 0.0025,
        variance: Tensor | None = None,
        bounds: Bounds | None = None,
    ):
        super().__init__()
        self.noise = noise
        self.floor = float(floor)
        self.n_features = n_features
        self.width = 2 * n_features if noise == "network" else n_features
        self.bounded = bounds is not None
        low, span = bounds or (torch.zeros(n_features), torch.ones(()))
        self.register_buffer("low", low)
        self.register_buffer("span", span)
        self.register_buffer("variance", torch.ones(n_features) if variance is None else variance)
        self.register_buffer("null_loss", torch.tensor(float(n_features)))
        if noise == "feature":
            self.log_std = nn.Parameter(torch.zeros(n_features))
        if noise == "network":
            self.register_buffer("slope", torch.ones(()))
            self.register_buffer("shift", torch.zeros(n_features))

    @fusible
    def mean_of(self, h: Tensor) -> Tensor:
        """Means (..., d) of outputs."""
        h = h[..., : self.n_features]
        return torch.addcmul(self.low, torch.sigmoid(h), self.span) if self.bounded else h

    @fusible
    def forward(self, h: Tensor) -> Distribution:
        return Normal(self.mean_of(h), self._log_variance(h))

    def _log_variance(self, h: Tensor) -> Tensor:
        if self.noise != "network":
            return torch.log(self.variance)
        return torch.log(self._tempered(h).exp() + self.floor)

    def network_noise(self, h: Tensor) -> Tensor | None:
        return self._log_noise(h) if self.noise == "network" else None

    def _log_noise(self, h: Tensor) -> Tensor:
        """Logarithms of the noise of the network, less the floor, in training."""
        return h[..., self.n_features :].clamp(*LOG_VARIANCE_BOUNDS)

    @torch.no_grad()
    def temper(self, slope: float, level: float, centre: Tensor) -> None:
        if self.noise == "network":
            self.slope.fill_(slope)
            self.shift.copy_(level + (1.0 - slope) * centre)

    @torch.no_grad()
    def restore_noise(self) -> None:
        if self.noise == "network":
            self.slope.fill_(1.0)
            self.shift.zero_()

    @torch.no_grad()
    def change_units(self, factor: Tensor) -> None:
        if self.noise == "fixed":
            self.variance.mul_(factor.to(self.variance).square())

    def _tempered(self, h: Tensor) -> Tensor:
        """Logarithms of the noise of the network, less the floor."""
        raw = self._log_noise(h)
        return raw if self.training else torch.addcmul(self.shift, raw, self.slope)

    @property
    def _noise_is_given(self) -> bool:
        return not self.training or self.noise in ("network", "fixed")

    @property
    def mean_bounds(self) -> tuple[Tensor, ...]:
        return (self.low, self.span) if self.bounded else ()

    @property
    def operation(self) -> Operation | None:
        if self.noise == "network":
            return None if self.bounded else NetworkNoise(self.floor, LOG_VARIANCE_BOUNDS)
        if self.noise == "fixed":
            return KnownNoise()
        return FeatureNoise(self.floor) if self.noise == "feature" else ScalarNoise(self.floor)

    def tensors(self) -> list[Tensor]:
        if self.noise == "feature":
            return [self.log_std]
        return [torch.log(self.variance)] if self.noise == "fixed" else []

    @fusible
    def loss(self, p: Distribution, batch: Batch) -> Tensor:
        if batch.observed is not None:
            return self._masked_loss(p, batch)
        if self._noise_is_given:
            log_variance = cast(Normal, p).log_variance
            return run(KnownNoise(), p.mean, batch.x, log_variance)[0]
        operation = FeatureNoise if self.noise == "feature" else ScalarNoise
        return run(operation(self.floor), p.mean, batch.x, *self.tensors())[0]

    def _masked_loss(self, p: Distribution, batch: Batch) -> Tensor:
        """Return the loss of rows with missing values."""
        if self._noise_is_given:
            return super().loss(p, batch)
        r, share = _mean_cells((batch.x - p.mean).square(), batch.observed)  # (d,)
        if self.noise == "feature":
            v = torch.exp(2.0 * self.log_std) + self.floor
            each = torch.log(v) + r / v + LOG_2PI
            return 0.5 * (share * each).sum()
        cells = share.sum()  # in a row
        r = (share * r).sum() / cells.clamp(min=1e-12)
        return 0.5 * cells * (torch.log(r + self.floor) + 1.0 + LOG_2PI)

    def at_training_noise(self, p: Distribution, batch: Batch) -> Distribution:
        if self._noise_is_given:
            return p
        if self.noise == "feature":
            return Normal(p.mean, torch.log(torch.exp(2.0 * self.log_std) + self.floor))
        square = (batch.x - p.mean).square()
        if batch.observed is None:
            mean = batch_mean(square.mean())
        else:
            cells = batch_mean(batch.observed.to(square).mean()).clamp(min=1e-12)
            mean = batch_mean((square * batch.observed).mean()) / cells
        return Normal(p.mean, torch.log(mean + self.floor).expand(self.n_features))

    def relative_loss(self, p: Distribution, batch: Batch) -> Tensor:
        if self.noise == "network":
            return self.loss(p, batch) / self.n_features
        square = (batch.x - p.mean).square()
        if batch.observed is not None:
            square = square * batch.observed
        return square.sum(-1).mean() / self.null_loss

    def _null_loss(self, batch: Batch) -> Tensor:
        if batch.observed is None:
            return batch.x.var(0, correction=0).sum()
        mean = _mean_cells(batch.x, batch.observed)[0]
        return ((batch.x - mean).square() * batch.observed).sum(1).mean()

    def curvature(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        precision = torch.exp(-self._log_variance(h))
        residual = batch.x - self.mean_of(h)
        gradient, fisher = residual * precision, precision.expand_as(residual)
        if self.bounded:
            s = torch.sigmoid(h[..., : self.n_features])
            bend = self.span * s * (1.0 - s)
            gradient, fisher = gradient * bend, fisher * bend.square()
        seen = batch.observed
        if seen is not None:
            gradient, fisher = gradient * seen, fisher * seen
        if self.noise == "network":
            share = self._tempered(h).exp() * precision
            if not self.training:
                share = share * self.slope  # d log v / d raw
            noise_gradient = 0.5 * share * (residual.square() * precision - 1.0)
            noise_fisher = 0.5 * share.square()
            if seen is not None:
                noise_gradient, noise_fisher = noise_gradient * seen, noise_fisher * seen
            gradient = torch.cat([gradient, noise_gradient], -1)
            fisher = torch.cat([fisher, noise_fisher], -1)
        return gradient, fisher

    def set_noise(self, squared_residual: Tensor, learned: bool = True) -> None:
        noise = squared_residual
        if self.noise == "scalar":
            noise = noise.mean().expand_as(noise)
        elif self.noise == "feature" and learned:
            noise = torch.maximum(noise, torch.exp(2.0 * self.log_std))
        if self.noise in ("feature", "scalar"):
            self.variance.copy_(noise + self.floor)

    @property
    def is_quadratic(self) -> bool:
        return self.noise != "network" and not self.bounded

    @property
    def noise_by_feature(self) -> Tensor | None:
        return None if self.noise == "network" else self.variance

    def linear_outputs(
        self, weight: Tensor, offsets: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor]:
        if self.bounded:
            w, b = _logits(Bounds(self.low, self.span), weight, offsets, mean)
        else:
            w, b = super().linear_outputs(weight, offsets, mean, noise)
        if self.noise == "network":
            w = torch.vstack([w, torch.zeros_like(w)])
            b = torch.cat([b, torch.full_like(b, math.log(max(noise, 1e-5)))])
        return w, b


class Noiseless(Gaussian):
    """Rows without noise, for generators without a likelihood."""

    def __init__(self, n_features: int, bounds: Bounds | None = None):
        super().__init__(n_features, "fixed", bounds=bounds)

    @property
    def operation(self) -> Operation | None:
        return None

    def forward(self, h: Tensor) -> Distribution:
        return Dirac(self.mean_of(h))


class Bernoulli(Likelihood):
    """Independent Bernoulli features for data in [0, 1]; log p is a log-probability."""

    has_density = False
    is_integral = True
    low: Tensor
    span: Tensor

    def __init__(self, n_features: int, bounds: Bounds):
        super().__init__()
        self.width = self.n_features = n_features
        self.register_buffer("low", bounds.low)
        self.register_buffer("span", bounds.span)
        self.register_buffer("null_loss", torch.tensor(float(n_features)))

    def forward(self, h: Tensor) -> Distribution:
        # rows of a training lie inside
        return ScaledBernoulli(h, self.low, self.span, strict=not self.training)

    def _null_loss(self, batch: Batch) -> Tensor:
        mean, share = _mean_cells((batch.x - self.low) / self.span, batch.observed)
        v = mean.clamp(1e-6, 1.0 - 1e-6)
        each = -(v * v.log() + (1.0 - v) * (1.0 - v).log())
        return (share * each).sum()

    def curvature(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(h)
        gradient, fisher = (batch.x - self.low) / self.span - s, s * (1.0 - s)
        if batch.observed is not None:
            gradient, fisher = gradient * batch.observed, fisher * batch.observed
        return gradient, fisher

    def linear_outputs(
        self, weight: Tensor, offsets: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor]:
        return _logits(Bounds(self.low, self.span), weight, offsets, mean)


class ProductDistribution(Distribution):
    """Distribution of independent groups of features."""

    def __init__(self, groups: Sequence[Distribution], sizes: Sequence[int]):
        self.groups, self.sizes = list(groups), list(sizes)

    @property
    def mean(self) -> Tensor:
        return torch.cat([p.mean for p in self.groups], -1)

    @property
    def variance(self) -> Tensor:
        shape = self.mean.shape
        parts = [p.variance.expand(*shape[:-1], -1) for p in self.groups]
        return torch.cat(parts, -1)

    def log_prob(self, x: Tensor) -> Tensor:
        parts = zip(self.groups, torch.split(x, self.sizes, -1), strict=True)
        return torch.cat([p.log_prob(part) for p, part in parts], -1)

    def log_likelihood(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        xs = torch.split(x, self.sizes, -1)
        seen = [None] * len(xs) if observed is None else torch.split(observed, self.sizes, -1)
        parts = zip(self.groups, xs, seen, strict=True)
        return torch.stack([p.log_likelihood(part, o) for p, part, o in parts]).sum(0)

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        return torch.cat([p.sample(rng) for p in self.groups], -1)

    def repeat(self, n: int) -> ProductDistribution:
        return ProductDistribution([p.repeat(n) for p in self.groups], self.sizes)


class Product(Likelihood):
    """Product likelihood over groups of features, each with its own likelihood.

    Features, outputs and noise of the groups are concatenated, in their order.

    Parameters
    ----------
    groups : sequence of Likelihood
    """

    def __init__(self, groups: Sequence[Likelihood]):
        super().__init__()
        self.groups = ModuleList(groups)
        self._sizes = [g.n_features for g in groups]
        self._widths = [g.width for g in groups]
        self.n_features, self.width = sum(self._sizes), sum(self._widths)
        self.has_density = all(g.has_density for g in groups)
        self.is_integral = all(g.is_integral for g in groups)
        self.register_buffer("null_loss", torch.tensor(float(self.n_features)))

    @property
    def density_by_feature(self) -> Tensor:
        return torch.cat([g.density_by_feature for g in self._parts])

    @property
    def integral_by_feature(self) -> Tensor:
        return torch.cat([g.integral_by_feature for g in self._parts])

    @property
    def _parts(self) -> list[Likelihood]:
        return list(self.groups)

    def _split(self, batch: Batch) -> list[Batch]:
        xs = torch.split(batch.x, self._sizes, -1)
        if batch.observed is None:
            return [batch._replace(x=x) for x in xs]
        seen = torch.split(batch.observed, self._sizes, -1)
        return [batch._replace(x=x, observed=o) for x, o in zip(xs, seen, strict=True)]

    def _pairs(self, p: Distribution, batch: Batch) -> list[tuple[Likelihood, Distribution, Batch]]:
        groups = cast(ProductDistribution, p).groups
        return list(zip(self._parts, groups, self._split(batch), strict=True))

    def forward(self, h: Tensor) -> Distribution:
        outputs = zip(self._parts, torch.split(h, self._widths, -1), strict=True)
        return ProductDistribution([g(part) for g, part in outputs], self._sizes)

    def at_training_noise(self, p: Distribution, batch: Batch) -> Distribution:
        found = [g.at_training_noise(q, b) for g, q, b in self._pairs(p, batch)]
        return ProductDistribution(found, self._sizes)

    def loss(self, p: Distribution, batch: Batch) -> Tensor:
        return torch.stack([g.loss(q, b) for g, q, b in self._pairs(p, batch)]).sum()

    def _null_loss(self, batch: Batch) -> Tensor:
        losses = [g._null_loss(b) for g, b in zip(self._parts, self._split(batch), strict=True)]
        return torch.stack(losses).sum()

    def relative_loss(self, p: Distribution, batch: Batch) -> Tensor:
        """Return the mean of the groups' relative losses, weighted by their null losses."""
        pairs = self._pairs(p, batch)
        total = torch.stack([g.relative_loss(q, b) * g.null_loss for g, q, b in pairs]).sum()
        return total / self.null_loss

    @torch.no_grad()
    def set_null_loss(self, batch: Batch) -> None:
        for g, b in zip(self._parts, self._split(batch), strict=True):
            g.set_null_loss(b)
        self.null_loss.copy_(torch.stack([g.null_loss for g in self._parts]).sum())

    def curvature(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        outputs = torch.split(h, self._widths, -1)
        parts = zip(self._parts, outputs, self._split(batch), strict=True)
        found = [g.curvature(part, b) for g, part, b in parts]
        return torch.cat([a for a, _ in found], -1), torch.cat([b for _, b in found], -1)

    def information(self, h: Tensor, batch: Batch, columns: Tensor) -> tuple[Tensor, Tensor]:
        outputs = torch.split(h, self._widths, -1)
        each = torch.split(columns, self._widths, -1)
        parts = zip(self._parts, outputs, self._split(batch), each, strict=True)
        found = [g.information(part, b, c) for g, part, b, c in parts]
        gradients, fishers = zip(*found, strict=True)
        return torch.stack(gradients).sum(0), torch.stack(fishers).sum(0)

    def set_noise(self, squared_residual: Tensor, learned: bool = True) -> None:
        parts = torch.split(squared_residual, self._sizes)
        for g, part in zip(self._parts, parts, strict=True):
            g.set_noise(part, learned)

    def network_noise(self, h: Tensor) -> Tensor | None:
        outputs = zip(self._parts, torch.split(h, self._widths, -1), strict=True)
        found = [noise for g, part in outputs if (noise := g.network_noise(part)) is not None]
        return torch.cat(found, -1) if found else None

    def temper(self, slope: float, level: float, centre: Tensor) -> None:
        at = 0
        for g in self._parts:
            noise = g.network_noise(torch.zeros(g.width).to(centre))
            if noise is not None:
                g.temper(slope, level, centre[at : at + len(noise)])
                at += len(noise)

    def restore_noise(self) -> None:
        for g in self._parts:
            g.restore_noise()

    def change_units(self, factor: Tensor) -> None:
        for g, part in zip(self._parts, torch.split(factor, self._sizes), strict=True):
            g.change_units(part)

    @property
    def is_quadratic(self) -> bool:
        return all(g.is_quadratic for g in self._parts)

    @property
    def noise_by_feature(self) -> Tensor | None:
        found = [g.noise_by_feature for g in self._parts]
        known = [v for v in found if v is not None]
        return torch.cat(known) if len(known) == len(found) else None

    def linear_outputs(
        self, weight: Tensor, offsets: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor]:
        rows = [torch.split(a, self._sizes) for a in (weight, offsets, mean)]
        parts = zip(self._parts, *rows, strict=True)
        found = [g.linear_outputs(w, o, m, noise) for g, w, o, m in parts]
        return torch.vstack([w for w, _ in found]), torch.cat([b for _, b in found])
