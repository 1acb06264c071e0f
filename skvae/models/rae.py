"""The regularised autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ..neural import BaseNeuralAutoencoder
from ..penalties import CodeNorm, DecoderNorm, DecoderSlope, Penalty, SpectralNorms

_KINDS = {"l2": DecoderNorm, "gradient": DecoderSlope, "spectral_norm": SpectralNorms}


class RAE(BaseNeuralAutoencoder):
    """Regularised autoencoder (Ghosh et al. 2020): a smooth decoder, then a density of the codes.

    Minimises ``mean |x - g(f(x))|^2 / T + code_weight / 2 mean |f(x)|^2 + decoder_weight R(g)``
    with a deterministic encoder f, T the total variance of the rows, and R one of

    - "l2": half the squared weights of the decoder g;
    - "gradient": the mean of ``|dg/dz|_F^2``, by one random direction for each row;
    - "spectral_norm": half the squared largest singular values of its layers, which are learned;
      the decoder is then ours, and has no linear skip.

    Parameters
    ----------
    code_weight, decoder_weight : float, default=1e-3 and 1e-6
        Weights of the squared length of codes and of R.
    decoder_penalty : {"l2", "gradient", "spectral_norm"}, default="l2"
        How the decoder is kept smooth.
    <shared parameters>

    Attributes
    ----------
    history_ : dict of str to list
        Mean of "reconstruction", "codes" and "decoder" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    Autoencoder, TwoStageVAE, FlexAE : Other autoencoders whose law of codes is learned.

    References
    ----------
    P. Ghosh et al.: From variational to deterministic autoencoders. ICLR 2020, arXiv:1903.12436.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> model = skvae.RAE(2, random_state=0).fit(sklearn.datasets.load_wine().data)
    >>> model.sample(5, random_state=0).shape
    (5, 13)
    """

    _relative, _auto_density, _architecture = True, "auto", ("decoder_penalty",)
    _parameter_constraints: ClassVar[dict] = {
        "code_weight": [Interval(Real, 0, None, closed="left")],
        "decoder_penalty": [StrOptions({"l2", "gradient", "spectral_norm"})],
        "decoder_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, n_components="auto", *, code_weight=1e-3, decoder_penalty="l2",
        decoder_weight=1e-6, **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.code_weight, self.decoder_weight = code_weight, decoder_weight
        self.decoder_penalty = decoder_penalty

    def _build_decoder(self, inputs: int, outputs: int, layers):
        if self._spec["decoder_penalty"] == "spectral_norm":
            return layers.to_rows(inputs, outputs, spectral=True)
        return super()._build_decoder(inputs, outputs, layers)

    def _penalties(self) -> dict[str, Penalty]:
        decoder = _KINDS[self._spec["decoder_penalty"]](self.decoder_weight)
        return {"codes": CodeNorm(self.code_weight), "decoder": decoder}
