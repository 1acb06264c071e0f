"""Streams of chunks: what is put off until somebody looks, and chunks that would spoil a model."""

from __future__ import annotations

import contextlib
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from contracts import (
    assert_same,
    digest,
    fitted,
    instances,
    is_trained,
    labels,
    make,
    new_rows,
    outputs,
    table,
)
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

import skvae
from skvae.contract.blocks import in_blocks, row_blocks, seeds
from skvae.engine.fit import winsorised
from skvae.nn.batch import Batch

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

trained = pytest.mark.parametrize(
    "estimator", [e for e in instances() if is_trained(e)], ids=lambda e: type(e).__name__
)


def chunks(n: int, size: int = 60) -> list[np.ndarray]:
    X = table(n * size, seed=5)
    return [X[i * size : (i + 1) * size] for i in range(n)]


def stream(model, parts, look=False):
    for part in parts:
        model.partial_fit(part, labels(part))
        if look:
            outputs(model)
    return model


# -- what is put off ------------------------------------------------------------------------------


@trained
def test_looking_at_a_stream_changes_nothing(estimator):
    parts = chunks(5)
    parts[1], parts[3] = parts[1][:10], parts[3][:3]  # too few for a density of codes
    seen, unseen = stream(clone(estimator), parts, look=True), stream(clone(estimator), parts)
    assert vars(unseen).keys() - vars(seen).keys() == {"_pending_"}
    assert_same(outputs(seen), outputs(unseen))
    assert vars(unseen).keys() == vars(seen).keys()


@trained
def test_a_stream_travels_before_anybody_looked(estimator):
    for way in (copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))):
        model = stream(clone(estimator), chunks(2))
        again = way(model)
        assert_same(outputs(again), outputs(model))


def test_threads_may_look_at_once():
    expected = digest(stream(make(skvae.VAE), chunks(2)))
    model = stream(make(skvae.VAE), chunks(2))
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: digest(model), range(8))) == {expected}


def test_settings_are_those_of_the_chunk():
    """Not those that were set before somebody looked."""
    parts = chunks(2)
    model = stream(make(skvae.VAE, contamination=0.2), parts)
    expected = stream(make(skvae.VAE, contamination=0.2), parts).offset_
    model.set_params(contamination=0.01)
    assert model.offset_ == expected
    assert model.partial_fit(parts[1]).offset_ < expected


def test_users_may_reuse_the_memory_of_a_chunk():
    part = chunks(1)[0]
    model = make(skvae.VAE).partial_fit(part)
    expected = make(skvae.VAE).partial_fit(part.copy()).score_samples(new_rows())
    part[:] = 0.0
    np.testing.assert_array_equal(model.score_samples(new_rows()), expected)


def test_a_fault_while_it_is_computed_can_be_tried_again(monkeypatch):
    model = stream(make(skvae.VAE), chunks(2))
    expected = outputs(copy.deepcopy(stream(make(skvae.VAE), chunks(2))))

    def fault(self, *_):
        raise MemoryError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(skvae.VAE, "_finish", fault)
        with pytest.raises(MemoryError, match="a fault"):
            model.predict(new_rows())
    assert_same(outputs(model), expected)


def test_what_is_missing_is_said_as_python_says_it():
    model = stream(make(skvae.VAE, noise_variance="network"), chunks(1))
    with pytest.raises(AttributeError, match="no attribute 'offsets_'"):
        model.offsets_  # noqa: B018
    with pytest.raises(AttributeError, match="only for a Gaussian likelihood with fitted noise"):
        model.noise_variance_  # noqa: B018
    with pytest.raises(AttributeError, match="is available only after fit"):
        skvae.VAE().module_  # noqa: B018
    with pytest.raises(NotFittedError):
        skvae.VAE().score_samples(new_rows())


def test_a_density_of_codes_is_fitted_once_for_many_chunks(monkeypatch):
    calls = []

    class Counted(GaussianMixture):
        def fit(self, X, y=None):
            calls.append(len(X))
            return super().fit(X)

    model = stream(make(skvae.Autoencoder, latent_density=Counted()), chunks(5))
    assert calls == []
    model.score_samples(new_rows())
    model.sample(3)
    assert calls == [60]


@pytest.mark.parametrize("size", [2, 5, 20])
@pytest.mark.parametrize("cls", [skvae.VAE, skvae.RAE, skvae.TwoStageVAE])
def test_looking_changes_nothing_where_all_chunks_are_small(cls, size):
    parts = chunks(6, size)
    seen, unseen = stream(make(cls), parts, look=True), stream(make(cls), parts)
    assert_same(outputs(seen), outputs(unseen))


