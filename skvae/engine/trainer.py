"""The only training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor

from ..nn.batch import Batch
from ..nn.model import own_codes
from ..nn.objectives import Objective
from ..nn.shares import Share, sharing
from .batches import BatchSource
from .flat import flatten, release
from .optimiser import Adam, Values
from .selection import bounded, log_densities, lowest_that_counts
from .workers import Workers

_CHECK_STEPS = 64  # least steps between two checks of the state of the training
_MAX_RESTARTS = 6
_CALIBRATION_ROWS = 2048
_WARMUP = 0.1  # share of the steps
_WATCHED_ROWS = 256  # of a training at a constant rate
_LEAST_RISE, _LEAST_RELATIVE_RISE = 1.0, 0.02  # in nats, and as a share of the variance


@dataclass
class History:
    """Means of the loss terms, epoch by epoch."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)  # scores, at every check
    restarts: int = 0  # times that a non-finite loss was met
    converged: bool = False  # whether early stopping ended the training
    interrupted: bool = False  # whether the user did

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


_NON_FINITE = (
    f"the loss or its gradient was not finite again after {_MAX_RESTARTS} restarts, each at half "
    "the learning rate. Look for infinite or extremely large values in X, for a custom encoder or "
    "decoder that overflows, or lower learning_rate_init"
)


_RISING = (
    f"training on these rows X raised their loss, and did so after {_MAX_RESTARTS} restarts, each "
    "at half the learning rate: lower learning_rate_init, or begin with rows in which no column is "
    "constant, or has far smaller values"
)


class TrainingDivergedError(FloatingPointError):
    """Training met NaN, infinity or a steep rise of the loss again and again."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training.

    Attributes
    ----------
    batch_size, n_epochs : int
    lr : float
        Peak rate.
    decay : bool
        Whether the rate grows linearly over the first tenth of the steps and falls linearly to
        zero, or stays constant.
    clip : float or None
        See `Adam`.
    weight_decay : float
    bfloat16 : bool
        Whether networks run in bfloat16 under autocast; losses stay in float32.
    patience, tol : int or None, float
        Early stopping on held-out rows: after `patience` checks without an improvement of `tol`.
        The best weights are restored.
    max_rise : float or None
        Largest share by which the loss of the rows may rise over the training; at its end it has
        to be finite, too. None does not look.
    by_density : bool
        Whether early stopping looks at the log-density of held-out rows, and not at their loss.
    """

    batch_size: int
    n_epochs: int
    lr: float
    decay: bool = True
    clip: float | None = 5.0
    weight_decay: float = 0.0
    bfloat16: bool = False
    patience: int | None = None
    tol: float = 1e-4
    max_rise: float | None = None
    by_density: bool = False

    def rate(self, step: int, total: int) -> float:
        """Learning rate of a step."""
        if not self.decay:
            return self.lr
        warm = max(1.0, _WARMUP * total)
        return self.lr * min((step + 1) / warm, (total - step) / max(1.0, total - warm))


@dataclass
class TrainState:
    """What a training has to keep, beside the weights, to go on uninterrupted.

    Attributes
    ----------
    seed : int
        Batches and draws are a pure function of it and the epoch.
    epoch : int
        Epochs done, restarts not counted.
    optimisers : list of (list of Tensor, float)
        Moments and clipping limit of each optimiser.
    """

    seed: int
    epoch: int = 0
    optimisers: list[tuple[list[Tensor], float]] = field(default_factory=list)

    def rng(self, device: torch.device | str, epoch: int) -> torch.Generator:
        return torch.Generator(device).manual_seed((self.seed * 1_000_003 + epoch) % (1 << 62))


_Weights = dict[str, Tensor]


class _Copies:
    """Weights and optimiser states of an objective, as they once were."""

    def __init__(self, objective: Objective, optimisers: list[Adam]):
        self.weights: _Weights = {name: v.clone() for name, v in objective.state_dict().items()}
        self.moments = [[v.clone() for v in o.state()] for o in optimisers]

    def restore(self, objective: Objective, optimisers: list[Adam]) -> None:
        objective.load_state_dict(self.weights)
        for optimiser, values in zip(optimisers, self.moments, strict=True):
            optimiser.load(values, optimiser.limit)


