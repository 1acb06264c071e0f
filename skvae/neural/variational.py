"""Variational autoencoders: priors, posteriors and bounds to choose from."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..games import Contest, Critic
from ..likelihoods import FlowHead, Head, NormalHead
from ..model import Model
from ..objectives import ImportanceWeighted, Objective
from ..penalties import Penalty, Rate
from ..priors import DiagonalMixture, FlowPrior, Prior, TiltedNormal, VampPrior
from .autoencoder import BaseNeuralModel
from .layers import Layers

_POSTERIOR_CONTEXT = 16


class BaseVariational(BaseNeuralModel):
    """A model that maximises a bound of its likelihood, with q(z | x) from the encoder."""

    _head = NormalHead
    _architecture = ("prior", "prior_size", "posterior_family")
    _parameter_constraints: ClassVar[dict] = {
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "prior": [StrOptions({"normal", "mixture", "vamp", "flow", "implicit"})],
        "prior_size": [Interval(Integral, 1, None, closed="left")],
        "posterior_family": [StrOptions({"normal", "iaf"})],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "bound": [StrOptions({"elbo", "importance_weighted"})],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        beta=1.0,
        kl_warmup=0.0,
        free_bits=0.0,
        prior="normal",
        prior_size=50,
        posterior_family="normal",
        n_draws=1,
        bound="elbo",
        **parameters,
    ):
        super().__init__(n_components, **parameters)
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.prior = prior
        self.prior_size = prior_size
        self.posterior_family = posterior_family
        self.n_draws = n_draws
        self.bound = bound

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.prior == "vamp" and self.posterior_family == "iaf":
            raise ValueError("prior='vamp' needs posterior_family='normal'.")
        implicit, weakened = self.prior == "implicit", self.kl_warmup or self.free_bits
        if implicit and weakened:
            raise ValueError("prior='implicit' goes with kl_warmup=0 and free_bits=0 only.")
        if self.bound == "importance_weighted" and (self.beta != 1.0 or weakened or implicit):
            raise ValueError(
                "bound='importance_weighted' is a bound of log p(x) only with beta=1, kl_warmup=0, "
                "free_bits=0 and a prior other than 'implicit'."
            )

    def _build_head(self, k: int, generator: torch.Generator) -> Head:
        if self._spec["posterior_family"] == "normal":
            return NormalHead(k)
        return FlowHead(k, _POSTERIOR_CONTEXT, self._spec["hidden"][:1], generator)

    def _prior(self, k: int, layers: Layers, generator: torch.Generator, model: Model) -> Prior:
        spec = self._spec
        match spec["prior"]:
            case "mixture":
                return DiagonalMixture(k, spec["prior_size"], generator)
            case "vamp":
                width = spec["n_features"] + spec["n_context"]
                return VampPrior(model.encoder, k, width, spec["prior_size"])
            case "flow":
                return FlowPrior(k, spec["hidden"], generator)
            case "implicit":
                return TiltedNormal(model.helpers["critic"], k)
        return super()._prior(k, layers, generator, model)

    def _helpers(self, k: int, layers: Layers) -> dict[str, nn.Module]:
        return {"critic": Critic(layers(k, 1))} if self._spec["prior"] == "implicit" else {}

    def _penalties(self) -> dict[str, Penalty]:
        normal = self._spec["prior"] == "implicit"
        return {"kl": Rate(self.beta, self.kl_warmup, self.free_bits, to_normal=normal)}

    def _objective(self, model: Model) -> Objective:
        common: dict[str, Any] = {"corrupt": self._corrupt(), "n_draws": self.n_draws}
        if self.bound == "importance_weighted":
            return ImportanceWeighted(model, **common)
        common |= {"penalties": self._penalties(), "relative": self._relative}
        if self._spec["prior"] == "implicit":
            # the critic: log of the aggregated posterior over N(0, I) (Takahashi 2019)
            beta, base = self.beta, model.prior.base
            return Contest(
                model,
                "prior_ratio",
                lambda critic, z: -beta * critic(z).mean(),
                lambda z, generator: (z, base.sample(len(z), generator)),
                **common,
            )
        return Objective(model, **common)
