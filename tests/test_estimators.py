"""One suite over all public estimators; a new one is found and tested by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
from contracts import (
    assert_same,
    digest,
    dressed,
    each,
    each_detector,
    each_dressed,
    each_latent,
    each_latent_dressed,
    each_learner,
    each_learner_dressed,
    each_transformer,
    estimator_classes,
    fit,
    fit_and_digest,
    fitted,
    instances,
    is_trained,
    labels,
    make,
    new_rows,
    outputs,
    table,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae.contract.density import BaseLatentModel
from skvae.contract.generator import BaseGenerator
from skvae.contract.learner import BaseLearner

_old = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 7)
_polars = pytest.param(
    "polars", marks=pytest.mark.skipif(_old, reason="scikit-learn 1.6 misreads today's polars")
)

# Five epochs are enough to test a contract.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -- scikit-learn's own checks ----------------------------------------------------------------


_EXPECTED = {
    # rows of the fit are another task than new ones, as for LocalOutlierFactor: what these checks
    # ask of `fit_predict` and `contamination`, tests/test_detector.py asks of the former
    "DenoisingDetector": {
        "check_outliers_fit_predict": "fit_predict is not fit and predict",
        "check_outliers_train": "contamination is the share of fit_predict, not of predict",
    },
}
# Copies of a row are in different batches, and some of them may be held out: see test_weights.py.
_BY_CHANCE = {
    "check_sample_weight_equivalence_on_dense_data": "rows are drawn by their weights",
}


@parametrize_with_checks(
    instances(BaseLearner),
    expected_failed_checks=lambda estimator: (
        (_BY_CHANCE if hasattr(estimator, "transform") else {})
        | _EXPECTED.get(type(estimator).__name__, {})
    ),
)
def test_scikit_learn_checks(estimator, check):
    state = np.random.get_state()
    check(estimator)
    if "sample_order_invariance" in str(check):  # it shuffles by the global generator itself
        np.random.set_state(state)


# What scikit-learn runs on its own classes only. Names, since 1.6 lacks some of them.
OWN_CHECKS = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


# Some of them fit on frames and then pass arrays, or the other way round.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("check", OWN_CHECKS)
@each_transformer
def test_checks_of_scikit_learns_own_classes(estimator, check):
    if not hasattr(estimator_checks, check):
        pytest.skip("this scikit-learn does not have it")
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


def test_array_api_checks():
    """scikit-learn skips them unless a variable is set before scipy loads."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", "check_array_api_input", __file__],
        env={**os.environ, "SCIPY_ARRAY_API": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
        pytest.skip("this scikit-learn has no such check without array API support")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout, done.stdout


# -- what the methods promise -----------------------------------------------------------------


@each_dressed
def test_shapes_and_finite_values(estimator):
    X, model = new_rows(), fitted(estimator)
    n, d, k = *X.shape, model.n_components_
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    shapes = {
        "transform": (n, getattr(model, "_n_codes", k)),
        "predict_proba": (n, 2),
        "inverse_transform": (n, d),
        "reconstruct": (n, d),
        "posterior mean": (n, k),
        "posterior std": (n, k),
        "score_features": (n, d),
        "sample": (7, d),
        "sample mean": (7, d),
    }
    for name, value in outputs(model).items():
        assert value.shape == shapes.get(name, (n,)), name
        assert np.isfinite(value).all(), name


@each_learner_dressed
def test_a_call_repeats_to_the_last_bit(estimator):
    assert_same(outputs(fitted(estimator)), outputs(fitted(estimator)))


@each_latent_dressed
def test_rows_do_not_depend_on_their_company(estimator):
    X, model = new_rows(), fitted(estimator)
    whole = outputs(model)
    order = np.random.RandomState(0).permutation(len(X))
    shuffled = outputs(model, X[order])
    alone = range(0, len(X), 6)
    ones = [outputs(model, X[i : i + 1]) for i in alone]
    for name, value in whole.items():
        if name.startswith("sample"):
            continue
        tight = {"rtol": 1e-6, "atol": 1e-6 * np.abs(value).max(), "err_msg": name}
        np.testing.assert_allclose(shuffled[name], value[order], **tight)
        np.testing.assert_allclose(np.concatenate([o[name] for o in ones]), value[alone], **tight)


@each_latent_dressed
def test_many_rows_are_scored_like_few(estimator):
    """More rows than one chunk of inference holds."""
    model, X = fitted(estimator), np.tile(new_rows(), (250, 1))
    for method in ("transform", "score_samples"):
        few, many = getattr(model, method)(new_rows()), getattr(model, method)(X)
        tiled = np.tile(few, (250,) + (1,) * (few.ndim - 1))
        np.testing.assert_allclose(many, tiled, rtol=1e-6, atol=1e-6 * np.abs(few).max())


@each_latent_dressed
def test_a_score_is_the_sum_of_its_parts(estimator):
    X, model = new_rows(), fitted(estimator)
    parts, score = model.score_parts(X), model.score_samples(X)
    np.testing.assert_array_equal(parts.score, score)
    np.testing.assert_allclose(parts.reconstruction + parts.latent, score, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.score_features(X).sum(axis=1), parts.reconstruction, rtol=1e-9)
    assert (parts.std >= 0).all()
    assert (parts.effective_sample_size > 0).all()
    if not hasattr(model, "classes_"):  # else it is the accuracy
        assert type(model.score(X)) is float
        assert model.score(X) == score.mean()


@each_latent_dressed
def test_score_falls_with_distance(estimator):
    """Higher is more normal, unlike in some libraries; far rows are outliers without tuning."""
    X, model = table(), fitted(estimator)
    middle, spread = X.mean(axis=0), X.std(axis=0)
    away = np.sign(np.random.RandomState(0).normal(size=X.shape)) * spread
    means = [model.score_samples(middle + t * away).mean() for t in (0.5, 5.0, 50.0)]
    assert means == sorted(means, reverse=True)
    if hasattr(model, "offset_"):
        # a noise of 0.5 is far below some spreads: a held-out row sets the threshold at -6e5
        far = 500.0 if model.get_params().get("noise_variance") == 0.5 else 50.0
        assert (model.predict(middle + far * away) == -1).all()
        assert np.mean(model.predict(X) == 1) > 0.8


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5])
@each_detector
def test_contamination_is_the_share_of_outliers(estimator, share):
    X = table(200)
    model = clone(estimator).set_params(contamination=share)
    labels = model.fit_predict(X)
    assert set(np.unique(labels)) == {-1, 1}
    assert np.sum(labels == -1) == share * len(X)
    np.testing.assert_array_equal(labels, model.predict(X))
    decision = model.decision_function(X)
    np.testing.assert_array_equal(decision, model.score_samples(X) - model.offset_)
    np.testing.assert_array_equal(decision < 0, labels == -1)


