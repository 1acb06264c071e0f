"""Training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add
from typing import cast

import torch
from torch import Tensor

from ..nn.batch import Batch
from ..nn.model import own_codes
from ..nn.objectives import BaseObjective, Objective
from ..nn.shares import Share, sharing
from .batches import BatchSource
from .checkpoint import Arrays, Checkpoint, Plain, described
from .flat import flatten, release
from .optimiser import Adam, Values
from .selection import bounded, log_densities, lowest_that_counts
from .workers import Workers

_CHECK_STEPS = 64  # minimum number of steps between two checks of the training
_MAX_RESTARTS = 6
_CALIBRATION_ROWS = 2048
_WARMUP = 0.1  # share of the steps
_WATCHED_ROWS = 256  # of a training at a constant rate
_LEAST_RISE, _LEAST_RELATIVE_RISE = 1.0, 0.02  # in nats, and as a share of the variance


@dataclass
class History:
    """Means of the loss terms by epoch."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)  # scores, at every check
    restarts: int = 0  # number of restarts after a non-finite loss
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
    "the learning rate. Check X for infinite or extremely large values and noise_variance for a "
    "tiny value, check whether a custom encoder or decoder overflows, or decrease "
    "learning_rate_init"
)


_RISING = (
    f"training on these rows X increased their loss, also after {_MAX_RESTARTS} restarts, each at "
    "half the learning rate: decrease learning_rate_init, or start with rows in which no column is "
    "constant or has much smaller values"
)


# What a run counts by.
_COUNTS = ("first_epoch", "done", "at", "checked", "waited")


