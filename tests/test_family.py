"""Every method of the family against a closed form, a limit, or a known law."""

from __future__ import annotations

import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from contracts import assert_same, make, outputs, table
from numpy.testing import assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_wine, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

import skvae
from skvae.engine.batches import TensorSource
from skvae.engine.fit import make_objective
from skvae.engine.latent_density import FittedDensity
from skvae.engine.trainer import TrainConfig, Trainer, TrainState
from skvae.estimators.contractive_ae import Contraction
from skvae.estimators.factor_vae import permuted
from skvae.estimators.injective_flow_ae import LogVolume
from skvae.estimators.mask_aae import MaskedHead, MaskedNormal
from skvae.estimators.rae import DecoderNorm, DecoderSlope
from skvae.estimators.sparse_ae import AbsoluteCodes, ActivationRate
from skvae.nn.adversarial import Critic, CriticObjective
from skvae.nn.batch import Batch
from skvae.nn.distributions import Normal
from skvae.nn.divergences import HuberEnergy
from skvae.nn.heads import DiracHead, FlowHead, NormalHead
from skvae.nn.kl_term import KL
from skvae.nn.likelihoods import Gaussian
from skvae.nn.model import ConditionalDistribution, ForwardPass, Model
from skvae.nn.networks import MLP
from skvae.nn.objectives import ImportanceWeighted, Objective, Turn
from skvae.nn.priors import (
    DiagonalMixture,
    FlowPrior,
    Pushforward,
    StandardNormal,
    TiltedNormal,
    VampPrior,
)
from skvae.nn.shared_penalties import CodeNorm

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def train(objective, x, **kw):
    source = TensorSource(Batch(x))
    return Trainer(TrainConfig(**kw)).run(objective, TrainState(0), source)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def mlp(*widths, skip=False, seed=0):
    network = MLP(list(widths), "tanh", skip)
    network.initialise(seeded(seed))
    return network


def small_model(head=NormalHead, d=5, k=2, hidden=(7,), noise="feature"):
    h = head(k)
    encoder = ConditionalDistribution(mlp(d, *hidden, h.width, seed=1), h)
    decoder = ConditionalDistribution(mlp(k, *hidden, d, seed=2), Gaussian(d, noise))
    return Model(encoder, decoder, StandardNormal(k))


# -- penalties ---------------------------------------------------------------------------------


def test_contraction_of_a_linear_encoder_is_the_norm_of_its_weights():
    model = small_model(DiracHead, hidden=())
    draw = model.forward_pass(Batch(normal(4000, 5)), seeded())
    expected = model.encoder.network.layers[0].weight.square().sum()
    torch.testing.assert_close(Contraction(3.0, exact=True)(draw, model), 3.0 * expected)
    estimate = Contraction(3.0, exact=False)(draw, model)
    torch.testing.assert_close(estimate, 3.0 * expected, rtol=0.05, atol=0.0)


def test_contraction_of_a_sigmoid_layer():
    """|J|^2 = sum_j (s_j (1 - s_j))^2 sum_i W_ji^2, as in the paper."""
    model = small_model(DiracHead)
    model.encoder.network = MLP([5, 2, 2], "logistic")
    model.encoder.network.initialise(seeded())
    layer, last = model.encoder.network.layers
    with torch.no_grad():
        last.weight.copy_(torch.eye(2))
    x = normal(20, 5)
    draw = model.forward_pass(Batch(x), seeded())
    s = torch.sigmoid(layer(x))
    rows = (s * (1 - s)).square() @ layer.weight.square().sum(1)
    torch.testing.assert_close(Contraction(1.0, exact=True)(draw, model), rows.mean())


def test_sparsity_by_hand():
    model = small_model(DiracHead, hidden=())
    z = torch.tensor([[1.0, -2.0], [0.0, 4.0]])
    draw = ForwardPass(None, None, z, None)
    norms = model.decoder.network.layers[0].weight.norm(dim=0)
    torch.testing.assert_close(
        AbsoluteCodes(2.0)(draw, model), 2.0 * (0.5 * norms[0] + 3 * norms[1])
    )
    # smaller codes with larger weights gain nothing
    before = AbsoluteCodes(1.0)(draw, model)
    with torch.no_grad():
        model.decoder.network.layers[0].weight.mul_(10.0)
    torch.testing.assert_close(AbsoluteCodes(1.0)(draw._replace(z=z / 10.0), model), before)

    z = torch.tensor([[0.1, 0.9], [0.3, 0.9]])
    kl = [0.05 * math.log(0.05 / m) + 0.95 * math.log(0.95 / (1 - m)) for m in (0.2, 0.9)]
    found = ActivationRate(3.0, 0.05)(draw._replace(z=z), model)
    torch.testing.assert_close(found, torch.tensor(3.0 * sum(kl)))
    on_target = ActivationRate(3.0, 0.3)(draw._replace(z=torch.full((4, 2), 0.3)), model)
    torch.testing.assert_close(on_target, torch.tensor(0.0))
    torch.testing.assert_close(CodeNorm(2.0)(draw._replace(z=z), model), z.square().sum() / 2)


