"""Fits: from rows to a trained and calibrated model, without changing existing models."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.batch import Batch
from ..nn.masking import RandomMasking
from ..nn.model import Model, SquaredResiduals
from ..nn.objectives import Objective
from ..nn.priors import Prior
from ..nn.threads import one_thread
from ..tables.schema import Schema
from ..tables.source import RowSource, accepted
from ..tables.summary import Summary
from ..tables.weighting import weigh_marginals
from .batches import MOST_ENCODED, BatchSource, EncodedSource, TensorSource, encoded_size
from .build import build, resolve_device
from .checkpoint import Checkpoint, described
from .choose import check_intensities, choose
from .initialise import LinearStart
from .latent_density import HELD_OUT, fit_density, mixtures, to_prior
from .method import Method
from .selection import (
    FARTHEST_SPREADS,
    FOLDS,
    SPREAD_OF_DEVIATION,
    Tempering,
    bounded,
    log_densities,
    lowest_that_counts,
    step_between,
)
from .settings import (
    FitSettings,
    LikelihoodSettings,
    ModelSpec,
    NetworkSettings,
    TableSettings,
)
from .trainer import History, TrainConfig, Trainer, TrainingDivergedError, TrainState
from .workers import Workers

_MIN_STEPS, _MAX_STEPS, _MIN_EPOCHS = 1500, 10_000, 10
_MIXED_EPOCHS = 20  # for tables with labels or missing values, which improve with more
_CALIBRATION_ROWS = 4096
_WORTH_SHARING = 1 << 24  # multiplications of a layer in a step
_NARROW = 64  # units of a hidden layer
_LEAST_TO_SPLIT, _MOST_HELD_OUT = 20, 2048
_MANY = 1 << 20  # rows whose numbers are not written down
_ALPHA, _MIXED_ALPHA = 10.0, 2.0  # most L2 penalty of what fits the density of rows
_FEATURES_PER_ALPHA = 2.0  # the loss is a sum over features, and of few it must outweigh it
_ENOUGH_HELD_OUT = 20  # held-out rows that roughly determine the noise and a threshold
LEAST_FOR_DENSITY = 50  # rows of a chunk that may change the latent density
_DENSITY_ROWS = 16384
_NULL_CELLS = 1 << 24  # values that determine the loss of the best constant prediction
_MAX_RISE = 0.1  # of the loss of a chunk, over its training
_LARGEST_CODE = 1e30  # whose square is beyond the range of float32 already
_ACTIVE = 0.01  # variance of a code coordinate that carries information (Burda et al. 2016)


@dataclass
class CodeDensity:
    """Density of standardised codes, fitted after training.

    Attributes
    ----------
    estimator : object
        Estimator with `sample` and `score_samples`.
    location, scale : ndarrays of shape (k,)
        Location and scale by which codes were standardised.
    is_rough : bool
        Whether it was fitted to few codes, because no more were available.
    """

    estimator: Any
    location: np.ndarray
    scale: np.ndarray
    is_rough: bool = False

    def prior(self) -> Prior:
        return to_prior(self.estimator, self.location, self.scale)


@dataclass
class Curves:
    """Training curves by epoch, over all fits of a model."""

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)

    def extend(self, history: History | Curves) -> None:
        names = {**self.terms, **history.terms}  # a warm start may have another loss
        for name in names:
            before = self.terms.get(name, [np.nan] * len(self.loss))
            self.terms[name] = before + history.terms.get(name, [np.nan] * len(history.loss))
        self.loss += history.loss
        self.validation += history.validation


@dataclass
class Fitted:
    """Trained model with its schema, state and densities."""

    model: Model
    schema: Schema
    spec: ModelSpec
    state: TrainState
    device: str
    curves: Curves = field(default_factory=Curves)
    density: CodeDensity | None = None
    active_units: int | None = None

    def copy(self) -> Fitted:
        """Return a copy to train or finalise; parts that are not changed in place are shared."""
        curves = Curves()
        curves.extend(self.curves)
        return replace(
            self, model=copy.deepcopy(self.model), state=replace(self.state), curves=curves
        )


@dataclass(frozen=True)
class Recipe:
    """Who fits, and how."""

    method: Method
    networks: NetworkSettings
    likelihood: LikelihoodSettings
    settings: FitSettings
    table: TableSettings


# Called after every epoch with the history, what gives the model as if training had ended, and what
# gives the loss of held-out rows.
class Report(Protocol):
    """Receives the progress of a training: see `skvae.contract.progress`."""

    def step(self, history: History, part: float) -> None: ...

    def epoch(
        self,
        history: History,
        ended: Callable[[], Fitted],
        held_out_loss: Callable[[], float | None],
    ) -> bool: ...


@dataclass(frozen=True)
class CodeDensities:
    """The prior and the mixtures that may replace it.

    Attributes
    ----------
    options : list of (CodeDensity or None, Prior or None)
        The prior of training, as two Nones, comes first.
    scores : Tensor of shape (c, m)
        Log-densities of held-out rows with each.
    """

    options: list[tuple[CodeDensity | None, Prior | None]]
    scores: Tensor

    def apply(self, fitted: Fitted, among: Tensor | slice = slice(None)) -> None:
        """Use a mixture if it increases the likelihood of rows by more than a standard error."""
        scores = bounded(self.scores[:, among], lowest_that_counts(self.scores[0]))
        best = 0
        for i in range(1, len(scores)):
            gain = scores[i] - scores[best]
            if gain.mean() > gain.std() / len(gain) ** 0.5:
                best = i
        fitted.density, fitted.model.density = self.options[best]


@dataclass(frozen=True)
class Choices:
    """What rows that were held out have chosen; every `step`-th of them had a part in it."""

    tempering: Tempering | None = None
    codes: CodeDensities | None = None
    step: int = 1

    def without(self, fold: int, fitted: Fitted) -> None:
        """Repeat the choices for a model, without the rows of a fold."""
        if self.tempering is not None:
            self.tempering.apply(fitted.model, self._others(fold, self.tempering.scores))
        if self.codes is not None:
            self.codes.apply(fitted, self._others(fold, self.codes.scores))

    def _others(self, fold: int, scores: Tensor) -> Tensor:
        return self.step * torch.arange(scores.shape[1], device=scores.device) % FOLDS != fold


@dataclass(frozen=True)
class Before:
    """The schema without held-out rows, the source of all rows, and the numbers of the former."""

    schema: Schema
    source: RowSource
    held_out: np.ndarray


@dataclass
class Outcome:
    """Result of `fit_model`: the model, held-out rows, and the history of the training.

    After a further chunk of rows, `finalise_chunk` has to be called.
    """

    fitted: Fitted
    held_out: RowSource | None
    history: History
    n_epochs: int
    is_whole: bool  # whether the rows were all there are, and no chunk
    examples: Batch  # some of the rows it has trained on, encoded
    learns_noise: bool  # whether training has minimised a loss that depends on the noise
    choices: Choices = Choices()  # by rows that were held out
    checkpoint: Checkpoint | None = None
    before: Before | None = None  # where rows held out have a part in scales


def fit_model(
    recipe: Recipe,
    source: RowSource,
    *,
    previous: Fitted | None = None,
    further_chunk: bool = False,
    reporting: Callable[[int, int], AbstractContextManager[Report]] | None = None,
    workers: Workers | None = None,
    weights: np.ndarray | None = None,
) -> Outcome:
    """Fit a model to the rows of a source.

    Parameters
    ----------
    recipe : Recipe
    source : RowSource
    previous : Fitted, optional
        Model from which to continue; it is not changed.
    further_chunk : bool
        Whether the rows are one of several chunks: one epoch at a constant rate, without held-out
        rows.
    reporting : callable, optional
        ``reporting(n_epochs, n_rows)``, a context whose value receives steps and epochs.
    workers : Workers, optional
        Workers of the fit; those of the method by default.
    weights : ndarray of shape (n,), optional
        Positive weights of the rows, if they are not a chunk.

    Returns
    -------
    outcome : Outcome
    """
    settings = recipe.settings
    workers = recipe.method._make_workers() if workers is None else workers
    checkpoint, previous = _checkpoint(settings, previous, further_chunk, workers)
    held_out: RowSource | None = None
    train = source
    seed = settings.seed if previous is None else previous.state.seed
    seed = seed if checkpoint is None else checkpoint.seed_or(seed)
    numbers = np.arange(0) if further_chunk else hold_out(source.n_rows, settings, seed)
    own = weights
    if len(numbers):
        train = source.without(numbers)
        if weights is not None:
            own, theirs = np.delete(weights, numbers), weights[numbers]
            numbers = numbers[accepted(theirs, theirs.max(), seed)]
        held_out = source.subset(numbers)
    # from the rows to train on alone: to the model others are new
    fitted = start(recipe, train, seed, workers) if previous is None else previous.copy()
    if own is not None and previous is None:
        fitted.schema = weigh_marginals(fitted.schema, train, own)
    further = source if further_chunk else held_out
    if further is not None and further_chunk == (previous is not None):
        fitted.schema = fitted.schema.widened(further)
    if recipe.likelihood.is_for_intensities:  # else one pass over the rows for nothing
        check_intensities(Summary.of(source), recipe.likelihood)
    config = train_config(recipe, fitted, train.n_rows, further_chunk)
    schema, device = fitted.schema, fitted.device
    rows = _encoded(schema, train, device, further_chunk, is_first=previous is None, weights=own)
    if checkpoint is not None:
        checkpoint.identify(source, schema, device, weights)
    # rows that are trained on have 0 in columns that are constant in them, whatever the scale
    wide = None if held_out is None or previous is not None else schema.rescaled(source)
    seen = wide or schema
    _change_units(fitted, schema, seen)
    fresh = None if held_out is None else seen.encode_all(held_out, torch.float32, device)
    history, choices = _train(recipe, fitted, config, rows, fresh, reporting, workers, checkpoint)
    fitted.curves.extend(history)
    before = None if wide is None else Before(schema, source, numbers)
    fitted.schema = seen
    return Outcome(
        fitted,
        held_out,
        history,
        config.n_epochs,
        is_whole=not further_chunk,
        examples=rows.some(_CALIBRATION_ROWS),
        learns_noise=not recipe.method._relative,
        choices=choices,
        checkpoint=checkpoint,
        before=before,
    )


def _encoded(
    schema: Schema,
    source: RowSource,
    device: str,
    is_chunk: bool,
    is_first: bool,
    weights: np.ndarray | None,
) -> BatchSource:
    """Return the source of training rows: in memory unless they are large."""
    if not is_chunk and encoded_size(schema, source) > MOST_ENCODED:
        return EncodedSource(schema, source.weighted(weights), device)
    encoded = schema.encode_all(source, torch.float32, device)
    if is_chunk and not is_first:
        encoded = winsorised(_refuse_empty(encoded))
    return TensorSource(encoded, weights)


def _checkpoint(
    settings: FitSettings, previous: Fitted | None, further_chunk: bool, workers: Workers
) -> tuple[Checkpoint | None, Fitted | None]:
    """Return the requested checkpoint, and the model from which the fit continues."""
    if settings.checkpoint is None or further_chunk:
        return None, previous
    begun = described(None) if previous is None else previous.state.described()
    checkpoint = Checkpoint(settings.checkpoint, workers, begun)
    return checkpoint, None if checkpoint.begins_anew else previous


def hold_out(n: int, settings: FitSettings, seed: int) -> np.ndarray:
    """Return the sorted positions of held-out rows among n rows."""
    if not settings.holds_out or (n < _LEAST_TO_SPLIT and not settings.early_stopping):
        return np.arange(0)
    share = settings.held_out_fraction
    n_held_out = min(round(share * n), _MOST_HELD_OUT)
    if share > 0.0 and n >= _LEAST_TO_SPLIT:
        n_held_out = max(n_held_out, min(_ENOUGH_HELD_OUT, n // 4))
        n_held_out = _telling(n_held_out, n // 5, settings.false_alarm_rate)
    if n_held_out > n - 2 or (settings.early_stopping and n_held_out < 1):
        raise ValueError(
            f"held_out_fraction={share} holds out {n_held_out} of {n} rows, but at least two "
            "training rows are needed, and early_stopping=True needs a held-out row."
        )
    if n > _MANY:
        rng = np.random.default_rng(seed)
        return np.sort(rng.choice(n, n_held_out, replace=False, shuffle=False))
    order = np.random.RandomState(seed % 2**32).permutation(n)
    return np.sort(order[:n_held_out])


def _telling(n: int, most: int, rate: float) -> int:
    """Return a number of rows near n for which the false alarm rate can be attained exactly.

    This is ``j / rate - 1``, with the threshold at the j-th lowest score; at most `most` for j = 1.
    """
    j = math.floor(rate * (n + 1) + 1e-9) or int(1.0 / rate - 1e-9 <= most + 1)
    return n if j == 0 else max(1, math.ceil(j / rate - 1e-9) - 1)


def start(recipe: Recipe, source: RowSource, seed: int, workers: Workers | None = None) -> Fitted:
    """Fix everything before the first step: schema, layer sizes, initial weights."""
    device = str(resolve_device(recipe.settings.device))
    networks, method = recipe.networks, recipe.method
    given = {name: getattr(method, name) for name in method._architecture}
    own = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
    spec, schema = choose(networks, recipe.likelihood, recipe.table, source, own, method._relative)
    k, linear = networks.n_components, None
    if k is None or spec.linear_skip:
        linear = LinearStart.of(source, schema, k)
    if k is None:
        assert linear is not None
        fine = method._fits_density(spec) and not spec.is_mixed
        k = linear.choose_n_components(spec.noise_floor if fine else None)
    if workers is not None:
        spec, schema, k = workers.first((spec, schema, k))
    spec = replace(spec, n_components=k)
    model = build(method, spec, networks, schema, seed)
    if linear is not None and spec.linear_skip:
        linear.apply(model, k, spec.noise_floor)
    some = schema.encode(source.some(_CALIBRATION_ROWS), torch.float32)
    model.prior.initialise(model.inputs(some), torch.Generator().manual_seed(seed + 1))
    return Fitted(model.to(device), schema, spec, TrainState(seed), device)


def train_config(recipe: Recipe, fitted: Fitted, n_rows: int, further_chunk: bool) -> TrainConfig:
    """Return the settings of the training for a number of rows."""
    settings = recipe.settings
    batch_size = min(n_rows, settings.batch_size or 128)
    n_batches = -(-n_rows // batch_size)
    n_epochs = 1 if further_chunk else settings.max_iter
    if n_epochs is None:
        epochs = _MIXED_EPOCHS if fitted.spec.is_mixed else _MIN_EPOCHS
        steps = max(_MIN_STEPS, min(epochs * n_batches, _MAX_STEPS))
        n_epochs = -(-steps // n_batches)
    density = recipe.method._fits_density(fitted.spec)
    stops = density if settings.early_stopping is None else settings.early_stopping
    alpha = settings.weight_decay
    if alpha is None:
        alpha = 0.0
        if density and not further_chunk:  # each chunk would apply the penalty again
            most = _MIXED_ALPHA if fitted.spec.is_mixed else _ALPHA
            alpha = min(most, fitted.spec.n_features / _FEATURES_PER_ALPHA)
    max_rise = _MAX_RISE if recipe.method._loss_falls else math.inf
    return TrainConfig(
        batch_size=batch_size,
        n_epochs=n_epochs,
        lr=_learning_rate(recipe, fitted.spec),
        decay=not further_chunk,
        clip=settings.clip,
        weight_decay=alpha / n_rows,
        bfloat16=settings.precision == "bfloat16",
        patience=settings.patience if stops and not further_chunk else None,
        tol=settings.tol,
        max_rise=max_rise if further_chunk else None,
        by_density=density,
    )


def _learning_rate(recipe: Recipe, spec: ModelSpec) -> float:
    method, given = recipe.method, recipe.settings.learning_rate
    if given is not None:
        return given
    if method._narrow_rate is not None and max(spec.hidden, default=0) < _NARROW:
        return method._narrow_rate
    if method._auto_rate is not None:
        return method._auto_rate
    return 6e-3 if spec.linear_skip and len(spec.hidden) < 2 else 2e-3


def _train(
    recipe: Recipe,
    fitted: Fitted,
    config: TrainConfig,
    source: BatchSource,
    fresh: Batch | None,
    reporting: Callable[[int, int], AbstractContextManager[Report]] | None,
    workers: Workers,
    checkpoint: Checkpoint | None,
) -> tuple[History, Choices]:
    """Train the model of `fitted` and set everything that follows from its weights."""
    objective = make_objective(recipe, fitted)
    if config.decay:  # what the last training left
        fitted.model.likelihood.restore_noise()
        fitted.density = fitted.model.density = None
    if recipe.method._relative and (config.decay or fitted.state.epoch == 0):
        fitted.model.likelihood.set_null_loss(
            source.some(max(1, _NULL_CELLS // fitted.spec.n_features))
        )
    some = source.some(_CALIBRATION_ROWS)

    def as_if_ended(history: History) -> Fitted:
        """Return a model as if training had ended here, for callbacks."""
        ended = fitted.copy()
        ended.curves.extend(history)
        ended.model.eval()
        told = fresh if config.by_density else None  # else held-out losses are of this noise
        _finalise(recipe, ended, make_objective(recipe, ended), TensorSource(some), told)
        return ended

    told = nullcontext() if reporting is None else reporting(config.n_epochs, source.n_rows)
    with told as report, _few_threads(recipe, fitted, config.batch_size):
        trainer = Trainer(config, workers)

        def held_out_loss() -> float | None:
            if fresh is None:
                return None
            return trainer.evaluate(objective, fitted.state, source, fresh)

        def on_epoch(history: History) -> bool:
            ended = partial(as_if_ended, history)
            return report is not None and report.epoch(history, ended, held_out_loss)

        on_step = None if report is None else report.step
        history = trainer.run(objective, fitted.state, source, fresh, on_epoch, checkpoint, on_step)
    if config.decay:
        return history, _finalise(recipe, fitted, objective, source, fresh)
    objective.rescale(some)
    if _density_goes_on(recipe, fitted):
        _fit_density(recipe, fitted, source, fitted.state.rng(source.device, -2))
    return history, Choices()


def make_objective(recipe: Recipe, fitted: Fitted) -> Objective:
    """Return the objective for the model of `fitted`."""
    corruption = recipe.method._corruption(*fitted.schema.range)
    objective = recipe.method._make_objective(fitted.model, fitted.spec, corruption)
    if fitted.spec.masking:
        columns = torch.from_numpy(fitted.schema.layout.columns)
        objective.masking = RandomMasking(fitted.spec.masking, columns)
    return objective.to(fitted.device)


def _finalise(
    recipe: Recipe,
    fitted: Fitted,
    objective: Objective,
    rows: BatchSource,
    held_out: Batch | None,
) -> Choices:
    """Set everything that follows from the weights after a complete training."""
    some = rows.some(_CALIBRATION_ROWS)
    objective.rescale(some)
    rng = fitted.state.rng(some.x.device, -2)
    _calibrate(recipe, fitted, objective, some, held_out, rng)
    if not recipe.settings.holds_out:
        return Choices()
    fitted.density = fitted.model.density = None
    asked = _density_asked_for(recipe, fitted)
    chooses = held_out is not None and isinstance(asked, str) and asked == HELD_OUT
    if not chooses:
        _fit_density(recipe, fitted, rows, rng)
    if held_out is None:
        return Choices()
    tempering, codes = Tempering.of(fitted.model, some, held_out), None
    if tempering is not None:
        tempering.apply(fitted.model)
    if chooses:
        codes = _densities(recipe, fitted, rows, held_out, rng)
        codes.apply(fitted)
    return Choices(tempering, codes, step_between(fitted.model, held_out))


def _calibrate(
    recipe: Recipe,
    fitted: Fitted,
    objective: Objective,
    rows: Batch,
    held_out: Batch | None,
    rng: torch.Generator,
) -> None:
    """Set the noise, and count the active latent coordinates."""
    objective.finalise(rows, held_out, rng)
    if recipe.settings.holds_out:  # not a generator without an encoder
        codes = _finite_codes(_codes(fitted.model, rows))
        fitted.active_units = int((codes.var(0) > _ACTIVE).sum())


def folds(outcome: Outcome) -> Iterator[tuple[Fitted, RowSource]]:
    """Yield, for each fifth of the held-out rows, the model calibrated without them, and these.

    The noise of the model itself and some scales depend on all held-out rows, whose scores would be
    too high.
    """
    fitted, before, held_out = outcome.fitted, outcome.before, outcome.held_out
    if held_out is None:
        return
    model, rng = fitted.model, fitted.state.rng(outcome.examples.x.device, -2)
    known = SquaredResiduals.over(model.squared_residuals(outcome.examples, rng))
    fold = np.arange(held_out.n_rows) % FOLDS
    each = _residuals(fitted, held_out, rng)
    for i in range(min(FOLDS, held_out.n_rows)):
        aside, others = fitted.copy(), fold != i
        found = SquaredResiduals(each.total[others], each.cells[others])
        if before is not None:
            kept = before.source.without(before.held_out[~others])
            aside.schema = before.schema.rescaled(kept) or before.schema
            _change_units(aside, fitted.schema, aside.schema)
            found = _residuals(aside, held_out.subset(np.flatnonzero(others)), rng)
        aside.model.set_noise(known, SquaredResiduals.over([found]), learned=outcome.learns_noise)
        outcome.choices.without(i, aside)
        yield aside, held_out.subset(np.flatnonzero(~others))


def _change_units(fitted: Fitted, before: Schema, after: Schema) -> None:
    """Keep a noise fixed by the user if scales of numbers change."""
    if before is after:
        return
    factor = np.ones(before.layout.n_features)
    numbers = before.layout.numbers
    factor[: len(numbers)] = before.scale[numbers] / after.scale[numbers]
    fitted.model.likelihood.change_units(torch.from_numpy(factor))


def _residuals(fitted: Fitted, source: RowSource, rng: torch.Generator) -> SquaredResiduals:
    """Return the squared residuals of each row."""
    rows = fitted.schema.encode_all(source, torch.float32, fitted.device)
    each = list(fitted.model.squared_residuals(rows, rng))
    return SquaredResiduals(torch.cat([e.total for e in each]), torch.cat([e.cells for e in each]))


def finalise_chunk(recipe: Recipe, fitted: Fitted, source: RowSource) -> Fitted:
    """Compute noise and latent density of a model after chunks of rows.

    Parameters
    ----------
    recipe : Recipe
    fitted : Fitted
        Result of `fit_model` after a further chunk; it is not changed.
    source : RowSource
        Rows of the latest chunk.

    Returns
    -------
    fitted : Fitted
    """
    finished = fitted.copy()
    rows = winsorised(finished.schema.encode_all(source, torch.float32, finished.device))
    some = rows.some(_CALIBRATION_ROWS)
    rng = finished.state.rng(rows.x.device, -2)
    _calibrate(recipe, finished, make_objective(recipe, finished), some, None, rng)
    enough = not recipe.method._density_of_rows or rows.n_rows >= LEAST_FOR_DENSITY
    known = finished.density
    renewed = enough or known is None or known.is_rough
    renewed = renewed or _density_asked_for(recipe, finished) is None
    if recipe.settings.holds_out and renewed and not _density_goes_on(recipe, finished):
        finished.density = None
        _fit_density(recipe, finished, TensorSource(rows), rng)
    return finished


def _refuse_empty(rows: Batch) -> Batch:
    if rows.observed is not None and not rows.observed.any():
        raise ValueError("all values of X are missing: pass rows with observed values.")
    return rows


def winsorised(rows: Batch) -> Batch:
    """Clip encoded rows at 30 robust standard deviations from the medians of the columns.

    The standard deviation is estimated by the median absolute deviation of these rows, or is that
    of the rows which set the scale, if this is larger. A single extreme value of a chunk would
    otherwise dominate all others.
    """
    x, seen = rows.x, rows.observed
    if float(x.min()) >= -FARTHEST_SPREADS and float(x.max()) <= FARTHEST_SPREADS:
        return rows
    cells = x if seen is None else x.masked_fill(~seen, torch.nan)
    median = cells.nanmedian(0).values.nan_to_num_()
    spread = (cells - median).abs().nanmedian(0).values.nan_to_num_() * SPREAD_OF_DEVIATION
    reach = FARTHEST_SPREADS * spread.clamp(min=1.0)
    near = torch.maximum(torch.minimum(x, median + reach), median - reach)
    return rows._replace(x=near if seen is None else torch.where(seen, near, x))


def _density_goes_on(recipe: Recipe, fitted: Fitted) -> bool:
    """Return whether the latent density is updated by chunks, as the model is."""
    return hasattr(_density_asked_for(recipe, fitted), "partial_fit")


def _density_asked_for(recipe: Recipe, fitted: Fitted) -> Any:
    given = recipe.settings.latent_density
    if isinstance(given, str):
        return recipe.method._default_density(fitted.spec)
    return given


def _fit_density(recipe: Recipe, fitted: Fitted, rows: BatchSource, rng: torch.Generator) -> None:
    """Fit a latent density, if the method or the user requests one.

    An existing density is updated, in the units of its first codes.
    """
    method, model, given = recipe.method, fitted.model, _density_asked_for(recipe, fitted)
    if given is None:
        fitted.density = model.density = None
        return
    codes, (centre, spread) = _standardised_codes(recipe, fitted, rows, rng)
    known = fitted.density
    if known is not None and type(known.estimator) is type(given):
        codes = codes * spread + centre
        centre, spread = known.location, known.scale
        estimator = copy.deepcopy(known.estimator).partial_fit((codes - centre) / spread)
    else:
        estimator = fit_density(given, codes, fitted.state.seed)
    is_rough = method._density_of_rows and rows.n_rows < LEAST_FOR_DENSITY
    _set_density(recipe, fitted, CodeDensity(estimator, centre, spread, is_rough))


def _densities(
    recipe: Recipe, fitted: Fitted, rows: BatchSource, held_out: Batch, rng: torch.Generator
) -> CodeDensities:
    """Return the prior and mixtures fitted to the codes, and scores of held-out rows."""
    codes, units = _standardised_codes(recipe, fitted, rows, rng)
    rough = rows.n_rows < LEAST_FOR_DENSITY
    each = [CodeDensity(m, *units, rough) for m in mixtures(codes, fitted.state.seed)]
    options: list[tuple[CodeDensity | None, Prior | None]] = []
    scores = []
    for density in (None, *each):
        _set_density(recipe, fitted, density)
        options.append((density, fitted.model.density))
        scores.append(log_densities(fitted.model, held_out))
    return CodeDensities(options, torch.stack(scores))


def _set_density(recipe: Recipe, fitted: Fitted, density: CodeDensity | None) -> None:
    fitted.density, fitted.model.density = density, None
    if density is not None:
        fitted.model.density = recipe.method._make_latent(density.prior()).to(fitted.device)


def _standardised_codes(
    recipe: Recipe, fitted: Fitted, rows: BatchSource, rng: torch.Generator
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return standardised codes (n, k) for the fit of a density, with their mean and scale."""
    found, some = recipe.method._density_codes, rows.some(_DENSITY_ROWS)
    with torch.no_grad():
        codes = _finite_codes(found(fitted.model, some, rng).double().cpu().numpy())
    centre, spread = codes.mean(0), codes.std(0)
    spread[spread < 1e-12] = 1.0
    return (codes - centre) / spread, (centre, spread)


