import copy
import math
import pickle

import mpmath as mp
import pytest
import sympy  # noqa: F401  gradcheck loads it, and it adds a warning filter when loaded
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from skvae.nn.divergences import (
    HuberEnergy,
    expected_distance,
    expected_pair_distance,
    surrogate_distance,
)

F32, F64 = torch.float32, torch.float64
SOME_K, SOME_R2 = (1, 2, 3, 8, 64, 512, 2048), (0, 1e-4, 0.1, 1, 10, 1e3, 1e6)
MANY_K = (1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 127, 256, 512, 1000, 1024, 2048)
MANY_R2 = (0, *(10.0**e for e in range(-6, 7)), 0.3, 3.0, 30.0, 2000.0, 3e5)
DELTAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def normal(*shape, seed=0, dtype=F32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def reference(r2, k, delta=0.0, variance=1.0):
    """E h(z - Z) with 30 digits: 1F1 for delta = 0, else adaptive quadrature in s."""
    with mp.workdps(30):
        # The float32 argument, read exactly, is what both precisions are asked about.
        r2, a, v = mp.mpf(float(torch.tensor(r2, dtype=F32))), mp.mpf(delta), mp.mpf(variance)
        half = mp.mpf(k) / 2
        if a == 0:
            gammas = mp.gamma(half + 0.5) / mp.gamma(half)
            return mp.sqrt(2 * v) * gammas * mp.hyp1f1(-0.5, half, -r2 / (2 * v))

        def integrand(s):
            u = 2 * v * s * s
            bracket = -mp.expm1(-half * mp.log1p(u) - s * s * r2 / (1 + u))
            return mp.exp(-a * a * s * s) * bracket / (s * s)

        lowest = 1 / mp.sqrt(a * a + r2 + k * v)
        decades = int(mp.ceil(mp.log10(10 / (a * lowest)))) + 1
        points = [0, *(lowest * mp.mpf(10) ** e for e in range(-1, decades))]
        return mp.quad(integrand, points) / mp.sqrt(mp.pi)


def worst(ks, r2s, dtype, delta=0.0):
    errors = []
    for k in ks:
        got = expected_distance(torch.tensor(r2s, dtype=F32).to(dtype), k, delta)
        assert got.dtype == dtype
        for r2, value in zip(r2s, got.tolist(), strict=True):
            truth = reference(r2, k, delta)
            errors.append((float(abs(value / truth - 1)), k, r2))
    return max(errors)


@pytest.mark.parametrize(("dtype", "bar"), [(F32, 1e-6), (F64, 1e-12)])
def test_expected_distance_against_hypergeometric(dtype, bar):
    error, k, r2 = worst(SOME_K, SOME_R2, dtype)
    assert error <= bar, (k, r2)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bar"), [(F32, 1e-6), (F64, 1e-12)])
def test_expected_distance_against_hypergeometric_full_grid(dtype, bar):
    error, k, r2 = worst(MANY_K, MANY_R2, dtype)
    assert error <= bar, (k, r2)


@pytest.mark.parametrize("delta", [0.01, 0.1, 1.0, 100.0])
@pytest.mark.parametrize(("dtype", "bar"), [(F32, 5e-6), (F64, 2e-9)])
def test_huber_expected_distance(dtype, bar, delta):
    error, k, r2 = worst((1, 2, 8), (0.0, 0.1, 1.0, 100.0), dtype, delta)
    assert error <= bar, (k, r2)


@pytest.mark.slow
@pytest.mark.parametrize("delta", DELTAS)
def test_huber_expected_distance_full_grid(delta):
    for dtype, bar in ((F32, 5e-6), (F64, 2e-9)):
        error, k, r2 = worst(
            (1, 2, 3, 8, 64, 2048), (0.0, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6), dtype, delta
        )
        assert error <= bar, (dtype, k, r2)


@pytest.mark.parametrize("delta", [0.0, 0.5])
@pytest.mark.parametrize("variance", [0.3, 2.0])
def test_expected_distance_with_variance(delta, variance):
    r2 = torch.tensor([0.0, 2.5], dtype=F64)
    got = expected_distance(r2, 3, delta, variance).tolist()
    want = [float(reference(r, 3, delta, variance)) for r in (0.0, 2.5)]
    assert got == pytest.approx(want, rel=1e-9)
    rows = expected_distance(r2, 3, delta, torch.full_like(r2, variance))  # one variance a row
    assert rows.tolist() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.7])
