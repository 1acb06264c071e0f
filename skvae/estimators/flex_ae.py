"""The autoencoder with a flexible prior."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import Module

from ..engine.build import NetworkFactory
from ..engine.settings import ModelSpec
from ..nn.adversarial import AdversarialObjective, Critic
from ..nn.batch import Batch
from ..nn.model import Model
from ..nn.objectives import Corruption, Objective, Turn, parameters_of
from ..nn.priors import Mixture, Prior, Pushforward
from .base import LearnedAutoencoder
from .options import NetworkOptions, TableOptions, TrainingOptions

_DRAWS = 4096  # number of codes to which the density is fitted


class DrawnAndWeighed(Prior):
    """Samples from the prior of the training, and the density fitted to it."""

    density: Prior

    def __init__(self, density: Prior):
        super().__init__()
        self.density = density
        self.numbers = density.numbers

    def log_prob(self, z: Tensor, model: Model) -> Tensor:
        return self.density.log_prob(z, model)

    def sample(self, n: int, rng: torch.Generator, model: Model) -> Tensor:
        return model.prior.sample(n, rng, model)

    def mixture(self, model: Model) -> Mixture | None:
        return self.density.mixture(model)

    def proposals(self, model: Model) -> Mixture:
        return self.density.proposals(model)


class FlexObjective(AdversarialObjective):
    """Alternating updates of FlexAE (Mondal et al. 2021) with a prior G(e), e from N(0, I).

    - The autoencoder minimises the reconstruction;
    - a Wasserstein critic C distinguishes codes from samples of the prior;
    - the network G of the prior is trained against the critic;
    - the encoder, at `encoder_rate` times the rate, moves codes towards the prior: ``E C(codes)``.
    """

    def __init__(self, model: Model, critic_steps: int, encoder_rate: float):
        super().__init__(model, relative=True)
        self.critic_steps, self.encoder_rate = critic_steps, encoder_rate

    def laws(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.model.encode(batch).mean, self.prior_draws(batch.n_rows, rng)

    def prior_losses(
        self, batch: Batch, rng: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        return {"prior": self.critic.fool(self.prior_draws(batch.n_rows, rng))}

    def encoder_losses(
        self, batch: Batch, rng: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        value: Tensor = self.critic(self.model.encode(batch).mean)
        return {"encoder": value.mean()}

    def turns(self) -> dict[str, Turn]:
        model, rate = self.model, self.encoder_rate
        encoder, prior = parameters_of(model.encoder), parameters_of(model.prior)
        return {
            "autoencoder": Turn(self.losses, [*encoder, *parameters_of(model.decoder)]),
            "critic": self.critic_turn(),
            "prior": Turn(self.prior_losses, prior, beta1=0.5),
            "encoder": Turn(self.encoder_losses, encoder, lr=rate, beta1=0.5),
        }


class FlexAE(LearnedAutoencoder):
    """FlexAE (Mondal et al. 2021): an autoencoder with a learned prior, a generator of codes.

    The autoencoder minimises ``mean |x - g(f(x))|^2 / T``, where f is the encoder, g the decoder
    and T the total variance of the rows. A network G maps N(0, I) to the distribution of the codes.
    It is trained against a Wasserstein critic that distinguishes codes from samples of G, while the
    encoder slowly moves the codes towards these samples. `sample` draws codes from G, and
    `score_samples` uses the density of a Gaussian mixture fitted to samples of G.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    encoder_rate, critic_steps : float and int, default=0.05 and 3
        Relative learning rate of the encoder's adversarial update; number of critic steps per
        iteration.
    likelihood : {"auto", "gaussian", "bounded_gaussian", "bernoulli"}, default="auto"
        Distribution p(x | z) of the decoder. "gaussian" standardises each feature by its own mean
        and standard deviation. "bounded_gaussian" is for X in [0, 1]: a sigmoid bounds the mean,
        and all features share one scale. "bernoulli" is also for X in [0, 1], and `score_samples`
        is then a log-probability. "auto" is "bounded_gaussian" if all values of X lie in [0, 1] and
        X contains images or has at least 64 features, and "gaussian" otherwise. The pixels of
        images always share one scale.
    noise_variance : {"auto", "feature", "scalar", "network"} or float, default="auto"
        Variance of the Gaussian likelihood: learned per feature ("feature"), learned and shared by
        all features ("scalar"), an output of the decoder ("network"), or fixed at the given value
        in squared units of X. "auto" is "scalar" with a bounded mean and for images, "network" for
        tables with categorical columns or missing values if the loss depends on the noise, and
        "feature" otherwise.
    encoder : torch.nn.Module, callable or None, default=None
        Custom network on standardised rows: a module, which is copied and trained from its current
        weights, or a factory ``f(in_features, out_features)`` that returns a module. For images it
        should begin with ``nn.Unflatten(1, image_shape)`` (the encoder of a ConditionalVAE receives
        the one-hot label after the pixels). None builds fully connected layers, or convolutional
        layers for images. Dropout in a custom network uses torch's global random generator, which
        `random_state` does not control.
    decoder : torch.nn.Module, callable or None, default=None
        Custom network from codes to the outputs of the likelihood on standardised rows: a module or
        a factory ``f(in_features, out_features)``. None builds fully connected layers, or
        convolutional layers for images.
    latent_density : "auto", None or estimator, default="auto"
        Density estimator fitted to the standardised codes after training (to samples from q(z | x)
        if the encoder is stochastic). It replaces the prior in `sample` and `score_samples` and is
        stored in `latent_density_`. Any estimator with `fit`, `sample` and `score_samples` can be
        used: GaussianMixture, KernelDensity or another estimator of this package. "auto" is the
        default of the method, None keeps the prior used in training.
    n_importance_samples : int, default=16
        Number of importance samples in the estimate of log p(x). With 1 the estimate is a single
        weight at the posterior's mode, which is fastest, but its error is unknown.
    contamination : float or "auto", default="auto"
        Proportion of outliers in the training rows, which sets the threshold `offset_`. With "auto"
        the threshold follows from `false_alarm_rate` and no proportion has to be guessed.
    false_alarm_rate : float, default=0.05
        With ``contamination="auto"``, the false positive rate: the proportion of new rows from the
        training distribution that `predict` labels as outliers. `offset_` is the conformal quantile
        at this level of the scores of held-out rows. See `p_values` and `calibrate`.
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
    early_stopping : bool or "auto", default="auto"
        Whether to stop when held-out rows no longer improve, and keep the best weights. "auto" is
        True if rows are held out and a VAE or ConditionalVAE optimises the density of a table, with
        ``noise_variance="network"``; the criterion is then the log-density of the held-out rows.
        "auto" is False otherwise, and with True the criterion is then their loss.
    training : TrainingOptions or None, default=None
        Advanced settings of the training: L2 penalty, gradient clipping, numerical precision,
        held-out rows, patience. `set_params` and grid searches access them as, for example,
        ``training__alpha``.
    table : TableOptions or None, default=None
        Types of the columns of X and how they are modelled: column kinds, unknown categories,
        marginals, values masked in training. `set_params` and grid searches access them as, for
        example, ``table__marginals``.
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
        Mean losses by epoch: "reconstruction", which is `loss_curve_`, and "critic", "prior" and
        "encoder" of the adversarial updates.

    See Also
    --------
    Autoencoder, RAE, TwoStageVAE : Latent distributions learned after training.

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

    _relative, _needs_density, _density_of_rows = True, True, False
    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        "encoder_rate": [Interval(Real, 0, None, closed="left")],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        encoder_rate: float = 0.05,
        critic_steps: int = 3,
        likelihood: str = "auto",
        noise_variance: float | str = "auto",
        encoder: Module | Callable[[int, int], Module] | None = None,
        decoder: Module | Callable[[int, int], Module] | None = None,
        latent_density: Any = "auto",
        n_importance_samples: int = 16,
        contamination: float | str = "auto",
        false_alarm_rate: float = 0.05,
        hidden_layer_sizes: int | tuple[int, ...] = (128, 128),
        image_shape: tuple[int, ...] | None = None,
        network: NetworkOptions | None = None,
        learning_rate_init: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int | None = None,
        early_stopping: bool | str = "auto",
        training: TrainingOptions | None = None,
        table: TableOptions | None = None,
        device: str = "auto",
        warm_start: bool = False,
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoder_rate = encoder_rate
        self.critic_steps = critic_steps
        self.likelihood = likelihood
        self.noise_variance = noise_variance
        self.encoder = encoder
        self.decoder = decoder
        self.latent_density = latent_density
        self.n_importance_samples = n_importance_samples
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.hidden_layer_sizes = hidden_layer_sizes
        self.image_shape = image_shape
        self.network = network
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.training = training
        self.table = table
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        return {"critic": Critic(factory.mlp(spec.n_components, 1), "wasserstein", 1.0)}

    def _make_prior(self, spec: ModelSpec, factory: NetworkFactory, rng: torch.Generator) -> Prior:
        k = spec.n_components
        return Pushforward(factory.mlp(k, k, skip=True), k)

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        return FlexObjective(model, self.critic_steps, float(self.encoder_rate))

    def _density_codes(self, model: Model, rows: Batch, rng: torch.Generator) -> Tensor:
        if self.latent_density != "auto":
            return super()._density_codes(model, rows, rng)
        return model.prior.sample(_DRAWS, rng, model)

    def _make_latent(self, density: Prior) -> Prior:
        return DrawnAndWeighed(density) if self.latent_density == "auto" else density

    def _default_density(self, spec: ModelSpec) -> Any:
        return "auto"
