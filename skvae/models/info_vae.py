"""The information-maximising variational autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ..divergences import MMD
from ..likelihoods import NormalHead
from ..neural import BaseNeuralAutoencoder
from ..penalties import Match, Penalty, Rate


class InfoVAE(BaseNeuralAutoencoder):
    """InfoVAE (Zhao, Song & Ermon 2019): a VAE that keeps information between rows and codes.

    Minimises the mean over rows of ``-E_q[log p(x | z)] + (1 - information) KL(q(z | x) || p(z)) +
    (information + divergence - 1) MMD^2(q(z), p(z))``, p(z) = N(0, I). The paper calls the two
    alpha and lambda; 0 and 1 give the VAE, 1 and any other the MMD-VAE.

    Parameters
    ----------
    information : float, default=0.5
        Weight of the mutual information of rows and codes, at most 1.
    divergence : float, default=100.0
        Weight of the distance of the codes' law to the prior. `information` + `divergence` must
        be at least 1: below, the distance would be rewarded.
    kernel : {"imq", "rbf"}, default="imq"
        Kernel of the maximum mean discrepancy, inverse multiquadric or Gaussian, summed over
        seven scales; its means over the prior are exact.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction", "kl" and "mmd" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    VAE, WassersteinAE : The KL term alone, the distance alone.

    References
    ----------
    S. Zhao, J. Song, S. Ermon: InfoVAE: Balancing learning and inference in variational
    autoencoders. AAAI 2019, arXiv:1706.02262.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> X = sklearn.datasets.load_wine().data
    >>> skvae.InfoVAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _head = NormalHead
    _parameter_constraints: ClassVar[dict] = {
        "information": [Interval(Real, None, 1, closed="right")],
        "divergence": [Interval(Real, 0, None, closed="left")],
        "kernel": [StrOptions({"imq", "rbf"})],
    }

    def __init__(
        self, n_components="auto", *, information=0.5, divergence=100.0, kernel="imq", **parameters
    ):
        super().__init__(n_components, **parameters)
        self.information, self.divergence, self.kernel = information, divergence, kernel

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.information + self.divergence < 1.0:
            raise ValueError(
                "information + divergence must be at least 1, got "
                f"{self.information} + {self.divergence}: a distance would be rewarded."
            )

    def _penalties(self) -> dict[str, Penalty]:
        weight = self.information + self.divergence - 1.0
        return {"kl": Rate(1.0 - self.information), "mmd": Match(MMD(self.kernel), weight)}
