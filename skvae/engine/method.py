"""What the engine asks of a method: the hooks that an author overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..nn.batch import Batch
from ..nn.heads import DiracHead, Head
from ..nn.likelihoods import Likelihood
from ..nn.model import Model
from ..nn.networks import Network
from ..nn.objectives import Corruption, Objective
from ..nn.priors import Prior, StandardNormal
from ..nn.shared_penalties import Penalty
from ..tables.schema import Schema
from .settings import ModelSpec
from .workers import Workers

if TYPE_CHECKING:
    from .build import NetworkFactory


class Method:
    """Hooks of a published method, with defaults: a plain autoencoder.

    An estimator is a method. Networks are made from a `ModelSpec`, so that a saved model can be
    built again; objectives are made from the parameters of the moment.
    """

    # The reconstruction is counted relative to the variance of the rows.
    _relative: ClassVar[bool] = False
    # The loss falls in good training; a generator's need not.
    _loss_falls: ClassVar[bool] = True
    # The density of codes is fitted on those of given rows, and not on draws of the prior.
    _density_of_rows: ClassVar[bool] = True
    # learning_rate_init="auto", where it is not the shared one: always, or for narrow layers.
    _auto_rate: ClassVar[float | None] = None
    _narrow_rate: ClassVar[float | None] = None
    # Names of the parameters that the hooks need to build networks.
    _architecture: ClassVar[tuple[str, ...]] = ()

    # -- networks -------------------------------------------------------------------------------
    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> Head | None:
        """What the encoder gives: `DiracHead`, `NormalHead`, ...; None without an encoder."""
        return DiracHead(spec.n_components)

    def _make_decoder(
        self, spec: ModelSpec, factory: NetworkFactory, inputs: int, outputs: int
    ) -> Network:
        """The decoder's network."""
        return factory.to_rows(inputs, outputs, spec.linear_skip)

    def _make_likelihood(self, spec: ModelSpec, schema: Schema, default: Likelihood) -> Likelihood:
        """p(x | z), given the one that the parameters ask for."""
        return default

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        """Networks that only training needs, by name."""
        return {}

    def _make_prior(self, spec: ModelSpec, factory: NetworkFactory, rng: torch.Generator) -> Prior:
        """Distribution of codes in training."""
        return StandardNormal(spec.n_components)

    def _code_width(self, spec: ModelSpec) -> int:
        """Numbers that the decoder takes for a code."""
        return spec.n_components

    # -- objective ------------------------------------------------------------------------------
    def _penalties(self, spec: ModelSpec) -> dict[str, Penalty]:
        """Named terms of the loss beside the reconstruction."""
        return {}

    def _corruption(self, low: Tensor, high: Tensor) -> Corruption | None:
        """What the encoder sees in training instead of x: ``corrupt(x, rng)``.

        `low` and `high`, (d,), are the range of each feature in the training rows.
        """
        return None

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        """All that is minimised, and by whom."""
        return Objective(model, self._penalties(spec), corruption, self._relative)

    def _fits_density(self, spec: ModelSpec) -> bool:
        """Whether training maximises the density of a table's rows, and nothing beside it.

        Early stopping is then by held-out log-densities, and "auto" for it and for the L2 penalty
        has a meaning.
        """
        return False

    def _make_workers(self) -> Workers:
        """The processes that share a fit."""
        return Workers()

    # -- density of codes -------------------------------------------------------------------------
    def _density_codes(self, model: Model, rows: Batch, rng: torch.Generator) -> Tensor:
        """Codes (n, k) that the density is fitted on: draws of q(z | x)."""
        return torch.cat([model.encode(part).sample(rng) for part in rows.split(model.chunk)])

    def _make_latent(self, density: Prior) -> Prior:
        """Distribution of codes for draws and scores, given the density fitted on them."""
        return density

    def _default_density(self, spec: ModelSpec) -> Any:
        """What ``latent_density="auto"`` means: None for the prior, an estimator, "auto" for the
        mixture with the best Bayesian information criterion, or `HELD_OUT`.
        """
        return None