def test_penalties_of_a_linear_decoder():
    model = small_model(DiracHead, hidden=())
    draw = model.forward_pass(Batch(normal(20_000, 5)), seeded())
    layer = model.decoder.network.layers[0]
    expected = layer.weight.square().sum()
    slope = DecoderSlope(2.0)(draw._replace(rng=seeded()), model)
    torch.testing.assert_close(slope, 2.0 * expected, rtol=0.05, atol=0.0)
    both = 0.5 * 3.0 * (expected + layer.bias.square().sum())
    torch.testing.assert_close(DecoderNorm(3.0)(draw, model), both)


@pytest.mark.parametrize("equal", [True, False])
def test_volume_of_a_linear_decoder(equal):
    """1/2 log det(I + J' S^-1 J) where all singular values agree, and more where they do not."""
    model = small_model(DiracHead, hidden=(), noise="fixed")
    weight = torch.linalg.qr(normal(5, 2))[0] * 3.0
    if not equal:
        weight = weight * torch.tensor([0.1, 2.0])
    with torch.no_grad():
        model.decoder.network.layers[0].weight.copy_(weight)
        model.likelihood.variance.fill_(0.25)
    draw = model.forward_pass(Batch(normal(5000, 5)), seeded())
    exact = 0.5 * torch.logdet(torch.eye(2) + weight.T @ weight / 0.25)
    found = LogVolume(1.0)(draw, model)
    if equal:
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=0.0)
    else:
        assert found > exact + 0.1


def test_spectral_norms_are_the_largest_singular_values():
    X = StandardScaler().fit_transform(table(300))
    model = make(skvae.RAE, decoder_penalty="spectral_norm", max_iter=100).fit(X)
    bound = 1.0
    for layer in model.module_.decoder.network.layers:
        weight = layer.weight.detach()
        right = torch.nn.functional.normalize(weight.T @ layer.left, dim=0)
        found = layer.left @ (weight @ right)
        largest = torch.linalg.matrix_norm(weight, 2)
        assert found.item() == pytest.approx(largest.item(), rel=0.02)
        bound *= float(layer.log_norm.detach().exp())
    Z = np.random.RandomState(0).normal(size=(50, 2))
    step = 1e-3 * np.random.RandomState(1).normal(size=(50, 2))
    moved = np.linalg.norm(model.inverse_transform(Z + step) - model.inverse_transform(Z), axis=1)
    assert (moved <= 1.2 * bound * np.linalg.norm(step, axis=1)).all()  # silu has slope 1.1
    heavy = make(skvae.RAE, decoder_penalty="spectral_norm", decoder_weight=1.0, max_iter=100)
    norms = [float(la.log_norm.detach()) for la in heavy.fit(X).module_.decoder.network.layers]
    assert sum(norms) < math.log(bound)


# -- priors and posteriors -----------------------------------------------------------------------


def test_vamp_prior_with_one_pseudo_input_is_a_posterior():
    model = small_model()
    prior = VampPrior(2, 5, 1)
    prior.initialise(normal(9, 5), seeded())
    q = model.encoder(prior.pseudo_inputs)
    z = normal(40, 2)
    torch.testing.assert_close(prior.log_prob(z, model), q.log_prob(z).sum(-1))
    drawn = prior.sample(40_000, seeded(), model)
    torch.testing.assert_close(drawn.mean(0), q.mean[0], atol=0.03, rtol=0.0)
    torch.testing.assert_close(drawn.std(0), q.std[0], atol=0.03, rtol=0.0)


def test_vamp_prior_of_many_and_mixture_are_densities():
    """Their log-densities integrate to one, and their draws agree with them."""
    model = small_model(k=1)
    vamp = VampPrior(1, 5, 6)
    vamp.initialise(2.0 * normal(4, 5), seeded())
    mixture = DiagonalMixture(1, 4, seeded())
    grid = torch.linspace(-12, 12, 20_001)[:, None]
    for prior in (vamp, mixture):
        density = prior.log_prob(grid, model).exp()
        assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1.0, abs=1e-3)
        drawn = prior.sample(50_000, seeded(), model)
        mean = torch.trapezoid(density * grid[:, 0], grid[:, 0]).item()
        assert drawn.mean().item() == pytest.approx(mean, abs=0.03)


