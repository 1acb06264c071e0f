"""The denoising autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ..corruptions import CORRUPTIONS
from ..neural import BaseNeuralAutoencoder
from ..objectives import Corruption


class DenoisingAE(BaseNeuralAutoencoder):
    """Denoising autoencoder (Vincent et al. 2008).

    Minimises the mean over rows of ``-log p(x | f(x~))`` where the encoder f sees a corrupted row
    x~ in training, and the clean row afterwards. As in `Autoencoder` a Gaussian mixture on the
    codes of the clean training rows is the prior of `sample` and `score_samples`.

    Parameters
    ----------
    corruption : {"gaussian", "masking", "salt_and_pepper"}, default="gaussian"
        Noise of standard deviation `corruption_level` added to standardised features; a share
        `corruption_level` of the cells set to the feature's mean; or set to the feature's smallest
        or largest training value, with equal chance.
    corruption_level : float, default=0.2
        Standard deviation, or share of the cells, in [0, 1] for the latter two.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise, given clean rows, in squared units of X.
    module_ : torch.nn.Module
        The model, on standardised rows.

    See Also
    --------
    ContractiveAE : Robust codes by a penalty on the encoder's slope.
    Autoencoder : The same without corruption.

    References
    ----------
    P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol: Extracting and composing robust features
    with denoising autoencoders. ICML 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import DenoisingAE
    >>> X = load_wine().data
    >>> DenoisingAE(2, corruption="masking", random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _auto_density = "auto"
    _parameter_constraints: ClassVar[dict] = {
        **BaseNeuralAutoencoder._parameter_constraints,
        "corruption": [StrOptions(set(CORRUPTIONS))],
        "corruption_level": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        corruption="gaussian",
        corruption_level=0.2,
        **parameters,
    ):
        super().__init__(n_components, **parameters)
        self.corruption, self.corruption_level = corruption, corruption_level

    def _corrupt(self) -> Corruption:
        return CORRUPTIONS[self.corruption](self.corruption_level, self._range())
