"""Learned autoencoders: codes, log-densities, and the density of codes fitted after training."""

from __future__ import annotations

import copy
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor

from ..base import BaseAutoencoder, BaseLatentModel, Scores
from ..densities import fit_density, to_prior
from ..likelihoods import Bernoulli, Gaussian, Head, Likelihood, PointHead, normal_points
from ..model import CHUNK, Conditional, Model
from ..networks import as_float
from ..objectives import Corruption, Objective
from ..penalties import Penalty
from ..priors import Prior, StandardNormal
from ..scoring import log_density, posterior_moments
from ..training import Trainer
from .generator import BaseNeuralGenerator
from .layers import Layers
from .start import custom_network

_CHUNK_NUMBERS = 1 << 22  # numbers in the largest layer when scoring
_LEAST_TO_SPLIT, _MOST_HELD_OUT = 40, 2048
_ENOUGH_HELD_OUT = 20  # rows that tell the noise of new rows and a threshold, roughly
_LEAST_FOR_DENSITY = 50  # rows of a chunk that may change the density of the codes
_DENSITY_ROWS = 16384
_ACTIVE = 0.01  # variance of a code coordinate that carries information (Burda et al. 2016)


class BaseNeuralModel(BaseNeuralGenerator, BaseLatentModel):
    """A latent model trained by gradient descent.

    A subclass names its parameters in `__init__` and overrides hooks: `_head` (the kind of
    encoder), `_penalties`, `_corrupt`, `_relative`, `_auto_density` and those of the generator.
    """

    _head: ClassVar[type[Head]] = PointHead
    _relative: ClassVar[bool] = False
    # What latent_density="auto" means: None, the prior; "auto", a Gaussian mixture on the codes.
    _auto_density: ClassVar[Any] = None
    _needs_density: ClassVar[bool] = False  # whether the prior itself has none
    _density_of_rows: ClassVar[bool] = True  # whether it is fitted on the codes of given rows

    _parameter_constraints: ClassVar[dict] = {
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
        "noise": [
            StrOptions({"auto", "feature", "scalar", "network"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "noise_floor": [Interval(Real, 0, None, closed="neither")],
        "encoder": [None, callable],
        "latent_density": [
            StrOptions({"auto"}),
            None,
            HasMethods(["fit", "sample", "score_samples"]),
        ],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        likelihood="gaussian",
        noise="auto",
        noise_floor=0.05,
        encoder=None,
        latent_density="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        n_importance_samples=16,
        **parameters,
    ):
        super().__init__(n_components, **parameters)
        self.likelihood = likelihood
        self.noise = noise
        self.noise_floor = noise_floor
        self.encoder = encoder
        self.latent_density = latent_density
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.n_importance_samples = n_importance_samples

    # -- hooks of a method --------------------------------------------------------------------
    def _penalties(self) -> dict[str, Penalty]:
        """Named terms of the loss beside the reconstruction."""
        return {}

    def _corrupt(self) -> Corruption | None:
        """What the encoder sees in training instead of x: ``corrupt(x, generator)``."""
        return None

    def _range(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value (d,) of each standardised feature in the training rows."""
        return as_float(self._low), as_float(self._high)

    def _objective(self, model: Model) -> Objective:
        return Objective(model, self._penalties(), self._corrupt(), self._relative)

    def _build_head(self, k: int, generator: torch.Generator) -> Head:
        return self._head(k)

    def _as_law(self, model: Model, density: Prior) -> Prior:
        """The law of codes, given the density that was fitted on them."""
        return density

    def _default_density(self) -> Any:
        """What ``latent_density="auto"`` means: see `_auto_density`."""
        return self._auto_density

    def _density_rows(self, model: Model, some: Tensor, generator: torch.Generator) -> Tensor:
        """Codes (n, k) that the density is fitted on: draws of q(z | x)."""
        return torch.cat([model.encode(x).sample(generator) for x in some.split(model.chunk)])

    # -- fit ----------------------------------------------------------------------------------
    def _hold_out(self, n: int, seed: int) -> np.ndarray:
        mask = np.zeros(n, bool)
        if n < _LEAST_TO_SPLIT and not self.early_stopping:
            return mask
        n_held_out = min(round(self.validation_fraction * n), _MOST_HELD_OUT)
        if self.validation_fraction > 0.0 and n >= _LEAST_TO_SPLIT:
            n_held_out = max(n_held_out, min(_ENOUGH_HELD_OUT, n // 4))
        if n_held_out > n - 2 or (self.early_stopping and n_held_out < 1):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} holds out {n_held_out} of {n} "
                "rows; at least two have to be trained on, and early_stopping=True needs one."
            )
        order = np.random.RandomState(seed % 2**32).permutation(n)
        mask[order[:n_held_out]] = True
        return mask

    def _choose(self, X: np.ndarray) -> dict[str, Any]:
        spec = super()._choose(X)
        bernoulli = self.likelihood == "bernoulli"
        if bernoulli and not spec["bounded"]:
            spec["bounded"] = True
            if self.linear_skip == "auto":
                spec["linear_skip"] = self._builds_all()
        noise = self.noise
        if noise == "auto":
            of_pixels = spec["bounded"] or spec["image_shape"] is not None
            noise = "scalar" if of_pixels else "feature"
        return spec | {
            "likelihood": self.likelihood,
            "noise": noise if isinstance(noise, str) else "fixed",
            "noise_variance": None if isinstance(noise, str) else float(noise),
            "noise_floor": float(self.noise_floor) ** 2,
        }

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self._needs_density and self.latent_density is None:
            raise ValueError(
                f"latent_density=None leaves {type(self).__name__} without a density of its codes."
            )
        if self.likelihood == "bernoulli" and self.output_activation == "identity":
            raise ValueError("likelihood='bernoulli' needs output_activation='sigmoid' or 'auto'.")

    def _asks_for_intensities(self) -> tuple[str, str] | None:
        if self.likelihood == "bernoulli":
            return "likelihood='bernoulli'", "likelihood='gaussian'"
        return super()._asks_for_intensities()

    def _builds_all(self) -> bool:
        return self.encoder is None and self.decoder is None

    def _build_encoder(
        self, k: int, layers: Layers, generator: torch.Generator, seed: int
    ) -> Conditional:
        spec, head = self._spec, self._build_head(k, generator)
        inputs = spec["n_features"] + spec["n_context"]
        if self.encoder is None:
            network = layers.from_rows(head.width, spec["n_context"], spec["linear_skip"])
        else:
            network = custom_network(self.encoder, inputs, head.width, seed)
        return Conditional(network, head)

    def _build_likelihood(self) -> Likelihood:
        spec = self._spec
        if spec["likelihood"] == "bernoulli":
            return Bernoulli(spec["n_features"], self._bounds())
        variance = None
        if spec["noise"] == "fixed":
            scale = torch.tensor(self._scale, dtype=torch.float64)
            variance = (spec["noise_variance"] / scale.square()).float()
        return Gaussian(
            spec["n_features"],
            spec["noise"],
            spec["noise_floor"],
            variance,
            self._bounds() if spec["bounded"] else None,
        )

    def _set_stopping(self, trainer: Trainer, decay: bool) -> None:
        trainer.patience = self.n_iter_no_change if self.early_stopping and decay else None
        trainer.tol = self.tol

    def _after_training(
        self, model: Model, rows: Tensor, some: Tensor, generator: torch.Generator, new: bool
    ) -> None:
        codes = self._codes(some)
        self.active_units_ = int((codes.var(0) > _ACTIVE).sum())
        enough = not self._density_of_rows or len(some) >= _LEAST_FOR_DENSITY
        if new or enough or model.density is None:
            chosen = rows[:: -(-len(rows) // _DENSITY_ROWS)]
            for name, value in self._fit_density(model, chosen, generator, new).items():
                setattr(self, name, value)
            self._casts = {}
        if new and self.active_units_ == 0 and model.split(some)[0].var(0).max() > 0.0:
            warnings.warn(
                f"the codes of this {type(self).__name__} carry no information (posterior "
                "collapse): no coordinate's variance over the rows exceeds 0.01. Lower the "
                "weight of the penalty, warm it up, or raise max_iter.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _fit_density(
        self, model: Model, rows: Tensor, generator: torch.Generator, new: bool = True
    ) -> dict[str, Any]:
        given = self.latent_density
        if isinstance(given, str):
            given = self._default_density()
        if given is None:
            model.density = None
            return {}
        with torch.no_grad():
            codes = self._density_rows(model, rows, generator).double().cpu().numpy()
        known: Any = getattr(self, "latent_density_", None)
        if not new and hasattr(known, "partial_fit"):  # goes on, in the units of its first codes
            centre, spread = self._code_location, self._code_scale
            density = copy.deepcopy(known).partial_fit((codes - centre) / spread)
        else:
            centre, spread = codes.mean(0), codes.std(0)
            spread[spread < 1e-12] = 1.0
            density = fit_density(given, (codes - centre) / spread, self._trainer.seed)
        model.density = self._as_law(model, to_prior(density, centre, spread)).to(self.device_)
        return {"latent_density_": density, "_code_location": centre, "_code_scale": spread}

    def _rebuild(self) -> Model:
        model = super()._rebuild()
        if hasattr(self, "latent_density_"):
            law = to_prior(self.latent_density_, self._code_location, self._code_scale)
            model.density = self._as_law(model, law)
        return model

    def _codes(self, rows: Tensor) -> np.ndarray:
        """Codes of standardised rows, in float64."""
        with torch.no_grad():
            chunks = [self.module_.encode(x).mean for x in rows.split(self.module_.chunk)]
        return torch.cat(chunks).double().cpu().numpy()

    # -- hooks of the door ----------------------------------------------------------------------
    def _encode(self, X: np.ndarray) -> np.ndarray:
        return self._apply(lambda m, x: (m.encode(x).mean,), X, self.module_.chunk)[0]

    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self._apply(posterior_moments, X, self._scoring_chunk(self.n_components_ + 1))
        return mean, std

    def _draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        X = super()._draw_rows(Z, seed)
        return np.rint(X) if self._spec["likelihood"] == "bernoulli" else X

    def _code_law(self, n: int, seed: int) -> np.ndarray | None:
        if isinstance(self.module_.law, StandardNormal):
            return None
        return super()._code_law(n, seed)

    def _scoring_chunk(self, copies: int) -> int:
        law = self.module_.law.weighed.numbers
        width = max(self._spec["n_features"], *self._spec["hidden"], law, self.module_.widest)
        return max(1, min(CHUNK, _CHUNK_NUMBERS // (width * copies)))

    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        k, n_draws = self.n_components_, self.n_importance_samples
        shift = np.zeros(self.n_features_in_)
        if self.module_.likelihood.density:
            shift = np.log(self._scale)

        points = normal_points(n_draws, k, torch.float64, "cpu")

        def score(module: Model, x: Tensor) -> tuple[Tensor, ...]:
            estimate = log_density(module, x, points.to(x), parts)
            return tuple(t.double() for t in estimate if t is not None)

        copies = max(n_draws, 1 + k * (self._head is PointHead))
        out = self._apply(score, X, self._scoring_chunk(copies))
        if not parts:
            total, std, ess = out
            absent = np.empty(0)
            return Scores(total - shift.sum(), absent, absent, std, ess)
        total, reconstruction, latent, std, ess = out
        return Scores(total - shift.sum(), latent, reconstruction - shift, std, ess)

    # -- fitted attributes ----------------------------------------------------------------------
    @property
    def noise_variance_(self) -> np.ndarray:
        """Variance of the decoder's noise by feature, in squared units of X."""
        likelihood = getattr(self, "module_", None) and self.module_.likelihood
        if not isinstance(likelihood, Gaussian) or likelihood.noise == "network":
            raise AttributeError("noise_variance_ is there only for Gaussian noise that is fitted")
        return likelihood.variance.double().cpu().numpy() * np.square(self._scale)


class BaseNeuralAutoencoder(BaseNeuralModel, BaseAutoencoder):
    """A learned latent model that tells outliers by its log-density: see `BaseNeuralModel`."""

    def __init__(self, n_components="auto", *, contamination="auto", **parameters):
        super().__init__(n_components, **parameters)
        self.contamination = contamination
