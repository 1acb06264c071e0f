"""Maximum likelihood fit of the linear Gaussian model to rows with missing values (NaN)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import numpy as np

from .missing import IncompleteGaussian, infer, patterns
from .moments import Moments
from .solvers import (
    _FLOOR,
    _check_n_components,
    _check_overflow,
    _check_total,
    _count,
    _eigen,
    _Spectrum,
    fit_linear_gaussian,
)

_MEMORY = 8  # memory of Anderson acceleration, in steps
_SLOWEST = 100.0  # ratio of the remaining distance to the length of a step of EM
_MOST_NOISE = 1e3  # upper bound of the noise, in mean variances of a feature
_IDLE = 3  # consecutive steps with gains below rounding, after which the fit stops


@dataclass(eq=False)
class _State:
    """Parameters of a model, the mean log-density of the rows, and the result of one step of EM."""

    theta: np.ndarray  # mean (d,), loadings (d k,), log noise variance
    value: float
    image: np.ndarray

    @property
    def length(self) -> float:
        """Length of the step in units of the noise: twice its gain is about its square."""
        step = self.image - self.theta
        return float(
            np.sqrt(np.vdot(step[:-1], step[:-1]) / np.exp(self.theta[-1]) + step[-1] ** 2)
        )


class _Rows:
    """Scaled rows with missing values, and the steps of EM.

    The latent variables of EM are the missing values and not the codes, since the best model of the
    completed covariance is known in closed form. Complete rows therefore need one step, and the
    convergence depends on the proportion of missing values and not on the ratios of the variances.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows; every row and every column has observed values.
    n_components : int
        Number of components k < d.
    """

    def __init__(self, X: np.ndarray, n_components: int) -> None:
        self.k = n_components
        self.eps = float(np.finfo(X.dtype).eps)
        observed = ~np.isnan(X)
        self.blocks = patterns(observed, X.shape[1] * (n_components + 1))
        self.counts = observed.sum(axis=0)  # (d,)
        self.centre = np.where(observed, X, 0.0).sum(axis=0, dtype=np.float64) / self.counts
        Y = np.where(observed, X - self.centre, 0.0)
        variances = np.square(Y).sum(axis=0) / self.counts
        _check_total(float(variances.sum()))
        self.unit = float(np.sqrt(variances.mean())) or 1.0
        self.values = Y / self.unit  # mean-filled
        shift = float(np.mean((self.centre / self.unit) ** 2))
        self.constant = not variances.any()
        if not self.constant:
            _check_overflow(shift)
        self.floor = max(_FLOOR * self.eps, self.eps**2 * shift)

    def start(self) -> np.ndarray:
        """Return the closed-form solution for rows filled with means, with a minimum of noise."""
        S = Moments.of(self.values).covariance()
        return self._pack(np.zeros(len(S)), S, least=max(self.floor, 1e-6))

    def _pack(
        self, mean: np.ndarray, S: np.ndarray, near: np.ndarray | None = None, least: float = 0.0
    ) -> np.ndarray:
        """Return the best parameters for this covariance, rotated towards `near` (d, k)."""
        d, k, total = len(S), self.k, float(np.trace(S))
        values, vectors = _eigen(S, k)
        values = np.maximum(values, 0.0)
        rest = values[k:].sum() if len(values) == d else total - values[:k].sum()
        s2 = max(float(rest) / (d - k), self.floor, least)
        W = vectors[:, :k] * np.sqrt(np.maximum(values[:k] - s2, 0.0))
        if near is not None:  # the density is invariant, but differences of parameters are not
            A, _, B = np.linalg.svd(W.T @ near)
            W = W @ (A @ B)
        return np.concatenate([mean, W.ravel(), [log(s2)]])

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return mean (d,), loadings (d, k) and noise variance."""
        d = len(self.centre)
        return theta[:d], theta[d:-1].reshape(d, self.k), float(np.exp(theta[-1]))

    def evaluate(self, theta: np.ndarray) -> _State:
        """Return the mean log-density (nats, in these units) and one step of EM.

        The moments of the completed rows are those of their conditional means plus the conditional
        covariance of the missing values, ``s2 (V_M M^-1 V_M' + I)``.
        """
        mean, W, s2 = self.unpack(theta)
        unit = np.sqrt(s2)
        V, (n, d) = W / unit, self.values.shape
        total, S, value = np.zeros(d), np.zeros((d, d)), 0.0
        for block in self.blocks:
            seen = block.seen[block.which]
            Y = np.where(seen, (self.values[block.rows] - mean) / unit, 0.0)
            found = infer(V, Y, block)
            guess = found.mean @ V.T
            value += float(np.square(seen * (Y - guess)).sum() + np.square(found.mean).sum())
            Y = np.where(seen, Y, guess)
            total += Y.sum(axis=0)
            S += Y.T @ Y
            weight = np.bincount(block.which)  # (p,)
            value += float(weight @ found.log_det)
            A = (V @ found.roots) * np.sqrt(weight)[:, None, None]
            A *= ~block.seen[:, :, None]
            A = A.transpose(1, 0, 2).reshape(d, -1)  # (d, p k)
            S += A @ A.T
        cells = float(self.counts.sum())
        value = -0.5 * (value + cells * (log(2 * pi) + log(s2))) / n
        S[np.diag_indices(d)] += n - self.counts
        shift = total / n
        S = (S / n - np.outer(shift, shift)) * s2
        return _State(theta, value, self._pack(mean + shift * unit, S, W))

    def spectrum(self, theta: np.ndarray, n_iter: int) -> _Spectrum:
        """Return all eigenvalues and eigenvectors of the covariance, in the units of the rows."""
        mean, W, s2 = self.unpack(theta)
        d, k = W.shape
        U, sizes, _ = np.linalg.svd(W, full_matrices=True)
        values = np.concatenate([sizes**2 + s2, np.full(d - k, s2)]) * self.unit**2
        mean = self.centre + mean * self.unit
        total = float(values.sum())
        return _Spectrum(mean, values, U.T, total, len(self.values), self.eps, n_iter)


