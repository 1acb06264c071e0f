"""The factor variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import Module

from ..engine.build import NetworkFactory
from ..engine.settings import ModelSpec
from ..nn.adversarial import Critic, CriticObjective
from ..nn.heads import Head, NormalHead
from ..nn.kl_term import KL
from ..nn.model import Model
from ..nn.objectives import Corruption, Objective
from ..nn.shares import own_rows, uniform_like, whole_batch
from .base import LearnedAutoencoder
from .options import NetworkOptions, TableOptions, TrainingOptions


def permuted(z: Tensor, rng: torch.Generator) -> Tensor:
    """Every column of z (n, k) in an order of its own: a draw with independent coordinates."""
    z, keys = whole_batch(z), whole_batch(uniform_like(z, rng))
    return own_rows(z.gather(0, keys.argsort(0)))


class FactorVAE(LearnedAutoencoder):
    """FactorVAE (Kim & Mnih 2018): a VAE whose code coordinates are independent together.

    Minimises the negative evidence lower bound, mean over rows, plus `gamma` times the total
    correlation ``KL(q(z) || prod_j q(z_j))``. Its log-ratio comes from a critic that learns to tell
    codes from codes whose coordinates were permuted over rows one by one.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    gamma : float, default=5.0
        Weight of the total correlation.
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
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction", "kl" and "total_correlation" by epoch, whose sum is `loss_curve_`,
        and the loss "critic", which is 2 log 2 where it can tell nothing.

    See Also
    --------
    VAE : With ``beta`` above 1 codes grow independent too.
    code_correlation : How far codes are from uncorrelated.

    References
    ----------
    H. Kim, A. Mnih: Disentangling by factorising. ICML 2018, arXiv:1802.05983.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import FactorVAE
    >>> X = load_wine().data
    >>> FactorVAE(n_components=2, random_state=0).fit_transform(X).shape
    (178, 2)
    """

    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        "gamma": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        gamma: float = 5.0,
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
        self.gamma = gamma
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
        return NormalHead(spec.n_components)

    def _make_auxiliary(self, spec: ModelSpec, factory: NetworkFactory) -> dict[str, nn.Module]:
        return {"critic": Critic(factory.mlp(spec.n_components, 1))}

    def _make_objective(
        self, model: Model, spec: ModelSpec, corruption: Corruption | None
    ) -> Objective:
        gamma = float(self.gamma)
        return CriticObjective(
            model,
            "total_correlation",
            lambda critic, z: gamma * critic(z).mean(),
            lambda z, rng: (z, permuted(z, rng)),
            penalties={"kl": KL()},
            corrupt=corruption,
        )
