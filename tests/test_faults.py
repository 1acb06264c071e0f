"""What goes wrong in users' hands: rows far away, unreadable tables, slips in parameters."""

from __future__ import annotations

import copy
import math
import random
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import fuzzing
import hypothesis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from contracts import (
    assert_same,
    digest,
    dressed,
    estimator_classes,
    fit,
    fitted,
    instances,
    is_trained,
    labels,
    make,
    new_rows,
    outputs,
    table,
)
from frames import people
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import skvae
from skvae import NetworkOptions, TableOptions, TrainingOptions
from skvae.contract.density import BaseLatentModel
from skvae.engine.fit import hold_out
from skvae.nn.marginal_likelihood import _cholesky
from skvae.nn.networks import Linear

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

F4, F8 = np.finfo(np.float32), np.finfo(np.float64)
FAR: list[tuple[str, Any, list[float]]] = [
    ("float64", ..., [1e307]),
    ("float64", 2, [1e307]),
    ("float64", ..., [-1e200]),
    ("float64", 1, [F4.min]),
    ("float64", ..., [F8.max, F8.min]),
    ("float32", 1, [F4.min]),
    ("float32", ..., [F4.max, F4.min]),
    ("float32", ..., [1e15]),
    ("float32", 0, [-1e25]),
]


# -- rows that are far away ---------------------------------------------------------------------


