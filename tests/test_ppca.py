"""PPCA as an estimator, against scikit-learn's PCA and scipy."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from skvae.estimators.ppca import PPCA
from skvae.linear_gaussian import SOLVERS


def pca_of_divisor_n(X, k):
    """scikit-learn's PCA of the same maximum likelihood covariance.

    It divides by n - 1; on rows shrunk towards their mean by sqrt((n - 1) / n) that is n.
    """
    n = len(X)
    mean = X.mean(axis=0)
    return PCA(k, svd_solver="full").fit(mean + (X - mean) * np.sqrt((n - 1) / n))


@pytest.mark.parametrize("k", [1, 3, 12])
def test_same_density_as_pca(k):
    X = load_wine().data
    ppca, pca = PPCA(k, solver="svd").fit(X), pca_of_divisor_n(X, k)
    assert_allclose(ppca.score_samples(X), pca.score_samples(X), rtol=1e-8)
    assert_allclose(ppca.get_covariance(), pca.get_covariance(), rtol=1e-8)
    assert_allclose(ppca.get_precision(), pca.get_precision(), rtol=1e-7, atol=1e-9)
    assert_allclose(ppca.noise_variance_, pca.noise_variance_, rtol=1e-8)
    assert_allclose(ppca.components_, pca.components_, atol=1e-9)
    assert_allclose(ppca.explained_variance_, pca.explained_variance_, rtol=1e-9)
    assert_allclose(ppca.explained_variance_ratio_, pca.explained_variance_ratio_, rtol=1e-9)
    expected = multivariate_normal(ppca.mean_, ppca.get_covariance()).logpdf(X)
    assert_allclose(ppca.score_samples(X), expected, rtol=1e-8)
    assert_allclose(ppca.reconstruct(X), pca.inverse_transform(pca.transform(X)), rtol=1e-8)
    assert ppca.score(X) == pytest.approx(expected.mean(), rel=1e-9)


def test_no_noise_is_pca():
    X = load_digits().data[:, :20]
    X = X @ np.linalg.svd(X, full_matrices=False)[2][:4].T @ np.random.RandomState(0).randn(4, 20)
    noisy = X + 1e-6 * np.random.RandomState(1).randn(*X.shape)
    ppca, pca = PPCA(4, solver="svd").fit(noisy), PCA(4).fit(noisy)
    whitened = pca.transform(noisy) / np.sqrt(ppca.explained_variance_)
    assert_allclose(ppca.transform(noisy), whitened, atol=1e-8)
    assert_allclose(ppca.inverse_transform(ppca.transform(noisy)), noisy, atol=1e-4)
    assert np.all(ppca.posterior(noisy)[1] < 1e-5)


@pytest.mark.parametrize("n_components", [2, 0.9, None, "mle"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_chunks_are_one_fit(n_components, offset):
    X = load_wine().data
    X = (X - X.mean(axis=0)) / X.std(axis=0) + offset
    whole, parts = PPCA(n_components).fit(X), PPCA(n_components)
    for chunk in np.split(X, [1, 3, 50, 51, 120])[:: 1 if n_components != "mle" else -1]:
        parts.partial_fit(chunk)
    rtol = 1e-10 if offset == 0 else 1e-8  # rows of 1e6 hold 1e-10 of their spread
    assert parts.n_samples_ == len(X)
    assert parts.n_components_ == whole.n_components_
    assert_allclose(parts.score_samples(X), whole.score_samples(X), rtol=rtol)
    assert_allclose(parts.noise_variance_, whole.noise_variance_, rtol=rtol)
    assert_allclose(parts.get_covariance(), whole.get_covariance(), atol=rtol)
    if offset == 0:
        assert_allclose(parts.transform(X), whole.transform(X), atol=1e-9)
    assert np.isfinite(parts.offset_)


def test_partial_fit_goes_on_after_pickle_and_after_fit():
    X = load_wine().data
    parts = pickle.loads(pickle.dumps(PPCA(2).partial_fit(X[:90]))).partial_fit(X[90:])
    assert_allclose(parts.score(X), PPCA(2).fit(X).score(X), rtol=1e-10)
    exact = PPCA(12).fit(X[:90]).partial_fit(X[90:])
    assert_allclose(exact.score_samples(X), PPCA(12).fit(X).score_samples(X), rtol=1e-6)
    close = PPCA(4).fit(X[:90]).partial_fit(X[90:])
    assert close.n_samples_ == len(X)
    assert_allclose(close.mean_, X.mean(axis=0))
    assert_allclose(np.trace(close.get_covariance()), X.var(axis=0).sum())
    with pytest.raises(ValueError, match="features"):
        parts.partial_fit(X[:, :3])
    assert parts.fit(X[:50]).n_samples_ == 50


def test_parts_of_the_score():
    X = load_wine().data
    ppca = PPCA(3).fit(X)
    parts, shares = ppca.score_parts(X), ppca.score_features(X)
    assert_allclose(parts.score, ppca.score_samples(X), rtol=1e-12)
    assert_allclose(shares.sum(axis=1) + parts.latent, parts.score, rtol=1e-10)
    assert np.all(parts.latent <= 0)
    assert not parts.std.any()
    broken = X[:1].copy()
    broken[0, 7] += 50.0
    assert ppca.score_features(broken)[0].argmin() == 7


def test_posterior():
    X = load_wine().data
    ppca = PPCA(3).fit(X)
    mean, std = ppca.posterior(X)
    assert_allclose(mean, ppca.transform(X))
    assert_allclose(std**2, np.diag(ppca.get_posterior_covariance())[None].repeat(len(X), 0))
    # var of the means + posterior variance is the prior's variance
    assert_allclose(mean.var(axis=0) + std[0] ** 2, 1.0, rtol=1e-9)


def test_draws():
    X = load_wine().data[:, :5]
    ppca = PPCA(2).fit(X)
    draws = ppca.sample(100_000, random_state=0)
    scale = np.sqrt(np.diag(ppca.get_covariance()))
    assert_allclose(
        np.cov(draws.T) / np.outer(scale, scale),
        ppca.get_covariance() / np.outer(scale, scale),
        atol=0.02,
    )
    assert np.array_equal(ppca.sample(3, random_state=1), ppca.sample(3, random_state=1))
    means = ppca.sample(3, random_state=1, noise=False)
    assert_allclose(ppca.reconstruct(means), means)


def test_float32_is_kept():
    X = load_digits().data.astype(np.float32)
    ppca = PPCA(5).fit(X)
    wide = PPCA(5).fit(X.astype(np.float64))
    Z = ppca.transform(X)
    assert Z.dtype == ppca.inverse_transform(Z).dtype == ppca.reconstruct(X).dtype == np.float32
    assert ppca.posterior(X)[1].dtype == np.float32
    assert ppca.score_samples(X).dtype == np.float64
    assert_allclose(ppca.score_samples(X), wide.score_samples(X), rtol=1e-4)
    assert_allclose(Z, wide.transform(X.astype(np.float64)), atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_agree(solver):
    X = load_digits().data
    for rows in (X[:300], X[:40]):
        expected = PPCA(5, solver="svd").fit(rows).score_samples(rows)
        ppca = PPCA(5, solver=solver, random_state=0, tol=1e-12, max_iter=3000).fit(rows)
        rtol = {"randomized": 1e-2, "em": 1e-4}.get(solver, 1e-9)
        assert_allclose(ppca.score_samples(rows), expected, rtol=rtol)
        assert ppca.n_iter_ > 1 if solver == "em" else ppca.n_iter_ == 1


def test_em_that_stops_early_warns():
    X = load_wine().data
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        PPCA(2, solver="em", max_iter=2, random_state=0).fit(X)


@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (5, 1), (3, 8), (8, 3)])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_small_shapes_and_extreme_units(shape, scale):
    X = scale * np.random.RandomState(0).randn(*shape)
    for k in {None, 1, min(shape)}:
        ppca = PPCA(k).fit(X)
        assert np.all(np.isfinite(ppca.score_samples(X)))
        assert_allclose(
            ppca.score_parts(X).latent + ppca.score_features(X).sum(axis=1),
            ppca.score_samples(X),
            rtol=1e-6,
            atol=1e-6,
        )
        assert_allclose(
            ppca.components_ @ ppca.components_.T, np.eye(ppca.n_components_), atol=1e-12
        )
    if shape[1] > 1:
        assert_allclose(PPCA(min(shape)).fit(X).reconstruct(X) / scale, X / scale, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(2, 1), (2, 10), (2, 30), (3, 3), (3, 10), (3, 30), (4, 8)])
def test_few_rows_by_any_solver(solver, shape):
    """As many codes as rows: the centred rows have no variance left for the last of them."""
    for seed, scale in [(0, 1e-100), (1, 1.0), (2, 1.0), (3, 1e100)]:
        X = scale * np.random.RandomState(seed).randn(*shape)
        for k in range(1, min(shape) + 1):
            ppca = PPCA(k, solver=solver, random_state=seed).fit(X)
            for rows in (X, X + 3 * scale):
                parts = ppca.score_parts(rows)
                assert np.all(np.isfinite(parts.score))
                assert not parts.std.any()
                assert_allclose(parts.reconstruction + parts.latent, parts.score, rtol=1e-6)
            expected = PPCA(k, solver="svd").fit(X).score_samples(X)
            assert_allclose(ppca.score_samples(X), expected, rtol=0.02, atol=1.0)


@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")  # scikit-learn's scan
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(3, 2), (5, 20), (20, 5), (600, 520)])
@pytest.mark.parametrize("large", [1e307, 1.7e308])
def test_numbers_that_overflow(solver, shape, large):
    X = np.random.RandomState(0).randn(*shape)
    ppca = PPCA(1, solver=solver, random_state=0).fit(X)
    far = X.copy()
    far[0], far[1], far[2, 0] = large, -large, large
    parts = ppca.score_parts(far)
    for part in (parts.score, parts.reconstruction, ppca.score_features(far).sum(axis=1)):
        assert np.all(np.isneginf(part[:3]))
        assert np.all(np.isfinite(part[3:]))
    assert not np.any(np.isnan(parts.latent))
    assert np.array_equal(ppca.score_samples(far), parts.score)
    assert np.all(ppca.predict(far)[:3] == -1)
    with pytest.raises(ValueError, match="variance of X overflows"):
        PPCA(1, solver=solver, random_state=0).fit(far)
    with pytest.raises(ValueError, match="variance of X overflows"):
        PPCA(1).fit(X).partial_fit(far)
    with pytest.raises(ValueError, match="variance of X overflows"):
        PPCA(1, solver=solver).fit(np.full(shape, 1e200))


@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")  # scikit-learn's scan
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(solver, value):
    """Without a pass of its own over the rows."""
    for shape in [(3, 3), (20, 5), (5, 20), (520, 600)]:
        for dtype in (np.float32, np.float64):
            X = np.random.RandomState(0).randn(*shape).astype(dtype)
            X[1, 2] = value
            with pytest.raises(ValueError, match="Input X contains"):
                PPCA(1, solver=solver, random_state=0).fit(X)
            with pytest.raises(ValueError, match="Input X contains"):
                PPCA(1).partial_fit(X)


def test_float32_chunks_of_large_numbers():
    """Their squares overflow in float32."""
    X = np.random.RandomState(0).randn(40, 4)
    parts = PPCA(2)
    for chunk in np.split((1e30 * X).astype(np.float32), 4):
        parts.partial_fit(chunk)
    assert_allclose(parts.noise_variance_ / 1e60, PPCA(2).fit(X).noise_variance_, rtol=1e-4)


def test_parameters_are_checked():
    X = load_wine().data
    for wrong in [
        {"n_components": 14},
        {"n_components": 1.5},
        {"n_components": "all"},
        {"solver": "full"},
        {"max_iter": 0},
        {"contamination": 0.7},
    ]:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PPCA(**wrong).fit(X)
    share = PPCA(2, contamination=0.1).fit(X).predict(X)
    assert (share == -1).sum() == 18
    assert clone(PPCA(0.5)).n_components == 0.5


def test_saved_and_loaded(tmp_path):
    from skvae import load

    X = load_wine().data
    ppca = PPCA(2).partial_fit(X[:100])
    ppca.save(tmp_path / "ppca")
    again = load(tmp_path / "ppca")
    assert np.array_equal(again.score_samples(X), ppca.score_samples(X))
    assert np.array_equal(again.partial_fit(X[100:]).mean_, ppca.partial_fit(X[100:]).mean_)
