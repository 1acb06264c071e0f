"""Distances between a batch of codes and a law, as scalars to minimise."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

__all__ = [
    "HuberEnergy",
    "expected_distance",
    "expected_pair_distance",
    "surrogate_distance",
]


def expected_distance(
    r2: Tensor,
    k: int,
    delta: float = 0.0,
    variance: float = 1.0,
    *,
    n_nodes: int | None = None,
) -> Tensor:
    r"""Mean Huber distance from a point to an isotropic normal vector.

    .. math:: \xi(|z|) = E\, h(z - Z), \qquad h(x) = \sqrt{\delta^2 + |x|^2} - \delta,
              \qquad Z \sim N(0, v I_k)

    Both square roots come from
    :math:`\sqrt{c} = \pi^{-1/2} \int_0^\infty (1 - e^{-c s^2}) s^{-2} ds`. With
    :math:`m = \delta^2 + |z|^2 + k v`, the mean of :math:`\delta^2 + |z - Z|^2`, only Jensen's
    gap is left to integrate,

    .. math:: \xi = \frac{|z|^2 + k v}{\sqrt m + \delta} - \frac{1}{\sqrt\pi} \int_0^\infty
              \left[ E e^{-s^2 (\delta^2 + |z - Z|^2)} - e^{-s^2 m} \right] s^{-2} ds,

    by Gauss-Legendre in t, :math:`s = \tan(t) / \sqrt m`. No term cancels another, so the value
    is accurate for every k and r, and for small and large ``delta`` alike.

    Parameters
    ----------
    r2 : Tensor of any shape
        Squared norms of the points, float32 or float64.
    k : int
        Dimension of the space.
    delta : float, default=0.0
        Where the distance turns from quadratic to linear, in the units of z; 0 gives
        :math:`E |z - Z|`.
    variance : float or Tensor that broadcasts with ``r2``, default=1.0
        Variance v of each coordinate of Z, above 0.
    n_nodes : int, optional
        Nodes of the rule. By default enough for a relative error near 4e-7 in float32, and in
        float64 near 1e-14 (1e-9 at worst for ``delta > 0`` with ``k <= 2``).

    Returns
    -------
    Tensor
        The shape and dtype of ``r2``; differentiable.

    References
    ----------
    G. J. Szekely, M. L. Rizzo, "Energy statistics: a class of statistics based on distances",
    Journal of Statistical Planning and Inference 143, 2013.

    Examples
    --------
    >>> import torch
    >>> from skvae.divergences import expected_distance
    >>> expected_distance(torch.tensor([0.0, 4.0]), 2)  # sqrt(pi / 2) at the origin
    tensor([1.2533, 2.2724])
    """
    a2 = delta * delta
    tan2, weight = _rule(n_nodes or _enough_nodes(k, delta, r2.dtype), r2.dtype, r2.device)
    spread = r2 + k * variance
    m = spread + a2
    # The integral does not depend on how s is scaled, so no gradient need flow through the scale.
    scale = m.detach()[..., None]
    s2 = tan2 / scale  # (..., q)
    u = 2 * _last_axis(variance) * s2
    log_u = torch.log1p(u)
    shrunk = s2 / (1 + u) * r2[..., None]
    near = a2 * s2 + 0.5 * k * log_u + shrunk  # -log E exp(-s^2 (a^2 + |z - Z|^2))
    gap = u * shrunk + 0.5 * k * (u - log_u)  # s^2 m - near, never negative
    jensen = (torch.exp(-near) * -torch.expm1(-gap) * scale.sqrt()) @ weight
    return spread / (m.sqrt() + delta) - jensen


@lru_cache(maxsize=256)
def expected_pair_distance(k: int, delta: float = 0.0, variance: float = 1.0) -> float:
    r"""Mean Huber distance between two independent normal vectors, :math:`E h(Z - Z')`.

    Parameters
    ----------
    k : int
        Dimension of the space.
    delta : float, default=0.0
        As in :func:`expected_distance`. At 0 the value is
        :math:`2 \sqrt v\, \Gamma((k+1)/2) / \Gamma(k/2)`.
    variance : float, default=1.0
        Variance v of each coordinate of Z and Z'.

    Returns
    -------
    float

    Examples
    --------
    >>> from skvae.divergences import expected_pair_distance
    >>> round(expected_pair_distance(1), 6)  # 2 / sqrt(pi)
    1.128379
    """
    origin = torch.zeros((), dtype=torch.float64, device="cpu")
    return expected_distance(origin, k, delta, 2 * variance).item()


def surrogate_distance(r2: Tensor, k: int, delta: float = 0.0) -> Tensor:
    r"""Approximation of :func:`expected_distance` used in the papers, for Z ~ N(0, I).

    .. math:: \xi(r) \approx \xi(0) + \sqrt{r^2 + c^2} - c, \qquad
              c = 1 \Big/ \left( 2 \frac{d \xi}{d r^2}(0) \right)

    Value and slope are right at the origin only. At a = 0 this is
    :math:`c_0 + \sqrt{r^2 + c_1} + E|Z - Z'| / 2` with the papers' constants c_0 and c_1. It is
    too small for typical codes, so a distance built on it goes below zero.

    Parameters
    ----------
    r2 : Tensor of any shape
        Squared norms of the codes.
    k : int
        Dimension of the codes.
    delta : float, default=0.0
        As in :func:`expected_distance`. The papers give ``delta=0``; above 0 the same two
        conditions fix the curve.

    Returns
    -------
    Tensor
        The shape and dtype of ``r2``.

    References
    ----------
    G. Turinici, "Radon-Sobolev variational auto-encoders", arXiv:1911.13135, 2019.

    Examples
    --------
    >>> import torch
    >>> from skvae.divergences import surrogate_distance
    >>> surrogate_distance(torch.tensor([0.0, 4.0]), 2)
    tensor([1.2533, 2.2162])
    """
    value, c = _tangent(k, delta)
    # (root - c) with its cancellation near the origin removed
    return value + r2 / ((r2 + c * c).sqrt() + c)


class HuberEnergy(nn.Module):
    r"""Squared Huber-energy distance between codes and the standard normal law.

    .. math:: d^2 = \frac1n \sum_i \xi(|z_i|) - \frac{1}{2 n (n - 1)} \sum_{i \ne j} h(z_i - z_j)
              - \frac12 E\, h(Z - Z'), \qquad h(x) = \sqrt{\delta^2 + |x|^2} - \delta

    with :math:`\xi` from :func:`expected_distance`. This is half of what statistics texts call
    the energy distance.

    Parameters
    ----------
    delta : float, default=0.0
        Where h turns from quadratic to linear, in the units of the codes; 0 is the energy
        distance.
    method : {"exact", "surrogate"}, default="exact"
        "surrogate" takes :func:`surrogate_distance` for :math:`\xi`, as the papers do. It is
        biased: it favours codes wider than the prior and goes below zero.
    unbiased : bool, default=True
        Divide the sum over pairs by n (n - 1) (U-statistic: right on average, may be negative)
        or by n^2 (V-statistic: the distance to the empirical law, never negative). One row has
        no pair, so there both are the V-statistic, :math:`\xi(|z|) - E\, h(Z - Z') / 2`.

    Shape
    -----
    (n, k) codes to a scalar, in float64 for float64 codes, else in float32, autocast or not.
    Gradients are finite at repeated rows and zero between them.

    Raises
    ------
    ValueError
        If ``delta`` is negative or not finite, ``method`` unknown, or codes are not (n, k) with
        n, k >= 1.

    References
    ----------
    G. Turinici, "Radon-Sobolev variational auto-encoders", arXiv:1911.13135, 2019;
    "Huber-energy measure quantization", arXiv:2212.08162, 2022.

    Examples
    --------
    >>> import torch
    >>> from skvae.divergences import HuberEnergy
    >>> z = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    >>> abs(HuberEnergy()(z).item()) < 1e-3
    True
    >>> bool(HuberEnergy(method="surrogate")(z) < -0.02)
    True
    """

    def __init__(self, delta: float = 0.0, method: str = "exact", unbiased: bool = True) -> None:
        super().__init__()
        if not (math.isfinite(delta) and delta >= 0):
            raise ValueError(f"delta must be finite and at least 0, got {delta!r}")
        if method not in ("exact", "surrogate"):
            raise ValueError(f'method must be "exact" or "surrogate", got {method!r}')
        self.delta, self.method, self.unbiased = float(delta), method, unbiased

    def forward(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or 0 in z.shape:
            raise ValueError(f"z must be (n, k) with n, k >= 1, got shape {tuple(z.shape)}")
        n, k = z.shape
        xi = expected_distance if self.method == "exact" else surrogate_distance
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 would drown the difference
            z = z if z.dtype == torch.float64 else z.float()
            cross = xi(z.square().sum(1), k, self.delta).mean()
            pairs = huber(torch.pdist(z), self.delta).sum()  # half of the sum over i != j
            count = n * (n - 1) if self.unbiased and n > 1 else n * n
            return cross - pairs / count - 0.5 * expected_pair_distance(k, self.delta)

    def extra_repr(self) -> str:
        return f"delta={self.delta}, method={self.method!r}, unbiased={self.unbiased}"


def huber(distance: Tensor, delta: float) -> Tensor:
    """Huber distance sqrt(delta^2 + distance^2) - delta, accurate for a large delta too."""
    if delta == 0:
        return distance
    squared = distance * distance
    return squared / ((squared + delta * delta).sqrt() + delta)


def _last_axis(x):
    return x[..., None] if isinstance(x, Tensor) and x.ndim else x


def _enough_nodes(k: int, delta: float, dtype: torch.dtype) -> int:
    # delta > 0 puts a layer of width delta at the end of the range, damped like cos(t)^k.
    if dtype == torch.float64:
        return 128 if delta > 0 and k <= 2 else 64
    return 32 if delta > 0 and k == 1 else 24


@lru_cache(maxsize=64)
def _rule(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """tan(t)^2 and weights of dt / (sqrt(pi) sin(t)^2) on (0, pi / 2), by Golub and Welsch."""
    with torch.inference_mode(False), torch.no_grad():  # cached, so never an inference tensor
        i = torch.arange(1, n, dtype=torch.float64, device="cpu")
        jacobi = torch.diag(i / (4 * i * i - 1).sqrt(), -1)
        x, vectors = torch.linalg.eigh(jacobi)
        t = (x + 1) * (math.pi / 4)
        weight = vectors[0].square() * (math.pi / 2) / (math.sqrt(math.pi) * t.sin().square())
        return t.tan().square().to(device, dtype), weight.to(device, dtype)


@lru_cache(maxsize=256)
def _tangent(k: int, delta: float) -> tuple[float, float]:
    """xi(0) and 1 / (2 dxi/dr^2) at the origin, by the rule of `expected_distance`."""
    double, cpu = torch.float64, torch.device("cpu")
    value = expected_distance(torch.zeros((), dtype=double, device=cpu), k, delta)
    tan2, weight = _rule(_enough_nodes(k, delta, double), double, cpu)
    m = k + delta * delta
    s2 = tan2 / m
    near = delta * delta * s2 + 0.5 * k * torch.log1p(2 * s2)
    slope = (s2 / (1 + 2 * s2) * torch.exp(-near) * math.sqrt(m)) @ weight
    return value.item(), 0.5 / slope.item()
