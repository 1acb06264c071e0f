"""Initialisation by probabilistic PCA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..linear_gaussian import LinearGaussian, fit_linear_gaussian
from ..nn.model import Model
from ..nn.networks import Network
from ..tables.schema import Schema
from ..tables.source import RowSource

START_ROWS = 8192  # rows for the linear initialisation and the automatic number of components
_MOST_COMPONENTS = 64


@dataclass
class LinearStart:
    """Probabilistic PCA of standardised rows minus the contribution of the context to the mean.

    Attributes
    ----------
    linear : LinearGaussian
    offsets : ndarray of shape (d, c)
        Contribution of the context to the mean: for one-hot labels the means of the classes.
    n_rows : int
        Rows of the source.
    """

    linear: LinearGaussian
    offsets: np.ndarray
    n_rows: int

    @classmethod
    def of(cls, source: RowSource, schema: Schema, n_components: int | None) -> LinearStart:
        """Fit to (some of) the rows of a source; n_components None keeps up to 64 components."""
        n, d = source.n_rows, schema.layout.n_features
        if source.n_context:
            some = schema.encode(source.some(START_ROWS), torch.float64)
            X, context = some.x.numpy(), some.context
            assert context is not None
            by_context = np.linalg.lstsq(context.numpy(), X, rcond=None)[0]
            X, offsets = X - context.numpy() @ by_context, by_context.T
            n = len(X)
            rows = X[_spread(n, d)].astype(np.float32)
        else:
            offsets = np.zeros((d, 0))
            rows = schema.encode(source.take(_spread(n, d)), torch.float32).x.numpy()
        most = _MOST_COMPONENTS if n_components is None else n_components
        linear = fit_linear_gaussian(rows, max(1, min(most, len(rows) - 1, d - 1)))[0]
        return cls(linear, offsets, n)

    def choose_n_components(self, noise_floor: float | None = None) -> int:
        """Return the number of components that explain 90 % of the variance; at least 8, or all.

        For fits that optimise the density, these are the components with at least twice the
        standard deviation of the noise floor, but at most one for every 16 rows.
        """
        d = len(self.linear.mean)
        if noise_floor is None:
            share = np.cumsum(self.linear.eigenvalues) / self.linear.total_variance
            wanted = min(int(np.searchsorted(share, 0.9)) + 1, len(share))
            most = self.n_rows // 4
        else:
            wanted = int((self.linear.eigenvalues > 4.0 * noise_floor).sum())
            most = self.n_rows // 16
        return max(1, min(8, d), min(wanted, d - 1, max(2, most)))

    def apply(self, model: Model, k: int, least_noise: float) -> None:
        """Initialise encoder and decoder; codes beyond the principal components start at 0.

        The noise is at least that of the likelihood: log-variances of codes that are as small as
        those of noiseless rows get no gradient.
        """
        linear = self.linear.truncate(k)
        w = torch.tensor(linear.loadings, dtype=torch.float64)  # (d, k)
        noise = max(float(linear.noise_variance), least_noise)
        mean = torch.tensor(linear.mean, dtype=torch.float64)
        offsets = torch.tensor(self.offsets, dtype=torch.float64)
        head = model.encoder.head if model.has_encoder else None
        if head is None or head.starts_whitened:  # W = U (L - noise I)^1/2 becomes U L^1/2
            excess = w.square().sum(0)
            w = w * torch.where(excess > 0.0, torch.sqrt(1.0 + noise / excess), 1.0)
        found = None if head is None else head.linear_outputs(w, mean, noise)
        if found is not None:
            weight, bias = found
            _start_at(model.encoder.network, torch.hstack([weight, -weight @ offsets]), bias)
        _start_at(model.decoder.network, *model.likelihood.linear_outputs(w, offsets, mean, noise))


def _spread(n: int, d: int) -> np.ndarray:
    """Return positions of evenly spaced rows, as many as the initialisation needs."""
    n_rows = min(n, START_ROWS, 4 * max(d, 512) if d <= 2048 else 2048)
    return np.linspace(0, n - 1, n_rows).astype(int)


def _start_at(network: Network, weight: Tensor, bias: Tensor) -> None:
    """Initialise a network at a linear map, padded with zeros."""
    if not network.can_start_linear:
        return
    rows, columns = network.out_features - len(weight), network.in_features - weight.shape[1]
    weight = torch.nn.functional.pad(weight, (0, columns, 0, rows))
    bias = torch.nn.functional.pad(bias, (0, rows))
    network.start_linear(weight.float(), bias.float())