def rows_with_one_far(dtype: str, cells: Any, values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    near = new_rows()[:6].astype(dtype)
    far = near.copy()
    far[0, cells] = np.resize(values, far[0, cells].shape)
    return near, far


@pytest.mark.parametrize(
    "estimator",
    [e for e in dressed() if hasattr(e, "transform")],
    ids=lambda e: f"{type(e).__name__}",
)
def test_rows_far_away(estimator):
    """Scores finite or -inf, codes finite, neighbours to the last bit as without them."""
    model = fitted(estimator)
    expected = {dtype: outputs(model, new_rows()[:6].astype(dtype)) for dtype in ("f8", "f4")}
    for dtype, cells, values in FAR:
        _, X = rows_with_one_far(dtype, cells, values)
        found, near = outputs(model, X), expected[np.dtype(dtype).str[1:]]
        for name, value in found.items():
            assert not np.isnan(value).any(), name
            if len(value) == len(X):
                np.testing.assert_array_equal(value[1:], near[name][1:], err_msg=name)
        for name in ("transform", "inverse_transform", "reconstruct", "posterior mean"):
            assert np.isfinite(found.get(name, 0.0)).all(), name
        assert (found.get("score_samples", np.zeros(1)) < np.inf).all()
        if hasattr(model, "offset_"):
            assert found["predict"][0] == -1
        if "predict_proba" in found:
            np.testing.assert_allclose(found["predict_proba"].sum(axis=1), 1.0)
            assert set(found["predict"]) <= set(model.classes_)
        if "score_parts" in found:
            parts = model.score_parts(X)
            np.testing.assert_array_equal(parts.score, found["score_samples"])
            np.testing.assert_allclose(parts.score, parts.reconstruction + parts.latent)
            assert not np.isnan(parts.effective_sample_size).any()


WILD = [1e19, float(F4.min), float(F8.max)]  # more of them in the fuzzer


def all_cells(table: Any) -> np.ndarray:
    """Which cells of any table are missing, (n, d)."""
    return np.stack(fuzzing.cells_of(table), axis=1)


@pytest.mark.parametrize(
    "cls", [c for c in estimator_classes() if hasattr(c, "transform")], ids=lambda c: c.__name__
)
def test_wild_rows_with_holes(cls):
    """Every other method, with cells missing beside the wild one; and frames of codes."""
    model = copy.deepcopy(fitted(make(cls)))
    takes = model._takes_missing
    for value in WILD:
        X = new_rows()[:6].copy()
        X[0, 1] = value
        if takes:
            X[0, 2] = X[1, 3] = np.nan
        frame = pd.DataFrame(X)
        model.set_output(transform="pandas")
        assert np.isfinite(model.transform(X)).all(axis=None)
        model.set_output(transform="default")
        if not isinstance(model, BaseLatentModel):
            continue
        for values in outputs(model, X).values():
            assert not np.isnan(values).any()
        for given in (X, frame):
            assert not all_cells(model.reconstruct(given)).any()
        assert not np.isnan(model.sample(6, 0, method="posterior", X=X)).any()
        if takes:
            low, high = model.impute_intervals(X, random_state=0)
            for filled in (model.impute(X), *model.impute(X, 2, 0), low, high):
                assert not np.isnan(filled).any() and filled[0, 1] == value
            row = np.where(np.arange(5) == 1, value, np.nan)[None]
            drawn = model.sample(3, 0, given=row)
            assert not np.isnan(drawn).any() and (drawn[:, 1] == value).all()
        if hasattr(model, "offset_"):
            assert model.predict(X)[0] == -1


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(
    "cls", [c for c in estimator_classes() if c._takes_categories], ids=lambda c: c.__name__
)
def test_wild_rows_of_frames(cls):
    X = people(60)
    model = make(cls, max_iter=1).fit(X, labels(X))
    libraries = (pd.DataFrame, pl.from_pandas, pa.Table.from_pandas)
    for value, library in zip(WILD, libraries, strict=True):
        wild = X[:8].copy()
        wild.loc[2, "income"] = value
        given = library(wild)
        score = model.score_samples(given)
        assert not np.isnan(score).any() and (score < np.inf).all()
        assert np.isfinite(model.transform(given)).all()
        for found in (model.reconstruct(given), model.impute(given)):
            assert not all_cells(found).any()
        assert not np.isnan(model.score_features(given)).any()
        if hasattr(model, "offset_"):
            assert model.predict(given)[2] == -1


def test_wild_numbers_in_columns_of_few_values():
    """Where they are classes, another value is unlikely, and a wild one impossible."""
    X = table(400, 3)
    X[:, 1] = np.arange(400) % 3
    model = make(skvae.VAE, table=TableOptions(by_values=True)).fit(X)
    assert model._fitted_.schema.kinds[1].kind == "discrete"
    for value in WILD:
        for dtype in (np.float64, np.float32):
            row = X[:2].copy()
            row[0, 1] = np.clip(value, F4.min, F4.max) if dtype is np.float32 else value
            score = model.score_samples(row.astype(dtype))
            assert score[0] == -np.inf and np.isfinite(score[1])
            assert np.isneginf(model.score_features(row.astype(dtype))[0, 1])
    row[0, 1] = 7.0
    assert np.isfinite(model.score_samples(row)).all()


@pytest.mark.parametrize("cls", estimator_classes(), ids=lambda c: c.__name__)
def test_wild_cells_in_training(cls):
    """A fit works, or says what is wrong; in no case are there results of NaN."""
    for value in WILD:
        X = table(60, 3)
        X[7, 1] = value
        model = make(cls, max_iter=1)
        try:
            fit(model, X)
        except ValueError as error:
            assert re.search("X .*(overflow|too large)", str(error))
            continue
        for name, values in outputs(model, X).items():
            assert not np.isnan(values).any(), name


@pytest.mark.parametrize("cls", [skvae.VAE, skvae.Autoencoder, skvae.ConditionalVAE])
def test_wild_pixels(cls):
    X = np.random.default_rng(0).random((40, 1, 4, 4))
    model = fit(make(cls, max_iter=1, network__hidden_channels=(2,)), X)
    for value in WILD:
        wild = X[:3].copy()
        wild[1, 0, 2, 2] = value
        for values in outputs(model, wild).values():
            assert not np.isnan(values).any()
        if hasattr(model, "offset_"):
            assert model.predict(wild)[1] == -1


def test_where_no_label_fits_the_frequencies_decide():
    model = make(skvae.ConditionalVAE).fit(table(), np.arange(120) % 4 // 3)
    proba = model.predict_proba(np.full((1, 5), 1e200))
    np.testing.assert_allclose(proba, [[0.75, 0.25]])


def test_an_encoder_that_overflows_is_named():
    class Root(torch.nn.Module):
        """NaN beyond 100 standard deviations."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.layer = torch.nn.Linear(inputs, outputs)

        def forward(self, x):
            return self.layer(x) + (100.0 - x.abs().amax(1, keepdim=True)).sqrt()

    model = make(skvae.VAE, encoder=Root).fit(table())
    X = new_rows().copy()
    X[3] = 1e9
    for method in (model.transform, model.reconstruct, model.posterior):
        with pytest.raises(ValueError, match="not finite for 1 rows of X, first for row 3"):
            method(X)
    score = model.score_samples(X)
    assert score[3] == -np.inf and np.isfinite(np.delete(score, 3)).all()
    assert model.predict(X)[3] == -1


def test_pixels_outside_of_their_range_are_unlikely():
    """A Bernoulli's v logit - softplus(logit) grows without end in v."""
    rng = np.random.default_rng(0)
    X = (rng.random((60, 64)) < rng.random(64)).astype(np.float64)
    model = make(skvae.VAE, likelihood="bernoulli").fit(X)
    usual = model.score_samples(X[:1])
    for value in (-1.0, 1.5, 5.0, -100.0, 1e6, 1e12, 1e200):
        row = X[:1].copy()
        row[0, 7:40] = value
        assert model.score_samples(row) < usual
        assert abs(value) < 5.0 or model.predict(row) == -1


def test_cholesky_of_a_bad_matrix_leaves_the_others():
    good = torch.eye(3) + 0.1
    bad = torch.full((3, 3), 1e12)
    nan = torch.full((3, 3), math.nan)
    found = _cholesky(torch.stack([good, bad, nan]))
    assert torch.equal(found[0], torch.linalg.cholesky(good))
    torch.testing.assert_close(found[1], torch.diag(bad.diagonal().sqrt()))
    assert torch.equal(found[2], torch.eye(3))


def test_codes_far_away_give_finite_rows():
    for estimator in instances():
        model = fitted(estimator)
        for dtype in (np.float32, np.float64):
            Z = np.full((2, model._n_codes), np.finfo(dtype).max)
            Z[1] = 0.5
            rows = model.inverse_transform(Z)
            assert np.isfinite(rows).all() and rows.dtype == dtype
            np.testing.assert_allclose(rows[1:], model.inverse_transform(Z[1:]), rtol=1e-5)


def test_impossible_training_rows_and_the_threshold():
    """Some rows of density 0 count as the lowest; where all are, no threshold can be set."""

    class Half(skvae.PPCA):
        def _log_density(self, X, parts):
            found = super()._log_density(X, parts)
            share = round(self.tol * len(X))
            return found._replace(score=np.where(np.arange(len(X)) < share, -np.inf, found.score))

    for share in (0.1, 0.2, 0.5):
        for contamination in (0.2, "auto"):
            model = Half(2, tol=share, contamination=contamination).fit(table())
            assert np.isfinite(model.offset_)
            assert (model.predict(table())[: round(share * 120)] == -1).all()
            with pytest.raises(ValueError, match="all rows of X have density zero"):
                Half(2, tol=1.0, contamination=contamination).fit(table())


# -- small tables -------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [["encoder"], ["decoder"], ["encoder", "decoder"]])
@pytest.mark.parametrize("d", [1, 2])
def test_automatic_components_with_networks_of_ones_own(d, own):
    for X in (table()[:, :d], np.ones((20, d)), np.arange(6.0).reshape(-1, 1).repeat(d, 1)):
        networks = dict.fromkeys(own, torch.nn.Linear)
        model = make(skvae.VAE, n_components="auto", **networks).fit(X)
        assert model.n_components_ == d
        assert np.isfinite(model.score_samples(X)).all()


# -- tables and labels that cannot be read --------------------------------------------------------

TABLES: dict[str, tuple[Any, type[Exception], str]] = {
    "ragged": ([[1, 2], [3]], ValueError, "X must be a table .* equal length"),
    "ragged deep": ([[[1], 2], [3, 4]], ValueError, "X must be a table"),
    "big": ([[10**400, 1], [2, 3]], ValueError, "X contains an integer too large"),
    "big object": (np.array([[10**400, 1], [2, 3]], object), ValueError, "X contains an integer"),
    "gradients": (torch.ones(9, 2, requires_grad=True), TypeError, r"X\.detach\(\)"),
    "bfloat16": (torch.ones(9, 2, dtype=torch.bfloat16), TypeError, r"X, a torch\.Tensor"),
    "no numbers": (torch.empty(9, 2, device="meta"), TypeError, r"X, a torch\.Tensor"),
    "sparse": (torch.eye(9).to_sparse(), TypeError, r"X, a torch\.Tensor.*to_dense"),
    "text": (
        np.array([["a", 1], [2, 3]], object),
        TypeError,
        "column 0 of X contains integer .2. and",
    ),
    "text list": (
        [["a", 1], [2, 3]],
        TypeError,
        "column 0 of X contains integer .2. and text .'a'.",
    ),
    "frame": (
        pd.DataFrame({"a": ["u", "v"], "b": [1, 2]}),
        ValueError,
        "column 'a' of X is categorical|column 'a' of X contains la",
    ),
    "nothing": (None, ValueError, "X must be a table.*got None"),
    "set": ({1, 2}, TypeError, "X must be a table.*got a set"),
    "generator": ((i for i in range(3)), TypeError, "X must be a table.*got a generator"),
    "dict": ({"a": [1, 2]}, TypeError, "X must be a table.*got a dict"),
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("cls", [skvae.VAE, skvae.PPCA, skvae.ConditionalVAE, skvae.GAN])
def test_unreadable_tables(cls, name):
    X, error, message = TABLES[name]
    for call in (make(cls).fit, make(cls).partial_fit):
        if name == "frame" and cls._takes_categories:
            assert call(X, [0, 1]).sample(2, random_state=0).dtypes.equals(X.dtypes)
            continue
        with pytest.raises(error, match=message):
            call(X, [0, 1])
    # codes have no columns to be named, and a table is counted before it is read
    model, cells = (
        fitted(make(cls)),
        "X contains a value|X contains an integer|expecting 5 features",
    )
    for name in ("inverse_transform", "transform", "score_samples", "reconstruct"):
        if hasattr(model, name):
            with pytest.raises((error, ValueError), match=f"{message}|{cells}"):
                getattr(model, name)(X)


def test_readable_tables():
    """Tensors, lists, integers beyond 64 bits and Decimals are numbers."""
    X = table(20, 2)
    expected = make(skvae.PPCA).fit(X).score_samples(X)
    for given in (torch.from_numpy(X), X.tolist(), X.astype(object), [tuple(r) for r in X]):
        np.testing.assert_array_equal(make(skvae.PPCA).fit(given).score_samples(given), expected)
    big = [[2**70 + 2**60 * i, Decimal(i)] for i in range(9)]
    assert np.isfinite(make(skvae.PPCA, n_components=1).fit(big).score_samples(big)).all()


LABELS: dict[str, tuple[Any, type[Exception], str]] = {
    "mixed": ([1, "a"] * 60, ValueError, "y must contain labels of one type.*int, str"),
    "missing": ([1, None] * 60, ValueError, "y contains None or NaN"),
    "missing too": ([1, "a", None] * 40, ValueError, "y contains None or NaN"),
    "nan": (["a", float("nan")] * 60, ValueError, "y contains None or NaN"),
    "objects": (np.array([None] * 120), ValueError, "y contains None or NaN"),
    "big": ([10**400, 1] * 60, ValueError, "y contains integers of more than 64 bits"),
    "sets": ([{1}] * 120, ValueError, "y must contain labels of one type"),
    "ragged": ([[1, 2], [3]] * 60, ValueError, "y must contain one label for each row"),
    "gradients": (torch.zeros(120, requires_grad=True), TypeError, r"y\.detach\(\)"),
}


@pytest.mark.parametrize("name", LABELS)
def test_unreadable_labels(name):
    y, error, message = LABELS[name]
    model = fitted(make(skvae.ConditionalVAE))
    for call in (
        lambda: make(skvae.ConditionalVAE).fit(table(), y),
        lambda: make(skvae.ConditionalVAE).partial_fit(table(), y),
        lambda: model.sample(120, y=y),
        lambda: model.score(table(), y),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    "y",
    [
        [True, 1] * 30,
        ["a", "b"] * 30,
        np.array(["a", "b"] * 30, object),
        np.array([1, 2] * 30, object),
        pd.Series(["a", "b"] * 30),
        pd.Series([1, 2] * 30, dtype="Int64"),
        pd.Categorical(["a", "b"] * 30),
        torch.arange(60) % 2,
    ],
    ids=lambda y: f"{type(y).__name__} {type(y[0]).__name__}",
)
def test_readable_labels(y):
    model = make(skvae.ConditionalVAE).fit(table(60), y)
    assert 0.0 <= model.score(table(60), y) <= 1.0
    assert model.sample(60, 0, y=y).shape == (60, 5)


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [skvae.GAN, skvae.InfoGAN])
def test_a_slip_in_sample_names_the_public_class(cls):
    with pytest.raises(TypeError, match=rf"{cls.__name__}\.sample\(\) got an unexpected keyword"):
        fitted(make(cls)).sample(method="posterior")


SIZES = [0, -1, True, False, "8", "abc", None, 8.0, [8, 0], [8.0], [True], ["a"], [[8], [8, 8]]]
SIZES += [[10**30], {8: 1}, {8}, np.array([[8, 8]]), np.float64(8)]


@pytest.mark.parametrize("given", SIZES, ids=repr)
def test_sizes_of_layers(given):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes.*VAE"):
        make(skvae.VAE, hidden_layer_sizes=given).fit(table())
    options = NetworkOptions(hidden_channels=given)
    with pytest.raises(ValueError, match=r"hidden_channels.*(VAE|NetworkOptions)"):
        make(skvae.VAE, network=options).fit(table())


@pytest.mark.parametrize("given", [np.int64(8), [np.int32(8)], np.array([8]), np.array(8), (8,)])
def test_sizes_as_numpy_has_them(given):
    expected = make(skvae.VAE, hidden_layer_sizes=8).fit(table())
    found = make(skvae.VAE, hidden_layer_sizes=given).fit(table())
    assert digest(found) == digest(expected)


SHAPES = [8, True, "abc", (1, 8), (1, 0, 64), (1.0, 8.0, 8.0), (True, 8, 8), [[1, 8, 8]]]
SHAPES += [["1", "8", "8"], [[1], [8, 8]], (-1, 8, 8), (1, 8, 8, 1), {8, 1}, (1, 8, 9), 10**30]


@pytest.mark.parametrize("given", SHAPES, ids=repr)
def test_shapes_of_images(given):
    with pytest.raises(ValueError, match="image_shape"):
        make(skvae.VAE, image_shape=given).fit(np.ones((20, 64)))


def test_shapes_as_numpy_has_them():
    X = np.random.default_rng(0).random((20, 16))
    options = {"network__hidden_channels": (2,), "max_iter": 1}
    given = [(np.int8(1), 4, 4), np.array([1, 4, 4])]
    found = [make(skvae.VAE).set_params(image_shape=g, **options).fit(X) for g in given]
    assert [m.image_shape_ for m in found] == [(1, 4, 4)] * 2


@pytest.mark.parametrize("name", ["network", "training"])
@pytest.mark.parametrize("cls", [skvae.VAE, skvae.GAN])
def test_options_of_another_type(cls, name):
    other = TrainingOptions() if name == "network" else NetworkOptions()
    kind = NetworkOptions if name == "network" else TrainingOptions
    setting = "network__activation" if name == "network" else "training__alpha"
    for given in ({}, {"alpha": 1.0}, other, kind, "tanh", 3):
        model = make(cls, **{name: given})
        with pytest.raises(ValueError, match=f"'{name}' parameter of {cls.__name__}"):
            model.fit(table())
        with pytest.raises(TypeError, match=f"{name} of {cls.__name__} must be None or"):
            model.set_params(**{setting: 1})


OPTIONS = [
    NetworkOptions(activation=3),
    NetworkOptions(activation="x"),
    NetworkOptions(linear_skip="yes"),
    NetworkOptions(residual=None),
    TrainingOptions(alpha="a"),
    TrainingOptions(alpha=math.nan),
    TrainingOptions(gradient_clipping="a"),
    TrainingOptions(precision=32),
    TrainingOptions(noise_floor=0),
    TrainingOptions(noise_floor=1e300),
    TrainingOptions(noise_floor=np.array([0.1])),
    TrainingOptions(held_out_fraction=1),
    TrainingOptions(patience=1.5),
    TrainingOptions(tol=None),
    TrainingOptions(checkpoint=1),
    TrainingOptions(checkpoint_interval=-1.0),
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_options_with_values_of_another_type(options):
    name = "network" if isinstance(options, NetworkOptions) else "training"
    (slip,) = options._changed()
    with pytest.raises(ValueError, match=f"'{slip}' parameter of {type(options).__name__}"):
        make(skvae.VAE, **{name: options}).fit(table())


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"n_components": 10**30}, ValueError, "'n_components' parameter of VAE"),
        ({"device": "meta"}, ValueError, "device='meta' cannot be used here"),
        ({"latent_density": skvae.PPCA}, TypeError, r"latent_density of VAE .* PPCA\(\)"),
        ({"encoder": lambda i, o: torch.nn.LSTM(i, o)}, TypeError, r"map \(n, 5\) .* tuple"),
        ({"decoder": lambda i, o: torch.nn.BatchNorm2d(o)}, ValueError, r"map \(n, 2\)"),
        (
            {"encoder": lambda: None},
            TypeError,
            r"encoder must be .* f\(in_features, out_features\)",
        ),
        ({"encoder": fuzzing.Constant}, ValueError, r"encoder must map .* differentiable"),
        ({"decoder": lambda i, o: torch.nn.Linear(i, o, device="meta")}, ValueError, "'meta'"),
        ({"latent_density": KernelDensity(kernel="cosine")}, ValueError, "kernel='cosine'"),
        ({"latent_density": GaussianMixture("a")}, ValueError, "latent_density of VAE .*'n_comp"),
        ({"beta": 1e300}, ValueError, "beta of VAE must lie within 1e.38 of 0"),
        ({"beta": Fraction(1, 2)}, ValueError, r"beta of VAE must be a float or .*float\(Fraction"),
        ({"n_importance_samples": 10**9}, ValueError, "'n_importance_samples' parameter of VAE"),
        ({"encoder": lambda i, o: torch.nn.Linear(3, o)}, ValueError, r"map \(n, 5\)"),
    ],
)
def test_other_slips(params, error, message):
    with pytest.raises(error, match=message):
        make(skvae.VAE, **params).fit(table())


