"""Frechet distance, precision and recall, figures of codes, nearest training rows."""

import math
import tracemalloc

import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from skvae.metrics import neighbours
from skvae.metrics.codes import active_units, code_correlation
from skvae.metrics.frechet import frechet_distance
from skvae.metrics.neighbours import nearest_training_rows
from skvae.metrics.precision_recall import (
    density_coverage,
    knn_precision_recall,
    prd_curve,
    prd_f_scores,
    prd_of_histograms,
)

GOOD = np.arange(12.0).reshape(6, 2) ** 1.5


@st.composite
def samples(draw, least=1):
    """Two samples with repeated, shared and far rows; small whole numbers make ties likely."""
    k = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, m = draw(st.integers(least, 14)), draw(st.integers(least, 14))
    X, Y = rng.normal(size=(n, k)), rng.normal(size=(m, k)) + draw(st.sampled_from([0, 1, 50]))
    if draw(st.booleans()):
        X, Y = np.round(X), np.round(Y)
    if draw(st.booleans()):
        Y[: min(n, m) // 2] = X[: min(n, m) // 2]
    return X, Y, rng


def rotation(rng, k):
    return np.linalg.qr(rng.normal(size=(k, k)))[0]


def peak_megabytes(run):
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


# Frechet distance


def rows_of(mean, root, n=50, seed=0):
    """Rows whose mean and covariance root' root are exactly these."""
    noise = np.random.default_rng(seed).normal(size=(n, len(root)))
    white = np.linalg.qr(noise - noise.mean(axis=0))[0] * math.sqrt(n - 1)
    return white @ root + mean


def test_frechet_of_diagonal_covariances():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.0])  # one column is constant
    X, Y = rows_of([1, 2, 3], np.diag(a)), rows_of([0, 2, 5], np.diag(b), n=70, seed=1)
    assert frechet_distance(X, Y) == pytest.approx(1 + 4 + ((a - b) ** 2).sum(), rel=1e-12)


def test_frechet_of_commuting_covariances_of_one_mean():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.1])
    Q = rotation(np.random.default_rng(3), 3)
    X, Y = rows_of(7, np.diag(a) @ Q), rows_of(7, np.diag(b) @ Q, n=20, seed=1)
    assert frechet_distance(X, Y) == pytest.approx(((a - b) ** 2).sum(), rel=1e-12)


def test_frechet_of_two_columns_in_general():
    """A 2 x 2 matrix M has tr M^(1/2) = (tr M + 2 (det M)^(1/2))^(1/2)."""
    A, B = np.array([[1.0, 2.0], [0.0, 1.5]]), np.array([[0.3, 0.0], [-1.0, 2.0]])
    S, T = A.T @ A, B.T @ B
    root = math.sqrt(np.trace(S @ T) + 2 * math.sqrt(np.linalg.det(S @ T)))
    got = frechet_distance(rows_of(0, A), rows_of(0, B, seed=1))
    assert got == pytest.approx(np.trace(S + T) - 2 * root, rel=1e-12)


def test_frechet_against_the_matrix_square_root():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(40, 8)) + 1
    S, T = np.cov(X.T), np.cov(Y.T)
    root = scipy.linalg.sqrtm(S @ T).real
    want = ((X.mean(0) - Y.mean(0)) ** 2).sum() + np.trace(S + T - 2 * root)
    assert frechet_distance(X, Y) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 4), (4, 20), (20, 3)])
def test_frechet_of_fewer_rows_than_columns(n, m):
    """The definition, in 60 digits: its square roots of zeros would cost half of 16."""
    rng = np.random.default_rng(n + m)
    X, Y = rng.normal(size=(n, 6)), rng.normal(size=(m, 6)) * 2
    with mpmath.workdps(60):

        def moments(Z):
            Z, rows = mpmath.matrix(Z.tolist()), len(Z)
            mean = mpmath.ones(1, rows) * Z / rows
            Z = Z - mpmath.ones(rows, 1) * mean
            return mean, Z.T * Z / (rows - 1)

        (a, S), (b, T) = moments(X), moments(Y)
        values = mpmath.eig(S * T, left=False, right=False)
        root = sum(mpmath.sqrt(abs(value)) for value in values)
        want = mpmath.norm(a - b) ** 2 + sum((S + T)[i, i] for i in range(6)) - 2 * root
    assert frechet_distance(X, Y) == pytest.approx(float(want), rel=1e-12)


