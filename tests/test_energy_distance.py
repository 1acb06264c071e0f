import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import scipy.stats
import sympy  # noqa: F401  gradcheck loads it, and it adds a warning filter when loaded
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from skvae.metrics import energy_distance
from skvae.nn.divergences import HuberEnergy, expected_distance, expected_pair_distance

DELTAS = st.sampled_from([0.0, 0.05, 1.0, 30.0])


def direct(X, Y, delta=0.0, w=None, v=None, unbiased=False):
    """The definition, by broadcasting."""

    def mean(A, B, a, b, same):
        h = np.sqrt(((A[:, None] - B[None]) ** 2).sum(-1) + delta**2) - delta
        pairs = np.outer(a, b)
        if same and unbiased:
            np.fill_diagonal(pairs, 0)
        return (pairs * h).sum() / pairs.sum()

    w = np.ones(len(X)) if w is None else np.asarray(w)
    v = np.ones(len(Y)) if v is None else np.asarray(v)
    within = mean(X, X, w, w, True) + mean(Y, Y, v, v, True)
    return mean(X, Y, w, v, False) - within / 2


@st.composite
def samples(draw, columns=None):
    """Two samples with repeated, shared and far rows; small whole numbers make ties likely."""
    k = columns or draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    X, Y = rng.normal(size=(n, k)), rng.normal(size=(m, k)) + draw(st.sampled_from([0, 1, 50]))
    if draw(st.booleans()):
        X, Y = np.round(X), np.round(Y)
    return X, Y, rng


# Identities of the two-sample form


@given(samples(), DELTAS)
def test_is_the_definition(sample, delta):
    X, Y, rng = sample
    w, v = rng.uniform(0.1, 1, len(X)), rng.uniform(0.1, 1, len(Y))
    for weights in ((None, None), (w, v), (w, None), (None, v)):
        a, b = weights
        got = energy_distance(X, Y, delta=delta, sample_weight_X=a, sample_weight_Y=b)
        assert isinstance(got, float)
        assert got >= 0
        assert got == pytest.approx(direct(X, Y, delta, a, b), rel=1e-9, abs=1e-11)
        if min(len(X), len(Y)) > 1:
            got = energy_distance(
                X, Y, delta=delta, unbiased=True, sample_weight_X=a, sample_weight_Y=b
            )
            assert got == pytest.approx(direct(X, Y, delta, a, b, True), rel=1e-9, abs=1e-11)


@given(samples(), DELTAS)
def test_zero_for_equal_samples_and_symmetric(sample, delta):
    X, Y, rng = sample
    assert energy_distance(X, X[rng.permutation(len(X))], delta=delta) < 1e-13
    assert energy_distance(X, np.repeat(X, 3, axis=0), delta=delta) < 1e-12
    there, back = energy_distance(X, Y, delta=delta), energy_distance(Y, X, delta=delta)
    assert there == pytest.approx(back, rel=1e-12, abs=1e-13)


@given(samples(), DELTAS, st.floats(-1e3, 1e3))
def test_invariant_to_order_translation_and_rotation(sample, delta, shift):
    X, Y, rng = sample
    want = energy_distance(X, Y, delta=delta)
    rotation = np.linalg.qr(rng.normal(size=(X.shape[1],) * 2))[0]
    moved = [rng.permutation(A) @ rotation + shift for A in (X, Y)]
    assert energy_distance(*moved, delta=delta) == pytest.approx(want, rel=1e-8, abs=1e-10)


@given(samples(), DELTAS, st.floats(0.01, 100))
def test_scales_with_the_data(sample, delta, c):
    X, Y, _ = sample
    want = c * energy_distance(X, Y, delta=delta)
    assert energy_distance(-c * X, -c * Y, delta=c * delta) == pytest.approx(
        want, rel=1e-8, abs=1e-10
    )


