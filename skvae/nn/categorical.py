"""Categorical likelihood for groups of one-hot features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .batch import Batch
from .distributions import Distribution
from .likelihoods import Likelihood

_FARTHEST = 30.0  # bound of logits, so that their exponentials can be added in float32
_RAREST = 1e-3  # proportion at which slopes of a linear initialisation are clipped


class OneHot(Distribution):
    """Independent groups of one-hot encoded classes; all zeros if not observed.

    Parameters
    ----------
    logits : Tensor of shape (..., e)
    groups : Tensor of shape (e, g)
        1 if a feature belongs to a group, else 0.
    """

    def __init__(self, logits: Tensor, groups: Tensor):
        self.logits, self.groups = logits.clamp(-_FARTHEST, _FARTHEST), groups

    def _log_totals(self) -> Tensor:
        """Return the logarithm of the sum of exponentials of each group (..., g)."""
        return torch.log(self.logits.exp() @ self.groups)

    @property
    def _log_shares(self) -> Tensor:
        return self.logits - self._log_totals() @ self.groups.T

    @property
    def mean(self) -> Tensor:
        """Probabilities of the classes (..., e)."""
        return self._log_shares.exp()

    @property
    def variance(self) -> Tensor:
        p = self.mean
        return p * (1.0 - p)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability (..., e) of the observed class, at its feature."""
        return x * self._log_shares

    def log_likelihood(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        chosen = (x * self.logits).sum(-1)
        return chosen - ((x @ self.groups) * self._log_totals()).sum(-1)

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        waits = torch.empty_like(self.logits).exponential_(generator=rng)
        noisy = (
            self.logits - waits.clamp(min=1e-30).log()
        )  # the first of competing exponential waiting times
        sizes = self.groups.sum(0).int().tolist()
        found = torch.zeros_like(noisy)
        begun = 0
        for part in torch.split(noisy, sizes, -1):
            found.scatter_(-1, begun + part.argmax(-1, keepdim=True), 1.0)
            begun += part.shape[-1]
        return found

    def repeat(self, n: int) -> OneHot:
        return OneHot(self.logits.repeat(n, 1), self.groups)


class Softmax(Likelihood):
    """Likelihood with a softmax over the classes of each column; log p is a log-probability.

    Parameters
    ----------
    classes : sequence of int
        Number of classes of each column.
    """

    has_density = False
    groups: Tensor

    def __init__(self, classes: Sequence[int]):
        super().__init__()
        self.n_features = self.width = sum(classes)
        member = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor([*classes]))
        groups = torch.nn.functional.one_hot(member, len(classes)).float()
        self.register_buffer("groups", groups, persistent=False)
        self.register_buffer("null_loss", torch.tensor(float(len(classes))))

    def forward(self, h: Tensor) -> Distribution:
        return OneHot(h, self.groups)

    def _null_loss(self, batch: Batch) -> Tensor:
        """Return the entropy of the proportions of the classes."""
        share = batch.x.mean(0)
        seen = (share @ self.groups) @ self.groups.T
        return -torch.xlogy(share, share / seen.clamp(min=1e-12)).sum()

    def information(self, h: Tensor, batch: Batch, columns: Tensor) -> tuple[Tensor, Tensor]:
        seen = (batch.x @ self.groups) @ self.groups.T
        p = OneHot(h, self.groups).mean * seen
        gradient = torch.einsum("anw,nw->na", columns, batch.x - p)
        weighted = columns * p
        by_group = weighted @ self.groups  # (k, n, g)
        fisher = torch.einsum("anw,bnw->nab", weighted, columns)
        return gradient, fisher - torch.einsum("ang,bng->nab", by_group, by_group)

    @property
    def noise_by_feature(self) -> Tensor | None:
        return self.groups.new_full((self.n_features,), float("nan"))

    def linear_outputs(
        self, weight: Tensor, offsets: Tensor, mean: Tensor, noise: float
    ) -> tuple[Tensor, Tensor]:
        """Return logarithms of the proportions, and their slopes."""
        share = mean.clamp(min=_RAREST)
        return torch.hstack([weight, offsets]) / share[:, None], torch.log(share)
