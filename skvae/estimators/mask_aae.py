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

_MASK_RATE = 5.0  # relative to the other turns' rate
_MASK_WAITS = 0.1  # share of the training


class Mask(nn.Module):
    """a = 1 - exp(-m) with m >= 0 learned: the share of each code coordinate that passes."""

    def __init__(self, n_components: int, start: float = 1.0):
        super().__init__()
        self.m = nn.Parameter(torch.full((n_components,), start))

    def forward(self) -> Tensor:
        return -torch.expm1(-self.m.clamp(min=0.0))


class MaskedHead(DiracHead):
    """Codes times a mask."""

    def __init__(self, n_components: int):
        super().__init__(n_components)
        self.mask = Mask(n_components)

    def forward(self, h: Tensor) -> Dirac:
        return Dirac(h * self.mask())


def mask_of(model: Model) -> Mask:
    """The mask of a model whose encoder has one."""
    return cast(MaskedHead, model.encoder.head).mask


class MaskedNormal(Prior):
    """The law of ``a * z``, z from N(0, I), for the mask a in [0, 1], which may be zero.

    Where a is below `least` the log-density is that of standard deviation `least`.
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
    """The four turns of MaskAAE (Mondal et al. 2020).

    With codes ``z = a f(x)`` and prior draws ``a e``, a the mask and C a Wasserstein critic:

    - the autoencoder minimises the reconstruction and `silence` times the mean of
      ``(z_j - mean z_j)^2 exp(-10 a_j^2)``, which silences what the mask shuts;
    - the critic tells codes from prior draws;
    - the encoder, at `encoder_rate` times the rate, fools it: it minimises ``-E C(codes)``;
    - the mask, at five times the rate, minimises ``fidelity reconstruction +
      (E C(prior) - E C(codes))^2 + polarisation sum_j a_j (1 - a_j)``, the last doubled after every
      tenth of the training. It waits for the first tenth, while the decoder knows nothing yet, and
      what it has shut stays shut.

    Two things are not in the paper. The reconstruction is that of codes with normal noise of
    standard deviation `code_noise`, because without noise a coordinate with the least share tells
    the decoder all it did before; and C sees codes and prior draws divided by the root mean square
    of a, because the mask would win the undivided game by shutting all.
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
    """MaskAAE (Mondal et al. 2020): an adversarial autoencoder that finds how many codes it needs.

    A mask ``a = 1 - exp(-m)``, m >= 0, multiplies the codes and the draws of N(0, I) that they are
    to match. `MaskObjective` in the same file states the losses of four turns: the autoencoder, a
    critic of codes, the encoder, and the mask, which gives up coordinates that are not needed.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    encoder_rate, critic_steps, code_noise : float, int and float, default=0.2, 2 and 0.05
        Relative learning rate of the encoder's turn; steps of the critic in a round; standard
        deviation of noise on codes in training, without which the least share lets all through.
    silence, fidelity, polarisation : float, default=1.0, 30.0 and 1e-3
        Weights in the autoencoder's loss (`silence`) and the mask's.
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
        """Share of each code coordinate that passes, (n_components,)."""
        mask: Tensor = mask_of(fitted_of(self, "mask_").model)()
        return mask.detach().double().cpu().numpy()

    @property
    def n_active_(self) -> int:
        """Code coordinates of which at least a tenth passes."""
        return int((self.mask_ >= 0.1).sum())
