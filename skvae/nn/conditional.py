"""Weighted samples of codes given the observed values of rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .batch import Batch
from .distributions import normal_points, standard_log_prob
from .marginal_likelihood import posterior_moments
from .model import Model

_ROUNDS = 2  # of normals that are fitted to what the draws before have found
_WIDER = 1.25  # their standard deviation, relative to what was found


class WeightedCodes(NamedTuple):
    """Samples of codes with self-normalised importance weights."""

    z: Tensor  # (n, K, k)
    weight: Tensor  # (n, K), of sum 1

    @property
    def effective_sample_size(self) -> Tensor:
        """``1 / sum w^2`` (n,)."""
        return 1.0 / self.weight.square().sum(-1)

    def resample(self, n_draws: int, rng: torch.Generator | None) -> Tensor:
        """Resample codes (n, n_draws, k) of equal weight, stratified, in random order."""
        n, k = len(self.z), self.z.shape[-1]
        step = torch.arange(n_draws, dtype=self.z.dtype, device=self.z.device)
        shift = torch.empty(n, n_draws, dtype=self.z.dtype, device=self.z.device)
        at = (step + shift.uniform_(generator=rng)) / n_draws
        index = torch.searchsorted(self.weight.cumsum(-1), at).clamp(max=self.z.shape[1] - 1)
        order = shift.uniform_(generator=rng).argsort(-1)
        index = index.gather(-1, order)
        return self.z.gather(1, index[..., None].expand(-1, -1, k))


def weighted_codes(model: Model, rows: Batch, n_draws: int, rng: torch.Generator) -> WeightedCodes:
    """Sample codes given rows by adaptive importance sampling (Bugallo et al. 2017).

    Proposals are the encoder's posterior, the prior, and normals that are fitted to the previous
    weighted samples. All samples are weighted by the mixture of the proposals (Veach & Guibas
    1995), so that a proposal that is too narrow does no harm. The points of the normals and of the
    prior are the same for all rows, so that a row does not depend on the others.
    """
    mean, std = posterior_moments(model, rows)
    n, k = mean.shape
    size = max(1, n_draws // (2 + _ROUNDS))
    every = normal_points((1 + _ROUNDS) * size, k, mean.dtype, mean.device)
    points = torch.split(every, size)
    normals = [_Proposal(mean, torch.diag_embed(std))]
    prior = model.latent.sample(size, rng, model).to(mean)
    drawn = [prior.expand(n, -1, -1), normals[0].place(points[0])]
    fit = [_log_likelihood(model, rows, z) for z in drawn]
    for i in range(1, 1 + _ROUNDS):
        found = _weigh(model, torch.cat(drawn, 1), torch.cat(fit, 1), normals)
        normals.append(_Proposal.of(found))
        drawn.append(normals[-1].place(points[i]))
        fit.append(_log_likelihood(model, rows, drawn[-1]))
    return _weigh(model, torch.cat(drawn, 1), torch.cat(fit, 1), normals)


class _Proposal(NamedTuple):
    """A normal distribution for each row."""

    mean: Tensor  # (n, k)
    scale: Tensor  # (n, k, k), lower

    @classmethod
    def of(cls, found: WeightedCodes) -> _Proposal:
        """Fit a normal with the moments of weighted samples, slightly widened."""
        z, w = found.z, found.weight[..., None]
        mean = (w * z).sum(1)
        centred = z - mean[:, None]
        covariance = (w * centred).mT @ centred
        every = (centred.square() * w).sum(1)
        least = 1e-4 + 0.02 * every
        factor, failed = torch.linalg.cholesky_ex(covariance + torch.diag_embed(least))
        sound = (failed == 0) & factor.isfinite().all(-1).all(-1)
        plain = torch.diag_embed((every + least).nan_to_num(1.0).sqrt())
        return cls(mean.nan_to_num(0.0), _WIDER * torch.where(sound[:, None, None], factor, plain))

    def place(self, points: Tensor) -> Tensor:
        """Codes (n, K, k) at standard normal points (K, k)."""
        return self.mean[:, None] + points @ self.scale.mT

    def log_prob(self, z: Tensor) -> Tensor:
        u = torch.linalg.solve_triangular(self.scale, (z - self.mean[:, None]).mT, upper=False)
        log_det = self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        found: Tensor = standard_log_prob(u.mT) - log_det[:, None]
        return found


def _log_likelihood(model: Model, rows: Batch, z: Tensor) -> Tensor:
    """Log p(x | z) (n, K) of observed cells."""
    n, n_draws, k = z.shape
    context = rows.context
    if context is not None:
        context = context.repeat_interleave(n_draws, 0)
    h = model.decoder.outputs(z.reshape(-1, k), context).reshape(n, n_draws, -1)
    observed = None if rows.observed is None else rows.observed[:, None]
    found: Tensor = model.likelihood(h).log_likelihood(rows.x[:, None], observed)
    return found


def _weigh(model: Model, z: Tensor, log_p: Tensor, normals: list[_Proposal]) -> WeightedCodes:
    """Weights by the mixture of the prior, for one part, and the normals."""
    log_prior = model.latent.log_prob(z, model)
    each = torch.stack([log_prior, *(q.log_prob(z) for q in normals)])
    log_proposal = torch.logsumexp(each, 0) - math.log(len(each))
    log_weight = log_p + log_prior - log_proposal
    weight = torch.softmax(log_weight, -1)
    return WeightedCodes(z, weight.nan_to_num(1.0 / z.shape[1]))
