"""What a long fit shows: a progress line, and scikit-learn's callbacks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Epochs(Protocol):
    """Curves of a training, epoch by epoch."""

    terms: dict[str, list[float]]
    loss: list[float]
    converged: bool


Report = Callable[[Epochs, Callable[[], dict[str, Any]], Callable[[], float | None]], bool]


@contextmanager
def reporting(
    estimator: Any, data: dict[str, Any], n_epochs: int, calls: bool, shows: bool = True
) -> Iterator[Report]:
    """A function to call after every epoch; it says whether to stop.

    Parameters
    ----------
    estimator : estimator
        That is being fitted.
    data : dict
        What its `fit` was given.
    n_epochs : int
    calls : bool
        Whether scikit-learn's callbacks are called too.
    shows : bool
        Whether this process is the one that shows a line.

    Yields
    ------
    report : callable
        ``report(history, attributes, held_out_loss)``: the curves so far, a function that gives
        the fitted attributes as if training had ended, and one that gives the loss of held-out
        rows, or None.
    """
    context = None
    if calls and hasattr(estimator, "_init_callback_context"):
        context = estimator._init_callback_context(max_subtasks=n_epochs)
        context.call_on_fit_task_begin(estimator=estimator, **data)
    line = _Line(type(estimator).__name__, n_epochs) if estimator.verbose and shows else None
    told = 0

    def report(
        history: Epochs,
        attributes: Callable[[], dict[str, Any]],
        held_out_loss: Callable[[], float | None],
    ) -> bool:
        nonlocal told
        epoch = len(history.loss)
        if line is not None:
            line.show(history)
        if context is None or epoch <= told:  # after a restart epochs come again
            return False
        told = epoch
        task = context.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(estimator=estimator, **data)
        metadata: dict[str, Any] = {"loss": history.loss[-1], "held_out_loss": held_out_loss()}
        metadata["terms"] = {name: values[-1] for name, values in history.terms.items()}
        return bool(
            task.call_on_fit_task_end(
                estimator=estimator,
                **data,
                metadata=metadata,
                reconstruction_attributes=attributes,
            )
        )

    yield report
    if context is not None:
        context.call_on_fit_task_end(estimator=estimator, **data)


class _Line:
    """One line that follows the training."""

    def __init__(self, name: str, n_epochs: int):
        self.name, self.n_epochs = name, n_epochs
        self.begun, self.shown = time.perf_counter(), float("-inf")
        self.first: int | None = None  # epochs that were done before, where a fit goes on

    def show(self, history: Epochs) -> None:
        epoch, now = len(history.loss), time.perf_counter()
        if self.first is None:
            self.first = epoch - 1
        last = epoch == self.n_epochs or history.converged
        if now - self.shown <= 0.5 and not last:
            return
        self.shown = now
        left = (now - self.begun) / max(1, epoch - self.first) * (self.n_epochs - epoch)
        terms = ", ".join(f"{k} {v[-1]:.4g}" for k, v in history.terms.items())
        sys.stdout.write(
            f"\r{self.name}: epoch {epoch}/{self.n_epochs}, loss {history.loss[-1]:.5g} "
            f"({terms}), {left:.0f} s left   " + "\n" * last
        )
        sys.stdout.flush()
