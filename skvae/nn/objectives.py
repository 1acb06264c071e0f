"""Objectives of the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from .batch import Batch
from .fused import fusible, is_fusible
from .model import ForwardPass, Gather, Model, own_codes
from .modules import ModuleDict
from .shared_penalties import Penalty
from .whole_pass import Corruption, Places, WholePass

__all__ = [
    "BaseObjective",
    "Corruption",
    "ImportanceWeighted",
    "Objective",
    "Turn",
    "parameters_of",
]

Masking = Callable[[Batch, torch.Generator | None], Batch]
Losses = Callable[[Batch, torch.Generator, float], dict[str, Tensor]]


@dataclass
class Turn:
    """One of several alternating updates: its losses, parameters, steps and learning rate."""

    losses: Losses  # (batch, rng, progress) -> terms to add up
    parameters: list[nn.Parameter]
    steps: int = 1
    lr: float = 1.0  # relative to the trainer's rate
    beta1: float = 0.9  # of Adam; critics and their opponents forget faster
    # (batch, rng, progress, places) -> terms, and the gradients of their sum in the places; or None
    # where the losses have to go through autograd
    gradients: Callable[..., dict[str, Tensor] | None] | None = None


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Parameters to train, each once."""
    found = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
    return list(found.values())


class BaseObjective(nn.Module):
    """Base class of objectives: named terms of the loss of a batch.

    Attributes
    ----------
    gather : callable
        Codes of all workers, given those of this worker; set by the trainer.
    relative : bool
        Whether the loss is dimensionless.
    """

    relative: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.gather: Gather = own_codes

    def losses(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        """Named terms of the loss of a batch, each a mean over rows."""
        raise NotImplementedError

    def turns(self) -> dict[str, Turn]:
        """Return the alternating updates; the losses of the first are those of the model."""
        return {"model": Turn(self.losses, parameters_of(self))}


class Objective(BaseObjective):
    """Reconstruction plus penalties, minimised over all parameters together.

    Parameters
    ----------
    model : Model
    penalties : mapping of str to Penalty
        Named terms; `losses` returns them under these names, after "reconstruction".
    corrupt : callable, optional
        ``corrupt(x, rng)`` returns the input of the encoder.
    relative : bool
        Whether the reconstruction term is the relative loss of the likelihood.
    n_draws : int
        Number of samples of the code of each row.

    Attributes
    ----------
    masking : callable or None
        ``masking(batch, rng)`` gives the batch with more cells hidden, in training: set by the fit.
    """

    model: Model

    def __init__(
        self,
        model: Model,
        penalties: Mapping[str, Penalty] | None = None,
        corrupt: Corruption | None = None,
        relative: bool = False,
        n_draws: int = 1,
    ):
        super().__init__()
        if "reconstruction" in (penalties or {}):
            raise ValueError(
                "a penalty cannot have the name 'reconstruction', which is a term of every loss: "
                "use another key in _penalties."
            )
        self.model = model
        self.penalties = ModuleDict(penalties or {})
        self.corrupt = corrupt
        self.relative = relative
        self.n_draws = n_draws
        self.masking: Masking | None = None
        self._whole: WholePass | None = None  # in training mode, of the usual model

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        fits = is_fusible(self.forward_pass) and is_fusible(self.terms) and is_fusible(self.losses)
        usual = mode and fits and not self.relative and self.n_draws == 1 and not self.masking
        self._whole = WholePass.of(self.model, dict(self.penalties.items())) if usual else None
        return self

    @fusible
    def forward_pass(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> ForwardPass:
        if self.masking is not None and self.training:
            batch = self.masking(batch, rng)
        seen = None if self.corrupt is None else self.corrupt(batch.x, rng)
        if seen is not None and batch.observed is not None:
            seen = seen * batch.observed  # hidden cells stay at 0
        done = self.model.forward_pass(
            batch, rng, seen=seen, progress=progress, n_draws=self.n_draws
        )
        return done._replace(gather=self.gather)

    @fusible
    def terms(self, done: ForwardPass) -> dict[str, Tensor]:
        """Named terms of the loss, given a pass."""
        likelihood = self.model.likelihood
        loss = likelihood.relative_loss if self.relative else likelihood.loss
        found = {"reconstruction": loss(done.p, done.batch)}
        for name, penalty in self.penalties.items():
            found[name] = penalty(done, self.model)
            if found[name].ndim:
                raise ValueError(
                    f"the penalty {name!r} has the shape {tuple(found[name].shape)}, but must be a "
                    "scalar: return the mean over the rows."
                )
        return found

    @fusible
    def losses(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        """Named terms of the loss of a batch, each a mean over rows."""
        return self.terms(self.forward_pass(batch, rng, progress))

    def gradients(
        self, batch: Batch, rng: torch.Generator | None, progress: float, places: Places
    ) -> dict[str, Tensor] | None:
        """`losses`, with gradients by hand where the model is the usual one: see `Turn`."""
        if self._whole is None or torch.is_autocast_enabled(batch.x.device.type):
            return None
        return self._whole.gradients(batch, self.corrupt, rng, progress, places)

    def calibrate(self, rows: Batch, held_out: Batch | None, rng: torch.Generator) -> None:
        """Set the noise of the likelihood: see `Model.calibrate`."""
        self.model.calibrate(rows, held_out, rng, learned=not self.relative)

    def rescale(self, rows: Batch) -> None:
        """Rescale codes to the prior, after a training and before the next."""
        self.model.standardise_codes(rows)

    def finalise(self, rows: Batch, held_out: Batch | None, rng: torch.Generator) -> None:
        """Set everything that follows from the trained weights, such as the noise."""
        self.calibrate(rows, held_out, rng)
        self.model.prior.finalise(rng, self.model)

    def turns(self) -> dict[str, Turn]:
        return {"model": Turn(self.losses, parameters_of(self), gradients=self.gradients)}


class ImportanceWeighted(Objective):
    """The importance-weighted bound of log p(x) (Burda, Grosse & Salakhutdinov 2016).

    Minimises ``-log 1/L sum_l w_l`` with ``w_l = p(x | z_l) p(z_l) / q(z_l | x)`` over L samples.
    The terms are the means of -log p(x | z) under the normalised weights, and the rest.
    """

    def terms(self, done: ForwardPass) -> dict[str, Tensor]:
        model, batch = self.model, done.batch
        p = model.likelihood.at_training_noise(done.p, batch)
        shape = (self.n_draws, -1)
        log_p = p.log_likelihood(batch.x, batch.observed).reshape(shape)
        log_ratio = model.prior.log_prob(done.z, model) - done.q.log_likelihood(done.z)
        log_weight = log_p + log_ratio.reshape(shape)  # (L, n)
        bound = (torch.logsumexp(log_weight, 0) - math.log(self.n_draws)).mean()
        share = torch.softmax(log_weight, 0)
        reconstruction = -(share * log_p).sum(0).mean()
        return {"reconstruction": reconstruction, "kl": -bound - reconstruction}
