"""Building models from their description: networks, likelihoods, devices."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from ..nn.categorical import Softmax
from ..nn.convolutions import Conv, ConvDecoder, ConvEncoder
from ..nn.heads import Head
from ..nn.likelihoods import Bernoulli, Bounds, Gaussian, Likelihood, Noiseless, Product
from ..nn.model import ConditionalDistribution, Model
from ..nn.networks import MLP, Linear, Network, lend_global_generator
from ..nn.networks import CustomNetwork as Wrapped
from ..tables.schema import Schema
from .method import Method
from .settings import CustomNetwork, ModelSpec, NetworkSettings

N = TypeVar("N", bound=Network)


class NetworkFactory:
    """Factory of initialised networks with the hidden layers of a model.

    Parameters
    ----------
    spec : ModelSpec
    rng : torch.Generator
    initialises : bool
        Whether networks are initialised; otherwise their weights have to be set.
    """

    def __init__(self, spec: ModelSpec, rng: torch.Generator, initialises: bool = True):
        self.spec, self.rng, self.initialises = spec, rng, initialises

    def mlp(self, inputs: int, outputs: int, skip: bool = False) -> MLP:
        """Make a network between codes, or from codes to numbers."""
        return self._ready(self._mlp([inputs, *self.spec.hidden, outputs], skip))

    def from_rows(self, outputs: int, n_context: int = 0, skip: bool = False) -> Network:
        """Make a network from rows and their context."""
        spec = self.spec
        if spec.image_shape is None:
            return self.mlp(spec.n_features + n_context + spec.n_masks, outputs, skip)
        return self._ready(
            ConvEncoder(
                spec.image_shape,
                spec.channels,
                spec.hidden,
                outputs,
                n_context,
                spec.activation,
                skip,
                spec.residual,
            )
        )

    def to_rows(
        self,
        inputs: int,
        outputs: int,
        skip: bool = False,
        linear: type[Linear] = Linear,
        conv: type[Conv] = Conv,
    ) -> Network:
        """Make a network to rows, or to several numbers for each feature, grouped by number."""
        spec = self.spec
        widths = spec.hidden[::-1]
        if spec.image_shape is None:
            return self._ready(self._mlp([inputs, *widths, outputs], skip, linear))
        return self._ready(
            ConvDecoder(
                inputs,
                spec.image_shape,
                spec.channels,
                widths,
                outputs // math.prod(spec.image_shape),
                spec.activation,
                skip,
                spec.residual,
                conv,
                linear,
            )
        )

    def _mlp(self, widths: list[int], skip: bool, layer: type[Linear] = Linear) -> MLP:
        return MLP(widths, self.spec.activation, skip, layer)

    def _ready(self, network: N) -> N:
        if self.initialises:
            network.initialise(self.rng)
        return network


def build(
    method: Method, spec: ModelSpec, networks: NetworkSettings, schema: Schema, seed: int | None
) -> Model:
    """Build a model from its description, initialised from the seed, on the CPU, in float32.

    With seed None, its weights have to be set.
    """
    factory = NetworkFactory(spec, torch.Generator(), seed is not None)
    seed = seed or 0
    rng = factory.rng.manual_seed(seed)
    likelihood = method._make_likelihood(spec, schema, build_likelihood(spec, schema))
    head = method._make_head(spec, rng)
    encoder = None if head is None else _encoder(spec, networks, factory, head, seed)
    inputs = method._code_width(spec) + spec.n_context
    if networks.decoder is None:
        decoder = method._make_decoder(spec, factory, inputs, likelihood.width)
    else:
        decoder = custom_network(networks.decoder, inputs, likelihood.width, seed, "decoder")
    auxiliary = method._make_auxiliary(spec, factory)
    prior = method._make_prior(spec, factory, rng)
    return Model(
        encoder, ConditionalDistribution(decoder, likelihood), prior, auxiliary, spec.n_masks
    )


def _encoder(
    spec: ModelSpec, networks: NetworkSettings, factory: NetworkFactory, head: Head, seed: int
) -> ConditionalDistribution[Head]:
    if networks.encoder is None:
        network = factory.from_rows(head.width, spec.n_context, spec.linear_skip)
    else:
        inputs = spec.n_inputs
        network = custom_network(networks.encoder, inputs, head.width, seed, "encoder")
    return ConditionalDistribution(network, head)


def build_likelihood(spec: ModelSpec, schema: Schema) -> Likelihood:
    """Build p(x | z), in the units of the schema."""
    scale = torch.tensor(schema.scale[schema.layout.numbers], dtype=torch.float64)
    bounds = None
    if spec.bounded:  # of one scale
        location = torch.tensor(schema.location, dtype=torch.float64)
        bounds = Bounds((-location / scale).float(), (1.0 / scale[0]).float())
    if spec.likelihood == "noiseless":
        return Noiseless(spec.n_features, bounds)
    if spec.likelihood == "bernoulli":
        assert bounds is not None
        return Bernoulli(spec.n_features, bounds)
    variance = None
    if spec.noise_variance is not None:
        variance = (spec.noise_variance / scale.square()).float()
    if not spec.classes:
        return Gaussian(spec.n_features, spec.noise, spec.noise_floor, variance, bounds)
    classes = Softmax(spec.classes)
    if not len(scale):
        return classes
    return Product([Gaussian(len(scale), spec.noise, spec.noise_floor, variance), classes])


def custom_network(
    given: CustomNetwork, inputs: int, outputs: int, seed: int, name: str
) -> Network:
    """Return a copy of the user's module, or the result of the user's factory, after a test run."""
    if isinstance(given, nn.Module):
        network = copy.deepcopy(given)
    else:
        _check_factory(given, name)
        with lend_global_generator(seed):  # a factory may use it
            network = copy.deepcopy(given(inputs, outputs))
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"{name} must be a torch.nn.Module or a factory that returns one, but the result "
                f"was a {type(network).__name__}."
            )
    if any(t.is_meta for t in (*network.parameters(), *network.buffers())):
        raise ValueError(
            f"{name} has weights on device='meta', which have no values: move it to another device."
        )
    network = network.float().cpu()
    wanted = f"{name} must map (n, {inputs}) to (n, {outputs})"
    with torch.enable_grad():
        try:
            found = network.eval()(torch.zeros(2, inputs, requires_grad=True))
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"{wanted} (it raised: {error})") from error
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"{wanted} as one tensor, but returned a {type(found).__name__}.")
    shape = tuple(found.shape)
    if shape != (2, outputs):
        raise ValueError(f"{wanted}, but returned the shape {shape} for 2 rows.")
    if not found.requires_grad:
        raise ValueError(
            f"{wanted} by differentiable operations: freeze weights with requires_grad_(False), "
            "and not with no_grad() or detach()."
        )
    return Wrapped(network.train(), inputs, outputs)


def _check_factory(given: Callable[[int, int], nn.Module], name: str) -> None:
    try:
        inspect.signature(given).bind(1, 1)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be a torch.nn.Module or a factory f(in_features, out_features) that "
            f"returns one, got {given!r}. ({error})"
        ) from error


def resolve_device(device: str, fallback: bool = False) -> torch.device:
    """Return the device of a name; with `fallback`, the CPU if it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved).cpu()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:
        if fallback:
            return torch.device("cpu")
        reason = str(error).partition(" This could be because")[0]  # a list of operators follows
        raise ValueError(f"device={device!r} cannot be used here. ({reason})") from error
    return resolved
