"""Learned generators: one fit, its state and its progress, for every model trained by descent."""

from __future__ import annotations

import copy
import math
import sys
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
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from ..base import BaseGenerator, seed_from
from ..convolutions import stage_sizes
from ..likelihoods import Bernoulli, Exact, Likelihood
from ..linear_gaussian import LinearGaussian, fit_linear_gaussian
from ..model import CHUNK, Conditional, Model
from ..networks import ACTIVATIONS
from ..objectives import Objective
from ..priors import Prior, StandardNormal
from ..training import History, Trainer
from .layers import Layers
from .parameters import SharedParameters
from .start import (
    START_ROWS,
    custom_network,
    is_out_of_memory,
    resolve_device,
    scaling,
    start_linear,
    without_context,
)

try:  # scikit-learn 1.9 and newer
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""

    def with_callbacks(method):
        return method


_MIN_STEPS, _MAX_STEPS, _MIN_EPOCHS = 1500, 10_000, 10
_MOST_COMPONENTS = 64
_CALIBRATION_ROWS = 4096
_WORTH_SHARING = 1 << 24  # multiplications of a layer in a step
_STILL_FALLING = 0.02
_NARROW = 64  # units of a hidden layer
_ROUNDING = 1e-6  # by which a min-max scaler may leave [0, 1]
_LEAST_PIXELS = 64  # features of rows in [0, 1] that are taken for images