@pytest.mark.parametrize("k", [1, 3])
def test_flows_start_as_the_identity(k):
    prior = FlowPrior(k, [8], seeded())
    z = normal(30, k)
    torch.testing.assert_close(
        prior.log_prob(z), StandardNormal(k).log_prob(z), atol=1e-5, rtol=1e-5
    )
    head = FlowHead(k, 4, [8], seeded())
    h = normal(30, head.width)
    q, base = head(h), NormalHead(k)(h[:, : 2 * k])
    drawn = q.sample(seeded())
    torch.testing.assert_close(drawn, base.sample(seeded()), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        q.log_likelihood(drawn), base.log_likelihood(drawn), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(q.mean, base.mean, atol=0.1, rtol=0.1)
    torch.testing.assert_close(q.std, base.std, atol=0.1, rtol=0.15)


@pytest.mark.parametrize("k", [1, 2])
def test_flows_are_densities_and_invertible(k):
    prior = FlowPrior(k, [8], seeded())
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=seeded(5)))
    u = normal(200, k)
    z = prior.flow.inverse(u)
    back, log_det = prior.flow(z)
    torch.testing.assert_close(back, u, atol=1e-4, rtol=1e-4)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: prior.flow(v)[0]))(z[:20])
    torch.testing.assert_close(
        torch.linalg.slogdet(jacobian)[1], log_det[:20], atol=1e-4, rtol=1e-4
    )


def test_tilted_normal():
    """With t(z) = a'z it is N(a, I), and log Z = |a|^2 / 2."""
    a = torch.tensor([0.8, -0.5])
    prior, model = TiltedNormal(2), SimpleNamespace(auxiliary={"critic": lambda z: z @ a})
    prior.finalise(seeded(), model)
    assert prior.log_z.item() == pytest.approx(float(a @ a) / 2, abs=0.03)
    z = normal(50, 2)
    expected = torch.from_numpy(multivariate_normal(a.numpy()).logpdf(z.numpy())).float()
    torch.testing.assert_close(prior.log_prob(z, model), expected, atol=0.03, rtol=0.0)
    drawn = prior.sample(20_000, seeded(), model)
    torch.testing.assert_close(drawn.mean(0), a, atol=0.03, rtol=0.0)
    torch.testing.assert_close(drawn.std(0), torch.ones(2), atol=0.05, rtol=0.0)


