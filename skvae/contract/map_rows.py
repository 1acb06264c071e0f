"""Rows that do not fit memory: a function of them, a block at a time."""

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
    """What a function says of rows, a block at a time, joined or written to a file.

    Parameters
    ----------
    function : callable
        ``function(rows)`` gives an array or a frame with as many rows: a method of a fitted
        estimator or Pipeline, such as ``model.score_samples``. Where it draws, every block has the
        same random numbers if its `random_state` is a number.
    X : TableSource, array or frame
        Rows. Of a `skvae.sources.TableSource` blocks are its tables. An array may be mapped into
        memory, as by ``numpy.load(path, mmap_mode="r")``.
    out : str or path-like, optional
        Where to write the results: a path that ends in ``.npy`` for arrays, or in ``.parquet``. A
        file that is there is replaced when all is done.
    n_rows : int, default=65536
        Rows of a block of an array or frame.

    Returns
    -------
    results : array, frame, tuple of these, or TableSource
        In memory unless `out` is given; then the file, mapped into memory, or as a
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
        raise TypeError(f"function must be a function or method of rows, got {function!r}.")
    results = (_called(function, table) for table in _tables(X, n_rows))
    if out is None:
        return _joined(list(results))
    path = Path(os.path.realpath(out))
    writers = {".npy": _write_numpy, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ValueError(f"out must end in .npy or .parquet; got {os.fspath(out)!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"out is {os.fspath(out)!r}, and there is no folder {path.parent}.")
    if path.is_dir():
        raise IsADirectoryError(f"out is {os.fspath(out)!r}, which is a folder.")
    with replacing(str(path), keeps=True) as file:
        writers[path.suffix](file, results)
    return np.load(path, mmap_mode="r") if path.suffix == ".npy" else ParquetSource(path)


def takes_sources(method: F) -> F:
    """A method of rows X that takes a `TableSource` too."""

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
    """What a function says of a table; it has to be something for each row."""
    found, n = function(table), n_rows_of(table)
    for part in found if isinstance(found, tuple) else (found,):
        if not hasattr(part, "shape") or not part.shape or part.shape[0] != n:
            shape = getattr(part, "shape", None)
            told = type(part).__name__ if not shape else f"one of shape {tuple(shape)}"
            raise ValueError(
                f"function must give an array or frame with a row for each of the {n} rows that it "
                f"is called with, or a tuple of such, and gave {told}."
            )
    return found


def _joined(results: list[Any]) -> Any:
    if not results:
        raise ValueError("X holds no rows.")
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
    """An .npy file whose header, which has room for any number of rows, is written at the end."""
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
                f"the function gives {_told(first)} for the first rows and {_told(rows)} for "
                "others: let it give one dtype and shape."
            )
        file.write(np.ascontiguousarray(rows, first.dtype).data)
        n += len(rows)
    if first is None:
        raise ValueError("X holds no rows.")
    file.seek(0)
    write_header(n, first)


def _told(rows: np.ndarray) -> str:
    shape = "".join(f", {size}" for size in rows.shape[1:]) or ","
    return f"{rows.dtype} of shape (n{shape})"


def _as_rows(result: Any, suffix: str) -> np.ndarray:
    if not isinstance(result, np.ndarray) or result.dtype.kind not in "fiub":
        found = getattr(result, "dtype", type(result).__name__)
        advice = "let out end in .parquet for frames, or " if suffix == ".npy" else ""
        raise TypeError(
            f"a file {suffix} holds {'' if suffix == '.npy' else 'frames or '}arrays of numbers, "
            f"and the function gives {found}: {advice}get the results in memory, without out."
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
        raise ValueError("X holds no rows.")


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
