"""Adam, for one turn."""

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
    "encoder or decoder leave nothing to train: let them be None, or have parameters that require "
    "gradients."
)


class Values:
    """Numbers on a device, one for each step, in blocks.

    Thousands of tensors of one number each would lie between what comes and goes in a step, and
    keep that memory from being given back.
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
        """All of them; None where there are none."""
        return torch.cat(self.blocks)[: self.n] if self.n else None

    def take(self) -> Tensor | None:
        """All of them, which are forgotten; None where there were none."""
        found = self.state()
        self.blocks, self.n = [], 0
        return found

    def load(self, values: Tensor) -> None:
        """Go on from those of a state."""
        self.n = len(values)
        self.blocks = []
        for i in range(0, self.n, _BLOCK):
            part = values[i : i + _BLOCK]
            self.blocks.append(values.new_empty(_BLOCK))
            self.blocks[-1][: len(part)] = part


class Adam:
    """Fused Adam for one turn (Kingma & Ba 2015), with clipping relative to usual gradients.

    A gradient longer than `clip` times the median length of the period before is shortened to
    that. Nothing is read back from the device within a period.

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
        """What has to be kept, beside the parameters and `limit`, to go on uninterrupted."""
        return [*self.first, *self.second, self.count]

    def load(self, values: list[Tensor], limit: float) -> None:
        """Go on from a state."""
        self.limit = limit
        for v, old in zip(self.state(), values, strict=True):
            if v.shape != old.shape:
                raise ValueError("this model's optimisers are those of other networks")
            v.copy_(old)

    def end_period(self) -> bool:
        """Set the limit from the lengths since the last call; say whether all were finite."""
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
        """Move the parameters down the losses of a batch, which are returned.

        `share` is this worker's part of the rows; `context` is one in which the losses run.
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
        """Gradients of a loss, by autograd, to their places."""
        if not loss.requires_grad:
            raise ValueError(_NOTHING)
        found = torch.autograd.grad(loss, self.turn.parameters, materialize_grads=True)
        torch._foreach_copy_(self.slots, found)  # pyright: ignore[reportPrivateImportUsage]

    def update(self, lr: float, share: float = 1.0) -> None:
        """Move the parameters, the gradients being in their places."""
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
