"""Densities of tables: noise of the network, what held-out rows choose, and known distributions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture

from skvae import VAE, Autoencoder, ConditionalVAE, HuberEnergyVAE, TrainingOptions, load
from skvae.engine.fit import Choices, hold_out
from skvae.engine.latent_density import mixtures
from skvae.engine.selection import (
    FOLDS,
    Tempering,
    bounded,
    log_densities,
    lowest_that_counts,
    step_between,
)
from skvae.nn.batch import Batch
from skvae.nn.categorical import Softmax
from skvae.nn.heads import NormalHead
from skvae.nn.likelihoods import Gaussian, Product
from skvae.nn.model import ConditionalDistribution, Model
from skvae.nn.networks import MLP
from skvae.nn.priors import StandardNormal

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (16,), "random_state": 0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(*shape, seed=0):
    return torch.empty(*shape, dtype=torch.float64).normal_(generator=seeded(seed))


# -- noise of the network --------------------------------------------------------------------------
def network_noise():
    return Gaussian(3, "network", floor=0.01).double().eval()


def test_tempered_noise_by_hand():
    head, h, centre = network_noise(), draws(5, 6), draws(3, seed=1)
    raw = h[:, 3:]
    plain = head(h).variance
    torch.testing.assert_close(plain, raw.exp() + 0.01)
    torch.testing.assert_close(head.network_noise(h), raw)
    head.temper(0.5, 0.25, centre)
    expected = (centre + 0.25 + 0.5 * (raw - centre)).exp() + 0.01
    torch.testing.assert_close(head(h).variance, expected)
    torch.testing.assert_close(head(h).mean, h[:, :3])
    head.train()
    torch.testing.assert_close(head(h).variance, plain)  # training knows nothing of it
    head.eval().temper(0.0, 0.0, centre)
    torch.testing.assert_close(head(h).variance, (centre.exp() + 0.01).expand(5, 3))
    head.restore_noise()
    torch.testing.assert_close(head(h).variance, plain)


def test_the_curvature_of_tempered_noise_is_that_of_the_log_likelihood():
    head, batch = network_noise(), Batch(draws(5, 3, seed=2))
    head.temper(0.5, 0.25, draws(3, seed=1))
    h = draws(5, 6).requires_grad_()
    (wanted,) = torch.autograd.grad(head(h).log_likelihood(batch.x).sum(), h)
    gradient, fisher = head.curvature(h.detach(), batch)
    torch.testing.assert_close(gradient, wanted)
    # the Fisher information is the variance of the gradient over rows drawn from the law
    n = 200_000
    many = h.detach()[:1].expand(n, 6)
    rows = head(many).sample(seeded(3))
    spread = head.curvature(many, Batch(rows))[0].var(0)
    torch.testing.assert_close(fisher[0], spread, rtol=0.03, atol=0.0)


def test_a_product_tempers_the_groups_that_have_such_noise():
    product = Product([Gaussian(2, "network"), Softmax([3]), Gaussian(1, "network")]).eval()
    h = torch.randn(4, product.width, generator=seeded())
    centre = torch.tensor([0.1, 0.2, 0.3])
    noise = product.network_noise(h)
    torch.testing.assert_close(noise, torch.cat([h[:, 2:4], h[:, -1:]], 1))
    product.temper(0.0, 1.0, centre)
    found = product.groups[0](h[:, :4]).variance
    torch.testing.assert_close(found, ((centre[:2] + 1.0).exp() + 0.0025).expand(4, 2))
    torch.testing.assert_close(product.groups[2].shift, centre[2:] + 1.0)
    product.restore_noise()
    assert float(product.groups[2].slope) == 1.0 and not product.groups[0].shift.any()
    assert Product([Gaussian(1), Softmax([2])]).network_noise(torch.zeros(2, 3)) is None


def linear_model(d=4, k=2, noise=-1.0):
    """x = W z + e, its noise an output of the decoder that does not depend on z."""
    encoder, decoder = MLP([d, 2 * k]), MLP([k, 2 * d])
    encoder.initialise(seeded(0))
    decoder.initialise(seeded(1))
    with torch.no_grad():
        decoder.layers[-1].weight[d:] = 0.0
        decoder.layers[-1].bias[d:] = noise
    model = Model(
        ConditionalDistribution(encoder, NormalHead(k)),
        ConditionalDistribution(decoder, Gaussian(d, "network", floor=0.0)),
        StandardNormal(k),
    )
    return model.double().eval()


def law_of(model, d=4):
    weight, bias = model.decoder.network.layers[-1].weight, model.decoder.network.layers[-1].bias
    w, noise = weight[:d].detach().numpy(), bias[d:].detach().exp().numpy()
    return stats.multivariate_normal(bias[:d].detach().numpy(), w @ w.T + np.diag(noise))


def test_held_out_log_densities_are_those_of_the_linear_model():
    model = linear_model()
    rows = Batch(2.0 * draws(50, 4))
    found = log_densities(model, rows)
    # the estimate does not know that the noise is the same for all codes; 16 draws
    np.testing.assert_allclose(found, law_of(model).logpdf(rows.x), atol=0.2)
    many = Batch(draws(1000, 4))
    assert step_between(model, many) == 4
    np.testing.assert_array_equal(
        log_densities(model, many), log_densities(model, many.take(slice(None, None, 4)))
    )


@pytest.mark.parametrize(("noise", "level"), [(-1.0, 0.0), (-2.0, 1.0), (-3.0, 2.0)])
def test_held_out_rows_tell_the_level_of_the_noise(noise, level):
    """Rows have noise e^-1; the decoder says less, as one that has memorised its rows does."""
    rng = np.random.default_rng(0)
    rows = Batch(torch.from_numpy(law_of(linear_model()).rvs(800, random_state=rng)))
    model = linear_model(noise=noise)
    known, held_out = rows.take(slice(0, 500)), rows.take(slice(500, None))
    tempering = Tempering.of(model, known, held_out)
    assert model.likelihood.slope == 1.0 and not model.likelihood.shift.any()
    tempering.apply(model)
    slope = float(model.likelihood.slope)
    assert float(model.likelihood.shift[0]) == pytest.approx(level + (1.0 - slope) * noise)
    means = tempering.scores.mean(1)
    gain = means.max() - means[tempering.settings.index((1.0, 0.0))]
    assert gain > 0.1 if level else gain < 0.05
    torch.testing.assert_close(log_densities(model, held_out), tempering.scores[means.argmax()])


def test_rows_without_a_density_choose_nothing():
    model, rows = linear_model(), Batch(draws(30, 4))
    tempering = Tempering.of(model, rows, rows)
    tempering.scores[1:] = -math.inf
    tempering.scores[1:, 0] = math.nan
    tempering.apply(model)
    assert model.likelihood.slope == 1.0 and not model.likelihood.shift.any()


def test_each_fold_has_the_noise_that_other_rows_choose():
    model, rows = linear_model(), Batch(draws(30, 4))
    tempering = Tempering.of(model, rows, rows)
    first = torch.arange(30) < 15
    second = ~first
    wide, narrow = tempering.settings.index((1.0, 2.0)), tempering.settings.index((0.0, 0.25))
    tempering.scores.zero_()
    tempering.scores[wide, first], tempering.scores[narrow, second] = 1.0, 1.0
    tempering.apply(model, first)
    assert float(model.likelihood.slope) == 1.0
    tempering.apply(model, second)
    assert float(model.likelihood.slope) == 0.0


def test_every_fold_is_left_out_of_what_chooses():
    """Also where every fifth row would be enough to choose by."""
    model = linear_model()
    for n in (1300, 1500, 2048, 30, 7):
        step = step_between(model, Batch(draws(n, 4)))
        rows = torch.arange(0, n, step)
        assert step % FOLDS and len(rows) <= 300 + (n <= 300)
        assert len(set((rows % FOLDS).tolist())) == FOLDS
        choices = Choices(None, None, step)
        for fold in range(FOLDS):
            kept = choices._others(fold, torch.zeros(2, len(rows)))
            assert kept.tolist() == [int(r) % FOLDS != fold for r in rows]


def test_a_wild_row_decides_nothing():
    rng = np.random.default_rng(0)
    rows = Batch(torch.from_numpy(law_of(linear_model()).rvs(600, random_state=rng)))
    model = linear_model(noise=-2.0)
    known, held_out = rows.take(slice(0, 300)), rows.take(slice(300, None))
    Tempering.of(model, known, held_out).apply(model)
    usual = model.likelihood.slope.clone(), model.likelihood.shift.clone()
    wild = held_out._replace(x=held_out.x.clone())
    wild.x[0, 0] = 1e6
    model.likelihood.restore_noise()
    Tempering.of(model, known, wild).apply(model)
    torch.testing.assert_close((model.likelihood.slope, model.likelihood.shift), usual)
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0, -math.inf, math.nan, -1e9])
    low = lowest_that_counts(scores)
    assert -200.0 < low < -20.0
    assert bounded(scores, low).tolist() == [1.0, 2.0, 3.0, 4.0, *[pytest.approx(low)] * 3]
    assert lowest_that_counts(torch.full((3,), -math.inf)) == -math.inf


# -- densities that are known ----------------------------------------------------------------------
def funnel(n, seed):
    """x_1 from N(0, 1), x_2 and x_3 from N(0, e^x_1): no noise by feature fits it."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    scale = np.exp(first[:, None] / 2.0)
    rest = rng.normal(size=(n, 2)) * scale
    law = stats.norm.logpdf(first) + stats.norm.logpdf(rest, scale=scale).sum(1)
    return np.column_stack([first, rest]), law


