"""Base class of estimators that are fitted to rows, with atomic fits."""

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
    """Return a seed for one call; None uses new entropy and leaves numpy's global state alone."""
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
    """Base class of estimators that are fitted to rows.

    Every public method validates its input and passes a two-dimensional float array to private
    hooks, which a subclass implements. In this array missing values are NaN, labels are integer
    codes 0, 1, ..., and times are seconds.
    """

    n_features_in_: int
    _parameter_constraints: ClassVar[dict] = {"random_state": ["random_state"]}

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Return the parameter names; ``**parameters`` stands for those of the next class."""
        return list(_parameters_of(cls))

    # -- hooks --------------------------------------------------------------------------------
    @abstractmethod
    def _learn(self, X: Any, y: Any, first: bool, **how: Any) -> list[Notice]:
        """Validate and learn rows, set the fitted attributes, and return warnings for the user.

        `first` is True if the fit does not continue an earlier one.
        """

    def _finish(self, source: RowSource, unseen: Iterable[tuple[Any, RowSource]] = ()) -> None:
        """Calibrate the model that `_learn` has fitted to the rows of a source.

        `unseen` are models of the same class, each with rows that were not used to train it.
        """

    def _check_pairs(self) -> None:
        """Raise an error for parameters that cannot be combined."""

    # -- learning -----------------------------------------------------------------------------
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model to rows.

        If an error is raised, the estimator is left unchanged: unfitted, or with its earlier fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or TableSource
            Training rows, at least two. A frame of pandas, polars or pyarrow may have columns of
            booleans, dates, times and durations in addition to numbers; rows returned by the
            estimator are then frames of the same format. Estimators based on networks also accept
            images of shape (n_samples, channels, height, width) in all methods: see `image_shape`.
            For rows that do not fit into memory, use one of `skvae.sources` or a memory-mapped
            array, such as ``numpy.load(path, mmap_mode="r")``.
        y : ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows; None for equal weights. A row of weight 2 counts like two identical
            rows, and rows of weight 0 are left out. `PPCA` uses the weights exactly if no value is
            missing. Otherwise each epoch of the training samples rows in proportion to their
            weights; held-out rows, which set thresholds and p-values, are sampled once, and so are
            all rows of tables whose encoded rows exceed 1 GiB. Scales, column types and automatic
            sizes do not depend on the weights.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_asked()
        how: dict[str, Any] = {}
        if sample_weight is not None:
            how["weights"] = check_weights(X, sample_weight)
        return self._learn_aside(X, y, goes_on=getattr(self, "warm_start", False), **how)

    def _validate_params(self) -> None:
        super()._validate_params()
        self._check_pairs()

    def _check_asked(self) -> None:
        """Validate the parameters before a fit."""
        self._validate_params()

    def _learn_aside(self, X: Any, y: Any, goes_on: bool, **how: Any) -> Self:
        """Fit a copy, and take over its state when the fit has succeeded."""
        if how.get("further_chunk") and isinstance(X, TableSource):
            raise TypeError(
                f"partial_fit expects one table at a time, but X is a {type(X).__name__}: call it "
                "for each of X.tables(), or call fit with X."
            )
        goes_on = goes_on and hasattr(self, "_format_")
        aside = object.__new__(type(self))
        kept = {k: v for k, v in vars(self).items() if goes_on or not is_fitted_attribute(k)}
        vars(aside).update(kept)
        with enough_memory(
            f"the fit of {type(self).__name__} to X of shape {getattr(X, 'shape', '(n, d)')}",
            "call partial_fit on chunks of the rows, or fit on a sample of them",
        ):
            notices = aside._learn(X, y, first=not goes_on, **how)
        self.__dict__ = vars(aside)  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue]
        for message, category in notices:
            warn(message, category)
        return self

    def _check_training(
        self, X: Any, y: Any, first: bool, weights: np.ndarray | None = None
    ) -> RowSource:
        """Validate training rows, with the labels on which they are conditioned."""
        if isinstance(X, RowSource):
            return self._check_source(X, first)
        if isinstance(X, TableSource):
            return self._checked_tables(X, first)
        return ArraySource(self._check_rows(X, first))

    def _check_rows(self, X: Any, first: bool) -> np.ndarray:
        """Validate training rows (n, d) given as an array."""
        rows: np.ndarray = self._checked(X, first=first, ensure_min_samples=2)
        return rows

    def _check_source(self, source: RowSource, first: bool) -> RowSource:
        """Validate training rows that are not given as an array."""
        name = type(self).__name__
        if source.has_missing and not self._takes_missing:
            raise ValueError(
                f"{name} does not accept rows with missing values: impute or drop them."
            )
        if source.n_context:
            raise ValueError(f"{name} does not accept rows with a condition.")
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
        with enough_memory("a copy of X", "pass its rows in several parts"):
            rows: np.ndarray = self._checked(X)
        return rows

    def _in_blocks(
        self, function: Callable[[slice], tuple[np.ndarray, ...]], n: int
    ) -> tuple[np.ndarray, ...]:
        """Return the outputs of ``function(rows)`` for all of n rows, computed in blocks."""
        return in_blocks(function, n, self._row_width)

    @property
    def _row_width(self) -> int:
        """Approximate number of values that a row needs in memory."""
        return self.n_features_in_


def is_fitted_attribute(name: str) -> bool:
    """Return whether an attribute is a fitted one, with a name that ends in an underscore."""
    return name.endswith("_") and not name.endswith("__")
