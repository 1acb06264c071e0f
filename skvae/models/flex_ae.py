"""The autoencoder with a flexible prior."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from ..games import Critic, FlexGame
from ..model import Model
from ..neural import BaseNeuralAutoencoder
from ..objectives import Objective
from ..priors import DrawnAndWeighed, Prior, Pushforward


class FlexAE(BaseNeuralAutoencoder):
    """FlexAE (Mondal et al. 2021): an autoencoder whose prior is learned, as a generator of codes.

    The autoencoder minimises ``mean |x - g(f(x))|^2 / T``, T the total variance of the rows. A
    network G carries N(0, I) to the law of the codes: it fools a Wasserstein critic that tells
    codes from draws of G, while the encoder slowly moves the codes toward them. `sample` draws from
    G, and `score_samples` takes for its density a mixture fitted on draws of G.

    Parameters
    ----------
    encoder_rate, critic_steps : float and int, default=0.05 and 3
        Relative learning rate of the encoder's turn; steps of the critic in a round.
    <shared parameters>

    Attributes
    ----------
    history_ : dict of str to list
        "reconstruction", which is `loss_curve_`; "critic", "prior" and "encoder" of the others.

    See Also
    --------
    Autoencoder, RAE, TwoStageVAE : Laws of codes learned after training.

    References
    ----------
    A. K. Mondal et al.: FlexAE: Flexibly learning latent priors. UAI 2021.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> model = skvae.FlexAE(2, random_state=0).fit(sklearn.datasets.load_wine().data)
    >>> model.sample(5, random_state=0).shape
    (5, 13)
    """

    _relative, _needs_density, _density_of_rows, _auto_density = True, True, False, "auto"
    _parameter_constraints: ClassVar[dict] = {
        "encoder_rate": [Interval(Real, 0, None, closed="left")],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_components="auto", *, encoder_rate=0.05, critic_steps=3, **parameters):
        super().__init__(n_components, **parameters)
        self.encoder_rate, self.critic_steps = encoder_rate, critic_steps

    def _helpers(self, k: int, layers) -> dict[str, nn.Module]:
        return {"critic": Critic(layers(k, 1), "wasserstein", 1.0)}

    def _prior(self, k: int, layers, generator, model: Model) -> Prior:
        return Pushforward(layers(k, k, skip=True), k)

    def _objective(self, model: Model) -> Objective:
        return FlexGame(model, self.critic_steps, self.encoder_rate)

    def _density_rows(self, model: Model, some: Tensor, generator: torch.Generator) -> Tensor:
        if self.latent_density != "auto":
            return super()._density_rows(model, some, generator)
        return model.prior.sample(4096, generator)

    def _as_law(self, model: Model, density: Prior) -> Prior:
        return DrawnAndWeighed(model.prior, density) if self.latent_density == "auto" else density
