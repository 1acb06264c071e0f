"""Random masking of values in training, so that a model learns to impute any of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .batch import Batch
from .shares import uniform_like


class RandomMasking:
    """Mask values of a row with a probability that is uniform on [0, 2 rate] for each row.

    Parameters
    ----------
    rate : float
        Mean proportion of masked values, at most 0.5.
    columns : Tensor of int64 of shape (e,)
        The column of each encoded feature; features of a column are masked together.
    """

    def __init__(self, rate: float, columns: Tensor):
        self.rate, self.columns = rate, columns
        self.n_columns = int(columns.max()) + 1 if len(columns) else 0

    def __call__(self, batch: Batch, rng: torch.Generator | None) -> Batch:
        shape = batch.n_rows, self.n_columns
        chance = uniform_like(batch.x[:, :1], rng, 0.0, 2.0 * self.rate)
        draw = torch.empty(shape, dtype=batch.x.dtype, device=batch.x.device)
        kept = uniform_like(draw, rng) >= chance
        kept = kept[:, self.columns.to(kept.device)]
        observed = kept if batch.observed is None else kept & batch.observed
        return batch._replace(x=batch.x * kept, observed=observed)