class Trainer:
    """Minimises an objective over rows.

    In an epoch every optimiser passes over all rows, in an order of its own, as often as it has
    steps; they take turns batch by batch. The loss is that of the first.

    At every check (the end of an epoch, at least 64 steps after the last check) the weights and
    the optimisers' states are copied; where losses or gradients since the last check were not
    finite, that copy is restored and the rate halved, at most six times. So it is where the loss
    at the end is too high: see `TrainConfig.max_rise`. A KeyboardInterrupt restores the copy too
    and ends the training, if there was a check and there are no other workers.

    Parameters
    ----------
    config : TrainConfig
    workers : Workers, optional
    """

    def __init__(self, config: TrainConfig, workers: Workers | None = None):
        self.config = config
        self.workers = workers or Workers()

    def run(
        self,
        objective: Objective,
        state: TrainState,
        source: BatchSource,
        held_out: Batch | None = None,
        on_epoch: Callable[[History], bool] | None = None,
    ) -> History:
        """Train for `n_epochs` more epochs and leave the objective in evaluation mode.

        Parameters
        ----------
        objective : Objective
        state : TrainState
            Where the training stands; moved on.
        source : BatchSource
        held_out : Batch, optional
            Rows for early stopping.
        on_epoch : callable, optional
            ``on_epoch(history) -> bool``, true to stop.

        Returns
        -------
        history : History
        """
        run = _Run(self, objective, state, source, held_out)
        try:
            run.epochs(on_epoch)
        except KeyboardInterrupt:
            if not run.checked or self.workers.size > 1:  # others stand elsewhere
                raise
            run.go_back()
            run.history.interrupted = True
        finally:
            objective.eval()
        run.finish()
        return run.history

    def evaluate(
        self, objective: Objective, state: TrainState, source: BatchSource, held_out: Batch
    ) -> float:
        """Mean loss of held-out rows with the noise of (some of) the training rows.

        Or the mean of their -log p(x): see `TrainConfig.by_density`.
        """
        was_training = objective.training
        objective.eval()
        if self.config.by_density:
            scores = log_densities(objective.model, held_out)
            found = -float(bounded(scores, lowest_that_counts(scores)).mean())
        else:
            found = self._loss(objective, state, source, held_out)
        objective.train(was_training)
        return found

    def _loss(
        self, objective: Objective, state: TrainState, source: BatchSource, held_out: Batch
    ) -> float:
        device = source.device
        rng, total = state.rng(device, -1), 0.0
        objective.calibrate(source.some(_CALIBRATION_ROWS), None, rng)
        with torch.no_grad(), self.autocast(device) or nullcontext():
            for batch in held_out.split(objective.model.chunk):
                losses = objective.losses(batch, rng)
                total += batch.n_rows * float(reduce(add, losses.values()))
        return total / held_out.n_rows

    def autocast(self, device: torch.device) -> AbstractContextManager[object] | None:
        """The context of networks in bfloat16, if that is asked for."""
        if not self.config.bfloat16:
            return None
        return torch.autocast(device.type, dtype=torch.bfloat16)


