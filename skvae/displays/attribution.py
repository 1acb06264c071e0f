"""Attribution of the score of a row to its features."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..contract.inputs import as_table
from ..tables.containers import is_frame
from ._drawing import (
    LONGEST_NAME,
    as_pictures,
    axes_for,
    clear_frame,
    colours,
    ink,
    short,
    value_range,
)
from ._inputs import (
    as_rows,
    as_text,
    check_image_shape,
    check_names,
    check_rows,
    count,
    image_shape_of,
    into,
    numbers,
    texts_of,
    unwrap,
)
from ._rows import in_words


@in_words
class AttributionDisplay:
    """Difference between each feature's contribution to the score of a row and its usual value.

    The contribution of feature j is ``E[log p(x_j | z)]``, in nats, as returned by
    `score_features`; its difference from the usual is the contribution minus its median over
    reference rows. Features with large negative differences make a row unusual.

    Parameters
    ----------
    shares : array-like of shape (n_features,)
        Contributions of the features to the score of the row.
    usual : array-like of shape (n_features,)
        Usual contributions.
    row : array-like of shape (n_features,)
        The row itself, in the units of the model.
    image_shape : tuple (channels, height, width) or None, default=None
        Shape of the image; None for a row of a table.
    feature_names : sequence of str or None, default=None
        Names of the features of a table.
    row_text : sequence of str or None, default=None
        Text of the values of the row beside the bars; None for the numbers.

    Attributes
    ----------
    departure : ndarray of shape (n_features,)
        ``shares - usual``, in nats.
    ax_, figure_ : Axes and Figure
    bars_ : BarContainer or None
    order_ : ndarray or None
        Indices of the features of the bars, from top to bottom.
    image_ : AxesImage or None
        Differences by pixel, summed over channels, beside the image.
    colorbar_ : Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> from skvae.displays import AttributionDisplay
    >>> wine = load_wine()
    >>> model = PPCA(n_components=2).fit(wine.data)
    >>> row = wine.data[0].copy()
    >>> row[2] = 6.0
    >>> display = AttributionDisplay.from_estimator(
    ...     model, row, wine.data, feature_names=wine.feature_names
    ... )
    >>> display.feature_names[display.order_[0]]
    'ash'
    """

    def __init__(
        self,
        *,
        shares: ArrayLike,
        usual: ArrayLike,
        row: ArrayLike,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
        row_text: Sequence[str] | None = None,
    ):
        self.shares, self.usual, self.row = (
            check_rows(np.asarray(values).reshape(1, -1), name, missing=name == "row")[0]
            for values, name in ((shares, "shares"), (usual, "usual"), (row, "row"))
        )
        d = len(self.shares)
        for name, values in (("usual", self.usual), ("row", self.row)):
            if len(values) != d:
                raise ValueError(f"{name} has {len(values)} features, shares has {d}.")
        self.departure = self.shares - self.usual
        self.image_shape = check_image_shape(image_shape, d)
        self.feature_names = check_names(feature_names, d)
        self.row_text = [as_text(v) for v in self.row] if row_text is None else list(row_text)
        if len(self.row_text) != d:
            raise ValueError(f"row_text has {len(self.row_text)} texts for {d} features.")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        x: Any,
        X_reference: ArrayLike,
        *,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> AttributionDisplay:
        """Compute and plot the contributions of the features to the score of a row.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `score_features`, or a Pipeline that ends in one. The features
            are then those of the input of its last step.
        x : array-like of shape (n_features,) or (1, n_features)
            The row; or the image, for a model of images.
        X_reference : array-like of shape (n_reference, n_features)
            Rows that define the usual contributions, preferably rows that the model was not trained
            on.
        {own look}
        {plot}

        Returns
        -------
        display : AttributionDisplay
        """
        before, model = unwrap(estimator, "score_features")
        one = x = as_table(x, "x") if not hasattr(x, "to_frame") else x
        if np.ndim(x) in (1, 3):  # a row of a data frame keeps its names
            one = x.to_frame().T if hasattr(x, "to_frame") else np.asarray(x)[None]
        if len(as_rows(one, "x")) != 1:
            raise ValueError(f"x must be a single row, got {len(one)} rows.")
        seen = into(before, one)
        if feature_names is None:
            feature_names = _names_seen(before, model)
        row = np.asarray(numbers(model, seen))[0].ravel()
        return cls(
            shares=model.score_features(seen)[0],
            usual=np.median(model.score_features(into(before, X_reference)), axis=0),
            row=row,
            image_shape=image_shape_of(model, image_shape, len(row)),
            feature_names=feature_names,
            row_text=texts_of(model, row) if is_frame(seen) else None,
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        n_features: int = 10,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> AttributionDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        n_features : int, default=10
            Number of bars: the features with the largest absolute differences.
        cmap : str or None, default=None
            Colormap of the differences of pixels; None for that of the style.
        vmin, vmax : float or None, default=None
            Limits of the colormap, in nats; None for the minimum and maximum.

        Returns
        -------
        self : AttributionDisplay
        """
        n_features = count(n_features, "n_features")
        self.bars_ = self.image_ = self.colorbar_ = None
        self.order_: np.ndarray | None = None
        if self.image_shape is None:
            self._plot_bars(ax, n_features)
        else:
            self._plot_picture(ax, cmap, vmin, vmax)
        return self

    def _plot_bars(self, ax: Any, n_features: int) -> None:
        order = np.argsort(-np.abs(self.departure), kind="stable")[:n_features]
        self.order_ = order
        height = float(np.clip(0.3 * len(order) + 1.0, 1.8, 10.0))
        self.ax_ = ax = axes_for(ax, (6.4, height))
        self.figure_ = ax.figure
        self.bars_ = ax.barh(range(len(order)), self.departure[order], color=colours()[0])
        labels = [
            f"{short(self.feature_names[j], LONGEST_NAME)} = {short(self.row_text[j])}"
            for j in order
        ]
        small = {"fontsize": "small"} if len(order) > 15 else {}
        ax.set_yticks(range(len(order)), labels, **small)
        ax.invert_yaxis()
        ax.axvline(0.0, color=ink(), linewidth=0.8)
        ax.set_xlabel("difference from the usual\nlog-density (nats)")

    def _plot_picture(
        self, ax: Any, cmap: str | None, vmin: float | None, vmax: float | None
    ) -> None:
        _, h, w = self.image_shape
        self.ax_ = ax = axes_for(ax, (7.0, float(np.clip(2.8 * h / w + 0.8, 2.0, 9.0))))
        self.figure_ = ax.figure
        departure = self.departure.reshape(self.image_shape).sum(axis=0)
        picture = as_pictures(self.row, self.image_shape)
        low, high = value_range(self.row, None, None)
        shown = np.clip((picture - low) / (high - low), 0.0, 1.0)
        gap = max(1.0, 0.08 * w)
        left, right = -0.5, w - 0.5
        ax.imshow(shown, cmap="gray", interpolation="nearest", extent=(left, right, h - 0.5, -0.5))
        self.image_ = ax.imshow(
            departure,
            cmap=cmap,
            vmin=vmin,
            vmax=vmax,
            interpolation="nearest",
            extent=(left + w + gap, right + w + gap, h - 0.5, -0.5),
        )
        ax.set_xlim(left, right + w + gap)
        clear_frame(ax)
        ax.set_xticks([(w - 1) / 2, (w - 1) / 2 + w + gap], ["row", "difference"])
        self.colorbar_ = self.figure_.colorbar(
            self.image_, ax=ax, label="difference from the usual (nats)"
        )


def _names_seen(before: Any, model: Any) -> Sequence[str] | None:
    """Return the feature names of the input of the last step, if there are any."""
    names: Sequence[str] | None = None
    if hasattr(model, "feature_names_in_"):
        names = model.feature_names_in_
    elif before is not None:
        with suppress(AttributeError):  # a step that does not name its features
            names = before.get_feature_names_out()
    return names
