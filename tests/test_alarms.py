"""Alarms: thresholds and p-values that keep their word on rows that a model has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from contracts import each_detector, fit, fitted, make, new_rows, table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skvae
from skvae.contract import alarms
from skvae.engine.fit import hold_out
from skvae.engine.settings import FitSettings

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SCORES = st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3), min_size=1, max_size=60)


def normal_rows(n, rng):
    """Rows of five features around a plane."""
    W = np.random.default_rng(0).normal(size=(2, 5))
    return rng.normal(size=(n, 2)) @ W + 0.3 * rng.normal(size=(n, 5))


# -- the rule -------------------------------------------------------------------------------------
@settings(deadline=None)
@given(known=SCORES, new=SCORES, rate=st.floats(0.001, 0.999))
def test_alarms_are_the_rows_whose_p_value_is_at_most_the_rate(known, new, rate):
    known, new = np.sort(np.array(known, float)), np.array(new, float)
    p = alarms.p_values(new, known)
    m = len(known)
    np.testing.assert_array_equal(
        p, [(1 + sum(c <= s for c in known)) / (m + 1) for s in new], strict=True
    )
    if alarms.n_alarms(m, rate):
        below = new < alarms.threshold(known, rate)
        np.testing.assert_array_equal(below, p <= rate * (1 + 1e-12))


@given(scores=SCORES, rate=st.floats(0.001, 0.999))
def test_the_chance_of_an_alarm_is_at_most_the_rate(scores, rate):
    """Whichever of exchangeable scores is the new one."""
    scores = np.array(scores)
    others = [np.sort(np.delete(scores, i)) for i in range(len(scores))]
    p = np.array([alarms.p_values(s[None], o)[0] for s, o in zip(scores, others, strict=True)])
    assert np.mean(p <= rate) <= rate + 1e-12
    if len(set(scores)) == len(scores):  # without ties it is as near as it can be
        assert np.sum(p <= rate + 1e-9) == alarms.n_alarms(len(scores) - 1, rate)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.05, 0.03, 0.01, 0.003])
def test_the_fewest_rows_that_tell_a_rate(rate):
    least = alarms.least_rows(rate)
    assert alarms.n_alarms(least, rate) == 1
    assert alarms.n_alarms(least - 1, rate) == 0


@given(scores=SCORES, rate=st.floats(1e-6, 0.9))
def test_the_tail_begins_where_scores_end(scores, rate):
    known = np.sort(np.array(scores, float))
    if not alarms.n_alarms(len(known), rate):
        found = alarms.threshold(known, rate)
        assert found <= known[0] + 1e-9 * max(1.0, abs(known[0]))
        assert alarms.threshold(known, rate / 10.0) <= found


@pytest.mark.parametrize(("m", "rate"), [(10, 0.01), (20, 0.01), (60, 0.01), (10, 0.05)])
def test_the_tail_of_few_scores_has_the_rate(m, rate):
    """About, where roots of the distances below the true median are exponential: it is unknown."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(4000):
        distance = rng.exponential(size=m) * rng.choice([-1, 1], size=m)
        known = np.sort(-np.sign(distance) * distance**2)
        found = alarms.threshold(known, rate)
        shares.append(0.5 * np.exp(-np.sqrt(-found)) if found < 0 else 0.5)
    error = np.std(shares) / len(shares) ** 0.5
    assert abs(np.mean(shares) - rate) < 0.3 * rate + 3.0 * error


def test_the_tail_of_equal_and_of_impossible_scores():
    assert alarms.threshold(np.full(9, 2.5), 0.01) == 2.5
    assert alarms.threshold(np.array([-1.0]), 0.01) == -1.0
    assert alarms.threshold(np.array([-1e300, -1.0, 0.0, 1.0]), 0.01) < -1e300


# -- detectors ------------------------------------------------------------------------------------
@each_detector
def test_p_values_and_alarms_agree(estimator):
    model = clone(estimator).set_params(false_alarm_rate=0.2)
    model = fit(model, table())
    known = model.calibration_scores_
    assert (np.diff(known) >= 0).all() and np.isfinite(known).all()
    rows = np.vstack([new_rows(), 30.0 * new_rows()])
    p = model.p_values(rows)
    np.testing.assert_array_equal(
        p, alarms.p_values(model.offset_ + model.decision_function(rows), known)
    )
    assert p.min() >= 1.0 / (len(known) + 1) and p.max() <= 1.0
    assert p.dtype == np.float64
    np.testing.assert_array_equal(model.predict(rows) == -1, p <= 0.2)
    assert (p[40:] == 1.0 / (len(known) + 1)).mean() > 0.9