class _Run:
    """One call of `Trainer.run`."""

    def __init__(
        self,
        trainer: Trainer,
        objective: Objective,
        state: TrainState,
        source: BatchSource,
        held_out: Batch | None,
    ):
        self.trainer = trainer
        self.config, self.workers = config, workers = trainer.config, trainer.workers
        self.objective, self.state, self.source = objective, state, source
        self.held_out = held_out
        workers.broadcast_(objective)
        turns = list(objective.turns().values())
        flat = flatten([p for turn in turns for p in turn.parameters])
        self.optimisers = [
            Adam(turn, config.clip, config.weight_decay, workers, flat) for turn in turns
        ]
        for optimiser, (values, limit) in zip(self.optimisers, state.optimisers, strict=False):
            optimiser.load(values, limit)
        self.turns = [o for o in self.optimisers for _ in range(o.turn.steps)]
        self.history = History()
        self.first_epoch = state.epoch
        self.n_batches = source.n_batches(config.batch_size)
        if source.n_rows // self.n_batches < workers.size:
            raise ValueError(
                f"batches of {source.n_rows // self.n_batches} rows leave some of {workers.size} "
                "processes without one: raise batch_size, or start fewer processes."
            )
        self.slow = 1.0  # halved at every restart
        self.copies = _Copies(objective, self.optimisers)
        self.checked = 0  # epochs that the copies have seen
        self.done = 0
        self.best: tuple[float, _Copies] | None = None
        self.waited = 0
        self.rose = False
        self.watched = None if config.max_rise is None else source.some(_WATCHED_ROWS)
        self.most = math.inf  # that their loss may be at the end

    def epochs(self, on_epoch: Callable[[History], bool] | None) -> None:
        self.objective.train()
        if self.watched is not None and self.config.max_rise != math.inf:
            self.most = self.highest_loss(self.loss_of_watched())
        while self.done < self.config.n_epochs:
            self.epoch()
            unchecked = (self.done - self.checked) * self.n_batches
            if unchecked >= _CHECK_STEPS or self.done == self.config.n_epochs:
                if not self.check():
                    continue
                self.validate()
            stop = on_epoch is not None and on_epoch(self.history)
            if not self.workers.agree(not stop) or self.history.converged:
                break

    def epoch(self) -> None:
        """One pass of every turn over the rows."""
        config, device = self.config, self.source.device
        total, step = config.n_epochs * self.n_batches, self.done * self.n_batches
        rng = self.state.rng(device, self.first_epoch + self.done)
        logs: dict[str, Values] = {}
        own: list[str] = []  # terms of the first turn
        passes = [self.source.batches(config.batch_size, rng, self.workers) for _ in self.turns]
        for parts in zip(*passes, strict=True):
            lr = self.slow * config.rate(step, total)
            progress = step / total if config.decay else 1.0  # further chunks have no end
            for (batch, share), optimiser in zip(parts, self.turns, strict=True):
                context = self.trainer.autocast(device)
                with self.part(batch, share):
                    terms = optimiser.step(batch, rng, progress, lr, share, context)
                if optimiser is self.turns[0]:
                    own = list(terms)
                for name, value in terms.items():
                    value = value.detach()
                    logs.setdefault(name, Values()).add(value if share == 1.0 else value * share)
            step += 1
        self.done += 1
        self.state.epoch = self.first_epoch + self.done
        curves = {name: found for name, v in logs.items() if (found := v.take()) is not None}
        self.workers.mean_(list(curves.values()), 1.0)  # each has its share already
        means = {name: float(v.mean()) for name, v in curves.items()}
        self.history.add(means, sum(means[name] for name in own))

    @contextmanager
    def part(self, batch: Batch, share: float) -> Iterator[None]:
        """Let losses know that other workers have other rows of a batch."""
        workers = self.workers
        if workers.size == 1:
            yield
            return
        whole = Share(
            workers.rank,
            workers.size,
            round(batch.n_rows / share),
            partial(workers.gather, share=share),
            lambda mean: workers.mean_([mean], share),
        )
        self.objective.gather = whole.whole
        try:
            with sharing(whole):
                yield
        finally:
            self.objective.gather = own_codes

    def check(self) -> bool:
        """Copy a good state, or go back to the last one; whether it was good."""
        ended = [o.end_period() for o in self.optimisers]
        good, self.rose = all(ended) and self.history.is_finite(self.checked), False
        if good and self.done == self.config.n_epochs and self.watched is not None:
            loss = self.loss_of_watched()
            self.rose = loss > self.most
            good = math.isfinite(loss) and not self.rose
        if self.workers.agree(good):
            self.copies, self.checked = _Copies(self.objective, self.optimisers), self.done
            return True
        self.history.restarts += 1
        self.go_back()
        if self.history.restarts > _MAX_RESTARTS:
            raise TrainingDivergedError(_RISING if self.rose else _NON_FINITE)
        self.slow /= 2.0
        return False

    def loss_of_watched(self) -> float:
        """Loss of some rows, with the same draws at every call."""
        assert self.watched is not None
        rng, objective = self.state.rng(self.source.device, -3), self.objective
        custom = [m for m in objective.modules() if getattr(m, "is_custom", False)]
        for network in custom:  # they may draw numbers, or count batches
            network.eval()
        with torch.no_grad(), self.trainer.autocast(self.source.device) or nullcontext():
            loss = float(reduce(add, objective.losses(self.watched, rng, 1.0).values()))
        for network in custom:
            network.train()
        return loss

    def highest_loss(self, before: float) -> float:
        """What the loss may be after training, given that before."""
        assert self.config.max_rise is not None
        least = _LEAST_RELATIVE_RISE if self.objective.relative else _LEAST_RISE
        return before + max(least, self.config.max_rise * abs(before))

    def go_back(self) -> None:
        """Restore the last good state."""
        self.copies.restore(self.objective, self.optimisers)
        self.done = self.checked
        self.history.cut(self.done)
        self.state.epoch = self.first_epoch + self.done

    def validate(self) -> None:
        """Early stopping."""
        if self.held_out is None or self.config.patience is None:
            return
        found = self.trainer.evaluate(self.objective, self.state, self.source, self.held_out)
        loss = self.workers.first(found)
        self.history.validation.append(-loss)
        self.waited += 1
        known = self.best is not None and math.isfinite(self.best[0])
        if self.best is None or not known or loss < self.best[0] - self.config.tol:
            self.best, self.waited = (loss, self.copies), 0
        if self.waited >= self.config.patience:
            self.history.converged = True

    def finish(self) -> None:
        if self.best is not None:
            self.best[1].restore(self.objective, self.optimisers)
        self.state.optimisers = [(o.state(), o.limit) for o in self.optimisers]
        release(list(self.objective.parameters()))