def _accelerated(past: list[_State], floor: float) -> np.ndarray:
    """Return the step of Anderson acceleration from these steps of EM.

    It is the step of EM minus the part that a combination of earlier steps explains.
    """
    last = past[-1]
    steps = np.stack([state.image - state.theta for state in past])  # (m, size)
    images = np.stack([state.image for state in past])
    scale = np.ones(len(last.theta))
    scale[:-1] = np.exp(-0.5 * last.theta[-1])
    differences = np.diff(steps, axis=0) * scale
    sizes = np.linalg.norm(differences, axis=1, keepdims=True)
    sizes[sizes == 0.0] = 1.0
    weights = np.linalg.lstsq((differences / sizes).T, steps[-1] * scale, rcond=1e-10)[0]
    theta: np.ndarray = last.image - (weights / sizes[:, 0]) @ np.diff(images, axis=0)
    theta[-1] = np.clip(theta[-1], log(floor), log(_MOST_NOISE))
    return theta


def _climb(rows: _Rows, theta: np.ndarray, max_iter: int, tol: float) -> tuple[np.ndarray, int]:
    """EM with Anderson acceleration (Walker and Ni, 2011) whose log-density never decreases.

    Returns
    -------
    theta : ndarray
        Parameters at convergence.
    n_iter : int
        Passes over the rows; `max_iter` without convergence.
    """
    state = rows.evaluate(theta)
    past, idle = [state], 0
    for n_iter in range(1, max_iter):
        if _SLOWEST * state.length <= np.sqrt(2.0 * tol) or idle == _IDLE:
            return state.image, n_iter
        tried = len(past) > 1
        found = rows.evaluate(_accelerated(past, rows.floor) if tried else state.image)
        gain = found.value - state.value
        if tried and not gain >= 0.0:  # a step of EM cannot decrease the log-density
            past = [state]
            continue
        idle = idle + 1 if gain <= 1e-14 * (1.0 + abs(state.value)) else 0
        state = found
        past = [*past[-_MEMORY:], state]
    return state.image, max_iter


