"""Convolutional networks between codes and images flattened to rows.

A stage halves height and width, or doubles them, by a convolution of four by four pixels with
stride 2; between its stages and the codes a network has fully connected layers. Images of any size
are reconstructed in that size: the upsampling stages use the sizes of the downsampling stages.
Weights and activations lie in memory channels last, which is faster on the CPU and no slower
elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .modules import ModuleList
from .networks import ACTIVATIONS, MLP, Linear, Network

_KERNEL, _STRIDE, _PADDING = 4, 2, 1
_LAST = torch.channels_last


class Conv(nn.Module):
    """Convolution without initial weights: three by three at the same size, or a stage.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stage : {"same", "down", "up"}
    """

    least_gain = 0.0  # smallest factor of the initial weights

    def __init__(self, inputs: int, outputs: int, stage: str = "same"):
        super().__init__()
        self.stage = stage
        kernel = 3 if stage == "same" else _KERNEL
        pair = (inputs, outputs) if stage == "up" else (outputs, inputs)
        self.weight = nn.Parameter(torch.empty(*pair, kernel, kernel, memory_format=_LAST))
        self.bias = nn.Parameter(torch.empty(outputs))
        # inputs of an output: every other row and column for a transposed stage
        self.fan_in = inputs * (_KERNEL // _STRIDE if stage == "up" else kernel) ** 2

    @torch.no_grad()
    def initialise(self, rng: torch.Generator, gain: float = math.sqrt(2.0)) -> None:
        """Initialise by He's normal initialisation."""
        self.weight.normal_(0.0, gain / math.sqrt(self.fan_in), generator=rng)
        self.bias.zero_()

    def kernel(self) -> Tensor:
        return self.weight

    def forward(self, x: Tensor, odd: tuple[int, int] = (0, 0)) -> Tensor:
        """`odd` is by how much an upsampled image exceeds twice its height and width."""
        if self.stage == "same":
            return F.conv2d(x, self.kernel(), self.bias, padding=1)
        if self.stage == "down":
            return F.conv2d(x, self.kernel(), self.bias, _STRIDE, _PADDING)
        return F.conv_transpose2d(x, self.kernel(), self.bias, _STRIDE, _PADDING, odd)


class Residual(nn.Module):
    """``x + g(x)``, g two convolutions; the second starts at zero, so the block at the identity."""

    def __init__(self, channels: int, activation: str, conv: type[Conv] = Conv):
        super().__init__()
        self.activation = activation
        self.first, self.second = conv(channels, channels), conv(channels, channels)

    def initialise(self, rng: torch.Generator) -> None:
        self.first.initialise(rng)
        self.second.initialise(rng, self.second.least_gain)

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        change: Tensor = self.second(act(self.first(act(x))))
        return x + change