def _finite_codes(codes: np.ndarray) -> np.ndarray:
    if not (np.abs(codes) < _LARGEST_CODE).all():
        raise TrainingDivergedError(
            "the codes of the training rows are infinite or extremely large: decrease "
            "learning_rate_init, and check X and the parameters for extremely large values."
        )
    return codes


def _codes(model: Model, rows: Batch) -> np.ndarray:
    """Return the codes of encoded rows, in float64."""
    with torch.no_grad():
        found: list[Tensor] = [model.encode(part).mean for part in rows.split(model.chunk)]
    return torch.cat(found).double().cpu().numpy()


def _few_threads(recipe: Recipe, fitted: Fitted, batch_size: int) -> AbstractContextManager[object]:
    """Return the context of `few_threads`; custom networks and convolutions use all threads."""
    if fitted.spec.image_shape is not None or not recipe.networks.builds_all:
        return nullcontext()
    return few_threads(fitted.model, batch_size)


def few_threads(model: nn.Module, batch_size: int) -> AbstractContextManager[object]:
    """Context with one thread for narrow layers, for which several threads are slower.

    The limit affects the calling thread only, and is removed at the end.
    """
    widest = max(p.numel() for p in model.parameters())
    return nullcontext() if widest * batch_size >= _WORTH_SHARING else one_thread()
