"""Drawing helpers of displays: Axes, colours legible in grayscale, image grids, heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tables.optional import imported

MARKERS = "o s ^ D v P X * < > p".split()  # eleven, so that ten colours meet them all
LINES: list[Any] = ["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 4))]
HATCHES = ["", "////", "....", "\\\\\\\\", "xx", "++", "oo", "--", "||", "**", "//.."]
MOST_NAMES = 40  # that are legible along an axis
MOST_GROUPS = 20  # that a legend names; more are coloured in their order
LONGEST_NAME = 36  # letters of a name along an axis
_MOST_INSIDE = 6  # that a legend among the data names
_LETTERS = 24  # of a name in a legend or beside a colour bar
_HEAT_LIMIT = 3.0  # standard deviations
_GAP = 0.08  # between images, in units of their size


def pyplot() -> Any:
    return imported("matplotlib.pyplot", "drawing a display")


def axes_for(ax: Any, figsize: tuple[float, float] | None = None) -> Any:
    """Return the given Axes, or those of a new figure."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax


def ink() -> str:
    """Return the text colour of the current style."""
    found: str = pyplot().rcParams["text.color"]
    return found


def colours() -> list[str]:
    """Return the line colours of the current style."""
    found: list[str] = pyplot().rcParams["axes.prop_cycle"].by_key().get("color", [ink()])
    return found


def pick(cycle: Sequence[Any], i: int) -> Any:
    return cycle[i % len(cycle)]


def name_ticks(axis: Any, names: list[str], label: str = "feature") -> None:
    """Label an axis whose feature j is at j with names, or numbers if names would overlap."""
    if len(names) > MOST_NAMES:
        axis.set_label_text(label)
        return
    axis.set_ticks(range(len(names)), [short(name, LONGEST_NAME) for name in names])
    if len(names) > 15:
        axis.set_tick_params(labelsize="small" if len(names) <= 25 else "xx-small")


def short(name: Any, letters: int = _LETTERS) -> str:
    """Shorten a name so that it leaves space for the plot."""
    text = str(name)
    return text if len(text) <= letters else text[: letters - 1] + "\N{HORIZONTAL ELLIPSIS}"


def name_groups(ax: Any, n_groups: int, **options: Any) -> Any:
    """Add a legend of at most MOST_GROUPS groups, placed beside the data if there are many."""
    if n_groups <= _MOST_INSIDE:
        return ax.legend(loc="best", **options)
    height = ax.get_window_extent().height / ax.figure.dpi  # inches
    return ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        fontsize=float(np.clip(72.0 * height / (1.7 * n_groups), 4.0, 9.0)),
        **options,
    )


def in_order(n: int) -> Any:
    """Return the colours of the style for 0 to n - 1, as a mappable for a colour bar."""
    pyplot()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, n - 1))


def number_bar(ax: Any, mappable: Any, names: Sequence[Any] | np.ndarray) -> Any:
    """Add a colour bar of groups, where group i has colour i; some of the groups are named."""
    few = np.unique(np.linspace(0, len(names) - 1, 9).round().astype(int))
    bar = ax.figure.colorbar(mappable, ax=ax, ticks=few, label=f"{len(names)} groups")
    bar.set_ticklabels([short(names[i]) for i in few])
    return bar


def clear_frame(ax: Any) -> None:
    ax.set(xticks=[], yticks=[])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


# -- images ---------------------------------------------------------------------------------------
def as_pictures(rows: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Reshape rows (..., d) to grayscale images (..., h, w) or colour images (..., h, w, 3)."""
    pictures = rows.reshape(*rows.shape[:-1], *image_shape)
    return pictures[..., 0, :, :] if image_shape[0] == 1 else np.moveaxis(pictures, -3, -1)


def value_range(rows: np.ndarray, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """Return the values drawn in black and white: the given ones, else the range of the rows."""
    low = float(np.nanmin(rows)) if vmin is None else vmin
    high = float(np.nanmax(rows)) if vmax is None else vmax
    if vmin is not None and vmax is not None and not low < high:
        raise ValueError(f"vmin={vmin} must be less than vmax={vmax}.")
    return low, max(high, np.nextafter(low, np.inf))


def mosaic_size(n_lines: int, n_columns: int, image_shape: tuple[int, int, int]) -> Any:
    """Return the figure size, in inches, for a grid of images."""
    _, h, w = image_shape
    width = float(np.clip(0.75 * n_columns, 2.5, 9.0))
    return width, float(np.clip(width * n_lines * h / (n_columns * w) + 0.1, 0.8, 10.0))


def draw_mosaic(
    ax: Any,
    tiles: np.ndarray,
    image_shape: tuple[int, int, int],
    limits: tuple[float, float],
    cmap: str,
    labels: Sequence[str] | None = None,
) -> Any:
    """Draw rows (lines, columns, d) as a grid of images; rows of NaN are left empty."""
    n_lines, n_columns = tiles.shape[:2]
    pictures = as_pictures(tiles, image_shape)
    h, w = image_shape[1:]
    gap = max(1, round(_GAP * min(h, w)))
    height, width = n_lines * (h + gap) - gap, n_columns * (w + gap) - gap
    canvas = np.full((height, width, *pictures.shape[4:]), np.nan)
    for i in range(n_lines):
        for j in range(n_columns):
            top, left = i * (h + gap), j * (w + gap)
            canvas[top : top + h, left : left + w] = pictures[i, j]
    low, high = limits
    if image_shape[0] == 1:
        image = ax.imshow(canvas, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    else:
        shown = np.clip((canvas - low) / (high - low), 0.0, 1.0)
        alpha = ~np.isnan(shown[..., :1])
        image = ax.imshow(
            np.concatenate([np.nan_to_num(shown), alpha], axis=-1), interpolation="nearest"
        )
    clear_frame(ax)
    if labels is not None:
        ax.set_yticks(np.arange(n_lines) * (h + gap) + (h - 1) / 2, labels)
    return image


def in_lines(rows: np.ndarray, n_columns: int) -> np.ndarray:
    """Arrange rows (n, d) in lines (lines, n_columns, d), the last one padded with NaN."""
    n, d = rows.shape
    n_lines = -(-n // n_columns)
    tiles = np.full((n_lines * n_columns, d), np.nan)
    tiles[:n] = rows
    return tiles.reshape(n_lines, n_columns, d)


# -- tables ---------------------------------------------------------------------------------------
def draw_heat(
    ax: Any,
    values: np.ndarray,
    names: list[str],
    standardised: bool,
    cmap: str | None,
    vmin: float | None,
    vmax: float | None,
) -> tuple[Any, Any]:
    """Draw values (d, n) as a heat map, features downward, with a colour bar."""
    if standardised:
        vmin = -_HEAT_LIMIT if vmin is None else vmin
        vmax = _HEAT_LIMIT if vmax is None else vmax
    image = ax.imshow(
        values, aspect="auto", interpolation="nearest", cmap=cmap, vmin=vmin, vmax=vmax
    )
    low, high = image.get_clim()
    below, above = values.min() < low, values.max() > high
    bar = ax.figure.colorbar(
        image,
        ax=ax,
        extend=("both" if above else "min") if below else ("max" if above else "neither"),
        label="standard deviations" if standardised else "value",
    )
    name_ticks(ax.yaxis, names)
    return image, bar


def heat_size(n_features: int) -> tuple[float, float]:
    """Return the figure size, in inches, for a heat map."""
    if n_features > MOST_NAMES:
        return 6.4, 4.8
    return 6.4, float(np.clip(0.22 * n_features + 1.2, 2.4, 8.0))