def test_masked_normal():
    head = MaskedHead(2)
    with torch.no_grad():
        head.mask.m.copy_(-torch.log1p(-torch.tensor([0.5, 1.0 - 1e-7])))
    prior, model = MaskedNormal(2), SimpleNamespace(encoder=SimpleNamespace(head=head))
    z = normal(30, 2)
    expected = multivariate_normal(np.zeros(2), np.diag([0.25, 1.0])).logpdf(z.numpy())
    np.testing.assert_allclose(prior.log_prob(z, model).detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(prior.proposals(model).log_prob(z).detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        prior.sample(50_000, seeded(), model).detach().std(0), [0.5, 1.0], rtol=0.02
    )


# -- objectives ----------------------------------------------------------------------------------


def test_monte_carlo_rate_agrees_with_the_closed_form():
    model = small_model()
    rows = normal(500, 5).repeat(200, 1)
    draw = model.forward_pass(Batch(rows), seeded())
    exact = KL()(draw, model)
    model.prior = DiagonalMixture(2, 1, seeded())  # N(0, I), but without a closed form
    torch.testing.assert_close(KL()(draw, model), exact, rtol=0.01, atol=0.01)
    torch.testing.assert_close(
        KL()(draw, Model(model.encoder, model.decoder, TiltedNormal(2))), exact
    )


def test_one_weight_is_the_evidence_lower_bound_and_more_are_tighter():
    model = small_model(noise="fixed")
    rows = normal(2000, 5)

    def loss(objective, rows):
        with torch.no_grad():
            return sum(float(term) for term in objective.losses(Batch(rows), seeded()).values())

    elbo = loss(Objective(model, {"kl": KL()}, n_draws=200), rows)
    losses = {n: loss(ImportanceWeighted(model, n_draws=n), rows) for n in (1, 5, 50)}
    assert losses[1] == pytest.approx(elbo, rel=0.02)
    assert losses[1] > losses[5] > losses[50]
    exact = -np.mean(_integrated(model, rows[:40]))
    assert loss(ImportanceWeighted(model, n_draws=3000), rows[:40]) == pytest.approx(
        exact, abs=0.05
    )


def _integrated(model, rows):
    """log p(x) on a grid of codes."""
    side = torch.linspace(-7, 7, 301)
    grid = torch.cartesian_prod(side, side)
    log_prior = StandardNormal(2).log_prob(grid) + 2 * math.log(float(side[1] - side[0]))
    with torch.no_grad():
        p = model.decoder(grid)
        return [float(torch.logsumexp(p.log_likelihood(x) + log_prior, 0)) for x in rows]


def test_codes_are_standardised_at_no_cost():
    """The same reconstructions, and a rate that no other scale or shift of the codes undercuts."""
    model = small_model()
    model.encoder.network, model.decoder.network = mlp(5, 7, 4, skip=True), mlp(2, 7, 5, skip=True)
    with torch.no_grad():
        model.encoder.network.layers[-1].bias += torch.tensor([2.0, -1.0, -3.0, -2.0])
    rows = normal(500, 5)
    q, before = model.encoder(rows), model.decoder(model.encoder(rows).mean).mean
    scaled = Normal(3.0 * q.mean, q.log_variance + 2.0 * math.log(3.0))
    model.encoder.network.absorb_outputs(
        torch.tensor([3.0, 3.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 2.2, 2.2])
    )
    model.decoder.network.absorb_inputs(torch.full((2,), 1 / 3.0), torch.zeros(2))
    torch.testing.assert_close(model.encoder(rows).mean, scaled.mean)
    torch.testing.assert_close(model.decoder(scaled.mean).mean, before, atol=1e-5, rtol=1e-5)
    wide = KL()(model.forward_pass(Batch(rows), seeded()), model)
    model.standardise_codes(Batch(rows))
    q = model.encoder(rows)
    torch.testing.assert_close(model.decoder(q.mean).mean, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(q.mean.mean(0), torch.zeros(2), atol=1e-5, rtol=0.0)
    second = q.mean.square().mean(0) + q.variance.mean(0)
    torch.testing.assert_close(second, torch.ones(2), atol=2e-3, rtol=0.0)
    least = KL()(model.forward_pass(Batch(rows), seeded()), model)
    assert least < wide - 0.1
    for factor, shift in ((1.1, 0.0), (0.9, 0.0), (1.0, 0.1)):
        moved = Normal(factor * q.mean + shift, q.log_variance + 2.0 * math.log(factor))
        assert moved.kl_to_standard_normal(rows).sum() / len(rows) > least


def test_info_vae_without_information_and_distance_is_the_vae():
    X = table()
    a = make(skvae.InfoVAE, information_weight=0.0, divergence_weight=1.0).fit(X)
    b = make(skvae.VAE).fit(X)
    found, expected = outputs(a, X), outputs(b, X)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_info_vae_refuses_to_reward_a_distance():
    """The default of another library does."""
    with pytest.raises(
        ValueError, match=r"information_weight \+ divergence_weight must be at least 1"
    ):
        make(skvae.InfoVAE, information_weight=0.5, divergence_weight=1e-3).fit(table())


def test_factor_vae_without_its_term_is_the_vae():
    X = table()
    a, b = make(skvae.FactorVAE, gamma=0.0).fit(X), make(skvae.VAE).fit(X)
    assert a.history_["kl"] != []
    assert a.transform(X).shape == b.transform(X).shape  # all rows, not half of them
    assert abs(a.score(X) - b.score(X)) < 1.0


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_total_correlation_by_the_critic(rho):
    """-1/2 log(1 - rho^2) for two correlated normals, 0 for independent ones."""
    factor = torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]]))
    codes = normal(8000, 2) @ factor.T
    critic = Critic(mlp(2, 32, 1))

    class Game(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.critic = critic

        def turns(self):
            def losses(batch, rng, progress):
                z = batch.x
                return {"critic": critic.separate(z, permuted(z, rng), rng)}

            return {"critic": Turn(losses, list(critic.parameters()))}

    train(Game(), codes, batch_size=500, n_epochs=60, lr=1e-2)
    with torch.no_grad():
        found = critic(normal(20_000, 2, seed=3) @ factor.T).mean().item()
    assert found == pytest.approx(-0.5 * math.log(1.0 - rho**2), abs=0.06)


def test_permuted_keeps_the_margins_and_breaks_the_bonds():
    z = normal(4000, 1).repeat(1, 3)
    mixed = permuted(z, seeded())
    for j in range(3):
        assert torch.equal(mixed[:, j].sort().values, z[:, j].sort().values)
    assert torch.corrcoef(mixed.T).triu(1).abs().max() < 0.06


def test_wasserstein_critic_of_a_shift():
    """Two laws a shift apart: the best potential of slope one gives the length of the shift."""
    critic = Critic(mlp(2, 32, 1), "wasserstein")
    shift = torch.tensor([1.2, -1.6])

    class Game(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.critic = critic

        def turns(self):
            def losses(batch, rng, progress):
                z = batch.x
                return {"critic": critic.separate(z + shift, z, rng)}

            return {"critic": Turn(losses, list(critic.parameters()))}

    z = normal(4000, 2)
    train(Game(), z, batch_size=200, n_epochs=40, lr=5e-3)
    with torch.no_grad():
        gap = (critic(z + shift) - critic(z)).mean().item()
    assert gap == pytest.approx(2.0, abs=0.2)


def test_the_loss_of_a_critic_objective_is_the_models_own():
    """Early stopping and the best loss do not count the critic's."""
    X = table(300)
    model = make(skvae.AdversarialAE, max_iter=8).fit(X)
    h = model.history_
    np.testing.assert_allclose(model.loss_curve_, np.add(h["reconstruction"], h["adversarial"]))
    assert set(h) == {"reconstruction", "adversarial", "critic"}
    stopped = make(
        skvae.AdversarialAE, early_stopping=True, training__patience=3, max_iter=200
    ).fit(X)
    assert len(stopped.validation_scores_) > 0
    objective = make_objective(stopped._recipe(first=False), stopped._fitted_)
    assert isinstance(objective, CriticObjective)
    critic = {id(p) for p in stopped.module_.auxiliary["critic"].parameters()}
    turns = objective.turns()
    assert not critic & {id(p) for p in turns["model"].parameters}
    assert critic == {id(p) for p in turns["critic"].parameters}


# -- latent densities ----------------------------------------------------------------------------


def test_any_density_of_codes_gives_the_score():
    """Against integration over a one-dimensional code, for a density that is no normal mixture."""
    rng = np.random.RandomState(0)
    code = rng.exponential(size=(600, 1))
    X = code @ [[1.0, -2.0, 0.5]] + 0.3 * rng.normal(size=(600, 3))
    model = skvae.Autoencoder(
        1, hidden_layer_sizes=(), latent_density=KernelDensity(bandwidth=0.3), max_iter=300,
        n_importance_samples=128, random_state=0,
    ).fit(X)  # fmt: skip
    density = model.latent_density_
    assert isinstance(density, KernelDensity)
    u = np.linspace(-6, 9, 6001)[:, None]
    z = u * model._fitted_.density.scale + model._fitted_.density.location
    log_p = density.score_samples(u) + np.log(u[1, 0] - u[0, 0])
    means, noise = model.inverse_transform(z), model.noise_variance_
    expected = [logsumexp(norm.logpdf(x, means, np.sqrt(noise)).sum(1) + log_p) for x in X[:50]]
    np.testing.assert_allclose(model.score_samples(X[:50]), expected, atol=0.05)
    drawn = model.sample(4000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), X.mean(0), atol=0.25)
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=0.15)


