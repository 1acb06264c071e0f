"""The masked adversarial autoencoder."""

from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from ..games import Critic, MaskGame
from ..likelihoods import MaskedHead
from ..neural import BaseNeuralAutoencoder
from ..priors import MaskedNormal


class MaskAAE(BaseNeuralAutoencoder):
    """MaskAAE (Mondal et al. 2020): an adversarial autoencoder that finds how many codes it needs.

    A mask ``a = 1 - exp(-m)``, m >= 0, multiplies the codes and the draws of N(0, I) that they are
    to match. `skvae.games.MaskGame` states the losses of four players: the autoencoder, a critic of
    codes, the encoder, and the mask, which gives up coordinates that are not needed.

    Parameters
    ----------
    encoder_rate, critic_steps, code_noise : float, int and float, default=0.2, 2 and 0.05
        Relative learning rate of the encoder's turn; steps of the critic in a round; standard
        deviation of noise on codes in training, without which the least share lets all through.
    silence, fidelity, polarisation : float, default=1.0, 30.0 and 1e-3
        Weights in the autoencoder's loss (`silence`) and the mask's.
    <shared parameters>

    Attributes
    ----------
    mask_, n_active_ : ndarray of shape (n_components,) and int
        a, the share of each code coordinate that passes; how many of them are at least 0.1.
    history_ : dict of str to list
        "reconstruction" and "silence", with sum `loss_curve_`; "critic", "encoder", "mask".

    See Also
    --------
    AdversarialAE : The same game without a mask.
    active_units : Counts codes in use.

    References
    ----------
    A. K. Mondal et al.: MaskAAE. UAI 2020, arXiv:1912.04564.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> skvae.MaskAAE(8, random_state=0).fit(sklearn.datasets.load_wine().data).mask_.shape
    (8,)
    """

    _relative, _head, _auto_rate = True, MaskedHead, 3e-3
    _parameter_constraints: ClassVar[dict] = {
        name: [Interval(Real, 0, None, closed="left")]
        for name in ("encoder_rate", "silence", "fidelity", "polarisation", "code_noise")
    } | {"critic_steps": [Interval(Integral, 1, None, closed="left")]}

    def __init__(
        self, n_components="auto", *, encoder_rate=0.2, silence=1.0, fidelity=30.0,
        polarisation=1e-3, critic_steps=2, code_noise=0.05, **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.encoder_rate, self.silence, self.fidelity = encoder_rate, silence, fidelity
        self.polarisation, self.critic_steps = polarisation, critic_steps
        self.code_noise = code_noise

    def _helpers(self, k, layers):
        return {"critic": Critic(layers(k, 1), "wasserstein")}

    def _prior(self, k, layers, generator, model):
        return MaskedNormal(model.encoder.head.mask, k)

    def _objective(self, model):
        names = "encoder_rate silence fidelity polarisation critic_steps code_noise".split()
        return MaskGame(model, **{name: getattr(self, name) for name in names})

    mask_ = property(lambda self: self.module_.encoder.head.mask().detach().double().cpu().numpy())
    n_active_ = property(lambda self: int((self.mask_ >= 0.1).sum()))