def test_slips_are_seen_before_the_training(monkeypatch):
    monkeypatch.setattr("skvae.engine.trainer.Trainer.run", None)
    for density in (KernelDensity(kernel="cosine"), GaussianMixture(0), skvae.PPCA("abc")):
        with pytest.raises(ValueError, match="latent_density of Autoencoder"):
            make(skvae.Autoencoder, latent_density=density).fit(table())


def test_numbers_of_numpys_small_types():
    """They overflow in products with others, and have to give what Python's numbers give."""
    sizes = {"n_components": 2, "hidden_layer_sizes": 4, "max_iter": 2, "batch_size": 100}
    sizes |= {"n_importance_samples": 100, "prior_size": 3, "random_state": 1, "n_draws": 2}
    weights = {"beta": 0.5, "training__noise_floor": 0.25, "training__gradient_clipping": 2.0}
    given = {k: np.int8(v) for k, v in sizes.items()} | {
        k: np.float16(v) for k, v in weights.items()
    }
    expected = make(skvae.VAE, prior="vamp", **sizes, **weights).fit(table())
    assert digest(make(skvae.VAE, prior="vamp", **given).fit(table())) == digest(expected)


@pytest.mark.parametrize("cls", [skvae.VAE, skvae.RAE, skvae.MaskAAE])
@pytest.mark.parametrize("networks", [["encoder"], ["decoder"], ["encoder", "decoder"]])
def test_frozen_networks(cls, networks):
    """They are kept as they are; where nothing else learns, a fit says so."""
    model = make(cls, **dict.fromkeys(networks, fuzzing.frozen))
    try:
        model.fit(table())
    except ValueError as error:
        assert len(networks) == 2 or cls is skvae.MaskAAE  # whose encoder has a turn of its own
        assert "have no trainable parameters" in str(error)
        return
    twin = make(cls, max_iter=1, **dict.fromkeys(networks, fuzzing.frozen)).fit(table())
    for name in networks:
        old, new = (getattr(m.module_, name).network.parameters() for m in (twin, model))
        same = [torch.equal(a, b) for a, b in zip(old, new, strict=True) if not a.requires_grad]
        assert same and all(same)


