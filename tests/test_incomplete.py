"""The linear Gaussian model of rows with holes, against naive formulas and direct maximisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from skvae.linear_gaussian import (
    IncompleteGaussian,
    LinearGaussian,
    fit_incomplete,
    fit_linear_gaussian,
)
from skvae.linear_gaussian.incomplete import _Rows


def holed(n, d, rank=2, share=0.3, seed=0, noise=0.5):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, rank) * np.arange(rank, 0, -1) @ rng.randn(rank, d)
    X += noise * rng.randn(n, d) + 3.0 * rng.randn(d)
    X[rng.rand(n, d) < share] = np.nan
    return X


def law(d=6, k=2, s2=0.3, seed=0):
    rng = np.random.RandomState(seed)
    return LinearGaussian(rng.randn(d), rng.randn(d, k), s2)


# -- the law, by the formulas of marginals and conditionals --------------------------------------
def naive(model, x):
    """Log-density, conditional mean (d,) and covariance (d, d) of x given its observed cells."""
    C, o, m = model.covariance(), ~np.isnan(x), np.isnan(x)
    mean, cov = np.where(o, x, model.mean), np.zeros(C.shape)
    score = 0.0
    if o.any():
        score = multivariate_normal(model.mean[o], C[np.ix_(o, o)]).logpdf(x[o])
        gain = C[np.ix_(m, o)] @ np.linalg.inv(C[np.ix_(o, o)])
        mean[m] += gain @ (x[o] - model.mean[o])
        cov[np.ix_(m, m)] = C[np.ix_(m, m)] - gain @ C[np.ix_(o, m)]
    else:
        cov = C
    return score, mean, cov


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    d=st.integers(2, 8),
    k=st.integers(1, 9),
    s2=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]),
    seed=st.integers(0, 99),
)
def test_law_against_dense_formulas(d, k, s2, seed):
    model = law(d, k, s2, seed)
    rng = np.random.RandomState(seed)
    X = model.sample(9, rng)
    X[1:][rng.rand(8, d) < 0.5] = np.nan
    X[3] = np.nan
    found = IncompleteGaussian(model)
    score, latent, shares = found.log_prob_parts(X)
    completed, (mean, std) = found.complete(X), found.posterior(X)
    roots = found.posterior_roots(X)
    assert_allclose(found.encode(X), mean)
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        expected, filled, _ = naive(model, x)
        assert_allclose(score[i], expected, rtol=1e-10, atol=1e-10 / min(s2, 1.0))
        assert_allclose(completed[i], filled, rtol=1e-8, atol=1e-9)
        W = model.loadings[o]
        cov = np.linalg.inv(np.eye(k) + W.T @ W / s2)
        assert_allclose(roots[i] @ roots[i].T, cov, atol=1e-8)
        assert_allclose(std[i], np.sqrt(np.diag(cov)), atol=1e-8)
        assert_allclose(mean[i], cov @ W.T @ (x[o] - model.mean[o]) / s2, atol=1e-6)
        rest = x[o] - model.mean[o] - W @ mean[i]
        spread = np.diag(W @ cov @ W.T)
        expected = -0.5 * (np.log(2 * np.pi * s2) + (rest**2 + spread) / s2)
        assert_allclose(shares[i, o], expected, rtol=1e-6, atol=1e-6)
        assert not shares[i, ~o].any()
        kl = 0.5 * (np.trace(cov) + mean[i] @ mean[i] - k - np.linalg.slogdet(cov)[1])
        assert_allclose(latent[i], -kl, rtol=1e-6, atol=1e-6)
    assert_allclose(shares.sum(axis=1) + latent, score, rtol=1e-10, atol=1e-9)
    assert np.array_equal(completed[~np.isnan(X)], X[~np.isnan(X)])
    assert score[3] == latent[3] == 0.0


def test_density_to_ten_digits():
    """Where the signal is not far above the noise; 200 patterns and repeated ones."""
    for s2 in (0.01, 0.3, 10.0):
        model = law(7, 3, s2)
        X = model.sample(200, np.random.RandomState(0))
        X[np.random.RandomState(1).rand(200, 7) < 0.4] = np.nan
        X = np.concatenate([X, np.where(np.arange(7) == 2, np.nan, X[:1] + np.zeros((300, 7)))])
        expected = [naive(model, x)[0] for x in X]
        found = IncompleteGaussian(model).log_prob_parts(X)[0]
        assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_complete_rows_are_scored_as_ever():
    model = law()
    X = model.sample(50, np.random.RandomState(0))
    X[::2, 1] = np.nan
    full = ~np.isnan(X).any(axis=1)
    found = IncompleteGaussian(model)
    assert np.array_equal(found.log_prob_parts(X)[0][full], model.log_prob(X[full]))
    assert np.array_equal(found.encode(X)[full], model.encode(X[full]))
    assert np.array_equal(found.project(X)[full], model.project(X[full]))
    assert_allclose(found.project(X), model.project(found.complete(X)))


def test_draws_are_joint_and_exact():
    model = law(5, 2, 0.3)
    X = np.array([[0.5, np.nan, -1.0, np.nan, np.nan], [1.0, 2.0, np.nan, 0.0, 1.0]])
    X = np.vstack([X, np.full(5, np.nan), np.arange(5.0)])
    draws = IncompleteGaussian(model).draw_missing(X, 100_000, np.random.RandomState(0))
    assert np.array_equal(draws[:, ~np.isnan(X)], np.tile(X[~np.isnan(X)], (100_000, 1)))
    assert not np.isnan(draws).any()
    for x, drawn in zip(X, draws.transpose(1, 0, 2), strict=True):
        _, mean, cov = naive(model, x)
        size = np.sqrt(np.diag(model.covariance()))
        assert_allclose(drawn.mean(axis=0) / size, mean / size, atol=0.02)
        assert_allclose(
            np.cov(drawn.T) / np.outer(size, size), cov / np.outer(size, size), atol=0.02
        )


def test_draws_of_codes_have_the_covariance_of_their_row():
    model = law(5, 2, 0.3)
    x = np.array([0.5, np.nan, -1.0, np.nan, np.nan])
    found = IncompleteGaussian(model)
    codes = found.draw_codes(np.tile(x, (50_000, 1)), np.random.RandomState(0))
    root = found.posterior_roots(x[None])[0]
    assert_allclose(codes.mean(axis=0), found.encode(x[None])[0], atol=0.02)
    assert_allclose(np.cov(codes.T), root @ root.T, atol=0.02)


def test_noise_far_below_the_signal():
    """Sixteen digits of W' W + s2 I do not hold the noise: those of the loadings do."""
    model = law(8, 5, 1e-13)
    Z = np.random.RandomState(0).randn(40, 5)
    X = model.draw_rows(Z, np.random.RandomState(1))
    X[np.arange(40), np.arange(40) % 8] = np.nan
    X[:20, 5] = np.nan
    score, latent, shares = IncompleteGaussian(model).log_prob_parts(X)
    assert_allclose(shares.sum(axis=1) + latent, score, atol=1e-3)
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        W = model.loadings[o]
        whole = LinearGaussian(model.mean[o], W, model.noise_variance)  # by singular values
        assert_allclose(score[i], whole.log_prob(x[o][None])[0], rtol=1e-6)
    assert_allclose(IncompleteGaussian(model).encode(X), Z, atol=1e-4)


