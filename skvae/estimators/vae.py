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

    Minimises the mean over rows of ``-E_q[log p(x | z)] + beta KL(q(z | x) || p(z))`` with
    ``q(z | x) = N(m(x), diag s(x)^2)`` and p(z) = N(0, I), unless another posterior or prior is
    chosen: for beta = 1 the negative evidence lower bound of log p(x).

    With ``noise_variance="network"``, the default where columns hold labels or cells are missing,
    the fit of a table is for its density, if ``beta=1``, ``free_bits=0`` and the prior is not
    "implicit". Networks have linear skips and an L2 penalty, and in tables of complete numbers as
    many codes as there are principal components with twice the standard deviation of the noise
    floor (at most one for 16 rows, at least 8). Training stops by the log-density of held-out
    rows, and these choose the level of the noise, how much it may vary over codes, and whether a
    mixture on the codes takes the place of N(0, I). From some hundred rows on log-densities of new
    rows are then nats higher; noise by feature, the default for complete numbers, tells outliers
    better.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    beta : float, default=1.0
        Weight of the KL term.
    kl_warmup : float, default=0.0
        Share of the training over which that weight grows linearly from zero.
    free_bits : float, default=0.0
        Nats that each code coordinate may carry at no cost (Kingma et al. 2016).
    prior : {"normal", "mixture", "vamp", "flow", "implicit"}, default="normal"
        p(z): N(0, I); a learned mixture of `prior_size` normals with diagonal covariances; the
        encoder's posteriors at `prior_size` learned pseudo-inputs (Tomczak & Welling 2018); N(0, I)
        through a masked autoregressive flow (Papamakarios et al. 2017; needs the extra "flows"); or
        the aggregated posterior itself, by a network for its density ratio to N(0, I) (Takahashi et
        al. 2019).
        With "normal", where a table is fitted for its density (see ``noise_variance="network"``),
        ``latent_density="auto"`` is N(0, I) or a Gaussian mixture of 1, 2, 4, 8 or 16 components,
        as held-out rows are likeliest. Without such rows, and on other tables with labels, it is
        the mixture with the best BIC.
    prior_size : int, default=50
        Components of the "mixture" prior or pseudo-inputs of the "vamp" prior.
    posterior_family : {"normal", "iaf"}, default="normal"
        q(z | x): independent normal coordinates, or those through an inverse autoregressive flow
        that depends on the row (Kingma et al. 2016; needs the extra "flows").
    n_draws : int or "auto", default="auto"
        Draws of the code of each row in a step. "auto" is 5 where ``bound="auto"`` takes the bound
        by importance weights, and 1 otherwise.
    bound : {"auto", "elbo", "importance_weighted"}, default="auto"
        What is maximised: the evidence lower bound, its mean over the draws, or the bound by
        importance weights of all draws together (Burda et al. 2016), tighter the more there are.
        "auto" is "importance_weighted" where columns hold labels or cells are missing, if `beta`,
        `kl_warmup`, `free_bits` and `prior` allow it, and "elbo" otherwise.
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
    active_units_ : int
        Code coordinates that carry information: the variance of their posterior mean over the
        training rows is above 0.01 (Burda et al. 2016).
    noise_variance_ : ndarray of shape (n_features,)
        Variance of the decoder's noise in squared units of X.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The model, on standardised rows.

    See Also
    --------
    PPCA : The linear case, exact and instant.
    HuberEnergyVAE, WassersteinAE, InfoVAE : Other ways to match codes to the prior.
    FactorVAE : Independent code coordinates.
    ConditionalVAE : Rows with labels.

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
