"""A latent-variable model: encoder, decoder, prior; and one pass of a batch through it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .likelihoods import Head, Likelihood
from .priors import Prior

_CHUNK = 4096
_PRIOR_ROWS = 50


class Conditional(nn.Module):
    """A network with a head: tensors in, a distribution out. Encoder and decoder alike."""

    def __init__(self, network: nn.Module, head: Head):
        super().__init__()
        self.network = network
        self.head = head

    def outputs(self, b: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw outputs (n, width) of the network."""
        if context is not None:
            b = torch.cat([b, context], -1)
        return (
            self.network(b).float() if torch.is_autocast_enabled(b.device.type) else self.network(b)
        )

    def forward(self, b: Tensor, context: Tensor | None = None) -> Any:
        return self.head(self.outputs(b, context))


class Draw(NamedTuple):
    """One pass of a batch."""

    x: Tensor  # (n, d) standardised rows
    context: Tensor | None
    q: Any  # distribution of codes given rows
    z: Tensor  # (n, k) a draw from it
    p: Any  # distribution of rows given codes
    progress: float  # share of the training that is done


class Model(nn.Module):
    """p(x | z) p(z) with an encoder for q(z | x), on standardised rows."""

    def __init__(self, encoder: Conditional, decoder: Conditional, prior: Prior):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior

    @property
    def likelihood(self) -> Likelihood:
        return self.decoder.head

    def draw(
        self,
        x: Tensor,
        generator: torch.Generator | None,
        *,
        seen: Tensor | None = None,
        context: Tensor | None = None,
        progress: float = 1.0,
    ) -> Draw:
        """Encode `seen` (x, unless it is corrupted), draw codes, decode."""
        q = self.encoder(x if seen is None else seen, context)
        z = q.sample(generator)
        return Draw(x, context, q, z, self.decoder(z, context), progress)

    @torch.no_grad()
    def calibrate(
        self,
        rows: Tensor,
        held_out: Tensor | None,
        generator: torch.Generator | None,
        learned: bool = True,
    ) -> None:
        """Set the noise of the likelihood from residuals of rows that were not trained on.

        Few such rows tell the level of each feature's noise only roughly; they count beside
        `_PRIOR_ROWS` rows that have the residuals of the training rows, scaled to the same total.
        """
        residual = self._squared_residual(rows, generator)
        if held_out is not None:
            fresh = self._squared_residual(held_out, generator)
            scaled = residual * (fresh.sum() / residual.sum().clamp(min=1e-12))
            share = len(held_out) / (len(held_out) + _PRIOR_ROWS)
            residual = torch.lerp(scaled, fresh, share)
        self.likelihood.set_noise(residual.to(rows.dtype), learned)

    def _squared_residual(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """Mean (d,) of (x - x^)^2 over rows and draws of their codes, in float64."""
        total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        for x in rows.split(_CHUNK):
            total += (x - self.draw(x, generator).p.mean).double().square().sum(0)
        return total / len(rows)