@each_latent_dressed
def test_reconstruction(estimator):
    X, model = new_rows(), fitted(estimator)
    # PPCA knows better than the decoded mean of the code, a projection; and with labels inferred
    # for the rows, the decoder knows more than the code tells.
    if is_trained(estimator) and not hasattr(model, "classes_"):
        decoded = model.inverse_transform(model.transform(X))
        size = np.abs(X).max()
        np.testing.assert_allclose(model.reconstruct(X), decoded, rtol=1e-5, atol=1e-5 * size)
    error = np.mean((X - model.reconstruct(X)) ** 2, axis=1)
    np.testing.assert_allclose(model.reconstruction_error(X), error, rtol=1e-6)


@each_dressed
def test_samples_follow_their_seed(estimator):
    model = fitted(estimator)
    draw = model.sample
    assert draw().shape == (1, 5)
    np.testing.assert_array_equal(draw(9, 1), draw(9, 1))
    assert not np.array_equal(draw(9, 1), draw(9, 2))
    assert not np.array_equal(draw(9), draw(9))
    seed = np.random.RandomState
    np.testing.assert_array_equal(draw(9, seed(4)), draw(9, seed(4)))
    shared = seed(4)
    assert not np.array_equal(draw(9, shared), draw(9, shared))
    if isinstance(model, BaseLatentModel):
        assert not np.array_equal(draw(9, 1), draw(9, 1, noise=False))


@each
def test_samples_lie_where_the_rows_do(estimator):
    X = StandardScaler().fit_transform(table(400))
    model = clone(estimator)
    plays = "critic_steps" in model.get_params()
    if is_trained(model):  # codes have to have come close to their law; games need a full budget
        model.set_params(max_iter=None if plays else 60)
    # a generator alone in its game moves about the rows for ever: three fits together do not
    seeds = range(3) if plays and not hasattr(model, "transform") else range(1)
    fits = [fit(clone(model).set_params(random_state=s), X) for s in seeds]
    drawn = np.concatenate([each.sample(4000, random_state=0) for each in fits])
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=0.5)
    ratio = drawn.std(axis=0)
    assert (ratio > 0.5).all(), ratio
    assert (ratio < 2.0).all(), ratio


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "2", None, True])
@each
def test_sample_refuses_a_bad_number(estimator, n_samples):
    with pytest.raises(ValueError, match="n_samples"):
        fitted(estimator).sample(n_samples)


