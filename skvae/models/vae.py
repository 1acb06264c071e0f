"""The variational autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from ..likelihoods import NormalHead
from ..neural import BaseNeuralAutoencoder
from ..penalties import Penalty, Rate


class VAE(BaseNeuralAutoencoder):
    """Variational autoencoder (Kingma & Welling 2014), and beta-VAE (Higgins et al. 2017).

    Minimises the mean over rows of ``-E_q[log p(x | z)] + beta KL(q(z | x) || N(0, I))`` with
    ``q(z | x) = N(m(x), diag s(x)^2)``: for beta = 1 the negative evidence lower bound of log p(x).

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the KL term.
    kl_warmup : float, default=0.0
        Share of the training over which that weight grows linearly from zero.
    free_bits : float, default=0.0
        Nats that each code coordinate may carry at no cost (Kingma et al. 2016).
    <shared parameters>

    Attributes
    ----------
    active_units_ : int
        Code coordinates that carry information: the variance of their posterior mean over the
        training rows is above 0.01 (Burda et al. 2016).
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The model, on standardised rows.

    References
    ----------
    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes. ICLR 2014, arXiv:1312.6114.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAE
    >>> X = load_wine().data
    >>> vae = VAE(n_components=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(5, random_state=0).shape
    ((178, 2), (5, 13))
    """

    _head = NormalHead
    _parameter_constraints: ClassVar[dict] = {
        **BaseNeuralAutoencoder._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, n_components="auto", *, beta=1.0, kl_warmup=0.0, free_bits=0.0, **parameters
    ):
        super().__init__(n_components, **parameters)
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits

    def _penalties(self) -> dict[str, Penalty]:
        return {"kl": Rate(self.beta, self.kl_warmup, self.free_bits)}
