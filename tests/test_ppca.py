"""PPCA as an estimator, against scikit-learn's PCA and scipy."""

import pickle
import warnings

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
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused(solver, value):
    """Without a pass of its own over the rows."""
    for shape in [(3, 3), (20, 5), (5, 20), (520, 600)]:
        for dtype in (np.float32, np.float64):
            X = np.random.RandomState(0).randn(*shape).astype(dtype)
            X[1, 2] = value
            X[2, 1] = np.nan if shape == (20, 5) else 0.0
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


# -- missing cells ----------------------------------------------------------------------------
def wine_with_holes(share=0.3, seed=0):
    X = load_wine().data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    gaps = np.random.RandomState(seed).rand(*X.shape) < share
    return X, np.where(gaps, np.nan, X)


@pytest.mark.parametrize("solver", ["auto", "em"])
def test_holes(solver):
    whole, X = wine_with_holes()
    X[7] = np.nan
    gaps = np.isnan(X)
    ppca = PPCA(3, solver=solver).fit(X)
    assert ppca.n_iter_ > 1
    assert np.array_equal(ppca.score_samples(X), PPCA(3).fit(X).score_samples(X))
    C, mu = ppca.get_covariance(), ppca.mean_
    score, parts, shares = ppca.score_samples(X), ppca.score_parts(X), ppca.score_features(X)
    for i, x in enumerate(X):
        o = ~gaps[i]
        expected = multivariate_normal(mu[o], C[np.ix_(o, o)]).logpdf(x[o]) if o.any() else 0.0
        assert_allclose(score[i], expected, rtol=1e-10, atol=1e-12)
    assert_allclose(shares.sum(axis=1) + parts.latent, score, rtol=1e-10, atol=1e-12)
    assert not shares[gaps].any()
    assert not parts.std.any()
    mean, std = ppca.posterior(X)
    assert_allclose(ppca.transform(X), mean)
    assert not mean[7].any()
    assert (std[7] == 1.0).all()
    assert (std >= np.sqrt(np.diag(ppca.get_posterior_covariance())) - 1e-12).all()
    completed = ppca._complete(X)
    assert np.array_equal(completed[~gaps], X[~gaps])
    assert_allclose(completed[7], mu)
    rmse = np.sqrt(np.mean((completed - whole)[gaps] ** 2))
    assert rmse < 0.9 * np.sqrt(np.mean(whole[gaps] ** 2))
    assert_allclose(ppca.reconstruct(X), ppca.reconstruct(completed))
    error = ppca.reconstruction_error(X)
    square = np.where(gaps, np.nan, (X - ppca.reconstruct(X)) ** 2)
    assert_allclose(np.delete(error, 7), np.nanmean(np.delete(square, 7, axis=0), axis=1))
    assert error[7] == 0.0
    assert set(ppca.predict(X)) <= {-1, 1}
    allowance = gaps @ np.nanmean(np.where(gaps, np.nan, shares), axis=0)
    assert_allclose(ppca.decision_function(X), score + allowance - ppca.offset_, rtol=1e-9)
    full = ~gaps.any(axis=1)
    assert (ppca.decision_function(X)[full] == (score - ppca.offset_)[full]).all()
    assert not np.isnan(ppca.sample(50, random_state=0)).any()
    drawn = ppca.sample(9, random_state=0, method="posterior", X=X[:3])
    assert not np.isnan(drawn).any()
    again = pickle.loads(pickle.dumps(ppca))
    assert np.array_equal(again.score_samples(X), score)


def test_rows_with_holes_do_not_depend_on_their_company():
    _, X = wine_with_holes()
    ppca = PPCA(4).fit(X)
    order = np.random.RandomState(0).permutation(len(X))
    for call in (ppca.transform, ppca.score_samples, ppca.reconstruct, ppca._complete):
        whole = call(X)
        assert_allclose(call(X[order]), whole[order], rtol=1e-9, atol=1e-9)
        assert_allclose(np.concatenate([call(x[None]) for x in X]), whole, rtol=1e-9, atol=1e-9)
    many = np.tile(X, (100, 1))
    assert_allclose(ppca.score_samples(many), np.tile(ppca.score_samples(X), 100), rtol=1e-9)


def test_draws_of_missing_cells():
    _, X = wine_with_holes()
    ppca = PPCA(3).fit(X)
    draws = ppca._draw_missing(X, 400, 0)
    assert draws.shape == (400, *X.shape)
    assert np.array_equal(draws[:, ~np.isnan(X)], np.tile(X[~np.isnan(X)], (400, 1)))
    assert_allclose(draws.mean(axis=0), ppca._complete(X), atol=0.3)
    assert np.array_equal(draws, ppca._draw_missing(X, 400, 0))
    assert not np.array_equal(draws[:2], ppca._draw_missing(X, 2, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_with_holes(dtype):
    X = wine_with_holes()[1].astype(dtype)
    ppca = PPCA(3).fit(X)
    for out in (
        ppca.transform(X),
        ppca.reconstruct(X),
        *ppca.posterior(X),
        ppca._complete(X),
        ppca._draw_missing(X, 2, 0),
    ):
        assert out.dtype == dtype
    assert ppca.score_samples(X).dtype == np.float64


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"auto", "em"}))
def test_closed_forms_refuse_holes(solver):
    _, X = wine_with_holes()
    with pytest.raises(ValueError, match=f"solver='{solver}' needs complete rows"):
        PPCA(3, solver=solver).fit(X)


