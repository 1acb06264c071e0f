"""What users hand in, as tables that can be read; or an error that names it and says what to do.

scikit-learn's validation comes after this. It says nothing of lists that numpy cannot read, of
tensors, and of labels of several kinds but what numpy, torch or a comparison says of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ..tables.containers import TABLE, as_array, is_frame, kind_named, open_table, table_array
from ..tables.source import Rows, RowSource, n_counted
from ..tables.table_sources import TableSource

_UNLABELLED = "{} holds None or NaN: drop rows without a label, or name that class."


def as_table(X: Any, name: str = "X") -> Any:
    """Lists and tensors as arrays, frames as those of a library that is read; others as they are.

    What is no table is refused, or left to scikit-learn where that says what is wrong.
    """
    if isinstance(X, np.ndarray):
        if X.dtype.names is not None:
            raise TypeError(f"{name} is a structured array: hand in pandas.DataFrame({name}).")
        return X
    if isinstance(X, list | tuple) or _is_tensor(X):
        return table_array(X, name)
    if X is None:
        raise ValueError(f"{name} must be {TABLE}; got None.")
    if isinstance(X, TableSource):
        raise TypeError(
            f"{name} is a {type(X).__name__}, which this method does not take: call it with one "
            "table at a time, by skvae.sources.map_rows where it gives something for each row."
        )
    if isinstance(X, str | os.PathLike):
        raise ValueError(
            f"{name} is a path, {str(X)!r}, and must be {TABLE}: read it with "
            "skvae.sources.ParquetSource, numpy.load(path, mmap_mode='r') or pandas."
        )
    if isinstance(X, Iterator) or (callable(X) and not hasattr(X, "__array__")):
        raise TypeError(
            f"{name} must be {TABLE}; got {kind_named(X)}: tables that a function gives, one after "
            "another, come from skvae.sources.BlockSource."
        )
    if hasattr(X, "__getitem__") and type(X).__module__.startswith("torch.utils.data"):
        raise TypeError(
            f"{name} must be {TABLE}; got {kind_named(X)}: hand in skvae.sources.DatasetSource(X)."
        )
    if is_frame(X) or (_is_lazy(X) and not hasattr(X, "__array__")):
        table = open_table(X)
        if not table.shape[1]:
            raise ValueError(f"{name} has no columns: hand in {TABLE}.")
        return table.X
    if not any(hasattr(X, known) for known in ("__array__", "shape", "__len__", "__float__")):
        raise TypeError(f"{name} must be {TABLE}; got {kind_named(X)}.")
    if isinstance(X, set | frozenset | dict):
        # scikit-learn's words, "argument must be a string or a number", are kept
        raise TypeError(
            f"{name} must be {TABLE}; got {kind_named(X)}, but the argument must be a string or a "
            "number, cell by cell."
        )
    return X


def n_rows_of(X: Any) -> int:
    """Rows of a table, whatever library has it."""
    X = as_table(X)
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _is_lazy(X: Any) -> bool:
    return any(hasattr(X, method) for method in ("collect", "compute"))


def has_kinds(X: Any) -> bool:
    """Whether a table is more than numbers in an array: a frame, or an array of other cells."""
    if isinstance(X, np.ndarray):
        return X.dtype.kind in "OUTmM" or isinstance(X, np.ma.MaskedArray)
    return is_frame(X)


def with_nan(rows: Rows) -> np.ndarray:
    """Values of rows (n, d), NaN for cells that were not observed."""
    if rows.observed is None:
        return rows.values
    return np.where(rows.observed, rows.values, rows.values.dtype.type(np.nan))


@contextmanager
def numeric(name: str = "X") -> Iterator[None]:
    """While cells are turned into numbers: errors that name their table."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # infinity less infinity, in their sum
            yield
    except OverflowError as error:
        raise ValueError(
            f"{name} holds an integer too large for float64 (about 1.8e308): scale its column, or "
            f"take logarithms. ({error})"
        ) from error
    except (TypeError, ValueError) as error:
        said = str(error)
        if not said.startswith(("could not convert", "float() argument", "setting an array")):
            raise
        raise type(error)(
            f"{name} holds a cell that is no number: encode categories and dates as numbers, say "
            f"by sklearn.preprocessing.OneHotEncoder. ({said})"
        ) from error


def as_labels(y: Any, name: str = "y") -> Any:
    """Labels as an array of one kind; what is none is left to scikit-learn."""
    if _is_tensor(y):
        return as_array(y, name)
    if isinstance(y, np.ndarray) and y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError(_UNLABELLED.format(name))
    if not isinstance(y, list | tuple) and getattr(y, "dtype", None) != np.dtype(object):
        return y
    given = as_array(y, name, f"{name} must be one label a row")
    if given.ndim != 1:
        return given
    kinds = {_label_kind(label) for label in y}
    if "missing" in kinds:
        raise ValueError(_UNLABELLED.format(name))
    if len(kinds) > 1 or "other" in kinds:
        found = sorted({type(label).__name__ for label in y})
        raise ValueError(
            f"{name} must hold labels of one kind, all strings or all numbers, but holds "
            f"{', '.join(found)}: turn them into strings, say."
        )
    if given.dtype == np.dtype(object) and all(isinstance(label, Integral) for label in y):
        try:
            return given.astype(np.int64)
        except OverflowError as error:
            raise ValueError(
                f"{name} holds integers of more than 64 bits: turn them into strings."
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


def check_weights(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, np.ndarray | None]:
    """Rows and labels of positive weight, and these weights; None where they are equal."""
    if isinstance(X, RowSource | TableSource):
        raise ValueError(
            f"sample_weight is for rows in memory, and X is a {type(X).__name__}: repeat its rows "
            "in proportion to their weights."
        )
    X = as_table(X)
    n = _num_samples(X)
    weights = np.asarray(sample_weight)
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"sample_weight must hold numbers, got the dtype {weights.dtype}.")
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
    if not weights.all():
        kept = np.flatnonzero(weights)
        X, weights = _safe_indexing(X, kept), weights[kept]
        y = None if y is None else _safe_indexing(y, kept)
    is_equal = weights.min() == weights.max() and n_counted(weights) == len(weights)
    return X, y, None if is_equal else weights
