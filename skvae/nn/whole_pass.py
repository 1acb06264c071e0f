"""Losses of the usual model and their gradients, computed without autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .batch import Batch
from .fused import EvidenceBound, is_fusible
from .model import Model
from .shared_penalties import Penalty
from .shares import normal_like

Corruption = Callable[[Tensor, torch.Generator | None], Tensor]
Places = Mapping[int, Tensor]  # where gradients go, by id of the parameter


class WholePass:
    """Encoder, sampling of codes, decoder, likelihood and KL term as one function of parameters.

    The usual model has networks that are functions of their parameters, a normal posterior, a
    likelihood that is a function of means and rows, and one penalty, the KL term in closed form.
    Parts are usual if they have an `operation`, their methods were not replaced, and no hook is
    registered.
    """

    def __init__(self, model: Model, name: str, penalty: Penalty, operation: EvidenceBound):
        self.model, self.name, self.penalty, self.operation = model, name, penalty, operation
        self.width = model.encoder.head.width // 2
        self.tensors = [t for network in model.networks for t in network.tensors()]
        self._plan: tuple[Places, list[bool], list[Tensor | None]] | None = None
        self._one = torch.ones((), device=self.tensors[0].device)

    @classmethod
    def of(cls, model: Model, penalties: Mapping[str, Penalty]) -> WholePass | None:
        """Return the pass of a model in training mode, or None if it is not the usual one."""
        if not model.has_encoder or len(penalties) != 1 or model.n_masks or _is_watched(model):
            return None
        ((name, penalty),) = penalties.items()
        encoder, decoder = model.networks
        head, likelihood = model.encoder.head, model.likelihood
        methods: list[Any] = [model.forward_pass, likelihood.loss, penalty.forward]
        modules = (model.encoder, encoder, head, model.decoder, decoder, likelihood)
        methods += [module.forward for module in modules]
        methods += [model.encode, model.decode, model.encoder.outputs, model.decoder.outputs]
        methods += [model.prior.kl]
        # what the marked methods of normal heads and Gaussian likelihoods call
        methods += [getattr(head, "normal", None), getattr(likelihood, "mean_of", None)]
        if not all(is_fusible(method) for method in methods):
            return None
        first, second, bounds = encoder.operation, decoder.operation, head.log_variance_bounds
        kl, loss = penalty.kl_operation(model), likelihood.operation
        if first is None or second is None or bounds is None or kl is None or loss is None:
            return None
        if not (encoder.tensors_stay and decoder.tensors_stay):
            return None
        sizes = len(encoder.tensors()), len(decoder.tensors())
        bounded = bool(likelihood.mean_bounds)
        operation = EvidenceBound(first, second, sizes, kl, loss, bounds, bounded)
        return cls(model, name, penalty, operation)

    def gradients(
        self,
        batch: Batch,
        corrupt: Corruption | None,
        rng: torch.Generator | None,
        progress: float,
        places: Places,
    ) -> dict[str, Tensor] | None:
        """Terms of the loss; the gradients of their sum are written to `places`.

        Returns None, without using random numbers, if the places are of other parameters, or if
        values are missing.
        """
        likelihood = self.model.likelihood
        if self._plan is None or self._plan[0] is not places:
            inputs = *self.tensors, *likelihood.tensors(), *likelihood.mean_bounds
            out = [None] * 4 + [places.get(id(t)) for t in inputs]
            self._plan = places, [place is not None for place in out], out
        _, needed, out = self._plan
        if batch.observed is not None or sum(needed) != len(places):
            return None
        with torch.no_grad():
            tensors = self._inputs(batch, corrupt, rng)
            (loss, kl), saved = self.operation.forward(tensors)
            share = self.penalty.weighted(self._one, progress)
            self.operation.backward((self._one, share), tensors, saved, needed, out)
            return {"reconstruction": loss, self.name: self.penalty.weighted(kl, progress)}

    def _inputs(
        self, batch: Batch, corrupt: Corruption | None, rng: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        likelihood, x = self.model.likelihood, batch.x
        seen = batch if corrupt is None else batch._replace(x=corrupt(x, rng))
        noise = normal_like(x.new_empty(batch.n_rows, self.width), rng)
        context = x[:, :0] if batch.context is None else batch.context
        of_likelihood = *likelihood.tensors(), *likelihood.mean_bounds
        return seen.inputs, x, noise, context, *self.tensors, *of_likelihood


def _is_watched(module: nn.Module) -> bool:
    return any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in module.modules()
    )
