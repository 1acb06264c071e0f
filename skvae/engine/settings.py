"""Settings of the engine, as plain frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..tables.format import ColumnFormat

CustomNetwork = nn.Module | Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class NetworkSettings:
    """Networks of a model; None for choices that depend on the rows."""

    n_components: int | None = None
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    linear_skip: bool | None = None
    image_shape: tuple[int, ...] | None = None
    channels: tuple[int, ...] = (16, 32)
    residual: bool = False
    encoder: CustomNetwork | None = None
    decoder: CustomNetwork | None = None

    @property
    def builds_all(self) -> bool:
        """Return whether there are no custom networks."""
        return self.encoder is None and self.decoder is None


@dataclass(frozen=True)
class LikelihoodSettings:
    """p(x | z).

    Attributes
    ----------
    kind : {"auto", "gaussian", "bounded_gaussian", "bernoulli"}
    noise : {"auto", "feature", "scalar", "network"} or float
        A number is a variance in squared units of X.
    floor : float
        Smallest standard deviation of learned noise, in standardised units.
    is_noiseless : bool
        For generators that have no likelihood: `kind` then only bounds the mean.
    """

    kind: str = "auto"
    noise: str | float = "auto"
    floor: float = 0.05
    is_noiseless: bool = False

    @property
    def is_for_intensities(self) -> bool:
        """Return whether values have to lie in [0, 1]."""
        return self.kind in ("bounded_gaussian", "bernoulli")

    @property
    def described(self) -> str:
        """Return the parameter that needs values in [0, 1], for messages."""
        if self.is_noiseless:
            return "output_activation='sigmoid'"
        return f"likelihood={self.kind!r}"

    @property
    def instead(self) -> str:
        """Return the alternative for other values, for messages."""
        return "'identity'" if self.is_noiseless else "likelihood='gaussian'"


@dataclass(frozen=True)
class TableSettings:
    """Types of columns and how they are modelled.

    Attributes
    ----------
    columns : tuple of ColumnFormat or None
        Formats of the columns; None for numerical arrays.
    by_values : bool or None
        Whether to search for columns of few values and for frequent values; None searches for the
        latter only in tables with categorical columns.
    marginals : {"standard", "quantile"}
    masking : float or None
        Proportion of values masked in training; None if it depends on the rows.
    """

    columns: tuple[ColumnFormat, ...] | None = None
    by_values: bool | None = None
    marginals: str = "standard"
    masking: float | None = None


@dataclass(frozen=True)
class CheckpointSettings:
    """Where and how often a training is written to disk.

    Attributes
    ----------
    path : str
    interval : float
        Seconds between two writes.
    parameters : dict
        All that determines the training in addition to the rows, by name. "random_state" is a seed,
        or None for a random seed.
    """

    path: str
    interval: float
    parameters: dict[str, Any]


@dataclass(frozen=True)
class FitSettings:
    """Settings of the training; None for choices that depend on the rows."""

    seed: int = 0
    batch_size: int | None = None
    max_iter: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    clip: float | None = 5.0
    precision: str = "float32"  # or "bfloat16"
    held_out_fraction: float = 0.0
    false_alarm_rate: float = 0.05  # which rows that are held out should be enough to tell
    holds_out: bool = False  # whether rows that are held out have a use
    early_stopping: bool | None = False
    patience: int = 10
    tol: float = 1e-4
    device: str = "auto"
    latent_density: Any = None  # an estimator, "auto" for the method's, or None for the prior
    checkpoint: CheckpointSettings | None = None


@dataclass(frozen=True)
class ModelSpec:
    """Description from which a model can be built again, without its weights.

    It consists of plain values, so that it can be saved.
    """

    n_features: int  # of encoded rows: numbers, then classes
    n_context: int
    n_components: int
    hidden: list[int]
    activation: str
    linear_skip: bool
    bounded: bool
    likelihood: str  # "gaussian", "bernoulli" or "noiseless"
    noise: str
    noise_variance: float | None
    noise_floor: float
    image_shape: list[int] | None
    channels: list[int]
    residual: bool
    classes: list[int] = field(default_factory=list)  # of each column that has some
    n_masks: int = 0  # features that the encoder is told whether they were observed
    masking: float = 0.0
    is_mixed: bool = False  # a table of a user's with labels, or with missing cells
    method: dict[str, Any] = field(default_factory=dict)  # settings of the method

    @property
    def n_inputs(self) -> int:
        """Number of inputs of an encoder."""
        return self.n_features + self.n_context + self.n_masks