def _fit(X: np.ndarray, k: int, max_iter: int, tol: float) -> _Spectrum:
    """Fit k <= d components to rows; every row and every column has observed values."""
    d = X.shape[1]
    rows = _Rows(X, min(k, d - 1))  # d - 1 and noise are as general as d
    if rows.constant:
        return _Spectrum(rows.centre, np.zeros(d), np.eye(d), 0.0, len(X), rows.eps)
    return rows.spectrum(*_climb(rows, rows.start(), max_iter, tol))


def fit_incomplete(
    X: np.ndarray,
    n_components: int | float | str | None = None,
    *,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> tuple[IncompleteGaussian, int]:
    r"""Fit a linear Gaussian model to the observed values of rows by maximum likelihood.

    .. math:: \max_{\mu, W, \sigma^2} \sum_n \log N(x_{n,O_n}; \mu_{O_n},
              W_{O_n} W_{O_n}^\top + \sigma^2 I)

    by expectation-maximisation over the missing values [1]_: each step applies the closed form of
    the complete case [2]_ to the mean and covariance of the rows completed by the current model.
    The first step fills missing values with column means. Anderson acceleration [3]_ extrapolates
    the steps if this increases the log-density. If missing values are confined to whole rows and
    columns, the closed form is exact and no iterations are needed.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows, float32 or float64, NaN for missing values. Values may be missing completely at
        random, or depending on observed values, but not depending on the missing values.
    n_components : int, float in (0, 1) or None, default=None
        As in `fit_linear_gaussian`; a proportion refers to the variance of an unrestricted Gaussian
        fitted to the same values. "mle" raises an error, since it needs complete rows.
    max_iter : int, default=1000
        Maximum number of passes over the rows.
    tol : float, default=1e-10
        The fit stops when a step of EM a hundred times as long would increase the mean log-density
        of the rows by less than this, in nats.

    Returns
    -------
    model : IncompleteGaussian
        The fit. Rows and columns without observed values are ignored; its noise variance is bounded
        as in `fit_linear_gaussian`.
    n_iter : int
        Passes over the rows, `max_iter` without convergence; 1 for a closed form.

    Notes
    -----
    As any local method it finds one maximum; there may be several if many values are missing. The
    correlation of columns that are never observed together follows from the other columns. With
    fewer values than parameters the likelihood is unbounded, and the noise is at its lower bound.

    References
    ----------
    .. [1] R. Little and D. Rubin, "Statistical analysis with missing data", Wiley, 2002.
    .. [2] M. Tipping and C. Bishop, "Probabilistic principal component analysis", Journal of the
       Royal Statistical Society B, 61(3), 1999.
    .. [3] H. Walker and P. Ni, "Anderson acceleration for fixed-point iterations", SIAM Journal
       on Numerical Analysis, 49(4), 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import fit_incomplete
    >>> X = np.array([[3.0, 1.0], [-3.0, -1.0], [3.0, -1.0], [-3.0, 1.0], [np.nan, np.nan]])
    >>> model, n_iter = fit_incomplete(X, 1)
    >>> model.model.noise_variance, n_iter
    (1.0, 1)
    """
    if isinstance(n_components, str):
        raise ValueError(
            f"n_components={n_components!r} needs complete rows, but X has missing values (NaN): "
            "set n_components to an integer or a proportion of the variance."
        )
    observed = ~np.isnan(X)
    known, some = observed.sum(axis=0) > 0, observed.sum(axis=1) > 0
    if np.count_nonzero(some) < 2:
        raise ValueError(
            "X must have at least 2 samples with observed values (not NaN), got "
            f"{np.count_nonzero(some)}."
        )
    X = X if some.all() and known.all() else X[some][:, known]
    n, d = X.shape
    columns = None if known.all() else known
    if not np.isnan(X).any():
        model, _ = fit_linear_gaussian(X, n_components)
        return IncompleteGaussian(model, columns), 1
    k = _check_n_components(n_components, n, d, "auto")
    with np.errstate(over="ignore", invalid="ignore"):  # `_check_total` raises an error
        if k is None:
            full = _fit(X, max(1, min(n, d) - 1), max_iter, tol)
            k = _count(n_components, full.values, full.total, n, d)
        spectrum = _fit(X, k, max_iter, tol)
        return IncompleteGaussian(spectrum.model(k), columns), spectrum.n_iter
