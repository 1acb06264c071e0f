"""Grouped advanced settings, which grid searches access as, for example, ``training__alpha``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from sklearn.utils._param_validation import Interval, Options, StrOptions

from ..contract.documentation import LinkedMixin
from ..contract.parameters import ParametersMixin
from ..nn.networks import ACTIVATIONS

_MOST = 1 << 31  # units of a layer, pixels of an edge: more is a mistake


class _Options(LinkedMixin, ParametersMixin):
    """Settings that scikit-learn can list, set, clone and show."""

    _parameter_constraints: ClassVar[dict] = {}

    def _validated(self) -> Self:
        """Return self, or raise an error that names the invalid setting."""
        self._validate_params()
        return self

    def _changed(self) -> set[str]:
        """Return the names of the settings that differ from their defaults."""
        default = type(self)().get_params()
        return {name for name, value in self.get_params().items() if value != default[name]}


class NetworkOptions(_Options):
    """Advanced settings of the networks.

    Parameters
    ----------
    activation : str, default="silu"
        Activation function of the hidden layers, one of "elu", "gelu", "identity", "logistic",
        "relu", "silu", "softplus", "tanh".
    linear_skip : bool or "auto", default="auto"
        Whether encoder and decoder have a linear skip connection from input to output, initialised
        at probabilistic PCA of the rows. It increases the likelihood everywhere, and most for
        images, but on tables networks without it detect outliers better. "auto" is True with a
        bounded mean, with ``noise_variance="network"``, without hidden layers, for images, or for
        tables with categorical columns or missing values, provided that no custom network is given.
    hidden_channels : int or tuple of int, default=(16, 32)
        Number of channels of each convolutional stage of image models. Each stage halves height and
        width; the layers of `hidden_layer_sizes` follow between them and the codes. The decoder
        mirrors both.
    residual : bool, default=False
        Whether each convolutional stage has a residual block of two convolutions.

    See Also
    --------
    TrainingOptions : Advanced settings of the training.

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
    """Advanced settings of the training.

    Parameters
    ----------
    alpha : float or "auto", default="auto"
        Strength of the L2 penalty ``alpha / (2 n_samples) |parameters|^2``, including biases and
        the logarithm of the standard deviation of the noise (in units of the feature's standard
        deviation). "auto" is half the number of features if a VAE or ConditionalVAE optimises the
        density of a table, with ``noise_variance="network"``, but at most 10, or at most 2 for
        tables with categorical columns or missing values. It is 0 in all other cases, and for
        `partial_fit`.
    gradient_clipping : float or None, default=5.0
        Gradients whose norm exceeds this multiple of their typical norm are rescaled to it. None
        disables clipping.
    precision : {"float32", "bfloat16"}, default="float32"
        Numerical precision of the networks in training. bfloat16 (autocast) is faster for wide
        layers on processors that support it. Results are always computed in the dtype of X.
    noise_floor : float, default=0.05
        Lower bound of the standard deviation of learned noise, relative to the standard deviation
        of the feature, or to the common scale of pixels. It prevents constant and discrete columns
        from driving the likelihood to infinity.
    held_out_fraction : float, default=0.1
        Proportion of the rows held out from training: at most 2048 rows, and at least 20, or a
        quarter of the rows if there are fewer than 80. Held-out rows determine the noise of the
        decoder and the threshold, so that neither is too narrow for new rows, and are used for
        early stopping. Their number is adjusted if `false_alarm_rate` can then be attained exactly.
        With 0, or with fewer than 20 rows and no early stopping, the training rows are used
        instead.
    patience : int, default=10
        Number of checks without improvement before training stops early. Checks take place at the
        end of an epoch, at least 64 steps after the previous check.
    tol : float, default=1e-4
        Minimum decrease of the held-out loss that counts as an improvement.
    distributed : {"auto"} or False, default="auto"
        With "auto", processes that are started by ``torchrun``, or connected by torch.distributed,
        train one model together; all rows have to be passed to each of them. With False, each
        process trains a model of its own.
    checkpoint : str, PathLike or None, default=None
        File to which `fit` periodically writes its state, atomically. After a fit was killed or
        interrupted, the same call continues from the file, and its result is bitwise identical to
        that of an uninterrupted fit. A completed fit removes the file. A file of another fit, with
        other rows or parameters or of another version, raises an error. The result is not identical
        for custom networks that use torch's global random generator.
    checkpoint_interval : float, default=300.0
        Seconds between two writes of the checkpoint; 0 writes after every step, or after every 16th
        step if several processes share the fit.

    Notes
    -----
    Generators without an encoder have no noise and hold no rows out: they do not accept
    `noise_floor`, `held_out_fraction`, `patience` and `tol`. `partial_fit` writes no checkpoint.

    See Also
    --------
    NetworkOptions : Advanced settings of the networks.

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
    """Types of the columns of a table and how they are modelled.

    Columns of strings, categories and booleans are modelled as categorical, and so are columns of
    few different numbers (at most 20 values, with 20 rows for each value on average). Other columns
    are modelled as numerical. In tables with categorical columns, a value that occurs in 5 % of the
    rows, and ten times as often as others, such as frequent zeros, gets a category of its own
    beside the other numbers of its column.

    Parameters
    ----------
    column_kinds : mapping or None, default=None
        Column types, by name or position, that override the inferred types: "numeric", "integer",
        "binary", "categorical", "ordinal", "datetime" or "duration".
    by_values : bool or "auto", default="auto"
        Whether columns of few different numbers, and frequent values of numerical columns, are
        modelled as categories. "auto" searches for frequent values only in tables with categorical
        columns: in purely numerical tables they improved outlier detection in some cases and
        impaired it in others.
    handle_unknown : {"error", "missing"}, default="error"
        Whether a category that did not occur in `fit` raises an error or is treated as a missing
        value.
    marginals : {"standard", "quantile"}, default="standard"
        Whether numbers are standardised, or mapped to the quantiles of a normal distribution by a
        piecewise linear function. Scores account for the slope of the map.
    masking : float or "auto", default="auto"
        Mean proportion of values that are masked in training, in addition to missing values, so
        that any values can be imputed given any others. "auto" is 0.1 for tables with categorical
        columns or missing values, and 0 otherwise.

    See Also
    --------
    NetworkOptions : Advanced settings of the networks.

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
    """Return one or several positive integers as a tuple."""
    sizes: Any = given.tolist() if hasattr(given, "tolist") else given
    several = isinstance(sizes, Sequence) and not isinstance(sizes, str | bytes)
    found: list[Any] = list(sizes) if several else [sizes]
    whole = all(isinstance(h, Integral) and not isinstance(h, bool) for h in found)
    if not whole or not all(0 < h < _MOST for h in found):
        raise ValueError(
            f"{name} of {owner} must be a positive integer or several positive "
            f"integers, got {given!r}."
        )
    return tuple(int(h) for h in found)