def test_a_mixture_means_the_same_by_either_way():
    """As normals in torch, or through scikit-learn's methods."""
    X = table(300)
    model = make(skvae.Autoencoder, latent_density=GaussianMixture(2), n_importance_samples=64).fit(
        X
    )

    z = torch.from_numpy(model.transform(X)).float()
    wrapped = FittedDensity(
        model.latent_density_, model._fitted_.density.location, model._fitted_.density.scale
    )
    torch.testing.assert_close(
        wrapped.log_prob(z), model.module_.density.log_prob(z), atol=2e-3, rtol=1e-3
    )
    assert wrapped.sample(5, seeded()).shape == (5, 2)
    assert not torch.equal(wrapped.sample(5, seeded(1)), wrapped.sample(5, seeded(2)))


def test_a_latent_density_leaves_training_alone_and_none_keeps_the_prior():
    X = table(300)
    plain = make(skvae.VAE).fit(X)
    fitted = make(skvae.VAE, latent_density=GaussianMixture(3)).fit(X)
    none = make(skvae.VAE, latent_density=None).fit(X)
    np.testing.assert_array_equal(fitted.transform(X), plain.transform(X))
    assert_same(outputs(none), outputs(plain))
    assert not np.array_equal(fitted.score_samples(X), plain.score_samples(X))
    again = fitted.partial_fit(X)  # trains on against N(0, I), not against the mixture
    np.testing.assert_array_equal(again.transform(X), plain.partial_fit(X).transform(X))
    codes = make(skvae.Autoencoder, latent_density=None).fit(X).module_.latent
    assert isinstance(codes, StandardNormal)


