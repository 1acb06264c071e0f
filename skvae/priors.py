"""Distributions of codes before any row is seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .flows import Flow
from .likelihoods import Normal, standard_log_prob
from .networks import MLP, full

_LOG_2PI = math.log(2.0 * math.pi)
_SETTLING_DRAWS = 1 << 14
_CANDIDATES = 64


class Prior(nn.Module):
    """A distribution over codes (n, k).

    Attributes
    ----------
    numbers : int
        How many `log_prob` holds in memory for each code.
    """

    numbers: int = 1

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density (...,) of codes (..., k)."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws (n, k)."""
        raise NotImplementedError

    def proposals(self) -> Mixture:
        """Normal laws near this one, at which Laplace's approximation starts."""
        raise NotImplementedError

    @property
    def weighed(self) -> Prior:
        """The law whose density `log_prob` is."""
        return self

    def start(self, rows: Tensor, generator: torch.Generator) -> None:
        """Take first values from standardised training rows and their contexts (n, width)."""

    def settle(self, generator: torch.Generator) -> None:
        """Fix what follows from trained weights."""


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
    def of_moments(cls, mean: Tensor, covariance: Tensor) -> Mixture:
        """One normal with this mean (k,) and covariance (k, k)."""
        return cls(torch.zeros(1).to(mean), mean[None], torch.linalg.cholesky(covariance)[None])

    def log_prob(self, z: Tensor) -> Tensor:
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
        return -0.5 * (square + z.shape[-1] * _LOG_2PI) - log_det

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        weights = self.log_weights.exp()
        c = torch.multinomial(weights, n, replacement=True, generator=generator)
        u = torch.empty(n, self.means.shape[1], dtype=weights.dtype, device=weights.device)
        u.normal_(generator=generator)
        return self.means[c] + (self.scales[c] @ u[..., None])[..., 0]

    def proposals(self) -> Mixture:
        return self


class StandardNormal(Mixture):
    """N(0, I_k)."""

    def __init__(self, n_components: int):
        super().__init__(
            torch.zeros(1), torch.zeros(1, n_components), torch.eye(n_components)[None]
        )

    def log_prob(self, z: Tensor) -> Tensor:
        return standard_log_prob(z)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.empty(n, self.means.shape[1], dtype=self.means.dtype, device=self.means.device)
        return z.normal_(generator=generator)


class MaskedNormal(Prior):
    """The law of ``a * z``, z from N(0, I), for a mask a in [0, 1] that may be zero.

    Where a is below `least` the log-density is that of standard deviation `least`.
    """

    def __init__(self, mask: nn.Module, n_components: int, least: float = 1e-3):
        super().__init__()
        self._mask = (mask,)  # in a tuple, because the mask belongs to the encoder
        self.n_components, self.least = n_components, least

    @property
    def scale(self) -> Tensor:
        return self._mask[0]()

    def log_prob(self, z: Tensor) -> Tensor:
        scale = self.scale.clamp(min=self.least)
        return standard_log_prob(z / scale) - scale.log().sum()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        scale = self.scale
        z = torch.empty(n, self.n_components, dtype=scale.dtype, device=scale.device)
        return scale * z.normal_(generator=generator)

    def proposals(self) -> Mixture:
        scale = self.scale.clamp(min=self.least)
        zero = torch.zeros_like(scale)
        return Mixture(zero[:1], zero[None], scale.diag()[None])


