"""Generators part of whose code is read off their rows by an encoder."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval

from ..base import BaseEncoder
from ..likelihoods import InfoHead
from ..model import Conditional, Model
from ..priors import InfoPrior, Prior
from .generator import BaseNeuralGenerator
from .layers import Layers


class BaseInformative(BaseNeuralGenerator, BaseEncoder):
    """A generator of normal noise and c: a category, one-hot, and numbers uniform on [-1, 1]."""

    _architecture: ClassVar[tuple[str, ...]] = ("n_categories", "n_continuous")
    _parameter_constraints: ClassVar[dict] = {
        "n_categories": [Interval(Integral, 0, None, closed="left")],
        "n_continuous": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, n_components="auto", *, n_categories=10, n_continuous=2, **parameters):
        super().__init__(n_components, **parameters)
        self.n_categories = n_categories
        self.n_continuous = n_continuous

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.n_categories + self.n_continuous == 0:
            raise ValueError("n_categories and n_continuous must not both be 0.")

    def _prior(self, k: int, layers: Layers, generator: torch.Generator, model: Model) -> Prior:
        return InfoPrior(k, self._spec["n_categories"], self._spec["n_continuous"])

    def _code_width(self, k: int) -> int:
        return k + self._spec["n_categories"] + self._spec["n_continuous"]

    def _build_encoder(
        self, k: int, layers: Layers, generator: torch.Generator, seed: int
    ) -> Conditional:
        head = InfoHead(self._spec["n_categories"], self._spec["n_continuous"])
        return Conditional(layers.from_rows(head.width), head)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """C as the encoder reads it: probabilities of the categories, then the numbers' means.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the units of the training rows.

        Returns
        -------
        C : ndarray of shape (n_samples, n_categories + n_continuous)
            Of the dtype of X.
        """
        return super().transform(X)

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return self._apply(lambda m, x: (m.encoder(x).mean,), X, self.module_.chunk)[0]

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Mean rows of whole codes, or of c with the noise at its mean, 0."""
        if Z.shape[1] == self._n_codes:
            Z = np.hstack([np.zeros((len(Z), self.n_components_), Z.dtype), Z])
        return super()._decode(Z)

    @property
    def _n_codes(self) -> int:
        return self._code_width(0)
