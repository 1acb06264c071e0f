"""Codes of rows in one or two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import gaussian_kde, norm
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length

from ..contract.learner import seed_from
from ._drawing import (
    HATCHES,
    MARKERS,
    MOST_GROUPS,
    axes_for,
    colours,
    ink,
    name_groups,
    number_bar,
    pick,
    short,
)
from ._inputs import check_components, check_rows, into, unwrap
from ._rows import in_words

_GRID = 100  # points along each axis
_KERNELS = 4096  # rows used to estimate a density
_NORMAL_REACH = 5.0
_REACH = 6.0  # interquartile ranges beyond the quartiles from which a code counts as far away
_FEW = 0.05  # largest share of the codes that may lie outside of the axes


@in_words
class LatentSpaceDisplay:
    """One or two latent coordinates of rows, with labels and with the density of the codes.

    Two coordinates are drawn as a scatter plot, with labels shown by colour and marker; one
    coordinate as a histogram above a rug plot, with labels shown by colour and hatch. The density
    is drawn as contours of the smallest sets that contain given fractions of its mass, or as a
    curve.

    The axes show all codes and the density, except codes that lie more than 6 interquartile ranges
    beyond the quartiles, if these are a single code or at most 5 % of the codes. A note above the
    axes gives their number, and kernel density estimates leave them out.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, 1) or (n_samples, 2)
        The coordinates to draw.
    y : array-like of shape (n_samples,) or None, default=None
        Labels. Non-integer numbers, and labels with more than 20 different values, are shown by a
        colour bar; strings are then numbered in sorted order, and some of them are named beside the
        bar.
    grid : tuple of ndarrays of shape (n_grid,) or None, default=None
        Axes of the grid on which the density is given: one, or two for two coordinates.
    density : ndarray of shape (n_grid,) or (n_grid, n_grid) or None, default=None
        Density on the grid; the first index is that of the first coordinate.
    names : list of str or None, default=None
        Names of the coordinates.

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    artists_ : list
        Points by label; bars by label for a single coordinate.
    contours_ : QuadContourSet, Line2D or None
        The density.
    colorbar_ : Colorbar or None
    n_outside_ : int
        Number of codes outside of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> from skvae.displays import LatentSpaceDisplay
    >>> X, y = load_wine(return_X_y=True)
    >>> model = PPCA(n_components=2).fit(X)
    >>> display = LatentSpaceDisplay.from_estimator(model, X, y=y, density="prior")
    >>> display.codes.shape
    (178, 2)
    """

    def __init__(
        self,
        *,
        codes: np.ndarray,
        y: ArrayLike | None = None,
        grid: tuple[np.ndarray, ...] | None = None,
        density: np.ndarray | None = None,
        names: list[str] | None = None,
    ):
        self.codes = check_rows(codes, "codes")
        if self.codes.shape[1] > 2:
            raise ValueError(f"codes must have 1 or 2 columns, got {self.codes.shape[1]}.")
        self.y = None if y is None else column_or_1d(y)
        check_consistent_length(self.codes, self.y)
        self.grid: Any = grid
        self.density: Any = density
        self.names = names or [f"code {j}" for j in range(self.codes.shape[1])]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        y: ArrayLike | None = None,
        components: Any = None,
        density: str | None = None,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> LatentSpaceDisplay:
        """Encode rows and plot their codes.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `transform`, or a Pipeline that ends in one.
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or None, default=None
            Labels.
        components : int, pair of int or None, default=None
            Indices of the latent coordinates; None for the first two, or the only one.
        density : {"prior", "codes"} or None, default=None
            Density to draw. "prior" is the latent distribution of the model, exact if it is N(0,
            I), otherwise a kernel density estimate from 4096 samples; "codes" is a kernel density
            estimate from the codes of X.
        random_state : int, RandomState or None, default=0
            Seed of these samples.
        {plot}

        Returns
        -------
        display : LatentSpaceDisplay
        """
        before, model = unwrap(estimator, "transform")
        prior_samples = None
        if density == "prior":
            if not hasattr(model, "_latent_draws"):
                raise TypeError(
                    f"density='prior' needs a model with a latent distribution, not {model!r}."
                )
            prior_samples = model._latent_draws(1, seed_from(random_state))
        codes = np.asarray(model.transform(into(before, X)))
        return cls.from_codes(
            codes,
            y=y,
            components=components,
            density=density,
            prior_samples=prior_samples,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_codes(
        cls,
        codes: ArrayLike,
        *,
        y: ArrayLike | None = None,
        components: Any = None,
        density: str | None = None,
        prior_samples: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> LatentSpaceDisplay:
        """Plot given codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components)
            Codes, as `transform` returns them.
        y, components, ax, **kwargs
            As in `from_estimator`.
        density : {"prior", "codes"} or None, default=None
            Density of the latent distribution, or a kernel density estimate from the codes.
        prior_samples : array-like of shape (n_draws, n_components) or None, default=None
            Samples from the latent distribution, for ``density="prior"``; None stands for N(0, I).

        Returns
        -------
        display : LatentSpaceDisplay
        """
        if density not in (None, "prior", "codes"):
            raise ValueError(f"density must be None, 'prior' or 'codes', got {density!r}.")
        if prior_samples is not None and density != "prior":
            raise ValueError("prior_samples can be given only with density='prior'.")
        Z = check_rows(codes, "codes")
        chosen = list(check_components(components, Z.shape[1]))
        names = [f"code {j}" for j in chosen]
        shown = Z[:, chosen]
        if density is None:
            return cls(codes=shown, y=y, names=names).plot(ax=ax, **kwargs)
        draws = shown if density == "codes" else None
        if prior_samples is not None:
            draws = check_rows(prior_samples, "prior_samples", Z.shape[1])[:, chosen]
        if draws is None:
            grid = (np.linspace(-_NORMAL_REACH, _NORMAL_REACH, _GRID),) * len(chosen)
            values = _normal(grid)
        else:
            grid, values = _density_of(draws)
        return cls(codes=shown, y=y, grid=grid, density=values, names=names).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        shares: tuple[float, ...] = (0.5, 0.9, 0.99),
        bins: int = 40,
        cmap: str | None = None,
        **kwargs: Any,
    ) -> LatentSpaceDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        shares : tuple of float, default=(0.5, 0.9, 0.99)
            Fractions of the mass that the contours of the density enclose, for two coordinates.
        bins : int, default=40
            Number of bins of the histogram of a single coordinate.
        cmap : str or None, default=None
            Colormap of continuous labels; None for that of the style.
        **kwargs : dict
            Further parameters of the points (`Axes.scatter`), or of the rug plot.

        Returns
        -------
        self : LatentSpaceDisplay
        """
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure
        self.colorbar_ = self.contours_ = None
        groups = None if self.y is None or _is_continuous(self.y) else np.unique(self.y)
        self._values, words = self.y, None
        if self.y is not None and groups is None and self.y.dtype.kind not in "iufb":
            words, self._values = np.unique(self.y, return_inverse=True)
        if self.codes.shape[1] == 2:
            self._plot_plane(ax, groups, shares, cmap, kwargs)
        else:
            self._plot_line(ax, groups, bins, cmap, kwargs)
        if words is not None:
            self.colorbar_ = number_bar(ax, self.artists_[-1], words)
        elif groups is not None:
            name_groups(ax, len(groups), markerscale=1.5)
        elif self.y is not None:
            self.colorbar_ = self.figure_.colorbar(self.artists_[-1], ax=ax, label="y")
        return self

    def _members(self, groups: Any) -> list[tuple[Any, np.ndarray]]:
        """Return the name and mask of each group."""
        if groups is None:
            return [(None, np.ones(len(self.codes), bool))]
        return [(group, self.y == group) for group in groups]

    def _plot_plane(
        self, ax: Any, groups: Any, shares: Any, cmap: Any, kwargs: dict[str, Any]
    ) -> None:
        size = float(np.clip(1000.0 / np.sqrt(len(self.codes)), 14.0, 40.0))
        style = {"s": size, "linewidths": 0.3, "edgecolors": ax.get_facecolor()} | kwargs
        self.artists_ = []
        for i, (group, chosen) in enumerate(self._members(groups)):
            if self.y is not None and groups is None:
                own = {"c": self._values, "cmap": cmap}
            else:
                own = {"color": pick(colours(), i), "marker": pick(MARKERS, i)}
                own["label"] = None if groups is None else short(group)
            self.artists_.append(ax.scatter(*self.codes[chosen].T, **(own | style)))
        levels = {} if self.density is None else _levels(self.grid, self.density, shares)
        self._limit(ax, min(levels, default=np.inf))
        if levels and self.density is not None:
            from matplotlib.patheffects import withStroke

            self.contours_ = ax.contour(
                *self.grid, self.density.T, levels=list(levels), colors=ink(), linewidths=1.0
            )
            halo = [withStroke(linewidth=3.0, foreground=ax.get_facecolor())]
            for label in ax.clabel(self.contours_, fmt=levels, zorder=4):
                label.set_path_effects(halo)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])

    def _limit(self, ax: Any, level: float) -> None:
        """Set the axis limits around the near codes and the region of high density."""
        shown = self.codes[_near(self.codes)]
        limits = []
        for j in range(shown.shape[1]):
            seen = shown[:, j]
            if self.density is not None:
                high = (self.density >= level).any(axis=tuple({*range(shown.shape[1])} - {j}))
                seen = np.concatenate([seen, self.grid[j][high]])
            limits.append(_extent(seen))
        ax.set_xlim(limits[0])
        if len(limits) == 2:
            ax.set_ylim(limits[1])
        low, high = np.transpose(limits)
        self.n_outside_ = int(((self.codes < low) | (self.codes > high)).any(axis=1).sum())
        if self.n_outside_:
            note = f"{self.n_outside_} of {len(self.codes)} codes outside"
            ax.set_title(note, loc="right", fontsize="small")

    def _plot_line(
        self, ax: Any, groups: Any, bins: Any, cmap: Any, kwargs: dict[str, Any]
    ) -> None:
        codes = self.codes[:, 0]
        edges = np.histogram_bin_edges(codes[_near(self.codes)], bins)
        width = np.diff(edges)
        members = self._members(groups)
        below = np.zeros(len(width))
        self.artists_ = []
        for i, (group, chosen) in enumerate(members):
            share = np.histogram(codes[chosen], edges)[0] / (len(codes) * width)
            bars = ax.bar(
                edges[:-1],
                share,
                width,
                below,
                align="edge",
                label=None if groups is None else short(group),
                color=pick(colours(), i),
                hatch=pick(HATCHES, i),
                linewidth=0.4,
                edgecolor=ax.get_facecolor() if groups is None else ink(),
            )
            self.artists_.append(bars)
            below += share
        step = 0.035 * below.max()
        continuous = self.y is not None and groups is None
        for i, (group, chosen) in enumerate(members):
            own = (
                {"c": self._values, "cmap": cmap} if continuous else {"color": pick(colours(), i)}
            ) | kwargs
            line = np.full(chosen.sum(), -step * (i + 0.8))
            rug = ax.scatter(codes[chosen], line, **({"marker": "|", "s": 16} | own))
            if continuous:
                self.artists_.append(rug)
            if groups is not None:
                ax.text(
                    0.99,
                    line[0],
                    short(group),
                    transform=ax.get_yaxis_transform(),
                    ha="right",
                    va="center",
                    fontsize="xx-small",
                )
        if self.density is not None:
            (self.contours_,) = ax.plot(self.grid[0], self.density, color=ink(), linewidth=1.5)
        self._limit(ax, np.inf if self.density is None else 0.01 * self.density.max())
        ax.set(xlabel=self.names[0], ylabel="density")
        ax.set_yticks([tick for tick in ax.get_yticks() if tick >= 0.0])
        ax.set_ylim(bottom=-step * (len(members) + 0.6))


