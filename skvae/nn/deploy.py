"""A fitted model as two modules in the units of X, for use outside of this package."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _InUnits(nn.Module):
    """A network and the scaling of rows, ``x = location + scale u``; it shares the weights.

    Parameters
    ----------
    network : Module
        Encoder or decoder of a model, on standardised rows u.
    location, scale : Tensors of shape (d,)
    """

    location: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, location: Tensor, scale: Tensor):
        super().__init__()
        weight = next(network.parameters())
        self.network = network
        self.register_buffer("location", location.to(weight.device, weight.dtype))
        self.register_buffer("scale", scale.to(weight.device, weight.dtype))


class RowsToCodes(_InUnits):
    """The encoder: rows (n, d) in the units of X to codes (n, k), the posterior mean.

    ``forward(x, context=None)``; a model of rows given labels takes them one-hot as the context.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = (x - self.location) / self.scale
        if context is not None:
            inputs = torch.cat([inputs, context], -1)
        mean: Tensor = self.network(inputs).mean
        return mean


class CodesToRows(_InUnits):
    """The decoder: codes (n, k) to mean rows (n, d) in the units of X.

    ``forward(z, context=None)``; a model of rows given labels takes them one-hot as the context.
    """

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        mean: Tensor = self.network(z, context).mean
        return mean * self.scale + self.location
