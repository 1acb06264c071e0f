"""What is minimised, and by whom."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .model import Draw, Model
from .penalties import Penalty

Corruption = Callable[[Tensor, torch.Generator], Tensor]


@dataclass
class Player:
    """Who minimises what, how often in a round, and how fast."""

    losses: Callable[..., dict[str, Tensor]]  # (x, generator, progress) -> terms to add up
    parameters: list[nn.Parameter]
    steps: int = 1
    lr: float = 1.0  # relative to the trainer's rate
    beta1: float = 0.9  # of Adam; critics and their opponents forget faster


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Parameters to train, each once."""
    found = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
    return list(found.values())


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
    n_draws : int
        Draws of the code of each row.
    """

    def __init__(
        self,
        model: Model,
        penalties: Mapping[str, Penalty] | None = None,
        corrupt: Corruption | None = None,
        relative: bool = False,
        n_draws: int = 1,
    ):
        super().__init__()
        self.model = model
        self.penalties = nn.ModuleDict(penalties or {})
        self.corrupt = corrupt
        self.relative = relative
        self.n_draws = n_draws

    def draw(self, rows: Tensor, generator: torch.Generator | None, progress: float = 1.0) -> Draw:
        seen = None
        if self.corrupt is not None:
            seen = self.corrupt(self.model.split(rows)[0], generator)
        return self.model.draw(rows, generator, seen=seen, progress=progress, n_draws=self.n_draws)

    def terms(self, draw: Draw) -> dict[str, Tensor]:
        likelihood = self.model.likelihood
        loss = likelihood.relative_loss if self.relative else likelihood.loss
        found = {"reconstruction": loss(draw.p, draw.x)}
        for name, penalty in self.penalties.items():
            found[name] = penalty(draw, self.model)
        return found

    def losses(
        self, rows: Tensor, generator: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        """Named terms of the loss of a batch, each a mean over rows."""
        return self.terms(self.draw(rows, generator, progress))

    def calibrate(self, rows: Tensor, held_out: Tensor | None, generator: torch.Generator) -> None:
        """Set the noise of the likelihood: see `Model.calibrate`."""
        self.model.calibrate(rows, held_out, generator, learned=not self.relative)

    def finish(self, rows: Tensor, held_out: Tensor | None, generator: torch.Generator) -> None:
        """Set what follows from the trained weights: scale of codes, noise, the prior's parts."""
        self.model.standardise_codes(rows)
        self.calibrate(rows, held_out, generator)
        self.model.prior.settle(generator)

    def players(self) -> dict[str, Player]:
        """Who plays; the first player's losses are those of the model."""
        return {"model": Player(self.losses, parameters_of(self))}


class ImportanceWeighted(Objective):
    """The importance-weighted bound of log p(x) (Burda, Grosse & Salakhutdinov 2016).

    Minimises ``-log 1/L sum_l w_l`` with ``w_l = p(x | z_l) p(z_l) / q(z_l | x)`` over L draws.
    The terms are the means of -log p(x | z) under the normalised weights and what is left.
    """

    def terms(self, draw: Draw) -> dict[str, Tensor]:
        likelihood, prior = self.model.likelihood, self.model.prior
        p = likelihood.at_training_noise(draw.p, draw.x)
        shape = (self.n_draws, -1)
        log_p = p.log_likelihood(draw.x).reshape(shape)
        log_ratio = prior.log_prob(draw.z) - draw.q.log_likelihood(draw.z)
        log_weight = log_p + log_ratio.reshape(shape)  # (L, n)
        bound = (torch.logsumexp(log_weight, 0) - math.log(self.n_draws)).mean()
        share = torch.softmax(log_weight, 0)
        reconstruction = -(share * log_p).sum(0).mean()
        return {"reconstruction": reconstruction, "kl": -bound - reconstruction}
