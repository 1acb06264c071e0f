"""Squared Huber-energy distance between samples, or to the standard normal distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..nn.divergences import expected_distance, expected_pair_distance, surrogate_distance

__all__ = ["energy_distance"]

_METHODS = ("exact", "surrogate", "sliced")


def energy_distance(
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor | None = None,
    *,
    delta: float = 0.0,
    method: str = "exact",
    unbiased: bool = False,
    sample_weight_X: ArrayLike | Tensor | None = None,
    sample_weight_Y: ArrayLike | Tensor | None = None,
    n_projections: int = 64,
    control_size: int = 16_384,
    block_size: int | None = None,
    random_state: Any = None,
) -> Any:
    r"""Compute the squared Huber-energy distance between two samples or to N(0, I).

    .. math:: d^2(X, Y) = E\, h(x - y) - \tfrac12 E\, h(x - x') - \tfrac12 E\, h(y - y'), \qquad
              h(x) = \sqrt{\delta^2 + |x|^2} - \delta

    where x, x' are independent samples from the rows of X and y, y' from the rows of Y. Without
    ``Y``, y and y' follow N(0, I_k). The returned value is d squared, which is half of the value of
    the usual convention in statistics: for ``delta=0`` and one column, :math:`2 d^2` is
    ``scipy.stats.energy_distance(x, y) ** 2``. It is also the squared maximum mean discrepancy of
    the kernel -h, with the factor one half.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, k)
        Rows of the first sample.
    Y : array-like or Tensor of shape (m, k), optional
        Rows of the second sample; None stands for the distribution N(0, I_k).
    delta : float, default=0.0
        Distance at which h changes from quadratic to linear, in the units of X; 0 gives the energy
        distance. For large ``delta``, :math:`2 \delta d^2` tends to the squared distance of the
        means.
    method : {"exact", "surrogate", "sliced"}, default="exact"
        - "exact": the sum over all pairs, in O(n m k) time and bounded memory. A single column with
          ``delta=0`` is sorted instead.
        - "sliced": the average of one-dimensional distances over random directions, times
          :math:`C_k = \sqrt\pi\, \Gamma((k+1)/2) / \Gamma(k/2)`; O(n log n) per direction, for
          ``delta=0`` only. A subsample, whose distance is computed exactly, serves as a control
          variate and removes most of the noise of the directions: the remaining error is about 0.3
          % of a distance of 0.01 and more (k = 8), and of the order of 1e-5 below that.
        - "surrogate": the biased approximation of the distance to N(0, I_k) of the paper, for
          comparison; only without ``Y``.
    unbiased : bool, default=False
        False averages over all pairs, including pairs of a row with itself (V-statistic: the
        distance between the two empirical distributions, which is never negative except for the
        surrogate). True leaves out pairs of a row with itself (U-statistic: unbiased, may be
        negative).
    sample_weight_X, sample_weight_Y : array-like of shape (n,) and (m,), optional
        Non-negative weights of the rows, scaled to sum to one. Gradients with respect to weights
        are not computed. For the V-statistic, an integer weight is equivalent to a repeated row.
    n_projections : int, default=64
        Number of directions of "sliced", orthogonal in groups of k; for k = 2 evenly spaced.
    control_size : int, default=16384
        Number of rows of each sample in the control subsample of "sliced". The distance of samples
        of at most this size is computed exactly. 0 disables the control variate.
    block_size : int, optional
        Number of rows of each sample in one block of pairs. Memory grows with its square and does
        not depend on n and m. None means 1024, or 2048 on an accelerator.
    random_state : int, RandomState, numpy Generator, torch Generator or None, default=None
        Random source of the directions and of the subsample. None uses a new seed in each call;
        global generators are not changed.

    Returns
    -------
    float or Tensor
        The squared distance: a Python float for arrays, and a 0-d tensor if X or Y is a tensor, of
        its dtype (float32 or float64) and device, once differentiable in X and Y. Pairs are
        computed and summed in float64.

    Raises
    ------
    ValueError
        If an argument is out of its range (the message names it).

    See Also
    --------
    HuberEnergyVAE : Matches its codes to N(0, I) by this distance.
    frechet_distance : Distance of means and covariances only.
    scipy.stats.energy_distance : The square root of twice this distance, in one dimension.

    References
    ----------
    G. J. Szekely, M. L. Rizzo, "Energy statistics: a class of statistics based on distances",
    Journal of Statistical Planning and Inference 143, 2013.
    G. Turinici, "Radon-Sobolev variational auto-encoders", arXiv:1911.13135, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import energy_distance
    >>> energy_distance([[0.0], [1.0]], [[0.0], [3.0]])
    0.5
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> energy_distance(X) < 0.01 < energy_distance(X + 0.5)
    True
    """
    _check_options(delta, method, Y, n_projections, control_size, block_size)
    tensor = next((a for a in (X, Y) if isinstance(a, Tensor)), None)
    x, y = _rows(X, "X", tensor), None if Y is None else _rows(Y, "Y", tensor)
    if y is not None and y.shape[1] != x.shape[1]:
        raise ValueError(
            f"Y has {y.shape[1]} columns, but X has {x.shape[1]}: pass samples with the same "
            "columns"
        )
    if y is None and sample_weight_Y is not None:
        raise ValueError(
            "sample_weight_Y can be given only with Y: without Y the second distribution is N(0, I)"
        )
    w = _weights(sample_weight_X, x, "sample_weight_X", unbiased)
    v = None if y is None else _weights(sample_weight_Y, y, "sample_weight_Y", unbiased)

    line = delta == 0 and x.shape[1] == 1 and method != "surrogate"
    largest = max(len(x), 0 if y is None else len(y))
    if line or (method == "sliced" and largest > control_size):
        value = _sliced(
            x, y, w, v, unbiased, n_projections, control_size, block_size, _generator(random_state)
        )
    else:
        value = _pairwise(x, y, w, v, unbiased, float(delta), method, block_size)
    if not unbiased and method != "surrogate":
        value = value.clamp(min=0)  # rounding
    return value.item() if tensor is None else value.to(x.dtype)


def _pairwise(
    x: Tensor,
    y: Tensor | None,
    w: Tensor | None,
    v: Tensor | None,
    unbiased: bool,
    delta: float,
    method: str,
    block_size: int | None,
) -> Tensor:
    block = int(block_size or (1024 if x.device.type == "cpu" else 2048))
    n, k = x.shape
    x, within_x, w = x.double(), _within(w, n, unbiased), _filled(w, x)
    if y is None:
        xi = surrogate_distance if method == "surrogate" else expected_distance
        cross = _potential(x, w, partial(xi, k=k, delta=delta), block)
        x = x - x.detach().mean(0)
        within = within_x * _pair_sum(x, w, None, None, delta, block)
        return cross - 0.5 * (within + expected_pair_distance(k, delta))
    y, within_y, v = y.double(), _within(v, len(y), unbiased), _filled(v, y)
    centre = 0.5 * (x.detach().mean(0) + y.detach().mean(0))
    x, y = x - centre, y - centre
    cross = _pair_sum(x, w, y, v, delta, block)
    within = within_x * _pair_sum(x, w, None, None, delta, block)
    within = within + within_y * _pair_sum(y, v, None, None, delta, block)
    return cross - 0.5 * within


def _potential(x: Tensor, w: Tensor, xi: Callable[[Tensor], Tensor], block: int) -> Tensor:
    """sum_i w_i xi(|x_i|^2)."""

    def part(rows: slice, x: Tensor) -> Tensor:
        return w[rows] @ xi(x[rows].square().sum(1))

    step = 8 * block
    return _sum([partial(part, slice(i, i + step)) for i in range(0, len(x), step)], x)[0]


def _sum(parts: Sequence[Callable[..., Tensor]], *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    total, each = _Sum.apply(parts, *inputs)  # type: ignore[no-untyped-call]
    return total, each


def _pair_sum(
    x: Tensor, w: Tensor, y: Tensor | None, v: Tensor | None, delta: float, block: int
) -> Tensor:
    total: Tensor = _PairSum.apply(x, w, y, v, delta, block)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """Sum of terms, which are functions of the inputs to a scalar, and the value of each term.

    The gradient of a term is computed right after its value, so only one graph exists at a time.
    Only the sum is differentiable.
    """

    @staticmethod
    def forward(
        ctx: Any, parts: Sequence[Callable[..., Tensor]], *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        needed = [i for i, need in enumerate(ctx.needs_input_grad[1:]) if need]
        copies: list[Any] = [None if a is None else a.detach() for a in inputs]
        leaves = [copies[i].requires_grad_() for i in needed]
        gradients = [torch.zeros_like(leaf) for leaf in leaves]
        values = []
        for part in parts:
            with torch.set_grad_enabled(bool(needed)):
                value = part(*copies)
            if needed:
                for total, term in zip(gradients, torch.autograd.grad(value, leaves), strict=True):
                    total += term
            values.append(value.detach())
        each = torch.stack(values)
        ctx.needed, ctx.count = needed, len(inputs)
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    @once_differentiable  # makes ctx positional for type checkers
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        scale = grad_outputs[0]
        gradients: list[Tensor | None] = [None] * (1 + ctx.count)
        for i, gradient in zip(ctx.needed, ctx.saved_tensors, strict=True):
            gradients[1 + i] = scale.to(gradient.dtype) * gradient
        return tuple(gradients)


class _PairSum(torch.autograd.Function):
    """sum_ij w_i v_j h(x_i - y_j), block by block; with y None, y = x and v = w.

    The gradient is accumulated in the same pass, so no block is stored.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        y: Tensor | None,
        v: Tensor | None,
        delta: float,
        block: int,
    ) -> Tensor:
        same = y is None
        grad = any(ctx.needs_input_grad)
        if y is None or v is None:
            y, v = x, w
        gx = torch.zeros_like(x)
        gy = gx if same else torch.zeros_like(y)
        total = x.new_zeros(())
        for i in range(0, len(x), block):
            a = slice(i, i + block)
            for j in range(i if same else 0, len(y), block):
                b = slice(j, j + block)
                times = 2 if same and j > i else 1
                d2 = _squared_distances(x[a], y[b])
                root = (d2 + delta * delta).sqrt_() if delta else d2.sqrt_()
                h = d2.div_(root + delta) if delta else root
                total += times * (w[a] @ (h @ v[b]))
                if grad:  # d h / d x_i = (x_i - y_j) / root, taken as 0 at 0 / 0
                    inverse = root.reciprocal_()
                    inverse.masked_fill_(inverse.isinf(), 0)
                    wa, vb = times * w[a, None], times * v[b, None]
                    gx[a] += wa * ((inverse @ v[b, None]) * x[a] - inverse @ (v[b, None] * y[b]))
                    inverse = inverse.T
                    gy[b] += vb * ((inverse @ w[a, None]) * y[b] - inverse @ (w[a, None] * x[a]))
        ctx.save_for_backward(*((gx,) if same else (gx, gy)) if grad else ())
        return total

    @staticmethod
    @once_differentiable  # makes ctx positional for type checkers
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        gx, *gy = ctx.saved_tensors
        return scale * gx, None, scale * gy[0] if gy else None, None, None, None


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Compute |x_i - y_j|^2, (b, c), by a matrix product, and directly for close pairs."""
    x2, y2 = x.square().sum(1, keepdim=True), y.square().sum(1, keepdim=True)
    d2 = torch.addmm(x2, x, y.T, alpha=-2).add_(y2.T)
    # Above this the relative error stays below 1e-9.
    close = (d2 <= 1e-6 * (x2.amax() + y2.amax())).nonzero()
    if close.shape[0] * x.shape[1] > d2.numel():
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square_()
    i, j = close.unbind(1)
    d2[i, j] = (x[i] - y[j]).square().sum(1)
    return d2


def _sliced(
    x: Tensor,
    y: Tensor | None,
    w: Tensor | None,
    v: Tensor | None,
    unbiased: bool,
    n_projections: int,
    control_size: int,
    block_size: int | None,
    generator: torch.Generator,
) -> Tensor:
    if x.shape[1] == 1:
        one = x.new_ones((1, 1))
        return _lines(x.double(), None if y is None else y.double(), w, v, unbiased, one)[0]
    theta = _directions(x.shape[1], int(n_projections), generator).to(x.device)
    mean, values = _lines(x, y, w, v, unbiased, theta)
    if control_size < 2 or len(values) < 2:
        return mean
    # The subsample uses the same directions, and its mean over all directions is known.
    xs, ws = _subsample(x, w, control_size, generator)
    ys, vs = (None, None) if y is None else _subsample(y, v, control_size, generator)
    control_mean, control = _lines(xs, ys, ws, vs, unbiased, theta)
    exact = _pairwise(xs, ys, ws, vs, unbiased, 0.0, "exact", block_size)
    spread = control - control.mean()
    slope = (spread @ values) / spread.square().sum().clamp(min=1e-300)
    return mean - slope * (control_mean - exact)


def _subsample(
    x: Tensor, w: Tensor | None, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    if len(x) <= size:
        return x, w
    rows = torch.randperm(len(x), generator=generator, device=generator.device)
    rows = rows[: int(size)].to(x.device)
    if w is None:
        return x[rows], None
    w = w[rows]
    return (x[rows], w / w.sum()) if w.count_nonzero() > 1 else (x[rows], None)


def _lines(
    x: Tensor,
    y: Tensor | None,
    w: Tensor | None,
    v: Tensor | None,
    unbiased: bool,
    directions: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return C_k times d squared of the projections: the mean over directions, and each value."""
    n, m = len(x), 0 if y is None else len(y)
    if y is not None:
        centre = 0.5 * (x.detach().mean(0) + y.detach().mean(0))
        x, y = x - centre, y - centre
    # Sorting is twice as fast in float32; rounding is far below the noise of the directions.
    if x.shape[1] > 1 and n + m > 2**16:
        x, y = x.float(), None if y is None else y.float()
    parts = [partial(_line, theta, w, v, unbiased) for theta in directions.to(x.dtype)]
    total, values = _sum(parts, x, y)
    # C_k = sqrt(pi) G((k+1)/2) / G(k/2)
    scale = 0.5 * math.sqrt(math.pi) * expected_pair_distance(x.shape[1])
    return scale * total / len(parts), scale * values


