"""Heads, from outputs of a network to a distribution of codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .distributions import Dirac, Distribution, FlowedNormal, Normal, normal_points
from .flows import Flow
from .fused import fusible

LOG_VARIANCE_BOUNDS = (-12.0, 4.0)
_MEAN_POINTS = 32


class Head(nn.Module):
    """Base class of maps from outputs (n, width) of a network to a distribution.

    Attributes
    ----------
    width : int
        Number of outputs of the network.
    has_density : bool
        Whether its distributions have a density.
    starts_whitened : bool
        Whether codes of a linear initialisation have variance 1, and not that of posterior means.
    log_variance_bounds : (float, float) or None
        Bounds of the second half of the outputs, if these define a normal distribution.
    """

    width: int
    has_density: bool = True
    starts_whitened: bool = True
    log_variance_bounds: tuple[float, float] | None = None

    def forward(self, h: Tensor) -> Distribution:
        raise NotImplementedError

    def linear_outputs(
        self, weight: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor] | None:
        """Return a linear map from rows to outputs that gives the posterior of probabilistic PCA.

        Parameters
        ----------
        weight : Tensor of shape (d, k)
            W of ``x = W z + mean + e``.
        mean : Tensor of shape (d,)
        noise : float
            Variance of each coordinate of e.

        Returns
        -------
        (weight, bias) of shapes (outputs, d) and (outputs,), or None if there is no such map.
        """
        return None

    def rescaling(self, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return ``(factor, shift)`` of the outputs that map codes z to ``(z - centre) / scale``.

        None if this is not possible.
        """
        return None


class DiracHead(Head):
    """Head of a deterministic encoder."""

    has_density = False

    def __init__(self, n_components: int):
        super().__init__()
        self.width = n_components

    def forward(self, h: Tensor) -> Dirac:
        return Dirac(h)

    def linear_outputs(
        self, weight: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor] | None:
        """Whitened codes; `weight` is that of a decoder of such codes, ``U L^1/2``."""
        square = weight.square().sum(0)
        project = weight.T / torch.where(square > 0.0, square, 1.0)[:, None]
        return project, -project @ mean


class NormalHead(Head):
    """Head with means followed by bounded log-variances."""

    starts_whitened = False
    log_variance_bounds: tuple[float, float] | None = LOG_VARIANCE_BOUNDS

    def __init__(self, n_components: int):
        super().__init__()
        self.n_components = n_components
        self.width = 2 * n_components

    @fusible
    def forward(self, h: Tensor) -> Distribution:
        return self.normal(h)

    @fusible
    def normal(self, h: Tensor) -> Normal:
        mean, log_variance = h.chunk(2, dim=-1)
        return Normal(mean, log_variance.clamp(*LOG_VARIANCE_BOUNDS))

    def linear_outputs(
        self, weight: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor] | None:
        """Posterior mean ``M^-1 W' (x - mean)`` and the logarithm of diag(noise M^-1)."""
        m = weight.T @ weight + noise * torch.eye(weight.shape[1]).to(weight)
        project = torch.linalg.solve(m, weight.T)
        spread = torch.log(noise * torch.linalg.inv(m).diagonal())
        bias = torch.cat([-project @ mean, spread])
        return torch.vstack([project, torch.zeros_like(project)]), bias

    def rescaling(self, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        """Log-variances (k,) follow the means (k,)."""
        factor = torch.cat([1.0 / scale, torch.ones_like(scale)])
        return factor, torch.cat([-centre / scale, -2.0 * scale.log()])


class FlowHead(NormalHead):
    """Head with means, log-variances and the context of an invertible network."""

    points: Tensor
    log_variance_bounds = None

    def __init__(self, n_components: int, n_context: int, hidden: list[int], rng: torch.Generator):
        super().__init__(n_components)
        self.width = 2 * n_components + n_context
        self.flow = Flow(n_components, n_context, hidden, rng)
        self.register_buffer("points", normal_points(_MEAN_POINTS, n_components))

    def forward(self, h: Tensor) -> Distribution:
        k = self.n_components
        return FlowedNormal(self.normal(h[..., : 2 * k]), h[..., 2 * k :], self.flow, self.points)

    def rescaling(self, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        return None
