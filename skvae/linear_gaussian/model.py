"""Linear Gaussian model: density, posterior and sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import log, pi
from typing import Any

import numpy as np

from .moments import centred_blocks


@dataclass(eq=False)
class LinearGaussian:
    r"""Distribution of ``x = W z + mean + noise`` with standard normal codes z and white noise.

    .. math:: x \sim N(\mu, C), \qquad C = W W^\top + \sigma^2 I

    All computations use the principal axes of W, so a row costs O(d k) and no d x d matrix is
    formed; residuals are computed without cancellation [1]_.

    Parameters
    ----------
    mean : ndarray of shape (d,)
        Mean of x, in its units.
    loadings : ndarray of shape (d, k)
        W, in the units of x.
    noise_variance : float
        Variance of the noise of each feature, in squared units of x; positive.
    n_iter : int, default=1
        Number of iterations of the fit; 1 for a closed form.

    References
    ----------
    .. [1] M. Tipping and C. Bishop, "Probabilistic principal component analysis", Journal of the
       Royal Statistical Society B, 61(3), 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import LinearGaussian
    >>> model = LinearGaussian(np.zeros(2), np.array([[3.0], [4.0]]), 1.0)
    >>> model.covariance()
    array([[10., 12.],
           [12., 17.]])
    >>> model.log_prob(np.array([[3.0, 4.0]])).round(4)
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
        """Create a model from the leading eigenvectors (k, d) and eigenvalues of its covariance."""
        sizes = np.sqrt(np.maximum(eigenvalues - noise_variance, 0.0))  # (k,)
        self = cls(mean, components.T * sizes, noise_variance, n_iter)
        self.__dict__["_axes"] = (components.T, sizes, np.eye(len(sizes)))
        return self

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W = U diag(s) V': (d, r), (r,), (r, k) with r = min(d, k)."""
        return np.linalg.svd(self.loadings, full_matrices=False)

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return int(self.loadings.shape[1])

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
        A: np.ndarray = (U * (s / self.eigenvalues)) @ Vt
        return A

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Return posterior means (n, k) of the codes of rows (n, d), in the dtype of X."""
        return _map_rows(X, self.mean, self._project())

    def posterior_covariance(self) -> np.ndarray:
        """Return the covariance (k, k) of the codes given a row, ``s2 M^-1``, the same for all."""
        U, _, Vt = self._axes
        covariance: np.ndarray = (Vt.T * (self.noise_variance / self.eigenvalues)) @ Vt
        if self.n_components > len(U):  # codes without loadings keep their prior
            covariance += np.eye(self.n_components) - Vt.T @ Vt
        return covariance

    def posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means (n, k) of the codes of rows (n, d), and their common covariance (k, k)."""
        return self.encode(X), self.posterior_covariance()

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Return mean rows (n, d) of codes (n, k), ``W z + mean``, in the dtype of Z."""
        dtype = np.result_type(Z.dtype, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            X: np.ndarray = Z @ self.loadings.T.astype(dtype) + self.mean.astype(dtype)
        return _mend_far_rows(X, Z, np.zeros(Z.shape[1]), self.mean, self.loadings.T)

    def project(self, X: np.ndarray) -> np.ndarray:
        """Project rows (n, d) onto the subspace of the components, as in PCA."""
        U = self._axes[0]
        with np.errstate(over="ignore", invalid="ignore"):
            out: np.ndarray = _map_rows(X, self.mean, U) @ U.T.astype(X.dtype)
            out += self.mean.astype(X.dtype)
        return _mend_far_rows(out, X, self.mean, self.mean, U, U.T)

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return the log-density (n,) of rows (n, d) in nats, float64; -inf if squares overflow."""
        return self.log_prob_parts(X, features=False)[0]

    def log_prob_parts(
        self, X: np.ndarray, features: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        r"""Decompose the log-density of rows into contributions of the features and the codes.

        .. math:: \log p(x) = \sum_j E[\log N(x_j; (W z + \mu)_j, \sigma^2)] - KL(p(z|x), N(0, I))

        with the expectation over the exact posterior p(z|x), for which the bound is tight.

        Parameters
        ----------
        X : ndarray of shape (n, d)
            Rows.
        features : bool, default=True
            Whether to compute the shares of the features.

        Returns
        -------
        score : ndarray of shape (n,)
            Log-density in nats.
        latent : ndarray of shape (n,)
            Minus the divergence of the posterior from the prior, nats.
        reconstruction : ndarray of shape (n, d) or None
            Contributions of the features in nats; their sum plus `latent` is `score`.
        """
        U, s, _ = self._axes
        d, r = U.shape
        values, s2 = self.eigenvalues, self.noise_variance
        share = s2 / values  # (r,) posterior variance along the axes
        spread = log(2 * pi * s2) + U**2 @ (1.0 - share)  # (d,)
        score, latent = np.empty(len(X)), np.empty(len(X))
        reconstruction = np.empty(X.shape) if features else None
        with np.errstate(over="ignore", invalid="ignore"):  # far rows: density zero
            for rows, Y in centred_blocks(X, self.mean):
                P = Y @ U  # (b, r)
                Y -= P @ U.T  # residual of the projection, without cancellation
                score[rows] = np.einsum("ij,ij->i", Y, Y) / s2 + P**2 @ (1.0 / values)
                latent[rows] = P**2 @ (s / values) ** 2
                if reconstruction is not None:
                    Y += (P * share) @ U.T  # x - W E[z|x] - mean
                    reconstruction[rows] = -0.5 * (Y**2 / s2 + spread)
        score += d * log(2 * pi) + np.log(values).sum() + (d - r) * log(s2)
        latent += np.sum(share - 1.0 - np.log(share))
        score, latent = -0.5 * score, -0.5 * latent
        far = np.flatnonzero(~np.isfinite(score))
        far = far[np.isfinite(X[far]).all(axis=1)]
        for part in (score, latent, reconstruction):
            if part is not None:  # infinity minus infinity is NaN
                part[far] = np.where(np.isnan(part[far]), -np.inf, part[far])
        return score, latent, reconstruction

    def sample(self, n: int, rng: Any, noise: bool = True) -> np.ndarray:
        """Sample rows (n, d); `rng` is a numpy Generator or RandomState."""
        Z = rng.standard_normal((n, self.n_components))
        return self.draw_rows(Z, rng) if noise else self.decode(Z)

    def draw_rows(self, Z: np.ndarray, rng: Any) -> np.ndarray:
        """Sample rows (n, d) given codes (n, k)."""
        X = self.decode(Z)
        noisy: np.ndarray = X + np.sqrt(self.noise_variance) * rng.standard_normal(X.shape)
        return noisy

    def covariance(self) -> np.ndarray:
        """Return the covariance C (d, d), in squared units of x."""
        C: np.ndarray = self.loadings @ self.loadings.T
        C[np.diag_indices_from(C)] += self.noise_variance
        return C

    def precision(self) -> np.ndarray:
        """Return the inverse of the covariance (d, d), without a d x d inversion."""
        U, s, _ = self._axes
        P: np.ndarray = -(U * (s**2 / self.eigenvalues / self.noise_variance)) @ U.T
        P[np.diag_indices_from(P)] += 1.0 / self.noise_variance
        return P

    def truncate(self, n_components: int) -> LinearGaussian:
        """Return the distribution with fewer components; discarded variance is added to the noise.

        For a maximum likelihood fit, this is the maximum likelihood fit with fewer components. If
        `n_components` is larger than the current number, components without loadings are added.
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


def _map_rows(X: np.ndarray, mean: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Return (X - mean) A in the dtype of X, centred in float64 to avoid cancellation."""
    out = np.empty((len(X), A.shape[1]), X.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        B = A.astype(X.dtype)
        for rows, Y in centred_blocks(X, mean):
            out[rows] = Y.astype(X.dtype, copy=False) @ B
    return _mend_far_rows(out, X, mean, 0.0, A)


def _mend_far_rows(
    out: np.ndarray, X: np.ndarray, mean: np.ndarray, shift: Any, *maps: np.ndarray
) -> np.ndarray:
    """Recompute rows of ``(X - mean) A ... + shift`` that have overflowed, with scaling.

    Results beyond the range of the dtype are its largest number.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(out.sum()):
            return out
    far = np.flatnonzero(~np.isfinite(out).all(axis=1))
    far = far[np.isfinite(X[far]).all(axis=1)]
    if len(far):
        Y = X[far].astype(np.float64)
        size = np.abs(Y).max(axis=1, keepdims=True)
        size[size == 0.0] = 1.0
        Y = Y / size - mean / size
        for A in maps:
            Y = Y @ A
        most = np.finfo(out.dtype).max
        with np.errstate(over="ignore"):
            out[far] = np.clip(Y * size + shift, -most, most)
    return out
