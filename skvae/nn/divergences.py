"""Distances between a batch of codes and a distribution, as losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

__all__ = [
    "MMD",
    "HuberEnergy",
    "SlicedWasserstein",
    "expected_distance",
    "expected_kernel",
    "expected_pair_distance",
    "surrogate_distance",
]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def expected_distance(
    r2: Tensor,
    k: int,
    delta: float = 0.0,
    variance: float | Tensor = 1.0,
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
        Distance at which h changes from quadratic to linear, in the units of z; 0 gives :math:`E |z
        - Z|`.
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
    >>> from skvae.nn.divergences import expected_distance
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
    >>> from skvae.nn.divergences import expected_pair_distance
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
    >>> from skvae.nn.divergences import surrogate_distance
    >>> surrogate_distance(torch.tensor([0.0, 4.0]), 2)
    tensor([1.2533, 2.2162])
    """
    value, c = _tangent(k, delta)
    # (root - c) with its cancellation near the origin removed
    return value + r2 / ((r2 + c * c).sqrt() + c)


class HuberEnergy(nn.Module):
    r"""Squared Huber-energy distance between codes and the standard normal distribution.

    .. math:: d^2 = \frac1n \sum_i \xi(|z_i|) - \frac{1}{2 n (n - 1)} \sum_{i \ne j} h(z_i - z_j)
              - \frac12 E\, h(Z - Z'), \qquad h(x) = \sqrt{\delta^2 + |x|^2} - \delta

    with :math:`\xi` from :func:`expected_distance`. This is half of what statistics texts call
    the energy distance.

    Parameters
    ----------
    delta : float, default=0.0
        Distance at which h changes from quadratic to linear, in the units of the codes; 0 gives the
        energy distance.
    method : {"exact", "surrogate"}, default="exact"
        "surrogate" takes :func:`surrogate_distance` for :math:`\xi`, as the papers do. It is
        biased: it favours codes wider than the prior and goes below zero.
    unbiased : bool, default=True
        Divide the sum over pairs by n (n - 1) (U-statistic: unbiased, may be negative) or by n^2
        (V-statistic: the distance to the empirical distribution, never negative). One row has no
        pair, so there both are the V-statistic, :math:`\xi(|z|) - E\, h(Z - Z') / 2`.

    Shape
    -----
    (n, k) codes to a scalar, in float64 for float64 codes, else in float32, autocast or not.
    Gradients are finite at repeated rows and zero between them. ``forward(z, rng)`` is
    what all divergences here share; this one draws nothing.

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
    >>> from skvae.nn.divergences import HuberEnergy
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

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Tensor:
        z = _codes(z)
        n, k = z.shape
        xi = expected_distance if self.method == "exact" else surrogate_distance
        with _full_precision(z):
            cross = xi(z.square().sum(1), k, self.delta).mean()
            pairs = huber(torch.pdist(z), self.delta).sum()  # half of the sum over i != j
            count = n * (n - 1) if self.unbiased and n > 1 else n * n
            return cross - pairs / count - 0.5 * expected_pair_distance(k, self.delta)

    def extra_repr(self) -> str:
        return f"delta={self.delta}, method={self.method!r}, unbiased={self.unbiased}"


def expected_kernel(
    r2: Tensor,
    k: int,
    kernel: str = "imq",
    scales: Sequence[float] = SCALES,
    variance: float = 1.0,
) -> Tensor:
    r"""Mean of a kernel between a point and an isotropic normal vector.

    .. math:: \mu(|z|) = E\, \kappa(z - Z), \qquad Z \sim N(0, v I_k), \qquad
              \kappa(x) = \sum_s \frac{C_s}{C_s + |x|^2} \ \text{or} \
              \sum_s e^{-|x|^2 / C_s}, \qquad C_s = 2 k s

    Both kernels are mixtures of Gaussian ones, whose mean is known,

    .. math:: \kappa(x) = \int e^{-u |x|^2} dW(u), \qquad
              \mu(r) = \int (1 + 2 u v)^{-k/2} \exp\left(-\frac{u r^2}{1 + 2 u v}\right) dW(u),

    with unit masses at :math:`u = 1 / C_s` for "rbf" and
    :math:`dW = \sum_s C_s e^{-u C_s} du` for "imq", there by the trapezoidal rule in log u,
    which converges geometrically.

    Parameters
    ----------
    r2 : Tensor of any shape
        Squared norms of the points, float32 or float64.
    k : int
        Dimension of the space.
    kernel : {"imq", "rbf"}, default="imq"
        Inverse multiquadric or Gaussian.
    scales : sequence of float, default=(0.1, 0.2, 0.5, 1, 2, 5, 10)
        The s of the sum, in units of the mean squared distance of two samples of the prior, 2 k.
    variance : float, default=1.0
        Variance v of each coordinate of Z; 2 and ``r2 = 0`` give :math:`E\, \kappa(Z - Z')`.

    Returns
    -------
    Tensor
        The shape and dtype of ``r2``; differentiable. "imq" has a relative error near 3e-7 in
        float32 and 1e-13 in float64.

    Raises
    ------
    ValueError
        If ``kernel`` is unknown, or ``scales`` empty or not all finite and above 0.

    References
    ----------
    I. Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf, "Wasserstein auto-encoders", ICLR 2018.

    Examples
    --------
    >>> import torch
    >>> from skvae.nn.divergences import expected_kernel
    >>> expected_kernel(torch.tensor([0.0, 4.0]), 2, "rbf", [1.0])  # 2/3 at the origin
    tensor([0.6667, 0.3423])
    """
    scales = _checked_scales(kernel, scales)
    rate, weight = _prior_mixture(kernel, scales, k, variance, r2.dtype, r2.device)
    return torch.exp(-rate * r2[..., None]) @ weight


class MMD(nn.Module):
    r"""Squared maximum mean discrepancy between codes and the standard normal distribution.

    .. math:: d^2 = E\, \kappa(Z - Z') - \frac2n \sum_i \mu(|z_i|)
              + \frac{1}{n (n - 1)} \sum_{i \ne j} \kappa(z_i - z_j)

    with the kernels :math:`\kappa` and :math:`\mu` of :func:`expected_kernel`. Both expectations
    under the prior are exact, while the paper samples a batch of the prior.

    Parameters
    ----------
    kernel : {"imq", "rbf"}, default="imq"
        Sum over the scales of :math:`C / (C + |x|^2)` or of :math:`e^{-|x|^2 / C}`,
        :math:`C = 2 k s`.
    scales : sequence of float, default=(0.1, 0.2, 0.5, 1, 2, 5, 10)
        The s of the sum.
    unbiased : bool, default=True
        U-statistic, unbiased but possibly negative, or V-statistic: the sum of all pairs including
        i = j divided by n^2, never negative. One row has no pair, so there both are the
        V-statistic.

    Shape
    -----
    (n, k) codes to a scalar, in float64 for float64 codes, else in float32, autocast or not.
    Gradients are finite at repeated rows and zero between them. The generator of ``forward`` is
    not used.

    Raises
    ------
    ValueError
        If ``kernel`` is unknown, ``scales`` empty or not all finite and above 0, or codes are not
        (n, k) with n, k >= 1.

    References
    ----------
    I. Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf, "Wasserstein auto-encoders", ICLR 2018;
    A. Gretton et al., "A kernel two-sample test", JMLR 13, 2012.

    Examples
    --------
    >>> import torch
    >>> from skvae.nn.divergences import MMD
    >>> z = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    >>> abs(MMD()(z).item()) < 2e-3
    True
    >>> bool(MMD()(z + 1) > 0.5)
    True
    """

    def __init__(
        self, kernel: str = "imq", scales: Sequence[float] = SCALES, unbiased: bool = True
    ) -> None:
        super().__init__()
        self.kernel, self.scales = kernel, _checked_scales(kernel, scales)
        self.unbiased = unbiased

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Tensor:
        z = _codes(z)
        n, k = z.shape
        with _full_precision(z):
            mean = expected_kernel(z.square().sum(1), k, self.kernel, self.scales).mean()
            c = 2 * k * z.new_tensor(self.scales)[:, None]
            ratio = torch.pdist(z).square() / c
            pairs = (ratio.neg().exp() if self.kernel == "rbf" else (1 + ratio).reciprocal()).sum()
            if self.unbiased and n > 1:
                within = 2 * pairs / (n * (n - 1))
            else:
                within = 2 * pairs / (n * n) + len(self.scales) / n
            return within - 2 * mean + _expected_pair_kernel(self.kernel, self.scales, k)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel!r}, scales={self.scales}, unbiased={self.unbiased}"


class SlicedWasserstein(nn.Module):
    r"""Squared sliced 2-Wasserstein distance between codes and the standard normal distribution.

    .. math:: d^2 = \frac1p \sum_{l=1}^p W_2^2(\theta_l \cdot z, N(0, 1)), \qquad
              W_2^2(y, N(0, 1)) = \frac1n \sum_i (y_{(i)} - q_i)^2
              + 1 - \frac1n \sum_i q_i^2

    over p directions :math:`\theta_l` uniform on the unit sphere, sampled in each call. The
    quantiles of N(0, 1) are exact: :math:`y_{(i)}` are the sorted projections and

    .. math:: q_i = n \int_{(i-1)/n}^{i/n} \Phi^{-1}(u) du
              = n \left[ \varphi(\Phi^{-1}((i - 1) / n)) - \varphi(\Phi^{-1}(i / n)) \right]

    is the mean of N(0, 1) between two quantiles. The value is the mean over directions, without a
    factor k: codes of mean m that are otherwise N(0, I) are at :math:`|m|^2 / k`. It is never
    negative, and perfect codes have a value above 0 that goes to 0 with n, near :math:`\log \log n
    / n`.

    Parameters
    ----------
    n_projections : int, default=50
        Number p of directions in one call.

    Shape
    -----
    (n, k) codes to a scalar, in float64 for float64 codes, else in float32, autocast or not.
    ``forward(z, rng)`` draws the directions with the rng, in float64 on its device;
    None is a generator of seed 0, the same directions each time. Never the global one.

    Raises
    ------
    ValueError
        If ``n_projections`` is below 1, or codes are not (n, k) with n, k >= 1.

    References
    ----------
    S. Kolouri, P. E. Pope, C. E. Martin, G. K. Rohde, "Sliced Wasserstein auto-encoders", ICLR
    2019; I. Deshpande, Z. Zhang, A. Schwing, "Generative modeling using the sliced Wasserstein
    distance", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from skvae.nn.divergences import SlicedWasserstein
    >>> rng = torch.Generator().manual_seed(0)
    >>> z = torch.randn(2000, 4, generator=rng)
    >>> bool(SlicedWasserstein()(z, rng) < 0.01)
    True
    >>> bool(abs(SlicedWasserstein(500)(z + 1, rng) - 1) < 0.2)
    True
    """

    def __init__(self, n_projections: int = 50) -> None:
        super().__init__()
        if n_projections < 1:
            raise ValueError(f"n_projections must be at least 1, got {n_projections!r}")
        self.n_projections = int(n_projections)

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Tensor:
        z = _codes(z)
        n, k = z.shape
        if rng is None:
            rng = torch.Generator(z.device).manual_seed(0)
        draws = torch.randn(
            self.n_projections, k, generator=rng, device=rng.device, dtype=torch.float64
        )
        directions = nn.functional.normalize(draws)
        cell_means, spread = _normal_cells(n, z.dtype, z.device)
        with _full_precision(z):
            projected = (directions.to(z) @ z.T).sort(dim=1).values
            return (projected - cell_means).square().mean() + spread

    def extra_repr(self) -> str:
        return f"n_projections={self.n_projections}"


def huber(distance: Tensor, delta: float) -> Tensor:
    """Huber distance sqrt(delta^2 + distance^2) - delta, accurate for a large delta too."""
    if delta == 0:
        return distance
    squared = distance * distance
    return squared / ((squared + delta * delta).sqrt() + delta)


def _codes(z: Tensor) -> Tensor:
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"z must be (n, k) with n, k >= 1, got shape {tuple(z.shape)}")
    return z if z.dtype == torch.float64 else z.float()


def _full_precision(z: Tensor) -> torch.autocast:
    """Outside autocast: bfloat16 would drown the differences that a distance is made of."""
    return torch.autocast(z.device.type, enabled=False)


def _last_axis(x: float | Tensor) -> float | Tensor:
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


def _checked_scales(kernel: str, scales: Sequence[float]) -> tuple[float, ...]:
    if kernel not in ("imq", "rbf"):
        raise ValueError(f'kernel must be "imq" or "rbf", got {kernel!r}')
    checked = tuple(float(s) for s in scales)
    if not checked or not all(math.isfinite(s) and s > 0 for s in checked):
        raise ValueError(f"scales must be finite and above 0, at least one, got {scales!r}")
    return checked


@lru_cache(maxsize=64)
def _prior_mixture(
    kernel: str,
    scales: tuple[float, ...],
    k: int,
    variance: float,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Rates a and weights w with E kernel(z - Z) = sum of w exp(-a |z|^2)."""
    with torch.inference_mode(False), torch.no_grad():  # cached, so never an inference tensor
        c = 2 * k * torch.tensor(scales, dtype=torch.float64, device="cpu")
        if kernel == "rbf":
            u, mass = 1 / c, torch.ones_like(c)
        else:
            # The grid ends where exp(-u C) does. It begins where the integrand is flat for all
            # |z|^2 below 1e6 (k + C), and the first node stands for all those before it too.
            step = 0.28 if dtype == torch.float64 else 0.5
            lowest = math.log(1e-12 / (k * variance + c.max().item()))
            highest = math.log(40 / c.min().item())
            count = math.ceil((highest - lowest) / step) + 1
            u = torch.exp(lowest + step * torch.arange(count, dtype=torch.float64, device="cpu"))
            mass = step * u * (c * torch.exp(-u[:, None] * c)).sum(1)
            mass[0] /= -math.expm1(-step)
        log_spread = torch.log1p(2 * variance * u)
        weight = mass * torch.exp(-0.5 * k * log_spread)
        seen = weight > 1e-18 * weight.max()
        rate = u * torch.exp(-log_spread)
        return rate[seen].to(device, dtype), weight[seen].to(device, dtype)


@lru_cache(maxsize=256)
def _expected_pair_kernel(kernel: str, scales: tuple[float, ...], k: int) -> float:
    origin = torch.zeros((), dtype=torch.float64, device="cpu")
    return expected_kernel(origin, k, kernel, scales, 2.0).item()


@lru_cache(maxsize=64)
def _normal_cells(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, float]:
    """Means of n equally likely cells of N(0, 1) in order, and the mean variance within them."""
    with torch.inference_mode(False), torch.no_grad():  # cached, so never an inference tensor
        edges = torch.arange(n + 1, dtype=torch.float64, device="cpu") / n
        density = torch.exp(-0.5 * torch.special.ndtri(edges).square()) / math.sqrt(2 * math.pi)
        means = -n * density.diff()
        return means.to(device, dtype), 1 - means.square().mean().item()
