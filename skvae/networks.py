"""Networks: tensors to tensors, nothing probabilistic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {
    "elu": F.elu,
    "gelu": F.gelu,
    "identity": lambda h: h,
    "logistic": torch.sigmoid,
    "relu": F.relu,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


class Linear(nn.Module):
    """``weight x + bias``, its values still to be set.

    torch's own layer draws its first values from the global generator.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class MLP(nn.Module):
    """Fully connected layers, with an optional linear skip from input to output.

    ``out = V h_L(x) + S x + b``, S only with `skip`. Parameters are empty until `initialise`.

    Parameters
    ----------
    widths : sequence of int
        Input width, hidden widths, output width.
    activation : str
        A name in `ACTIVATIONS`, applied to hidden layers.
    skip : bool
        Whether to add S x; without hidden layers there is nothing to skip.
    """

    def __init__(self, widths: Sequence[int], activation: str = "silu", skip: bool = False):
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(
            Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.skip: Linear | None = None
        if skip and len(widths) > 2:
            self.skip = Linear(widths[0], widths[-1], bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """He's normal initialisation; biases and skip start at zero."""
        for i, layer in enumerate(self.layers):
            gain = math.sqrt(2.0) if i < len(self.layers) - 1 else 1.0
            fan_in = layer.weight.shape[1]
            layer.weight.normal_(0.0, gain / math.sqrt(fan_in), generator=generator)
            layer.bias.zero_()
        if self.skip is not None:
            self.skip.weight.zero_()

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, damp: float = 0.1) -> None:
        """Start at the linear map ``weight x + bias`` (out, in), the other layers damped."""
        last = self.layers[-1]
        if self.skip is None and len(self.layers) > 1:
            raise ValueError("only a network with a skip can start at a linear map")
        target = last if self.skip is None else self.skip
        if self.skip is not None:
            last.weight.mul_(damp)
        target.weight.copy_(weight)
        last.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        *hidden, last = self.layers
        h = x
        for layer in hidden:
            h = act(F.linear(h, layer.weight, layer.bias))
        h = F.linear(h, last.weight, last.bias)
        return h if self.skip is None else h + F.linear(x, self.skip.weight)


def linearise(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (n, o) at x (n, i) and the rows' Jacobians, as columns (i, n, o).

    Forward derivatives by two backward passes: the product ``J' c`` is linear in c, so its own
    derivative along e_a is the column ``J e_a``. Unlike torch's forward mode this is safe in
    threads and loads no compiler.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        h = network(x)
        c = torch.zeros_like(h, requires_grad=True)
        (product,) = torch.autograd.grad(h, x, c, create_graph=True)  # (n, i)
        columns = [
            torch.autograd.grad(product[:, a].sum(), c, retain_graph=True)[0]
            for a in range(x.shape[1])
        ]
    return h.detach(), torch.stack(columns)
