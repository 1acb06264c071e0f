"""The plain autoencoder."""

from __future__ import annotations

from ..neural import BaseNeuralAutoencoder


class Autoencoder(BaseNeuralAutoencoder):
    """Autoencoder with a deterministic encoder and a density on its codes.

    Minimises the mean over rows of ``-log p(x | f(x))``, f the encoder (Hinton & Salakhutdinov
    2006). After training a Gaussian mixture is fitted on the codes; it is the prior p(z) from
    which `sample` draws and with which `score_samples` integrates (Ghosh et al. 2020).

    Parameters
    ----------
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" by epoch.
    module_ : torch.nn.Module
        The model, on standardised rows.

    See Also
    --------
    PPCA : The linear model with exact densities.
    DenoisingAE, ContractiveAE, SparseAE, RAE : The same with a constraint on codes or decoder.
    VAE : With an uncertain code.

    References
    ----------
    G. E. Hinton, R. R. Salakhutdinov: Reducing the dimensionality of data with neural networks.
    Science 313, 2006.
    P. Ghosh et al.: From variational to deterministic autoencoders. ICLR 2020, arXiv:1903.12436.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import Autoencoder
    >>> X = load_wine().data
    >>> model = Autoencoder(n_components=2, random_state=0).fit(X)
    >>> model.reconstruct(X).shape, model.score_samples(X).shape
    ((178, 13), (178,))
    """

    _auto_density = "auto"