def _line(
    theta: Tensor,
    w: Tensor | None,
    v: Tensor | None,
    unbiased: bool,
    x: Tensor,
    y: Tensor | None,
) -> Tensor:
    """Return the squared distance of the projections on one direction, for delta = 0."""
    n, p = len(x), x @ theta
    gap_x = _mean_gap(p, w)
    if y is None:
        # E|p - Z| = p (2 Phi(p) - 1) + 2 phi(p)
        xi = p * torch.erf(p * math.sqrt(0.5)) + math.sqrt(2 / math.pi) * torch.exp(-0.5 * p * p)
        cross = xi.mean(dtype=torch.float64) if w is None else w @ xi.double()
        return cross - 0.5 * (_within(w, n, unbiased) * gap_x + 2 / math.sqrt(math.pi))
    m, q = len(y), y @ theta
    gap_y = _mean_gap(q, v)
    pool, a, b = None, n, m
    if w is not None or v is not None:
        w, v = _filled(w, x), _filled(v, y)
        pool, a, b = torch.cat([w, v]), 1, 1
    # All pairs of the pooled sample: pairs within x, pairs within y, and twice those across.
    gap = _mean_gap(torch.cat([p, q]), pool, sorted_runs=True)
    cross = ((a + b) ** 2 * gap - a * a * gap_x - b * b * gap_y) / (2 * a * b)
    return cross - 0.5 * (_within(w, n, unbiased) * gap_x + _within(v, m, unbiased) * gap_y)


