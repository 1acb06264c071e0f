"""Probabilistic principal component analysis."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..contract.density import Scores
from ..contract.inputs import weigh, with_nan
from ..contract.learner import Notice, seed_from
from ..contract.outliers import BaseAutoencoder
from ..linear_gaussian import (
    SOLVERS,
    IncompleteGaussian,
    LinearGaussian,
    Moments,
    fit_incomplete,
    fit_linear_gaussian,
    fit_moments,
    fit_weighted,
)
from ..tables.checks import Axes, Check, Maybe, Number, Whole
from ..tables.source import ArraySource, RowSource, accepted, n_counted, repeated

_FEWEST_FOLDS, _LEAST_TO_SPLIT = 5, 10
_ROWS_OF_FITS = 2000  # rows in all of the fits without a fold
_LITTLE = 0.03  # tolerated bias of a score, in its standard deviations
_ENOUGH_UNSEEN, _MOST_UNSEEN = 100, 2048
_MOST_COPIES = 20  # of a weighted row, on average


class PPCA(BaseAutoencoder):
    r"""Probabilistic PCA: the linear Gaussian latent variable model, in closed form.

    .. math:: x = W z + \mu + \epsilon, \quad z \sim N(0, I), \quad \epsilon \sim N(0, \sigma^2 I)

    With l and U the eigenvalues and eigenvectors of the covariance of the rows (with divisor n),
    maximum likelihood gives ``noise_variance = mean(l[k:])`` and ``W = U_k (L_k - noise_variance
    I)^(1/2)`` [1]_. Densities are exact and cost O(d k) per row.

    Values may be missing (NaN), in `fit` and afterwards. The model maximises, and `score_samples`
    returns, the density of the observed values [2]_. Codes are conditional on the observed values,
    and missing values can be sampled given the observed ones. Infinite values raise an error.

    Parameters
    ----------
    n_components : int, float in (0, 1), "mle" or None, default=None
        Number of components k. A float is the proportion of the variance that the components must
        exceed. "mle" is Minka's estimate, which needs complete rows, at least as many as features.
        None is ``min(n_samples - 1, n_features) - 1`` (at least 1). With missing values, the
        proportion refers to the variance of an unrestricted Gaussian fitted to the same values.
    solver : {"auto", "covariance", "gram", "svd", "randomized", "em"}, default="auto"
        "covariance" computes eigenvectors of the covariance matrix of the features, "gram" of the
        Gram matrix of the rows, and "auto" of the smaller of the two; for few components of a large
        table, "auto" uses a few passes of block Lanczos if they converge. "svd" decomposes a
        centred copy of X: it is slower, but accurate for variances below 1e-16 of the largest.
        "randomized" is approximate; "em" is iterative. All solvers but "randomized" give the same
        result. With missing values only "em" can be used, and "auto" selects it: it iterates over
        the missing values, which start at the column means.
    max_iter : int, default=1000
        Maximum number of iterations of "em".
    tol : float, default=1e-10
        "em" stops when the mean log-density of the rows increases by less than this, in nats; with
        missing values, when a hundredfold step would increase it by less.
    contamination : float or "auto", default="auto"
        Proportion of outliers in the training rows, which sets the threshold `offset_`. With "auto"
        the threshold follows from `false_alarm_rate` and no proportion has to be guessed.
    false_alarm_rate : float, default=0.05
        With ``contamination="auto"``, the false positive rate: the proportion of new rows from the
        training distribution that `predict` labels as outliers. `offset_` is the conformal quantile
        at this level of the scores of held-out rows. See `p_values` and `calibrate`.
    random_state : int, RandomState or None, default=None
        Seed of "randomized" and of the initial values of "em".

    Attributes
    ----------
    n_components_ : int
        Number of components k.
    components_ : ndarray of shape (n_components, n_features)
        Principal axes, orthonormal; the entry with the largest absolute value of each is positive.
        0 for a feature without observed values in `fit`.
    loadings_ : ndarray of shape (n_features, n_components)
        W, in the units of X.
    mean_ : ndarray of shape (n_features,)
        Mean of the rows; NaN for a feature without observed values in `fit`, which is missing in
        all sampled, decoded or imputed rows and does not contribute to scores.
    noise_variance_ : float
        Variance of the noise of each feature in squared units of X: the mean of the ``n_features -
        n_components_`` discarded eigenvalues, but at least ten rounding errors of the mean variance
        of a feature, so that the density is bounded if all rows lie in a subspace.
    explained_variance_ : ndarray of shape (n_components,)
        Variances along the principal axes, with the maximum likelihood divisor n: (n - 1) / n times
        those of `sklearn.decomposition.PCA`.
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Proportions of the total variance.
    singular_values_ : ndarray of shape (n_components,)
        Norms of the centred rows along the axes; expected norms with missing values.
    n_samples_ : int
        Number of training rows.
    n_iter_ : int
        Number of iterations of "em", otherwise 1.
    offset_ : float
        Threshold of `predict` on `score_samples`.
    calibration_scores_ : ndarray
        Sorted scores that determine the threshold.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    VAE, Autoencoder : Nonlinear models.
    sklearn.decomposition.PCA : The same axes, without codes of unit variance and without sampling.

    Notes
    -----
    The rows that determine the threshold are scored by models fitted without them: with fewer than
    500 rows by 5 to n further fits, each without one fold of the rows, with more rows by one
    further fit. With so many rows that the scores of training rows are hardly biased, training rows
    determine the threshold themselves.

    `transform` returns posterior means, which shrink towards zero; `inverse_transform` returns the
    decoder's mean W z + mu. `reconstruct` is not their composition but the projection of PCA, which
    minimises the squared error; for a row with missing values it is the projection of the imputed
    row.

    The score of a row is the log-density of its observed values, and 0 if all values are missing.
    It has fewer terms if more values are missing. Compare rows with the same missing features, or
    compare their `decision_function`, which compensates for missing values.

    The missing values of a row are jointly normal given its observed values, with moments that
    follow from ``N(mean_, W W' + noise_variance_ I)``: `impute` and ``sample(given=...)`` are
    exact.

    References
    ----------
    .. [1] M. Tipping and C. Bishop, "Probabilistic principal component analysis", Journal of the
       Royal Statistical Society B, 61(3), 1999.
    .. [2] A. Ilin and T. Raiko, "Practical approaches to principal component analysis in the
       presence of missing values", Journal of Machine Learning Research, 11, 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> X = load_wine().data
    >>> ppca = PPCA(n_components=3).fit(X)
    >>> ppca.transform(X).shape, ppca.sample(5, random_state=0).shape
    ((178, 3), (5, 13))
    >>> round(ppca.score(X), 2)
    -26.58
    """

    _takes_missing: ClassVar[bool] = True
    _fitted_attributes: ClassVar[dict[str, Check]] = {
        "n_components_": Whole(1, name="k"),
        "components_": Axes(("k", "d")),
        "loadings_": Axes(("d", "k")),
        "mean_": Axes(("d",), finite=False),
        "noise_variance_": Number(above=0.0),
        "explained_variance_": Axes(("k",)),
        "explained_variance_ratio_": Axes(("k",)),
        "singular_values_": Axes(("k",)),
        "n_samples_": Whole(1),
        "n_iter_": Whole(),
        "_scatter_": Maybe(Axes(("d", "d"))),
    }
    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            StrOptions({"mle"}),
            None,
        ],
        "solver": [StrOptions(set(SOLVERS))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | float | str | None = None,
        *,
        solver: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-10,
        contamination: float | str = "auto",
        false_alarm_rate: float = 0.05,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.random_state = random_state

    def _learn(
        self,
        X: Any,
        y: Any,
        first: bool,
        further_chunk: bool = False,
        weights: np.ndarray | None = None,
        **how: Any,
    ) -> list[Notice]:
        if further_chunk:
            return self._learn_chunk(X, first)
        source = self._check_training(X, y, first)
        source, weights = weigh(source, weights)
        rows = with_nan(source.take(slice(None)))
        distribution, n_iter, by_steps = self._fit_distribution(rows, self.n_components, weights)
        self._scatter_: np.ndarray | None = None
        n = len(rows) if weights is None else n_counted(weights)
        self._set_distribution(distribution, n, n_iter)
        typical = source if weights is None else source.subset(_counted(weights))
        self._finish(typical, self._unseen(rows, weights))
        if by_steps and n_iter == self.max_iter:
            text = (
                f"EM reached max_iter={self.max_iter} before the increase of the log-density fell "
                f"below tol={self.tol}: "
            )
            text += "increase either of them"
            text += ", or use a closed-form solver." if self.solver == "em" else "."
            return [(text, ConvergenceWarning)]
        return []

    def _unseen(
        self, rows: np.ndarray, weights: np.ndarray | None
    ) -> Iterator[tuple[Self, RowSource]]:
        """Yield models fitted without some of the rows (n, d), each with these: a fold.

        One fold is sufficient for many rows, and the model itself for very many rows. Few rows are
        divided into many folds, since a model of even fewer rows would score others too low.
        """
        n, d = rows.shape
        k = self.n_components_
        if n < _LEAST_TO_SPLIT:
            return
        kept = np.ones(n, bool) if weights is None else accepted(weights, weights.max(), n)
        # Scores of training rows are too high by about 2 d k / n nats; their std is (d / 2)^0.5.
        if n * np.sqrt(d / 2.0) * _LITTLE >= 2.0 * d * k:
            every = np.arange(0, n, -(-n // _MOST_UNSEEN))
            yield self, ArraySource(rows[every[kept[every]]])
            return
        enough = max(_ENOUGH_UNSEEN, int(1.0 / self.false_alarm_rate))
        enough = int(np.ceil(enough / kept.mean()))  # of which so many are accepted
        one = n >= _FEWEST_FOLDS * enough
        n_folds = min(10, n // enough) if one else min(n, max(_FEWEST_FOLDS, _ROWS_OF_FITS // n))
        folds = np.array_split(np.random.RandomState(n % 2**32).permutation(n), n_folds)
        for fold in folds[: 1 if one else None]:
            left_out = np.sort(fold[:_MOST_UNSEEN])
            rest = np.ones(n, bool)
            rest[left_out] = False
            others = rows[rest]
            known = np.isfinite(others)
            most = min(known.any(axis=1).sum() - 1, max(1, known.any(axis=0).sum() - 1))
            if most < 1:  # a fold with all observed values of a feature
                continue
            left_out = left_out[kept[left_out]]
            own = None if weights is None else weights[rest]
            distribution, n_iter, _ = self._fit_distribution(others, min(k, int(most)), own)
            aside = object.__new__(type(self))
            vars(aside).update(vars(self))
            aside._set_distribution(distribution, len(others), n_iter)
            if len(left_out):
                yield aside, ArraySource(rows[left_out])

    def _fit_distribution(
        self, rows: np.ndarray, n_components: Any, weights: np.ndarray | None
    ) -> tuple[IncompleteGaussian, int, bool]:
        """Return the distribution, its iterations, and whether they may have been too few.

        There is no extra pass over X to find missing values: every solver detects NaN and infinity.
        """
        how: dict[str, Any] = {"max_iter": self.max_iter, "tol": self.tol}
        seed = seed_from(self.random_state)
        if weights is not None:
            if np.isfinite(rows).all():
                _check_weighted(self.solver)
                model = fit_weighted(rows, weights, n_counted(weights), n_components)
                return IncompleteGaussian(model), model.n_iter, False
            rows = rows[_counted(weights)]
        try:
            model, _ = fit_linear_gaussian(rows, n_components, self.solver, seed, **how)
        except ValueError:
            with np.errstate(invalid="ignore"):  # infinity minus infinity, in the sum of all
                assert_all_finite(rows, allow_nan=True, estimator_name="PPCA", input_name="X")
            if not np.isnan(rows).any():
                raise
        else:
            return IncompleteGaussian(model), model.n_iter, self.solver == "em"
        if self.solver not in ("auto", "em"):
            raise ValueError(
                f"solver={self.solver!r} needs complete rows, but X has missing values (NaN): use "
                "solver='auto' or 'em'."
            )
        distribution, n_iter = fit_incomplete(rows, n_components, **how)
        return distribution, n_iter, True

    def _check_rows(self, X: Any, first: bool) -> np.ndarray:
        # No pass for non-finite numbers: they make the variance overflow, too.
        rows: np.ndarray = self._checked(
            X, first=first, ensure_min_samples=2, ensure_all_finite=False
        )
        return rows

    def _learn_chunk(self, X: Any, first: bool) -> list[Notice]:
        rows: np.ndarray = self._checked(X, first=first)
        moments = Moments.of(rows)
        if np.isnan(moments.mean).any() and np.isnan(rows).any():
            raise ValueError(
                "partial_fit needs complete rows, but X has missing values (NaN): use fit on all "
                "rows, or impute the missing values before."
            )
        if not first and np.isnan(self.mean_).any():
            raise ValueError(
                "partial_fit cannot add rows X to a fit in which some features had no observed "
                "values: use fit on all rows."
            )
        if not first:
            scatter = self._scatter_
            if scatter is None:
                scatter = self.n_samples_ * self.get_covariance()
            moments = moments.merge(Moments(self.n_samples_, self.mean_, scatter))
        model = fit_moments(moments, self.n_components, float(np.finfo(rows.dtype).eps))
        self._scatter_ = moments.scatter
        self._set_distribution(IncompleteGaussian(model), moments.n, model.n_iter)
        self._finish(ArraySource(rows))
        return []

    def _set_distribution(self, distribution: IncompleteGaussian, n: int, n_iter: int) -> None:
        model = distribution.model
        self.n_samples_ = n
        self.n_iter_ = n_iter
        self.n_components_ = model.n_components
        self.mean_ = distribution.widen(model.mean)
        self.components_ = distribution.widen(model.components, 0.0)
        self.loadings_ = distribution.widen(model.loadings.T, 0.0).T
        self.noise_variance_ = model.noise_variance
        self.explained_variance_ = model.eigenvalues
        self.explained_variance_ratio_ = model.eigenvalues / model.total_variance
        self.singular_values_ = np.sqrt(n) * np.sqrt(model.eigenvalues)

    @property
    def _distribution(self) -> IncompleteGaussian:
        check_is_fitted(self)
        known: np.ndarray = ~np.isnan(self.mean_)
        values, noise = self.explained_variance_, self.noise_variance_
        mean, components = self.mean_, self.components_
        if known.all():
            return IncompleteGaussian(LinearGaussian.from_spectrum(mean, components, values, noise))
        mean, components = mean[known], components[:, known]
        return IncompleteGaussian(
            LinearGaussian.from_spectrum(mean, components, values, noise), known
        )

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Update the model with further rows; all chunks together give the result of one `fit`.

        The number, mean and scatter matrix (d x d) of the rows are stored and give the "covariance"
        solution, whatever `solver` is. `fit` does not store them: its rows enter through
        `get_covariance`, in which discarded directions share one variance (which is exact if all
        components but one were kept). The threshold `offset_` is determined by the rows of the
        latest chunk. Rows with missing values raise an error, since their moments are not known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Further rows, at least one. `n_components` may exceed their number.
        y : ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._validate_params()
        return self._learn_aside(X, y, goes_on=True, further_chunk=True)

    def get_covariance(self) -> np.ndarray:
        """Compute the covariance ``W W' + noise_variance_ I`` of the model.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
            Covariance in squared units of X; NaN for features without observed values in `fit`.
        """
        return self._distribution.covariance()

    def get_precision(self) -> np.ndarray:
        """Compute the precision matrix, the inverse of the covariance of the model.

        Returns
        -------
        precision : ndarray of shape (n_features, n_features)
            Precision in inverse squared units of X.
        """
        return self._distribution.precision()

    def get_posterior_covariance(self) -> np.ndarray:
        """Compute the covariance of the codes given a complete row, ``s2 (W'W + s2 I)^-1``.

        Returns
        -------
        covariance : ndarray of shape (n_components, n_components)
            Covariance, dimensionless, the same for all complete rows.
        """
        return self._distribution.model.posterior_covariance()

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return self._distribution.encode(X)

    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._distribution.posterior(X)

    def _draw_posterior(self, X: np.ndarray, n: int, seed: int) -> np.ndarray:
        if not np.isnan(X).any():  # codes are independent given a complete row
            return super()._draw_posterior(X, n, seed)
        return self._distribution.draw_codes(X[np.arange(n) % len(X)], np.random.RandomState(seed))

    def _complete(self, X: np.ndarray) -> np.ndarray:
        """Impute missing values of rows (n, d) by their conditional mean."""
        return self._distribution.complete(X)

    def _draw_missing(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Sample missing values jointly given the observed ones, as rows (n_draws, n, d)."""
        return self._distribution.draw_missing(X, n_draws, np.random.RandomState(seed))

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        return self._distribution.decode(Z)

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        return self._distribution.project(X)

    def _draw_codes(self, n: int, seed: int) -> np.ndarray:
        return np.random.RandomState(seed).standard_normal((n, self.n_components_))

    def _draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        return self._distribution.draw_rows(Z, np.random.RandomState(seed))

    def _latent_draws(self, n: int, seed: int) -> None:
        return None

    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        score, latent, reconstruction = self._distribution.log_prob_parts(X, features=parts)
        error, draws = np.zeros(len(X)), np.full(len(X), np.inf)  # exact
        return Scores(score, latent, reconstruction, error, draws)


def _counted(weights: np.ndarray) -> np.ndarray:
    """Return numbers of rows repeated by their weights, at most 20 times on average."""
    return repeated(weights, min(n_counted(weights), _MOST_COPIES * len(weights)))


def _check_weighted(solver: str) -> None:
    """Raise an error for solvers that take no weights."""
    if solver not in ("auto", "covariance"):
        raise ValueError(
            f"solver={solver!r} requires rows of equal weight: with sample_weight use "
            "solver='auto' or 'covariance'."
        )