def test_networks_that_compute_in_other_types():
    model = make(skvae.VAE, encoder=fuzzing.Double, decoder=fuzzing.Double).fit(table())
    assert np.isfinite(model.score_samples(table())).all()
    assert model.transform(table().astype(np.float32)).dtype == np.float32


def test_a_network_that_fails_on_single_rows_names_batch_size():
    def network(inputs, outputs):
        return torch.nn.Sequential(torch.nn.Linear(inputs, outputs), torch.nn.BatchNorm1d(outputs))

    with pytest.raises(ValueError, match="fails on 1 rows: choose another batch_size"):
        make(skvae.Autoencoder, encoder=network, batch_size=1).fit(table(50))


def test_a_decoder_that_gives_nan_is_named():
    model = make(skvae.VAE).fit(table())
    with torch.no_grad():
        next(model.module_.decoder.parameters()).fill_(math.nan)
    for call in (model.sample, lambda: model.inverse_transform(np.zeros((1, 2)))):
        with pytest.raises(ValueError, match="the decoder returns NaN"):
            call()


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate 11.2 GiB"), RuntimeError("can't allocate memory: 9 bytes")],
    ids=repr,
)
def test_where_memory_ends_the_error_says_what_to_do(error, monkeypatch):
    def ends(*args, **kwargs):
        raise error

    model = fitted(make(skvae.VAE))
    monkeypatch.setattr("skvae.contract.tabular.validate_data", ends)
    for cls in (skvae.VAE, skvae.PPCA, skvae.GAN):
        with pytest.raises(MemoryError, match=rf"{cls.__name__} to X of shape .*partial_fit") as e:
            make(cls).fit(table())
        assert e.value.__cause__ is error
    with pytest.raises(MemoryError, match="pass its rows in several parts"):
        model.transform(table())


