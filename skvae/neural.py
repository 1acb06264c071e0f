"""The door's torch side: arrays to tensors and back, one fit for every learned estimator."""

from __future__ import annotations

import copy
import inspect
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import threadpoolctl
import torch
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from .base import BaseAutoencoder, Scores, seed_from
from .likelihoods import Bernoulli, Gaussian, Head, Likelihood, NormalHead, PointHead
from .linear_gaussian import LinearGaussian, fit_linear_gaussian
from .model import Conditional, Model
from .networks import ACTIVATIONS, MLP
from .objectives import Corruption, Objective
from .penalties import Penalty
from .priors import Mixture, StandardNormal
from .scoring import log_density, normal_points, posterior_moments
from .training import Adam, History, Trainer

try:  # scikit-learn 1.9 and newer
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""

    def with_callbacks(method):
        return method


_MIN_STEPS, _MAX_STEPS, _MIN_EPOCHS = 1500, 10_000, 10
_START_ROWS = 8192  # rows that set the linear start and the automatic number of components
_MOST_COMPONENTS = 64
_CALIBRATION_ROWS = 4096
_CHUNK = 4096  # rows encoded or decoded at once
_CHUNK_NUMBERS = 1 << 22  # numbers in the largest layer when scoring
_WORTH_SHARING = 1 << 24  # multiplications of a layer in a step
_LEAST_TO_SPLIT, _MOST_HELD_OUT = 200, 2048
_STILL_FALLING = 0.02
_ROUNDING = 1e-6  # by which a min-max scaler may leave [0, 1]
_LEAST_PIXELS = 64  # features of rows in [0, 1] that are taken for images
_LEAST_FOR_DENSITY = 50  # rows of a chunk that may change the density of the codes
_ACTIVE = 0.01  # variance of a code coordinate that carries information (Burda et al. 2016)
_factory_lock = threading.Lock()

_SHARED = """n_components : int or "auto", default="auto"
    Number of code coordinates k. "auto" takes as many as principal components explain 90 % of the
    variance of the scaled rows, at least 8, at most 64, less than the number of features and a
    quarter of the rows.
hidden_layer_sizes : int or tuple of int, default=(128, 128)
    Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` is a linear model.
activation : str, default="silu"
    One of "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus", "tanh".
linear_skip : bool or "auto", default="auto"
    Whether encoder and decoder add a linear map of their input to their output, started at
    probabilistic PCA of the rows. It gains likelihood everywhere, and most for images, but on
    tables the plain network finds outliers better: "auto" is True with a sigmoid output or
    without hidden layers, and no networks of your own.
likelihood : {"gaussian", "bernoulli"}, default="gaussian"
    p(x | z). Bernoulli needs X in [0, 1], and `score_samples` is then a log-probability.
noise : {"auto", "feature", "scalar", "network"} or float, default="auto"
    Variance of the Gaussian likelihood: one learned per feature, one learned for all features, an
    output of the decoder, or this fixed variance in squared units of X. "auto" is "scalar" with a
    sigmoid output and "feature" otherwise.
noise_floor : float, default=0.05
    Smallest standard deviation of learned noise, as a share of the feature's own. It keeps
    constant and discrete columns from driving the likelihood to infinity.
output_activation : {"auto", "identity", "sigmoid"}, default="auto"
    How the decoder's mean is bounded. "auto" is "sigmoid" where all of X lies in [0, 1] and there
    are at least 64 features, as in images, and "identity" otherwise. With "identity" every
    feature is standardised by its own mean and standard deviation, with "sigmoid" all share one
    scale.
encoder, decoder : torch.nn.Module, callable or None, default=None
    Networks of your own, on standardised rows: a module, which is copied and trained from its
    present weights, or a factory ``f(in_features, out_features)`` that returns one. None builds
    fully connected layers. Dropout in them draws from torch's global generator, which no seed of
    ours reaches.
alpha : float, default=0.0
    Strength of the L2 penalty ``alpha / (2 n_samples) |parameters|^2``, biases and the logarithm
    of the noise's standard deviation (in units of the feature's own) included.
learning_rate_init : float or "auto", default="auto"
    Peak rate of Adam: it is approached over the first tenth of the steps and falls linearly to
    zero. "auto" is 0.006 for at most one hidden layer with a linear skip and 0.002 otherwise.
batch_size : int or "auto", default="auto"
    Rows in a step; "auto" is ``min(128, n_samples)``.
max_iter : int or None, default=None
    Epochs. None sets a budget in steps: 10 epochs, but at least 1500 and at most 10,000 steps,
    and one epoch in any case.
early_stopping : bool, default=False
    Whether to stop when the loss of held-out rows no longer falls, and keep the best weights.
validation_fraction : float, default=0.1
    Share of the rows, at most 2048, that are not trained on but set the noise of the decoder and
    an automatic threshold, so that neither is too narrow for new rows, and decide on early
    stopping. With 0, or fewer than 200 rows without early stopping, the training rows do.
n_iter_no_change : int, default=10
    Checks without improvement before an early stop. There is a check at the end of an epoch, and
    at least 64 steps after the one before.
tol : float, default=1e-4
    Least fall of the held-out loss that counts as an improvement.
gradient_clipping : float or None, default=5.0
    Gradients longer than this many times their usual length are shortened to it.
n_importance_samples : int, default=16
    Draws in the estimate of log p(x). With 1 it is a single weight at the posterior mean: the
    fastest, and as good for ranking outliers.
precision : {"float32", "bfloat16"}, default="float32"
    Number format of the networks in training. bfloat16 (autocast) is faster for wide layers on
    processors that have it. Results are always computed in the dtype of X.
device : str, default="auto"
    A torch device; "auto" is CUDA where there is one and the CPU otherwise.
warm_start : bool, default=False
    Whether `fit` goes on from the present weights and optimiser state.
contamination : float or "auto", default="auto"
    Share of outliers in the training rows, which sets `offset_`. "auto" needs no guess: the
    threshold lies 4.5 times the distance from the lower quartile to the median of the scores below
    their median, mostly of held-out rows, which flags about 1 % of clean rows.
verbose : int, default=0
    1 shows a progress line.
random_state : int, RandomState or None, default=None
    Seed; the same seed gives the same model."""


