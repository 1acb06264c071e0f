"""score_samples against closed forms and numerical integration."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skvae import (
    PPCA,
    VAE,
    Autoencoder,
    DenoisingAE,
    HuberEnergyVAE,
    NetworkOptions,
    TrainingOptions,
)
from skvae.nn.batch import Batch
from skvae.nn.distributions import normal_points
from skvae.nn.heads import DiracHead
from skvae.nn.likelihoods import Bernoulli, Bounds, Gaussian
from skvae.nn.marginal_likelihood import laplace, log_density
from skvae.nn.model import ConditionalDistribution, Model
from skvae.nn.networks import MLP, jacobian
from skvae.nn.priors import Mixture, StandardNormal
from skvae.tables.source import Rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows(n=400, d=6, k=2, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, k) @ rng.randn(k, d) + 0.5 * rng.randn(n, d)
    return X * np.logspace(-1, 2, d) + 10.0


def linear_law(model):
    """Means, covariances and weights of p(x) of a fitted linear model, by its own parameters."""
    decoder, prior = model.module_.decoder, model.module_.latent
    layer = decoder.network.layers[-1]
    W, b = (t.detach().double().numpy() for t in (layer.weight, layer.bias))
    schema = model._fitted_.schema
    scale, noise = schema.scale, np.diag(decoder.head.variance.double().numpy())
    means, covariances = [], []
    for m, factor in zip(prior.means.double().numpy(), prior.scales.double().numpy(), strict=True):
        A = W @ factor
        means.append((W @ m + b) * scale + schema.location)
        covariances.append((A @ A.T + noise) * np.outer(scale, scale))
    return means, covariances, prior.log_weights.double().numpy()


@pytest.mark.parametrize("n_draws", [1, 3, 16])
@pytest.mark.parametrize("estimator", [Autoencoder, HuberEnergyVAE, DenoisingAE])
@pytest.mark.parametrize("noise", ["feature", "scalar", 0.7])
def test_linear_models_score_exactly(estimator, noise, n_draws):
    X = np.vstack([rows(seed=0), rows(seed=0) + 40.0])  # two clusters: a mixture on the codes
    model = estimator(
        2, hidden_layer_sizes=(), noise_variance=noise, max_iter=20, random_state=0,
        n_importance_samples=n_draws,
    ).fit(X)  # fmt: skip
    means, covariances, log_weights = linear_law(model)
    if estimator is not HuberEnergyVAE:
        assert len(means) > 1
    exact = logsumexp(
        [
            w + multivariate_normal.logpdf(X, m, c)
            for w, m, c in zip(log_weights, means, covariances, strict=True)
        ],
        axis=0,
    )
    score, std = model.score_samples(X, return_std=True)
    np.testing.assert_allclose(score, exact, rtol=1e-5)
    if len(means) == 1:
        assert std.max() < 1e-4
    moments = model.posterior(X)[1]
    assert moments.shape == (len(X), 2)


def test_linear_posterior_std_is_the_exact_one():
    X = rows()
    model = HuberEnergyVAE(2, hidden_layer_sizes=(), max_iter=10, random_state=0).fit(X)
    layer = model.module_.decoder.network.layers[-1]
    W = layer.weight.detach().double().numpy()
    precision = np.diag(1.0 / model.module_.likelihood.variance.double().numpy())
    expected = np.sqrt(np.diag(np.linalg.inv(np.eye(2) + W.T @ precision @ W)))
    np.testing.assert_allclose(model.posterior(X)[1], np.tile(expected, (len(X), 1)), rtol=1e-6)


def test_trained_linear_vae_reaches_ppca():
    """Lucas et al. 2019: the best ELBO of a linear VAE is the log-likelihood of PPCA."""
    X = rows(2000)
    X = (X - X.mean(0)) / X.std(0)
    vae = VAE(
        2,
        hidden_layer_sizes=(),
        network=NetworkOptions(linear_skip=False),
        noise_variance="scalar",
        max_iter=150,
        random_state=0,
        learning_rate_init=6e-3,
    ).fit(X)
    best = PPCA(2).fit(X).score(X)
    elbo = _elbo(vae, X)
    assert abs(elbo - best) < 0.01 * abs(best)
    assert elbo <= best + 1e-3 * abs(best)


def _elbo(vae, X, n_draws=64):
    """Mean ELBO in the units of X by plain Monte-Carlo, without the package's scoring."""
    model, schema = vae._predictor_.model(torch.float64), vae._fitted_.schema
    batch = schema.encode(Rows(X))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        total = 0.0
        for _ in range(n_draws):
            draw = model.forward_pass(batch, generator)
            total += draw.p.log_prob(batch.x).sum(-1).mean().item() / n_draws
        mean, std = draw.q.mean, draw.q.std
        kl = 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * std.log()).sum(-1).mean().item()
    return total - kl - np.log(schema.scale).sum()


