"""Figures of the codes: how correlated they are, and how many are in use."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from .neighbours import finite_rows

__all__ = ["active_units", "code_correlation"]


def code_correlation(Z: ArrayLike) -> float:
    r"""Normalised absolute correlation (NAC) of the codes.

    .. math:: \mathrm{NAC} = \frac{1}{k (k - 1)} \sum_{i \ne j} |\rho_{ij}|

    with Pearson's correlations of the columns: 0 for uncorrelated codes, as a prior N(0, I) has
    them, and 1 where all columns are linear functions of one. For n independent rows the
    expectation is about :math:`\sqrt{2 / (\pi n)}`, not 0.

    Parameters
    ----------
    Z : array-like of shape (n, k)
        Codes, at least two rows. A constant column counts as uncorrelated with every other.

    Returns
    -------
    float
        The mean absolute correlation, in [0, 1]; 0.0 for a single column.

    Raises
    ------
    ValueError
        If Z is not finite and two-dimensional or has fewer than two rows.

    See Also
    --------
    active_units : How many coordinates carry information.
    FactorVAE : A model whose codes are independent.

    References
    ----------
    A. K. Mondal et al., "MaskAAE: latent space optimization for adversarial auto-encoders",
    arXiv:1912.04564, 2020.

    Examples
    --------
    >>> from skvae.metrics.codes import code_correlation
    >>> code_correlation([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [2.0, -1.0, 5.0]])
    0.333
    """
    codes = _deviations(Z)
    k = codes.shape[1]
    if k == 1:
        return 0.0
    spread = np.abs(codes).max(axis=0)
    codes = codes / np.where(spread == 0, 1, spread)  # now no square underflows
    codes = codes - codes.mean(axis=0)
    norm = np.sqrt(np.square(codes).sum(axis=0))
    codes /= np.where(spread == 0, 1, norm)
    correlation = np.abs(codes.T @ codes)
    np.fill_diagonal(correlation, 0)
    return min(float(correlation.sum() / (k * (k - 1))), 1.0)


def active_units(Z: ArrayLike, threshold: float = 0.01) -> int:
    r"""Number of code coordinates that carry information on the rows.

    .. math:: \#\{j : \operatorname{Var}_x(E[z_j \mid x]) > \mathrm{threshold}\}

    A coordinate whose posterior collapsed onto the prior has the same mean for every row.

    Parameters
    ----------
    Z : array-like of shape (n, k)
        Posterior means of the codes of n rows, at least two.
    threshold : float, default=0.01
        Variance over the rows above which a coordinate is active.

    Returns
    -------
    int
        Number of active coordinates, 0 to k.

    Raises
    ------
    ValueError
        If Z is not finite and two-dimensional or has fewer than two rows, or ``threshold`` is
        negative.

    See Also
    --------
    MaskAAE : A model that finds how many codes it needs.
    code_correlation : Whether coordinates repeat each other.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", arXiv:1509.00519,
    2016.

    Examples
    --------
    >>> from skvae.metrics.codes import active_units
    >>> active_units([[0.0, 1.0, 0.01], [2.0, 1.0, 0.02], [4.0, 1.0, 0.03]])
    1
    """
    if not (isinstance(threshold, Real) and 0 <= float(threshold) < np.inf):
        raise ValueError(f"threshold must be a finite number of at least 0, got {threshold!r}")
    return int((_deviations(Z).var(axis=0) > threshold).sum())


def _deviations(Z: ArrayLike) -> np.ndarray:
    """Z in float64 less its first row, so that a constant column is exactly zero."""
    codes = finite_rows(Z, "Z", 2).astype(np.float64)
    found: np.ndarray = codes - codes[0]
    return found
