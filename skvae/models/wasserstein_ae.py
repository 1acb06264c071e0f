"""The Wasserstein autoencoder."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ..divergences import MMD, SlicedWasserstein
from ..neural import BaseNeuralAutoencoder
from ..penalties import Match, Penalty


class WassersteinAE(BaseNeuralAutoencoder):
    """Wasserstein autoencoder (Tolstikhin et al. 2018) and its sliced kin (Kolouri et al. 2019).

    Minimises ``mean |x - g(f(x))|^2 / T + weight D(codes of the batch, N(0, I))`` with a
    deterministic encoder f and T the total variance of the rows. D is the squared maximum mean
    discrepancy, unbiased in the codes and exact in the prior, or the squared sliced 2-Wasserstein
    distance.

    Parameters
    ----------
    weight : float, default=1.0
        Weight of D.
    divergence : {"mmd", "sliced_wasserstein"}, default="mmd"
        Which D.
    kernel : {"imq", "rbf"}, default="imq"
        Kernel of the discrepancy: inverse multiquadric or Gaussian, summed over seven scales.
    n_projections : int, default=50
        Random directions of the sliced distance in a step.
    <shared parameters>

    Attributes
    ----------
    history_ : dict of str to list
        Mean of "reconstruction" and "divergence" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    HuberEnergyVAE : With the energy distance.
    AdversarialAE : With a critic.

    References
    ----------
    I. Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf: Wasserstein auto-encoders. ICLR 2018,
    arXiv:1711.01558.
    S. Kolouri, P. E. Pope, C. E. Martin, G. K. Rohde: Sliced Wasserstein auto-encoders. ICLR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import WassersteinAE
    >>> X = load_wine().data
    >>> WassersteinAE(n_components=2, random_state=0).fit(X).sample(5, random_state=0).shape
    (5, 13)
    """

    _relative = True
    _parameter_constraints: ClassVar[dict] = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "divergence": [StrOptions({"mmd", "sliced_wasserstein"})],
        "kernel": [StrOptions({"imq", "rbf"})],
        "n_projections": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, n_components="auto", *, weight=1.0, divergence="mmd", kernel="imq",
        n_projections=50, **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.weight, self.divergence = weight, divergence
        self.kernel, self.n_projections = kernel, n_projections

    def _penalties(self) -> dict[str, Penalty]:
        sliced = self.divergence == "sliced_wasserstein"
        divergence = SlicedWasserstein(self.n_projections) if sliced else MMD(self.kernel)
        return {"divergence": Match(divergence, self.weight)}