@pytest.mark.parametrize("random_state", ["1", 1.5, np.random.default_rng(0), -1, 2**40])
@each
def test_sample_refuses_a_bad_seed(estimator, random_state):
    with pytest.raises((ValueError, TypeError), match=r"random_state|Seed"):
        fitted(estimator).sample(3, random_state)


@each_dressed
def test_float32_in_float32_out(estimator):
    X = new_rows().astype(np.float32)
    model = fit(clone(estimator), table().astype(np.float32))
    for name, value in outputs(model, X).items():
        kept = ("sample", "sample mean", "transform", "inverse_transform", "reconstruct")
        if name in (*kept, "posterior mean"):
            assert value.dtype == np.float32, name
        elif name.startswith("score") or name == "decision_function":
            assert value.dtype == np.float64, name
    if hasattr(model, "transform"):
        assert model.transform(new_rows()).dtype == np.float64


@each
def test_units_cancel(estimator):
    """Rows in other units: the same codes, and a density changed by the volume of a unit."""
    X, new = table(), new_rows()
    scale, shift = 1000.0, np.linspace(-3e3, 3e3, X.shape[1])
    a, b = fit(clone(estimator), X), fit(clone(estimator), scale * X + shift)
    other = scale * new + shift
    if hasattr(a, "transform"):
        np.testing.assert_allclose(b.transform(other), a.transform(new), atol=2e-3)
    if hasattr(a, "score_samples"):
        shifted = a.score_samples(new) - X.shape[1] * np.log(scale)
        np.testing.assert_allclose(b.score_samples(other), shifted, rtol=2e-3)
    size = scale * np.abs(X).max()
    np.testing.assert_allclose(
        b.sample(9, 0), scale * a.sample(9, 0) + shift, rtol=1e-3, atol=1e-3 * size
    )


# -- seeds ------------------------------------------------------------------------------------


@each_learner_dressed
def test_same_seed_same_model(estimator):
    assert_same(outputs(fit(clone(estimator), table())), outputs(fitted(estimator)))
    again = fit(fit(clone(estimator), table(seed=5)), table())  # nothing is left of the first fit
    assert_same(outputs(again), outputs(fitted(estimator)))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_same_seed_same_model_in_workers(backend):
    jobs = [joblib.delayed(fit_and_digest)(e, table()) for e in dressed()]
    with joblib.parallel_config(backend, n_jobs=2):
        found = joblib.Parallel()(jobs)
    assert found == [digest(fitted(e)) for e in dressed()]


@pytest.mark.parametrize("cls", [c for c in estimator_classes(BaseLearner) if is_trained(c())])
def test_other_seed_other_model(cls):
    digests = {digest(fit(make(cls, random_state=s), table())) for s in (0, 1, None, None)}
    assert len(digests) == 4
    one, two = (fit(make(cls, random_state=np.random.RandomState(7)), table()) for _ in range(2))
    assert digest(one) == digest(two)


# -- arrays and frames of every kind ----------------------------------------------------------


def _memmap(X, folder):
    path = folder / f"{len(X)} rows.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def _readonly(X):
    X = X.copy()
    X.setflags(write=False)
    return X


KINDS = {
    "fortran": lambda X, _: np.asfortranarray(X),
    "strided": lambda X, _: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda X, _: X[::-1].copy()[::-1],
    "read-only": lambda X, _: _readonly(X),
    "memmap": _memmap,
    "list": lambda X, _: X.tolist(),
    "objects": lambda X, _: X.astype(object),
    "big-endian": lambda X, _: X.astype(">f8"),
    "pandas": lambda X, _: pd.DataFrame(X, columns=list("abcde")),
    "polars": lambda X, _: pl.DataFrame(X, schema=list("abcde")),
}


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "polars"] + [_polars])
@each_learner
def test_kinds_of_input(estimator, kind, tmp_path):
    """The same values give the same model, and no warning about feature names from within."""
    dress = KINDS[kind]
    given = dress(table(), tmp_path)
    model = fit(clone(estimator), given)
    for method in ("score_samples", "predict"):
        if hasattr(model, method):
            getattr(model, method)(dress(new_rows(), tmp_path))
    if kind in ("pandas", "polars"):
        assert model.feature_names_in_.tolist() == list("abcde")
        del model.feature_names_in_
    found = outputs(model)
    for name, value in outputs(fitted(estimator)).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6 * abs(value).max())


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "bool", "float16"])
@each_learner
def test_dtypes_of_input(estimator, dtype):
    X = np.random.RandomState(0).randint(0, 2 if dtype == "bool" else 9, (60, 4)).astype(dtype)
    assert_same(
        outputs(fit(clone(estimator), X), X), outputs(fit(clone(estimator), X.astype(float)), X)
    )


