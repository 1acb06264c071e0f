"""The linear Gaussian model in closed form: density, posterior, draws and maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import log, pi
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import blas, eigh, qr, svd
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from scipy.special import gammaln

SOLVERS = ("auto", "covariance", "gram", "svd", "randomized", "em")
_BLOCK = 2**17  # numbers a block of centred rows may hold: it stays in the cache
_NEAR_ZERO = 100.0  # squared means over variances that cost at most two of sixteen digits
_LEAST_TOTAL = 1e-280  # variances below it leave no room for their shares
_FLOOR = 10.0  # rounding errors of the mean variance of a feature: the least noise variance


@dataclass(eq=False)
class LinearGaussian:
    r"""The law of ``x = W z + mean + noise``, with standard normal codes z and white noise.

    .. math:: x \sim N(\mu, C), \qquad C = W W^\top + \sigma^2 I

    Everything is computed on the principal axes of W, so a row costs O(d k) and no d x d matrix
    is formed; the residual is never a difference of two large numbers [1]_.

    Parameters
    ----------
    mean : ndarray of shape (d,)
        Mean of x, in its units.
    loadings : ndarray of shape (d, k)
        W, in the units of x.
    noise_variance : float
        Variance of the noise of each feature, in squared units of x; positive.
    n_iter : int, default=1
        Iterations that the fit took; 1 for a closed form.

    References
    ----------
    .. [1] M. Tipping and C. Bishop, "Probabilistic principal component analysis", Journal of the
       Royal Statistical Society B, 61(3), 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import LinearGaussian
    >>> law = LinearGaussian(np.zeros(2), np.array([[3.0], [4.0]]), 1.0)
    >>> law.covariance()
    array([[10., 12.],
           [12., 17.]])
    >>> law.log_prob(np.array([[3.0, 4.0]])).round(4)
    array([-3.9477])
    """

    mean: np.ndarray
    loadings: np.ndarray
    noise_variance: float
    n_iter: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.noise_variance < np.inf:
            raise ValueError(
                f"noise_variance must be positive and finite, got {self.noise_variance!r}."
            )
        if np.ndim(self.loadings) != 2 or np.shape(self.mean) != (len(self.loadings),):
            raise ValueError(
                "loadings must have shape (d, k) and mean shape (d,), got "
                f"{np.shape(self.loadings)} and {np.shape(self.mean)}."
            )

    @classmethod
    def from_spectrum(
        cls,
        mean: np.ndarray,
        components: np.ndarray,
        eigenvalues: np.ndarray,
        noise_variance: float,
        n_iter: int = 1,
    ) -> LinearGaussian:
        """The model whose covariance has these leading eigenvectors, rows (k, d), and values."""
        sizes = np.sqrt(np.maximum(eigenvalues - noise_variance, 0.0))  # (k,)
        self = cls(mean, components.T * sizes, noise_variance, n_iter)
        self.__dict__["_axes"] = (components.T, sizes, np.eye(len(sizes)))
        return self

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W = U diag(s) V': (d, r), (r,), (r, k) with r = min(d, k)."""
        return svd(self.loadings, full_matrices=False, check_finite=False)

    @property
    def n_components(self) -> int:
        """Number of codes k."""
        return self.loadings.shape[1]

    @property
    def components(self) -> np.ndarray:
        """Principal axes (r, d): orthonormal rows, largest variance first."""
        return self._axes[0].T

    @property
    def eigenvalues(self) -> np.ndarray:
        """Variances of x along `components` (r,): leading eigenvalues of the covariance."""
        return self._axes[1] ** 2 + self.noise_variance

    @property
    def total_variance(self) -> float:
        """Trace of the covariance."""
        return float(np.sum(self._axes[1] ** 2) + len(self.mean) * self.noise_variance)

    def _project(self) -> np.ndarray:
        """A (d, k) with E[z | x] = (x - mean) A, that is M^-1 W' transposed."""
        U, s, Vt = self._axes
        return (U * (s / self.eigenvalues)) @ Vt

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Posterior means (n, k) of the codes of rows (n, d), in the dtype of X."""
        return _map_rows(X, self.mean, self._project())

    def posterior_covariance(self) -> np.ndarray:
        """Covariance (k, k) of the codes given a row, ``s2 M^-1``: the same for every row."""
        U, _, Vt = self._axes
        covariance = (Vt.T * (self.noise_variance / self.eigenvalues)) @ Vt
        if self.n_components > len(U):  # codes that reach no feature keep their prior
            covariance += np.eye(self.n_components) - Vt.T @ Vt
        return covariance

    def posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, k) of the codes of rows (n, d), and their common covariance (k, k)."""
        return self.encode(X), self.posterior_covariance()

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Mean rows (n, d) of codes (n, k), ``W z + mean``, in the dtype of Z."""
        dtype = np.result_type(Z.dtype, np.float32)
        return Z @ self.loadings.T.astype(dtype) + self.mean.astype(dtype)

    def project(self, X: np.ndarray) -> np.ndarray:
        """Nearest points (n, d) to rows (n, d) in the plane of the components, as in PCA."""
        U = self._axes[0]
        out = _map_rows(X, self.mean, U) @ U.T.astype(X.dtype)
        out += self.mean.astype(X.dtype)
        return out

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density (n,) of rows (n, d) in nats, float64."""
        return self.log_prob_parts(X, features=False)[0]

    def log_prob_parts(
        self, X: np.ndarray, features: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        r"""Split the log-density of rows into what each feature and the code contribute.

        .. math:: \log p(x) = \sum_j E[\log N(x_j; (W z + \mu)_j, \sigma^2)] - KL(p(z|x), N(0, I))

        with the mean over the exact posterior p(z|x), for which the bound is an identity.

        Parameters
        ----------
        X : ndarray of shape (n, d)
            Rows.
        features : bool, default=True
            Whether to compute the shares of the features.

        Returns
        -------
        score : ndarray of shape (n,)
            Log-density, nats.
        latent : ndarray of shape (n,)
            Minus the divergence of the posterior from the prior, nats.
        reconstruction : ndarray of shape (n, d) or None
            Shares of the features, nats; with `latent` they add up to `score`.
        """
        U, s, _ = self._axes
        d, r = U.shape
        values, s2 = self.eigenvalues, self.noise_variance
        share = s2 / values  # (r,) posterior variance along the axes
        spread = log(2 * pi * s2) + U**2 @ (1.0 - share)  # (d,)
        score, latent = np.empty(len(X)), np.empty(len(X))
        reconstruction = np.empty(X.shape) if features else None
        for rows, Y in _centred_blocks(X, self.mean):
            P = Y @ U  # (b, r)
            Y -= P @ U.T  # what the axes leave over, never a difference of large squares
            score[rows] = np.einsum("ij,ij->i", Y, Y) / s2 + P**2 @ (1.0 / values)
            latent[rows] = P**2 @ (s / values) ** 2
            if reconstruction is not None:
                Y += (P * share) @ U.T  # x - W E[z|x] - mean
                reconstruction[rows] = -0.5 * (Y**2 / s2 + spread)
        score += d * log(2 * pi) + np.log(values).sum() + (d - r) * log(s2)
        latent += np.sum(share - 1.0 - np.log(share))
        return -0.5 * score, -0.5 * latent, reconstruction

    def sample(self, n: int, rng: Any, noise: bool = True) -> np.ndarray:
        """Draw rows (n, d); `rng` is a numpy Generator or RandomState."""
        Z = rng.standard_normal((n, self.n_components))
        return self.draw_rows(Z, rng) if noise else self.decode(Z)

    def draw_rows(self, Z: np.ndarray, rng: Any) -> np.ndarray:
        """Draw rows (n, d) given codes (n, k)."""
        X = self.decode(Z)
        return X + np.sqrt(self.noise_variance) * rng.standard_normal(X.shape)

    def covariance(self) -> np.ndarray:
        """C (d, d), in squared units of x."""
        C = self.loadings @ self.loadings.T
        C[np.diag_indices_from(C)] += self.noise_variance
        return C

    def precision(self) -> np.ndarray:
        """Inverse of the covariance (d, d), without a d x d inversion."""
        U, s, _ = self._axes
        P = -(U * (s**2 / self.eigenvalues / self.noise_variance)) @ U.T
        P[np.diag_indices_from(P)] += 1.0 / self.noise_variance
        return P

    def truncate(self, n_components: int) -> LinearGaussian:
        """The same law with fewer codes: what is dropped goes into the noise variance.

        Of a maximum likelihood fit this is the maximum likelihood fit of that size. Where
        `n_components` is larger than now, codes without loadings are added.
        """
        extra = n_components - self.n_components
        if extra >= 0:
            padded = np.pad(self.loadings, ((0, 0), (0, extra)))
            return replace(self, loadings=padded) if extra else self
        d, k = len(self.mean), n_components
        s2 = self.noise_variance + np.sum(self._axes[1][k:] ** 2) / (d - k)
        return self.from_spectrum(
            self.mean, self.components[:k], self.eigenvalues[:k], float(s2), self.n_iter
        )


def _blocks(n: int, width: int, least: int = 256) -> Iterator[slice]:
    size = min(max(_BLOCK // max(width, 1), least), 4096)
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def _centred_blocks(X: np.ndarray, mean: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows less the mean, float64, a block at a time: no centred copy of X."""
    for rows in _blocks(len(X), 2 * X.shape[1], least=32):
        yield rows, X[rows] - mean


def _map_rows(X: np.ndarray, mean: np.ndarray, A: np.ndarray) -> np.ndarray:
    """(X - mean) A in the dtype of X, centred in float64 so that a large mean does not cancel."""
    out, A = np.empty((len(X), A.shape[1]), X.dtype), A.astype(X.dtype)
    for rows, Y in _centred_blocks(X, mean):
        out[rows] = Y.astype(X.dtype, copy=False) @ A
    return out


def _add_products(C: np.ndarray, Y: np.ndarray, of_rows: bool) -> np.ndarray:
    """C + Y Y' (`of_rows`) or C + Y'Y in place, upper triangle; no copy, as Y' is Fortran's Y."""
    add = blas.ssyrk if C.dtype == np.float32 else blas.dsyrk
    return add(1.0, Y.T, beta=1.0, c=C.T, overwrite_c=1, lower=1, trans=of_rows).T


@dataclass(eq=False)
class Moments:
    """Count, mean and centred scatter of rows: all that PPCA needs to know of them.

    `update` merges the moments of a chunk [1]_, so chunks give the same answer as one pass. Rows
    are shifted near their mean before they are multiplied: a large mean does not cancel.

    Parameters
    ----------
    n : int
        Number of rows seen.
    mean : ndarray of shape (d,)
        Their mean, float64.
    scatter : ndarray of shape (d, d)
        ``sum (x - mean)(x - mean)'``, float64; only the upper triangle is kept up to date.

    References
    ----------
    .. [1] T. Chan, G. Golub and R. LeVeque, "Algorithms for computing the sample variance",
       The American Statistician, 37(3), 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import Moments
    >>> moments = Moments.of(np.array([[1e9], [1e9 + 1]])).update(np.array([[1e9 + 2]]))
    >>> moments.n, moments.mean - 1e9, moments.covariance()
    (3, array([1.]), array([[0.66666667]]))
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray) -> Moments:
        """Moments of rows (n, d); float32 rows are multiplied in float32."""
        n, d = X.shape
        C, total = np.zeros((d, d), X.dtype), np.zeros(d)
        # A first guess of the mean, exact in the dtype of X, from rows spread over the whole.
        some = X[:: -(-n // 1024)].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # `_check_total` tells the user
            shift = some.mean(axis=0).astype(X.dtype)
            near = np.all(np.square(shift) <= _NEAR_ZERO * some.var(axis=0))
            if near and X.dtype == np.float64:
                # Nothing cancels where means are near zero: one product, without centring.
                mean = X.mean(axis=0)
                return cls(n, mean, np.triu(_add_outer(X.T @ X, -n, mean)))
        buffer = None
        for rows in _blocks(n, d):
            if buffer is None:
                buffer = np.empty((rows.stop, d), X.dtype)
            Y = np.subtract(X[rows], shift, out=buffer[: rows.stop - rows.start])
            total += Y.sum(axis=0)
            C = _add_products(C, Y, of_rows=False)
        offset = total / n
        scatter = C.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):  # `_check_total` tells the user
            scatter = _add_outer(scatter, -n, offset)
        return cls(n, shift + offset, scatter)

    def update(self, X: np.ndarray) -> Moments:
        """Moments of these rows and the rows of X together; changes `scatter` in place."""
        return self.merge(Moments.of(X))

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of rows; changes `scatter` in place."""
        n = self.n + other.n
        step = other.mean - self.mean
        self.scatter += other.scatter
        scatter = _add_outer(self.scatter, self.n * other.n / n, step)
        return Moments(n, self.mean + step * (other.n / n), scatter)

    def covariance(self) -> np.ndarray:
        """Covariance (d, d) with divisor n."""
        upper = np.triu(self.scatter) / self.n
        return upper + np.triu(upper, 1).T


def _add_outer(C: np.ndarray, weight: float, v: np.ndarray) -> np.ndarray:
    for i, a in enumerate(weight * v):  # by rows: no second d x d matrix
        C[i, i:] += a * v[i:]
    return C


@dataclass(eq=False)
class _Spectrum:
    """What a solver found: leading eigenvalues (m,) and vectors, rows (m, d), divisor n."""

    mean: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    total: float  # exact total variance, whatever m
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
        s2 = float(max(s2, floor)) or 1.0  # only zeros: any variance will do
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
    """The number of components where it is known before the fit, else None."""
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
                "n_components='mle' needs at least 2 features and as many rows as features, "
                f"got {n} rows of {d}."
            )
    elif not (isinstance(n_components, Real) and 0.0 < float(n_components) < 1.0):
        raise ValueError(
            "n_components must be an integer, a share of the variance in (0, 1), 'mle' or None, "
            f"got {n_components!r}."
        )
    if whole:
        raise ValueError(
            f"solver={solver!r} needs an integer or None as n_components, got {n_components!r}."
        )
    return None


def minka_dimension(eigenvalues: np.ndarray, n: int) -> int:
    """Number of components of largest approximate evidence, between 1 and d - 1.

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
        The count.

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
    noise = np.maximum(np.cumsum(values[::-1])[::-1][1:] / (d - k), tiny)  # mean of the rest
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
    """Largest eigenvalues and vectors, columns, of a symmetric matrix.

    Its upper triangle in C order is read and may be overwritten. All where `k` is None.
    """
    m = len(C)
    if k is not None and m >= 500 and k <= m // 40:
        _mirror(C)
        try:
            start = np.random.RandomState(0).uniform(-1, 1, m)
            values, vectors = eigsh(C, k, v0=start, ncv=min(m, 2 * k + 20), maxiter=20)
            order = np.argsort(values)[::-1]
            return values[order], vectors[:, order]
        except ArpackNoConvergence:  # a flat spectrum: take the dense way
            pass
    options: dict[str, Any] = {"driver": "evd"}
    if k is not None and k < m // 4:
        options = {"driver": "evr", "subset_by_index": [m - k, m - 1]}
    values, vectors = eigh(C.T, lower=True, overwrite_a=True, check_finite=False, **options)
    return values[::-1], vectors[:, ::-1]


def _mirror(C: np.ndarray) -> None:
    for i in range(len(C)):
        C[i + 1 :, i] = C[i, i + 1 :]


def _from_moments(moments: Moments, k: int | None, eps: float) -> _Spectrum:
    """Eigenvectors of the covariance; overwrites the scatter."""
    total = float(np.trace(moments.scatter)) / moments.n
    _check_total(total)
    values, vectors = _eigen(moments.scatter, k)
    values = np.maximum(values / moments.n, 0.0)
    return _Spectrum(moments.mean, values, vectors.T, total, moments.n, eps)


def _check_total(total: float) -> None:
    if not np.isfinite(total):
        raise ValueError("The variance of X overflows: scale X, or pass it as float64.")
    if 0.0 < total < _LEAST_TOTAL:
        raise ValueError("The variance of X underflows: scale X to larger numbers.")


def _from_gram(X: np.ndarray, k: int | None, eps: float) -> _Spectrum:
    """Eigenvectors of the n x n products of centred rows, for n < d."""
    n, d = X.shape
    mean = X.mean(axis=0, dtype=np.float64)
    G = np.zeros((n, n), X.dtype)
    for columns in _blocks(d, n):
        Y = X[:, columns] - mean[columns].astype(X.dtype)  # (n, b)
        Y -= Y.mean(axis=0)
        G = _add_products(G, Y, of_rows=True)
    G = G.astype(np.float64, copy=False)
    total = float(np.trace(G)) / n
    _check_total(total)
    U = _eigen(G, k)[1]
    del G
    V = np.empty((d, U.shape[1]))
    U = np.ascontiguousarray(U)
    for columns in _blocks(d, n):
        V[columns] = (X[:, columns] - mean[columns]).T @ U
    # The products square the condition: a last small factorisation orthonormalises the vectors
    # and brings the accuracy of the small values back.
    Q, R = qr(V, mode="economic", overwrite_a=True, check_finite=False)
    A, sizes, _ = svd(R, full_matrices=False, check_finite=False)
    return _Spectrum(mean, sizes**2 / n, (Q @ A).T, total, n, eps)


def _from_svd(X: np.ndarray, eps: float) -> _Spectrum:
    """Thin singular value decomposition of a centred copy: slowest, most accurate."""
    mean = X.mean(axis=0, dtype=np.float64)
    _, sizes, Vt = svd(X - mean, full_matrices=False, overwrite_a=True, check_finite=False)
    values = sizes**2 / len(X)
    _check_total(float(values.sum()))
    return _Spectrum(mean, values, Vt, float(values.sum()), len(X), eps)


def _mean_and_scatter(X: np.ndarray) -> tuple[np.ndarray, float, Callable]:
    """Mean, exact total variance, and V -> Xc' Xc V / n (d, l), without a centred copy of X."""
    n = len(X)
    mean = X.mean(axis=0, dtype=np.float64)
    square = float(mean @ mean)
    total = sum(float(np.vdot(X[rows], X[rows])) for rows in _blocks(n, X.shape[1], 32)) / n
    total -= square

    def direct(V: np.ndarray) -> np.ndarray:
        T = X @ V.astype(X.dtype)
        T -= T.mean(axis=0)  # as if the rows had been centred, and then X' T = Xc' T
        return (X.T @ T).astype(np.float64, copy=False) / n

    def blocked(V: np.ndarray) -> np.ndarray:
        out = np.zeros(V.shape)
        for _, Y in _centred_blocks(X, mean):
            out += Y.T @ (Y @ V)
        return out / n

    if square <= 100.0 * total:  # a mean that costs two digits at most
        _check_total(total)
        return mean, total, direct
    total = sum(float(np.vdot(Y, Y)) for _, Y in _centred_blocks(X, mean)) / n
    _check_total(total)
    return mean, total, blocked


def _from_krylov(X: np.ndarray, k: int, eps: float) -> _Spectrum | None:
    """Block Lanczos to convergence (Musco and Musco, 2015), or None where it is slow.

    A few passes over X are cheaper than all products of its rows where the leading eigenvalues
    stand out. The residuals bound the error, so nothing rests on chance.
    """
    mean, total, product = _mean_and_scatter(X)
    rng = np.random.RandomState(0)
    V = qr(rng.standard_normal((X.shape[1], k + 10)), mode="economic")[0]
    basis, images = V[:, :0], V[:, :0]
    previous = np.inf
    for _ in range(8):
        image = product(V)
        basis, images = np.hstack([basis, V]), np.hstack([images, image])
        values, A = eigh(basis.T @ images, check_finite=False)
        values, A = values[: -k - 1 : -1], A[:, : -k - 1 : -1]
        ritz = basis @ A  # (d, k)
        residual = np.linalg.norm(images @ A - ritz * values, axis=0)
        if np.all(residual <= max(1e-10, 100 * eps) * values[0]):
            vectors = qr(ritz, mode="economic", check_finite=False)[0]
            return _Spectrum(mean, np.maximum(values, 0.0), vectors.T, total, len(X), eps)
        if residual.max() > previous / 2:
            return None
        previous = residual.max()
        for _ in range(2):  # twice is enough to be orthogonal to rounding
            image -= basis @ (basis.T @ image)
            image = qr(image, mode="economic", check_finite=False)[0]
        V = image
    return None


def _from_random(X: np.ndarray, k: int, eps: float, rng: Any) -> _Spectrum:
    """Subspace iteration from random directions (Halko, Martinsson and Tropp, 2011)."""
    mean, total, product = _mean_and_scatter(X)
    width = min(k + max(10, k // 2), *X.shape)
    Q = rng.standard_normal((X.shape[1], width))
    for _ in range(5):
        Q = qr(product(Q), mode="economic", check_finite=False)[0]
    values, A = eigh(Q.T @ product(Q), check_finite=False)
    vectors = (Q @ A[:, ::-1]).T
    values = np.maximum(values[::-1], 0.0)
    return _Spectrum(mean, values[:k], vectors[:k], total, len(X), eps)


def _from_em(X: np.ndarray, k: int, eps: float, rng: Any, max_iter: int, tol: float) -> _Spectrum:
    """Parameter-expanded expectation-maximisation (Liu, Rubin and Wu, 1998).

    The step of Tipping and Bishop (1999, equations 27, 28) leaves the scale of W behind where the
    noise is small; a free covariance of the codes, folded into W, takes it along.
    """
    n, d = X.shape
    if d <= n:
        moments = Moments.of(X)
        S, mean = moments.covariance(), moments.mean
        total = float(np.trace(S))
        _check_total(total)
        product: Callable = S.__matmul__
    else:
        mean, total, product = _mean_and_scatter(X)
    least = max(_FLOOR * eps * total / d, np.finfo(float).tiny)
    s2, previous = max(total / d, least), -np.inf
    W = rng.standard_normal((d, k)) * np.sqrt(s2)
    for n_iter in range(1, max_iter + 1):
        M = W.T @ W + s2 * np.eye(k)
        A = np.linalg.solve(M, product(W).T).T  # mean of (x - mean) E[z|x]', (d, k)
        trace = (total - np.vdot(W, A)) / s2  # tr(C^-1 S)
        value = -0.5 * ((d - k) * log(s2) + np.linalg.slogdet(M)[1] + trace)
        if n_iter > 1 and value - previous <= tol:
            break
        previous = value
        second = np.linalg.solve(M, s2 * np.eye(k) + W.T @ A)  # mean of E[z z'|x], (k, k)
        # A factor of `second` makes the codes white again within the step.
        W = np.linalg.solve(np.linalg.cholesky((second + second.T) / 2), A.T).T
        s2 = max((total - np.vdot(W, W)) / d, least)
    # At the optimum W spans the leading axes; its own axes are their eigenvectors.
    U, s, _ = svd(W, full_matrices=False, check_finite=False)
    return _Spectrum(mean, s**2 + s2, U.T, float(np.sum(s**2) + d * s2), n, eps, n_iter)


def fit_linear_gaussian(
    X: np.ndarray,
    n_components: int | float | str | None = None,
    solver: str = "auto",
    random_state: int | None = None,
    *,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> tuple[LinearGaussian, np.ndarray]:
    """Maximum likelihood fit of a linear Gaussian model: probabilistic PCA.

    With l and U the eigenvalues and eigenvectors of the covariance of the rows (divisor n),
    ``s2 = mean(l[k:])`` and ``W = U_k (L_k - s2 I)^(1/2)`` [1]_.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows, float32 or float64. It is neither changed nor copied as a whole (but for "svd").
    n_components : int, float in (0, 1), "mle" or None, default=None
        Number of codes k; a share of the variance to pass; Minka's choice; or
        ``min(n - 1, d) - 1`` (at least 1), the most that leaves a variance to the noise.
    solver : {"auto", "covariance", "gram", "svd", "randomized", "em"}, default="auto"
        "covariance" takes eigenvectors of the d x d covariance, "gram" of the n x n products of
        rows, "auto" the smaller of the two, or block Lanczos on X where few components of a large
        table converge at once; "svd" decomposes a centred copy; "randomized" is approximate, with
        an exact total variance; "em" iterates.
    random_state : int or None, default=None
        Seed of "randomized" and of the start of "em".
    max_iter : int, default=1000
        Most iterations of "em".
    tol : float, default=1e-10
        "em" stops when the mean log-density gains less than this, in nats.

    Returns
    -------
    model : LinearGaussian
        The fit. Its noise variance is at least ten rounding errors of the mean variance of a
        feature, so the density of rows in a plane, or with constant columns, stays bounded;
        where all features are kept nothing is left to the noise and it is that floor.
    eigenvalues : ndarray of shape (m,)
        Eigenvalues of the covariance that the solver found, m >= k, largest first; all that
        can differ from zero where `n_components` is None, a share or "mle".

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
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {SOLVERS}, got {solver!r}.")
    k = _check_n_components(n_components, n, d, solver)
    eps = float(np.finfo(X.dtype).eps)
    if X.dtype == np.float32 and not _squares_fit(X):
        X = X.astype(np.float64)
    found = None
    if solver == "auto":
        solver = "gram" if n < d else "covariance"
        if n_components is not None and k is not None and 40 * (k + 10) <= min(n, d):
            found = _from_krylov(X, k, eps)
    rng = np.random.RandomState(random_state)
    wanted = None if n_components is None else k  # all of them, for the caller to choose from
    if found is not None:
        spectrum = found
    elif solver == "covariance":
        spectrum = _from_moments(Moments.of(X), wanted, eps)
    elif solver == "gram":
        spectrum = _from_gram(X, wanted, eps)
    elif solver == "svd":
        spectrum = _from_svd(X, eps)
    elif solver == "randomized" and k is not None:
        spectrum = _from_random(X, k, eps, rng)
    elif k is not None:
        spectrum = _from_em(X, k, eps, rng, max_iter, tol)
    return spectrum.model(n_components if k is None else k), spectrum.values


def fit_moments(
    moments: Moments, n_components: int | float | str | None = None, eps: float = 2.0**-52
) -> LinearGaussian:
    """The fit of `fit_linear_gaussian` from sufficient statistics, which it leaves unchanged.

    Fewer rows than components are accepted here: the directions they lack get the least noise.

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


def _squares_fit(X: np.ndarray) -> bool:
    """Whether products of float32 entries stay far from over- and underflow."""
    size = max(float(X.max()), -float(X.min()))
    return size == 0.0 or 1e-12 < size < 1e12