def test_the_second_stage_repairs_the_law_of_codes():
    """Where beta is small, codes do not follow N(0, I): the second stage learns their law."""
    rng = np.random.RandomState(0)
    corners = np.array([[3.0, 0, 0], [-3.0, 0, 0], [0, 3.0, 0]])[rng.randint(3, size=900)]
    X = corners + 0.2 * rng.normal(size=(900, 3))
    model = skvae.TwoStageVAE(2, hidden_layer_sizes=(32,), random_state=0).fit(X)
    stage = model.latent_density_
    assert type(stage) is skvae.TwoStageVAE
    assert stage.latent_density is None
    assert stage.n_components_ == 2
    assert stage.module_.likelihood.noise == "feature"  # learned
    one = skvae.energy_distance(
        X, skvae.VAE(2, hidden_layer_sizes=(32,), random_state=0).fit(X).sample(3000, 0)
    )
    assert skvae.energy_distance(X, model.sample(3000, 0)) < max(one, 0.02)


# -- conditional ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wine():
    return load_wine(return_X_y=True)


@pytest.fixture(scope="module")
def conditional(wine):
    X, y = wine
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    return skvae.ConditionalVAE(2, hidden_layer_sizes=(32,), random_state=0).fit(X, names)


def test_conditional_vae_classifies_and_draws_classes(conditional, wine):
    X, y = wine
    names = np.array(["barolo", "grignolino", "barbera"])
    assert conditional.classes_.tolist() == sorted(names)
    assert conditional.score(X, names[y]) > 0.97
    for name in names:
        drawn = conditional.sample(200, 0, y=name)
        assert np.mean(conditional.predict(drawn) == name) > 0.95
    mixed = conditional.sample(3, 0, y=names)
    assert mixed.shape == (3, 13)
    free = conditional.predict(conditional.sample(3000, 0))
    for name, share in zip(*np.unique(names[y], return_counts=True), strict=True):
        assert np.mean(free == name) == pytest.approx(share / len(y), abs=0.05)


def test_conditional_vae_follows_bayes_rule(conditional, wine):
    X = wine[0]
    per_class = [conditional._log_joint(X)[:, c] for c in range(3)]
    joint = np.stack(per_class, 1)
    np.testing.assert_allclose(conditional.score_samples(X), logsumexp(joint, axis=1))
    shares = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(conditional.predict_proba(X), shares)
    np.testing.assert_allclose(np.exp(conditional.predict_log_proba(X)), shares)


