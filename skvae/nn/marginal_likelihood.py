"""Importance sampling estimate of log p(x) = log int p(x | z) p(z) dz, for all models.

``log p(x) ~ logsumexp_i [log p(x | z_i) + log p(z_i) - log r(z_i | x)] - log K`` with K samples
from a proposal r. The samples are the same quasi-Monte Carlo points for every row, so a score is
deterministic and does not depend on the other rows (Burda, Grosse & Salakhutdinov 2016).

The proposal begins with Laplace's approximation of the posterior, found by Gauss-Newton steps from
the encoder's mean: an encoder is far from the posterior of rows that it was not trained on, and q(z
| x) so narrow there that weights are wrong by tens of nats. With a linear decoder, a noise that is
the same for all codes and codes from a normal or a mixture of normals it is the exact posterior,
and the estimate is exact for any K. Otherwise some samples come from it, a quarter from one twice
as wide, some from the prior, and for a stochastic encoder a quarter from a normal with the moments
of q(z | x). All are weighted by the density of their mixture (Veach & Guibas 1995), so that all
parts of the posterior are covered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .batch import Batch
from .distributions import Distribution, standard_log_prob
from .model import Model
from .networks import jacobian
from .priors import Mixture

_STEPS = 2  # of Gauss-Newton
_WIDER = 2.0
_LEAST_TO_MIX = 8  # draws


class _Start(NamedTuple):
    """Start of the search for the mode of p(z | x): the encoder's mean, for every prior."""

    q: Distribution
    codes: Tensor  # (n, k) its mean
    linear: tuple[Tensor, Tensor]  # outputs of the decoder there, and their Jacobian


class Estimate(NamedTuple):
    """Estimate of log p(x) of n rows, with its terms."""

    score: Tensor  # (n,)
    reconstruction: Tensor | None  # (n, d)
    latent: Tensor | None  # (n,)
    std: Tensor  # (n,)
    effective_sample_size: Tensor  # (n,)


def log_density(model: Model, rows: Batch, points: Tensor, parts: bool = False) -> Estimate:
    """Estimate log p(x), or log p(x | context), of standardised rows with given points (K, k).

    The error of a single sample is unknown (NaN), unless it is exact. For a row with missing values
    this is the log-density of the observed values.
    """
    q, prior = model.encode(rows), model.latent
    codes, mixture = q.mean, prior.mixture(model)
    start = _Start(q, codes, _linearised(model, rows, codes))
    exact = model.decoder.network.is_linear and model.likelihood.is_quadratic
    if mixture is not None and (exact or len(mixture.means) == 1 or not q.has_density):
        return _by_component(model, mixture, rows, start, points, parts, exact)
    mean, scale = (t.to(codes) for t in _single_normal(prior.proposals(model)))
    u, log_r = _place(model, rows, start, mean, scale, points, exact=False)
    z = mean + u @ scale.T
    log_r = log_r - scale.diagonal().log().sum()
    return _weigh(model, rows, z, prior.log_prob(z, model) - log_r, parts)


