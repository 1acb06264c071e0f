"""What goes wrong in users' hands: rows far away, unreadable tables, slips in parameters."""

from __future__ import annotations

import math
import re
import traceback
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
from contracts import (
    DRESSES,
    assert_same,
    digest,
    dressed,
    fit,
    fitted,
    instances,
    is_trained,
    make,
    new_rows,
    outputs,
    table,
)
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skvae
from skvae import NetworkOptions, TrainingOptions
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
        with pytest.raises(ValueError, match="not finite for 1 rows of X, the first of them row 3"):
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
            with pytest.raises(ValueError, match="all rows of X probability 0"):
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
    "big": ([[10**400, 1], [2, 3]], ValueError, "X holds an integer too large"),
    "big object": (np.array([[10**400, 1], [2, 3]], object), ValueError, "X holds an integer"),
    "gradients": (torch.ones(9, 2, requires_grad=True), TypeError, r"X\.detach\(\)"),
    "bfloat16": (torch.ones(9, 2, dtype=torch.bfloat16), TypeError, r"X, a torch\.Tensor"),
    "no numbers": (torch.empty(9, 2, device="meta"), TypeError, r"X, a torch\.Tensor"),
    "sparse": (torch.eye(9).to_sparse(), TypeError, r"X, a torch\.Tensor.*to_dense"),
    "text": (
        np.array([["a", 1], [2, 3]], object),
        TypeError,
        "column 0 of X holds integer .2. and",
    ),
    "text list": ([["a", 1], [2, 3]], TypeError, "column 0 of X holds integer .2. and text .'a'."),
    "frame": (pd.DataFrame({"a": ["u", "v"], "b": [1, 2]}), ValueError, "column 'a' of X holds la"),
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
    model, cells = fitted(make(cls)), "X holds a cell|X holds an integer|expecting 5 features"
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
    "mixed": ([1, "a"] * 60, ValueError, "y must hold labels of one kind.*int, str"),
    "missing": ([1, None] * 60, ValueError, "y holds None or NaN"),
    "missing too": ([1, "a", None] * 40, ValueError, "y holds None or NaN"),
    "nan": (["a", float("nan")] * 60, ValueError, "y holds None or NaN"),
    "objects": (np.array([None] * 120), ValueError, "y holds None or NaN"),
    "big": ([10**400, 1] * 60, ValueError, "y holds integers of more than 64 bits"),
    "sets": ([{1}] * 120, ValueError, "y must hold labels of one kind"),
    "ragged": ([[1, 2], [3]] * 60, ValueError, "y must be one label a row"),
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
        ({"encoder": lambda i, o: torch.nn.Linear(3, o)}, ValueError, r"map \(n, 5\)"),
    ],
)
def test_other_slips(params, error, message):
    with pytest.raises(error, match=message):
        make(skvae.VAE, **params).fit(table())


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

OWN_CODE = Path(skvae.__file__).parent
OPTIONS_OF: dict[str, list[dict[str, Any]]] = {
    name: [{}, *DRESSES.get(name, [])]
    for name in (
        "PPCA VAE ConditionalVAE Autoencoder HuberEnergyVAE RAE SparseAE TwoStageVAE GAN InfoGAN"
    ).split()
}
COMMON = [
    {},
    {"n_components": "auto"},
    {"n_components": 1},
    {"n_components": 7},
    {"hidden_layer_sizes": ()},
    {"noise_variance": "scalar"},
    {"network__linear_skip": True},
    {"batch_size": 3},
    {"early_stopping": True},
    {"training__held_out_fraction": 0.5},
    {"contamination": 0.2},
]


@st.composite
def models(draw: Any) -> Any:
    name = draw(st.sampled_from(sorted(OPTIONS_OF)))
    params = draw(st.sampled_from(OPTIONS_OF[name])) | draw(st.sampled_from(COMMON))
    cls = getattr(skvae, name)
    known = cls().get_params(deep=True)
    params = {k: v for k, v in params.items() if k.partition("__")[0] in known}
    if name == "PPCA" and params.get("n_components") == "auto":
        params["n_components"] = None
    return make(cls, max_iter=2, **params)