class BaseNeuralGenerator(SharedParameters, CallbackSupportMixin, BaseGenerator):
    """A generator of rows trained by gradient descent.

    A subclass names its parameters in `__init__`, those that shape networks in `_architecture`
    too, and overrides hooks: `_prior`, `_helpers`, `_objective`.
    """

    _relative: ClassVar[bool] = False
    _loss_falls: ClassVar[bool] = True  # in good training; a generator's need not
    # What learning_rate_init="auto" is, if not shared: always, or with narrow hidden layers.
    _auto_rate: ClassVar[float | None] = None
    _narrow_rate: ClassVar[float | None] = None
    # Parameters that `_build` needs; it reads them from `_spec`, as they were when fit was called.
    _architecture: ClassVar[tuple[str, ...]] = ()

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "linear_skip": [StrOptions({"auto"}), "boolean"],
        "output_activation": [StrOptions({"auto", "identity", "sigmoid"})],
        "decoder": [None, callable],
        "image_shape": [None, "array-like"],
        "hidden_channels": ["array-like", Interval(Integral, 1, None, closed="left")],
        "residual": ["boolean"],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [None, Interval(Integral, 1, None, closed="left")],
        "gradient_clipping": [None, Interval(Real, 0, None, closed="neither")],
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
        output_activation="auto",
        decoder=None,
        image_shape=None,
        hidden_channels=(16, 32),
        residual=False,
        alpha=0.0,
        learning_rate_init="auto",
        batch_size="auto",
        max_iter=None,
        gradient_clipping=5.0,
        precision="float32",
        device="auto",
        warm_start=False,
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip
        self.output_activation = output_activation
        self.decoder = decoder
        self.image_shape = image_shape
        self.hidden_channels = hidden_channels
        self.residual = residual
        self.alpha = alpha
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.gradient_clipping = gradient_clipping
        self.precision = precision
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    # -- hooks of a method --------------------------------------------------------------------
    def _prior(self, k: int, layers: Layers, generator: torch.Generator, model: Model) -> Prior:
        """The law of codes in training."""
        return StandardNormal(k)

    def _helpers(self, k: int, layers: Layers) -> dict[str, nn.Module]:
        """Networks that only training needs."""
        return {}

    def _objective(self, model: Model) -> Objective:
        raise NotImplementedError

    def _code_width(self, k: int) -> int:
        """Numbers that the decoder takes for a code of `n_components` k."""
        return k

    # -- fit ----------------------------------------------------------------------------------
    @with_callbacks
    def fit(self, X: ArrayLike, y: Any = None) -> BaseNeuralGenerator:
        return super().fit(X, y)

    fit.__doc__ = BaseGenerator.fit.__doc__

    def partial_fit(self, X: ArrayLike, y: Any = None) -> BaseNeuralGenerator:
        """Train for one epoch on these rows at a constant rate, going on from where it stands.

        The first call fixes the scaling of the features, the number of components and, where the
        network has one, the linear start, from its own rows. The noise of the decoder, the density
        of the codes (with at least 50 rows) and `offset_`, where there are such, follow the latest
        rows.

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
        self._partial_fit(self._check_training(X, y, first), first)
        return self

    def _partial_fit(self, rows: np.ndarray, first: bool) -> None:
        if first:
            self._start(rows)
        self._train(rows, None, n_epochs=1, decay=False)
        self._finish(rows, None)

    def _fit(self, X: np.ndarray) -> np.ndarray | None:
        goes_on = self.warm_start and hasattr(self, "module_")
        seed = self._trainer.seed if goes_on else seed_from(self.random_state)
        held_out = self._hold_out(len(X), seed)
        if not goes_on:
            self._start(X, seed)
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

    def _hold_out(self, n: int, seed: int) -> np.ndarray:
        """Which of n rows are not trained on, as a mask."""
        return np.zeros(n, bool)

    def _batch_size(self, n: int) -> int:
        return min(n, 128 if self.batch_size == "auto" else int(self.batch_size))

    def _start(self, X: np.ndarray, seed: int | None = None) -> None:
        """Everything that is fixed before the first step: scaling, sizes, initial weights."""
        if seed is None:
            seed = seed_from(self.random_state)
        device = str(resolve_device(self.device))
        features = X[:, : self.n_features_in_]
        spec = self._choose(features)
        self.image_shape_ = self._next_shape
        del self._next_shape
        spec["n_context"] = X.shape[1] - features.shape[1]
        self.device_ = device
        one_scale = spec["bounded"] or spec["image_shape"] is not None
        self._location, self._scale = scaling(features, one_scale)
        self._low = (features.min(axis=0) - self._location) / self._scale
        self._high = (features.max(axis=0) - self._location) / self._scale
        automatic = self.n_components == "auto"
        context = X[:, features.shape[1] :]
        features, offsets = without_context(features, context, self._location, self._scale)
        if automatic or spec["linear_skip"]:
            linear = self._linear_start(features)
        k = (
            int(self.n_components)
            if not automatic
            else self._choose_n_components(features.shape, linear)
        )
        self.n_components_ = spec["n_components"] = k
        self._spec = spec
        model = self._build(seed)
        if spec["linear_skip"]:
            start_linear(model, k, linear, self._location, self._scale, offsets)
        some = self._tensor(X[:: -(-len(X) // _CALIBRATION_ROWS)], torch.float32, "cpu")
        model.prior.start(some, torch.Generator().manual_seed(seed + 1))
        self.module_ = model.to(self.device_)
        self._trainer = Trainer(batch_size=1, n_epochs=1, lr=1.0, seed=seed)
        self._casts: dict[torch.dtype, Model] = {}
        self.n_iter_ = 0

    def _choose(self, X: np.ndarray) -> dict[str, Any]:
        """The plain description from which the module can be built again."""
        d = X.shape[1]
        low, high = float(X.min()), float(X.max())
        intensities = low >= -_ROUNDING and high <= 1.0 + _ROUNDING
        asking = self._asks_for_intensities()
        if asking is not None and not intensities:
            raise ValueError(
                f"{asking[0]} needs X in [0, 1], but it spans [{low:.4g}, {high:.4g}]. Rescale X "
                f"or use {asking[1]}."
            )
        shape = self._next_shape
        image = shape is not None
        bounded = self.output_activation == "sigmoid" or (
            self.output_activation == "auto" and intensities and (image or d >= _LEAST_PIXELS)
        )
        hidden = self._sizes("hidden_layer_sizes")
        own, wanted = self._builds_all(), bounded or image or not hidden
        return {
            **{name: getattr(self, name) for name in self._architecture},
            "n_features": d,
            "hidden": hidden,
            "activation": self.activation,
            "linear_skip": own and (wanted if self.linear_skip == "auto" else self.linear_skip),
            "bounded": bounded,
            **self._choose_convolutions(shape),
        }

    def _sizes(self, name: str) -> list[int]:
        sizes = np.atleast_1d(np.asarray(getattr(self, name))).tolist()
        if any(not isinstance(h, int) or h < 1 for h in sizes):
            raise ValueError(
                f"{name} must hold positive integers, got {getattr(self, name)!r} for "
                f"{type(self).__name__}."
            )
        return sizes

    def _choose_convolutions(self, shape: tuple[int, ...] | None) -> dict[str, Any]:
        if shape is None:
            if self.residual:
                raise ValueError("residual=True is for images: give image_shape, or a 4-D X.")
            return {"image_shape": None}
        if math.prod(shape) != self.n_features_in_:
            raise ValueError(
                f"image_shape={shape} has {math.prod(shape)} pixels, but X has "
                f"{self.n_features_in_} features."
            )
        channels = self._sizes("hidden_channels")
        if not channels or min(stage_sizes(shape, len(channels))[-1]) < 1:
            raise ValueError(
                f"hidden_channels={self.hidden_channels!r} halves images {len(channels)} times, "
                f"which those of shape {shape} do not allow."
            )
        return {
            "image_shape": list(shape),
            "channels": channels,
            "residual": self.residual,
        }

    def _asks_for_intensities(self) -> tuple[str, str] | None:
        """What, if anything, needs values in [0, 1], and what to use instead."""
        if self.output_activation == "sigmoid":
            return "output_activation='sigmoid'", "'identity'"
        return None

    def _flatten(self, X: Any, first: bool = False) -> Any:
        if isinstance(X, list | tuple) and np.ndim(X) > 2:
            X = np.asarray(X)
        axes = getattr(X, "ndim", 2)
        if axes == 3:
            raise ValueError(
                f"Found array with dim 3, while {type(self).__name__} takes rows, dim 2, or "
                "images, dim 4, (n, channels, height, width): hand in X[:, None] for grey images."
            )
        shape = tuple(X.shape[1:]) if axes == 4 else None
        if first:  # to be `image_shape_` when nothing can be refused any more
            self._next_shape = self._choose_image_shape(shape)
        expected = self._next_shape if first else self.image_shape_
        if shape is None or expected is None:
            return X
        if shape != expected:
            last = " Its channels seem to be last: hand in np.moveaxis(X, -1, 1)."
            raise ValueError(
                f"X holds images of shape {shape}, but {type(self).__name__} takes (channels, "
                f"height, width) = {expected}." + last * (shape[2:] + shape[:2] == expected)
            )
        return X.reshape(len(X), math.prod(shape))

    def _choose_image_shape(self, seen: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if self.image_shape is None:
            if seen is not None and seen[0] > 4 and seen[2] in (1, 3, 4):
                raise ValueError(
                    f"X of shape (n, {seen[0]}, {seen[1]}, {seen[2]}) seems to have its channels "
                    "last: hand in np.moveaxis(X, -1, 1), or say otherwise by image_shape."
                )
            return seen
        shape = tuple(self._sizes("image_shape"))
        if len(shape) != 3:
            raise ValueError(
                f"image_shape must be (channels, height, width), got {self.image_shape!r}."
            )
        return shape

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.linear_skip is True and not self._builds_all():
            raise ValueError(
                "linear_skip=True needs networks of our own: encoder=None, decoder=None."
            )

    def _builds_all(self) -> bool:
        """Whether no network is the user's."""
        return self.decoder is None

    def _linear_start(self, X: np.ndarray) -> LinearGaussian:
        """Probabilistic PCA of (some of) the standardised rows."""
        n, d = X.shape
        n_rows = min(n, START_ROWS, 4 * max(d, 512) if d <= 2048 else 2048)
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
        k = spec["n_components"]
        generator = torch.Generator().manual_seed(seed)

        layers = Layers(spec, generator)
        likelihood = self._build_likelihood()
        encoder = self._build_encoder(k, layers, generator, seed)
        inputs = self._code_width(k) + spec["n_context"]
        if self.decoder is None:
            decoder = self._build_decoder(inputs, likelihood.width, layers)
        else:
            decoder = custom_network(self.decoder, inputs, likelihood.width, seed)
        helpers = self._helpers(k, layers)
        model = Model(encoder, Conditional(decoder, likelihood), StandardNormal(k), helpers)
        model.prior = self._prior(k, layers, generator, model)
        return model

    def _build_encoder(
        self, k: int, layers: Layers, generator: torch.Generator, seed: int
    ) -> Conditional | None:
        return None

    def _build_decoder(self, inputs: int, outputs: int, layers: Layers) -> nn.Module:
        return layers.to_rows(inputs, outputs, self._spec["linear_skip"])

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Where 0 lies in standardised units, and 1 above; for bounded models of one scale."""
        location = torch.tensor(self._location, dtype=torch.float64)
        scale = torch.tensor(self._scale, dtype=torch.float64)
        return (-location / scale).float(), (1.0 / scale[0]).float()

    def _build_likelihood(self) -> Likelihood:
        spec = self._spec
        return Exact(spec["n_features"], self._bounds() if spec["bounded"] else None)

    def _train(self, X, held_out: np.ndarray | None, n_epochs: int, decay: bool) -> None:
        model, trainer = self.module_, self._trainer
        rows = self._tensor(X, torch.float32)
        validation = None if held_out is None else self._tensor(held_out, torch.float32)
        if self._relative and (decay or trainer.epoch == 0):
            self._set_null_loss(model.split(rows)[0])
        trainer.batch_size = self._batch_size(len(rows))
        trainer.n_epochs, trainer.decay, trainer.lr = n_epochs, decay, self._learning_rate()
        trainer.clip = self.gradient_clipping
        trainer.weight_decay = self.alpha / len(rows)
        trainer.bfloat16 = self.precision == "bfloat16"
        self._set_stopping(trainer, decay)
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
        generator = trainer.generator(rows.device, -2)
        objective.finish(some, validation, generator)
        self._after_training(model, rows, some, generator, new=decay)
        self._record(history, resumed=not decay)
        if decay:
            self._warn_if_falling(history, n_epochs)

    def _learning_rate(self) -> float:
        if self.learning_rate_init != "auto":
            return float(self.learning_rate_init)
        if self._narrow_rate is not None and max(self._spec["hidden"], default=0) < _NARROW:
            return self._narrow_rate
        if self._auto_rate is not None:
            return self._auto_rate
        return 6e-3 if self._spec["linear_skip"] and len(self._spec["hidden"]) < 2 else 2e-3

    def _set_stopping(self, trainer: Trainer, decay: bool) -> None:
        """Say when the trainer is to stop early."""

    def _after_training(
        self, model: Model, rows: Tensor, some: Tensor, generator: torch.Generator, new: bool
    ) -> None:
        """Fit what depends on the trained model, with its standardised rows or some of them."""

    def _fit_density(
        self, model: Model, rows: Tensor, generator: torch.Generator
    ) -> dict[str, Any]:
        """Give the model a density of its codes, where it has one; the attributes that say so."""
        return {}

    def _few_threads(self, batch_size: int):
        """One thread for narrow layers, which lose more by waiting than they gain by sharing.

        The limit holds for this thread only and is taken back.
        """
        widest = max(p.numel() for p in self.module_.parameters())
        large = self.image_shape_ is not None or widest * batch_size >= _WORTH_SHARING
        if large or not self._builds_all():
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
        if (
            not self._loss_falls
            or self.max_iter is None
            or history.converged
            or len(loss) < n_epochs
        ):
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

    def _without_context(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What `fit` was given, of rows with their contexts."""
        return {"X": rows[:, : self.n_features_in_]}

    @contextmanager
    def _reporting(
        self, X: np.ndarray, some: Tensor, n_epochs: int, with_callbacks: bool
    ) -> Iterator[Callable[[History], bool]]:
        """Progress line and scikit-learn callbacks, called after every epoch."""
        context = None
        if with_callbacks and hasattr(self, "_init_callback_context"):
            context = self._init_callback_context(max_subtasks=n_epochs)
            data = self._without_context(X)
            context.call_on_fit_task_begin(estimator=self, **data)
        begun = time.perf_counter()
        shown, told = -np.inf, 0

        def fitted() -> dict[str, Any]:
            """What a callback needs for an estimator as if training had ended here."""
            module = copy.deepcopy(self.module_).eval()
            generator = self._trainer.generator(some.device, -2)
            self._objective(module).finish(some, None, generator)
            attributes = self._fit_density(module, some, generator)
            return {"module_": module, "_casts": {}, **attributes}

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
            task.call_on_fit_task_begin(estimator=self, **data)
            return bool(
                task.call_on_fit_task_end(estimator=self, **data, reconstruction_attributes=fitted)
            )

        yield report
        if context is not None:
            context.call_on_fit_task_end(estimator=self, **data)

    # -- hooks of the door ----------------------------------------------------------------------
    def _tensor(
        self, X: np.ndarray, dtype: torch.dtype | None = None, device: str | None = None
    ) -> Tensor:
        """Standardised rows on the device, in the dtype of X unless told; contexts as they are."""
        if dtype is None:
            dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        d = self._spec["n_features"]
        out = np.empty(X.shape, np.float32 if dtype == torch.float32 else np.float64)
        for i in range(0, len(X), CHUNK):
            part = X[i : i + CHUNK]
            out[i : i + CHUNK, :d] = (part[:, :d] - self._location) / self._scale
            out[i : i + CHUNK, d:] = part[:, d:]
        return torch.from_numpy(out).to(device or self.device_)

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
                if len(part) == 1 or not is_out_of_memory(error):
                    raise
                chunk = -(-len(part) // 2)
                continue
            i += len(part)
        return [np.concatenate(p) for p in zip(*pieces, strict=True)]

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Mean rows of codes, whose context, if any, lies in columns after them."""
        X = self._apply(lambda m, z: (m.decoder(z).mean,), Z, self.module_.chunk, scaled=False)[0]
        return self._unscale(X).astype(Z.dtype, copy=False)

    def _unscale(self, X: np.ndarray) -> np.ndarray:
        return X * self._scale + self._location

    def _draw_codes(self, n: int, seed: int) -> np.ndarray:
        generator = torch.Generator(self.device_).manual_seed(seed)
        law = self._module(torch.float64).law
        with torch.no_grad():
            drawn = [
                law.sample(min(CHUNK, n - i), generator).cpu().numpy() for i in range(0, n, CHUNK)
            ]
        return np.concatenate(drawn)

    def _draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        generator = torch.Generator(self.device_).manual_seed(seed)
        chunk = self.module_.chunk
        (X,) = self._apply(lambda m, z: (m.decoder(z).sample(generator),), Z, chunk, scaled=False)
        return self._unscale(X).astype(Z.dtype, copy=False)

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
            "optimisers": [[v.cpu().numpy() for v in values] for values, _ in trainer.states()],
            "limits": [limit for _, limit in trainer.states()],
        }
        return state

    def __setstate__(self, state):
        state = dict(state)
        weights, training = state.pop("_weights", None), state.pop("_training", None)
        super().__setstate__(state)
        if weights is None:
            return
        model = self._rebuild()
        # copies, because memory-mapped arrays are read-only
        model.load_state_dict({name: torch.tensor(v) for name, v in weights.items()})
        self.device_ = str(resolve_device(self.device, fallback=True))
        self.module_ = model.to(self.device_).eval()
        self._casts = {}
        trainer = Trainer(batch_size=1, n_epochs=1, lr=1.0, seed=training["seed"])
        trainer.epoch = training["epoch"]
        for values, limit in zip(training["optimisers"], training["limits"], strict=True):
            trainer.saved.append(([torch.tensor(v) for v in values], limit))
        self._trainer = trainer

    def _rebuild(self) -> Model:
        """The module whose weights are to be loaded."""
        return self._build(0)
