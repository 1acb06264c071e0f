"""Conversion of user input to tables, with errors that name the input and a remedy.

scikit-learn's validation comes after this. For lists that numpy cannot read, for tensors and for
labels of mixed types, it only gives the errors of numpy, torch or of a comparison.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

from ..tables.containers import TABLE, as_array, is_frame, kind_named, open_table, table_array
from ..tables.source import Rows, RowSource, n_counted
from ..tables.table_sources import TableSource

_LARGEST_COUNT = 2.0**40  # weights above are no counts, and their sum may overflow
_UNLABELLED = (
    "{} contains None or NaN: drop rows without a label, or give missing labels a class name."
)


def as_table(X: Any, name: str = "X") -> Any:
    """Convert lists and tensors to arrays, and frames to those of a supported library.

    Other objects raise an error, here or in the validation of scikit-learn.
    """
    if isinstance(X, np.ndarray):
        if X.dtype.names is not None:
            raise TypeError(f"{name} is a structured array: pass pandas.DataFrame({name}).")
        return X
    if isinstance(X, list | tuple) or _is_tensor(X):
        return table_array(X, name)
    if X is None:
        raise ValueError(f"{name} must be {TABLE}; got None.")
    if isinstance(X, TableSource):
        raise TypeError(
            f"{name} is a {type(X).__name__}, which this method does not accept: call it with one "
            "table at a time, with skvae.sources.map_rows if it returns a result for each row."
        )
    if isinstance(X, str | os.PathLike):
        raise ValueError(
            f"{name} is a path, {str(X)!r}, and must be {TABLE}: read it with "
            "skvae.sources.ParquetSource, numpy.load(path, mmap_mode='r') or pandas."
        )
    if isinstance(X, Iterator) or (callable(X) and not hasattr(X, "__array__")):
        raise TypeError(
            f"{name} must be {TABLE}; got {kind_named(X)}: use skvae.sources.BlockSource for "
            "tables that a function yields one after another."
        )
    if hasattr(X, "__getitem__") and type(X).__module__.startswith("torch.utils.data"):
        raise TypeError(
            f"{name} must be {TABLE}; got {kind_named(X)}: pass skvae.sources.DatasetSource(X)."
        )
    if is_frame(X) or (_is_lazy(X) and not hasattr(X, "__array__")):
        table = open_table(X)
        if not table.shape[1]:
            raise ValueError(f"{name} has no columns, but must be {TABLE}.")
        return table.X
    if not any(hasattr(X, known) for known in ("__array__", "shape", "__len__", "__float__")):
        raise TypeError(f"{name} must be {TABLE}; got {kind_named(X)}.")
    if isinstance(X, set | frozenset | dict):
        # contains scikit-learn's message "argument must be a string or a number"
        raise TypeError(
            f"{name} must be {TABLE}; got {kind_named(X)}, but each argument must be a string or a "
            "number."
        )
    return X


def n_rows_of(X: Any) -> int:
    """Return the number of rows of a table of any library."""
    return int(_num_samples(as_table(X)))


def _is_lazy(X: Any) -> bool:
    return any(hasattr(X, method) for method in ("collect", "compute"))


def has_kinds(X: Any) -> bool:
    """Return whether a table may have column types: a frame, or an array of other values."""
    if isinstance(X, np.ndarray):
        return X.dtype.kind in "OUTmM" or isinstance(X, np.ma.MaskedArray)
    return is_frame(X)


def with_nan(rows: Rows) -> np.ndarray:
    """Return values of rows (n, d), with NaN for missing values."""
    if rows.observed is None:
        return rows.values
    return np.where(rows.observed, rows.values, rows.values.dtype.type(np.nan))


@contextmanager
def numeric(name: str = "X") -> Iterator[None]:
    """Context in which values are converted to numbers, with errors that name the table."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # infinity minus infinity, in their sum
            yield
    except OverflowError as error:
        raise ValueError(
            f"{name} contains an integer too large for float64 (about 1.8e308): rescale its "
            f"column, or take logarithms. ({error})"
        ) from error
    except (TypeError, ValueError) as error:
        said = str(error)
        refused, found, _ = said.partition(" does not accept missing values")
        if found:  # scikit-learn then advises its classifiers
            raise ValueError(
                f"{refused}{found}. Impute them first, for example with impute of a fitted VAE or "
                "PPCA, or use one of these: nearly all other estimators accept missing values."
            ) from None
        if not said.startswith(("could not convert", "float() argument", "setting an array")):
            raise
        raise type(error)(
            f"{name} contains a value that is not a number: encode categories and dates as "
            f"numbers, for example with sklearn.preprocessing.OneHotEncoder. ({said})"
        ) from error


def as_labels(y: Any, name: str = "y") -> Any:
    """Convert labels to an array of one type; other objects are left to scikit-learn."""
    if _is_tensor(y):
        return as_array(y, name)
    if isinstance(y, np.ndarray) and y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError(_UNLABELLED.format(name))
    if not isinstance(y, list | tuple) and getattr(y, "dtype", None) != np.dtype(object):
        return y
    given = as_array(y, name, f"{name} must contain one label for each row")
    if given.ndim != 1:
        return given
    kinds = {_label_kind(label) for label in y}
    if "missing" in kinds:
        raise ValueError(_UNLABELLED.format(name))
    if len(kinds) > 1 or "other" in kinds:
        found = sorted({type(label).__name__ for label in y})
        raise ValueError(
            f"{name} must contain labels of one type, all strings or all numbers, but contains "
            f"{', '.join(found)}: convert them, for example to strings."
        )
    if given.dtype == np.dtype(object) and all(isinstance(label, Integral) for label in y):
        try:
            return given.astype(np.int64)
        except OverflowError as error:
            raise ValueError(
                f"{name} contains integers of more than 64 bits: convert them to strings."
            ) from error
    return given


def _label_kind(label: Any) -> str:
    if label is None or (isinstance(label, Real) and label != label):
        return "missing"
    if isinstance(label, str):
        return "text"
    return "number" if isinstance(label, Real | np.bool_) else "other"


def _is_tensor(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "torch" and hasattr(given, "requires_grad")


def check_weights(X: Any, sample_weight: Any) -> np.ndarray:
    """Check weights of the rows of X, and return them as float64."""
    if isinstance(X, RowSource | TableSource):
        raise ValueError(
            f"sample_weight can be used only with rows in memory, and X is a {type(X).__name__}: "
            "repeat its rows in proportion to their weights."
        )
    n = n_rows_of(X)
    weights = np.asarray(sample_weight)
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"sample_weight must contain numbers, got the dtype {weights.dtype}.")
    if weights.ndim == 0:
        weights = np.full(n, weights)
    weights = weights.astype(np.float64)
    if weights.shape != (n,):
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n,)}: one weight for each row."
        )
    if not (np.isfinite(weights).all() and (weights >= 0.0).all()):
        raise ValueError("sample_weight must be finite and at least 0.")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    largest = weights.max()
    return weights / largest if largest > _LARGEST_COUNT else weights


def weigh(source: RowSource, weights: np.ndarray | None) -> tuple[RowSource, np.ndarray | None]:
    """Return the rows of positive weight, and these weights; None if they count once each."""
    if weights is None:
        return source, None
    if not weights.all():
        kept = np.flatnonzero(weights)
        source, weights = source.subset(kept), weights[kept]
        if len(kept) < 2:
            raise ValueError("sample_weight must be positive for at least 2 rows.")
    is_equal = bool((weights == weights[0]).all()) and n_counted(weights) == len(weights)
    return source, None if is_equal else weights
