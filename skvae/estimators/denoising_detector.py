"""Outlier detection by denoising errors at several noise levels and by nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from ..contract import images
from ..contract.blocks import in_blocks
from ..contract.learner import Notice, seed_from
from ..contract.map_rows import takes_sources
from ..contract.outliers import BaseDetector, have_cells
from ..contract.progress import ProgressReport, reporting
from ..engine.batches import TensorSource
from ..engine.build import resolve_device
from ..engine.choose import choose_schema
from ..engine.fit import few_threads, hold_out
from ..engine.settings import FitSettings, LikelihoodSettings, TableSettings
from ..engine.trainer import History, TrainConfig, Trainer, TrainState
from ..nn.batch import Batch
from ..nn.networks import MLP
from ..nn.objectives import BaseObjective
from ..nn.shares import normal_like, uniform_like
from ..tables.checks import Axes, Check, Each, Fields, Maybe, Named, Number, Text, Whole
from ..tables.schema import FARTHEST, Schema, check_schema
from ..tables.source import ArraySource, Rows, RowSource
from ..tables.summary import Summary
from .options import whole_numbers

_LEAST_NOISE, _MOST_NOISE = 0.05, 3.0  # noise levels of the training
_LEVELS = np.geomspace(0.05, 4.0, 8)  # noise levels at which rows are scored
_DRAWS = 6  # noise vectors at each level: pairs of opposite signs
_FREQUENCIES = 0.5 * torch.arange(1, 9)  # of the logarithm of the level
_STEPS, _BATCH, _RATE = 1200, 64, 2e-3
_NEAREST = 3  # neighbours of a new row in its score
_FEWEST_NEIGHBOURS, _LARGEST_SAMPLE = 5, 4096
_WHITENED = 0.01  # least variance of a direction, relative to the mean variance
_LEAST_DISTANCE = 0.1  # least distance, relative to typical distances
_HELD_OUT = 0.1
_FEW = 1000  # rows, of which none can be spared
_BLOCK = 65_536  # rows encoded at once
_FARTHEST = FARTHEST[torch.float32]

Blockwise = Callable[[slice], tuple[np.ndarray, ...]]
_TINY = 1e-12


class Denoiser(nn.Module):
    r"""Network that removes normal noise of a known level from rows.

    .. math:: D(x, s)_j = c_j^2 v_j x_j + s c_j \sqrt{v_j} F(c x, \log s)_j,
        \quad c_j = (v_j + s^2)^{-1/2}

    with v the variances of the features and F a network, whose inputs and targets have variance 1
    at every level (Karras et al. 2022, with a variance for each feature).

    Parameters
    ----------
    hidden : sequence of int
    variance : Tensor of shape (e,)
    """

    variance: Tensor
    frequencies: Tensor

    def __init__(self, hidden: Sequence[int], variance: Tensor):
        super().__init__()
        e = len(variance)
        self.network = MLP([e + 1 + 2 * len(_FREQUENCIES), *hidden, e])
        self.register_buffer("variance", variance)
        self.register_buffer("frequencies", _FREQUENCIES.to(variance), persistent=False)

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Start at F = 0, for which D is the posterior mean of normally distributed rows."""
        self.network.initialise(rng)
        self.network.layers[-1].weight.zero_()

    def outputs(self, x: Tensor, level: Tensor) -> Tensor:
        """Return F (n, e) for noisy rows (n, e) and the levels (n, 1) of their noise."""
        log = level.log()
        angles = log * self.frequencies
        scaled = x * (self.variance + level * level).rsqrt()
        found: Tensor = self.network(torch.cat([scaled, log, angles.sin(), angles.cos()], -1))
        return found

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        v = self.variance
        c = (v + level * level).rsqrt()
        return x * c * c * v + level * c * v.sqrt() * self.outputs(x, level)

    def targets(self, x: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        """Return the values of F (n, e) for which D is equal to the rows x."""
        v = self.variance
        c = (v + level * level).rsqrt()
        return (x - noisy * c * c * v) / (level * c * v.sqrt())

    @torch.no_grad()
    def errors(self, x: Tensor, level: float, noise: Tensor) -> Tensor:
        """Return means (n, e) of ``(D(x + s e, s) - x)^2 / s^2`` over noise e and -e, (m, e)."""
        s = torch.full((len(x), 1), level, dtype=x.dtype, device=x.device)
        total = torch.zeros_like(x)
        for e in torch.cat([noise, -noise]):
            total += ((self(x + s * e, s) - x) / s).square_()
        return total / (2 * len(noise))


class Denoising(BaseObjective):
    """Mean squared error of F over rows, features and log-uniform noise levels."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.denoiser = denoiser

    def losses(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        x = batch.x
        low, high = math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
        level = uniform_like(x[:, :1], rng, low, high).exp()
        noisy = x + level * normal_like(x, rng)
        difference = self.denoiser.outputs(noisy, level) - self.denoiser.targets(x, noisy, level)
        return {"denoising": difference.square().mean()}


def feature_weights(z: np.ndarray) -> np.ndarray:
    r"""Return weights (d,) of standardised features (n, d), lower for features with heavy tails.

    .. math:: w_j \propto 1 / \mathrm{clip}((1 + 0.33 (\kappa_j - 3)) / 2, 0.1, 3)

    where kappa is the mean fourth power of the observed values. Constant features have weight 1.
    All weights are then divided by the root of their mean square.
    """
    size = np.maximum(np.nanmax(np.abs(z), axis=0), 1.0)  # so that fourth powers stay in range
    kurtosis = np.nanmean((z / size) ** 4, axis=0) * np.minimum(size, 1e70) ** 4
    weights = 1.0 / np.clip(0.5 * (1.0 + 0.33 * (kurtosis - 3.0)), 0.1, 3.0)
    weights[np.nanmax(z, axis=0) == np.nanmin(z, axis=0)] = 1.0
    found: np.ndarray = weights / np.sqrt(np.mean(weights**2))
    return found


class Neighbours:
    """Distances to the nearest of the given rows, relative to distances among these rows.

    Parameters
    ----------
    rows : ndarray of shape (n, e)
    k : int
    distances : ndarray of shape (n, m), optional
        Distances of each row to its k + 1 nearest other rows, if already known.
    which : ndarray of int of shape (n, m), optional
        Indices of these rows.
    """

    def __init__(
        self,
        rows: np.ndarray,
        k: int,
        distances: np.ndarray | None = None,
        which: np.ndarray | None = None,
    ):
        self.rows, self.k = rows, min(k, len(rows) - 1)
        self.index = NearestNeighbors().fit(rows)
        if distances is None or which is None:
            numbers = np.arange(len(rows))
            distances, which = self._blocks(
                lambda part: self._nearest(rows[part], self.k + 1, numbers[part]), len(rows)
            )
        self.distances, self.which = distances, which
        self.usual = float(np.median(distances[:, : self.k].mean(axis=1))) or 1.0

    def _blocks(self, function: Blockwise, n: int) -> tuple[np.ndarray, ...]:
        width = (self.k + 2) * (self.rows.shape[1] + self.k + 2)
        return in_blocks(function, n, width)

    def _nearest(
        self, x: np.ndarray, m: int, itself: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return distances (q, m) and indices of the nearest rows, without given rows."""
        m = min(m, len(self.rows) - (itself is not None))
        which = self.index.kneighbors(x, m + (itself is not None), return_distance=False)
        # the index takes differences of squares, which rounding spoils where rows are near
        distances = np.sqrt(np.square(x[:, None] - self.rows[which]).sum(axis=2))
        if itself is not None:
            distances[which == itself[:, None]] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :m]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(which, order, 1)

    def log_ratios(
        self, x: np.ndarray, nearest: int, itself: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``2 log d(x) - mean log d_k`` (q,), the distance relative to the local density.

        d is the mean distance to the `nearest` rows, or to k if that is less, and d_k the mean
        distance of each of the k nearest rows to its own k nearest rows, both in units of the
        median d_k of the rows. If x are some of the rows, `itself` (q,) contains their indices, and
        each row is left out of the neighbours in its own score.
        """

        def ratios(part: slice) -> tuple[np.ndarray]:
            own = None if itself is None else itself[part]
            distances, which = self._nearest(x[part], self.k, own)
            around = self._spread(which, own)
            near = distances[:, :nearest].mean(axis=1)
            return (2.0 * self._log(near) - self._log(around).mean(axis=1),)

        return self._blocks(ratios, len(x))[0]

    def _spread(self, which: np.ndarray, itself: np.ndarray | None) -> np.ndarray:
        """Return mean distances (q, k) of the rows `which` to their k nearest, without `itself`."""
        distances = self.distances[which]  # (q, k, k + 1)
        if itself is None:
            mean: np.ndarray = distances[:, :, : self.k].mean(axis=2)
            return mean
        counts = self.which[which] != itself[:, None, None]
        counts &= counts.cumsum(axis=2) <= self.k
        n = counts.sum(axis=2)
        total = np.where(counts, distances, 0.0).sum(axis=2)
        found: np.ndarray = np.where(n > 0, total / np.maximum(n, 1), distances[:, :, 0])
        return found

    def _log(self, distance: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.log(np.maximum(distance / self.usual, _LEAST_DISTANCE))
        return found


def wide_distances(rows: np.ndarray) -> np.ndarray:
    """Return mean distances (n,) of rows (n, e) to a tenth of the others, partially whitened.

    Principal directions are divided by the fourth root of their variance. With more than 4096 rows,
    every second, third, ... row is used.
    """
    some = rows[:: -(-len(rows) // _LARGEST_SAMPLE)]
    numbers = np.arange(0, len(rows), -(-len(rows) // _LARGEST_SAMPLE))
    m = len(some)
    _, singular, axes = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)
    variance = singular**2
    mean = variance.sum() / rows.shape[1]
    if mean > 0.0:
        variance = variance / mean
    turn = axes.T * np.maximum(variance, _WHITENED) ** -0.25
    k = min(max(_FEWEST_NEIGHBOURS, m // 10), m - 1)
    index = NearestNeighbors().fit(some @ turn)

    def distances(part: slice) -> tuple[np.ndarray]:
        found, which = index.kneighbors(rows[part] @ turn, k + 1)
        own = numbers[which] == np.arange(part.start, part.stop)[:, None]
        own[~own.any(axis=1), -1] = True  # not in the sample: the farthest is left out
        return (np.where(own, 0.0, found).sum(axis=1) / k,)

    return in_blocks(distances, len(rows), k + rows.shape[1])[0]


class Features:
    """Encoding of rows: numbers standardised and weighted, categories as scaled indicators.

    The one-hot indicators of a categorical column are centred and divided by the root of their
    total variance, so that the column has the same weight as a number. A missing value is replaced
    by the mean.

    Parameters
    ----------
    schema : Schema
    location, factor : ndarrays of shape (e,)
        Shift subtracted from encoded features, and factor by which the difference is multiplied.
    """

    def __init__(self, schema: Schema, location: np.ndarray, factor: np.ndarray):
        self.schema, self.location, self.factor = schema, location, factor

    @classmethod
    def fit(cls, source: RowSource, table: TableSettings) -> Features:
        """Learn the encoding of the rows of a source."""
        schema, _ = choose_schema(LikelihoodSettings("gaussian"), table, source, is_image=False)
        schema = replace(schema, scale=_scales(schema, source))
        e, n_numbers = schema.layout.n_features, len(schema.layout.numbers)
        features = cls(schema, np.zeros(e), np.ones(e))
        x = features.of(source, missing=np.nan)
        x[:, np.isnan(x).all(axis=0)] = 0.0
        for j, start in schema.layout.starts.items():
            group = slice(start, start + schema.layout.kinds[j].n_classes)
            features.location[group] = np.nanmean(x[:, group], axis=0)
            variance = np.nanvar(x[:, group], axis=0).sum()
            features.factor[group] = variance**-0.5 if variance > 0.0 else 1.0
        weights = np.ones(e)
        weights[:n_numbers] = feature_weights(x[:, :n_numbers])
        features.factor *= weights / np.sqrt(np.mean(weights**2))
        return features

    def of(self, source: RowSource, missing: float = 0.0) -> np.ndarray:
        """Return the rows of a source as features (n, e), with missing values replaced."""
        return np.concatenate([self._of_rows(rows, missing) for rows in source.blocks(_BLOCK)])

    def _of_rows(self, rows: Rows, missing: float) -> np.ndarray:
        batch = self.schema.encode(rows, torch.float64)
        x: np.ndarray = (batch.x.numpy() - self.location) * self.factor
        if batch.observed is not None:
            x[~batch.observed.numpy()] = missing
        return np.clip(x, -_FARTHEST, _FARTHEST, out=x)


def _scales(schema: Schema, source: RowSource) -> np.ndarray:
    """Return the scales of the schema, with usable values for constant columns."""
    summary = Summary.of(source)
    constant = (summary.std == 0.0) & np.array([not k.is_label for k in schema.layout.kinds])
    usual = float(np.median(summary.std[summary.std > 0.0])) if (summary.std > 0.0).any() else 1.0
    size = np.abs(schema.location)
    return np.where(constant, np.where(size > 0.0, size, usual), schema.scale)


class DenoisingDetector(BaseDetector):
    r"""Outlier detector based on denoising errors and distances to nearest neighbours.

    The score of a new row x is

    .. math:: -\frac{1}{8} \sum_s \log r_s(x) - 2 \log d_3(x) + \frac{1}{k} \sum_i \log d_k(x_i)

    and the score of a training row, in `training_scores_`, is

    .. math:: -\log \max_s r_s(x) - 2 \log D(x)

    Higher is more normal. **Neither score is log p(x)**: scores have no unit, and scores of two
    models cannot be compared. Rows are standardised, and features with heavy tails get lower
    weights, down to a thirtieth of those with light tails. A network D(x, s) is trained to remove
    noise of standard deviation s from rows, for all s in [0.05, 3] [1]_. ``r_s(x) = E |D(x + s e,
    s) - x|^2 / s^2`` is its error at eight noise levels s from 0.05 to 4, divided by its mean over
    training rows. ``d_k`` is the mean distance to the k nearest training rows (d_3 the mean
    distance to k rows if k is 1 or 2), ``x_i`` are these k rows [2]_, and D is the mean distance to
    a tenth of the training rows, of at most 4096 of them, with principal directions divided by the
    fourth root of their variance.

    The two scores serve two tasks. For novelty detection, with training rows that contain no or few
    outliers, use `score_samples`, `predict` and `p_values` on new rows. For outlier detection among
    the training rows, which may contain groups of outliers that the network has learned, use
    `fit_predict` and `training_scores_`. Scikit-learn makes the same distinction with
    `LocalOutlierFactor(novelty=...)`. As a consequence, `fit_predict` is not equivalent to `fit`
    followed by `predict`.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbours k; if it exceeds the number of other rows, all of these are used.
    contamination : float or "auto", default="auto"
        Proportion of outliers in the training rows, which sets the threshold `offset_`. With "auto"
        the threshold follows from `false_alarm_rate` and no proportion has to be guessed.
    false_alarm_rate : float, default=0.05
        With ``contamination="auto"``, the false positive rate: the proportion of new rows from the
        training distribution that `predict` labels as outliers. `offset_` is the conformal quantile
        at this level of the scores of held-out rows. See `p_values` and `calibrate`.
    hidden_layer_sizes : int or tuple of int, default=(128, 128, 128)
        Number of units in each hidden layer of the network.
    learning_rate_init : float or "auto", default="auto"
        Peak learning rate of Adam. The rate rises over the first tenth of the steps and then
        decreases linearly to zero. "auto" is 0.002.
    batch_size : int or "auto", default="auto"
        Number of rows in a mini-batch; "auto" is ``min(64, n_samples)``.
    max_iter : int or None, default=None
        Number of epochs. None sets a budget of 1200 optimiser steps, and at least one epoch.
    device : str, default="auto"
        Torch device; "auto" is CUDA if available and the CPU otherwise.
    verbose : int, default=0
        With 1, a progress line is shown.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers; pass an int for a reproducible model.

    Attributes
    ----------
    training_scores_ : ndarray of shape (n_samples,)
        Scores of the training rows for outlier detection among them.
    offset_ : float
        Threshold of `predict` on `score_samples`.
    calibration_scores_ : ndarray
        Sorted scores that determine the threshold.
    n_iter_ : int
        Number of epochs of the training.
    loss_curve_ : list of float
        Mean loss of each epoch.
    device_ : str
        Torch device of the network.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    VAE, PPCA : Outlier detectors whose score is the log-density.
    sklearn.neighbors.LocalOutlierFactor : Outlier detection by distances to neighbours alone.

    Notes
    -----
    A tenth of the rows, or more if there are few rows, are held out from the training of the
    network. Their scores, each computed as if the row were new, determine the threshold. They are
    used as neighbours of other rows nevertheless, and with at most 1000 rows a second fit follows,
    on all rows. With `contamination`, `offset_` is set from such scores of all training rows.
    Distances are in units of the median d_k.

    Categorical columns are one-hot encoded, with a total variance of 1. Missing values are replaced
    by the mean of the column.

    Neighbours are searched among all training rows. The time to score a row is therefore
    proportional to their number, and the time of the fit to its square. All training rows are
    stored in the estimator, and saved with it.

    References
    ----------
    .. [1] T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of
       diffusion-based generative models", NeurIPS 2022.
    .. [2] M. Breunig, H.-P. Kriegel, R. Ng, J. Sander, "LOF: identifying density-based local
       outliers", SIGMOD 2000.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skvae import DenoisingDetector
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> benign, malignant = X[y == 1], X[y == 0]
    >>> detector = DenoisingDetector(random_state=0).fit(benign[:250])
    >>> bool((detector.predict(malignant) == -1).mean() > 0.7)
    True
    >>> bool((detector.predict(benign[250:]) == -1).mean() < 0.15)
    True

    Outliers among the rows of the fit:

    >>> labels = DenoisingDetector(contamination=0.1, random_state=0).fit_predict(X[:200])
    >>> int((labels == -1).sum())
    20
    """

    _takes_missing: ClassVar[bool] = True
    _takes_categories: ClassVar[bool] = True
    _fitted_attributes: ClassVar[dict[str, Check]] = {
        "training_scores_": Axes(("n",)),
        "n_iter_": Whole(),
        "loss_curve_": Each(Number(finite=False)),
        "device_": Text(),
        "image_shape_": Maybe(Each(Whole(1), 3, 3)),
        "_features_": Fields(
            {
                "schema": check_schema,
                "location": Axes(("e",)),
                "factor": Axes(("e",), above=0.0),
            }
        ),
        "_denoiser_": Named(Axes()),
        "_usual_": Axes((len(_LEVELS),), above=0.0),
        "_neighbours_": Fields(
            {
                "rows": Axes(("n", "e")),
                "distances": Axes(("n", "neighbours")),
                "which": Axes(("n", "neighbours"), kinds="i", above=-1),
                "k": Whole(1),
            }
        ),
    }
    _parameter_constraints: ClassVar[dict] = {
        **BaseDetector._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [None, Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        contamination: float | str = "auto",
        false_alarm_rate: float = 0.05,
        hidden_layer_sizes: int | tuple[int, ...] = (128, 128, 128),
        learning_rate_init: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int | None = None,
        device: str = "auto",
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    # -- learning ---------------------------------------------------------------------------------
    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # type: ignore[override]
        """Learn what rows are like: see `VAE.fit`, but without weights of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or TableSource
            Training rows.
        y : ignored
            Present for scikit-learn's API.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X)

    def _check_pairs(self) -> None:
        whole_numbers(self.hidden_layer_sizes, "hidden_layer_sizes", type(self).__name__)
        resolve_device(self.device)

    def _flatten(self, X: Any, first: bool = False) -> Any:
        name = type(self).__name__
        if first:
            self.image_shape_ = images.shape_to_fit(X, None, name)
        return images.to_rows(X, self.image_shape_, name)

    def _learn(self, X: Any, y: Any, first: bool, **how: Any) -> list[Notice]:
        source = self._check_training(X, y, first)
        seed = seed_from(self.random_state)
        rate = float(self.false_alarm_rate)
        plan = FitSettings(holds_out=True, held_out_fraction=_HELD_OUT, false_alarm_rate=rate)
        held_out = hold_out(source.n_rows, plan, seed)
        notices = self._fit_without(held_out, source, seed)
        every = np.arange(source.n_rows)
        rows = self._neighbours_.rows
        fresh = held_out if len(held_out) else every
        fresh = fresh[have_cells(source.take(fresh))]
        self._set_calibration(self._scores(rows[fresh], fresh), bool(len(held_out)))
        if len(held_out) and source.n_rows <= _FEW and not notices:
            notices = self._fit_without(every[:0], source, seed)
            rows = self._neighbours_.rows
        if not isinstance(self.contamination, str):
            self._set_threshold(self._scores(rows, every))
        largest = (self._row_errors(rows) / self._usual_).max(axis=1)
        wide = np.maximum(wide_distances(rows), _TINY)
        self.training_scores_ = -np.log(largest) - 2.0 * np.log(wide)
        return notices

    def _fit_without(self, held_out: np.ndarray, source: RowSource, seed: int) -> list[Notice]:
        """Fit features and network to rows that are not held out, and neighbours to all rows."""
        looks = self._format_
        table = TableSettings(None if looks.is_plain else looks.columns, by_values=False)
        self._features_ = Features.fit(source.without(held_out), table)
        rows = self._features_.of(source)
        trained = np.delete(rows, held_out, axis=0)
        notices = self._train(trained, seed)
        self._usual_ = self._row_errors(trained).mean(axis=0)
        self._neighbours_ = Neighbours(rows, int(self.n_neighbors))
        return notices

    def _train(self, rows: np.ndarray, seed: int) -> list[Notice]:
        """Fit the network to rows (n, e)."""
        device = resolve_device(self.device)
        x = torch.tensor(rows, dtype=torch.float32, device=device)
        variance = x.square().mean(0)
        variance[variance < _TINY] = 1.0
        hidden = whole_numbers(self.hidden_layer_sizes, "hidden_layer_sizes", type(self).__name__)
        denoiser = Denoiser(hidden, variance.cpu())
        denoiser.initialise(torch.Generator().manual_seed(seed))
        objective = Denoising(denoiser.to(device))
        size = min(len(rows), _BATCH if isinstance(self.batch_size, str) else int(self.batch_size))
        n_epochs = self.max_iter or max(1, -(-_STEPS // -(-len(rows) // size)))
        lr = _RATE if isinstance(self.learning_rate_init, str) else float(self.learning_rate_init)
        trainer = Trainer(TrainConfig(size, int(n_epochs), lr))
        told = ProgressReport(self, int(n_epochs), len(rows), dict)
        with few_threads(denoiser, size), reporting(told, False, True, dict) as report:

            def on_epoch(history: History) -> bool:
                return report.epoch(history, dict, lambda: None)

            source = TensorSource(Batch(x))
            history = trainer.run(
                objective, TrainState(seed), source, on_epoch=on_epoch, on_step=report.step
            )
        self._denoiser_ = denoiser.double().eval()
        self.device_, self.n_iter_, self.loss_curve_ = str(device), len(history.loss), history.loss
        if not history.interrupted:
            return []
        text = f"the fit was interrupted: the detector has the network of epoch {self.n_iter_}."
        return [(f"{text} Call fit again to train for all {n_epochs} epochs.", ConvergenceWarning)]

    # -- results ----------------------------------------------------------------------------------
    @property
    def _row_width(self) -> int:
        return max(self._denoiser_.network.widest, len(_LEVELS) * len(self._features_.location))

    def _row_errors(self, x: np.ndarray) -> np.ndarray:
        """Return errors (n, levels) of rows as features (n, e), summed over features."""
        return self._in_blocks(lambda part: (self._errors(x[part]).sum(axis=2),), len(x))[0]

    def _errors(self, x: np.ndarray) -> np.ndarray:
        """Return mean squared errors (n, levels, e) of rows (n, e), divided by squared levels."""
        rng = torch.Generator().manual_seed(0)
        shape = (len(_LEVELS), _DRAWS // 2, x.shape[1])
        noise = torch.randn(shape, generator=rng, dtype=torch.float64).to(self.device_)

        def errors(part: slice) -> tuple[np.ndarray]:
            rows = torch.tensor(x[part], device=self.device_)
            levels = zip(_LEVELS, noise, strict=True)
            found = [self._denoiser_.errors(rows, float(s), e) for s, e in levels]
            return (torch.stack(found, 1).cpu().numpy() + _TINY,)

        return self._in_blocks(errors, len(x))[0]

    def _scores(self, x: np.ndarray, itself: np.ndarray | None = None) -> np.ndarray:
        """Return scores (n,) of rows as features (n, e): see `Neighbours.log_ratios`."""
        error = np.log(self._row_errors(x) / self._usual_).mean(axis=1)
        found: np.ndarray = -error - self._neighbours_.log_ratios(x, _NEAREST, itself)
        return found

    def _comparable_score(self, X: np.ndarray) -> np.ndarray:
        def score(part: slice) -> tuple[np.ndarray]:
            return (self._scores(self._features_.of(ArraySource(X[part]))),)

        return self._in_blocks(score, len(X))[0]

    @takes_sources
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Compute scores of new rows: higher is more normal. The score is not a log-density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. Training rows are treated as new rows, whose nearest neighbours are themselves:
            use `training_scores_` for these.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            Score of each row as defined above, float64, deterministic.
        """
        return self._comparable_score(self._check_X(X))

    def score_features(self, X: ArrayLike) -> np.ndarray:
        """Compute the contribution of each column to the denoising error, with negative sign.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_features)
            Contributions; low values show in which columns a row deviates from the training rows.
            Their sum over columns is ``-mean_s r_s(x)``, as defined in the class. Distances to
            neighbours do not enter.
        """
        rows = self._check_X(X)

        def shares(part: slice) -> tuple[np.ndarray]:
            x = self._features_.of(ArraySource(rows[part]))
            error = (self._errors(x) / self._usual_[:, None]).mean(axis=1)
            return (-self._features_.schema.by_column(error),)

        return self._in_blocks(shares, len(rows))[0]

    def fit_predict(self, X: ArrayLike, y: Any = None, **kwargs: Any) -> np.ndarray:
        """Fit the detector and label the outliers among the training rows by `training_scores_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or TableSource
            Training rows: see `fit`.
        y : ignored
            Not used, present for API consistency by convention.
        **kwargs
            Not used.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers and +1 for inliers. The proportion of outliers is `contamination`, or
            `false_alarm_rate` with ``contamination="auto"``, the proportion that would be flagged
            among clean rows.
        """
        scores = self.fit(X, y, **kwargs).training_scores_
        auto = isinstance(self.contamination, str)
        share = self.false_alarm_rate if auto else float(self.contamination)
        return np.where(scores < np.percentile(scores, 100.0 * share), -1, 1)

    # -- state ------------------------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__().copy()
        if "_denoiser_" in state:
            features, near = self._features_, self._neighbours_
            weights = self._denoiser_.state_dict()
            state["_denoiser_"] = {k: v.cpu().numpy() for k, v in weights.items()}
            state["_features_"] = {
                "schema": features.schema.to_state(),
                "location": features.location,
                "factor": features.factor,
            }
            state["_neighbours_"] = {
                "rows": near.rows,
                "distances": near.distances,
                "which": near.which,
                "k": near.k,
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_denoiser_" not in state:
            return
        own, near, features = vars(self), state["_neighbours_"], state["_features_"]
        own["device_"] = str(resolve_device(self.device, fallback=True))
        own["_denoiser_"] = _restored(state["_denoiser_"]).to(self.device_)
        schema = Schema.from_state(features["schema"])
        own["_features_"] = Features(schema, features["location"], features["factor"])
        own["_neighbours_"] = Neighbours(near["rows"], near["k"], near["distances"], near["which"])

    @classmethod
    def _check_fitted(cls, state: dict[str, Any]) -> None:
        n, e = state["_neighbours_"]["rows"].shape
        which, k = state["_neighbours_"]["which"], state["_neighbours_"]["k"]
        if n < 2 or k > n - 1 or which.shape[1] != min(k + 1, n - 1) or which.max() >= n:
            raise ValueError("the stored neighbours are not indices of the stored rows")
        if Schema.from_state(state["_features_"]["schema"]).layout.n_features != e:
            raise ValueError("the shape of the stored rows does not match the columns")
        if len(state["_denoiser_"].get("variance", ())) != e:
            raise ValueError("the shape of the network does not match the columns")
        _restored(state["_denoiser_"])


def _restored(weights: dict[str, np.ndarray]) -> Denoiser:
    """Restore the network from its weights."""
    widths = [len(v) for name, v in weights.items() if name.endswith(".bias")]
    found = {name: torch.tensor(v, dtype=torch.float64) for name, v in weights.items()}
    with torch.device("meta"):  # allocate no memory before all sizes are checked
        wanted = Denoiser(widths[:-1], torch.empty(len(found["variance"]))).state_dict()
    if {name: v.shape for name, v in found.items()} != {k: v.shape for k, v in wanted.items()}:
        raise ValueError("the weights are not those of a network")
    if not (found["variance"] > 0.0).all():
        raise ValueError("the variances of the network are not positive")
    denoiser = Denoiser(widths[:-1], found["variance"]).double()
    denoiser.load_state_dict(found)
    return denoiser.eval()