@pytest.mark.parametrize("n", [0, -1, 10**30, 2.0, "3", None, True])
def test_numbers_of_rows_to_draw(n):
    with pytest.raises(ValueError, match="n_samples must be an integer from 1 to"):
        fitted(make(skvae.PPCA)).sample(n)
    with pytest.raises(ValueError, match="n_draws must be an integer from 1 to"):
        fitted(make(skvae.PPCA)).impute(table(), n_draws=n if n is not None else "a")


def test_numbers_where_the_fit_saw_dates_are_filled_in_seconds():
    dates = np.arange(60).astype("M8[D]").reshape(20, 3)
    X = dates.astype("M8[s]").astype(float)
    X[0, 1] = np.nan
    filled = make(skvae.PPCA).fit(dates).impute(X)
    assert np.isfinite(filled).all() and filled.dtype == float
    assert 0.0 < filled[0, 1] < 86400.0 * 60


def test_intensities_need_differences():
    X = np.random.default_rng(0).random((40, 4)) * 1e-200
    with pytest.raises(ValueError, match="distinguishable values"):
        make(skvae.VAE, likelihood="bernoulli").fit(X)
    wide = np.random.default_rng(0).random((40, 70)) * 1e-200
    assert np.isfinite(make(skvae.VAE).fit(wide).sample(3, 0)).all()