class TrainingDivergedError(FloatingPointError):
    """Training diverged repeatedly: the loss was not finite or increased steeply."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training.

    Attributes
    ----------
    batch_size, n_epochs : int
    lr : float
        Peak rate.
    decay : bool
        Whether the rate increases linearly over the first tenth of the steps and then decreases
        linearly to zero, or is constant.
    clip : float or None
        See `Adam`.
    weight_decay : float
    bfloat16 : bool
        Whether networks run in bfloat16 under autocast; losses stay in float32.
    patience, tol : int or None, float
        Early stopping on held-out rows: after `patience` checks without an improvement of `tol`.
        The best weights are restored.
    max_rise : float or None
        Largest relative increase of the loss of the rows over the training, at whose end it has to
        be finite. None disables this check.
    by_density : bool
        Whether early stopping uses the log-density of held-out rows, and not their loss.
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
        """Return the learning rate of a step."""
        if not self.decay:
            return self.lr
        warm = max(1.0, _WARMUP * total)
        return self.lr * min((step + 1) / warm, (total - step) / max(1.0, total - warm))


@dataclass
class TrainState:
    """State needed to continue a training, in addition to the weights.

    Attributes
    ----------
    seed : int
        Seed; batches and random numbers depend only on it and the epoch.
    epoch : int
        Number of completed epochs, without restarts.
    optimisers : list of (list of Tensor, float)
        Moments and clipping limit of each optimiser.
    """

    seed: int
    epoch: int = 0
    optimisers: list[tuple[list[Tensor], float]] = field(default_factory=list)

    def rng(self, device: torch.device | str, epoch: int) -> torch.Generator:
        """Return the random generator of an epoch."""
        return torch.Generator(device).manual_seed(self._number(epoch))

    def order(self, device: torch.device | str, epoch: int, turn: int) -> torch.Generator:
        """Return the generator of the order of rows in an epoch, independent of `rng`."""
        number = (self._number(epoch) * 0x9E3779B97F4A7C15 + turn + 1) % (1 << 62)
        return torch.Generator(device).manual_seed(number)

    def _number(self, epoch: int) -> int:
        return (self.seed * 1_000_003 + epoch) % (1 << 62)

    def described(self) -> str:
        """Return a hash of the state."""
        return described(self.seed, self.epoch, self.optimisers)


@dataclass(frozen=True)
class _Copies:
    """Copies of weights and optimiser states of an objective."""

    weights: dict[str, Tensor]
    moments: list[list[Tensor]]

    @classmethod
    def of(cls, objective: BaseObjective, optimisers: list[Adam]) -> _Copies:
        weights = {name: v.clone() for name, v in objective.state_dict().items()}
        return cls(weights, [[v.clone() for v in o.state()] for o in optimisers])

    def pack(self, name: str) -> Arrays:
        """Return its tensors by unique names."""
        return _packed(name, self.weights, self.moments)

    def unpack(self, name: str, arrays: Arrays) -> _Copies:
        """Another one of the same objective, that was packed."""
        weights = {k: arrays[f"{name}.weights.{k}"].to(v.device) for k, v in self.weights.items()}
        moments = [
            [arrays[f"{name}.moments.{i}.{j}"].to(v.device) for j, v in enumerate(values)]
            for i, values in enumerate(self.moments)
        ]
        return _Copies(weights, moments)

    def restore(self, objective: BaseObjective, optimisers: list[Adam]) -> None:
        objective.load_state_dict(self.weights)
        for optimiser, values in zip(optimisers, self.moments, strict=True):
            optimiser.load(values, optimiser.limit)


def _packed(name: str, weights: dict[str, Tensor], moments: list[list[Tensor]]) -> Arrays:
    found = {f"{name}.weights.{k}": v for k, v in weights.items()}
    for i, values in enumerate(moments):
        found |= {f"{name}.moments.{i}.{j}": v for j, v in enumerate(values)}
    return found


@dataclass(frozen=True)
class _Stand:
    """State after a check, to which a run returns after an interrupt."""

    copies: _Copies
    done: int
    limits: list[float]
    best: tuple[float, _Copies] | None
    waited: int
    n_validated: int
    converged: bool
    slow: float
    restarts: int


class Trainer:
    """Minimises an objective over rows.

    In an epoch every optimiser passes over all rows, in its own order, once for each of its steps
    per iteration; updates alternate by batches. The loss is that of the first optimiser.

    At every check (at the end of an epoch, at least 64 steps after the last check) the weights and
    the optimisers' states are copied. If losses or gradients since the last check were not finite,
    the copy is restored and the rate halved, at most six times. The same happens if the loss at the
    end is too high: see `TrainConfig.max_rise`. A KeyboardInterrupt also restores the copy and ends
    the training, if there was a check and there are no other workers.

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
        objective: BaseObjective,
        state: TrainState,
        source: BatchSource,
        held_out: Batch | None = None,
        on_epoch: Callable[[History], bool] | None = None,
        checkpoint: Checkpoint | None = None,
        on_step: Callable[[History, float], None] | None = None,
    ) -> History:
        """Train for `n_epochs` more epochs and leave the objective in evaluation mode.

        Parameters
        ----------
        objective : BaseObjective
            With `held_out` an `Objective`, whose model is scored.
        state : TrainState
            Where the training stands; moved on.
        source : BatchSource
        held_out : Batch, optional
            Rows for early stopping.
        on_epoch : callable, optional
            ``on_epoch(history) -> bool``, true to stop.
        checkpoint : Checkpoint, optional
            File from which to continue, and to which to write.
        on_step : callable, optional
            ``on_step(history, part)`` with the part of the epoch that is done.

        Returns
        -------
        history : History
        """
        run = _Run(self, objective, state, source, held_out, checkpoint)
        kept = None
        try:
            run.epochs(on_epoch, on_step)
        except KeyboardInterrupt:
            if run.stand is None or self.workers.size > 1:  # others stand elsewhere
                raise
            run.go_back_to(run.stand)
            if checkpoint is not None:
                training, arrays = _pack(run)
                kept = training, {name: v.clone() for name, v in arrays.items()}
            run.history.interrupted = True
        except TrainingDivergedError:
            if checkpoint is not None:  # it would do so again
                checkpoint.remove()
            raise
        finally:
            objective.eval()
        run.finish()
        if checkpoint is not None and kept is not None:
            checkpoint.write(*kept, handed_over=state.described())
        return run.history

    def evaluate(
        self, objective: Objective, state: TrainState, source: BatchSource, held_out: Batch
    ) -> float:
        """Return the mean loss of held-out rows with the noise of (some of) the training rows.

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
        """Return the context of networks in bfloat16, if requested."""
        if not self.config.bfloat16:
            return None
        return torch.autocast(device.type, dtype=torch.bfloat16)


class _Run:
    """One call of `Trainer.run`."""

    def __init__(
        self,
        trainer: Trainer,
        objective: BaseObjective,
        state: TrainState,
        source: BatchSource,
        held_out: Batch | None,
        checkpoint: Checkpoint | None = None,
    ):
        self.trainer = trainer
        self.config, self.workers = config, workers = trainer.config, trainer.workers
        self.objective, self.state, self.source = objective, state, source
        self.held_out, self.checkpoint = held_out, checkpoint
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
                f"batches of {source.n_rows // self.n_batches} rows are too small for "
                f"{workers.size} processes: increase batch_size, or start fewer processes."
            )
        self.slow = 1.0  # halved at every restart
        self.copies = _Copies.of(objective, self.optimisers)
        self.checked = 0  # epochs that the copies have seen
        self.done = 0
        self.at = 0  # batches of the present epoch that are done
        self.rng: torch.Generator | None = None  # of the present epoch
        self.logs: dict[str, Values] = {}  # terms of its steps
        self.own: list[str] = []  # names of those of the first turn
        self.stand: _Stand | None = None
        self.best: tuple[float, _Copies] | None = None
        self.waited = 0
        self.rose = False
        self.watched = None if config.max_rise is None else source.some(_WATCHED_ROWS)
        self.most = math.inf  # that their loss may be at the end

    def epochs(
        self,
        on_epoch: Callable[[History], bool] | None,
        on_step: Callable[[History, float], None] | None,
    ) -> None:
        self.objective.train()
        if self.watched is not None and self.config.max_rise != math.inf:
            self.most = self.highest_loss(self.loss_of_watched())
        if self.checkpoint is not None:
            self.checkpoint.go_on(partial(_unpack, self))
            self.checkpoint.write(*_pack(self))
        while self.done < self.config.n_epochs and not self.history.converged:
            self.epoch(on_step)
            unchecked = (self.done - self.checked) * self.n_batches
            if unchecked >= _CHECK_STEPS or self.done == self.config.n_epochs:
                if not self.check():
                    continue
                self.validate()
                self.stand = self.present_stand()
            stop = on_epoch is not None and on_epoch(self.history)
            if not self.workers.agree(not stop):
                break

    def epoch(self, on_step: Callable[[History, float], None] | None) -> None:
        """Run one pass of every update over the rows, or the rest of it."""
        size, device, number = self.config.batch_size, self.source.device, self.state.epoch
        if self.rng is None:
            self.rng = self.state.rng(device, number)
        orders = [self.state.order(device, number, i) for i in range(len(self.turns))]
        passes = [self.source.batches(size, order, self.workers, self.at) for order in orders]
        for parts in zip(*passes, strict=True):
            self.step(parts, self.rng)
            self.at += 1
            if on_step is not None and self.at < self.n_batches:
                on_step(self.history, self.at / self.n_batches)
            if self.checkpoint is not None and self.checkpoint.is_due():
                self.checkpoint.write(*_pack(self))
        curves = self.curves()
        means = {name: float(v.mean()) for name, v in curves.items()}
        self.history.add(means, sum(means[name] for name in self.own))
        self.begin_epoch(self.done + 1)

    def begin_epoch(self, number: int) -> None:
        self.done, self.at, self.rng, self.logs = number, 0, None, {}
        self.state.epoch = self.first_epoch + self.done

    def step(self, parts: tuple[tuple[Batch, float], ...], rng: torch.Generator) -> None:
        """Run one batch of every update."""
        config = self.config
        total, step = config.n_epochs * self.n_batches, self.done * self.n_batches + self.at
        lr = self.slow * config.rate(step, total)
        progress = step / total if config.decay else 1.0  # further chunks have no end
        for (batch, share), optimiser in zip(parts, self.turns, strict=True):
            context = self.trainer.autocast(self.source.device)
            with self.part(batch, share):
                terms = optimiser.step(batch, rng, progress, lr, share, context)
            if optimiser is self.turns[0]:
                self.own = list(terms)
            for name, value in terms.items():
                value = value.detach()
                self.logs.setdefault(name, Values()).add(value if share == 1.0 else value * share)

    def curves(self) -> Arrays:
        """Return the terms of the steps of the current epoch, over all workers."""
        found = {name: state for name, v in self.logs.items() if (state := v.state()) is not None}
        self.workers.mean_(list(found.values()), 1.0)  # each has its share already
        return found

    @contextmanager
    def part(self, batch: Batch, share: float) -> Iterator[None]:
        """Return the context of losses of one worker's part of a batch."""
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
        """Copy a valid state, or restore the last one; return whether it was valid."""
        ended = [o.end_period() for o in self.optimisers]
        good, self.rose = all(ended) and self.history.is_finite(self.checked), False
        if good and self.done == self.config.n_epochs and self.watched is not None:
            loss = self.loss_of_watched()
            self.rose = loss > self.most
            good = math.isfinite(loss) and not self.rose
        if self.workers.agree(good):
            self.copies, self.checked = _Copies.of(self.objective, self.optimisers), self.done
            return True
        self.history.restarts += 1
        self.go_back()
        if self.history.restarts > _MAX_RESTARTS:
            raise TrainingDivergedError(_RISING if self.rose else _NON_FINITE)
        self.slow /= 2.0
        if self.checked:
            self.stand = self.present_stand()
        return False

    def loss_of_watched(self) -> float:
        """Return the loss of some rows, with the same random numbers in every call."""
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
        """Return the largest allowed loss after training, given that before."""
        assert self.config.max_rise is not None
        least = _LEAST_RELATIVE_RISE if self.objective.relative else _LEAST_RISE
        return before + max(least, self.config.max_rise * abs(before))

    def go_back(self) -> None:
        """Restore the last valid state."""
        self.copies.restore(self.objective, self.optimisers)
        self.begin_epoch(self.checked)
        self.history.cut(self.done)

    def present_stand(self) -> _Stand:
        return _Stand(
            self.copies,
            self.checked,
            [o.limit for o in self.optimisers],
            self.best,
            self.waited,
            len(self.history.validation),
            self.history.converged,
            self.slow,
            self.history.restarts,
        )

    def go_back_to(self, stand: _Stand) -> None:
        """Restore the state after a check, wherever training was interrupted."""
        self.copies, self.checked = stand.copies, stand.done
        self.best, self.waited = stand.best, stand.waited
        for optimiser, limit in zip(self.optimisers, stand.limits, strict=True):
            optimiser.limit = limit
            optimiser.lengths.take()
        del self.history.validation[stand.n_validated :]
        self.history.converged, self.history.restarts = stand.converged, stand.restarts
        self.slow = stand.slow
        self.go_back()

    def validate(self) -> None:
        """Early stopping."""
        if self.held_out is None or self.config.patience is None:
            return
        objective = cast(Objective, self.objective)  # no other has rows held out
        found = self.trainer.evaluate(objective, self.state, self.source, self.held_out)
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


