"""The only training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.optim.adam import adam

from .objectives import Objective, Player

_CHECK_STEPS = 64  # least steps between two checks of the state of the training
_MAX_RESTARTS = 6
_CALIBRATION_ROWS = 2048
_GATHERED = 1 << 22  # numbers that are shuffled at once
_WARMUP = 0.1  # share of the steps


@dataclass
class History:
    """Means of the loss terms, epoch by epoch."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    restarts: int = 0  # times that a non-finite loss was met
    converged: bool = False  # whether early stopping ended the training

    def add(self, terms: dict[str, float], loss: float) -> None:
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value)
        self.loss.append(loss)

    def cut(self, n_epochs: int) -> None:
        for values in (self.loss, *self.terms.values()):
            del values[n_epochs:]

    def is_finite(self, first_epoch: int) -> bool:
        curves = (self.loss, *self.terms.values())
        return all(math.isfinite(v) for values in curves for v in values[first_epoch:])


class Adam:
    """Fused Adam for one player (Kingma & Ba 2015), with clipping relative to usual gradients.

    A gradient longer than `clip` times the median length of the period before is shortened to
    that. Nothing is read back from the device within a period.
    """

    def __init__(self, player: Player, clip: float | None, weight_decay: float):
        self.player = player
        self.clip, self.weight_decay = clip, weight_decay
        parameters = player.parameters
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

    def step(self, loss: Tensor, lr: float) -> None:
        parameters = self.player.parameters
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.lengths.append(length)
        scale = None if self.limit == math.inf else (length / self.limit).clamp(min=1.0)
        with torch.no_grad():
            adam(
                parameters,
                list(gradients),
                self.first,
                self.second,
                [],
                self.steps,
                fused=True,
                grad_scale=scale,
                amsgrad=False,
                beta1=self.player.beta1,
                beta2=0.999,
                lr=lr * self.player.lr,
                weight_decay=self.weight_decay,
                eps=1e-8,
                maximize=False,
            )


_Copy = tuple[dict[str, Tensor], list[list[Tensor]]]
_NON_FINITE = (
    "the loss or its gradient was not finite again after {restarts} restarts, each at half the "
    "learning rate. Look for infinite or extremely large values in X, for a custom encoder or "
    "decoder that overflows, or lower learning_rate_init"
)


class NonFiniteLossError(FloatingPointError):
    """Training met NaN or infinity again and again."""


