"""Precision (quality of generated rows) and recall (coverage of real rows)."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_array

from .neighbours import check_integer, check_samples, random_source, squared_distances

__all__ = [
    "density_coverage",
    "knn_precision_recall",
    "prd_curve",
    "prd_f_scores",
    "prd_of_histograms",
]

_TIE = 1 + 1e-8  # relative tolerance at which squared distances count as equal


def prd_curve(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    n_clusters: int = 20,
    n_angles: int = 1001,
    n_runs: int = 10,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute the precision-recall curve (PRD) of a generated sample by clustering.

    The union of both samples is clustered by k-means, and `prd_of_histograms` is applied to the two
    histograms over the clusters. The larger sample is subsampled to the size of the smaller one,
    since clusters would otherwise follow the larger. Precision and recall are averaged over runs,
    each with its own subsample and clustering. `prd_f_scores` summarises the curve by two scores.

    Parameters
    ----------
    real : array-like of shape (n, d)
        Real rows, or features of them.
    generated : array-like of shape (m, d)
        Generated rows, or features of them.
    n_clusters : int, default=20
        Number of clusters of the union, at most its number of rows.
    n_angles : int, default=1001
        Number of points of the curve, at least 3.
    n_runs : int, default=10
        Number of runs that are averaged.
    random_state : int, RandomState or None, default=None
        Random source of the subsamples and clusterings. None uses a new seed in each call; numpy's
        global generator is not changed.

    Returns
    -------
    precision : ndarray of shape (n_angles,)
        Precision, ascending from 0 to the maximal precision.
    recall : ndarray of shape (n_angles,)
        Recall, descending from the maximal recall to 0.

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, the numbers of columns differ, or an
        argument is out of its range (the message names it).

    See Also
    --------
    prd_f_scores : Two scores that summarise this curve.
    knn_precision_recall, density_coverage : Metrics based on nearest neighbours.

    References
    ----------
    M. S. M. Sajjadi et al., "Assessing generative models via precision and recall",
    arXiv:1806.00035, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics.precision_recall import prd_curve
    >>> real = np.random.default_rng(0).normal(size=(400, 2)) + np.repeat([[0], [50]], 200, axis=0)
    >>> precision, recall = prd_curve(real, real[:200], n_clusters=2, random_state=0)
    >>> precision.max().round(2), recall.max().round(2)  # one of the two modes is missing
    (np.float64(1.0), np.float64(0.5))
    """
    samples = check_samples(real=real, generated=generated)
    size = min(map(len, samples))
    check_integer("n_clusters", n_clusters, 1, 2 * size, "the rows of both samples, balanced")
    check_integer("n_angles", n_angles, 3)
    check_integer("n_runs", n_runs, 1)
    rng = random_source(random_state)
    curves = []
    for _ in range(n_runs):
        rows = np.concatenate([_subsample(sample, size, rng) for sample in samples])
        kmeans = MiniBatchKMeans(n_clusters, n_init=10, random_state=rng)
        labels = kmeans.fit(rows).labels_
        p, q = (np.bincount(part, minlength=n_clusters) for part in np.split(labels, 2))
        curves.append(prd_of_histograms(p, q, n_angles))
    precision, recall = np.mean(curves, axis=0)
    return precision, recall


