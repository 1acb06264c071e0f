"""Model selection by the log-density of held-out rows."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from ..nn.batch import Batch
from ..nn.distributions import normal_points
from ..nn.marginal_likelihood import log_density
from ..nn.model import Model

_DRAWS = 16
_LEAST_ROWS, _MOST_ROWS = 20, 300
_NUMBERS = 1 << 22  # of the Jacobians of the rows that choose, roughly
_ROWS_AT_ONCE = 128
# how far from a median rows or cells count, and a normal distribution's spread by median deviation
FARTHEST_SPREADS, SPREAD_OF_DEVIATION = 30.0, 1.4826
FOLDS = 5  # of rows that are held out: row i is in fold i mod 5
_SLOPES = (1.0, 0.75, 0.5, 0.25, 0.0)
_LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 7.0)


def step_between(model: Model, rows: Batch) -> int:
    """Return the step between rows used for selection: at most 300 rows, fewer for large models."""
    most = min(_NUMBERS // (_n_codes(model, rows) * model.likelihood.width), _MOST_ROWS)
    step = -(-rows.n_rows // max(_LEAST_ROWS, most))
    return step + (step % FOLDS == 0)  # so that each fold has its part of them


@torch.no_grad()
def _n_codes(model: Model, rows: Batch) -> int:
    return model.encode(rows.take(slice(1))).mean.shape[1]


@torch.no_grad()
def log_densities(model: Model, rows: Batch) -> Tensor:
    """Estimate log p (m,), float64, of the standardised rows of `step_between`."""
    some = rows.take(slice(None, None, step_between(model, rows)))
    points = normal_points(_DRAWS, _n_codes(model, rows), torch.float64).to(rows.x)
    parts = some.split(_ROWS_AT_ONCE)
    return torch.cat([log_density(model, part, points).score.double() for part in parts])


def lowest_that_counts(scores: Tensor) -> float:
    """Return 30 robust standard deviations below the median, where scores are clipped."""
    median = scores.nanmedian()
    spread = SPREAD_OF_DEVIATION * (scores - median).abs().nanmedian()
    return float((median - FARTHEST_SPREADS * spread).nan_to_num(-torch.inf))


def bounded(scores: Tensor, low: float) -> Tensor:
    """Clip scores at `low`, also NaN."""
    return scores.nan_to_num(low, neginf=low).clamp(min=low)


class Tempering(NamedTuple):
    """Slopes and levels of the noise of a network, with log-densities of rows for each.

    Attributes
    ----------
    centre : Tensor of shape (f,)
        Mean log-variances over training rows.
    settings : list of (float, float)
        Slopes and levels: see `Likelihood.temper`.
    scores : Tensor of shape (s, m)
        Log-densities of held-out rows at each setting.
    """

    centre: Tensor
    settings: list[tuple[float, float]]
    scores: Tensor

    @classmethod
    def of(cls, model: Model, rows: Batch, held_out: Batch) -> Tempering | None:
        """Compute from training rows and others; None if no network outputs the noise."""
        centre = _mean_log_noise(model, rows)
        if centre is None:
            return None
        settings = list(product(_SLOPES, _LEVELS))
        scores = []
        for slope, level in settings:
            model.likelihood.temper(slope, level, centre)
            scores.append(log_densities(model, held_out))
        model.likelihood.restore_noise()
        return cls(centre, settings, torch.stack(scores))

    def apply(self, model: Model, among: Tensor | slice = slice(None)) -> None:
        """Use the setting that is best for (some of) the rows."""
        low = lowest_that_counts(self.scores[0])
        means = bounded(self.scores[:, among], low).mean(1).nan_to_num(-torch.inf)
        model.likelihood.temper(*self.settings[int(means.argmax())], self.centre)


def _mean_log_noise(model: Model, rows: Batch) -> Tensor | None:
    found = []
    with torch.no_grad():
        for part in rows.split(model.chunk):
            h = model.decoder.outputs(model.encode(part).mean, part.context)
            noise = model.likelihood.network_noise(h)
            if noise is None:
                return None
            found.append(noise)
    return torch.cat(found).mean(0)
