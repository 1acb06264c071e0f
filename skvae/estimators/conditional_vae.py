"""The conditional variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch.nn import Module

from ..contract.density import Scores
from ..contract.generator import count_of
from ..contract.inputs import as_labels
from ..contract.learner import seed_from
from ..contract.scikit_learn import ClassifierMixin
from ..tables.checks import Axes, Check
from ..tables.source import ArraySource, RowSource, n_counted
from .base import LearnedModel
from .options import NetworkOptions, TableOptions, TrainingOptions
from .variational import Variational

_FAR = 1e6  # differences in nats from which the logarithm of a sum loses digits


class LabelMixture(LearnedModel):
    """Conditional model of rows given labels, which gives a mixture model of rows."""

    classes_: np.ndarray
    class_count_: np.ndarray

    _fitted_attributes: ClassVar[dict[str, Check]] = {
        "classes_": Axes(("c",), "biufOU"),
        "class_count_": Axes(("c",), above=-0.5),
    }

    @classmethod
    def _check_fitted(cls, state: dict[str, Any]) -> None:
        super()._check_fitted(state)
        classes = state["classes_"]
        if not (classes[:-1] < classes[1:]).all() or not state["class_count_"].sum() > 0.0:
            raise ValueError("classes_ are not sorted, or no row had one of these classes")

    def _labels(self, y: np.ndarray) -> np.ndarray:
        """Return the index of each label in `classes_`."""
        found = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = np.asarray(self.classes_[found] != y)
        if unknown.any():
            raise ValueError(
                f"y contains labels that are not in classes_: {np.unique(np.asarray(y)[unknown])}."
            )
        return found

    def _one_hot(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """Return the one-hot encoding (n, n_classes) of labels (n,)."""
        found: np.ndarray = np.eye(len(self.classes_), dtype=dtype)[self._labels(y)]
        return found

    def _given(self, X: np.ndarray, y: np.ndarray) -> RowSource:
        """Return rows with the labels on which they are conditioned."""
        return ArraySource(X, self._one_hot(y, X.dtype))

    def _joined(self, Z: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Append one-hot labels to codes as further columns."""
        return np.hstack([Z, self._one_hot(y, Z.dtype)])

    def _each_density(self, X: np.ndarray, parts: bool) -> list[Scores]:
        """Return log p(x | y) for each label."""
        predictor, n_draws = self._predictor_, int(self.n_importance_samples)
        given = (self._given(X, np.full(len(X), label)) for label in self.classes_)
        return [Scores(*predictor.score(source, n_draws, parts)) for source in given]

    def _log_joint(self, X: np.ndarray, each: list[Scores] | None = None) -> np.ndarray:
        """Log p(x, y) (n, n_classes)."""
        each = self._each_density(X, parts=False) if each is None else each
        with np.errstate(divide="ignore"):  # classes that no row had
            joint: np.ndarray = np.stack([s.score for s in each], 1) + np.log(self._class_prior())
        return joint

    def _comparable(self, joint: np.ndarray) -> np.ndarray:
        """Return log p(x, y) (n, n_classes) whose softmax is p(y | x), also for extreme rows.

        If a row has density zero for all labels, p(y | x) is p(y).
        """
        top = joint.max(axis=1, keepdims=True)
        far = (top < -_FAR)[:, 0]
        if not far.any():
            return joint
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.where(np.isneginf(top), np.log(self._class_prior()), joint - top)
        return np.where(far[:, None], log_softmax(moved, axis=1), joint)

    def _class_prior(self) -> np.ndarray:
        found: np.ndarray = self.class_count_ / self.class_count_.sum()
        return found

    @property
    def _row_width(self) -> int:
        return max(self.n_features_in_, 4 * len(self.classes_))

    def _most_likely(self, X: np.ndarray) -> np.ndarray:
        """Return the label with the highest p(y | x), for each row."""
        (best,) = self._in_blocks(lambda part: (self._log_joint(X[part]).argmax(1),), len(X))
        found: np.ndarray = self.classes_[best]
        return found

    def _log_proba(self, X: np.ndarray) -> np.ndarray:
        joint = self._comparable(self._log_joint(X))
        log_proba: np.ndarray = joint - logsumexp(joint, axis=1, keepdims=True)
        return log_proba

    # -- rows without labels ----------------------------------------------------------------------
    def _encode(self, X: np.ndarray) -> np.ndarray:
        return self._predictor_.encode(self._given(X, self._most_likely(X)))

    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._predictor_.posterior(self._given(X, self._most_likely(X)))

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        labels = self._most_likely(X)
        Z = self._predictor_.encode(self._given(X, labels))
        return self._predictor_.decode(self._joined(Z, labels))

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Decode codes to mean rows, given the labels appended to them, or averaged over p(y)."""
        if Z.shape[1] > self.n_components_:
            return self._predictor_.decode(Z)
        decoded = (
            self._predictor_.decode(self._joined(Z, np.full(len(Z), label)))
            for label in self.classes_
        )
        share = np.broadcast_to(self._class_prior(), (len(Z), len(self.classes_)))
        return self._averaged(decoded, share).astype(Z.dtype)

    def _averaged(self, each: Iterable[np.ndarray], share: np.ndarray) -> np.ndarray:
        """Average rows (n, d) over labels with weights (n, n_classes); modes of categories."""
        kinds = self._fitted_.schema.kinds or []
        modes = [j for j, kind in enumerate(kinds) if kind.is_label]
        total = np.zeros((len(share), self.n_features_in_))
        votes = {j: np.zeros((len(share), int(max(kinds[j].values)) + 1)) for j in modes}
        rows = np.arange(len(share))
        for weight, X in zip(share.T, each, strict=True):
            total += weight[:, None] * X
            for j, vote in votes.items():
                vote[rows, X[:, j].astype(int)] += weight
        for j, vote in votes.items():
            total[:, j] = vote.argmax(axis=1)
        return total

    def _complete(self, X: np.ndarray) -> np.ndarray:
        filled = (
            self._predictor_.complete(self._given(X, np.full(len(X), label)))
            for label in self.classes_
        )
        return self._averaged(filled, np.exp(self._log_proba(X)))

    def _draw_missing(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        return self._draw_missing_given(X, self._draw_labels(X, n_draws, seed), seed)

    def _draw_labels(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Sample indices (n_draws, n) of labels from p(y | observed values)."""
        log_proba = self._log_proba(X)
        noise = np.random.RandomState(seed).gumbel(size=(n_draws, *log_proba.shape))
        drawn: np.ndarray = (log_proba + noise).argmax(axis=-1)
        return drawn

    def _draw_missing_given(self, X: np.ndarray, chosen: np.ndarray, seed: int) -> np.ndarray:
        """Sample missing values given label codes, as rows (n_draws, n, d)."""
        n_draws = len(chosen)
        found = np.repeat(X[None], n_draws, axis=0)
        for i, label in enumerate(self.classes_):
            rows = np.flatnonzero((chosen == i).any(axis=0))
            if len(rows):
                given = self._given(X[rows], np.full(len(rows), label))
                drawn = self._predictor_.draw_missing(given, n_draws, (seed + i) % 2**32)
                here = (chosen[:, rows] == i)[..., None]
                found[:, rows] = np.where(here, drawn, found[:, rows])
        return found

    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        """Return log p(x) = log sum_y p(y) p(x | y), with its terms averaged over p(y | x)."""
        each = self._each_density(X, parts)
        joint = self._log_joint(X, each)
        score, share = logsumexp(joint, axis=1), softmax(self._comparable(joint), axis=1)
        std = np.sqrt(sum((w * s.std) ** 2 for w, s in zip(share.T, each, strict=True)))
        sizes = (w * s.effective_sample_size for w, s in zip(share.T, each, strict=True))
        size = sum(sizes, np.zeros(len(X)))
        if not parts:
            return Scores(score, each[0].latent, each[0].reconstruction, std, size)
        with np.errstate(invalid="ignore"):  # 0 times, or plus, infinity
            reconstruction = np.zeros(X.shape)
            for w, s in zip(share.T[..., None], each, strict=True):
                reconstruction += np.where(w > 0, w * s.reconstruction, 0.0)
            latent = score - reconstruction.sum(1)
        return Scores(
            score,
            np.nan_to_num(latent, nan=0.0, posinf=0.0, neginf=-np.inf),
            reconstruction,
            std,
            size,
        )