@each_detector
def test_scores_that_calibrate_are_those_of_rows_left_out(estimator):
    model = fitted(estimator)
    rows = table()
    trained = np.median(model.decision_function(rows) + model.offset_)
    n = len(model.calibration_scores_)
    if isinstance(model, skvae.PPCA):
        assert n == len(rows)
        return
    assert n == 19
    fresh = rows[hold_out(len(rows), model._fit_settings(0), model._fitted_.state.seed)]
    own = np.sort(model.decision_function(fresh) + model.offset_)
    assert np.median(model.calibration_scores_) <= trained + np.ptp(own)
    if model._relative:  # their own noise is set by residuals alone, and they know nothing of it
        assert np.mean(model.calibration_scores_) < np.mean(own)


@pytest.mark.parametrize(
    ("model", "n", "splits"),
    [
        (skvae.PPCA(2), 40, 200),
        (skvae.PPCA(2), 12, 200),
        (skvae.PPCA(2), 700, 40),
        (make(skvae.VAE, max_iter=60), 60, 60),
        pytest.param(make(skvae.HuberEnergyVAE, max_iter=60), 60, 60, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("rate", [0.1])
def test_new_rows_are_flagged_at_the_rate(model, n, splits, rate):
    rng = np.random.default_rng(5)
    shares, p = [], []
    for _ in range(splits):
        detector = clone(model).set_params(false_alarm_rate=rate).fit(normal_rows(n, rng))
        new = normal_rows(200, rng)
        shares.append(np.mean(detector.predict(new) == -1))
        p.append(detector.p_values(new[:1])[0])
    error, m = np.std(shares) / splits**0.5, len(detector.calibration_scores_)
    assert abs(np.mean(shares) - alarms.n_alarms(m, rate) / (m + 1)) < 0.02 + 3.0 * error
    assert np.mean(shares) < rate + 3.0 * error
    excess = np.max(np.arange(1, splits + 1) / splits - np.sort(p))
    assert excess < (np.log(1000.0) / (2.0 * splits)) ** 0.5


def test_false_discoveries_are_controlled():
    """Benjamini and Hochberg's rule on p-values of one model, a tenth of the rows outliers."""
    rng = np.random.default_rng(1)
    shares, power = [], []
    for _ in range(100):
        model = skvae.PPCA(2).fit(normal_rows(1000, rng))
        new = np.vstack([normal_rows(90, rng), normal_rows(10, rng) + 3.0 * rng.normal(size=5)])
        found = false_discovery_control(model.p_values(new)) <= 0.2
        shares.append(np.sum(found[:90]) / max(1, np.sum(found)))
        power.append(np.mean(found[90:]))
    assert np.mean(shares) < 0.2 * 0.9 + 3.0 * np.std(shares) / 10.0
    assert np.mean(power) > 0.5


def test_rows_with_missing_cells_have_p_values_too():
    rng = np.random.default_rng(2)
    p = []
    for _ in range(60):
        X = normal_rows(250, rng)
        X[rng.random(X.shape) < 0.2] = np.nan
        p.append(skvae.PPCA(2).fit(X[:150]).p_values(X[150:]))
    shares = np.mean(np.array(p) <= 0.1, axis=1)
    assert abs(np.mean(shares) - 0.1) < 0.01 + 3.0 * np.std(shares) / len(p) ** 0.5


@pytest.mark.parametrize(
    ("n", "rate", "expected"),
    [
        (19, 0.01, 0),
        (20, 0.01, 5),
        (40, 0.1, 9),
        (100, 0.1, 19),
        (100, 0.05, 19),
        (494, 0.01, 49),
        (495, 0.01, 99),
        (1000, 0.01, 99),
        (3000, 0.01, 299),
        (3000, 0.03, 299),
        (100_000, 0.01, 1999),
        (1000, 1e-7, 100),
    ],
)
def test_how_many_rows_are_held_out(n, rate, expected):
    settings = skvae.VAE(false_alarm_rate=rate)._fit_settings(0)
    assert len(hold_out(n, settings, 0)) == expected
    none = skvae.VAE(training=skvae.TrainingOptions(held_out_fraction=0.0))
    assert len(hold_out(n, none._fit_settings(0), 0)) == 0


# -- warnings, errors, calibrate ------------------------------------------------------------------
@pytest.mark.filterwarnings("error:.* rows are too few for the threshold")
def test_a_warning_where_rows_are_too_few_for_the_rate():
    X = table()
    model = make(skvae.VAE, false_alarm_rate=0.01).fit(X)
    with pytest.warns(
        UserWarning, match=r"^20 held-out rows .*rate=0.01, which needs 99.* at least 0.048"
    ):
        model.predict(X)
    model.score_samples(X), model.decision_function(X), model.transform(X), model.p_values(X)
    make(skvae.VAE).fit(X).predict(X)
    make(skvae.VAE, contamination=0.01).fit(X).predict(X)
    skvae.PPCA(2).fit(X).predict(X)
    with pytest.warns(UserWarning, match=r"^10 held-out rows .* at least 0.091"):
        skvae.PPCA(2, false_alarm_rate=0.01).fit(X[:10]).predict(X)


@pytest.mark.filterwarnings("error:.* rows are too few for the threshold")
def test_the_rate_that_the_warning_names_is_enough():
    known = np.arange(21.0)
    for n in range(1, 22):
        rate = np.ceil(1000.0 / (n + 1)) / 1000.0
        assert alarms.n_alarms(n, rate) == 1
        assert alarms.threshold(known[:n], rate) == 0.0


def test_a_fold_of_ppca_may_hold_all_that_is_known():
    X = np.full((12, 3), np.nan)
    X[:3] = np.random.default_rng(0).normal(size=(3, 3))
    model = skvae.PPCA(2).fit(X)
    assert np.isfinite(model.offset_)
    assert model.p_values(X[:3]).shape == (3,)


def test_models_that_have_seen_all_their_rows_give_no_p_values():
    X = table()
    for model in (
        make(skvae.VAE, training__held_out_fraction=0.0).fit(X),
        make(skvae.VAE).fit(X[:19]),
        make(skvae.VAE).partial_fit(X),
        skvae.PPCA(2).partial_fit(X),
        skvae.PPCA(2).fit(X[:9]),
    ):
        with pytest.raises(ValueError, match=r"call calibrate\(X\)"):
            model.p_values(X)
        assert np.isfinite(model.offset_)
    with pytest.raises(NotFittedError):
        skvae.VAE().p_values(X)


def test_calibrate_takes_rows_of_ones_own(tmp_path):
    X, fresh = table(), new_rows()
    for model in (make(skvae.VAE).partial_fit(X), skvae.PPCA(2).fit(X)):
        model.set_params(false_alarm_rate=0.1)
        assert model.calibrate(fresh) is model
        np.testing.assert_array_equal(
            model.calibration_scores_, np.sort(model.score_samples(fresh))
        )
        assert np.sum(model.predict(fresh) == -1) == alarms.n_alarms(40, 0.1) - 1
        expected = model.p_values(X)
        model.save(tmp_path / "file.skvae")
        np.testing.assert_array_equal(skvae.load(tmp_path / "file.skvae").p_values(X), expected)
        model.partial_fit(X)
        with pytest.raises(ValueError, match="call calibrate"):
            model.p_values(X)


def test_calibrate_leaves_a_model_as_it_was_where_it_fails():
    model = make(skvae.VAE).fit(table())
    before = model.offset_, model.calibration_scores_
    with pytest.raises(ValueError, match="features"):
        model.calibrate(new_rows()[:, :2])
    assert model.offset_ == before[0] and model.calibration_scores_ is before[1]
    model = skvae.PPCA(2).fit(table())
    before = model.offset_, model.calibration_scores_
    with pytest.raises(ValueError, match="density zero"):
        model.calibrate(np.full((3, 5), 1e250))
    assert model.offset_ == before[0] and model.calibration_scores_ is before[1]


def test_a_column_that_varies_in_held_out_rows_alone_has_their_scale():
    """Before, one such row inflated the noise of all columns, and another value cost 1e10 nats."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(100, 3)), np.zeros(100)]
    plan = FitSettings(holds_out=True, held_out_fraction=0.1)
    held_out = hold_out(100, plan, 0)
    X[held_out[:2], 3] = [1.0, 2.0]
    model = skvae.VAE(max_iter=300, random_state=0).fit(X)
    scale = model._fitted_.schema.scale[3]
    assert scale == pytest.approx(X[:, 3].std())
    assert model.score_samples(X[held_out]).min() > -1e4
    # for the threshold each of these rows is scored by the scale that the other one gives
    assert np.sort(model.calibration_scores_)[2:].min() > -50.0
    assert (model.predict(X) == 1).mean() > 0.9
    assert model._fitted_.model.likelihood.variance[:3].max() < 10.0  # it was above 1e9


def test_fixed_noise_is_in_the_units_of_rows_whoever_sets_their_scale():
    X = np.c_[np.random.default_rng(0).normal(size=(100, 2)), np.zeros(100)]
    plan = FitSettings(holds_out=True, held_out_fraction=0.1)
    X[hold_out(100, plan, 0)[:2], 2] = [1.0, 2.0]
    model = skvae.VAE(noise_variance=0.5, max_iter=5, random_state=0).fit(X)
    np.testing.assert_allclose(model.noise_variance_, 0.5, rtol=1e-5)
