"""What is minimised, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .model import Model
from .penalties import Penalty

Corruption = Callable[[Tensor, torch.Generator], Tensor]


@dataclass
class Player:
    """Who minimises what, how often in a round, and how fast."""

    losses: Callable[..., dict[str, Tensor]]  # (x, generator, progress) -> terms to add up
    parameters: list[nn.Parameter]
    steps: int = 1
    lr: float = 1.0  # relative to the trainer's rate


class Objective(nn.Module):
    """Reconstruction plus penalties, one player for all parameters.

    Parameters
    ----------
    model : Model
    penalties : mapping of str to Penalty
        Named terms; `losses` returns them under these names, after "reconstruction".
    corrupt : callable, optional
        ``corrupt(x, generator)`` gives what the encoder sees instead of x.
    relative : bool
        Whether the reconstruction is the likelihood's loss without a unit.
    """

    def __init__(
        self,
        model: Model,
        penalties: Mapping[str, Penalty] | None = None,
        corrupt: Corruption | None = None,
        relative: bool = False,
    ):
        super().__init__()
        self.model = model
        self.penalties = nn.ModuleDict(penalties or {})
        self.corrupt = corrupt
        self.relative = relative

    def losses(
        self, x: Tensor, generator: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        """Named terms of the loss of a batch, each a mean over rows."""
        seen = x if self.corrupt is None else self.corrupt(x, generator)
        draw = self.model.draw(x, generator, seen=seen, progress=progress)
        likelihood = self.model.likelihood
        loss = likelihood.relative_loss if self.relative else likelihood.loss
        terms = {"reconstruction": loss(draw.p, x)}
        for name, penalty in self.penalties.items():
            terms[name] = penalty(draw, self.model)
        return terms

    def calibrate(
        self, rows: Tensor, held_out: Tensor | None, generator: torch.Generator | None
    ) -> None:
        """Set the noise of the likelihood: see `Model.calibrate`."""
        self.model.calibrate(rows, held_out, generator, learned=not self.relative)

    def players(self) -> dict[str, Player]:
        """By default one player that minimises the sum of `losses`."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return {"model": Player(self.losses, parameters)}
