"""What displays of rows share: pictures or a heat map, and the words for common parameters."""

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
_OWN_NAMES = _NAMES + "Names of features; None for those that the estimator was fitted with."
_AX = "ax : Axes or None, default=None\n    Where to draw; None makes a figure."
_WORDS = {
    "{look}": f"{_SHAPE}Shape of pictures; None for tables.\n"
    f"{_NAMES}Names of the features of tables.",
    "{own look}": f"{_SHAPE}Shape of pictures; None for the estimator's own, if it has one with 1 "
    f"or 3\n    channels, else for tables.\n{_OWN_NAMES}",
    "{own names}": _OWN_NAMES,
    "{ax}": _AX,
    "{plot}": f"{_AX}\n**kwargs : dict\n    Parameters of `plot`.",
    "{colours}": """\
cmap : str or None, default=None
    Colours; None for grey pictures and for heat maps in the colours of the style.
vmin, vmax : float or None, default=None
    Values at the ends of the colours; None for the least and greatest of pictures, and
    for 3 standard deviations to both sides of the mean in heat maps.""",
}


def in_words(cls: Class) -> Class:
    """Write out the common parameters, which docstrings of a display name in braces."""
    members = [getattr(member, "__func__", member) for member in vars(cls).values()]
    for thing in (cls, *filter(inspect.isfunction, members)):
        if text := thing.__doc__:  # there is none under python -OO
            text = inspect.cleandoc(text)
            for name, words in _WORDS.items():
                text = text.replace(f"\n{name}\n", f"\n{words}\n")
            thing.__doc__ = text
    return cls


class RowsDisplay:
    """Rows as pictures, or as a heat map in the standard deviations of reference rows."""

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
        """Keep how rows (..., d) are drawn."""
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
        """Tiles (lines, columns, d), in colours for these rows, vmin and vmax."""
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
        """Rows (n, d) as columns; the Axes."""
        self.ax_ = axes_for(ax, heat_size(rows.shape[1]))
        self.figure_ = self.ax_.figure
        standardised = len(self.reference) > 1
        self.image_, self.colorbar_ = draw_heat(
            self.ax_, self._scaled(rows).T, self.feature_names, standardised, cmap, vmin, vmax
        )
        return self.ax_