@dataclass
class Trainer:
    """Minimises an objective over in-memory rows.

    Batches and draws are a pure function of (seed, epoch). Rows are split into batches of nearly
    equal size, not a last small one. In an epoch every player passes over all rows, in an order of
    its own, as often as it has steps; players take turns batch by batch. The loss is that of the
    first. The rate grows linearly over the first
    tenth of the steps and falls linearly to zero, or stays constant with `decay=False`.

    At every check (the end of an epoch, at least 64 steps after the last check) the weights and
    the optimiser's state are copied; where losses or gradients since the last check were not
    finite, that copy is restored and the rate halved, at most six times.

    Parameters
    ----------
    batch_size, n_epochs : int
    lr : float
        Peak rate.
    decay : bool
    clip : float or None
        See `Adam`.
    weight_decay : float
    bfloat16 : bool
        Whether networks run in bfloat16 under autocast; losses stay in float32.
    patience, tol : int or None, float
        Early stopping on `validation` rows: after `patience` checks without an improvement of
        `tol`. The best weights are restored.
    on_epoch : callable, optional
        ``on_epoch(history) -> bool``, true to stop.
    """

    batch_size: int
    n_epochs: int
    lr: float
    seed: int
    decay: bool = True
    clip: float | None = 5.0
    weight_decay: float = 0.0
    bfloat16: bool = False
    patience: int | None = None
    tol: float = 1e-4
    on_epoch: Callable[[History], bool] | None = None
    optimisers: list[Adam] = field(default_factory=list)
    saved: list[tuple[list[Tensor], float]] = field(default_factory=list)  # states to go on from
    epoch: int = 0  # epochs seen in the life of the trainer, restarts not counted

    def states(self) -> list[tuple[list[Tensor], float]]:
        """What `saved` takes to go on uninterrupted."""
        return [(o.state(), o.limit) for o in self.optimisers] or self.saved

    def generator(self, device: torch.device, epoch: int) -> torch.Generator:
        return torch.Generator(device).manual_seed((self.seed * 1_000_003 + epoch) % (1 << 62))

    def batches(self, rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Shuffled batches; gathered many at a time, because one large gather is cheaper."""
        n = len(rows)
        n_batches = self.n_batches(n)
        order = torch.randperm(n, generator=generator, device=rows.device)
        bounds = [n * i // n_batches for i in range(n_batches + 1)]
        group = max(1, _GATHERED // max(1, self.batch_size * rows.shape[1]))
        for i in range(0, n_batches, group):
            edges = bounds[i : i + group + 1]
            gathered = rows[order[edges[0] : edges[-1]]]
            yield from gathered.split([b - a for a, b in zip(edges, edges[1:], strict=False)])

    def n_batches(self, n: int) -> int:
        return -(-n // self.batch_size)

    def rate(self, step: int, total: int) -> float:
        if not self.decay:
            return self.lr
        warm = max(1.0, _WARMUP * total)
        return self.lr * min((step + 1) / warm, (total - step) / max(1.0, total - warm))

    def fit(self, objective: Objective, rows: Tensor, validation: Tensor | None = None) -> History:
        """Train for `n_epochs` more epochs and leave the objective in evaluation mode."""
        players = list(objective.players().values())
        if not self.optimisers:
            self.optimisers = [Adam(p, self.clip, self.weight_decay) for p in players]
            for optimiser, (values, limit) in zip(self.optimisers, self.saved, strict=False):
                optimiser.load(values, limit)
            self.saved = []
        for optimiser, player in zip(self.optimisers, players, strict=True):
            optimiser.player, optimiser.clip = player, self.clip
            optimiser.weight_decay = self.weight_decay
        turns = [o for o in self.optimisers for _ in range(o.player.steps)]
        history = History()
        n_batches = self.n_batches(len(rows))
        total = self.n_epochs * n_batches
        slow = 1.0  # halved at every restart
        best: tuple[float, _Copy] | None = None
        waited = 0
        device = rows.device
        first_epoch = self.epoch
        copy = self._copy(objective)
        checked = 0  # epochs that the copy has seen
        own: list[str] = []  # terms of the first player
        objective.train()
        done = 0
        while done < self.n_epochs:
            generator = self.generator(device, first_epoch + done)
            logs: dict[str, list[Tensor]] = {}
            step = done * n_batches
            rounds = zip(*(self.batches(rows, generator) for _ in turns), strict=True)
            for batches in rounds:
                lr = slow * self.rate(step, total)
                progress = step / total if self.decay else 1.0  # further chunks have no end
                for x, optimiser in zip(batches, turns, strict=True):
                    with self._autocast(device):
                        terms = optimiser.player.losses(x, generator, progress)
                    optimiser.step(reduce(add, terms.values()), lr)
                    if optimiser is turns[0]:
                        own = list(terms)
                    for name, value in terms.items():
                        logs.setdefault(name, []).append(value.detach())
                step += 1
            done += 1
            self.epoch = first_epoch + done
            means = {name: float(torch.stack(v).mean()) for name, v in logs.items()}
            history.add(means, sum(means[name] for name in own))
            if (done - checked) * n_batches >= _CHECK_STEPS or done == self.n_epochs:
                finite = [o.end_period() for o in self.optimisers]
                if not (all(finite) and history.is_finite(checked)):
                    history.restarts += 1
                    self._restore(objective, copy)
                    if history.restarts > _MAX_RESTARTS:
                        objective.eval()
                        raise NonFiniteLossError(_NON_FINITE.format(restarts=_MAX_RESTARTS))
                    slow /= 2.0
                    done = checked
                    history.cut(done)
                    continue
                copy, checked = self._copy(objective), done
                if validation is not None and self.patience is not None:
                    loss = self.evaluate(objective, rows, validation)
                    objective.train()
                    history.validation.append(-loss)
                    waited += 1
                    if best is None or loss < best[0] - self.tol:
                        best, waited = (loss, copy), 0
                    if waited >= self.patience:
                        history.converged = True
            if self.on_epoch is not None and self.on_epoch(history):
                break
            if history.converged:
                break
        if best is not None:
            self._restore(objective, best[1])
        objective.eval()
        return history

    def evaluate(self, objective: Objective, rows: Tensor, validation: Tensor) -> float:
        """Mean loss of validation rows with the noise of (some of) the training rows."""
        objective.eval()
        generator = self.generator(rows.device, -1)
        objective.calibrate(rows[:: -(-len(rows) // _CALIBRATION_ROWS)], None, generator)
        total = 0.0
        with torch.no_grad(), self._autocast(rows.device):
            for x in validation.split(objective.model.chunk):
                total += len(x) * float(sum(objective.losses(x, generator).values()))
        return total / len(validation)

    def _autocast(self, device: torch.device):
        if not self.bfloat16:
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def _copy(self, objective: Objective) -> _Copy:
        state = {name: v.clone() for name, v in objective.state_dict().items()}
        return state, [[v.clone() for v in o.state()] for o in self.optimisers]

    def _restore(self, objective: Objective, copy: _Copy) -> None:
        objective.load_state_dict(copy[0])
        for optimiser, values in zip(self.optimisers, copy[1], strict=True):
            optimiser.load(values, optimiser.limit)
