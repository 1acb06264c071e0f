"""The networks that a description names, initialised."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..convolutions import Conv, ConvDecoder, ConvEncoder, SpectralConv
from ..networks import MLP, Linear, Network, SpectralLinear


class Layers:
    """Makes networks with the hidden layers of a model, one after another from one generator.

    Parameters
    ----------
    spec : dict
        Plain description: "hidden", "activation", "n_features" and, for images, "image_shape",
        "channels" and "residual".
    generator : torch.Generator
    """

    def __init__(self, spec: dict[str, Any], generator: torch.Generator):
        self.spec, self.generator = spec, generator

    def __call__(self, inputs: int, outputs: int, skip: bool = False) -> MLP:
        """Between codes, or from codes to numbers."""
        return self._ready(self._mlp([inputs, *self.spec["hidden"], outputs], skip))

    def from_rows(self, outputs: int, n_context: int = 0, skip: bool = False) -> Network:
        """From rows and their context."""
        spec = self.spec
        if spec["image_shape"] is None:
            return self(spec["n_features"] + n_context, outputs, skip)
        return self._ready(
            ConvEncoder(
                spec["image_shape"],
                spec["channels"],
                spec["hidden"],
                outputs,
                n_context,
                spec["activation"],
                skip,
                spec["residual"],
            )
        )

    def to_rows(
        self, inputs: int, outputs: int, skip: bool = False, spectral: bool = False
    ) -> Network:
        """To rows, or to several numbers for each feature, the first of all features first."""
        spec = self.spec
        linear, conv = (SpectralLinear, SpectralConv) if spectral else (Linear, Conv)
        widths = spec["hidden"][::-1]
        if spec["image_shape"] is None:
            return self._ready(self._mlp([inputs, *widths, outputs], skip, linear))
        return self._ready(
            ConvDecoder(
                inputs,
                spec["image_shape"],
                spec["channels"],
                widths,
                outputs // math.prod(spec["image_shape"]),
                spec["activation"],
                skip,
                spec["residual"],
                conv,
                linear,
            )
        )

    def _mlp(self, widths: list[int], skip: bool, layer: type[Linear] = Linear) -> MLP:
        return MLP(widths, self.spec["activation"], skip, layer)

    def _ready(self, network: Any) -> Any:
        network.initialise(self.generator)
        return network
