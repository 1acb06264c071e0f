import math

import pytest
import torch

from skvae.nn.divergences import HuberEnergy, expected_distance, expected_pair_distance
from skvae.nn.quantization import quantize

F64 = torch.float64
ENERGY = HuberEnergy(unbiased=False)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=F64)


def to_target(x, target):
    """V-statistic of the energy distance between two samples."""
    gap = [(a[:, None] - b[None]).norm(dim=-1).mean() for a, b in ((x, target), (x, x))]
    return gap[0] - gap[1] / 2 - (target[:, None] - target[None]).norm(dim=-1).mean() / 2


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("n", [10, 30, 100])
def test_five_times_closer_to_the_prior_than_draws(n, k):
    points = quantize(n, k, seeded(0))
    assert points.shape == (n, k)
    assert points.dtype == F64
    assert not points.requires_grad
    draws = torch.stack([ENERGY(normal(n, k, seed=seed)) for seed in range(20)]).mean()
    assert 5 * ENERGY(points) < draws


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_gradient_vanishes(k):
    points = quantize(12, k, seeded(3)).requires_grad_()
    ENERGY(points).backward()
    assert 12 * points.grad.norm(dim=1).max() < 1e-5  # the pull of the law on a point is near 1


def test_on_a_line_the_points_are_quantiles():
    for n in (1, 2, 9, 40):
        points = quantize(n, 1, seeded(n)).flatten().sort().values
        levels = (torch.arange(n, dtype=F64) + 0.5) / n
        torch.testing.assert_close(points, torch.special.ndtri(levels), rtol=0, atol=1e-5)


def test_few_points_in_many_dimensions_are_a_simplex():
    """Up to k + 1 points can all be equally far apart; then one radius is left to choose."""
    n, k = 8, 64
    r = torch.linspace(7, 9, 20_001, dtype=F64)
    simplex = expected_distance(r * r, k) - math.sqrt((n - 1) / (2 * n)) * r
    best = simplex.min().item() - expected_pair_distance(k) / 2
    value = ENERGY(quantize(n, k, seeded(0))).item()
    assert value == pytest.approx(best, rel=1e-5)
    limit = math.sqrt(k / 2) * (math.sqrt((n + 1) / n) - 1)
    assert value == pytest.approx(limit, rel=0.05)
    assert expected_pair_distance(k) / (2 * n) / value == pytest.approx(2, rel=0.1)  # draws


@pytest.mark.parametrize("k", [1, 3])
def test_one_point_is_the_middle(k):
    assert quantize(1, k, seeded(0)).abs().max() < 1e-6
    target = normal(41, k) + 5
    point = quantize(1, k, seeded(0), target=target)
    if k == 1:
        torch.testing.assert_close(point[0, 0], target.median(), rtol=0, atol=1e-6)
    distances = [(p - target).norm(dim=1).sum() for p in (point, *(point + normal(9, k) * 0.05))]
    assert min(distances) == distances[0]


@pytest.mark.parametrize("delta", [0.1, 1.0, 30.0])
def test_huber(delta):
    points = quantize(20, 2, seeded(0), delta=delta)
    energy = HuberEnergy(delta, unbiased=False)
    draws = torch.stack([energy(normal(20, 2, seed=seed)) for seed in range(20)]).mean()
    assert 5 * energy(points) < draws
    onto = quantize(20, 2, seeded(0), delta=delta, target=normal(500, 2))
    assert energy(onto) < 0.5 * draws  # what is left is the error of the target


@pytest.mark.parametrize("n", [10, 30, 100])
def test_five_times_closer_to_the_target_than_its_rows(n):
    target = normal(1000, 2)
    target = torch.stack([target[:, 0].abs() + 20, target[:, 0] * target[:, 1]], 1)
    points = quantize(n, 2, seeded(0), target=target)
    rows = [
        to_target(target[torch.randperm(1000, generator=seeded(s))[:n]], target) for s in range(20)
    ]
    assert 5 * to_target(points, target) < torch.stack(rows).mean()
    assert (points.mean(0) - target.mean(0)).abs().max() < 0.1


def test_repeated_rows_of_the_target():
    target = torch.randint(0, 2, (200, 2), generator=seeded(0)).to(F64)
    points = quantize(40, 2, seeded(0), target=target)
    assert points.isfinite().all()
    assert 5 * to_target(points, target) < to_target(target[:40], target)
    constant = torch.tensor([[1.0, -2.0]]).repeat(30, 1)
    torch.testing.assert_close(quantize(3, 2, seeded(0), target=constant), constant[:3].double())
    more = quantize(9, 2, seeded(0), target=normal(4, 2))  # than the target has rows
    assert len(more.unique(dim=0)) == 9


def test_the_target_may_be_moved_and_scaled():
    target = normal(100, 3)
    points = quantize(6, 3, seeded(0), target=target, delta=0.1)
    moved = quantize(6, 3, seeded(0), target=1000 * target + 7, delta=100)
    torch.testing.assert_close((moved - 7) / 1000, points, rtol=0, atol=1e-4)


def test_chunks_change_nothing(monkeypatch):
    target = normal(101, 2)
    whole = quantize(7, 2, seeded(0), target=target)
    monkeypatch.setattr("skvae.nn.quantization.PAIRS_AT_ONCE", 70)
    torch.testing.assert_close(quantize(7, 2, seeded(0), target=target), whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("target", [None, normal(50, 2).float()])
def test_the_generator_decides_and_nothing_else_changes(target):
    before = torch.get_rng_state()
    points = quantize(5, 2, seeded(1), target=target)
    with torch.inference_mode():
        again = quantize(5, 2, seeded(1), target=None if target is None else target.clone())
    assert torch.equal(points, again)
    assert not torch.equal(points, quantize(5, 2, seeded(2), target=target))
    assert torch.equal(torch.get_rng_state(), before)
    if target is not None:
        assert torch.equal(target, normal(50, 2).float())
        assert not target.requires_grad


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"n": 0}, "n must"),
        ({"n_components": 0}, "n_components"),
        ({"max_iter": 0}, "max_iter"),
        ({"delta": -1.0}, "delta"),
        ({"delta": math.nan, "target": torch.zeros(3, 2)}, "delta"),
        ({"target": torch.zeros(3)}, "target"),
        ({"target": torch.zeros(3, 4)}, "target"),
        ({"target": torch.zeros(0, 2)}, "target"),
        ({"target": torch.full((3, 2), math.nan)}, "target"),
    ],
)
def test_bad_options_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        quantize(**{"n": 3, "n_components": 2, "rng": seeded(0)} | arguments)
