"""Latent distributions: priors of the training, and densities that replace them.

Some of them use networks that belong to the model. They do not store these networks: the model is
an argument of every method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .distributions import LOG_2PI, Distribution, standard_log_prob
from .flows import Flow
from .fused import fusible
from .networks import MLP, full
from .shares import normal_like

if TYPE_CHECKING:
    from .model import Model

_NORMALISING_DRAWS = 1 << 14
_MOMENT_DRAWS = 1024
_CANDIDATES = 64


class Prior(nn.Module):
    """Base class of distributions of codes (n, k).

    Attributes
    ----------
    numbers : int
        Numbers that `log_prob` needs in memory for each code.
    is_standard_normal : bool
        Whether this is N(0, I).
    """

    numbers: int = 1
    is_standard_normal: bool = False

    def log_prob(self, z: Tensor, model: Model) -> Tensor:
        """Return the log-density (...,) of codes (..., k)."""
        raise NotImplementedError

    def sample(self, n: int, rng: torch.Generator, model: Model) -> Tensor:
        """Sample codes (n, k)."""
        raise NotImplementedError

    def kl(self, q: Distribution, z: Tensor, model: Model) -> Tensor:
        """Return KL(q || self) of each row, (n, k) by coordinate or (n, 1) by samples z of q."""
        return (q.log_likelihood(z) - self.log_prob(z, model))[:, None]

    def mixture(self, model: Model) -> Mixture | None:
        """Return the distribution as a mixture of normals, if it is one."""
        return None

    def proposals(self, model: Model) -> Mixture:
        """Return normal approximations, at which the Laplace approximation starts."""
        rng = torch.Generator(next(model.parameters()).device).manual_seed(0)
        return Mixture.of_draws(self.sample(_MOMENT_DRAWS, rng, model))

    def initialise(self, inputs: Tensor, rng: torch.Generator) -> None:
        """Initialise from the encoder's inputs of training rows."""

    def finalise(self, rng: torch.Generator, model: Model) -> None:
        """Fix everything that follows from trained weights."""


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
    def of_draws(cls, draws: Tensor) -> Mixture:
        """Create one normal with the mean and covariance of samples (n, k)."""
        z, k = draws.double(), draws.shape[1]
        covariance = torch.cov(z.T).reshape(k, k)
        covariance += 1e-6 * covariance.diagonal().mean() * torch.eye(k).to(covariance)
        return cls.of_moments(z.mean(0).to(draws), covariance.to(draws))

    @classmethod
    def of_moments(cls, mean: Tensor, covariance: Tensor) -> Mixture:
        """Create one normal with mean (k,) and covariance (k, k)."""
        return cls(torch.zeros(1).to(mean), mean[None], torch.linalg.cholesky(covariance)[None])

    def log_prob(self, z: Tensor, model: Model | None = None) -> Tensor:
        return torch.logsumexp(self.log_weights + self._component_log_prob(z), -1)

    def _component_log_prob(self, z: Tensor) -> Tensor:
        rows = z.reshape(-1, z.shape[-1]).T  # (k, n)
        pairs = zip(self.means, self.scales, strict=True)
        squares = [
            torch.linalg.solve_triangular(scale, rows - mean[:, None], upper=False).square().sum(0)
            for mean, scale in pairs
        ]
        log_det = self.scales.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # (c,)
        square = torch.stack(squares, -1).reshape(*z.shape[:-1], -1)  # (..., c)
        return -0.5 * (square + z.shape[-1] * LOG_2PI) - log_det

    def sample(self, n: int, rng: torch.Generator, model: Model | None = None) -> Tensor:
        weights = self.log_weights.exp()
        c = torch.multinomial(weights, n, replacement=True, generator=rng)
        u = torch.empty(n, self.means.shape[1], dtype=weights.dtype, device=weights.device)
        u.normal_(generator=rng)
        return self.means[c] + (self.scales[c] @ u[..., None])[..., 0]

    def mixture(self, model: Model | None = None) -> Mixture | None:
        return self

    def proposals(self, model: Model | None = None) -> Mixture:
        return self


class StandardNormal(Mixture):
    """N(0, I_k)."""

    is_standard_normal = True

    def __init__(self, n_components: int):
        super().__init__(
            torch.zeros(1), torch.zeros(1, n_components), torch.eye(n_components)[None]
        )

    def log_prob(self, z: Tensor, model: Model | None = None) -> Tensor:
        return standard_log_prob(z)

    def sample(self, n: int, rng: torch.Generator, model: Model | None = None) -> Tensor:
        z = torch.empty(n, self.means.shape[1], dtype=self.means.dtype, device=self.means.device)
        return normal_like(z, rng)

    @fusible
    def kl(self, q: Distribution, z: Tensor, model: Model | None = None) -> Tensor:
        return q.kl_to_standard_normal(z)


