"""Classes beside numbers, and missing cells: likelihoods, codes and scores against closed forms."""

from __future__ import annotations

import itertools

import frames
import numpy as np
import pytest
import torch
from frames import mixed

from skvae import PPCA, VAE, ConditionalVAE, HuberEnergyVAE, TableOptions, TrainingOptions
from skvae.nn.batch import Batch
from skvae.nn.categorical import Softmax
from skvae.nn.conditional import weighted_codes
from skvae.nn.likelihoods import Gaussian, Product
from skvae.nn.masking import RandomMasking
from skvae.tables.source import ArraySource

DOUBLE = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore:.*max_iter")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_hot(codes: torch.Tensor, classes: list[int]) -> torch.Tensor:
    parts = [torch.nn.functional.one_hot(c, n) for c, n in zip(codes.T, classes, strict=True)]
    return torch.cat(parts, -1).to(DOUBLE)


def softmax_rows(n: int = 50) -> tuple[Softmax, torch.Tensor, torch.Tensor]:
    head = Softmax([3, 2, 4]).double()
    h = torch.randn(n, 9, dtype=DOUBLE, generator=generator())
    codes = torch.stack([torch.randint(c, (n,), generator=generator(c)) for c in (3, 2, 4)], 1)
    return head, h, one_hot(codes, [3, 2, 4])


def test_softmax_is_that_of_torch():
    head, h, x = softmax_rows()
    parts = zip(torch.split(h, [3, 2, 4], -1), torch.split(x, [3, 2, 4], -1), strict=True)
    expected = sum((torch.log_softmax(a, -1) * b).sum(-1) for a, b in parts)
    p = head(h)
    torch.testing.assert_close(p.log_likelihood(x), expected)
    torch.testing.assert_close(p.log_prob(x).sum(-1), expected)
    shares = torch.cat([torch.softmax(a, -1) for a in torch.split(h, [3, 2, 4], -1)], -1)
    torch.testing.assert_close(p.mean, shares)
    torch.testing.assert_close(p.variance, shares * (1.0 - shares))


def test_probabilities_of_all_rows_add_up_to_one():
    head, h, _ = softmax_rows(1)
    every = torch.tensor(list(itertools.product(range(3), range(2), range(4))))
    x = one_hot(every, [3, 2, 4])
    total = head(h.expand(len(x), -1)).log_likelihood(x).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=DOUBLE))


def test_a_class_that_is_hidden_has_no_part():
    head, h, x = softmax_rows()
    hidden = x.clone()
    hidden[:, :3] = 0.0
    kept = head(h).log_prob(x)[:, 3:].sum(-1)
    torch.testing.assert_close(head(h).log_likelihood(hidden), kept)


def test_draws_have_the_probabilities():
    head, h, _ = softmax_rows(1)
    drawn = head(h.expand(40_000, -1)).sample(generator())
    for part in torch.split(drawn, [3, 2, 4], -1):
        assert (part.sum(-1) == 1.0).all()
    torch.testing.assert_close(drawn.mean(0), head(h).mean[0], atol=0.01, rtol=0.0)


def test_far_logits_stay_finite():
    head = Softmax([3])
    h = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
    value = head(h).log_likelihood(torch.tensor([[0.0, 1.0, 0.0]])).sum()
    value.backward()
    assert value.isfinite()
    assert h.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["softmax", "product"])
def test_information_by_autograd(kind):
    """J'g is the gradient; J'FJ is the mean of outer products of gradients over all rows."""
    width, k = (9, 3) if kind == "softmax" else (9 + 4, 3)
    head = Softmax([3, 2, 4]).double()
    if kind == "product":
        head = Product([Gaussian(2, "network").double(), head]).eval()
    A = torch.randn(width, k, dtype=DOUBLE, generator=generator(5))
    h = torch.randn(1, width, dtype=DOUBLE, generator=generator(6))
    columns = A.T[:, None]  # (k, 1, width)
    n = 200_000
    drawn = head(h.expand(n, -1)).sample(generator())
    u = torch.zeros(n, k, dtype=DOUBLE, requires_grad=True)
    (each,) = torch.autograd.grad(head(h + u @ A.T).log_likelihood(drawn).sum(), u)
    gradient, fisher = head.information(h, Batch(drawn[:1]), columns)
    torch.testing.assert_close(gradient[0], each[0])
    size = fisher.abs().max()
    torch.testing.assert_close(fisher[0] / size, each.T @ each / n / size, atol=0.02, rtol=0.0)