class BaseNeuralAutoencoder(CallbackSupportMixin, BaseAutoencoder):
    """An autoencoder trained by gradient descent.

    A subclass names its parameters in `__init__` and overrides hooks: `_head` (the kind of
    encoder), `_penalties`, `_corrupt`, `_relative` and `_fits_latent_density`.
    """

    _head: ClassVar[type[Head]] = PointHead
    _relative: ClassVar[bool] = False
    _fits_latent_density: ClassVar[bool] = False

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "linear_skip": [StrOptions({"auto"}), "boolean"],
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
        "noise": [
            StrOptions({"auto", "feature", "scalar", "network"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "noise_floor": [Interval(Real, 0, None, closed="neither")],
        "output_activation": [StrOptions({"auto", "identity", "sigmoid"})],
        "encoder": [None, callable],
        "decoder": [None, callable],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [None, Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "gradient_clipping": [None, Interval(Real, 0, None, closed="neither")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "device": [str],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        hidden_layer_sizes=(128, 128),
        activation="silu",
        linear_skip="auto",
        likelihood="gaussian",
        noise="auto",
        noise_floor=0.05,
        output_activation="auto",
        encoder=None,
        decoder=None,
        alpha=0.0,
        learning_rate_init="auto",
        batch_size="auto",
        max_iter=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        gradient_clipping=5.0,
        n_importance_samples=16,
        precision="float32",
        device="auto",
        warm_start=False,
        contamination="auto",
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip
        self.likelihood = likelihood
        self.noise = noise
        self.noise_floor = noise_floor
        self.output_activation = output_activation
        self.encoder = encoder
        self.decoder = decoder
        self.alpha = alpha
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.gradient_clipping = gradient_clipping
        self.n_importance_samples = n_importance_samples
        self.precision = precision
        self.device = device
        self.warm_start = warm_start
        self.contamination = contamination
        self.verbose = verbose
        self.random_state = random_state

    def __init_subclass__(cls, **kwargs):
        """Show the shared parameters in the signature and the docstring of every subclass."""
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("__init__")
        mine = {} if own is None else dict(inspect.signature(own).parameters)
        rest = [name for name, p in mine.items() if p.kind is p.VAR_KEYWORD]
        if own is not None and rest:  # the parameters that the parent takes stand for **parameters
            del mine[rest[0]]
            parent = inspect.signature(super(cls, cls).__init__).parameters
            own.__signature__ = inspect.Signature([*{**mine, **parent, **mine}.values()])
        if cls.__doc__:
            text = _SHARED.replace("\n", "\n    ")
            cls.__doc__ = cls.__doc__.replace("<shared parameters>", text)

    # -- hooks of a method --------------------------------------------------------------------
    def _penalties(self) -> dict[str, Penalty]:
        """Named terms of the loss beside the reconstruction."""
        return {}

    def _corrupt(self) -> Corruption | None:
        """What the encoder sees in training instead of x: ``corrupt(x, generator)``."""
        return None

    def _range(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value (d,) of each standardised feature in the training rows."""
        return _float(self._low), _float(self._high)

    def _objective(self, model: Model) -> Objective:
        return Objective(model, self._penalties(), self._corrupt(), self._relative)

    # -- fit ----------------------------------------------------------------------------------
    @with_callbacks
    def fit(self, X: ArrayLike, y: Any = None) -> BaseNeuralAutoencoder:
        return super().fit(X, y)

    fit.__doc__ = BaseAutoencoder.fit.__doc__

    def partial_fit(self, X: ArrayLike, y: Any = None) -> BaseNeuralAutoencoder:
        """Train for one epoch on these rows at a constant rate, going on from where it stands.

        The first call fixes the scaling of the features, the number of components and, where the
        network has one, the linear start, from its own rows. The noise of the decoder, the density
        of the codes (with at least 50 rows) and `offset_` follow the latest rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        first = not hasattr(self, "module_")
        rows = validate_data(
            self, X, dtype=[np.float64, np.float32], reset=first, ensure_min_samples=2
        )
        if first:
            self._start(rows)
        self._train(rows, None, n_epochs=1, decay=False)
        self._set_offset(rows)
        return self

    def _fit(self, X: np.ndarray) -> np.ndarray | None:
        if not (self.warm_start and hasattr(self, "module_")):
            self._start(X)
        held_out = self._hold_out(len(X))
        n = len(X) - held_out.sum()
        n_batches = -(-n // self._batch_size(n))
        n_epochs = self.max_iter
        if n_epochs is None:
            steps = max(_MIN_STEPS, min(_MIN_EPOCHS * n_batches, _MAX_STEPS))
            n_epochs = -(-steps // n_batches)
        if not held_out.any():
            self._train(X, None, n_epochs=int(n_epochs), decay=True)
            return None
        validation = X[held_out]
        self._train(X[~held_out], validation, n_epochs=int(n_epochs), decay=True)
        return validation

    def _hold_out(self, n: int) -> np.ndarray:
        """Which of n rows are not trained on, as a mask."""
        mask = np.zeros(n, bool)
        if n < _LEAST_TO_SPLIT and not self.early_stopping:
            return mask
        n_held_out = min(round(self.validation_fraction * n), _MOST_HELD_OUT)
        if n_held_out > n - 2 or (self.early_stopping and n_held_out < 1):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} holds out {n_held_out} of {n} "
                "rows; at least two have to be trained on, and early_stopping=True needs one."
            )
        order = np.random.RandomState(self._trainer.seed % 2**32).permutation(n)
        mask[order[:n_held_out]] = True
        return mask

    def _batch_size(self, n: int) -> int:
        return min(n, 128 if self.batch_size == "auto" else int(self.batch_size))

    def _start(self, X: np.ndarray) -> None:
        """Everything that is fixed before the first step: scaling, sizes, initial weights."""
        seed = seed_from(self.random_state)
        self.device_ = str(_resolve_device(self.device))
        spec = self._choose(X)
        self._location, self._scale = _scaling(X, spec["bounded"])
        self._low = (X.min(axis=0) - self._location) / self._scale
        self._high = (X.max(axis=0) - self._location) / self._scale
        automatic = self.n_components == "auto"
        if automatic or spec["linear_skip"]:
            linear = self._linear_start(X)
        k = self._choose_n_components(X.shape, linear) if automatic else int(self.n_components)
        self.n_components_ = spec["n_components"] = k
        self._spec = spec
        model = self._build(seed)
        if spec["linear_skip"]:
            _start_linear(model, linear, self._location, self._scale)
        self.module_ = model.to(self.device_)
        self._trainer = Trainer(batch_size=1, n_epochs=1, lr=1.0, seed=seed)
        self._casts: dict[torch.dtype, Model] = {}
        self.n_iter_ = 0

    def _choose(self, X: np.ndarray) -> dict[str, Any]:
        """The plain description from which the module can be built again."""
        d = X.shape[1]
        low, high = X.min(axis=0), X.max(axis=0)
        in_unit = bool(low.min() >= -_ROUNDING and high.max() <= 1.0 + _ROUNDING)
        if self.likelihood == "bernoulli" and not in_unit:
            raise ValueError(
                "likelihood='bernoulli' needs X in [0, 1], but it spans "
                f"[{low.min():.4g}, {high.max():.4g}]. Rescale X or use likelihood='gaussian'."
            )
        if self.output_activation == "sigmoid" and not in_unit:
            raise ValueError(
                "output_activation='sigmoid' needs X in [0, 1], but it spans "
                f"[{low.min():.4g}, {high.max():.4g}]. Rescale X or use 'identity'."
            )
        bounded = self.likelihood == "bernoulli" or (
            in_unit and d >= _LEAST_PIXELS
            if self.output_activation == "auto"
            else self.output_activation == "sigmoid"
        )
        noise = self.noise
        if noise == "auto":
            noise = "scalar" if bounded else "feature"
        hidden = np.atleast_1d(np.asarray(self.hidden_layer_sizes)).tolist()
        if any(not isinstance(h, int) or h < 1 for h in hidden):
            raise ValueError(
                "hidden_layer_sizes must hold positive integers, got "
                f"{self.hidden_layer_sizes!r} for {type(self).__name__}."
            )
        own = self.encoder is None and self.decoder is None
        if self.linear_skip is True and not own:
            raise ValueError("linear_skip=True needs encoder=None and decoder=None.")
        return {
            "n_features": d,
            "hidden": hidden,
            "activation": self.activation,
            "linear_skip": own
            and (bounded or not hidden if self.linear_skip == "auto" else self.linear_skip),
            "bounded": bounded,
            "likelihood": self.likelihood,
            "noise": noise if isinstance(noise, str) else "fixed",
            "noise_variance": None if isinstance(noise, str) else float(noise),
            "noise_floor": float(self.noise_floor) ** 2,
        }

    def _linear_start(self, X: np.ndarray) -> LinearGaussian:
        """Probabilistic PCA of (some of) the standardised rows."""
        n, d = X.shape
        n_rows = min(n, _START_ROWS, 4 * max(d, 512) if d <= 2048 else 2048)
        rows = X[np.linspace(0, n - 1, n_rows).astype(int)]
        rows = ((rows - self._location) / self._scale).astype(np.float32)
        most = _MOST_COMPONENTS if self.n_components == "auto" else int(self.n_components)
        return fit_linear_gaussian(rows, max(1, min(most, n_rows - 1, d - 1)))[0]

    def _choose_n_components(self, shape: tuple[int, int], linear: LinearGaussian) -> int:
        n, d = shape
        share = np.cumsum(linear.eigenvalues) / linear.total_variance
        wanted = int(np.searchsorted(share, 0.9)) + 1
        return max(1, min(8, d), min(wanted, len(share), d - 1, max(2, n // 4)))

    def _build(self, seed: int) -> Model:
        """The module of `_spec`, initialised from the seed, on the CPU, in float32."""
        spec = self._spec
        d, k, hidden = spec["n_features"], spec["n_components"], spec["hidden"]
        likelihood = self._build_likelihood()
        head = self._head(k)
        generator = torch.Generator().manual_seed(seed)

        def network(given, inputs: int, widths: list[int], outputs: int) -> nn.Module:
            if given is not None:
                return _custom_network(given, inputs, outputs, seed)
            mlp = MLP([inputs, *widths, outputs], spec["activation"], spec["linear_skip"])
            mlp.initialise(generator)
            return mlp

        encoder = network(self.encoder, d, hidden, head.width)
        decoder = network(self.decoder, k, hidden[::-1], likelihood.width)
        prior = Mixture.empty(spec["n_mixture"], k) if spec.get("n_mixture") else StandardNormal(k)
        return Model(Conditional(encoder, head), Conditional(decoder, likelihood), prior)

    def _build_likelihood(self) -> Likelihood:
        spec = self._spec
        location = torch.tensor(self._location, dtype=torch.float64)
        scale = torch.tensor(self._scale, dtype=torch.float64)
        # Where 0 and 1 lie in standardised units; a bounded model has one scale for all features.
        bounds = ((-location / scale).float(), (1.0 / scale[0]).float())
        if spec["likelihood"] == "bernoulli":
            return Bernoulli(spec["n_features"], bounds)
        variance = None
        if spec["noise"] == "fixed":
            variance = (spec["noise_variance"] / scale.square()).float()
        return Gaussian(
            spec["n_features"],
            spec["noise"],
            spec["noise_floor"],
            variance,
            bounds if spec["bounded"] else None,
        )

    def _train(self, X, held_out: np.ndarray | None, n_epochs: int, decay: bool) -> None:
        model, trainer = self.module_, self._trainer
        rows = self._tensor(X, torch.float32)
        validation = None if held_out is None else self._tensor(held_out, torch.float32)
        if self._relative and (decay or trainer.epoch == 0):
            self._set_null_loss(rows)
        lr = self.learning_rate_init
        if lr == "auto":
            lr = 6e-3 if self._spec["linear_skip"] and len(self._spec["hidden"]) < 2 else 2e-3
        trainer.batch_size = self._batch_size(len(rows))
        trainer.n_epochs, trainer.decay, trainer.lr = n_epochs, decay, float(lr)
        trainer.clip = self.gradient_clipping
        trainer.weight_decay = self.alpha / len(rows)
        trainer.bfloat16 = self.precision == "bfloat16"
        trainer.patience = self.n_iter_no_change if self.early_stopping and decay else None
        trainer.tol = self.tol
        objective = self._objective(model).to(rows.device)
        some = rows[:: -(-len(rows) // _CALIBRATION_ROWS)]
        try:
            with self._reporting(X, some, n_epochs, with_callbacks=decay) as report:
                trainer.on_epoch = report
                with self._few_threads(trainer.batch_size):
                    history = trainer.fit(objective, rows, validation)
        finally:
            trainer.on_epoch = None
            model.eval()
            self._casts = {}
        objective.calibrate(some, validation, trainer.generator(rows.device, -2))
        codes = self._codes(some)
        self.active_units_ = int((codes.var(0) > _ACTIVE).sum())
        new = decay or "n_mixture" not in self._spec
        if self._fits_latent_density and (new or len(codes) >= _LEAST_FOR_DENSITY):
            self._fit_latent_density(codes)
        self._record(history, resumed=not decay)
        if decay:
            self._warn_if_falling(history, n_epochs)
            if self.active_units_ == 0 and rows.var(0).max() > 0.0:
                warnings.warn(
                    f"the codes of this {type(self).__name__} carry no information (posterior "
                    "collapse): no coordinate's variance over the rows exceeds 0.01. Lower the "
                    "weight of the penalty, warm it up, or raise max_iter.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _codes(self, rows: Tensor) -> np.ndarray:
        """Codes of standardised rows, in float64."""
        with torch.no_grad():
            chunks = [self.module_.encoder(x).mean for x in rows.split(_CHUNK)]
        return torch.cat(chunks).double().cpu().numpy()

    def _few_threads(self, batch_size: int):
        """One thread for narrow layers, which lose more by waiting than they gain by sharing.

        The limit holds for this thread only and is taken back.
        """
        widest = max(p.numel() for p in self.module_.parameters())
        own = self.encoder is None and self.decoder is None
        if not own or widest * batch_size >= _WORTH_SHARING:
            return nullcontext()
        return threadpoolctl.threadpool_limits(limits=1, user_api="openmp")

    def _set_null_loss(self, rows: Tensor) -> None:
        likelihood = self.module_.likelihood
        if isinstance(likelihood, Bernoulli):
            v = ((rows - likelihood.low) / likelihood.span).mean(0).clamp(1e-6, 1.0 - 1e-6)
            null = -(v * v.log() + (1.0 - v) * (1.0 - v).log()).sum()
        else:
            null = rows.var(0, correction=0).sum()
        likelihood.null_loss.copy_(null.clamp(min=1e-6))

    def _record(self, history: History, resumed: bool) -> None:
        if not (resumed and hasattr(self, "loss_curve_")):
            self.loss_curve_: list[float] = []
            self.validation_scores_: list[float] = []
            self.history_: dict[str, list[float]] = {}
            self.n_iter_ = 0
        self.loss_curve_ += history.loss
        self.validation_scores_ += history.validation
        for name, values in history.terms.items():
            self.history_.setdefault(name, []).extend(values)
        self.n_iter_ += len(history.loss)
        self.best_loss_ = float(min(self.loss_curve_))

    def _warn_if_falling(self, history: History, n_epochs: int) -> None:
        loss = history.loss
        if self.max_iter is None or history.converged or len(loss) < n_epochs:
            return
        w = max(1, len(loss) // 10)
        fall = np.mean(loss[-2 * w : -w]) - np.mean(loss[-w:]) if len(loss) > 1 else np.inf
        if fall > max(_STILL_FALLING * (loss[0] - min(loss)), 1e-3 * max(1.0, abs(loss[-1]))):
            warnings.warn(
                f"{type(self).__name__} reached max_iter={self.max_iter} while its loss was still "
                "falling; raise max_iter, or leave it None for a budget that suits the data.",
                ConvergenceWarning,
                stacklevel=2,
            )

    @contextmanager
    def _reporting(
        self, X: np.ndarray, some: Tensor, n_epochs: int, with_callbacks: bool
    ) -> Iterator[Callable[[History], bool]]:
        """Progress line and scikit-learn callbacks, called after every epoch."""
        context = None
        if with_callbacks and hasattr(self, "_init_callback_context"):
            context = self._init_callback_context(max_subtasks=n_epochs)
            context.call_on_fit_task_begin(estimator=self, X=X)
        begun = time.perf_counter()
        shown, told = -np.inf, 0

        def fitted() -> dict[str, Any]:
            """What a callback needs for an estimator as if training had ended here."""
            module = copy.deepcopy(self.module_).eval()
            generator = self._trainer.generator(some.device, -2)
            module.calibrate(some, None, generator, learned=not self._relative)
            return {"module_": module, "_casts": {}}

        def report(history: History) -> bool:
            nonlocal shown, told
            epoch = len(history.loss)
            now = time.perf_counter()
            if self.verbose and (now - shown > 0.5 or epoch == n_epochs or history.converged):
                shown = now
                left = (now - begun) / epoch * (n_epochs - epoch)
                terms = ", ".join(f"{k} {v[-1]:.4g}" for k, v in history.terms.items())
                last = epoch == n_epochs or history.converged
                sys.stdout.write(
                    f"\r{type(self).__name__}: epoch {epoch}/{n_epochs}, loss "
                    f"{history.loss[-1]:.5g} ({terms}), {left:.0f} s left   " + "\n" * last
                )
                sys.stdout.flush()
            if context is None or epoch <= told:  # after a restart epochs come again
                return False
            told = epoch
            task = context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(estimator=self, X=X)
            return bool(
                task.call_on_fit_task_end(estimator=self, X=X, reconstruction_attributes=fitted)
            )

        yield report
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X)

    def _fit_latent_density(self, codes: np.ndarray) -> None:
        """A Gaussian mixture on the codes of training rows becomes the prior."""
        centre, spread = codes.mean(0), codes.std(0)
        spread[spread < 1e-12] = 1.0
        mixture = _fit_mixture((codes - centre) / spread, self.latent_density, self._trainer.seed)
        self.module_.prior = _to_prior(mixture, centre, spread).to(self.device_)
        self._spec["n_mixture"] = len(mixture.weights_)

    # -- hooks of the door ----------------------------------------------------------------------
    def _tensor(self, X: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
        """Standardised rows on the device, in the dtype of X unless told."""
        if dtype is None:
            dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        out = np.empty(X.shape, np.float32 if dtype == torch.float32 else np.float64)
        for i in range(0, len(X), _CHUNK):
            out[i : i + _CHUNK] = (X[i : i + _CHUNK] - self._location) / self._scale
        return torch.from_numpy(out).to(self.device_)

    def _module(self, dtype: torch.dtype) -> Model:
        """The module in a dtype: float64 rows are computed in float64."""
        if dtype == torch.float32:
            return self.module_
        if dtype not in self._casts:
            self._casts[dtype] = copy.deepcopy(self.module_).to(dtype)
        return self._casts[dtype]

    def _apply(
        self, function: Callable[..., tuple[Tensor, ...]], rows: np.ndarray, chunk: int, scaled=True
    ) -> list[np.ndarray]:
        """Outputs of ``function(module, tensor)``, chunk by chunk, less of it where memory ends."""
        pieces: list[list[np.ndarray]] = []
        i = 0
        while i < len(rows):
            part = rows[i : i + chunk]
            try:
                if scaled:
                    x = self._tensor(part)
                else:
                    x = torch.tensor(part, device=self.device_)
                with torch.no_grad():
                    out = function(self._module(x.dtype), x)
                pieces.append([t.cpu().numpy() for t in out])
            except (RuntimeError, MemoryError) as error:
                if len(part) == 1 or not _is_out_of_memory(error):
                    raise
                chunk = -(-len(part) // 2)
                continue
            i += len(part)
        return [np.concatenate(p) for p in zip(*pieces, strict=True)]

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return self._apply(lambda m, x: (m.encoder(x).mean,), X, _CHUNK)[0]

    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self._apply(posterior_moments, X, self._scoring_chunk(self.n_components_ + 1))
        return mean, std

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        X = self._apply(lambda m, z: (m.decoder(z).mean,), Z, _CHUNK, scaled=False)[0]
        return self._unscale(X).astype(Z.dtype, copy=False)

    def _unscale(self, X: np.ndarray) -> np.ndarray:
        return X * self._scale + self._location

    def _draw(self, n: int, seed: int, noise: bool) -> np.ndarray:
        generator = torch.Generator(self.device_).manual_seed(seed)
        module = self._module(torch.float64)
        pieces = []
        with torch.no_grad():
            for start in range(0, n, _CHUNK):
                p = module.decoder(module.prior.sample(min(_CHUNK, n - start), generator))
                pieces.append((p.sample(generator) if noise else p.mean).cpu().numpy())
        X = self._unscale(np.concatenate(pieces))
        return np.rint(X) if noise and self._spec["likelihood"] == "bernoulli" else X

    def _scoring_chunk(self, copies: int) -> int:
        width = max(self._spec["n_features"], *self._spec["hidden"], 1)
        return max(1, min(_CHUNK, _CHUNK_NUMBERS // (width * copies)))

    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        k, n_draws = self.n_components_, self.n_importance_samples
        shift = np.zeros(X.shape[1])
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

    # -- state ----------------------------------------------------------------------------------
    def __getstate__(self):
        state = super().__getstate__().copy()
        if "module_" not in state:
            return state
        module, trainer = state.pop("module_"), state.pop("_trainer")
        del state["_casts"]
        state["_weights"] = {name: v.cpu().numpy() for name, v in module.state_dict().items()}
        state["_training"] = {
            "seed": trainer.seed,
            "epoch": trainer.epoch,
            "optimisers": [[v.cpu().numpy() for v in o.state()] for o in trainer.optimisers],
            "limits": [o.limit for o in trainer.optimisers],
        }
        return state

    def __setstate__(self, state):
        state = dict(state)
        weights, training = state.pop("_weights", None), state.pop("_training", None)
        super().__setstate__(state)
        if weights is None:
            return
        model = self._build(0)
        # copies, because memory-mapped arrays are read-only
        model.load_state_dict({name: torch.tensor(v) for name, v in weights.items()})
        self.device_ = str(_resolve_device(self.device, fallback=True))
        self.module_ = model.to(self.device_).eval()
        self._casts = {}
        trainer = Trainer(batch_size=1, n_epochs=1, lr=1.0, seed=training["seed"])
        trainer.epoch = training["epoch"]
        if training["optimisers"]:
            players = self._objective(self.module_).players().values()
            trainer.optimisers = [Adam(p, None, 0.0) for p in players]  # fit sets what is missing
            for optimiser, values, limit in zip(
                trainer.optimisers, training["optimisers"], training["limits"], strict=True
            ):
                optimiser.limit = limit
                for v, old in zip(optimiser.state(), values, strict=True):
                    v.copy_(torch.tensor(old))
        self._trainer = trainer


def _resolve_device(device: str, fallback: bool = False) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        if fallback:
            return torch.device("cpu")
        raise ValueError(f"device={device!r} cannot be used here: {error}") from error
    return resolved


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in str(error)  # what torch says on the CPU
    )


def _scaling(X: np.ndarray, bounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale by feature, (d,) each; one scale for all where values are intensities."""
    size = np.abs(X).max(axis=0).astype(np.float64)
    size[size == 0.0] = 1.0  # so that squares of huge or tiny values stay in range
    location, scale = np.empty(X.shape[1]), np.empty(X.shape[1])
    for j in range(0, X.shape[1], 64):
        columns = slice(j, j + 64)
        part = X[:, columns] / size[columns]
        location[columns] = part.mean(axis=0, dtype=np.float64)
        scale[columns] = part.std(axis=0, dtype=np.float64)
    scale[scale <= 1e-10 * np.abs(location)] = 0.0  # constant but for rounding
    location, scale = location * size, scale * size
    if bounded:
        scale[:] = np.sqrt(np.mean(np.square(scale)))
    scale[scale == 0.0] = 1.0
    return location, scale


def _custom_network(given: Any, inputs: int, outputs: int, seed: int) -> nn.Module:
    """A copy of the user's module, or what the user's factory makes; its widths are tried."""
    if isinstance(given, nn.Module):
        network = copy.deepcopy(given)
    else:
        # A factory draws from torch's global generator; lend it a seeded one, one at a time.
        with _factory_lock:
            before = torch.default_generator.get_state()
            torch.default_generator.manual_seed(seed)
            try:
                network = given(inputs, outputs)
            finally:
                torch.default_generator.set_state(before)
        if not isinstance(network, nn.Module):
            raise TypeError(
                "encoder and decoder factories must return a torch.nn.Module, got "
                f"{type(network).__name__}."
            )
    network = network.float().cpu()
    with torch.no_grad():
        try:
            shape = tuple(network.eval()(torch.zeros(2, inputs)).shape)
        except RuntimeError as error:
            raise ValueError(
                f"a custom network must map (n, {inputs}) to (n, {outputs}): {error}"
            ) from error
    if shape != (2, outputs):
        raise ValueError(
            f"a custom network must map (n, {inputs}) to (n, {outputs}), but 2 rows gave {shape}."
        )
    return network.train()


def _start_linear(
    model: Model, linear: LinearGaussian, location: np.ndarray, scale: np.ndarray
) -> None:
    """Start encoder and decoder at probabilistic PCA of the standardised rows."""
    k = model.prior.means.shape[1]
    linear = linear.truncate(k)  # codes beyond the principal components start at zero
    w, s2 = linear.loadings.astype(np.float64), float(linear.noise_variance)  # (d, k)
    m = w.T @ w + s2 * np.eye(k)
    encoder, decoder = model.encoder, model.decoder
    if isinstance(encoder.head, NormalHead):
        project = np.linalg.solve(m, w.T)  # posterior mean
        spread = np.log(s2 * np.diag(np.linalg.inv(m)))
        weight = np.vstack([project, np.zeros_like(project)])
        bias = np.concatenate([-project @ linear.mean, spread])
    else:  # whitened codes: W = U (L - s2 I)^1/2 becomes U L^1/2
        excess = np.square(w).sum(axis=0)
        used = excess > 0.0
        w[:, used] *= np.sqrt(1.0 + s2 / excess[used])
        weight = w.T / np.where(used, np.square(w).sum(axis=0), 1.0)[:, None]
        bias = -weight @ linear.mean
    encoder.network.start_linear(_float(weight), _float(bias))
    b = linear.mean
    if getattr(model.likelihood, "bounded", True):  # logits: a line through the logit of the mean
        centre = np.clip(location + scale * linear.mean, 0.02, 0.98)
        slope = scale / np.maximum(centre * (1.0 - centre), 0.05)
        w, b = w * slope[:, None], np.log(centre / (1.0 - centre))
    if getattr(model.likelihood, "noise", "") == "network":
        w = np.vstack([w, np.zeros_like(w)])
        b = np.concatenate([b, np.full(len(b), np.log(max(s2, 1e-5)))])
    decoder.network.start_linear(_float(w), _float(b))


def _float(a: np.ndarray) -> Tensor:
    return torch.tensor(a, dtype=torch.float32)


def _fit_mixture(codes: np.ndarray, given: Any, seed: int) -> GaussianMixture:
    """The user's mixture or our own choice."""
    # k-means, which starts a mixture, does not work while array API dispatch is on
    with config_context(array_api_dispatch=False):
        if given is None:
            return _best_mixture(codes, seed)
        mixture = clone(given)
        if mixture.random_state is None:
            mixture.set_params(random_state=seed % 2**32)
        return mixture.fit(codes)


def _best_mixture(codes: np.ndarray, seed: int) -> GaussianMixture:
    """The mixture of 1, 2, 4 or 8 components with the best Bayesian information criterion."""
    best, lowest = None, np.inf
    rows = codes[np.linspace(0, len(codes) - 1, min(len(codes), 5000)).astype(int)]
    for c in (1, 2, 4, 8):
        if c > 1 and len(rows) < 4 * c * (codes.shape[1] + 1):
            break
        mixture = GaussianMixture(
            c, reg_covar=1e-3, tol=1e-2, max_iter=200, random_state=seed % 2**32
        ).fit(rows)
        bic = mixture.bic(rows)
        if bic < lowest:
            best, lowest = mixture, bic
    return best


def _to_prior(mixture: GaussianMixture, centre: np.ndarray, spread: np.ndarray) -> Mixture:
    covariances, kind = mixture.covariances_, mixture.covariance_type
    c, k = mixture.means_.shape
    if kind == "tied":
        covariances = np.broadcast_to(covariances, (c, k, k))
    elif kind == "diag":
        covariances = np.stack([np.diag(v) for v in covariances])
    elif kind == "spherical":
        covariances = np.stack([v * np.eye(k) for v in covariances])
    scales = np.linalg.cholesky(covariances) * spread[:, None]
    weights = np.maximum(mixture.weights_, 1e-12)
    return Mixture(
        _float(np.log(weights)), _float(mixture.means_ * spread + centre), _float(scales)
    )
