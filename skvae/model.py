"""A latent-variable model: encoder, decoder, prior; and one pass of a batch through it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .likelihoods import Head, Likelihood, NormalHead
from .networks import Network, full
from .priors import Prior, StandardNormal

CHUNK = 4096  # most rows that pass at once where no gradient is kept
_CHUNK_NUMBERS = 1 << 26  # numbers in their largest layer
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
        return full(self.network(b))

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
    generator: torch.Generator | None


class Model(nn.Module):
    """p(x | z) p(z) with an encoder for q(z | x), on standardised rows.

    Rows carry what the model is conditioned on, their context, in columns after the features.

    Parameters
    ----------
    encoder : Conditional or None
        None in generators without encoder.
    decoder : Conditional
    prior : Prior
        The law of codes in training.
    helpers : dict of str to Module, optional
        Networks that only training needs: critics and the like.
    """

    def __init__(
        self,
        encoder: Any,
        decoder: Conditional,
        prior: Prior,
        helpers: dict[str, nn.Module] | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.helpers = nn.ModuleDict(helpers or {})
        self.density: Prior | None = None  # fitted on the codes after training

    @property
    def likelihood(self) -> Likelihood:
        return self.decoder.head

    @property
    def widest(self) -> int:
        """Numbers of the largest layer for one row, as far as networks are ours."""
        parts = [part.network for part in (self.encoder, self.decoder) if part is not None]
        return max(getattr(network, "widest", 1) for network in parts)

    @property
    def chunk(self) -> int:
        """Rows that pass at once where no gradient is kept."""
        return max(1, min(CHUNK, _CHUNK_NUMBERS // self.widest))

    @property
    def law(self) -> Prior:
        """The law of codes for draws and scores: a density fitted after training, or the prior."""
        return self.prior if self.density is None else self.density

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (n, d) of rows and their context."""
        d = self.likelihood.n_features
        return (rows, None) if rows.shape[1] == d else (rows[:, :d], rows[:, d:])

    def encode(self, rows: Tensor) -> Any:
        """q(z | x), or q(z | x, context)."""
        return self.encoder(*self.split(rows))

    def draw(
        self,
        rows: Tensor,
        generator: torch.Generator | None,
        *,
        seen: Tensor | None = None,
        progress: float = 1.0,
        n_draws: int = 1,
    ) -> Draw:
        """Encode `seen` (the rows, unless they are corrupted), draw codes, decode.

        With several draws all tensors have ``n_draws * n`` rows, the rows one after another.
        """
        x, context = self.split(rows)
        q = self.encoder(x if seen is None else seen, context)
        if n_draws > 1:
            x, q = x.repeat(n_draws, 1), q.repeat(n_draws)
            context = None if context is None else context.repeat(n_draws, 1)
        z = q.sample(generator)
        return Draw(x, context, q, z, self.decoder(z, context), progress, generator)

    @torch.no_grad()
    def standardise_codes(self, rows: Tensor) -> None:
        """Shift and scale codes, in both networks, to mean 0 and variance 1 over rows and draws.

        Reconstructions stay as they are, and the rate to N(0, I) is lowest there: training finds
        the scale only slowly, because it has to move two networks against each other. Only for
        normal posteriors, a standard normal prior, and networks of our own.
        """
        networks = self.encoder.network, self.decoder.network
        ours = all(isinstance(network, Network) for network in networks)
        if not (ours and type(self.encoder.head) is NormalHead):
            return
        if not isinstance(self.prior, StandardNormal):
            return
        q = [self.encode(part) for part in rows.split(self.chunk)]
        mean = torch.cat([one.mean for one in q]).double()
        within = torch.cat([one.variance for one in q]).double().mean(0)
        centre, scale = mean.mean(0), (mean.var(0, correction=0) + within).sqrt()
        # log-variances (k,) follow the means (k,)
        networks[0].absorb_outputs(
            torch.cat([1.0 / scale, torch.ones_like(scale)]).float(),
            torch.cat([-centre / scale, -2.0 * scale.log()]).float(),
        )
        networks[1].absorb_inputs(scale.float(), centre.float())

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
        d = self.likelihood.n_features
        total = torch.zeros(d, dtype=torch.float64, device=rows.device)
        for part in rows.split(self.chunk):
            draw = self.draw(part, generator)
            total += (draw.x - draw.p.mean).double().square().sum(0)
        return total / len(rows)
