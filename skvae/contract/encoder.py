"""Base class of estimators with an encoder."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .generator import BaseGenerator
from .map_rows import takes_sources
from .scikit_learn import ClassNamePrefixFeaturesOutMixin, TransformerMixin


class BaseEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseGenerator):
    """Generative model with an encoder from rows to codes."""

    @abstractmethod
    def _encode(self, X: np.ndarray) -> np.ndarray:
        """Return codes (n, k) of rows (n, d): the posterior mean."""

    @takes_sources
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Encode rows: compute the posterior mean of the codes z given x.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the units of the training rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Codes, deterministic, with the dtype of X.
        """
        rows = self._check_X(X)
        return self._in_blocks(lambda part: (self._encode(rows[part]),), len(rows))[0]

    @property
    def _n_features_out(self) -> int:
        return self._n_codes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