def test_noise_of_the_network_fits_a_funnel():
    X, _ = funnel(1500, 0)
    new, law = funnel(1000, 1)
    plain = VAE(**SMALL).fit(X).score(new)
    found = VAE(noise_variance="network", **SMALL).fit(X).score(new)
    assert law.mean() - 0.25 < found < law.mean() + 0.05
    assert found > plain + 0.3


def test_two_columns_are_not_held_at_the_linear_solution():
    """A penalty of 10 held a ring there, at -4.3; its density is -2.05 in the mean."""
    rng = np.random.default_rng(4)

    def ring(n):
        angle, radius = rng.uniform(0.0, 2.0 * np.pi, n), 3.0 + 0.1 * rng.normal(size=n)
        return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])

    X, new = ring(1000), ring(1000)
    assert VAE(noise_variance="network", random_state=0).fit(X).score(new) > -2.3


def test_a_mixture_on_the_codes_is_kept_where_held_out_rows_are_likelier():
    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [4.0, 3.0], [0.0, -6.0]])
    clustered = centres[rng.integers(3, size=600)] + 0.3 * rng.normal(size=(600, 2))
    model = VAE(noise_variance="network", max_iter=60, **SMALL).fit(clustered)
    assert isinstance(model.latent_density_, GaussianMixture)
    asked = VAE(noise_variance="network", max_iter=60, latent_density=None, **SMALL)
    assert not hasattr(asked.fit(clustered), "latent_density_")
    assert model.score(clustered) > asked.score(clustered)
    normal, law = rng.normal(size=(1000, 2)), stats.multivariate_normal(np.zeros(2), np.eye(2))
    plain = VAE(noise_variance="network", **SMALL).fit(normal[:300])
    assert plain.score(normal[300:]) > law.logpdf(normal[300:]).mean() - 0.15