def test_rows_out_of_range_have_density_zero():
    model = law(4, 2)
    X = np.array([[1e307, np.nan, -1e307, 1.0], [1.7e308, 1.7e308, np.nan, 0.0], [0, 0, 0, np.nan]])
    found = IncompleteGaussian(model)
    for part in (*found.log_prob_parts(X)[::2], found.encode(X), found.complete(X)):
        assert not np.isnan(part).any()
    score = found.log_prob_parts(X)[0]
    assert np.isneginf(score[:2]).all()
    assert np.isfinite(score[2])
    assert np.isfinite(found.encode(X)).all()


# -- the fit -----------------------------------------------------------------------------------
def negative(theta, X, k):
    """Minus the mean log-density of observed cells and its gradient, by dense formulas."""
    n, d = X.shape
    mean, W, s2 = theta[:d], theta[d:-1].reshape(d, k), np.exp(theta[-1])
    C = W @ W.T + s2 * np.eye(d)
    value, by_C, by_mean = 0.0, np.zeros((d, d)), np.zeros(d)
    for pattern in np.unique(~np.isnan(X), axis=0):
        if not pattern.any():
            continue
        o = np.flatnonzero(pattern)
        Y = X[(~np.isnan(X) == pattern).all(axis=1)][:, o] - mean[o]
        P = np.linalg.inv(C[np.ix_(o, o)])
        A = Y @ P
        value += 0.5 * np.sum(A * Y)
        value += 0.5 * len(Y) * (len(o) * np.log(2 * np.pi) - np.linalg.slogdet(P)[1])
        by_C[np.ix_(o, o)] += 0.5 * (len(Y) * P - A.T @ A)
        by_mean[o] -= A.sum(axis=0)
    gradient = np.concatenate([by_mean, 2 * (by_C @ W).ravel(), [np.trace(by_C) * s2]])
    return value / n, gradient / n


