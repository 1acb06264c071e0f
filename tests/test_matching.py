"""MMD and the sliced Wasserstein distance: codes against N(0, I), with exact means of the law."""

import copy
import math
import pickle

import mpmath as mp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sympy  # noqa: F401  gradcheck loads it, and it adds a warning filter when loaded
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from skvae.nn.divergences import (
    MMD,
    SCALES,
    HuberEnergy,
    SlicedWasserstein,
    expected_kernel,
)

F32, F64 = torch.float32, torch.float64
KERNELS = ("imq", "rbf")


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=F32):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def kernel_of(r2, k, kernel, scales=SCALES):
    c = 2 * k * torch.tensor(scales, dtype=r2.dtype)
    r2 = r2[..., None]
    return ((c / (c + r2)) if kernel == "imq" else torch.exp(-r2 / c)).sum(-1)


def reference(r2, k, kernel, scales=SCALES, variance=1.0):
    """E kernel(z - Z) with 25 digits, the integral over t of each scale taken on its own."""
    with mp.workdps(25):
        r2, v, total = mp.mpf(r2), mp.mpf(variance), mp.mpf(0)
        for s in scales:
            c = 2 * k * mp.mpf(s)
            if kernel == "rbf":
                spread = 1 + 2 * v / c
                total += spread ** (-mp.mpf(k) / 2) * mp.exp(-r2 / (c * spread))
                continue

            def integrand(t, c=c):
                spread = 1 + 2 * v * t / c
                return mp.exp(-t - t * r2 / (c * spread)) * spread ** (-mp.mpf(k) / 2)

            first = c / (c + r2 + k * v)
            decades = int(mp.ceil(mp.log10(60 / first))) + 1
            total += mp.quad(integrand, [0, *(first * mp.mpf(10) ** e for e in range(decades))])
        return float(total)


# expected_kernel


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scales", [SCALES, (0.01,), (100.0,)])
@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_expected_kernel_against_many_digits(kernel, scales, variance):
    r2s = [0.0, 0.25, 30.0, 1e4]
    for k in (1, 8, 512):
        want = torch.tensor([reference(r2, k, kernel, scales, variance) for r2 in r2s], dtype=F64)
        for dtype, bar in ((F32, 1e-6), (F64, 1e-12)):
            got = expected_kernel(torch.tensor(r2s, dtype=dtype), k, kernel, scales, variance)
            assert got.dtype == dtype
            # exp of a large negative number: float32 has its argument to 6 digits only
            loose = 1e-4 if dtype == F32 and kernel == "rbf" else bar
            torch.testing.assert_close(got.double(), want, rtol=loose, atol=1e-30)


@pytest.mark.parametrize("k", [1, 16])
def test_expected_kernel_against_scipy(k):
    """Over |z - Z|^2 itself, which is noncentral chi-squared."""
    r2 = 3.0
    law = scipy.stats.ncx2(k, r2)
    for s in (0.1, 1.0, 10.0):
        c = 2 * k * s
        # in the root, for the density of one degree of freedom has a pole at 0
        want, error = scipy.integrate.quad(
            lambda x, c=c: 2 * x * law.pdf(x * x) * c / (c + x * x), 0, 40, epsabs=1e-11
        )
        got = expected_kernel(torch.tensor(r2, dtype=F64), k, "imq", [s]).item()
        assert got == pytest.approx(want, abs=max(1e-9, 2 * error))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("k", [1, 3, 32])
def test_expected_kernel_monte_carlo(kernel, k):
    z = normal(k, seed=1)
    for variance in (1.0, 2.0):
        noise = math.sqrt(variance) * normal(100_000, k, seed=2)
        draws = kernel_of((z - noise).square().sum(1), k, kernel)
        mean = expected_kernel(z.square().sum(), k, kernel, variance=variance)
        assert abs(draws.mean() - mean) < 4 * draws.std() / math.sqrt(len(draws))


@pytest.mark.parametrize("kernel", KERNELS)
def test_expected_kernel_gradients(kernel):
    r2 = torch.tensor([0.3, 1.0, 40.0], dtype=F64, requires_grad=True)
    ones = torch.ones_like(r2, requires_grad=True)
    assert gradcheck(lambda r: expected_kernel(r, 4, kernel), r2)
    assert gradgradcheck(lambda r: expected_kernel(r, 4, kernel), r2, ones)


# MMD


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("unbiased", [True, False])
def test_mmd_is_the_formula(kernel, unbiased):
    n, k, scales = 30, 5, (0.3, 2.0)
    z = normal(n, k, dtype=F64)
    pairs = kernel_of((z[:, None] - z[None]).square().sum(-1), k, kernel, scales)
    within = (pairs.sum() - pairs.trace()) / (n * (n - 1)) if unbiased else pairs.mean()
    cross = [reference(r2, k, kernel, scales) for r2 in z.square().sum(1).tolist()]
    want = within - 2 * np.mean(cross) + reference(0, k, kernel, scales, 2.0)
    torch.testing.assert_close(MMD(kernel, scales, unbiased)(z), want)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("k", [1, 2, 8, 64])