def _mean_gap(p: Tensor, w: Tensor | None, sorted_runs: bool = False) -> Tensor:
    """Return the mean of |p_i - p_j| over all n^2 pairs, by sorting: sum_i (2 i - n - 1) p_(i)."""
    if w is None:
        n, p = len(p), _sort(p, sorted_runs)
        rank = torch.arange(1 - n, n, 2, dtype=torch.float64, device=p.device)
        return 2 * (rank @ p.double()) / n**2
    p, order = p.sort()
    w = w[order]
    below = w.cumsum(0)
    total = below[-1]
    return 2 * ((w * (2 * below - w - total)) @ p.double()) / total**2


def _sort(p: Tensor, sorted_runs: bool) -> Tensor:
    """Return the sorted values of p, sorted in place by numpy if possible, which is faster."""
    if p.requires_grad or p.device.type != "cpu":
        return p.sort().values
    p.numpy().sort(kind="stable" if sorted_runs else None)  # a stable sort merges runs
    return p


def _directions(k: int, count: int, generator: torch.Generator) -> Tensor:
    """Return unit vectors, (count, k), uniform on the sphere and orthogonal within each group."""
    options: dict[str, Any] = {
        "generator": generator,
        "device": generator.device,
        "dtype": torch.float64,
    }
    if k == 2:
        angle = (torch.arange(count, device=generator.device) + torch.rand(1, **options)) / count
        return torch.stack([(math.pi * angle).cos(), (math.pi * angle).sin()], 1)
    groups = [
        torch.linalg.qr(torch.randn(k, min(k, count), **options)).Q.T for _ in range(-(-count // k))
    ]
    return torch.cat(groups)[:count]


def _generator(random_state: Any) -> torch.Generator:
    if isinstance(random_state, torch.Generator):
        return random_state
    generator = torch.Generator()
    if random_state is None:
        generator.seed()
    elif isinstance(random_state, Integral):
        generator.manual_seed(int(random_state))
    elif isinstance(random_state, np.random.RandomState):
        generator.manual_seed(int(random_state.randint(2**31 - 1)))
    elif isinstance(random_state, np.random.Generator):
        generator.manual_seed(int(random_state.integers(2**63 - 1)))
    else:
        raise ValueError(
            f"random_state must be an integer, a generator or None, got {random_state!r}"
        )
    return generator


def _check_options(
    delta: Any, method: Any, Y: Any, n_projections: Any, control_size: Any, block_size: Any
) -> None:
    if not (isinstance(delta, Real) and 0 <= float(delta) < math.inf):
        raise ValueError(f"delta must be a finite number of at least 0, got {delta!r}")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}")
    if method == "sliced" and delta != 0:
        raise ValueError(f'method="sliced" needs delta=0, got delta={delta!r}; use method="exact"')
    if method == "surrogate" and Y is not None:
        raise ValueError(
            'method="surrogate" approximates the distance to N(0, I): it cannot be used with Y'
        )
    counts = {"n_projections": (n_projections, 1), "control_size": (control_size, 0)}
    if block_size is not None:
        counts["block_size"] = (block_size, 1)
    for name, (value, least) in counts.items():
        if not (isinstance(value, Integral) and int(value) >= least):
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def _rows(A: Any, name: str, like: Tensor | None) -> Tensor:
    """Convert to a finite (n, k) tensor: tensors keep float32 or float64, arrays become float64."""
    if isinstance(A, Tensor):
        if A.is_complex():
            raise ValueError(f"{name} must be a dense array of numbers: complex numbers")
        rows = A if torch.is_grad_enabled() else A.detach()
        rows = rows if rows.dtype == torch.float64 else rows.float()
    else:
        try:
            if np.iscomplexobj(A):
                raise TypeError("complex numbers")
            # Read-only arrays are copied, since torch would warn.
            rows = torch.from_numpy(np.require(A, np.float64, ["C", "W"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a dense array of numbers: {error}") from error
        if like is not None:
            rows = rows.to(
                like.device, like.dtype if like.dtype == torch.float64 else torch.float32
            )
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must be 2-D (rows, columns), got shape {tuple(rows.shape)}; "
            "reshape(-1, 1) makes one column"
        )
    if 0 in rows.shape:
        raise ValueError(f"{name} is empty: shape {tuple(rows.shape)}")
    if not rows.detach().abs().max() < 1e150:  # whether squares do not overflow; false for NaN
        raise ValueError(
            f"{name} contains NaN, infinity or numbers of 1e150 and more; impute or drop these rows"
        )
    return rows


def _weights(given: Any, rows: Tensor, name: str, unbiased: bool) -> Tensor | None:
    """Return float64 weights that sum to one, or None for equal weights."""
    n = len(rows)
    weight: Tensor | None = None
    if given is not None:
        given = given.detach().cpu() if isinstance(given, Tensor) else given
        try:
            weight = torch.from_numpy(np.array(given, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be an array of numbers: {error}") from error
        if weight.shape != (n,):
            raise ValueError(f"{name} must have shape ({n},), got {tuple(weight.shape)}")
        if not (weight.isfinite().all() and (weight >= 0).all() and weight.sum() > 0):
            raise ValueError(f"{name} must be finite, non-negative and not all zero")
        weight = (weight / weight.max()).to(rows.device)
        weight = weight / weight.sum()
        n = int((weight > 0).sum())
    if unbiased and n < 2:
        sample = name.removeprefix("sample_weight_")
        raise ValueError(
            f"unbiased=True needs at least two rows of positive weight in {sample}; "
            "use unbiased=False"
        )
    return weight


def _filled(weight: Tensor | None, rows: Tensor) -> Tensor:
    if weight is None:
        return torch.full((len(rows),), 1 / len(rows), dtype=torch.float64, device=rows.device)
    return weight


def _within(weight: Tensor | None, n: int, unbiased: bool) -> float | Tensor:
    """Return the factor from the mean over all pairs to the mean over pairs i != j, or 1."""
    if not unbiased:
        return 1.0
    return n / (n - 1) if weight is None else 1 / (1 - weight.square().sum())
