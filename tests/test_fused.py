"""Nodes with backward passes by hand, products by other libraries, storage in one buffer."""

import copy
import math

import pytest
import torch
from torch import nn

from skvae.engine.batches import TensorSource
from skvae.engine.flat import flatten
from skvae.engine.optimiser import Adam
from skvae.engine.trainer import TrainConfig, Trainer, TrainState
from skvae.estimators.rae import SpectralLinear
from skvae.nn import fused, products
from skvae.nn.batch import Batch
from skvae.nn.fused import (
    FeatureNoise,
    KnownNoise,
    Layers,
    NetworkNoise,
    NormalDraw,
    NormalKL,
    ScalarNoise,
    run,
    unfused,
)
from skvae.nn.heads import NormalHead
from skvae.nn.kl_term import KL
from skvae.nn.likelihoods import Bounds, Gaussian
from skvae.nn.model import ConditionalDistribution, Model
from skvae.nn.networks import MLP, lend_global_generator
from skvae.nn.objectives import Objective, Turn
from skvae.nn.priors import StandardNormal
from skvae.nn.shared_penalties import CodeNorm


def train(objective, x, state=None, **kw):
    trainer = Trainer(TrainConfig(**{"batch_size": 16, "lr": 1e-2, **kw}))
    return trainer.run(objective, state or TrainState(0), TensorSource(Batch(x)))


def batch_of(rows, d=4):
    """Columns after the first d are a context."""
    return Batch(rows[:, :d], None, rows[:, d:] if rows.shape[1] > d else None)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=seeded(seed))


def leaves(tensors):
    return [t.clone().requires_grad_() for t in tensors]


def agree(operation, inputs, needed=None, **tolerance):
    """Values and gradients of a node and of ordinary operations."""
    needed = [True] * len(inputs) if needed is None else needed
    results = []
    for f in (lambda *a: run(operation, *a), operation.plain):
        given = [t.clone().requires_grad_(wanted) for t, wanted in zip(inputs, needed, strict=True)]
        outputs = f(*given)
        loss = sum((i + 1.5) * o.square().sum() for i, o in enumerate(outputs))
        wanted = [t for t in given if t.requires_grad]
        results.append((*outputs, *torch.autograd.grad(loss, wanted, allow_unused=True)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def twice(operation, inputs):
    given = leaves(inputs)
    with lend_global_generator(0):
        assert torch.autograd.gradcheck(lambda *a: run(operation, *a), given)
        assert torch.autograd.gradgradcheck(lambda *a: run(operation, *a), given)


def layer_inputs(hidden, skip, n=5, dtype=torch.float64):
    widths = [3, *hidden, 2]
    found = [draws(n, 3, seed=1, dtype=dtype)]
    for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        found += [draws(b, a, seed=2 + i, dtype=dtype), draws(b, seed=20 + i, dtype=dtype)]
    return found + ([draws(2, 3, seed=9, dtype=dtype)] if skip else [])


# -- operations ---------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", fused.ACTIVATIONS)
@pytest.mark.parametrize(
    "hidden, skip", [([], False), ([4], True), ([4, 3], False), ([4, 3], True)]
)
def test_layers(activation, hidden, skip):
    inputs = layer_inputs(hidden, skip)
    operation = Layers(activation, skip)
    twice(operation, inputs)
    agree(operation, inputs)
    agree(operation, inputs, [False] + [True] * (len(inputs) - 1))
    agree(operation, inputs, [True] + [False] * (len(inputs) - 1))


@pytest.mark.parametrize("activation", fused.ACTIVATIONS)
def test_gradients_at_the_corners_of_activations(activation):
    inputs = [torch.tensor([[0.0], [30.0], [-30.0]]), torch.ones(1, 1), torch.zeros(1)]
    inputs += [torch.ones(1, 1), torch.zeros(1)]
    agree(Layers(activation, False), inputs)


NORMAL = [draws(6, 3), 0.5 * draws(6, 3, seed=1)]
LOSSES = {
    "feature": (FeatureNoise(0.01), [draws(6, 3), draws(6, 3, seed=1), draws(3, seed=2)]),
    "scalar": (ScalarNoise(0.01), [draws(6, 3), draws(6, 3, seed=1)]),
    "fixed": (KnownNoise(), [draws(6, 3), draws(6, 3, seed=1), draws(3, seed=2)]),
    "network": (KnownNoise(), [draws(6, 3), draws(6, 3, seed=1), draws(6, 3, seed=2)]),
    "outputs": (NetworkNoise(0.01, (-1.0, 1.0)), [draws(6, 6), draws(6, 3, seed=1)]),
    "draw": (NormalDraw(), [*NORMAL, draws(6, 3, seed=5)]),
    "rate": (NormalKL(), NORMAL),
    "free bits": (NormalKL(0.6), NORMAL),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_posteriors(name):
    operation, inputs = LOSSES[name]
    twice(operation, inputs)
    agree(operation, inputs)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own use
def test_pieces_run_plainly_where_a_node_would_be_wrong():
    inputs = layer_inputs([4], False)
    operation = Layers("silu", False)
    x, *parameters = leaves(inputs)

    def f(x):
        return run(operation, x, *parameters)[0]

    assert "Node" in type(f(x).grad_fn).__name__
    with unfused():
        assert "Node" not in type(f(x).grad_fn).__name__
    with torch.no_grad():
        assert f(x).grad_fn is None
    direction = torch.ones_like(x)
    plain = torch.autograd.functional.jvp(f, x.detach(), direction)[1]
    torch.testing.assert_close(torch.func.jvp(f, (x.detach(),), (direction,))[1], plain)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda r: f(r[None])[0]))(x.detach())
    torch.testing.assert_close(torch.einsum("noi,ni->no", jacobians, direction), plain)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.detach(), direction)
        tangent = torch.autograd.forward_ad.unpack_dual(f(dual)).tangent
    torch.testing.assert_close(tangent, plain)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own use