def test_whole_numbers_that_drift_are_drawn_where_they_are():
    frame = pd.DataFrame({"day": np.arange(400), "value": np.sin(np.arange(400.0))})
    model = make(skvae.VAE, hidden_layer_sizes=(32,))
    for _ in range(3):
        for i in range(0, 400, 50):
            model.partial_fit(frame[i : i + 50])
    drawn = model.sample(200, random_state=0)
    assert drawn.day.dtype == frame.day.dtype
    assert drawn.day.max() > 100 and drawn.day.nunique() > 50


@pytest.mark.parametrize("goes_on", ["partial_fit", "fit"])
def test_sizes_cannot_change_while_a_fit_goes_on(goes_on):
    model = make(skvae.VAE, warm_start=True).fit(table())
    before = digest(model)
    for name, value in {"n_components": 3, "hidden_layer_sizes": (9,), "prior": "mixture"}.items():
        old = getattr(model, name)
        model.set_params(**{name: value})
        with pytest.raises(ValueError, match=f"{name} of VAE cannot change from"):
            getattr(model, goes_on)(table())
        model.set_params(**{name: old})
    assert digest(model) == before


def test_chunks_are_no_whole_training(recwarn):
    stream(make(skvae.VAE, max_iter=3), chunks(4))
    assert not recwarn.list


def test_rows_without_a_cell_have_no_part_in_the_threshold():
    X = table(100)
    empty = np.vstack([X, np.full((300, 5), np.nan)])
    expected = make(skvae.VAE).fit(X).partial_fit(X)
    found = make(skvae.VAE).fit(X).partial_fit(empty)
    assert abs(found.offset_ - expected.offset_) < 5.0
    with pytest.raises(ValueError, match="all values of X are missing"):
        found.partial_fit(empty[100:])


def test_few_rows_leave_the_density_of_the_rows_before():
    mixture = GaussianMixture(20)
    model = stream(make(skvae.Autoencoder, latent_density=mixture), chunks(2))
    before = copy.deepcopy(model).latent_density_.means_
    np.testing.assert_array_equal(stream(model, [table(10)]).latent_density_.means_, before)
    model.set_params(latent_density=None)
    assert not hasattr(stream(model, [table(20)]), "latent_density_")


def test_another_kind_of_density_is_fitted_anew():
    model = make(skvae.Autoencoder, latent_density=GaussianMixture(1)).fit(table())
    for given in (skvae.PPCA(1), GaussianMixture(2), skvae.VAE(1, max_iter=2)):
        model.set_params(latent_density=given)
        assert type(stream(model, chunks(1)).latent_density_) is type(given)


def test_a_chunk_may_be_learned_while_somebody_looks(monkeypatch):
    """What the one who looks computes is that of the chunk before, and overwrites nothing."""
    model = stream(make(skvae.VAE), chunks(1))
    original = skvae.VAE._finish

    def slow(self, *args):
        monkeypatch.setattr(skvae.VAE, "_finish", original)
        stream(model, chunks(3))
        original(self, *args)

    monkeypatch.setattr(skvae.VAE, "_finish", slow)
    model._finalise_pending()
    assert "_pending_" in vars(model) and "_fitted_" not in vars(model)
    assert model._fitted_.state.epoch == model.n_iter_ == 4


def test_what_a_subclass_computes_at_the_end_follows_the_chunks():
    class Own(skvae.VAE):
        _deferred = skvae.VAE._deferred | {"median_score_"}

        def _finish(self, source, unseen=()):
            super()._finish(source, unseen)
            rows = source.take(slice(None)).values
            self.median_score_ = float(np.median(self.score_samples(rows)))

    model = make(Own).fit(table())
    before = model.median_score_
    parts = chunks(2)
    assert stream(model, parts).median_score_ != before
    assert model.median_score_ == float(np.median(model.score_samples(parts[1])))


def test_nested_settings_are_those_of_the_chunk_too():
    model = stream(make(skvae.Autoencoder, latent_density=GaussianMixture(2)), chunks(1))
    model.set_params(latent_density__n_components=5)
    assert model.latent_density_.n_components == 2


def test_the_check_of_a_chunk_does_not_move_networks_of_users():
    def encoder(inputs, outputs):
        return torch.nn.Sequential(torch.nn.BatchNorm1d(inputs), torch.nn.Linear(inputs, outputs))

    model = make(skvae.VAE, encoder=encoder, batch_size=60).partial_fit(table())
    (norm,) = (m for m in model.module_.modules() if isinstance(m, torch.nn.BatchNorm1d))
    assert norm.num_batches_tracked == 2


# -- chunks that would spoil a model --------------------------------------------------------------


@cache
def streamed(cls):
    """For copies only."""
    return stream(make(cls, hidden_layer_sizes=(32,)), chunks(60)[:50])


