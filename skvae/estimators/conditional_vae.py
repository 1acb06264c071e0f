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

_FAR = 1e6  # nats below which the logarithm of a sum loses digits


class LabelMixture(LearnedModel):
    """A model of rows given labels, and so of rows: a mixture over the labels."""

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
            raise ValueError("classes_ are not sorted, or no row had any of them")

    def _labels(self, y: np.ndarray) -> np.ndarray:
        """Index of each label in `classes_`."""
        found = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = np.asarray(self.classes_[found] != y)
        if unknown.any():
            raise ValueError(
                f"y holds labels that are not in classes_: {np.unique(np.asarray(y)[unknown])}."
            )
        return found

    def _one_hot(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """Labels (n,) as rows (n, n_classes) of zeros and a one."""
        found: np.ndarray = np.eye(len(self.classes_), dtype=dtype)[self._labels(y)]
        return found

    def _given(self, X: np.ndarray, y: np.ndarray) -> RowSource:
        """Rows with the labels they are conditioned on."""
        return ArraySource(X, self._one_hot(y, X.dtype))

    def _joined(self, Z: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Codes with labels in columns after them."""
        return np.hstack([Z, self._one_hot(y, Z.dtype)])

    def _each_density(self, X: np.ndarray, parts: bool) -> list[Scores]:
        """Log p(x | y) for each label."""
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
        """Log p(x, y) (n, n_classes) whose softmax is p(y | x), of rows that are far away too.

        Where no label gives a row a density it says nothing: p(y | x) is p(y).
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
        """The label with the highest p(y | x), for each row."""
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
        """Mean rows of codes: given the labels after them, or else averaged over p(y)."""
        if Z.shape[1] > self.n_components_:
            return self._predictor_.decode(Z)
        decoded = (
            self._predictor_.decode(self._joined(Z, np.full(len(Z), label)))
            for label in self.classes_
        )
        share = np.broadcast_to(self._class_prior(), (len(Z), len(self.classes_)))
        return self._averaged(decoded, share).astype(Z.dtype)

    def _averaged(self, each: Iterable[np.ndarray], share: np.ndarray) -> np.ndarray:
        """Rows (n, d) of all labels, weighed by shares (n, n_classes); of labels in X the mode."""
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
        """Numbers (n_draws, n) of labels drawn from p(y | observed cells)."""
        log_proba = self._log_proba(X)
        noise = np.random.RandomState(seed).gumbel(size=(n_draws, *log_proba.shape))
        drawn: np.ndarray = (log_proba + noise).argmax(axis=-1)
        return drawn

    def _draw_missing_given(self, X: np.ndarray, chosen: np.ndarray, seed: int) -> np.ndarray:
        """Rows (n_draws, n, d) with their missing cells drawn, given numbers of labels."""
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
        """Log p(x) = log sum_y p(y) p(x | y), its parts as means over p(y | x)."""
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
    """Conditional variational autoencoder (Sohn et al. 2015): rows given labels, and a classifier.

    Minimises the mean over rows of ``-E_q[log p(x | z, y)] + beta KL(q(z | x, y) || p(z))``, the
    negative evidence lower bound of log p(x | y); y enters both networks one-hot.

    - ``sample(n, y=...)`` draws rows of a label.
    - `predict` and `predict_proba` are Bayes' rule, ``p(y | x) = p(y) p(x | y) / p(x)``;
      `score` is the accuracy.
    - `score_samples` is ``log p(x) = log sum_y p(y) p(x | y)``.
    - `transform`, `posterior` and `reconstruct` take the label that a row most likely has;
      `inverse_transform` knows no row and averages the decoder's means over p(y).

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    beta : float, default=1.0
        Weight of the KL term.
    kl_warmup : float, default=0.0
        Share of the training over which that weight grows linearly from zero.
    free_bits : float, default=0.0
        Nats that each code coordinate may carry at no cost (Kingma et al. 2016).
    prior : {"normal", "mixture", "vamp", "flow", "implicit"}, default="normal"
        p(z): N(0, I); a learned mixture of `prior_size` normals with diagonal covariances; the
        encoder's posteriors at `prior_size` learned pseudo-inputs (Tomczak & Welling 2018); N(0, I)
        through a masked autoregressive flow (Papamakarios et al. 2017; needs the extra "flows"); or
        the aggregated posterior itself, by a network for its density ratio to N(0, I) (Takahashi et
        al. 2019).
        With "normal", where a table is fitted for its density (see ``noise_variance="network"``),
        ``latent_density="auto"`` is N(0, I) or a Gaussian mixture of 1, 2, 4, 8 or 16 components,
        as held-out rows are likeliest. Without such rows, and on other tables with labels, it is
        the mixture with the best BIC.
    prior_size : int, default=50
        Components of the "mixture" prior or pseudo-inputs of the "vamp" prior.
    posterior_family : {"normal", "iaf"}, default="normal"
        q(z | x): independent normal coordinates, or those through an inverse autoregressive flow
        that depends on the row (Kingma et al. 2016; needs the extra "flows").
    n_draws : int or "auto", default="auto"
        Draws of the code of each row in a step. "auto" is 5 where ``bound="auto"`` takes the bound
        by importance weights, and 1 otherwise.
    bound : {"auto", "elbo", "importance_weighted"}, default="auto"
        What is maximised: the evidence lower bound, its mean over the draws, or the bound by
        importance weights of all draws together (Burda et al. 2016), tighter the more there are.
        "auto" is "importance_weighted" where columns hold labels or cells are missing, if `beta`,
        `kl_warmup`, `free_bits` and `prior` allow it, and "elbo" otherwise.
    likelihood : {"auto", "gaussian", "bounded_gaussian", "bernoulli"}, default="auto"
        p(x | z). "gaussian" standardises each feature by its own mean and standard deviation.
        "bounded_gaussian" is for X in [0, 1]: a sigmoid bounds the mean, and all features share one
        scale. "bernoulli" is for X in [0, 1] too, and `score_samples` is then a log-probability.
        "auto" is "bounded_gaussian" where all of X lies in [0, 1] and is known to be images, or has
        at least 64 features, and "gaussian" otherwise. Features of images share one scale in any
        case.
    noise_variance : {"auto", "feature", "scalar", "network"} or float, default="auto"
        Variance of the Gaussian likelihood: one learned per feature, one learned for all features,
        an output of the decoder, or this fixed variance in squared units of X. "auto" is "scalar"
        with a bounded mean and for images, "network" where columns hold labels or cells are
        missing and the loss knows the noise, and "feature" otherwise.
    encoder : torch.nn.Module, callable or None, default=None
        A network of your own, on standardised rows: a module, which is copied and trained from its
        present weights, or a factory ``f(in_features, out_features)`` that returns one; for images
        let it begin with ``nn.Unflatten(1, image_shape)`` (the encoder of a ConditionalVAE gets the
        one-hot label after the pixels). None builds fully connected layers, or convolutions for
        images. Dropout in it draws from torch's global generator, which no seed of ours reaches.
    decoder : torch.nn.Module, callable or None, default=None
        A network of your own from codes to outputs of the likelihood on standardised rows, a module
        or a factory ``f(in_features, out_features)``. None builds fully connected layers, or
        convolutions for images.
    latent_density : "auto", None or estimator, default="auto"
        Density fitted on standardised codes after training (draws of q(z | x) where the encoder is
        random); it replaces the prior in `sample` and `score_samples` and is kept in
        `latent_density_`. Any estimator with `fit`, `sample` and `score_samples` will do: a
        GaussianMixture, a KernelDensity, another estimator of this package. "auto" is what the
        method stands for, None keeps the prior of training.
    n_importance_samples : int, default=16
        Draws in the estimate of log p(x). With 1 it is a single weight at the posterior's mode: the
        fastest, but of unknown error.
    hidden_layer_sizes : int or tuple of int, default=(128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` is a linear model.
    image_shape : (channels, height, width) or None, default=None
        Shape of the images that rows are, flattened in this order: encoder and decoder are then
        convolutional. None takes it from X in `fit` where that has four dimensions (n, channels,
        height, width), and else rows are no images. Whatever the input, what comes out are rows.
    network : NetworkOptions or None, default=None
        Rare settings of the networks: activation, linear skip, convolutions. `set_params` and grid
        searches reach them as ``network__activation``, say.
    learning_rate_init : float or "auto", default="auto"
        Peak rate of Adam: it is approached over the first tenth of the steps and falls linearly to
        zero. "auto" is 0.006 for at most one hidden layer with a linear skip and 0.002 otherwise
        (0.003 for MaskAAE; where all hidden layers have less than 64 units 0.01 for GAN and 0.005
        for InfoGAN).
    batch_size : int or "auto", default="auto"
        Rows in a step; "auto" is ``min(128, n_samples)``.
    max_iter : int or None, default=None
        Epochs. None sets a budget in steps: 10 epochs, or 20 where columns hold labels or cells are
        missing, but at least 1500 and at most 10,000 steps, and one epoch in any case.
    early_stopping : bool or "auto", default="auto"
        Whether to stop when held-out rows no longer gain, and keep the best weights. "auto" is True
        where rows are held out and a VAE or ConditionalVAE fits a table for its density, with noise
        of the network; what counts is then their log-density. It is False otherwise, and their loss
        counts.
    training : TrainingOptions or None, default=None
        Rare settings of the training: L2 penalty, gradient clipping, number format, held-out rows,
        patience. `set_params` and grid searches reach them as ``training__alpha``, say.
    table : TableOptions or None, default=None
        What the columns of X are, and how they are learned: kinds, labels that are new, marginals,
        cells that training hides. `set_params` and grid searches reach them as
        ``table__marginals``, say.
    device : str, default="auto"
        A torch device; "auto" is CUDA where there is one and the CPU otherwise.
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights and optimiser state.
    verbose : int, default=0
        1 shows a progress line.
    random_state : int, RandomState or None, default=None
        Seed; the same seed gives the same model.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    class_count_ : ndarray of shape (n_classes,)
        Rows of each label in training.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The model, on standardised rows with one-hot labels in columns after the features.

    See Also
    --------
    VAE : The same without labels.
    attribute_directions : Labels as directions in the codes of any model.

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
            raise ValueError(f"classes={classes} are not those of the first call, {self.classes_}.")
        counts = np.bincount(self._labels(y), weights, len(self.classes_)).astype(float)
        if weights is not None:
            counts *= n_counted(weights) / weights.sum()
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
        """Train for one epoch on these rows at a constant rate, going on from where it stands.

        What the first call fixes, what is computed later, and what happens to wild cells and at
        rates that are too high is said at `VAE.partial_fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like or None, default=None
            All labels that will ever come, for the first call; None for those of this `y`.

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
        """Logarithms of `predict_proba`."""
        rows = self._check_X(X)
        return self._in_blocks(lambda part: (self._log_proba(rows[part]),), len(rows))[0]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """p(y | x) by Bayes' rule, from log p(x | y) and the frequencies of the labels.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        found: np.ndarray = np.exp(self.predict_log_proba(X))
        return found

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The label with the highest p(y | x)."""
        return self._most_likely(self._check_X(X))

    def score(  # type: ignore[override]  # a classifier's needs y
        self, X: ArrayLike, y: ArrayLike, sample_weight: Any = None
    ) -> float:
        """Share of the rows whose label `predict` finds."""
        check_is_fitted(self)
        labels: np.ndarray = column_or_1d(as_labels(y), warn=True)
        check_classification_targets(labels)
        if (labels.dtype.kind in "biuf") != (self.classes_.dtype.kind in "biuf"):
            raise ValueError(
                f"y holds labels such as {labels[0]!r}, and classes_ such as {self.classes_[0]!r}: "
                "hand in labels as they were in fit."
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
        """Draw new rows, of given labels or of labels as frequent as in training.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed of the draws; None gives different rows at every call.
        y : label, array-like of shape (n_samples,) or None, default=None
            Label of all rows, or of each. None draws labels, or with ``method="posterior"`` takes
            those that the rows of `X` most likely have.
        noise : bool, default=True
            Whether to add the decoder's noise; False returns its means.
        method : {"prior", "posterior", "quantized"}, default="prior"
            Where codes come from: see `VAE.sample`.
        X : array-like of shape (n_rows, n_features) or None, default=None
            Rows, for ``method="posterior"`` only.
        given : mapping, frame, array-like or None, default=None
            Values of some columns, given which the others are drawn, and the label unless `y`
            gives it: see `VAE.sample`.
        match_marginals : bool, default=False
            Whether to give each column the distribution that it has in training: see
            `VAE.sample`. Not beside `y`.
        return_y : bool, default=False
            Whether to return the labels of the rows, too.

        Returns
        -------
        X : table of shape (n_samples, n_features)
            Rows in the units of the training rows, in a table like theirs: see
            `inverse_transform`.
        y : ndarray of shape (n_samples,)
            Label of each row, only with ``return_y=True``.
        """
        check_is_fitted(self)
        n, seed = count_of(n_samples), seed_from(random_state)
        self._check_way(noise, method, given, match_marginals)
        if y is not None and match_marginals:
            raise ValueError("y does not go with match_marginals=True.")
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
            raise ValueError(f"y holds {len(labels)} labels, but n_samples={n}.")
        return self.classes_[self._labels(labels)]

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
