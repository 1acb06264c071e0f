"""Streams of chunks: what is put off until somebody looks, and chunks that would spoil a model."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
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
from skvae.engine.fit import bounded
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
    parts = chunks(4)
    seen, unseen = stream(clone(estimator), parts, look=True), stream(clone(estimator), parts)
    assert vars(unseen).keys() - vars(seen).keys() == {"_unsettled_"}
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
    with pytest.raises(AttributeError, match="only for Gaussian noise that is fitted"):
        model.noise_variance_  # noqa: B018
    with pytest.raises(AttributeError, match="is there after a fit"):
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


# -- chunks that would spoil a model --------------------------------------------------------------


def long_stream(cls, **params):
    """A model, its score of new rows, and more chunks."""
    parts = chunks(60)
    model = stream(make(cls, hidden_layer_sizes=(32,), **params), parts[:50])
    return model, model.score(new_rows()), parts[50:]


@pytest.mark.parametrize("cls", [skvae.VAE, skvae.RAE, skvae.AdversarialAE])
@pytest.mark.parametrize("rate", [1.0, 100.0, 1e30])
def test_a_bad_rate_is_halved_or_refused(cls, rate):
    model, before, parts = long_stream(cls)
    own = model.learning_rate_init
    model.set_params(learning_rate_init=rate)
    state = digest(model)
    try:
        model.partial_fit(parts[0])
    except FloatingPointError as error:
        assert "lower learning_rate_init" in str(error)
        assert digest(model) == state
    model.set_params(learning_rate_init=own)
    stream(model, parts[1:6])
    assert model.score(new_rows()) > before - 1.0


@pytest.mark.parametrize("value", [1e6, -1e12, 1e30])
@pytest.mark.parametrize("cls", [skvae.VAE, skvae.HuberEnergyVAE])
def test_a_wild_cell_is_bounded(cls, value):
    model, before, parts = long_stream(cls)
    bad = parts[0].copy()
    bad[7, 2] = value
    stream(model, [bad])
    assert model.score(new_rows()) > before - 5.0
    stream(model, parts[1:6])
    assert model.score(new_rows()) > before - 1.0


def test_bounds_follow_a_drift_and_leave_missing_cells():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    assert bounded(Batch(x)).x is x
    far = x + 1000.0
    assert torch.equal(bounded(Batch(far)).x, far)  # all moved
    wide = 500.0 * x
    assert torch.equal(bounded(Batch(wide)).x, wide)
    far[3, 1] = 1e9
    near = bounded(Batch(far)).x
    assert 1000.0 < near[3, 1] < 1100.0
    near[3, 1] = far[3, 1]
    assert torch.equal(near, far)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:150, 0] = observed[:, 2] = False
    holed = torch.where(observed, far, 0.0)
    rows = bounded(Batch(holed, observed))
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
        else:
            np.testing.assert_allclose(parts[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