def test_null_loss_is_the_entropy():
    head, _, x = softmax_rows(500)
    head.set_null_loss(Batch(x))
    shares = x.mean(0)
    assert float(head.null_loss) == pytest.approx(float(-(shares * shares.log()).sum()), rel=1e-5)
    h = shares.log().expand(500, -1)
    assert float(head.relative_loss(head(h), Batch(x))) == pytest.approx(1.0, rel=1e-5)


# -- masks -----------------------------------------------------------------------------------------


def test_masking_hides_whole_columns_at_its_rate():
    columns = torch.tensor([0, 1, 2, 2, 2])
    batch = Batch(torch.ones(20_000, 5))
    found = RandomMasking(0.2, columns)(batch, generator())
    assert found.observed is not None
    assert torch.equal(found.observed[:, 2], found.observed[:, 4])
    share = 1.0 - found.observed[:, :3].float().mean()
    assert float(share) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(found.x, found.observed.float())
    by_row = (~found.observed[:, :3]).float().sum(1)
    assert by_row.var() > 3 * 0.2 * 0.8  # rates differ from row to row
    twice = RandomMasking(0.2, columns)(found, generator(1))
    assert not (twice.observed & ~found.observed).any()


def test_the_encoder_is_told_what_was_observed():
    X = np.random.default_rng(0).normal(size=(200, 3))
    X[::4, 0] = np.nan
    model = VAE(2, max_iter=2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    assert model.module_.n_masks == 3
    mean = model._fitted_.schema.location
    hidden, at_mean = np.array([[np.nan, 1.0, 1.0]]), np.array([[mean[0], 1.0, 1.0]])
    assert abs(model.transform(hidden) - model.transform(at_mean)).max() > 1e-3


# -- codes and scores of rows with holes -----------------------------------------------------------


def linear_model() -> tuple[HuberEnergyVAE, np.ndarray, np.ndarray]:
    """A linear decoder, whose posteriors are known."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(300, 5))
    model = HuberEnergyVAE(2, hidden_layer_sizes=(), max_iter=20, random_state=0).fit(X)
    inner = model._predictor_.model(DOUBLE)
    layer = inner.decoder.network.layers[-1]
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return model, W, b


def test_weighted_codes_have_the_moments_of_the_posterior():
    model, W, b = linear_model()
    inner, schema = model._predictor_.model(DOUBLE), model._fitted_.schema
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6, 5))
    X[rng.random(X.shape) < 0.4] = np.nan
    batch = schema.encode(ArraySource(X).take(slice(None)))
    with torch.no_grad():
        found = weighted_codes(inner, batch, 8000, generator())
    noise = inner.likelihood.variance.numpy()
    for i in range(6):
        seen = ~np.isnan(X[i])
        precision = np.eye(2) + (W[seen].T / noise[seen]) @ W[seen]
        u = batch.x[i].numpy()[seen] - b[seen]
        mean = np.linalg.solve(precision, (W[seen].T / noise[seen]) @ u)
        std = np.sqrt(np.linalg.inv(precision).diagonal())
        z, w = found.z[i].numpy(), found.weight[i].numpy()
        assert abs(w @ z - mean).max() < 0.05 * std.max()
        assert abs(np.sqrt(w @ (z - w @ z) ** 2) / std - 1.0).max() < 0.05
        drawn = found.resample(4000, generator(3))[i].numpy()
        assert abs(drawn.mean(0) - mean).max() < 0.1 * std.max()
    assert (found.effective_sample_size > 800).all()


def test_filled_cells_have_the_conditional_mean():
    model, W, b = linear_model()
    schema, inner = model._fitted_.schema, model._predictor_.model(DOUBLE)
    covariance = W @ W.T + np.diag(inner.likelihood.variance.numpy())
    X = model.sample(20, random_state=2)
    hole = np.zeros(5, bool)
    hole[[1, 3]] = True
    holed = np.where(hole, np.nan, X)
    u = (X - schema.location) / schema.scale - b
    gain = covariance[np.ix_(hole, ~hole)] @ np.linalg.inv(covariance[np.ix_(~hole, ~hole)])
    exact = (u[:, ~hole] @ gain.T + b[hole]) * schema.scale[hole] + schema.location[hole]
    filled = model._complete(holed)
    np.testing.assert_array_equal(filled[:, ~hole], X[:, ~hole])
    drawn = model._draw_missing(holed, 400, 0)
    within = covariance[np.ix_(hole, hole)] - gain @ covariance[np.ix_(~hole, hole)]
    std = np.sqrt(within.diagonal()) * schema.scale[hole]
    assert (abs(filled[:, hole] - exact) / std).mean() < 0.05
    assert abs(drawn[:, :, hole].std(0).mean(0) / std - 1.0).max() < 0.06
    assert abs(drawn[:, :, hole].mean(0) - exact).max() < 5.0 * std.max() / 20.0


def test_scores_of_holed_and_mixed_rows_by_integration():
    """log p of observed cells is the integral over the codes, on a fine grid of them."""
    X = mixed(400)[:, :5]
    X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    small = {"hidden_layer_sizes": (8,), "max_iter": 15, "latent_density": None}
    model = VAE(1, n_importance_samples=512, random_state=0, **small).fit(X)
    inner, schema = model._predictor_.model(DOUBLE), model._fitted_.schema
    rows = ArraySource(X[:40]).take(slice(None))
    batch = schema.encode(rows)
    z = torch.linspace(-8.0, 8.0, 4001, dtype=DOUBLE)[:, None]
    with torch.no_grad():
        p = inner.likelihood(inner.decoder.outputs(z)[None])
        each = p.log_likelihood(batch.x[:, None], batch.observed[:, None])
    log_prior = -0.5 * z[:, 0] ** 2 - 0.5 * np.log(2.0 * np.pi)
    exact = torch.logsumexp(each + log_prior, 1) + np.log(16.0 / 4000.0)
    exact = exact.numpy() - schema.log_volume(rows).sum(1)
    score, std = model.score_samples(X[:40], return_std=True)
    assert (abs(score - exact) < 4.0 * std + 0.01).all()
    parts = model.score_parts(X[:40])
    np.testing.assert_allclose(parts.reconstruction + parts.latent, parts.score, rtol=1e-6)
    assert model.score_features(X[:40]).shape == (40, 5)
    assert (model.score_features(X[:40])[np.isnan(X[:40])] == 0.0).all()


def test_deterministic_encoders_score_mixed_rows():
    """Laplace's proposal knows that the information of a softmax is no diagonal matrix."""
    X = mixed(400)[:, :5]
    model = HuberEnergyVAE(2, hidden_layer_sizes=(8,), max_iter=15, random_state=0).fit(X)
    few = model.score_samples(X[:50])
    many = model.set_params(n_importance_samples=1024).score_samples(X[:50])
    assert abs(few - many).mean() < 0.3


def test_a_rare_value_keeps_its_share_and_is_no_outlier():
    """Issue: a binary column with 2 % ones vanished from samples, and each such row was flagged."""
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(3000, 3)), (rng.random((3000, 1)) < 0.02).astype(float)])
    model = VAE(2, hidden_layer_sizes=(16,), false_alarm_rate=0.01, random_state=0).fit(X)
    share = model.sample(20_000, random_state=0)[:, 3].mean()
    assert share == pytest.approx(X[:, 3].mean(), rel=0.2)
    # what rarity costs: the same threshold on the true log p flags so many
    rare = X[:, 3] == 1.0
    truth = -0.5 * (X[:, :3] ** 2).sum(1) + np.where(rare, np.log(0.02), np.log(0.98))
    exact = (truth[rare] < np.quantile(truth, 0.01)).mean()
    assert (model.predict(X[rare]) == -1).mean() < exact + 0.15
    assert set(np.unique(model.sample(500, random_state=0)[:, 3])) <= {0.0, 1.0}


