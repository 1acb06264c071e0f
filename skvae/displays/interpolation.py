"""Rows on the way from one row to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..latent import interpolate
from ._drawing import axes_for, draw_heat, draw_mosaic, heat_size, mosaic_size, value_range
from ._inputs import (
    back,
    check_image_shape,
    check_names,
    check_rows,
    image_shape_of,
    into,
    names_of,
    reference_rows,
    units,
    unwrap,
)


class InterpolationDisplay:
    """Decoded ways between pairs of codes: `skvae.interpolate` says what lies between.

    Pictures make a strip for each pair. Tables make heat maps, side by side, in standard
    deviations.

    Parameters
    ----------
    rows : array-like of shape (n_pairs, n_steps, n_features)
        Decoded codes of each way, both ends included.
    reference : array-like of shape (n_reference, n_features) or None, default=None
        Rows whose means and standard deviations are the units of heat maps; None for `rows`.
    image_shape : tuple (channels, height, width) or None, default=None
        Shape of pictures; None for tables.
    feature_names : sequence of str or None, default=None
        Names of the features of tables.

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
        d = self.rows.shape[2]
        self.reference = reference_rows(reference, self.rows.reshape(-1, d))
        self.image_shape = check_image_shape(image_shape, d)
        self.feature_names = check_names(feature_names, d)

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
        """Go from rows to rows through their codes, and draw.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `transform` and `inverse_transform`, or a Pipeline of such.
        start, end : array-like of shape (n_pairs, n_features)
            Rows at the ends of each way.
        n_steps : int, default=10
            Codes on a way, both ends included.
        method : {"linear", "spherical"}, default="linear"
            As in `skvae.interpolate`.
        reference : array-like of shape (n_reference, n_features) or None, default=None
            Rows that set the units of heat maps; None for the decoded ones.
        image_shape : tuple (channels, height, width) or None, default=None
            Shape of pictures; None for the estimator's own, if it has one, else for tables.
        feature_names : sequence of str or None, default=None
            Names of features; None for those that the estimator was fitted with.
        ax : Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Parameters of `plot`.

        Returns
        -------
        display : InterpolationDisplay
        """
        before, model = unwrap(estimator, "transform", "inverse_transform")
        shapes = [check_rows(X, name).shape for X, name in ((start, "start"), (end, "end"))]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"start and end must be pairs, got shapes {shapes[0]} and {shapes[1]}."
            )
        a, b = (np.asarray(model.transform(into(before, X))) for X in (start, end))
        ways = [interpolate(u, v, n_steps, method=method) for u, v in zip(a, b, strict=True)]
        codes = np.stack(ways)
        decoded = back(before, np.asarray(model.inverse_transform(codes.reshape(-1, a.shape[1]))))
        rows = decoded.reshape(*codes.shape[:2], -1)
        return cls(
            rows=rows,
            reference=reference,
            image_shape=image_shape_of(model, image_shape, rows.shape[2]),
            feature_names=names_of(estimator, feature_names),
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> InterpolationDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes or None, default=None
            Where to draw; None makes a figure.
        cmap : str or None, default=None
            Colours; None for grey pictures and for heat maps in the colours of the style.
        vmin, vmax : float or None, default=None
            Values at the ends of the colours; None for the least and greatest of pictures, and
            for 3 standard deviations to both sides of the mean in heat maps.

        Returns
        -------
        self : InterpolationDisplay
        """
        n_pairs, n_steps, d = self.rows.shape
        self.colorbar_ = None
        if self.image_shape is not None:
            self.ax_ = axes_for(ax, mosaic_size(n_pairs, n_steps, self.image_shape))
            self.figure_ = self.ax_.figure
            limits = value_range(self.rows, vmin, vmax)
            grey = "gray" if cmap is None else cmap
            self.image_ = draw_mosaic(self.ax_, self.rows, self.image_shape, limits, grey)
            return self
        location, scale = units(self.reference)
        self.ax_ = ax = axes_for(ax, heat_size(d))
        self.figure_ = ax.figure
        self.image_, self.colorbar_ = draw_heat(
            ax,
            ((self.rows.reshape(-1, d) - location) / scale).T,
            self.feature_names,
            standardised=len(self.reference) > 1,
            cmap=cmap,
            vmin=vmin,
            vmax=vmax,
        )
        for i in range(1, n_pairs):
            ax.axvline(i * n_steps - 0.5, color=ax.get_facecolor(), linewidth=3.0)
        middles = (np.arange(n_pairs) + 0.5) * n_steps - 0.5
        ax.set_xticks(middles, [f"pair {i}" for i in range(n_pairs)])
        ax.set_xlabel("from start to end")
        return self