def test_perfect_codes(kernel, k):
    batches = [normal(64, k, seed=seed) for seed in range(300)]
    u = torch.stack([MMD(kernel)(z) for z in batches])
    v = torch.stack([MMD(kernel, unbiased=False)(z) for z in batches])
    assert abs(u.mean()) < 3 * u.std() / math.sqrt(len(u))
    expected = (len(SCALES) - reference(0, k, kernel, variance=2.0)) / 64
    assert v.mean().item() == pytest.approx(expected, rel=0.1)
    assert v.min() > 0


@settings(max_examples=30)
@given(
    n=st.integers(1, 12),
    k=st.integers(1, 6),
    kernel=st.sampled_from(KERNELS),
    seed=st.integers(0, 10**6),
    scale=st.floats(0, 20),
)
def test_mmd_is_never_negative_and_forgets_order_and_rotation(n, k, kernel, seed, scale):
    z = scale * normal(n, k, seed=seed, dtype=F64)
    mmd = MMD(kernel, unbiased=False)
    value = mmd(z)
    assert value >= -1e-12
    rotation = torch.linalg.qr(normal(k, k, seed=seed + 1, dtype=F64)).Q
    order = torch.randperm(n, generator=seeded(seed))
    torch.testing.assert_close(mmd(z[order] @ rotation), value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("divergence", [MMD(), MMD("rbf"), SlicedWasserstein(), HuberEnergy()])
def test_a_larger_shift_and_a_wrong_size_are_seen(divergence):
    z = normal(300, 3)
    shift = torch.tensor([1.0, -1.0, 0.5])
    values = [divergence(z + c * shift, seeded(1)).item() for c in (0, 0.3, 1, 3, 10)]
    assert values == sorted(values)
    assert values[1] > 3 * abs(values[0])
    for c in (0.3, 3.0):
        assert divergence(c * z, seeded(1)) > 3 * abs(values[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_wide_kernels_compare_means(kernel):
    """kernel = 1 - r^2 / C + ..., so C d^2 goes to 2 |mean|^2."""
    z, k, s = normal(50, 3, dtype=F64) + 0.5, 3, 1e6
    got = 2 * k * s * MMD(kernel, [s], unbiased=False)(z)
    torch.testing.assert_close(got, 2 * z.mean(0).square().sum(), rtol=1e-3, atol=0)


def test_float32_agrees_with_float64():
    for k in (1, 8, 512):
        z = normal(128, k)
        for divergence in (MMD(), MMD("rbf"), SlicedWasserstein()):
            low, high = divergence(z), divergence(z.double())
            assert low.dtype == F32
            assert high.dtype == F64
            assert abs(low - high) < 5e-6


# SlicedWasserstein


def test_on_a_line_the_integral_over_quantiles():
    """Integral of (F^-1 - Phi^-1)^2 over each step of F^-1."""
    y = np.sort(normal(7, 1, dtype=F64).numpy().ravel()) * 1.5 + 0.3
    want = sum(
        scipy.integrate.quad(lambda u, a=a: (a - scipy.stats.norm.ppf(u)) ** 2, i / 7, (i + 1) / 7)[
            0
        ]
        for i, a in enumerate(y)
    )
    got = SlicedWasserstein(3)(torch.tensor(y)[:, None])
    assert got.item() == pytest.approx(want, rel=1e-7)


def test_one_row_and_one_constant():
    """A point mass at y: E (y - Z)^2 = y^2 + 1, and every direction sees |z|^2 / k of z."""
    one = torch.tensor([[2.0]])
    assert SlicedWasserstein()(one).item() == pytest.approx(5.0)
    assert SlicedWasserstein()(one.repeat(6, 1)).item() == pytest.approx(5.0)
    z = torch.full((1, 4), 1.5)
    assert SlicedWasserstein(20_000)(z).item() == pytest.approx(1 + 1.5**2, rel=0.03)


def test_perfect_codes_tend_to_zero():
    values = [SlicedWasserstein()(normal(n, 8), seeded(1)).item() for n in (10, 100, 1000, 10_000)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 1e-3


@pytest.mark.parametrize("k", [2, 10])
def test_a_shift_counts_its_square_over_the_dimension(k):
    z = normal(4000, k, dtype=F64)
    z = z - z.mean(0)
    shift = normal(k, seed=3, dtype=F64)
    sliced = SlicedWasserstein(2000)
    gap = sliced(z + shift, seeded(1)) - sliced(z, seeded(1))
    assert gap.item() == pytest.approx(shift.square().mean().item(), rel=0.1)


@settings(max_examples=30)
@given(n=st.integers(1, 12), k=st.integers(1, 6), seed=st.integers(0, 10**6), c=st.floats(0, 20))
def test_sliced_is_quadratic_in_scale_never_negative_and_forgets_order(n, k, seed, c):
    z = normal(n, k, seed=seed, dtype=F64)
    sliced = SlicedWasserstein(7)
    at = {s: sliced(s * z, seeded(seed)).item() for s in (0.0, 1.0, 2.0, c)}
    square = (at[2.0] - 2 * at[1.0] + at[0.0]) / 2
    assert at[0.0] == pytest.approx(1)
    linear = at[1.0] - at[0.0] - square
    assert at[c] == pytest.approx(square * c * c + linear * c + at[0.0], rel=1e-9, abs=1e-9)
    assert min(at.values()) >= 0
    order = torch.randperm(n, generator=seeded(seed))
    torch.testing.assert_close(sliced(z[order], seeded(seed)), sliced(z, seeded(seed)))


def test_rotation_only_changes_the_draw():
    z = normal(100, 3, dtype=F64) * torch.tensor([0.2, 1.0, 3.0])
    rotation = torch.linalg.qr(normal(3, 3, dtype=F64)).Q
    sliced, generator = SlicedWasserstein(10), seeded(0)
    plain = torch.stack([sliced(z, generator) for _ in range(300)])
    turned = torch.stack([sliced(z @ rotation, generator) for _ in range(300)])
    error = math.sqrt((plain.var() + turned.var()) / 300)
    assert abs(plain.mean() - turned.mean()) < 4 * error


def test_directions_come_from_the_generator():
    z, sliced = normal(50, 4) + 1, SlicedWasserstein(5)
    generator = seeded(7)
    first, second = sliced(z, generator), sliced(z, generator)
    assert first != second
    assert torch.equal(first, sliced(z, seeded(7)))
    before = torch.get_rng_state()
    assert torch.equal(sliced(z), sliced(z))
    assert torch.equal(sliced(z), sliced(z, seeded(0)))
    assert torch.equal(torch.get_rng_state(), before)


# Both

BOTH = [MMD(), MMD("rbf", [0.5]), MMD(unbiased=False), SlicedWasserstein(8)]


@pytest.mark.parametrize("divergence", BOTH)
@pytest.mark.parametrize("k", [1, 3])
def test_gradcheck(divergence, k):
    z = normal(5, k, dtype=F64).requires_grad_()
    assert gradcheck(lambda z: divergence(z, seeded(0)), z, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("divergence", BOTH)
@pytest.mark.parametrize("dtype", [F32, F64])
def test_gradients_at_repeated_rows_and_at_the_origin_are_finite(divergence, dtype):
    z = torch.cat([normal(3, 4), torch.zeros(3, 4)]).repeat(2, 1).to(dtype).requires_grad_()
    divergence(z).backward()
    assert z.grad.dtype == dtype
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("unbiased", [True, False])
def test_one_row_is_the_v_statistic(kernel, unbiased):
    z = torch.tensor([[1.0, 2.0]], requires_grad=True)
    value = MMD(kernel, unbiased=unbiased)(z)
    value.backward()
    want = len(SCALES) - 2 * reference(5, 2, kernel) + reference(0, 2, kernel, variance=2)
    assert value.item() == pytest.approx(want, rel=1e-5)
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("divergence", BOTH)
def test_autocast_and_half_codes_are_computed_in_float32(divergence):
    z = normal(64, 8)
    want = divergence(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(divergence(z), want)
    half = z.bfloat16()
    assert torch.equal(divergence(half), divergence(half.float()))


def test_nothing_cached_under_inference_mode_breaks_training():
    divergences = (MMD(scales=[0.123]), MMD("rbf", [0.123]), SlicedWasserstein())
    with torch.inference_mode():
        for divergence in divergences:
            divergence(normal(11, 37))
    z = normal(11, 37).requires_grad_()
    sum(divergence(z) for divergence in divergences).backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("divergence", BOTH)
def test_modules_have_no_state_and_copy(divergence):
    assert not divergence.state_dict()
    z = normal(10, 3)
    twins = copy.deepcopy(divergence), pickle.loads(pickle.dumps(divergence)), divergence.double()
    for twin in twins:
        assert torch.equal(twin(z), divergence(z))


def test_representations():
    assert repr(MMD("rbf", [1], False)) == "MMD(kernel='rbf', scales=(1.0,), unbiased=False)"
    assert repr(SlicedWasserstein(9)) == "SlicedWasserstein(n_projections=9)"


@pytest.mark.parametrize(
    ("kind", "arguments", "word"),
    [
        (MMD, {"kernel": "linear"}, "kernel"),
        (MMD, {"scales": []}, "scales"),
        (MMD, {"scales": [1.0, 0.0]}, "scales"),
        (MMD, {"scales": [math.nan]}, "scales"),
        (MMD, {"scales": [math.inf]}, "scales"),
        (SlicedWasserstein, {"n_projections": 0}, "n_projections"),
    ],
)
def test_bad_options_are_named(kind, arguments, word):
    with pytest.raises(ValueError, match=word):
        kind(**arguments)
    if kind is MMD:
        with pytest.raises(ValueError, match=word):
            expected_kernel(torch.ones(2), 3, **arguments)


@pytest.mark.parametrize("divergence", BOTH)
@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 3, 4)])
def test_bad_codes_are_named(divergence, shape):
    with pytest.raises(ValueError, match="z must be"):
        divergence(torch.zeros(shape))
