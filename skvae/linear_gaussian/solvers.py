"""Maximum likelihood fits of the linear Gaussian model, with several eigenvalue solvers.

Small matrices use numpy's LAPACK and not scipy's, which has its own threads: the threads of both
libraries busy-wait, and fits that alternated between them took up to four times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import eigh, svd
from scipy.special import gammaln

from .model import LinearGaussian
from .moments import Moments, blocks, centred_blocks

Product = Callable[[np.ndarray], np.ndarray]  # V (d, l) -> S V, S the covariance of the rows

_LEAST_TOTAL = 1e-280  # variances below it underflow
_FLOOR = 10.0  # rounding errors of the mean variance of a feature: the least noise variance
_SURE = 32 * 2.0**-52  # proportions of the total variance below it are rounding errors
_LARGE_MATRIX = 500  # size from which computing fewer eigenpairs is worth another library
_LANCZOS_SHARE = 40  # rows and columns per direction from which block Lanczos is cheaper


@dataclass(eq=False)
class _Spectrum:
    """Result of a solver: leading eigenvalues (m,) and eigenvectors (m, d), with divisor n."""

    mean: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    total: float  # exact total variance, for any m
    n: int
    eps: float  # rounding unit of the data
    n_iter: int = 1

    def model(self, n_components: Any) -> LinearGaussian:
        d = len(self.mean)
        k = _count(n_components, self.values, self.total, self.n, d)
        if k == d:
            s2 = 0.0
        elif len(self.values) >= min(self.n, d):
            s2 = np.sum(self.values[k:]) / (d - k)
        else:
            s2 = (self.total - np.sum(self.values[:k])) / (d - k)
        floor = max(_FLOOR * self.eps * self.total / d, self.eps**2 * float(np.mean(self.mean**2)))
        _check_overflow(floor)
        s2 = float(max(s2, floor)) or 1.0  # only zeros: any variance can be used
        V = self.vectors[:k]
        signs = np.sign(V[np.arange(k), np.argmax(np.abs(V), axis=1)])
        V = V * np.where(signs == 0, 1.0, signs)[:, None]
        return LinearGaussian.from_spectrum(self.mean, V, self.values[:k], s2, self.n_iter)


def _count(n_components: Any, values: np.ndarray, total: float, n: int, d: int) -> int:
    if n_components is None:
        return max(1, min(n - 1, d) - 1)
    if isinstance(n_components, str):
        return minka_dimension(values, n)
    if isinstance(n_components, Integral):
        return int(n_components)
    ratio = np.cumsum(values) / (total or 1.0)
    return min(int(np.searchsorted(ratio, n_components, side="right")) + 1, len(values))


def _check_n_components(n_components: Any, n: int, d: int, solver: str) -> int | None:
    """Return the number of components if it is known before the fit, else None."""
    if n_components is None:
        return _count(None, np.empty(0), 0.0, n, d)
    whole = solver in ("randomized", "em")
    if isinstance(n_components, Integral) and not isinstance(n_components, bool):
        if not 1 <= int(n_components) <= min(n, d):
            raise ValueError(
                f"n_components={n_components} must be between 1 and "
                f"min(n_samples, n_features)={min(n, d)}."
            )
        return int(n_components)
    if isinstance(n_components, str) and n_components == "mle":
        if n < d or d < 2:
            raise ValueError(
                "n_components='mle' needs at least 2 features and at least as many rows as "
                f"features, got {n} rows of {d} features."
            )
    elif not (isinstance(n_components, Real) and 0.0 < float(n_components) < 1.0):
        raise ValueError(
            "n_components must be an integer, a proportion of the variance in (0, 1), 'mle' or "
            f"None, got {n_components!r}."
        )
    if whole:
        raise ValueError(
            f"solver={solver!r} needs n_components to be an integer or None, got {n_components!r}."
        )
    return None


def minka_dimension(eigenvalues: np.ndarray, n: int) -> int:
    """Return the number of components of largest approximate evidence, between 1 and d - 1.

    Laplace's approximation of log p(X | k), equation 30 of [1]_, for every k in O(d^2).

    Parameters
    ----------
    eigenvalues : ndarray of shape (d,)
        All eigenvalues of the covariance, largest first. Their unit does not matter.
    n : int
        Number of rows.

    Returns
    -------
    k : int
        Number of components.

    References
    ----------
    .. [1] T. Minka, "Automatic choice of dimensionality for PCA", NIPS 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import minka_dimension
    >>> minka_dimension(np.array([9.0, 4.0, 1.01, 1.0, 0.99]), 1000)
    2
    """
    d = len(eigenvalues)
    if not eigenvalues[0] > 0:
        return 1
    values = np.maximum(eigenvalues / eigenvalues[0], 0.0)
    tiny = 1e-15
    known = np.maximum(values, tiny)
    k = np.arange(1, d)  # (d - 1,) candidates
    noise = np.maximum(
        np.cumsum(values[::-1])[::-1][1:] / (d - k), tiny
    )  # mean of the remaining eigenvalues
    dims = d - k + 1.0
    log_prior = -k * log(2) + np.cumsum(gammaln(dims / 2) - log(pi) * dims / 2)
    log_fit = -n / 2 * (np.cumsum(np.log(known))[:-1] + (d - k) * np.log(noise))
    m = d * k - k * (k + 1) / 2
    # log det of the Hessian: a sum over pairs i <= k, i < j of
    # log(l_i - l_j) + log(1/l'_j - 1/l'_i) + log n, where l'_j is the noise for j > k.
    i, j = np.triu_indices(d, 1)
    gaps = np.zeros((d, d))
    gaps[i, j] = np.log(np.maximum(values[i] - values[j], tiny))
    kept = gaps.copy()
    kept[i, j] -= np.log(known[i]) + np.log(known[j])
    inverse = 1.0 / noise[:, None] - 1.0 / known[None, :-1]  # (d - 1, d - 1)
    pairs = (d - k) * np.sum(np.tril(np.log(np.maximum(inverse, tiny))), axis=1)
    log_det = (
        np.cumsum(gaps.sum(axis=1))[:-1] + np.cumsum(kept.sum(axis=0))[:-1] + pairs + m * log(n)
    )
    evidence = log_prior + log_fit + (m + k) / 2 * log(2 * pi) - log_det / 2 - k / 2 * log(n)
    evidence[values[:-1] < tiny] = -np.inf
    return int(k[np.argmax(evidence)])


def _eigen(C: np.ndarray, k: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return at least the k largest eigenvalues and eigenvectors of a symmetric matrix.

    All if `k` is None. The upper triangle in C order is used; C may be overwritten.
    """
    m = len(C)
    if m < _LARGE_MATRIX:
        values, vectors = np.linalg.eigh(C, UPLO="U")
        return values[::-1], vectors[:, ::-1]
    if k is not None and k <= m // 40:
        _mirror(C)
        found = _leading(C.__matmul__, m, k, 1e-12)
        if found is not None:
            return found
    options: dict[str, Any] = {"driver": "evd"}
    if k is not None and k < m // 4:
        options = {"driver": "evr", "subset_by_index": [m - k, m - 1]}
    values, vectors = eigh(C.T, lower=True, overwrite_a=True, check_finite=False, **options)
    return values[::-1], vectors[:, ::-1]