@given(samples(), DELTAS, st.floats(0.05, 0.95), st.booleans())
def test_along_a_line_of_mixtures(sample, delta, t, normal):
    X, Y, rng = sample  # nu_0, nu_1
    mixture = np.concatenate([X, Y])
    weight = np.r_[np.full(len(X), (1 - t) / len(X)), np.full(len(Y), t / len(Y))]
    mu = None if normal else rng.normal(size=(7, X.shape[1]))
    got = energy_distance(mixture, mu, delta=delta, sample_weight_X=weight)
    ends = [energy_distance(A, mu, delta=delta) for A in (X, Y)]
    want = (1 - t) * ends[0] + t * ends[1] - t * (1 - t) * energy_distance(X, Y, delta=delta)
    assert got == pytest.approx(want, rel=1e-8, abs=1e-9)


@given(samples(), DELTAS)
def test_integer_weights_repeat_rows(sample, delta):
    X, Y, rng = sample
    times = rng.integers(0, 4, len(X))
    times[0] += 1
    for other in (Y, None):
        got = energy_distance(X, other, delta=delta, sample_weight_X=times)
        want = energy_distance(np.repeat(X, times, axis=0), other, delta=delta)
        assert got == pytest.approx(want, rel=1e-9, abs=1e-11)


@given(samples(columns=1))
def test_one_column_against_scipy(sample):
    X, Y, rng = sample
    w, v = rng.uniform(0.1, 1, len(X)), rng.uniform(0.1, 1, len(Y))
    for a, b in ((None, None), (w, v), (w, None)):
        want = scipy.stats.energy_distance(X[:, 0], Y[:, 0], a, b) ** 2 / 2
        for method in ("exact", "sliced"):
            got = energy_distance(X, Y, method=method, sample_weight_X=a, sample_weight_Y=b)
            assert got == pytest.approx(want, rel=1e-9, abs=1e-12)


@given(samples(), DELTAS)
def test_is_the_mmd_of_minus_h(sample, delta):
    X, Y, _ = sample
    Z = np.concatenate([X, Y])
    kernel = -(np.sqrt(((Z[:, None] - Z[None]) ** 2).sum(-1) + delta**2) - delta)
    sign = np.r_[np.full(len(X), 1 / len(X)), np.full(len(Y), -1 / len(Y))]
    want = 0.5 * sign @ kernel @ sign
    assert energy_distance(X, Y, delta=delta) == pytest.approx(want, rel=1e-8, abs=1e-11)


@given(samples())
def test_large_delta_compares_the_means(sample):
    X, Y, _ = sample
    delta = 1e6
    want = ((X.mean(0) - Y.mean(0)) ** 2).sum()
    assert 2 * delta * energy_distance(X, Y, delta=delta) == pytest.approx(want, rel=1e-6, abs=1e-8)


# The distance to the normal law


@settings(max_examples=30)
@given(samples(), DELTAS, st.booleans())
def test_normal_form_agrees_with_the_training_loss(sample, delta, unbiased):
    X = np.concatenate(sample[:2])
    for method in ("exact", "surrogate"):
        got = energy_distance(X, delta=delta, unbiased=unbiased, method=method)
        want = HuberEnergy(delta, method, unbiased)(torch.from_numpy(X)).item()
        assert got == pytest.approx(want, rel=1e-8, abs=1e-9)


@given(samples(columns=1))
def test_one_column_to_the_normal_law_is_the_quadrature(sample):
    X = sample[0]
    z = torch.from_numpy(X)
    gaps = np.abs(X - X.T).mean()
    xi = expected_distance(z.square().sum(1), 1).mean().item()
    want = xi - gaps / 2 - expected_pair_distance(1) / 2
    for method in ("exact", "sliced"):
        assert energy_distance(X, method=method) == pytest.approx(want, rel=1e-9, abs=1e-11)


@settings(max_examples=30)
@given(samples(), DELTAS)
def test_normal_form_is_invariant_and_never_negative(sample, delta):
    X, _, rng = sample
    value = energy_distance(X, delta=delta)
    rotation = np.linalg.qr(rng.normal(size=(X.shape[1],) * 2))[0]
    assert value >= 0
    assert energy_distance(rng.permutation(X) @ rotation, delta=delta) == pytest.approx(
        value, rel=1e-8, abs=1e-10
    )


def test_normal_form_by_monte_carlo():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)) * 1.3 + 0.4
    values = [energy_distance(X, rng.normal(size=(500, 4)), unbiased=True) for _ in range(40)]
    error = np.mean(values) - energy_distance(X, unbiased=True)
    assert abs(error) < 4 * np.std(values) / math.sqrt(len(values))


