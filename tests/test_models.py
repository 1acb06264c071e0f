"""The learned estimators: regimes, scaling, parameters that matter, networks of one's own."""

import pickle
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from contracts import build
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from skvae import (
    VAE,
    Autoencoder,
    ConditionalVAE,
    DenoisingAE,
    HuberEnergyVAE,
    NetworkOptions,
    energy_distance,
)
from skvae.contract import progress
from skvae.engine.fit import Curves
from skvae.engine.trainer import History
from skvae.extend import Penalty
from skvae.nn.kl_term import KL
from skvae.nn.networks import Linear

LEARNED = [VAE, HuberEnergyVAE, Autoencoder, DenoisingAE]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def table(n=200, d=6, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, 2) @ rng.randn(2, d) + 0.3 * rng.randn(n, d)


def small(cls, **parameters):
    return build(
        cls,
        **{
            "n_components": 2,
            "hidden_layer_sizes": (8,),
            "max_iter": 5,
            "random_state": 0,
            **parameters,
        },
    )


@pytest.mark.parametrize("cls", LEARNED)
def test_fit_on_other_units_gives_the_same_codes_and_shifts_the_density(cls):
    X = table()
    a, b = np.array([1e-6, 2.0, 5.0, 1e3, 0.1, 1e8]), np.array([3.0, 0.0, -7.0, 1e5, 1.0, 1e9])
    plain, scaled = small(cls).fit(X), small(cls).fit(a * X + b)
    np.testing.assert_allclose(scaled.transform(a * X + b), plain.transform(X), atol=1e-3)
    shift = plain.score_samples(X) - np.log(a).sum()
    np.testing.assert_allclose(scaled.score_samples(a * X + b), shift, atol=1e-2)
    np.testing.assert_allclose(scaled.noise_variance_, a**2 * plain.noise_variance_, rtol=1e-3)


def test_early_stopping_parameters_change_the_result():
    X = table(100)
    common = {"early_stopping": True, "max_iter": 600, "hidden_layer_sizes": (64,)}
    common["learning_rate_init"] = 6e-3
    base = small(VAE, training__patience=2, training__tol=0.1, **common).fit(X)
    assert base.n_iter_ < 600 and len(base.loss_curve_) == base.n_iter_
    assert len(base.validation_scores_) >= 3
    longer = small(VAE, training__patience=4, training__tol=0.1, **common).fit(X)
    assert longer.n_iter_ > base.n_iter_
    tolerant = small(VAE, training__patience=2, training__tol=10.0, **common).fit(X)
    assert tolerant.n_iter_ < longer.n_iter_
    share = small(VAE, training__patience=2, training__held_out_fraction=0.4, **common).fit(X)
    assert share.validation_scores_ != base.validation_scores_


def test_noise_of_the_data_is_found_in_the_units_of_x():
    rng = np.random.RandomState(0)
    sizes = np.array([0.5, 1.0, 20.0, 0.02])
    X = sizes * (rng.randn(3000, 1) @ np.ones((1, 4)) * 2.0 + rng.randn(3000, 4))
    vae = VAE(1, hidden_layer_sizes=(), max_iter=100, random_state=0).fit(X)
    np.testing.assert_allclose(vae.noise_variance_, sizes**2, rtol=0.2)


def test_a_mixture_with_known_density():
    """Two clusters on a line: the held-out log-density comes close to the true one."""
    rng = np.random.RandomState(0)

    def draw(n):
        t = np.where(rng.rand(n) < 0.3, -2.0, 2.0) + 0.5 * rng.randn(n)
        return t[:, None] * np.array([[1.0, -1.0]]) + 0.2 * rng.randn(n, 2)

    X, test = draw(2000), draw(2000)
    truth = GaussianMixture(2, random_state=0).fit(draw(20_000)).score(test)
    # A normal prior has to be torn in two by the decoder; the mixture on the codes need not.
    vae = VAE(1, hidden_layer_sizes=(64, 64), max_iter=300, n_importance_samples=64, random_state=0)
    mixture = Autoencoder(1, hidden_layer_sizes=(32,), max_iter=200, random_state=0)
    for model, gap in ((vae, 0.2), (mixture, 0.1)):
        assert truth - gap < model.fit(X).score(test) < truth + 0.05


