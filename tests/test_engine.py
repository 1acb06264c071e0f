"""Sources, schemas, masks and workers: what a fit may rely on, and what it leaves behind."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from contracts import (
    assert_same,
    each,
    each_latent,
    fit,
    interrupt_at,
    is_trained,
    labels,
    make,
    outputs,
    table,
)
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV

import skvae
from skvae import VAE, Autoencoder, HuberEnergyVAE
from skvae.engine import fit as engine
from skvae.engine.batches import TensorSource
from skvae.engine.optimiser import Adam
from skvae.engine.trainer import TrainConfig, Trainer, TrainState
from skvae.engine.workers import Workers
from skvae.nn.batch import Batch
from skvae.nn.distributions import Normal
from skvae.nn.likelihoods import Bernoulli, Bounds, Gaussian, Product
from skvae.nn.marginal_likelihood import log_density
from skvae.nn.networks import Linear
from skvae.nn.objectives import Turn
from skvae.tables.schema import Schema
from skvae.tables.source import ArraySource, Rows, Stacked
from skvae.tables.summary import Summary

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def recipe(estimator, X):
    """What an estimator asks of the engine, for rows X."""
    estimator = clone(estimator)
    estimator._check_training(X, labels(X), first=True)
    return estimator._recipe(first=True)


def weights(outcome):
    return {k: v.numpy() for k, v in outcome.fitted.model.state_dict().items()}


LEARNED = [e for e in each.args[1] if is_trained(e) and not hasattr(e, "predict_proba")]
each_learned = pytest.mark.parametrize("estimator", LEARNED, ids=lambda e: type(e).__name__)


# -- sources and schemas ---------------------------------------------------------------------------


@each_learned
def test_a_fit_does_not_depend_on_how_its_source_is_divided(estimator):
    X = table(150)
    parts = Stacked([ArraySource(X[:70]), ArraySource(X[70:71]), ArraySource(X[71:])])
    one = engine.fit_model(recipe(estimator, X), ArraySource(X))
    other = engine.fit_model(recipe(estimator, X), parts)
    assert_same(weights(one), weights(other))
    assert one.history.loss == other.history.loss


@each_learned
def test_a_mask_that_hides_nothing_changes_nothing(estimator):
    X = table(150)
    masked = ArraySource(X, observed=np.ones(X.shape, bool))
    one = engine.fit_model(recipe(estimator, X), ArraySource(X))
    assert_same(weights(one), weights(engine.fit_model(recipe(estimator, X), masked)))


@pytest.mark.parametrize("noise", ["feature", "scalar", "network"])
@pytest.mark.parametrize("options", [{}, {"n_components": "auto", "network__linear_skip": True}])
def test_hidden_cells_have_no_part_in_a_fit(noise, options):
    """Whatever they hold: the same model to the last bit."""
    X, rng = table(200), np.random.default_rng(0)
    observed = rng.uniform(size=X.shape) < 0.8
    found = []
    for filler in (0.0, 1e6, np.nan):
        rows = np.where(observed, X, filler)
        source = ArraySource(rows, observed=observed)
        asks = recipe(make(VAE, noise_variance=noise, **options), X)
        found.append(weights(engine.fit_model(asks, source)))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])
    whole = recipe(make(VAE, noise_variance=noise, **options), X)
    full = weights(engine.fit_model(whole, ArraySource(X)))
    assert any(not np.array_equal(found[0][name], full[name]) for name in full)


def test_stacked_sources_are_one():
    X, C = table(30), np.eye(3)[np.arange(30) % 3]
    observed = np.arange(150).reshape(30, 5) % 7 > 0
    whole = ArraySource(X, C, observed)
    parts = [ArraySource(X[a:b], C[a:b], observed[a:b]) for a, b in ((0, 7), (7, 8), (8, 30))]
    stacked = Stacked(parts)
    for index in (slice(None), slice(3, 20, 4), np.array([29, 0, 7, 7, 8])):
        a, b = whole.take(index), stacked.take(index)
        for one, other in ((a.values, b.values), (a.observed, b.observed), (a.context, b.context)):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(a.row_index, b.row_index)
    blocks = [len(rows) for rows in stacked.blocks(9)]
    assert blocks == [9, 9, 9, 3]
    subset = stacked.subset(np.array([5, 9, 1]))
    np.testing.assert_array_equal(subset.take(np.array([2, 0])).values, X[[1, 5]])
    with pytest.raises(ValueError, match="same columns"):
        Stacked([ArraySource(X), ArraySource(X[:, :2])])


@pytest.mark.parametrize("n_blocks", [1, 2, 7])
def test_summaries_of_blocks_add_up(n_blocks):
    X = table(300) * 1e150
    observed = np.random.default_rng(0).uniform(size=X.shape) < 0.7
    X[:, 0] = 3.0
    for seen in (None, observed):
        total = None
        for part in np.array_split(np.arange(300), n_blocks):
            one = Summary._of_rows(Rows(X[part], None if seen is None else seen[part]))
            total = one if total is None else total.merge(one)
        masked = np.ma.array(X / 1e150, mask=np.zeros(X.shape, bool) if seen is None else ~seen)
        np.testing.assert_allclose(total.mean / 1e150, masked.mean(0), rtol=1e-12)
        np.testing.assert_allclose(total.std[1:] / 1e150, masked.std(0)[1:], rtol=1e-10)
        assert total.std[0] == 0.0
        np.testing.assert_array_equal(total.low / 1e150, masked.min(0))
        np.testing.assert_array_equal(total.high / 1e150, masked.max(0))
        np.testing.assert_array_equal(total.count, masked.count(0))


def test_a_schema_encodes_and_decodes():
    X = table(50).astype(np.float32)
    schema = Schema.fit(Summary.of(ArraySource(X)), names=list("abcde"))
    batch = schema.encode(Rows(X))
    assert batch.x.dtype == torch.float32
    torch.testing.assert_close(batch.x.mean(0), torch.zeros(5), atol=1e-5, rtol=0.0)
    np.testing.assert_allclose(schema.decode(batch.x.numpy()), X, rtol=1e-5)
    column = schema.columns[2]
    assert (column.name, column.kind, column.dtype) == ("c", "numeric", "float32")
    assert (column.low, column.high) == (X[:, 2].min(), X[:, 2].max())
    np.testing.assert_allclose(schema.log_volume(Rows(X)), np.log(X.std(0)), rtol=1e-5)
    observed = np.arange(250).reshape(50, 5) % 3 > 0
    hidden = schema.encode(Rows(X, observed))
    assert (hidden.x[~torch.from_numpy(observed)] == 0.0).all()
    volume = schema.log_volume(Rows(X, observed))
    np.testing.assert_allclose(volume, observed * np.log(schema.scale))


# -- masks -----------------------------------------------------------------------------------------


def likelihoods():
    bounds = Bounds(torch.full((4,), -1.0), torch.tensor(3.0))
    yield "feature", Gaussian(4, "feature")
    yield "scalar", Gaussian(4, "scalar")
    yield "network", Gaussian(4, "network")
    yield "fixed", Gaussian(4, "fixed", variance=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    yield "bounded", Gaussian(4, "scalar", bounds=bounds)
    yield "bernoulli", Bernoulli(4, bounds)
    yield "product", Product([Gaussian(1, "network"), Gaussian(3, "feature")])


@pytest.mark.parametrize(("name", "head"), likelihoods(), ids=lambda v: v if v is str else None)
def test_a_likelihood_is_a_product_over_observed_cells(name, head):
    x, h = normal(30, 4), normal(30, head.width, seed=1)
    observed = torch.rand(30, 4, generator=seeded(2)) < 0.6
    batch = Batch(x, observed)
    head.eval()
    p = head(h)
    each = p.log_prob(x)
    torch.testing.assert_close(head.log_prob(p, batch), each * observed)
    expected = (each * observed).sum(1)
    torch.testing.assert_close(p.log_likelihood(x, observed), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(head.loss(p, batch), -expected.mean())
    gradient, fisher = head.curvature(h, batch)
    whole = head.curvature(h, Batch(x))
    copies = head.width // 4 if name != "product" else 1
    if copies >= 1 and name != "product":
        seen = observed.repeat(1, copies)
        torch.testing.assert_close(gradient, whole[0] * seen)
        torch.testing.assert_close(fisher, whole[1] * seen)
    # in training: other values in hidden cells change neither loss nor slopes
    head.train()
    found = []
    for filler in (0.0, 50.0):
        other, inputs = torch.where(observed, x, filler), h.clone().requires_grad_()
        loss = head.loss(head(inputs), Batch(other, observed))
        found.append((loss, *torch.autograd.grad(loss, inputs)))
        relative = head.relative_loss(head(inputs), Batch(other, observed))
        assert torch.isfinite(relative)
    torch.testing.assert_close(found[0], found[1])
    full = Batch(x, torch.ones_like(observed))
    torch.testing.assert_close(head.loss(head(h), full), head.loss(head(h), Batch(x)))
    torch.testing.assert_close(
        head.relative_loss(head(h), full), head.relative_loss(head(h), Batch(x))
    )
    head.set_null_loss(full)
    with_mask = head.null_loss.clone()
    head.set_null_loss(Batch(x))
    torch.testing.assert_close(with_mask, head.null_loss)


def test_profiled_noise_counts_observed_cells_only():
    head = Gaussian(3, "scalar", floor=0.01).train()
    x, mean = normal(40, 3), normal(40, 3, seed=1)
    observed = torch.rand(40, 3, generator=seeded(2)) < 0.5
    p = Normal(mean, torch.zeros(3))
    square = (x - mean).square()[observed]
    noise = square.mean() + 0.01
    exact = 0.5 * observed.sum() / 40 * (torch.log(noise) + 1.0 + np.log(2 * np.pi))
    torch.testing.assert_close(head.loss(p, Batch(x, observed)), exact)


def test_a_product_of_groups_is_one_likelihood():
    """Two groups of Gaussian features are as good as one."""
    whole = Gaussian(5, "feature", floor=0.01)
    parts = Product([Gaussian(2, "feature", floor=0.01), Gaussian(3, "feature", floor=0.01)])
    with torch.no_grad():
        whole.log_std.copy_(normal(5))
        parts.groups[0].log_std.copy_(whole.log_std[:2])
        parts.groups[1].log_std.copy_(whole.log_std[2:])
    x, h = normal(20, 5, seed=1), normal(20, 5, seed=2)
    residual = (x - h).square().mean(0)
    for batch in (Batch(x), Batch(x, torch.rand(20, 5, generator=seeded(3)) < 0.7)):
        for training in (True, False):
            whole.train(training)
            parts.train(training)
            torch.testing.assert_close(parts.loss(parts(h), batch), whole.loss(whole(h), batch))
            for a, b in zip(parts.curvature(h, batch), whole.curvature(h, batch), strict=True):
                torch.testing.assert_close(a, b)
            p, q = (one.at_training_noise(one(h), batch) for one in (parts, whole))
            torch.testing.assert_close(p.log_prob(x), q.log_prob(x))
    for likelihood in (parts, whole):
        likelihood.set_noise(residual)
        likelihood.set_null_loss(Batch(x))
    torch.testing.assert_close(parts.noise_by_feature, whole.noise_by_feature)
    torch.testing.assert_close(parts.null_loss, whole.null_loss)
    p, q = parts(h), whole(h)
    torch.testing.assert_close(p.mean, q.mean)
    torch.testing.assert_close(p.variance, q.variance.expand(20, 5))
    torch.testing.assert_close(p.log_likelihood(x), q.log_likelihood(x))
    assert p.repeat(2).mean.shape == p.repeat(2).sample(seeded()).shape == (40, 5)
    w, o, m = normal(5, 2).double(), torch.zeros(5, 0).double(), normal(5).double()
    found = (one.linear_outputs(w, o, m, 0.1) for one in (parts, whole))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert parts.has_density
    assert not parts.is_integral
    assert Product([Gaussian(1, "network"), Gaussian(1)]).noise_by_feature is None


def test_scores_of_observed_cells_are_marginal_densities():
    """A linear model's score of some cells is that of its normal law's margin."""
    from scipy.stats import multivariate_normal

    X = table(300)
    model = HuberEnergyVAE(2, hidden_layer_sizes=(), max_iter=20, random_state=0).fit(X)
    schema, inner = model._fitted_.schema, model._predictor_.model(torch.float64)
    layer = inner.decoder.network.layers[-1]
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    covariance = W @ W.T + np.diag(inner.likelihood.variance.numpy())
    observed = np.random.default_rng(0).uniform(size=X.shape) < 0.6
    batch = schema.encode(Rows(X, observed))
    points = torch.zeros(1, 2, dtype=torch.float64)
    with torch.no_grad():
        found = log_density(inner, batch, points, parts=True)
    u = (X - schema.location) / schema.scale
    for i in range(20):
        o = observed[i]
        if o.any():
            exact = multivariate_normal(b[o], covariance[np.ix_(o, o)]).logpdf(u[i][o])
            assert found.score[i].item() == pytest.approx(exact, rel=1e-6, abs=1e-6)
        assert (found.reconstruction[i].numpy()[~o] == 0.0).all()
    predicted = model._predictor_.score(ArraySource(X, observed=observed), 16, parts=False)
    shifted = found.score.numpy() - schema.log_volume(Rows(X, observed)).sum(1)
    np.testing.assert_allclose(predicted.score, shifted, rtol=1e-6, atol=1e-6)


# -- workers ---------------------------------------------------------------------------------------


class Pair(Workers):
    """One of two workers in threads of this process."""

    size = 2

    def __init__(self, rank, shared):
        self.rank, self.shared = rank, shared

    def _exchange(self, value):
        """What both workers hand in, in the order of their ranks."""
        self.shared["slots"][self.rank] = value
        self.shared["barrier"].wait(timeout=60)
        found = list(self.shared["slots"])
        self.shared["barrier"].wait(timeout=60)
        return found

    def mean_(self, tensors, share):
        both = self._exchange(([t.clone() for t in tensors], share))
        for i, tensor in enumerate(tensors):
            tensor.copy_(sum(w * values[i] for values, w in both))

    def gather(self, z, share):
        both = self._exchange(z.detach())
        own = z.view_as(z)
        if own.requires_grad:
            own.register_hook(lambda slope: slope / share)
        both[self.rank] = own
        return torch.cat(both)

    def broadcast_(self, module):
        first = self._exchange({k: v.clone() for k, v in module.state_dict().items()})[0]
        module.load_state_dict(first)

    def agree(self, flag):
        return all(self._exchange(flag))


def in_a_pair(function):
    shared = {"slots": [None, None], "barrier": threading.Barrier(2)}
    found, errors = [None, None], []

    def run(rank):
        try:
            found[rank] = function(Pair(rank, shared))
        except BaseException as error:
            errors.append(error)
            shared["barrier"].abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return found


@pytest.mark.parametrize("cls", [Autoencoder, HuberEnergyVAE, skvae.WassersteinAE, skvae.RAE])
def test_two_workers_train_as_one(cls):
    """The same weights as one process, for batches that do not divide evenly."""
    X = table(101)
    estimator = make(cls, batch_size=25, max_iter=3)
    alone = engine.fit_model(recipe(estimator, X), ArraySource(X))

    def work(workers):
        return engine.fit_model(recipe(estimator, X), ArraySource(X), workers=workers)

    for outcome in in_a_pair(work):
        found, expected = weights(outcome), weights(alone)
        for name in expected:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=2e-3, atol=2e-4, err_msg=name
            )
        np.testing.assert_allclose(outcome.history.loss, alone.history.loss, rtol=1e-3)


def test_the_gradient_of_two_workers_is_that_of_one():
    """Of a divergence of all codes, too, which is no mean over rows."""
    X = table(40)
    outcome = engine.fit_model(recipe(make(HuberEnergyVAE, max_iter=1), X), ArraySource(X))
    asks, rows = recipe(make(HuberEnergyVAE), X), outcome.fitted.schema.encode(Rows(X))
    rows = rows.to("cpu", torch.float32)

    def gradient(batch, workers, share):
        fitted = engine.copy.deepcopy(outcome.fitted)
        objective = engine.make_objective(asks, fitted).train()
        objective.gather = lambda z: workers.gather(z, share)
        turn: Turn = next(iter(objective.turns().values()))
        loss = sum(turn.losses(batch, seeded(), 1.0).values())
        slopes = list(torch.autograd.grad(loss, turn.parameters, materialize_grads=True))
        workers.mean_(slopes, share)
        return torch.cat([slope.flatten() for slope in slopes])

    alone = gradient(rows, Workers(), 1.0)

    def work(workers):
        part = rows.take(slice(None, 13) if workers.rank == 0 else slice(13, None))
        return gradient(part, workers, part.n_rows / rows.n_rows)

    for found in in_a_pair(work):
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-6)


def test_one_worker_does_nothing():
    workers, z = Workers(), normal(3, 2)
    assert workers.gather(z, 1.0) is z
    assert workers.agree(True)
    assert not workers.agree(False)


# -- what a fit leaves behind ----------------------------------------------------------------------


@each_learned
def test_an_interrupted_fit_hands_over_its_last_good_state(estimator, monkeypatch):
    X = table(128)
    model = clone(estimator).set_params(batch_size=8, max_iter=40)
    interrupt_at(monkeypatch, 500)
    with pytest.warns(ConvergenceWarning, match=f"fit of this {type(model).__name__} was inter"):
        fit(model, X)
    monkeypatch.undo()
    assert 0 < model.n_iter_ < 40
    assert model.n_iter_ == len(model.loss_curve_)
    found = outputs(model, X)
    assert all(np.isfinite(value).all() for value in found.values())
    if hasattr(model, "offset_"):
        assert np.mean(model.predict(X) == 1) > 0.8
    model.partial_fit(X)  # and it can go on


@each_learned
def test_an_interrupt_before_the_first_check_leaves_what_there_was(estimator, monkeypatch):
    X = table(128)
    model, old = clone(estimator), fit(clone(estimator), table(seed=3))
    before = outputs(old, X)
    interrupt_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, X)
    monkeypatch.undo()
    with pytest.raises(NotFittedError):
        model.sample()
    assert not hasattr(model, "n_features_in_")
    interrupt_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(old, X)
    monkeypatch.undo()
    assert_same(before, outputs(old, X))


@each
@pytest.mark.parametrize("where", ["_finish", "_check_training", "_learn"])
def test_a_fault_anywhere_leaves_an_estimator_whole(estimator, where, monkeypatch):
    """Unfitted, or the old fit bit for bit; a warm start and further chunks too."""
    X = table(128)
    fitted = fit(clone(estimator), X)
    before, new = outputs(fitted, X), clone(estimator)
    kind = type(estimator)
    original = getattr(kind, where)

    def fault(self, *args, **kwargs):
        original(self, *args, **kwargs)
        raise MemoryError("a fault")

    monkeypatch.setattr(kind, where, fault)
    with pytest.raises(MemoryError, match="a fault"):
        fit(new, X)
    for wide in (X, np.hstack([X, X])):
        with pytest.raises(MemoryError, match="a fault"):
            fit(fitted, wide)
    if "warm_start" in fitted.get_params():
        fitted.set_params(warm_start=True)
        with pytest.raises(MemoryError, match="a fault"):
            fit(fitted, X)
    own_check = where == "_check_training" and kind is skvae.PPCA  # its chunks have another
    put_off = where == "_finish" and kind is not skvae.PPCA
    if hasattr(fitted, "partial_fit") and not own_check and not put_off:
        with pytest.raises(MemoryError, match="a fault"):
            fitted.partial_fit(X, labels(X))
    monkeypatch.undo()
    assert_same(before, outputs(fitted, X))
    with pytest.raises(NotFittedError):
        new.sample()
    assert not hasattr(new, "n_features_in_")


def test_a_refit_keeps_nothing_of_the_first():
    X = table(100)
    model = make(Autoencoder).fit(X)
    assert hasattr(model, "latent_density_")
    model.set_params(latent_density=None).fit(X)
    assert not hasattr(model, "latent_density_")
    model.set_params(latent_density="auto").fit(X).set_params(latent_density=None).partial_fit(X)
    assert not hasattr(model, "latent_density_")


@each_latent
def test_an_unknown_parameter_names_the_public_class(estimator):
    name = type(estimator).__name__
    with pytest.raises(TypeError, match=rf"^{name}\.__init__\(\).*latent_dim"):
        type(estimator)(latent_dim=3)


def test_warnings_point_at_the_line_of_the_caller():
    X = table(500)
    model = make(VAE, network__linear_skip=False, max_iter=2)
    search = GridSearchCV(model, {"beta": [1.0]}, cv=2, refit=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)  # here
        model.fit_predict(X)
        make(skvae.PPCA, solver="em", max_iter=1).fit(X)
        search.fit(table(1000))
    found = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert len(found) == 5
    assert {w.filename for w in found} == {__file__}
    line = found[0].lineno
    assert [w.lineno - line for w in found] == [0, 1, 2, 3, 3]


# -- options ---------------------------------------------------------------------------------------


def test_options_are_reached_by_their_long_names():
    model = VAE(2).set_params(training__alpha=3.0, network__activation="tanh")
    assert model.training.alpha == 3.0
    assert model.network.activation == "tanh"
    assert clone(model).get_params()["training__alpha"] == 3.0
    with pytest.raises(ValueError, match="nonsense"):
        VAE(2).set_params(training__nonsense=1)
    shared = skvae.TrainingOptions(alpha=1.0)
    search = skvae.VAE(2, training=shared)
    clone(search).set_params(training__alpha=2.0)
    assert shared.alpha == 1.0
    with pytest.raises(ValueError, match="alpha"):
        VAE(2, training=skvae.TrainingOptions(alpha=-1.0)).fit(table())
    with pytest.raises(ValueError, match="TrainingOptions"):
        VAE(2, training={"alpha": 1.0}).fit(table())


# -- the way down ----------------------------------------------------------------------------------


def test_few_files_and_classes_lie_between_fit_and_adam(monkeypatch):
    """docs/architecture.md lists them, call by call."""
    home, found = Path(skvae.__file__).parent, []
    original = Adam.step

    def watched(self, *args, **kwargs):
        if not found:
            frame = sys._getframe(1)
            while frame is not None:
                path = Path(frame.f_code.co_filename)
                if home in path.parents:
                    name = frame.f_code.co_qualname.split(".<locals>")[0]
                    found.append((path.relative_to(home).as_posix(), name.rpartition(".")[0]))
                frame = frame.f_back
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Adam, "step", watched)
    make(VAE).fit(table())
    files = {file for file, _ in found} | {"engine/optimiser.py"}
    classes = {owner for _, owner in found if owner} | {"Adam"}
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    assert f"{len(files)} files and {len(classes)} classes" in page
    assert len(files) <= 9
    assert len(classes) <= 9
    assert all(file in page for file in files)


def test_history_of_a_training_that_stops_by_its_report():
    class Halt:
        def __call__(self, history):
            return len(history.loss) >= 2

    rows = Batch(normal(64, 3))
    layer = Linear(3, 1)
    layer.initialise(seeded())

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def turns(self):
            def losses(batch, rng, progress):
                return {"square": layer(batch.x).square().mean()}

            return {"one": Turn(losses, list(layer.parameters()))}

    config = TrainConfig(batch_size=16, n_epochs=9, lr=1e-2)
    history = Trainer(config).run(One(), TrainState(0), TensorSource(rows), on_epoch=Halt())
    assert len(history.loss) == 2
