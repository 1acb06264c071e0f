"""Central intervals of sampled values."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..tables.format import TableFormat

_WHOLE = ("integer", "boolean", "ordinal")


def check_interval(coverage: Any, n_draws: Any) -> tuple[float, int]:
    """Check the coverage, and that there are enough samples for the quantiles."""
    if not isinstance(coverage, Real) or isinstance(coverage, bool) or not 0 < float(coverage) < 1:
        raise ValueError(f"coverage must be a number between 0 and 1, got {coverage!r}.")
    least = math.ceil(2.0 / (1.0 - float(coverage)) - 1.0 - 1e-9)
    if not isinstance(n_draws, Integral) or isinstance(n_draws, bool) or n_draws < least:
        raise ValueError(
            f"n_draws must be an integer of at least {least} for coverage={coverage}, got "
            f"{n_draws!r}."
        )
    return float(coverage), int(n_draws)


def central_interval(
    draws: np.ndarray, coverage: float, looks: TableFormat
) -> tuple[np.ndarray, np.ndarray]:
    """Return limits (n, d) of the central intervals of samples (n_draws, n, d), elementwise.

    For unordered categories both limits are the most frequent one. For integers and other labels
    the limits are sampled values, rounded outwards, so that the coverage is at least as given.
    """
    ends = [0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage]
    low, high = np.quantile(draws, ends, axis=0, method="weibull")
    for j, column in enumerate(() if looks.is_plain else looks.columns):
        cells = np.rint(draws[..., j])
        if column.kind == "categorical":
            low[:, j] = high[:, j] = _most_frequent(cells, len(column.labels or ()))
        elif column.kind in _WHOLE:
            below, above = np.quantile(cells, ends, axis=0, method="weibull")
            low[:, j], high[:, j] = np.floor(below), np.ceil(above)
    return low, high


def _most_frequent(codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the most frequent label code (n,) of codes (n_draws, n); NaN for NaN."""
    counts = np.stack([(codes == label).sum(axis=0) for label in range(n_labels)])
    found: np.ndarray = np.where(np.isnan(codes[0]), np.nan, counts.argmax(axis=0))
    return found