class DiagonalMixture(Prior):
    """sum_c w_c N(m_c, diag s_c^2) with weights, means and deviations to be learned."""

    def __init__(self, n_components: int, size: int, rng: torch.Generator):
        super().__init__()
        self.numbers = 2 * size * n_components
        self.logits = nn.Parameter(torch.zeros(size))
        spread = torch.empty(size, n_components).normal_(generator=rng)
        self.means = nn.Parameter(spread if size > 1 else torch.zeros_like(spread))
        self.log_stds = nn.Parameter(torch.zeros(size, n_components))

    def log_prob(self, z: Tensor, model: Model | None = None) -> Tensor:
        u = (z[..., None, :] - self.means) * torch.exp(-self.log_stds)  # (..., c, k)
        each = standard_log_prob(u) - self.log_stds.sum(-1)
        return torch.logsumexp(torch.log_softmax(self.logits, 0) + each, -1)

    def sample(self, n: int, rng: torch.Generator, model: Model | None = None) -> Tensor:
        weights = torch.softmax(self.logits, 0)
        c = torch.multinomial(weights, n, replacement=True, generator=rng)
        u = torch.empty_like(self.means[c]).normal_(generator=rng)
        return self.means[c] + self.log_stds[c].exp() * u

    def proposals(self, model: Model | None = None) -> Mixture:
        weights = torch.log_softmax(self.logits, 0)
        return Mixture(weights, self.means, torch.diag_embed(self.log_stds.exp()))


class VampPrior(Prior):
    """1/K sum_j q(z | u_j), the encoder's posteriors at learned pseudo-inputs u_j (Tomczak 2018).

    The encoder is the model's; training moves it and the pseudo-inputs (K, width), contexts
    included, together.
    """

    def __init__(self, n_components: int, width: int, size: int):
        super().__init__()
        self.numbers = 2 * size * n_components
        self.pseudo_inputs = nn.Parameter(torch.zeros(size, width))

    @torch.no_grad()
    def initialise(self, inputs: Tensor, rng: torch.Generator) -> None:
        """Initialise by random rows, with replacement if there are too few rows."""
        size, n = len(self.pseudo_inputs), len(inputs)
        if n >= size:
            chosen = torch.randperm(n, generator=rng)[:size]
        else:
            chosen = torch.randint(n, (size,), generator=rng)
        self.pseudo_inputs.copy_(inputs[chosen])

    def log_prob(self, z: Tensor, model: Model) -> Tensor:
        q = model.encoder(self.pseudo_inputs)
        each = q.log_prob(z[..., None, :]).sum(-1)  # (..., K)
        return torch.logsumexp(each, -1) - math.log(len(self.pseudo_inputs))

    def sample(self, n: int, rng: torch.Generator, model: Model) -> Tensor:
        device = self.pseudo_inputs.device
        j = torch.randint(len(self.pseudo_inputs), (n,), generator=rng, device=device)
        drawn: Tensor = model.encoder(self.pseudo_inputs[j]).sample(rng)
        return drawn


class FlowPrior(Prior):
    """N(0, I) transformed by an invertible network: ``p(z) = N(t(z)) |det dt/dz|``.

    It starts as N(0, I) itself.
    """

    def __init__(self, n_components: int, hidden: list[int], rng: torch.Generator):
        super().__init__()
        self.flow = Flow(n_components, 0, hidden, rng)
        self.base = StandardNormal(n_components)

    def log_prob(self, z: Tensor, model: Model | None = None) -> Tensor:
        log_det: Tensor
        u, log_det = self.flow(z)
        return self.base.log_prob(u) + log_det

    def sample(self, n: int, rng: torch.Generator, model: Model | None = None) -> Tensor:
        return self.flow.inverse(self.base.sample(n, rng))


class TiltedNormal(Prior):
    """``N(z; 0, I) exp(t(z)) / Z``: the aggregated posterior if t is its log-ratio to N(0, I).

    t is the model's auxiliary network of a given name. Z is the mean of exp(t) over fixed normal
    samples, set by `finalise`. Each sample is selected among `_CANDIDATES` normal ones, with
    probabilities in proportion to exp(t).
    """

    log_z: Tensor

    def __init__(self, n_components: int, ratio: str = "critic"):
        super().__init__()
        self.ratio = ratio
        self.base = StandardNormal(n_components)
        self.register_buffer("log_z", torch.zeros(()))

    @torch.no_grad()
    def finalise(self, rng: torch.Generator, model: Model) -> None:
        t = model.auxiliary[self.ratio](self.base.sample(_NORMALISING_DRAWS, rng))
        self.log_z.copy_(torch.logsumexp(t, 0) - math.log(_NORMALISING_DRAWS))

    def log_prob(self, z: Tensor, model: Model) -> Tensor:
        tilt: Tensor = model.auxiliary[self.ratio](z)
        return self.base.log_prob(z) + tilt - self.log_z

    def proposals(self, model: Model) -> Mixture:
        return self.base

    def kl(self, q: Distribution, z: Tensor, model: Model) -> Tensor:
        """KL(q || N(0, I)): the ratio is a term of its own in the objective."""
        return q.kl_to_standard_normal(z)

    def sample(self, n: int, rng: torch.Generator, model: Model) -> Tensor:
        z = self.base.sample(n * _CANDIDATES, rng).reshape(n, _CANDIDATES, -1)
        share = torch.softmax(model.auxiliary[self.ratio](z), -1)
        chosen = torch.multinomial(share, 1, generator=rng)[:, 0]
        return z[torch.arange(n, device=z.device), chosen]


class Pushforward(Prior):
    """Distribution of ``t(e)``, e from N(0, I) and t a network, without a density.

    With a linear skip t starts near the identity.
    """

    def __init__(self, network: MLP, n_components: int):
        super().__init__()
        self.network = network
        self.base = StandardNormal(n_components)
        if network.skip is not None:
            network.start_linear(torch.eye(n_components), torch.zeros(n_components))

    def sample(self, n: int, rng: torch.Generator, model: Model | None = None) -> Tensor:
        return full(self.network(self.base.sample(n, rng)))
