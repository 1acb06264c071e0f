"""Hooks of a method, which authors of new methods override."""

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
    """Base class of methods, with hooks whose defaults define a plain autoencoder.

    Estimators are methods. Networks are built from a `ModelSpec`, so that a saved model can be
    restored; objectives are built from the current parameters.
    """

    # Whether the reconstruction loss is relative to the variance of the rows.
    _relative: ClassVar[bool] = False
    # Whether the loss decreases in successful training, which the loss of a generator need not.
    _loss_falls: ClassVar[bool] = True
    # Whether the density is fitted to codes of rows, and not to samples of the prior.
    _density_of_rows: ClassVar[bool] = True
    # learning_rate_init="auto", where it is not the shared one: always, or for narrow layers.
    _auto_rate: ClassVar[float | None] = None
    _narrow_rate: ClassVar[float | None] = None
    # Names of the parameters that the hooks need to build networks.
    _architecture: ClassVar[tuple[str, ...]] = ()

    # -- networks -------------------------------------------------------------------------------
    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> Head | None:
        """Return the head of the encoder, such as `NormalHead`; None without an encoder."""
        return DiracHead(spec.n_components)

    def _make_decoder(
        self, spec: ModelSpec, factory: NetworkFactory, inputs: int, outputs: int
    ) -> Network:
        """Return the network of the decoder."""
        return factory.to_rows(inputs, outputs, spec.linear_skip)

    def _make_likelihood(self, spec: ModelSpec, schema: Schema, default: Likelihood) -> Likelihood:
        """Return p(x | z), given the likelihood that the parameters select."""
        return default

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        """Return the networks that are used only in training, by name."""
        return {}

    def _make_prior(self, spec: ModelSpec, factory: NetworkFactory, rng: torch.Generator) -> Prior:
        """Return the prior of the training."""
        return StandardNormal(spec.n_components)

    def _code_width(self, spec: ModelSpec) -> int:
        """Return the number of inputs of the decoder."""
        return spec.n_components

    # -- objective ------------------------------------------------------------------------------
    def _penalties(self, spec: ModelSpec) -> dict[str, Penalty]:
        """Return the named terms of the loss in addition to the reconstruction."""
        return {}

    def _corruption(self, low: Tensor, high: Tensor) -> Corruption | None:
        """Return the corruption ``corrupt(x, rng)`` of the encoder's input in training, or None.

        `low` and `high`, (d,), are the ranges of the features in the training rows.
        """
        return None

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        """Return the objective of the training."""
        return Objective(model, self._penalties(spec), corruption, self._relative)

    def _fits_density(self, spec: ModelSpec) -> bool:
        """Return whether training optimises only the density of the rows of a table.

        Early stopping then uses held-out log-densities, and "auto" enables it and the L2 penalty.
        """
        return False

    def _make_workers(self) -> Workers:
        """Return the processes that share a fit."""
        return Workers()

    # -- density of codes -------------------------------------------------------------------------
    def _density_codes(self, model: Model, rows: Batch, rng: torch.Generator) -> Tensor:
        """Return codes (n, k) for the fit of the density: samples from q(z | x)."""
        return torch.cat([model.encode(part).sample(rng) for part in rows.split(model.chunk)])

    def _make_latent(self, density: Prior) -> Prior:
        """Return the latent distribution for samples and scores, given the fitted density."""
        return density

    def _default_density(self, spec: ModelSpec) -> Any:
        """Meaning of ``latent_density="auto"``: None for the prior, an estimator, "auto" for the
        mixture with the best Bayesian information criterion, or `HELD_OUT`.
        """
        return None