@each_transformer
def test_feature_names(estimator):
    frame = pd.DataFrame(table(), columns=[f"column {i}" for i in range(5)])
    model = fit(clone(estimator), frame)
    names = [f"{type(estimator).__name__.lower()}{i}" for i in range(model._n_features_out)]
    assert model.get_feature_names_out().tolist() == names
    codes = model.set_output(transform="pandas").transform(frame)
    assert codes.columns.tolist() == names
    np.testing.assert_array_equal(
        model.inverse_transform(codes), model.inverse_transform(codes.to_numpy())
    )
    for method in ("transform", "score_samples", "predict", "reconstruct", "score_features"):
        if not hasattr(model, method):
            continue
        getattr(model, method)(frame)  # silently
        with pytest.raises(ValueError, match="feature names"):
            getattr(model, method)(frame.rename(columns={"column 0": "other"}))


@each_learner
def test_html_and_text(estimator):
    for model in (estimator, fitted(estimator)):
        assert type(model).__name__ in repr(model)
        assert type(model).__name__ in model._repr_html_()


# -- in scikit-learn's company ----------------------------------------------------------------


@each_detector
def test_pipeline(estimator):
    X, new = table(), new_rows()
    pipeline = make_pipeline(StandardScaler(), clone(estimator)).fit(X)
    scaler, model = pipeline[0], pipeline[-1]
    inside = scaler.transform(new)
    np.testing.assert_array_equal(pipeline.transform(new), model.transform(inside))
    np.testing.assert_array_equal(pipeline.score_samples(new), model.score_samples(inside))
    np.testing.assert_array_equal(pipeline.predict(new), model.predict(inside))
    assert pipeline.score(new) == model.score(inside)
    assert pipeline.decision_function(new).shape == (len(new),)
    codes = pipeline.transform(new)
    rebuilt = scaler.inverse_transform(model.inverse_transform(codes))
    np.testing.assert_array_equal(pipeline.inverse_transform(codes), rebuilt)


@pytest.mark.parametrize("frame", ["pandas", _polars])
@each_transformer
def test_column_transformer(estimator, frame):
    X = pd.DataFrame(table(), columns=list("abcde"))
    X = pl.from_pandas(X) if frame == "polars" else X
    columns = make_column_transformer(
        (clone(estimator), ["a", "b", "c"]), ("passthrough", ["d"]), verbose_feature_names_out=False
    ).set_output(transform=frame)
    out = columns.fit_transform(X, labels(X))
    name, k = (
        type(estimator).__name__.lower(),
        columns.named_transformers_[columns.transformers_[0][0]]._n_features_out,
    )
    assert list(out.columns) == [*(f"{name}{i}" for i in range(k)), "d"]


@pytest.mark.parametrize("backend", ["loky", "threading"])
@each_latent
def test_model_selection_in_workers(estimator, backend):
    X = table()
    serial = cross_val_score(estimator, X, labels(X), cv=3)
    with joblib.parallel_config(backend):
        parallel = cross_val_score(estimator, X, labels(X), cv=3, n_jobs=2)
    np.testing.assert_array_equal(parallel, serial)
    assert np.isfinite(serial).all()


@each_latent
def test_grid_search(estimator):
    search = GridSearchCV(estimator, {"n_components": [1, 2]}, cv=2, error_score="raise")
    fit(search, table())
    assert search.best_params_["n_components"] in (1, 2)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    assert search.score_samples(new_rows()).shape == (len(new_rows()),)


@each_learner
def test_unfitted(estimator):
    X = table()
    for method in (
        "transform inverse_transform reconstruct reconstruction_error posterior score "
        "score_samples score_parts score_features decision_function predict sample "
        "get_feature_names_out"
    ).split():
        if not hasattr(estimator, method):
            continue
        arguments = () if method in ("sample", "get_feature_names_out") else (X,)
        if method == "score":
            arguments = (X, labels(X))
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), method)(*arguments)


@each_learner_dressed
def test_clone_forgets_and_fit_leaves_parameters_alone(estimator):
    model = fitted(estimator)
    copy = clone(model)
    assert not [name for name in vars(copy) if name.endswith("_")]
    assert repr(copy) == repr(estimator)
    for name, value in model.get_params().items():
        given = estimator.get_params()[name]
        same = isinstance(value, BaseEstimator) and repr(value) == repr(given)  # clones of clones
        assert value is given or same or value == given


# -- bad input --------------------------------------------------------------------------------

