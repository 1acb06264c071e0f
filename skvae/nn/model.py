"""Latent variable model: encoder, decoder and prior, and forward passes of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import add
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from .batch import Batch
from .distributions import Distribution
from .fused import fusible
from .heads import Head
from .likelihoods import Likelihood
from .networks import Network, full
from .priors import Prior

CHUNK = 4096  # maximum number of rows in one pass without gradients
_CHUNK_NUMBERS = 1 << 26  # numbers in their largest layer
_PRIOR_ROWS = 50

H = TypeVar("H", Head, Likelihood)
Gather = Callable[[Tensor], Tensor]


def own_codes(z: Tensor) -> Tensor:
    """Return the codes, if one process has all of them."""
    return z


class ConditionalDistribution(nn.Module, Generic[H]):
    """Network with a head, from tensors to a distribution: an encoder or a decoder.

    Parameters
    ----------
    network : Network
    head : Head or Likelihood
        Turns the outputs of the network into a distribution.
    """

    network: Network
    head: H

    def __init__(self, network: Network, head: H):
        super().__init__()
        self.network = network
        self.head = head

    @fusible
    def outputs(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw outputs (n, width) of the network."""
        if context is not None:
            inputs = torch.cat([inputs, context], -1)
        return full(self.network(inputs))

    @fusible
    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Distribution:
        found: Distribution = self.head(self.outputs(inputs, context))
        return found


class SquaredResiduals(NamedTuple):
    """Squared residuals (x - x^)^2 of rows, or their sums over rows."""

    total: Tensor  # (n, d) or (d,), float64, 0 where a cell is missing
    cells: Tensor  # 1 for those observed, or their number

    @property
    def mean(self) -> Tensor:
        return self.total / self.cells.clamp(min=1)

    @classmethod
    def over(cls, chunks: Iterable[SquaredResiduals]) -> SquaredResiduals:
        """Sums over the rows of all chunks."""
        sums = [(chunk.total.sum(0), chunk.cells.sum(0)) for chunk in chunks]
        return cls(reduce(add, [t for t, _ in sums]), reduce(add, [c for _, c in sums]))


class ForwardPass(NamedTuple):
    """Forward pass of a batch, with rows repeated for several samples."""

    batch: Batch
    q: Distribution  # of codes given rows
    z: Tensor  # (n, k) a sample from it
    p: Distribution  # of rows given codes
    progress: float = 1.0  # share of the training that is done
    rng: torch.Generator | None = None
    gather: Gather = own_codes  # (n, k) -> codes of all workers, for divergences of whole batches


