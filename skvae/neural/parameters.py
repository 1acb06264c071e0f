"""The parameters that learned estimators share, written down once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar

SHARED = """beta : float, default=1.0
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
prior_size : int, default=50
    Components of the "mixture" prior or pseudo-inputs of the "vamp" prior.
posterior_family : {"normal", "iaf"}, default="normal"
    q(z | x): independent normal coordinates, or those through an inverse autoregressive flow that
    depends on the row (Kingma et al. 2016; needs the extra "flows").
n_draws : int, default=1
    Draws of the code of each row in a step.
bound : {"elbo", "importance_weighted"}, default="elbo"
    What is maximised: the evidence lower bound, its mean over the draws, or the bound by
    importance weights of all draws together (Burda et al. 2016), tighter the more there are.
n_components : int or "auto", default="auto"
    Number of code coordinates k. "auto" takes as many as principal components explain 90 % of the
    variance of the scaled rows, at most 64, less than the number of features and a quarter of the
    rows; but 8 at least, or all features where there are fewer.
hidden_layer_sizes : int or tuple of int, default=(128, 128)
    Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` is a linear model.
activation : str, default="silu"
    One of "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus", "tanh".
linear_skip : bool or "auto", default="auto"
    Whether encoder and decoder add a linear map of their input to their output, started at
    probabilistic PCA of the rows. It gains likelihood everywhere, and most for images, but on
    tables the plain network finds outliers better: "auto" is True with a sigmoid output or
    without hidden layers, or for images, and no networks of your own.
likelihood : {"gaussian", "bernoulli"}, default="gaussian"
    p(x | z). Bernoulli needs X in [0, 1], and `score_samples` is then a log-probability.
noise : {"auto", "feature", "scalar", "network"} or float, default="auto"
    Variance of the Gaussian likelihood: one learned per feature, one learned for all features, an
    output of the decoder, or this fixed variance in squared units of X. "auto" is "scalar" with a
    sigmoid output and for images, and "feature" otherwise.
noise_floor : float, default=0.05
    Smallest standard deviation of learned noise, as a share of the feature's own, or of the common
    scale of pixels. It keeps
    constant and discrete columns from driving the likelihood to infinity.
output_activation : {"auto", "identity", "sigmoid"}, default="auto"
    How the decoder's mean is bounded. "auto" is "sigmoid" where all of X lies in [0, 1] and is
    known to be images, or has at least 64 features, and "identity" otherwise. Features are
    standardised each by its mean, and by its own standard deviation, but those of images, and all
    with "sigmoid", by one for all.
encoder, decoder : torch.nn.Module, callable or None, default=None
    Networks of your own, on standardised rows: a module, which is copied and trained from its
    present weights, or a factory ``f(in_features, out_features)`` that returns one; for images
    let it begin with ``nn.Unflatten(1, image_shape)`` (the encoder of a ConditionalVAE gets the
    one-hot label after the pixels). None builds fully connected layers, or
    convolutions for images. Dropout in them draws from torch's global generator, which no seed of
    ours reaches.
image_shape : (channels, height, width) or None, default=None
    Shape of the images that rows are, flattened in this order: encoder and decoder are then
    convolutional. None takes it from X in `fit` where that has four dimensions (n, channels,
    height, width), and else rows are no images. Whatever the input, what comes out are rows.
hidden_channels : int or tuple of int, default=(16, 32)
    Channels of the convolutional stages of image models, each of which halves height and width;
    the layers of `hidden_layer_sizes` lie between them and the codes. The decoder mirrors both.
residual : bool, default=False
    Whether each stage of an image model has a residual block of two convolutions.
alpha : float, default=0.0
    Strength of the L2 penalty ``alpha / (2 n_samples) |parameters|^2``, biases and the logarithm
    of the noise's standard deviation (in units of the feature's own) included.
latent_density : "auto", None or estimator, default="auto"
    Density fitted on standardised codes after training (draws of q(z | x) where the encoder is
    random); it replaces the prior in `sample` and `score_samples` and is kept in
    `latent_density_`. Any estimator with `fit`, `sample` and `score_samples` will do: a
    GaussianMixture, a KernelDensity, another estimator of this package. "auto" is what the method
    stands for, None keeps the prior of training.
learning_rate_init : float or "auto", default="auto"
    Peak rate of Adam: it is approached over the first tenth of the steps and falls linearly to
    zero. "auto" is 0.006 for at most one hidden layer with a linear skip and 0.002 otherwise
    (0.003 for MaskAAE; where all hidden layers have less than 64 units 0.01 for GAN and 0.005 for
    InfoGAN).
batch_size : int or "auto", default="auto"
    Rows in a step; "auto" is ``min(128, n_samples)``.
max_iter : int or None, default=None
    Epochs. None sets a budget in steps: 10 epochs, but at least 1500 and at most 10,000 steps,
    and one epoch in any case.
early_stopping : bool, default=False
    Whether to stop when the loss of held-out rows no longer falls, and keep the best weights.
validation_fraction : float, default=0.1
    Share of the rows that are not trained on but set the noise of the decoder and an automatic
    threshold, so that neither is too narrow for new rows, and decide on early stopping: at most
    2048 rows, and at least 20, or a quarter where there are fewer than 80. With 0, or fewer than
    40 rows without early stopping, the training rows do.
n_iter_no_change : int, default=10
    Checks without improvement before an early stop. There is a check at the end of an epoch, and
    at least 64 steps after the one before.
tol : float, default=1e-4
    Least fall of the held-out loss that counts as an improvement.
gradient_clipping : float or None, default=5.0
    Gradients longer than this many times their usual length are shortened to it.
n_importance_samples : int, default=16
    Draws in the estimate of log p(x). With 1 it is a single weight at the posterior mean: the
    fastest, and as good for ranking outliers.
precision : {"float32", "bfloat16"}, default="float32"
    Number format of the networks in training. bfloat16 (autocast) is faster for wide layers on
    processors that have it. Results are always computed in the dtype of X.
device : str, default="auto"
    A torch device; "auto" is CUDA where there is one and the CPU otherwise.
warm_start : bool, default=False
    Whether `fit` goes on from the present weights and optimiser state.
contamination : float or "auto", default="auto"
    Share of outliers in the training rows, which sets `offset_`. "auto" needs no guess: the
    threshold lies 4.5 times the distance from the lower quartile to the median of the scores below
    their median, mostly of held-out rows, which flags about 1 % of clean rows.
verbose : int, default=0
    1 shows a progress line.
random_state : int, RandomState or None, default=None
    Seed; the same seed gives the same model."""
_ENTRIES = {
    name.strip(): entry
    for entry in re.split(r"\n(?=\w)", SHARED)
    for name in entry.partition(" : ")[0].split(",")
}


class SharedParameters:
    """Shows the parameters of all parents in signature, constraints and docstring of a subclass.

    ``**parameters`` in an `__init__` stands for what the next class in line takes, and the line
    ``<shared parameters>`` of a docstring for those that the class does not document itself.
    """

    _parameter_constraints: ClassVar[dict] = {}
    _own_signature: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        constraints: dict = {}
        for base in reversed(cls.__mro__):
            constraints |= base.__dict__.get("_parameter_constraints", {})
        cls._parameter_constraints = constraints
        if "__init__" not in cls.__dict__:
            cls.__init__ = _passing_on(cls)  # type: ignore[method-assign]
        cls._own_signature = inspect.signature(cls.__init__)
        cls.__init__.__signature__ = _merged_signature(cls)  # type: ignore[attr-defined]
        if cls.__doc__ and "<shared parameters>" in cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("<shared parameters>", _describe(cls))


def _passing_on(cls: Any) -> Callable[..., None]:
    def __init__(self, n_components="auto", **parameters):
        super(cls, self).__init__(n_components, **parameters)

    return __init__


def _merged_signature(cls: type) -> inspect.Signature:
    """Parameters along the line of parents, down to the first that takes no others."""
    merged: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        own = base.__dict__.get("_own_signature")
        if own is None:
            continue
        rest = [p for p in own.parameters.values() if p.kind is p.VAR_KEYWORD]
        merged |= {n: p for n, p in own.parameters.items() if p not in rest and n not in merged}
        if not rest:
            break
    return inspect.Signature([*merged.values()])


def _describe(cls: type) -> str:
    documented = set()
    for line in re.findall(r"^    (\w[\w, ]*) : ", cls.__doc__ or "", flags=re.MULTILINE):
        documented |= {name.strip() for name in line.split(",")}
    shared = [n for n in inspect.signature(cls).parameters if n in _ENTRIES and n not in documented]
    entries = dict.fromkeys(_ENTRIES[name] for name in shared)
    text = "\n".join(entries)
    if "encoder" not in shared:
        text = text.replace("encoder, decoder :", "decoder :")
    return text.replace("\n", "\n    ")
