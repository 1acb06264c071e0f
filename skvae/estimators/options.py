"""Rare settings, grouped: a grid search reaches them as ``training__alpha``, say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from sklearn.utils._param_validation import Interval, Options, StrOptions

from ..contract.documentation import LinkedMixin
from ..contract.parameters import ParametersMixin
from ..nn.networks import ACTIVATIONS

_MOST = 1 << 31  # units of a layer, pixels of an edge: more is a slip


class _Options(LinkedMixin, ParametersMixin):
    """Settings that scikit-learn can list, set, clone and show."""

    _parameter_constraints: ClassVar[dict] = {}

    def _validated(self) -> Self:
        """Itself, or an error that names the setting."""
        self._validate_params()
        return self

    def _changed(self) -> set[str]:
        """Names of the settings that are not at their defaults."""
        default = type(self)().get_params()
        return {name for name, value in self.get_params().items() if value != default[name]}


class NetworkOptions(_Options):
    """Rare settings of the networks.

    Parameters
    ----------
    activation : str, default="silu"
        One of "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus", "tanh".
    linear_skip : bool or "auto", default="auto"
        Whether encoder and decoder add a linear map of their input to their output, started at
        probabilistic PCA of the rows. It gains likelihood everywhere, and most for images, but on
        tables the plain network finds outliers better: "auto" is True with a bounded mean, with
        noise of the network, without hidden layers, for images, or where columns hold labels or
        cells are missing, and no networks of your own.
    hidden_channels : int or tuple of int, default=(16, 32)
        Channels of the convolutional stages of image models, each of which halves height and width;
        the layers of `hidden_layer_sizes` lie between them and the codes. The decoder mirrors both.
    residual : bool, default=False
        Whether each stage of an image model has a residual block of two convolutions.

    See Also
    --------
    TrainingOptions : Rare settings of the training.

    Examples
    --------
    >>> from skvae import VAE, NetworkOptions
    >>> VAE(2, network=NetworkOptions(activation="tanh")).get_params()["network__activation"]
    'tanh'
    >>> VAE(2).set_params(network__linear_skip=True).network
    NetworkOptions(linear_skip=True)
    """

    _parameter_constraints: ClassVar[dict] = {
        "activation": [StrOptions(set(ACTIVATIONS))],
        "linear_skip": [StrOptions({"auto"}), "boolean"],
        "hidden_channels": ["array-like", Interval(Integral, 1, None, closed="left")],
        "residual": ["boolean"],
    }

    def __init__(
        self,
        *,
        activation: str = "silu",
        linear_skip: bool | str = "auto",
        hidden_channels: int | tuple[int, ...] = (16, 32),
        residual: bool = False,
    ) -> None:
        self.activation = activation
        self.linear_skip = linear_skip
        self.hidden_channels = hidden_channels
        self.residual = residual


class TrainingOptions(_Options):
    """Rare settings of the training.

    Parameters
    ----------
    alpha : float or "auto", default="auto"
        Strength of the L2 penalty ``alpha / (2 n_samples) |parameters|^2``, biases and the
        logarithm of the noise's standard deviation (in units of the feature's own) included.
        "auto" is half the number of features where a VAE or ConditionalVAE fits a table for
        its density, with noise of the network, but at most 10, or 2 if columns hold labels or cells
        are missing. It is 0 for all others, and for chunks of a stream.
    gradient_clipping : float or None, default=5.0
        Gradients longer than this many times their usual length are shortened to it.
    precision : {"float32", "bfloat16"}, default="float32"
        Number format of the networks in training. bfloat16 (autocast) is faster for wide layers on
        processors that have it. Results are always computed in the dtype of X.
    noise_floor : float, default=0.05
        Smallest standard deviation of learned noise, as a share of the feature's own, or of the
        common scale of pixels. It keeps constant and discrete columns from driving the likelihood
        to infinity.
    held_out_fraction : float, default=0.1
        Share of the rows that are not trained on but set the noise of the decoder and the
        threshold, so that neither is too narrow for new rows, and decide on early stopping: at most
        2048 rows, and at least 20, or a quarter where there are fewer than 80. More or fewer are
        taken where `false_alarm_rate` then holds exactly. With 0, or fewer than 20 rows without
        early stopping, the training rows do.
    patience : int, default=10
        Checks without improvement before an early stop. There is a check at the end of an epoch,
        and at least 64 steps after the one before.
    tol : float, default=1e-4
        Least fall of the held-out loss that counts as an improvement.
    distributed : {"auto"} or False, default="auto"
        With "auto" the processes that ``torchrun`` starts, or that torch.distributed has connected,
        train one model together; each is given all rows. With False each trains its own.
    checkpoint : str, PathLike or None, default=None
        File that `fit` writes now and then, whole or not at all. When a fit was killed or
        interrupted, the same call goes on from there and ends with the same bits as a fit that was
        not. A fit that ends removes the file. That of another fit is an error: of other rows or
        parameters, or of another version. Networks of your own that draw from torch's global
        generator go on, but with other draws.
    checkpoint_interval : float, default=300.0
        Seconds from one writing to the next; 0 writes after every step, or after every 16th where
        several processes share the fit.

    Notes
    -----
    Generators without an encoder have no noise and hold no rows out: they refuse `noise_floor`,
    `held_out_fraction`, `patience` and `tol`. `partial_fit` writes no checkpoint.

    See Also
    --------
    NetworkOptions : Rare settings of the networks.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvae import VAE, TrainingOptions
    >>> VAE(2, training=TrainingOptions(alpha=1.0)).get_params()["training__alpha"]
    1.0
    >>> search = GridSearchCV(VAE(2), {"training__noise_floor": [0.01, 0.05]})
    """

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "gradient_clipping": [None, Interval(Real, 0, None, closed="neither")],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "noise_floor": [Interval(Real, 0, 1e6, closed="right")],
        "held_out_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "distributed": [StrOptions({"auto"}), Options(bool, {False})],
        "checkpoint": [None, str, os.PathLike],
        "checkpoint_interval": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        alpha: float | str = "auto",
        gradient_clipping: float | None = 5.0,
        precision: str = "float32",
        noise_floor: float = 0.05,
        held_out_fraction: float = 0.1,
        patience: int = 10,
        tol: float = 1e-4,
        distributed: bool | str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 300.0,
    ) -> None:
        self.alpha = alpha
        self.gradient_clipping = gradient_clipping
        self.precision = precision
        self.noise_floor = noise_floor
        self.held_out_fraction = held_out_fraction
        self.patience = patience
        self.tol = tol
        self.distributed = distributed
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval


class TableOptions(_Options):
    """What the columns of a table are, and how a model learns them.

    Columns of strings, categories and booleans are classes, and so are those of few numbers (at
    most 20 values with 20 rows for each in the mean), while other columns are numbers. Beside
    columns of labels, a number that comes in 5 % of the rows, and ten times as often as others, is
    a class of its own beside the other numbers of its column: many zeros, say.

    Parameters
    ----------
    column_kinds : mapping or None, default=None
        Kinds of columns, by name or position, that come before what is found: "numeric",
        "integer", "binary", "categorical", "ordinal", "datetime" or "duration".
    by_values : bool or "auto", default="auto"
        Whether columns of few numbers, and numbers that come again and again, are classes. "auto"
        looks for the latter only where other columns hold labels: in tables of nothing but
        numbers they helped to find outliers in some and did harm in others.
    handle_unknown : {"error", "missing"}, default="error"
        Whether a label that was not there in `fit` is an error, or read as a missing cell.
    marginals : {"standard", "quantile"}, default="standard"
        Whether numbers are standardised, or mapped to the quantiles of a normal distribution, piece
        by piece linearly. Scores take the slopes of the map into account.
    masking : float or "auto", default="auto"
        Share of the cells that training hides, in the mean over rows, as if they were missing, so
        that any cells can be filled in given any others. "auto" is 0.1 where columns hold labels
        or cells are missing, and 0 otherwise.

    See Also
    --------
    NetworkOptions : Rare settings of the networks.

    Examples
    --------
    >>> from skvae import VAE, TableOptions
    >>> VAE(2, table=TableOptions(marginals="quantile")).get_params()["table__marginals"]
    'quantile'
    """

    _parameter_constraints: ClassVar[dict] = {
        "column_kinds": [None, Mapping],
        "by_values": [StrOptions({"auto"}), "boolean"],
        "handle_unknown": [StrOptions({"error", "missing"})],
        "marginals": [StrOptions({"standard", "quantile"})],
        "masking": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="both")],
    }

    def __init__(
        self,
        *,
        column_kinds: Mapping[Any, str] | None = None,
        by_values: bool | str = "auto",
        handle_unknown: str = "error",
        marginals: str = "standard",
        masking: float | str = "auto",
    ) -> None:
        self.column_kinds = column_kinds
        self.by_values = by_values
        self.handle_unknown = handle_unknown
        self.marginals = marginals
        self.masking = masking


def whole_numbers(given: Any, name: str, owner: str) -> tuple[int, ...]:
    """One positive integer or several, as a tuple."""
    sizes: Any = given.tolist() if hasattr(given, "tolist") else given
    several = isinstance(sizes, Sequence) and not isinstance(sizes, str | bytes)
    found: list[Any] = list(sizes) if several else [sizes]
    whole = all(isinstance(h, Integral) and not isinstance(h, bool) for h in found)
    if not whole or not all(0 < h < _MOST for h in found):
        raise ValueError(f"{name} must hold positive integers, got {given!r} for {owner}.")
    return tuple(int(h) for h in found)
