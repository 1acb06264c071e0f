"""Progress of a fit: a progress line and scikit-learn's callbacks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from .memory import peak_memory

_SHOWN_EVERY = 0.5, 10.0  # seconds between two updates of the line, at first and later
_LATER = 0.01  # share of the elapsed time
_LOOKS = 0.02  # share of the time that may be spent on losses of held-out rows


class Epochs(Protocol):
    """Training curves by epoch."""

    terms: dict[str, list[float]]
    loss: list[float]
    converged: bool


class ProgressReport:
    """Receives the progress of a training.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted.
    n_epochs, n_rows : int
        Number of epochs and of rows of the training.
    attributes : callable
        Returns the fitted attributes of a fitted model.
    """

    def __init__(
        self, estimator: Any, n_epochs: int, n_rows: int, attributes: Callable[[Any], Any]
    ):
        self.estimator, self.attributes = estimator, attributes
        self.n_epochs, self.n_rows = n_epochs, n_rows
        self.context: Any = None  # context of scikit-learn's callbacks
        self.data: dict[str, Any] = {}  # arguments of `fit`, for callbacks
        self.line: _Line | None = None
        self.told = 0
        self.begun: tuple[float, float] | None = (
            None  # start time, and the number of epochs done before
        )
        self.done = 0.0

    def step(self, history: Epochs, part: float) -> None:
        """Report a step: the fraction of the current epoch that is done."""
        self._stands_at(len(history.loss) + part)
        if self.line is not None:
            self.line.show(self, history)

    def epoch(
        self, history: Epochs, ended: Callable[[], Any], held_out_loss: Callable[[], float | None]
    ) -> bool:
        """Report an epoch, and return whether to stop.

        Parameters
        ----------
        history : History
            The curves so far.
        ended : callable
            Returns the model as if training had ended.
        held_out_loss : callable
            Returns the loss of held-out rows, or None.
        """
        epoch = len(history.loss)
        self._stands_at(epoch)
        if self.line is not None:
            self.line.look(held_out_loss)
            self.line.show(self, history)
        if self.context is None or epoch <= self.told:  # after a restart epochs are repeated
            return False
        self.told = epoch
        task = self.context.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        metadata = {
            "loss": history.loss[-1],
            "held_out_loss": held_out_loss(),
            "terms": {name: values[-1] for name, values in history.terms.items()},
            "rows_per_second": self.rows_per_second,
            "peak_memory": peak_memory(),
        }
        return bool(
            task.call_on_fit_task_end(
                estimator=self.estimator,
                **self.data,
                metadata=metadata,
                reconstruction_attributes=lambda: self.attributes(ended()),
            )
        )

    def _stands_at(self, done: float) -> None:
        self.done = done
        if self.begun is None:
            self.begun = time.perf_counter(), done

    @property
    def epochs_per_second(self) -> float | None:
        """Return epochs per second since the first step of this process, after any checkpoint."""
        if self.begun is None or self.done <= self.begun[1]:
            return None
        return (self.done - self.begun[1]) / (time.perf_counter() - self.begun[0])

    @property
    def rows_per_second(self) -> float | None:
        rate = self.epochs_per_second
        return None if rate is None else rate * self.n_rows

    @property
    def seconds_left(self) -> float | None:
        rate = self.epochs_per_second
        return None if rate is None else (self.n_epochs - self.done) / rate


@contextmanager
def reporting(
    report: ProgressReport, calls: bool, shows: bool, data: Callable[[], dict[str, Any]]
) -> Iterator[ProgressReport]:
    """Context of a report whose progress line and callbacks begin and end with the training.

    Parameters
    ----------
    report : ProgressReport
    calls : bool
        Whether scikit-learn's callbacks are called.
    shows : bool
        Whether this process shows the progress line, if `verbose` is set.
    data : callable
        Returns the arguments of `fit`, for callbacks.
    """
    estimator = report.estimator
    if calls and getattr(estimator, "_skl_callbacks", None):
        report.data = data()
        report.context = estimator._init_callback_context(max_subtasks=report.n_epochs)
        report.context.call_on_fit_task_begin(estimator=estimator, **report.data)
    if estimator.verbose and shows:
        report.line = _Line(type(estimator).__name__)
    try:
        yield report
    finally:
        if report.line is not None:
            report.line.end()
    if report.context is not None:
        report.context.call_on_fit_task_end(estimator=estimator, **report.data)


class _Line:
    """Progress line of a training."""

    def __init__(self, name: str):
        self.name, self.begun, self.length = name, time.perf_counter(), 0
        self.shown = self.looked = float("-inf")
        self.cost = 0.0  # seconds of one evaluation of held-out rows
        self.held_out: float | None = None

    def look(self, held_out_loss: Callable[[], float | None]) -> None:
        """Compute the loss of held-out rows, if this takes a small part of the time."""
        begun = time.perf_counter()
        if begun - self.looked < self.cost / _LOOKS:
            return
        self.held_out = held_out_loss()
        self.looked = time.perf_counter()
        self.cost = self.looked - begun

    def show(self, report: ProgressReport, history: Epochs) -> None:
        now, n = time.perf_counter(), report.n_epochs
        last = len(history.loss) == n or history.converged
        least, most = _SHOWN_EVERY
        if now - self.shown <= min(max(least, _LATER * (now - self.begun)), most) and not last:
            return
        self.shown = now
        text = f"{self.name}: {', '.join(self._parts(report, history))}"
        sys.stdout.write(f"\r{text.ljust(self.length)}")
        sys.stdout.flush()
        self.length = len(text)

    def end(self) -> None:
        if self.length:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _parts(self, report: ProgressReport, history: Epochs) -> Iterator[str]:
        epoch, part = len(history.loss), report.done % 1.0
        yield f"epoch {epoch + (part > 0)}/{report.n_epochs}" + (f" ({part:.0%})" if part else "")
        if epoch:
            terms = ", ".join(f"{k} {v[-1]:.4g}" for k, v in history.terms.items())
            yield f"loss {history.loss[-1]:.5g} ({terms})"
        if self.held_out is not None:
            yield f"held-out loss {self.held_out:.5g}"
        rows, left, memory = report.rows_per_second, report.seconds_left, peak_memory()
        if rows is not None:
            yield f"{rows:,.0f} rows/s"
        if memory is not None:
            yield f"{memory / 1e9:.2g} GB"
        if left is not None:
            yield f"{timedelta(seconds=round(left))} left"
