"""Sources of consecutive tables that are together too large for memory."""

from __future__ import annotations

import glob
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from .optional import imported

BLOCK_ROWS = 65_536  # unless the source determines it


class TableSource(ABC):
    """Base class of sources that yield rows as consecutive frames or arrays with equal columns.

    A subclass implements the method `tables`. Estimators read the tables several times.

    Attributes
    ----------
    is_uniform : bool
        Whether the columns of all tables have the types of the first one, which saves a pass over
        tables without categorical columns. False by default.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import PPCA
    >>> from skvae.sources import TableSource
    >>> class Shards(TableSource):
    ...     def tables(self):
    ...         for number in range(3):  # as from a database
    ...             yield np.random.default_rng(number).normal(size=(50, 4))
    >>> PPCA(n_components=2).fit(Shards()).n_samples_
    150
    """

    is_uniform: bool = False

    @abstractmethod
    def tables(self) -> Iterator[Any]:
        """Iterate over the tables, from the first on in every call."""


class BlockSource(TableSource):
    """Tables yielded by a function.

    Parameters
    ----------
    tables : callable
        ``tables()`` returns an iterable of frames or arrays with the same columns. It has to return
        the same tables in every call.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import PPCA
    >>> from skvae.sources import BlockSource
    >>> def months():
    ...     for month in range(12):
    ...         yield np.random.default_rng(month).normal(size=(100, 3))
    >>> PPCA(n_components=2).fit(BlockSource(months)).n_samples_
    1200
    """

    def __init__(self, tables: Callable[[], Iterable[Any]]):
        if not callable(tables):
            raise TypeError(
                "tables must be a function without arguments that returns a new iterator over the "
                "tables in every call, such as `lambda: iter(list_of_tables)`; got "
                f"{type(tables).__name__}."
            )
        self._make = tables
        self._last: Any = None

    def tables(self) -> Iterator[Any]:
        given = self._make()
        if iter(given) is given and given is self._last:
            raise ValueError(
                "the function of a BlockSource returned the same exhausted iterator again, but "
                "must return a new one in every call."
            )
        self._last = given
        return iter(given)


class ParquetSource(TableSource):
    """Rows of Parquet files; needs pyarrow.

    Parameters
    ----------
    paths : str, path-like or list of these
        A file, a folder of Parquet files, or a pattern such as ``"rows/*.parquet"``. Files of a
        list are read in its order, files of a folder or pattern in the order of their names.
    columns : list of str, optional
        Names of the columns to read; None reads all columns.
    n_rows : int, default=65536
        Number of rows read at once.

    Examples
    --------
    >>> import pyarrow, pyarrow.parquet, tempfile
    >>> from skvae import PPCA
    >>> from skvae.sources import ParquetSource
    >>> table = pyarrow.table({"a": [1.0, 2.0, 4.0], "b": [3.0, 5.0, 8.0], "c": ["x", "y", "x"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pyarrow.parquet.write_table(table, folder + "/rows.parquet")
    ...     model = PPCA(n_components=1).fit(ParquetSource(folder, columns=["a", "b"]))
    >>> model.feature_names_in_
    array(['a', 'b'], dtype=object)
    """

    is_uniform = True

    def __repr__(self) -> str:
        more = f", ... {len(self.files)} files" if len(self.files) > 1 else ""
        columns = "" if self.columns is None else f", columns={self.columns}"
        return f"ParquetSource({str(self.files[0])!r}{more}{columns})"

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        columns: Sequence[str] | None = None,
        n_rows: int = BLOCK_ROWS,
    ):
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        if not given:
            raise ValueError("paths is empty: pass files, a folder or a pattern.")
        if isinstance(columns, str):
            raise TypeError(f"columns must be a list of names, got {columns!r}.")
        self.files = [file for path in given for file in _files(path)]
        self.columns = None if columns is None else list(columns)
        self.n_rows = checked_block_size(n_rows)

    def tables(self) -> Iterator[Any]:
        """Iterate over pyarrow tables; errors name damaged files and files with other columns.

        Columns are matched by their names.
        """
        schema = self._schema()
        for path in self.files:
            with _opened(path) as file:
                for batch in file.iter_batches(self.n_rows, columns=schema.names):
                    table = imported("pyarrow").Table.from_batches([batch]).select(schema.names)
                    yield table if table.schema.equals(schema) else _cast(table, schema, path)
            imported("pyarrow").default_memory_pool().release_unused()

    def _schema(self) -> Any:
        """Return names and types of columns, from the first file in which a column has a type."""
        pyarrow = imported("pyarrow")
        columns: list[str] = self.columns or []
        found: dict[str, Any] = {}
        for path in self.files:
            with _opened(path) as file:
                here = _without_index(file.schema_arrow)
            columns = columns or here.names
            lacking = [name for name in columns if name not in here.names]
            if lacking:
                raise ValueError(f"the file {path} has no column {lacking[0]!r}.")
            more = [name for name in here.names if name not in columns]
            if more and self.columns is None:
                raise ValueError(
                    f"the file {path} has a column {more[0]!r}, which {self.files[0]} does not "
                    "have: pass the names of the columns to read as columns."
                )
            for name in columns:
                if name not in found or pyarrow.types.is_null(found[name].type):
                    found[name] = here.field(name)
        return pyarrow.schema([found[name].with_nullable(True) for name in columns])