def stage_sizes(image_shape: Sequence[int], n_stages: int) -> list[tuple[int, int]]:
    """Return height and width before the first stage and after each stage."""
    sizes = [(image_shape[1], image_shape[2])]
    for _ in range(n_stages):
        sizes.append((sizes[-1][0] // _STRIDE, sizes[-1][1] // _STRIDE))
    return sizes


class ConvEncoder(Network):
    """Flattened images (..., d + C), the last C numbers a context, to numbers (..., out).

    ``out = top([stages(x), context]) + S [x, context] + b``, S only with `skip`.

    Parameters
    ----------
    image_shape : (channels, height, width)
    channels : sequence of int
        Channels after each stage.
    widths : sequence of int
        Widths of the fully connected layers after the stages.
    outputs, n_context : int
    activation : str
    skip : bool
    residual : bool
        Whether every stage is followed by a residual block.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        widths: Sequence[int],
        outputs: int,
        n_context: int = 0,
        activation: str = "silu",
        skip: bool = False,
        residual: bool = False,
    ):
        super().__init__()
        self.image_shape, self.activation = tuple(image_shape), activation
        self.n_pixels = math.prod(image_shape)
        self.in_features, self.out_features = self.n_pixels + n_context, outputs
        every = [image_shape[0], *channels]
        sizes = [h * w for h, w in stage_sizes(image_shape, len(channels))]
        self.widest = max(self.n_pixels, *(c * s for c, s in zip(channels, sizes[1:], strict=True)))
        self.stages = ModuleList(Conv(a, b, "down") for a, b in zip(every, channels, strict=False))
        self.blocks = ModuleList(Residual(c, activation) for c in channels if residual)
        self.top = MLP([every[-1] * sizes[-1] + n_context, *widths, outputs], activation)
        self.skip = Linear(self.in_features, outputs, bias=False) if skip else None

    def initialise(self, rng: torch.Generator) -> None:
        for stage in self.stages:
            stage.initialise(rng)
        for block in self.blocks:
            block.initialise(rng)
        self.top.initialise(rng)
        self._clear_skip()

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, damp: float = 0.1) -> None:
        last = self.top.layers[-1]
        last.weight.mul_(damp)
        last.offset().copy_(bias)
        self._linear_skip().weight.copy_(weight)

    @torch.no_grad()
    def absorb_outputs(self, scale: Tensor, shift: Tensor) -> None:
        self.top.absorb_outputs(scale, shift)
        if self.skip is not None:
            self.skip.weight.mul_(scale[:, None])

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        flat = x.reshape(-1, self.in_features)
        pixels, context = flat[:, : self.n_pixels], flat[:, self.n_pixels :]
        h = pixels.reshape(-1, *self.image_shape).contiguous(memory_format=_LAST)
        for i, stage in enumerate(self.stages):
            h = act(stage(h))
            if self.blocks:
                h = self.blocks[i](h)
        h = h.flatten(1)
        h = h if self.in_features == self.n_pixels else torch.cat([h, context], 1)
        out: Tensor = self.top(h)
        if self.skip is not None:
            out = out + self.skip(flat)
        return out.reshape(*x.shape[:-1], self.out_features)


class ConvDecoder(Network):
    """Numbers (..., i) to flattened images (..., copies * d), the mirror of a `ConvEncoder`.

    ``out = stages(bottom(z)) + S z + b``, S and b only with `skip`.

    Parameters
    ----------
    inputs : int
    image_shape : (channels, height, width)
    channels : sequence of int
        Channels of the stages in the order of the encoder, the largest image first.
    widths : sequence of int
        Widths of the fully connected layers before the stages.
    copies : int
        Number of images, such as means and log-variances.
    activation : str
    skip : bool
    residual : bool
        Whether every stage is preceded by a residual block.
    conv : type
        Kind of the convolutions.
    linear : type
        Kind of the fully connected layers.
    """

    def __init__(
        self,
        inputs: int,
        image_shape: Sequence[int],
        channels: Sequence[int],
        widths: Sequence[int],
        copies: int = 1,
        activation: str = "silu",
        skip: bool = False,
        residual: bool = False,
        conv: type[Conv] = Conv,
        linear: type[Linear] = Linear,
    ):
        super().__init__()
        self.activation = activation
        self.in_features, self.out_features = inputs, copies * math.prod(image_shape)
        every = [copies * image_shape[0], *channels][::-1]
        sizes = stage_sizes(image_shape, len(channels))[::-1]
        self.start = (every[0], *sizes[0])
        self.odd = [
            (b[0] - _STRIDE * a[0], b[1] - _STRIDE * a[1])
            for a, b in zip(sizes, sizes[1:], strict=False)
        ]
        area = [h * w for h, w in sizes]
        self.widest = max(c * s for c, s in zip(every, area, strict=True))
        self.bottom = MLP([inputs, *widths, math.prod(self.start)], activation, layer=linear)
        self.blocks = ModuleList(Residual(c, activation, conv) for c in every[:-1] if residual)
        self.stages = ModuleList(conv(a, b, "up") for a, b in zip(every, every[1:], strict=False))
        self.skip = Linear(inputs, self.out_features) if skip else None

    def initialise(self, rng: torch.Generator) -> None:
        self.bottom.initialise(rng)
        for block in self.blocks:
            block.initialise(rng)
        for stage in self.stages:
            stage.initialise(rng)
        self.stages[-1].initialise(rng, 1.0)
        self._clear_skip()

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, damp: float = 0.1) -> None:
        self.stages[-1].weight.mul_(damp)
        skip = self._linear_skip()
        skip.weight.copy_(weight)
        skip.offset().copy_(bias)

    @torch.no_grad()
    def absorb_inputs(self, scale: Tensor, shift: Tensor) -> None:
        self.bottom.absorb_inputs(scale, shift)
        if self.skip is not None:
            k = len(scale)
            self.skip.offset().add_(self.skip.weight[:, :k] @ shift)
            self.skip.weight[:, :k] *= scale

    def input_norms(self) -> Tensor:
        return self._joined_norms(self.bottom.layers[0])

    def forward(self, z: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        flat = z.reshape(-1, self.in_features)
        h = act(self.bottom(flat)).reshape(-1, *self.start).contiguous(memory_format=_LAST)
        last = len(self.stages) - 1
        for i, stage in enumerate(self.stages):
            if self.blocks:
                h = self.blocks[i](h)
            h = stage(h, self.odd[i])
            h = h if i == last else act(h)
        h = h.reshape(
            flat.shape[0], -1
        )  # `len` would fix the number of rows in an exported program
        if self.skip is not None:
            h = h + self.skip(flat)
        return h.reshape(*z.shape[:-1], self.out_features)