@st.composite
def tables(draw: Any, d: int | None = None) -> np.ndarray:
    n, d = draw(st.integers(2, 40)), d or draw(st.integers(1, 6))
    X = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(n, d))
    kind = draw(st.sampled_from("normal units offset constant few cell".split()))
    if kind == "units":
        X *= 10.0 ** draw(st.lists(st.integers(-290, 290), min_size=d, max_size=d).map(np.array))
    elif kind == "offset":
        X += draw(st.sampled_from([1e3, -1e9, 1e15]))
    elif kind == "constant":
        X[:, draw(st.integers(0, d - 1))] = draw(st.sampled_from([0.0, 1.0, -1e300, 5e-324]))
    elif kind == "few":
        X = np.rint(X)
    elif kind == "cell":
        value = draw(st.sampled_from([1e5, 1e20, -1e38, 1e160, F8.max, 5e-324, np.nan, np.inf]))
        X[draw(st.integers(0, n - 1)), draw(st.integers(0, d - 1))] = value
    return X


DRESSINGS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: np.nan_to_num(X * 10).clip(-1e18, 1e18).astype(np.int64),
    "uint8": lambda X: np.nan_to_num(X * 50).clip(0, 255).astype(np.uint8),
    "bool": lambda X: X > 0,
    "object": lambda X: X.astype(object),
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X),
    "frame of integers": lambda X: pd.DataFrame(np.nan_to_num(X).clip(-99, 99).astype(int)),
    "big integers": lambda X: [
        [int(v) * 2**70 for v in row] for row in np.nan_to_num(X).clip(-1e99, 1e99)
    ],
    "fortran": np.asfortranarray,
}


def tried(call: Any) -> Any:
    """What a call returns, or None after an error that a user can understand."""
    try:
        return call()
    except (ValueError, TypeError, FloatingPointError, NotFittedError) as error:
        last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        known = last.is_relative_to(OWN_CODE) or "sklearn" in last.parts
        assert known, f"{last}: {error}"
        text = str(error)
        assert not re.search(r"torch|LAPACK|linalg|cholesky|broadcast|mat1", text), text
        assert re.search(r"\b(X|y|n_components|array|held_out_fraction|sample)\b", text), text
        return None


@hypothesis.given(st.data())
def test_every_call_works_or_says_why(data):
    with np.errstate(over="ignore"):  # of the dressings
        X = data.draw(tables())
        given = DRESSINGS[data.draw(st.sampled_from(sorted(DRESSINGS)))](X)
        near = data.draw(tables(d=X.shape[1]))
        news = DRESSINGS[data.draw(st.sampled_from(["float64", "float32", "list", "object"]))](near)
    model = data.draw(models())
    if tried(lambda: model.fit(given, np.arange(len(X)) % 2)) is None:
        with pytest.raises(NotFittedError):
            model.sample()
        return
    rows = model.sample(3, 0)
    assert rows.shape == (3, X.shape[1]) and not np.isnan(np.asarray(rows, float)).any()
    shown = given if isinstance(given, pd.DataFrame) else news
    if isinstance(shown, pd.DataFrame):
        near = np.asarray(shown)
    n = len(near)
    if hasattr(model, "transform"):
        Z = tried(lambda: model.transform(shown))
        if Z is None:
            return  # NaN, infinity, or float32 that cannot hold a number
        assert Z.shape == (n, model._n_codes) and np.isfinite(Z).all()
        assert model.inverse_transform(Z).shape == (n, X.shape[1])
    if isinstance(model, BaseLatentModel):
        score = model.score_samples(shown)
        assert score.shape == (n,) and (score < np.inf).all()  # and so no NaN
        assert not np.isnan(model.score_features(shown)).any()
        assert not np.isnan(model.reconstruction_error(shown)).any()
        mean, std = model.posterior(shown)
        assert np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0.0).all()
    if hasattr(model, "predict"):
        assert set(model.predict(shown)) <= {-1, 0, 1}
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(model.predict_proba(shown).sum(axis=1), 1.0)


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
