"""Outlier scores of groups of rows and the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d

from ._drawing import (
    LINES,
    MOST_GROUPS,
    axes_for,
    colours,
    in_order,
    ink,
    name_groups,
    number_bar,
    pick,
    short,
)
from ._inputs import count, unwrap
from ._rows import in_words

_SPREADS = 6.0  # interquartile ranges drawn below the median of the highest group


@in_words
class OutlierScoreDisplay:
    """Histograms of the log-densities of groups of rows, with the threshold for outliers.

    Scores of outliers can lie thousands of nats below those of inliers. The axis therefore covers
    only the inliers and the threshold; all lower scores, minus infinity included, are counted in
    the leftmost bin, which is labelled accordingly. A legend names up to 20 groups. With more
    groups, colours follow their order, and a colour bar names some of them.

    Parameters
    ----------
    scores : dict of str to array-like of shape (n_rows,)
        Scores by group, as returned by `score_samples`; higher is more normal.
    threshold : float or None, default=None
        Score below which rows are outliers, such as `offset_`.

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    edges_ : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    shares_ : dict of str to ndarray of shape (n_bins,)
        Fraction of the rows of a group in each bin; the first bin includes all lower scores.
    artists_ : dict of str to Polygon
    threshold_line_ : Line2D or None
    clipped_ : bool
        Whether some scores lie below the first edge.
    colorbar_ : Colorbar or None
        Colour bar of the groups, if there are more than 20.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> from skvae.displays import OutlierScoreDisplay
    >>> X = load_wine().data
    >>> model = PPCA(n_components=2).fit(X)
    >>> shuffled = np.random.default_rng(0).permuted(X, axis=0)
    >>> groups = {"wines": X, "features shuffled": shuffled}
    >>> display = OutlierScoreDisplay.from_estimator(model, groups)
    >>> display.threshold == model.offset_
    True
    """

    def __init__(self, *, scores: Mapping[str, ArrayLike], threshold: float | None = None):
        if not isinstance(scores, Mapping) or not scores:
            raise ValueError(
                "scores must be a dict that maps the name of each group to its "
                "scores, with at least one group."
            )
        self.scores = {str(name): np.asarray(s, np.float64) for name, s in scores.items()}
        for name, values in self.scores.items():
            if values.ndim != 1 or not len(values):
                raise ValueError(f"scores[{name!r}] must be one-dimensional and not empty.")
            if np.isnan(values).any() or np.isposinf(values).any():
                raise ValueError(f"scores[{name!r}] contains NaN or +infinity.")
        if all(np.isneginf(values).all() for values in self.scores.values()):
            raise ValueError("scores contains no finite score.")
        self.threshold = None if threshold is None else float(threshold)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        y: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> OutlierScoreDisplay:
        """Score rows and plot the scores, with the threshold `offset_` of the estimator.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `score_samples`, or a Pipeline of such.
        X : array-like of shape (n_samples, n_features), or dict of str to such
            Rows, or groups of rows by group name.
        y : array-like of shape (n_samples,) or None, default=None
            Labels that divide X into groups.
        {plot}

        Returns
        -------
        display : OutlierScoreDisplay
        """
        _, model = unwrap(estimator, "score_samples")
        if isinstance(X, Mapping):
            if y is not None:
                raise ValueError(
                    "y divides an array X into groups and cannot be given if X is a dict of groups."
                )
            scores = {str(name): estimator.score_samples(rows) for name, rows in X.items()}
        else:
            all_scores = estimator.score_samples(X)
            if y is None:
                scores = {"rows": all_scores}
            else:
                labels = column_or_1d(y)
                if len(labels) != len(all_scores):
                    raise ValueError(f"y has {len(labels)} labels for {len(all_scores)} rows.")
                scores = {str(c): all_scores[labels == c] for c in np.unique(labels)}
        return cls(scores=scores, threshold=getattr(model, "offset_", None)).plot(ax=ax, **kwargs)

    def plot(
        self, ax: Any = None, *, bins: int = 40, low: float | None = None
    ) -> OutlierScoreDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        bins : int, default=40
            Number of bins, at least 2.
        low : float or None, default=None
            Left end of the axis. None takes 6 interquartile ranges below the median of the group
            with the highest median, a lower value if the threshold is lower, and the lowest score
            if that is higher; or the lowest finite score if that median is minus infinity.

        Returns
        -------
        self : OutlierScoreDisplay
        """
        bins = count(bins, "bins", 2)
        finite = np.concatenate([s[np.isfinite(s)] for s in self.scores.values()])
        high = float(finite.max())
        if low is None:
            least = float(finite.min())
            low = max(self._usual_low(high, least), least)
        if not np.isfinite(low) or low > high:
            raise ValueError(f"low={low} must not be above the highest score, {high:.4g}.")
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.edges_ = edges = np.linspace(low, high, bins + 1)
        self.clipped_ = any((values < low).any() for values in self.scores.values())
        self.ax_ = ax = axes_for(ax)
        self.figure_ = ax.figure
        n_groups = len(self.scores)
        order = None if n_groups <= MOST_GROUPS else in_order(n_groups)
        self.shares_, self.artists_ = {}, {}
        for i, (name, values) in enumerate(self.scores.items()):
            self.shares_[name] = np.histogram(np.maximum(values, low), edges)[0] / len(values)
            colour = pick(colours(), i) if order is None else order.to_rgba(i)
            style = {"color": colour, "linestyle": pick(LINES, i), "linewidth": 1.5}
            label = f"{short(name)} (n = {len(values)})"
            if self.threshold is not None:
                below = np.mean(values < self.threshold)
                label = f"{short(name)} ({below:.1%} of {len(values)} below)"
            if order is None:
                ax.stairs(self.shares_[name], edges, fill=True, color=colour, alpha=0.2)
                style["label"] = label
            self.artists_[name] = ax.stairs(self.shares_[name], edges, **style)
        self.colorbar_ = None if order is None else number_bar(ax, order, list(self.scores))
        self.threshold_line_ = None
        if self.threshold is not None and np.isfinite(self.threshold):
            self.threshold_line_ = ax.axvline(
                self.threshold, color=ink(), linewidth=1.5, label=f"threshold {self.threshold:.4g}"
            )
        if self.clipped_:
            ax.axvline(edges[1], color=ink(), linewidth=0.8, linestyle=":")
            span = edges[-1] - edges[0]
            usual = [t for t in ax.get_xticks() if edges[0] + 0.16 * span < t <= edges[-1]]
            ax.set_xticks(
                [(edges[0] + edges[1]) / 2, *usual],
                [f"< {edges[1]:.3g}", *(f"{tick:g}" for tick in usual)],
            )
        ax.set(xlabel="log-density (nats)", ylabel="share of the group's rows")
        ax.margins(x=0.02)
        if order is None:
            name_groups(ax, n_groups, framealpha=0.8)
        elif self.threshold_line_ is not None:
            ax.legend(loc="best", framealpha=0.8)
        return self

    def _usual_low(self, high: float, least: float) -> float:
        quartiles = [np.percentile(s, [25, 50, 75], method="lower") for s in self.scores.values()]
        first, median, third = max(quartiles, key=lambda q: q[1])
        if np.isneginf(median):
            return least
        if np.isneginf(first):
            first = median
        low = float(median - _SPREADS * (third - first))
        if self.threshold is not None and np.isfinite(self.threshold):
            low = min(low, self.threshold - 0.15 * (high - self.threshold))
        return low