@pytest.mark.parametrize("k", [1, 2, 8, 64, 1000])
def test_pair_distance(k, delta):
    want = float(reference(0.0, k, delta, 2.0))
    assert expected_pair_distance(k, delta) == pytest.approx(want, rel=1e-8 if delta else 1e-12)


def test_expected_distance_monte_carlo():
    z, noise = torch.tensor([0.7, -1.2, 0.3]), normal(200_000, 3)
    for delta in (0.0, 0.4):
        draws = ((z - noise).square().sum(1) + delta**2).sqrt() - delta
        error = draws.mean() - expected_distance(z.square().sum(), 3, delta)
        assert abs(error) < 4 * draws.std() / math.sqrt(len(draws))


@settings(max_examples=30, deadline=None)
@given(
    k=st.integers(1, 300),
    r2=st.floats(0, 1e4),
    delta=st.sampled_from([0.0, 0.05, 1.0, 20.0]),
    c=st.floats(0.1, 10),
)
def test_expected_distance_scales_and_is_bounded(k, r2, delta, c):
    r2 = torch.tensor(r2, dtype=F64)
    value = expected_distance(r2, k, delta)
    scaled = expected_distance(c * c * r2, k, c * delta, c * c)
    assert scaled.item() == pytest.approx(c * value.item(), rel=1e-8)
    mean = float(r2) + k  # Jensen: sqrt is concave; the distance is convex in z
    assert value <= (math.sqrt(mean + delta**2) - delta) * (1 + 1e-9)
    norm = math.sqrt(float(r2) + delta**2) - delta
    assert value >= norm * (1 - 1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("k", [1, 8])
def test_expected_distance_gradients(k, delta):
    r2 = torch.tensor([0.3, 1.0, 40.0], dtype=F64, requires_grad=True)
    ones = torch.ones_like(r2, requires_grad=True)  # by default drawn from the global generator
    assert gradcheck(lambda r: expected_distance(r, k, delta), r2, rtol=1e-5)
    assert gradgradcheck(lambda r: expected_distance(r, k, delta), r2, ones, rtol=1e-4, atol=1e-7)


def test_surrogate_has_the_constants_of_the_papers():
    for k in (1, 2, 8, 64):
        gammas = math.exp(math.lgamma((k + 1) / 2) - math.lgamma(k / 2))
        c1 = 2 * math.exp(2 * (math.lgamma(k / 2 + 1) - math.lgamma((k + 1) / 2)))
        c0 = (math.sqrt(2) - 1) * gammas - math.sqrt(c1)
        r2 = torch.tensor([0.0, 0.5, 30.0], dtype=F64)
        want = c0 + (r2 + c1).sqrt()
        torch.testing.assert_close(surrogate_distance(r2, k) - expected_pair_distance(k) / 2, want)


@pytest.mark.parametrize("delta", [0.0, 0.5, 5.0])
def test_surrogate_touches_the_exact_curve_at_the_origin(delta):
    r2 = torch.tensor([0.0, 1e-4], dtype=F64)
    exact, surrogate = expected_distance(r2, 4, delta), surrogate_distance(r2, 4, delta)
    torch.testing.assert_close(exact, surrogate, rtol=0, atol=1e-8)


# HuberEnergy


def direct(z, delta, unbiased):
    n, k = z.shape
    gaps = ((z[:, None] - z[None]).square().sum(-1) + delta**2).sqrt() - delta
    pairs = gaps.sum() / (n * (n - 1) if unbiased else n * n)
    xi = expected_distance(z.square().sum(1), k, delta).mean()
    return xi - pairs / 2 - expected_pair_distance(k, delta) / 2


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("delta", [0.0, 0.3, 50.0])
def test_value_is_the_formula(delta, unbiased):
    z = normal(40, 5, dtype=F64)
    got = HuberEnergy(delta, unbiased=unbiased)(z)
    torch.testing.assert_close(got, direct(z, delta, unbiased))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 12),
    k=st.integers(1, 6),
    delta=st.sampled_from([0.0, 0.2, 3.0]),
    seed=st.integers(0, 10**6),
    scale=st.floats(0, 20),
)
def test_v_statistic_is_never_negative_and_forgets_order_and_rotation(n, k, delta, seed, scale):
    z = scale * normal(n, k, seed=seed, dtype=F64)
    energy = HuberEnergy(delta, unbiased=False)
    value = energy(z)
    assert value >= -1e-9
    rotation = torch.linalg.qr(normal(k, k, seed=seed + 1, dtype=F64)).Q
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(energy(z[order] @ rotation), value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", ["exact", "surrogate"])
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("delta", [0.0, 0.01, 1.0, 100.0])
def test_gradcheck(method, unbiased, delta):
    for k in (1, 3):
        z = normal(5, k, dtype=F64).requires_grad_()
        assert gradcheck(HuberEnergy(delta, method, unbiased), z, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("delta", [0.0, 0.1])
@pytest.mark.parametrize("method", ["exact", "surrogate"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_gradients_at_repeated_rows_and_at_the_origin_are_finite(method, delta, dtype):
    z = torch.cat([normal(3, 4), torch.zeros(3, 4)]).repeat(2, 1).to(dtype).requires_grad_()
    HuberEnergy(delta, method)(z).backward()
    assert z.grad.dtype == dtype
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("unbiased", [True, False])
def test_one_row_is_the_v_statistic(unbiased):
    z = torch.tensor([[1.0, 2.0]], requires_grad=True)
    value = HuberEnergy(unbiased=unbiased)(z)
    value.backward()
    want = expected_distance(torch.tensor(5.0), 2) - expected_pair_distance(2) / 2
    torch.testing.assert_close(value.detach(), want)
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("k", [1, 2, 8, 64])
def test_perfect_codes(k):
    z = torch.stack([normal(256, k, seed=seed) for seed in range(200)])
    u = torch.stack([HuberEnergy()(batch) for batch in z])
    v = torch.stack([HuberEnergy(unbiased=False)(batch) for batch in z])
    assert abs(u.mean()) < 4 * u.std() / math.sqrt(len(u))
    assert v.mean().item() == pytest.approx(expected_pair_distance(k) / 2 / 256, rel=0.1)
    biased = torch.stack([HuberEnergy(method="surrogate")(batch) for batch in z]).mean()
    bias = {1: -0.023, 2: -0.024, 8: -0.018, 64: -0.007}[k]
    assert biased.item() == pytest.approx(bias, abs=6e-4 + 4 * (u.std() / math.sqrt(len(u))).item())


def test_minimiser_is_the_prior_only_for_the_exact_form():
    z = normal(1000, 2, dtype=F64)
    z = (z - z.mean(0)) / z.std(0)
    scales = torch.linspace(0.9, 1.3, 21, dtype=F64)
    best = {
        method: scales[torch.stack([HuberEnergy(method=method)(c * z) for c in scales]).argmin()]
        for method in ("exact", "surrogate")
    }
    assert abs(best["exact"] - 1) <= 0.02
    assert abs(best["surrogate"] - 1.15) <= 0.03


def test_float32_agrees_with_float64():
    for k, delta in ((1, 0.1), (8, 0.0), (512, 0.0), (8, 100.0)):
        z = normal(128, k)
        low, high = HuberEnergy(delta)(z), HuberEnergy(delta)(z.double())
        assert low.dtype == F32
        assert high.dtype == F64
        assert abs(low - high) < 1e-6 * math.sqrt(k)


def test_autocast_and_half_codes_are_computed_in_float32():
    z = normal(64, 8)
    want = HuberEnergy(0.1)(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(HuberEnergy(0.1)(z), want)
    half = z.bfloat16()
    torch.testing.assert_close(HuberEnergy()(half), HuberEnergy()(half.float()))


def test_nothing_cached_under_inference_mode_breaks_training():
    with torch.inference_mode():
        HuberEnergy(0.123)(normal(4, 37))
        HuberEnergy(0.123, "surrogate")(normal(4, 37))
    z = normal(4, 37).requires_grad_()
    (HuberEnergy(0.123)(z) + HuberEnergy(0.123, "surrogate")(z)).backward()
    assert z.grad.isfinite().all()


def test_module_has_no_state_and_copies():
    energy = HuberEnergy(0.5, "surrogate", unbiased=False)
    assert not energy.state_dict()
    z = normal(10, 3)
    for twin in (copy.deepcopy(energy), pickle.loads(pickle.dumps(energy)), energy.double()):
        assert torch.equal(twin(z), energy(z))
    assert repr(energy) == "HuberEnergy(delta=0.5, method='surrogate', unbiased=False)"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"delta": -1.0}, "delta"),
        ({"delta": math.nan}, "delta"),
        ({"delta": math.inf}, "delta"),
        ({"method": "fast"}, "method"),
    ],
)
def test_bad_options_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        HuberEnergy(**arguments)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 3, 4)])
def test_bad_codes_are_named(shape):
    with pytest.raises(ValueError, match="z must be"):
        HuberEnergy()(torch.zeros(shape))