def best_of_starts(X, k, starts=6):
    best = None
    d = X.shape[1]
    for seed in range(starts):
        rng = np.random.RandomState(seed)
        theta = np.concatenate([np.nanmean(X, axis=0), rng.randn(d * k), [0.0]])
        options = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30, "maxfun": 10**5}
        found = minimize(negative, theta, (X, k), "L-BFGS-B", jac=True, options=options)
        best = found if best is None or found.fun < best.fun else best
    mean, W = best.x[:d], best.x[d:-1].reshape(d, k)
    return -best.fun, mean, W @ W.T + np.exp(best.x[-1]) * np.eye(d)


@pytest.mark.parametrize(
    ("n", "d", "k", "share", "noise"),
    [
        (60, 4, 1, 0.3, 0.5),
        (80, 5, 2, 0.3, 0.5),
        (200, 6, 2, 0.1, 0.1),
        (100, 5, 4, 0.3, 0.5),
        (300, 5, 2, 0.6, 1.0),
        (150, 3, 2, 0.5, 1.0),
    ],
)
def test_fit_is_the_direct_maximum(n, d, k, share, noise):
    X = holed(n, d, share=share, noise=noise)
    found, n_iter = fit_incomplete(X, k)
    value, mean, C = best_of_starts(X, k)
    assert 1 < n_iter < 200
    assert_allclose(found.log_prob_parts(X)[0].mean(), value, rtol=1e-9)
    assert_allclose(found.model.mean, mean, rtol=1e-6, atol=1e-6)
    assert_allclose(found.covariance(), C, rtol=1e-6, atol=1e-6 * C.max())