def long_stream(cls):
    """A model, its score of new rows, and more chunks."""
    model = copy.deepcopy(streamed(cls))
    return model, model.score(new_rows()), chunks(60)[50:]


@pytest.mark.parametrize("cls", [skvae.VAE, skvae.RAE, skvae.AdversarialAE])
@pytest.mark.parametrize("rate", [1.0, 100.0, 1e30])
def test_a_bad_rate_is_halved_or_refused(cls, rate):
    model, before, parts = long_stream(cls)
    own = model.learning_rate_init
    model.set_params(learning_rate_init=rate)
    state = digest(model)
    if rate < 1e30:  # at some half of some half it may go down
        with contextlib.suppress(FloatingPointError):
            model.partial_fit(parts[0])
    else:
        with pytest.raises(FloatingPointError, match="decrease learning_rate_init"):
            model.partial_fit(parts[0])
        assert digest(model) == state
    model.set_params(learning_rate_init=own)
    stream(model, parts[1:6])
    assert model.score(new_rows()) > before - 1.0


@pytest.mark.parametrize("value", [1e6, -1e12, 1e30])
@pytest.mark.parametrize("cls", [skvae.VAE, skvae.HuberEnergyVAE])
def test_a_wild_cell_is_bounded(cls, value):
    model, before, parts = long_stream(cls)
    bad, holed = parts[0].copy(), new_rows().copy()
    bad[7, 2] = value
    holed[:, 1] = np.nan
    inliers = np.mean(model.predict(holed) > 0)
    stream(model, [bad])
    assert model.score(new_rows()) > before - 5.0
    assert np.mean(model.predict(holed) > 0) > inliers - 0.1
    stream(model, parts[1:6])
    assert model.score(new_rows()) > before - 1.0


def test_bounds_follow_a_drift_and_leave_missing_cells():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    assert winsorised(Batch(x)).x is x
    far = x + 1000.0
    assert torch.equal(winsorised(Batch(far)).x, far)  # all moved
    wide = 500.0 * x
    assert torch.equal(winsorised(Batch(wide)).x, wide)
    far[3, 1] = 1e9
    near = winsorised(Batch(far)).x
    assert 1000.0 < near[3, 1] < 1100.0
    near[3, 1] = far[3, 1]
    assert torch.equal(near, far)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:150, 0] = observed[:, 2] = False
    holed = torch.where(observed, far, 0.0)
    rows = winsorised(Batch(holed, observed))
    assert torch.equal(rows.x[~observed], torch.zeros(350))
    assert torch.equal(rows.x[150:, 0], far[150:, 0])
    assert rows.x[3, 1] < 1100.0


# -- blocks of rows -------------------------------------------------------------------------------


def test_blocks_cover_all_rows_and_give_what_one_would():
    X = np.random.default_rng(0).normal(size=(1000, 3))
    for width in (1, 3000, 1 << 19, 1 << 30):
        parts = list(row_blocks(1000, width))
        assert [i for p in parts for i in range(p.start, p.stop)] == list(range(1000))
        found = in_blocks(lambda p: (X[p] ** 2, X[p].sum(1)), 1000, width)
        np.testing.assert_array_equal(found[0], X**2)
        np.testing.assert_array_equal(found[1], X.sum(1))
    some = seeds(7)
    drawn = [next(some) for _ in range(100)]
    assert drawn[0] == 7 and len(set(drawn)) == 100


@pytest.mark.parametrize("estimator", instances(), ids=lambda e: type(e).__name__)
def test_results_do_not_depend_on_blocks(estimator, monkeypatch):
    """But draws beyond the first block, which are others of the same distribution."""
    model = fitted(estimator)
    whole = outputs(model)
    monkeypatch.setattr("skvae.contract.blocks._CELLS", 15)
    parts = outputs(model)
    for name, value in whole.items():
        if name.startswith("sample"):
            assert len(np.unique(parts[name], axis=0)) == len(value)
            few = model.sample(3, random_state=3, noise=name == "sample")
            np.testing.assert_array_equal(parts[name][:3], few)
        else:
            np.testing.assert_allclose(parts[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_blocks_of_draws_have_the_distribution_of_one(monkeypatch):
    model = fitted(skvae.PPCA(2))
    monkeypatch.setattr("skvae.contract.blocks._CELLS", 50)
    X = model.sample(20_000, 0)
    covariance, spread = np.cov(X.T), X.std(0)
    error = np.abs(covariance - model.get_covariance()) / np.outer(spread, spread)
    assert error.max() < 0.05
    following = np.mean((X[10:] - X.mean(0)) * (X[:-10] - X.mean(0)), axis=0) / spread**2
    assert np.abs(following).max() < 0.05  # blocks of ten rows do not repeat each other
