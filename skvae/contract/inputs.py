"""What users hand in, as arrays; or an error that names it and says what to do.

scikit-learn's validation comes after this. It says nothing of lists that numpy cannot read, of
tensors, and of labels of several kinds but what numpy, torch or a comparison says of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..tables.containers import kind_named

_TABLE = "a table of numbers: an array, a data frame or a list of lists of equal length"


def as_table(X: Any, name: str = "X") -> Any:
    """Lists, tensors and arrays of objects as arrays; frames and the like as they are."""
    if isinstance(X, np.ndarray) and X.dtype != np.dtype(object):
        return X
    if isinstance(X, list | tuple) or _is_tensor(X):
        X = _as_array(X, name, f"{name} must be {_TABLE}")
    elif X is None:
        raise ValueError(f"{name} must be {_TABLE}; got None.")
    elif not any(hasattr(X, known) for known in ("__array__", "shape", "__len__", "__float__")):
        raise TypeError(f"{name} must be {_TABLE}; got {kind_named(X)}.")
    elif isinstance(X, set | frozenset | dict):
        # scikit-learn's words, "argument must be a string or a number", are kept
        raise TypeError(
            f"{name} must be {_TABLE}; got {kind_named(X)}, but the argument must be a string or a "
            "number, cell by cell."
        )
    if isinstance(X, np.ndarray) and X.dtype == np.dtype(object):
        with numeric(name):
            return X.astype(np.float64)
    return X


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
        return _as_array(y, name, "")
    if not isinstance(y, list | tuple) and getattr(y, "dtype", None) != np.dtype(object):
        return y
    given = _as_array(y, name, f"{name} must be one label a row")
    if given.ndim != 1:
        return given
    kinds = {_label_kind(label) for label in y}
    if "missing" in kinds:
        raise ValueError(
            f"{name} holds None or NaN: drop rows without a label, or name that class."
        )
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


def _as_array(given: Any, name: str, wanted: str) -> np.ndarray:
    if getattr(given, "requires_grad", False):
        raise TypeError(f"{name} is a tensor that needs gradients: hand in {name}.detach().")
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{wanted}, but its rows are not of equal length. ({error})") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{name}, {kind_named(given)}, cannot be read by numpy: hand in a dense array of plain "
            f"numbers, for a tensor {name}.detach().cpu().to_dense().double().numpy(). ({error})"
        ) from error
