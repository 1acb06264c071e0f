"""Sufficient statistics of linear Gaussian models, computed over blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 2**17  # numbers in a block of centred rows, which fits the cache
_MOST_ROWS = 4096  # rows of a block: their float32 sums keep five digits
_FLOAT32_ROWS = 8192  # float32 rows of one product, which is accumulated in float64
_NEAR_ZERO = 100.0  # squared means over variances that cost at most two of sixteen digits
_NEAR_ZERO_FLOAT32 = 1.0  # and these at most a bit
_SMALL, _LARGE = 1e-20, 1e36  # squares of float32 rows outside of these lose digits


def blocks(n: int, width: int, least: int = 256) -> Iterator[slice]:
    """Return slices of n rows of that width, each of at least `least` rows."""
    size = max(min(_BLOCK // max(width, 1), _MOST_ROWS), least)
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def centred_blocks(X: np.ndarray, mean: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of rows minus the mean, in float64, without a centred copy of X."""
    for rows in blocks(len(X), 2 * X.shape[1], least=32):
        yield rows, X[rows] - mean


@dataclass(eq=False)
class Moments:
    """Count, mean and centred scatter matrix of rows, the sufficient statistics of PPCA.

    `merge` adds the moments of other rows [1]_, so that chunks give the same result as one pass.
    Rows with a large mean are shifted before multiplication, to avoid cancellation.

    Parameters
    ----------
    n : int
        Number of rows.
    mean : ndarray of shape (d,)
        Mean of the rows, float64.
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
        """Compute the moments of rows (n, d), in float32 for float32 rows if squares fit."""
        n = len(X)
        # A first estimate of the mean, exact in the dtype of X, from evenly spaced rows.
        some = X[:: -(-n // 256)].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # the solvers raise an error
            guess = some.mean(axis=0)
            limit = _NEAR_ZERO_FLOAT32 if X.dtype == np.float32 else _NEAR_ZERO
            near = np.all(np.square(guess) <= limit * some.var(axis=0))
            shift = None if near else guess.astype(X.dtype)
            total, products = _sums(X, shift)
            if X.dtype == np.float32 and not _SMALL < products.diagonal().max() < _LARGE:
                return cls.of(X.astype(np.float64))
            offset = total / n
            scatter = _add_outer(products, -n, offset)
        return cls(n, offset if shift is None else shift + offset, scatter)

    @classmethod
    def weighted(cls, X: np.ndarray, weights: np.ndarray, n: int) -> Moments:
        """Moments of rows (n, d) that count by their weights, as of `n` rows in all.

        Examples
        --------
        >>> import numpy as np
        >>> Moments.weighted(np.array([[1.0], [4.0]]), np.array([2.0, 1.0]), 3).mean
        array([2.])
        """
        share = weights / weights.sum()
        first = X[0].astype(np.float64)  # near the rows: a large mean does not cancel
        with np.errstate(over="ignore", invalid="ignore"):  # the solvers tell the user
            blocks = centred_blocks(X, first)
            mean = first + sum(share[rows] @ centred for rows, centred in blocks)
            scatter = np.zeros((len(mean), len(mean)))
            for rows, centred in centred_blocks(X, mean):
                scatter += n * (centred.T * share[rows]) @ centred
        return cls(n, mean, scatter)

    def update(self, X: np.ndarray) -> Moments:
        """Return moments of these rows and the rows of X together; changes `scatter` in place."""
        return self.merge(Moments.of(X))

    def merge(self, other: Moments) -> Moments:
        """Return moments of both sets of rows; changes `scatter` in place."""
        n = self.n + other.n
        with np.errstate(over="ignore", invalid="ignore"):  # the solvers raise an error
            step = other.mean - self.mean
            self.scatter += other.scatter
            scatter = _add_outer(self.scatter, self.n * other.n / n, step)
            return Moments(n, self.mean + step * (other.n / n), scatter)

    def covariance(self) -> np.ndarray:
        """Return the covariance (d, d) with divisor n."""
        upper = np.triu(self.scatter) / self.n
        return upper + np.triu(upper, 1).T


def _sums(X: np.ndarray, shift: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum (d,) of the rows minus `shift`, and their products (d, d), float64."""
    n, d = X.shape
    if shift is not None:
        # No fewer rows than that, or adding up the products costs as much as making them.
        parts = blocks(n, d, least=max(256, d // 2))
    else:  # no shift: views of the rows, as large as their precision allows
        step = n if X.dtype == np.float64 else _FLOAT32_ROWS
        parts = (slice(i, i + step) for i in range(0, n, step))
    total = np.zeros(d)
    products: np.ndarray | None = None
    buffer: np.ndarray | None = None
    for rows in parts:
        Y = X[rows]
        if shift is not None:
            buffer = np.empty(Y.shape, X.dtype) if buffer is None else buffer
            Y = np.subtract(Y, shift, out=buffer[: len(Y)])
        total += Y.sum(axis=0)
        product = (Y.T @ Y).astype(np.float64, copy=False)  # twice as fast as of two matrices
        products = product if products is None else np.add(products, product, out=products)
    assert products is not None  # there is a row
    return total, products


def _add_outer(C: np.ndarray, weight: float, v: np.ndarray) -> np.ndarray:
    """Add weight v v' to C in place, by blocks, without a second d x d matrix."""
    for rows in blocks(len(v), len(v), least=1):
        C[rows] += np.outer(weight * v[rows], v)
    return C
