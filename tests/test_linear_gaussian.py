"""The closed form against independent computations of the same law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal, ortho_group
from sklearn.decomposition import PCA

from skvae.linear_gaussian import (
    LinearGaussian,
    Moments,
    fit_linear_gaussian,
    fit_moments,
    minka_dimension,
)

EXACT = ["auto", "covariance", "gram", "svd"]
SHAPES = [(60, 7), (9, 30), (25, 25), (40, 2)]


def rows(n, d, rank=3, seed=0, noise=0.5):
    rng = np.random.RandomState(seed)
    rank = min(rank, d)
    return rng.randn(n, rank) * np.arange(rank, 0, -1) @ rng.randn(rank, d) + noise * rng.randn(
        n, d
    )


def law(d=6, k=2, s2=0.3, seed=0):
    rng = np.random.RandomState(seed)
    return LinearGaussian(rng.randn(d), rng.randn(d, k), s2)


def same(a, b, rtol=1e-9):
    assert_allclose(a.mean, b.mean, rtol=rtol, atol=rtol * np.abs(a.mean).max())
    assert_allclose(a.noise_variance, b.noise_variance, rtol=rtol)
    assert_allclose(a.covariance(), b.covariance(), rtol=0, atol=rtol * a.covariance().max())


# -- the law ----------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None, derandomize=True)
@given(d=st.integers(1, 8), k=st.integers(1, 10), s2=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_law_against_dense_formulas(d, k, s2, seed):
    model = law(d, k, s2, seed)
    X = model.sample(5, np.random.RandomState(seed))
    W, C = model.loadings, model.loadings @ model.loadings.T + s2 * np.eye(d)
    expected = multivariate_normal(model.mean, C, allow_singular=True).logpdf(X)
    assert_allclose(model.log_prob(X), expected, rtol=1e-8, atol=1e-8)
    assert_allclose(model.covariance(), C)
    assert_allclose(model.precision() @ C, np.eye(d), atol=1e-8)
    M = W.T @ W + s2 * np.eye(k)
    mean, covariance = model.posterior(X)
    assert_allclose(mean, (X - model.mean) @ W @ np.linalg.inv(M), atol=1e-7)
    assert_allclose(covariance, s2 * np.linalg.inv(M), atol=1e-7)
    assert_allclose(model.total_variance, np.trace(C))
    # the parts against their definitions, and their sum against the density
    score, latent, reconstruction = model.log_prob_parts(X)
    rest = X - model.mean - mean @ W.T
    spread = np.diag(W @ covariance @ W.T)
    assert_allclose(
        reconstruction,
        -0.5 * (np.log(2 * np.pi * s2) + (rest**2 + spread) / s2),
        rtol=1e-6,
        atol=1e-6,
    )
    kl = 0.5 * (
        np.trace(covariance) + np.sum(mean**2, axis=1) - k - np.linalg.slogdet(covariance)[1]
    )
    assert_allclose(latent, -kl, rtol=1e-6, atol=1e-6)
    assert_allclose(reconstruction.sum(axis=1) + latent, score, rtol=1e-9, atol=1e-9)


def test_rotation_of_the_codes_changes_no_density():
    model = law(k=4)
    R = ortho_group.rvs(4, random_state=0)
    turned = LinearGaussian(model.mean, model.loadings @ R, model.noise_variance)
    X = model.sample(10, np.random.RandomState(1))
    assert_allclose(turned.log_prob(X), model.log_prob(X), rtol=1e-12)
    assert_allclose(turned.encode(X), model.encode(X) @ R, atol=1e-12)


def test_draws_have_the_covariance():
    model = law()
    X = model.sample(200_000, np.random.default_rng(0))
    C = model.covariance()
    assert_allclose(np.cov(X.T), C, atol=0.02 * C.max())
    assert_allclose(X.mean(axis=0), model.mean, atol=0.02)
    flat = model.sample(50, np.random.default_rng(0), noise=False)
    assert np.linalg.matrix_rank(flat - model.mean, tol=1e-9) == 2


def test_tiny_noise_does_not_cancel():
    """Residuals of 1e-6 beside codes of 1: squares would differ by less than their rounding."""
    W = np.array([[1e3], [1e3], [0.0]])
    model = LinearGaussian(np.zeros(3), W, 1e-12)
    x = np.array([[5e2, 5e2, 1e-6]])
    expected = -0.5 * (
        3 * np.log(2 * np.pi) + 2 * np.log(1e-12) + np.log(2e6) + 1.0 + 2 * 5e2**2 / 2e6
    )
    assert_allclose(model.log_prob(x), expected, rtol=1e-6)


@pytest.mark.parametrize(("s2", "shape"), [(0.0, (3, 1)), (np.inf, (3, 1)), (1.0, (2, 1))])
def test_law_rejects_nonsense(s2, shape):
    with pytest.raises(ValueError, match=r"noise_variance|loadings"):
        LinearGaussian(np.zeros(3), np.ones(shape), s2)


# -- moments ----------------------------------------------------------------------------------
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.integers(1, 59), unique=True, max_size=6),
    offset=st.sampled_from([0.0, -3.0, 1e6]),
    scale=st.sampled_from([1e-100, 1.0, 1e100]),
)
def test_moments_of_chunks(cuts, offset, scale):
    X = scale * (rows(60, 5) + offset)
    moments = None
    for chunk in np.split(X, sorted(cuts)):
        moments = Moments.of(chunk) if moments is None else moments.update(chunk)
    whole = Moments.of(X)
    assert moments.n == 60
    S = whole.covariance()
    centred = scale * ((X / scale - offset) - (X / scale - offset).mean(axis=0))
    rtol = 1e-10
    assert_allclose(moments.mean, whole.mean, rtol=rtol)
    assert_allclose(moments.covariance(), S, rtol=0, atol=rtol * S.max())
    assert_allclose(S, centred.T @ centred / 60, rtol=0, atol=1e-8 * S.max())
    same(fit_moments(moments, 2), fit_moments(whole, 2), rtol)
    same(fit_moments(whole, 2), fit_linear_gaussian(X, 2)[0], rtol)


def test_moments_of_many_blocks_and_drift():
    """More rows than a block, sorted, with a large mean."""
    rng = np.random.RandomState(0)
    X = np.sort(rng.randn(20_000, 3), axis=0) + 1e6
    expected = np.cov((X - 1e6).T, bias=True)
    assert_allclose(Moments.of(X).covariance(), expected, rtol=1e-9)
    assert_allclose(
        Moments.of((X - 1e6).astype(np.float32)).covariance(), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mean", [0.0, 1.0, 5.0, 100.0])
def test_moments_of_long_tables(mean, dtype):
    """Products of whole tables, of parts and of shifted blocks, each with a short last part."""
    X = (np.random.RandomState(0).randn(20_001, 4) + mean).astype(dtype)
    wide = X.astype(np.float64)
    found = Moments.of(X)
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    assert found.scatter.dtype == np.float64
    assert_allclose(found.mean, wide.mean(axis=0), rtol=rtol, atol=rtol)
    assert_allclose(found.covariance(), np.cov(wide.T, bias=True), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("solver", EXACT)
def test_input_is_left_alone(solver, order):
    X = np.asarray(rows(30, 6), order=order)
    X.flags.writeable = False
    same(fit_linear_gaussian(X, 2, solver)[0], fit_linear_gaussian(X[::1].copy(), 2)[0])
    wide = np.asarray(rows(6, 30), order=order)[::-1]
    same(fit_linear_gaussian(wide, 2, solver)[0], fit_linear_gaussian(wide.copy(), 2)[0])


# -- maximum likelihood -----------------------------------------------------------------------
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("solver", EXACT)
def test_fit_is_the_eigenvalue_formula(solver, shape, offset):
    X = rows(*shape)
    d = shape[1]
    k = min(2, d - 1)
    model, values = fit_linear_gaussian(X + offset, k, solver)
    S = np.cov(X.T, bias=True)
    lam, U = np.linalg.eigh(S)
    lam, U = lam[::-1], U[:, ::-1]
    rtol = 1e-9 if offset == 0 else 1e-7
    s2 = lam[k:].mean()
    assert_allclose(values[:k], lam[:k], rtol=rtol)
    assert_allclose(model.noise_variance, s2, rtol=rtol)
    W = U[:, :k] * np.sqrt(lam[:k] - s2)
    assert_allclose(model.loadings @ model.loadings.T, W @ W.T, atol=rtol * lam[0])
    assert_allclose(model.components @ model.components.T, np.eye(k), atol=1e-12)
    top = np.argmax(np.abs(model.components), axis=1)
    assert np.all(model.components[np.arange(k), top] > 0)


@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1e8, 1e100])
@pytest.mark.parametrize("solver", [*EXACT, "randomized"])
def test_units_scale_the_law(solver, scale):
    X = rows(40, 8)
    unit, _ = fit_linear_gaussian(X, 3, solver, 0)
    model, _ = fit_linear_gaussian(scale * X, 3, solver, 0)
    assert_allclose(model.noise_variance / scale**2, unit.noise_variance, rtol=1e-8)
    assert_allclose(model.loadings / scale, unit.loadings, rtol=1e-6, atol=1e-8)
    assert_allclose(
        model.log_prob(scale * X) + 8 * np.log(scale), unit.log_prob(X), rtol=1e-8, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(80, 10), (12, 30)])
def test_em_converges_to_the_closed_form(shape):
    X = rows(*shape, noise=0.2)
    closed, _ = fit_linear_gaussian(X, 3)
    em, _ = fit_linear_gaussian(X, 3, "em", 0, tol=1e-14, max_iter=500)
    same(closed, em, 1e-5)
    assert 1 < em.n_iter < 500
    short, _ = fit_linear_gaussian(X, 3, "em", 0, max_iter=3)
    assert short.n_iter == 3
    assert closed.log_prob(X).mean() > short.log_prob(X).mean()


def test_nothing_fits_better():
    X = rows(50, 6)
    model, _ = fit_linear_gaussian(X, 2)
    best = model.log_prob(X).mean()
    rng = np.random.RandomState(0)
    for step in 1e-3 * rng.randn(20, 13):
        other = LinearGaussian(
            model.mean,
            model.loadings + step[:12].reshape(6, 2),
            model.noise_variance * np.exp(step[12]),
        )
        assert other.log_prob(X).mean() <= best


@pytest.mark.parametrize("shape", [(400, 60), (60, 400)])
def test_randomized_is_close_and_its_total_variance_exact(shape):
    X = rows(*shape, rank=5)
    exact, _ = fit_linear_gaussian(X, 5)
    model, _ = fit_linear_gaussian(X, 5, "randomized", 3)
    assert_allclose(model.total_variance, exact.total_variance, rtol=1e-10)
    same(exact, model, 1e-6)
    again, _ = fit_linear_gaussian(X, 5, "randomized", 3)
    assert np.array_equal(again.loadings, model.loadings)


@pytest.mark.parametrize("flat", [False, True])
def test_few_of_many_components(flat):
    """The iterative eigensolver, and the dense one where the spectrum has no gaps."""
    X = rows(600, 520, rank=1 if flat else 8, noise=1.0)
    X = X if not flat else np.random.RandomState(0).randn(600, 520)
    for solver in ("auto", "covariance"):
        model, values = fit_linear_gaussian(X, 3, solver)
        accurate, expected = fit_linear_gaussian(X, 3, "svd")
        same(accurate, model, 1e-9)
        assert_allclose(values[:3], expected[:3], rtol=1e-10)
        angles = subspace_angles(accurate.components.T, model.components.T)
        assert angles.max() < 1e-7


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
def test_few_components_of_a_wide_table(offset):
    X = rows(530, 900, rank=8, noise=1.0)
    model, _ = fit_linear_gaussian(X + offset, 3)
    accurate, _ = fit_linear_gaussian(X, 3, "svd")
    assert_allclose(model.total_variance, accurate.total_variance, rtol=1e-8)
    assert_allclose(model.loadings, accurate.loadings, atol=1e-6)
    assert_allclose(model.noise_variance, accurate.noise_variance, rtol=1e-8)


def test_float32_stays_close():
    for shape in [(500, 20), (20, 300)]:
        X = rows(*shape) + 100.0
        wide, _ = fit_linear_gaussian(X, 3)
        short, _ = fit_linear_gaussian(X.astype(np.float32), 3)
        same(wide, short, 2e-4)
    for scale in (1e-30, 1e30):
        X = rows(50, 4)
        model, _ = fit_linear_gaussian((scale * X).astype(np.float32), 2)
        expected, _ = fit_linear_gaussian(X, 2)
        assert_allclose(model.noise_variance / scale**2, expected.noise_variance, rtol=1e-4)


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_in_a_plane_have_a_bounded_density(solver, dtype):
    X = rows(50, 8, rank=2, noise=0.0).astype(dtype)
    X[:, 3] = 7.0
    X[25:] = X[:25]
    for k in (1, 2, 4, 8):
        model, _ = fit_linear_gaussian(X, k, solver)
        eps = np.finfo(dtype).eps
        assert model.noise_variance >= 10 * eps * X.var(axis=0).mean() * 0.99
        assert np.all(np.isfinite(model.log_prob(X)))
    assert model.log_prob(X).max() < 0.5 * 8 * -np.log(eps) + 50


@pytest.mark.parametrize("solver", [*EXACT, "randomized", "em"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_rows(solver, value):
    for shape in [(5, 3), (3, 5)]:
        X = np.full(shape, value)
        model, _ = fit_linear_gaussian(X, 1, solver, 0)
        assert np.all(np.isfinite(model.log_prob(X)))
        assert_allclose(model.decode(model.encode(X)), X, rtol=1e-12)


def test_all_components_are_the_full_gaussian():
    X = rows(40, 5)
    expected = multivariate_normal(X.mean(axis=0), np.cov(X.T, bias=True)).logpdf(X)
    for k in (4, 5):  # one left over is enough for the noise to be the last eigenvalue
        model, _ = fit_linear_gaussian(X, k)
        assert_allclose(model.log_prob(X), expected, rtol=1e-8)
    assert_allclose(model.decode(model.encode(X)), X, atol=1e-6)
    line, _ = fit_linear_gaussian(X[:, :1], 1)
    assert_allclose(line.covariance(), X[:, :1].var(axis=0, keepdims=True))


def test_truncate_is_the_smaller_fit():
    X = rows(30, 8)
    model, values = fit_linear_gaussian(X, None)
    assert model.n_components == 7
    assert len(values) == 8
    for k in (1, 4, 7):
        same(model.truncate(k), fit_linear_gaussian(X, k)[0], 1e-10)
    wider = model.truncate(11)
    assert wider.loadings.shape == (8, 11)
    assert_allclose(wider.log_prob(X), model.log_prob(X))
    assert_allclose(wider.posterior_covariance()[7:, 7:], np.eye(4), atol=1e-12)


# -- number of components ---------------------------------------------------------------------
@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99, 0.999999])
def test_share_of_variance_counts_as_scikit_learn(solver, share):
    for shape in SHAPES:
        X = rows(*shape)
        expected = PCA(share, svd_solver="full").fit(X).n_components_
        assert fit_linear_gaussian(X, share, solver)[0].n_components == expected


@pytest.mark.parametrize("seed", range(6))
def test_minka_counts_as_scikit_learn(seed):
    for n, d, rank in [(200, 10, 3), (50, 20, 5), (31, 30, 2), (500, 6, 1), (40, 4, 3)]:
        X = rows(n, d, rank, seed)
        expected = PCA("mle").fit(X).n_components_
        assert fit_linear_gaussian(X, "mle")[0].n_components == expected
    assert minka_dimension(np.array([4.0, 3.0, 1e-3, 0.0, 0.0]), 50) in (2, 3)
    assert minka_dimension(np.zeros(3), 50) == 1


@pytest.mark.parametrize("bad", [0, -1, 9, 1.0, 1.5, "many", True])
def test_wrong_number_of_components(bad):
    with pytest.raises(ValueError, match="n_components"):
        fit_linear_gaussian(rows(20, 8), bad)


def test_wrong_requests():
    X = rows(5, 8)
    with pytest.raises(ValueError, match="mle"):
        fit_linear_gaussian(X, "mle")
    with pytest.raises(ValueError, match="integer or None"):
        fit_linear_gaussian(X, 0.5, "em")
    with pytest.raises(ValueError, match="solver"):
        fit_linear_gaussian(X, 2, "best")
    with pytest.raises(ValueError, match="overflows"), np.errstate(all="ignore"):
        fit_linear_gaussian(1e200 * X, 2)
