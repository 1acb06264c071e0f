"""Estimators trained by gradient descent: from parameters to a fit and to results as arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import nn

from ..contract import images
from ..contract.density import BaseLatentModel, Scores
from ..contract.encoder import BaseEncoder
from ..contract.generator import BaseGenerator
from ..contract.inputs import weigh, with_nan
from ..contract.learner import Notice, is_fitted_attribute, seed_from
from ..contract.outliers import BaseAutoencoder
from ..contract.progress import ProgressReport, reporting
from ..contract.scikit_learn import CallbackSupportMixin, with_callbacks
from ..engine.checkpoint import described
from ..engine.distributed import all_processes, check_same
from ..engine.fit import Fitted, Outcome, Recipe, fit_model, folds
from ..engine.latent_density import check_density
from ..engine.method import Method
from ..engine.packed import LEARNED, check_packed
from ..engine.predict import Predictor
from ..engine.restore import pack, unpack
from ..engine.settings import (
    CheckpointSettings,
    FitSettings,
    LikelihoodSettings,
    ModelSpec,
    NetworkSettings,
    TableSettings,
)
from ..engine.workers import Workers
from ..nn.deploy import CodesToRows, RowsToCodes
from ..tables.source import ArraySource, RowSource
from ..tables.view import SchemaView
from .options import NetworkOptions, TableOptions, TrainingOptions, whole_numbers
from .stream import StreamMixin

_STILL_FALLING = 0.02
# Parameters that do not affect the training.
_NOT_OF_TRAINING = frozenset(
    (
        "contamination device latent_density n_importance_samples random_state verbose warm_start"
    ).split()
)
_POSITIVE = Interval(Integral, 1, None, closed="left")
_MOST_DRAWS = 1 << 16  # importance samples of a row
NUMEROUS = Interval(Integral, 1, 1 << 20, closed="both")  # upper limit for memory


class LearnedGenerator(Method, StreamMixin, CallbackSupportMixin, BaseGenerator):
    """A generative model of rows trained by gradient descent.

    A subclass has an `__init__` with all of its parameters, names those that shape networks in
    `_architecture`, and overrides hooks of `Method`.
    """

    n_components: int | str
    hidden_layer_sizes: int | tuple[int, ...]
    decoder: nn.Module | Callable[[int, int], nn.Module] | None
    image_shape: tuple[int, ...] | None
    learning_rate_init: float | str
    batch_size: int | str
    max_iter: int | None
    device: str
    warm_start: bool
    verbose: int
    random_state: int | np.random.RandomState | None
    network: NetworkOptions | None
    training: TrainingOptions | None

    _fitted_: Fitted
    _predictor_: Predictor

    _fitted_attributes = LEARNED
    _options: ClassVar[dict[str, type[Any]]] = {
        "network": NetworkOptions,
        "training": TrainingOptions,
    }
    # Settings of the training that the method does not use.
    _unused_options: ClassVar[tuple[str, ...]] = (
        "noise_floor",
        "held_out_fraction",
        "patience",
        "tol",
    )
    _parameter_constraints: ClassVar[dict] = {
        **BaseGenerator._parameter_constraints,
        "n_components": [
            StrOptions({"auto"}),
            NUMEROUS,
        ],
        "hidden_layer_sizes": ["array-like", _POSITIVE],
        "decoder": [None, callable],
        "image_shape": [None, "array-like"],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), _POSITIVE],
        "max_iter": [None, _POSITIVE],
        "device": [str],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "network": [None, NetworkOptions],
        "training": [None, TrainingOptions],
    }

    # -- parameters -------------------------------------------------------------------------------
    def set_params(self, **params: Any) -> Self:
        """Set the parameters of this estimator."""
        for name, kind in self._options.items():
            nested = any(key.startswith(f"{name}__") for key in params)
            given = params.get(name, getattr(self, name))
            if nested and given is not None and not isinstance(given, kind):
                raise TypeError(
                    f"{name} of {type(self).__name__} must be None or {kind.__name__}(...), got "
                    f"{given!r}: {name}__ parameters cannot be set on it."
                )
            if nested and given is None and name not in params:
                setattr(self, name, kind())
        super().set_params(**params)
        return self

    def _check_pairs(self) -> None:
        super()._check_pairs()
        training = (self.training or TrainingOptions())._validated()
        unused = sorted(training._changed() & set(self._unused_options))
        if unused:
            raise ValueError(
                f"{type(self).__name__} does not use the training options {unused}; "
                "leave them at their defaults."
            )
        settings = self._network_settings(None)
        if settings.linear_skip and not settings.builds_all:
            raise ValueError(
                "linear_skip=True needs the built-in networks: encoder=None, decoder=None."
            )

    def _network_settings(self, image_shape: tuple[int, ...] | None) -> NetworkSettings:
        name, network = type(self).__name__, (self.network or NetworkOptions())._validated()
        return NetworkSettings(
            n_components=None if self.n_components == "auto" else int(self.n_components),
            hidden=whole_numbers(self.hidden_layer_sizes, "hidden_layer_sizes", name),
            activation=network.activation,
            linear_skip=None if network.linear_skip == "auto" else bool(network.linear_skip),
            image_shape=image_shape,
            channels=whole_numbers(network.hidden_channels, "hidden_channels", name),
            residual=network.residual,
            decoder=self.decoder,
        )

    def _likelihood_settings(self) -> LikelihoodSettings:
        kinds = {"auto": "auto", "identity": "gaussian", "sigmoid": "bounded_gaussian"}
        activation: str = getattr(self, "output_activation", "auto")
        return LikelihoodSettings(kind=kinds[activation], is_noiseless=True)

    def _fit_settings(self, seed: int) -> FitSettings:
        training = self.training or TrainingOptions()
        rate, size = self.learning_rate_init, self.batch_size
        clip = training.gradient_clipping
        return FitSettings(
            seed=seed,
            batch_size=None if isinstance(size, str) else int(size),
            max_iter=None if self.max_iter is None else int(self.max_iter),
            learning_rate=None if isinstance(rate, str) else float(rate),
            weight_decay=None if training.alpha == "auto" else float(training.alpha),
            clip=None if clip is None else float(clip),
            precision=training.precision,
            device=self.device,
            checkpoint=_checkpoint_settings(self, seed),
        )

    def _recipe(self, first: bool) -> Recipe:
        seed = seed_from(self.random_state) if first else self._fitted_.state.seed
        return Recipe(
            self,
            self._network_settings(self.image_shape_),
            self._likelihood_settings(),
            self._fit_settings(seed),
            self._table_settings(),
        )

    def _table_settings(self) -> TableSettings:
        return TableSettings(by_values=False)

    # -- learning ---------------------------------------------------------------------------------
    def _check_asked(self) -> None:
        with _workers(self):
            super()._check_asked()

    @with_callbacks
    def _learn(
        self, X: Any, y: Any, first: bool, further_chunk: bool = False, **how: Any
    ) -> list[Notice]:
        weights: np.ndarray | None = how.get("weights")
        with _workers(self) as workers:
            source, weights = weigh(self._check_training(X, y, first, **how), weights)
            told = _parameters(self) | {"sample_weight": described(weights)}
            check_same(workers, source, type(self).__name__, told)
            self._resume(source.n_rows if further_chunk else np.inf)
            typical = source.weighted(weights)
            outcome = fit_model(
                _shared(self._recipe(first), workers),
                source,
                previous=None if first else _previous(self),
                further_chunk=further_chunk,
                reporting=_reports(self, typical, not further_chunk, shows=workers.rank == 0),
                workers=workers,
                weights=weights,
            )
            _take_first(self, typical, outcome, workers)
            if outcome.checkpoint is not None and not outcome.history.interrupted:
                outcome.checkpoint.remove()
            return self._notices(outcome)

    def _fit_arguments(self, source: RowSource) -> dict[str, Any]:
        """What `fit` was given."""
        return {"X": self._written(with_nan(source.take(slice(None))))}

    def _attributes(self, fitted: Fitted) -> dict[str, Any]:
        """Fitted attributes of a model."""
        curves = fitted.curves
        found = {
            "_fitted_": fitted,
            "_predictor_": Predictor(fitted),
            "n_components_": fitted.spec.n_components,
            "device_": fitted.device,
            "n_iter_": len(curves.loss),
            "loss_curve_": curves.loss,
            "validation_scores_": curves.validation,
            "history_": curves.terms,
            "best_loss_": float(min(curves.loss, default=np.nan)),
        }
        if fitted.active_units is not None:
            found["active_units_"] = fitted.active_units
        if fitted.density is not None:
            found["latent_density_"] = fitted.density.estimator
        return found

    def _notices(self, outcome: Outcome) -> list[Notice]:
        name, history = type(self).__name__, outcome.history
        if history.interrupted:
            return [_interrupted(name, outcome)]
        falls = outcome.is_whole and self._loss_falls and _still_falls(outcome)
        if self.max_iter is not None and falls:
            return [_not_converged(name, self.max_iter)]
        return []

    def _flatten(self, X: Any, first: bool = False) -> Any:
        name = type(self).__name__
        if first:
            given = self.image_shape
            if given is not None:
                given = whole_numbers(given, "image_shape", name)
            self.image_shape_ = images.shape_to_fit(X, given, name)
        return images.to_rows(X, self.image_shape_, name)

    # -- results ----------------------------------------------------------------------------------
    @property
    def module_(self) -> nn.Module:
        """The torch model, on standardised rows."""
        return fitted_of(self, "module_").model

    @property
    def schema_(self) -> SchemaView:
        """Types and values of the columns of the training rows: see `SchemaView`."""
        return SchemaView.of(fitted_of(self, "schema_").schema, self._format_)

    @property
    def decoder_(self) -> nn.Module:
        """Torch module that maps codes (n, k) to mean rows (n, d), in the units of X.

        See `skvae.nn.deploy.CodesToRows`.
        """
        fitted = fitted_of(self, "decoder_")
        _refuse_mixed(fitted, "decoder_")
        return CodesToRows(fitted.model.decoder, *fitted.schema.units)

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        return self._predictor_.decode(Z)

    def _draw_codes(self, n: int, seed: int) -> np.ndarray:
        return self._predictor_.draw_codes(n, seed)

    def _draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        return self._predictor_.draw_rows(Z, seed)

    # -- state ------------------------------------------------------------------------------------
    @classmethod
    def _check_fitted(cls, state: dict[str, Any]) -> None:
        check_packed(cls, state)

    def __getstate__(self) -> dict[str, Any]:
        self._finalise_pending()
        state = super().__getstate__().copy()
        if "_fitted_" in state:
            del state["_predictor_"]
            state["_fitted_"] = pack(state["_fitted_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_spec" in state:
            raise ValueError(
                f"This {type(self).__name__} was saved in the format of an earlier version of "
                "skvae: fit and save it again."
            )
        super().__setstate__(state)
        packed = vars(self).get("_fitted_")
        if packed is not None:
            networks = self._network_settings(self.image_shape_)
            density = vars(self).get("latent_density_")
            fitted = unpack(packed, self, networks, self.device, density)
            vars(self).update(self._attributes(fitted))


def _parameters(estimator: LearnedGenerator) -> dict[str, Any]:
    """Return the parameters that determine a fit, with options as ``training__alpha`` etc."""
    own = {k: v for k, v in estimator.get_params(deep=False).items() if k not in _NOT_OF_TRAINING}
    own |= {name: getattr(estimator, name) or kind() for name, kind in estimator._options.items()}
    for name in estimator._options:
        given = own.pop(name).get_params(deep=False)
        own |= {f"{name}__{k}": v for k, v in given.items()}
    return own


def _checkpoint_settings(estimator: LearnedGenerator, seed: int) -> CheckpointSettings | None:
    """Return where a fit is written to, and the parameters that determine it."""
    training = estimator.training or TrainingOptions()
    if training.checkpoint is None:
        return None
    own = {k: v for k, v in _parameters(estimator).items() if "__checkpoint" not in k}
    own |= {
        "class": type(estimator),
        "random_state": None if estimator.random_state is None else seed,
    }
    path, interval = os.fsdecode(training.checkpoint), float(training.checkpoint_interval)
    return CheckpointSettings(path, interval, own)


def _reports(
    estimator: LearnedGenerator, source: RowSource, calls: bool, shows: bool
) -> Callable[[int, int], AbstractContextManager[ProgressReport]]:
    """Return the progress report of a training: see `reporting`."""

    def context(n_epochs: int, n_rows: int) -> AbstractContextManager[ProgressReport]:
        finished = partial(_finished, estimator, source=source)
        report = ProgressReport(estimator, n_epochs, n_rows, finished)
        return reporting(report, calls, shows, partial(estimator._fit_arguments, source))

    return context


def _with(estimator: LearnedGenerator, fitted: Fitted) -> LearnedGenerator:
    """Return a copy of this estimator with another fitted model."""
    aside = object.__new__(type(estimator))
    vars(aside).update({k: v for k, v in vars(estimator).items() if k != "latent_density_"})
    vars(aside).update(estimator._attributes(fitted))
    return aside


def _workers(estimator: LearnedGenerator) -> AbstractContextManager[Workers]:
    """Return the processes that share a fit."""
    asked = getattr(estimator.training, "distributed", "auto")
    return all_processes(asked, str(estimator.device), estimator._make_workers)


def _shared(recipe: Recipe, workers: Workers) -> Recipe:
    """Return the recipe of one of several workers: the seed of the first, and its own device."""
    asked = recipe.settings
    seed, checkpoint = workers.first(asked.seed), asked.checkpoint
    if checkpoint is not None and checkpoint.parameters["random_state"] is not None:
        own = {**checkpoint.parameters, "random_state": seed}
        checkpoint = replace(checkpoint, parameters=own)
    place = workers.place(asked.device)
    settings = replace(asked, seed=seed, device=place, checkpoint=checkpoint)
    return replace(recipe, settings=settings)


def _take_first(
    estimator: LearnedGenerator, source: RowSource, outcome: Outcome, workers: Workers
) -> None:
    """Take over and calibrate the fit of the first worker; others may differ by rounding."""
    fitted, own = outcome.fitted, vars(estimator)
    if workers.size > 1:
        density = None if fitted.density is None else fitted.density.estimator
        packed, density = workers.first((pack(fitted), density))
        if workers.rank:
            networks = estimator._network_settings(estimator.image_shape_)
            outcome.fitted = unpack(packed, estimator, networks, fitted.device, density)
    own.pop("latent_density_", None)
    own.update(estimator._attributes(outcome.fitted))
    if not outcome.is_whole:
        estimator._defer(source)
        return
    before = dict(own)
    estimator._finish(source, _unseen(estimator, outcome))
    if workers.size > 1:
        own.update(workers.first({k: v for k, v in own.items() if v is not before.get(k)}))


def _unseen(
    estimator: LearnedGenerator, outcome: Outcome
) -> Iterator[tuple[LearnedGenerator, RowSource]]:
    """Yield models, each with rows not used for its weights, noise, scales or density."""
    for fitted, rows in folds(outcome):
        yield _with(estimator, fitted), rows


def _finished(estimator: LearnedGenerator, fitted: Fitted, source: RowSource) -> dict[str, Any]:
    """Return the fitted attributes of a model, including the threshold."""
    aside = _with(estimator, fitted)
    aside._finish(source)
    return {k: v for k, v in vars(aside).items() if is_fitted_attribute(k)}


def _not_converged(name: str, max_iter: int) -> Notice:
    text = (
        f"{name} reached max_iter={max_iter} while its loss was still falling; increase max_iter, "
        "or set it to None for a budget that depends on the size of the data."
    )
    return text, ConvergenceWarning


def _interrupted(name: str, outcome: Outcome) -> Notice:
    text = (
        f"the fit of this {name} was interrupted: the estimator has the model of epoch "
        f"{len(outcome.history.loss)} of {outcome.n_epochs}, calibrated."
    )
    if outcome.checkpoint is not None:
        text += f" The same call of fit continues from the checkpoint {outcome.checkpoint.path}."
    return text, ConvergenceWarning


def _still_falls(outcome: Outcome) -> bool:
    """Return whether the loss still decreased notably over the last tenth of all epochs."""
    loss = outcome.history.loss
    if outcome.history.converged or len(loss) < outcome.n_epochs:
        return False
    w = max(1, len(loss) // 10)
    fall = np.mean(loss[-2 * w : -w]) - np.mean(loss[-w:]) if len(loss) > 1 else np.inf
    least = max(_STILL_FALLING * (loss[0] - min(loss)), 1e-3 * max(1.0, abs(loss[-1])))
    return bool(fall > least)


def _previous(estimator: LearnedGenerator) -> Fitted:
    """Return the fitted model that a fit continues from."""
    _refuse_other_sizes(estimator, estimator._fitted_.spec)
    return estimator._fitted_


def _refuse_other_sizes(estimator: LearnedGenerator, spec: ModelSpec) -> None:
    """Raise an error if a fit cannot continue because parameters of the networks have changed."""
    networks = estimator._network_settings(estimator.image_shape_)
    wanted = {name: getattr(estimator, name) for name in estimator._architecture}
    fixed = {name: spec.method[name] for name in wanted}
    if networks.n_components is not None:
        wanted["n_components"], fixed["n_components"] = networks.n_components, spec.n_components
    if networks.builds_all:
        wanted["hidden_layer_sizes"] = tuple(networks.hidden)
        fixed["hidden_layer_sizes"] = tuple(spec.hidden)
    for name, value in wanted.items():
        if value != fixed[name]:
            raise ValueError(
                f"{name} of {type(estimator).__name__} cannot change from {fixed[name]!r} to "
                f"{value!r} when a fit continues, because the networks already exist. Restore the "
                "old value, or call fit with warm_start=False."
            )


def fitted_of(estimator: LearnedGenerator, name: str) -> Fitted:
    """Return the fitted model, or raise an AttributeError for the attribute of that name."""
    fitted: Fitted | None = getattr(estimator, "_fitted_", None)
    if fitted is None:
        raise AttributeError(f"{name} is available only after fit")
    return fitted


def _refuse_mixed(fitted: Fitted, name: str) -> None:
    if fitted.spec.classes or fitted.spec.n_masks or fitted.schema.marginals:
        raise AttributeError(
            f"{name} is available only for models of numerical columns without missing values: "
            "this model has categorical columns, missing values or quantile marginals, whose "
            "encoding is not a torch module."
        )


class LearnedEncoder(LearnedGenerator, BaseEncoder):
    """A generative model trained by gradient descent that has an encoder."""

    @property
    def encoder_(self) -> nn.Module:
        """Torch module that maps rows (n, d) to codes (n, k), in the units of X.

        See `skvae.nn.deploy.RowsToCodes`.
        """
        fitted = fitted_of(self, "encoder_")
        _refuse_mixed(fitted, "encoder_")
        return RowsToCodes(fitted.model.encoder, *fitted.schema.units)

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return self._predictor_.encode(ArraySource(X))


class LearnedModel(LearnedEncoder, BaseLatentModel):
    """A latent model trained by gradient descent: codes, rows and log-densities.

    A subclass has an `__init__` with all of its parameters and overrides hooks of `Method`.
    """

    likelihood: str
    noise_variance: str | float
    encoder: nn.Module | Callable[[int, int], nn.Module] | None
    latent_density: Any
    early_stopping: bool | str
    n_importance_samples: int
    table: TableOptions | None

    _takes_missing: ClassVar[bool] = True
    _takes_categories: ClassVar[bool] = True
    _options: ClassVar[dict[str, type[Any]]] = {
        **LearnedGenerator._options,
        "table": TableOptions,
    }
    _unused_options: ClassVar[tuple[str, ...]] = ()
    _needs_density: ClassVar[bool] = False  # whether the prior itself has no density
    _parameter_constraints: ClassVar[dict] = {
        **LearnedGenerator._parameter_constraints,
        "likelihood": [StrOptions({"auto", "gaussian", "bounded_gaussian", "bernoulli"})],
        "noise_variance": [
            StrOptions({"auto", "feature", "scalar", "network"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "encoder": [None, callable],
        "latent_density": [
            StrOptions({"auto"}),
            None,
            HasMethods(["fit", "sample", "score_samples"]),
        ],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "n_importance_samples": [Interval(Integral, 1, _MOST_DRAWS, closed="both")],
        "table": [None, TableOptions],
    }

    # -- parameters -------------------------------------------------------------------------------
    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self._needs_density and self.latent_density is None:
            raise ValueError(
                f"latent_density=None leaves {type(self).__name__} without a density of its codes: "
                "use 'auto' or a density estimator."
            )
        check_density(self.latent_density, type(self).__name__)
        if self._takes_categories:
            (self.table or TableOptions())._validated()

    def _network_settings(self, image_shape: tuple[int, ...] | None) -> NetworkSettings:
        return replace(super()._network_settings(image_shape), encoder=self.encoder)

    def _likelihood_settings(self) -> LikelihoodSettings:
        floor = (self.training or TrainingOptions()).noise_floor
        return LikelihoodSettings(self.likelihood, self.noise_variance, float(floor))

    def _table_settings(self) -> TableSettings:
        if not self._takes_categories:
            return super()._table_settings()
        options = (self.table or TableOptions())._validated()
        masking = None if isinstance(options.masking, str) else float(options.masking)
        looks = self._format_
        columns = None if looks.is_plain and not options.column_kinds else looks.columns
        by_values = None if isinstance(options.by_values, str) else bool(options.by_values)
        return TableSettings(columns, by_values, options.marginals, masking)

    def _column_kinds(self) -> Mapping[Any, str] | None:
        table: TableOptions | None = getattr(self, "table", None)
        return None if table is None else table.column_kinds

    def _handle_unknown(self) -> str:
        table: TableOptions | None = getattr(self, "table", None)
        return "error" if table is None else table.handle_unknown

    def _fit_settings(self, seed: int) -> FitSettings:
        training = self.training or TrainingOptions()
        return replace(
            super()._fit_settings(seed),
            holds_out=True,
            held_out_fraction=float(training.held_out_fraction),
            early_stopping=None if self.early_stopping == "auto" else bool(self.early_stopping),
            patience=int(training.patience),
            tol=float(training.tol),
            false_alarm_rate=float(getattr(self, "false_alarm_rate", 0.05)),
            latent_density=self.latent_density,
        )

    # -- results ----------------------------------------------------------------------------------
    def _notices(self, outcome: Outcome) -> list[Notice]:
        found = super()._notices(outcome)
        varies = bool((outcome.fitted.schema.high > outcome.fitted.schema.low).any())
        if outcome.is_whole and outcome.fitted.active_units == 0 and varies:
            name = type(self).__name__
            text = (
                f"the codes of this {name} carry no information (posterior collapse): no "
                "coordinate's variance over the rows exceeds 0.01. Decrease the weight of the "
                "penalty, warm it up, or increase max_iter."
            )
            found.append((text, ConvergenceWarning))
        return found

    @property
    def noise_variance_(self) -> np.ndarray:
        """Variance of the decoder's noise by feature, in squared units of X."""
        fitted = fitted_of(self, "noise_variance_")
        variance = fitted.model.likelihood.noise_by_feature
        if variance is None:
            raise AttributeError(
                "noise_variance_ is available only for a Gaussian likelihood with fitted noise"
            )
        schema, numbers = fitted.schema, fitted.schema.layout.numbers
        found: np.ndarray = np.full(schema.n_columns, np.nan)
        found[numbers] = variance[: len(numbers)].double().cpu().numpy()
        with np.errstate(over="ignore"):
            found *= np.square(schema.scale)
        return found

    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._predictor_.posterior(ArraySource(X))

    def _complete(self, X: np.ndarray) -> np.ndarray:
        return self._predictor_.complete(ArraySource(X))

    def _draw_missing(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        return self._predictor_.draw_missing(ArraySource(X), n_draws, seed)

    def _match_marginals(self, X: np.ndarray) -> np.ndarray:
        schema = self._fitted_.schema
        return schema.match_marginals(X) if schema.has_marginals else super()._match_marginals(X)

    def _latent_draws(self, n: int, seed: int) -> np.ndarray | None:
        if self._fitted_.model.latent.is_standard_normal:
            return None
        return super()._latent_draws(n, seed)

    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        return Scores(
            *self._predictor_.score(ArraySource(X), int(self.n_importance_samples), parts)
        )


class LearnedAutoencoder(LearnedModel, BaseAutoencoder):
    """A learned latent variable model that detects outliers by its log-density."""

    _parameter_constraints: ClassVar[dict] = {
        **LearnedModel._parameter_constraints,
        **BaseAutoencoder._parameter_constraints,
    }
