"""The trainer: batches, schedule, recovery, early stopping; likelihoods and penalties by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from skvae.engine.batches import TensorSource
from skvae.engine.optimiser import Adam
from skvae.engine.trainer import TrainConfig, Trainer, TrainingDivergedError, TrainState
from skvae.engine.workers import Workers
from skvae.estimators.denoising_ae import CORRUPTIONS
from skvae.nn.batch import Batch
from skvae.nn.distributions import Normal
from skvae.nn.heads import NormalHead
from skvae.nn.kl_term import KL
from skvae.nn.likelihoods import Bernoulli, Bounds, Gaussian
from skvae.nn.model import ConditionalDistribution, ForwardPass, Model
from skvae.nn.networks import ACTIVATIONS, MLP, jacobian
from skvae.nn.objectives import Objective, Turn
from skvae.nn.priors import StandardNormal


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model(d=4, k=2, hidden=8):
    encoder, decoder = MLP([d, hidden, 2 * k]), MLP([k, hidden, d])
    encoder.initialise(generator(0))
    decoder.initialise(generator(1))
    return Model(
        ConditionalDistribution(encoder, NormalHead(k)),
        ConditionalDistribution(decoder, Gaussian(d)),
        StandardNormal(k),
    )


def config(**kw):
    return TrainConfig(**{"batch_size": 16, "n_epochs": 10, "lr": 1e-2, **kw})


def train(objective, x, held_out=None, on_epoch=None, seed=0, **kw):
    held_out = None if held_out is None else Batch(held_out)
    trainer, source = Trainer(config(**kw)), TensorSource(Batch(x))
    return trainer.run(objective, TrainState(seed), source, held_out, on_epoch)


def batches(x, seed=0):
    """Shuffled batches of at most 16 rows."""
    parts = TensorSource(Batch(x)).batches(16, generator(seed), Workers())
    return [batch.x for batch, share in parts if share == 1.0]


def rows(n=100, d=4):
    return torch.randn(n, d, generator=generator(2))


@pytest.mark.parametrize("n", [2, 15, 16, 17, 33, 129])
def test_batches_are_a_partition_into_nearly_equal_parts(n):
    x = torch.arange(float(n))[:, None]
    found = batches(x)
    sizes = [len(b) for b in found]
    assert max(sizes) <= 16 and max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat(found)[:, 0].tolist()) == list(range(n))
    assert torch.equal(torch.cat(found), torch.cat(batches(x)))


def test_batches_gathered_in_groups_are_the_same(monkeypatch):
    x = rows(100)
    whole = torch.cat(batches(x))
    monkeypatch.setattr("skvae.engine.batches._GATHERED", 1)
    assert torch.equal(whole, torch.cat(batches(x)))


def test_rate_warms_up_and_falls_to_zero():
    t = config(lr=1.0)
    rates = [t.rate(i, 100) for i in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert np.argmax(rates) in (9, 10) and rates[-1] == pytest.approx(1 / 90)
    assert {config(lr=0.3, decay=False).rate(i, 100) for i in range(100)} == {0.3}


def test_adam_is_torchs_adam_without_clipping():
    ours, theirs = MLP([3, 5, 2]), MLP([3, 5, 2])
    ours.initialise(generator())
    theirs.load_state_dict(ours.state_dict())
    adam = Adam(Turn(dict, list(ours.parameters())), None, 0.01)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.05, weight_decay=0.01)
    x = torch.randn(20, 3, generator=generator())
    for _ in range(5):
        adam.differentiate(ours(x).square().sum())
        adam.update(0.05)
        reference.zero_grad()
        theirs(x).square().sum().backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_long_gradients_are_shortened_to_a_multiple_of_the_usual_length():
    w = nn.Parameter(torch.zeros(1))
    adam = Adam(Turn(dict, [w]), 2.0, 0.0)
    for _ in range(3):
        adam.differentiate((3.0 * w).sum())
        adam.update(0.1)
    assert adam.limit == math.inf
    adam.end_period()
    assert adam.limit == pytest.approx(6.0)
    before = adam.first[0].clone()
    adam.differentiate((300.0 * w).sum())
    adam.update(0.1)
    assert float(adam.first[0]) == pytest.approx(float(0.9 * before + 0.1 * 6.0), rel=1e-5)


class Spiky(Objective):
    """Gives a NaN loss at chosen calls, or at every call."""

    def __init__(self, inner, at=()):
        super().__init__(inner)
        self.at, self.calls = at, 0

    def losses(self, batch, rng, progress=1.0):
        terms = super().losses(batch, rng, progress)
        self.calls += 1
        if self.at == "always" or self.calls in self.at:
            terms["reconstruction"] = terms["reconstruction"] * float("nan")
        return terms


def test_a_non_finite_loss_restores_halves_and_goes_on():
    objective = Spiky(model(), at={60})
    history = train(objective, rows(), n_epochs=30)
    assert history.restarts == 1
    assert len(history.loss) == 30 and np.all(np.isfinite(history.loss))
    assert all(torch.isfinite(p).all() for p in objective.parameters())


def test_a_loss_that_stays_non_finite_raises_with_advice():
    with pytest.raises(TrainingDivergedError, match="learning_rate_init"):
        train(Spiky(model(), at="always"), rows())


def test_early_stopping_restores_the_best_weights():
    x, validation = rows(40), rows(400)[40:]
    seen = []
    objective = Objective(model(hidden=64), {"kl": KL(0.0)})
    t = Trainer(config(n_epochs=4000, decay=False, patience=3))
    evaluate = t.evaluate
    t.evaluate = lambda *a: seen.append(evaluate(*a)) or seen[-1]
    source, state = TensorSource(Batch(x)), TrainState(0)
    history = t.run(objective, state, source, Batch(validation))
    assert history.converged and len(history.loss) < 4000
    assert history.validation == [-v for v in seen]
    best = evaluate(objective, state, source, Batch(validation))
    assert best == pytest.approx(min(seen), abs=1e-4)
    assert seen[-1] > min(seen)


def test_training_is_a_function_of_seed_and_epoch():
    def weights(seed):
        objective = Objective(model(), {"kl": KL()})
        train(objective, rows(), seed=seed)
        return torch.cat([p.detach().flatten() for p in objective.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_players_take_turns_with_fresh_batches_and_their_own_rates():
    """Two players, the second with two steps a round."""

    class Game(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
            self.played = []

        def turns(self):
            def play(name, p):
                def losses(batch, rng, progress):
                    self.played.append((name, batch.x[:, 0].tolist()))
                    return {name: (p - 1.0).square().sum()}

                return losses

            return {
                "a": Turn(play("a", self.a), [self.a]),
                "b": Turn(play("b", self.b), [self.b], steps=2, lr=0.1),
            }

    game = Game()
    history = train(game, torch.arange(96.0)[:, None], n_epochs=3, decay=False)
    rounds = len(game.played) // 3
    assert "".join(name for name, _ in game.played) == "abb" * rounds
    first_epoch = game.played[: rounds // 3 * 3]
    seen = {name: [v for n, x in first_epoch if n == name for v in x] for name in "ab"}
    assert sorted(seen["a"]) == list(range(96))  # all rows, for each step of a player
    assert sorted(seen["b"]) == sorted([*range(96), *range(96)])
    orders = [first_epoch[i][1] for i in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert set(history.terms) == {"a", "b"}
    assert history.loss == history.terms["a"]
    assert game.a.item() > game.b.item() > 0.0


def test_bfloat16_runs_networks_in_bfloat16_only():
    objective = Objective(model(), {"kl": KL()})
    dtypes = {}
    for name, module in objective.named_modules():
        if isinstance(module, MLP):
            module.register_forward_hook(lambda m, i, o, n=name: dtypes.update({n: o.dtype}))
    history = train(objective, rows(), n_epochs=1, bfloat16=True)
    assert set(dtypes.values()) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in objective.parameters())
    assert np.isfinite(history.loss[0])


# -- likelihoods, penalties, corruptions, networks by hand -----------------------------------------
def test_scalar_noise_is_profiled():
    """The profiled loss has the gradient of the likelihood at the best noise."""
    x, mean = rows(50, 3), rows(50, 3).flip(0).clone().requires_grad_()
    head = Gaussian(3, "scalar", floor=0.01)
    head.train()
    loss = head.loss(Normal(mean, torch.zeros(())), Batch(x))
    (ours,) = torch.autograd.grad(loss, mean)
    r = (x - mean.detach()).square().mean(0)
    head.set_noise(r)
    torch.testing.assert_close(head.variance, (r.mean() + 0.01).expand(3))
    head.eval()
    exact = head.loss(head(mean), Batch(x))
    (theirs,) = torch.autograd.grad(exact, mean)
    torch.testing.assert_close(ours, theirs)
    assert loss.item() == pytest.approx(exact.item(), abs=0.05)


def test_feature_noise_is_learned_above_a_floor():
    x, mean = rows(50, 3), rows(50, 3).flip(0)
    head = Gaussian(3, "feature", floor=0.01)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([-9.0, 0.1, 1.0]))
    head.train()
    loss = head.loss(Normal(mean, torch.zeros(())), Batch(x))
    v = torch.exp(2.0 * head.log_std) + 0.01
    reference = torch.distributions.Normal(mean, v.sqrt()).log_prob(x).sum(-1).mean()
    torch.testing.assert_close(loss, -reference)
    (gradient,) = torch.autograd.grad(loss, head.log_std)
    assert gradient[1] != 0.0
    r = (x - mean).square().mean(0)
    head.set_noise(r)
    torch.testing.assert_close(head.variance, torch.maximum(v.detach(), r + 0.01))
    head.set_noise(r, learned=False)
    torch.testing.assert_close(head.variance, r + 0.01)


def test_scalar_noise_is_one_number_and_network_noise_is_an_output():
    head = Gaussian(3, "scalar", floor=0.01)
    head.set_noise(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(head.variance, torch.full((3,), 2.01))
    head = Gaussian(2, "network", floor=0.5)
    p = head(torch.tensor([[1.0, 2.0, 0.0, math.log(3.0)]]))
    torch.testing.assert_close(p.mean, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(p.log_variance.exp(), torch.tensor([[1.5, 3.5]]))


def test_normal_log_prob_against_torch():
    mean, log_variance, x = rows(5, 3), 0.3 * rows(5, 3), rows(6, 3)[1:]
    reference = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(Normal(mean, log_variance).log_prob(x), reference.log_prob(x))


def test_bernoulli_log_prob_against_torch():
    low, span = torch.tensor([-1.0, 0.0]), torch.tensor(2.0)
    head = Bernoulli(2, Bounds(low, span))
    h, v = rows(5, 2), torch.tensor([0.0, 1.0]).repeat(5, 1)
    reference = torch.distributions.Bernoulli(logits=h).log_prob(v)
    torch.testing.assert_close(head(h).log_prob(low + span * v), reference)
    draws = head(h).sample(generator())
    assert set(((draws - low) / span).unique().tolist()) <= {0.0, 1.0}


def test_rate_against_torch_and_its_options():
    q = Normal(rows(7, 3), 0.5 * rows(7, 3))
    draw = ForwardPass(None, q, rows(7, 3), None, 0.25)
    normal = SimpleNamespace(prior=StandardNormal(3))
    reference = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.std), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(KL()(draw, normal), reference.sum(-1).mean())
    torch.testing.assert_close(KL(3.0)(draw, normal), 3.0 * reference.sum(-1).mean())
    torch.testing.assert_close(KL(3.0, warmup=0.5)(draw, normal), 1.5 * reference.sum(-1).mean())
    torch.testing.assert_close(
        KL(free_bits=0.6)(draw, normal), reference.mean(0).clamp(min=0.6).sum()
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions(name):
    x = 2.0 + rows(20_000, 2)
    bounds = (torch.tensor([-9.0, -8.0]), torch.tensor([9.0, 8.0]))
    seen = CORRUPTIONS[name](0.3, *bounds)(x, generator())
    changed = (seen != x).float().mean().item()
    if name == "gaussian":
        assert (seen - x).std().item() == pytest.approx(0.3, rel=0.02)
    else:
        assert changed == pytest.approx(0.3, abs=0.01)
    if name == "masking":
        assert set(seen[seen != x].tolist()) == {0.0}
    if name == "salt_and_pepper":
        assert set(seen[seen != x].tolist()) == {-9.0, -8.0, 8.0, 9.0}
    same = CORRUPTIONS[name](0.0, *bounds)(x, generator())
    torch.testing.assert_close(same, x)


def test_mlp_starts_at_a_linear_map():
    weight, bias = rows(3, 5), torch.tensor([1.0, 2.0, 3.0])
    for hidden in ([], [7, 6]):
        mlp = MLP([5, *hidden, 3], skip=True)
        mlp.initialise(generator())
        mlp.start_linear(weight, bias, damp=0.0)
        x = rows(4, 5)
        torch.testing.assert_close(mlp(x), x @ weight.T + bias)
    with pytest.raises(ValueError, match="skip"):
        MLP([5, 7, 3]).start_linear(weight, bias)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_jacobians_of_networks(name):
    mlp = MLP([2, 7, 6, 3], name, skip=True).double()
    mlp.initialise(generator())
    x = torch.randn(5, 2, dtype=torch.float64, generator=generator())
    with torch.no_grad():
        h, columns = jacobian(mlp, x)
        torch.testing.assert_close(h, mlp(x))
        step = 1e-6
        for t, column in zip(torch.eye(2, dtype=torch.float64), columns, strict=True):
            expected = (mlp(x + step * t) - mlp(x - step * t)) / (2 * step)
            torch.testing.assert_close(column, expected, rtol=1e-6, atol=1e-8)


def test_activations_differ():
    x = rows(4, 5)
    outputs = {}
    for name in ACTIVATIONS:
        mlp = MLP([5, 7, 3], name)
        mlp.initialise(generator())
        outputs[name] = tuple(mlp(x).flatten().tolist())
    assert len(set(outputs.values())) == len(ACTIVATIONS)
