"""Linear Gaussian distribution given the observed values of rows with missing values (NaN)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np

from .model import LinearGaussian

_BLOCK = 2**19  # numbers in a stack of masked loadings
_STEEP = 1e4  # signal-to-noise ratios up to which normal equations keep twelve digits
_FAR = 1e100  # noise standard deviations beyond which rows are scaled down before multiplication
_FARTHEST = 1e300


@dataclass(eq=False)
class Pattern:
    """Some rows and the patterns of their observed values.

    Attributes
    ----------
    rows : ndarray of int of shape (b,)
        Positions of the rows.
    seen : ndarray of bool of shape (p, d)
        The distinct patterns.
    which : ndarray of int of shape (b,)
        The pattern of each row.
    """

    rows: np.ndarray
    seen: np.ndarray
    which: np.ndarray


def patterns(observed: np.ndarray, width: int) -> list[Pattern]:
    """Group rows with the same observed values, in blocks.

    Parameters
    ----------
    observed : ndarray of bool of shape (n, d)
        Mask of observed values.
    width : int
        Numbers in memory needed for one row.

    Returns
    -------
    blocks : list of Pattern
        Blocks that partition the rows.
    """
    packed = np.ascontiguousarray(np.packbits(observed, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    order = np.argsort(keys, kind="stable")
    size = max(_BLOCK // max(width, 1), 16)
    found = []
    for i in range(0, len(order), size):
        rows = order[i : i + size]
        new = np.ones(len(rows), bool)
        new[1:] = (packed[rows[1:]] != packed[rows[:-1]]).any(axis=1)
        found.append(Pattern(rows, observed[rows[new]], np.cumsum(new) - 1))
    return found


@dataclass(eq=False)
class Inferred:
    r"""Posteriors of codes given the observed values, in units of the noise.

    With V = W / sigma and y = (x - mean) / sigma on the observed values, ``M = I + V_O' V_O``: the
    posterior is N(M^-1 V_O' y_O, M^-1).

    Attributes
    ----------
    mean : ndarray of shape (b, k)
    roots : ndarray of shape (p, k, k)
        ``root root' = M^-1``, one for each pattern.
    log_det : ndarray of shape (p,)
        Logarithms of det M.
    """

    mean: np.ndarray
    roots: np.ndarray
    log_det: np.ndarray


def infer(V: np.ndarray, Y: np.ndarray, block: Pattern) -> Inferred:
    """Compute the posteriors of the codes of a block of rows.

    If the signal is far above the noise, M has lost the noise to rounding: its factor is then
    computed from the loadings themselves, ``[V_O; I] = Q R``, with the square root of the condition
    number.

    Parameters
    ----------
    V : ndarray of shape (d, k)
        Loadings over the standard deviation of the noise.
    Y : ndarray of shape (b, d)
        Centred rows in the same unit, 0 where not observed.
    block : Pattern
        Their patterns.
    """
    (d, k), p = V.shape, len(block.seen)
    masked = block.seen[:, None, :] * V.T  # (p, k, d)
    if float(np.vdot(V, V)) <= _STEEP:
        M = (masked.reshape(p * k, d) @ V).reshape(p, k, k) + np.eye(k)
        lower = np.linalg.cholesky(M)
        inverse = np.linalg.inv(lower)
        roots = inverse.transpose(0, 2, 1)
        maps, Y = roots @ inverse, Y @ V  # M^-1, V' y
        sizes = lower.diagonal(axis1=1, axis2=2)
    else:
        tall = np.concatenate([masked, np.broadcast_to(np.eye(k), (p, k, k))], axis=2)
        Q, R = np.linalg.qr(tall.transpose(0, 2, 1))
        roots = np.linalg.inv(R)
        maps = Q[:, :d] @ roots.transpose(0, 2, 1)
        sizes = np.abs(R.diagonal(axis1=1, axis2=2))
    mean = _each_by_its_own(Y, maps, block.which)
    return Inferred(mean, roots, 2.0 * np.log(sizes).sum(axis=1))


def _each_by_its_own(Y: np.ndarray, maps: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Multiply rows (b, m) by maps (p, m, k), row i by ``maps[which[i]]``; `which` is sorted."""
    if 8 * len(maps) > len(Y):
        found: np.ndarray = (Y[:, None, :] @ maps[which])[:, 0]
        return found
    ends = np.searchsorted(which, np.arange(len(maps) + 1))
    parts = [Y[a:b] @ A for A, a, b in zip(maps, ends[:-1], ends[1:], strict=True)]
    return np.concatenate(parts)


@dataclass(eq=False)
class _Block:
    """Some rows and the posteriors of their codes."""

    rows: np.ndarray  # (b,) positions of the rows
    seen: np.ndarray  # (b, d)
    which: np.ndarray  # (b,)
    size: np.ndarray  # (b, 1) divisor of extreme rows
    rest: np.ndarray  # (b, d) y - V E[z | x] on observed values, else 0
    codes: np.ndarray  # (b, k) E[z | x]
    found: Inferred


class IncompleteGaussian:
    r"""Linear Gaussian distribution of rows with missing values.

    The observed values O of a row follow ``N(mean_O, W_O W_O' + s2 I)``, its codes given these
    values follow ``N(M^-1 W_O' (x_O - mean_O), s2 M^-1)`` with ``M = W_O' W_O + s2 I`` [1]_ [2]_,
    and a missing value given the codes is ``w_j' z + mean_j`` plus noise. Complete rows are
    processed by `LinearGaussian`; incomplete rows are detected by its results, which are NaN, and
    not by a pass over the rows.

    Columns without observed values in the fit have no distribution. They stay missing in results,
    and values of other rows in them do not contribute to densities.

    Parameters
    ----------
    model : LinearGaussian
        Distribution of the d known columns.
    known : ndarray of bool of shape (width,), or None
        Mask of the known columns; None if all are known.

    References
    ----------
    .. [1] M. Tipping and C. Bishop, "Probabilistic principal component analysis", Journal of the
       Royal Statistical Society B, 61(3), 1999.
    .. [2] A. Ilin and T. Raiko, "Practical approaches to principal component analysis in the
       presence of missing values", Journal of Machine Learning Research, 11, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.linear_gaussian import IncompleteGaussian, LinearGaussian
    >>> model = LinearGaussian(np.zeros(2), np.array([[1.0], [1.0]]), 0.5)
    >>> IncompleteGaussian(model).complete(np.array([[3.0, np.nan], [np.nan, np.nan]]))
    array([[3., 2.],
           [0., 0.]])
    """

    def __init__(self, model: LinearGaussian, known: np.ndarray | None = None) -> None:
        self.model, self.known = model, known
        self._unit = float(np.sqrt(model.noise_variance))

    # -- unknown columns --------------------------------------------------------------------------
    def _narrow(self, X: np.ndarray) -> np.ndarray:
        return X if self.known is None else X[:, self.known]

    def widen(self, Y: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Insert `fill` in the unknown columns of rows (..., d): (..., width)."""
        if self.known is None:
            return Y
        out = np.full((*Y.shape[:-1], len(self.known)), fill, Y.dtype)
        out[..., self.known] = Y
        return out

    def _widen_square(self, C: np.ndarray) -> np.ndarray:
        return self.widen(self.widen(C).T)

    def covariance(self) -> np.ndarray:
        """Return the covariance of complete rows, NaN for unknown columns."""
        return self._widen_square(self.model.covariance())

    def precision(self) -> np.ndarray:
        """Return the inverse of the covariance of the known columns, NaN for the others."""
        return self._widen_square(self.model.precision())

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Return the mean rows of codes (n, k)."""
        return self.widen(self.model.decode(Z))

    def draw_rows(self, Z: np.ndarray, rng: Any) -> np.ndarray:
        """Sample rows given codes (n, k)."""
        return self.widen(self.model.draw_rows(Z, rng))

    # -- rows with missing cells ------------------------------------------------------------------
    def _infer(self, X: np.ndarray) -> Iterator[_Block]:
        """Yield posteriors of rows (n, d) of known columns, in blocks."""
        V = self.model.loadings / self._unit
        for block in patterns(~np.isnan(X), V.size + len(V)):
            seen = block.seen[block.which]
            with np.errstate(over="ignore"):  # rows at infinite distance are scaled down below
                Y = np.where(seen, (X[block.rows] - self.model.mean) / self._unit, 0.0)
            Y = np.clip(Y, -_FARTHEST, _FARTHEST)
            size = np.maximum(np.abs(Y).max(axis=1, keepdims=True) / _FAR, 1.0)
            Y /= size
            found = infer(V, Y, block)
            Y -= found.mean @ V.T
            Y *= seen
            yield _Block(block.rows, seen, block.which, size, Y, found.mean * size, found)

    @staticmethod
    def _holed(X: np.ndarray, result: np.ndarray) -> np.ndarray:
        """Return positions of rows with missing values, found by NaN in `result`."""
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isnan(result.sum()):
                return np.empty(0, np.intp)
        return np.flatnonzero(np.isnan(X).any(axis=1))

    def _mend(
        self, X: np.ndarray, out: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Recompute `out` for the rows X in which missing values have made it NaN."""
        rows = self._holed(X, out)
        if len(rows):
            limit = np.finfo(out.dtype).max
            out[rows] = np.clip(compute(X[rows]), -limit, limit)
        return out

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Return posterior means (n, k) of the codes, in the dtype of X; 0 for empty rows."""
        X = self._narrow(X)
        return self._mend(X, self.model.encode(X), self._codes)

    def _codes(self, X: np.ndarray) -> np.ndarray:
        out = np.empty((len(X), self.model.n_components))
        for block in self._infer(X):
            out[block.rows] = block.codes
        return out

    def posterior_roots(self, X: np.ndarray) -> np.ndarray:
        """Return roots (n, k, k) of the covariances of the codes, ``root root' = cov``."""
        out = np.empty((len(X), self.model.n_components, self.model.n_components))
        for block in self._infer(self._narrow(X)):
            out[block.rows] = block.found.roots[block.which]
        return out

    def posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations (n, k) of the codes, in the dtype of X."""
        X = self._narrow(X)
        mean = self.model.encode(X)
        common = np.sqrt(np.diag(self.model.posterior_covariance())).astype(mean.dtype)
        std = np.repeat(common[None], len(mean), axis=0)
        rows = self._holed(X, mean)
        limit = np.finfo(mean.dtype).max
        for block in self._infer(X[rows]):
            spread = np.sqrt(np.square(block.found.roots).sum(axis=2))  # (p, k)
            std[rows[block.rows]] = spread[block.which]
            mean[rows[block.rows]] = np.clip(block.codes, -limit, limit)
        return mean, std

    def log_prob_parts(
        self, X: np.ndarray, features: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        r"""Decompose the log-density of the observed values as `LinearGaussian.log_prob_parts`.

        .. math:: \log p(x_O) = \sum_{j \in O} E[\log N(x_j; (W z + \mu)_j, \sigma^2)]
                  - KL(p(z|x_O), N(0, I))

        A row without observed values has density 1.

        Parameters
        ----------
        X : ndarray of shape (n, width)
            Rows; NaN for missing values.
        features : bool, default=True
            Whether to compute the contributions of the features.

        Returns
        -------
        score : ndarray of shape (n,)
            Log-density of the observed values, in nats.
        latent : ndarray of shape (n,)
            Minus the KL divergence of the posterior from the prior, in nats.
        reconstruction : ndarray of shape (n, width) or None
            Contributions of the features in nats, 0 for missing values; their sum plus `latent` is
            `score`.
        """
        X = self._narrow(X)
        score, latent, reconstruction = self.model.log_prob_parts(X, features)
        rows = self._holed(X, score)
        self._score_holed(X[rows], rows, score, latent, reconstruction)
        if reconstruction is not None:
            reconstruction = self.widen(reconstruction, 0.0)
        return score, latent, reconstruction

    def _score_holed(
        self,
        X: np.ndarray,
        numbers: np.ndarray,
        score: np.ndarray,
        latent: np.ndarray,
        reconstruction: np.ndarray | None,
    ) -> None:
        """Compute the terms of rows X with missing values."""
        V, k = self.model.loadings / self._unit, self.model.n_components
        constant = log(2 * pi * self.model.noise_variance)
        for block in self._infer(X):
            rows, found, g = numbers[block.rows], block.found, block.which
            with np.errstate(over="ignore"):  # extreme rows: density zero
                rest = np.square(block.rest * block.size)  # (b, d)
                norm = np.square(block.codes).sum(axis=1)
            # quadratic form of the marginal covariance, without cancellation
            quadratic = rest.sum(axis=1) + norm
            score[rows] = -0.5 * (block.seen.sum(axis=1) * constant + found.log_det[g] + quadratic)
            trace = np.square(found.roots).sum(axis=(1, 2))
            latent[rows] = -0.5 * (norm + (trace - k + found.log_det)[g])
            if reconstruction is not None:
                spread = np.square(V @ found.roots).sum(axis=2)  # (p, d)
                shares = -0.5 * (constant + rest + spread[g])
                reconstruction[rows] = np.where(block.seen, shares, 0.0)

    def complete(self, X: np.ndarray) -> np.ndarray:
        """Return a copy of the rows with missing values replaced by conditional means."""
        out = X.copy()
        for at, block, within in self._missing(X):
            limit = np.finfo(X.dtype).max
            fill = np.clip(block.codes @ self.model.loadings.T + self.model.mean, -limit, limit)
            out[at] = fill[within]
        return out

    def draw_missing(self, X: np.ndarray, n_draws: int, rng: Any) -> np.ndarray:
        """Sample missing values from their joint conditional distribution, (n_draws, n, width).

        Observed values are the same in all copies. `rng` is a numpy Generator or RandomState.
        """
        out = np.repeat(X[None], n_draws, axis=0)
        limit = np.finfo(X.dtype).max
        for at, block, within in self._missing(X):
            for draw in out:
                noise = rng.standard_normal(block.codes.shape)
                Z = block.codes + self._spread(block.found.roots, block.which, noise)
                Y = Z @ self.model.loadings.T + self.model.mean
                Y += self._unit * rng.standard_normal(Y.shape)
                draw[at] = np.clip(Y, -limit, limit)[within]
        return out

    def draw_codes(self, X: np.ndarray, rng: Any) -> np.ndarray:
        """Sample one code (n, k) from the posterior of each row."""
        X = self._narrow(X)
        out = np.empty((len(X), self.model.n_components))
        noise = rng.standard_normal(out.shape)
        for block in self._infer(X):
            spread = self._spread(block.found.roots, block.which, noise[block.rows])
            out[block.rows] = block.codes + spread
        return out

    @staticmethod
    def _spread(roots: np.ndarray, which: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Transform samples (b, k) of N(0, I) to deviations of codes from their posterior means."""
        return _each_by_its_own(noise, roots.transpose(0, 2, 1), which)

    def _missing(self, X: np.ndarray) -> Iterator[tuple[Any, _Block, np.ndarray]]:
        """Return the positions of missing values of known columns in X and in a block (b, d)."""
        Y = self._narrow(X)
        rows = self._holed(Y, Y)
        columns = np.arange(X.shape[1]) if self.known is None else np.flatnonzero(self.known)
        for block in self._infer(Y[rows]):
            i, j = np.nonzero(~block.seen)
            yield (rows[block.rows[i]], columns[j]), block, ~block.seen

    def project(self, X: np.ndarray) -> np.ndarray:
        """Project the completed rows onto the subspace of the components, as in PCA."""
        X = self._narrow(X)
        narrow = IncompleteGaussian(self.model)
        out = self._mend(X, self.model.project(X), lambda Y: self.model.project(narrow.complete(Y)))
        return self.widen(out)
