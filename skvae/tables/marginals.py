"""Marginals of columns: transforms to normality, and matching of samples to training values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

_MOST_KNOTS = 200
_STEEPEST = 1e300  # bound of the slope between knots whose distance, or its inverse, overflows
_LEAST_STEP = 1e-3  # distance of normal quantiles between knots


@dataclass(frozen=True, eq=False)
class QuantileNormal:
    """Piecewise linear map from the quantiles of a column to those of N(0, 1).

    Beyond the outermost knots it is extrapolated with the slope of the outer tenths, so that
    extreme values remain extreme.

    Parameters
    ----------
    x, z : ndarrays of shape (m,)
        Increasing knots: values of the column, and normal quantiles.

    Examples
    --------
    >>> import numpy as np
    >>> marginal = QuantileNormal.of(np.random.default_rng(0).exponential(size=1000))
    >>> z = marginal.forward(np.array([0.0, 0.7, 3.0]))
    >>> bool(np.allclose(marginal.inverse(z), [0.0, 0.7, 3.0]))
    True
    """

    x: np.ndarray
    z: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> QuantileNormal:
        """Create the map from the values of a column, at least two of them distinct."""
        distinct, counts = np.unique(values, return_counts=True)
        share = (np.cumsum(counts) - 0.5 * counts) / len(values)  # middle of the step of each value
        z = ndtri(np.clip(share, 0.5 / len(values), 1.0 - 0.5 / len(values)))
        n = min(_MOST_KNOTS, len(distinct))
        at = np.unique(np.searchsorted(z, np.linspace(z[0], z[-1], n)).clip(0, len(z) - 1))
        at = at[np.concatenate([[True], np.diff(z[at]) > _LEAST_STEP])]
        if len(at) < 2:
            at = np.array([0, len(distinct) - 1])
        return cls(distinct[at].astype(np.float64), z[at])

    def _slopes(self) -> np.ndarray:
        """Return dz/dx below the first knot, between knots, and beyond the last knot."""
        part = max(1, len(self.x) // 10)
        with np.errstate(over="ignore"):
            inner = np.diff(self.z) / np.diff(self.x)
            low = (self.z[part] - self.z[0]) / (self.x[part] - self.x[0])
            high = (self.z[-1] - self.z[-1 - part]) / (self.x[-1] - self.x[-1 - part])
        slopes: np.ndarray = np.concatenate([[low], inner, [high]])
        return slopes.clip(1.0 / _STEEPEST, _STEEPEST)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the normal scores of values."""
        return _follow(x, self.x, self.z, self._slopes())

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return the values of normal scores."""
        return _follow(z, self.z, self.x, 1.0 / self._slopes())

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Return log dz/dx, to be added to a log-density of z."""
        found: np.ndarray = np.log(self._slopes())[np.searchsorted(self.x, x, "right")]
        return found


def _follow(
    at: np.ndarray, knots: np.ndarray, values: np.ndarray, slopes: np.ndarray
) -> np.ndarray:
    found = np.interp(at, knots, values)
    with np.errstate(over="ignore"):
        found = np.where(at < knots[0], values[0] + slopes[0] * (at - knots[0]), found)
        beyond: np.ndarray = np.where(
            at > knots[-1], values[-1] + slopes[-1] * (at - knots[-1]), found
        )
    return beyond


def match_shares(drawn: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Change as few sampled labels (n,) as needed to match the proportions in training.

    The changed rows of too frequent labels are chosen at random, with a fixed seed.
    """
    rng = np.random.RandomState(0)
    matched, n = drawn.copy(), len(drawn)
    exact = n * counts / counts.sum()
    wanted = np.floor(exact).astype(int)
    wanted[np.argsort(wanted - exact, kind="stable")[: n - wanted.sum()]] += 1
    free = []
    for value, most in zip(values, wanted, strict=True):
        rows = np.flatnonzero(drawn == value)
        free.append(rng.permutation(rows)[most:])
    places = rng.permutation(np.concatenate(free))
    lacking = wanted - np.array([(drawn == value).sum() for value in values])
    matched[places] = np.repeat(values, np.maximum(lacking, 0))
    return matched


def check_knots(x: np.ndarray, z: np.ndarray, where: str) -> None:
    """Raise an error for knots that are not increasing."""
    one_axis = x.ndim == 1 and x.shape == z.shape and len(x) > 1
    if not one_axis or not ((np.diff(x) > 0).all() and (np.diff(z) > 0).all()):
        raise ValueError(f"{where} has a marginal whose knots do not increase")


def match_counts(drawn: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """As `match_ranks`, for sorted values (m,) with given counts."""
    rank = (rankdata(drawn, "ordinal") - 0.5) / len(drawn)
    ends = np.cumsum(counts)
    found: np.ndarray = values[np.searchsorted(ends, (rank * ends[-1]).astype(int), "right")]
    return found


def match_ranks(drawn: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Replace samples (n,) by the quantiles of given values (m,) with the same ranks.

    Ties are ranked in the order of their rows.
    """
    rank = (rankdata(drawn, "ordinal") - 0.5) / len(drawn)
    matched: np.ndarray = np.sort(values)[(rank * len(values)).astype(int)]
    return matched