def null_error(n, k, draws=100_000):
    """Standard error of the U-statistic for codes of the prior, a degenerate one."""
    generator = torch.Generator().manual_seed(5)
    z, other = torch.randn(2, draws, k, generator=generator, dtype=torch.float64)
    xi = sum(expected_distance(a.square().sum(1), k) for a in (z, other))
    centred = 0.5 * (xi - (z - other).square().sum(1).sqrt() - expected_pair_distance(k))
    return math.sqrt(2 / (n * (n - 1)) * centred.square().mean().item())


@pytest.mark.parametrize("n", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_only_the_exact_form_is_zero_for_codes_of_the_prior(n):
    X = np.random.default_rng(1).normal(size=(n, 8))
    error = null_error(n, 8)
    assert abs(energy_distance(X, unbiased=True)) < 3 * error
    biased = energy_distance(X, unbiased=True, method="surrogate")
    assert biased == pytest.approx(-0.018, abs=1e-3)
    assert biased < -20 * error


# The sliced form


@pytest.mark.parametrize("k", [2, 3, 8])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("normal", [False, True])
def test_sliced_against_all_pairs(k, weighted, unbiased, normal):
    rng = np.random.default_rng(k)
    X, Y = rng.normal(size=(200, k)) * 1.5 + 0.3, None if normal else rng.normal(size=(150, k))
    options = {"unbiased": unbiased}
    if weighted:
        options["sample_weight_X"] = rng.uniform(0, 1, 200)
        if not normal:
            options["sample_weight_Y"] = rng.uniform(0, 1, 150)
    want = energy_distance(X, Y, **options)
    options |= {"method": "sliced", "random_state": 0}
    plain = energy_distance(X, Y, control_size=0, n_projections=2000, **options)
    assert plain == pytest.approx(want, rel=0.02)
    controlled = energy_distance(X, Y, control_size=100, **options)
    assert controlled == pytest.approx(want, rel=0.05)
    assert energy_distance(X, Y, **options) == pytest.approx(want, rel=1e-12)  # small: no slicing


def test_control_variate_takes_the_noise_of_the_directions_away():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 8)) * np.r_[3, np.ones(7)]
    want = energy_distance(X)

    def error(size):
        values = [
            energy_distance(X, method="sliced", control_size=size, random_state=seed)
            for seed in range(10)
        ]
        return math.sqrt(np.mean((np.array(values) / want - 1) ** 2))

    assert error(1000) < 0.01 < 0.03 < error(0)


def test_weights_of_one_are_no_weights_for_slices():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    options = {"method": "sliced", "control_size": 0, "random_state": 3}
    for other in (Y, None):
        want = energy_distance(X, other, **options)
        got = energy_distance(X, other, sample_weight_X=np.ones(60), **options)
        assert got == pytest.approx(want, rel=1e-10)


def test_random_state():
    X = np.random.default_rng(0).normal(size=(50, 3))

    def value(state):
        return energy_distance(X, method="sliced", control_size=10, random_state=state)

    assert value(1) == value(1) != value(2)
    assert value(None) != value(None)
    assert value(np.random.RandomState(0)) == value(np.random.RandomState(0))
    assert value(np.random.default_rng(0)) == value(np.random.default_rng(0))
    assert value(torch.Generator().manual_seed(0)) == value(torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_a_million_rows_sliced():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000_000, 8)) * np.r_[1.5, np.ones(7)] + 0.2
    got = energy_distance(X, unbiased=True, method="sliced", random_state=0)
    # Neighbouring rows are a million nearly independent pairs.
    Z = torch.from_numpy(X)
    xi = expected_distance(Z.square().sum(1), 8).mean().item()
    gaps = (Z - Z[torch.arange(len(Z)) - 1]).square().sum(1).sqrt().mean().item()
    want = xi - gaps / 2 - expected_pair_distance(8) / 2
    part = X[:40_000]
    exact = energy_distance(part, unbiased=True)
    sliced = energy_distance(part, unbiased=True, method="sliced", random_state=0)
    assert sliced == pytest.approx(exact, rel=0.01)
    assert got == pytest.approx(want, rel=0.04)  # the draws behind `want` have an error of 1 %