def test_autocast_and_export_go_through_networks():
    mlp = MLP([3, 8, 2], skip=True)
    mlp.initialise(seeded())
    x = draws(5, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mlp(x).dtype == torch.bfloat16
    exported = torch.export.export(mlp, (x,)).module()
    torch.testing.assert_close(exported(x), mlp(x))
    assert torch.jit.trace(mlp, x)(x).shape == (5, 2)
    torch.testing.assert_close(copy.deepcopy(mlp)(x), mlp(x))


def test_a_graph_may_be_gone_through_twice():
    x, *parameters = leaves(layer_inputs([4, 3], True))
    loss = run(Layers("relu", True), x, *parameters)[0].square().sum()
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(loss, parameters), strict=True):
        assert torch.equal(a, b)


def test_spectral_layers_and_a_network_used_twice():
    mlp = MLP([3, 4, 2], layer=SpectralLinear).double().eval()
    mlp.initialise(seeded())
    x = draws(5, 3)
    parameters = list(mlp.parameters())

    def gradients():
        return torch.autograd.grad((mlp(x) * mlp(2.0 * x)).sum(), parameters)

    ours = gradients()
    with unfused():
        theirs = gradients()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(512, 128, 30), (300, 256, 256), (512, 8, 128), (7, 20, 64)])
def test_products_of_all_sizes(shape):
    n, i, o = shape
    x, weight = draws(n, i, dtype=torch.float32), draws(o, i, dtype=torch.float32)
    g, bias = draws(n, o, dtype=torch.float32), draws(o, dtype=torch.float32)
    close = {"rtol": 1e-4, "atol": 1e-3}
    torch.testing.assert_close(products.linear(x, weight, bias), x @ weight.T + bias, **close)
    torch.testing.assert_close(products.product(g, weight), g @ weight, **close)
    torch.testing.assert_close(products.weight_gradient(g, x), g.T @ x, **close)
    out = torch.empty(o, i)
    assert products.weight_gradient(g, x, out) is out
    torch.testing.assert_close(out, g.T @ x, **close)


# -- the whole pass --------------------------------------------------------------------------------
def objective(
    noise="feature",
    bounded=False,
    context=0,
    penalty=None,
    activation="silu",
    skip=False,
    layer=None,
):
    d, k = 4, 2
    kind = {} if layer is None else {"layer": layer}
    encoder = MLP([d + context, 8, 2 * k], activation, skip)
    decoder = MLP([k + context, 8, 7, d], activation, skip, **kind)
    encoder.initialise(seeded(0))
    decoder.initialise(seeded(1))
    with torch.no_grad():
        encoder.layers[-1].weight.mul_(8.0)  # so that some log-variances are out of bounds
    bounds = Bounds(torch.full((d,), -1.0), torch.tensor(2.0)) if bounded else None
    if noise == "network":
        decoder = MLP([k, 8, 2 * d])
        decoder.initialise(seeded(1))
    head = Gaussian(d, noise, variance=torch.full((d,), 0.3), bounds=bounds)
    model = Model(
        ConditionalDistribution(encoder, NormalHead(k)),
        ConditionalDistribution(decoder, head),
        StandardNormal(k),
    )
    return Objective(model, {"kl": KL() if penalty is None else penalty}).double()


