"""Variational autoencoders of rows given labels: samples of a class, and a classifier by Bayes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..base import Scores, count_of, seed_from
from .variational import BaseVariational


class BaseConditional(ClassifierMixin, BaseVariational):
    """A model of p(x | y): encoder and decoder see the label y, one-hot, after row and code.

    Without a label, p(y | x) stands in by Bayes' rule, from log p(x | y) and the frequencies of
    the labels.
    """

    # -- labels ---------------------------------------------------------------------------------
    def _check_training(
        self,
        X: ArrayLike,
        y: Any,
        first: bool,
        classes: ArrayLike | None = None,
        adding: bool = False,
    ) -> np.ndarray:
        rows, y = validate_data(
            self,
            self._flatten(X, first),
            y,
            dtype=[np.float64, np.float32],
            reset=first,
            ensure_min_samples=2,
        )
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes} are not those of the first call, {self.classes_}.")
        counts = np.bincount(self._labels(y), minlength=len(self.classes_)).astype(float)
        adds = adding and not first
        self.class_count_: np.ndarray = counts + self.class_count_ if adds else counts
        return self._joined(rows, y)

    def _labels(self, y: np.ndarray) -> np.ndarray:
        """Index of each label in `classes_`."""
        found = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = np.asarray(self.classes_[found] != y)
        if unknown.any():
            raise ValueError(
                f"y holds labels that are not in classes_: {np.unique(np.asarray(y)[unknown])}."
            )
        return found

    def _joined(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Rows or codes and the one-hot labels they are conditioned on, side by side."""
        return np.hstack([X, np.eye(len(self.classes_), dtype=X.dtype)[self._labels(y)]])

    def _without_context(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        d = self.n_features_in_
        return {"X": rows[:, :d], "y": self.classes_[rows[:, d:].argmax(axis=1)]}

    def _with_each_class(self, X: np.ndarray) -> Iterator[np.ndarray]:
        for label in self.classes_:
            yield self._joined(X, np.full(len(X), label))

    def partial_fit(self, X: ArrayLike, y: Any, classes: ArrayLike | None = None):
        """Train for one epoch on these rows at a constant rate, going on from where it stands.

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
        self._validate_params()
        first = not hasattr(self, "module_")
        self._partial_fit(self._check_training(X, y, first, classes, adding=True), first)
        return self

    # -- a classifier ---------------------------------------------------------------------------
    def _each_density(self, X: np.ndarray, parts: bool) -> list[Scores]:
        """Log p(x | y) for each label."""
        return [
            super(BaseConditional, self)._log_density(r, parts) for r in self._with_each_class(X)
        ]

    def _log_joint(self, X: np.ndarray, each: list[Scores] | None = None) -> np.ndarray:
        """Log p(x, y) (n, n_classes)."""
        each = self._each_density(X, parts=False) if each is None else each
        with np.errstate(divide="ignore"):  # classes that no row had
            return np.stack([s.score for s in each], 1) + np.log(self._class_prior())

    def _class_prior(self) -> np.ndarray:
        return self.class_count_ / self.class_count_.sum()

    def _most_likely(self, X: np.ndarray) -> np.ndarray:
        """The label with the highest p(y | x), for each row."""
        best = self._log_joint(X).argmax(axis=1)
        return self.classes_[best]

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of `predict_proba`."""
        joint = self._log_joint(self._check_X(X))
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """p(y | x) by Bayes' rule, from log p(x | y) and the frequencies of the labels.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The label with the highest p(y | x)."""
        return self._most_likely(self._check_X(X))

    # -- rows without labels ----------------------------------------------------------------------
    def _inferred(self, X: np.ndarray) -> np.ndarray:
        """Rows with the labels that they most likely have."""
        return self._joined(X, self._most_likely(X))

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return super()._encode(self._inferred(X))

    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return super()._posterior(self._inferred(X))

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        rows = self._inferred(X)
        labels = rows[:, X.shape[1] :]
        return super()._decode(np.hstack([super()._encode(rows), labels]))

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Mean rows of codes: given the labels after them, or else averaged over p(y)."""
        if Z.shape[1] > self.n_components_:
            return super()._decode(Z)
        rows = (super(BaseConditional, self)._decode(z) for z in self._with_each_class(Z))
        return sum(s * r for s, r in zip(self._class_prior(), rows, strict=True)).astype(Z.dtype)

    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        """Log p(x) = log sum_y p(y) p(x | y), its parts as means over p(y | x)."""
        each = self._each_density(X, parts)
        joint = self._log_joint(X, each)
        score, share = logsumexp(joint, axis=1), softmax(joint, axis=1)
        std = np.sqrt(sum((w * s.std) ** 2 for w, s in zip(share.T, each, strict=True)))
        size = sum(w * s.effective_sample_size for w, s in zip(share.T, each, strict=True))
        if not parts:
            return Scores(score, each[0].latent, each[0].reconstruction, std, size)
        shares = zip(share.T, each, strict=True)
        reconstruction = sum(w[:, None] * s.reconstruction for w, s in shares)
        return Scores(score, score - reconstruction.sum(1), reconstruction, std, size)

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
    ) -> np.ndarray:
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

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training rows.
        """
        check_is_fitted(self)
        n, seed = count_of(n_samples), seed_from(random_state)
        Z = self._sample_codes(n, seed, method, X)
        if y is not None:
            labels = np.full(n, y) if np.ndim(y) == 0 else column_or_1d(y)
            if len(labels) != n:
                raise ValueError(f"y holds {len(labels)} labels, but n_samples={n}.")
        elif method == "posterior":
            given = self._most_likely(self._check_X(X))
            labels = given[np.arange(n) % len(given)]
        else:
            random = np.random.RandomState(seed)
            labels = random.choice(self.classes_, n, p=self._class_prior())
        return self._emit(self._joined(Z, labels), seed, noise)
