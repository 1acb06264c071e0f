"""The adversarial autoencoder."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval
from torch import nn

from ..games import Contest, Critic
from ..model import Model
from ..neural import BaseNeuralAutoencoder
from ..objectives import Objective


class AdversarialAE(BaseNeuralAutoencoder):
    """Adversarial autoencoder (Makhzani et al. 2016), or WAE-GAN (Tolstikhin et al. 2018).

    Minimises ``mean |x - g(f(x))|^2 / T + weight mean softplus(-C(f(x)))`` with a deterministic
    encoder f and T the total variance of the rows. The critic C learns to tell draws of N(0, I)
    from codes, by logistic loss; the encoder makes codes that it takes for such draws.

    Parameters
    ----------
    weight : float, default=0.03
        Weight of the encoder's loss against the critic.
    critic_steps : int, default=1
        Steps of the critic for each of the model.
    <shared parameters>

    Attributes
    ----------
    history_ : dict of str to list
        Mean of "reconstruction" and "adversarial" by epoch, whose sum is `loss_curve_`, and the
        loss "critic", which is 2 log 2 where it can tell nothing.

    See Also
    --------
    WassersteinAE, HuberEnergyVAE : Codes held at N(0, I) by a distance, without a critic.

    References
    ----------
    A. Makhzani, J. Shlens, N. Jaitly, I. Goodfellow, B. Frey: Adversarial autoencoders. ICLR
    workshop 2016, arXiv:1511.05644.
    I. Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf: Wasserstein auto-encoders. ICLR 2018,
    arXiv:1711.01558.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> X = sklearn.datasets.load_wine().data
    >>> skvae.AdversarialAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _relative = True
    _parameter_constraints: ClassVar[dict] = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_components="auto", *, weight=0.03, critic_steps=1, **parameters):
        super().__init__(n_components, **parameters)
        self.weight, self.critic_steps = weight, critic_steps

    def _helpers(self, k: int, layers) -> dict[str, nn.Module]:
        return {"critic": Critic(layers(k, 1))}

    def _objective(self, model: Model) -> Objective:
        weight, prior = self.weight, model.prior
        return Contest(
            model,
            "adversarial",
            lambda critic, z: weight * critic.fool(z),
            lambda z, generator: (prior.sample(len(z), generator), z),
            self.critic_steps,
            relative=True,
        )
