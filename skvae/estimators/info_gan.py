"""The information-maximising generative adversarial network."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import Module

from ..engine.build import NetworkFactory
from ..engine.settings import ModelSpec
from ..nn.adversarial import Critic, GenerativeAdversarial
from ..nn.distributions import Distribution, Normal
from ..nn.heads import Head, NormalHead
from ..nn.model import Model
from ..nn.objectives import Corruption, Objective
from ..nn.priors import Prior, StandardNormal
from ..nn.shares import integers, uniform_like
from .base import LearnedEncoder
from .options import NetworkOptions, TrainingOptions


class InformationPrior(Prior):
    """Prior of normal noise (k), a one-hot category and numbers uniform on [-1, 1]."""

    def __init__(self, n_noise: int, n_categories: int, n_numbers: int):
        super().__init__()
        self.noise = StandardNormal(n_noise)
        self.n_categories, self.n_numbers = n_categories, n_numbers

    def sample(self, n: int, rng: torch.Generator, model: Model | None = None) -> Tensor:
        noise = self.noise.sample(n, rng)
        parts = [noise]
        if self.n_categories:
            c = integers(self.n_categories, noise, rng)
            parts.append(nn.functional.one_hot(c, self.n_categories).to(noise))
        u = torch.empty(n, self.n_numbers, dtype=noise.dtype, device=noise.device)
        return torch.cat([*parts, uniform_like(u, rng, -1.0, 1.0)], 1)


class InformationCodes(Distribution):
    """Distribution of codes of noise, a one-hot category and independent uniform numbers.

    Output of InfoGAN's recognition network for a row: it does not estimate the noise, and the
    numbers are modelled as normal.
    """

    def __init__(self, log_shares: Tensor, numbers: Normal):
        self.log_shares = log_shares  # (n, categories)
        self.numbers = numbers  # (n, numbers)

    @property
    def mean(self) -> Tensor:
        return torch.cat([self.log_shares.exp(), self.numbers.mean], -1)

    @property
    def variance(self) -> Tensor:
        p = self.log_shares.exp()
        return torch.cat([p * (1.0 - p), self.numbers.variance], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of c (..., categories + numbers), the last columns of a code."""
        n_categories = self.log_shares.shape[-1]
        c = x[..., x.shape[-1] - n_categories - self.numbers.mean.shape[-1] :]
        category = c[..., :n_categories] * self.log_shares
        return torch.cat([category, self.numbers.log_prob(c[..., n_categories:])], -1)

    def sample(self, rng: torch.Generator | None = None) -> Tensor:
        parts = []
        if self.log_shares.shape[-1]:
            c = torch.multinomial(self.log_shares.exp(), 1, generator=rng)[:, 0]
            parts.append(nn.functional.one_hot(c, self.log_shares.shape[-1]).to(self.log_shares))
        return torch.cat([*parts, self.numbers.sample(rng)], -1)

    def repeat(self, n: int) -> InformationCodes:
        return InformationCodes(self.log_shares.repeat(n, 1), self.numbers.repeat(n))


class InformationHead(Head):
    """Map outputs to `InformationCodes`; either categories or numbers may be missing."""

    def __init__(self, n_categories: int, n_numbers: int):
        super().__init__()
        self.n_categories, self.numbers = n_categories, NormalHead(n_numbers)
        self.width = n_categories + self.numbers.width

    def forward(self, h: Tensor) -> InformationCodes:
        log_shares = torch.log_softmax(h[..., : self.n_categories], -1)
        return InformationCodes(log_shares, self.numbers.normal(h[..., self.n_categories :]))


class InfoGAN(LearnedEncoder):
    """InfoGAN (Chen et al. 2016): a GAN with latent codes that can be recovered from the rows.

    The input of the generator g is normal noise z and a code c, which consists of one of
    `n_categories` categories (one-hot) and `n_continuous` numbers uniform on [-1, 1]. In addition
    to the adversarial loss of `GAN`, the generator minimises ``-information_weight E log Q(c | g(z,
    c))``, a bound of the mutual information of c and the generated rows. Q is an encoder, which
    `transform` uses.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    loss : {"non_saturating", "wasserstein"}, default="wasserstein"
        Adversarial loss: see `GAN`. With "wasserstein", categories find clusters more reliably.
    critic_steps : int, default=1
        Steps of the critic for each of the generator.
    n_categories, n_continuous : int, default=10 and 2
        Number of categories of c and number of continuous coordinates of c; one of them may be 0.
    information_weight : float, default=1.0
        Weight of the bound.
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
        Mean of "generator" and "information" by epoch, whose sum is `loss_curve_`, and "critic".

    See Also
    --------
    GAN : The same adversarial training without the code c.

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
        **LearnedEncoder._parameter_constraints,
        "loss": [StrOptions({"non_saturating", "wasserstein"})],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
        "n_categories": [Interval(Integral, 0, 1 << 20, closed="both")],
        "n_continuous": [Interval(Integral, 0, 1 << 20, closed="both")],
        "information_weight": [Interval(Real, 0, None, closed="left")],
        "output_activation": [StrOptions({"auto", "identity", "sigmoid"})],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        loss: str = "wasserstein",
        critic_steps: int = 1,
        n_categories: int = 10,
        n_continuous: int = 2,
        information_weight: float = 1.0,
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
        self.n_categories = n_categories
        self.n_continuous = n_continuous
        self.information_weight = information_weight
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

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.n_categories + self.n_continuous == 0:
            raise ValueError(
                "n_categories and n_continuous must not both be 0: set at least one "
                "of them to a positive number."
            )

    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> Head:
        return InformationHead(int(spec.method["n_categories"]), int(spec.method["n_continuous"]))

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        kind = "wasserstein" if spec.method["loss"] == "wasserstein" else "logistic"
        return {"critic": Critic(factory.from_rows(1), kind, 1.0)}

    def _make_prior(self, spec: ModelSpec, factory: NetworkFactory, rng: torch.Generator) -> Prior:
        own = spec.method
        n_categories, n_numbers = int(own["n_categories"]), int(own["n_continuous"])
        return InformationPrior(spec.n_components, n_categories, n_numbers)

    def _code_width(self, spec: ModelSpec) -> int:
        return int(spec.n_components + spec.method["n_categories"] + spec.method["n_continuous"])

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        return GenerativeAdversarial(model, self.critic_steps, float(self.information_weight))

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

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Estimate the code c of rows: probabilities of the categories, then means of the numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the units of the training rows.

        Returns
        -------
        C : ndarray of shape (n_samples, n_categories + n_continuous)
            Estimated codes, of the same dtype as X.
        """
        return super().transform(X)

    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Decode full codes to mean rows, or c alone with the noise at its mean, 0."""
        if Z.shape[1] == self._n_codes:
            Z = np.hstack([np.zeros((len(Z), self.n_components_), Z.dtype), Z])
        return super()._decode(Z)

    @property
    def _n_codes(self) -> int:
        own = self._fitted_.spec.method
        return int(own["n_categories"] + own["n_continuous"])
