"""Deterministic networks from tensors to tensors."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import fused
from .fused import Layers, fusible, run, unfused
from .modules import ModuleList

ACTIVATIONS = {name: activation.plain for name, activation in fused.ACTIVATIONS.items()}

_TINY = 1e-30
_lending = threading.Lock()


@contextmanager
def lend_global_generator(seed: int) -> Iterator[None]:
    """Context with a seeded global generator, for code that supports no other, with a lock."""
    with _lending:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)


def as_float(a: Any) -> Tensor:
    """An array in float32."""
    return torch.tensor(a, dtype=torch.float32)


def full(h: Tensor) -> Tensor:
    """Numbers of an autocast network in float32, others as they are."""
    return h.float() if h.dtype == torch.bfloat16 else h


class Linear(nn.Module):
    """Linear layer ``weight x + bias`` without initial weights.

    torch's own layer is initialised from the global generator.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    @torch.no_grad()
    def initialise(self, rng: torch.Generator, gain: float = 1.0) -> None:
        """He's normal initialisation."""
        fan_in = self.weight.shape[1]
        self.weight.normal_(0.0, gain / math.sqrt(fan_in), generator=rng)
        if self.bias is not None:
            self.bias.zero_()

    def offset(self) -> nn.Parameter:
        """The bias of a layer that has one."""
        if self.bias is None:
            raise ValueError("this layer has no bias")
        return self.bias

    is_plain = True  # whether `matrix` is the parameter itself

    def matrix(self) -> Tensor:
        """The weight (o, i) that inputs are multiplied by."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.matrix(), self.bias)


class Network(nn.Module):
    """Base class of networks with access to the first and last layers.

    Attributes
    ----------
    in_features, out_features : int
    widest : int
        Width of the largest layer.
    skip : Linear or None
        Linear skip connection from input to output.
    """

    in_features: int
    out_features: int
    widest: int
    skip: Linear | None
    operation: Layers | None = (
        None  # the network as a function of rows and `tensors()`, if it is one
    )

    def tensors(self) -> list[Tensor]:
        """Return the inputs of `operation` in addition to rows."""
        raise NotImplementedError

    @property
    def tensors_stay(self) -> bool:
        """Whether `tensors` gives the same parameters at every call."""
        return False

    def initialise(self, rng: torch.Generator) -> None:
        """He's normal initialisation; biases and skip start at zero."""
        raise NotImplementedError

    @property
    def is_linear(self) -> bool:
        """Return whether outputs are linear in inputs."""
        return False

    @property
    def can_start_linear(self) -> bool:
        """Return whether `start_linear` can be called."""
        return self.skip is not None

    @property
    def can_absorb(self) -> bool:
        """Return whether `absorb_inputs` and `absorb_outputs` can be called."""
        return True

    def start_linear(self, weight: Tensor, bias: Tensor, damp: float = 0.1) -> None:
        """Initialise at the linear map ``weight x + bias`` (out, in), with other layers damped."""
        raise NotImplementedError

    def _linear_skip(self) -> Linear:
        """The skip, which must be there."""
        if self.skip is None:
            raise ValueError(
                "only a network with a linear skip connection can start at a linear map"
            )
        return self.skip

    @torch.no_grad()
    def _clear_skip(self) -> None:
        if self.skip is not None:
            for parameter in self.skip.parameters():
                parameter.zero_()

    def absorb_inputs(self, scale: Tensor, shift: Tensor) -> None:
        """Change the network f to ``f(scale x + shift)``; inputs beyond `scale` (k,) stay."""
        raise NotImplementedError

    def absorb_outputs(self, scale: Tensor, shift: Tensor) -> None:
        """Change the network f to ``scale f(x) + shift``, both (o,)."""
        raise NotImplementedError

    def input_norms(self) -> Tensor:
        """Return the norms (i,) of the weights of each input."""
        raise NotImplementedError

    def _joined_norms(self, first: Linear) -> Tensor:
        square = first.weight.square().sum(0)
        if self.skip is not None:
            square = square + self.skip.weight.square().sum(0)
        return square.clamp(min=_TINY).sqrt()  # the root has no slope at 0


