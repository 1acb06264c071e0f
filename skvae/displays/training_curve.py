"""Training curve: losses by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._drawing import LINES, axes_for, colours, ink, pick
from ._inputs import unwrap
from ._rows import in_words

_WIDE = 30.0  # ratio of typical values above which a linear axis hides the small ones


@in_words
class TrainingCurveDisplay:
    """Terms of the training loss and their sum, by epoch.

    Parameters
    ----------
    parts : dict of str to array-like of shape (n_epochs,)
        Losses by name, as in the attribute `history_`; for adversarial training, the losses of all
        networks.
    loss : array-like of shape (n_epochs,)
        Loss of the model, as in `loss_curve_`: the sum of its own terms.
    validation_scores : array-like of shape (n_checks,) or None, default=None
        Negative losses of held-out rows, as in `validation_scores_`.

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    loss_line_ : Line2D
    part_lines_ : dict of str to Line2D
    validation_line_ : Line2D or None

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAE
    >>> from skvae.displays import TrainingCurveDisplay
    >>> model = VAE(n_components=2, random_state=0).fit(load_wine().data)
    >>> display = TrainingCurveDisplay.from_estimator(model)
    >>> list(display.parts)
    ['reconstruction', 'kl']
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, ArrayLike],
        loss: ArrayLike,
        validation_scores: ArrayLike | None = None,
    ):
        self.parts = {name: np.asarray(values, float) for name, values in parts.items()}
        self.loss = np.asarray(loss, float)
        if self.loss.ndim != 1 or not len(self.loss):
            raise ValueError(f"loss must contain one number for each epoch, got {loss!r}.")
        for name, values in self.parts.items():
            if values.shape != self.loss.shape:
                raise ValueError(
                    f"parts[{name!r}] has shape {values.shape}, but loss has {self.loss.shape}."
                )
        self.validation_scores = np.asarray(
            [] if validation_scores is None else validation_scores, float
        )

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **kwargs: Any
    ) -> TrainingCurveDisplay:
        """Plot the losses of a fitted estimator.

        Parameters
        ----------
        estimator : object
            A fitted estimator trained by gradient descent, or a Pipeline that ends in one.
        {plot}

        Returns
        -------
        display : TrainingCurveDisplay
        """
        _, model = unwrap(estimator, "history_", "loss_curve_")
        return cls(
            parts=model.history_,
            loss=model.loss_curve_,
            validation_scores=model.validation_scores_,
        ).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, scale: str = "auto") -> TrainingCurveDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        scale : {"auto", "linear", "log", "symlog"}, default="auto"
            Scale of the loss axis; "log" needs positive losses. "auto" is linear unless typical
            values of the terms differ by more than a factor of 30; it is then "log", or "symlog" if
            some losses are not positive: linear between minus and plus the smallest typical value.

        Returns
        -------
        self : TrainingCurveDisplay
        """
        if scale not in ("auto", "linear", "log", "symlog"):
            raise ValueError(f"scale must be 'auto', 'linear', 'log' or 'symlog', got {scale!r}.")
        curves = [self.loss, *self.parts.values(), -self.validation_scores]
        positive = all((values > 0.0).all() for values in curves)
        if scale == "log" and not positive:
            raise ValueError(
                "scale='log' needs positive losses; use scale='symlog' for losses of any sign."
            )
        sizes = [np.median(np.abs(values)) for values in curves if len(values)]
        sizes = [size for size in sizes if size > 0.0] or [1.0]
        if scale == "auto":
            wide = max(sizes) > _WIDE * min(sizes)
            scale = ("log" if positive else "symlog") if wide else "linear"
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure
        n = len(self.loss)
        epochs = np.arange(1, n + 1)
        dot = "." if n == 1 else None
        (self.loss_line_,) = ax.plot(
            epochs, self.loss, color=ink(), linewidth=2.0, marker=dot, label="loss"
        )
        self.part_lines_ = {}
        for i, (name, values) in enumerate(self.parts.items()):
            (self.part_lines_[name],) = ax.plot(
                epochs,
                values,
                color=pick(colours(), i),
                linestyle=pick(LINES, i + 1),
                marker=dot,
                label=name.replace("_", " "),
            )
        self.validation_line_ = None
        m = len(self.validation_scores)
        if m:  # checks are equally spaced, the last one at the end
            (self.validation_line_,) = ax.plot(
                np.linspace(n / m, n, m),
                -self.validation_scores,
                color=ink(),
                linestyle="none",
                marker="o",
                markersize=4,
                markerfacecolor="none",
                label="loss of held-out rows",
            )
        threshold = {"linthresh": min(sizes)} if scale == "symlog" else {}
        ax.set_yscale(scale, **threshold)
        if scale == "symlog":
            ax.axhline(0.0, color=ink(), linewidth=0.5, alpha=0.5)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(loc="best")
        return self