CASES = {
    "feature": {},
    "scalar": {"noise": "scalar", "activation": "relu"},
    "fixed": {"noise": "fixed", "skip": True},
    "network": {"noise": "network", "skip": True},
    "bounded": {"bounded": True, "activation": "tanh"},
    "context": {"context": 3, "skip": True},
    "free bits": {"penalty": KL(0.7, warmup=0.5, free_bits=0.3)},
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole_pass_by_hand_by_one_node_and_by_autograd(case):
    one = objective(**CASES[case])
    batch = batch_of(draws(9, 4 + CASES[case].get("context", 0), seed=3))
    (turn,) = one.turns().values()
    with unfused():
        plain = one.losses(batch, seeded(4), 0.25)
    theirs = torch.autograd.grad(sum(plain.values()), turn.parameters)
    nodes = one.losses(batch, seeded(4), 0.25)
    ours = torch.autograd.grad(sum(nodes.values()), turn.parameters)
    one.train()
    places = {id(p): torch.empty_like(p) for p in turn.parameters}
    hand = turn.gradients(batch, seeded(4), 0.25, places)
    assert list(nodes) == list(plain) == list(hand) == ["reconstruction", "kl"]
    for name in plain:
        torch.testing.assert_close(nodes[name], plain[name])
        torch.testing.assert_close(hand[name], plain[name].detach())
    for p, a, b in zip(turn.parameters, ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(places[id(p)], b)
    whole = one._whole
    inputs = whole._inputs(batch, None, seeded(4))
    loss, kl = run(whole.operation, *inputs)
    torch.testing.assert_close(loss, plain["reconstruction"])
    torch.testing.assert_close(one.penalties["kl"].weighted(kl, 0.25), plain["kl"])


def test_a_spectral_decoder_and_hidden_cells_go_by_autograd():
    rows = Batch(draws(9, 4))
    spectral = objective(layer=SpectralLinear).train()
    (turn,) = spectral.turns().values()
    assert turn.gradients(rows, seeded(), 1.0, {}) is None
    loss = sum(spectral.losses(rows, seeded()).values())
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, turn.parameters))
    one = objective().train()
    (turn,) = one.turns().values()
    places = {id(p): torch.empty_like(p) for p in turn.parameters}
    masked = rows._replace(observed=rows.x > 0.0)
    assert turn.gradients(rows, seeded(), 1.0, places) is not None
    assert turn.gradients(masked, seeded(), 1.0, places) is None


def test_the_whole_pass_can_be_differentiated_twice():
    one = objective()
    one.train()
    whole = one._whole
    inputs = whole._inputs(Batch(draws(3, 4)), None, seeded())
    given = [t.detach().clone().requires_grad_(i >= 4) for i, t in enumerate(inputs)]
    with lend_global_generator(0):
        assert torch.autograd.gradgradcheck(lambda *a: run(whole.operation, *a), given)


def test_clamped_log_variances_pass_gradients_up_to_the_bounds_inclusive():
    one = objective()
    one.train()
    encoder = one.model.encoder.network
    with torch.no_grad():
        encoder.layers[-1].weight.zero_()
        encoder.layers[-1].bias.copy_(torch.tensor([0.0, 0.0, 4.0, 4.1]))
    places = {id(p): torch.empty_like(p) for p in one.parameters()}
    one.gradients(Batch(draws(9, 4)), seeded(), 1.0, places)
    gradient = places[id(encoder.layers[-1].bias)]
    assert gradient[2] != 0.0 and gradient[3] == 0.0


def test_what_is_not_the_usual_pass_goes_by_autograd():
    one = objective(penalty=CodeNorm(1.0))
    one.train()
    assert one._whole is None
    watched = objective()
    watched.model.decoder.network.register_forward_hook(lambda *a: None)
    watched.train()
    assert watched._whole is None
    frozen = objective().train()
    frozen.model.encoder.network.layers[0].bias.requires_grad_(False)
    (turn,) = frozen.turns().values()
    places = {id(p): torch.empty_like(p) for p in turn.parameters}
    assert turn.gradients(Batch(draws(9, 4)), seeded(), 1.0, places) is not None

    network_noise = objective(noise="network", bounded=True).train()
    assert network_noise._whole is None
    replaced = objective()
    replaced.penalties["kl"].forward = lambda draw, model: draw.z.sum()
    assert replaced.train()._whole is None

    class Own(Objective):
        def terms(self, draw):
            return {"own": draw.z.sum()}

    assert Own(one.model, {"kl": KL()}).train()._whole is None


def test_training_by_hand_is_training_by_autograd():
    curves = []
    for by_hand in (True, False):
        one = objective().float()
        if not by_hand:
            one.gradients = lambda *a: None
        history = train(one, draws(100, 4, dtype=torch.float32), n_epochs=5)
        curves.append([*history.loss, *history.terms["kl"]])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


