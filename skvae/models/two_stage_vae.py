"""The two-stage variational autoencoder."""

from __future__ import annotations

from typing import Any

from ..likelihoods import NormalHead
from ..neural import BaseNeuralAutoencoder
from ..penalties import Penalty, Rate

# Narrow rows train fast; and a wider noise keeps the second stage's own codes near N(0, I).
_SECOND_EPOCHS, _SECOND_FLOOR = 4, 0.3


class TwoStageVAE(BaseNeuralAutoencoder):
    """Two-stage VAE (Dai & Wipf 2019): a second VAE learns the law of the codes of the first.

    The first minimises ``-E_q[log p(x | z)] + KL(q(z | x) || N(0, I))`` with the variance of the
    decoder learned, which makes the rows' manifold its own but leaves the law of the codes, the
    aggregated posterior, far from N(0, I). The second, with as many code coordinates, is trained on
    draws of q(z | x), for four times the epochs, and takes the place of the prior in `sample` and
    `score_samples`: it is a `latent_density`, and another one may be given.

    Parameters
    ----------
    <shared parameters>

    Attributes
    ----------
    latent_density_ : TwoStageVAE
        The second stage, on standardised codes, with a standard normal prior.
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    VAE : The first stage.
    RAE, FlexAE : Other ways to learn the law of codes.

    References
    ----------
    B. Dai, D. Wipf: Diagnosing and enhancing VAE models. ICLR 2019, arXiv:1903.05789.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import TwoStageVAE
    >>> X = load_wine().data
    >>> TwoStageVAE(n_components=2, random_state=0).fit(X).sample(5, random_state=0).shape
    (5, 13)
    """

    _head = NormalHead

    def _penalties(self) -> dict[str, Penalty]:
        return {"kl": Rate()}

    def _default_density(self) -> Any:
        names = "hidden_layer_sizes activation batch_size precision device".split()
        same = {name: getattr(self, name) for name in names}
        return TwoStageVAE(
            self.n_components_,
            latent_density=None,
            linear_skip=True,
            noise_floor=_SECOND_FLOOR,
            output_activation="identity",
            max_iter=None if self.max_iter is None else _SECOND_EPOCHS * self.max_iter,
            **same,
        )