def test_frechet_of_orthogonal_supports_and_of_points():
    X, Y = np.zeros((4, 3)), np.zeros((5, 3))
    assert frechet_distance(X, Y + np.array([3, 4, 0])) == 25
    X[:, 0], Y[:, 1] = [1, -1, 1, -1], [2, -2, 2, -2, 0]
    want = X.var(axis=0, ddof=1).sum() + Y.var(axis=0, ddof=1).sum()
    assert frechet_distance(X, Y) == pytest.approx(want, rel=1e-12)
    assert frechet_distance(X, np.ones((2, 3))) == pytest.approx(3 + X[:, 0].var(ddof=1))


@given(samples(least=2), st.sampled_from([1e-3, 1.0, 40.0]))
def test_frechet_is_a_squared_metric_of_laws(sample, scale):
    X, Y, rng = sample
    value = frechet_distance(X, Y)
    total = X.var(axis=0).sum() + Y.var(axis=0).sum() + 1
    exact = {"rel": 1e-9, "abs": 1e-12 * total}
    assert isinstance(value, float)
    assert value >= 0
    assert frechet_distance(X, X) <= 1e-24 * total
    assert frechet_distance(rng.permutation(X), X) <= 1e-12 * total
    assert frechet_distance(Y, X) == pytest.approx(value, **exact)
    Q, shift = rotation(rng, X.shape[1]), rng.normal(size=X.shape[1])
    moved = frechet_distance(scale * X @ Q + shift, scale * Y @ Q + shift)
    assert moved / scale**2 == pytest.approx(value, rel=1e-8, abs=1e-8 * total)
    Z = rng.normal(size=(6, X.shape[1]))
    detour = math.sqrt(frechet_distance(X, Z)) + math.sqrt(frechet_distance(Z, Y))
    assert math.sqrt(value) <= detour + 1e-9


def test_small_frechet_distances_do_not_cancel():
    """tr(S + T) - 2 tr (S T)^(1/2) as it stands would lose all of 1e-16 tr S."""
    X = rows_of(0, np.diag([1.0, 3.0, 2.0]))
    assert frechet_distance(X, X * (1 + 1e-8)) == pytest.approx(14e-16, rel=1e-6)
    assert frechet_distance(X + 1e6, 2 * X + 1e6) == pytest.approx(14, rel=1e-8)


@pytest.mark.parametrize("shape", [(10, 10_000), (10_000, 10)])
def test_frechet_needs_no_large_square_matrix(shape):
    X, Y = np.random.default_rng(0).normal(size=(2, *shape))  # a square takes 800 MB
    assert peak_megabytes(lambda: frechet_distance(X, Y)) < 20


# Precision and recall of histograms


def test_prd_of_equal_and_of_disjoint_histograms():
    precision, recall = prd_of_histograms([2, 3, 5], [0.2, 0.3, 0.5])
    assert precision.max() == recall.max() == 1
    assert prd_f_scores(precision, recall) == pytest.approx((1, 1))
    precision, recall = prd_of_histograms([1, 0, 0], [0, 1, 2])
    assert precision.max() == recall.max() == 0
    assert prd_f_scores(precision, recall) == (0, 0)


def test_prd_of_a_dropped_mode():
    precision, recall = prd_of_histograms([1, 1], [1, 0], n_angles=3)
    np.testing.assert_allclose(precision, [0, 0.5, 1])
    np.testing.assert_allclose(recall, [0.5, 0.5, 0])
    precision, recall = prd_of_histograms([1, 1], [1, 0])
    slope = np.tan(np.linspace(0, np.pi / 2, 1001))[1:-1]
    np.testing.assert_allclose(precision[1:-1], np.minimum(slope / 2, 1))
    np.testing.assert_allclose(recall[1:-1], np.minimum(0.5, 1 / slope))
    # F_8 and F_1/8 of precision 1 and recall 1/2
    want = 65 * 0.5 / 64.5, (1 + 1 / 64) * 0.5 / (1 / 64 + 0.5)
    assert prd_f_scores(precision, recall) == pytest.approx(want, rel=2e-3)
    assert prd_f_scores(recall, precision) == pytest.approx(want[::-1], rel=2e-3)  # an invention