def test_many_zeros_come_back_and_nothing_below():
    X = mixed(2000)[:, :5]
    options = TableOptions(by_values=True)
    model = VAE(2, hidden_layer_sizes=(16,), max_iter=40, table=options, random_state=0).fit(X)
    drawn = model.sample(4000, random_state=0)
    assert (drawn[:, 4] == 0.0).mean() == pytest.approx(0.7, abs=0.06)
    assert drawn[:, 4].min() >= 0.0
    np.testing.assert_array_equal(drawn[:, 1], np.rint(drawn[:, 1]))


def test_new_values_and_labels_are_outliers():
    X = mixed(1000)[:, [0, 2, 5]]
    all_rows = TrainingOptions(held_out_fraction=0.0)
    model = VAE(1, hidden_layer_sizes=(8,), max_iter=40, training=all_rows, random_state=0).fit(X)
    usual, new = np.array([[10.0, 0.0, 0.001]]), np.array([[10.0, 0.5, 0.001]])
    assert model.score_samples(usual) - model.score_samples(new) > 10.0
    assert model.score_features(new)[0, 1] == pytest.approx(-2.0 * np.log(1001.0))
    changed = np.array([[10.0, 0.0, 0.002]])
    assert model.predict(changed) == -1


def test_holes_do_as_well_as_ppca_on_normal_rows():
    """Normal rows are PPCA's own: a network is to come close to its exact conditional means."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(2, 6))
    X = rng.normal(size=(900, 2)) @ W + 0.3 * rng.normal(size=(900, 6))
    hole = rng.random(X.shape) < 0.3
    holed = np.where(hole, np.nan, X)
    train, test = holed[:600], holed[600:]
    truth, where = X[600:], hole[600:]
    errors = []
    for model in (PPCA(2), VAE(2, random_state=0)):
        filled = model.fit(train)._complete(test)
        errors.append(np.sqrt(np.mean((filled - truth)[where] ** 2)))
    assert errors[1] < 1.15 * errors[0]
    assert errors[1] < 0.6 * np.sqrt(np.mean((truth - train[~np.isnan(train)].mean())[where] ** 2))


# -- options of tables ----------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [VAE, HuberEnergyVAE, ConditionalVAE])
@pytest.mark.parametrize("name", ["by_values", "column_kinds", "masking", "marginals"])
def test_options_of_tables_change_the_model(cls, name):
    values = {"by_values": False, "column_kinds": {3: "numeric"}, "masking": 0.3}
    given = {name: values.get(name, "quantile")}
    X = mixed(400)[:, :5]
    y = X[:, 0] > 10.0
    codes = [
        cls(2, hidden_layer_sizes=(8,), max_iter=2, table=options, random_state=0)
        .fit(X, y)
        .transform(X)
        for options in (None, TableOptions(**given))
    ]
    assert codes[0].shape == codes[1].shape
    assert abs(codes[0] - codes[1]).max() > 1e-3


def test_a_label_that_is_new_is_an_error_or_missing():
    people = frames.people(200)
    small = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
    moved = people.head(3).copy()
    moved["city"] = ["Paris", "Lagos", "Rome"]
    strict = VAE(2, **small).fit(people)
    with pytest.raises(ValueError, match=r"city.*Lagos"):
        strict.transform(moved)
    lenient = VAE(2, table=TableOptions(handle_unknown="missing"), **small).fit(people)
    holed = moved.assign(city=["Paris", None, "Rome"])
    np.testing.assert_array_equal(lenient.transform(moved), lenient.transform(holed))
    assert lenient.impute(moved)["city"].isin(["Paris", "Rome", "Oslo"]).all()


def test_kinds_that_are_stated_are_those_of_the_model():
    X = mixed(400)[:, :5]
    kinds = {0: "integer", 2: "categorical", 3: "numeric"}
    options = TableOptions(column_kinds=kinds)
    model = VAE(2, hidden_layer_sizes=(8,), max_iter=2, table=options, random_state=0).fit(X)
    kinds = ["integer", "categorical", "numeric", "spiked"]
    assert [model.schema_.kinds[j] for j in (0, 2, 3, 4)] == kinds
    drawn = model.sample(50, random_state=0)
    np.testing.assert_array_equal(drawn[:, 0], np.rint(drawn[:, 0]))
    assert "categorical" in repr(model.schema_)
    assert "<table>" in model.schema_._repr_html_()


def test_labels_have_no_bounded_likelihood():
    people = frames.people(100)
    for likelihood in ("bernoulli", "bounded_gaussian"):
        with pytest.raises(ValueError, match=f"likelihood='{likelihood}' needs columns of numbers"):
            VAE(2, likelihood=likelihood).fit(people)


def test_a_column_that_was_never_seen_says_nothing():
    X = mixed(300)
    model = VAE(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(X)
    seen = X[:5].copy()
    seen[:, 6] = 3.0
    np.testing.assert_array_equal(model.score_samples(seen), model.score_samples(X[:5]))
    assert np.isnan(model.sample(5, random_state=0)[:, 6]).all()
    assert np.isnan(model.impute(X[:5])[:, 6]).all()


def test_a_conditional_model_fills_and_draws_with_its_labels():
    people = frames.people(300)
    y = people["age"].fillna(50).gt(45).to_numpy()
    model = ConditionalVAE(2, hidden_layer_sizes=(8,), max_iter=10, random_state=0).fit(people, y)
    filled = model.impute(people)
    assert filled.notna().all().all()
    assert (filled.dtypes == people.dtypes).all()
    tables = model.impute(people.head(40), n_draws=3, random_state=0)
    assert len(tables) == 3
    drawn = model.sample(20, given={"city": "Rome"}, random_state=0)
    assert (drawn["city"] == "Rome").all()
    codes = model.transform(people.head(5))
    assert model.inverse_transform(codes)["city"].isin(["Paris", "Rome", "Oslo"]).all()
    y_drawn = model.sample(50, y=True, random_state=0)
    assert y_drawn["age"].mean() > model.sample(50, y=False, random_state=0)["age"].mean()


def test_codes_of_tables_with_labels_get_a_mixture():
    people = frames.people(300)
    small = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}
    assert hasattr(VAE(2, **small).fit(people), "latent_density_")
    assert not hasattr(VAE(2, latent_density=None, **small).fit(people), "latent_density_")
    numbers = people[["income"]].dropna().assign(other=1.0)
    assert not hasattr(VAE(1, **small).fit(numbers), "latent_density_")


@pytest.mark.parametrize("options", [{"marginals": "quantile"}, {"column_kinds": {0: "binary"}}])
def test_pixels_have_no_kinds(options):
    """Settings that would change nothing are refused."""
    X = np.random.default_rng(0).random((50, 64))
    X[:, 0] = X[:, 0] > 0.5
    model = VAE(2, max_iter=1, table=TableOptions(**options))
    with pytest.raises(
        ValueError, match=r"column_kinds and marginals of table=.* cannot be used for images"
    ):
        model.fit(X)
    model.set_params(likelihood="gaussian").fit(X)
    with pytest.raises(ValueError, match="column_kinds and marginals"):
        model.fit(X.reshape(50, 1, 8, 8))
