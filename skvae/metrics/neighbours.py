"""Nearest training rows of generated rows, and distances between the rows of two samples."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.utils import check_array, check_random_state

__all__ = ["nearest_training_rows"]

_BLOCK = 2**22  # numbers in one block of distances: 32 MB


def nearest_training_rows(
    generated: ArrayLike, X: ArrayLike, n_neighbors: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    r"""Find the nearest training rows of generated rows, to detect memorisation.

    A model that copies its training data generates rows at a distance of (almost) zero. To judge
    whether distances are small, compare them with the distances of held-out rows to the same
    training data.

    Parameters
    ----------
    generated : array-like of shape (n, d)
        Generated (or held-out) rows.
    X : array-like of shape (m, d)
        Training rows.
    n_neighbors : int, default=1
        Number of nearest training rows to return, at most m.

    Returns
    -------
    distances : ndarray of shape (n, n_neighbors)
        Euclidean distances in ascending order, in float64; exactly 0 for a copy.
    indices : ndarray of shape (n, n_neighbors)
        Indices of the rows of X at these distances. Rows at equal distances are in arbitrary order.

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, the numbers of columns differ, or
        ``n_neighbors`` exceeds the rows of X.

    See Also
    --------
    knn_precision_recall : Quality and coverage of samples.

    Notes
    -----
    Takes O(n m d) time, and memory for the data and one block of distances.

    Examples
    --------
    >>> from skvae.metrics.neighbours import nearest_training_rows
    >>> distances, indices = nearest_training_rows([[0, 1], [5, 5]], [[5, 5], [0, 0], [3, 1]])
    >>> distances
    array([[1.],
           [0.]])
    >>> indices
    array([[1],
           [0]])
    """
    new, known = check_samples(generated=generated, X=X)
    check_integer("n_neighbors", n_neighbors, 1, len(known), "the rows of X")
    distances = np.empty((len(new), n_neighbors))
    indices = np.empty((len(new), n_neighbors), dtype=np.intp)
    for rows, d2 in squared_distances(new, known):
        if n_neighbors == 1:  # much faster than a partition
            near = d2.argmin(axis=1)[:, None]
        else:
            near = np.argpartition(d2, n_neighbors - 1, axis=1)[:, :n_neighbors]
        found = np.take_along_axis(d2, near, axis=1)
        order = np.argsort(found, axis=1)
        distances[rows] = np.sqrt(np.take_along_axis(found, order, axis=1))
        indices[rows] = np.take_along_axis(near, order, axis=1)
    return distances, indices


def squared_distances(A: np.ndarray, B: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks (rows, d2) over the rows of A, d2[i, j] = |a_i - b_j|^2 for all rows of B."""
    centre = B.mean(axis=0, dtype=np.float64)
    A, B = A - centre, B - centre
    A2, B2 = np.einsum("ij,ij->i", A, A), np.einsum("ij,ij->i", B, B)
    step = max(16, _BLOCK // len(B))
    for start in range(0, len(A), step):
        rows = slice(start, min(start + step, len(A)))
        a = A[rows]
        scale = A2[rows, None] + B2
        d2 = (-2 * a) @ B.T
        d2 += scale
        # |a|^2 + |b|^2 - 2 a.b cancels for close pairs; above this its relative error is 1e-9.
        scale *= 1e-6
        i, j = np.nonzero(d2 <= scale)
        if i.size * A.shape[1] > _BLOCK:
            d2 = cdist(a, B, "sqeuclidean")
        else:
            d2[i, j] = np.square(a[i] - B[j]).sum(axis=1)
        yield rows, d2


def check_samples(*, rows: int = 1, **samples: ArrayLike) -> tuple[np.ndarray, ...]:
    """Check finite arrays (n, d) of float32 or float64 with equal columns, n at least `rows`."""
    checked = {name: finite_rows(A, name, rows) for name, A in samples.items()}
    widths = {name: A.shape[1] for name, A in checked.items()}
    if len(set(widths.values())) > 1:
        given = " and ".join(f"{name} has {width} columns" for name, width in widths.items())
        raise ValueError(f"{given}: pass samples with the same columns")
    return tuple(checked.values())


def finite_rows(given: ArrayLike, name: str, rows: int = 1) -> np.ndarray:
    """Check a finite array (n, d) of float32 or float64, with n at least `rows`."""
    try:
        A: np.ndarray = check_array(given, dtype=[np.float64, np.float32], ensure_min_samples=rows)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not max(-float(A.min()), float(A.max())) < 1e150:
        raise ValueError(
            f"{name} contains numbers of 1e150 and more, whose squares overflow: "
            "rescale its columns"
        )
    return A


def check_integer(
    name: str, value: Any, least: int, most: int | None = None, what: str = ""
) -> None:
    """Check that a value is an integer in [least, most]; `what` explains `most` in the message."""
    if not (isinstance(value, Integral) and int(value) >= least):
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    if most is not None and int(value) > most:
        raise ValueError(f"{name} must be at most {most}, {what}, got {value!r}")


def random_source(random_state: int | np.random.RandomState | None) -> np.random.RandomState:
    """Return the given generator, one with this seed, or a new one; never numpy's global one."""
    if random_state is None:
        return np.random.RandomState()
    try:
        source: np.random.RandomState = check_random_state(random_state)
    except ValueError as error:
        raise ValueError(f"random_state: {error}") from error
    return source