_rows = table(20)
BAD_ROWS = {
    "no rows": (np.empty((0, 5)), ValueError, "0 sample"),
    "no features": (np.empty((20, 0)), ValueError, "0 feature"),
    "one row": (_rows[:1], ValueError, "1 sample"),
    "one dimension": (_rows[0], ValueError, "2D array"),
    "three dimensions": (_rows[None], ValueError, "dim 3|3D|<= 2"),
    "a number": (3.0, ValueError, "2D array"),
    "nothing": (None, ValueError, None),
    "a string": ("rows", ValueError, None),
    "NaN": (np.where(_rows == _rows[3, 2], np.nan, _rows), ValueError, "NaN"),
    "infinity": (np.where(_rows == _rows[3, 2], np.inf, _rows), ValueError, "infinity"),
    "minus infinity": (np.where(_rows == _rows[3, 2], -np.inf, _rows), ValueError, "infinity"),
    "None inside": (np.where(_rows == _rows[3, 2], None, _rows), (ValueError, TypeError), None),
    "strings": (
        np.full((20, 5), "a"),
        (ValueError, TypeError),
        "string|categorical (values )?.'a'",
    ),
    "objects": (np.full((20, 5), {}, dtype=object), (ValueError, TypeError), "number|argument"),
    "complex": (_rows + 1j, ValueError, "Complex"),
    "sparse": (scipy.sparse.csr_array(_rows), TypeError, "[Ss]parse"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, None),
    "too large for a float": (np.full((20, 5), 10**400, dtype=object), Exception, None),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@each_learner
def test_bad_rows_are_refused(estimator, case):
    X, error, message = BAD_ROWS[case]
    if case in ("NaN", "None inside") and get_tags(estimator).input_tags.allow_nan:
        pytest.skip("a missing cell is welcome")
    if case != "strings" or not estimator._takes_categories:  # which are labels
        with pytest.raises(error, match=message):
            fit(clone(estimator), X)
    if case == "one row":
        return
    for method in ("transform", "score_samples", "predict", "score_features", "posterior"):
        if not hasattr(estimator, method):
            continue
        with pytest.raises(error, match=message):
            getattr(fitted(estimator), method)(X)


@each_learner
def test_wrong_width_is_refused(estimator):
    model = fitted(estimator)
    for method in ("transform", "reconstruct", "score_samples", "predict", "posterior"):
        if not hasattr(model, method):
            continue
        for width in (4, 6):
            with pytest.raises(ValueError, match=f"X has {width} features, but .* expecting 5"):
                getattr(model, method)(np.ones((3, width)))
    if not isinstance(model, BaseGenerator):
        return
    codes = getattr(model, "_n_codes", 2)
    for width in (codes - 1, codes + 1):
        with pytest.raises(ValueError, match=f"expects {codes} code columns"):
            model.inverse_transform(np.ones((3, width)))


def _odd_rows():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 4))
    yield "one constant column", np.hstack([X, np.full((40, 1), 7.0)])
    yield "all columns constant", np.full((40, 4), 7.0)
    yield "all zeros", np.zeros((40, 4))
    yield "almost constant column", np.hstack([X, 1e8 + 1e-6 * X[:, :1]])
    yield "repeated column", X[:, [0, 0, 1, 1]]
    yield "repeated rows", np.repeat(X[:4], 10, axis=0)
    yield "one feature", X[:, :1]
    yield "one constant feature", np.full((40, 1), -3.0)
    yield "two rows", X[:2]
    yield "two equal rows", X[[0, 0]]
    yield "three rows", X[:3]
    yield "more features than rows", rng.normal(size=(6, 30))
    yield "huge", 1e30 * X
    yield "huge, float32", (1e18 * X).astype("f4")
    yield "tiny", 1e-30 * X
    yield "tiny, float32", (1e-18 * X).astype("f4")
    yield "scales far apart", X * [1e-12, 1.0, 1e6, 1e12]
    yield "far from zero", X + 1e6
    yield "one wild cell", np.where(X[5, 2] == X, 1e12, X)
    yield "binary", (X > 0).astype(float)
    yield "counts", rng.poisson(0.05, (40, 4))
    yield "heavy tails", rng.standard_cauchy((40, 4))


ODD_ROWS = dict(_odd_rows())


@pytest.mark.parametrize("case", ODD_ROWS)
@each_learner
def test_odd_rows_give_a_sensible_fit(estimator, case):
    X = ODD_ROWS[case]
    params = {"batch_size": 16} if is_trained(estimator) else {}
    if isinstance(estimator, BaseGenerator):
        params["n_components"] = min(2, X.shape[1], len(X) - 1)
    model = fit(clone(estimator).set_params(**params), X)
    for name, value in outputs(model, X).items():
        assert np.isfinite(value).all(), name