# -- callbacks ------------------------------------------------------------------------------------


class Watch:
    """Keeps what it is told; raises in the epoch that it is told to."""

    def __init__(self, fails_in: int | None = None):
        self.fails_in, self.seen, self.models, self.tasks = fails_in, [], [], []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, metadata=None, fitted_estimator=None):
        if context.task_name == "epoch":
            self.seen.append(metadata)
            self.models.append(fitted_estimator)
            if len(self.seen) == self.fails_in:
                raise OSError("the disk is full")


needs_callbacks = pytest.mark.skipif(
    not hasattr(skvae.VAE, "set_callbacks"), reason="scikit-learn 1.9 has callbacks, this has none"
)


def reckoned_loss(model: Any, X: np.ndarray) -> float:
    """Mean loss of an `Autoencoder` on rows, by its public attributes, in standardised units."""
    variance, scale = model.noise_variance_, model._fitted_.schema.scale
    square = np.square(X - model.reconstruct(X.astype(np.float32)))
    each = 0.5 * (np.log(2 * np.pi * variance) + square / variance) - np.log(scale)
    return float(each.sum(axis=1).mean())


@needs_callbacks
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_callbacks_see_the_numbers_of_the_epoch(share):
    X, watch = table(), Watch()
    model = make(skvae.Autoencoder, training__held_out_fraction=share)
    settings, seed = model._fit_settings(0), model.random_state
    fresh = X[hold_out(len(X), settings, seed)]
    model.set_callbacks(watch).fit(X)
    assert [m["loss"] for m in watch.seen] == model.loss_curve_
    assert [m["terms"] for m in watch.seen] == [
        {name: values[i] for name, values in model.history_.items()} for i in range(5)
    ]
    losses = [m["held_out_loss"] for m in watch.seen]
    if not share:
        assert len(fresh) == 0 and losses == [None] * 5
        return
    expected = [reckoned_loss(m, fresh) for m in watch.models]
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


