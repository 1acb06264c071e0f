"""Options of priors, posteriors and bounds that VAE and ConditionalVAE share."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from ..engine.build import NetworkFactory
from ..engine.latent_density import HELD_OUT
from ..engine.settings import ModelSpec
from ..nn.adversarial import Critic, CriticObjective
from ..nn.heads import FlowHead, Head, NormalHead
from ..nn.kl_term import KL
from ..nn.model import Model
from ..nn.objectives import Corruption, ImportanceWeighted, Objective
from ..nn.priors import DiagonalMixture, FlowPrior, Prior, StandardNormal, TiltedNormal, VampPrior
from ..nn.shared_penalties import Penalty
from ..nn.shares import normal_like
from .base import NUMEROUS, LearnedModel

_POSTERIOR_CONTEXT = 16
_DRAWS = 5  # samples of the importance-weighted bound


class Variational(LearnedModel):
    """Model that maximises a bound of its likelihood, with q(z | x) from the encoder."""

    beta: float
    kl_warmup: float
    free_bits: float
    prior: str
    prior_size: int
    posterior_family: str
    n_draws: int | str
    bound: str

    _architecture = ("prior", "prior_size", "posterior_family")
    _parameter_constraints: ClassVar[dict] = {
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "prior": [StrOptions({"normal", "mixture", "vamp", "flow", "implicit"})],
        "prior_size": [NUMEROUS],
        "posterior_family": [StrOptions({"normal", "iaf"})],
        "n_draws": [StrOptions({"auto"}), NUMEROUS],
        "bound": [StrOptions({"auto", "elbo", "importance_weighted"})],
    }

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.prior == "vamp" and self.posterior_family == "iaf":
            raise ValueError("prior='vamp' can be used only with posterior_family='normal'.")
        implicit, weakened = self.prior == "implicit", self.kl_warmup or self.free_bits
        if implicit and weakened:
            raise ValueError("prior='implicit' can be used only with kl_warmup=0 and free_bits=0.")
        if self.bound == "importance_weighted" and (self.beta != 1.0 or weakened or implicit):
            raise ValueError(
                "bound='importance_weighted' is a bound of log p(x) only with beta=1, kl_warmup=0, "
                "free_bits=0 and a prior other than 'implicit'."
            )

    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> Head:
        k = spec.n_components
        if spec.method["posterior_family"] == "normal":
            return NormalHead(k)
        return FlowHead(k, _POSTERIOR_CONTEXT, spec.hidden[:1], rng)

    def _make_prior(self, spec: ModelSpec, factory: NetworkFactory, rng: torch.Generator) -> Prior:
        k, size = spec.n_components, spec.method["prior_size"]
        match spec.method["prior"]:
            case "mixture":
                return DiagonalMixture(k, size, rng)
            case "vamp":
                return VampPrior(k, spec.n_inputs, size)
            case "flow":
                return FlowPrior(k, spec.hidden, rng)
            case "implicit":
                return TiltedNormal(k)
        return StandardNormal(k)

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        if spec.method["prior"] != "implicit":
            return {}
        return {"critic": Critic(factory.mlp(spec.n_components, 1))}

    def _is_weighted(self, spec: ModelSpec) -> bool:
        """Return whether the importance-weighted bound is maximised."""
        if self.bound != "auto":
            return self.bound == "importance_weighted"
        plain = self.beta == 1.0 and not self.kl_warmup and not self.free_bits
        return spec.is_mixed and plain and spec.method["prior"] != "implicit"

    def _n_draws(self, weighted: bool) -> int:
        if isinstance(self.n_draws, str):
            return _DRAWS if weighted and self.bound == "auto" else 1
        return int(self.n_draws)

    def _default_density(self, spec: ModelSpec) -> Any:
        """Return the default density: a mixture if held-out rows select it, or for labels."""
        if spec.method["prior"] != "normal":
            return None
        if self._fits_density(spec):
            return HELD_OUT
        return "auto" if spec.is_mixed and spec.classes else None

    def _fits_density(self, spec: ModelSpec) -> bool:
        if spec.noise != "network" or spec.image_shape is not None or spec.bounded:
            return False
        whole = self.beta == 1.0 and not self.free_bits and spec.method["prior"] != "implicit"
        return whole and type(self)._penalties is Variational._penalties

    def _penalties(self, spec: ModelSpec) -> dict[str, Penalty]:
        return {"kl": KL(self.beta, self.kl_warmup, self.free_bits)}

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        weighted = self._is_weighted(spec)
        n_draws = self._n_draws(weighted)
        if weighted:
            return ImportanceWeighted(model, corrupt=corruption, n_draws=n_draws)
        penalties = self._penalties(spec)
        if spec.method["prior"] != "implicit":
            return Objective(model, penalties, corruption, n_draws=n_draws)
        # the critic: log of the aggregated posterior over N(0, I) (Takahashi 2019)
        beta = float(self.beta)

        def contrast(z: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
            return z, normal_like(z, rng)

        return CriticObjective(
            model,
            "prior_ratio",
            lambda critic, z: -beta * critic(z).mean(),
            contrast,
            penalties=penalties,
            corrupt=corruption,
            n_draws=n_draws,
        )
