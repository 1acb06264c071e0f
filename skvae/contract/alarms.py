"""Conformal thresholds and p-values from the scores of rows not used in training."""

from __future__ import annotations

import math

import numpy as np

_TAIL = 4  # share of the scores that estimates their tail
_ROUNDING = 1e-9  # rounding of a rate times a count


def n_alarms(n: int, rate: float) -> int:
    """Return how many of ``n + 1`` exchangeable scores may be alarms at the given rate."""
    return math.floor(rate * (n + 1) + _ROUNDING)


def least_rows(rate: float) -> int:
    """Return the least number of rows whose scores determine the threshold for a rate."""
    return math.ceil(1.0 / rate - _ROUNDING) - 1


def p_values(score: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Return conformal p-values (n,), ``(1 + #{c_i <= s}) / (m + 1)``, m sorted scores c.

    For a row exchangeable with the rows of c, the probability of p <= a is at most a, for all a and
    m (Vovk, Gammerman & Shafer 2005; Bates, Candes, Lei, Romano & Sesia 2023).
    """
    below = np.searchsorted(calibration, score, side="right")
    found: np.ndarray = (1.0 + below) / (len(calibration) + 1.0)
    return found


def threshold(calibration: np.ndarray, rate: float) -> float:
    """Return the score below which a proportion `rate` of new rows lies, given m sorted scores.

    With ``j = floor(rate (m + 1))`` it is the j-th lowest score, below which are the rows with a
    p-value of at most `rate`. If j = 0, no score is low enough, and the threshold is extrapolated:
    the square root of the distance below the median is assumed to have an exponential tail. With
    the k + 1 largest of these square roots, y_1 >= ... >= y_(k+1), ``E = sum (y_i - y_(k+1))`` over
    k of them and t a number,

        P(y > y_(k+1) + t E) = (k + 1) / (m + 1) (1 + t)^-k

    for a new y, since E over the scale has a gamma distribution.
    """
    m, j = len(calibration), n_alarms(len(calibration), rate)
    if j > 0:
        return float(calibration[min(j, m) - 1])
    median = float(np.median(calibration))
    y = np.sqrt(median - calibration[: (m + 1) // 2])
    k = min(max(2, m // _TAIL), len(y) - 1)
    if k < 1:
        return float(calibration[0])
    t = (rate * (m + 1) / (k + 1)) ** (-1.0 / k) - 1.0
    distance = float(y[k] + t * np.sum(y[:k] - y[k]))
    return median - distance * distance