def test_prd_of_an_invented_mode():
    precision, recall = prd_of_histograms([1, 0], [1, 3], n_angles=3)
    np.testing.assert_allclose(precision, [0, 0.25, 0.25])
    np.testing.assert_allclose(recall, [1, 0.25, 0])


counts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)


@given(counts, st.integers(3, 50))
def test_prd_of_histograms_is_a_dual_curve_of_laws(pairs, n_angles):
    p, q = np.array(pairs, dtype=float).T
    assume(p.any() and q.any())
    precision, recall = prd_of_histograms(p, q, n_angles)
    assert precision.shape == recall.shape == (n_angles,)
    for curve in (precision, recall[::-1]):
        assert curve[0] == 0
        assert curve[-1] <= 1
        assert (np.diff(curve) >= -1e-15).all()
    swapped = prd_of_histograms(3 * q, p / 7, n_angles)
    np.testing.assert_allclose(swapped[0], recall[::-1], atol=1e-15)
    np.testing.assert_allclose(swapped[1], precision[::-1], atol=1e-15)
    p, q = p / p.sum(), q / q.sum()
    middle = prd_of_histograms(p, q, 3)  # where lambda = 1: one less the total variation
    assert middle[0][1] == pytest.approx(1 - abs(p - q).sum() / 2, abs=1e-12)
    assert middle[1][1] == pytest.approx(middle[0][1], abs=1e-12)
    assert 0 <= min(prd_f_scores(precision, recall)) <= max(prd_f_scores(precision, recall)) <= 1


def test_f_scores_of_one_point():
    assert prd_f_scores([0.6], [0.3], beta=1) == pytest.approx((0.4, 0.4))
    assert prd_f_scores([0.6], [0.3], beta=2) == pytest.approx((5 * 0.18 / 2.7, 1.25 * 0.18 / 0.45))
    f_recall, f_precision = prd_f_scores([0.9], [0.2], beta=1e4)
    assert (f_recall, f_precision) == pytest.approx((0.2, 0.9), rel=1e-6)


# Precision and recall of samples: by clusters