def test_importance_sampling_against_integration():
    """log p(x) of a trained non-linear decoder with two codes, integrated on a grid."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, (600, 2))
    X = np.c_[np.sin(2 * t[:, 0]), t[:, 0] ** 2, t[:, 1], t.prod(1)] + 0.2 * rng.randn(600, 4)
    side = np.linspace(-7.0, 7.0, 701)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    log_prior = -0.5 * (grid**2).sum(1) - np.log(2 * np.pi) + 2 * np.log(side[1] - side[0])
    for estimator in (VAE, HuberEnergyVAE):
        model = estimator(
            2, hidden_layer_sizes=(16,), max_iter=40, n_importance_samples=1024, random_state=0
        ).fit(X)
        test = X[:40]
        z = torch.from_numpy(grid)
        with torch.no_grad():
            p = model._predictor_.model(torch.float64).decoder(z)
        schema = model._fitted_.schema
        x = schema.encode(Rows(test)).x
        exact = [
            logsumexp(p.log_prob(row).sum(-1).numpy() + log_prior) - np.log(schema.scale).sum()
            for row in x
        ]
        score, std = model.score_samples(test, return_std=True)
        error = np.abs(score - exact)
        assert np.mean(error < 3.0 * std + 1e-9) >= 0.95
        assert np.all(error < 6.0 * std + 1e-3)
        assert np.median(std) < 0.2  # the error bars say something


def test_more_draws_bring_the_estimate_closer_and_one_is_the_posterior_mean():
    X = rows()
    fine = VAE(2, hidden_layer_sizes=(16,), max_iter=20, n_importance_samples=4096, random_state=0)
    fine.fit(X)
    best = fine.score_samples(X)
    errors = []
    for n_draws in (1, 8, 128):
        fine.set_params(n_importance_samples=n_draws)
        errors.append(np.abs(fine.score_samples(X) - best).mean())
    assert errors[0] > errors[1] > errors[2]
    np.testing.assert_array_equal(normal_points(1, 3, torch.float64, "cpu"), np.zeros((1, 3)))


def test_normal_points_are_normal_and_fixed():
    a, b = (normal_points(512, 4, torch.float64, "cpu") for _ in range(2))
    assert torch.equal(a, b)
    np.testing.assert_allclose(a.mean(0), np.zeros(4), atol=0.01)
    np.testing.assert_allclose(np.cov(a.T), np.eye(4), atol=0.03)


@pytest.mark.parametrize("kind", ["feature", "network", "bounded", "bernoulli"])
def test_curvature_by_autograd(kind):
    """Gradient by autograd; Fisher information as the mean outer product of scores."""
    d, n = 3, 5
    generator = torch.Generator().manual_seed(0)
    bounds = Bounds(torch.tensor([-1.0, -0.5, 0.0]).double(), torch.tensor(2.0).double())
    if kind == "bernoulli":
        head = Bernoulli(d, bounds).double()
    else:
        noise = "network" if kind == "network" else "feature"
        head = Gaussian(d, noise, bounds=bounds if kind == "bounded" else None).double()
        head.variance.copy_(torch.tensor([0.5, 1.0, 2.0]))
    h = torch.randn(n, head.width, generator=generator, dtype=torch.float64, requires_grad=True)
    x = head(h).sample(generator).detach()
    gradient, fisher = head.curvature(h, Batch(x))
    (expected,) = torch.autograd.grad(head(h).log_prob(x).sum(), h)
    torch.testing.assert_close(gradient.detach(), expected)
    many = h.detach()[:1].expand(200_000, -1)
    scores, _ = head.curvature(many, Batch(head(many).sample(generator)))
    torch.testing.assert_close(scores.square().mean(0), fisher[0].detach(), rtol=0.03, atol=1e-3)


def test_laplace_step_never_lowers_the_joint_density():
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = MLP([5, 2]), MLP([2, 8, 5], "tanh")
    encoder.initialise(generator)
    decoder.initialise(generator)
    model = Model(
        ConditionalDistribution(encoder, DiracHead(2)),
        ConditionalDistribution(decoder, Gaussian(5, floor=0.01)),
        StandardNormal(2),
    ).double()
    x = 3.0 * torch.randn(50, 5, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        start = model.encoder(x).mean
        linear = jacobian(decoder, start)
        u, _ = laplace(model, Batch(x), start, linear, model.prior.means[0], model.prior.scales[0])

        def joint(z):
            return model.decoder(z).log_prob(x).sum(-1) + model.prior.log_prob(z)

        assert torch.all(joint(u) >= joint(start) - 1e-12)
        assert torch.any(joint(u) > joint(start))


def test_mixture_prior_against_scipy():
    rng = np.random.RandomState(0)
    means, factors = rng.randn(3, 2), np.tril(rng.randn(3, 2, 2))
    factors[:, [0, 1], [0, 1]] = np.abs(factors[:, [0, 1], [0, 1]]) + 0.3
    weights = np.array([0.2, 0.5, 0.3])
    prior = Mixture(*(torch.from_numpy(a) for a in (np.log(weights), means, factors)))
    z = rng.randn(20, 2)
    expected = logsumexp(
        [
            np.log(w) + multivariate_normal.logpdf(z, m, f @ f.T)
            for w, m, f in zip(weights, means, factors, strict=True)
        ],
        axis=0,
    )
    np.testing.assert_allclose(prior.log_prob(torch.from_numpy(z)), expected, rtol=1e-10)
    draws = prior.sample(200_000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(draws.mean(0), weights @ means, atol=0.02)


def test_parts_are_those_of_the_exact_posterior_in_the_linear_case():
    """The shares by importance sampling tend to PPCA's closed-form ones."""
    X = rows()
    X = (X - X.mean(0)) / X.std(0)
    ppca = PPCA(2).fit(X)
    model = HuberEnergyVAE(
        2, hidden_layer_sizes=(), noise_variance="scalar", max_iter=1, n_importance_samples=4096,
        training=TrainingOptions(held_out_fraction=0.0), random_state=0,
    ).fit(X)  # fmt: skip
    W, s2 = ppca.loadings_, ppca.noise_variance_
    with torch.no_grad():
        layer = model.module_.decoder.network.layers[-1]
        layer.weight.copy_(torch.from_numpy(np.asarray(W)))
        layer.bias.zero_()
        model.module_.likelihood.variance.fill_(s2)
    model._predictor_._double = None
    np.testing.assert_allclose(model.score_samples(X), ppca.score_samples(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.score_features(X), ppca.score_features(X), atol=0.05)
    np.testing.assert_allclose(
        model.score_parts(X).latent, ppca.score_parts(X).latent, atol=0.1, rtol=0.02
    )


def test_log_density_shape_is_per_row():
    X = rows(50)
    model = VAE(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(X)
    batch = model._fitted_.schema.encode(Rows(X))
    points = normal_points(8, 2, torch.float64, "cpu")
    with torch.no_grad():
        whole = log_density(model._predictor_.model(torch.float64), batch, points)
        part = log_density(model._predictor_.model(torch.float64), batch.take(slice(7, 9)), points)
    torch.testing.assert_close(whole.score[7:9], part.score)
    assert whole.reconstruction is None
    assert torch.all(whole.effective_sample_size <= 8.0 + 1e-9)


@pytest.mark.parametrize("noise", ["auto", "network"])
@pytest.mark.parametrize("estimator", [VAE, HuberEnergyVAE])
@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 1), (2, 2)])
def test_densities_integrate_to_one(estimator, noise, d, k):
    """Over a grid far beyond the rows, two bent clusters."""
    rng = np.random.RandomState(0)
    t = np.concatenate([rng.uniform(-2, -0.5, 200), rng.uniform(0.5, 2, 200)])
    X = np.c_[t, np.sin(2.0 * t)][:, :d] + 0.15 * rng.randn(400, d)
    model = estimator(
        k, noise_variance=noise, hidden_layer_sizes=(16,), max_iter=60, n_importance_samples=128,
        random_state=0,
    ).fit(X)  # fmt: skip
    grid = np.linspace(-6.0, 6.0, 2001 if d == 1 else 101)
    points = np.stack(np.meshgrid(*[grid] * d), -1).reshape(-1, d)
    mass = np.exp(model.score_samples(points)).sum() * (grid[1] - grid[0]) ** d
    assert mass == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("estimator", [VAE, HuberEnergyVAE, Autoencoder])