class Model(nn.Module):
    """p(x | z) p(z) with an encoder for q(z | x), on standardised rows.

    Parameters
    ----------
    encoder : ConditionalDistribution or None
        None in generators without encoder.
    decoder : ConditionalDistribution
    prior : Prior
        Distribution of codes in training.
    auxiliary : dict of str to Module, optional
        Networks used only in training, such as critics.
    n_masks : int
        Number of leading features whose mask of observed values is an input of the encoder.
    """

    encoder: ConditionalDistribution[Head]
    decoder: ConditionalDistribution[Likelihood]
    prior: Prior
    density: Prior | None

    def __init__(
        self,
        encoder: ConditionalDistribution[Head] | None,
        decoder: ConditionalDistribution[Likelihood],
        prior: Prior,
        auxiliary: dict[str, nn.Module] | None = None,
        n_masks: int = 0,
    ):
        super().__init__()
        self.n_masks = n_masks
        self.has_encoder = encoder is not None
        if encoder is not None:
            self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.auxiliary = nn.ModuleDict(auxiliary or {})
        self.density = None  # fitted on the codes after training

    @property
    def likelihood(self) -> Likelihood:
        return self.decoder.head

    @property
    def networks(self) -> list[Network]:
        """The decoder's network, after the encoder's where there is one."""
        return [*([self.encoder.network] if self.has_encoder else []), self.decoder.network]

    @property
    def widest(self) -> int:
        """Numbers of the largest layer for one row, as far as networks are known."""
        return max(network.widest for network in self.networks)

    @property
    def chunk(self) -> int:
        """Number of rows in one pass without gradients."""
        return max(1, min(CHUNK, _CHUNK_NUMBERS // self.widest))

    @property
    def latent(self) -> Prior:
        """Latent distribution for samples and scores: the fitted density, or the prior."""
        return self.prior if self.density is None else self.density

    def inputs(self, batch: Batch) -> Tensor:
        """Return the inputs of the encoder: features, context, and masks of observed values."""
        if not self.n_masks:
            return batch.inputs
        shape = batch.n_rows, self.n_masks
        if batch.observed is None:
            mask = batch.x.new_ones(shape)
        else:
            mask = batch.observed[:, : self.n_masks].to(batch.x)
        return torch.cat([batch.inputs, mask], -1)

    @fusible
    def encode(self, batch: Batch) -> Distribution:
        """q(z | x), or q(z | x, context)."""
        found: Distribution = self.encoder(self.inputs(batch))
        return found

    @fusible
    def decode(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x | z), or p(x | z, context)."""
        found: Distribution = self.decoder(z, context)
        return found

    @fusible
    def forward_pass(
        self,
        batch: Batch,
        rng: torch.Generator | None,
        *,
        seen: Tensor | None = None,
        progress: float = 1.0,
        n_draws: int = 1,
    ) -> ForwardPass:
        """Encode `seen` (the features, unless they are corrupted), sample codes, and decode.

        With several samples all tensors have ``n_draws * n`` rows.
        """
        q = self.encode(batch if seen is None else batch._replace(x=seen))
        if n_draws > 1:
            batch, q = batch.repeat(n_draws), q.repeat(n_draws)
        z = q.sample(rng)
        return ForwardPass(batch, q, z, self.decode(z, batch.context), progress, rng)

    @torch.no_grad()
    def standardise_codes(self, rows: Batch) -> None:
        """Shift and scale codes, in both networks, to mean 0 and variance 1 over rows and samples.

        Reconstructions do not change, and the KL term to N(0, I) is lowest there: training finds
        the scale only slowly, because both networks have to change. This is done only if the prior
        is N(0, I), and if head and networks support it.
        """
        if not (
            self.encoder.head.has_density
            and self.prior.is_standard_normal
            and all(network.can_absorb for network in self.networks)
        ):
            return
        parts = [self.encode(part) for part in rows.split(self.chunk)]
        mean = torch.cat([q.mean for q in parts]).double()
        within = torch.cat([q.variance for q in parts]).double().mean(0)
        centre, scale = mean.mean(0), (mean.var(0, correction=0) + within).sqrt()
        change = self.encoder.head.rescaling(centre, scale)
        if change is None:
            return
        self.encoder.network.absorb_outputs(change[0].float(), change[1].float())
        self.decoder.network.absorb_inputs(scale.float(), centre.float())

    @torch.no_grad()
    def calibrate(
        self,
        rows: Batch,
        held_out: Batch | None,
        rng: torch.Generator | None,
        learned: bool = True,
    ) -> None:
        """Set the noise of the likelihood from residuals of held-out rows.

        Few rows determine the noise of each feature only roughly; they are combined with
        `_PRIOR_ROWS` rows with the residuals of the training rows, scaled to the same total.
        """
        known = SquaredResiduals.over(self.squared_residuals(rows, rng))
        fresh = None
        if held_out is not None:
            fresh = SquaredResiduals.over(self.squared_residuals(held_out, rng))
        self.set_noise(known, fresh, learned)

    @torch.no_grad()
    def set_noise(
        self, known: SquaredResiduals, fresh: SquaredResiduals | None, learned: bool = True
    ) -> None:
        """Set the noise from residuals of training rows and of others: see `calibrate`."""
        residual = known.mean
        if fresh is not None and bool(fresh.cells.any()):
            among = residual * (fresh.cells > 0)  # features that some of these rows have
            scaled = residual * (fresh.mean.sum() / among.sum().clamp(min=1e-12))
            residual = torch.lerp(scaled, fresh.mean, fresh.cells / (fresh.cells + _PRIOR_ROWS))
        self.likelihood.set_noise(residual, learned)

    @torch.no_grad()
    def squared_residuals(
        self, rows: Batch, rng: torch.Generator | None
    ) -> Iterator[SquaredResiduals]:
        """Yield those of each row in chunks (n, d), with samples of the codes."""
        for part in rows.split(self.chunk):
            done = self.forward_pass(part, rng)
            square = (done.batch.x - done.p.mean).double().square()
            seen = torch.ones_like(square) if part.observed is None else part.observed.double()
            yield SquaredResiduals(square * seen, seen)