def _is_continuous(y: np.ndarray) -> bool:
    """Return whether y is shown by a colour bar."""
    if len(np.unique(y)) > MOST_GROUPS:
        return True
    return y.dtype.kind in "iufb" and type_of_target(y) == "continuous"


def _near(codes: np.ndarray) -> np.ndarray:
    """Return a mask of the codes inside of the axes: all but a few that lie far from the others."""
    first, third = np.percentile(codes, [25, 75], axis=0)
    room = _REACH * (third - first)
    near = ((first - room <= codes) & (codes <= third + room)).all(axis=1)
    few = max(1, int(_FEW * len(codes)))
    return near if len(codes) - near.sum() <= few else np.ones(len(codes), bool)


def _normal(grid: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the density of N(0, I) on a grid."""
    values = [norm.pdf(axis) for axis in grid]
    return values[0] if len(grid) == 1 else np.outer(*values)


def _density_of(draws: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return the axes of a grid around samples, and a kernel estimate of their density on it."""
    k = draws.shape[1]
    some = draws[:: -(-len(draws) // _KERNELS)].astype(np.float64)
    some = some[_near(some)]  # a single far sample would blur the estimate everywhere
    try:
        estimate = gaussian_kde(some.T)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise ValueError(
            "the density of the codes cannot be estimated: there are too few codes, or they lie on "
            "one point or line. Pass density=None."
        ) from error
    margin = 3.0 * np.sqrt(np.diag(estimate.covariance))
    low, high = some.min(axis=0) - margin, some.max(axis=0) + margin
    grid = tuple(np.linspace(low[j], high[j], _GRID) for j in range(k))
    points = np.stack([axis.ravel() for axis in np.meshgrid(*grid, indexing="ij")])
    return grid, estimate(points).reshape((_GRID,) * k)


def _levels(
    grid: tuple[np.ndarray, ...], density: np.ndarray, shares: tuple[float, ...]
) -> dict[float, str]:
    """Return increasing levels of the density that enclose shares of its mass, with names."""
    if not all(0.0 < share < 1.0 for share in shares):
        raise ValueError(f"shares must lie between 0 and 1, got {shares!r}.")
    falling = np.sort(density, axis=None)[::-1]
    named: dict[float, list[str]] = {}
    for share in sorted(set(shares), reverse=True):
        if np.array_equal(density, _normal(grid)):
            level = (1.0 - share) / (2.0 * np.pi)  # radius^2 = -2 log(1 - share)
        else:
            mass = np.cumsum(falling) / falling.sum()
            level = falling[np.searchsorted(mass, share)]
        named.setdefault(float(level), []).append(f"{100.0 * share:g} %")
    # a flat density has one level for all shares, which no contour separates
    return {
        level: ", ".join(names)
        for level, names in sorted(named.items())
        if falling[-1] < level < falling[0]
    }


def _extent(values: np.ndarray) -> tuple[float, float]:
    """Return the limits of an axis with a margin around values."""
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.05 * max(1.0, abs(low))
    return low - room, high + room
