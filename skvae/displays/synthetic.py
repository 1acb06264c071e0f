"""Real tables against synthetic ones, column by column and pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..tables.cells import CLASSES
from ._drawing import MOST_NAMES, axes_for, colours, ink, name_ticks
from ._inputs import check_names, count
from ._rows import in_words

_BARS = 20
_MOST_COLUMNS = 16  # that are drawn unless the user names some
_MOST_LABELS = 6  # bars of a column of labels
_ACROSS = 4  # columns side by side
_MOST_WRITTEN = 24  # columns whose distances stand in their squares
_LETTERS = 15  # of a label beside its bar
_WIDEST = 20  # letters of a name
_SMALL = "x-small"
_UNITS = (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0), ("seconds", 1.0))


@in_words
class SyntheticDisplay:
    """Columns of real and synthetic rows, and how far each pair of columns is from the real one.

    A panel for each column: numbers and times as histograms, labels as bars, with the distance of
    the column as `marginal_error` defines it. Below them the distances of all pairs, as
    `pair_error` defines them, with those of the single columns on the diagonal.

    Parameters
    ----------
    marginals : sequence of Marginal
        The columns drawn: name, kind, bars of the real and of the synthetic rows, as
        `from_frames` computes them.
    pairs : array-like of shape (n_columns, n_columns)
        Distances of pairs, of all columns.
    names : sequence of str or None, default=None
        Names of all columns.

    Attributes
    ----------
    axes_ : ndarray of shape (n_drawn,)
        The Axes of the columns.
    heat_ax_ : Axes or None
        The Axes of the pairs; None for tables of one column.
    image_, colorbar_ : AxesImage and Colorbar, or None
    bounding_ax_ : Axes
        The Axes that was divided.
    figure_ : Figure

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> from skvae.displays import SyntheticDisplay
    >>> X = load_wine(as_frame=True).data
    >>> synthetic = PPCA(n_components=2).fit(X).sample(178, random_state=0)
    >>> display = SyntheticDisplay.from_frames(X, synthetic, columns=["alcohol", "proline"])
    >>> len(display.axes_), display.pairs.shape
    (2, (13, 13))
    """

    def __init__(
        self, *, marginals: Sequence[Any], pairs: ArrayLike, names: Sequence[str] | None = None
    ):
        self.marginals = list(marginals)
        self.pairs = np.asarray(pairs, float)
        if not self.marginals:
            raise ValueError("marginals must hold one column at least.")
        if self.pairs.ndim != 2 or len(set(self.pairs.shape)) > 1:
            raise ValueError(f"pairs must be a square matrix, got shape {self.pairs.shape}.")
        self.names = check_names(names, len(self.pairs))

    @classmethod
    def from_frames(
        cls,
        real: Any,
        synthetic: Any,
        *,
        columns: Sequence[Any] | None = None,
        bins: int = _BARS,
        kinds: Mapping[Any, str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> SyntheticDisplay:
        """Compare two tables.

        Parameters
        ----------
        real : array or data frame of shape (n, n_columns)
            Real rows; missing cells may be NaN, None, NA, NaT or null. They say which columns are
            classes.
        synthetic : array or data frame of shape (m, n_columns)
            Rows of the model, of this library or another. Columns are found by their names, in
            arrays by their positions.
        columns : sequence of str or int, or None, default=None
            Columns that get a panel, by name or position; None for all of up to 16, and for the
            16 that are farthest from the real ones where there are more.
        bins : int, default=20
            Bars of the histograms.
        kinds : mapping from names or positions of columns to str, optional
            Kinds that come before what the dtypes of `real` say: "numeric", "integer",
            "boolean", "categorical", "ordinal", "datetime" or "duration".
        ax : Axes or None, default=None
            Axes of a grid (`subplots`) to divide; None makes a figure.
        **kwargs : dict
            Parameters of `plot`.

        Returns
        -------
        display : SyntheticDisplay
        """
        from ..metrics.synthetic._columns import read_tables
        from ..metrics.synthetic.marginals import column_errors, marginals, pair_errors

        bins = count(bins, "bins")
        tables = read_tables(kinds, real=real, synthetic=synthetic)
        if columns is None:
            far = np.argsort(-column_errors(tables, "synthetic"), kind="stable")
            chosen = sorted(far[:_MOST_COLUMNS].tolist())
        elif isinstance(columns, str) or not np.iterable(columns) or not len(columns):
            raise ValueError(f"columns must be names or positions of columns, got {columns!r}.")
        else:
            chosen = [tables.place(column, "columns") for column in columns]
        return cls(
            marginals=list(marginals(tables, bins, _MOST_LABELS, chosen)),
            pairs=pair_errors(tables, "synthetic"),
            names=tables.names,
        ).plot(ax=ax, **kwargs)

    def plot(
        self, ax: Any = None, *, cmap: str | None = None, vmax: float | None = None
    ) -> SyntheticDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes or None, default=None
            Axes of a grid (`subplots`) to divide; None makes a figure.
        cmap : str or None, default=None
            Colours of the pairs; None for those of the style.
        vmax : float or None, default=None
            Distance at the end of the colours; None for the largest.

        Returns
        -------
        self : SyntheticDisplay
        """
        n, d = len(self.marginals), len(self.pairs)
        lines, across = -(-n // _ACROSS), min(n, _ACROSS)
        heights = [0.3, 1.75 * lines]  # inches: the legend, columns, pairs
        if d > 1:
            letters = max(len(_clipped(name, _WIDEST)) for name in self.names)
            heights.append(float(np.clip(0.22 * d + 0.09 * letters + 0.6, 2.4, 9.0)))
        width = max(2.6 * across, 4.0 if d == 1 else float(np.clip(0.4 * d + 2.0, 4.0, 10.4)))
        self.bounding_ax_ = ax = axes_for(ax, (width, sum(heights)))
        if ax.get_subplotspec() is None:
            raise ValueError("ax cannot be divided: take one that subplots has made.")
        from matplotlib.gridspec import GridSpecFromSubplotSpec

        ax.set_axis_off()
        self.figure_ = figure = ax.figure
        parts = GridSpecFromSubplotSpec(
            len(heights), 1, subplot_spec=ax.get_subplotspec(), height_ratios=heights
        )
        strip = figure.add_subplot(parts[0])
        strip.set_axis_off()
        strip.legend(handles=_keys(), loc="center", ncols=2, frameon=False)
        grid = GridSpecFromSubplotSpec(lines, across, subplot_spec=parts[1])
        self.axes_ = np.full(n, None, dtype=object)
        for k, marginal in enumerate(self.marginals):
            self.axes_[k] = cell = figure.add_subplot(grid[divmod(k, across)])
            _draw_marginal(cell, marginal)
        self.heat_ax_ = self.image_ = self.colorbar_ = None
        if d > 1:
            self._draw_pairs(figure.add_subplot(parts[2]), cmap, vmax)
        return self

    def _draw_pairs(self, ax: Any, cmap: str | None, vmax: float | None) -> None:
        self.heat_ax_ = ax
        top = (float(self.pairs.max()) or 1.0) if vmax is None else vmax
        self.image_ = image = ax.imshow(
            self.pairs, cmap=cmap, vmin=0.0, vmax=top, interpolation="nearest", aspect="auto"
        )
        names = [_clipped(name, _WIDEST) for name in self.names]
        for axis in (ax.xaxis, ax.yaxis):
            name_ticks(axis, names, "column")
            for text in axis.get_ticklabels():
                text.set_parse_math(False)
        ax.tick_params("x", labelrotation=90 if len(names) <= MOST_NAMES else 0)
        ax.set_title("distance of pairs of columns", fontsize="medium")
        extend = "max" if self.pairs.max() > top else "neither"
        self.colorbar_ = ax.figure.colorbar(image, ax=ax, label="distance", extend=extend)
        if len(names) > _MOST_WRITTEN:
            return
        for (i, j), value in np.ndenumerate(self.pairs):
            red, green, blue, _ = image.to_rgba(value)
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            ax.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=_SMALL if len(names) <= _MOST_COLUMNS else "xx-small",
                color="white" if dark else "black",
            )


