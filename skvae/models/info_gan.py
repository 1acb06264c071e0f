"""The information-maximising generative adversarial network."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..games import Critic, GenerativeGame
from ..model import Model
from ..neural import BaseInformative
from ..objectives import Objective


class InfoGAN(BaseInformative):
    """InfoGAN (Chen et al. 2016): a GAN part of whose code can be read off its rows.

    The generator's code is normal noise and c: one of `n_categories`, one-hot, and `n_continuous`
    numbers uniform on [-1, 1]. Beside its game with the critic, as in `GAN`, it minimises
    ``-information E log Q(c | g(z, c))``, a bound of the mutual information; Q is an encoder, and
    `transform`.

    Parameters
    ----------
    loss : {"non_saturating", "wasserstein"}, default="wasserstein"
        The game: see `GAN`. With "wasserstein" categories find clusters more surely.
    critic_steps : int, default=1
        Steps of the critic for each of the generator.
    n_categories, n_continuous : int, default=10 and 2
        Categories of c, or 0; continuous coordinates of c.
    information : float, default=1.0
        Weight of the bound.
    <shared parameters>

    Attributes
    ----------
    history_ : dict of str to list
        Mean of "generator" and "information" by epoch, whose sum is `loss_curve_`, and "critic".

    See Also
    --------
    GAN : The same game without the readable part of the code.

    References
    ----------
    X. Chen et al.: InfoGAN: interpretable representation learning by information maximizing
    generative adversarial nets. NeurIPS 2016, arXiv:1606.03657.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> model = skvae.InfoGAN(n_categories=3, random_state=0)
    >>> model.fit_transform(sklearn.datasets.load_wine().data).shape
    (178, 5)
    """

    _architecture = ("n_categories", "n_continuous", "loss")
    _loss_falls, _narrow_rate = False, 5e-3
    _parameter_constraints: ClassVar[dict] = {
        "loss": [StrOptions({"non_saturating", "wasserstein"})],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
        "information": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, n_components="auto", *, loss="wasserstein", critic_steps=1, information=1.0,
        **parameters,
    ):  # fmt: skip
        super().__init__(n_components, **parameters)
        self.loss, self.critic_steps, self.information = loss, critic_steps, information

    def _helpers(self, k: int, layers) -> dict[str, nn.Module]:
        kind = "wasserstein" if self._spec["loss"] == "wasserstein" else "logistic"
        return {"critic": Critic(layers.from_rows(1), kind, 1.0)}

    def _objective(self, model: Model) -> Objective:
        return GenerativeGame(model, self.critic_steps, self.information)
