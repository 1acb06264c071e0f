"""Frechet distance between normal distributions fitted to two samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .neighbours import check_samples

__all__ = ["frechet_distance"]


def frechet_distance(X: ArrayLike, Y: ArrayLike) -> float:
    r"""Compute the squared Frechet distance of two samples, each approximated by a normal.

    .. math:: d^2(X, Y) = |m_X - m_Y|^2
              + \operatorname{tr}\left(S_X + S_Y - 2 (S_X S_Y)^{1/2}\right)

    with the means m and the (unbiased) covariances S of the rows: the squared Wasserstein-2
    distance of two normal distributions. On features of an Inception network this is the Frechet
    inception distance (FID); here any features can be used. Two samples from the same distribution
    have a distance of the order of d^2 / n times the variance, so compare only values for equal
    sample sizes.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Features of the first sample, at least two rows.
    Y : array-like of shape (m, d)
        Features of the second sample, at least two rows.

    Returns
    -------
    float
        The squared distance, in squared units of X; never negative.

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, has fewer than two rows, or the numbers of
        columns differ.

    See Also
    --------
    energy_distance : Distance that depends on the whole distribution.
    knn_precision_recall : Separates quality and diversity of samples.

    Notes
    -----
    With any roots :math:`S_X = A^T A` and :math:`S_Y = B^T B`, here the triangular factors of the
    centred rows, the trace term is :math:`\min_U |A - U B|_F^2` over orthogonal U (Bhatia et al.),
    which one singular value decomposition of :math:`A B^T` solves. So no values become complex or
    negative, singular covariances need no special treatment, and no d x d matrix is needed if there
    are fewer rows than columns: O((n + m) d r + r^3) time with r = min(d, max(n, m)).

    References
    ----------
    D. C. Dowson, B. V. Landau, "The Frechet distance between multivariate normal distributions",
    Journal of Multivariate Analysis 12, 1982.
    M. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", arXiv:1706.08500, 2017.
    R. Bhatia, T. Jain, Y. Lim, "On the Bures-Wasserstein distance between positive definite
    matrices", Expositiones Mathematicae 37, 2019.

    Examples
    --------
    >>> from skvae.metrics.frechet import frechet_distance
    >>> X = [[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]
    >>> frechet_distance(X, [[x + 3, y + 4] for x, y in X])
    25.0
    """
    x, y = check_samples(rows=2, X=X, Y=Y)
    mean_x, mean_y = (z.mean(axis=0, dtype=np.float64) for z in (x, y))
    A, B = _root(x - mean_x), _root(y - mean_y)
    rank = max(len(A), len(B))
    A, B = (np.pad(R, ((0, rank - len(R)), (0, 0))) for R in (A, B))
    left, _, right = np.linalg.svd(A @ B.T)
    return float(np.square(mean_x - mean_y).sum() + np.square(A - left @ (right @ B)).sum())


def _root(centred: np.ndarray) -> np.ndarray:
    """Return R with R' R the covariance of the rows; R has at most d rows."""
    factor: np.ndarray = np.linalg.qr(centred, mode="r")  # type: ignore[assignment]
    root: np.ndarray = factor / np.sqrt(len(centred) - 1)
    return root
