"""The variational autoencoder."""

from __future__ import annotations

from ..neural import BaseNeuralAutoencoder, BaseVariational


class VAE(BaseVariational, BaseNeuralAutoencoder):
    """Variational autoencoder (Kingma & Welling 2014), and beta-VAE (Higgins et al. 2017).

    Minimises the mean over rows of ``-E_q[log p(x | z)] + beta KL(q(z | x) || p(z))`` with
    ``q(z | x) = N(m(x), diag s(x)^2)`` and p(z) = N(0, I), unless another posterior or prior is
    chosen: for beta = 1 the negative evidence lower bound of log p(x).

    Parameters
    ----------
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

    See Also
    --------
    PPCA : The linear case, exact and instant.
    HuberEnergyVAE, WassersteinAE, InfoVAE : Other ways to match codes to the prior.
    FactorVAE : Independent code coordinates.
    ConditionalVAE : Rows with labels.

    References
    ----------
    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes. ICLR 2014, arXiv:1312.6114.
    I. Higgins et al.: beta-VAE. ICLR 2017.
    Y. Burda, R. Grosse, R. Salakhutdinov: Importance Weighted Autoencoders. ICLR 2016,
    arXiv:1509.00519.
    J. Tomczak, M. Welling: VAE with a VampPrior. AISTATS 2018, arXiv:1705.07120.
    D. P. Kingma et al.: Improved Variational Inference with Inverse Autoregressive Flow. NeurIPS
    2016, arXiv:1606.04934.
    H. Takahashi et al.: Variational Autoencoder with Implicit Optimal Priors. AAAI 2019,
    arXiv:1809.05284.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAE
    >>> X = load_wine().data
    >>> vae = VAE(n_components=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(5, random_state=0).shape
    ((178, 2), (5, 13))
    """
