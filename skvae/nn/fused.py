"""Networks and losses as single autograd nodes with hand-written backward passes.

An `Operation` is a function of tensors with its own backward pass. `run` uses one autograd node if
possible, and otherwise the `plain` form with ordinary torch operations: without gradients, under
autocast, in functional transforms and forward mode, and if a graph is traced or exported. Second
derivatives are exact: if the backward pass is itself differentiated, the node recomputes its plain
form.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from .products import linear, product, weight_gradient
from .shares import batch_mean

_LOG_2PI = math.log(2.0 * math.pi)

_local = threading.local()


# -- activations -----------------------------------------------------------------------------------
_aten = torch.ops.aten


class Activation(NamedTuple):
    """Elementwise function with its backward pass.

    Attributes
    ----------
    plain : callable
        The function.
    forward : callable
        ``h -> (kept, a)``: the value a, and what `back` needs in addition. h may be overwritten.
    back : callable
        ``(g, kept, a)`` -> gradient of the input, given that of the value, which is overwritten.
    """

    plain: Callable[[Tensor], Tensor]
    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    back: Callable[[Tensor, Tensor, Tensor], Tensor]


_elu_back = _aten.elu_backward.grad_input
_gelu_back = _aten.gelu_backward.grad_input
_sigmoid_back = _aten.sigmoid_backward.grad_input
_silu_back = _aten.silu_backward.grad_input
_softplus_back = _aten.softplus_backward.grad_input
_relu_back = _aten.threshold_backward.grad_input
_tanh_back = _aten.tanh_backward.grad_input
_clamp_back = _aten.hardtanh_backward.grad_input


def _keeping_input(
    function: Callable[[Tensor], Tensor],
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda h: (h, function(h))


def _in_place(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def forward(h: Tensor) -> tuple[Tensor, Tensor]:
        a = function(h)
        return a, a

    return forward


def _identity(h: Tensor) -> tuple[Tensor, Tensor]:
    return h, h


ACTIVATIONS: dict[str, Activation] = {
    "elu": Activation(
        F.elu,
        _keeping_input(F.elu),
        lambda g, h, a: _elu_back(g, 1.0, 1.0, 1.0, False, h, grad_input=g),
    ),
    "gelu": Activation(
        F.gelu, _keeping_input(F.gelu), lambda g, h, a: _gelu_back(g, h, grad_input=g)
    ),
    "identity": Activation(lambda h: h, _identity, lambda g, h, a: g),
    "logistic": Activation(
        torch.sigmoid,
        _in_place(torch.sigmoid_),
        lambda g, _, a: _sigmoid_back(g, a, grad_input=g),
    ),
    "relu": Activation(
        F.relu, _in_place(torch.relu_), lambda g, _, a: _relu_back(g, a, 0, grad_input=g)
    ),
    "silu": Activation(
        F.silu, _keeping_input(F.silu), lambda g, h, a: _silu_back(g, h, grad_input=g)
    ),
    "softplus": Activation(
        F.softplus,
        _keeping_input(F.softplus),
        lambda g, h, a: _softplus_back(g, h, 1.0, 20.0, grad_input=g),
    ),
    "tanh": Activation(
        torch.tanh, _in_place(torch.tanh_), lambda g, _, a: _tanh_back(g, a, grad_input=g)
    ),
}


@cache
def _number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a constant () as a tensor: a number would be converted at every use."""
    return torch.full((), value, dtype=dtype, device=device)


def _like(value: float, x: Tensor) -> Tensor:
    return _number(value, x.dtype, x.device)


@cache
def _beyond(bounds: tuple[float, float], dtype: torch.dtype) -> tuple[float, float]:
    """Return the nearest numbers outside: hardtanh has no gradient at its bounds, clamp has."""
    ends = torch.tensor([-math.inf, math.inf], dtype=dtype)
    low, high = torch.nextafter(torch.tensor(bounds, dtype=dtype), ends).tolist()
    return low, high