def test_codes_of_huber_energy_vae_follow_the_prior_and_weight_does_it():
    X = np.exp(table(800)) ** 0.5
    distances = []
    for weight in (0.0, 1.0):
        model = HuberEnergyVAE(
            2,
            divergence_weight=weight,
            hidden_layer_sizes=(32,),
            network=NetworkOptions(linear_skip=False),
            max_iter=100,
            random_state=0,
        ).fit(X)
        distances.append(energy_distance(model.transform(X)))
    assert distances[1] < 0.02 < distances[0]


def test_intensities_get_a_sigmoid_and_one_scale_and_tables_do_not():
    digits = load_digits().data[:300] / 16.0
    model = small(VAE).fit(digits)
    assert model.module_.likelihood.bounded and model.module_.likelihood.noise == "scalar"
    assert len(set(model._fitted_.schema.scale)) == 1
    new = model.sample(50, random_state=0, noise=False)
    assert new.min() >= 0.0 and new.max() <= 1.0
    X = table()
    stretched = (X - X.min(0)) / (X.max(0) - X.min(0))
    for rows in (X, stretched):
        model = small(VAE).fit(rows)
        assert not model.module_.likelihood.bounded and model.module_.likelihood.noise == "feature"


@pytest.mark.parametrize(
    "parameter", [{"likelihood": "bernoulli"}, {"likelihood": "bounded_gaussian"}]
)
def test_bounded_models_refuse_rows_outside_the_unit_interval(parameter):
    with pytest.raises(ValueError, match=rf"{next(iter(parameter))}=.*\[0, 1\]"):
        small(VAE, **parameter).fit(table())


def test_bernoulli_score_is_a_log_probability():
    rng = np.random.RandomState(0)
    X = (rng.rand(200, 5) < 0.3).astype(float)
    model = small(VAE, likelihood="bernoulli", n_importance_samples=256).fit(X)
    every = np.array(np.meshgrid(*[[0.0, 1.0]] * 5)).reshape(5, -1).T
    total = np.exp(model.score_samples(every)).sum()
    assert total == pytest.approx(1.0, abs=0.02)
    assert set(np.unique(model.sample(100, random_state=0))) <= {0.0, 1.0}
    assert not hasattr(model, "noise_variance_")


@pytest.mark.parametrize("n, d, expected", [(100, 1, 1), (100, 3, 3), (8, 20, 8), (100, 20, 8)])
def test_automatic_number_of_components(n, d, expected):
    assert small(VAE, n_components="auto").fit(table(n, d)).n_components_ == expected


def test_automatic_number_of_components_follows_the_spectrum():
    X = np.random.RandomState(0).randn(400, 30)
    k = small(VAE, n_components="auto").fit(X).n_components_
    assert 20 <= k <= 27  # 90 % of a nearly flat spectrum of 30


def test_automatic_budget_is_in_steps():
    def steps(n):
        model = small(VAE, max_iter=None, hidden_layer_sizes=(2,)).fit(table(n))
        return model.n_iter_ * -(-n // min(n, 128))

    assert steps(60) == 1500
    assert 1500 <= steps(1000) < 1510


def test_more_components_than_features():
    X = table(d=3)
    for cls in LEARNED:
        model = small(cls, n_components=5).fit(X)
        assert model.transform(X).shape == (len(X), 5)
        assert np.isfinite(model.score_samples(X)).all()


def factory(inputs, outputs):
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, 7), torch.nn.ReLU(), torch.nn.Linear(7, outputs)
    )


@pytest.mark.parametrize("cls", LEARNED)
def test_networks_of_ones_own(cls):
    X = table()
    model = small(cls, encoder=factory, decoder=factory).fit(X)
    again = small(cls, encoder=factory, decoder=factory).fit(X)
    np.testing.assert_array_equal(model.transform(X), again.transform(X))
    assert isinstance(model.module_.encoder.network.module[1], torch.nn.ReLU)
    width = 4 if cls is VAE else 2
    given = Linear(6, width)
    with torch.no_grad():
        given.weight.fill_(0.1)
        given.bias.zero_()
    model = small(cls, encoder=given).fit(X)
    assert torch.all(given.weight == 0.1)  # it is a copy that is trained
    assert not torch.allclose(model.module_.encoder.network.module.weight, given.weight)