def laplace(
    model: Model,
    rows: Batch,
    start: Tensor,
    linear: tuple[Tensor, Tensor],
    mean: Tensor,
    scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute the Laplace approximation of p(z | x) under the prior N(mean, scale scale').

    One Gauss-Newton step from the codes `start` (n, k), where the decoder's outputs and their
    Jacobian are `linear` (see `_linearised`), kept only where it raises log p(x, z): with
    z = mean + scale u, J the Jacobian of the decoder's outputs in u, g and F the gradient and
    Fisher information of the likelihood in those outputs, ``A = I + J' F J`` and
    ``u + A^-1 (J' g - u)``.

    Returns
    -------
    u : Tensor of shape (n, k)
        Mode in prior-whitened coordinates.
    factor : Tensor of shape (n, k, k)
        Lower L with A = L L'; the covariance of u is A^-1.
    """
    likelihood = model.likelihood

    u = torch.linalg.solve_triangular(scale, (start - mean).T, upper=False).T  # (n, k)
    h, by_code = linear  # (n, w), (k, n, w)
    columns = torch.einsum("bnw,ba->anw", by_code, scale)  # (k, n, w): dh / du_a
    gradient, fisher = likelihood.information(h, rows, columns)  # (n, k), (n, k, k)
    factor = _cholesky(fisher + torch.eye(u.shape[1], dtype=u.dtype, device=u.device))
    right = gradient - u
    moved = u + torch.cholesky_solve(right[..., None], factor)[..., 0]

    def log_joint(h: Tensor, u: Tensor) -> Tensor:
        fit: Tensor = likelihood(h).log_likelihood(rows.x, rows.observed)
        return fit - 0.5 * u.square().sum(-1)

    moved_h = model.decoder.outputs(mean + moved @ scale.T, rows.context)
    better = log_joint(moved_h, moved) > log_joint(h, u)
    return torch.where(better[:, None], moved, u), factor


def _linearised(model: Model, rows: Batch, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the decoder at codes (n, k), and their Jacobian."""
    return jacobian(lambda z: model.decoder.outputs(z, rows.context), codes)


def _cholesky(a: Tensor) -> Tensor:
    """Lower factors of matrices (n, k, k) with eigenvalues of at least 1.

    If a matrix has no factor because of rounding or overflow, its diagonal is used, so that an
    extreme row does not affect the others.
    """
    factor: Tensor
    failed: Tensor
    factor, failed = torch.linalg.cholesky_ex(a)
    if not failed.any() and factor.isfinite().all():
        return factor
    bad = (failed > 0) | ~factor.isfinite().all(-1).all(-1)
    most = torch.finfo(a.dtype).max
    diagonal = a.diagonal(dim1=-2, dim2=-1).nan_to_num(1.0, most, 1.0).clamp(min=1.0)
    mended: Tensor = torch.where(bad[:, None, None], torch.diag_embed(diagonal.sqrt()), factor)
    return mended


def posterior_moments(model: Model, rows: Batch) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (n, k) of codes, of the encoder or of Laplace's method."""
    q = model.encode(rows)
    if q.has_density:
        return q.mean, q.std
    prior = _single_normal(model.latent.proposals(model))
    _, factor = laplace(model, rows, q.mean, _linearised(model, rows, q.mean), *prior)
    spread = torch.linalg.solve_triangular(factor, prior[1].T.expand_as(factor), upper=False)
    return q.mean, spread.square().sum(-2).sqrt()  # diag(S A^-1 S')


def _single_normal(prior: Mixture) -> tuple[Tensor, Tensor]:
    """Mean (k,) and Cholesky factor (k, k) of the mixture as one normal."""
    if len(prior.means) == 1:
        return prior.means[0], prior.scales[0]
    weights = prior.log_weights.exp()
    mean = weights @ prior.means
    between = (prior.means - mean)[..., None] * (prior.means - mean)[:, None]
    within = prior.scales @ prior.scales.mT
    covariance = torch.einsum("c,cij->ij", weights, within + between)
    return mean, torch.linalg.cholesky(covariance)


def _by_component(
    model: Model,
    prior: Mixture,
    rows: Batch,
    start: _Start,
    points: Tensor,
    parts: bool,
    exact: bool,
) -> Estimate:
    """Return one proposal for each component of the prior, so that linear models are exact."""
    estimates = []
    for log_weight, mean, scale in zip(prior.log_weights, prior.means, prior.scales, strict=True):
        u, log_r = _place(model, rows, start, mean, scale, points, exact)
        one = _weigh(model, rows, mean + u @ scale.T, standard_log_prob(u) - log_r, parts, exact)
        estimates.append(one._replace(score=one.score + log_weight))
    if len(estimates) == 1:
        return estimates[0]
    scores = torch.stack([e.score for e in estimates])  # (c, n)
    score = torch.logsumexp(scores, 0)
    share = torch.exp(scores - score).nan_to_num(1.0 / len(scores))  # where p(x) is 0

    def mix(values: list[Tensor]) -> Tensor:
        stacked = torch.stack(values)
        weight = share if stacked.ndim == 2 else share[..., None]
        return (weight * stacked).sum(0)

    known = [e.reconstruction for e in estimates if e.reconstruction is not None]
    reconstruction = mix(known) if parts else None
    return Estimate(
        score,
        reconstruction,
        None if reconstruction is None else score - reconstruction.sum(-1),
        torch.stack([s * e.std for s, e in zip(share, estimates, strict=True)]).norm(dim=0),
        mix([e.effective_sample_size for e in estimates]),
    )


class _Proposal(NamedTuple):
    """Normal distribution of u for each row, z = mean + scale u."""

    mean: Tensor  # (n, k)
    factor: Tensor  # (n, k, k), lower L of the precision L L'

    def place(self, points: Tensor) -> Tensor:
        """Points (K, k) of N(0, I) carried to each row: ``mean + L'^-1 e``, (n, K, k)."""
        e = points.T.expand(len(self.mean), -1, -1)
        step: Tensor = torch.linalg.solve_triangular(self.factor.mT, e, upper=True).mT
        return self.mean[:, None] + step

    def log_prob(self, u: Tensor) -> Tensor:
        """Log-density (n, K) of u (n, K, k)."""
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return standard_log_prob((u - self.mean[:, None]) @ self.factor) + log_det

    @classmethod
    def of_codes(cls, codes: Tensor, std: Tensor, mean: Tensor, scale: Tensor) -> _Proposal:
        """The normal with these means and standard deviations (n, k) of codes."""
        u = torch.linalg.solve_triangular(scale, (codes - mean).T, upper=False).T
        root = scale / std[..., None]
        return cls(u, _cholesky(root.mT @ root))


def _place(
    model: Model,
    rows: Batch,
    start: _Start,
    mean: Tensor,
    scale: Tensor,
    points: Tensor,
    exact: bool,
) -> tuple[Tensor, Tensor]:
    """Return samples u (n, K, k) of the proposal, z = mean + scale u, and their log-density.

    With `exact`, the Laplace approximation is the posterior.
    """
    (q, codes, linear), n = start, len(points)
    u, factor = laplace(model, rows, codes, linear, mean, scale)
    for _ in range(0 if exact else _STEPS - 1):
        codes = mean + u @ scale.T
        u, factor = laplace(model, rows, codes, _linearised(model, rows, codes), mean, scale)
    near = _Proposal(u, factor)
    if exact or n < _LEAST_TO_MIX:
        drawn = near.place(points)
        return drawn, near.log_prob(drawn)
    prior = _Proposal(torch.zeros_like(u), torch.eye(u.shape[1]).to(u).expand_as(factor))
    wide = _Proposal(u, torch.div(factor, _WIDER))
    parts = [(n // 4, wide), (n // 4, prior)]
    if q.has_density:
        of_codes = _Proposal.of_codes(start.codes, q.std, mean, scale)
        parts = [(n // 4, wide), (n // 8, prior), (n // 4, of_codes)]
    parts.append((n - sum(size for size, _ in parts), near))
    each = torch.split(points, [size for size, _ in parts])
    drawn = torch.cat([p.place(e) for e, (_, p) in zip(each, parts, strict=True)], 1)
    log_r = [p.log_prob(drawn) + math.log(size / n) for size, p in parts]
    return drawn, torch.logsumexp(torch.stack(log_r), 0)


def _weigh(
    model: Model, rows: Batch, z: Tensor, log_ratio: Tensor, parts: bool, exact: bool = False
) -> Estimate:
    """Weight codes (n, K, k) with log p(z) - log r(z) = log_ratio (n, K)."""
    n, n_draws, k = z.shape
    context = rows.context
    if context is not None:
        context = context.repeat_interleave(n_draws, 0)
    h = model.decoder.outputs(z.reshape(n * n_draws, k), context).reshape(n, n_draws, -1)
    p, x = model.likelihood(h), rows.x[:, None]
    observed = None if rows.observed is None else rows.observed[:, None]
    log_weight = p.log_likelihood(x, observed) + log_ratio  # (n, K)
    score = torch.logsumexp(log_weight, -1) - math.log(n_draws)
    share = torch.softmax(log_weight, -1).nan_to_num(1.0 / n_draws)  # where p(x) is 0
    squares = share.square().sum(-1)
    std = (squares - 1.0 / n_draws).clamp(min=0.0).sqrt()  # delta method for the log of a mean
    if n_draws == 1 and not exact:
        std = torch.full_like(std, torch.nan)
    reconstruction = None
    if parts:
        each = p.log_prob(x) if observed is None else p.log_prob(x) * observed
        reconstruction = (share[..., None] * each).sum(1)  # (n, d)
    latent = None if reconstruction is None else score - reconstruction.sum(-1)
    return Estimate(score, reconstruction, latent, std, 1.0 / squares)
