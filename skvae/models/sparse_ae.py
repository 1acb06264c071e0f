"""The sparse autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from ..likelihoods import Head, PointHead, SigmoidHead
from ..neural import BaseNeuralAutoencoder
from ..penalties import AbsoluteCodes, ActivationRate, Penalty


class SparseAE(BaseNeuralAutoencoder):
    """Sparse autoencoder: few code coordinates of a row differ from zero, or from off.

    Minimises the mean over rows of ``-log p(x | f(x))``, f the encoder, plus `sparsity` times

    - "l1": ``sum_j |z_j|``, a Laplace prior on the codes, with z_j in units of the length of the
      decoder's weights for it, so that small codes and large weights gain nothing;
    - "kl": ``sum_j KL(target || mean z_j)`` between Bernoulli laws, the mean over a batch, with
      codes in (0, 1).

    Parameters
    ----------
    sparsity : float, default=1.0
        Weight of the penalty, in nats a row.
    penalty : {"l1", "kl"}, default="l1"
        Which of the two.
    target : float, default=0.05
        Mean activation for ``penalty="kl"``.
    <shared parameters>

    Attributes
    ----------
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "sparsity" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    MaskAAE : Drops code coordinates for all rows at once.

    References
    ----------
    B. Olshausen, D. Field: Sparse coding with an overcomplete basis set. Vision Research 37, 1997.
    A. Ng: Sparse autoencoder. CS294A lecture notes, Stanford 2011.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> X = sklearn.datasets.load_wine().data
    >>> skvae.SparseAE(8, sparsity=0.5, random_state=0).fit_transform(X).shape
    (178, 8)
    """

    _auto_density, _architecture = "auto", ("penalty",)
    _parameter_constraints: ClassVar[dict] = {
        "sparsity": [Interval(Real, 0, None, closed="left")],
        "penalty": [StrOptions({"l1", "kl"})],
        "target": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self, n_components="auto", *, sparsity=1.0, penalty="l1", target=0.05, **parameters
    ):
        super().__init__(n_components, **parameters)
        self.sparsity, self.penalty, self.target = sparsity, penalty, target

    def _build_head(self, k: int, generator: torch.Generator) -> Head:
        return PointHead(k) if self._spec["penalty"] == "l1" else SigmoidHead(k)

    def _penalties(self) -> dict[str, Penalty]:
        if self._spec["penalty"] == "l1":
            return {"sparsity": AbsoluteCodes(self.sparsity)}
        return {"sparsity": ActivationRate(self.sparsity, self.target)}