class MLP(Network):
    """Fully connected network with an optional linear skip connection.

    ``out = V h_L(x) + S x + b``, S only with `skip`. Parameters are empty until `initialise`.

    Parameters
    ----------
    widths : sequence of int
        Input width, hidden widths, output width.
    activation : str
        A name in `ACTIVATIONS`, applied to hidden layers.
    skip : bool
        Whether to add S x; not used without hidden layers.
    layer : type
        Kind of the layers.
    """

    operation: Layers

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "silu",
        skip: bool = False,
        layer: type[Linear] = Linear,
    ):
        super().__init__()
        self.activation = activation
        self.in_features, self.out_features, self.widest = widths[0], widths[-1], max(widths)
        self.layers = ModuleList(layer(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.skip = None
        if skip and len(widths) > 2:
            self.skip = Linear(widths[0], widths[-1], bias=False)
        self.operation = Layers(  # pyright: ignore[reportIncompatibleVariableOverride]
            activation, self.skip is not None
        )

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        for i, layer in enumerate(self.layers):
            gain = math.sqrt(2.0) if i < len(self.layers) - 1 else 1.0
            layer.initialise(rng, gain)
        self._clear_skip()

    @property
    def is_linear(self) -> bool:
        return len(self.layers) == 1

    @property
    def can_start_linear(self) -> bool:
        return self.skip is not None or self.is_linear

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, damp: float = 0.1) -> None:
        last = self.layers[-1]
        target = last if self.is_linear else self._linear_skip()
        if target is not last:
            last.weight.mul_(damp)
        target.weight.copy_(weight)
        last.offset().copy_(bias)

    @fusible
    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return run(self.operation, x, *self.tensors())[0]
        return self.operation.plain(x, *self.tensors())[0]

    @property
    def tensors_stay(self) -> bool:
        return all(layer.is_plain for layer in self.layers)

    def tensors(self) -> list[Tensor]:
        pairs = [(layer.matrix(), layer.bias) for layer in self.layers]
        found = [t for pair in pairs for t in pair if t is not None]
        return found if self.skip is None else [*found, self.skip.weight]

    @torch.no_grad()
    def absorb_inputs(self, scale: Tensor, shift: Tensor) -> None:
        k = len(scale)
        first, last = self.layers[0], self.layers[-1]
        first.offset().add_(first.weight[:, :k] @ shift)
        first.weight[:, :k] *= scale
        if self.skip is not None:
            last.offset().add_(self.skip.weight[:, :k] @ shift)
            self.skip.weight[:, :k] *= scale

    @torch.no_grad()
    def absorb_outputs(self, scale: Tensor, shift: Tensor) -> None:
        last = self.layers[-1]
        last.weight.mul_(scale[:, None])
        last.offset().mul_(scale).add_(shift)
        if self.skip is not None:
            self.skip.weight.mul_(scale[:, None])

    def input_norms(self) -> Tensor:
        return self._joined_norms(self.layers[0])


class CustomNetwork(Network):
    """Custom module of the user, of which only inputs and outputs are known.

    Parameters
    ----------
    module : Module
        Maps (n, in_features) to (n, out_features).
    in_features, out_features : int
    """

    is_custom = True

    def __init__(self, module: nn.Module, in_features: int, out_features: int):
        super().__init__()
        self.module = module
        self.in_features, self.out_features, self.widest = in_features, out_features, 1
        self.skip = None

    def initialise(self, rng: torch.Generator) -> None:
        """Do nothing: the module has weights."""

    @property
    def can_absorb(self) -> bool:
        return False

    def input_norms(self) -> Tensor:
        """Not known: 1."""
        return torch.ones(self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        try:
            found: Tensor = self.module(x)
        except ValueError as error:  # layers that normalise batches take no single row
            raise ValueError(
                f"the custom encoder or decoder fails on {len(x)} rows: choose another batch_size. "
                f"({error})"
            ) from error
        return found.to(x.dtype)  # whatever it computes in


def jvp(network: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """Jacobian of the network at x (n, i) times directions (n, i), as (n, o), differentiable.

    The product ``c' J`` is linear in c, so its derivative along `direction` is ``J direction``.
    """
    with torch.enable_grad(), unfused():
        x = x if x.requires_grad else x.detach().requires_grad_()
        h = network(x)
        c = torch.zeros_like(h, requires_grad=True)
        (product,) = torch.autograd.grad(h, x, c, create_graph=True)  # (n, i)
        (image,) = torch.autograd.grad((product * direction).sum(), c, create_graph=True)
    return image


def jacobian(network: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (n, o) at x (n, i) and the rows' Jacobians, as columns (i, n, o).

    Forward derivatives by two backward passes: the product ``J' c`` is linear in c, so its own
    derivative along e_a is the column ``J e_a``. Unlike torch's forward mode this is safe in
    threads and loads no compiler.
    """
    with torch.enable_grad(), unfused():
        x = x.detach().requires_grad_()
        h = network(x)
        c = torch.zeros_like(h, requires_grad=True)
        (product,) = torch.autograd.grad(h, x, c, create_graph=True)  # (n, i)
        columns = [
            torch.autograd.grad(product[:, a].sum(), c, retain_graph=True)[0]
            for a in range(x.shape[1])
        ]
    return h.detach(), torch.stack(columns)
