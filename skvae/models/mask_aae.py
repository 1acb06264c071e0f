"""The masked adversarial autoencoder."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from ..games import Critic, MaskGame
from ..likelihoods import MaskedHead
from ..neural import BaseNeuralAutoencoder
from ..priors import MaskedNormal


class MaskAAE(BaseNeuralAutoencoder):
    """MaskAAE (Mondal et al. 2020): an adversarial autoencoder that finds how many codes it needs.

    A mask ``a = 1 - exp(-m)``, m >= 0, multiplies the codes and the draws of N(0, I) that they are
    to match. Four players take turns, each with the loss that `skvae.games.MaskGame` states: the
    autoencoder, a Wasserstein critic of codes over the root mean square of a, the encoder, and the
    mask, which gives up coordinates that neither reconstruct nor match.

    Parameters
    ----------
    encoder_rate, critic_steps : float and int, default=0.2 and 2
        Relative learning rate of the encoder's turn; steps of the critic in a round.
    silence, fidelity, polarisation : float, default=1.0, 30.0 and 1e-3
        Weights in the autoencoder's loss (`silence`) and the mask's.
    <shared parameters>

    Attributes
    ----------
    mask_ : ndarray of shape (n_components,)
        a, the share of each code coordinate that passes.
    n_active_ : int
        Coordinates with a share of at least 0.1.
    history_ : dict of str to list
        "reconstruction" and "silence", with sum `loss_curve_`; "critic", "encoder" and "mask".

    References
    ----------
    A. K. Mondal et al.: MaskAAE. UAI 2020, arXiv:1912.04564.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import MaskAAE
    >>> MaskAAE(n_components=8, random_state=0).fit(load_wine().data).mask_.shape
    (8,)
    """

    _relative, _head, _auto_rate = True, MaskedHead, 3e-3
    _parameter_constraints: ClassVar[dict] = {
        name: [Interval(Real, 0, None, closed="left")]
        for name in ("encoder_rate", "silence", "fidelity", "polarisation")
    } | {"critic_steps": [Interval(Integral, 1, None, closed="left")]}

    def __init__(
        self, n_components="auto", *, encoder_rate=0.2, silence=1.0, fidelity=30.0,
        polarisation=1e-3, critic_steps=2, **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.encoder_rate, self.silence, self.fidelity = encoder_rate, silence, fidelity
        self.polarisation, self.critic_steps = polarisation, critic_steps

    def _helpers(self, k, layers):
        return {"critic": Critic(layers(k, 1), "wasserstein")}

    def _prior(self, k, layers, generator, model):
        return MaskedNormal(model.encoder.head.mask, k)

    def _objective(self, model):
        weights = (self.encoder_rate, self.silence, self.fidelity, self.polarisation)
        return MaskGame(model, *weights, self.critic_steps)

    mask_ = property(lambda self: self.module_.encoder.head.mask().detach().double().cpu().numpy())
    n_active_ = property(lambda self: int(np.sum(self.mask_ >= 0.1)))