def test_mixtures_grow_with_the_rows():
    rng = np.random.default_rng(0)
    sizes = [[m.n_components for m in mixtures(rng.normal(size=(n, 3)), 0)] for n in (10, 40, 300)]
    assert sizes == [[1], [1, 2], [1, 2, 4, 8, 16]]


def test_few_rows_do_not_explode():
    """From 40 rows a decoder's own noise was off by hundreds of nats a row."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(3, 12))
    X = rng.normal(size=(240, 3)) @ W + 0.5 * rng.normal(size=(240, 12))
    law = stats.multivariate_normal(np.zeros(12), W.T @ W + 0.25 * np.eye(12)).logpdf(X[40:]).mean()
    found = VAE(noise_variance="network", random_state=0).fit(X[:40]).score(X[40:])
    raw = VAE(
        noise_variance="network",
        early_stopping=False,
        training=TrainingOptions(alpha=0.0, held_out_fraction=0.0),
        random_state=0,
    )
    assert law - 7.0 < found < law
    assert raw.fit(X[:40]).score(X[40:]) < law - 50.0


# -- what follows from it --------------------------------------------------------------------------
@pytest.fixture(scope="module")
def rows():
    return funnel(120, 2)[0]


def test_what_the_noise_decides(rows):
    density = VAE(noise_variance="network", max_iter=70, **SMALL).fit(rows)
    plain = VAE(max_iter=70, **SMALL).fit(rows)
    assert density._fitted_.spec.linear_skip and not plain._fitted_.spec.linear_skip
    assert density.validation_scores_ and not plain.validation_scores_
    told = VAE(noise_variance="network", early_stopping=False, max_iter=70, **SMALL).fit(rows)
    assert not told.validation_scores_
    free = VAE(
        noise_variance="network", training=TrainingOptions(alpha=0.0), max_iter=70, **SMALL
    ).fit(rows)
    assert not np.allclose(free.score_samples(rows), density.score_samples(rows))
    heavy = VAE(max_iter=70, training=TrainingOptions(alpha=0.0), **SMALL).fit(rows)
    np.testing.assert_array_equal(heavy.score_samples(rows), plain.score_samples(rows))


@pytest.mark.parametrize(
    ("estimator", "stops"),
    [
        (VAE(noise_variance="network"), True),
        (VAE(noise_variance="network", beta=2.0), False),
        (VAE(noise_variance="network", free_bits=0.1), False),
        (VAE(noise_variance="network", prior="implicit"), False),
        (VAE(noise_variance="network", prior="mixture", prior_size=3), True),
        (VAE(noise_variance="network", bound="importance_weighted", n_draws=2), True),
        (VAE(), False),
        (Autoencoder(noise_variance="network"), False),
        (HuberEnergyVAE(noise_variance="network"), False),
    ],
)
def test_only_fits_of_a_density_stop_by_it(estimator, stops, rows):
    estimator.set_params(max_iter=3, batch_size=8, **SMALL)
    found = estimator.fit(rows)
    assert bool(found.validation_scores_) is stops
    assert np.isfinite(found.score_samples(rows)).all()


def test_the_number_of_codes_of_a_density(rows):
    """Every direction that is wider than twice the noise floor, up to one for 16 rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 12)) @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
    X[:, 10:] = X[:, :2] + 1e-3 * rng.normal(size=(400, 2))
    one_epoch = {"max_iter": 1, **SMALL}
    assert VAE(noise_variance="network", **one_epoch).fit(X).n_components_ == 10
    assert VAE(**one_epoch).fit(X).n_components_ == 9
    assert VAE(noise_variance="network", **one_epoch).fit(X[:170]).n_components_ == 9
    coarse = TrainingOptions(noise_floor=1.0)
    found = VAE(noise_variance="network", training=coarse, **one_epoch).fit(X).n_components_
    assert found == 8


