"""The regularised autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import Module
from torch.nn import functional as F

from ..engine.build import NetworkFactory
from ..engine.settings import ModelSpec
from ..nn.convolutions import Conv
from ..nn.model import ForwardPass, Model
from ..nn.networks import Linear, Network, jvp
from ..nn.shared_penalties import CodeNorm, Penalty
from ..nn.shares import normal_like
from .base import LearnedAutoencoder
from .options import NetworkOptions, TableOptions, TrainingOptions


class SpectralNorm(nn.Module):
    """For layers whose largest singular value is a parameter of its own (Miyato et al. 2018).

    The weight, as a matrix, is divided by that value, which follows by one step of the power
    method in each training pass, and multiplied by ``exp(log_norm)``.
    """

    left: Tensor
    log_norm: nn.Parameter
    weight: nn.Parameter

    def __init__(self, *shape: Any):
        super().__init__(*shape)  # the layer, which comes next in line
        self.log_norm = nn.Parameter(torch.empty(()))
        self.register_buffer("left", torch.empty(len(self.weight)))

    @torch.no_grad()
    def start_norm(self) -> None:
        """Start at the weight as it is."""
        left, values, _ = torch.linalg.svd(self.weight.flatten(1), full_matrices=False)
        self.left.copy_(left[:, 0])
        self.log_norm.copy_(values[0].log())

    def normalised(self) -> Tensor:
        """The weight with its learned norm."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            right = F.normalize(matrix.mT @ self.left, dim=0, eps=1e-12)
            left = F.normalize(matrix @ right, dim=0, eps=1e-12)
            if self.training:
                self.left.copy_(left)
        norm = left @ (matrix @ right)
        matrix = matrix * (self.log_norm.exp() / norm.clamp(min=1e-12))
        return matrix.view_as(self.weight)


class SpectralLinear(SpectralNorm, Linear):
    """A fully connected layer with a learned norm."""

    is_plain = False

    def initialise(self, rng: torch.Generator, gain: float = 1.0) -> None:
        super().initialise(rng, gain)
        self.start_norm()

    def matrix(self) -> Tensor:
        return self.normalised()


class SpectralConv(SpectralNorm, Conv):
    """A convolution whose kernel, as a matrix of its first axis by the rest, has a learned norm."""

    least_gain = 0.1  # a norm has a logarithm and cannot start at zero

    def initialise(self, rng: torch.Generator, gain: float = math.sqrt(2.0)) -> None:
        super().initialise(rng, gain)
        self.start_norm()

    def kernel(self) -> Tensor:
        return self.normalised()


class DecoderNorm(Penalty):
    """weight / 2 |parameters of the decoder's network|^2."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        squares = [p.square().sum() for p in model.decoder.network.parameters()]
        return 0.5 * self.weight * torch.stack([done.z.new_zeros(()), *squares]).sum()


class SpectralNorms(Penalty):
    """weight / 2 sum of the squared largest singular values of the decoder's layers' weights."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        named = model.decoder.network.named_parameters()
        norms = torch.stack([p for name, p in named if name.endswith("log_norm")])
        return 0.5 * self.weight * torch.exp(2.0 * norms).sum()


class DecoderSlope(Penalty):
    """weight |dg/dz|_F^2, mean over rows, by one random direction v in N(0, I): E |dg/dz v|^2."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = float(weight)

    def forward(self, done: ForwardPass, model: Model) -> Tensor:
        v = normal_like(done.z, done.rng)
        slope = jvp(lambda z: model.decode(z, done.batch.context).mean, done.z, v)
        return self.weight * slope.square().sum(1).mean()


_KINDS: dict[str, Callable[[float], Penalty]] = {
    "l2": DecoderNorm,
    "gradient": DecoderSlope,
    "spectral_norm": SpectralNorms,
}


class RAE(LearnedAutoencoder):
    """Regularised autoencoder (Ghosh et al. 2020): a smooth decoder, then a density of the codes.

    Minimises ``mean |x - g(f(x))|^2 / T + code_weight / 2 mean |f(x)|^2 + decoder_weight R(g)``
    with a deterministic encoder f, T the total variance of the rows, and R one of

    - "l2": half the squared weights of the decoder g;
    - "gradient": the mean of ``|dg/dz|_F^2``, by one random direction for each row;
    - "spectral_norm": half the squared largest singular values of its layers, which are learned;
      the decoder is then ours, and has no linear skip.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of code coordinates k. "auto" takes as many as principal components explain 90 % of
        the variance of the scaled rows, at most 64, less than the number of features and a quarter
        of the rows; but 8 at least, or all features where there are fewer.
    code_weight, decoder_weight : float, default=1e-3 and 1e-6
        Weights of the squared length of codes and of R.
    decoder_penalty : {"l2", "gradient", "spectral_norm"}, default="l2"
        How the decoder is kept smooth.
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
        Mean of "reconstruction", "codes" and "decoder" by epoch; `loss_curve_` is their sum.

    See Also
    --------
    Autoencoder, TwoStageVAE, FlexAE : Other autoencoders whose law of codes is learned.

    References
    ----------
    P. Ghosh et al.: From variational to deterministic autoencoders. ICLR 2020, arXiv:1903.12436.

    Examples
    --------
    >>> import sklearn.datasets, skvae
    >>> model = skvae.RAE(2, random_state=0).fit(sklearn.datasets.load_wine().data)
    >>> model.sample(5, random_state=0).shape
    (5, 13)
    """

    _relative, _architecture = True, ("decoder_penalty",)
    _parameter_constraints: ClassVar[dict] = {
        **LearnedAutoencoder._parameter_constraints,
        "code_weight": [Interval(Real, 0, None, closed="left")],
        "decoder_penalty": [StrOptions({"l2", "gradient", "spectral_norm"})],
        "decoder_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        code_weight: float = 1e-3,
        decoder_weight: float = 1e-6,
        decoder_penalty: str = "l2",
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
        self.code_weight = code_weight
        self.decoder_weight = decoder_weight
        self.decoder_penalty = decoder_penalty
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
        if self.decoder_penalty == "spectral_norm" and self.decoder is not None:
            raise ValueError("decoder_penalty='spectral_norm' needs decoder=None.")

    def _make_decoder(
        self, spec: ModelSpec, factory: NetworkFactory, inputs: int, outputs: int
    ) -> Network:
        if spec.method["decoder_penalty"] == "spectral_norm":
            return factory.to_rows(inputs, outputs, linear=SpectralLinear, conv=SpectralConv)
        return super()._make_decoder(spec, factory, inputs, outputs)

    def _penalties(self, spec: ModelSpec) -> dict[str, Penalty]:
        decoder = _KINDS[spec.method["decoder_penalty"]](self.decoder_weight)
        return {"codes": CodeNorm(self.code_weight), "decoder": decoder}

    def _default_density(self, spec: ModelSpec) -> Any:
        return "auto"