Method = TypeVar("Method", bound=Callable[..., Any])


def fusible(method: Method) -> Method:
    """Mark a method that is equivalent to the `operation` of its class.

    A hand-written pass does not call these methods, so all of them have to be marked.
    """
    method.fusible = True  # type: ignore[attr-defined]
    return method


def is_fusible(method: Any) -> bool:
    """Return whether a method is marked by `fusible`."""
    return getattr(method, "fusible", False)


# -- nodes -----------------------------------------------------------------------------------------
Tensors = tuple[Tensor, ...]


class Operation:
    """Function of tensors with a hand-written backward pass."""

    def plain(self, *inputs: Tensor) -> Tensors:
        """Return outputs by ordinary operations."""
        raise NotImplementedError

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        """Return outputs, and what `backward` needs in addition to inputs; without gradients."""
        raise NotImplementedError

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> Sequence[Tensor | None]:
        """Return gradients of (at least the `needed`) inputs, given those of the outputs.

        Gradients of parameters are written to `out`, if it has a place for them.
        """
        raise NotImplementedError


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: Operation, *inputs: Tensor) -> Tensors:
        outputs, saved = operation.forward(inputs)
        ctx.operation, ctx.saved = operation, saved
        ctx.save_for_backward(*inputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, saved, needed = ctx.saved_tensors, ctx.saved, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return (None, *_differentiable(ctx.operation, gradients, inputs, needed))
        nowhere = [None] * len(needed)
        return (None, *ctx.operation.backward(gradients, inputs, saved, needed, nowhere))


def _differentiable(
    operation: Operation, gradients: Tensors, inputs: Tensors, needed: Sequence[bool]
) -> list[Tensor | None]:
    """Return gradients that can be differentiated again."""
    outputs = operation.plain(*inputs)
    chosen = [x for x, wanted in zip(inputs, needed, strict=True) if wanted]
    found = iter(
        torch.autograd.grad(outputs, chosen, gradients, create_graph=True, allow_unused=True)
    )
    return [next(found) if wanted else None for wanted in needed]


@contextmanager
def unfused() -> Iterator[None]:
    """Context in which all operations use their plain form, cheaper for second derivatives."""
    before = getattr(_local, "unfused", False)
    _local.unfused = True
    try:
        yield
    finally:
        _local.unfused = before


def can_fuse(x: Tensor) -> bool:
    """Return whether a node can replace ordinary operations on x."""
    return (
        torch.is_grad_enabled()
        and x.is_floating_point()
        and not torch.is_autocast_enabled(x.device.type)
        and not getattr(_local, "unfused", False)
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and forward_ad._current_level < 0
        and not torch._C._are_functorch_transforms_active()
    )


def run(operation: Operation, *inputs: Tensor) -> Tensors:
    """Return the outputs of an operation, by one node if possible."""
    if can_fuse(inputs[0]) and all(x.dtype == inputs[0].dtype for x in inputs):
        found: Tensors = _Node.apply(operation, *inputs)  # type: ignore[no-untyped-call]
        return found
    return operation.plain(*inputs)


# -- networks --------------------------------------------------------------------------------------
class Layers(Operation):
    """Fully connected layers: ``V a(... a(W x + b) ...) + c``, plus ``S x`` with `skip`.

    Inputs are x (n, i), then weight and bias of every layer, then S.
    """

    def __init__(self, activation: str, skip: bool):
        self.activation, self.skip = activation, skip

    def n_saved(self, parameters: Tensors) -> int:
        """Return the number of tensors that `forward` keeps: two for every hidden layer."""
        return len(parameters) - self.skip - 2

    def plain(self, *inputs: Tensor) -> Tensors:
        x, *parameters = inputs
        act = ACTIVATIONS[self.activation].plain
        last = len(parameters) - 2 - self.skip
        h = x
        for i in range(0, last, 2):
            h = act(F.linear(h, parameters[i], parameters[i + 1]))
        h = F.linear(h, parameters[last], parameters[last + 1])
        return (h + F.linear(x, parameters[-1]) if self.skip else h,)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        act = ACTIVATIONS[self.activation].forward
        x = h = inputs[0]
        saved: list[Tensor] = []
        last = len(inputs) - 2 - self.skip
        for i in range(1, last, 2):
            kept, h = act(linear(h, inputs[i], inputs[i + 1]))
            saved += (kept, h)
        h = linear(h, inputs[last], inputs[last + 1])
        if self.skip:
            h += linear(x, inputs[-1], None)
        return (h,), tuple(saved)

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> list[Tensor | None]:
        found: list[Tensor | None] = [None] * len(inputs)
        back = ACTIVATIONS[self.activation].back
        (g,) = gradients
        x = inputs[0]
        last = len(inputs) - 2 - self.skip
        if self.skip and needed[-1]:
            found[-1] = weight_gradient(g, x, out[-1])
        whole = g
        for i in range(last, 0, -2):
            j = i - 3  # of what the layer before has kept
            h = x if i == 1 else saved[j + 1]
            if needed[i]:
                found[i] = weight_gradient(g, h, out[i])
            if needed[i + 1]:
                place = out[i + 1]
                found[i + 1] = torch.sum(g, 0) if place is None else torch.sum(g, 0, out=place)
            if i > 1:
                g = back(product(g, inputs[i]), saved[j], h)
        if needed[0]:
            g = product(g, inputs[1])
            if self.skip:
                g += product(whole, inputs[-1])
            found[0] = g
        return found


# -- posteriors ------------------------------------------------------------------------------------
class NormalDraw(Operation):
    """``z = mean + noise exp(log_variance / 2)``, all (n, k)."""

    def plain(self, *inputs: Tensor) -> Tensors:
        mean, log_variance, noise = inputs
        return (torch.addcmul(mean, noise, torch.exp(0.5 * log_variance)),)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        mean, log_variance, noise = inputs
        moved = noise * torch.exp(0.5 * log_variance)
        return (mean + moved,), (moved,)

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, ...]:
        (g,), (moved,) = gradients, saved
        noise = g * moved / inputs[2] if needed[2] else None
        return g, (g * moved).mul_(0.5), noise


