"""The information-maximising variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval, StrOptions
from torch.nn import Module

from ..engine.settings import ModelSpec
from ..nn.divergences import MMD
from ..nn.heads import Head, NormalHead
from ..nn.kl_term import KL
from ..nn.shared_penalties import LatentDivergence, Penalty
from .base import LearnedAutoencoder
from .options import NetworkOptions, TableOptions, TrainingOptions


class InfoVAE(LearnedAutoencoder):
    """InfoVAE (Zhao, Song & Ermon 2019): a VAE that preserves information between rows and codes.

    Minimises the mean over rows of ``-E_q[log p(x | z)] + (1 - a) KL(q(z | x) || p(z)) + (a + b -
    1) MMD^2(q(z), p(z))``, with p(z) = N(0, I), a the `information_weight` and b the
    `divergence_weight`, which are called alpha and lambda in the paper. The values 0 and 1 give the
    VAE, and 1 with any b gives the MMD-VAE.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    information_weight : float, default=0.5
        Weight of the mutual information of rows and codes, at most 1.
    divergence_weight : float, default=100.0
        Weight of the distance between the distribution of the codes and the prior. The sum of both
        weights must be at least 1, since the MMD term would otherwise have a negative weight.
    kernel : {"imq", "rbf"}, default="imq"
        Kernel of the maximum mean discrepancy: inverse multiquadric or Gaussian, summed over seven
        scales. Its expectations under the prior are computed exactly.
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
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction", "kl" and "mmd" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    VAE, WassersteinAE : Models with the KL term alone, and with the distance alone.

    References
    ----------
    S. Zhao, J. Song, S. Ermon: InfoVAE: Balancing learning and inference in variational
    autoencoders. AAAI 2019, arXiv:1706.02262.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> X = sklearn.datasets.load_wine().data
    >>> skvae.InfoVAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        "information_weight": [Interval(Real, None, 1, closed="right")],
        "divergence_weight": [Interval(Real, 0, None, closed="left")],
        "kernel": [StrOptions({"imq", "rbf"})],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        information_weight: float = 0.5,
        divergence_weight: float = 100.0,
        kernel: str = "imq",
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
        self.information_weight = information_weight
        self.divergence_weight = divergence_weight
        self.kernel = kernel
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

    def _check_pairs(self) -> None:
        super()._check_pairs()
        if float(self.information_weight) + float(self.divergence_weight) < 1.0:
            raise ValueError(
                "information_weight + divergence_weight must be at least 1, got "
                f"{self.information_weight} + {self.divergence_weight}: the MMD term would have a "
                "negative weight."
            )

    def _make_head(self, spec: ModelSpec, rng: torch.Generator) -> Head:
        return NormalHead(spec.n_components)

    def _penalties(self, spec: ModelSpec) -> dict[str, Penalty]:
        information = float(self.information_weight)
        weight = information + float(self.divergence_weight) - 1.0
        mmd = LatentDivergence(MMD(self.kernel), weight)
        return {"kl": KL(1.0 - information), "mmd": mmd}
