"""`sample_weight`: rows that count more, less or not at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from contracts import assert_same, instances, interrupt_at, labels, make, outputs, table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data

import skvae
from skvae.contract.generator import BaseGenerator
from skvae.engine.batches import TensorSource
from skvae.engine.workers import Workers
from skvae.nn.batch import Batch
from skvae.sources import BlockSource
from skvae.tables.source import accepted, n_counted, repeated

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {"hidden_layer_sizes": (16,), "random_state": 0}
each = pytest.mark.parametrize("estimator", instances(BaseGenerator), ids=repr)


# -- drawing by weight ----------------------------------------------------------------------------


def test_rows_are_repeated_in_proportion():
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=50)
    share = weights / weights.sum()
    for n in (1, 7, 50, 1000):
        numbers = repeated(weights, n)
        count = np.bincount(numbers, minlength=50)
        assert len(numbers) == n and (np.diff(numbers) >= 0).all()
        assert (np.abs(count - n * share) < 1.0 + 1e-9).all()
    assert_array_equal(repeated(np.array([2.0, 1.0, 3.0]), 6), [0, 0, 1, 2, 2, 2])
    offsets = (np.arange(1000) + 0.5) / 1000
    mean = np.mean([np.bincount(repeated(weights, 50, u), minlength=50) for u in offsets], axis=0)
    assert_allclose(mean, 50 * share, atol=2e-3)


def test_whole_numbers_are_counts():
    assert n_counted(np.array([2.0, 1.0, 3.0])) == 6
    assert n_counted(np.array([2.0, 1.0, 3.5])) == 3


def test_accepted_rows_follow_the_weights_and_none_comes_twice():
    weights = np.array([0.5, 1.0, 2.0])
    share = np.mean([accepted(weights, 2.0, seed) for seed in range(4000)], axis=0)
    assert_allclose(share, [0.25, 0.5, 1.0], atol=0.03)


def test_an_epoch_takes_rows_by_their_weights():
    n, rng = 40, np.random.default_rng(0)
    weights = rng.exponential(size=n)
    source = TensorSource(Batch(torch.arange(n, dtype=torch.float32)[:, None]), weights)
    count = np.zeros(n)
    for epoch in range(2000):
        order = torch.Generator().manual_seed(epoch)
        batches = [b.x[:, 0].long() for b, _ in source.batches(16, order, Workers())]
        assert [len(b) for b in batches] == [13, 13, 14]
        count += np.bincount(torch.cat(batches).numpy(), minlength=n)
    assert_allclose(count / 2000, n * weights / weights.sum(), atol=0.05)


# -- estimators -----------------------------------------------------------------------------------


@each
def test_rows_of_weight_zero_are_left_out_and_equal_weights_are_none(estimator):
    X = table()
    y, weights = labels(X), np.ones(len(X))
    weights[::3] = 0.0
    kept = weights > 0.0
    known = make(type(estimator)).fit(X[kept], y[kept])
    model = make(type(estimator)).fit(X, y, sample_weight=2.5 * weights)
    assert_same(outputs(known), outputs(model))


@each
def test_weights_count(estimator):
    X = table()
    y, weights = labels(X), np.where(X[:, 0] > np.median(X[:, 0]), 5.0, 0.5)
    plain = make(type(estimator)).fit(X, y)
    model = make(type(estimator)).fit(X, y, sample_weight=weights)
    again = make(type(estimator)).fit(X, y, sample_weight=list(weights))
    drawn = model.sample(400, 0)
    assert_array_equal(drawn, again.sample(400, 0))
    assert not np.array_equal(drawn, plain.sample(400, 0))


@pytest.mark.parametrize("n_components", [2, "mle"])
def test_ppca_of_counted_rows_is_that_of_repeated_rows(n_components):
    X = load_wine().data
    counts = np.random.default_rng(0).integers(0, 4, len(X))
    model = skvae.PPCA(n_components).fit(X, sample_weight=counts)
    known = skvae.PPCA(n_components).fit(np.repeat(X, counts, axis=0))
    assert model.n_samples_ == known.n_samples_
    assert_allclose(model.mean_, known.mean_, rtol=1e-12)
    assert_allclose(model.get_covariance(), known.get_covariance(), rtol=1e-8, atol=1e-10)
    assert_allclose(model.score_samples(X), known.score_samples(X), rtol=1e-8)


def test_ppca_has_the_weighted_mean_and_covariance():
    X = load_wine().data
    weights = np.random.default_rng(0).exponential(size=len(X))
    model = skvae.PPCA(12).fit(X, sample_weight=weights)
    assert_allclose(model.mean_, np.average(X, axis=0, weights=weights), rtol=1e-12)
    known = np.cov(X.T, aweights=weights, ddof=0)
    assert_allclose(model.get_covariance(), known, rtol=1e-7, atol=1e-9)
    assert_allclose(skvae.PPCA(12).fit(X, sample_weight=9 * weights).mean_, model.mean_, rtol=1e-12)
    with pytest.raises(ValueError, match="use solver='auto' or 'covariance'"):
        skvae.PPCA(2, solver="svd").fit(X, sample_weight=weights)


def test_ppca_of_weighted_rows_with_missing_values():
    X = load_wine().data
    X[::4, 2] = np.nan
    counts = np.random.default_rng(0).integers(1, 4, len(X))
    model = skvae.PPCA(2).fit(X, sample_weight=counts)
    known = skvae.PPCA(2).fit(np.repeat(X, counts, axis=0))
    assert_allclose(model.score_samples(X), known.score_samples(X), rtol=1e-7)


def test_ppca_passes_the_check_of_scikit_learn():
    """With a threshold by training rows: where rows are held out, copies of one stay together."""
    check_sample_weight_equivalence_on_dense_data("PPCA", skvae.PPCA(2, contamination=0.1))


def two_groups(n=600):
    """Rows of two groups as large as each other, and weights that make one of them four fifths."""
    rng = np.random.default_rng(0)
    group = np.arange(n) % 2
    X = rng.normal(size=(n, 4)) + 6.0 * group[:, None] * np.array([1.0, 1.0, 0.0, 0.0])
    return X, group, np.where(group == 1, 4.0, 1.0) / 3.0


@pytest.mark.parametrize("cls", [skvae.VAE, skvae.RAE])
def test_samples_follow_the_weights(cls):
    X, _, weights = two_groups()
    model = cls(2, **SMALL).fit(X, sample_weight=weights)
    assert abs(np.mean(model.sample(4000, 0)[:, 0] > 3.0) - 0.8) < 0.07


def test_labels_follow_the_weights():
    X, group, weights = two_groups()
    model = skvae.ConditionalVAE(2, **SMALL).fit(X, group, sample_weight=weights)
    assert_allclose(model.class_count_, [120.0, 480.0])
    _, drawn = model.sample(2000, 0, return_y=True)
    assert abs(np.mean(drawn) - 0.8) < 0.03


def test_frames_and_their_marginals():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"kind": np.where(np.arange(400) % 2, "a", "b"), "x": rng.normal(size=400)}
    )
    weights = np.where(frame["kind"] == "a", 3.0, 1.0)
    model = skvae.VAE(1, max_iter=5, **SMALL).fit(frame, sample_weight=weights)
    drawn = model.sample(1000, match_marginals=True, random_state=0)
    assert abs((drawn["kind"] == "a").mean() - 0.75) < 0.01


def test_alarms_keep_their_rate_in_the_weighted_population():
    X, group, weights = two_groups(2000)
    X[group == 1] *= 3.0  # a group that is more spread
    new = X[np.random.default_rng(1).choice(len(X), 4000, p=weights / weights.sum())]
    new = new + np.random.default_rng(2).normal(scale=1e-3, size=new.shape)
    for model in (skvae.PPCA(2), skvae.VAE(2, **SMALL)):
        flagged = np.mean(model.fit(X, sample_weight=weights).predict(new) == -1)
        assert 0.02 < flagged < 0.08, model


def test_a_pipeline_passes_weights():
    X, _, weights = two_groups(100)
    pipe = make_pipeline(StandardScaler(), skvae.PPCA(2)).fit(X, ppca__sample_weight=weights)
    scaled = pipe[0].transform(X)
    assert_allclose(pipe[-1].mean_, np.average(scaled, axis=0, weights=weights))


def test_rare_rows_of_little_weight_are_known():
    """What is constant, or a class, in the heavy rows alone is not so in training."""
    n = 120
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    X[:, 3] = 0.0
    X[:5, 3] = 1.0
    weights = np.where(X[:, 3] == 1.0, 0.01, 1.001)
    model = skvae.VAE(2, max_iter=20, **SMALL).fit(X, sample_weight=weights)
    assert max(model.loss_curve_) < 100.0
    assert np.isfinite(model.score_samples(X)).all()
    frame = pd.DataFrame(X[:, :3], columns=list("abc"))
    frame["kind"] = np.where(X[:, 3] == 1.0, "rare", "usual")
    model = skvae.VAE(2, max_iter=20, **SMALL).fit(frame, sample_weight=weights)
    plain = skvae.VAE(2, max_iter=20, **SMALL).fit(frame)
    gap = plain.score_samples(frame[:5]) - model.score_samples(frame[:5])
    assert (gap < 6.0).all()  # log 50 for a class that is hardly ever seen, not a new value
    assert "rare" in set(model.sample(20000, random_state=0)["kind"])


@pytest.mark.parametrize("noise", ["feature", "network"])
def test_held_out_rows_of_a_weighted_fit_are_distinct(noise):
    """A row of great weight is no crowd: it tells the threshold as much as any other row."""
    X, _, _ = two_groups(200)
    weights = np.ones(len(X))
    weights[:40] = 30.0
    model = skvae.VAE(2, max_iter=10, noise_variance=noise, **SMALL).fit(X, sample_weight=weights)
    assert len(np.unique(model.calibration_scores_)) == len(model.calibration_scores_) <= 20
    model = skvae.PPCA(2).fit(X, sample_weight=weights)
    assert len(np.unique(model.calibration_scores_)) == len(model.calibration_scores_) < 100


def test_a_share_of_outliers_is_one_of_weighted_rows():
    X, _, weights = two_groups(100)
    model = skvae.VAE(2, max_iter=3, contamination=0.1, **SMALL).fit(X, sample_weight=weights)
    scores = model.score_samples(X[repeated(weights, len(X))])
    assert_allclose(model.offset_, np.percentile(scores, 10.0), rtol=1e-6)


def test_a_checkpoint_knows_the_weights(tmp_path, monkeypatch):
    X, _, weights = two_groups(100)
    options = {"max_iter": 90, **SMALL}
    known = skvae.VAE(2, **options).fit(X, sample_weight=weights)
    saved = skvae.TrainingOptions(checkpoint=tmp_path / "fit", checkpoint_interval=300.0)
    model = skvae.VAE(2, training=saved, **options)
    interrupt_at(monkeypatch, 75)
    with pytest.warns(ConvergenceWarning, match="continues from the checkpoint"):
        model.fit(X, sample_weight=weights)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="rows"):
        model.fit(X, sample_weight=1.0001 * weights + 1e-9)
    assert_same(outputs(known, X), outputs(model.fit(X, sample_weight=weights), X))


def test_large_tables_are_sampled_once(monkeypatch):
    X, _, weights = two_groups()
    monkeypatch.setattr("skvae.engine.fit.MOST_ENCODED", 100)
    model = skvae.RAE(2, max_iter=60, **SMALL).fit(X, sample_weight=weights)
    assert abs(np.mean(model.sample(4000, 0)[:, 0] > 3.0) - 0.8) < 0.07


def test_a_warm_start_takes_other_weights():
    X, _, weights = two_groups()
    model = skvae.RAE(2, max_iter=60, warm_start=True, **SMALL).fit(X)
    assert (
        abs(np.mean(model.fit(X, sample_weight=weights).sample(4000, 0)[:, 0] > 3.0) - 0.8) < 0.07
    )


def test_labels_of_another_length_are_refused_where_rows_are_left_out():
    X, group, weights = two_groups(60)
    weights[:7] = 0.0
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        skvae.ConditionalVAE(2).fit(X, np.r_[group, 0], sample_weight=weights)
    with pytest.raises(ValueError, match="positive for at least 2 rows"):
        skvae.VAE(2).fit(X, sample_weight=np.eye(60)[0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"sample_weight\.shape == \(3,\), expected \(60,\)"),
        (np.ones((60, 1)), r"sample_weight\.shape == \(60, 1\)"),
        (-np.ones(60), "finite and at least 0"),
        (np.zeros(60), "at least one non-zero number"),
        (np.full(60, np.nan), "finite and at least 0"),
        (["a"] * 60, "must contain numbers"),
    ],
)
def test_weights_that_make_no_sense(weights, message):
    with pytest.raises(ValueError, match=message):
        skvae.PPCA(2).fit(two_groups(60)[0], sample_weight=weights)


def test_sources_have_no_weights():
    X = two_groups(60)[0]
    with pytest.raises(ValueError, match="only with rows in memory"):
        skvae.VAE(2).fit(BlockSource(lambda: iter([X])), sample_weight=np.ones(60))