def _pack(run: _Run) -> tuple[Plain, Arrays]:
    """Return everything needed to continue, as plain values and tensors."""
    history, best = run.history, run.best
    arrays = _packed("now", run.objective.state_dict(), [o.state() for o in run.optimisers])
    arrays |= run.copies.pack("checked")
    if best is not None and best[1] is not run.copies:
        arrays |= best[1].pack("best")
    for i, optimiser in enumerate(run.optimisers):
        lengths = optimiser.lengths.state()
        if lengths is not None:
            arrays[f"lengths.{i}"] = lengths
    curves = run.curves()
    arrays |= {f"log.{name}": v for name, v in curves.items()}
    if run.rng is not None:
        arrays["rng"] = _states(run.workers, run.source.device, run.rng)
    numbers = {
        "limits": [o.limit for o in run.optimisers],
        "slow": [run.slow],
        "best": [] if best is None else [best[0]],
        "history.loss": history.loss,
        "history.validation": history.validation,
        **{f"history.terms.{name}": values for name, values in history.terms.items()},
    }
    arrays |= {k: torch.tensor(v, dtype=torch.float64) for k, v in numbers.items()}
    training = {name: getattr(run, name) for name in _COUNTS} | {
        "logs": list(curves),
        "own": run.own,
        "terms": list(history.terms),
        "restarts": history.restarts,
        "converged": history.converged,
    }
    return training, arrays