def test_a_saved_density_scores_as_before(rows, tmp_path):
    model = VAE(noise_variance="network", max_iter=40, **SMALL).fit(rows)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        load(tmp_path / "model").score_samples(rows), model.score_samples(rows)
    )


def test_labels_keep_their_density(rows):
    y = np.where(rows[:, 0] > 0.0, "high", "low")
    model = ConditionalVAE(noise_variance="network", max_iter=40, **SMALL).fit(rows, y)
    assert model.validation_scores_
    assert model.score(rows, y) > 0.9


def test_a_warm_start_begins_anew(rows):
    """What the last training chose has no part in the next: neither density nor noise."""
    model = VAE(noise_variance="network", max_iter=40, warm_start=True, **SMALL).fit(rows)
    first = model.score_samples(rows)
    likelihood = model._fitted_.model.likelihood
    before = likelihood.slope.clone(), likelihood.shift.clone()
    again = model.fit(rows)
    assert len(again.validation_scores_) > 0
    assert not np.allclose(again.score_samples(rows), first)
    torch.testing.assert_close((likelihood.slope, likelihood.shift), before)  # a copy went on


def test_chunks_are_not_shrunk_again_and_again(rows):
    rng = np.random.default_rng(0)
    stream = VAE(noise_variance="network", **SMALL).partial_fit(rows)
    free = VAE(noise_variance="network", training=TrainingOptions(alpha=0.0), **SMALL)
    free.partial_fit(rows)
    for _ in range(20):
        chunk = rows[rng.integers(len(rows), size=8)]
        stream.partial_fit(chunk)
        free.partial_fit(chunk)
    np.testing.assert_array_equal(stream.score_samples(rows), free.score_samples(rows))


def test_a_stop_is_not_decided_by_columns_that_were_constant(rows):
    X = np.c_[rows, np.zeros(len(rows))]
    fitted = VAE(noise_variance="network", max_iter=60, **SMALL)
    held_out = hold_out(len(X), fitted._fit_settings(0), 0)
    X[held_out[:2], 3] = [1.0, 2.0]
    model = fitted.fit(X)
    assert min(model.validation_scores_) > -1e3
    constant = np.c_[rows, np.zeros(len(rows))]
    usual = VAE(noise_variance="network", max_iter=60, **SMALL).fit(constant)
    known = np.delete(X, held_out, 0)
    units = np.log(X[:, 3].std() / 1e-6)  # of the column, for the same scores in units of its scale
    gap = usual.score_samples(known) - model.score_samples(known) - units
    assert abs(np.median(gap)) < 3.0
