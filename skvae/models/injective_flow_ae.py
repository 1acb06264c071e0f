"""The autoencoder with injective-flow regularisation."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from ..neural import BaseNeuralAutoencoder
from ..penalties import CodeNorm, LogVolume, Penalty


class InjectiveFlowAE(BaseNeuralAutoencoder):
    """Autoencoder whose decoder is taken for an injective flow (Kumar, Poole & Murphy 2020).

    Minimises the mean over rows of ``-log p(x | z) + weight (1/2 |z|^2 + k/2 E_v log(1 + |S^-1/2
    dg/dz v|^2))`` with z = f(x), f the encoder, g the decoder, S the variances of its noise, and v
    uniform on the unit sphere. The last mean is at least ``1/2 log det(I + J' S^-1 J)``, J = dg/dz:
    with it the whole is, for weight 1, Laplace's approximation of -log p(x) from above. The paper
    has no noise there; without it the volume has no lower limit. A Gaussian mixture is fitted on
    the codes, from which `sample` draws.

    Parameters
    ----------
    weight : float, default=0.1
        Weight of both terms.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction", "codes" and "volume" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    RAE : A smooth decoder by other penalties.
    VAE : The bound of log p(x) by random codes.

    References
    ----------
    A. Kumar, B. Poole, K. Murphy: Regularized autoencoders via relaxed injective probability flow.
    AISTATS 2020, arXiv:2002.08927.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import InjectiveFlowAE
    >>> X = load_wine().data
    >>> InjectiveFlowAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _auto_density = "auto"
    _parameter_constraints: ClassVar[dict] = {"weight": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, n_components="auto", *, weight=0.1, **parameters):
        super().__init__(n_components, **parameters)
        self.weight = weight

    def _penalties(self) -> dict[str, Penalty]:
        return {"codes": CodeNorm(self.weight), "volume": LogVolume(self.weight)}
