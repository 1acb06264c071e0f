"""Rows and their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._drawing import MOST_NAMES, axes_for, colours, in_lines, ink, name_ticks, pick
from ._inputs import as_rows, back, check_rows, count, into, numbers, own_look, unwrap
from ._rows import RowsDisplay, in_words

_ROOM = 4.0  # distance between the profiles of two rows, in standard deviations


@in_words
class ReconstructionDisplay(RowsDisplay):
    """Original rows and their reconstructions, and the corrupted rows if these were reconstructed.

    Images are tiled, with one line for originals and one for reconstructions. Rows of tables are
    drawn as profiles over the features, in units of standard deviations. With more than 40
    features, features are sorted by the value of the original, so that a good reconstruction
    follows an increasing line.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Originals.
    reconstruction : array-like of shape (n_rows, n_features)
        Reconstructions.
    X_seen : array-like of shape (n_rows, n_features) or None, default=None
        Noisy or corrupted rows that were reconstructed instead of X.
    reference : array-like of shape (n_reference, n_features) or None, default=None
        Rows whose means and standard deviations define the units of profiles; None for X. With a
        single row, the units are those of X.
    {look}

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    image_ : AxesImage or None
        The grid of images.
    lines_ : list of tuple
        For tables, for each profile the Line2D of the original, of the reconstruction and, if
        given, of the row of `X_seen`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import PPCA
    >>> from skvae.displays import ReconstructionDisplay
    >>> X = load_digits().data / 16
    >>> model = PPCA(n_components=16).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(model, X, image_shape=(1, 8, 8))
    >>> display.reconstruction.shape
    (8, 64)
    """

    def __init__(
        self,
        *,
        X: ArrayLike,
        reconstruction: ArrayLike,
        X_seen: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
    ):
        self.X = check_rows(X, "X", missing=True)
        n, d = self.X.shape
        self.reconstruction = check_rows(reconstruction, "reconstruction", d)
        self.X_seen = None if X_seen is None else check_rows(X_seen, "X_seen", d, missing=True)
        for name, rows in (("reconstruction", self.reconstruction), ("X_seen", self.X_seen)):
            if rows is not None and len(rows) != n:
                raise ValueError(f"{name} has {len(rows)} rows, but X has {n}.")
        self._look(self.X, reference, image_shape, feature_names)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        X_seen: Any = None,
        n_rows: int = 8,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> ReconstructionDisplay:
        """Reconstruct rows and plot them.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `transform` and `inverse_transform`, or a Pipeline of such. If
            it has `reconstruct`, that method is used.
        X : array-like of shape (n_samples, n_features)
            Original rows; all of them are used for the units of profiles.
        X_seen : array-like of shape (n_samples, n_features) or None, default=None
            Rows to reconstruct instead of X, for example noisy ones.
        n_rows : int, default=8
            Number of rows to plot, starting with the first.
        {own look}
        {plot}

        Returns
        -------
        display : ReconstructionDisplay
        """
        before, model = unwrap(estimator, "transform", "inverse_transform")
        n_rows = count(n_rows, "n_rows")
        X = as_rows(X, "X")
        if X_seen is not None:
            X_seen = as_rows(X_seen, "X_seen")
        given = into(before, (X if X_seen is None else X_seen)[:n_rows])
        if hasattr(model, "reconstruct"):
            rebuilt = model.reconstruct(given)
        else:
            rebuilt = model.inverse_transform(model.transform(given))
        own = model if before is None else None
        rows = check_rows(numbers(own, X), "X", missing=True)
        if X_seen is not None:
            X_seen = check_rows(numbers(own, X_seen), "X_seen", missing=True)[:n_rows]
        return cls(
            X=rows[:n_rows],
            reconstruction=back(before, np.asarray(numbers(model, rebuilt))),
            X_seen=X_seen,
            reference=rows,
            **own_look(estimator, image_shape, feature_names, rows.shape[1]),
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        n_columns: int = 10,
        cmap: str = "gray",
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> ReconstructionDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        n_columns : int, default=10
            Maximum number of images in a line.
        cmap : str, default="gray"
            Colormap of grayscale images.
        vmin, vmax : float or None, default=None
            Values drawn in black and white; None for the minimum and maximum of the originals.

        Returns
        -------
        self : ReconstructionDisplay
        """
        n_columns = count(n_columns, "n_columns")
        self.image_: Any = None
        self.lines_: list[tuple] = []
        if self.image_shape is None:
            self._plot_profiles(ax)
        else:
            self._plot_pictures(ax, n_columns, cmap, vmin, vmax)
        return self

    def _kinds(self) -> list[tuple[str, np.ndarray]]:
        kinds = [
            ("original", self.X),
            ("seen", self.X_seen),
            ("reconstructed", self.reconstruction),
        ]
        return [(name, rows) for name, rows in kinds if rows is not None]

    def _plot_pictures(
        self,
        ax: Any,
        n_columns: int,
        cmap: str | None,
        vmin: float | None,
        vmax: float | None,
    ) -> None:
        kinds = self._kinds()
        n_columns = min(n_columns, len(self.X))
        lines = [in_lines(rows, n_columns) for _, rows in kinds]
        tiles = np.stack(lines, axis=1).reshape(-1, n_columns, self.X.shape[1])
        labels = [name for name, _ in kinds] * len(lines[0])
        self._draw_pictures(ax, tiles, (self.X, vmin, vmax), cmap, labels, room=(0.8, 0.0))

    def _plot_profiles(self, ax: Any) -> None:
        kinds = {name: self._scaled(rows) for name, rows in self._kinds()}
        d = self.X.shape[1]
        rows_along = d == 1  # a profile of one feature is a point: draw it over the rows
        if rows_along:
            kinds = {name: rows.T for name, rows in kinds.items()}
        n_profiles, length = kinds["original"].shape
        many = length > MOST_NAMES
        longest = 0 if many or rows_along else max(map(len, self.feature_names))
        height = float(np.clip(0.65 * n_profiles + 1.2, 2.5, 9.0)) + 0.08 * longest
        self.ax_ = ax = axes_for(ax, (7.0, height))
        self.figure_ = ax.figure
        place = np.arange(length)
        reach = max(np.nanmax(rows) - np.nanmin(rows) for rows in kinds.values())
        room = max(min(_ROOM, 1.1 * reach), 1e-12)
        styles = {
            "original": {
                "color": ink(),
                "linestyle": "none" if rows_along and not many else "-",
                "marker": "" if many else "o",
            },
            "seen": {"color": pick(colours(), 1), "linestyle": "none", "marker": "+"},
            "reconstructed": {"color": colours()[0], "linestyle": "none", "marker": "x"},
        }
        for i in range(n_profiles):
            order = np.argsort(kinds["original"][i], kind="stable") if many else place
            base = -i * room
            ax.axhline(base, color=ink(), linewidth=0.5, alpha=0.3)
            drawn = {
                name: ax.plot(
                    place,
                    rows[i, order] + base,
                    label=name if i == 0 else None,
                    markersize=1.0 if length > 1000 else 2.0 if many else 6.0,
                    alpha=0.4 if length > 1000 and name != "original" else None,
                    markerfacecolor="none",
                    linewidth=1.2,
                    zorder=3.0 if name == "original" and many else 2.0,
                    **styles[name],
                )[0]
                for name, rows in kinds.items()
            }
            self.lines_.append(
                tuple(
                    drawn[name] for name in ("original", "reconstructed", "seen") if name in drawn
                )
            )
        self._label_profiles(ax, rows_along, many, n_profiles, room)

    def _label_profiles(
        self, ax: Any, rows_along: bool, many: bool, n_profiles: int, room: float
    ) -> None:
        unit = "standard deviations" if len(self.reference) > 1 else "units of X"
        if rows_along:
            ax.set(xlabel="row, by increasing value" if many else "row")
            ax.set_ylabel(f"{self.feature_names[0]} ({unit})")
            if not many:
                ax.set_xticks(range(len(self.X)))
        else:
            apart = ""
            if n_profiles == 1:
                ax.set_ylabel(unit)
            else:
                bases = -room * np.arange(n_profiles)
                ax.set_yticks(bases, [f"row {i}" for i in range(n_profiles)])
                apart = f"; rows are {room:.2g} {unit} apart"
            what = "feature, by increasing value of the original" if many else "feature"
            if not many:
                name_ticks(ax.xaxis, self.feature_names)
                ax.tick_params(axis="x", rotation=90 if self.X.shape[1] > 4 else 0)
            ax.set_xlabel(what + apart)
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=3,
            frameon=False,
            markerscale=4.0 if many else 1.0,
        )
