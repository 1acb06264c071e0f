"""The factor variational autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval
from torch import nn

from ..games import Contest, Critic, permuted
from ..likelihoods import NormalHead
from ..model import Model
from ..neural import BaseNeuralAutoencoder
from ..objectives import Objective
from ..penalties import Rate


class FactorVAE(BaseNeuralAutoencoder):
    """FactorVAE (Kim & Mnih 2018): a VAE whose code coordinates are independent together.

    Minimises the negative evidence lower bound, mean over rows, plus `gamma` times the total
    correlation ``KL(q(z) || prod_j q(z_j))``. Its log-ratio comes from a critic that learns to tell
    codes from codes whose coordinates were permuted over rows one by one.

    Parameters
    ----------
    gamma : float, default=5.0
        Weight of the total correlation.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction", "kl" and "total_correlation" by epoch, whose sum is `loss_curve_`,
        and the loss "critic", which is 2 log 2 where it can tell nothing.

    See Also
    --------
    VAE : With ``beta`` above 1 codes grow independent too.
    code_correlation : How far codes are from uncorrelated.

    References
    ----------
    H. Kim, A. Mnih: Disentangling by factorising. ICML 2018, arXiv:1802.05983.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import FactorVAE
    >>> X = load_wine().data
    >>> FactorVAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _head = NormalHead
    _parameter_constraints: ClassVar[dict] = {"gamma": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, n_components="auto", *, gamma=5.0, **parameters):
        super().__init__(n_components, **parameters)
        self.gamma = gamma

    def _helpers(self, k: int, layers) -> dict[str, nn.Module]:
        return {"critic": Critic(layers(k, 1))}

    def _objective(self, model: Model) -> Objective:
        gamma = self.gamma
        return Contest(
            model,
            "total_correlation",
            lambda critic, z: gamma * critic(z).mean(),
            lambda z, generator: (z, permuted(z, generator)),
            penalties={"kl": Rate()},
        )