# -- storage and optimiser -------------------------------------------------------------------------
def test_flat_storage_keeps_values_layouts_and_ties():
    with lend_global_generator(0):
        conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        plain = nn.Linear(5, 7)
    tied = nn.Parameter(plain.weight.detach()[:2])  # in the memory of another
    parameters = [*conv.parameters(), plain.bias, tied, nn.Parameter(torch.zeros(3).double())]
    before = [p.detach().clone() for p in parameters]
    strides = [p.stride() for p in parameters]
    flat = flatten(parameters)
    assert flatten(parameters) is flat
    assert [p.stride() for p in parameters] == strides
    for p, old in zip(parameters, before, strict=True):
        assert torch.equal(p, old) and p.data_ptr() % 4 == 0
    assert tied.data_ptr() == plain.weight.data_ptr()
    # neighbours make one segment: conv's two and a bias; the tied one; the one in float64
    assert len(flat.segments(parameters)) == 3
    assert len(flat.segments([parameters[0], parameters[2]])) == 2


def test_modules_with_flat_storage_are_copied_moved_and_loaded():
    one = objective().float()
    parameters = list(one.parameters())
    flat = flatten(parameters)
    other = copy.deepcopy(one)
    with torch.no_grad():
        parameters[0].add_(1.0)
    assert not torch.equal(parameters[0], next(other.parameters()))
    one.load_state_dict(other.state_dict())
    assert flat.holds(parameters)
    one.double()
    assert not flat.holds(parameters)
    assert flatten(parameters) is not flat and parameters[0].dtype == torch.float64


@pytest.mark.parametrize("clip", [None, 2.0])
def test_adam_on_flat_storage_is_torchs(clip):
    """Two turns share parameters; each has moments of its own."""
    ours, theirs = MLP([3, 5, 2]), MLP([3, 5, 2])
    ours.initialise(seeded())
    theirs.load_state_dict(ours.state_dict())
    all_ours, all_theirs = list(ours.parameters()), list(theirs.parameters())
    flat = flatten(all_ours)
    adams = [
        Adam(Turn(dict, all_ours), clip, 0.01, flat=flat),
        Adam(Turn(dict, [all_ours[0], all_ours[3]], beta1=0.5), clip, 0.01, flat=flat),
    ]
    assert [len(a.segments) for a in adams] == [1, 2]
    references = [
        torch.optim.Adam(all_theirs, lr=0.05, weight_decay=0.01),
        torch.optim.Adam([all_theirs[0], all_theirs[3]], 0.05, (0.5, 0.999), weight_decay=0.01),
    ]
    x = draws(20, 3, dtype=torch.float32)
    for i in range(6):
        for adam, reference in zip(adams, references, strict=True):
            if clip is not None and i == 3:
                adam.end_period()
            adam.differentiate(ours(x).square().sum())
            adam.update(0.05)
            theirs.zero_grad()
            theirs(x).square().sum().backward()
            if adam.limit < math.inf:
                mine = [p for group in reference.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(mine, adam.limit)
            reference.step()
    for a, b in zip(all_ours, all_theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_fit_goes_on_from_a_saved_state():
    rows = draws(64, 4, dtype=torch.float32)

    def trained(restart, deep=False):
        one, state = objective().float(), TrainState(0)
        train(one, rows, state, n_epochs=3, decay=False)
        if deep:
            one = copy.deepcopy(one)
        if restart:
            optimisers = [([v.clone() for v in values], x) for values, x in state.optimisers]
            state = TrainState(0, state.epoch, optimisers)
        train(one, rows, state, n_epochs=3, decay=False)
        return torch.cat([p.detach().flatten() for p in one.parameters()])

    whole = trained(False)
    assert torch.equal(whole, trained(True))
    assert torch.equal(whole, trained(True, deep=True))
    assert torch.equal(whole, trained(False, deep=True))


def test_a_trained_module_has_memory_of_its_own():
    one = objective().float()
    train(one, draws(64, 4, dtype=torch.float32), n_epochs=1)
    parameters = list(one.parameters())
    assert len({p.untyped_storage().data_ptr() for p in parameters}) == len(parameters)
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in parameters)


def test_overridden_parts_of_the_usual_pass_count():
    class Free(StandardNormal):
        def kl(self, q, z, model=None):
            return 0.0 * super().kl(q, z)

    class Shifted(Gaussian):
        def mean_of(self, h):
            return super().mean_of(h) + 100.0

    one = objective()
    one.model.prior = Free(2).double()
    assert one.train()._whole is None
    one = objective()
    assert one.train()._whole is not None
    one.model.decoder.head = Shifted(4).double()
    assert one.train()._whole is None
