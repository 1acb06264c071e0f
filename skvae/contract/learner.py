"""The contract of what learns rows: a fit aside, which is handed over when all is done."""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..tables.format import TableFormat
from ..tables.source import ArraySource, RowSource
from ..tables.table_sources import TableSource
from .blocks import in_blocks
from .inputs import check_weights
from .memory import enough_memory
from .messages import warn
from .parameters import ParametersMixin
from .tabular import BaseTabular

Notice = tuple[str, type[Warning]]


def seed_from(random_state: Any) -> int:
    """A seed for one call; ``None`` draws fresh entropy and leaves numpy's global state alone."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, Integral) and 0 <= int(random_state) < 2**32:
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(np.iinfo(np.int32).max))
    raise ValueError(
        "random_state must be None, an integer in [0, 2**32) or a numpy RandomState, got "
        f"{random_state!r}."
    )


@cache
def _parameters_of(cls: type) -> list[str]:
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        given = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names |= {p.name for p in given if p.kind is not p.VAR_KEYWORD}
        if all(p.kind is not p.VAR_KEYWORD for p in given):
            break
    return sorted(names)


class BaseLearner(ParametersMixin, BaseTabular, metaclass=ABCMeta):
    """An estimator that learns rows.

    Every public method validates its input and hands a two-dimensional float array to private
    hooks, which a subclass implements. In it NaN stands for a missing cell, a label is its number
    0, 1, ..., and times are seconds.
    """

    n_features_in_: int
    _parameter_constraints: ClassVar[dict] = {"random_state": ["random_state"]}

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Names of the parameters; ``**parameters`` stands for those of the next class in line."""
        return list(_parameters_of(cls))

    # -- hooks --------------------------------------------------------------------------------
    @abstractmethod
    def _learn(self, X: Any, y: Any, first: bool, **how: Any) -> list[Notice]:
        """Check rows, learn them and set the fitted attributes; what the user is to be told.

        `first` says whether nothing that was learned before counts.
        """

    def _finish(self, source: RowSource, unseen: Iterable[tuple[Any, RowSource]] = ()) -> None:
        """Calibrate what `_learn` has learned from the rows of a source.

        `unseen` are models of the same kind, each with rows that it has not seen.
        """

    def _check_pairs(self) -> None:
        """Refuse parameters that do not go together."""

    # -- learning -----------------------------------------------------------------------------
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the model from rows.

        An error leaves the estimator as it was: unfitted, or with its earlier fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or TableSource
            Training rows: real, finite, at least two of them. A frame of pandas, polars or pyarrow
            may have columns of booleans, dates, times and durations beside numbers: rows that the
            estimator gives back are such frames, too. Learned estimators take images of
            shape (n_samples, channels, height, width) too, here and everywhere: see `image_shape`.
            Rows that do not fit memory come from one of `skvae.sources`, or from an array that is
            mapped into memory, as by ``numpy.load(path, mmap_mode="r")``.
        y : ignored
            Present for scikit-learn's API.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How much each row counts; None for equal weights. Rows of weight 0 are left out. Whole
            numbers are counts: a row of weight 2 stands for two such rows. Other weights are
            relative. PPCA uses them exactly where no value is missing. Elsewhere rows are
            repeated in proportion to their weights, in training anew in each epoch.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_asked()
        how: dict[str, Any] = {}
        if sample_weight is not None:
            X, y, weights = check_weights(X, y, sample_weight)
            if weights is not None:
                how["weights"] = weights
        return self._learn_aside(X, y, goes_on=getattr(self, "warm_start", False), **how)

    def _validate_params(self) -> None:
        super()._validate_params()
        self._check_pairs()

    def _check_asked(self) -> None:
        """Check the parameters before learning."""
        self._validate_params()

    def _learn_aside(self, X: Any, y: Any, goes_on: bool, **how: Any) -> Self:
        """Let a copy learn, and become it when all is done."""
        if how.get("further_chunk") and isinstance(X, TableSource):
            raise TypeError(
                f"partial_fit takes one table at a time, and X is a {type(X).__name__}: call it "
                "with each of X.tables(), or fit with X."
            )
        goes_on = goes_on and hasattr(self, "_format_")
        aside = object.__new__(type(self))
        kept = {k: v for k, v in vars(self).items() if goes_on or not is_fitted_attribute(k)}
        vars(aside).update(kept)
        with enough_memory(
            f"the fit of {type(self).__name__} to X of shape {getattr(X, 'shape', '(n, d)')}",
            "call partial_fit on chunks of the rows, or fit to a sample of them",
        ):
            notices = aside._learn(X, y, first=not goes_on, **how)
        self.__dict__ = vars(aside)  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue]
        for message, category in notices:
            warn(message, category)
        return self

    def _check_training(
        self, X: Any, y: Any, first: bool, weights: np.ndarray | None = None
    ) -> RowSource:
        """Training rows, with what they are conditioned on; `weights` say how much each counts."""
        if isinstance(X, RowSource):
            return self._check_source(X, first)
        if isinstance(X, TableSource):
            return self._checked_tables(X, first)
        return ArraySource(self._check_rows(X, first))

    def _check_rows(self, X: Any, first: bool) -> np.ndarray:
        """Training rows (n, d) as an array."""
        rows: np.ndarray = self._checked(X, first=first, ensure_min_samples=2)
        return rows

    def _check_source(self, source: RowSource, first: bool) -> RowSource:
        """Training rows that do not come as an array."""
        name = type(self).__name__
        if source.has_holes and not self._takes_missing:
            raise ValueError(f"{name} takes no rows with cells that were not observed.")
        if source.n_context:
            raise ValueError(f"{name} takes no rows that are conditioned on something.")
        if source.n_rows < 2:
            raise ValueError(f"{name} needs at least 2 rows, got a source of {source.n_rows}.")
        self._flatten(source.take(slice(0, 2)).values, first)
        if first:
            self.n_features_in_ = source.n_features
            self._format_ = TableFormat.fit(np.empty((0, source.n_features), source.dtype))
        elif source.n_features != self.n_features_in_:
            raise ValueError(
                f"X has {source.n_features} features, but {name} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return source

    # -- rows ---------------------------------------------------------------------------------
    def _check_X(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        with enough_memory("a copy of X", "hand in its rows in parts"):
            rows: np.ndarray = self._checked(X)
        return rows

    def _in_blocks(
        self, function: Callable[[slice], tuple[np.ndarray, ...]], n: int
    ) -> tuple[np.ndarray, ...]:
        """Outputs of ``function(rows)`` for all of n rows, made a block at a time."""
        return in_blocks(function, n, self._row_width)

    @property
    def _row_width(self) -> int:
        """Cells that a row takes, roughly."""
        return self.n_features_in_


def is_fitted_attribute(name: str) -> bool:
    """Whether a fit sets the attribute: those names end in an underscore."""
    return name.endswith("_") and not name.endswith("__")
