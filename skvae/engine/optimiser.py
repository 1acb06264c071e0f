"""Adam for one of several alternating updates."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from functools import reduce
from operator import add

import torch
from torch import Tensor

from ..nn.batch import Batch
from ..nn.objectives import Turn
from .flat import Flat, flatten
from .workers import Workers

_BLOCK = 1024  # steps
_NOTHING = (
    "encoder or decoder have no trainable parameters: set them to None, or pass networks with "
    "parameters that require gradients."
)


class Values:
    """Numbers on a device, one for each step, stored in blocks.

    Thousands of small tensors, one for each step, would fragment the memory.
    """

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []
        self.n = 0

    def add(self, value: Tensor) -> None:
        place = self.n % _BLOCK
        if place == 0:
            self.blocks.append(torch.empty(_BLOCK, device=value.device))
        self.blocks[-1][place] = value
        self.n += 1

    def state(self) -> Tensor | None:
        """Return all of them, or None."""
        return torch.cat(self.blocks)[: self.n] if self.n else None

    def take(self) -> Tensor | None:
        """Return all of them, or None, and remove them."""
        found = self.state()
        self.blocks, self.n = [], 0
        return found

    def load(self, values: Tensor) -> None:
        """Continue from those of a state."""
        self.n = len(values)
        self.blocks = []
        for i in range(0, self.n, _BLOCK):
            part = values[i : i + _BLOCK]
            self.blocks.append(values.new_empty(_BLOCK))
            self.blocks[-1][: len(part)] = part


class Adam:
    """Fused Adam for one update (Kingma & Ba 2015), with clipping relative to typical gradients.

    A gradient whose norm exceeds `clip` times the median norm of the previous period is rescaled to
    that limit. Nothing is read from the device within a period.

    Moments and gradients lie as the parameters do in their `Flat` storage, so that a step is one
    call for each run of neighbours, and the length of the gradient that of one tensor.

    Parameters
    ----------
    turn : Turn
    clip : float or None
    weight_decay : float
    workers : Workers, optional
    flat : Flat, optional
        Storage that has the parameters, and those of other turns too.
    """

    def __init__(
        self,
        turn: Turn,
        clip: float | None,
        weight_decay: float,
        workers: Workers | None = None,
        flat: Flat | None = None,
    ):
        self.turn, self.clip, self.weight_decay = turn, clip, weight_decay
        self.workers = workers or Workers()
        self.limit = math.inf
        self.lengths = Values()
        parameters = turn.parameters
        if not parameters:
            raise ValueError(_NOTHING)
        flat = flatten(parameters) if flat is None else flat
        self.segments = flat.segments(parameters)
        self.gradients, self.slots = flat.like(parameters, self.segments)
        self.first_moments, self.first = flat.like(parameters, self.segments)
        self.second_moments, self.second = flat.like(parameters, self.segments)
        self.count = torch.zeros((), device=parameters[0].device)  # steps
        # of each parameter's gradient
        self.places = {id(p): s for p, s in zip(parameters, self.slots, strict=True)}

    def state(self) -> list[Tensor]:
        """Return the state needed to continue, in addition to the parameters and `limit`."""
        return [*self.first, *self.second, self.count]

    def load(self, values: list[Tensor], limit: float) -> None:
        """Continue from a state."""
        self.limit = limit
        for v, old in zip(self.state(), values, strict=True):
            if v.shape != old.shape:
                raise ValueError("the state of the optimisers belongs to other networks")
            v.copy_(old)

    def end_period(self) -> bool:
        """Set the limit from the norms since the last call; return whether all were finite."""
        lengths = self.lengths.take()
        if lengths is None:
            return True
        finite = bool(torch.isfinite(lengths).all())
        if finite and self.clip is not None:
            self.limit = max(self.clip * float(lengths.median()), 1e-30)
        return finite

    def step(
        self,
        batch: Batch,
        rng: torch.Generator,
        progress: float,
        lr: float,
        share: float = 1.0,
        context: AbstractContextManager[object] | None = None,
    ) -> dict[str, Tensor]:
        """Update the parameters by the gradient of the losses of a batch, and return the losses.

        `share` is this worker's part of the rows; losses are computed within `context`.
        """
        turn, terms = self.turn, None
        if turn.gradients is not None and context is None:
            terms = turn.gradients(batch, rng, progress, self.places)
        if terms is None:
            if context is None:
                terms = turn.losses(batch, rng, progress)
            else:
                with context:
                    terms = turn.losses(batch, rng, progress)
            self.differentiate(reduce(add, terms.values()))
        self.update(lr, share)
        return terms

    def differentiate(self, loss: Tensor) -> None:
        """Compute the gradients of a loss by autograd."""
        if not loss.requires_grad:
            raise ValueError(_NOTHING)
        found = torch.autograd.grad(loss, self.turn.parameters, materialize_grads=True)
        torch._foreach_copy_(self.slots, found)  # pyright: ignore[reportPrivateImportUsage]

    def update(self, lr: float, share: float = 1.0) -> None:
        """Update the parameters from the stored gradients."""
        gradients = self.gradients
        with torch.no_grad():
            self.workers.mean_(gradients, share)
            if len(gradients) == 1:
                flat = gradients[0].view(-1)
                length = torch.dot(flat, flat).sqrt_()  # faster than a norm
            else:
                norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
                length = torch.linalg.vector_norm(torch.stack(norms))
            self.lengths.add(length)
            scale = None if self.limit == math.inf else (length / self.limit).clamp_(min=1.0)
            self.count += 1.0
            torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
                self.segments,
                gradients,
                self.first_moments,
                self.second_moments,
                [],
                [self.count] * len(self.segments),
                lr=lr * self.turn.lr,
                beta1=self.turn.beta1,
                beta2=0.999,
                weight_decay=self.weight_decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
            )
