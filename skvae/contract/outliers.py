"""Base class of outlier detectors: scores, a conformal threshold and p-values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from numbers import Real
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from ..tables.checks import Axes, Check, Flag, Number, Unset
from ..tables.source import ArraySource, Rows, RowSource
from . import alarms
from .blocks import in_blocks
from .density import BaseLatentModel
from .inputs import with_nan
from .learner import BaseLearner
from .map_rows import takes_sources
from .messages import warn
from .scikit_learn import OutlierMixin

_EXAMPLES = 1024  # largest number of training rows that are scored
_BLOCK = 65_536  # largest number of training rows of which all are scored
_CELL_FENCE = 1000.0  # of contributions of values: 30 standard deviations of a normal distribution
_LEAST_SCORE = -1e300


def _refuse_if_all_impossible(score: np.ndarray) -> None:
    if np.isneginf(score).all():
        raise ValueError(
            "all rows of X have density zero under the model: use a wider latent_density, or "
            "increase noise_variance if it is a number far below the variances of X."
        )


def have_cells(rows: Rows) -> np.ndarray:
    """Return which rows (n,) have an observed value; all rows if none has."""
    if rows.observed is None:
        return np.ones(len(rows), bool)
    seen = np.asarray(rows.observed.any(axis=1))
    return seen if seen.any() else ~seen


def _with_cells(rows: Rows) -> np.ndarray:
    """Return the rows (n, d) with observed values, or all rows if none has."""
    values = with_nan(rows)
    return values if rows.observed is None else values[have_cells(rows)]


class BaseDetector(OutlierMixin, BaseLearner):
    """Base class of outlier detectors with a score that is higher for more normal rows.

    Threshold and p-values are based on rows that were held out in the fit: see `alarms`.
    """

    contamination: float | str
    false_alarm_rate: float
    offset_: float
    calibration_scores_: np.ndarray
    _is_calibrated_: bool

    _fitted_attributes: ClassVar[dict[str, Check]] = {
        "offset_": Number(),
        "calibration_scores_": Axes(("m",)),
        "_is_calibrated_": Flag(),
    }
    _parameter_constraints: ClassVar[dict] = {
        **BaseLearner._parameter_constraints,
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
    }

    @abstractmethod
    def _comparable_score(self, X: np.ndarray) -> np.ndarray:
        """Return scores (n,) of rows (n, d) that are comparable whatever values are missing."""

    def _set_calibration(self, score: np.ndarray, unseen: bool) -> None:
        """Set the threshold from scores of held-out rows, or of training rows."""
        _refuse_if_all_impossible(score)
        score = np.sort(np.maximum(score, _LEAST_SCORE))
        self.offset_ = max(alarms.threshold(score, self.false_alarm_rate), _LEAST_SCORE)
        self.calibration_scores_, self._is_calibrated_ = score, unseen

    def _set_threshold(self, score: np.ndarray) -> None:
        """Set the threshold by the proportion `contamination`, given scores of training rows."""
        _refuse_if_all_impossible(score)
        score = np.maximum(score, _LEAST_SCORE)  # infinities cannot be interpolated
        self.offset_ = float(np.percentile(score, 100.0 * float(self.contamination)))

    @takes_sources
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Compute the decision function, `score_samples` minus `offset_`: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Signed distance of the score to the threshold.
        """
        found: np.ndarray = self._comparable_score(self._check_X(X)) - self.offset_
        return found

    @takes_sources
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict +1 for inliers and -1 for outliers.

        With ``contamination="auto"``, outliers are the rows whose p-value is at most
        `false_alarm_rate` (its value in `fit` or `calibrate`), if the fit has held out at least ``1
        / false_alarm_rate - 1`` rows. With fewer held-out rows the threshold is extrapolated from
        the tail of their scores, the rate is only approximate, and a warning is issued. If no rows
        were held out, training rows determine the threshold, and more new rows are flagged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            +1 or -1.
        """
        labels = np.where(self.decision_function(X) < 0, -1, 1)
        n, rate = len(self.calibration_scores_), self.false_alarm_rate
        if isinstance(self.contamination, str) and not alarms.n_alarms(n, rate):
            warn(
                f"{n} held-out rows are too few for the threshold of false_alarm_rate={rate:g}, "
                f"which needs {alarms.least_rows(rate)}: the threshold is extrapolated and the "
                "rate is only approximate. Fit on more rows, call calibrate with new rows, or set "
                f"false_alarm_rate to at least {np.ceil(1000.0 / (n + 1)) / 1000.0:g}."
            )
        return labels

    def calibrate(self, X: ArrayLike) -> Self:
        """Set the threshold `offset_` and the reference scores of `p_values` from these rows.

        The threshold is set for the rate `false_alarm_rate`. Use rows without outliers that were
        not used in training and have the distribution of future rows. `fit` calibrates with the
        rows that it holds out. Call this method after `partial_fit`, or if the distribution of the
        rows has changed. A further `partial_fit` resets the calibration. `contamination` is
        ignored.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        self : object
        """
        score = self._comparable_score(_with_cells(ArraySource(self._check_X(X)).take(slice(None))))
        self._set_calibration(score, True)
        return self

    @takes_sources
    def p_values(self, X: ArrayLike) -> np.ndarray:
        r"""Compute conformal p-values: how often normal rows have a score as low as these rows.

        .. math:: p(x) = \frac{1 + \#\{i : c_i \le s(x)\}}{m + 1}

        with s(x) the score used by `decision_function` and c_i the scores of m rows that were not
        used in training, `calibration_scores_`. For a new row exchangeable with these rows, as
        normal rows are if no outliers were held out, the probability of ``p <= a`` is at most a,
        for all a, m and models [1]_. This is the probability over new rows and held-out rows
        together: all p-values of one model share the held-out rows. The guarantee is exact after
        `calibrate` and approximate after `fit`, where each held-out row is scored by a model that
        differs slightly from the one used for new rows: most models set the noise without this row;
        `PPCA` is fitted without it; `DenoisingDetector` is fitted again to all rows if there are at
        most 1000.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        p : ndarray of shape (n_samples,)
            p-values between ``1 / (m + 1)`` and 1; low values indicate outliers.

        Raises
        ------
        ValueError
            If no rows were held out in the fit and `calibrate` was not called.

        Notes
        -----
        Early stopping uses the held-out rows, and a warm start with other rows may have trained on
        them. Their scores are then too high, and the p-values of new rows too low: call `calibrate`
        with other rows to correct this.

        For many rows, ``scipy.stats.false_discovery_control(p) <= 0.1`` selects outliers with a
        false discovery rate of at most 0.1 (Benjamini and Hochberg; [1]_ shows that this is valid
        for these p-values). It needs a large m: of N rows, i rows with the lowest p-value ``1 / (m
        + 1)`` are selected if this value is at most ``0.1 i / N``.

        References
        ----------
        .. [1] S. Bates, E. Candes, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with
           conformal p-values", Annals of Statistics 51(1), 2023, arXiv:2104.08279.
        """
        rows = self._check_X(X)
        if not self._is_calibrated_:
            raise ValueError(
                f"{type(self).__name__} has used all its rows in training, so that p-values would "
                "be too low: call calibrate(X) with other rows without outliers first, or call fit "
                "(not partial_fit) with at least 20 rows, some of which are then held out."
            )
        return alarms.p_values(self._comparable_score(rows), self.calibration_scores_)


class BaseAutoencoder(BaseDetector, BaseLatentModel):
    """Latent variable model that detects outliers by their log-density.

    The score of a row with missing values has fewer terms than that of a complete row. For models
    that accept such rows, `decision_function` adds the mean contribution of the column in training
    for each missing value, so that one threshold can be used for all rows.
    """

    _cell_scores_: np.ndarray

    _fitted_attributes: ClassVar[dict[str, Check]] = {"_cell_scores_": Unset(Axes(("d",)))}
    _parameter_constraints: ClassVar[dict] = {
        **BaseLatentModel._parameter_constraints,
        **BaseDetector._parameter_constraints,
    }

    def _finish(
        self, source: RowSource, unseen: Iterable[tuple[BaseAutoencoder, RowSource]] = ()
    ) -> None:
        """Set the threshold, and the reference scores of p-values."""
        some = _with_cells(source.some(_EXAMPLES))
        score = self._score_and_learn_cells(some)
        fresh = [
            model._scores(rows)[0] + self._missing_allowance(rows)
            for model, part in unseen
            for rows in [_with_cells(part.take(slice(None)))]
        ]
        self._set_calibration(np.concatenate(fresh) if fresh else score, bool(fresh))
        if not isinstance(self.contamination, str):
            parts = (_with_cells(rows) for rows in source.blocks(_BLOCK))
            self._set_threshold(np.concatenate([self._comparable_score(rows) for rows in parts]))

    def _score_and_learn_cells(self, rows: np.ndarray) -> np.ndarray:
        """Return scores (n,) of training rows, and learn the mean contributions of columns."""
        if not self._takes_missing:
            return self._comparable_score(rows)
        scores = self._log_density(rows, parts=True)
        counts = ~np.isnan(rows) & np.isfinite(scores.reconstruction)
        each = np.where(counts, scores.reconstruction, np.nan)
        each[:, ~counts.any(axis=0)] = 0.0
        low, median = np.nanpercentile(each, [25, 50], axis=0)
        each[each < median - _CELL_FENCE * (median - low)] = np.nan  # extreme values are clipped
        self._cell_scores_ = np.nanmean(each, axis=0)
        found: np.ndarray = scores.score + self._missing_allowance(rows)
        return found

    def _missing_allowance(self, X: np.ndarray) -> np.ndarray | float:
        """Return what `decision_function` adds for the missing values of rows (n, d), (n,)."""
        if not self._takes_missing:
            return 0.0

        def allowance(part: slice) -> tuple[np.ndarray]:
            missing = np.isnan(X[part])
            if not missing.any():
                return (np.zeros(len(missing)),)
            return (np.where(missing, self._cell_scores_, 0.0).sum(axis=1),)

        return in_blocks(allowance, *X.shape)[0]

    def _comparable_score(self, X: np.ndarray) -> np.ndarray:
        """Return log-densities (n,) of rows, adjusted for missing values."""
        return self._scores(X)[0] + self._missing_allowance(X)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Compute the decision function in nats: negative for outliers.

        The result is `score_samples` minus `offset_`. For each missing value of a row, the mean
        contribution of the column to the score (see `score_features`) over training rows with an
        observed value is added, so that missing values count neither for nor against the row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Signed distance of the score to the threshold.
        """
        return super().decision_function(X)
