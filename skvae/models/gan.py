"""The generative adversarial network."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..games import Critic, GenerativeGame
from ..model import Model
from ..neural import BaseNeuralGenerator
from ..objectives import Objective


class GAN(BaseNeuralGenerator):
    """Generative adversarial network (Goodfellow et al. 2014): a generator without an encoder.

    A generator g carries N(0, I) to rows, against a critic C that tells rows from ``g(z)``.

    - "non_saturating": C minimises the logistic loss, g the mean of ``softplus(-C(g(z)))``;
    - "wasserstein": C maximises ``E C(x) - E C(g(z))`` less `gradient_penalty` times
      ``E (|dC/dx| - 1)^2`` between rows and draws, and g the rest of it (Gulrajani et al. 2017).

    Parameters
    ----------
    loss : {"non_saturating", "wasserstein"}, default="wasserstein"
        Which of the two games.
    critic_steps, gradient_penalty : int and float, default=3 and 1.0
        Steps of the critic for each of the generator; weight of the penalty on its slope.
    <shared parameters>

    Attributes
    ----------
    history_ : dict of str to list
        Mean of "generator", which is `loss_curve_`, and "critic" by epoch. Neither says how good
        the rows are: compare them by `skvae.energy_distance`, say.

    See Also
    --------
    InfoGAN : With codes that can be read off the rows.

    References
    ----------
    I. Goodfellow et al.: Generative adversarial nets. NeurIPS 2014, arXiv:1406.2661.
    I. Gulrajani et al.: Improved training of Wasserstein GANs. NeurIPS 2017, arXiv:1704.00028.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> model = skvae.GAN(n_components=4, random_state=0).fit(sklearn.datasets.load_wine().data)
    >>> model.sample(5, random_state=0).shape
    (5, 13)
    """

    _architecture = ("loss", "gradient_penalty")
    _loss_falls, _narrow_rate = False, 1e-2
    _parameter_constraints: ClassVar[dict] = {
        "loss": [StrOptions({"non_saturating", "wasserstein"})],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
        "gradient_penalty": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, n_components="auto", *, loss="wasserstein", critic_steps=3, gradient_penalty=1.0,
        **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.loss, self.critic_steps, self.gradient_penalty = loss, critic_steps, gradient_penalty

    def _helpers(self, k: int, layers) -> dict[str, nn.Module]:
        kind = {"non_saturating": "logistic"}.get(self._spec["loss"], "wasserstein")
        return {"critic": Critic(layers.from_rows(1), kind, self._spec["gradient_penalty"])}

    def _objective(self, model: Model) -> Objective:
        return GenerativeGame(model, self.critic_steps)