def modes(n, which, seed=0, k=3):
    """Rows of equally many of the modes at 100, 200, ..."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) + 100 * np.resize(which, n)[:, None]


def test_prd_curve_of_dropped_and_invented_modes():
    options = {"n_clusters": 3, "n_runs": 3, "random_state": 0}
    full, half = modes(300, [1, 2]), modes(200, [1], seed=1)
    precision, recall = prd_curve(full, half, **options)
    assert precision[-1] == pytest.approx(1, abs=0.02)
    assert recall[0] == pytest.approx(0.5, abs=0.08)  # 200 draws of 300 rows
    precision, recall = prd_curve(half, full, **options)
    assert precision[-1] == pytest.approx(0.5, abs=0.08)
    assert recall[0] == pytest.approx(1, abs=0.02)
    assert max(map(max, prd_curve(modes(50, [1]), modes(50, [2]), n_clusters=2))) == 0


def test_prd_curve_of_one_law_and_of_one_sample():
    X, Y = modes(500, [1, 2, 3]), modes(400, [1, 2, 3], seed=1)
    assert min(prd_f_scores(*prd_curve(X, Y, random_state=0, n_runs=3))) > 0.9
    assert prd_f_scores(*prd_curve(X, X, random_state=0, n_runs=2)) == pytest.approx((1, 1))
    for curve in prd_curve(X, Y, n_clusters=1, n_runs=1, n_angles=5):
        assert curve.max() == 1


def test_prd_clusters_do_not_follow_the_larger_sample():
    """Two clusters of the plain union would be the two real modes, one with all generated rows."""
    real, generated = np.repeat([[0.0], [10.0]], 1000, axis=0), np.full((20, 1), 25.0)
    for X, Y in ((real, generated), (generated, real)):
        precision, recall = prd_curve(X, Y, n_clusters=2, random_state=0)
        assert precision.max() == recall.max() == 0
    with pytest.raises(ValueError, match="n_clusters must be at most 40"):
        prd_curve(real, generated, n_clusters=41)


def test_prd_curve_of_equal_rows_and_of_as_many_clusters_as_rows():
    for curve in prd_curve(np.ones((30, 2)), np.ones((20, 2))):
        assert curve.max() == 1
    for curve in prd_curve(GOOD, GOOD + 100, n_clusters=12, n_angles=7):
        assert curve.shape == (7,)
        assert curve.max() == 0


def test_prd_random_state():
    X, Y = modes(60, [0]), modes(50, [0, 0.01], seed=1)

    def value(state):
        return prd_curve(X, Y, n_runs=2, random_state=state)[0].sum()

    assert value(1) == value(1) != value(2)
    assert value(None) != value(None)
    assert value(np.random.RandomState(0)) == value(np.random.RandomState(0)) == value(0)
    state = np.random.RandomState(0)
    assert value(state) != value(state)
    X = X[:50]  # now there is nothing to draw, and only the clusterings differ
    assert value(1) == value(1) != value(2)


# Precision and recall of samples: by neighbours


def supports(centres, k):
    """Distances of all rows to their k-th other row, one by one."""
    reach = []
    for i, x in enumerate(centres):
        others = np.delete(centres, i, axis=0)
        reach.append(np.sort(((others - x) ** 2).sum(axis=1))[k - 1])
    return np.array(reach)


def inside(rows, centres, k):
    d2 = ((rows[:, None] - centres) ** 2).sum(axis=2)
    return d2 <= supports(centres, k) * (1 + 1e-9)


@given(samples(least=3), st.integers(1, 2))
def test_balls_are_the_definition(sample, k):
    X, Y, _ = sample
    real, generated = inside(Y, X, k), inside(X, Y, k)
    got = knn_precision_recall(X, Y, n_neighbors=k)
    assert got == pytest.approx((real.any(axis=1).mean(), generated.any(axis=1).mean()))
    assert knn_precision_recall(Y, X, n_neighbors=k) == got[::-1]
    dense = density_coverage(X, Y, n_neighbors=k)
    assert dense == pytest.approx((real.sum() / (k * len(Y)), real.any(axis=0).mean()))
    assert all(type(value) is float for value in (*got, *dense))


@given(samples(least=3), st.sampled_from([0.1, 1 / 3, 1e3]))
def test_balls_move_with_the_rows_ties_included(sample, scale):
    X, Y, rng = sample
    Q, shift = rotation(rng, X.shape[1]), 10 * rng.normal(size=X.shape[1])
    for measure in (knn_precision_recall, density_coverage):
        value = measure(X, Y, n_neighbors=2)
        assert measure(scale * X, scale * Y, n_neighbors=2) == value
        assert measure(1 - X[:, ::-1], 1 - Y[:, ::-1], n_neighbors=2) == value
        # Without copies, since rotated ones may differ in the last digit.
        A, B = rng.normal(size=(8, X.shape[1])), rng.normal(size=(9, X.shape[1]))
        assert measure(A @ Q + shift, B @ Q + shift, 2) == measure(A, B, 2)


def test_balls_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    generated = np.array([[0.5], [1.5], [2.5]])
    assert knn_precision_recall(real, generated, n_neighbors=1) == (1, 0.5)
    assert density_coverage(real, generated, n_neighbors=1) == (5 / 3, 0.5)
    assert knn_precision_recall(real, real + 100) == (0, 0)
    assert density_coverage(real, real + 100) == (0, 0)
    assert knn_precision_recall(real, real) == (1, 1)
    assert density_coverage(real, real, n_neighbors=1) == ((4 * 2 + 2 * 3) / 6, 1)


def test_a_row_is_no_neighbour_of_itself_but_its_copy_is():
    real = np.array([[0.0], [0.0], [5.0], [8.0]])
    # The balls around 0 reach 0, then 5; those around 5 and 8 reach 3, then 5 and 8.
    probe = np.array([[-1.0], [6.0]])
    assert density_coverage(real, probe, n_neighbors=1) == (1, 0.5)
    assert density_coverage(real, probe[:1], n_neighbors=2) == (1, 0.5)
    assert knn_precision_recall(real, probe, n_neighbors=1)[0] == 0.5
    same = np.full((5, 2), 0.1)
    for measure in (knn_precision_recall, density_coverage):
        assert measure(same, same + 1e-9, n_neighbors=2) == (0, 0)
        assert measure(same, same, n_neighbors=2)[1] == 1


def test_two_samples_of_one_law():
    X, Y = np.random.default_rng(0).normal(size=(2, 1500, 4))
    for k in (1, 2, 5):
        density, coverage = density_coverage(X, Y, n_neighbors=k)
        assert density == pytest.approx(1, abs=0.08)
        assert coverage == pytest.approx(1 - 0.5**k, abs=0.04)
    assert min(knn_precision_recall(X, Y)) > 0.7
    narrow, wide = density_coverage(X, 0.3 * Y), density_coverage(X, 3 * Y)
    assert wide[0] < 0.5 < 1.05 < narrow[0]
    assert max(wide[1], narrow[1]) < 0.7


def test_a_far_real_row_widens_precision_but_not_density():
    X, Y = np.random.default_rng(0).normal(size=(2, 300, 2))
    Y += 30
    X[0] = 500
    assert knn_precision_recall(X, Y)[0] == 1
    assert density_coverage(X, Y)[0] == 0.2


# Codes


def test_code_correlation_by_hand():
    x = np.array([1.0, -1.0, 1.0, -1.0])
    y = np.array([1.0, 1.0, -1.0, -1.0])
    assert code_correlation(np.c_[x, y]) == 0
    assert code_correlation(np.c_[x, -3 * x + 7]) == pytest.approx(1)
    assert code_correlation(np.c_[x, x + y]) == pytest.approx(math.sqrt(0.5))
    assert code_correlation(np.c_[x, y, x + y]) == pytest.approx(2 * math.sqrt(0.5) / 3)


def test_constant_and_single_columns_are_uncorrelated():
    x = np.random.default_rng(0).normal(size=50)
    constant = np.full(50, 0.1)  # whose mean is not 0.1 in floating point
    assert code_correlation(x[:, None]) == 0.0
    assert code_correlation(np.c_[x, constant]) == 0.0
    assert code_correlation(np.c_[constant, constant]) == 0.0
    assert code_correlation(np.c_[x, x, constant]) == pytest.approx(1 / 3)


@given(samples(least=3))
def test_code_correlation_is_pearsons(sample):
    Z, _, rng = sample
    k = Z.shape[1]
    varies = np.ptp(Z, axis=0) > 0
    correlation = np.zeros((k, k))
    correlation[np.ix_(varies, varies)] = np.corrcoef(Z[:, varies].T) if varies.any() else 0
    want = (abs(correlation).sum() - varies.sum()) / (k * (k - 1)) if k > 1 else 0
    got = code_correlation(Z)
    assert 0 <= got <= 1
    assert got == pytest.approx(want, abs=1e-9)
    moved = rng.permutation(Z.T).T * rng.choice([-1, 1e-200, 1e100], size=k)
    assert code_correlation(moved) == pytest.approx(got, abs=1e-9)
    assert code_correlation(Z + 100) == pytest.approx(got, abs=1e-9)


def test_code_correlation_of_independent_codes():
    n = 2000
    Z = np.random.default_rng(0).normal(size=(n, 40))
    assert code_correlation(Z) == pytest.approx(math.sqrt(2 / (math.pi * n)), rel=0.1)


def test_active_units():
    z = np.array([-1.0, 1.0, -1.0, 1.0])
    Z = np.c_[z, 0.2 * z + 50, 0.05 * z, np.full(4, 0.1)]  # variances 1, 0.04, 0.0025, 0
    assert active_units(Z) == 2
    assert type(active_units(Z)) is int
    assert [active_units(Z, t) for t in (0, 0.002, 0.03, 0.5, 1)] == [3, 3, 2, 1, 0]
    assert active_units(Z[:, ::-1].astype("f4") - 7) == 2
    assert active_units(np.full((7, 3), 0.1), 0) == 0


# Nearest training rows


@given(samples(), st.data())
def test_nearest_rows_are_the_definition(sample, data):
    X, Y, _ = sample
    k = data.draw(st.integers(1, len(X)))
    distances, indices = nearest_training_rows(Y, X, n_neighbors=k)
    assert distances.shape == indices.shape == (len(Y), k)
    every = np.sqrt(((Y[:, None] - X) ** 2).sum(axis=2))
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :k], rtol=1e-9)
    np.testing.assert_allclose(np.take_along_axis(every, indices, axis=1), distances, rtol=1e-9)
    assert all(len(set(row)) == k for row in indices)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("d", [2, 70])
def test_nearest_rows_against_scikit_learn(dtype, d):
    X, Y = np.random.default_rng(0).normal(size=(2, 500, d)).astype(dtype)
    distances, indices = nearest_training_rows(Y, X, n_neighbors=4)
    want = NearestNeighbors(n_neighbors=4, algorithm="kd_tree").fit(X).kneighbors(Y)
    np.testing.assert_allclose(distances, want[0], rtol=1e-6)
    np.testing.assert_array_equal(indices, want[1])


def test_copies_are_at_distance_zero_and_close_rows_keep_their_distance():
    rng = np.random.default_rng(0)
    # |x|^2 + |y|^2 - 2 x.y alone would lose every one of these.
    X = np.repeat(rng.normal(size=(20, 5)) * 1e4 + 1e6, 3, axis=0) + rng.normal(size=(60, 5)) * 1e-4
    distances, indices = nearest_training_rows(X[::-1], X)
    assert (distances == 0).all()
    np.testing.assert_array_equal(indices[:, 0], np.arange(60)[::-1])
    near = X + 1e-6
    distances, indices = nearest_training_rows(near, X)
    np.testing.assert_array_equal(indices[:, 0], np.arange(60))
    want = np.linalg.norm(near - X, axis=1)
    np.testing.assert_allclose(distances[:, 0], want, rtol=1e-3)


# Blocks and memory


@settings(max_examples=20)
@given(samples(least=3), st.integers(2, 5))
def test_blocks_do_not_matter(sample, copies):
    X, Y = (np.tile(A, (copies, 1)) + np.arange(copies).repeat(len(A))[:, None] for A in sample[:2])

    def everything():
        near = nearest_training_rows(Y, X, n_neighbors=2)[0]
        return [near, knn_precision_recall(X, Y, 2), density_coverage(X, Y, 2)]

    want = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK", 1)
        got = everything()
    np.testing.assert_allclose(got[0], want[0], rtol=1e-9)
    assert got[1:] == want[1:]


@pytest.mark.parametrize("measure", [nearest_training_rows, knn_precision_recall, density_coverage])
def test_memory_does_not_grow_with_the_number_of_pairs(measure):
    X, Y = np.random.default_rng(0).normal(size=(2, 7000, 2))  # all distances: 374 MB
    assert peak_megabytes(lambda: measure(X, Y, 2)) < 190


# Input

TWO_SAMPLES = {
    frechet_distance: ("X", "Y"),
    prd_curve: ("real", "generated"),
    knn_precision_recall: ("real", "generated"),
    density_coverage: ("real", "generated"),
    nearest_training_rows: ("generated", "X"),
}


@pytest.mark.parametrize("measure", TWO_SAMPLES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[np.nan, 1.0]] * 9, "contains NaN"),
        ([[np.inf, 1.0]] * 9, "contains infinity"),
        ([1.0, 2.0], "Expected 2D array"),
        (np.ones((0, 2)), "0 sample"),
        (np.ones((9, 0)), "0 feature"),
        ([["a", "b"]] * 9, "could not convert"),
        (np.full((9, 2), 1j), "Complex data"),
        (np.full((9, 2), -1e160), "1e150"),
    ],
)
def test_bad_samples_are_named(measure, bad, message):
    first, second = TWO_SAMPLES[measure]
    with pytest.raises(ValueError, match=rf"^{first}\b.*{message}"):
        measure(bad, GOOD)
    with pytest.raises(ValueError, match=rf"^{second}\b.*{message}"):
        measure(GOOD, bad)


@pytest.mark.parametrize("measure", TWO_SAMPLES)
def test_the_columns_must_agree(measure):
    first, second = TWO_SAMPLES[measure]
    with pytest.raises(ValueError, match=f"{first} has 2 columns and {second} has 3 columns"):
        measure(GOOD, np.ones((8, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(GOOD, GOOD[:1]), "^Y: .*minimum of 2"),
        (
            lambda: knn_precision_recall(GOOD, GOOD, 6),
            "n_neighbors must be at most 5.*real minus one, got 6",
        ),
        (lambda: knn_precision_recall(GOOD, GOOD[:3], 3), "n_neighbors .* 2.*generated"),
        (lambda: knn_precision_recall(GOOD, GOOD, 0), "n_neighbors must be an integer"),
        (lambda: density_coverage(GOOD, GOOD, 6), "n_neighbors must be at most 5"),
        (lambda: density_coverage(GOOD[:1], GOOD, 1), "n_neighbors must be at most 0"),
        (lambda: density_coverage(GOOD, GOOD, 2.0), "n_neighbors must be an integer"),
        (lambda: nearest_training_rows(GOOD, GOOD, 7), "n_neighbors must be at most 6"),
        (lambda: nearest_training_rows(GOOD, GOOD, "all"), "n_neighbors must be an integer"),
        (lambda: prd_curve(GOOD, GOOD, n_clusters=13), "n_clusters must be at most 12"),
        (lambda: prd_curve(GOOD, GOOD, n_clusters=0), "n_clusters"),
        (lambda: prd_curve(GOOD, GOOD, n_clusters=2, n_angles=2), "n_angles"),
        (lambda: prd_curve(GOOD, GOOD, n_clusters=2, n_runs=0), "n_runs"),
        (lambda: prd_curve(GOOD, GOOD, n_clusters=2, random_state="x"), "random_state"),
        (lambda: prd_curve(GOOD, GOOD, n_clusters=2, random_state=-1), "random_state"),
        (lambda: prd_of_histograms([1, 2], [1, 2, 3]), "p has 2 bins, but q has 3"),
        (lambda: prd_of_histograms([1, -1], [1, 2]), "p must be finite, non-negative"),
        (lambda: prd_of_histograms([1, 1], [0, 0]), "q must be .* not all zero"),
        (lambda: prd_of_histograms([1, np.nan], [1, 1]), "^p: .*NaN"),
        (lambda: prd_of_histograms([[1, 1]], [1, 1]), "p must be one-dimensional"),
        (lambda: prd_of_histograms([], []), "^p: "),
        (lambda: prd_of_histograms([1], [1], n_angles=2.5), "n_angles"),
        (lambda: prd_f_scores([0.5, 1.1], [0.5, 0.5]), r"precision must be in \[0, 1\]"),
        (lambda: prd_f_scores([0.5], [-0.5]), r"recall must be in \[0, 1\]"),
        (lambda: prd_f_scores([0.5], [0.5, 0.4]), "precision has 1 points, but recall has 2"),
        (lambda: prd_f_scores([0.5], [np.nan]), "^recall: .*NaN"),
        (lambda: prd_f_scores([0.5], [0.5], beta=0), "beta"),
        (lambda: prd_f_scores([0.5], [0.5], beta="8"), "beta"),
        (lambda: code_correlation(GOOD[:1]), "^Z: .*minimum of 2"),
        (lambda: code_correlation([[np.nan, 1.0]] * 2), "^Z: .*NaN"),
        (lambda: active_units(GOOD[:1]), "^Z: .*minimum of 2"),
        (lambda: active_units(GOOD[0]), "^Z: .*2D"),
        (lambda: active_units(GOOD, threshold=-1), "threshold"),
        (lambda: active_units(GOOD, threshold=np.nan), "threshold"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("measure", TWO_SAMPLES)
def test_accepts_lists_frames_and_read_only_arrays_and_leaves_them_alone(measure):
    pd = pytest.importorskip("pandas")
    options = {"n_clusters": 3, "random_state": 0} if measure is prd_curve else {}
    X, Y = np.random.default_rng(0).integers(0, 9, size=(2, 12, 3))
    want = measure(X.astype(float), Y.astype(float), **options)
    frozen = X.astype(float)
    frozen.setflags(write=False)
    for first, second in [(X.tolist(), Y), (pd.DataFrame(X), Y), (frozen, Y.astype("f4"))]:
        before = np.array(second)
        np.testing.assert_allclose(measure(first, second, **options), want, rtol=1e-12)
        np.testing.assert_array_equal(second, before)


def test_single_precision_is_computed_in_double():
    X, Y = np.random.default_rng(0).normal(size=(2, 80, 6)).astype("f4") + 100
    for measure in (frechet_distance, knn_precision_recall, density_coverage):
        want = measure(X.astype("f8"), Y.astype("f8"))
        assert measure(X, Y) == pytest.approx(want, rel=1e-12)
    assert code_correlation(X) == pytest.approx(code_correlation(X.astype("f8")), rel=1e-12)
