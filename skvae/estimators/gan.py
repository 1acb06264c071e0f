"""The generative adversarial network."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn
from torch.nn import Module

from ..engine.build import NetworkFactory
from ..engine.settings import ModelSpec
from ..nn.adversarial import Critic, GenerativeAdversarial
from ..nn.model import Model
from ..nn.objectives import Corruption, Objective
from .base import LearnedGenerator
from .options import NetworkOptions, TrainingOptions


class GAN(LearnedGenerator):
    """Generative adversarial network (Goodfellow et al. 2014): a generator without an encoder.

    A generator g maps z from N(0, I) to rows. It is trained against a critic C that distinguishes
    real rows from generated rows ``g(z)``.

    - "non_saturating": C minimises the logistic loss, g the mean of ``softplus(-C(g(z)))``;
    - "wasserstein": C maximises ``E C(x) - E C(g(z))`` minus `gradient_penalty` times ``E (|dC/dx|
      - 1)^2`` at points between real and generated rows, and g maximises ``E C(g(z))`` (Gulrajani
      et al. 2017).

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    loss : {"non_saturating", "wasserstein"}, default="wasserstein"
        Loss of critic and generator, as defined above.
    critic_steps, gradient_penalty : int and float, default=3 and 1.0
        Number of critic steps for each generator step; weight of the gradient penalty of the
        critic.
    output_activation : {"auto", "identity", "sigmoid"}, default="auto"
        How generated rows are bounded. "auto" is "sigmoid" if all values of X lie in [0, 1] and X
        contains images or has at least 64 features, and "identity" otherwise. Each feature is
        standardised by its mean and its own standard deviation; the pixels of images, and all
        features with "sigmoid", share one standard deviation.
    decoder : torch.nn.Module, callable or None, default=None
        Custom network from codes to the outputs of the likelihood on standardised rows: a module or
        a factory ``f(in_features, out_features)``. None builds fully connected layers, or
        convolutional layers for images.
    hidden_layer_sizes : int or tuple of int, default=(128, 128)
        Number of units in each hidden layer of the encoder; the decoder mirrors them. ``()`` gives
        a linear model.
    image_shape : (channels, height, width) or None, default=None
        Shape of the images, if each row is an image flattened in this order: encoder and decoder
        are then convolutional. None infers the shape in `fit` if X has four dimensions (n,
        channels, height, width), and otherwise treats rows as tabular data. The output always
        consists of flattened rows.
    network : NetworkOptions or None, default=None
        Advanced settings of the networks: activation, linear skip connection, convolutions.
        `set_params` and grid searches access them as, for example, ``network__activation``.
    learning_rate_init : float or "auto", default="auto"
        Peak learning rate of Adam. The rate rises over the first tenth of the steps and then
        decreases linearly to zero. "auto" is 0.006 for at most one hidden layer with a linear skip
        connection and 0.002 otherwise (0.003 for MaskAAE; if all hidden layers have fewer than 64
        units, 0.01 for GAN and 0.005 for InfoGAN).
    batch_size : int or "auto", default="auto"
        Number of rows in a mini-batch; "auto" is ``min(128, n_samples)``.
    max_iter : int or None, default=None
        Number of epochs. None sets a budget of optimiser steps: 10 epochs, or 20 for tables with
        categorical columns or missing values, but at least 1500 and at most 10,000 steps, and
        always at least one epoch.
    training : TrainingOptions or None, default=None
        Advanced settings of the training: L2 penalty, gradient clipping, numerical precision,
        held-out rows, patience. `set_params` and grid searches access them as, for example,
        ``training__alpha``.
    device : str, default="auto"
        Torch device; "auto" is CUDA if available and the CPU otherwise.
    warm_start : bool, default=False
        If True, `fit` continues from the current weights and optimiser state.
    verbose : int, default=0
        With 1, a progress line is shown.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers; pass an int for a reproducible model.

    Attributes
    ----------
    history_ : dict of str to list
        Mean of "generator", which is `loss_curve_`, and "critic" by epoch. Neither measures the
        quality of the samples: use a metric such as `skvae.energy_distance`.

    See Also
    --------
    InfoGAN : A GAN with latent codes that an encoder recovers from the rows.

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
        **LearnedGenerator._parameter_constraints,
        "loss": [StrOptions({"non_saturating", "wasserstein"})],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
        "gradient_penalty": [Interval(Real, 0, None, closed="left")],
        "output_activation": [StrOptions({"auto", "identity", "sigmoid"})],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        loss: str = "wasserstein",
        critic_steps: int = 3,
        gradient_penalty: float = 1.0,
        output_activation: str = "auto",
        decoder: Module | Callable[[int, int], Module] | None = None,
        hidden_layer_sizes: int | tuple[int, ...] = (128, 128),
        image_shape: tuple[int, ...] | None = None,
        network: NetworkOptions | None = None,
        learning_rate_init: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int | None = None,
        training: TrainingOptions | None = None,
        device: str = "auto",
        warm_start: bool = False,
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.loss = loss
        self.critic_steps = critic_steps
        self.gradient_penalty = gradient_penalty
        self.output_activation = output_activation
        self.decoder = decoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.image_shape = image_shape
        self.network = network
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.training = training
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def sample(self, n_samples: int = 1, random_state: Any = None, *, noise: bool = True) -> Any:
        """Sample new rows from the model, independently of each other.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed of the samples; None gives different rows in each call.
        noise : bool, default=True
            Has no effect: the rows have no noise beyond that of their codes.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training rows.
        """
        return super().sample(n_samples, random_state, noise=noise)

    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> None:
        return None

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        kind = "wasserstein" if spec.method["loss"] == "wasserstein" else "logistic"
        penalty = spec.method["gradient_penalty"]
        return {"critic": Critic(factory.from_rows(1), kind, penalty)}

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        return GenerativeAdversarial(model, self.critic_steps)
