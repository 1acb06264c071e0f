"""The Huber-energy variational autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ..divergences import HuberEnergy
from ..neural import BaseNeuralAutoencoder
from ..penalties import Match, Penalty


class HuberEnergyVAE(BaseNeuralAutoencoder):
    """Autoencoder whose codes follow N(0, I), made so by the Huber-energy distance.

    Minimises ``mean |x - g(f(x))|^2 / T + weight d^2(codes of the batch, N(0, I))``, f the encoder,
    d^2 half of the squared (Huber-)energy distance of Szekely and Rizzo, T the total variance of
    the rows, so that `weight` has no units. Both terms are 1 at the start and 0 at best.

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the distance of the codes to N(0, I).
    delta : float, default=0.0
        Huber parameter a of the kernel ``sqrt(a^2 + |x|^2) - a``; 0 is the energy distance.
    method : {"exact", "surrogate"}, default="exact"
        The exact distance by quadrature, or the papers' closed-form approximation, which is biased
        toward codes that are too wide.
    unbiased : bool, default=True
        Whether the pairs of a batch enter as a U-statistic (unbiased) or as a V-statistic.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "energy" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The model, on standardised rows.

    See Also
    --------
    WassersteinAE : Other distances.
    energy_distance : This one, of arrays.

    References
    ----------
    G. Turinici: X-Ray Sobolev variational auto-encoders. Neural Networks 2021, arXiv:1911.13135.
    G. J. Szekely, M. L. Rizzo: Energy statistics. J. Stat. Plan. Inference 143, 2013.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> model = skvae.HuberEnergyVAE(2, random_state=0).fit(sklearn.datasets.load_wine().data)
    >>> model.sample(5, random_state=0).shape
    (5, 13)
    """

    _relative = True
    _parameter_constraints: ClassVar[dict] = {
        **BaseNeuralAutoencoder._parameter_constraints,
        "weight": [Interval(Real, 0, None, closed="left")],
        "delta": [Interval(Real, 0, None, closed="left")],
        "method": [StrOptions({"exact", "surrogate"})],
        "unbiased": ["boolean"],
    }

    def __init__(
        self, n_components="auto", *, weight=1.0, delta=0.0, method="exact", unbiased=True, **shared
    ):
        super().__init__(n_components, **shared)
        self.weight, self.delta = weight, delta
        self.method, self.unbiased = method, unbiased

    def _penalties(self) -> dict[str, Penalty]:
        return {"energy": Match(HuberEnergy(self.delta, self.method, self.unbiased), self.weight)}