def test_scores_of_new_rows_are_right_within_their_error(estimator):
    """Few rows, many steps: the encoder is far from the posterior of rows that it has not seen."""
    X = rows(120, seed=3)
    X[:, :3] = np.sin(X[:, :3])
    model = estimator(2, hidden_layer_sizes=(64, 64), n_importance_samples=64, random_state=0)
    model.fit(X[:60])
    score, error = model.score_samples(X[60:], return_std=True)
    model.set_params(n_importance_samples=8192)
    truth, rest = model.score_samples(X[60:], return_std=True)
    assert abs(score - truth).mean() < 0.6
    assert np.mean(abs(score - truth) < 3.0 * np.hypot(error, rest)) > 0.75


def test_the_error_of_one_draw_is_not_known():
    X = rows(100)
    model = VAE(2, hidden_layer_sizes=(8,), max_iter=3, n_importance_samples=1, random_state=0)
    score, error = model.fit(X).score_samples(X, return_std=True)
    assert np.isfinite(score).all() and np.isnan(error).all()


def test_a_linear_start_without_noise_can_be_learned():
    """As many codes as features leave no noise: log-variances must stay where gradients are."""
    X = np.random.RandomState(0).randn(300, 1)
    model = VAE(
        1, network=NetworkOptions(linear_skip=True), hidden_layer_sizes=(8,), max_iter=40,
        n_importance_samples=128, random_state=0,
    ).fit(X)  # fmt: skip
    head = model.module_.encoder(torch.zeros(1, 1))
    assert head.log_variance.item() > -11.0
    grid = np.linspace(-8.0, 8.0, 2001)[:, None]
    assert np.exp(model.score_samples(grid)).sum() * 0.008 == pytest.approx(1.0, abs=0.02)
