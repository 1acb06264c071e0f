"""Libraries of tables: detection of the library of a table, and arrays."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from .cells import (
    Cells,
    UnreadableError,
    as_numpy_times,
    as_objects,
    numpy_times,
    of_objects,
    take_objects,
)
from .optional import imported

Name = str | int | float | None

TABLE = "a table (an array, a data frame or a list of lists of equal length)"

# Names of the dtypes of single precision: of numpy and pandas, polars, pyarrow, pandas with arrow.
SINGLE = ("float32", "Float32", "float", "float[pyarrow]")


class Table(ABC):
    """A table of the user, accessed by columns.

    Attributes
    ----------
    container : str
        Library of the table: "array", "pandas", "polars" or "pyarrow".
    names : list of str, int or float, or None
        Names of the columns; None for arrays.
    shape : (int, int)
    X : object
        The table itself.
    """

    container: ClassVar[str]
    names: list[Name] | None
    shape: tuple[int, int]
    X: Any

    @property
    def shared(self) -> Cells | None:
        """Return `Cells` with the dtype and kind of all columns, if these are equal."""
        return None

    @abstractmethod
    def cells(self, j: int) -> Cells:
        """Return one column; expensive work is deferred to `load`, except for arrays of objects."""

    def numbers(self) -> np.ndarray | None:
        """Return all values at once if all columns are plain numbers, else None."""
        return None

    @classmethod
    @abstractmethod
    def natural(cls, kind: str, labels: Sequence[Any] | None) -> str:
        """Return the dtype for a column of another library."""

    @classmethod
    @abstractmethod
    def of_numbers(cls, values: np.ndarray, kind: str, dtype: str) -> Any:
        """Return a column of numbers with NaN, in its dtype."""

    @classmethod
    @abstractmethod
    def of_codes(cls, codes: np.ndarray, labels: Sequence[Any], dtype: str) -> Any:
        """Return a column of labels from their codes, with -1 for missing, in its dtype."""

    @abstractmethod
    def column(self, j: int) -> Any:
        """Return one column in the form of its library, as input of `build`."""

    @classmethod
    @abstractmethod
    def merge(cls, given: Any, made: Any, missing: np.ndarray) -> Any:
        """Fill the missing values of a given column from another column."""

    @classmethod
    @abstractmethod
    def build(cls, columns: list[Any], names: Sequence[Name], like: Any) -> Any:
        """Build a table from columns; `like` is a table whose index is used, or None."""


class Array(Table):
    """A numpy array of numbers, times or Python objects."""

    container = "array"
    names = None

    def __init__(self, X: np.ndarray):
        if X.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {X.ndim}D array instead. Reshape your data: "
                "X.reshape(-1, 1) if it is one column, X.reshape(1, -1) if it is one row."
            )
        if X.dtype.names is not None:
            raise TypeError("X is a structured array: pass pandas.DataFrame(X).")
        if X.dtype.kind == "c":
            raise ValueError(
                "Complex data not supported: pass real and imaginary parts as columns."
            )
        if X.dtype.kind in "UT":
            X = X.astype(object)
        elif X.dtype.kind not in "fiubOmM":
            raise TypeError(f"X is an array of {X.dtype}: pass numbers, strings or objects.")
        if isinstance(X, np.ma.MaskedArray):
            X = _unmasked(X)
        self.X = X
        self.shape = (X.shape[0], X.shape[1])

    @property
    def shared(self) -> Cells | None:
        return None if self.X.dtype.kind == "O" or not self.shape[1] else self.cells(0)

    def cells(self, j: int) -> Cells:
        column, letter = self.X[:, j], self.X.dtype.kind
        dtype = str(self.X.dtype)
        if letter == "O":
            return of_objects(column)
        if letter in "mM":
            kind = "datetime" if letter == "M" else "duration"
            return Cells(kind, dtype, lambda: (numpy_times(column), None))
        if letter == "b":
            return Cells(
                "boolean", dtype, lambda: (column.astype(np.int64), [False, True]), (False, True)
            )
        kind = "numeric" if letter == "f" else "integer"
        return Cells(kind, dtype, lambda: (column, None))

    def numbers(self) -> np.ndarray | None:
        if self.X.dtype.kind not in "fiub":
            return None
        known = self.X.dtype in (np.float32, np.float64)
        values: np.ndarray = self.X if known else self.X.astype(np.float64)
        return values

    @classmethod
    def natural(cls, kind: str, labels: Sequence[Any] | None) -> str:
        if labels is None or not any(isinstance(label, str) for label in labels):
            return "float64"
        return "object"

    @classmethod
    def of_numbers(cls, values: np.ndarray, kind: str, dtype: str) -> Any:
        if dtype.startswith("object"):
            return as_objects(values, kind, dtype)
        if dtype.startswith(("datetime64", "timedelta64")):
            return as_numpy_times(values, np.dtype(dtype))
        return values.astype(np.float32 if dtype == "float32" else np.float64, copy=False)

    @classmethod
    def of_codes(cls, codes: np.ndarray, labels: Sequence[Any], dtype: str) -> Any:
        if dtype.startswith("object"):
            return take_objects(codes, labels, dtype)
        return numbers_of(codes, labels)

    def column(self, j: int) -> Any:
        return self.X[:, j]

    @classmethod
    def merge(cls, given: np.ndarray, made: np.ndarray, missing: np.ndarray) -> np.ndarray:
        filled = made.astype(object) if given.dtype.kind == "O" else made
        if made.dtype.kind in "mM" and given.dtype.kind not in "mMO":
            filled = numpy_times(made)  # numbers were read as seconds
        merged: np.ndarray = np.where(missing, filled, given)
        return merged

    @classmethod
    def build(cls, columns: list[Any], names: Sequence[Name], like: Any) -> Any:
        kinds = {column.dtype for column in columns}
        if len(kinds) == 1 or all(kind.kind == "f" for kind in kinds):
            return np.stack(columns, axis=1)
        table = np.empty((len(columns[0]), len(columns)), object)
        for j, column in enumerate(columns):
            table[:, j] = column.tolist() if column.dtype.kind == "f" else column
        return table


def _unmasked(X: np.ma.MaskedArray) -> np.ndarray:
    """Convert a masked array to an array with missing values."""
    mask = np.ma.getmaskarray(X)
    if X.dtype.kind in "OmM":
        nothing: Any = None if X.dtype.kind == "O" else np.array("NaT", X.dtype)
        return np.where(mask, nothing, X.data)
    single = X.dtype == np.float32
    return np.where(mask, np.nan, X.data).astype(np.float32 if single else np.float64)


def numbers_of(codes: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
    """Return numeric or boolean labels by their codes, NaN for -1."""
    taken: np.ndarray = np.array([*labels, np.nan], np.float64)[codes]
    return taken


def _instance(X: Any, library: str, name: str) -> bool:
    """Return whether X is an instance of this class, without importing its library."""
    module = sys.modules.get(library)
    return module is not None and isinstance(X, getattr(module, name))


def frame_kind(X: Any) -> str | None:
    """Return the library of a table, or the library that reads it.

    Returns
    -------
    kind : {"array", "pandas", "polars", "pyarrow"} or None
        "pyarrow" also for other frames that implement the data frame protocol or Arrow's. None for
        objects that are not tables.
    """
    if _instance(X, "pandas", "DataFrame"):
        return "pandas"
    if _instance(X, "polars", "DataFrame"):
        return "polars"
    if _instance(X, "pyarrow", "Table") or _instance(X, "pyarrow", "RecordBatch"):
        return "pyarrow"
    if isinstance(X, np.ndarray | list | tuple):
        return "array"
    if sparse.issparse(X) or any(hasattr(X, lazy) for lazy in ("collect", "compute")):
        return None
    one_column = len(getattr(X, "shape", (0, 0))) == 1  # a series
    if not one_column and any(hasattr(X, p) for p in ("__arrow_c_stream__", "__dataframe__")):
        return "pyarrow"
    return "array" if hasattr(X, "__array__") else None


def library(container: str) -> type[Table]:
    """Return the class for the tables of a library, which is imported."""
    if container == "array":
        return Array
    imported(container, f"a table of {container}")
    if container == "pandas":
        from .pandas_frames import PandasFrame

        return PandasFrame
    if container == "polars":
        from .polars_frames import PolarsFrame

        return PolarsFrame
    from .arrow_tables import ArrowTable

    return ArrowTable


def open_table(X: Any) -> Table:
    """Open a table of the user for reading.

    Raises
    ------
    TypeError
        If it is not a table, lazy, or sparse; the message says what to do.
    ValueError
        If it does not have two dimensions, or two columns have the same name.
    """
    container = frame_kind(X)
    if container is None:
        raise TypeError(f"X must be a table: an array or a data frame; got {_why_not(X)}.")
    if container == "array":
        table: Table = Array(table_array(X))
    else:
        table = library(container)(X)  # type: ignore[call-arg]
    names = table.names or []
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"X has several columns named {twice!r}: column names must be unique.")
    return table


def is_frame(X: Any) -> bool:
    """Return whether X is a frame of a supported library."""
    return frame_kind(X) not in (None, "array")


def as_array(given: Any, name: str = "X", wanted: str = "") -> np.ndarray:
    """Convert lists, tensors and other array-likes to an array.

    Parameters
    ----------
    given : array-like
    name : str
        Name of the argument in messages.
    wanted : str, optional
        Beginning of the message for rows of unequal length, such as "y must contain one label for
        each row".
    """
    if isinstance(given, np.ndarray):
        return given
    if getattr(given, "requires_grad", False):
        raise TypeError(f"{name} is a tensor that requires gradients: pass {name}.detach().")
    try:
        return np.asarray(given)
    except ValueError as error:
        wanted = wanted or f"{name} must be {TABLE}"
        raise ValueError(f"{wanted}, but its rows have different lengths. ({error})") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{name}, {kind_named(given)}, cannot be converted to a numpy array: pass a dense "
            f"array of numbers, for a tensor {name}.detach().cpu().to_dense().double().numpy(). "
            f"({error})"
        ) from error


def table_array(given: Any, name: str = "X") -> np.ndarray:
    """Convert lists, tensors and other array-likes to an array that keeps the types of values."""
    array = as_array(given, name)
    if isinstance(given, list | tuple) and array.dtype.kind in "US":
        return np.array(given, object)  # numpy has converted numbers in mixed lists to strings
    return array


def kind_named(X: Any) -> str:
    """Describe X for a message: "None", "a set", "a scipy.sparse._csr.csr_array"."""
    name = f"{type(X).__module__}.{type(X).__qualname__}".removeprefix("builtins.")
    return "None" if X is None else f"a {name}"


def _why_not(X: Any) -> str:
    named = kind_named(X)
    name = named.removeprefix("a ")
    if sparse.issparse(X):
        return (
            f"a sparse matrix ({name}): pass the original frame, since categories are encoded "
            "internally, or X.toarray()"
        )
    for method in ("collect", "compute"):
        if hasattr(X, method):
            advice = "; use skvae.sources for rows that do not fit into memory"
            return f"a lazy frame ({name}): pass X.{method}(){advice}"
    return named


def unreadable(dtype: Any, remedy: str) -> UnreadableError:
    """Return the message for an unsupported dtype."""
    return UnreadableError(f"has the dtype {dtype}, which is not supported: {remedy}.")
