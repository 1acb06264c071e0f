"""Distributions of codes before any row is seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Prior(nn.Module):
    """A distribution over codes (n, k)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density (n,) of codes (n, k)."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws (n, k)."""
        raise NotImplementedError


class Mixture(Prior):
    """sum_c w_c N(m_c, L_c L_c'): the mixtures of scikit-learn, and with one component N(0, I).

    Parameters
    ----------
    log_weights : Tensor of shape (c,)
    means : Tensor of shape (c, k)
    scales : Tensor of shape (c, k, k)
        Lower Cholesky factors of the covariances.
    """

    log_weights: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, log_weights: Tensor, means: Tensor, scales: Tensor):
        super().__init__()
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", means)
        self.register_buffer("scales", scales)

    @classmethod
    def empty(cls, n_mixture: int, n_components: int) -> Mixture:
        """A mixture of this size whose values are still to be loaded."""
        eye = torch.eye(n_components).repeat(n_mixture, 1, 1)
        return cls(torch.zeros(n_mixture), torch.zeros(n_mixture, n_components), eye)

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.logsumexp(self.log_weights + self._component_log_prob(z), -1)

    def _component_log_prob(self, z: Tensor) -> Tensor:
        k = self.means.shape[1]
        difference = z[..., None, :] - self.means  # (n, c, k)
        u = torch.linalg.solve_triangular(self.scales, difference[..., None], upper=False)[..., 0]
        log_det = self.scales.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # (c,)
        return -0.5 * (u.square().sum(-1) + k * math.log(2.0 * math.pi)) - log_det

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        weights = self.log_weights.exp()
        c = torch.multinomial(weights, n, replacement=True, generator=generator)
        u = torch.empty(n, self.means.shape[1], dtype=weights.dtype, device=weights.device)
        u.normal_(generator=generator)
        return self.means[c] + (self.scales[c] @ u[..., None])[..., 0]


class StandardNormal(Mixture):
    """N(0, I_k)."""

    def __init__(self, n_components: int):
        super().__init__(
            torch.zeros(1), torch.zeros(1, n_components), torch.eye(n_components)[None]
        )

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.empty(n, self.means.shape[1], dtype=self.means.dtype, device=self.means.device)
        return z.normal_(generator=generator)