@pytest.mark.parametrize("case", ODD_ROWS)
@pytest.mark.parametrize("cls", estimator_classes(BaseLearner))
def test_odd_rows_give_a_sensible_fit_by_default(cls, case):
    X = ODD_ROWS[case]
    quick = {"max_iter": 3, "hidden_layer_sizes": (8,)} if is_trained(cls()) else {}
    model = fit(cls(**quick), X)
    for name, value in outputs(model, X).items():
        assert np.isfinite(value).all(), name


@pytest.mark.parametrize("scale", [1e160, 1e300, 1e-160, 1e-300])
@each_learner
def test_extreme_scales_fit_or_say_why(estimator, scale):
    """Squares leave the range of doubles."""
    X = scale * np.random.RandomState(0).normal(size=(40, 4))
    _fits_or_says_why(estimator, X)


_number = st.one_of(
    st.floats(-1e3, 1e3, width=32),
    st.floats(-1e300, 1e300),
    st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e300]),
)
_any_rows = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=_number, fill=_number)
)


@given(X=_any_rows)
@settings(max_examples=60)
@each_learner
def test_any_rows_fit_or_say_why(estimator, X):
    _fits_or_says_why(estimator, X)


def _fits_or_says_why(estimator, X):
    """Finite results, or a ValueError that speaks of the input; never a warning or NaN."""
    model = clone(estimator)
    if is_trained(model):
        model.set_params(max_iter=1)
    try:
        fit(model, X)
    except ValueError as error:
        assert any(word in str(error) for word in ("n_components", "sample", "scale", "large"))
        return
    with np.errstate(over="ignore"):  # the one output in squared units may overflow
        found = outputs(model, X)
    found.pop("reconstruction_error", None)
    for name, value in found.items():
        assert np.isfinite(value).all(), name


@each_latent
def test_more_components_than_features(estimator):
    """A wide code is legitimate for a network; else the message names the parameter."""
    model = clone(estimator).set_params(n_components=9)
    try:
        fit(model, table())
    except ValueError as error:
        assert "n_components" in str(error)
    else:
        assert model.transform(table()).shape == (120, 9)
        assert np.isfinite(model.score_samples(table())).all()


BAD_PARAMETERS = [
    ("n_components", 0),
    ("n_neighbors", 0),
    ("n_neighbors", 2.5),
    ("n_components", "many"),
    ("contamination", 0.6),
    ("contamination", 0),
    ("false_alarm_rate", 0.0),
    ("false_alarm_rate", 1.0),
    ("false_alarm_rate", "auto"),
    ("random_state", "seed"),
    ("hidden_layer_sizes", (0,)),
    ("hidden_layer_sizes", (8, "8")),
    ("hidden_layer_sizes", -3),
    ("hidden_layer_sizes", (8.5,)),
    ("hidden_layer_sizes", ((8, 8), (8, 8))),
    ("network__activation", "step"),
    ("training__alpha", -1.0),
    ("learning_rate_init", 0.0),
    ("learning_rate_init", np.nan),
    ("batch_size", 0),
    ("max_iter", 0),
    ("noise_variance", "some"),
    ("noise_variance", -1.0),
    ("likelihood", "poisson"),
    ("encoder", "mlp"),
    ("device", "abacus"),
    ("device", 3),
    ("beta", -1.0),
    ("corruption", "fog"),
    ("latent_density", "normal"),
    ("delta", -1.0),
]


