"""The masked adversarial autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import Module

from ..engine.build import NetworkFactory
from ..engine.settings import ModelSpec
from ..nn.adversarial import AdversarialObjective, Critic
from ..nn.batch import Batch
from ..nn.distributions import Dirac, standard_log_prob
from ..nn.heads import DiracHead, Head
from ..nn.model import ForwardPass, Model
from ..nn.objectives import Corruption, Objective, Turn, parameters_of
from ..nn.priors import Mixture, Prior
from ..nn.shares import batch_mean, normal_like
from .base import LearnedAutoencoder, fitted_of
from .options import NetworkOptions, TableOptions, TrainingOptions

_MASK_RATE = 5.0  # relative to the learning rate of the other updates
_MASK_WAITS = 0.1  # fraction of the training


class Mask(nn.Module):
    """Mask a = 1 - exp(-m) with learned m >= 0, the weights of the latent coordinates."""

    def __init__(self, n_components: int, start: float = 1.0):
        super().__init__()
        self.m = nn.Parameter(torch.full((n_components,), start))

    def forward(self) -> Tensor:
        return -torch.expm1(-self.m.clamp(min=0.0))


class MaskedHead(DiracHead):
    """Head that multiplies codes by a mask."""

    def __init__(self, n_components: int):
        super().__init__(n_components)
        self.mask = Mask(n_components)

    def forward(self, h: Tensor) -> Dirac:
        return Dirac(h * self.mask())


def mask_of(model: Model) -> Mask:
    """Return the mask of a model whose encoder has one."""
    return cast(MaskedHead, model.encoder.head).mask


class MaskedNormal(Prior):
    """Distribution of ``a * z``, z from N(0, I), for the mask a in [0, 1], which may be zero.

    If a is below `least`, the log-density is that of standard deviation `least`.
    """

    def __init__(self, n_components: int, least: float = 1e-3):
        super().__init__()
        self.n_components, self.least = n_components, least

    def log_prob(self, z: Tensor, model: Model) -> Tensor:
        scale: Tensor = mask_of(model)().clamp(min=self.least)
        return standard_log_prob(z / scale) - scale.log().sum()

    def sample(self, n: int, rng: torch.Generator, model: Model) -> Tensor:
        scale: Tensor = mask_of(model)()
        z = torch.empty(n, self.n_components, dtype=scale.dtype, device=scale.device)
        return scale * normal_like(z, rng)

    def proposals(self, model: Model) -> Mixture:
        scale = mask_of(model)().clamp(min=self.least)
        zero = torch.zeros_like(scale)
        return Mixture(zero[:1], zero[None], scale.diag()[None])


class MaskObjective(AdversarialObjective):
    """Four alternating updates of MaskAAE (Mondal et al. 2020).

    With codes ``z = a f(x)``, prior samples ``a e``, the mask a and a Wasserstein critic C:

    - the autoencoder minimises the reconstruction and `silence` times the mean of
      ``(z_j - mean z_j)^2 exp(-10 a_j^2)``, which suppresses coordinates that the mask switches
      off;
    - the critic distinguishes codes from prior samples;
    - the encoder, at `encoder_rate` times the learning rate, minimises ``-E C(codes)``;
    - the mask, at five times the rate, minimises ``fidelity reconstruction +
      (E C(prior) - E C(codes))^2 + polarisation sum_j a_j (1 - a_j)``, with the last weight doubled
      after every tenth of the training. It is not updated during the first tenth of the training,
      while the decoder is still poor, and coordinates that are switched off remain so.

    Two details differ from the paper. Codes are reconstructed with added normal noise of standard
    deviation `code_noise`, because without noise a coordinate with an arbitrarily small weight
    still passes all its information to the decoder. The inputs of C, codes and prior samples, are
    divided by the root mean square of a, because the mask could otherwise minimise its loss by
    switching off all coordinates.
    """

    def __init__(
        self,
        model: Model,
        encoder_rate: float,
        silence: float,
        fidelity: float,
        polarisation: float,
        critic_steps: int,
        code_noise: float,
    ):
        super().__init__(model, relative=True)
        self.code_noise = code_noise
        self.encoder_rate, self.silence, self.fidelity = encoder_rate, silence, fidelity
        self.polarisation, self.critic_steps = polarisation, critic_steps

    def mask(self) -> Tensor:
        a: Tensor = mask_of(self.model)()
        return a

    def forward_pass(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> ForwardPass:
        done = super().forward_pass(batch, rng, progress)
        if not self.training:
            return done
        z = done.z + self.code_noise * normal_like(done.z, rng)
        return done._replace(p=self.model.decode(z))

    def _scaled(self, z: Tensor) -> Tensor:
        return z / (self.mask().square().mean() + 1e-8).sqrt()

    def losses(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        done = self.forward_pass(batch, rng, progress)
        shut = torch.exp(-10.0 * self.mask().square())  # (k,)
        # the gradient by the mean is 0
        spread = (done.z - batch_mean(done.z.detach().mean(0))).square()
        return {**self.terms(done), "silence": self.silence * (spread * shut).mean()}

    def laws(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        prior = self.prior_draws(batch.n_rows, rng)
        return self._scaled(prior), self._scaled(self.model.encode(batch).mean)

    def encoder_losses(
        self, batch: Batch, rng: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        return {"encoder": self.critic.fool(self._scaled(self.model.encode(batch).mean))}

    def mask_losses(self, batch: Batch, rng: torch.Generator, progress: float) -> dict[str, Tensor]:
        done, a = self.forward_pass(batch, rng, progress), self.mask()
        prior = self.prior_draws(len(done.z), rng)
        gap = self.critic(self._scaled(prior)).mean() - self.critic(self._scaled(done.z)).mean()
        weight = self.polarisation * 2.0 ** min(9, math.floor(10.0 * progress))
        pole = weight * (a * (1.0 - a)).sum()
        loss = self.fidelity * self.terms(done)["reconstruction"] + batch_mean(gap).square() + pole
        return {"mask": loss * float(progress >= _MASK_WAITS)}

    def turns(self) -> dict[str, Turn]:
        model, rate = self.model, self.encoder_rate
        encoder, mask = parameters_of(model.encoder.network), parameters_of(mask_of(model))
        own = [*encoder, *parameters_of(model.decoder)]
        return {
            "autoencoder": Turn(self.losses, own),
            "critic": self.critic_turn(),
            "encoder": Turn(self.encoder_losses, encoder, lr=rate, beta1=0.5),
            "mask": Turn(self.mask_losses, mask, lr=_MASK_RATE, beta1=0.5),
        }


class MaskAAE(LearnedAutoencoder):
    """MaskAAE (Mondal et al. 2020): an adversarial autoencoder that learns its latent dimension.

    A mask ``a = 1 - exp(-m)``, m >= 0, multiplies the codes and the samples of N(0, I) to which
    they are matched. Four networks are updated alternately: the autoencoder, a critic of codes, the
    encoder, and the mask, which switches off coordinates that are not needed. Their losses are
    documented at `MaskObjective` in the same file.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    encoder_rate, critic_steps, code_noise : float, int and float, default=0.2, 2 and 0.05
        Relative learning rate of the encoder's adversarial update; number of critic steps per
        iteration; standard deviation of the noise added to codes in training, without which a
        coordinate with a small mask weight still passes all its information.
    silence, fidelity, polarisation : float, default=1.0, 30.0 and 1e-3
        Weights in the loss of the autoencoder (`silence`) and in the loss of the mask (`fidelity`,
        `polarisation`).
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
    mask_, n_active_ : ndarray of shape (n_components,) and int
        Mask weights a of the latent coordinates; number of weights that are at least 0.1.
    history_ : dict of str to list
        Mean losses by epoch: "reconstruction" and "silence", whose sum is `loss_curve_`, and
        "critic", "encoder" and "mask".

    See Also
    --------
    AdversarialAE : The same adversarial training without a mask.
    active_units : Number of latent coordinates that carry information.

    References
    ----------
    A. K. Mondal et al.: MaskAAE. UAI 2020, arXiv:1912.04564.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> skvae.MaskAAE(8, random_state=0).fit(sklearn.datasets.load_wine().data).mask_.shape
    (8,)
    """

    _relative, _auto_rate = True, 3e-3
    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        "encoder_rate": [Interval(Real, 0, None, closed="left")],
        "silence": [Interval(Real, 0, None, closed="left")],
        "fidelity": [Interval(Real, 0, None, closed="left")],
        "polarisation": [Interval(Real, 0, None, closed="left")],
        "code_noise": [Interval(Real, 0, None, closed="left")],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        encoder_rate: float = 0.2,
        critic_steps: int = 2,
        code_noise: float = 0.05,
        silence: float = 1.0,
        fidelity: float = 30.0,
        polarisation: float = 1e-3,
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
        self.code_noise = code_noise
        self.silence = silence
        self.fidelity = fidelity
        self.polarisation = polarisation
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

    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> Head:
        return MaskedHead(spec.n_components)

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        return {"critic": Critic(factory.mlp(spec.n_components, 1), "wasserstein")}

    def _make_prior(self, spec: ModelSpec, factory: NetworkFactory, rng: torch.Generator) -> Prior:
        return MaskedNormal(spec.n_components)

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        return MaskObjective(
            model,
            encoder_rate=float(self.encoder_rate),
            silence=float(self.silence),
            fidelity=float(self.fidelity),
            polarisation=float(self.polarisation),
            critic_steps=self.critic_steps,
            code_noise=float(self.code_noise),
        )

    @property
    def mask_(self) -> np.ndarray:
        """Mask weights of the latent coordinates, of shape (n_components,)."""
        mask: Tensor = mask_of(fitted_of(self, "mask_").model)()
        return mask.detach().double().cpu().numpy()

    @property
    def n_active_(self) -> int:
        """Number of latent coordinates with a mask weight of at least 0.1."""
        return int((self.mask_ >= 0.1).sum())