def test_wrong_networks_are_refused_with_their_widths():
    with pytest.raises(ValueError, match=r"\(n, 6\) to \(n, 4\)"):
        small(VAE, encoder=lambda i, o: factory(i, o + 1)).fit(table())
    with pytest.raises(ValueError, match=r"\(n, 2\) to \(n, 6\)"):
        small(VAE, decoder=Linear(3, 6)).fit(table())
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        small(VAE, encoder=lambda i, o: "no").fit(table())


def test_warm_start_goes_on_and_partial_fit_trains():
    X = table()
    model = small(VAE, warm_start=True, max_iter=20).fit(X)
    first = model.score(X)
    before = model.transform(X)
    model.fit(X)
    assert not np.allclose(model.transform(X), before) and model.score(X) > first - 0.1
    with pytest.raises(ValueError, match="expecting 6 features"):
        model.fit(X[:, :4])
    chunked = small(VAE, network__linear_skip=False)
    scores = [chunked.partial_fit(X).score(X) for _ in range(60)]
    assert scores[-1] > scores[0] + 0.5
    assert chunked.n_iter_ == 60 == len(chunked.loss_curve_)


def test_convergence_warning_only_where_the_loss_still_falls():
    X = table(500)
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        small(VAE, network__linear_skip=False, max_iter=3).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(VAE, max_iter=None).fit(X)


def test_posterior_collapse_is_told():
    X = np.random.RandomState(0).randn(300, 5)
    with pytest.warns(ConvergenceWarning, match="posterior collapse"):
        model = small(VAE, beta=1000.0, network__linear_skip=False, max_iter=500).fit(X)
    assert model.active_units_ == 0
    assert small(VAE).fit(table()).active_units_ == 2


def test_verbose_prints_one_line(capsys):
    small(VAE, verbose=1).fit(table())
    out = capsys.readouterr().out
    assert "epoch 5/5" in out and "reconstruction" in out and out.count("\n") == 1
    small(VAE).fit(table())
    assert capsys.readouterr().out == ""


def test_verbose_tells_of_an_epoch_while_it_lasts(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SHOWN_EVERY", (0.0, 0.0))
    X = table()
    shown = small(VAE, verbose=1, batch_size=32, early_stopping=True).fit(X)
    states = capsys.readouterr().out.split("\r")[1:]
    assert "VAE: epoch 1/5 (" in states[0] and "loss" not in states[0]
    assert any(re.search(r"epoch 2/5 \(\d+%\), loss", state) for state in states)
    pattern = r"held-out loss [\d.]+, [\d,]+ rows/s, [\d.]+ GB, 0:00:00 left"
    assert re.search(pattern, states[-1])
    silent = small(VAE, batch_size=32, early_stopping=True).fit(X)
    np.testing.assert_array_equal(shown.score_samples(X), silent.score_samples(X))


def test_rows_a_second_and_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    report = progress.ProgressReport(None, n_epochs=4, n_rows=1000, attributes=dict)
    history = History()
    report.step(history, 0.25)  # a fit that goes on, and says nothing of what was before
    assert report.rows_per_second is None and report.seconds_left is None
    now[0] += 2.0
    report.step(history, 0.75)
    assert report.rows_per_second == pytest.approx(250.0)
    assert report.seconds_left == pytest.approx(13.0)


def test_losses_of_held_out_rows_take_a_small_part_of_the_time(monkeypatch):
    now, looks = [0.0], []
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    line = progress._Line("VAE")

    def loss():
        looks.append(now[0])
        now[0] += 1.0
        return 3.0

    for _ in range(200):
        now[0] += 1.0
        line.look(loss)
    assert len(looks) == 4 and line.held_out == 3.0


def test_device_is_resolved_or_refused():
    assert small(VAE).fit(table()).device_ in ("cpu", "cuda")
    with pytest.raises(ValueError, match="device='nowhere'"):
        small(VAE, device="nowhere").fit(table())


def test_a_small_memory_gives_the_same_result(monkeypatch):
    X = table()
    model = small(VAE).fit(X)
    expected = model.score_samples(X)
    predictor = model._predictor_
    whole = predictor.model

    class Full:
        calls = 0

    def stingy(dtype):
        Full.calls += 1
        if Full.calls <= 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(dtype)

    monkeypatch.setattr(predictor, "model", stingy)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-12)
    assert Full.calls > 4


