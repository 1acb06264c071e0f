"""The contract of a detector: outliers by a score, a threshold that keeps its word, p-values."""

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

_EXAMPLES = 1024  # training rows that are scored
_BLOCK = 65_536  # of all of them, where their scores are asked for
_CELL_FENCE = 1000.0  # of scores of cells: 30 standard deviations of a normal one
_LEAST_SCORE = -1e300


def _refuse_if_all_impossible(score: np.ndarray) -> None:
    if np.isneginf(score).all():
        raise ValueError(
            "the model gives all rows of X probability 0: widen latent_density, or noise_variance "
            "where it is a number far below the variances of X."
        )


def have_cells(rows: Rows) -> np.ndarray:
    """Which rows (n,) have any cell; all of them where none has."""
    if rows.observed is None:
        return np.ones(len(rows), bool)
    seen = np.asarray(rows.observed.any(axis=1))
    return seen if seen.any() else ~seen


def _with_cells(rows: Rows) -> np.ndarray:
    """Values of rows (n, d) that have any, unless none has: those without have the score 0."""
    values = with_nan(rows)
    return values if rows.observed is None else values[have_cells(rows)]


class BaseDetector(OutlierMixin, BaseLearner):
    """An estimator that tells outliers by a score of rows, higher for more normal ones.

    Its threshold, and its p-values, are those of rows that the fit held out: see `alarms`.
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
        """Scores (n,) of rows (n, d) that one threshold does for, whatever cells are missing."""

    def _set_calibration(self, score: np.ndarray, unseen: bool) -> None:
        """Set the threshold from scores of rows, which the model has not seen or has."""
        _refuse_if_all_impossible(score)
        score = np.sort(np.maximum(score, _LEAST_SCORE))
        self.offset_ = max(alarms.threshold(score, self.false_alarm_rate), _LEAST_SCORE)
        self.calibration_scores_, self._is_calibrated_ = score, unseen

    def _set_threshold(self, score: np.ndarray) -> None:
        """Set the threshold by the share `contamination` of training rows, given their scores."""
        _refuse_if_all_impossible(score)
        score = np.maximum(score, _LEAST_SCORE)  # infinities cannot be interpolated
        self.offset_ = float(np.percentile(score, 100.0 * float(self.contamination)))

    @takes_sources
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """How far rows are from the threshold: `score_samples` less `offset_`; outliers below 0.

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

    @takes_sources
    def predict(self, X: ArrayLike) -> np.ndarray:
        """+1 for inliers, -1 for outliers.

        With ``contamination="auto"`` outliers are the rows whose p-value is at most
        `false_alarm_rate`, as it was at `fit` or `calibrate`, where the rows that the fit held out
        are enough: at least ``1 / false_alarm_rate - 1``. With fewer the threshold follows the
        tail of their scores, the rate holds only approximately, and a warning says so. Where no
        rows were held out, those of the training set it, and more new rows are flagged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        labels = np.where(self.decision_function(X) < 0, -1, 1)
        n, rate = len(self.calibration_scores_), self.false_alarm_rate
        if isinstance(self.contamination, str) and not alarms.n_alarms(n, rate):
            warn(
                f"{n} rows are too few to set the threshold of false_alarm_rate={rate:g}, which "
                f"takes {alarms.least_rows(rate)}: it follows the tail of their scores, and the "
                f"rate holds only approximately. Fit to more rows, call calibrate with new ones, "
                f"or set false_alarm_rate to {np.ceil(1000.0 / (n + 1)) / 1000.0:g} or more."
            )
        return labels

    def calibrate(self, X: ArrayLike) -> Self:
        """Set `offset_` by `false_alarm_rate`, and what `p_values` compares with, from these rows.

        These should be clean rows that the model has not seen, like those to come. `fit` does so
        with the rows that it holds out; a stream of chunks, and rows that have changed since,
        need this. A further `partial_fit` undoes it. `contamination` is ignored.

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
        r"""How unusual rows are: the share of rows like those of the training that score as low.

        .. math:: p(x) = \frac{1 + \#\{i : c_i \le s(x)\}}{m + 1}

        with s(x) the score that `decision_function` uses and c_i those of m rows that the model has
        not seen, `calibration_scores_`. For a new row exchangeable with these, which normal rows
        are if no outliers were held out, the chance of ``p <= a`` is at most a, for every a, m
        and model [1]_. It is a chance over new rows and held-out rows together: all p-values of
        one model share the latter. It holds exactly after `calibrate`. After `fit` it holds nearly:
        each held-out row is scored by a model that differs a little from the one for new rows. Of
        most models the noise is set without the row; `PPCA` is fitted without it;
        `DenoisingDetector` is fitted anew to all rows where there are at most 1000.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        p : ndarray of shape (n_samples,)
            From ``1 / (m + 1)`` to 1.

        Raises
        ------
        ValueError
            If the fit held no rows out, and `calibrate` was not called.

        Notes
        -----
        Early stopping takes the held-out rows into account, and a warm start on other rows may have
        trained on them, so that they score too high and the p-values of new rows are too low:
        `calibrate` with others mends it.

        Of many rows at once, ``scipy.stats.false_discovery_control(p) <= 0.1`` picks outliers of
        which at most a tenth are false, in the mean (Benjamini and Hochberg; [1]_ shows that it
        holds for these p-values). It can only pick where m is large: of N rows, i with the lowest
        p-value ``1 / (m + 1)`` are picked if that is at most ``0.1 i / N``.

        References
        ----------
        .. [1] S. Bates, E. Candes, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with
           conformal p-values", Annals of Statistics 51(1), 2023, arXiv:2104.08279.
        """
        rows = self._check_X(X)
        if not self._is_calibrated_:
            raise ValueError(
                f"{type(self).__name__} has seen all its rows in training, so that p-values would "
                "be too low: call calibrate(X) with other clean rows first, or fit (not "
                "partial_fit) to at least 20 rows, some of them held out."
            )
        return alarms.p_values(self._comparable_score(rows), self.calibration_scores_)


class BaseAutoencoder(BaseDetector, BaseLatentModel):
    """A latent model that tells outliers by their log-density.

    The score of a row with missing cells has fewer terms than that of a complete one. Where the
    model takes such rows, `decision_function` adds for each missing cell what the column usually
    adds to the score, in training, so that one threshold does for all rows.
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
        """Set the threshold, and the scores that p-values are computed from."""
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
        return super().decision_function(X)
