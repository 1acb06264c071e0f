"""Precision (are generated rows like real ones?) and recall (is all that is real generated?)."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_array, check_random_state

from .neighbours import check_integer, check_samples, squared_distances

__all__ = [
    "density_coverage",
    "knn_precision_recall",
    "prd_curve",
    "prd_f_scores",
    "prd_of_histograms",
]

_TIE = 1 + 1e-8  # squared distances that agree to this are equal, whatever their rounding


def prd_curve(real, generated, *, n_clusters=20, n_angles=1001, n_runs=10, random_state=None):
    r"""Precision-recall curve of a generated sample (PRD), by clustering.

    k-means of the union of both samples makes them two histograms over its clusters, whose curve
    `prd_of_histograms` gives. The larger sample is drawn down to the size of the smaller, since
    clusters follow the larger; precision and recall are averaged over runs, each with its own
    draw and clustering. `prd_f_scores` makes two figures of the curve.

    Parameters
    ----------
    real : array-like of shape (n, d)
        Rows, or features, of the data.
    generated : array-like of shape (m, d)
        Rows, or features, of the model.
    n_clusters : int, default=20
        Clusters of the union, at most as many as it has rows.
    n_angles : int, default=1001
        Points of the curve, at least 3.
    n_runs : int, default=10
        Runs to average over.
    random_state : int, RandomState or None, default=None
        Source of the draws and clusterings. None draws afresh; numpy's global generator is not
        touched.

    Returns
    -------
    precision : ndarray of shape (n_angles,)
        Ascending from 0 to the maximal precision.
    recall : ndarray of shape (n_angles,)
        Descending from the maximal recall to 0.

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, the numbers of columns differ, or an
        argument is out of its range (the message names it).

    See Also
    --------
    prd_f_scores : Two numbers from this curve.
    knn_precision_recall, density_coverage : The same question by neighbours.

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
    real, generated = check_samples(real=real, generated=generated)
    size = min(len(real), len(generated))
    check_integer("n_clusters", n_clusters, 1, 2 * size, "the rows of both samples, balanced")
    check_integer("n_angles", n_angles, 3)
    check_integer("n_runs", n_runs, 1)
    rng = _random_state(random_state)
    curves = []
    for _ in range(n_runs):
        rows = np.concatenate([_subsample(sample, size, rng) for sample in (real, generated)])
        kmeans = MiniBatchKMeans(n_clusters, n_init=10, random_state=rng)
        labels = kmeans.fit(rows).labels_
        p, q = (np.bincount(part, minlength=n_clusters) for part in np.split(labels, 2))
        curves.append(prd_of_histograms(p, q, n_angles))
    precision, recall = np.mean(curves, axis=0)
    return precision, recall


def prd_of_histograms(p, q, n_angles=1001):
    r"""Precision-recall curve (PRD) of a histogram q with respect to the histogram p.

    .. math:: \alpha(\lambda) = \sum_\omega \min(\lambda p_\omega, q_\omega), \qquad
              \beta(\lambda) = \sum_\omega \min(p_\omega, q_\omega / \lambda)

    at :math:`\lambda = \tan\theta` for evenly spaced angles from 0 to :math:`\pi / 2`, both ends
    as limits: maximal recall (p of the support of q) and maximal precision (q of the support of
    p). Exchanging p and q exchanges precision and recall and reverses the curve.

    Parameters
    ----------
    p : array-like of shape (b,)
        Counts or probabilities of the data, scaled to sum to one.
    q : array-like of shape (b,)
        Counts or probabilities of the model, scaled to sum to one.
    n_angles : int, default=1001
        Points of the curve, at least 3.

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
    p, q = _histogram(p, "p"), _histogram(q, "q")
    if len(p) != len(q):
        raise ValueError(f"p has {len(p)} bins and q has {len(q)}: give both the same bins")
    check_integer("n_angles", n_angles, 3)
    theta = np.linspace(0, np.pi / 2, n_angles)[1:-1]
    sine, cosine = np.sin(theta), np.cos(theta)
    common = np.minimum(np.outer(sine, p), np.outer(cosine, q)).sum(axis=1)
    precision = np.concatenate([[0], common / cosine, [q[p > 0].sum()]])
    recall = np.concatenate([[p[q > 0].sum()], common / sine, [0]])
    return precision.clip(max=1), recall.clip(max=1)


def prd_f_scores(precision, recall, beta=8):
    r"""Largest F-scores of a precision-recall curve, for recall and for precision.

    .. math:: F_\beta = (1 + \beta^2) \frac{p r}{\beta^2 p + r}

    Of the two maxima over the curve, F_beta with beta > 1 weighs recall more and F_{1 / beta}
    precision.

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
        If the arrays are not in [0, 1], one-dimensional and of one length, or ``beta`` is not
        positive.

    See Also
    --------
    prd_curve : Where the curve comes from.

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
    precision, recall = _vector(precision, "precision"), _vector(recall, "recall")
    for name, values in (("precision", precision), ("recall", recall)):
        if not (values.min() >= 0 and values.max() <= 1 + 1e-9):
            raise ValueError(f"{name} must be in [0, 1]")
    if len(precision) != len(recall):
        raise ValueError(
            f"precision has {len(precision)} points and recall has {len(recall)}: "
            "give both the same points"
        )
    if not (isinstance(beta, Real) and 0 < float(beta) < np.inf):
        raise ValueError(f"beta must be a positive finite number, got {beta!r}")
    scores = []
    for weight in (float(beta) ** 2, float(beta) ** -2):
        below = weight * precision + recall
        product = (1 + weight) * precision * recall
        scores.append(float((product / np.where(below == 0, 1, below)).max()))
    return scores[0], scores[1]