def test_history_adds_up():
    model = small(HuberEnergyVAE).fit(table())
    assert set(model.history_) == {"reconstruction", "energy"}
    np.testing.assert_allclose(
        model.loss_curve_, np.sum(list(model.history_.values()), axis=0), rtol=1e-12
    )
    assert model.best_loss_ == min(model.loss_curve_) and model.n_iter_ == 5


NUMBERS = {"loss", "terms", "held_out_loss", "rows_per_second", "peak_memory"}


def test_callbacks():
    callback = pytest.importorskip("sklearn.callback")

    class Stop:
        """Keeps what it is told and stops after three epochs."""

        def __init__(self):
            self.tasks, self.epochs = [], 0

        def setup(self, estimator, context):
            self.tasks.append("setup")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator, metadata=None):
            if context.task_name == "epoch":
                assert set(metadata) == NUMBERS
                self.epochs += 1
                assert np.isfinite(fitted_estimator.transform(table(5))).all()
                assert fitted_estimator.n_iter_ == self.epochs
                assert np.mean(fitted_estimator.predict(table()) == 1) > 0.8
            return self.epochs >= 3

        def teardown(self, estimator, context):
            self.tasks.append("teardown")

    stop = Stop()
    assert isinstance(stop, callback.FitCallback)
    model = small(VAE).set_callbacks(stop).fit(table())
    assert model.n_iter_ == 3 and stop.tasks == ["setup", "teardown"]


def test_callbacks_see_rows_and_labels():
    pytest.importorskip("sklearn.callback")

    class Keep:
        def setup(self, estimator, context):
            self.seen = []

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y):
            self.seen.append((X, y))

        def teardown(self, estimator, context):
            pass

    X, keep = table(), Keep()
    y = np.where(X[:, 0] > 0.0, "high", "low")
    small(ConditionalVAE, training__held_out_fraction=0.0).set_callbacks(keep).fit(X, y)
    assert len(keep.seen) == 6  # five epochs and the whole
    for rows, labels in keep.seen:
        np.testing.assert_array_equal(rows, X)
        np.testing.assert_array_equal(labels, y)
    small(VAE, training__held_out_fraction=0.0).set_callbacks(keep).fit(X, y)
    assert all(labels is None for _, labels in keep.seen)


def test_order_of_rows_does_not_decide_what_is_seen():
    """Two clusters, one after the other, in more rows than set noise and density."""
    rng = np.random.RandomState(0)
    X = np.vstack([rng.randn(5000, 4), rng.randn(5000, 4) + 20.0])
    model = small(Autoencoder, max_iter=3).fit(X)
    new = model.sample(1000, random_state=0).mean(axis=1) > 10.0
    assert 0.4 < new.mean() < 0.6
    first, second = model.score(X[:5000]), model.score(X[5000:])
    assert abs(first - second) < 3.0


@pytest.mark.parametrize(
    "name, value",
    [("beta", 1000.0), ("training__alpha", 1e4), ("training__gradient_clipping", 0.1)],
)
def test_parameters_changed_before_a_warm_start_count(name, value):
    X = table()
    kept, changed = (small(VAE, warm_start=True, max_iter=40).fit(X) for _ in range(2))
    kept.fit(X)
    changed.set_params(**{name: value}).fit(X)
    assert not np.allclose(kept.transform(X), changed.transform(X))


def test_training_goes_on_after_pickling_as_if_never_interrupted():
    X = table(400)
    model = small(VAE, training__alpha=30.0, training__gradient_clipping=0.5, max_iter=40).fit(X)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        model.partial_fit(X).transform(X), twin.partial_fit(X).transform(X)
    )


