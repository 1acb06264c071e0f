"""Common code of displays of rows: images or a heat map, and the text of common parameters."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ._drawing import axes_for, draw_heat, draw_mosaic, heat_size, mosaic_size, value_range
from ._inputs import check_image_shape, check_names, reference_rows, units

Class = TypeVar("Class", bound=type)

_SHAPE = "image_shape : tuple (channels, height, width) or None, default=None\n    "
_NAMES = "feature_names : sequence of str or None, default=None\n    "
_OWN_NAMES = _NAMES + "Names of the features; None for the feature names seen in fit."
_AX = "ax : Axes or None, default=None\n    Axes to plot on; None creates a figure."
_WORDS = {
    "{look}": f"{_SHAPE}Shape of the images; None for tables.\n"
    f"{_NAMES}Names of the features of tables.",
    "{own look}": f"{_SHAPE}Shape of the images; None for the estimator's own, if it has one with "
    f"1 or 3\n    channels, else for tables.\n{_OWN_NAMES}",
    "{own names}": _OWN_NAMES,
    "{ax}": _AX,
    "{plot}": f"{_AX}\n**kwargs : dict\n    Further parameters, passed to `plot`.",
    "{colours}": """\
cmap : str or None, default=None
    Colormap; None for grayscale images and for heat maps in the colours of the style.
vmin, vmax : float or None, default=None
    Limits of the colormap; None for the minimum and maximum of images, and
    for 3 standard deviations on both sides of the mean in heat maps.""",
}


def in_words(cls: Class) -> Class:
    """Insert the text of common parameters, which docstrings of a display name in braces."""
    members = [getattr(member, "__func__", member) for member in vars(cls).values()]
    for thing in (cls, *filter(inspect.isfunction, members)):
        if text := thing.__doc__:  # there is none under python -OO
            text = inspect.cleandoc(text)
            for name, words in _WORDS.items():
                text = text.replace(f"\n{name}\n", f"\n{words}\n")
            thing.__doc__ = text
    return cls


class RowsDisplay:
    """Rows as images, or as a heat map in units of the standard deviations of reference rows."""

    ax_: Any
    figure_: Any
    image_: Any
    colorbar_: Any

    def _look(
        self,
        rows: np.ndarray,
        reference: ArrayLike | None,
        image_shape: Any,
        feature_names: Sequence[str] | None,
    ) -> None:
        """Store how rows (..., d) are drawn."""
        d = rows.shape[-1]
        self.reference = reference_rows(reference, rows.reshape(-1, d))
        self.image_shape = check_image_shape(image_shape, d)
        self.feature_names = check_names(feature_names, d)

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        location, scale = units(self.reference)
        found: np.ndarray = (rows - location) / scale
        return found

    def _draw_pictures(
        self,
        ax: Any,
        tiles: np.ndarray,
        limits: tuple[np.ndarray, float | None, float | None],
        cmap: str | None,
        labels: Sequence[str] | None = None,
        room: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Draw tiles (lines, columns, d), with the colour limits of these rows, vmin and vmax."""
        size = np.add(mosaic_size(len(tiles), tiles.shape[1], self.image_shape), room)
        self.ax_ = axes_for(ax, tuple(size))
        self.figure_ = self.ax_.figure
        grey = "gray" if cmap is None else cmap
        self.image_ = draw_mosaic(
            self.ax_, tiles, self.image_shape, value_range(*limits), grey, labels
        )

    def _draw_heat(
        self, ax: Any, rows: np.ndarray, cmap: str | None, vmin: float | None, vmax: float | None
    ) -> Any:
        """Draw rows (n, d) as columns of a heat map and return the Axes."""
        self.ax_ = axes_for(ax, heat_size(rows.shape[1]))
        self.figure_ = self.ax_.figure
        standardised = len(self.reference) > 1
        self.image_, self.colorbar_ = draw_heat(
            self.ax_, self._scaled(rows).T, self.feature_names, standardised, cmap, vmin, vmax
        )
        return self.ax_
