"""Huber-energy quantisation: representation of a distribution by few points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .divergences import HuberEnergy, expected_distance, huber

__all__ = ["quantize"]

PAIRS_AT_ONCE = 2**21  # float64 distances in memory at a time, for a target


def quantize(
    n: int,
    n_components: int,
    rng: torch.Generator,
    *,
    target: Tensor | None = None,
    delta: float = 0.0,
    max_iter: int = 200,
) -> Tensor:
    r"""Compute points that minimise the Huber-energy distance to a distribution.

    .. math:: \min_{x_1 \ldots x_n} \frac1n \sum_i E\, h(x_i - Y)
              - \frac{1}{2 n^2} \sum_{ij} h(x_i - x_j), \qquad
              h(x) = \sqrt{\delta^2 + |x|^2} - \delta

    for Y from the standard normal distribution (for which the mean of h is exact) or from the
    empirical distribution of ``target``. The points repel each other, so that they cover the
    distribution more evenly than independent samples. In one dimension the minimiser is the
    quantiles :math:`(i - 1/2) / n`; one point is the median. The search, L-BFGS in float64, starts
    at samples of the distribution and ends in a local minimum; for a target it decreases delta from
    larger values to the given one.

    Parameters
    ----------
    n : int
        Number of points.
    n_components : int
        Dimension k of the points.
    rng : torch.Generator
        Source of the start. The same state gives the same points.
    target : Tensor of shape (m, n_components), optional
        Codes whose distribution is approximated; N(0, I) by default. Rows may repeat: a little
        noise separates equal initial points.
    delta : float, default=0.0
        Where h turns from quadratic to linear, in the units of the points; 0 is the energy
        distance.
    max_iter : int, default=200
        Iterations at most, in all. For a target each costs n m distances, not all in memory at
        once.

    Returns
    -------
    Tensor of shape (n, n_components)
        In float64, on the device of ``target``, else of the rng.

    Raises
    ------
    ValueError
        If ``n``, ``n_components`` or ``max_iter`` is below 1, ``delta`` is negative or not
        finite, or ``target`` is not of the given width, empty or not finite.

    References
    ----------
    G. Turinici, "Huber-energy measure quantization", arXiv:2212.08162, 2022.

    Examples
    --------
    >>> import torch
    >>> from skvae.nn.quantization import quantize
    >>> points = quantize(3, 1, torch.Generator().manual_seed(0))  # quantiles 1/6, 1/2, 5/6
    >>> [round(x, 3) + 0.0 for x in points.flatten().sort().values.tolist()]
    [-0.967, 0.0, 0.967]
    """
    for name, value in (("n", n), ("n_components", n_components), ("max_iter", max_iter)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
    HuberEnergy(delta)  # checks delta
    with torch.inference_mode(False), torch.enable_grad():
        if target is None:
            x = _normal(n, n_components, rng).requires_grad_()
            return _minimise(x, None, delta, max_iter)
        if target.ndim != 2 or target.shape[1] != n_components or len(target) == 0:
            shape = tuple(target.shape)
            raise ValueError(f"target must be (m, {n_components}) with m >= 1, got shape {shape}")
        if not target.isfinite().all():
            raise ValueError("target must be finite")
        # The distance is equivariant: with a target of unit size the tolerances are relative.
        target = target.detach().to(torch.float64, copy=True)
        centre = target.mean(0)
        size = (target - centre).square().mean().sqrt().item() or 1.0
        target = (target - centre) / size
        order = torch.randperm(len(target), generator=rng, device=rng.device)
        rows = order[torch.arange(n, device=order.device) % len(target)].to(target.device)
        noise = _normal(n, n_components, rng).to(target.device)
        x = target[rows] + 0.01 * target.std(0, correction=0) * noise
        # Each repeated row is a kink where a search stalls: round them off, then less, then not.
        stages = sorted({max(delta / size, width) for width in (0.1, 0.01, 0.0)}, reverse=True)
        for stage in stages:
            x = _minimise(x.requires_grad_(), target, stage, -(-max_iter // len(stages)))
        return centre + size * x


def _normal(n: int, k: int, rng: torch.Generator) -> Tensor:
    draws = torch.empty(n, k, dtype=torch.float64, device=rng.device)
    return draws.normal_(generator=rng)


def _minimise(x: Tensor, target: Tensor | None, delta: float, max_iter: int) -> Tensor:
    n, k = x.shape

    def terms() -> Iterator[Tensor]:
        """Parts of n d^2, up to a constant; one at a time has a graph in memory."""
        yield -huber(torch.pdist(x), delta).sum() / n
        if target is None:
            yield expected_distance(x.square().sum(1), k, delta).sum()
        else:
            exact = "donot_use_mm_for_euclid_dist"  # of a product, small distances are rounding
            for rows in torch.split(target, max(1, PAIRS_AT_ONCE // n)):
                yield huber(torch.cdist(x, rows, compute_mode=exact), delta).sum() / len(target)

    search = torch.optim.LBFGS(
        [x],
        max_iter=max_iter,
        max_eval=2 * max_iter,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        value = torch.zeros((), dtype=x.dtype, device=x.device)
        for term in terms():
            torch.autograd.backward(term)
            value += term.detach()
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
    return x.detach()


def quantized_codes(n: int, n_components: int, seed: int, target: Any = None) -> Any:
    """`quantize` on numpy arrays: target (m, k) or None, points (n, k)."""
    rng = torch.Generator().manual_seed(seed)
    codes = None if target is None else torch.from_numpy(target)
    return quantize(n, n_components, rng, target=codes).numpy()
