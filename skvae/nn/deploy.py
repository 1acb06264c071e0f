"""Encoder and decoder of a fitted model as torch modules in the units of X."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _InUnits(nn.Module):
    """Network with the scaling of rows, ``x = location + scale u``; it shares the weights.

    Scaling is done in float64 to avoid cancellation (in float32 on "mps", which has no float64),
    the network is run in its own dtype, and the result has the dtype of the input.

    Parameters
    ----------
    network : Module
        Encoder or decoder of a model, on standardised rows u.
    location, scale : Tensors of shape (d,)
    """

    location: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, location: Tensor, scale: Tensor):
        super().__init__()
        weight = _weight_of(network)
        kind = weight.dtype if weight.device.type == "mps" else torch.float64
        self.network = network
        self.register_buffer("location", location.to(weight.device, kind))
        self.register_buffer("scale", scale.to(weight.device, kind))
        self.train(network.training)

    @property
    def _dtype(self) -> torch.dtype:
        return _weight_of(self.network).dtype


def _weight_of(network: nn.Module) -> Tensor:
    """One of its weights; a network of the user's own may have none."""
    return next(network.parameters(), torch.empty(0, dtype=torch.float32))


class RowsToCodes(_InUnits):
    """Encoder as a torch module, from rows in the units of X to codes, as in `transform`.

    ``forward(x, context=None)`` maps rows (n, d) to codes (n, k), the posterior mean, without
    sampling; images are flattened rows. For `InfoGAN` the result is the code c. For
    `ConditionalVAE` the context contains the labels, one-hot (n, n_classes) in the order of
    `classes_`, while its `transform` uses the most probable labels. Rows of another width raise a
    RuntimeError of torch; NaN is propagated.

    The weights are shared with the estimator: training one changes the other. Gradients are
    available for rows and weights. Codes are computed in float32 and have the dtype of x; rows in
    float64 are scaled in float64 first. To compute in float64 throughout, use a copy,
    ``copy.deepcopy(model.encoder_).double()``.

    Parameters
    ----------
    network : Module
        Encoder of a model, on standardised rows.
    location, scale : Tensors of shape (d,)

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAE
    >>> X = load_wine().data
    >>> vae = VAE(2, random_state=0).fit(X)
    >>> codes = vae.encoder_(torch.tensor(X))
    >>> codes.shape, codes.dtype
    (torch.Size([178, 2]), torch.float64)
    >>> bool(abs(codes.detach().numpy() - vae.transform(X)).max() < 1e-3)
    True
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = ((x - self.location) / self.scale).to(self._dtype)
        if context is not None:
            inputs = torch.cat([inputs, context.to(inputs)], -1)
        mean: Tensor = self.network(inputs).mean
        return mean.to(x.dtype)


class CodesToRows(_InUnits):
    """Decoder as a torch module, from codes to mean rows, as in `inverse_transform`.

    ``forward(z, context=None)`` maps codes (n, k) to rows (n, d) in the units of X, without noise;
    images are flattened rows. Codes of `InfoGAN` are complete: noise, category and numbers. For
    `ConditionalVAE` the context contains the labels, one-hot (n, n_classes) in the order of
    `classes_`. Codes of another width raise a RuntimeError of torch.

    The weights are shared with the estimator. Gradients are available for codes and weights. Rows
    are computed in float32 and have the dtype of z; with float64 codes, rows far from zero keep
    more digits.

    Parameters
    ----------
    network : Module
        Decoder of a model, on standardised rows.
    location, scale : Tensors of shape (d,)

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_wine
    >>> from skvae import GAN
    >>> gan = GAN(4, random_state=0).fit(load_wine().data)
    >>> gan.decoder_(torch.zeros(3, 4)).shape
    torch.Size([3, 13])
    """

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        given = None if context is None else context.to(self._dtype)
        mean: Tensor = self.network(z.to(self._dtype), given).mean
        return (mean * self.scale + self.location).to(z.dtype)