class ConditionalVAE(ClassifierMixin, Variational, LabelMixture):
    """Conditional variational autoencoder (Sohn et al. 2015), which is also a classifier.

    Minimises the mean over rows of ``-E_q[log p(x | z, y)] + beta KL(q(z | x, y) || p(z))``, the
    negative evidence lower bound of log p(x | y). Both networks receive y in one-hot encoding.

    - ``sample(n, y=...)`` generates rows of a given label.
    - `predict` and `predict_proba` use Bayes' rule, ``p(y | x) = p(y) p(x | y) / p(x)``;
      `score` is the accuracy.
    - `score_samples` is ``log p(x) = log sum_y p(y) p(x | y)``.
    - `transform`, `posterior` and `reconstruct` use the most probable label of each row;
      `inverse_transform` averages the decoder's means over p(y).

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    beta : float, default=1.0
        Weight of the KL term.
    kl_warmup : float, default=0.0
        Fraction of the training over which the weight of the KL term increases linearly from zero.
    free_bits : float, default=0.0
        Number of nats that each latent coordinate may carry at no cost (Kingma et al. 2016).
    prior : {"normal", "mixture", "vamp", "flow", "implicit"}, default="normal"
        Prior p(z), in the order of the options: N(0, I); a learned mixture of `prior_size`
        Gaussians with diagonal covariances; the mixture of the encoder's posteriors at `prior_size`
        learned pseudo-inputs (Tomczak & Welling 2018); N(0, I) transformed by a masked
        autoregressive flow (Papamakarios et al. 2017; needs the extra "flows"); or the aggregated
        posterior itself, with a network that estimates its density ratio to N(0, I) (Takahashi et
        al. 2019). With "normal" and a fit that optimises the density of a table (see
        ``noise_variance="network"``), ``latent_density="auto"`` is N(0, I) or a Gaussian mixture of
        1, 2, 4, 8 or 16 components, whichever gives held-out rows the highest likelihood. Without
        held-out rows, and for other tables with categorical columns, it is the mixture with the
        best BIC.
    prior_size : int, default=50
        Number of components of the "mixture" prior or of pseudo-inputs of the "vamp" prior.
    posterior_family : {"normal", "iaf"}, default="normal"
        Approximate posterior q(z | x): independent normal coordinates ("normal"), or these
        transformed by an inverse autoregressive flow that depends on the row ("iaf"; Kingma et al.
        2016; needs the extra "flows").
    n_draws : int or "auto", default="auto"
        Number of codes sampled for each row in a training step. "auto" is 5 if ``bound="auto"``
        selects the importance-weighted bound, and 1 otherwise.
    bound : {"auto", "elbo", "importance_weighted"}, default="auto"
        Bound that is maximised: the evidence lower bound, averaged over the `n_draws` samples, or
        the importance-weighted bound (Burda et al. 2016), which gets tighter with more samples.
        "auto" is "importance_weighted" for tables with categorical columns or missing values, if
        `beta`, `kl_warmup`, `free_bits` and `prior` allow it, and "elbo" otherwise.
    likelihood : {"auto", "gaussian", "bounded_gaussian", "bernoulli"}, default="auto"
        Distribution p(x | z) of the decoder. "gaussian" standardises each feature by its own mean
        and standard deviation. "bounded_gaussian" is for X in [0, 1]: a sigmoid bounds the mean,
        and all features share one scale. "bernoulli" is also for X in [0, 1], and `score_samples`
        is then a log-probability. "auto" is "bounded_gaussian" if all values of X lie in [0, 1] and
        X contains images or has at least 64 features, and "gaussian" otherwise. The pixels of
        images always share one scale.
    noise_variance : {"auto", "feature", "scalar", "network"} or float, default="auto"
        Variance of the Gaussian likelihood: learned per feature ("feature"), learned and shared by
        all features ("scalar"), an output of the decoder ("network"), or fixed at the given value
        in squared units of X. "auto" is "scalar" with a bounded mean and for images, "network" for
        tables with categorical columns or missing values if the loss depends on the noise, and
        "feature" otherwise.
    encoder : torch.nn.Module, callable or None, default=None
        Custom network on standardised rows: a module, which is copied and trained from its current
        weights, or a factory ``f(in_features, out_features)`` that returns a module. For images it
        should begin with ``nn.Unflatten(1, image_shape)`` (the encoder of a ConditionalVAE receives
        the one-hot label after the pixels). None builds fully connected layers, or convolutional
        layers for images. Dropout in a custom network uses torch's global random generator, which
        `random_state` does not control.
    decoder : torch.nn.Module, callable or None, default=None
        Custom network from codes to the outputs of the likelihood on standardised rows: a module or
        a factory ``f(in_features, out_features)``. None builds fully connected layers, or
        convolutional layers for images.
    latent_density : "auto", None or estimator, default="auto"
        Density estimator fitted to the standardised codes after training (to samples from q(z | x)
        if the encoder is stochastic). It replaces the prior in `sample` and `score_samples` and is
        stored in `latent_density_`. Any estimator with `fit`, `sample` and `score_samples` can be
        used: GaussianMixture, KernelDensity or another estimator of this package. "auto" is the
        default of the method, None keeps the prior used in training.
    n_importance_samples : int, default=16
        Number of importance samples in the estimate of log p(x). With 1 the estimate is a single
        weight at the posterior's mode, which is fastest, but its error is unknown.
    hidden_layer_sizes : int or tuple of int, default=(128, 128)
        Number of units in each hidden layer of the encoder; the decoder mirrors them. ``()`` gives
        a linear model.
    image_shape : (channels, height, width) or None, default=None
        Shape of the images, if each row is an image flattened in this order: encoder and decoder
        are then convolutional. None infers the shape in `fit` if X has four dimensions (n,
        channels, height, width), and otherwise treats rows as tabular data. The output always
        consists of flattened rows.
    network : NetworkOptions or None, default=None
        Advanced settings of the networks: activation, linear skip connection, convolutions.
        `set_params` and grid searches access them as, for example, ``network__activation``.
    learning_rate_init : float or "auto", default="auto"
        Peak learning rate of Adam. The rate rises over the first tenth of the steps and then
        decreases linearly to zero. "auto" is 0.006 for at most one hidden layer with a linear skip
        connection and 0.002 otherwise (0.003 for MaskAAE; if all hidden layers have fewer than 64
        units, 0.01 for GAN and 0.005 for InfoGAN).
    batch_size : int or "auto", default="auto"
        Number of rows in a mini-batch; "auto" is ``min(128, n_samples)``.
    max_iter : int or None, default=None
        Number of epochs. None sets a budget of optimiser steps: 10 epochs, or 20 for tables with
        categorical columns or missing values, but at least 1500 and at most 10,000 steps, and
        always at least one epoch.
    early_stopping : bool or "auto", default="auto"
        Whether to stop when held-out rows no longer improve, and keep the best weights. "auto" is
        True if rows are held out and a VAE or ConditionalVAE optimises the density of a table, with
        ``noise_variance="network"``; the criterion is then the log-density of the held-out rows.
        "auto" is False otherwise, and with True the criterion is then their loss.
    training : TrainingOptions or None, default=None
        Advanced settings of the training: L2 penalty, gradient clipping, numerical precision,
        held-out rows, patience. `set_params` and grid searches access them as, for example,
        ``training__alpha``.
    table : TableOptions or None, default=None
        Types of the columns of X and how they are modelled: column kinds, unknown categories,
        marginals, values masked in training. `set_params` and grid searches access them as, for
        example, ``table__marginals``.
    device : str, default="auto"
        Torch device; "auto" is CUDA if available and the CPU otherwise.
    warm_start : bool, default=False
        If True, `fit` continues from the current weights and optimiser state.
    verbose : int, default=0
        With 1, a progress line is shown.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers; pass an int for a reproducible model.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Number of training rows of each class.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The torch model, on standardised rows followed by the one-hot label.

    See Also
    --------
    VAE : The same model without labels.
    attribute_directions : Directions of labels in the latent space of any model.

    References
    ----------
    K. Sohn, H. Lee, X. Yan: Learning structured output representation using deep conditional
    generative models. NeurIPS 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import ConditionalVAE
    >>> X, y = load_wine(return_X_y=True)
    >>> model = ConditionalVAE(n_components=2, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    >>> model.sample(5, y=2, random_state=0).shape
    (5, 13)
    """

    _parameter_constraints: ClassVar[dict] = {
        **LearnedModel._parameter_constraints,
        **Variational._parameter_constraints,
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        free_bits: float = 0.0,
        prior: str = "normal",
        prior_size: int = 50,
        posterior_family: str = "normal",
        n_draws: int | str = "auto",
        bound: str = "auto",
        likelihood: str = "auto",
        noise_variance: float | str = "auto",
        encoder: Module | Callable[[int, int], Module] | None = None,
        decoder: Module | Callable[[int, int], Module] | None = None,
        latent_density: Any = "auto",
        n_importance_samples: int = 16,
        hidden_layer_sizes: int | tuple[int, ...] = (128, 128),
        image_shape: tuple[int, ...] | None = None,
        network: NetworkOptions | None = None,
        learning_rate_init: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int | None = None,
        early_stopping: bool | str = "auto",
        training: TrainingOptions | None = None,
        table: TableOptions | None = None,
        device: str = "auto",
        warm_start: bool = False,
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.prior = prior
        self.prior_size = prior_size
        self.posterior_family = posterior_family
        self.n_draws = n_draws
        self.bound = bound
        self.likelihood = likelihood
        self.noise_variance = noise_variance
        self.encoder = encoder
        self.decoder = decoder
        self.latent_density = latent_density
        self.n_importance_samples = n_importance_samples
        self.hidden_layer_sizes = hidden_layer_sizes
        self.image_shape = image_shape
        self.network = network
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.training = training
        self.table = table
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    # -- labels ---------------------------------------------------------------------------------
    def _check_training(
        self,
        X: ArrayLike,
        y: Any,
        first: bool,
        weights: np.ndarray | None = None,
        classes: ArrayLike | None = None,
        adding: bool = False,
    ) -> RowSource:
        y = as_labels(y)
        rows, y = self._checked(X, y, first=first, ensure_min_samples=2)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={classes} differ from the classes of the first call to "
                f"partial_fit, {self.classes_}."
            )
        counts = np.bincount(self._labels(y), weights, len(self.classes_)).astype(float)
        if weights is not None:
            counts *= n_counted(weights[weights > 0.0]) / weights.sum()
        adds = adding and not first
        self.class_count_ = counts + self.class_count_ if adds else counts
        return ArraySource(rows, self._one_hot(y, np.uint8))

    def _fit_arguments(self, source: RowSource) -> dict[str, Any]:
        rows = source.take(slice(None))
        assert rows.context is not None
        return {"X": self._written(rows.values), "y": self.classes_[rows.context.argmax(axis=1)]}

    def partial_fit(  # type: ignore[override]
        self, X: ArrayLike, y: Any, classes: ArrayLike | None = None
    ) -> Self:
        """Train for one further epoch on a batch of rows, at a constant learning rate.

        See `VAE.partial_fit` for what the first call fixes, what is computed lazily, and the
        treatment of extreme values and of learning rates that are too high.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like or None, default=None
            All class labels of all calls, required in the first call unless `y` contains all of
            them; None for the labels of this `y`.

        Returns
        -------
        self : object
        """
        self._check_asked()
        return self._learn_aside(
            X, y, goes_on=True, further_chunk=True, classes=classes, adding=True
        )

    # -- a classifier ---------------------------------------------------------------------------
    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of the class probabilities: see `predict_proba`."""
        rows = self._check_X(X)
        return self._in_blocks(lambda part: (self._log_proba(rows[part]),), len(rows))[0]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Class probabilities p(y | x) by Bayes' rule, from log p(x | y) and the class frequencies.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Class probabilities, in the order of `classes_`.
        """
        found: np.ndarray = np.exp(self.predict_log_proba(X))
        return found

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class with the highest p(y | x)."""
        return self._most_likely(self._check_X(X))

    def score(  # type: ignore[override]  # a classifier's needs y
        self, X: ArrayLike, y: ArrayLike, sample_weight: Any = None
    ) -> float:
        """Return the accuracy of `predict` on the given rows and labels."""
        check_is_fitted(self)
        labels: np.ndarray = column_or_1d(as_labels(y), warn=True)
        check_classification_targets(labels)
        if (labels.dtype.kind in "biuf") != (self.classes_.dtype.kind in "biuf"):
            raise ValueError(
                f"y contains labels such as {labels[0]!r}, but classes_ contains labels such as "
                f"{self.classes_[0]!r}: pass labels of the same type as in fit."
            )
        return float(super().score(X, labels, sample_weight))

    # -- samples ----------------------------------------------------------------------------------
    def sample(
        self,
        n_samples: int = 1,
        random_state: Any = None,
        *,
        y: Any = None,
        noise: bool = True,
        method: str = "prior",
        X: Any = None,
        given: Any = None,
        match_marginals: bool = False,
        return_y: bool = False,
    ) -> Any:
        """Sample new rows, of given labels or with the label frequencies of the training rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed of the samples; None gives different rows in each call.
        y : label, array-like of shape (n_samples,) or None, default=None
            Label of all rows, or of each row. None samples labels, or uses the most probable labels
            of the rows of `X` with ``method="posterior"``.
        noise : bool, default=True
            Whether to add the decoder's noise; False returns the decoder's means.
        method : {"prior", "posterior", "quantized"}, default="prior"
            How codes are sampled: see `VAE.sample`.
        X : array-like of shape (n_rows, n_features) or None, default=None
            Rows, used only with ``method="posterior"``.
        given : mapping, frame, array-like or None, default=None
            Values of some columns; the other columns, and the labels unless `y` is given, are
            sampled conditionally on them: see `VAE.sample`.
        match_marginals : bool, default=False
            Whether each column is to have its marginal distribution in the training rows: see
            `VAE.sample`. Cannot be combined with `y`.
        return_y : bool, default=False
            Whether to return the labels of the rows too.

        Returns
        -------
        X : table of shape (n_samples, n_features)
            Rows in the units of the training rows, in a table of the same format: see
            `inverse_transform`.
        y : ndarray of shape (n_samples,)
            Label of each row, only with ``return_y=True``.
        """
        check_is_fitted(self)
        n, seed = count_of(n_samples), seed_from(random_state)
        self._check_way(noise, method, given, match_marginals)
        if y is not None and match_marginals:
            raise ValueError("y cannot be combined with match_marginals=True.")
        labels = None if y is None else self._labels_of(y, n)
        if given is not None:
            drawn, labels = self._sample_with_labels(given, labels, n, seed)
            return (self._written(drawn), labels) if return_y else self._written(drawn)
        codes = self._codes_by(method, X, n, seed)
        if labels is None and method == "posterior":
            likely = self._most_likely(self._check_X(X))
            labels = likely[np.arange(n) % len(likely)]
        elif labels is None:
            random = np.random.RandomState(seed)
            labels = random.choice(self.classes_, n, p=self._class_prior())
        drawn = self._emit(
            lambda part, seed: self._joined(codes(part, seed), labels[part]), n, seed, noise
        )
        rows = self._written(self._match_marginals(drawn) if match_marginals else drawn)
        return (rows, labels) if return_y else rows

    def _labels_of(self, y: Any, n: int) -> np.ndarray:
        """One label for all of n rows, or one for each, as an array."""
        y = as_labels(y)
        labels: np.ndarray = np.full(n, y) if np.ndim(y) == 0 else column_or_1d(y)
        if len(labels) != n:
            raise ValueError(f"y has {len(labels)} labels, but n_samples={n}.")
        known: np.ndarray = self.classes_[self._labels(labels)]
        return known

    def _sample_with_labels(
        self, given: Any, labels: np.ndarray | None, n: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n, d) with some cells fixed, and their labels; what is not given is drawn."""
        chosen = np.empty(n, int) if labels is None else self._labels(labels)

        def draw(X: np.ndarray, part: slice, seed: int) -> np.ndarray:
            if labels is None:
                chosen[part] = self._draw_labels(X, 1, seed)[0]
            drawn: np.ndarray = self._draw_missing_given(X, chosen[None, part], seed)[0]
            return drawn

        return self._sample_given(given, n, seed, draw), self.classes_[chosen]
