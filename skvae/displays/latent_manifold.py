"""Decoded rows of a grid of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from ._drawing import axes_for
from ._inputs import back, check_components, count, feature_index, numbers, own_look, unwrap
from ._rows import RowsDisplay, in_words


@in_words
class LatentManifoldDisplay(RowsDisplay):
    r"""Decoded codes at normal quantiles of one or two coordinates, the others held fixed.

    Coordinate i of n steps has the quantile :math:`\Phi^{-1}(a + i (1 - 2 a) / (n - 1))` with
    :math:`a = (1 - \mathrm{coverage}) / 2`: the steps are equally likely under N(0, 1).

    Images are tiled, with codes increasing to the right and upward. For tables, one coordinate
    gives a heat map of all features, and two coordinates give a map of one feature.

    Parameters
    ----------
    rows : array-like of shape (n_steps, n_features) or (n_steps, n_steps, n_features)
        Decoded codes; the first of two indices is that of the second coordinate.
    values : array-like of shape (n_steps,)
        The quantiles, in increasing order.
    components : tuple of int, default=(0, 1)
        Indices of the latent coordinates; one if `rows` has two axes.
    reference : array-like of shape (n_reference, n_features) or None, default=None
        Rows whose means and standard deviations define the units of heat maps; None for `rows`.
    {look}

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    image_ : AxesImage or QuadMesh
    colorbar_ : Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import PPCA
    >>> from skvae.displays import LatentManifoldDisplay
    >>> model = PPCA(n_components=2).fit(load_digits().data / 16)
    >>> display = LatentManifoldDisplay.from_estimator(model, n_steps=9, image_shape=(1, 8, 8))
    >>> display.rows.shape, display.values.round(2)[[0, 4, 8]]
    ((9, 9, 64), array([-1.64,  0.  ,  1.64]))
    """

    def __init__(
        self,
        *,
        rows: ArrayLike,
        values: ArrayLike,
        components: tuple[int, ...] = (0, 1),
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
    ):
        self.rows, self.values = np.asarray(rows), np.asarray(values)
        self.components = tuple(components)
        steps = (len(self.values),) * len(self.components)
        if self.rows.shape[:-1] != steps or not np.isfinite(self.rows).all():
            raise ValueError(
                f"rows must be finite, of shape {(*steps, 'n_features')}, got {self.rows.shape}."
            )
        self._look(self.rows, reference, image_shape, feature_names)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        components: Any = None,
        n_steps: int = 15,
        coverage: float = 0.9,
        at: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> LatentManifoldDisplay:
        """Decode a grid of codes and plot the result.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `inverse_transform`, or a Pipeline of such.
        components : int, pair of int or None, default=None
            Indices of the latent coordinates; None for the first two, or the only one.
        n_steps : int, default=15
            Number of codes along each coordinate, at least 2.
        coverage : float, default=0.9
            Probability under N(0, 1) between the first and the last code.
        at : array-like of shape (n_components,) or None, default=None
            Code that fixes the values of the other coordinates; None for zeros.
        reference : array-like of shape (n_reference, n_features) or None, default=None
            Rows that define the units of heat maps; None for the decoded rows.
        {own look}
        {plot}

        Returns
        -------
        display : LatentManifoldDisplay
        """
        before, model = unwrap(estimator, "inverse_transform", "n_components_")
        k = getattr(model, "_n_codes", model.n_components_)
        chosen = check_components(components, k)
        n_steps = count(n_steps, "n_steps", 2)
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage must lie between 0 and 1, got {coverage!r}.")
        fixed = np.zeros(k) if at is None else np.asarray(at, float)
        if fixed.shape != (k,):
            raise ValueError(
                f"at must have {k} values, one for each latent coordinate, got shape {fixed.shape}."
            )
        tail = (1.0 - coverage) / 2.0
        values = norm.ppf(np.linspace(tail, 1.0 - tail, n_steps))
        grids = np.meshgrid(*(values for _ in chosen))  # the second coordinate along axis 0
        codes = np.tile(fixed, (grids[0].size, 1))
        for component, grid in zip(chosen, grids, strict=True):
            codes[:, component] = grid.ravel()
        decoded = back(before, np.asarray(numbers(model, model.inverse_transform(codes))))
        return cls(
            rows=decoded.reshape(*grids[0].shape, -1),
            values=values,
            components=chosen,
            reference=reference,
            **own_look(estimator, image_shape, feature_names, decoded.shape[1]),
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        feature: Any = None,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> LatentManifoldDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        feature : int, str or None, default=None
            Feature of a table to map over two coordinates, by index or name; None for the first.
        cmap : str or None, default=None
            Colormap; None for grayscale images and for maps in the colours of the style.
        vmin, vmax : float or None, default=None
            Limits of the colormap; None for the minimum and maximum, and for 3 standard deviations
            to both sides of the mean in heat maps of all features.

        Returns
        -------
        self : LatentManifoldDisplay
        """
        plane = len(self.components) == 2
        if feature is not None and (self.image_shape is not None or not plane):
            raise ValueError("feature goes with tables over two components, and with nothing else.")
        self.colorbar_ = None
        if self.image_shape is not None:
            self._plot_pictures(ax, cmap, vmin, vmax)
        elif plane:
            j = feature_index(0 if feature is None else feature, self.feature_names)
            self._plot_feature(ax, j, cmap, vmin, vmax)
        else:
            ax = self._draw_heat(ax, self.rows, cmap, vmin, vmax)
            ax.set_xticks(*self._code_ticks(np.arange(len(self.values))))
            ax.set_xlabel(f"code {self.components[0]}")
        return self

    def _code_ticks(self, places: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """A few of the places, and the codes there."""
        few = np.unique(np.linspace(0, len(self.values) - 1, 7).round().astype(int))
        return places[few], [f"{code:.2f}" for code in np.round(self.values[few], 2) + 0.0]

    def _plot_pictures(
        self, ax: Any, cmap: str | None, vmin: float | None, vmax: float | None
    ) -> None:
        tiles = self.rows[::-1] if self.rows.ndim == 3 else self.rows[None]
        n_lines, n_columns = tiles.shape[:2]
        self._draw_pictures(ax, tiles, (self.rows, vmin, vmax), cmap, room=(0.6, 0.5))
        ax = self.ax_
        height, width = self.image_.get_array().shape[:2]
        middles = (np.arange(n_columns) + 0.5) * width / n_columns - 0.5
        ax.set_xticks(*self._code_ticks(middles))
        ax.set_xlabel(f"code {self.components[0]}")
        if n_lines > 1:
            middles = (np.arange(n_lines) + 0.5) * height / n_lines - 0.5
            ax.set_yticks(*self._code_ticks(middles[::-1]))
            ax.set_ylabel(f"code {self.components[1]}")

    def _plot_feature(
        self, ax: Any, j: int, cmap: str | None, vmin: float | None, vmax: float | None
    ) -> None:
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure
        values = self.rows[..., j]
        self.image_ = ax.pcolormesh(
            self.values, self.values, values, cmap=cmap, vmin=vmin, vmax=vmax, shading="nearest"
        )
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=ax, label=self.feature_names[j])
        ax.set(xlabel=f"code {self.components[0]}", ylabel=f"code {self.components[1]}")
