"""Whether synthetic rows lie closer to the rows a model learned from than to others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...tables.source import ArraySource
from ...tables.summary import Summary
from ..neighbours import random_source, squared_distances
from ._columns import Tables, read_tables

__all__ = ["closest_record_share"]

_TIE = 1 + 1e-8  # squared distances that agree to this are equal, whatever their rounding


def closest_record_share(
    train: Any,
    synthetic: Any,
    holdout: Any,
    *,
    kinds: Mapping[Any, str] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    r"""Share of synthetic rows that lie closer to a training row than to a held-out one.

    A model that has learned the law of the rows, and not the rows, draws as close to rows that it
    has seen as to others of the same law: the share is 0.5. Copies of training rows make it 1.

    Parameters
    ----------
    train : array or data frame of shape (n, d)
        Rows that the model was fitted on; missing cells may be NaN, None, NA, NaT or null. They
        say which columns are classes.
    synthetic : array or data frame of shape (m, d)
        Rows of the model, of this library or another. Columns are found by their names, in arrays
        by their positions.
    holdout : array or data frame of shape (k, d)
        Rows of the same law that the model has not seen.
    kinds : mapping from names or positions of columns to str, optional
        Kinds that come before what the dtypes of `train` say: "numeric", "integer", "boolean",
        "categorical", "ordinal", "datetime" or "duration". Classes that are numbers need it.
    random_state : int, RandomState or None, default=None
        Source of the draw that makes the larger of `train` and `holdout` as small as the other.
        None draws afresh; numpy's global generator is not touched.

    Returns
    -------
    float
        In [0, 1]; rows that are equally close to both count half.

    Raises
    ------
    TypeError
        If a table is none, or a column holds cells that are not read, or of another kind than in
        ``train``.
    ValueError
        If a table has no rows, ``synthetic`` or ``holdout`` lacks a column or has one more, a
        column holds infinite numbers, numbers too far from all others or more than 1000 labels,
        or ``kinds`` is wrong.

    See Also
    --------
    nearest_training_rows : The distances themselves, of numbers.
    two_sample_auc : Whether synthetic rows are like real ones, copies or not.

    Notes
    -----
    The squared distance of two rows is a sum over their columns: of the squared difference of
    numbers and times, each divided by the standard deviation of the column in both tables of real
    rows; of 1 for two different labels, which is what indicators of the labels, divided by the
    root of 2, would give. A missing number lies at the mean, and 1 from those that are not.

    Of two tables the larger one would be closer by chance, so it is drawn down to the size of the
    other. A share s of copies, of rows that are drawn, gives s + (1 - s) / 2; a small
    `holdout` beside a large `train` sees but few of the copies, since few of the rows are drawn.
    By chance alone the share strays from 0.5 by about half the root of 1 / m, and more where many
    synthetic rows have the same neighbours.

    O(m n d) time for the smaller n; memory is that of the data and of one block of distances.

    References
    ----------
    M. Platzer, T. Reutterer, "Holdout-based empirical assessment of mixed-type synthetic data",
    Frontiers in Big Data 4, arXiv:2104.00635, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import closest_record_share
    >>> rng = np.random.default_rng(0)
    >>> train, holdout, other = rng.normal(size=(3, 500, 4))
    >>> closest_record_share(train, train[:100], holdout)
    1.0
    >>> bool(abs(closest_record_share(train, other, holdout) - 0.5) < 0.1)
    True
    """
    rng = random_source(random_state)
    tables = read_tables(kinds, train=train, synthetic=synthetic, holdout=holdout)
    return closer(tables, "train", rng)


def closer(tables: Tables, train: str, rng: np.random.RandomState) -> float:
    """Share of synthetic rows that are closer to rows of the table `train` than to the holdout."""
    pair = [tables.values[name] for name in (train, "holdout")]
    size = min(map(len, pair))
    pair = [X if len(X) == size else X[rng.choice(len(X), size, replace=False)] for X in pair]
    real = np.concatenate(pair)
    classes = np.array([tables.labels(j) is not None for j in range(len(tables))], bool)
    known, new = _scaled(real, tables.values["synthetic"], classes)
    labels = [np.nan_to_num(X[:, classes], nan=-1.0).T for X in (real, tables.values["synthetic"])]
    won = 0.0
    for rows, d2 in squared_distances(new, known):
        for here, there in zip(labels[1], labels[0], strict=True):
            d2 += here[rows, None] != there
        near = [part.min(axis=1) for part in (d2[:, :size], d2[:, size:])]
        first = near[0] * _TIE < near[1]
        second = near[1] * _TIE < near[0]
        won += float(first.sum()) + 0.5 * float((~first & ~second).sum())
    return won / len(new)


def _scaled(
    real: np.ndarray, other: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in standard deviations of the real ones, and which are missing."""
    scaled = []
    known = Summary.of(ArraySource(real[:, ~classes]))
    mean, spread = known.mean, np.where(known.std == 0.0, 1.0, known.std)
    for Y in (real, other):
        Y = Y[:, ~classes]
        missing = np.isnan(Y)
        with np.errstate(over="ignore"):
            Y = np.where(missing, 0.0, (Y - mean) / spread)
        if not (np.abs(Y) < 1e150).all():
            raise ValueError("synthetic holds numbers that are 1e150 standard deviations away.")
        scaled.append(np.hstack([Y, missing]))
    varied = np.append(np.ones(len(mean), bool), (scaled[0][:, len(mean) :] != 0.0).any(axis=0))
    return scaled[0][:, varied], scaled[1][:, varied]
