"""The denoising autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from torch.nn import Module

from ..engine.settings import ModelSpec
from ..nn.objectives import Corruption
from ..nn.shares import normal_like, uniform_like
from .base import LearnedAutoencoder
from .options import NetworkOptions, TableOptions, TrainingOptions


class GaussianNoise:
    """Adds normal noise of standard deviation `level` to standardised features (n, d)."""

    def __init__(self, level: float, low: Tensor, high: Tensor):
        self.level = level

    def __call__(self, x: Tensor, rng: torch.Generator | None) -> Tensor:
        return x + self.level * normal_like(x, rng)


class Masking:
    """Sets a share `level` of the cells to zero, the mean of standardised features."""

    def __init__(self, level: float, low: Tensor, high: Tensor):
        self.level = level

    def __call__(self, x: Tensor, rng: torch.Generator | None) -> Tensor:
        return x * (uniform_like(x, rng) >= self.level)


class SaltAndPepper:
    """Sets a share `level` of the cells to the feature's lowest or highest value, (d,) each."""

    def __init__(self, level: float, low: Tensor, high: Tensor):
        self.level, self.low, self.high = level, low, high

    def __call__(self, x: Tensor, rng: torch.Generator | None) -> Tensor:
        u = uniform_like(x, rng)
        low, high = self.low.to(x), self.high.to(x)
        return torch.where(u < self.level / 2, low, torch.where(u < self.level, high, x))


CORRUPTIONS: dict[str, Callable[[float, Tensor, Tensor], Corruption]] = {
    "gaussian": GaussianNoise,
    "masking": Masking,
    "salt_and_pepper": SaltAndPepper,
}


class DenoisingAE(LearnedAutoencoder):
    """Denoising autoencoder (Vincent et al. 2008).

    Minimises the mean over rows of ``-log p(x | f(x~))`` where the encoder f sees a corrupted row
    x~ in training, and the clean row afterwards. As in `Autoencoder` a Gaussian mixture on the
    codes of the clean training rows is the prior of `sample` and `score_samples`.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    corruption : {"gaussian", "masking", "salt_and_pepper"}, default="gaussian"
        Noise of standard deviation `corruption_level` added to standardised features; a share
        `corruption_level` of the cells set to the feature's mean; or set to the feature's smallest
        or largest training value, with equal chance.
    corruption_level : float, default=0.2
        Standard deviation, or share of the cells, in [0, 1] for the latter two.
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
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise, given clean rows, in squared units of X.
    module_ : torch.nn.Module
        The model, on standardised rows.

    See Also
    --------
    ContractiveAE : Robust codes by a penalty on the encoder's slope.
    Autoencoder : The same without corruption.

    References
    ----------
    P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol: Extracting and composing robust features
    with denoising autoencoders. ICML 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import DenoisingAE
    >>> X = load_wine().data
    >>> DenoisingAE(2, corruption="masking", random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        "corruption": [StrOptions(set(CORRUPTIONS))],
        "corruption_level": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        corruption: str = "gaussian",
        corruption_level: float = 0.2,
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
        self.corruption = corruption
        self.corruption_level = corruption_level
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

    def _corruption(self, low: Tensor, high: Tensor) -> Corruption:
        return CORRUPTIONS[self.corruption](float(self.corruption_level), low, high)

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if self.corruption != "gaussian" and self.corruption_level > 1.0:
            raise ValueError(
                f"corruption_level must be at most 1 for {self.corruption}, got "
                f"{self.corruption_level}."
            )

    def _default_density(self, spec: ModelSpec) -> Any:
        return "auto"
