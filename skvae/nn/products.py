"""Matrix products by the faster of two libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

_LARGE = 1 << 20  # multiplications from which oneDNN's product pays
_LARGE_RAGGED = 1 << 19  # the same where a weight's rows do not fill vectors: MKL is slow there
_LARGE_COPIED = 1 << 22  # the same where a factor has to be transposed and the result copied
_VECTOR = 16


@cache
def _other_library() -> Callable[..., Tensor] | None:
    """Return the product of float32 matrices by oneDNN, if it is faster, else None.

    torch uses MKL, which runs at half speed on AMD processors with 512-bit vectors.
    """
    try:
        vendor = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not (vendor and wide):
        return None
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    found = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return None if found is None else found.default


def _pays(x: Tensor, width: int, least: int = _LARGE) -> bool:
    """Whether a product of x (n, i) with `width` outputs goes to oneDNN."""
    return (
        x.numel() * width >= least
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and _other_library() is not None
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x weight' + bias`` of x (n, i) and weight (o, i)."""
    if _pays(x, weight.shape[0]):
        return _other_library()(x, weight, bias, "none", [], "")  # type: ignore[misc]
    return F.linear(x, weight, bias)


def product(g: Tensor, weight: Tensor) -> Tensor:
    """``g weight`` of g (n, o) and weight (o, i)."""
    width = weight.shape[1]
    if width < _VECTOR and g.device.type == "cpu":
        return torch.mm(weight.t(), g.t()).t()  # the long side last
    if _pays(g, width, _LARGE_RAGGED if width % _VECTOR else _LARGE):
        return _other_library()(g, weight.t(), None, "none", [], "")  # type: ignore[misc]
    return torch.mm(g, weight)


def weight_gradient(g: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """``g' x`` of g (n, o) and x (n, i)."""
    width = x.shape[1]
    found = None
    if g.dtype == torch.float32 and g.device.type == "cpu":
        other = _other_library()
        if other is not None and g.numel() * width >= _LARGE_COPIED and width % _VECTOR == 0:
            found = other(g.t(), x.t(), None, "none", [], "")
        elif other is not None and width % _VECTOR and g.shape[1] % _VECTOR == 0:
            found = torch.mm(x.t(), g).t()  # the long side last
    if found is None:
        return torch.mm(g.t(), x) if out is None else torch.mm(g.t(), x, out=out)
    return found.contiguous() if out is None else out.copy_(found)
