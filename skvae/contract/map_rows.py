"""Functions of rows that do not fit into memory, computed in blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from ..tables.containers import frame_kind
from ..tables.files import replacing
from ..tables.optional import imported
from ..tables.table_sources import (
    BLOCK_ROWS,
    ParquetSource,
    TableSource,
    checked_block_size,
)
from .inputs import as_table, n_rows_of

F = TypeVar("F", bound=Callable[..., Any])


def map_rows(
    function: Callable[[Any], Any],
    X: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    n_rows: int = BLOCK_ROWS,
) -> Any:
    """Apply a function to rows in blocks, and join the results or write them to a file.

    Parameters
    ----------
    function : callable
        ``function(rows)`` returns an array or a frame with the same number of rows, for example a
        method of a fitted estimator or Pipeline such as ``model.score_samples``. If the function
        uses random numbers with an integer `random_state`, all blocks use the same random numbers.
    X : TableSource, array or frame
        Rows. The blocks of a `skvae.sources.TableSource` are its tables. An array may be
        memory-mapped, as by ``numpy.load(path, mmap_mode="r")``.
    out : str or path-like, optional
        File for the results: a path that ends in ``.npy`` for arrays, or in ``.parquet``. An
        existing file is replaced at the end.
    n_rows : int, default=65536
        Number of rows of a block of an array or frame.

    Returns
    -------
    results : array, frame, tuple of these, or TableSource
        Results in memory, or the file if `out` is given: as a memory-mapped array or as a
        `skvae.sources.ParquetSource`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import PPCA
    >>> from skvae.sources import map_rows
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> model = PPCA(n_components=1).fit(X)
    >>> scores = map_rows(model.score_samples, X, n_rows=300)
    >>> np.allclose(scores, model.score_samples(X))
    True
    """
    n_rows = checked_block_size(n_rows)
    if not callable(function):
        raise TypeError(f"function must be a callable that takes rows, got {function!r}.")
    results = (_called(function, table) for table in _tables(X, n_rows))
    if out is None:
        return _joined(list(results))
    path = Path(os.path.realpath(out))
    writers = {".npy": _write_numpy, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ValueError(f"out must end in .npy or .parquet; got {os.fspath(out)!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"out is {os.fspath(out)!r}, but the folder {path.parent} does not exist."
        )
    if path.is_dir():
        raise IsADirectoryError(
            f"out is {os.fspath(out)!r}, which is a folder: pass the path of a file."
        )
    with replacing(str(path), keeps=True) as file:
        writers[path.suffix](file, results)
    return np.load(path, mmap_mode="r") if path.suffix == ".npy" else ParquetSource(path)


def takes_sources(method: F) -> F:
    """Decorate a method of rows X so that it also accepts a `TableSource`."""

    @wraps(method)
    def of_rows(self: Any, X: Any, *args: Any, **how: Any) -> Any:
        if isinstance(X, TableSource):
            return map_rows(lambda rows: method(self, rows, *args, **how), X)
        return method(self, X, *args, **how)

    return cast(F, of_rows)


def _tables(X: Any, n_rows: int) -> Iterator[Any]:
    if isinstance(X, TableSource):
        yield from (table for table in X.tables() if n_rows_of(table))
        return
    X = as_table(X)
    for i in range(0, len(X), n_rows):
        yield X.iloc[i : i + n_rows] if hasattr(X, "iloc") else X[i : i + n_rows]


def _called(function: Callable[[Any], Any], table: Any) -> Any:
    """Call a function with a table and check that the result has one entry for each row."""
    found, n = function(table), n_rows_of(table)
    for part in found if isinstance(found, tuple) else (found,):
        if not hasattr(part, "shape") or not part.shape or part.shape[0] != n:
            shape = getattr(part, "shape", None)
            told = type(part).__name__ if not shape else f"one of shape {tuple(shape)}"
            raise ValueError(
                f"function must return an array or frame with one row for each of the {n} rows "
                f"that it is called with, or a tuple of these, but returned {told}."
            )
    return found


def _joined(results: list[Any]) -> Any:
    if not results:
        raise ValueError("X has no rows.")
    if len(results) == 1:
        return results[0]
    first = results[0]
    if isinstance(first, tuple):
        return tuple(_joined(list(parts)) for parts in zip(*results, strict=True))
    kind = frame_kind(first)
    if kind == "pandas":
        return imported("pandas").concat(results)
    if kind == "polars":
        return imported("polars").concat(results, how="vertical_relaxed")
    if kind == "pyarrow":
        return imported("pyarrow").concat_tables(results, promote_options="permissive")
    return np.concatenate(results)


def _write_numpy(file: BinaryIO, results: Iterator[Any]) -> None:
    """Write an .npy file whose header is written at the end, when the number of rows is known."""
    first: np.ndarray | None = None
    n = 0

    def write_header(n: int, rows: np.ndarray) -> None:
        shape = (n, *rows.shape[1:])
        header = {"descr": rows.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)

    for result in results:
        rows = _as_rows(result, ".npy")
        if first is None:
            first = rows[:0].copy()
            write_header(0, first)
        if rows.shape[1:] != first.shape[1:] or not np.can_cast(rows.dtype, first.dtype):
            raise ValueError(
                f"function returns {_told(first)} for the first rows and {_told(rows)} for others, "
                "but must return one dtype and shape."
            )
        file.write(np.ascontiguousarray(rows, first.dtype).data)
        n += len(rows)
    if first is None:
        raise ValueError("X has no rows.")
    file.seek(0)
    write_header(n, first)


def _told(rows: np.ndarray) -> str:
    shape = "".join(f", {size}" for size in rows.shape[1:]) or ","
    return f"{rows.dtype} of shape (n{shape})"


def _as_rows(result: Any, suffix: str) -> np.ndarray:
    if not isinstance(result, np.ndarray) or result.dtype.kind not in "fiub":
        found = getattr(result, "dtype", type(result).__name__)
        advice = "use a path out that ends in .parquet for frames, or " if suffix == ".npy" else ""
        raise TypeError(
            f"a file {suffix} contains {'' if suffix == '.npy' else 'frames or '}arrays of "
            f"numbers, but the function returns {found}: {advice}use out=None instead."
        )
    return result


def _write_parquet(file: BinaryIO, results: Iterator[Any]) -> None:
    pyarrow, parquet = imported("pyarrow"), imported("pyarrow.parquet")
    writer = None
    try:
        for result in results:
            table = _as_arrow(pyarrow, result)
            if writer is None:
                writer = parquet.ParquetWriter(file, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise ValueError("X has no rows.")


def _as_arrow(pyarrow: Any, result: Any) -> Any:
    kind = frame_kind(result)
    if kind == "pandas":
        return pyarrow.Table.from_pandas(result, preserve_index=False)
    if kind == "polars":
        return result.to_arrow()
    if kind == "pyarrow":
        return result
    rows = _as_rows(result, ".parquet")
    columns = rows.reshape(len(rows), math.prod(rows.shape[1:])).T
    return pyarrow.table([pyarrow.array(c) for c in columns], [str(j) for j in range(len(columns))])