@needs_callbacks
@pytest.mark.parametrize(
    "estimator", [e for e in dressed() if is_trained(e)], ids=lambda e: type(e).__name__
)
def test_callbacks_change_nothing(estimator):
    watch = Watch()
    watched = fit(clone(estimator).set_callbacks(watch), table())
    plain = fitted(estimator)
    assert len(watch.seen) == plain.n_iter_ and watch.tasks == ["setup", "teardown"]
    assert_same(outputs(watched), outputs(plain))
    assert watched.history_ == plain.history_


@needs_callbacks
@pytest.mark.parametrize("cls", [skvae.VAE, skvae.ConditionalVAE, skvae.GAN])
def test_a_callback_that_raises_leaves_the_estimator_whole(cls):
    model, watch = make(cls), Watch(fails_in=2)
    with pytest.raises(OSError, match="the disk is full"):
        fit(model.set_callbacks(watch), table())
    assert watch.tasks == ["setup", "teardown"]
    assert not [name for name in vars(model) if name.endswith("_") and name[-2] != "_"]
    with pytest.raises(NotFittedError):
        model.sample()
    fit(model.set_callbacks(), table())
    before = digest(model)
    assert before == digest(fitted(make(cls)))
    with pytest.raises(OSError, match="the disk is full"):
        fit(model.set_callbacks(Watch(fails_in=2)), table(seed=1))
    assert digest(model) == before


