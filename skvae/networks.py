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
        # The meta device draws no random numbers, so torch's global generator stays untouched.
        self.layers = nn.ModuleList(
            nn.Linear(a, b, device="meta") for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.skip: nn.Linear | None = None
        if skip and len(widths) > 2:
            self.skip = nn.Linear(widths[0], widths[-1], bias=False, device="meta")
        self.to_empty(device="cpu")

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """He's normal initialisation; biases and skip start at zero."""
        for i, layer in enumerate(self.layers):
            gain = math.sqrt(2.0) if i < len(self.layers) - 1 else 1.0
            layer.weight.normal_(0.0, gain / math.sqrt(layer.in_features), generator=generator)
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
        h = x
        for layer in self.layers[:-1]:
            h = act(layer(h))
        last = self.layers[-1]
        if self.skip is None:
            return last(h)
        return last(h) + self.skip(x)
