"""What an estimator asks of the engine, as plain frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..tables.format import ColumnFormat

CustomNetwork = nn.Module | Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class NetworkSettings:
    """Networks of a model; None where the rows are to decide."""

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
        """Whether no network is the user's."""
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
        """Whether it takes values in [0, 1] only."""
        return self.kind in ("bounded_gaussian", "bernoulli")

    @property
    def described(self) -> str:
        """The parameter that asks for values in [0, 1], as a user writes it."""
        if self.is_noiseless:
            return "output_activation='sigmoid'"
        return f"likelihood={self.kind!r}"

    @property
    def instead(self) -> str:
        """What to write where values lie elsewhere."""
        return "'identity'" if self.is_noiseless else "likelihood='gaussian'"


@dataclass(frozen=True)
class TableSettings:
    """What columns are, and what is made of them.

    Attributes
    ----------
    columns : tuple of ColumnFormat or None
        How they look to the user; None where rows are numbers of an array.
    by_values : bool or None
        Whether columns of few values, and values that come again and again, are looked for; None
        looks for the latter only beside columns of labels.
    marginals : {"standard", "quantile"}
    masking : float or None
        Share of the cells that training hides; None where the rows are to decide.
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
        All that the training follows from beside the rows, by name. "random_state" is a seed, or
        None where the seed is drawn.
    """

    path: str
    interval: float
    parameters: dict[str, Any]


@dataclass(frozen=True)
class FitSettings:
    """How a model is trained; None where the rows are to decide."""

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
    """The description from which a model can be built again, with its weights still to be set.

    It is made of plain values, so it can be saved as it is.
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
    method: dict[str, Any] = field(default_factory=dict)  # what only the method knows

    @property
    def n_inputs(self) -> int:
        """Numbers that an encoder sees of a row."""
        return self.n_features + self.n_context + self.n_masks
