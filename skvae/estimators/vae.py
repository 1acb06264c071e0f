"""The variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from numpy.random import RandomState
from torch.nn import Module

from .base import LearnedAutoencoder
from .options import NetworkOptions, TableOptions, TrainingOptions
from .variational import Variational


class VAE(Variational, LearnedAutoencoder):
    """Variational autoencoder (Kingma & Welling 2014), and beta-VAE (Higgins et al. 2017).

    Minimises the mean over rows of ``-E_q[log p(x | z)] + beta KL(q(z | x) || p(z))`` with ``q(z |
    x) = N(m(x), diag s(x)^2)`` and p(z) = N(0, I), unless another posterior or prior is chosen. For
    beta = 1 this is the negative evidence lower bound of log p(x).

    With ``noise_variance="network"``, the default for tables with categorical columns or missing
    values, the fit optimises the density of the table, provided that ``beta=1``, ``free_bits=0``
    and the prior is not "implicit". Networks then have linear skip connections and an L2 penalty.
    For complete numerical tables, the number of components is that of the principal components with
    at least twice the standard deviation of the noise floor (at most one for every 16 rows, at
    least 8). The log-density of held-out rows determines when training stops, the level of the
    noise, how much the noise varies with the codes, and whether a Gaussian mixture replaces N(0, I)
    as the latent distribution. With more than some hundred rows, log-densities of new rows are then
    nats higher. Noise by feature, the default for complete numerical tables, is better for
    outlier detection.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension k of the latent space. "auto" takes the number of principal components that
        explain 90 % of the variance of the scaled rows, at most 64 and less than both the number of
        features and a quarter of the rows; but at least 8, or the number of features if that is
        smaller.
    beta : float, default=1.0
        Weight of the KL term.
    kl_warmup : float, default=0.0
        Fraction of the training over which the weight of the KL term increases linearly from zero.
    free_bits : float, default=0.0
        Number of nats that each latent coordinate may carry at no cost (Kingma et al. 2016).
    prior : {"normal", "mixture", "vamp", "flow", "implicit"}, default="normal"
        Prior p(z), in the order of the options: N(0, I); a learned mixture of `prior_size`
        Gaussians with diagonal covariances; the mixture of the encoder's posteriors at `prior_size`
        learned pseudo-inputs (Tomczak & Welling 2018); N(0, I) transformed by a masked
        autoregressive flow (Papamakarios et al. 2017; needs the extra "flows"); or the aggregated
        posterior itself, with a network that estimates its density ratio to N(0, I) (Takahashi et
        al. 2019). With "normal" and a fit that optimises the density of a table (see
        ``noise_variance="network"``), ``latent_density="auto"`` is N(0, I) or a Gaussian mixture of
        1, 2, 4, 8 or 16 components, whichever gives held-out rows the highest likelihood. Without
        held-out rows, and for other tables with categorical columns, it is the mixture with the
        best BIC.
    prior_size : int, default=50
        Number of components of the "mixture" prior or of pseudo-inputs of the "vamp" prior.
    posterior_family : {"normal", "iaf"}, default="normal"
        Approximate posterior q(z | x): independent normal coordinates ("normal"), or these
        transformed by an inverse autoregressive flow that depends on the row ("iaf"; Kingma et al.
        2016; needs the extra "flows").
    n_draws : int or "auto", default="auto"
        Number of codes sampled for each row in a training step. "auto" is 5 if ``bound="auto"``
        selects the importance-weighted bound, and 1 otherwise.
    bound : {"auto", "elbo", "importance_weighted"}, default="auto"
        Bound that is maximised: the evidence lower bound, averaged over the `n_draws` samples, or
        the importance-weighted bound (Burda et al. 2016), which gets tighter with more samples.
        "auto" is "importance_weighted" for tables with categorical columns or missing values, if
        `beta`, `kl_warmup`, `free_bits` and `prior` allow it, and "elbo" otherwise.
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
    active_units_ : int
        Number of latent coordinates that carry information: those whose posterior mean has a
        variance above 0.01 over the training rows (Burda et al. 2016).
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The torch model, on standardised rows.

    See Also
    --------
    PPCA : The linear model, exact and fast.
    HuberEnergyVAE, WassersteinAE, InfoVAE : Other methods that match the codes to the prior.
    FactorVAE : VAE with independent latent coordinates.
    ConditionalVAE : VAE of rows with class labels.

    References
    ----------
    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes. ICLR 2014, arXiv:1312.6114.
    I. Higgins et al.: beta-VAE. ICLR 2017.
    Y. Burda, R. Grosse, R. Salakhutdinov: Importance Weighted Autoencoders. ICLR 2016,
    arXiv:1509.00519.
    J. Tomczak, M. Welling: VAE with a VampPrior. AISTATS 2018, arXiv:1705.07120.
    D. P. Kingma et al.: Improved Variational Inference with Inverse Autoregressive Flow. NeurIPS
    2016, arXiv:1606.04934.
    H. Takahashi et al.: Variational Autoencoder with Implicit Optimal Priors. AAAI 2019,
    arXiv:1809.05284.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAE
    >>> X = load_wine().data
    >>> vae = VAE(n_components=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(5, random_state=0).shape
    ((178, 2), (5, 13))
    """

    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        **Variational._parameter_constraints,
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        free_bits: float = 0.0,
        prior: str = "normal",
        prior_size: int = 50,
        posterior_family: str = "normal",
        n_draws: int | str = "auto",
        bound: str = "auto",
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
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.prior = prior
        self.prior_size = prior_size
        self.posterior_family = posterior_family
        self.n_draws = n_draws
        self.bound = bound
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