class DaskSource(TableSource):
    """Rows of a Dask data frame or array, computed one partition at a time; needs dask.

    Parameters
    ----------
    collection : dask.dataframe.DataFrame or dask.array.Array
        Collection of rows. Arrays have at least two dimensions and are chunked along their rows
        only.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import PPCA
    >>> from skvae.sources import DaskSource
    >>> import dask.array
    >>> X = dask.array.from_array(load_iris().data, chunks=(50, 4))
    >>> PPCA(n_components=2).fit(DaskSource(X)).n_samples_
    150
    """

    def __init__(self, collection: Any):
        if hasattr(collection, "partitions") and hasattr(collection, "dtypes"):
            self._parts = collection.partitions
        elif hasattr(collection, "blocks") and hasattr(collection, "chunks"):
            if any(len(chunks) > 1 for chunks in collection.chunks[1:]):
                raise ValueError("the array is chunked along its columns: pass X.rechunk({1: -1}).")
            self._parts = collection.blocks
        else:
            raise TypeError(
                "collection must be a Dask data frame or array; got "
                f"{type(collection).__module__}.{type(collection).__name__}."
            )
        self.collection = collection

    def tables(self) -> Iterator[Any]:
        for i in range(self.collection.npartitions):
            yield self._parts[i].compute()


class DatasetSource(TableSource):
    """Rows of a `torch.utils.data.Dataset`, map-style or iterable.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Data set whose items are rows (or images) as tensors, arrays or lists of numbers, or tuples
        whose first element is a row. Further elements, such as labels, are ignored.
    n_rows : int, default=65536
        Number of rows gathered at once.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skvae import PPCA
    >>> from skvae.sources import DatasetSource
    >>> X, y = (torch.tensor(a) for a in load_iris(return_X_y=True))
    >>> rows = torch.utils.data.TensorDataset(X, y)
    >>> PPCA(n_components=2).fit(DatasetSource(rows)).n_samples_
    150
    """

    def __init__(self, dataset: Any, n_rows: int = BLOCK_ROWS):
        self.dataset, self.n_rows = dataset, checked_block_size(n_rows)

    def tables(self) -> Iterator[Any]:
        items: list[np.ndarray] = []
        for i, item in enumerate(self._items()):
            row = item[0] if isinstance(item, tuple | list) and _has_parts(item) else item
            found = np.asarray(row)
            if found.dtype.kind not in "fiub" or not found.ndim:
                raise TypeError(
                    f"item {i} of the data set is a {type(item).__name__} but must be a row of "
                    "numbers, or a tuple that begins with one: pass a data set of tensors, arrays, "
                    "or tuples of these and labels."
                )
            items.append(found)
            if len(items) == self.n_rows:
                yield np.stack(items)
                items = []
        if items:
            yield np.stack(items)

    def _items(self) -> Iterator[Any]:
        from torch.utils.data import IterableDataset  # displays are imported without torch

        if isinstance(self.dataset, IterableDataset) or not hasattr(self.dataset, "__getitem__"):
            return iter(self.dataset)
        return (self.dataset[i] for i in range(len(self.dataset)))


def _has_parts(item: Sequence[Any]) -> bool:
    """Return whether an item is a row with further elements, and not a list of numbers."""
    return len(item) > 0 and np.ndim(item[0]) > 0


def checked_block_size(n_rows: Any) -> int:
    """Check the number of rows read at once."""
    if not isinstance(n_rows, Integral) or n_rows < 1:
        raise ValueError(f"n_rows must be an integer of at least 1, got {n_rows!r}.")
    return int(n_rows)


def _without_index(schema: Any) -> Any:
    """Return a schema without the metadata of the pandas index."""
    known = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in known.get("index_columns", []) if isinstance(name, str)]
    kept = [schema.field(i) for i, name in enumerate(schema.names) if name not in index]
    return imported("pyarrow").schema(kept)


def _files(given: str | os.PathLike[str]) -> list[Path]:
    if "://" in os.fspath(given):
        raise ValueError(f"{given} is not a local path: remote files are not supported.")
    path = Path(given).expanduser()
    matched = [path] if path.exists() else map(Path, sorted(glob.glob(str(path), recursive=True)))
    found: list[Path] = []
    for each in matched:  # Spark and Dask write folders with names of files
        inside = [p for p in sorted(each.glob("**/*.parquet")) if p.is_file()]
        parts = [part for p in inside for part in p.relative_to(each).parts[:-1] if "=" in part]
        if parts:
            raise ValueError(
                f"{each} is partitioned by a column whose values are folder names ({parts[0]}), "
                "which is not supported: use a BlockSource of pyarrow.dataset's batches."
            )
        found += inside if each.is_dir() else [each]
    if not found:
        raise FileNotFoundError(f"no Parquet file found at {path}.")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Context of an open Parquet file, with errors that name the file."""
    pyarrow, parquet = imported("pyarrow"), imported("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"the file {path} cannot be read: {error}") from error


def _cast(table: Any, schema: Any, path: Path) -> Any:
    """Cast a table to the types of the first file, if this does not change its values."""
    pyarrow = imported("pyarrow")
    try:
        return table.cast(schema)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise ValueError(
            f"the columns of the file {path} have other types than those of the first file, and "
            f"cannot be cast to them: {error}"
        ) from error
