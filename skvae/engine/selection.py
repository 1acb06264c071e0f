"""What is chosen by the log-density of rows that were not trained on."""

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
_NUMBERS = 1 << 23  # of the Jacobians of the rows that choose, roughly
_ROWS_AT_ONCE = 128
_SLOPES = (1.0, 0.75, 0.5, 0.25, 0.0)
_LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0)


def log_densities(model: Model, rows: Batch) -> tuple[Tensor, Tensor]:
    """Numbers (m,) of evenly spread rows, at most 300, and their log p (m,) in float64.

    They are fewer where the model is large.
    """
    with torch.no_grad():
        k = model.encode(rows.take(slice(1))).mean.shape[1]
        most = min(_NUMBERS // (k * model.likelihood.width), _MOST_ROWS)
        step = -(-rows.n_rows // max(_LEAST_ROWS, most))
        points = normal_points(_DRAWS, k, torch.float64).to(rows.x)
        parts = rows.take(slice(None, None, step)).split(_ROWS_AT_ONCE)
        found = [log_density(model, part, points).score.double() for part in parts]
    return torch.arange(0, rows.n_rows, step, device=rows.x.device), torch.cat(found)


class Tempering(NamedTuple):
    """The noise of a network at other slopes and levels, and how likely rows are at each.

    Attributes
    ----------
    centre : Tensor of shape (f,)
        Mean log-variances over training rows.
    settings : list of (float, float)
        Slopes and levels: see `Likelihood.temper`.
    rows : Tensor of shape (m,)
        Numbers of the held-out rows that tell.
    scores : Tensor of shape (s, m)
        Their log-densities at each setting.
    """

    centre: Tensor
    settings: list[tuple[float, float]]
    rows: Tensor
    scores: Tensor

    @classmethod
    def of(cls, model: Model, rows: Batch, held_out: Batch) -> Tempering | None:
        """From training rows and others; None where no network gives noise."""
        centre = _mean_log_noise(model, rows)
        if centre is None:
            return None
        settings = list(product(_SLOPES, _LEVELS))
        scores = []
        for slope, level in settings:
            model.likelihood.temper(slope, level, centre)
            numbers, found = log_densities(model, held_out)
            scores.append(found)
        model.likelihood.restore_noise()
        return cls(centre, settings, numbers, torch.stack(scores))

    def apply(self, model: Model, among: Tensor | slice = slice(None)) -> None:
        """Set what is best for (some of) the rows."""
        means = self.scores[:, among].mean(1).nan_to_num(-torch.inf)
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