# -- anything at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(100))
def test_every_call_works_or_says_why(number):
    """More of the same: `python benchmarks/fuzz.py`."""
    case = fuzzing.run_case(random.Random(number), number)
    assert not case.defects, "\n".join(case.defects)


@pytest.mark.slow
@hypothesis.given(st.randoms(use_true_random=False))
def test_every_call_works_or_says_why_again(r):
    """Cases of hypothesis, which are others wherever other modules are loaded."""
    case = fuzzing.run_case(r)
    assert not case.defects, "\n".join(case.defects)


def test_the_fuzzer_sees_defects():
    """What it must not let pass, in a model that is broken on purpose."""

    class Broken(skvae.PPCA):
        def transform(self, X):
            return np.full((len(X), self.n_components_), np.nan)

        def reconstruct(self, X):
            return np.linalg.cholesky(-np.eye(2))

        def score_samples(self, X, *, return_std=False):
            self.offset_ = 0.0
            return super().score_samples(None)

        def reconstruction_error(self, X):
            return np.log(np.zeros(len(X)))

        def predict(self, X):
            return [][0]

    for method, message in {
        "transform": "codes are not finite",
        "reconstruct": "LinAlgError|deep inside",
        "score_samples": "changed the estimator",
        "reconstruction_error": "RuntimeWarning",
        "predict": "IndexError",
    }.items():
        world = fuzzing.World(random.Random(0), "numbers", 3)
        case = fuzzing.Case(0, world, Broken(1).fit(table(20, 3)), "Broken")
        world.table = lambda: fuzzing.Given(table(20, 3), 20, "plain")
        with fuzzing.only_notices():
            fuzzing.METHODS[method](case)
        assert re.search(message, "".join(case.defects)), method


def test_the_fuzzer_knows_every_method():
    """Of each public estimator, but for those of scikit-learn that have nothing to do with rows."""
    others = {"get_params", "set_params", "get_metadata_routing", "set_callbacks", "save"}
    others |= {"set_score_request", "set_partial_fit_request", "fit", "partial_fit"}
    others |= {"set_fit_request"}
    others |= {"fit_transform", "fit_predict", "get_covariance", "get_precision"}
    others |= {"get_posterior_covariance"}
    for estimator in instances():
        names = {n for n in dir(type(estimator)) if not n.startswith("_")}
        methods = {n for n in names if callable(getattr(type(estimator), n))}
        assert methods - others <= set(fuzzing.METHODS), type(estimator)


@pytest.mark.parametrize("d", [1, 2])
def test_linear_sparse_codes_of_few_features(d):
    """A code that no feature needs has decoder weights of length 0 at the start."""
    model = skvae.SparseAE(2, hidden_layer_sizes=(), max_iter=5, random_state=0)
    assert np.isfinite(model.fit(table(60, d)).transform(table(60, d))).all()


def test_further_chunks_of_a_bounded_model_are_checked_too():
    X = np.random.RandomState(0).uniform(size=(60, 4))
    model = skvae.VAE(1, likelihood="bernoulli", max_iter=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"needs X in \[0, 1\]"):
        model.partial_fit(255.0 * X)


def test_a_factory_that_gives_one_network_twice_shares_nothing():
    network = Linear(5, 4)
    with torch.no_grad():
        network.weight.fill_(0.1)
        network.bias.zero_()
    first = make(skvae.VAE, encoder=lambda i, o: network).fit(table())
    codes = first.transform(table())
    make(skvae.VAE, encoder=lambda i, o: network).fit(2.0 * table(seed=1))
    np.testing.assert_array_equal(first.transform(table()), codes)
