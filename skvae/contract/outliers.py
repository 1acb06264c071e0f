"""The contract of a detector: outliers by their log-density."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from ..tables.source import RowSource
from .density import BaseLatentModel
from .scikit_learn import OutlierMixin

_AUTO_OFFSET_ROWS = 1024  # rows that set an automatic threshold
_LEAST_FRESH_ROWS, _PRIOR_ROWS = 10, 10
_FENCE = 4.5  # lower half-spreads below the median: about 1 % of chi-square-like scores
_LEAST_SCORE = -1e300


def _refuse_if_all_impossible(score: np.ndarray) -> None:
    if np.isneginf(score).all():
        raise ValueError(
            "the model gives all rows of X probability 0: widen latent_density, or noise_variance "
            "where it is a number far below the variances of X."
        )


class BaseAutoencoder(OutlierMixin, BaseLatentModel):
    """A latent model that tells outliers by their log-density."""

    contamination: float | str
    offset_: float

    _parameter_constraints: ClassVar[dict] = {
        **BaseLatentModel._parameter_constraints,
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    def _finish(self, source: RowSource, held_out: RowSource | None) -> None:
        """Set the threshold; an automatic one lies where rows not trained on are, if there are any.

        A quartile of few rows is rough: their spread counts beside that of `_PRIOR_ROWS` training
        rows.
        """
        if not isinstance(self.contamination, str):
            score = self._log_density(source.take(slice(None)).values, parts=False).score
            _refuse_if_all_impossible(score)
            score = np.maximum(score, _LEAST_SCORE)  # infinities cannot be interpolated
            self.offset_ = float(np.percentile(score, 100.0 * self.contamination))
            return
        median, spread = self._median_and_lower_spread(source)
        if held_out is not None and held_out.n_rows >= _LEAST_FRESH_ROWS:
            share = held_out.n_rows / (held_out.n_rows + _PRIOR_ROWS)
            median, fresh = self._median_and_lower_spread(held_out)
            spread += share * (fresh - spread)
        self.offset_ = float(median - _FENCE * spread)

    def _median_and_lower_spread(self, source: RowSource) -> tuple[float, float]:
        rows = source.some(_AUTO_OFFSET_ROWS)
        score = self._log_density(rows.values, parts=False).score
        _refuse_if_all_impossible(score)
        score = score[~np.isneginf(score)]  # a density of codes may have an end
        low, median = np.percentile(score, [25, 50])
        return median, median - low

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """`score_samples` less the threshold `offset_`: negative for outliers."""
        found: np.ndarray = self.score_samples(X) - self.offset_
        return found

    def predict(self, X: ArrayLike) -> np.ndarray:
        """+1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)