class NormalKL(Operation):
    """KL of normal rows to N(0, I), mean over rows, of mean and log_variance (n, k).

    ``sum_j max(1/2 mean_i (m_ij^2 + v_ij - 1 - log v_ij), free)``.
    """

    def __init__(self, free: float = 0.0):
        self.free = free

    def plain(self, *inputs: Tensor) -> Tensors:
        mean, log_variance = inputs
        return (self.value(mean, log_variance, torch.expm1(log_variance))[0],)

    def value(
        self, mean: Tensor, log_variance: Tensor, excess: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The kl, and which coordinates (k,) are above the free bits; `excess` is v - 1."""
        twice = torch.addcmul(excess - log_variance, mean, mean)  # (n, k)
        if not self.free:
            return twice.sum() * _like(0.5 / mean.shape[0], mean), None
        each = batch_mean(twice.mean(0))
        return 0.5 * each.clamp(min=2.0 * self.free).sum(), each >= 2.0 * self.free

    def forward(self, inputs: Tensors, std: Tensor | None = None) -> tuple[Tensors, Tensors]:
        """Given the standard deviations too, where they are at hand."""
        mean, log_variance = inputs
        if std is None:
            excess = torch.expm1(log_variance)
        else:
            excess = torch.addcmul(_like(-1.0, std), std, std)
        kl, counts = self.value(mean, log_variance, excess)
        return (kl,), (excess,) if counts is None else (excess, counts)

    def share(self, g: Tensor, n: int, saved: Tensors) -> Tensor:
        """Gradient of the kl times 1/n, () or for each coordinate (k,)."""
        share = g * _like(1.0 / n, g)
        return share * saved[1] if self.free else share

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, ...]:
        mean = inputs[0]
        share = self.share(gradients[0], mean.shape[0], saved)
        return mean * share, saved[0] * (share * _like(0.5, share))


# -- likelihoods -----------------------------------------------------------------------------------
class FeatureNoise(Operation):
    """Mean over rows of -log N(x; mean, v), ``v_j = exp(2 s_j) + floor``.

    Inputs are mean and x (n, d), and s (d,).
    """

    def __init__(self, floor: float):
        self.floor = floor

    def plain(self, *inputs: Tensor) -> Tensors:
        mean, x, log_std = inputs
        r = (x - mean).square().mean(0)  # (d,)
        v = torch.exp(2.0 * log_std) + self.floor
        return (0.5 * ((torch.log(v) + r / v).sum() + x.shape[1] * _LOG_2PI),)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        mean, x, log_std = inputs
        residual = mean - x
        learned = (log_std + log_std).exp_()
        v = learned + _like(self.floor, x)
        total_v = v * _like(x.shape[0], x)
        ratio = (residual * residual).sum(0).div_(total_v)
        total = torch.log(v).add_(ratio).sum()
        loss = torch.add(_like(0.5 * x.shape[1] * _LOG_2PI, x), total, alpha=0.5)
        return (loss,), (residual, learned, v, total_v, ratio)

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, ...]:
        (g,), (residual, learned, v, total_v, ratio) = gradients, saved
        mean = residual * (g / total_v)
        log_std = None
        if needed[2]:
            share = learned / v
            log_std = torch.mul(torch.addcmul(share, share, ratio, value=-1.0), g, out=out[2])
        return mean, (-mean if needed[1] else None), log_std


class ScalarNoise(Operation):
    """``d/2 log(2 pi e (r + floor))``, r the mean squared difference of mean and x, both (n, d)."""

    def __init__(self, floor: float):
        self.floor = floor

    def plain(self, *inputs: Tensor) -> Tensors:
        mean, x = inputs
        d = x.shape[1]
        r = batch_mean((x - mean).square().mean())
        return (0.5 * d * (torch.log(r + self.floor) + (1.0 + _LOG_2PI)),)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        mean, x = inputs
        residual = mean - x
        flat = residual.reshape(-1)
        v = batch_mean(torch.dot(flat, flat) / x.numel()) + self.floor
        return (0.5 * x.shape[1] * (torch.log(v) + (1.0 + _LOG_2PI)),), (residual, v)

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, ...]:
        (g,), (residual, v) = gradients, saved
        mean = residual * (g / (v * len(residual)))
        return mean, -mean if needed[1] else None


class KnownNoise(Operation):
    """Mean over rows of -log N(x; mean, exp(log_variance)), the noise (d,) or (n, d)."""

    def plain(self, *inputs: Tensor) -> Tensors:
        mean, x, log_variance = inputs
        square = (x - mean).square()
        if log_variance.ndim > 1:
            total = (square * torch.exp(-log_variance) + (log_variance + _LOG_2PI)).sum(-1).mean()
        else:
            total = (square @ torch.exp(-log_variance)).mean() + (log_variance + _LOG_2PI).sum()
        return (0.5 * total,)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        mean, x, log_variance = inputs
        residual = mean - x
        scaled = residual * torch.exp(-log_variance)
        per_row = 1.0 if log_variance.ndim == 1 else 1.0 / len(x)
        total = (
            torch.dot(residual.reshape(-1), scaled.reshape(-1)) / len(x)
            + log_variance.sum() * per_row
        )
        return (0.5 * total + 0.5 * x.shape[1] * _LOG_2PI,), (residual, scaled)

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, ...]:
        (g,), (residual, scaled) = gradients, saved
        share = g * (1.0 / len(residual))
        mean = scaled * share
        noise = None
        if needed[2]:
            each = torch.addcmul(share, residual, mean, value=-1.0).mul_(0.5)
            noise = each if inputs[2].ndim > 1 else each.sum(0)
        return mean, (-mean if needed[1] else None), noise


class NetworkNoise(Operation):
    """Mean over rows of -log N(x; m, v), ``v = exp(l) + floor``, l within bounds.

    Inputs are m and l side by side (n, 2 d), and x (n, d).
    """

    def __init__(self, floor: float, bounds: tuple[float, float]):
        self.floor, self.bounds = floor, bounds

    def plain(self, *inputs: Tensor) -> Tensors:
        h, x = inputs
        mean, raw = h.chunk(2, -1)
        log_variance = torch.log(raw.clamp(*self.bounds).exp() + self.floor)
        return KnownNoise().plain(mean, x, log_variance)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        h, x = inputs
        mean, raw = h.chunk(2, -1)
        learned = raw.clamp(*self.bounds).exp_()
        v = learned + _like(self.floor, x)
        residual = mean - x
        scaled = residual / v
        total = torch.dot(residual.reshape(-1), scaled.reshape(-1)) + torch.log(v).sum()
        loss = total * _like(0.5 / len(x), x) + _like(0.5 * x.shape[1] * _LOG_2PI, x)
        return (loss,), (raw, residual, scaled, learned.div_(v))

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, ...]:
        (g,), (raw, residual, scaled, share) = gradients, saved
        n, d = raw.shape
        each = g * _like(1.0 / n, raw)
        whole = torch.empty(n, 2 * d, dtype=raw.dtype, device=raw.device)
        of_mean, of_noise = whole[:, :d], whole[:, d:]
        torch.mul(scaled, each, out=of_mean)
        excess = torch.addcmul(_like(1.0, raw), residual, scaled, value=-1.0)
        torch.mul(excess.mul_(share), each * _like(0.5, raw), out=of_noise)
        _clamp_back(of_noise, raw, *_beyond(self.bounds, raw.dtype), grad_input=of_noise)
        return whole, (-of_mean if needed[1] else None)


# -- a whole pass ----------------------------------------------------------------------------------
class EvidenceBound(Operation):
    """Encoder, sampling of codes, KL, decoder and likelihood of the usual model: two outputs.

    Outputs are the likelihood's loss and the kl, both (). Inputs are what the encoder sees
    (n, i), the rows (n, d), normal noise (n, k), the context of the codes (n, c), c = 0 if there is
    none; parameters of encoder, decoder and likelihood; with `bounded` also low (d,) and span ().

    Parameters
    ----------
    encoder, decoder : Layers
        The encoder's outputs are means and log-variances, side by side.
    sizes : (int, int)
        How many parameters encoder and decoder have.
    kl : NormalKL
    loss : Operation
        Of what the decoder gives, rows and the likelihood's parameters.
    bounds : (float, float)
        Of the log-variances.
    bounded : bool
        Whether means are ``low + span * sigmoid(h)``.
    """

    def __init__(
        self,
        encoder: Layers,
        decoder: Layers,
        sizes: tuple[int, int],
        kl: NormalKL,
        loss: Operation,
        bounds: tuple[float, float],
        bounded: bool,
    ):
        self.encoder, self.decoder, self.kl, self.loss = encoder, decoder, kl, loss
        self.first, self.second = 4 + sizes[0], 4 + sum(sizes)
        self.bounds, self.bounded = bounds, bounded

    def _parts(self, inputs: Tensors) -> tuple[Tensors, Tensors, Tensors, Tensors]:
        """Parameters of encoder, decoder and likelihood, and the bounds of the means."""
        end = len(inputs) - 2 * self.bounded
        first, second = self.first, self.second
        return inputs[4:first], inputs[first:second], inputs[second:end], inputs[end:]

    def plain(self, *inputs: Tensor) -> Tensors:
        seen, x, noise, context = inputs[:4]
        encoder, decoder, likelihood, bounds = self._parts(inputs)
        mean, raw = self.encoder.plain(seen, *encoder)[0].chunk(2, -1)
        log_variance = raw.clamp(*self.bounds)
        (z,) = NormalDraw().plain(mean, log_variance, noise)
        (h,) = self.decoder.plain(torch.cat([z, context], -1), *decoder)
        if self.bounded:
            h = torch.addcmul(bounds[0], torch.sigmoid(h), bounds[1])
        return *self.loss.plain(h, x, *likelihood), *self.kl.plain(mean, log_variance)

    def forward(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        seen, x, noise, context = inputs[:4]
        encoder, decoder, likelihood, bounds = self._parts(inputs)
        (h,), encoded = self.encoder.forward((seen, *encoder))
        mean, raw = h.chunk(2, -1)
        log_variance = raw.clamp(*self.bounds)
        std = (log_variance * _like(0.5, h)).exp_()
        (kl,), of_kl = self.kl.forward((mean, log_variance), std)
        moved = std.mul_(noise)
        z = mean + moved
        if context.shape[1]:
            z = torch.cat([z, context], -1)
        (y,), decoded = self.decoder.forward((z, *decoder))
        squashed: Tensors = ()
        if self.bounded:
            squashed = (torch.sigmoid_(y),)
            y = torch.addcmul(bounds[0], y, bounds[1])
        (loss,), lost = self.loss.forward((y, x, *likelihood))
        kept = (mean, raw, moved, z, *of_kl, *encoded, *decoded, *squashed, *lost)
        return (loss, kl), kept

    def backward(
        self,
        gradients: Tensors,
        inputs: Tensors,
        saved: Tensors,
        needed: Sequence[bool],
        out: Sequence[Tensor | None],
    ) -> list[Tensor | None]:
        encoder, decoder, likelihood, bounds = self._parts(inputs)
        mean, raw, moved, z = saved[:4]
        i = 5 + bool(self.kl.free)
        j = i + self.encoder.n_saved(encoder)
        k = j + self.decoder.n_saved(decoder)
        m = k + self.bounded
        n_likelihood = len(likelihood)
        end = self.second + n_likelihood
        g, _, *of_likelihood = self.loss.backward(
            gradients[:1],
            (mean, inputs[1], *likelihood),  # the losses ask for the number of rows alone
            saved[m:],
            (True, False, *needed[self.second : end]),
            (None, None, *out[self.second : end]),
        )
        g = cast(Tensor, g)  # needed, so it is there
        if self.bounded:
            g = g * bounds[1]
            g = _sigmoid_back(g, saved[k], grad_input=g)
        g, *of_decoder = self.decoder.backward(
            (g,),
            (z, *decoder),
            saved[j:k],
            (True, *needed[self.first : self.second]),
            (None, *out[self.first : self.second]),
        )
        assert g is not None
        n, width = mean.shape
        if g.shape[1] > width:
            g = g[:, :width]
        share = self.kl.share(gradients[1], n, saved[4:i])
        whole = torch.empty(n, 2 * width, dtype=g.dtype, device=g.device)
        of_mean, of_variance = whole[:, :width], whole[:, width:]
        torch.addcmul(g, mean, share, out=of_mean)
        scaled = saved[4] * (share * _like(0.5, share))
        torch.addcmul(scaled, g, moved, value=0.5, out=of_variance)
        _clamp_back(of_variance, raw, *_beyond(self.bounds, raw.dtype), grad_input=of_variance)
        of_seen, *of_encoder = self.encoder.backward(
            (whole,),
            (inputs[0], *encoder),
            saved[i:j],
            (needed[0], *needed[4 : self.first]),
            (None, *out[4 : self.first]),
        )
        rest = [None] * (2 * self.bounded)
        return [of_seen, None, None, None, *of_encoder, *of_decoder, *of_likelihood, *rest]
