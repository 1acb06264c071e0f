"""The contract of a detector: outliers by their log-density."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from ..tables.checks import Axes, Check, Number, Unset
from ..tables.source import Rows, RowSource
from .blocks import in_blocks
from .density import BaseLatentModel
from .inputs import with_nan
from .scikit_learn import OutlierMixin

_AUTO_OFFSET_ROWS = 1024  # rows that set an automatic threshold
_LEAST_FRESH_ROWS, _PRIOR_ROWS = 10, 10
_FENCE = 4.5  # lower half-spreads below the median: about 1 % of chi-square-like scores
_CELL_FENCE = 1000.0  # of scores of cells: 30 standard deviations of a normal one
_LEAST_SCORE = -1e300


def _refuse_if_all_impossible(score: np.ndarray) -> None:
    if np.isneginf(score).all():
        raise ValueError(
            "the model gives all rows of X probability 0: widen latent_density, or noise_variance "
            "where it is a number far below the variances of X."
        )


def _median_and_lower_spread(score: np.ndarray) -> tuple[float, float]:
    _refuse_if_all_impossible(score)
    score = score[~np.isneginf(score)]  # a density of codes may have an end
    low, median = np.percentile(score, [25, 50])
    return median, median - low


def _with_cells(rows: Rows) -> np.ndarray:
    """Values of rows (n, d) that have any, unless none has: those without have the score 0."""
    values = with_nan(rows)
    if rows.observed is None:
        return values
    seen = rows.observed.any(axis=1)
    return values[seen] if seen.any() else values


class BaseAutoencoder(OutlierMixin, BaseLatentModel):
    """A latent model that tells outliers by their log-density.

    The score of a row with missing cells has fewer terms than that of a complete one. Where the
    model takes such rows, `decision_function` adds for each missing cell what the column usually
    adds to the score, in training, so that one threshold does for all rows.
    """

    contamination: float | str
    offset_: float
    _cell_scores_: np.ndarray

    _fitted_attributes: ClassVar[dict[str, Check]] = {
        "offset_": Number(),
        "_cell_scores_": Unset(Axes(("d",))),
    }
    _parameter_constraints: ClassVar[dict] = {
        **BaseLatentModel._parameter_constraints,
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    def _finish(self, source: RowSource, held_out: RowSource | None) -> None:
        """Set the threshold; an automatic one lies where rows not trained on are, if there are any.

        A quartile of few rows is rough: their spread counts beside that of `_PRIOR_ROWS` training
        rows.
        """
        some = _with_cells(source.some(_AUTO_OFFSET_ROWS))
        if not isinstance(self.contamination, str):
            if self._takes_missing:
                self._score_and_learn_cells(some)
            score = self._comparable_score(_with_cells(source.take(slice(None))))
            _refuse_if_all_impossible(score)
            score = np.maximum(score, _LEAST_SCORE)  # infinities cannot be interpolated
            self.offset_ = float(np.percentile(score, 100.0 * self.contamination))
            return
        score = self._score_and_learn_cells(some)
        median, spread = _median_and_lower_spread(score)
        if held_out is not None and held_out.n_rows >= _LEAST_FRESH_ROWS:
            share = held_out.n_rows / (held_out.n_rows + _PRIOR_ROWS)
            rows = _with_cells(held_out.some(_AUTO_OFFSET_ROWS))
            median, fresh = _median_and_lower_spread(self._comparable_score(rows))
            spread += share * (fresh - spread)
        self.offset_ = float(median - _FENCE * spread)

    def _score_and_learn_cells(self, rows: np.ndarray) -> np.ndarray:
        """Scores (n,) of training rows, from which follows what a missing cell counts."""
        if not self._takes_missing:
            return self._comparable_score(rows)
        scores = self._log_density(rows, parts=True)
        counts = ~np.isnan(rows) & np.isfinite(scores.reconstruction)
        each = np.where(counts, scores.reconstruction, np.nan)
        each[:, ~counts.any(axis=0)] = 0.0
        low, median = np.nanpercentile(each, [25, 50], axis=0)
        each[each < median - _CELL_FENCE * (median - low)] = np.nan  # a wild cell tells nothing
        self._cell_scores_ = np.nanmean(each, axis=0)
        found: np.ndarray = scores.score + self._missing_allowance(rows)
        return found

    def _missing_allowance(self, X: np.ndarray) -> np.ndarray | float:
        """What rows (n, d) are to be given for their missing cells in `decision_function`, (n,)."""
        if not self._takes_missing:
            return 0.0

        def allowance(part: slice) -> tuple[np.ndarray]:
            missing = np.isnan(X[part])
            if not missing.any():
                return (np.zeros(len(missing)),)
            return (np.where(missing, self._cell_scores_, 0.0).sum(axis=1),)

        return in_blocks(allowance, *X.shape)[0]

    def _comparable_score(self, X: np.ndarray) -> np.ndarray:
        """Log-densities (n,) of rows with what is added for missing cells."""
        return self._scores(X)[0] + self._missing_allowance(X)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """How far rows are from the threshold in nats: negative for outliers.

        That is `score_samples` less `offset_`. For each missing cell of a row, where there are
        such, the mean of the column's share of the score (see `score_features`) over training
        rows that have the cell is added: what is missing neither speaks for the row nor against it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
        """
        found: np.ndarray = self._comparable_score(self._check_X(X)) - self.offset_
        return found

    def predict(self, X: ArrayLike) -> np.ndarray:
        """+1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)
