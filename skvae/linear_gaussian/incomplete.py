"""Maximum likelihood fit of the linear Gaussian model to rows with missing cells (NaN)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import numpy as np

from .missing import IncompleteLaw, infer, patterns
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

_MEMORY = 8  # steps that Anderson's method looks back on
_SLOWEST = 100.0  # a step of EM may be that much shorter than the way that is left
_MOST_NOISE = 1e3  # mean variances of a feature, which the noise cannot come near
_IDLE = 3  # steps in a row that gain less than rounding: there is no more to gain


@dataclass(eq=False)
class _State:
    """Parameters of a model, the mean log-density of the rows, and what one step of EM makes."""

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
    """Rows with missing cells, in units of the size of their deviations, and the steps of EM.

    The missing cells are what is not observed; the codes need not be, since the best model of the
    completed covariance is known in closed form. So complete rows take one step, and a share of
    missing cells makes EM as slow as it is, no matter how the variances are spread.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows, each with an observed cell; no column without any.
    n_components : int
        Number of codes k < d.
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
        """The closed form of the mean-filled rows, with some noise at least."""
        S = Moments.of(self.values).covariance()
        return self._pack(np.zeros(len(S)), S, least=max(self.floor, 1e-6))

    def _pack(
        self, mean: np.ndarray, S: np.ndarray, near: np.ndarray | None = None, least: float = 0.0
    ) -> np.ndarray:
        """The best parameters for this covariance, their codes turned to those of `near` (d, k)."""
        d, k, total = len(S), self.k, float(np.trace(S))
        values, vectors = _eigen(S, k)
        values = np.maximum(values, 0.0)
        rest = values[k:].sum() if len(values) == d else total - values[:k].sum()
        s2 = max(float(rest) / (d - k), self.floor, least)
        W = vectors[:, :k] * np.sqrt(np.maximum(values[:k] - s2, 0.0))
        if near is not None:  # the density does not know, but differences of parameters do
            A, _, B = np.linalg.svd(W.T @ near)
            W = W @ (A @ B)
        return np.concatenate([mean, W.ravel(), [log(s2)]])

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean (d,), loadings (d, k) and noise variance."""
        d = len(self.centre)
        return theta[:d], theta[d:-1].reshape(d, self.k), float(np.exp(theta[-1]))

    def evaluate(self, theta: np.ndarray) -> _State:
        """The mean log-density (nats, in these units) and one step of EM.

        The moments of the completed rows are those of their conditional means, and beside them
        the conditional covariance of the missing cells, ``s2 (V_M M^-1 V_M' + I)``.
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
        """All eigenvalues and vectors of the covariance, in the units of the rows."""
        mean, W, s2 = self.unpack(theta)
        d, k = W.shape
        U, sizes, _ = np.linalg.svd(W, full_matrices=True)
        values = np.concatenate([sizes**2 + s2, np.full(d - k, s2)]) * self.unit**2
        mean = self.centre + mean * self.unit
        total = float(values.sum())
        return _Spectrum(mean, values, U.T, total, len(self.values), self.eps, n_iter)


def _accelerated(past: list[_State], floor: float) -> np.ndarray:
    """Where Anderson's method goes from the last of these steps of EM.

    It is the step of EM less what a combination of earlier steps explains of it.
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
    """EM with Anderson acceleration (Walker and Ni, 2011) that never goes down.

    Returns
    -------
    theta : ndarray
        The parameters where a step of EM is as good as none.
    n_iter : int
        Passes over the rows; `max_iter` where they have not sufficed.
    """
    state = rows.evaluate(theta)
    past, idle = [state], 0
    for n_iter in range(1, max_iter):
        if _SLOWEST * state.length <= np.sqrt(2.0 * tol) or idle == _IDLE:
            return state.image, n_iter
        tried = len(past) > 1
        found = rows.evaluate(_accelerated(past, rows.floor) if tried else state.image)
        gain = found.value - state.value
        if tried and not gain >= 0.0:  # EM itself cannot go down
            past = [state]
            continue
        idle = idle + 1 if gain <= 1e-14 * (1.0 + abs(state.value)) else 0
        state = found
        past = [*past[-_MEMORY:], state]
    return state.image, max_iter


def _fit(X: np.ndarray, k: int, max_iter: int, tol: float) -> _Spectrum:
    """Fit of k <= d components to rows that each have a cell, as all columns have."""
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
) -> tuple[IncompleteLaw, int]:
    r"""Maximum likelihood fit of a linear Gaussian model to the observed cells of rows.

    .. math:: \max_{\mu, W, \sigma^2} \sum_n \log N(x_{n,O_n}; \mu_{O_n},
              W_{O_n} W_{O_n}^\top + \sigma^2 I)

    by expectation-maximisation over the missing cells [1]_: with the mean and covariance of the
    rows completed by the model so far, the closed form of the complete case [2]_ is the next. It
    starts from the rows with column means in their holes, and Anderson's method [3]_ extrapolates
    the steps, but only upwards. Where the cells that are missing leave complete rows and columns
    behind, the closed form is the answer at once.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows, float32 or float64, NaN where a cell is missing. They may be missing completely at
        random, or by what the observed cells say, but not by their own values.
    n_components : int, float in (0, 1) or None, default=None
        As in `fit_linear_gaussian`; a share is one of the variance of an unrestricted Gaussian
        fitted to the same cells. "mle" is refused: it is an evidence of complete rows.
    max_iter : int, default=1000
        Most passes over the rows.
    tol : float, default=1e-10
        It stops where a step of EM a hundred times as long would gain less than this in the mean
        log-density of the rows, in nats.

    Returns
    -------
    law : IncompleteLaw
        The fit. Rows and columns without any observed cell have no part in it; its noise variance
        is bounded as in `fit_linear_gaussian`.
    n_iter : int
        Passes over the rows, `max_iter` where they have not sufficed; 1 for a closed form.

    Notes
    -----
    As any local method it finds one maximum, and there may be several where much is missing.
    Pairs of columns that no row has both of get what correlation the other columns tell. With
    fewer cells than parameters the likelihood has no bound and the noise falls to its floor.

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
    >>> law, n_iter = fit_incomplete(X, 1)
    >>> law.law.noise_variance, n_iter
    (1.0, 1)
    """
    if isinstance(n_components, str):
        raise ValueError(
            f"n_components={n_components!r} takes complete rows, and X has missing cells (NaN): "
            "state a number of components or a share of the variance."
        )
    observed = ~np.isnan(X)
    known, some = observed.sum(axis=0) > 0, observed.sum(axis=1) > 0
    if np.count_nonzero(some) < 2:
        raise ValueError(
            "X must have at least 2 samples with an observed cell (not NaN), got "
            f"{np.count_nonzero(some)}."
        )
    X = X if some.all() and known.all() else X[some][:, known]
    n, d = X.shape
    columns = None if known.all() else known
    if not np.isnan(X).any():
        model, _ = fit_linear_gaussian(X, n_components)
        return IncompleteLaw(model, columns), 1
    k = _check_n_components(n_components, n, d, "auto")
    with np.errstate(over="ignore", invalid="ignore"):  # `_check_total` tells the user
        if k is None:
            full = _fit(X, max(1, min(n, d) - 1), max_iter, tol)
            k = _count(n_components, full.values, full.total, n, d)
        spectrum = _fit(X, k, max_iter, tol)
        return IncompleteLaw(spectrum.model(k), columns), spectrum.n_iter