def knn_precision_recall(real, generated, n_neighbors=3):
    r"""Precision and recall by nearest neighbours ("improved" precision and recall).

    Around each row of a sample lies the closed ball that reaches to its ``n_neighbors``-th
    nearest other row; the union of the balls stands for the support of its law. Precision is the
    share of generated rows in the support of the real ones, recall the share of real rows in the
    support of the generated ones.

    Parameters
    ----------
    real : array-like of shape (n, d)
        Rows, or features, of the data.
    generated : array-like of shape (m, d)
        Rows, or features, of the model.
    n_neighbors : int, default=3
        The neighbour that a ball reaches to, below n and m.

    Returns
    -------
    precision : float
        In [0, 1].
    recall : float
        In [0, 1].

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, has ``n_neighbors`` rows or fewer, or the
        numbers of columns differ.

    See Also
    --------
    density_coverage : Less upset by single far rows.
    prd_curve : By clusters instead of neighbours.

    Notes
    -----
    O((n + m)^2 d) time; memory is that of the data and of one block of distances.

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
    real, generated = check_samples(real=real, generated=generated, rows=2)
    _check_neighbors(n_neighbors, real=real, generated=generated)
    reach_real, reach_generated = (_squared_reach(A, n_neighbors) for A in (real, generated))
    precise, recalled = 0, np.zeros(len(real), dtype=bool)
    for rows, d2 in squared_distances(generated, real):
        precise += int((d2 <= reach_real).any(axis=1).sum())
        recalled |= (d2 <= reach_generated[rows, None]).any(axis=0)
    return float(precise / len(generated)), float(recalled.mean())


def density_coverage(real, generated, n_neighbors=5):
    r"""Density and coverage: precision and recall that one far row does not upset.

    .. math:: \mathrm{density} = \frac{1}{k m} \sum_{j=1}^m \sum_{i=1}^n 1[y_j \in B_i], \qquad
              \mathrm{coverage} = \frac{1}{n} \sum_{i=1}^n 1[\exists j: y_j \in B_i]

    with the closed ball B_i around the i-th real row that reaches to its k-th nearest other real
    row. Both balls are of real rows, so a far generated row has no weight, and a far real row
    only its own.

    Parameters
    ----------
    real : array-like of shape (n, d)
        Rows, or features, of the data.
    generated : array-like of shape (m, d)
        Rows, or features, of the model.
    n_neighbors : int, default=5
        The neighbour k that a ball reaches to, below n.

    Returns
    -------
    density : float
        At least 0; about 1 for two samples of one law, and more where generated rows crowd the
        densest parts.
    coverage : float
        In [0, 1]; about :math:`1 - 2^{-k}` for two samples of one law and of one size.

    Raises
    ------
    ValueError
        If an array is not finite and two-dimensional, ``real`` has ``n_neighbors`` rows or
        fewer, or the numbers of columns differ.

    See Also
    --------
    knn_precision_recall : The pair of figures that these mend.
    prd_curve : By clusters instead of neighbours.

    Notes
    -----
    O(n (n + m) d) time; memory is that of the data and of one block of distances.

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
    real, generated = check_samples(real=real, generated=generated)
    _check_neighbors(n_neighbors, real=real)
    reach = _squared_reach(real, n_neighbors)
    inside, covered = 0, np.zeros(len(real), dtype=bool)
    for _, d2 in squared_distances(generated, real):
        within = d2 <= reach
        inside += int(np.count_nonzero(within))
        covered |= within.any(axis=0)
    return inside / (int(n_neighbors) * len(generated)), float(covered.mean())


def _squared_reach(X, n_neighbors):
    """Squared distance of each row to its `n_neighbors`-th nearest other row, and a hair."""
    reach = np.empty(len(X))
    for rows, d2 in squared_distances(X, X):
        own = np.arange(rows.start, rows.stop)
        d2[own - rows.start, own] = np.inf
        d2.partition(n_neighbors - 1, axis=1)
        reach[rows] = d2[:, n_neighbors - 1]
    return reach * _TIE


def _check_neighbors(n_neighbors, **samples):
    for name, A in samples.items():
        check_integer("n_neighbors", n_neighbors, 1, len(A) - 1, f"one below the rows of {name}")


def _subsample(rows, size, rng):
    return rows if len(rows) == size else rows[rng.choice(len(rows), size, replace=False)]


def _random_state(random_state):
    if random_state is None:
        return np.random.RandomState()
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(f"random_state: {error}") from error


def _histogram(values, name):
    values = _vector(values, name)
    total = values.sum()
    if not (values.min() >= 0 and 0 < total < np.inf):
        raise ValueError(f"{name} must be finite, non-negative and not all zero")
    return values / total


def _vector(values, name):
    try:
        values = check_array(values, dtype=np.float64, ensure_2d=False)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {values.shape}")
    return values
