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

_DRAWS = 4096  # codes that the density is fitted on


class DrawnAndWeighed(Prior):
    """Draws from the prior of training, and the density that was fitted to it."""

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
    """The turns of FlexAE (Mondal et al. 2021): a prior G(e), e from N(0, I), that follows codes.

    - The autoencoder minimises the reconstruction;
    - a Wasserstein critic C tells codes from draws of the prior;
    - the prior's network G fools it;
    - the encoder, at `encoder_rate` times the rate, moves codes toward the prior: ``E C(codes)``.
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
    """FlexAE (Mondal et al. 2021): an autoencoder whose prior is learned, as a generator of codes.

    The autoencoder minimises ``mean |x - g(f(x))|^2 / T``, T the total variance of the rows. A
    network G carries N(0, I) to the law of the codes: it fools a Wasserstein critic that tells
    codes from draws of G, while the encoder slowly moves the codes toward them. `sample` draws from
    G, and `score_samples` takes for its density a mixture fitted on draws of G.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    encoder_rate, critic_steps : float and int, default=0.05 and 3
        Relative learning rate of the encoder's turn; steps of the critic in a round.
    likelihood : {"auto", "gaussian", "bounded_gaussian", "bernoulli"}, default="auto"
        p(x | z). "gaussian" standardises each feature by its own mean and standard deviation.
        "bounded_gaussian" is for X in [0, 1]: a sigmoid bounds the mean, and all features share one
        scale. "bernoulli" is for X in [0, 1] too, and `score_samples` is then a log-probability.
        "auto" is "bounded_gaussian" where all of X lies in [0, 1] and is known to be images, or has
        at least 64 features, and "gaussian" otherwise. Features of images share one scale in any
        case.
    noise_variance : {"auto", "feature", "scalar", "network"} or float, default="auto"
        Variance of the Gaussian likelihood: one learned per feature, one learned for all features,
        an output of the decoder, or this fixed variance in squared units of X. "auto" is "scalar"
        with a bounded mean and for images, "network" where columns hold labels or cells are
        missing and the loss knows the noise, and "feature" otherwise.
    encoder : torch.nn.Module, callable or None, default=None
        A network of your own, on standardised rows: a module, which is copied and trained from its
        present weights, or a factory ``f(in_features, out_features)`` that returns one; for images
        let it begin with ``nn.Unflatten(1, image_shape)`` (the encoder of a ConditionalVAE gets the
        one-hot label after the pixels). None builds fully connected layers, or convolutions for
        images. Dropout in it draws from torch's global generator, which no seed of ours reaches.
    decoder : torch.nn.Module, callable or None, default=None
        A network of your own from codes to outputs of the likelihood on standardised rows, a module
        or a factory ``f(in_features, out_features)``. None builds fully connected layers, or
        convolutions for images.
    latent_density : "auto", None or estimator, default="auto"
        Density fitted on standardised codes after training (draws of q(z | x) where the encoder is
        random); it replaces the prior in `sample` and `score_samples` and is kept in
        `latent_density_`. Any estimator with `fit`, `sample` and `score_samples` will do: a
        GaussianMixture, a KernelDensity, another estimator of this package. "auto" is what the
        method stands for, None keeps the prior of training.
    n_importance_samples : int, default=16
        Draws in the estimate of log p(x). With 1 it is a single weight at the posterior's mode: the
        fastest, but of unknown error.
    contamination : float or "auto", default="auto"
        Share of outliers in the training rows, which sets `offset_`. "auto" needs no guess: see
        `false_alarm_rate`.
    false_alarm_rate : float, default=0.05
        With ``contamination="auto"``, the share of new rows like those of the training that
        `predict` calls outliers: `offset_` is this quantile of the scores of rows that were not
        trained on, as conformal tests take it. See `p_values` and `calibrate`.
    hidden_layer_sizes : int or tuple of int, default=(128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` is a linear model.
    image_shape : (channels, height, width) or None, default=None
        Shape of the images that rows are, flattened in this order: encoder and decoder are then
        convolutional. None takes it from X in `fit` where that has four dimensions (n, channels,
        height, width), and else rows are no images. Whatever the input, what comes out are rows.
    network : NetworkOptions or None, default=None
        Rare settings of the networks: activation, linear skip, convolutions. `set_params` and grid
        searches reach them as ``network__activation``, say.
    learning_rate_init : float or "auto", default="auto"
        Peak rate of Adam: it is approached over the first tenth of the steps and falls linearly to
        zero. "auto" is 0.006 for at most one hidden layer with a linear skip and 0.002 otherwise
        (0.003 for MaskAAE; where all hidden layers have less than 64 units 0.01 for GAN and 0.005
        for InfoGAN).
    batch_size : int or "auto", default="auto"
        Rows in a step; "auto" is ``min(128, n_samples)``.
    max_iter : int or None, default=None
        Epochs. None sets a budget in steps: 10 epochs, or 20 where columns hold labels or cells are
        missing, but at least 1500 and at most 10,000 steps, and one epoch in any case.
    early_stopping : bool or "auto", default="auto"
        Whether to stop when held-out rows no longer gain, and keep the best weights. "auto" is True
        where rows are held out and a VAE or ConditionalVAE fits a table for its density, with noise
        of the network; what counts is then their log-density. It is False otherwise, and their loss
        counts.
    training : TrainingOptions or None, default=None
        Rare settings of the training: L2 penalty, gradient clipping, number format, held-out rows,
        patience. `set_params` and grid searches reach them as ``training__alpha``, say.
    table : TableOptions or None, default=None
        What the columns of X are, and how they are learned: kinds, labels that are new, marginals,
        cells that training hides. `set_params` and grid searches reach them as
        ``table__marginals``, say.
    device : str, default="auto"
        A torch device; "auto" is CUDA where there is one and the CPU otherwise.
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights and optimiser state.
    verbose : int, default=0
        1 shows a progress line.
    random_state : int, RandomState or None, default=None
        Seed; the same seed gives the same model.

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