def test_what_takes_no_holes_says_so():
    whole, X = wine_with_holes()
    with pytest.raises(ValueError, match="partial_fit needs complete rows"):
        PPCA(3).partial_fit(X)
    with pytest.raises(ValueError, match="partial_fit needs complete rows"):
        PPCA(3).fit(whole).partial_fit(X)
    with pytest.raises(ValueError, match="'mle' needs complete rows"):
        PPCA("mle").fit(X)
    with pytest.raises(ValueError, match="contains NaN"):
        PPCA(3).fit(X).inverse_transform([[np.nan, 0.0, 0.0]])
    far = np.where(X[0, 1] == X, np.inf, X)
    for call in (PPCA(3).fit, PPCA(3).fit(X).transform, PPCA(3).fit(X).score_samples):
        with pytest.raises(ValueError, match="contains infinity"):
            call(far)
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        PPCA(3, max_iter=3).fit(X)
    assert PPCA().fit(X).__sklearn_tags__().input_tags.allow_nan


def test_a_feature_without_cells(tmp_path):
    from skvae import load

    whole, X = wine_with_holes()
    X[:, 4] = np.nan
    ppca, others = PPCA(3).fit(X), np.arange(13) != 4
    narrow = PPCA(3).fit(X[:, others])
    ppca.save(tmp_path / "ppca")
    for model in (ppca, load(tmp_path / "ppca")):
        assert np.isnan(model.mean_[4])
        assert not model.components_[:, 4].any()
        assert np.isnan(model.get_covariance()[4]).all()
        for rows in (X, whole):
            score = narrow.score_samples(rows[:, others])
            assert_allclose(model.score_samples(rows), score, rtol=1e-12)
            assert_allclose(model.transform(rows), narrow.transform(rows[:, others]))
            assert_allclose(
                model.reconstruction_error(rows), narrow.reconstruction_error(rows[:, others])
            )
            assert not model.score_features(rows)[:, 4].any()
        for rows in (model.sample(5, 0), model.reconstruct(whole), model._complete(X)):
            assert np.isnan(rows[:, 4]).all()
            assert not np.isnan(rows[:, others]).any()
        codes = model.transform(np.full((1, 13), np.nan))
        assert np.isnan(model.inverse_transform(codes)).sum() == 1
        assert_allclose(model.explained_variance_ratio_, narrow.explained_variance_ratio_)
    with pytest.raises(ValueError, match="some features had no observed values"):
        ppca.partial_fit(whole)


def test_rows_after_a_fit_with_holes():
    """They count through the covariance, as after any fit."""
    whole, X = wine_with_holes()
    more = PPCA(12).fit(X).partial_fit(whole)
    assert more.n_samples_ == 2 * len(X)
    assert more.score(whole) > PPCA(12).fit(X).score(whole)


@pytest.mark.parametrize("seed", range(12))
def test_any_table_with_holes_fits_or_says_why(seed):
    rng = np.random.RandomState(seed)
    n, d = rng.randint(4, 40), rng.randint(1, 7)
    X = rng.randn(n, d) * 10.0 ** rng.randint(-140, 140, d if seed % 2 else 1) + (seed % 3) * 1e9
    X[rng.rand(n, d) < 0.4] = np.nan
    for rows in (X, X.astype(np.float32)) if np.nanmax(np.abs(X)) < 1e38 else (X,):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                ppca = PPCA(1, max_iter=200).fit(rows)
        except ValueError as error:
            assert any(word in str(error) for word in ("scale X", "2 samples"))
            continue
        known = ~np.isnan(ppca.mean_)
        assert np.isfinite(ppca.score_samples(rows)).all()
        assert np.isfinite(ppca.transform(rows)).all()
        assert np.isfinite(ppca._complete(rows)[:, known]).all()
        assert np.isfinite(ppca._draw_missing(rows, 2, 0)[..., known]).all()


def test_impute_fills_by_the_conditional_normal():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(200, 5)) + 3.0
    X[rng.random(X.shape) < 0.3] = np.nan
    ppca = PPCA(2).fit(X)
    hidden, C, filled = np.isnan(X), ppca.get_covariance(), ppca.impute(X)
    np.testing.assert_array_equal(filled[~hidden], X[~hidden])
    drawn = ppca.impute(X, n_draws=4000, random_state=0)
    np.testing.assert_array_equal(drawn[:, ~hidden], np.tile(X[~hidden], (4000, 1)))
    for x, h, full, draws in zip(X[:20], hidden, filled, drawn.transpose(1, 0, 2), strict=False):
        gain = C[np.ix_(h, ~h)] @ np.linalg.inv(C[np.ix_(~h, ~h)])
        mean = ppca.mean_[h] + gain @ (x - ppca.mean_)[~h]
        np.testing.assert_allclose(full[h], mean, rtol=1e-9)
        if h.any():
            covariance = C[np.ix_(h, h)] - gain @ C[np.ix_(~h, h)]
            error = np.sqrt(np.diag(covariance) / 4000)
            assert (np.abs(draws[:, h].mean(0) - mean) < 5 * error).all()
            seen = np.atleast_2d(np.cov(draws[:, h].T))
            np.testing.assert_allclose(seen, covariance, atol=0.15 * covariance.max())
    again = ppca.impute(X, n_draws=2, random_state=0)
    np.testing.assert_array_equal(again, ppca.impute(X, n_draws=2, random_state=0))
    assert (again[0] != again[1]).sum() == hidden.sum()
    with pytest.raises(ValueError, match="n_draws must be an integer from 1 to"):
        ppca.impute(X, n_draws=0)
