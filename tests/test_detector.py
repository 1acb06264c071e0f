"""The denoising detector: its formulas by hand and by brute force, and what it promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from contracts import fitted, interrupt_at, make, new_rows, table
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

import skvae
from skvae import DenoisingDetector, sources
from skvae.contract.classes import check_state
from skvae.engine.fit import hold_out
from skvae.engine.settings import FitSettings
from skvae.estimators import denoising_detector as module

QUICK = {"hidden_layer_sizes": (32,), "max_iter": 60, "random_state": 0}


def quick(**params):
    return DenoisingDetector(**QUICK | params)


def normal_rows(n, rng):
    """Rows of five features around a plane."""
    W = np.random.default_rng(0).normal(size=(2, 5))
    return rng.normal(size=(n, 2)) @ W + 0.3 * rng.normal(size=(n, 5))


# -- formulas -------------------------------------------------------------------------------------
def test_weights_of_features_by_hand():
    two = np.tile([1.0, -1.0], 300)  # kurtosis 1
    three = np.tile([3**0.5, -(3**0.5), 0.0, 0.0, 0.0, 0.0], 100)  # kurtosis 3
    rare = np.zeros(600)
    rare[:2] = [300**0.5, -(300**0.5)]  # kurtosis 300
    z = np.c_[two, three, rare, np.zeros(600)]
    expected = np.array([1 / (0.5 * (1 - 0.66)), 2.0, 1 / 3, 1.0])
    expected /= np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(module.feature_weights(z), expected, rtol=1e-12)
    np.testing.assert_allclose(module.feature_weights(z[:, :1]), 1.0)


def _denoiser(variance, hidden=(6,)):
    denoiser = module.Denoiser(hidden, torch.as_tensor(variance))
    denoiser.network.initialise(torch.Generator().manual_seed(1))
    return denoiser.double()


def test_without_its_network_a_denoiser_is_the_posterior_mean_of_a_normal():
    v = np.array([0.5, 2.0, 1.0])
    denoiser = _denoiser(v)
    for parameter in denoiser.network.parameters():
        parameter.data.zero_()
    rng = np.random.default_rng(0)
    x, e = rng.normal(size=(4, 3)), rng.normal(size=(2, 3))
    for s in (0.1, 1.0, 4.0):
        found = denoiser(torch.tensor(x), torch.full((4, 1), s, dtype=torch.float64))
        np.testing.assert_allclose(found.detach(), v / (v + s * s) * x, rtol=1e-12)
        errors = denoiser.errors(torch.tensor(x), s, torch.tensor(e)).numpy()
        expected = (v**2 * np.mean(e**2, axis=0) + s**2 * x**2) / (v + s * s) ** 2
        np.testing.assert_allclose(errors, expected, rtol=1e-10)


def test_targets_of_the_network_are_those_that_give_the_rows():
    v = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    denoiser = _denoiser(v)
    rng = np.random.default_rng(0)
    x, noisy = torch.tensor(rng.normal(size=(4, 3))), torch.tensor(rng.normal(size=(4, 3)))
    level = torch.tensor([[0.1], [0.5], [1.0], [3.0]], dtype=torch.float64)
    F = denoiser.targets(x, noisy, level)
    c = (v + level**2).rsqrt()
    np.testing.assert_allclose(noisy * c * c * v + level * c * v.sqrt() * F, x, rtol=1e-10)
    loss = module.Denoising(denoiser.float())
    batch = module.Batch(x.float())
    found = loss.losses(batch, torch.Generator().manual_seed(3))["denoising"]
    rng3 = torch.Generator().manual_seed(3)
    levels = torch.empty(4, 1).uniform_(np.log(0.05), np.log(3.0), generator=rng3).exp()
    noise = torch.empty(4, 3).normal_(generator=rng3)
    noisy = batch.x + levels * noise
    difference = denoiser.outputs(noisy, levels) - denoiser.targets(batch.x, noisy, levels)
    assert found.item() == pytest.approx(difference.square().mean().item(), rel=1e-6)


def _mean_distance(x, rows, k):
    return np.sort(np.sqrt(((rows - x) ** 2).sum(axis=1)))[:k].mean()


def _spreads(rows, k):
    """Mean distances of rows to the k nearest others."""
    return np.array([_mean_distance(x, np.delete(rows, i, 0), k) for i, x in enumerate(rows)])


def _log_ratio(x, rows, k, nearest, unit):
    """By brute force, for one row that is none of the rows."""
    numbers = np.argsort(((rows - x) ** 2).sum(axis=1))[:k]
    far, around = np.log(_mean_distance(x, rows, nearest)), np.log(_spreads(rows, k)[numbers])
    return 2.0 * far - np.mean(around) - np.log(unit)


@pytest.mark.parametrize("k", [1, 4])
def test_ratios_of_distances_by_brute_force(k):
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(30, 3)), rng.normal(size=(7, 3))
    near, spreads = module.Neighbours(rows, k), _spreads(rows, k)
    unit, nearest = np.median(spreads), min(k, 3)
    expected = [_log_ratio(x, rows, k, nearest, unit) for x in new]
    np.testing.assert_allclose(near.log_ratios(new, 3), expected, rtol=1e-9, atol=1e-9)
    without = [np.delete(rows, i, axis=0) for i in range(30)]
    expected = [_log_ratio(x, w, k, nearest, unit) for x, w in zip(rows, without, strict=True)]
    found = near.log_ratios(rows, 3, np.arange(30))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    some = np.array([3, 17])
    np.testing.assert_allclose(near.log_ratios(rows[some], 3, some), found[some], atol=1e-9)
    # a row that equals one of the rows has it for a neighbour, at a tenth of a usual distance
    numbers = np.argsort(((rows - rows[0]) ** 2).sum(axis=1))[:k]
    expected = 2.0 * np.log(0.1) - np.log(spreads[numbers] / unit).mean()
    assert near.log_ratios(rows[:1], 1) == pytest.approx(expected)


def test_ratios_of_a_few_rows_and_of_equal_ones():
    near = module.Neighbours(np.array([[0.0], [1.0]]), 5)
    assert near.k == 1
    # a new row is 1 from its neighbour, which is 1 from its own
    np.testing.assert_allclose(near.log_ratios(np.array([[2.0]]), 3), [0.0], atol=1e-12)
    same = module.Neighbours(np.zeros((9, 2)), 3)
    assert np.isfinite(same.log_ratios(np.array([[0.0, 0.0], [1.0, 0.0]]), 3)).all()


def test_wide_distances_by_brute_force(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4))
    values, axes = np.linalg.eigh(np.cov(rows.T))
    turned = rows @ axes * np.maximum(values / values.mean(), 0.01) ** -0.25
    expected = [_mean_distance(x, np.delete(turned, i, axis=0), 8) for i, x in enumerate(turned)]
    np.testing.assert_allclose(module.wide_distances(rows), expected, rtol=1e-6)
    monkeypatch.setattr(module, "_LARGEST_SAMPLE", 40)  # every second row tells
    values, axes = np.linalg.eigh(np.cov(rows[::2].T))
    turned = rows @ axes * np.maximum(values / values.mean(), 0.01) ** -0.25
    for i in (0, 1, 7):
        some = np.delete(turned, i, axis=0)[1::2] if i == 0 else turned[::2]
        assert module.wide_distances(rows)[i] == pytest.approx(_mean_distance(turned[i], some, 5))


@pytest.mark.parametrize("few", [0, 1000])
def test_scores_are_those_of_the_formulas(few, monkeypatch):
    """With few rows all of them are trained on in the end."""
    monkeypatch.setattr(module, "_FEW", few)
    X, new = table(), new_rows()
    model = quick().fit(X)
    held_out = hold_out(len(X), FitSettings(holds_out=True, held_out_fraction=0.1), 0)
    train = X if few else np.delete(X, held_out, axis=0)
    weights = module.feature_weights((train - train.mean(axis=0)) / train.std(axis=0))

    def features(rows):
        return (rows - train.mean(axis=0)) / train.std(axis=0) * weights

    levels = np.geomspace(0.05, 4.0, 8)
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn((8, 3, 5), generator=rng, dtype=torch.float64)

    def errors(rows):
        x, found = torch.tensor(features(rows)), []
        for s, half in zip(levels, noise, strict=True):
            level = torch.full((len(x), 1), s, dtype=torch.float64)
            each = [(model._denoiser_(x + s * e, level) - x) / s for e in torch.cat([half, -half])]
            found.append(torch.stack(each).square().sum(2).mean(0).detach().numpy())
        return np.array(found).T

    usual = errors(train).mean(axis=0)
    unit = np.median(_spreads(features(X), 5))

    def score(row, rows):
        r = errors(row[None])[0] / usual
        return -np.log(r).mean() - _log_ratio(features(row), features(rows), 5, 3, unit)

    expected = [score(row, X) for row in new]
    np.testing.assert_allclose(model.score_samples(new), expected, rtol=1e-6, atol=1e-6)
    largest = (errors(X) / usual).max(axis=1)
    expected = -np.log(largest) - 2.0 * np.log(module.wide_distances(features(X)))
    np.testing.assert_allclose(model.training_scores_, expected, rtol=1e-6)
    if not few:  # rows held out are scored as if they were no rows of the fit
        expected = np.sort([score(X[i], np.delete(X, i, axis=0)) for i in held_out])
        np.testing.assert_allclose(model.calibration_scores_, expected, rtol=1e-6, atol=1e-6)


# -- what it tells --------------------------------------------------------------------------------
def test_in_one_normal_distribution_scores_follow_the_distance_of_mahalanobis():
    rng = np.random.default_rng(0)
    scale = np.array([0.1, 1.0, 30.0])
    model = DenoisingDetector(random_state=0).fit(rng.normal(size=(600, 3)) * scale)
    new = rng.normal(size=(300, 3))
    new *= np.linspace(0.0, 6.0, 300)[:, None] / np.linalg.norm(new, axis=1)[:, None]
    assert spearmanr(model.score_samples(new * scale), -np.linalg.norm(new, axis=1))[0] > 0.85


def test_new_rows_are_flagged_at_the_rate():
    rng = np.random.default_rng(1)
    shares = []
    for seed in range(25):
        model = quick(false_alarm_rate=0.1, random_state=seed, max_iter=20)
        shares.append(np.mean(model.fit(normal_rows(150, rng)).predict(normal_rows(200, rng)) < 0))
    error = np.std(shares) / 5.0
    assert len(model.calibration_scores_) == 19
    assert np.mean(shares) < 0.1 + 3.0 * error
    assert np.mean(shares) > 0.1 - 0.03 - 3.0 * error


def test_outliers_among_the_rows_of_the_fit_are_another_task():
    """A cluster of outliers has near neighbours, and the network has learned it."""
    rng = np.random.default_rng(0)
    odd = 0.1 * rng.normal(size=(10, 5)) + 4.0 * rng.normal(size=5)
    X, y = np.vstack([normal_rows(200, rng), odd]), np.repeat([0, 1], [200, 10])
    model = quick().fit(X)
    own = roc_auc_score(y, -model.training_scores_)
    assert own > 0.95
    assert own > roc_auc_score(y, -model.score_samples(X)) + 0.05
    labels = quick(contamination=10 / 210).fit_predict(X)
    assert np.sum(labels == -1) == 10
    assert np.mean(labels[200:] == -1) > 0.5
    clean = quick().fit(X[:200])
    assert (clean.predict(odd) == -1).all()


def test_labels_of_the_fit_have_the_share():
    X = table()
    model = quick(false_alarm_rate=0.1)
    labels = model.fit_predict(X)
    assert np.sum(labels == -1) == 12
    assert set(np.flatnonzero(labels == -1)) == set(np.argsort(model.training_scores_)[:12])
    assert np.sum(quick(contamination=0.25).fit_predict(X) == -1) == 30


def test_contamination_sets_the_threshold_of_new_rows():
    X = table()
    model = quick(contamination=0.1).fit(X)
    own = model._scores(model._features_.of(module.ArraySource(X)), np.arange(120))
    assert np.sum(own < model.offset_) == 12
    assert np.sum(model.predict(X) == -1) <= 12  # taken for new ones, they have themselves near


def test_rows_held_out_set_the_threshold():
    X = table()
    model = quick().fit(X)
    assert len(model.calibration_scores_) == 19
    assert model.offset_ == model.calibration_scores_[0]
    few = quick().fit(X[:19])
    assert len(few.calibration_scores_) == 19
    with pytest.raises(ValueError, match="call calibrate"):
        few.p_values(X)
    few.calibrate(new_rows())
    assert len(few.p_values(X)) == len(X)


def test_the_corrupted_cell_is_the_cause():
    rng = np.random.default_rng(0)
    model = DenoisingDetector(random_state=0).fit(normal_rows(500, rng))
    new = normal_rows(100, rng)
    cells = rng.integers(5, size=100)
    new[np.arange(100), cells] += 4.0 * new.std(axis=0)[cells]
    shares = model.score_features(new)
    assert np.mean(shares.argmin(axis=1) == cells) > 0.7
    error = model._errors(model._features_.of(module.ArraySource(new))).sum(axis=2)
    np.testing.assert_allclose(shares.sum(axis=1), -(error / model._usual_).mean(axis=1))


# -- rows of all kinds ----------------------------------------------------------------------------
def _people(n, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 80, n)
    work = np.where(age > 65, "retired", rng.choice(["office", "shop"], n))
    return pd.DataFrame({"age": age, "work": work, "hours": np.where(age > 65, 0.0, 40.0)})


def test_frames_with_labels_and_holes():
    frame = _people(300)
    model = quick(max_iter=None).fit(frame)
    odd = pd.DataFrame({"age": [20.0], "work": ["retired"], "hours": [40.0]})
    usual = _people(50, seed=1)
    assert model.score_samples(odd)[0] < np.quantile(model.score_samples(usual), 0.05)
    x = model._features_.of(model._check_training(frame, None, False))
    assert x.shape == (300, 5)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-9)
    together = np.r_[module.feature_weights(x[:, :2] / x[:, :2].std(axis=0)), 1.0, 1.0, 1.0]
    together /= np.sqrt(np.mean(together**2))
    np.testing.assert_allclose(x[:, :2].std(axis=0), together[:2])
    assert x[:, 2:].var(axis=0).sum() == pytest.approx(together[2] ** 2)
    assert model.score_features(odd).shape == (1, 3)
    holes = usual.copy()
    holes.loc[::3, "work"] = None
    holes.loc[1::3, "age"] = np.nan
    scores = model.score_samples(holes)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[2::3], model.score_samples(usual)[2::3])
    missing = model._features_.of(model._check_training(holes, None, False))
    assert (missing[::3, 2:] == 0.0).all()
    np.testing.assert_allclose(missing[1::3, 0], 0.0, atol=1e-12)
    assert np.isfinite(quick().fit(holes).training_scores_).all()
    with pytest.raises(ValueError, match=r"'work'.*school"):
        model.predict(pd.DataFrame({"age": [30.0], "work": ["school"], "hours": [30.0]}))


def test_images_are_rows():
    images = np.random.default_rng(0).random((40, 1, 4, 4))
    model = quick().fit(images)
    flat = quick().fit(images.reshape(40, 16))
    np.testing.assert_array_equal(model.training_scores_, flat.training_scores_)
    np.testing.assert_array_equal(
        model.score_samples(images), flat.score_samples(images[:, 0].reshape(40, 16))
    )
    with pytest.raises(ValueError, match="images of shape"):
        model.predict(images[:, :, :2])


def test_tables_that_follow_one_another():
    X = table()
    parts = sources.BlockSource(lambda: iter([X[:50], X[50:]]))
    model = quick().fit(parts)
    np.testing.assert_array_equal(model.training_scores_, quick().fit(X).training_scores_)
    np.testing.assert_allclose(model.score_samples(parts), model.score_samples(X), rtol=1e-9)


def test_units_cancel():
    X, new = table(), new_rows()
    scale, shift = 1000.0, np.linspace(-3e3, 3e3, 5)
    a, b = quick().fit(X), quick().fit(scale * X + shift)
    np.testing.assert_allclose(
        b.score_samples(scale * new + shift), a.score_samples(new), atol=1e-3
    )
    np.testing.assert_allclose(b.training_scores_, a.training_scores_, atol=1e-3)


def test_single_precision_tells_the_same():
    X, new = table(), new_rows()
    a, b = quick().fit(X), quick().fit(X.astype(np.float32))
    found = b.score_samples(new.astype(np.float32))
    assert found.dtype == np.float64
    assert spearmanr(found, a.score_samples(new))[0] > 0.99


def test_a_constant_column_has_a_scale():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(100, 2)), np.zeros(100), np.full(100, 50.0)]
    model = quick().fit(X)
    usual = np.median(model.score_samples(X))
    near = X[:20] + np.array([0.0, 0.0, 0.05, 1.0])
    assert np.median(model.score_samples(near)) > usual - 5.0
    assert (model.predict(X[:5] + np.array([0.0, 0.0, 100.0, 0.0])) == -1).all()


def test_many_rows_are_scored_like_few():
    model, X = fitted(make(DenoisingDetector)), np.tile(new_rows(), (150, 1))
    few = model.score_samples(new_rows())
    np.testing.assert_allclose(model.score_samples(X), np.tile(few, 150), rtol=1e-7)
    one = np.concatenate([model.score_samples(x[None]) for x in new_rows()])
    np.testing.assert_allclose(one, few, rtol=1e-7)


# -- the rest -------------------------------------------------------------------------------------
def test_a_progress_line(capsys):
    model = quick(verbose=1, max_iter=3).fit(table())
    assert "DenoisingDetector: epoch 3/3, loss" in capsys.readouterr().out
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_the_budget_is_one_of_steps():
    model = DenoisingDetector(hidden_layer_sizes=(4,), random_state=0).fit(table())
    n_batches = -(-101 // 64)  # of 120 rows 19 are held out
    assert model.n_iter_ == 1200 // n_batches


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("_neighbours_", "which", np.full((120, 6), 120)),
        ("_neighbours_", "k", 10**6),
        ("_features_", "location", np.zeros(3)),
        ("_denoiser_", "variance", np.ones(3)),
        ("_denoiser_", "network.layers.0.weight", np.ones((32, 3))),
    ],
)
def test_a_state_whose_parts_do_not_fit_is_refused(part, name, value):
    state = quick(max_iter=1).fit(table()).__getstate__()
    check_state(DenoisingDetector, state)
    state[part] = {**state[part], name: value}
    with pytest.raises(ValueError, match=r"not|none|entries"):
        check_state(DenoisingDetector, state)


def test_it_goes_to_a_file(tmp_path):
    model = quick(max_iter=2).fit(_people(60))
    model.save(tmp_path / "model.skvae")
    again = skvae.load(tmp_path / "model.skvae")
    new = _people(9, seed=2)
    np.testing.assert_array_equal(again.score_samples(new), model.score_samples(new))
    np.testing.assert_array_equal(again.p_values(new), model.p_values(new))


# -- what a second reader found --------------------------------------------------------------------
def test_missing_cells_have_no_part_in_means_and_weights():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=400), "label": rng.choice(["a", "b", "c"], 400)})
    frame.loc[::2, ["label", "x"]] = None
    frame.loc[0, "x"] = 0.3
    detector = quick(max_iter=1).fit(frame)
    features = detector._features_
    rows = detector._check_X(frame)
    x = features.of(module.ArraySource(rows), missing=np.nan)
    assert np.abs(np.nanmean(x, axis=0)).max() < 0.1
    np.testing.assert_allclose(np.nanvar(x[:, 1:], axis=0).sum(), np.nanvar(x[:, 0]), rtol=1.0)
    z = np.array([[1.0], [-1.0], [np.nan], [np.nan]])
    np.testing.assert_array_equal(module.feature_weights(np.c_[z, z]), 1.0)
    both = module.feature_weights(np.c_[z, [[2.0], [-2.0], [0.0], [0.0]]])
    assert both[0] / both[1] == pytest.approx((1 + 0.33 * 5) / (1 - 0.33 * 2))


def test_an_interrupt_ends_the_fit_with_the_network_that_set_the_threshold(monkeypatch):
    rows = normal_rows(100, np.random.default_rng(0))
    interrupt_at(monkeypatch, 450)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        detector = quick(max_iter=300).fit(rows)
    assert detector.n_iter_ < 300
    assert detector._neighbours_.rows.shape[0] == 100


def test_rows_without_cells_set_no_threshold():
    rows = normal_rows(200, np.random.default_rng(0))
    rows[::5] = np.nan
    detector = quick().fit(rows)
    plan = FitSettings(holds_out=True, held_out_fraction=module._HELD_OUT, false_alarm_rate=0.05)
    n_held_out = len(hold_out(200, plan, 0))
    assert len(detector.calibration_scores_) < n_held_out


def test_a_network_of_a_stranger_is_not_built_before_its_sizes_fit():
    weights = quick().fit(normal_rows(60, np.random.default_rng(0))).__getstate__()["_denoiser_"]
    with pytest.raises(ValueError, match="not those of a network"):
        module._restored({**weights, "network.layers.0.bias": np.zeros(10**7)})
    with pytest.raises(ValueError, match="not positive"):
        module._restored({**weights, "variance": 0.0 * weights["variance"]})