def test_conditional_vae_is_exact_where_classes_are_normal():
    """One linear-normal law for each class: Bayes' rule is linear discriminant analysis."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y = make_blobs(1500, 4, centers=3, cluster_std=2.5, random_state=0)
    model = skvae.ConditionalVAE(2, hidden_layer_sizes=(), random_state=0).fit(X, y)
    known = LinearDiscriminantAnalysis().fit(X, y)
    assert np.mean(model.predict(X) == known.predict(X)) > 0.97
    assert np.abs(model.predict_proba(X) - known.predict_proba(X)).mean() < 0.04


def test_conditional_vae_refuses_and_goes_on(wine):
    X, y = wine
    model = make(skvae.ConditionalVAE)
    with pytest.raises(ValueError, match="y"):
        model.fit(X)
    model.partial_fit(X[:60], y[:60], classes=[0, 1, 2])
    assert model.class_count_.tolist() == [59, 1, 0]
    model.partial_fit(X[60:], y[60:])
    assert model.class_count_.sum() == len(y)
    with pytest.raises(ValueError, match="not in classes_"):
        model.partial_fit(X, y + 1)
    for bad, message in ((7, "not in classes_"), ([0, 1], "has 2 labels")):
        with pytest.raises(ValueError, match=message):
            model.sample(3, y=bad)
    codes = model.transform(X)
    np.testing.assert_allclose(model._decode(model._joined(codes, y)).shape, X.shape)


# -- games ---------------------------------------------------------------------------------------


def test_gan_learns_a_known_law():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(1500, 2)) @ [[1.0, 0.8], [0.0, 0.6]] + [3.0, -1.0]
    # the game of the first moves about the law for ever: three fits together are close to it
    for loss, seeds in (("wasserstein", range(3)), ("non_saturating", range(1))):
        models = [skvae.GAN(2, hidden_layer_sizes=(32,), loss=loss, random_state=s) for s in seeds]
        drawn = [model.fit(X).sample(3000, 0) for model in models]
        assert skvae.energy_distance(X, np.concatenate(drawn)) < 0.02, loss
        model = models[0]
        assert model.inverse_transform(np.zeros((1, 2))).shape == (1, 2)
        assert not hasattr(model, "transform")
        assert not hasattr(model, "score_samples")


def test_info_gan_codes():
    X, y = make_blobs(800, 6, centers=4, cluster_std=0.5, random_state=1)
    model = skvae.InfoGAN(
        2, n_categories=4, n_continuous=1, hidden_layer_sizes=(32,), random_state=0
    )
    C = model.fit(X).transform(X)
    assert C.shape == (800, 5)
    np.testing.assert_allclose(C[:, :4].sum(axis=1), 1.0, rtol=1e-5)
    assert adjusted_rand_score(y, C[:, :4].argmax(axis=1)) > 0.9
    assert model.inverse_transform(C).shape == X.shape
    assert model.get_feature_names_out().tolist() == [f"infogan{i}" for i in range(5)]
    with pytest.raises(ValueError, match="n_categories"):
        skvae.InfoGAN(n_categories=0, n_continuous=0).fit(X)


def test_flex_ae_draws_from_its_generator():
    X = StandardScaler().fit_transform(table(400))
    model = make(skvae.FlexAE, max_iter=50).fit(X)
    assert isinstance(model.module_.prior, Pushforward)
    drawn = model._draw_codes(2000, 0)
    e = np.random.RandomState(0).normal(size=(2000, 2)).astype("f4")
    with torch.no_grad():
        pushed = model.module_.prior.network(torch.from_numpy(e)).numpy()
    assert skvae.energy_distance(drawn, pushed) < 0.01
    with pytest.raises(ValueError, match="latent_density"):
        make(skvae.FlexAE, latent_density=None).fit(X)


# -- samples and ways ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 30, 100])
@pytest.mark.parametrize("k", [1, 2])
def test_quantized_codes_are_more_diverse(n, k):
    X = StandardScaler().fit_transform(table(300))
    model = skvae.PPCA(k).fit(X)
    distance = HuberEnergy(unbiased=False)

    def of(method, seed):
        codes = model._codes_by(method, None, n, seed)(slice(0, n), seed)
        return float(distance(torch.from_numpy(codes)))

    drawn = np.mean([of("prior", seed) for seed in range(20)])
    assert of("quantized", 0) < drawn / 5


def test_samples_of_the_posterior():
    X = StandardScaler().fit_transform(table(300))
    for model in (
        skvae.PPCA(2).fit(X),
        make(skvae.VAE, max_iter=60).fit(X),
        make(skvae.Autoencoder).fit(X),
    ):
        rows = X[:3]
        drawn = model.sample(3000, 0, method="posterior", X=rows, noise=False).reshape(1000, 3, 5)
        Z = model._draw_posterior(rows, 6000, 0).reshape(2000, 3, 2)
        mean, std = model.posterior(rows)
        np.testing.assert_allclose(Z.mean(0), mean, atol=0.1)
        np.testing.assert_allclose(Z.std(0), std, rtol=0.1, atol=0.02)
        near = np.abs(drawn.mean(0) - model.inverse_transform(mean))
        assert near.max() < 1.0
        for bad in ({"method": "posterior"}, {"X": rows}, {"method": "best"}):
            with pytest.raises(ValueError, match=r"method|posterior"):
                model.sample(2, **bad)


def test_interpolation():
    a, b = np.array([3.0, 0.0, 0.0]), np.array([0.0, 3.0, 0.0])
    line = skvae.interpolate(a, b, 5)
    np.testing.assert_allclose(line, np.linspace(a, b, 5))
    arc = skvae.interpolate(a, b, 5, method="spherical")
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), 3.0)
    np.testing.assert_allclose(arc[2], [3 / 2**0.5, 3 / 2**0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(
        skvae.interpolate(a, 2 * a, 3, method="spherical")[:, 0], [3, 4.5, 6]
    )
    for bad, message in (
        ({"end": b[:2]}, "the same length"),
        ({"n_steps": 1}, "n_steps"),
        ({"method": "curved"}, "method"),
        ({"end": -a, "method": "spherical"}, "opposite"),
        ({"end": 0 * a, "method": "spherical"}, "origin"),
    ):
        with pytest.raises(ValueError, match=message):
            skvae.interpolate(**{"start": a, "end": b, **bad})


def test_attribute_directions():
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=3000)
    centres = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]])
    found = skvae.attribute_directions(centres[y] + rng.normal(size=(3000, 2)), y)
    others = np.array([centres[[1, 2]].mean(0), centres[[0, 2]].mean(0), centres[[0, 1]].mean(0)])
    np.testing.assert_allclose(found, centres - others, atol=0.15)
    with pytest.raises(ValueError, match="one class"):
        skvae.attribute_directions(np.ones((4, 2)), np.zeros(4))


# -- the mask ------------------------------------------------------------------------------------


def curved_rows(k, d=64, n=5000, seed=0):
    """Rows on a curved surface of dimension k, with slight noise."""
    rng = np.random.RandomState(seed)
    h = np.tanh(rng.normal(size=(n, k)) @ rng.normal(size=(k, 48)) / np.sqrt(k))
    return h @ rng.normal(size=(48, d)) / np.sqrt(48) + 0.01 * rng.normal(size=(n, d))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mask_finds_the_dimension(seed):
    X = curved_rows(8, seed=seed)
    model = skvae.MaskAAE(32, random_state=seed).fit(X)
    assert abs(model.n_active_ - 8) <= 1
    assert model.mask_.shape == (32,)


# -- what a review found ---------------------------------------------------------------------------


def test_chunks_have_no_schedule():
    """Warm-ups are over where training goes on chunk by chunk: a chunk is no whole training."""
    X = table()
    model = make(skvae.VAE, kl_warmup=0.5)
    for _ in range(3):
        model.partial_fit(X)
    assert min(model.history_["kl"]) > 0.0
    mask = make(skvae.MaskAAE).partial_fit(X)
    before = mask.mask_
    assert not np.array_equal(mask.partial_fit(X).mask_, before)


@pytest.mark.parametrize(
    ("cls", "parameters", "message"),
    [
        (skvae.VAE, {"prior": "vamp", "posterior_family": "iaf"}, "posterior_family"),
        (skvae.VAE, {"prior": "implicit", "kl_warmup": 0.5}, "kl_warmup"),
        (skvae.VAE, {"bound": "importance_weighted", "beta": 2.0}, "beta"),
        (skvae.GAN, {"training__noise_floor": 0.1}, "noise_floor"),
        (skvae.FlexAE, {"latent_density": None}, "latent_density"),
        (skvae.RAE, {"decoder_penalty": "spectral_norm", "decoder": torch.nn.Linear}, "decoder"),
    ],
)
def test_parameters_that_do_not_go_together(cls, parameters, message):
    X = table()
    X = (X - X.min(0)) / np.ptp(X, axis=0)
    with pytest.raises(ValueError, match=message):
        make(cls, **parameters).fit(X)


def test_a_second_stage_goes_on_with_chunks():
    X = table(300)
    model = make(skvae.TwoStageVAE).fit(X)
    seen = model.latent_density_.n_iter_
    assert model.partial_fit(X).latent_density_.n_iter_ == seen + 1


def test_other_parameters_after_fit_do_not_spoil_a_pickle():
    model = make(skvae.VAE).fit(table())
    model.set_params(bound="importance_weighted", beta=2.0)
    again = pickle.loads(pickle.dumps(model))
    assert_same(outputs(again), outputs(model))
    assert_same(
        outputs(again.set_params(beta=1.0, bound="elbo").partial_fit(table())),
        outputs(model.set_params(beta=1.0, bound="elbo").partial_fit(table())),
    )


def test_rows_that_cannot_be():
    """A density of codes with an end: log p is -inf beyond it, and the rest stays finite."""
    X = table()
    density = KernelDensity(kernel="tophat")
    model = make(skvae.Autoencoder, latent_density=density, noise_variance=1e-6).fit(X)
    score, std = model.score_samples(X + 1e4 * X.std(0), return_std=True)
    assert np.isneginf(score).any()
    assert np.isfinite(std).all()


def test_conditional_samples_come_with_their_labels():
    X, y = load_wine(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    model = skvae.ConditionalVAE(2, hidden_layer_sizes=(32,), random_state=0).fit(X, names)
    rows, labels = model.sample(300, 0, return_y=True)
    assert_array_equal(rows, model.sample(300, 0))
    assert labels.shape == (300,) and set(labels) == set("abc")
    assert np.mean(model.predict(rows) == labels) > 0.9
    rows, labels = model.sample(20, 0, y="b", return_y=True)
    assert set(labels) == {"b"}
    rows, labels = model.sample(20, 0, method="posterior", X=X[:4], return_y=True)
    assert_array_equal(labels, np.tile(model.predict(X[:4]), 5))


def test_conditional_samples_given_columns_and_a_label():
    X, y = load_wine(return_X_y=True)
    model = skvae.ConditionalVAE(2, hidden_layer_sizes=(32,), random_state=0).fit(X, y)
    proline = {12: 1500.0}  # so much have wines of the class 0 alone
    rows, labels = model.sample(200, 0, given=proline, return_y=True)
    assert_array_equal(rows, model.sample(200, 0, given=proline))
    assert (rows[:, 12] == 1500.0).all() and np.mean(labels == 0) > 0.95
    assert np.mean(model.predict(rows) == labels) > 0.9
    of_label, labels = model.sample(200, 0, given={0: 13.0}, y=1, return_y=True)
    assert (labels == 1).all() and (of_label[:, 0] == 13.0).all()
    assert np.mean(model.predict(of_label) == 1) > 0.9
    _, labels = model.sample(3, 0, given={0: 13.0}, y=[2, 1, 0], return_y=True)
    assert_array_equal(labels, [2, 1, 0])