def _mirror(C: np.ndarray) -> None:
    for i in range(len(C)):
        C[i + 1 :, i] = C[i, i + 1 :]


def _leading(
    product: Product, size: int, k: int, tol: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return leading eigenpairs by block Lanczos (Musco and Musco, 2015), or None if it is slow.

    The error is bounded by the residuals, so that the result does not depend on chance.

    Parameters
    ----------
    product : callable
        V (size, l) -> S V, for a positive semidefinite S.
    size : int
        Number of rows of S.
    k : int
        Number of eigenpairs.
    tol : float
        Largest norm of the residuals S v - l v, relative to the largest eigenvalue.

    Returns
    -------
    pairs : tuple of ndarrays of shapes (k,) and (size, k), or None
        Eigenvalues, largest first, and orthonormal eigenvectors.
    """
    V = np.linalg.qr(np.random.RandomState(0).standard_normal((size, k + 10)))[0]
    basis, images = V[:, :0], V[:, :0]
    previous = np.inf
    for _ in range(8):
        image = product(V)
        basis, images = np.hstack([basis, V]), np.hstack([images, image])
        values, A = np.linalg.eigh(basis.T @ images)
        values, A = values[: -k - 1 : -1], A[:, : -k - 1 : -1]
        ritz = basis @ A  # (size, k)
        residual = np.linalg.norm(images @ A - ritz * values, axis=0)
        if np.all(residual <= tol * values[0]):
            return np.maximum(values, 0.0), np.linalg.qr(ritz)[0]
        if residual.max() > previous / 2:
            return None
        previous = residual.max()
        for _ in range(2):  # twice is sufficient for orthogonality up to rounding
            image -= basis @ (basis.T @ image)
            image = np.linalg.qr(image)[0]
        V = image
    return None


def _check_overflow(variance: float) -> None:
    if not np.isfinite(variance):
        raise ValueError("The variance of X overflows: rescale X, or pass it as float64.")


def _check_total(total: float) -> None:
    _check_overflow(total)
    if 0.0 < total < _LEAST_TOTAL:
        raise ValueError("The variance of X underflows: rescale X to larger numbers.")


def _room_for_squares(X: np.ndarray) -> np.ndarray:
    """Return X, in float64 if products of its entries would over- or underflow."""
    if X.dtype != np.float32:
        return X
    size = max(float(X.max()), -float(X.min()))
    return X if size == 0.0 or 1e-12 < size < 1e12 else X.astype(np.float64)


def _mean_and_product(X: np.ndarray) -> tuple[np.ndarray, float, Product]:
    """Return mean, total variance, and V -> Xc' Xc V / n (d, l), without a centred copy of X."""
    X = _room_for_squares(X)
    n = len(X)
    mean = X.mean(axis=0, dtype=np.float64)
    square = float(mean @ mean)
    total = sum(float(np.vdot(X[rows], X[rows])) for rows in blocks(n, X.shape[1], 32)) / n
    total -= square

    def direct(V: np.ndarray) -> np.ndarray:
        T = X @ V.astype(X.dtype)
        T -= T.mean(axis=0)  # equivalent to centred rows, for which X' T = Xc' T
        out: np.ndarray = (X.T @ T).astype(np.float64, copy=False) / n
        return out

    def blocked(V: np.ndarray) -> np.ndarray:
        out = np.zeros(V.shape)
        for _, Y in centred_blocks(X, mean):
            out += Y.T @ (Y @ V)
        return out / n

    if square <= 100.0 * total:  # a mean that costs at most two digits
        _check_total(total)
        return mean, total, direct
    total = sum(float(np.vdot(Y, Y)) for _, Y in centred_blocks(X, mean)) / n
    _check_total(total)
    return mean, total, blocked


# -- solvers: each from a task to a spectrum ----------------------------------------------------
@dataclass(eq=False)
class _Task:
    """Arguments of `fit_linear_gaussian`."""

    X: np.ndarray
    k: int | None  # None if it depends on the eigenvalues
    wanted: int | None  # eigenpairs to find, None for all
    rng: Any
    max_iter: int
    tol: float

    @property
    def eps(self) -> float:
        """Rounding unit of the rows."""
        return float(np.finfo(self.X.dtype).eps)

    @property
    def size(self) -> int:
        """Number of components, for solvers that need it beforehand."""
        assert self.k is not None  # `_check_n_components` raises an error for other values
        return self.k


def _auto(task: _Task) -> _Spectrum:
    """Use block Lanczos for few components of a large table, else the smaller matrix."""
    X, k = task.X, task.wanted
    n, d = X.shape
    if k is not None and _LANCZOS_SHARE * (k + 10) <= min(n, d):
        mean, total, product = _mean_and_product(X)
        found = _leading(product, d, k, max(1e-10, 100 * task.eps))
        if found is not None:
            return _Spectrum(mean, found[0], found[1].T, total, n, task.eps)
    return _from_gram(task) if n < d else _from_rows(task)


def _from_rows(task: _Task) -> _Spectrum:
    return _from_moments(Moments.of(task.X), task.wanted, task.eps)


def _from_moments(moments: Moments, k: int | None, eps: float) -> _Spectrum:
    """Use eigenvectors of the covariance; overwrites the scatter matrix."""
    total = float(np.trace(moments.scatter)) / moments.n
    _check_total(total)
    values, vectors = _eigen(moments.scatter, k)
    values = np.maximum(values / moments.n, 0.0)
    return _Spectrum(moments.mean, values, vectors.T, total, moments.n, eps)


def _from_gram(task: _Task) -> _Spectrum:
    """Use eigenvectors of the n x n Gram matrix of centred rows, for n < d."""
    X = _room_for_squares(task.X)
    n, d = X.shape
    mean = X.mean(axis=0, dtype=np.float64)
    G = np.zeros((n, n))
    for columns in blocks(d, n, least=max(256, n // 2)):
        Y = X[:, columns] - mean[columns].astype(X.dtype)  # (n, b)
        Y -= Y.mean(axis=0)
        G += Y @ Y.T
    total = float(np.trace(G)) / n
    _check_total(total)
    U = _eigen(G, task.wanted)[1]
    del G
    few = task.wanted is not None and task.wanted < n // 4
    U = np.ascontiguousarray(U[:, : task.wanted] if few else U)
    V = np.empty((d, U.shape[1]))
    for columns in blocks(d, n):
        V[columns] = (X[:, columns] - mean[columns]).T @ U
    # Products square the condition number: a small factorisation orthonormalises the vectors
    # and restores the accuracy of small values.
    Q, R = np.linalg.qr(V)
    A, sizes, _ = np.linalg.svd(R)
    return _Spectrum(mean, sizes**2 / n, (Q @ A).T, total, n, task.eps)


def _from_svd(task: _Task) -> _Spectrum:
    """Use the thin singular value decomposition of a centred copy: slowest, most accurate."""
    mean = task.X.mean(axis=0, dtype=np.float64)
    Y, n = task.X - mean, len(task.X)
    _check_total(float(np.vdot(Y, Y)) / n)
    _, sizes, Vt = svd(Y, full_matrices=False, overwrite_a=True, check_finite=False)
    values = sizes**2 / n
    return _Spectrum(mean, values, Vt, float(values.sum()), n, task.eps)


def _from_random(task: _Task) -> _Spectrum:
    """Use subspace iteration from random directions (Halko, Martinsson and Tropp, 2011)."""
    X, k = task.X, task.size
    mean, total, product = _mean_and_product(X)
    width = min(k + max(10, k // 2), *X.shape)
    Q = task.rng.standard_normal((X.shape[1], width))
    for _ in range(5):
        Q = np.linalg.qr(product(Q))[0]
    values, A = np.linalg.eigh(Q.T @ product(Q))
    vectors = (Q @ A[:, ::-1]).T
    values = np.maximum(values[::-1], 0.0)
    return _Spectrum(mean, values[:k], vectors[:k], total, len(X), task.eps)


def _from_em(task: _Task) -> _Spectrum:
    """Use parameter-expanded expectation-maximisation (Liu, Rubin and Wu, 1998).

    With small noise, the step of Tipping and Bishop (1999, equations 27, 28) converges slowly in
    the scale of W; a free covariance of the codes, absorbed into W, corrects this. Codes are
    rotated to the axes of W, ``W = U diag(s)``, which changes no density and makes their posterior
    covariance diagonal.
    """
    (n, d), k = task.X.shape, task.size
    if d <= n:
        moments = Moments.of(task.X)
        S, mean = moments.covariance(), moments.mean
        total = float(np.trace(S))
        _check_total(total)
        product: Product = S.__matmul__
    else:
        mean, total, product = _mean_and_product(task.X)
    least = max(_FLOOR * task.eps * total / d, np.finfo(float).tiny)
    s2, previous = max(total / d, least), -np.inf
    W = task.rng.standard_normal((d, k)) * np.sqrt(s2)
    n_iter = 0
    for n_iter in range(1, task.max_iter + 1):
        U, s, _ = np.linalg.svd(W, full_matrices=False)
        value, A, root = _em_step(product, U, s, s2, total)
        if n_iter > 1 and value - previous <= task.tol:
            break
        previous = value
        W = np.linalg.solve(root.T, A.T).T  # the codes are whitened within the step
        s2 = max((total - np.vdot(W, W)) / d, least)
    else:
        U, s, _ = np.linalg.svd(W, full_matrices=False)
    # At the optimum W spans the leading axes, and its own axes are the eigenvectors.
    whole = float(np.sum(s**2) + d * s2)
    return _Spectrum(mean, s**2 + s2, U.T, whole, n, task.eps, n_iter)


def _em_step(
    product: Product, U: np.ndarray, s: np.ndarray, s2: float, total: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the mean log-density up to a constant, and moments of codes with ``W = U diag(s)``.

    Returns
    -------
    value : float
        Nats.
    A : ndarray of shape (d, k)
        Mean of (x - mean) E[z|x]'.
    root : ndarray of shape (k, k)
        Upper triangular, ``root' root`` is the mean of E[z z'|x].
    """
    d, k = U.shape
    m = s**2 + s2  # (k,)
    image = product(U)  # (d, k)
    inner = U.T @ image
    found, R = np.linalg.eigh((inner + inner.T) / 2)
    found = np.maximum(found, 0.0)
    rest = total - float(found.sum())
    if rest <= _SURE * total:  # rounding, which would dominate after division by a small s2
        rest = 0.0
    # tr(C^-1 S) by axes and residual, without cancellation
    trace = rest / s2 + float(np.sum(np.diag(inner) / m))
    value = -0.5 * ((d - k) * log(s2) + float(np.log(m).sum()) + trace)
    # The second moment, diag(s2 / m) + diag(s / m) inner diag(s / m), is a sum of squares. Its
    # factor comes from their roots: where the rows lie in a plane and s2 is small, rounding can
    # take the sum itself below zero, and it has no Cholesky factor.
    squares = np.vstack([np.diag(np.sqrt(s2 / m)), np.sqrt(found)[:, None] * (R.T * (s / m))])
    return value, image * (s / m), np.linalg.qr(squares)[1]


_BY_NAME: dict[str, Callable[[_Task], _Spectrum]] = {
    "auto": _auto,
    "covariance": _from_rows,
    "gram": _from_gram,
    "svd": _from_svd,
    "randomized": _from_random,
    "em": _from_em,
}
SOLVERS = tuple(_BY_NAME)


def fit_linear_gaussian(
    X: np.ndarray,
    n_components: int | float | str | None = None,
    solver: str = "auto",
    random_state: int | None = None,
    *,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> tuple[LinearGaussian, np.ndarray]:
    """Fit a linear Gaussian model by maximum likelihood: probabilistic PCA.

    With l and U the eigenvalues and eigenvectors of the covariance of the rows (divisor n),
    ``s2 = mean(l[k:])`` and ``W = U_k (L_k - s2 I)^(1/2)`` [1]_.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows, float32 or float64. X is not changed, and copied as a whole only by "svd".
    n_components : int, float in (0, 1), "mle" or None, default=None
        Number of components k; a proportion of the variance to exceed; Minka's estimate ("mle"); or
        None for ``min(n - 1, d) - 1`` (at least 1), the largest number that leaves variance for the
        noise.
    solver : {"auto", "covariance", "gram", "svd", "randomized", "em"}, default="auto"
        "covariance" uses eigenvectors of the d x d covariance, "gram" of the n x n Gram matrix,
        "auto" of the smaller of the two, or block Lanczos if few components of a large table
        converge quickly; "svd" decomposes a centred copy; "randomized" is approximate, with an
        exact total variance; "em" is iterative.
    random_state : int or None, default=None
        Seed of "randomized" and of the initial values of "em".
    max_iter : int, default=1000
        Maximum number of iterations of "em".
    tol : float, default=1e-10
        "em" stops when the mean log-density increases by less than this, in nats.

    Returns
    -------
    model : LinearGaussian
        The fit. Its noise variance is at least ten rounding errors of the mean variance of a
        feature, so that the density is bounded for rows in a subspace or with constant columns. If
        all components are kept, the noise is at this lower bound.
    eigenvalues : ndarray of shape (m,)
        Eigenvalues of the covariance that the solver found, m >= k, largest first; all that can
        differ from zero if `n_components` is None, a proportion or "mle".

    References
    ----------
    .. [1] M. Tipping and C. Bishop, "Probabilistic principal component analysis", Journal of the
       Royal Statistical Society B, 61(3), 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import fit_linear_gaussian
    >>> X = np.array([[3.0, 1.0], [-3.0, -1.0], [3.0, -1.0], [-3.0, 1.0]])
    >>> model, eigenvalues = fit_linear_gaussian(X, 1)
    >>> model.noise_variance
    1.0
    >>> model.loadings.round(4)
    array([[2.8284],
           [0.    ]])
    """
    n, d = X.shape
    if solver not in _BY_NAME:
        raise ValueError(f"solver must be one of {SOLVERS}, got {solver!r}.")
    k = _check_n_components(n_components, n, d, solver)
    wanted = None if n_components is None else k  # all of them, for the caller to choose from
    task = _Task(X, k, wanted, np.random.RandomState(random_state), max_iter, tol)
    with np.errstate(over="ignore", invalid="ignore"):  # `_check_total` raises an error
        spectrum = _BY_NAME[solver](task)
        return spectrum.model(n_components if k is None else k), spectrum.values


def fit_moments(
    moments: Moments, n_components: int | float | str | None = None, eps: float = 2.0**-52
) -> LinearGaussian:
    """Fit as `fit_linear_gaussian`, from sufficient statistics, which are not changed.

    Fewer rows than components are accepted: missing directions get the minimum variance.

    Parameters
    ----------
    moments : Moments
        Count, mean and scatter of the rows.
    n_components : int, float in (0, 1), "mle" or None, default=None
        As in `fit_linear_gaussian`.
    eps : float, default=2**-52
        Rounding unit of the rows, which sets the least noise variance.

    Returns
    -------
    model : LinearGaussian
        The fit.
    """
    d = len(moments.mean)
    rows = max(moments.n, d) if isinstance(n_components, Integral) else moments.n
    k = _check_n_components(n_components, rows, d, "covariance")
    own = Moments(moments.n, moments.mean, moments.scatter.copy())
    return _from_moments(own, k, eps).model(n_components if k is None else k)


def fit_weighted(
    X: np.ndarray,
    weights: np.ndarray,
    n: int,
    n_components: int | float | str | None = None,
) -> LinearGaussian:
    """Fit to the weighted mean and covariance of complete rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, d)
    weights : ndarray of shape (n_samples,)
        Positive weights.
    n : int
        Number of rows that the weighted rows stand for.
    n_components : int, float in (0, 1), "mle" or None, default=None
        As in `fit_linear_gaussian`.

    Returns
    -------
    model : LinearGaussian
        The fit.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 0.0], [3.0, 3.0], [0.0, 3.0]])
    >>> fit_weighted(X, np.array([1.0, 1.0, 2.0]), 4, 1).mean
    array([0.75, 2.25])
    """
    n_samples, d = X.shape
    _check_n_components(n_components, n_samples, d, "covariance")
    moments = Moments.weighted(X, weights, n)
    return fit_moments(moments, n_components, float(np.finfo(X.dtype).eps))