def test_units_and_offsets_scale_the_law():
    X = holed(60, 5)
    unit, _ = fit_incomplete(X, 2)
    for scale in (1e-100, 1e-8, 1e100):
        found, _ = fit_incomplete(scale * X, 2)
        assert_allclose(found.covariance() / scale / scale, unit.covariance(), rtol=1e-6)
    found, _ = fit_incomplete(X + 1e6, 2)
    assert_allclose(found.covariance(), unit.covariance(), rtol=1e-6, atol=1e-6)
    found, _ = fit_incomplete(X.astype(np.float32), 2)
    assert_allclose(found.covariance(), unit.covariance(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("k", "share"), [(1, 0.3), (2, 0.7), (5, 0.5)])
def test_log_likelihood_rises_at_every_step(k, share):
    X = holed(80, 6, share=share)
    rows = _Rows(X[~np.isnan(X).all(axis=1)], k)
    state, values = rows.evaluate(rows.start()), []
    for _ in range(60):  # EM alone
        values.append(state.value)
        state = rows.evaluate(state.image)
    assert np.diff(values).min() > -1e-13
    values = []
    for most in range(1, 40):  # and with extrapolations: the value after so many passes
        law, _ = fit_incomplete(X, k, max_iter=most)
        values.append(law.log_prob_parts(X)[0].mean())
    assert np.diff(values).min() > -1e-12
    assert values[-1] > values[0]


def test_values_are_those_of_the_law():
    X = holed(80, 6)
    X = X[~np.isnan(X).all(axis=1)]
    rows = _Rows(X, 2)
    state = rows.evaluate(rows.start())
    model = rows.spectrum(state.theta, 1).model(2)
    cells = (~np.isnan(X)).sum() / len(X)
    score = IncompleteGaussian(model).log_prob_parts(X)[0].mean()
    assert_allclose(score, state.value - cells * np.log(rows.unit), rtol=1e-10)


def test_closed_form_is_the_fixed_point_of_complete_rows():
    X = holed(50, 5, share=0.0)
    for k in (1, 3, 4):
        rows = _Rows(X, k)
        state = rows.evaluate(rows.start())
        assert state.length < 1e-10
        closed, _ = fit_linear_gaussian(X, k)
        assert_allclose(rows.spectrum(state.image, 1).model(k).covariance(), closed.covariance())
        found, n_iter = fit_incomplete(X, k)
        assert n_iter == 1
        assert np.array_equal(found.covariance(), closed.covariance())


def test_nothing_to_learn_from_empty_rows_and_columns():
    X = holed(60, 4)
    wide = np.insert(np.insert(X, 2, np.nan, axis=1), [0, 30], np.nan, axis=0)
    narrow, _ = fit_incomplete(X, 2)
    found, _ = fit_incomplete(wide, 2)
    assert found.known.tolist() == [True, True, False, True, True]
    assert np.isnan(found.covariance()[2]).all()
    assert np.isnan(found.precision()[:, 2]).all()
    kept = found.known
    assert_allclose(found.covariance()[np.ix_(kept, kept)], narrow.covariance(), rtol=1e-9)
    given = wide.copy()
    given[5, 2] = 7.0  # what the model knows nothing of
    score, latent, shares = found.log_prob_parts(given)
    # the two empty rows are numbers 0 and 31
    assert_allclose(np.delete(score, [0, 31]), narrow.log_prob_parts(X)[0], rtol=1e-9)
    assert not shares[:, 2].any()
    assert_allclose(shares.sum(axis=1) + latent, score)
    completed = found.complete(given)
    assert completed[5, 2] == 7.0
    assert np.isnan(np.delete(completed[:, 2], 5)).all()
    assert not np.isnan(completed[:, kept]).any()
    for rows in (found.project(given), found.decode(np.zeros((3, 2)))):
        assert np.isnan(rows[:, 2]).all()
        assert not np.isnan(rows[:, kept]).any()
    drawn = found.draw_missing(given, 2, np.random.RandomState(0))
    assert (drawn[:, 5, 2] == 7.0).all()
    # what is left is complete: the closed form
    closed, n_iter = fit_incomplete(np.insert(np.zeros((9, 2)) + np.eye(9, 2), 0, np.nan, 1), 1)
    assert n_iter == 1
    assert closed.model.mean.shape == (2,)


def _odd():
    X = holed(40, 5)
    yield "constant column", np.where(np.isnan(X), X, np.where(np.arange(5) == 1, 7.0, X)), 2
    yield "all constant", np.where(np.isnan(X), X, 0.1), 2
    yield "zeros", np.where(np.isnan(X), X, 0.0), 1
    yield "duplicated rows", np.repeat(X[:4], 10, axis=0), 2
    yield "duplicated column", X[:, [0, 0, 1, 2, 2]], 2
    yield "fewer cells than components", np.where(_pair(), holed(40, 5, share=0.0), np.nan), 4
    yield "one cell a row", np.where(np.arange(40)[:, None] % 5 == np.arange(5), 1.0 * X, np.nan), 2
    yield "pairs never seen together", np.where(_split(), np.nan, holed(40, 5, share=0.0)), 1
    yield "one cell of a column", np.where(_lonely(), np.nan, holed(40, 5, share=0.0)), 2
    yield "wide", holed(6, 20), 3
    yield "two rows", holed(2, 6, seed=3), 1
    yield "all components", X, 5
    yield "in a plane", holed(60, 6, noise=0.0), 2
    yield "float32", X.astype(np.float32), 2


def _pair():
    i = np.arange(40)[:, None]
    return (i % 5 == np.arange(5)) | (i // 5 % 5 == np.arange(5))


def _split():
    return (np.arange(40)[:, None] < 20) == (np.arange(5) < 2)


def _lonely():
    return (np.arange(40)[:, None] > 0) & (np.arange(5) == 3)


@pytest.mark.parametrize(("X", "k"), [pytest.param(*c, id=name) for name, *c in _odd()])
def test_odd_tables_have_a_bounded_law(X, k):
    found, _ = fit_incomplete(X, k)
    score, latent, shares = found.log_prob_parts(X)
    assert np.isfinite(score).all()
    assert_allclose(shares.sum(axis=1) + latent, score, rtol=1e-6, atol=1e-6)
    assert np.isfinite(found.model.covariance()).all()
    completed = found.complete(X)
    assert np.isfinite(completed[:, found.known if found.known is not None else slice(None)]).all()
    assert completed.dtype == X.dtype


def test_rows_in_a_plane_are_completed_exactly():
    X = holed(60, 6, share=0.0, noise=0.0)
    gaps = np.random.RandomState(5).rand(60, 6) < 0.2
    found, _ = fit_incomplete(np.where(gaps, np.nan, X), 2)
    enough = (~gaps).sum(axis=1) > 2
    assert_allclose(found.complete(np.where(gaps, np.nan, X))[enough], X[enough], atol=1e-5)


def test_constant_cells_are_completed_by_their_constant():
    X = np.full((20, 3), 7.0)
    X[::3, 1] = np.nan
    found, n_iter = fit_incomplete(X, 1)
    assert n_iter == 1
    assert np.array_equal(found.complete(X), np.full((20, 3), 7.0))


def test_number_of_components():
    X = holed(200, 6, share=0.2, noise=0.1)
    assert fit_incomplete(X)[0].model.n_components == 5
    full = fit_incomplete(X, 5)[0].model
    ratio = np.cumsum(np.linalg.eigvalsh(full.covariance())[::-1]) / full.total_variance
    for share in (0.5, 0.9, 0.9999):
        expected = np.searchsorted(ratio, share, side="right") + 1
        assert fit_incomplete(X, share)[0].model.n_components == expected
    everything = fit_incomplete(X, 6)[0].model
    assert everything.n_components == 6
    assert_allclose(everything.covariance(), full.covariance(), rtol=1e-9)


@pytest.mark.parametrize(
    ("n_components", "message"), [("mle", "complete rows"), (9, "between 1"), (1.5, "n_comp")]
)
def test_wrong_number_of_components(n_components, message):
    with pytest.raises(ValueError, match=message):
        fit_incomplete(holed(20, 4), n_components)


def test_too_few_cells():
    X = np.full((5, 3), np.nan)
    for cells in (0, 1):
        X[:cells, 0] = 1.0
        with pytest.raises(ValueError, match="2 samples with observed values"):
            fit_incomplete(X, 1)
    with pytest.raises(ValueError, match="overflows"):
        fit_incomplete(1e200 * holed(20, 4), 1)
