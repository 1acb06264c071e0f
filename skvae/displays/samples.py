"""Samples from a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._drawing import in_lines
from ._inputs import back, check_rows, count, numbers, own_look, unwrap
from ._rows import RowsDisplay, in_words


@in_words
class SamplesDisplay(RowsDisplay):
    """Samples from a model: a grid of images, or a heat map of a table in standard deviations.

    Parameters
    ----------
    samples : array-like of shape (n_samples, n_features)
        The rows.
    y : array-like of shape (n_samples,) or None, default=None
        Labels of the samples, with samples of the same label adjacent: each label has a line of
        images, or a part of the heat map.
    reference : array-like of shape (n_reference, n_features) or None, default=None
        Rows whose means and standard deviations define the units of the heat map; None for the
        samples. With a single row, the units are those of the samples.
    {look}

    Attributes
    ----------
    ax_, figure_ : Axes and Figure
    image_ : AxesImage
    colorbar_ : Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import PPCA
    >>> from skvae.displays import SamplesDisplay
    >>> X = load_wine().data
    >>> model = PPCA(n_components=2).fit(X)
    >>> display = SamplesDisplay.from_estimator(model, 50, reference=X, random_state=0)
    >>> display.samples.shape
    (50, 13)
    """

    def __init__(
        self,
        *,
        samples: ArrayLike,
        y: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
    ):
        self.samples = check_rows(samples, "samples")
        n = len(self.samples)
        self.y: Any = None if y is None else np.asarray(y)
        if self.y is not None:
            if self.y.shape != (n,):
                raise ValueError(f"y has shape {self.y.shape} for {n} samples.")
            if len(self._parts()) > len(np.unique(self.y)):
                raise ValueError("y must be sorted so that samples of the same label are adjacent.")
        self._look(self.samples, reference, image_shape, feature_names)

    def _parts(self) -> list[np.ndarray]:
        """Return the indices of the samples of each label, in their order."""
        changes = np.flatnonzero(self.y[1:] != self.y[:-1]) + 1
        return np.split(np.arange(len(self.y)), changes)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        n_samples: int = 20,
        *,
        y: ArrayLike | None = None,
        noise: bool | str = "auto",
        random_state: Any = None,
        reference: ArrayLike | None = None,
        image_shape: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> SamplesDisplay:
        """Sample new rows from a model and plot them.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `sample`, or a Pipeline that ends in one and whose other steps
            have `inverse_transform`.
        n_samples : int, default=20
            Number of rows, for each label if `y` is given.
        y : array-like of shape (n_labels,) or None, default=None
            Labels to sample rows of, each listed once, for a `ConditionalVAE`.
        noise : bool or "auto", default="auto"
            Whether to add the decoder's noise, as `sample` does. "auto" shows the decoder's means
            of images, which noise makes grainy, and adds the noise to rows of a table.
        random_state : int, RandomState or None, default=None
            Seed of the samples.
        reference : array-like of shape (n_reference, n_features) or None, default=None
            Rows that define the units of the heat map, preferably the training rows; None for the
            samples.
        {own look}
        {plot}

        Returns
        -------
        display : SamplesDisplay
        """
        before, model = unwrap(estimator, "sample")
        n = count(n_samples, "n_samples")
        labels = None
        if noise == "auto":
            noise = image_shape is None and getattr(model, "image_shape_", None) is None
        elif noise not in (True, False):
            raise ValueError(f"noise must be True, False or 'auto', got {noise!r}.")
        if y is None:
            drawn = model.sample(n, random_state, noise=noise)
        else:
            if not hasattr(model, "classes_"):
                raise TypeError(
                    f"y needs a conditional model, such as ConditionalVAE, not {model!r}."
                )
            listed, times = np.unique(np.atleast_1d(np.asarray(y)), return_counts=True)
            if (times > 1).any():
                raise ValueError(
                    f"y lists the label {listed[times > 1].tolist()[0]!r} more than once: list "
                    "each label once and set n_samples to the number of rows for each label."
                )
            labels = np.repeat(np.atleast_1d(np.asarray(y)), n)
            drawn = model.sample(len(labels), random_state, y=labels, noise=noise)
        rows = back(before, numbers(model, drawn))
        return cls(
            samples=rows,
            y=labels,
            reference=reference,
            **own_look(estimator, image_shape, feature_names, rows.shape[1]),
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        n_columns: int = 10,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> SamplesDisplay:
        """Plot the display.

        Parameters
        ----------
        {ax}
        n_columns : int, default=10
            Maximum number of images in a line.
        {colours}

        Returns
        -------
        self : SamplesDisplay
        """
        n_columns = count(n_columns, "n_columns")
        self.colorbar_ = None
        if self.image_shape is not None:
            tiles, labels = self._tiles(n_columns)
            self._draw_pictures(ax, tiles, (self.samples, vmin, vmax), cmap, labels)
            return self
        ax = self._draw_heat(ax, self.samples, cmap, vmin, vmax)
        if self.y is None:
            ax.set_xlabel("sample")
            ax.xaxis.get_major_locator().set_params(integer=True)
        else:
            parts = self._parts()
            for part in parts[1:]:
                ax.axvline(part[0] - 0.5, color=ax.get_facecolor(), linewidth=2.0)
            ax.set_xticks([part.mean() for part in parts], [str(self.y[p[0]]) for p in parts])
            ax.set_xlabel("samples of each label")
        return self

    def _tiles(self, n_columns: int) -> tuple[np.ndarray, list[str] | None]:
        """Return the lines of images, and the label of each line."""
        if self.y is None:
            return in_lines(self.samples, min(n_columns, len(self.samples))), None
        parts = self._parts()
        width = min(n_columns, max(map(len, parts)))
        lines = [in_lines(self.samples[part], width) for part in parts]
        labels = [
            str(self.y[part[0]]) if i == 0 else ""
            for part, line in zip(parts, lines, strict=True)
            for i in range(len(line))
        ]
        return np.concatenate(lines), labels