def _looks() -> tuple[dict[str, Any], dict[str, Any]]:
    """How the real and the synthetic rows are drawn; their outlines tell them in grey print."""
    real = {"edgecolor": ink(), "facecolor": "none", "linestyle": "-", "linewidth": 1.2}
    colour = colours()[0]
    synthetic = {"edgecolor": colour, "facecolor": colour, "linestyle": "--", "alpha": 0.6}
    return real, synthetic


def _keys() -> list[Any]:
    from matplotlib.patches import Patch

    names = ("real", "synthetic")
    return [Patch(label=name, **look) for name, look in zip(names, _looks(), strict=True)]


def _draw_marginal(ax: Any, marginal: Any) -> None:
    """One column: bars of labels that lie, or a histogram of numbers."""
    measure = "TV" if marginal.kind in CLASSES else "KS"
    words = f"{measure} {marginal.error:.2f}"
    shares = [marginal.real, marginal.synthetic]
    if marginal.labels is None:
        if any(marginal.missing):
            words += ", missing {:.0%} | {:.0%}".format(*marginal.missing)
        _draw_numbers(ax, marginal, shares)
    else:
        labels = [_clipped(label, _LETTERS) for label in marginal.labels]
        if any(marginal.missing):
            labels.append("missing")
            pairs = zip(shares, marginal.missing, strict=True)
            shares = [np.append(bars, holes) for bars, holes in pairs]
        places = np.arange(len(labels))
        for bars, look, shift in zip(shares, _looks(), (-0.2, 0.2), strict=True):
            ax.barh(places + shift, bars, 0.4, **look)
        ax.set_yticks(places, labels, parse_math=False)
        ax.invert_yaxis()
        ax.set_xlim(left=0.0)
        ax.xaxis.get_major_locator().set_params(nbins=4)
    ax.tick_params(labelsize=_SMALL)
    ax.set_title(f"{_clipped(marginal.name, _WIDEST)}\n{words}", fontsize="small", parse_math=False)


def _draw_numbers(ax: Any, marginal: Any, shares: list[np.ndarray]) -> None:
    edges = marginal.edges
    if marginal.kind == "datetime":
        from matplotlib import dates as untyped

        dates: Any = untyped
        edges = dates.date2num((edges * 1e6).astype("datetime64[us]"))
        ax.xaxis.set_major_locator(locator := dates.AutoDateLocator(maxticks=4))
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        ax.xaxis.get_offset_text().set_fontsize(_SMALL)
    else:
        ax.xaxis.get_major_locator().set_params(nbins=3)
        if marginal.kind == "duration":
            span = edges[-1] - edges[0]
            unit, per = next((u for u in _UNITS if span >= 2.0 * u[1]), _UNITS[-1])
            edges = edges / per
            ax.set_xlabel(unit, fontsize=_SMALL)
    for bars, look in zip(shares, _looks(), strict=True):
        ax.stairs(bars, edges, fill=look["facecolor"] != "none", **look)
    ax.set_yticks([])


def _clipped(name: Any, letters: int) -> str:
    """A name on one line, its middle left out where it is long: names often differ at the end."""
    text = " ".join(str(name).split())
    if len(text) <= letters:
        return text
    tail = letters // 3
    return text[: letters - tail - 1] + "\N{HORIZONTAL ELLIPSIS}" + text[-tail:]