@pytest.mark.parametrize(
    ("estimator", "name", "value"),
    [
        (e, name, v)
        for e in instances(BaseLearner)
        for name, v in BAD_PARAMETERS
        if name.partition("__")[0] in e.get_params()
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_bad_parameters_are_named(estimator, name, value):
    with pytest.raises((ValueError, TypeError), match=name.rpartition("__")[2]):
        fit(clone(estimator).set_params(**{name: value}), table())


# -- defects of other libraries ---------------------------------------------------------------

trained = pytest.mark.parametrize("cls", [c for c in estimator_classes() if is_trained(c())])


trained_latent = pytest.mark.parametrize(
    "cls", [c for c in estimator_classes(BaseLatentModel) if is_trained(c())]
)


@trained
@pytest.mark.parametrize("n", [33, 17, 129, 257])
def test_last_batch_of_one_row(cls, n):
    model = fit(make(cls, batch_size=16 if n < 100 else 128), table(n))
    assert np.isfinite(model.loss_curve_).all()
    assert all(np.isfinite(value).all() for value in outputs(model).values())


@trained
def test_all_rows_train_where_they_fill_no_batch(cls):
    X = table(20)
    model = fit(make(cls, batch_size=128, max_iter=30), X)
    if "reconstruction" in model.history_:
        assert model.history_["reconstruction"][-1] < model.history_["reconstruction"][0]
    for row in (0, 19):
        other = X.copy()
        other[row] += 0.1 * X.std(axis=0)
        assert digest(fit(make(cls, batch_size=128, max_iter=30), other)) != digest(model)


# Whose whole budget takes long, and who do it in a fraction.
SOON_RECONSTRUCT = {
    "AdversarialAE",
    "ContractiveAE",
    "FlexAE",
    "HuberEnergyVAE",
    "InjectiveFlowAE",
    "MaskAAE",
    "WassersteinAE",
}


@trained_latent
def test_standardised_tables_are_reconstructed(cls):
    """No sigmoid clips the decoder where features go below 0 and above 1."""
    X = StandardScaler().fit_transform(table(300))
    quick = {"max_iter": 60} if cls.__name__ in SOON_RECONSTRUCT else {}
    rebuilt = fit(cls(n_components=2, **quick, random_state=0), X).reconstruct(X)
    assert rebuilt.min() < -1.0
    assert rebuilt.max() > 1.0
    assert np.mean((X - rebuilt) ** 2) < 0.3


def test_kl_term_is_on():
    """By default, and it weighs: a large beta empties the codes."""
    vae = next(c for c in estimator_classes() if c.__name__ == "VAE")
    params = {
        "max_iter": 100,
        "batch_size": 16,
        "learning_rate_init": 0.01,
        "network__linear_skip": False,
    }
    model = make(vae, **params).fit(table())
    assert min(model.history_["kl"]) > 0
    assert np.all(model.posterior(table())[1] > 1e-3)
    heavy = make(vae, **params, beta=100.0).fit(table())
    assert heavy.transform(table()).std() < 0.2 * model.transform(table()).std()


# Another value for every parameter, with what must be set to see it; None where it changes no
# result by design.
OTHER_VALUES = {
    "n_components": {"n_components": 3},
    "hidden_layer_sizes": {"hidden_layer_sizes": (9,)},
    "network__activation": {"network__activation": "tanh"},
    "network__linear_skip": {"network__linear_skip": True},
    "likelihood": {"likelihood": "bernoulli"},
    "noise_variance": {"noise_variance": "network"},
    "training__noise_floor": {"training__noise_floor": 0.5},
    "output_activation": {"output_activation": "sigmoid"},
    "network": None,
    "training": None,
    "encoder": {"encoder": lambda inputs, outputs: __import__("torch").nn.Linear(inputs, outputs)},
    "decoder": {"decoder": lambda inputs, outputs: __import__("torch").nn.Linear(inputs, outputs)},
    # of images: tests/test_images.py
    "image_shape": None,
    "network__hidden_channels": None,
    "network__residual": None,
    "training__alpha": {"training__alpha": 100.0},
    "learning_rate_init": {"learning_rate_init": 7e-3},
    "batch_size": {"batch_size": 50},
    "max_iter": {"max_iter": 6},
    "early_stopping": {
        "early_stopping": True,
        "max_iter": 400,
        "training__tol": 0.5,
        "training__patience": 1,
    },
    "training__held_out_fraction": {"early_stopping": True, "training__held_out_fraction": 0.4},
    "training__patience": {
        "early_stopping": True,
        "max_iter": 400,
        "training__tol": 0.5,
        "training__patience": 1,
    },
    "training__tol": {
        "early_stopping": True,
        "max_iter": 400,
        "training__patience": 1,
        "training__tol": 0.5,
    },
    # with the least patience a chance rise ends both
    **{
        f"{name}.training__tol": {
            "early_stopping": True,
            "max_iter": 400,
            "training__patience": 3,
            "training__tol": 0.5,
            "training__held_out_fraction": 0.4,
            "random_state": 1,
        }
        for name in ("ConditionalVAE", "FactorVAE")
    },
    # its unbiased distance is too noisy on a dozen rows to see the tolerance
    "InfoVAE.training__tol": {
        "early_stopping": True,
        "max_iter": 999,
        "training__patience": 3,
        "training__tol": 0.5,
        "divergence_weight": 1.0,
    },
    "PPCA.max_iter": {"solver": "em", "max_iter": 50},
    "PPCA.tol": {"solver": "em", "max_iter": 50, "tol": 1e-2},
    "solver": {"solver": "em", "max_iter": 50},
    "training__gradient_clipping": {"training__gradient_clipping": 1e-2, "max_iter": 80},
    "n_importance_samples": {"n_importance_samples": 5},
    "training__precision": {"training__precision": "bfloat16"},
    # none has a say in the result: tests/test_checkpoint.py, tests/test_distributed.py
    "training__checkpoint": None,
    "training__checkpoint_interval": None,
    "training__distributed": None,
    "table": None,
    "table__marginals": {"table__marginals": "quantile"},
    "table__masking": {"table__masking": 0.3},
    # of columns of few values or of labels: tests/test_mixed.py
    "table__by_values": None,
    "table__column_kinds": None,
    "table__handle_unknown": None,
    "device": None,
    "warm_start": None,
    "contamination": {"contamination": 0.3},
    "false_alarm_rate": {"false_alarm_rate": 0.2},
    "verbose": None,
    "random_state": {"random_state": 1},
    "beta": {"beta": 3.0},
    "kl_warmup": {"kl_warmup": 0.9},
    "free_bits": {"free_bits": 3.0},
    "bound": {"bound": "importance_weighted", "n_draws": 3},
    "code_noise": {"code_noise": 1.0},
    "code_weight": {"code_weight": 1.0},
    "contraction": {"contraction": 10.0},
    "critic_steps": {"critic_steps": 4},
    "decoder_penalty": {"decoder_penalty": "gradient"},
    "decoder_weight": {"decoder_weight": 0.1},
    "divergence": {"divergence": "sliced_wasserstein"},
    "encoder_rate": {"encoder_rate": 0.5},
    "fidelity": {"fidelity": 100.0},
    "gamma": {"gamma": 100.0},
    "gradient_penalty": {"gradient_penalty": 30.0},
    "information_weight": {"information_weight": 0.1},
    "jacobian": {"jacobian": "hutchinson"},
    "kernel": {"kernel": "rbf"},
    "loss": {"loss": "non_saturating"},
    "n_categories": {"n_categories": 3},
    "n_continuous": {"n_continuous": 1},
    "n_draws": {"n_draws": 3},
    "n_neighbors": {"n_neighbors": 4},
    "n_projections": {"n_projections": 7, "divergence": "sliced_wasserstein"},
    "penalty": {"penalty": "kl"},
    "polarisation": {"polarisation": 3.0},
    "posterior_family": {"posterior_family": "iaf"},
    "prior": {"prior": "flow"},
    "prior_size": {"prior_size": 3, "prior": "mixture"},
    "silence": {"silence": 30.0},
    "sparsity": {"sparsity": 10.0},
    "target": {"target": 0.5, "penalty": "kl"},
    "latent_density": {"latent_density": GaussianMixture(3, random_state=0)},
    "corruption": {"corruption": "masking"},
    "corruption_level": {"corruption_level": 0.7},
    "delta": {"delta": 1.0},
    "adversarial_weight": {"adversarial_weight": 20.0},
    "divergence_weight": {"divergence_weight": 20.0},
    "injectivity_weight": {"injectivity_weight": 20.0},
    "distance": {"distance": "surrogate"},
    "unbiased": {"unbiased": False},
}


def _names(estimator):
    """All parameters, and the settings of its options objects by their long names."""
    names = list(estimator.get_params(deep=False))
    for option, kind in getattr(estimator, "_options", {}).items():
        own = set(kind().get_params()) - set(estimator._unused_options)
        names += [f"{option}__{name}" for name in sorted(own)]
    return names


def _parameters():
    for cls in estimator_classes(BaseLearner):
        for name in _names(cls()):
            if not is_trained(cls()) and name == "random_state":
                continue
            if OTHER_VALUES.get(name) is not None or name not in OTHER_VALUES:
                yield pytest.param(cls, name, id=f"{cls.__name__}-{name}")


def _intensities():
    """Not a table from a min-max scaler."""
    X = table()
    X = (X - X.min(axis=0)) / np.ptp(X, axis=0)
    X[:, 0] *= 0.9
    return X


@cache
def _fitted_with(cls, *params):
    """Many parameters share the model that they are compared with."""
    return fit(make(cls, **dict(params)), _intensities())


@pytest.mark.parametrize(("cls", "name"), list(_parameters()))
def test_every_parameter_changes_the_result(cls, name):
    """A new parameter needs an entry in OTHER_VALUES."""
    X = _intensities()
    params = OTHER_VALUES.get(f"{cls.__name__}.{name}") or OTHER_VALUES[name]
    around = {k: v for k, v in params.items() if k != name}
    one, other = (_fitted_with(cls, *sorted(p.items())) for p in (around, params))
    if name in (
        "tol",
        "training__tol",
        "training__patience",
    ):  # they stop; the best weights may stay the same
        assert one.n_iter_ > other.n_iter_
    else:
        assert digest(one, X) != digest(other, X)