def test_a_fit_that_fails_leaves_the_model_as_it_was(monkeypatch):
    X = table()
    model = small(VAE, warm_start=True).fit(X)
    before, score = model.transform(X), model.score(X)
    monkeypatch.setattr(KL, "forward", lambda self, done, model: done.z.sum() * float("nan"))
    with pytest.raises(FloatingPointError):
        model.fit(X)
    monkeypatch.undo()
    np.testing.assert_array_equal(model.transform(X), before)
    assert model.score(X) == score and not model.module_.training


def test_a_given_mixture_follows_the_seed():
    X = table()
    a, b = (
        small(Autoencoder, latent_density=GaussianMixture(3, max_iter=3, tol=1.0)).fit(X)
        for _ in range(2)
    )
    np.testing.assert_array_equal(a.score_samples(X), b.score_samples(X))
    density = a.module_.density.means.clone()
    a.partial_fit(X[:3])  # too few rows for three components: the density stays
    assert torch.equal(a.module_.density.means, density)


def test_subclasses_of_estimators_keep_the_parameters_of_their_parents():
    class Child(VAE):
        def __init__(self, n_components="auto", *, gamma=1.0, **parameters):
            super().__init__(n_components, **parameters)
            self.gamma = gamma

    class Plain(VAE):
        def __init__(self, beta=2.0):
            super().__init__(beta=beta)

    assert clone(Child(beta=7.0, gamma=3.0, max_iter=4)).get_params()["beta"] == 7.0
    assert set(Plain().get_params()) == {"beta"}
    clone(Plain())


def test_min_max_scaled_rows_that_leave_the_unit_interval_by_rounding():
    X = table(100)
    X = (X - X.min(0)) / (X.max(0) - X.min(0))
    X[X == 1.0] += 2e-16
    X[X == 0.0] -= 1e-17
    assert np.isfinite(small(VAE, likelihood="bernoulli").fit(X).score(X))
    assert not small(VAE).fit(X[::2]).module_.likelihood.bounded


def test_held_out_share_is_checked_and_the_width_of_a_warm_start_too():
    X = table(300)
    with pytest.raises(ValueError, match=r"held_out_fraction=0\.999"):
        small(VAE, training__held_out_fraction=0.999).fit(X)
    model = small(VAE, warm_start=True, hidden_layer_sizes=8).fit(X)
    with pytest.raises(ValueError, match="expecting 6 features"):
        model.fit(X[:, :4])
    assert model.transform(X).shape == (300, 2)


def test_a_warm_start_goes_on_with_the_curves():
    X = table()
    model = small(VAE, warm_start=True, max_iter=20).fit(X)
    first = list(model.loss_curve_)
    model.set_params(beta=2.0, max_iter=5).fit(X)
    assert model.loss_curve_[:20] == first
    assert model.n_iter_ == 25 == len(model.loss_curve_)
    assert {len(values) for values in model.history_.values()} == {25}
    assert model.best_loss_ == min(model.loss_curve_)
    assert len(small(VAE, max_iter=20).fit(X).fit(X).loss_curve_) == 20


def test_curves_of_terms_that_come_and_go_stay_side_by_side():
    curves = Curves()
    curves.extend(Curves([3.0, 2.0], [], {"a": [1.0, 1.0], "b": [2.0, 1.0]}))
    curves.extend(Curves([4.0], [], {"a": [1.0], "c": [3.0]}))
    assert curves.loss == [3.0, 2.0, 4.0]
    np.testing.assert_equal(
        curves.terms,
        {"a": [1.0, 1.0, 1.0], "b": [2.0, 1.0, np.nan], "c": [np.nan, np.nan, 3.0]},
    )


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("reconstruction", lambda z: z.square().mean(), "cannot have the name 'reconstruction'"),
        ("mine", lambda z: z.square().mean(1), r"penalty 'mine' has the shape \(\d+,\), but must"),
    ],
)
def test_penalties_that_would_spoil_the_loss(name, result, message):
    class Mine(Penalty):
        def forward(self, done, model):
            return result(done.z)

    class Penalised(Autoencoder):
        def __init__(self, n_components=2, **parameters):
            super().__init__(n_components, **parameters)

        def _penalties(self, spec):
            return {name: Mine()}

    with pytest.raises(ValueError, match=message):
        Penalised(2, max_iter=1, hidden_layer_sizes=4, batch_size=60).fit(table(60))
