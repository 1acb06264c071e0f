"""Pairs plot of real and synthetic rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._drawing import axes_for, colours, ink
from ._inputs import back, check_names, check_rows, count, feature_index, names_of, numbers, unwrap
from ._rows import in_words

_BINS = 25
_WIDEST = 18  # characters of a label under a panel


@in_words
class PairsDisplay:
    """Pairs plot of real and synthetic rows: scatter plots, and histograms on the diagonal.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Real rows.
    samples : array-like of shape (n_samples, n_features)
        Synthetic rows.
    features : sequence of int or str, or None, default=None
        Features to plot, by index or name; None for the first four.
    feature_names : sequence of str or None, default=None
        Names of all features.

    Attributes
    ----------
    features : list of int
        Indices of the features drawn.
    axes_ : ndarray of shape (n_drawn, n_drawn)
        The Axes of the panels, None above the diagonal.
    bounding_ax_ : Axes
        The Axes that was divided into panels.
    figure_ : Figure

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> from skvae.displays import PairsDisplay
    >>> wine = load_wine(as_frame=True)
    >>> model = PPCA(n_components=2).fit(wine.data)
    >>> features = ["alcohol", "ash", "hue"]
    >>> display = PairsDisplay.from_estimator(model, wine.data, features=features, random_state=0)
    >>> display.axes_.shape
    (3, 3)
    """

    def __init__(
        self,
        *,
        X: ArrayLike,
        samples: ArrayLike,
        features: Sequence[Any] | None = None,
        feature_names: Sequence[str] | None = None,
    ):
        self.X = check_rows(X, "X", missing=True)
        d = self.X.shape[1]
        self.samples = check_rows(samples, "samples", d)
        self.feature_names = check_names(feature_names, d)
        if features is None:
            features = range(min(d, 4))
        elif isinstance(features, str) or not np.iterable(features) or not len(features):
            raise ValueError(f"features must be indices or names, got {features!r}.")
        self.features = [feature_index(feature, self.feature_names) for feature in features]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        features: Sequence[Any] | None = None,
        n_samples: int | None = None,
        random_state: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> PairsDisplay:
        """Sample rows from a model and plot them with real rows.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `sample`, or a Pipeline that ends in one and whose other steps
            have `inverse_transform`.
        X : array-like of shape (n_rows, n_features)
            Real rows.
        features : sequence of int or str, or None, default=None
            Features to plot, by index or name; None for the first four.
        n_samples : int or None, default=None
            Number of rows to sample; None for as many as X has.
        random_state : int, RandomState or None, default=None
            Seed of the samples.
        {own names}
        ax : Axes or None, default=None
            Axes that is divided into panels; None creates a figure.
        **kwargs : dict
            Further parameters, passed to `plot`.

        Returns
        -------
        display : PairsDisplay
        """
        before, model = unwrap(estimator, "sample")
        rows = check_rows(numbers(model if before is None else None, X), "X", missing=True)
        n = len(rows) if n_samples is None else count(n_samples, "n_samples")
        return cls(
            X=rows,
            samples=back(before, numbers(model, model.sample(n, random_state))),
            features=features,
            feature_names=names_of(estimator, feature_names),
        ).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, bins: int = _BINS, alpha: float = 0.6) -> PairsDisplay:
        """Plot the display.

        Parameters
        ----------
        ax : Axes or None, default=None
            Axes of a grid (`subplots`) that is divided into panels; None creates a figure.
        bins : int, default=25
            Number of bins of the histograms.
        alpha : float, default=0.6
            Opacity of the points.

        Returns
        -------
        self : PairsDisplay
        """
        bins = count(bins, "bins")
        from matplotlib.gridspec import GridSpecFromSubplotSpec

        k = len(self.features)
        self.bounding_ax_ = ax = axes_for(ax, (1.8 * k + 1.2, 1.8 * k + 0.6))
        if ax.get_subplotspec() is None:
            raise ValueError("ax cannot be divided into panels: pass an Axes created by subplots.")
        ax.set_axis_off()
        self.figure_ = figure = ax.figure
        grid = GridSpecFromSubplotSpec(k, k, subplot_spec=ax.get_subplotspec())
        self.axes_ = axes = np.full((k, k), None, dtype=object)
        size = float(np.clip(300.0 / np.sqrt(len(self.X)), 4.0, 25.0))
        styles = (
            ("real", self.X, {"color": ink(), "marker": "o", "facecolors": "none"}, "-"),
            ("samples", self.samples, {"color": colours()[0], "marker": "x"}, "--"),
        )
        for i, feature in enumerate(self.features):
            for j, across in enumerate(self.features[: i + 1]):
                share = {"sharex": axes[j, j] if i > j else None}
                if 0 < j < i:
                    share["sharey"] = axes[i, 0]
                axes[i, j] = cell = figure.add_subplot(grid[i, j], **share)
                both = _observed(np.concatenate([self.X[:, across], self.samples[:, across]]))
                for name, rows, points, line in styles:
                    if i == j:
                        cell.hist(
                            _observed(rows[:, across]),
                            np.histogram_bin_edges(both, bins),
                            density=True,
                            histtype="step",
                            color=points["color"],
                            linestyle=line,
                            linewidth=1.3,
                            label=f"{name} (n = {len(rows)})",
                        )
                    else:
                        cell.scatter(
                            rows[:, across],
                            rows[:, feature],
                            s=size,
                            linewidths=0.7,
                            alpha=alpha,
                            **points,
                        )
                self._label(cell, i, j, k)
        handles = axes[0, 0].get_legend_handles_labels()
        legend = axes[0, 0].legend(
            *handles, loc="upper left", bbox_to_anchor=(1.05, 1.0), frameon=False
        )
        legend.set_in_layout(k == 1)  # else it stands where there are no Axes
        return self

    def _name(self, i: int) -> str:
        return textwrap.fill(self.feature_names[self.features[i]], _WIDEST)

    def _label(self, cell: Any, i: int, j: int, k: int) -> None:
        if i == j:
            cell.set_yticks([])
        elif j:
            cell.tick_params(labelleft=False)
        else:
            cell.set_ylabel(self._name(i))
        if i < k - 1:
            cell.tick_params(labelbottom=False)
        else:
            cell.set_xlabel(self._name(j))
        cell.xaxis.get_major_locator().set_params(nbins=4)
        if i != j:
            cell.yaxis.get_major_locator().set_params(nbins=4)


def _observed(values: np.ndarray) -> np.ndarray:
    """Values that are not missing."""
    observed: np.ndarray = values[~np.isnan(values)]
    return observed