def prd_of_histograms(
    p: ArrayLike, q: ArrayLike, n_angles: int = 1001
) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute the precision-recall curve (PRD) of a histogram q with respect to a histogram p.

    .. math:: \alpha(\lambda) = \sum_\omega \min(\lambda p_\omega, q_\omega), \qquad
              \beta(\lambda) = \sum_\omega \min(p_\omega, q_\omega / \lambda)

    at :math:`\lambda = \tan\theta` for evenly spaced angles from 0 to :math:`\pi / 2`, with both
    ends as limits: maximal recall (probability under p of the support of q) and maximal precision
    (probability under q of the support of p). Exchanging p and q exchanges precision and recall and
    reverses the curve.

    Parameters
    ----------
    p : array-like of shape (b,)
        Counts or probabilities of the data, scaled to sum to one.
    q : array-like of shape (b,)
        Counts or probabilities of the model, scaled to sum to one.
    n_angles : int, default=1001
        Number of points of the curve, at least 3.

    Returns
    -------
    precision : ndarray of shape (n_angles,)
        alpha, ascending from 0.
    recall : ndarray of shape (n_angles,)
        beta, descending to 0.

    Raises
    ------
    ValueError
        If a histogram is not finite, non-negative and one-dimensional with a positive sum, the
        numbers of bins differ or ``n_angles`` is below 3.

    References
    ----------
    M. S. M. Sajjadi et al., "Assessing generative models via precision and recall",
    arXiv:1806.00035, 2018.

    Examples
    --------
    >>> from skvae.metrics.precision_recall import prd_of_histograms
    >>> precision, recall = prd_of_histograms([1, 1], [2, 0], n_angles=5)
    >>> precision.round(2)
    array([0.  , 0.21, 0.5 , 1.  , 1.  ])
    >>> recall.round(2)
    array([0.5 , 0.5 , 0.5 , 0.41, 0.  ])
    """
    data, model = _histogram(p, "p"), _histogram(q, "q")
    if len(data) != len(model):
        raise ValueError(
            f"p has {len(data)} bins, but q has {len(model)}: pass histograms with the same bins"
        )
    check_integer("n_angles", n_angles, 3)
    theta = np.linspace(0, np.pi / 2, n_angles)[1:-1]
    sine, cosine = np.sin(theta), np.cos(theta)
    common = np.minimum(np.outer(sine, data), np.outer(cosine, model)).sum(axis=1)
    precision = np.concatenate([[0], common / cosine, [model[data > 0].sum()]])
    recall = np.concatenate([[data[model > 0].sum()], common / sine, [0]])
    return precision.clip(max=1), recall.clip(max=1)


def prd_f_scores(precision: ArrayLike, recall: ArrayLike, beta: float = 8) -> tuple[float, float]:
    r"""Compute the largest F-scores of a precision-recall curve, for recall and for precision.

    .. math:: F_\beta = (1 + \beta^2) \frac{p r}{\beta^2 p + r}

    Both scores are maxima over the curve. F_beta with beta > 1 gives more weight to recall, F_{1 /
    beta} gives more weight to precision.

    Parameters
    ----------
    precision : array-like of shape (a,)
        Precision along the curve, in [0, 1].
    recall : array-like of shape (a,)
        Recall along the curve, in [0, 1].
    beta : float, default=8
        Weight of recall in the first score and of precision in the second.

    Returns
    -------
    f_beta : float
        Maximum of F_beta: recall, for the default beta.
    f_inverse : float
        Maximum of F_{1 / beta}: precision, for the default beta.

    Raises
    ------
    ValueError
        If the arrays are not in [0, 1], one-dimensional and of the same length, or ``beta`` is not
        positive.

    See Also
    --------
    prd_curve : Computes the curve.

    References
    ----------
    M. S. M. Sajjadi et al., "Assessing generative models via precision and recall",
    arXiv:1806.00035, 2018.

    Examples
    --------
    >>> from skvae.metrics.precision_recall import prd_f_scores
    >>> prd_f_scores([0.5, 1.0], [0.5, 0.5])
    (0.504, 0.985)
    """
    p, r = _vector(precision, "precision"), _vector(recall, "recall")
    for name, values in (("precision", p), ("recall", r)):
        if not (values.min() >= 0 and values.max() <= 1 + 1e-9):
            raise ValueError(f"{name} must be in [0, 1]")
    if len(p) != len(r):
        raise ValueError(
            f"precision has {len(p)} points, but recall has {len(r)}: pass arrays of the same "
            "length"
        )
    if not (isinstance(beta, Real) and 0 < float(beta) < np.inf):
        raise ValueError(f"beta must be a positive finite number, got {beta!r}")
    scores = []
    for weight in (float(beta) ** 2, float(beta) ** -2):
        below = weight * p + r
        product = (1 + weight) * p * r
        scores.append(float((product / np.where(below == 0, 1, below)).max()))
    return scores[0], scores[1]


def knn_precision_recall(
    real: ArrayLike, generated: ArrayLike, n_neighbors: int = 3
) -> tuple[float, float]:
    r"""Compute "improved" precision and recall by nearest neighbours.

    The support of the distribution of a sample is estimated by the union of closed balls around its
    rows, each with the distance to the ``n_neighbors``-th nearest other row as its radius.
    Precision is the proportion of generated rows in the support of the real rows, recall the
    proportion of real rows in the support of the generated rows.

    Parameters
    ----------
    real : array-like of shape (n, d)
        Real rows, or features of them.
    generated : array-like of shape (m, d)
        Generated rows, or features of them.
    n_neighbors : int, default=3
        Number of the neighbour that defines the radius of a ball, less than n and m.

    Returns
    -------
    precision : float
        Precision, in [0, 1].
    recall : float
        Recall, in [0, 1].

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, has ``n_neighbors`` rows or fewer, or the
        numbers of columns differ.

    See Also
    --------
    density_coverage : More robust to outliers.
    prd_curve : Precision and recall by clusters instead of neighbours.

    Notes
    -----
    Takes O((n + m)^2 d) time, and memory for the data and one block of distances.

    References
    ----------
    T. Kynkaanniemi et al., "Improved precision and recall metric for assessing generative
    models", arXiv:1904.06991, 2019.

    Examples
    --------
    >>> from skvae.metrics.precision_recall import knn_precision_recall
    >>> real = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    >>> knn_precision_recall(real, [[0.5], [1.5], [2.5]], n_neighbors=1)
    (1.0, 0.5)
    """
    data, drawn = check_samples(real=real, generated=generated, rows=2)
    _check_neighbors(n_neighbors, real=data, generated=drawn)
    reach_real, reach_generated = (_squared_reach(A, n_neighbors) for A in (data, drawn))
    precise, recalled = 0, np.zeros(len(data), dtype=bool)
    for rows, d2 in squared_distances(drawn, data):
        precise += int((d2 <= reach_real).any(axis=1).sum())
        recalled |= (d2 <= reach_generated[rows, None]).any(axis=0)
    return float(precise / len(drawn)), float(recalled.mean())


def density_coverage(
    real: ArrayLike, generated: ArrayLike, n_neighbors: int = 5
) -> tuple[float, float]:
    r"""Compute density and coverage, which are robust alternatives to precision and recall.

    .. math:: \mathrm{density} = \frac{1}{k m} \sum_{j=1}^m \sum_{i=1}^n 1[y_j \in B_i], \qquad
              \mathrm{coverage} = \frac{1}{n} \sum_{i=1}^n 1[\exists j: y_j \in B_i]

    with the closed ball B_i around the i-th real row whose radius is the distance to its k-th
    nearest other real row. Only balls of real rows are used, so that an extreme generated row has
    no weight, and an extreme real row only its own.

    Parameters
    ----------
    real : array-like of shape (n, d)
        Real rows, or features of them.
    generated : array-like of shape (m, d)
        Generated rows, or features of them.
    n_neighbors : int, default=5
        Number k of the neighbour that defines the radius of a ball, less than n.

    Returns
    -------
    density : float
        Density, at least 0; about 1 for two samples from the same distribution, and more if
        generated rows are concentrated in the densest regions.
    coverage : float
        Coverage, in [0, 1]; about :math:`1 - 2^{-k}` for two samples of the same size from the same
        distribution.

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, ``real`` has ``n_neighbors`` rows or
        fewer, or the numbers of columns differ.

    See Also
    --------
    knn_precision_recall : The metrics that these replace.
    prd_curve : Precision and recall by clusters instead of neighbours.

    Notes
    -----
    Takes O(n (n + m) d) time, and memory for the data and one block of distances.

    References
    ----------
    M. F. Naeem et al., "Reliable fidelity and diversity metrics for generative models",
    arXiv:2002.09797, 2020.

    Examples
    --------
    >>> from skvae.metrics.precision_recall import density_coverage
    >>> real = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    >>> density_coverage(real, [[0.5], [1.5], [2.5]], n_neighbors=1)
    (1.667, 0.5)
    """
    data, drawn = check_samples(real=real, generated=generated)
    _check_neighbors(n_neighbors, real=data)
    reach = _squared_reach(data, n_neighbors)
    inside, covered = 0, np.zeros(len(data), dtype=bool)
    for _, d2 in squared_distances(drawn, data):
        within = d2 <= reach
        inside += int(np.count_nonzero(within))
        covered |= within.any(axis=0)
    return inside / (int(n_neighbors) * len(drawn)), float(covered.mean())


def _squared_reach(X: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return squared distances of rows to their `n_neighbors`-th nearest row, slightly enlarged."""
    reach = np.empty(len(X))
    for rows, d2 in squared_distances(X, X):
        own = np.arange(rows.start, rows.stop)
        d2[own - rows.start, own] = np.inf
        d2.partition(n_neighbors - 1, axis=1)
        reach[rows] = d2[:, n_neighbors - 1]
    return reach * _TIE


def _check_neighbors(n_neighbors: int, **samples: np.ndarray) -> None:
    for name, A in samples.items():
        check_integer(
            "n_neighbors", n_neighbors, 1, len(A) - 1, f"the number of rows of {name} minus one"
        )


def _subsample(rows: np.ndarray, size: int, rng: np.random.RandomState) -> np.ndarray:
    return rows if len(rows) == size else rows[rng.choice(len(rows), size, replace=False)]


def _histogram(given: ArrayLike, name: str) -> np.ndarray:
    values = _vector(given, name)
    total = values.sum()
    if not (values.min() >= 0 and 0 < total < np.inf):
        raise ValueError(f"{name} must be finite, non-negative and not all zero")
    shares: np.ndarray = values / total
    return shares


def _vector(given: ArrayLike, name: str) -> np.ndarray:
    try:
        values: np.ndarray = check_array(given, dtype=np.float64, ensure_2d=False)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {values.shape}")
    return values
