"""The contractive autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ..neural import BaseNeuralAutoencoder
from ..penalties import Contraction, Penalty

_MOST_EXACT = 8


class ContractiveAE(BaseNeuralAutoencoder):
    """Contractive autoencoder (Rifai et al. 2011): codes that small changes of a row leave alone.

    Minimises the mean over rows of ``-log p(x | f(x)) + contraction |df/dx|_F^2``, f the encoder
    and x standardised.

    Parameters
    ----------
    contraction : float, default=0.1
        Weight of the squared Frobenius norm of the Jacobian, in nats a row.
    jacobian : {"auto", "exact", "hutchinson"}, default="auto"
        The norm itself, with one backward pass for each code coordinate, or Hutchinson's unbiased
        estimate ``E |v' df/dx|^2``, with one normal v for each row. "auto" is exact for up to 8
        coordinates.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "contraction" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    DenoisingAE : Robust codes from noisy rows instead of a penalty.
    RAE : A smooth decoder instead of a smooth encoder.

    References
    ----------
    S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio: Contractive auto-encoders: explicit
    invariance during feature extraction. ICML 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import ContractiveAE
    >>> X = load_wine().data
    >>> ContractiveAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _auto_density = "auto"
    _parameter_constraints: ClassVar[dict] = {
        "contraction": [Interval(Real, 0, None, closed="left")],
        "jacobian": [StrOptions({"auto", "exact", "hutchinson"})],
    }

    def __init__(self, n_components="auto", *, contraction=0.1, jacobian="auto", **parameters):
        super().__init__(n_components, **parameters)
        self.contraction, self.jacobian = contraction, jacobian

    def _penalties(self) -> dict[str, Penalty]:
        exact = self.jacobian == "exact"
        if self.jacobian == "auto":
            exact = self.n_components_ <= _MOST_EXACT
        return {"contraction": Contraction(self.contraction, exact)}
