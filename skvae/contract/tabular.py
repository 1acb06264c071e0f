"""Base class of estimators of tables: conversion to numbers and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_array, check_X_y
from sklearn.utils.validation import validate_data

from ..tables.checks import Axes, Check, Unset, Whole
from ..tables.format import TableFormat, check_format
from ..tables.source import ArraySource
from ..tables.spool import Spool
from ..tables.table_sources import TableSource
from .documentation import LinkedMixin
from .inputs import as_table, has_kinds, n_rows_of, numeric
from .persistence import PersistenceMixin
from .scikit_learn import BaseEstimator


class BaseTabular(PersistenceMixin, LinkedMixin, BaseEstimator):
    """Base class of estimators that convert tables to float matrices and back.

    In these matrices missing values are NaN, labels are integer codes 0, 1, ..., and times are
    seconds.
    """

    _format_: TableFormat  # format of the table of the first fit

    _fitted_attributes: ClassVar[dict[str, Check]] = {
        "n_features_in_": Whole(1, name="d"),
        "feature_names_in_": Unset(Axes(("d",), "O")),
        "_format_": check_format,
    }
    _takes_missing: ClassVar[bool] = False  # whether values may be missing (NaN)
    _takes_categories: ClassVar[bool] = False  # whether columns may be categorical

    # -- hooks --------------------------------------------------------------------------------
    def _column_kinds(self) -> Mapping[Any, str] | None:
        """Return the column types given by the user, by name or position."""
        return None

    def _handle_unknown(self) -> str:
        """Return whether an unknown category is an "error" or "missing"."""
        return "error"

    def _flatten(self, X: Any, first: bool = False) -> Any:
        """Flatten images (n, channels, height, width) to rows in models of images."""
        return X

    # -- in ---------------------------------------------------------------------------------
    def _checked(self, X: Any, y: Any = "no_validation", *, first: bool = False, **how: Any) -> Any:
        """Validate rows, and labels `y` if given, and return them as float arrays.

        With `first`, the rows define names and number of features and the format of tables.
        """
        how = {"dtype": [np.float64, np.float32], **how}
        if self._takes_missing:
            how.setdefault("ensure_all_finite", "allow-nan")
        with numeric():
            X = self._flatten(as_table(X), first)
            kinds = self._column_kinds() if first else None
            if not has_kinds(X) and (not kinds if first else self._format_.is_plain):
                found = validate_data(self, X, y, reset=first, **how)
                if first:
                    rows = found[0] if isinstance(found, tuple) else found
                    self._format_ = TableFormat.fit(rows)
                return found
            validate_data(self, X, y, reset=first, skip_check_array=True)
            if first:
                self._format_ = TableFormat.fit(X, kinds)
                self._refuse_labels()
            rows = self._format_.read(X, self._handle_unknown())
            how["estimator"] = self
            if y is None or (isinstance(y, str) and y == "no_validation"):
                return check_array(rows, input_name="X", **how)
            return check_X_y(rows, y, **how)

    def _checked_tables(self, X: TableSource, first: bool) -> ArraySource:
        """Write the rows of consecutive tables to a temporary file."""
        counted: int | None = None
        if first:
            counted = self._learn_tables(X)
        spool: Spool | None = None
        try:
            for table in filter(n_rows_of, X.tables()):
                rows: np.ndarray = self._checked(table, ensure_min_samples=0)
                spool = spool or Spool(rows.shape[1], np.dtype(self._format_.dtype))
                spool.append(rows)
            if spool is None or spool.n_rows < 2:
                found = 0 if spool is None else spool.n_rows
                raise ValueError(
                    f"Found array with {found} sample(s) in the tables of X, while a minimum of 2 "
                    f"is required by {type(self).__name__}."
                )
            if counted not in (None, spool.n_rows):
                raise ValueError(
                    f"the tables of X have {counted} rows in one pass and {spool.n_rows} in the "
                    "next, but have to be the same in every pass."
                )
            return ArraySource(spool.rows())
        finally:
            if spool is not None:
                spool.close()

    def _learn_tables(self, X: TableSource) -> int | None:
        """Learn names, number of features and labels of consecutive tables.

        Returns the number of their rows if all tables were read.
        """
        tables = (table for table in X.tables() if n_rows_of(table))
        first = next(tables, None)
        if first is None:
            raise ValueError("the tables of X have no rows.")
        self._checked(first, first=True, ensure_min_samples=1)
        if X.is_uniform and not self._format_.has_labels_of_rows:
            return None
        looks, unseen = self._format_, self._format_.unseen(self._flatten(as_table(first)))
        n = n_rows_of(first)
        for table in tables:
            rows = self._flatten(as_table(table))
            validate_data(self, rows, reset=False, skip_check_array=True)
            with numeric():
                found = TableFormat.fit(rows, self._column_kinds())
            new, n = found.unseen(rows), n + n_rows_of(rows)
            looks, unseen = looks.joined(found, unseen, new), unseen & new
        self._format_ = looks
        self._refuse_labels()
        return n

    def _refuse_labels(self) -> None:
        """Raise an error for categorical columns if the model does not support them."""
        for j, column in enumerate(self._format_.columns):
            if column.is_category and not self._takes_categories:
                example = f" ({column.labels[0]!r}, ...)" if column.labels else ""
                raise ValueError(
                    f"column {j if column.name is None else repr(column.name)} of X is "
                    f"categorical{example}, which {type(self).__name__} does not support: encode "
                    "it as numbers, for example with sklearn.preprocessing.OneHotEncoder, or use "
                    "VAE."
                )

    # -- out --------------------------------------------------------------------------------
    def _written(self, values: np.ndarray, like: Any = None) -> Any:
        """Convert rows (n, d) to a table of the format of the training table, or of another one."""
        if like is None:
            return values if self._format_.is_plain else self._format_.write(values)
        return values if self._is_array_of_numbers(like) else self._format_.write(values, like)

    def _is_array_of_numbers(self, X: Any) -> bool:
        """Return whether a table is an array of numbers, like the training table."""
        return self._format_.is_plain and (isinstance(X, np.ndarray) or not has_kinds(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_missing
        return tags

    # -- state --------------------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "_format_" in state:  # plain values, which can be read without our classes
            state = {**state, "_format_": self._format_.to_state()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        looks = state.get("_format_")
        if looks is None and "n_features_in_" in state:
            raise ValueError(
                f"This {type(self).__name__} was saved in the format of an earlier version of "
                "skvae: fit and save it again."
            )
        super().__setstate__(state)
        if looks is not None:
            self._format_ = TableFormat.from_state(looks)
