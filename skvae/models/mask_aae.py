"""The masked adversarial autoencoder."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval
from torch import nn

from ..games import Critic, MaskGame
from ..likelihoods import MaskedHead
from ..model import Model
from ..neural import BaseNeuralAutoencoder
from ..objectives import Objective
from ..priors import MaskedNormal, Prior


class MaskAAE(BaseNeuralAutoencoder):
    """MaskAAE (Mondal et al. 2020): an adversarial autoencoder that finds how many codes it needs.

    A mask ``a = 1 - exp(-m)``, m >= 0, multiplies the codes and the draws of N(0, I) that they are
    to match. Four players take turns: the autoencoder, a Wasserstein critic of the codes, the
    encoder, and the mask, which gives up coordinates that neither reconstruct nor match.

    Parameters
    ----------
    weight : float, default=0.1
        Weight of the encoder's loss against the critic.
    silence : float, default=1.0
        Weight of the spread of coordinates that the mask shuts.
    fidelity : float, default=10.0
        Weight of the reconstruction in the mask's loss.
    polarisation : float, default=1e-3
        Weight of ``sum a (1 - a)`` in the mask's loss, doubled after every tenth of the training.
    critic_steps : int, default=1
        Steps of the critic in a round.
    <shared parameters>

    Attributes
    ----------
    mask_ : ndarray of shape (n_components,)
        a, the share of each code coordinate that passes.
    n_active_ : int
        Coordinates with a share of at least 0.1.
    history_ : dict of str to list
        Mean of "reconstruction" and "silence" by epoch, whose sum is `loss_curve_`, and the losses
        "critic", "encoder" and "mask" of the others.

    References
    ----------
    A. K. Mondal, S. P. Chowdhury, A. Jayendran, P. Singla, H. Asnani, A. P. Prathosh: MaskAAE:
    Latent space optimization for adversarial auto-encoders. UAI 2020, arXiv:1912.04564.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import MaskAAE
    >>> X = load_wine().data
    >>> MaskAAE(n_components=8, random_state=0).fit(X).mask_.shape
    (8,)
    """

    _relative = True
    _head = MaskedHead
    _parameter_constraints: ClassVar[dict] = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "silence": [Interval(Real, 0, None, closed="left")],
        "fidelity": [Interval(Real, 0, None, closed="left")],
        "polarisation": [Interval(Real, 0, None, closed="left")],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, n_components="auto", *, weight=0.1, silence=1.0, fidelity=10.0, polarisation=1e-3,
        critic_steps=1, **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.weight, self.silence, self.fidelity = weight, silence, fidelity
        self.polarisation, self.critic_steps = polarisation, critic_steps

    def _helpers(self, k: int, layers) -> dict[str, nn.Module]:
        return {"critic": Critic(layers(k, 1), "wasserstein")}

    def _prior(self, k: int, layers, generator, model: Model) -> Prior:
        return MaskedNormal(model.encoder.head.mask, k)

    def _objective(self, model: Model) -> Objective:
        weights = (self.weight, self.silence, self.fidelity, self.polarisation)
        return MaskGame(model, *weights, self.critic_steps)

    @property
    def mask_(self) -> np.ndarray:
        return self.module_.encoder.head.mask().detach().double().cpu().numpy()

    @property
    def n_active_(self) -> int:
        return int(np.sum(self.mask_ >= 0.1))
