"""Metrics of the codes: correlation and number of active units."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from .neighbours import finite_rows

__all__ = ["active_units", "code_correlation"]


def code_correlation(Z: ArrayLike) -> float:
    r"""Compute the normalised absolute correlation (NAC) of the codes.

    .. math:: \mathrm{NAC} = \frac{1}{k (k - 1)} \sum_{i \ne j} |\rho_{ij}|

    where :math:`\rho_{ij}` is Pearson's correlation of columns i and j. The value is 0 for
    uncorrelated codes, such as codes from a prior N(0, I), and 1 if all columns are linear
    functions of one column. For n independent rows with independent columns, the expectation is
    about :math:`\sqrt{2 / (\pi n)}`, not 0.

    Parameters
    ----------
    Z : array-like of shape (n, k)
        Codes of at least two rows. A constant column is treated as uncorrelated with every other
        column.

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
    active_units : Number of latent coordinates that carry information.
    FactorVAE : Model with independent latent coordinates.

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
    codes = codes / np.where(spread == 0, 1, spread)  # so that no square underflows
    codes = codes - codes.mean(axis=0)
    norm = np.sqrt(np.square(codes).sum(axis=0))
    codes /= np.where(spread == 0, 1, norm)
    correlation = np.abs(codes.T @ codes)
    np.fill_diagonal(correlation, 0)
    return min(float(correlation.sum() / (k * (k - 1))), 1.0)


def active_units(Z: ArrayLike, threshold: float = 0.01) -> int:
    r"""Count the latent coordinates that carry information about the rows.

    .. math:: \#\{j : \operatorname{Var}_x(E[z_j \mid x]) > \mathrm{threshold}\}

    A coordinate with posterior collapse has the same posterior mean for every row and is not
    counted.

    Parameters
    ----------
    Z : array-like of shape (n, k)
        Posterior means of the codes of n rows, n at least 2.
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
    MaskAAE : Model that learns its number of latent coordinates.
    code_correlation : Correlation of the latent coordinates.

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
    """Return Z in float64 minus its first row, so that a constant column is exactly zero."""
    codes = finite_rows(Z, "Z", 2).astype(np.float64)
    found: np.ndarray = codes - codes[0]
    return found
