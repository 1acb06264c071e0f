"""Frames in, frames out; what is missing filled; columns given; scores of rows with holes."""

from __future__ import annotations

import copy
import datetime
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from contracts import estimator_classes, labels, make, table
from frames import pandas_frames, people, polars_frames
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae
from skvae.contract.density import BaseLatentModel, Scores
from skvae.contract.learner import Notice
from skvae.contract.outliers import BaseAutoencoder
from skvae.extend import ArraySource
from skvae.tables.format import TableFormat

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LIBRARIES = {
    "pandas": lambda X: X,
    "polars": pl.from_pandas,
    "pyarrow": lambda X: pa.Table.from_pandas(X, preserve_index=False),
}
each_library = pytest.mark.parametrize("library", LIBRARIES)


def numbers(n: int = 80, seed: int = 0) -> pd.DataFrame:
    """A frame of numbers and times of several dtypes, without holes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    begun = pd.Timestamp("2024-03-01")
    return pd.DataFrame(
        {
            "count": np.rint(10.0 * z + rng.normal(size=n)).astype("int64"),
            "size": (z + rng.normal(size=n)).astype("float32"),
            "age": pd.array(rng.integers(18, 80, n), dtype="Int64"),
            "new": z + 0.3 * rng.normal(size=n) > 0,
            "since": begun + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
            "stay": pd.to_timedelta(rng.integers(1, 10**4, n), unit="s"),
        },
        index=pd.Index(3 * np.arange(n)[::-1], name="row"),
    )


def with_holes(X: pd.DataFrame, seed: int = 1, share: float = 0.2) -> pd.DataFrame:
    """The frame with holes, in dtypes that can have them."""
    holes = np.random.default_rng(seed).random(X.shape) < share
    X = X.astype({"count": "Int64", "new": "boolean"})
    return X.mask(pd.DataFrame(holes, X.index, X.columns))


def looks(X: Any) -> Any:
    """Columns, order and dtypes, with categories."""
    if isinstance(X, pa.Table):
        return X.schema.remove_metadata()
    if isinstance(X, pl.DataFrame):
        return X.schema
    return X.dtypes.to_dict(), X.columns.tolist()


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
        return True
    return bool(a.equals(b))


def rows_of(X: Any, start: int, stop: int) -> Any:
    return X.iloc[start:stop] if isinstance(X, pd.DataFrame) else X[start:stop]


def quick(cls: Any) -> Any:
    model = make(cls)
    if "max_iter" in model.get_params() and cls is not skvae.PPCA:
        model.set_params(max_iter=1)
    return model


# -- every estimator ------------------------------------------------------------------------------


@each_library
@pytest.mark.parametrize("cls", estimator_classes())
def test_frames_in_frames_out(cls, library):
    X = LIBRARIES[library](numbers())
    model = quick(cls).fit(X, labels(np.empty(80)))
    assert model.feature_names_in_.tolist() == numbers().columns.tolist()
    assert model.n_features_in_ == 6
    assert looks(model.sample(3, random_state=0)) == looks(X)
    assert looks(model.sample(3, random_state=0, noise=False)) == looks(X)
    few = rows_of(X, 2, 7)
    Z = model.transform(few) if hasattr(model, "transform") else np.zeros((5, model._n_codes))
    assert type(Z) is np.ndarray
    back = model.inverse_transform(Z)
    assert looks(back) == looks(X)
    found = [back]
    if hasattr(model, "reconstruct"):
        found += [model.reconstruct(few)]
        assert looks(found[-1]) == looks(X)
        assert model.score_features(few).shape == (5, 6)
        assert type(model.score_features(few)) is np.ndarray
    if library == "pandas":
        assert back.index.equals(pd.RangeIndex(5))
        assert found[-1].index.equals(few.index) or len(found) == 1
    # the same numbers as the matrix of the frame gives
    values = model._format_.read(X)
    plain = quick(cls).fit(values, labels(np.empty(80)))
    drawn = plain.sample(3, random_state=0)
    assert type(drawn) is np.ndarray
    assert equal(model.sample(3, random_state=0), model._format_.write(drawn))
    assert equal(back, model._format_.write(plain.inverse_transform(Z)))
    if hasattr(model, "reconstruct"):
        inner = plain.reconstruct(values[2:7])
        assert equal(found[1], model._format_.write(inner, like=few))
        assert_array_equal(plain.score_samples(values[2:7]), model.score_samples(few))


@pytest.mark.parametrize("cls", [skvae.PPCA, skvae.VAE, skvae.ConditionalVAE])
def test_partial_fit_and_warm_start_keep_the_first_table(cls):
    X = numbers()
    model = quick(cls).partial_fit(X, labels(np.empty(80)))
    model.partial_fit(LIBRARIES["polars"](X), labels(np.empty(80)))
    assert looks(model.sample(2)) == looks(X)
    model = quick(cls).fit(X, labels(np.empty(80))).fit(X.to_numpy(float), labels(np.empty(80)))
    assert type(model.sample(2)) is np.ndarray


def test_the_table_that_is_given_decides_about_what_follows_it():
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    for library, convert in LIBRARIES.items():
        found = model.reconstruct(convert(X))
        assert isinstance(found, type(convert(X))), library
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        found = model.reconstruct(TableFormat.fit(X).read(X))
    assert type(found) is np.ndarray
    plain = skvae.PPCA(2).fit(table())
    with pytest.warns(UserWarning, match="X has feature names"):
        found = plain.reconstruct(pd.DataFrame(table(), columns=list("abcde")))
    assert found.columns.tolist() == list("abcde")
    assert_array_equal(found.to_numpy(), plain.reconstruct(table()))
    assert type(plain.sample(2)) is np.ndarray


@pytest.mark.parametrize("transform", ["pandas", "polars"])
def test_set_output_has_a_say_in_codes_only(transform):
    X = table()
    model = skvae.PPCA(2).set_output(transform=transform).fit(X)
    Z = model.transform(X)
    assert not isinstance(Z, np.ndarray)
    for found in (model.inverse_transform(Z), model.sample(2), model.reconstruct(X)):
        assert type(found) is np.ndarray
    framed = skvae.PPCA(2).set_output(transform=transform).fit(LIBRARIES["pyarrow"](numbers()))
    assert isinstance(framed.inverse_transform(Z), pa.Table)


def test_in_a_pipeline_and_a_column_transformer():
    X = numbers()[["count", "size", "age"]].astype(float)
    pipeline = make_pipeline(StandardScaler(), skvae.PPCA(2)).set_output(transform="pandas").fit(X)
    scaled, model = pipeline[0].transform(X), pipeline[-1]
    assert looks(model.sample(2)) == looks(scaled)
    assert model.reconstruct(scaled).index.equals(X.index)
    columns = make_column_transformer(
        (skvae.PPCA(1), ["count", "since"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    out = columns.fit_transform(numbers())
    assert out.columns.tolist() == ["ppca0", "size", "age", "new", "stay"]
    inner = columns.named_transformers_["ppca"]
    assert looks(inner.sample(2)) == looks(numbers()[["count", "since"]])


def test_arrays_are_not_copied_and_keep_their_types():
    X = table().astype(np.float32)
    model = skvae.PPCA(2).fit(X)
    assert model._format_.is_plain
    values = np.zeros((3, 5))
    assert model._written(values) is values
    assert model._written(values, X) is values
    assert model.reconstruct(X).dtype == model.impute(X).dtype == np.float32
    for given_rows in (X.tolist(), X.astype(object), [tuple(x) for x in X.tolist()]):
        assert type(model.reconstruct(given_rows)) is np.ndarray
        assert model.reconstruct(given_rows).dtype == np.float64
    times = np.array(["2020-01-01", "2021-01-01", "2024-02-03"], "M8[D]").reshape(3, 1)
    assert skvae.PPCA(1).fit(times).sample(2).dtype == times.dtype
    masked = np.ma.masked_greater(table(), 90.0)
    assert np.isnan(TableFormat.fit(masked).read(masked)).any()
    assert_array_equal(
        skvae.PPCA(2).fit(masked).mean_, skvae.PPCA(2).fit(masked.filled(np.nan)).mean_
    )


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [skvae.PPCA, skvae.GAN, skvae.InjectiveFlowAE])
def test_labels_are_refused_by_name(cls):
    X = people(holes=0.0)
    with pytest.raises(ValueError, match=rf"column 'city' of X .*{cls.__name__}.*encode.*VAE"):
        quick(cls).fit(X)
    with pytest.raises(ValueError, match=r"column 'size' of X is categorical \('S', \.\.\.\)"):
        quick(cls).fit(X.drop(columns="city"))
    model = quick(cls)
    with pytest.raises(ValueError, match="column 1 of X is categorical"):
        model.fit(np.array([[1.0, "a"], [2.0, "b"]], object))
    assert not hasattr(model, "_format_")


def test_errors_name_the_column():
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    with pytest.raises(TypeError, match=r"column 'count' of X contains categorical values \('a'\)"):
        model.transform(X.assign(count="a"))
    with pytest.raises(TypeError, match="column 'since' of X contains numeric values"):
        model.transform(X.assign(since=3.0))
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(X.rename(columns={"count": "other"}))
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="X has 1 features, but PPCA is expecting 6"):
        skvae.PPCA(2).fit(TableFormat.fit(X).read(X)).transform(np.ones((2, 1), object))
    with pytest.raises(TypeError, match=r"pass X.collect\(\)"):
        skvae.PPCA(2).fit(pl.from_pandas(X).lazy())
    with pytest.raises(ValueError, match="several columns named 'count'"):
        skvae.PPCA(2).fit(pd.concat([X, X], axis=1))
    with pytest.raises(ValueError, match="infinity"):
        skvae.PPCA(2).fit(X.assign(count=np.inf))
    with pytest.raises(ValueError, match="contains NaN"):
        quick(skvae.InjectiveFlowAE).fit(with_holes(X))
    with pytest.raises(ValueError, match="1 sample"):
        skvae.PPCA(2).fit(X[:1])


class Holes(ArraySource):
    """Rows of which some cells were not observed."""


def test_a_source_with_holes():
    X = table()
    observed = np.random.default_rng(0).random(X.shape) > 0.2
    source = Holes(np.where(observed, X, 7e9), observed=observed)
    with pytest.raises(ValueError, match="GAN does not accept rows with missing values"):
        quick(skvae.GAN).fit(source)
    expected = skvae.PPCA(2).fit(np.where(observed, X, np.nan))
    found = skvae.PPCA(2).fit(source)
    assert_array_equal(found.loadings_, expected.loadings_)
    assert found.offset_ == expected.offset_
    assert type(found.sample(2)) is np.ndarray


# -- imputation -----------------------------------------------------------------------------------


@each_library
def test_impute_writes_into_missing_places_only(library):
    whole = with_holes(numbers())
    X = LIBRARIES[library](whole)
    model = skvae.PPCA(2).fit(X)
    missing = np.isnan(model._format_.read(X))
    assert missing.any(axis=0).sum() > 4
    few = model.impute(X, n_draws=2, random_state=0)
    assert isinstance(few, list) and len(few) == 2
    low, high = model.impute_intervals(X, random_state=0)
    for filled in (model.impute(X), *few, low, high):
        assert looks(filled) == looks(X)
        values = model._format_.read(filled)
        assert not np.isnan(values).any()
        assert_array_equal(values[~missing], model._format_.read(X)[~missing])
    if library == "pandas":
        assert model.impute(X).index.equals(X.index)
    expected = model._complete(model._format_.read(X))
    expected = model._format_.read(model._format_.write(expected, like=X))
    assert_array_equal(model._format_.read(model.impute(X)), expected)


def test_observed_cells_are_kept_to_the_last_bit():
    """Also those that no float64 tells apart."""
    X = numbers().astype({"size": "float64", "count": "Int64"})
    X["since"] = pd.to_datetime(1_700_000_000_123_456_789 + np.arange(80))
    X["count"] = pd.array(2**60 + np.arange(80), dtype="Int64")
    X.iloc[3:9, 0] = pd.NA
    X.iloc[5:12, 4] = pd.NaT
    X.iloc[::4, 1] = np.nan
    filled = skvae.PPCA(2).fit(X).impute(X)
    assert looks(filled) == looks(X)
    for name in X:
        seen = X[name].notna()
        pd.testing.assert_series_equal(filled[name][seen], X[name][seen])
        assert filled[name].notna().all()


def test_impute_frames_of_others():
    """Of other dtypes and libraries than at the fit; nothing missing; nothing but missing."""
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    later = with_holes(X).assign(size=pd.Series([None] * len(X), X.index, dtype=object))
    filled = model.impute(later)
    assert filled["size"].dtype == "float32" and filled["count"].dtype == "Int64"
    assert equal(model.impute(X), X)
    assert isinstance(model.impute(pl.from_pandas(later)), pl.DataFrame)
    lists = [[1.0, None], [2.0, 3.0], [4.0, 4.5], [0.0, 0.5]]
    filled = skvae.PPCA(1).fit(lists).impute(lists)
    assert type(filled) is np.ndarray and filled.dtype == np.float64
    assert_array_equal(filled[1:], np.array(lists[1:]))


def test_impute_arrays():
    X = table()
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    model = skvae.PPCA(2).fit(holes)
    assert_array_equal(model.impute(holes), model._complete(holes))
    drawn = model.impute(holes, n_draws=3, random_state=5)
    assert_array_equal(drawn, model._draw_missing(holes, 3, 5))
    with pytest.raises(ValueError, match="n_draws"):
        model.impute(holes, n_draws=0)


def test_estimators_without_missing_cells_have_no_imputation():
    for cls in estimator_classes(BaseLatentModel):
        model = quick(cls)
        for name in ("impute", "impute_intervals"):
            assert hasattr(model, name) == cls._takes_missing
    with pytest.raises(AttributeError, match="'InjectiveFlowAE' has no attribute 'impute'"):
        skvae.InjectiveFlowAE().impute  # noqa: B018


def test_intervals_hold_their_share():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 3)) @ rng.normal(size=(3, 6)) + 0.5 * rng.normal(size=(1500, 6))
    holes = np.random.default_rng(1).random(X.shape) < 0.3
    true, seen = X[holes], np.where(holes, np.nan, X)
    model = skvae.PPCA(3).fit(seen)
    for coverage, n_draws in ((0.5, 200), (0.9, 19), (0.9, 200)):
        low, high = model.impute_intervals(seen, coverage, n_draws, random_state=0)
        inside = np.mean((low[holes] <= true) & (true <= high[holes]))
        assert abs(inside - coverage) < 0.02, (coverage, n_draws)
        assert_array_equal(low[~holes], X[~holes])
        assert_array_equal(high[~holes], X[~holes])
    again = model.impute_intervals(seen, 0.9, 200, random_state=0)
    assert_array_equal(again[0], low)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coverage": 0.0}, "coverage must be a number between 0 and 1"),
        ({"coverage": 1}, "coverage must be a number between 0 and 1"),
        ({"coverage": True}, "coverage must be"),
        ({"coverage": "0.9"}, "coverage must be"),
        ({"n_draws": 18}, "n_draws must be an integer of at least 19 for coverage=0.9"),
        ({"n_draws": 20.0}, "n_draws must be an integer"),
        ({"random_state": "1"}, "random_state"),
    ],
)
def test_intervals_refuse_what_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        skvae.PPCA(2).fit(table()).impute_intervals(table(), **arguments)


def _is_of_numbers(X: Any) -> bool:
    return all(
        column.kind not in ("categorical", "ordinal") for column in TableFormat.fit(X).columns
    )


@given(st.one_of(pandas_frames(), polars_frames()))
def test_any_frame_of_numbers_is_filled(X):
    """Whatever the dtypes, what is observed stays, and what comes out looks like what went in."""
    try:
        fits = len(X) > 1 and _is_of_numbers(X)
    except (TypeError, ValueError):
        fits = False
    assume(fits)
    form = TableFormat.fit(X)
    values = form.read(X)
    assume(not np.isinf(values).any())
    missing = np.isnan(values)
    assume(float(np.abs(values[~missing]).max(initial=0.0)) < 1e100)
    model = skvae.PPCA(1)
    filled = form.fill(X, np.where(missing, 1.0, values), missing)
    assert_array_equal(form.read(filled)[~missing], values[~missing])
    if not isinstance(X, pd.DataFrame):
        assert list(filled.columns) == list(X.columns)
    else:
        assert filled.index.equals(X.index)
        assert filled.columns.equals(X.columns)
        whole = ~missing.any(axis=0)
        pd.testing.assert_frame_equal(filled.loc[:, whole], X.loc[:, whole])
    try:
        model.fit(X)
    except (ValueError, TypeError):
        return  # constant, unnamed or with nothing observed: said by others
    filled = model.impute(X)
    again = form.read(filled)
    assert_array_equal(again[~missing], values[~missing])
    assert not np.isnan(again[:, ~missing.all(axis=0)]).any()


# -- columns that are given -----------------------------------------------------------------------


def test_given_columns_condition_the_others_exactly():
    X = load_wine().data[:, :5]
    model = skvae.PPCA(3).fit(X)
    C, mu = model.get_covariance(), model.mean_
    g, r = [1, 3], [0, 2, 4]
    row = X[7, g]
    drawn = model.sample(40_000, 0, given={1: row[0], 3: row[1]})
    assert_array_equal(drawn[:, g], np.tile(row, (40_000, 1)))
    gain = C[np.ix_(r, g)] @ np.linalg.inv(C[np.ix_(g, g)])
    mean = mu[r] + gain @ (row - mu[g])
    covariance = C[np.ix_(r, r)] - gain @ C[np.ix_(g, r)]
    spread = np.sqrt(np.diag(covariance))
    assert_allclose((drawn[:, r].mean(axis=0) - mean) / spread, 0.0, atol=0.02)
    found = np.cov(drawn[:, r], rowvar=False)
    assert_allclose(
        found / np.outer(spread, spread), covariance / np.outer(spread, spread), atol=0.03
    )


def test_nothing_given_is_a_draw_from_the_whole():
    model = skvae.PPCA(3).fit(load_wine().data[:, :4])
    drawn = model.sample(40_000, 0, given=np.full((1, 4), np.nan))
    scale = np.sqrt(np.diag(model.get_covariance()))
    assert_allclose((drawn.mean(axis=0) - model.mean_) / scale, 0.0, atol=0.02)
    assert_allclose(drawn.std(axis=0) / scale, 1.0, atol=0.02)


def test_ways_to_give_columns():
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    when = datetime.datetime(2024, 3, 4, 5)
    ways: list[Any] = [
        {"new": True, "since": when},
        {"new": [True, True], 4: [when, when]},
        {"new": np.array([True, True]), "since": np.datetime64(when)},
        {"new": pd.Series([True] * 2, [5, 5]), "since": pl.Series([when] * 2)},
        {"new": True, "since": when.replace(tzinfo=datetime.UTC), "size": None, "age": pd.NA},
        pd.DataFrame({"since": [when], "new": [True]}),
        pl.DataFrame({"since": [when] * 2, "new": [True] * 2}),
        pa.table({"new": [True], "since": [when], "stay": pa.nulls(1)}),
    ]
    expected = model.sample(2, 0, given=ways[0])
    assert looks(expected) == looks(X)
    assert expected["new"].all() and (expected["since"] == when).all()
    for way in ways:
        pd.testing.assert_frame_equal(model.sample(2, 0, given=way), expected)
    assert not np.array_equal(expected["size"], model.sample(2, 1, given=ways[0])["size"])


@pytest.mark.parametrize(
    ("given_columns", "how", "error", "message"),
    [
        ({"x": 1}, {}, ValueError, "column 'x', which X does not have: names are 'count'"),
        ({6: 1}, {}, ValueError, "column 6, which X does not have"),
        ({"count": [1, 2, 3]}, {}, ValueError, "3 values for the column 'count'"),
        ({"count": np.ones((2, 2))}, {}, ValueError, r"shape \(2, 2\) for the column 'count'"),
        ({"count": "a"}, {}, TypeError, "column 'count' of given contains categorical values"),
        ({"count": np.inf}, {}, ValueError, "given contains infinity"),
        ({"since": 3.0}, {}, TypeError, "column 'since' of given contains numeric values"),
        (np.ones((2, 3)), {}, ValueError, "array of 3 columns, but X has 6"),
        ([1.0], {}, TypeError, "given must be a mapping"),
        ("count", {}, TypeError, "given must be a mapping"),
        (pd.DataFrame({"x": [1]}), {}, ValueError, "given refers to the column 'x'"),
        (
            {"count": 1},
            {"noise": False},
            ValueError,
            "given can be used only with method='prior' and noise",
        ),
        (
            {"count": 1},
            {"method": "quantized"},
            ValueError,
            "given can be used only with method='prior'",
        ),
        (
            {"count": 1},
            {"match_marginals": True},
            ValueError,
            "match_marginals=True cannot be combined",
        ),
        (None, {"match_marginals": True}, ValueError, "PPCA does not store the marginals"),
    ],
)
def test_given_columns_that_make_no_sense(given_columns, how, error, message):
    with pytest.raises(error, match=message):
        skvae.PPCA(2).fit(numbers()).sample(2, 0, given=given_columns, **how)


def test_models_of_complete_rows_take_no_given_columns():
    model = quick(skvae.InjectiveFlowAE).fit(table())
    with pytest.raises(
        ValueError, match="given cannot be used here, since InjectiveFlowAE does not accept"
    ):
        model.sample(2, given={0: 1.0})
    model = quick(skvae.ConditionalVAE).fit(table(), labels(table()))
    with pytest.raises(ValueError, match="y cannot be combined with match_marginals"):
        model.sample(2, y=0, match_marginals=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", [skvae.PPCA, skvae.VAE, skvae.ConditionalVAE])
def test_samples_given_columns_keep_the_precision_of_the_fit(cls, dtype):
    X = table().astype(dtype)
    model = quick(cls).fit(X, labels(X))
    drawn = model.sample(3, 0, given={0: float(X[0, 0])})
    assert drawn.dtype == dtype and (drawn[:, 0] == X[0, 0]).all()


def test_given_columns_reach_the_hook():
    """Its signature is that of the page "Extending"."""

    class Filled(skvae.PPCA):
        def _draw_given(self, X, seed):
            return np.full(X.shape, 7.0)

    drawn = Filled(2).fit(table()).sample(5, 0, given={0: 1.0})
    assert (drawn[:, 0] == 1.0).all() and (drawn[:, 1:] == 7.0).all()


def test_matched_marginals_reach_the_hook():
    class Matched(skvae.PPCA):
        def _match_marginals(self, X):
            return np.sort(X, axis=0)

    drawn = Matched(2).fit(table()).sample(5, 0, match_marginals=True)
    assert_array_equal(drawn, np.sort(skvae.PPCA(2).fit(table()).sample(5, 0), axis=0))


# -- thresholds -----------------------------------------------------------------------------------


def test_outliers_with_holes_are_found_by_the_decision_function():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(3, 12))
    X = rng.normal(size=(1200, 3)) @ W + 0.3 * rng.normal(size=(1200, 12))
    odd = np.arange(1200) < 120
    X[odd] += 0.9 * rng.normal(size=(120, 12))
    holes = rng.random(X.shape) < 0.3
    train, seen = np.where(holes, np.nan, X)[600:], np.where(holes, np.nan, X)[:600]
    model = skvae.PPCA(3, false_alarm_rate=0.01).fit(train)
    raw = roc_auc_score(~odd[:600], model.score_samples(seen))
    made_up = roc_auc_score(~odd[:600], model.decision_function(seen))
    assert made_up > raw
    # rows of few cells are no outliers for that, and rows of many are no better for it
    count = (~np.isnan(seen)).sum(axis=1)[~odd[:600]]
    scores = model.score_samples(seen)[~odd[:600]], model.decision_function(seen)[~odd[:600]]
    slopes = [abs(np.corrcoef(count, score)[0, 1]) for score in scores]
    assert slopes[1] < slopes[0]
    assert np.mean(model.predict(train) == 1) > 0.95


def test_complete_rows_are_decided_as_ever():
    X = table()
    model = skvae.PPCA(2).fit(X)
    score = model.score_samples(X)
    assert_array_equal(model.decision_function(X), score - model.offset_)
    shares = skvae.PPCA(2, contamination=0.1).fit(X)
    assert shares.offset_ == np.percentile(score, 10.0)
    assert_allclose(model._cell_scores_, model.score_features(X).mean(axis=0), rtol=1e-12)
    half = X.copy()
    half[:, 1] = np.nan
    found = model.decision_function(half)
    assert_allclose(
        found, model.score_samples(half) + model._cell_scores_[1] - model.offset_, rtol=1e-12
    )


# -- labels, for models that take them ------------------------------------------------------------


class Resampled(BaseAutoencoder):
    """Cells of a row, given nothing, from the training rows: the least model that takes labels."""

    _takes_missing = True
    _takes_categories = True

    false_alarm_rate = 0.05

    def __init__(self, kinds=None, unknown="error", contamination="auto", random_state=None):
        self.kinds = kinds
        self.unknown = unknown
        self.contamination = contamination
        self.random_state = random_state

    def _column_kinds(self):
        return self.kinds

    def _handle_unknown(self):
        return self.unknown

    def _learn(self, X: Any, y: Any, first: bool, **how: Any) -> list[Notice]:
        source = self._check_training(X, y, first)
        self.rows_ = source.take(slice(None)).values
        self.n_components_ = self.rows_.shape[1]
        self._finish(source)
        return []

    def _decode(self, Z):
        return Z

    def _encode(self, X):
        return np.nan_to_num(X)

    def _draw_codes(self, n, seed):
        return self._draw_missing(np.full((n, self.n_components_), np.nan), 1, seed)[0]

    def _draw_rows(self, Z, seed):
        return Z

    def _posterior(self, X):
        return np.nan_to_num(X), np.zeros(X.shape)

    def _log_density(self, X, parts):
        shares = np.where(np.isnan(X), 0.0, -1.0)
        score = shares.sum(axis=1)
        return Scores(score, 0.0 * score, shares, 0.0 * score, score)

    def _complete(self, X):
        return np.where(np.isnan(X), np.nanmedian(self.rows_, axis=0), X)

    def _draw_missing(self, X, n_draws, seed):
        rng = np.random.RandomState(seed)
        pools = [column[~np.isnan(column)] for column in self.rows_.T]
        drawn = np.stack([rng.choice(pool, (n_draws, len(X))) for pool in pools], axis=2)
        return np.where(np.isnan(X), drawn, X)


@each_library
def test_frames_of_labels(library, tmp_path):
    X = LIBRARIES[library](people())
    model = Resampled().fit(X)
    filled, (low, high) = model.impute(X), model.impute_intervals(X, random_state=0)
    for found in (filled, low, high, *model.impute(X, 2), model.sample(9), model.reconstruct(X)):
        assert looks(found) == looks(X)
        assert not np.isnan(model._format_.read(found)).any()
    missing = np.isnan(model._format_.read(X))
    ends = [model._format_.read(end) for end in (low, high)]
    city = [column.name for column in model._format_.columns].index("city")
    assert_array_equal(ends[0][:, city], ends[1][:, city])  # Paris, the most frequent one
    assert set(ends[0][missing[:, city], city]) == {1.0}
    assert (ends[0] <= ends[1]).all()
    drawn = model._format_.read(model.sample(30, 0, given={"city": "Oslo", "size": "L"}))
    assert set(drawn[:, city]) == {0.0}
    assert {model._format_.columns[city + 1].labels[int(code)] for code in drawn[:, city + 1]} == {
        "L"
    }
    with pytest.raises(ValueError, match="column 'city' of given contains 'Bonn'"):
        model.sample(3, given={"city": "Bonn"})
    model.save(tmp_path / "file")
    others = [skvae.load(tmp_path / "file"), pickle.loads(pickle.dumps(model)), copy.copy(model)]
    for other in others:
        assert other._format_ == model._format_
        assert equal(other.sample(5, 0), model.sample(5, 0))
        assert equal(other.impute(X), filled)
    assert not any("Format" in name for name in map(str, model.__getstate__().values()))


def test_labels_that_are_new():
    X = people(holes=0.0)
    later = X.assign(city="Bonn")
    with pytest.raises(ValueError, match="column 'city' of X contains 'Bonn'"):
        Resampled().fit(X).transform(later)
    model = Resampled(unknown="missing").fit(X)
    assert set(model.impute(later)["city"]) <= {"Oslo", "Paris", "Rome"}
    assert set(model.sample(9, given={"city": "Bonn"})["city"]) <= {"Oslo", "Paris", "Rome"}


def test_kinds_that_the_user_states():
    X = np.random.default_rng(0).integers(0, 3, (40, 3)) + np.array([0.0, 10.0, 20.0])
    model = Resampled(kinds={1: "categorical"}).fit(X)
    assert model._format_.columns[1].labels == (10, 11, 12)
    assert set(model.rows_[:, 1]) == {0.0, 1.0, 2.0}
    assert set(model.sample(20, 0)[:, 1]) == {10.0, 11.0, 12.0}
    assert_array_equal(model.reconstruct(X), X)
    holes = X.copy()
    holes[::3, 1] = np.nan
    filled = model.impute(holes)
    assert type(filled) is np.ndarray and set(filled[:, 1]) <= {10.0, 11.0, 12.0}
    assert_array_equal(filled[~np.isnan(holes)], holes[~np.isnan(holes)])
    with pytest.raises(ValueError, match="kinds refers to the column 'a'"):
        Resampled(kinds={"a": "categorical"}).fit(X)
    objects = np.array([[1.0, "a"], [2.0, "b"], [None, "a"]], object)
    model = Resampled().fit(objects)
    assert model.impute(objects).tolist()[:2] == objects.tolist()[:2]
    assert set(model.sample(60, 0)[:, 1]) == {"a", "b"}


# -- state and pictures ---------------------------------------------------------------------------


def test_state(tmp_path):
    X = numbers()
    model = quick(skvae.VAE).fit(X)
    model.save(tmp_path / "file")
    for other in (skvae.load(tmp_path / "file"), pickle.loads(pickle.dumps(model))):
        assert equal(other.sample(3, 0), model.sample(3, 0))
        assert equal(other.reconstruct(X), model.reconstruct(X))
    state = {k: v for k, v in model.__getstate__().items() if k != "_format_"}
    with pytest.raises(
        ValueError, match="This VAE was saved in the format of an earlier version of skvae"
    ):
        skvae.VAE().__setstate__(state)


def test_pictures_of_models_of_frames():
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    from skvae import displays

    X = numbers()
    model = quick(skvae.VAE).fit(X)
    displays.SamplesDisplay.from_estimator(model, n_samples=3, random_state=0)
    displays.PairsDisplay.from_estimator(model, X, random_state=0)
    found = displays.ReconstructionDisplay.from_estimator(model, X)
    assert_array_equal(found.reconstruction, model._format_.read(model.reconstruct(X[:8])))
    displays.InterpolationDisplay.from_estimator(model, X[:1], X[1:2])
    displays.LatentManifoldDisplay.from_estimator(model)
    displays.AttributionDisplay.from_estimator(model, X[:1], X)
    pyplot.close("all")