def _states(workers: Workers, device: torch.device, rng: torch.Generator) -> Tensor:
    """The states of the generators of all workers, (size, m)."""
    own = rng.get_state()
    states = torch.zeros(workers.size, len(own), device=device)
    states[workers.rank] = own.to(states)
    workers.mean_([states], 1.0)
    return states.to(torch.uint8)


def _unpack(run: _Run, training: Plain, arrays: Arrays) -> None:
    """Continue from the result of `_pack`."""
    device, history = run.source.device, run.history
    for name in _COUNTS:
        setattr(run, name, training[name])
    own = ("limits", "slow", "best")
    numbers = {k: v.tolist() for k, v in arrays.items() if k in own or k.startswith("history.")}
    for optimiser, limit in zip(run.optimisers, numbers["limits"], strict=True):
        optimiser.limit = limit
    run.copies.unpack("now", arrays).restore(run.objective, run.optimisers)
    run.copies = run.copies.unpack("checked", arrays)
    if numbers["best"]:
        has_own = any(name.startswith("best.") for name in arrays)
        copies = run.copies.unpack("best", arrays) if has_own else run.copies
        run.best = (numbers["best"][0], copies)
    for i, optimiser in enumerate(run.optimisers):
        if f"lengths.{i}" in arrays:
            optimiser.lengths.load(arrays[f"lengths.{i}"].to(device))
    for name in training["logs"]:  # those of all workers, which the first one keeps
        values = arrays[f"log.{name}"].to(device)
        run.logs[name] = Values()
        run.logs[name].load(values if run.workers.rank == 0 else torch.zeros_like(values))
    run.own, run.slow = training["own"], numbers["slow"][0]
    history.loss, history.validation = numbers["history.loss"], numbers["history.validation"]
    history.terms = {name: numbers[f"history.terms.{name}"] for name in training["terms"]}
    history.restarts, history.converged = training["restarts"], training["converged"]
    run.state.epoch = run.first_epoch + run.done
    if "rng" in arrays:
        run.rng = run.state.rng(device, run.state.epoch)
        run.rng.set_state(arrays["rng"][run.workers.rank].clone())  # torch crashes on a view
    if run.checked:
        run.stand = run.present_stand()
