"""Interpolation between rows in latent space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..latent import interpolate
from ._inputs import back, check_rows, into, numbers, own_look, unwrap
from ._rows import RowsDisplay, in_words


@in_words
class InterpolationDisplay(RowsDisplay):
    """Decoded interpolations between pairs of codes, as computed by `skvae.interpolate`.

    Images are shown as one strip for each pair, tables as heat maps side by side, in units of
    standard deviations.

    Parameters
    ----------
    rows : array-like of shape (n_pairs, n_steps, n_features)
        Decoded codes of each interpolation, both ends included.
    reference : array-like of shape (n_reference, n_features) or None, default=None
        Rows whose means and standard deviations define the units of heat maps; None for `rows`.
    {look}

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    image_ : AxesImage
    colorbar_ : Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import PPCA
    >>> from skvae.displays import InterpolationDisplay
    >>> X = load_digits().data / 16
    >>> model = PPCA(n_components=16).fit(X)
    >>> display = InterpolationDisplay.from_estimator(
    ...     model, X[:3], X[3:6], n_steps=7, image_shape=(1, 8, 8)
    ... )
    >>> display.rows.shape
    (3, 7, 64)
    """

    def __init__(
        self,
        *,
        rows: ArrayLike,
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
    ):
        self.rows = np.asarray(rows)
        if self.rows.ndim != 3 or not self.rows.size or not np.isfinite(self.rows).all():
            raise ValueError(
                "rows must be finite, of shape (n_pairs, n_steps, n_features), got "
                f"{self.rows.shape}."
            )
        self._look(self.rows, reference, image_shape, feature_names)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        start: ArrayLike,
        end: ArrayLike,
        *,
        n_steps: int = 10,
        method: str = "linear",
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> InterpolationDisplay:
        """Interpolate between the codes of rows, decode and plot.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `transform` and `inverse_transform`, or a Pipeline of such.
        start, end : array-like of shape (n_pairs, n_features)
            Rows at the two ends of each interpolation.
        n_steps : int, default=10
            Number of codes of each interpolation, both ends included.
        method : {"linear", "spherical"}, default="linear"
            As in `skvae.interpolate`.
        reference : array-like of shape (n_reference, n_features) or None, default=None
            Rows that define the units of heat maps; None for the decoded rows.
        {own look}
        {plot}

        Returns
        -------
        display : InterpolationDisplay
        """
        before, model = unwrap(estimator, "transform", "inverse_transform")
        own = model if before is None else None
        pairs = ((start, "start"), (end, "end"))
        shapes = [check_rows(numbers(own, X), name, missing=True).shape for X, name in pairs]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"start and end must have the same number of rows, got shapes {shapes[0]} and "
                f"{shapes[1]}."
            )
        a, b = (np.asarray(model.transform(into(before, X))) for X in (start, end))
        ways = [interpolate(u, v, n_steps, method=method) for u, v in zip(a, b, strict=True)]
        codes = np.stack(ways)
        decoded = model.inverse_transform(codes.reshape(-1, a.shape[1]))
        decoded = back(before, np.asarray(numbers(model, decoded)))
        rows = decoded.reshape(*codes.shape[:2], -1)
        return cls(
            rows=rows,
            reference=reference,
            **own_look(estimator, image_shape, feature_names, rows.shape[2]),
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> InterpolationDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        {colours}

        Returns
        -------
        self : InterpolationDisplay
        """
        n_pairs, n_steps, d = self.rows.shape
        self.colorbar_ = None
        if self.image_shape is not None:
            self._draw_pictures(ax, self.rows, (self.rows, vmin, vmax), cmap)
            return self
        ax = self._draw_heat(ax, self.rows.reshape(-1, d), cmap, vmin, vmax)
        for i in range(1, n_pairs):
            ax.axvline(i * n_steps - 0.5, color=ax.get_facecolor(), linewidth=3.0)
        middles = (np.arange(n_pairs) + 0.5) * n_steps - 0.5
        ax.set_xticks(middles, [f"pair {i}" for i in range(n_pairs)])
        ax.set_xlabel("from start to end")
        return self