# Numerics: blocks, precision, cancellation, gradients


@settings(max_examples=20)
@given(samples(), DELTAS, st.integers(1, 5))
def test_blocks_do_not_matter(sample, delta, block):
    X, Y, _ = sample
    for other in (Y, None):
        want, wanted = value_and_gradient(X, other, delta)
        got, gradient = value_and_gradient(X, other, delta, block_size=block)
        assert got == pytest.approx(want, rel=1e-10, abs=1e-12)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-8, atol=1e-10)


def value_and_gradient(X, Y, delta, **options):
    x = torch.tensor(X, requires_grad=True)
    value = energy_distance(x, Y, delta=delta, **options)
    value.backward()
    return value.item(), x.grad.numpy()


@pytest.mark.parametrize("k", [2, 40])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_close_pairs_far_from_the_centre_keep_their_distance(k, offset):
    rng = np.random.default_rng(0)
    # Tight clusters, far apart: |x|^2 + |y|^2 - 2 x.y alone would lose every small distance.
    centres = rng.normal(size=(20, k)) * 1e4 + offset
    X = np.repeat(centres, 10, axis=0) + rng.normal(size=(200, k)) * 1e-4
    tight = rng.normal(size=(300, k)) * 1e-3
    tight[0] = 1e5
    for A, B in ((X, X + 1e-4), (tight, tight[1:] + 1e-4)):
        for delta in (0.0, 1e-3):
            want = direct(A, B, delta)
            assert energy_distance(A, B, delta=delta) == pytest.approx(want, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("method", ["exact", "surrogate", "sliced"])
@pytest.mark.parametrize("unbiased", [True, False])
def test_gradcheck(method, unbiased):
    rng = np.random.default_rng(0)
    for k in (1, 3):
        x, y = (torch.tensor(rng.normal(size=(n, k)), requires_grad=True) for n in (5, 4))
        w = rng.uniform(0.2, 1, 5)
        options = {
            "method": method,
            "unbiased": unbiased,
            "sample_weight_X": w,
            "random_state": 0,
            "control_size": 0,
            "n_projections": 4,
            "block_size": 2,
        }
        for delta in (0.0,) if method == "sliced" else (0.0, 0.3):
            distance = partial(energy_distance, delta=delta, **options)
            assert gradcheck(distance, x)
            if method != "surrogate":
                assert gradcheck(distance, (x, y))


@pytest.mark.parametrize("method", ["exact", "sliced"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_keep_their_dtype_and_repeated_rows_have_finite_gradients(dtype, method):
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]], dtype=dtype, requires_grad=True)
    for other in (None, x.detach().clone(), x):
        for delta in (0.0,) if method == "sliced" else (0.0, 0.1):
            x.grad = None
            value = energy_distance(x, other, delta=delta, method=method, control_size=0)
            assert value.dtype == dtype
            assert value.ndim == 0
            value.backward()
            assert x.grad.dtype == dtype
            assert x.grad.isfinite().all()


def test_float32_agrees_with_float64_and_tensors_with_arrays():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(100, 6)).astype("f4"), rng.normal(size=(80, 6)).astype("f4")
    want = energy_distance(X, Y)
    assert want == pytest.approx(energy_distance(X.astype("f8"), Y.astype("f8")), rel=1e-12)
    assert energy_distance(torch.tensor(X), Y).item() == pytest.approx(want, rel=1e-6)
    assert energy_distance(X, torch.tensor(Y)).dtype == torch.float32
    with torch.no_grad():
        assert not energy_distance(torch.tensor(X, requires_grad=True), Y).requires_grad


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("tracked", [False, True])
def test_memory_does_not_grow_with_the_number_of_pairs(tracked):
    code = f"""
import numpy as np, torch
from pathlib import Path
from skvae.metrics import energy_distance
rng = np.random.default_rng(0)
def peak():  # of this process alone, unlike ru_maxrss, which a child takes over from its parent
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
def run(n):
    for other in (True, False):
        x, y = (torch.tensor(rng.normal(size=(n, 8)), requires_grad={tracked}) for _ in range(2))
        value = energy_distance(x, y if other else None)
        if {tracked}:
            value.backward()
run(2000)
before = peak()
run(20000)
print((peak() - before) / 1024)
"""
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(grown.stdout) < 100  # MB; one full matrix of distances would take 3200


