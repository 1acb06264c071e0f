"""Adam, for one turn."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.adam import adam

from ..nn.objectives import Turn
from .workers import Workers


class Adam:
    """Fused Adam for one turn (Kingma & Ba 2015), with clipping relative to usual gradients.

    A gradient longer than `clip` times the median length of the period before is shortened to
    that. Nothing is read back from the device within a period.

    Parameters
    ----------
    turn : Turn
    clip : float or None
    weight_decay : float
    workers : Workers, optional
    """

    def __init__(
        self, turn: Turn, clip: float | None, weight_decay: float, workers: Workers | None = None
    ):
        self.turn = turn
        self.clip, self.weight_decay = clip, weight_decay
        self.workers = workers or Workers()
        parameters = turn.parameters
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]
        self.limit = math.inf
        self.lengths: list[Tensor] = []

    def state(self) -> list[Tensor]:
        """What has to be kept, beside the parameters and `limit`, to go on uninterrupted."""
        return [*self.first, *self.second, *self.steps]

    def load(self, values: list[Tensor], limit: float) -> None:
        """Go on from a state."""
        self.limit = limit
        for v, old in zip(self.state(), values, strict=True):
            v.copy_(old)

    def end_period(self) -> bool:
        """Set the limit from the lengths since the last call; say whether all were finite."""
        if not self.lengths:
            return True
        lengths = torch.stack(self.lengths)
        self.lengths.clear()
        finite = bool(torch.isfinite(lengths).all())
        if finite and self.clip is not None:
            self.limit = max(self.clip * float(lengths.median()), 1e-30)
        return finite

    def step(self, loss: Tensor, lr: float, share: float = 1.0) -> None:
        """Move the parameters; `share` is this worker's part of the rows of the batch."""
        parameters: list[Tensor] = [*self.turn.parameters]
        gradients = list(torch.autograd.grad(loss, parameters, materialize_grads=True))
        self.workers.mean_(gradients, share)
        norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        length = torch.linalg.vector_norm(torch.stack(norms))
        self.lengths.append(length)
        scale = None if self.limit == math.inf else (length / self.limit).clamp(min=1.0)
        with torch.no_grad():
            adam(
                parameters,
                gradients,
                self.first,
                self.second,
                [],
                self.steps,
                fused=True,
                grad_scale=scale,
                amsgrad=False,
                beta1=self.turn.beta1,
                beta2=0.999,
                lr=lr * self.turn.lr,
                weight_decay=self.weight_decay,
                eps=1e-8,
                maximize=False,
            )