class DiagonalMixture(Prior):
    """sum_c w_c N(m_c, diag s_c^2) with weights, means and deviations to be learned."""

    def __init__(self, n_components: int, size: int, generator: torch.Generator):
        super().__init__()
        self.numbers = 2 * size * n_components
        self.logits = nn.Parameter(torch.zeros(size))
        spread = torch.empty(size, n_components).normal_(generator=generator)
        self.means = nn.Parameter(spread if size > 1 else torch.zeros_like(spread))
        self.log_stds = nn.Parameter(torch.zeros(size, n_components))

    def log_prob(self, z: Tensor) -> Tensor:
        u = (z[..., None, :] - self.means) * torch.exp(-self.log_stds)  # (..., c, k)
        each = standard_log_prob(u) - self.log_stds.sum(-1)
        return torch.logsumexp(torch.log_softmax(self.logits, 0) + each, -1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        weights = torch.softmax(self.logits, 0)
        c = torch.multinomial(weights, n, replacement=True, generator=generator)
        u = torch.empty_like(self.means[c]).normal_(generator=generator)
        return self.means[c] + self.log_stds[c].exp() * u


class VampPrior(Prior):
    """1/K sum_j q(z | u_j), the encoder's posteriors at learned pseudo-inputs u_j (Tomczak 2018).

    The encoder is the model's own; training moves it and the pseudo-inputs (K, width), contexts
    included, together.
    """

    def __init__(self, encoder: nn.Module, n_components: int, width: int, size: int):
        super().__init__()
        self.numbers = 2 * size * n_components
        self._encoder = (encoder,)  # in a tuple, because it belongs to the model
        self.pseudo_inputs = nn.Parameter(torch.zeros(size, width))

    @torch.no_grad()
    def start(self, rows: Tensor, generator: torch.Generator) -> None:
        """Random rows, drawn anew where there are fewer rows than pseudo-inputs."""
        size = len(self.pseudo_inputs)
        if len(rows) >= size:
            chosen = torch.randperm(len(rows), generator=generator)[:size]
        else:
            chosen = torch.randint(len(rows), (size,), generator=generator)
        self.pseudo_inputs.copy_(rows[chosen])

    def log_prob(self, z: Tensor) -> Tensor:
        q = self._encoder[0](self.pseudo_inputs)
        each = q.log_prob(z[..., None, :]).sum(-1)  # (..., K)
        return torch.logsumexp(each, -1) - math.log(len(self.pseudo_inputs))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        device = self.pseudo_inputs.device
        j = torch.randint(len(self.pseudo_inputs), (n,), generator=generator, device=device)
        q = self._encoder[0](self.pseudo_inputs)
        return Normal(q.mean[j], q.log_variance[j]).sample(generator)


class FlowPrior(Prior):
    """N(0, I) carried by an invertible network: ``p(z) = N(t(z)) |det dt/dz|``.

    It starts as N(0, I) itself.
    """

    def __init__(self, n_components: int, hidden: list[int], generator: torch.Generator):
        super().__init__()
        self.flow = Flow(n_components, 0, hidden, generator)
        self.base = StandardNormal(n_components)

    def log_prob(self, z: Tensor) -> Tensor:
        u, log_det = self.flow(z)
        return self.base.log_prob(u) + log_det

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.flow.inverse(self.base.sample(n, generator))


class TiltedNormal(Prior):
    """``N(z; 0, I) exp(t(z)) / Z``: with t the log-ratio of two laws, the aggregated posterior.

    Z is the mean of exp(t) over fixed normal draws, set by `settle`. Draws are picked among
    `_CANDIDATES` normal ones each, with probabilities in proportion to exp(t).
    """

    log_z: Tensor

    def __init__(self, ratio: nn.Module, n_components: int):
        super().__init__()
        self._ratio = (ratio,)  # in a tuple, because it is a player of its own
        self.base = StandardNormal(n_components)
        self.register_buffer("log_z", torch.zeros(()))

    @torch.no_grad()
    def settle(self, generator: torch.Generator) -> None:
        t = self._ratio[0](self.base.sample(_SETTLING_DRAWS, generator))
        self.log_z.copy_(torch.logsumexp(t, 0) - math.log(_SETTLING_DRAWS))

    def log_prob(self, z: Tensor) -> Tensor:
        return self.base.log_prob(z) + self._ratio[0](z) - self.log_z

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = self.base.sample(n * _CANDIDATES, generator).reshape(n, _CANDIDATES, -1)
        share = torch.softmax(self._ratio[0](z), -1)
        chosen = torch.multinomial(share, 1, generator=generator)[:, 0]
        return z[torch.arange(n, device=z.device), chosen]


class Pushforward(Prior):
    """The law of ``t(e)``, e from N(0, I) and t a network: easy to draw from, no density.

    With a linear skip t starts near the identity.
    """

    def __init__(self, network: MLP, n_components: int):
        super().__init__()
        self.network = network
        self.base = StandardNormal(n_components)
        if network.skip is not None:
            network.start_linear(torch.eye(n_components), torch.zeros(n_components))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return full(self.network(self.base.sample(n, generator)))


class DrawnAndWeighed(Prior):
    """Draws from one law and the density of another that was fitted to it."""

    def __init__(self, drawn: Prior, weighed: Prior):
        super().__init__()
        self._drawn = (drawn,)  # in a tuple, because it is the model's prior
        self.density = weighed

    @property
    def weighed(self) -> Prior:
        return self.density

    def log_prob(self, z: Tensor) -> Tensor:
        return self.density.log_prob(z)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._drawn[0].sample(n, generator)

    def proposals(self) -> Mixture:
        return self.density.proposals()


class InfoPrior(Prior):
    """Normal noise (k), one of several categories (one-hot) and numbers uniform on [-1, 1]."""

    def __init__(self, n_noise: int, n_categories: int, n_numbers: int):
        super().__init__()
        self.noise = StandardNormal(n_noise)
        self.n_categories, self.n_numbers = n_categories, n_numbers

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        noise = self.noise.sample(n, generator)
        parts = [noise]
        if self.n_categories:
            c = torch.randint(self.n_categories, (n,), generator=generator, device=noise.device)
            parts.append(nn.functional.one_hot(c, self.n_categories).to(noise))
        u = torch.empty(n, self.n_numbers, dtype=noise.dtype, device=noise.device)
        return torch.cat([*parts, u.uniform_(-1.0, 1.0, generator=generator)], 1)