# Input


def test_accepts_lists_frames_and_read_only_arrays_and_leaves_them_alone():
    pd = pytest.importorskip("pandas")
    X, Y = [[0, 1], [2, 3]], [[1, 1], [2, 2], [0, 5]]
    want = energy_distance(X, Y)
    frozen = np.array(X, dtype=float)
    frozen.setflags(write=False)
    assert energy_distance(pd.DataFrame(X), np.array(Y)) == want
    assert energy_distance(frozen, Y) == want
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(50, 2)), rng.normal(size=(40, 1))
    before = A.copy(), B.copy()
    energy_distance(A, method="sliced", control_size=0)
    energy_distance(B)
    np.testing.assert_array_equal((A, before[0])[0], before[0])
    np.testing.assert_array_equal(B, before[1])


def test_one_row():
    assert energy_distance([[1.0, 2.0]], [[4.0, 6.0]]) == pytest.approx(5)
    want = expected_distance(torch.tensor(5.0, dtype=torch.float64), 2).item()
    assert energy_distance([[1.0, 2.0]]) == pytest.approx(want - expected_pair_distance(2) / 2)


GOOD = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (GOOD, {"Y": np.ones((4, 3))}, "Y has 3 columns, but X has 2"),
        (np.ones((0, 2)), {}, "X is empty"),
        (GOOD, {"Y": np.ones((2, 0))}, "Y is empty"),
        (np.array([[np.nan, 1]]), {}, "X contains NaN"),
        (GOOD, {"Y": [[np.inf, 1]]}, "Y contains NaN, infinity"),
        (torch.tensor([[math.nan]]), {}, "X contains NaN"),
        (np.array([[1e200]]), {}, "X contains .*1e150"),
        (np.ones(3), {}, "X must be 2-D"),
        (np.ones((2, 2), dtype=complex), {}, "X must be .*: complex"),
        ([["a", "b"]], {}, "X must be a dense array of numbers"),
        ([[1, 2], [3]], {}, "X must be a dense array of numbers"),
        (GOOD, {"sample_weight_X": [1, -1, 1]}, "sample_weight_X must be finite, non-negative"),
        (GOOD, {"sample_weight_X": [0, 0, 0]}, "sample_weight_X"),
        (GOOD, {"sample_weight_X": [1, np.nan, 1]}, "sample_weight_X"),
        (GOOD, {"sample_weight_X": [1, 1]}, r"sample_weight_X must have shape \(3,\)"),
        (GOOD, {"Y": GOOD, "sample_weight_Y": [1]}, r"sample_weight_Y must have shape \(3,\)"),
        (GOOD, {"sample_weight_Y": [1, 1, 1]}, "sample_weight_Y can be given only with Y"),
        (GOOD, {"delta": -0.1}, "delta"),
        (GOOD, {"delta": np.nan}, "delta"),
        (GOOD, {"delta": "1"}, "delta"),
        (GOOD, {"method": "fast"}, "method"),
        (GOOD, {"method": "sliced", "delta": 1.0}, "sliced.*delta=0"),
        (GOOD, {"method": "surrogate", "Y": GOOD}, "surrogate.*cannot be used with Y"),
        (GOOD, {"n_projections": 0}, "n_projections"),
        (GOOD, {"control_size": -1}, "control_size"),
        (GOOD, {"block_size": 0.5}, "block_size"),
        (GOOD, {"method": "sliced", "random_state": "x", "control_size": 0}, "random_state"),
        (GOOD[:1], {"unbiased": True}, "at least two rows .* in X"),
        (GOOD, {"Y": GOOD, "unbiased": True, "sample_weight_Y": [0, 1, 0]}, "two rows .* in Y"),
    ],
)
def test_bad_input_is_named(X, options, message):
    with pytest.raises(ValueError, match=message):
        energy_distance(X, **options)
