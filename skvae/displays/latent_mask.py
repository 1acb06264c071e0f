"""Which codes a masked autoencoder keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._drawing import HATCHES, MOST_NAMES, axes_for, colours, ink
from ._inputs import unwrap
from ._rows import in_words


@in_words
class LatentMaskDisplay:
    """Weight of each latent coordinate in a learned mask, in decreasing order.

    Parameters
    ----------
    mask : array-like of shape (n_components,)
        Weights in [0, 1], as in `MaskAAE.mask_`.
    threshold : float, default=0.1
        Minimum weight of a coordinate that counts as kept, as in `MaskAAE.n_active_`.

    Attributes
    ----------
    order : ndarray of shape (n_components,)
        Indices of the coordinates in decreasing order of their weights.
    n_kept : int
        Number of coordinates with a weight of at least `threshold`.
    ax_, figure_ : Axes and Figure
    bars_ : BarContainer
    line_ : Line2D
        The threshold.

    Examples
    --------
    >>> from skvae.displays import LatentMaskDisplay
    >>> display = LatentMaskDisplay(mask=[0.02, 0.95, 0.7]).plot()
    >>> display.order.tolist(), display.n_kept
    ([1, 2, 0], 2)
    """

    def __init__(self, *, mask: ArrayLike, threshold: float = 0.1):
        self.mask = np.asarray(mask, float)
        if self.mask.ndim != 1 or not len(self.mask):
            raise ValueError(
                f"mask must contain one number for each latent coordinate, got {mask!r}."
            )
        if not (np.all(self.mask >= 0.0) and np.all(self.mask <= 1.0)):
            raise ValueError("the values of mask must lie in [0, 1].")
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold!r}.")
        self.threshold = threshold
        self.order = np.argsort(-self.mask, kind="stable")
        self.n_kept = int(np.sum(self.mask >= threshold))

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LatentMaskDisplay:
        """Plot the mask of a fitted `MaskAAE`, or of a Pipeline that ends in one.

        Parameters
        ----------
        estimator : object
            The estimator.
        {ax}

        Returns
        -------
        display : LatentMaskDisplay
        """
        _, model = unwrap(estimator, "mask_")
        return cls(mask=model.mask_).plot(ax=ax)

    def plot(self, ax: Any = None) -> LatentMaskDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}

        Returns
        -------
        self : LatentMaskDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure
        k = len(self.mask)
        kept = np.arange(k) < self.n_kept
        self.bars_ = ax.bar(range(k), self.mask[self.order], color=colours()[0])
        for bar, keep in zip(self.bars_, kept, strict=True):
            if not keep:
                bar.set(facecolor="none", edgecolor=colours()[0], hatch=HATCHES[1])
        self.line_ = ax.axhline(self.threshold, color=ink(), linestyle="--", linewidth=1.0)
        if k <= MOST_NAMES:
            ax.set_xticks(range(k), self.order, fontsize="small" if k > 15 else None)
            ax.set_xlabel("latent coordinate, by decreasing weight")
        else:
            ax.set_xlabel("rank of the code")
        ax.set(ylabel="mask weight", ylim=(0.0, 1.05))
        ax.set_title(
            f"{self.n_kept} of {k} coordinates kept (weight of at least {self.threshold:g})"
        )
        return self
