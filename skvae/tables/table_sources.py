"""Tables that follow one another, together too large for memory."""

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

BLOCK_ROWS = 65_536  # where the source leaves it open


class TableSource(ABC):
    """Rows as tables that follow one another: frames or arrays with the same columns.

    A subclass has the method `tables`. Estimators read them several times.

    Attributes
    ----------
    is_uniform : bool
        Whether columns of all tables have the types of the first one, which saves a pass over the
        tables where none has labels. False unless a subclass says so.

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
        """The tables from the first on, anew at every call."""


class BlockSource(TableSource):
    """Tables that a function gives.

    Parameters
    ----------
    tables : callable
        ``tables()`` gives an iterable of frames or arrays with the same columns: the same ones at
        every call.

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
                "tables must be a function without arguments that gives the tables anew at every "
                f"call, such as `lambda: iter(list_of_tables)`; got {type(tables).__name__}."
            )
        self._make = tables
        self._last: Any = None

    def tables(self) -> Iterator[Any]:
        given = self._make()
        if iter(given) is given and given is self._last:
            raise ValueError(
                "the function of a BlockSource gives the same iterator again, which has come to "
                "its end: let it make a new one at every call."
            )
        self._last = given
        return iter(given)


class ParquetSource(TableSource):
    """Rows of Parquet files. It needs pyarrow.

    Parameters
    ----------
    paths : str, path-like or list of these
        A file, a folder of such, or a pattern such as ``"rows/*.parquet"``. Files come in the
        order of the list, those of a folder or pattern in that of their names.
    columns : list of str, optional
        Names of the columns to read, all of them unless given.
    n_rows : int, default=65536
        Rows that are read at once.

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
            raise ValueError("paths is empty: name files, a folder or a pattern.")
        if isinstance(columns, str):
            raise TypeError(f"columns must be a list of names, got {columns!r}.")
        self.files = [file for path in given for file in _files(path)]
        self.columns = None if columns is None else list(columns)
        self.n_rows = checked_block_size(n_rows)

    def tables(self) -> Iterator[Any]:
        """Tables of pyarrow. A file with other columns than the first, or a broken one, is named.

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
        """Names and types: those of the first file in which a column has any."""
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
                    f"the file {path} has a column {more[0]!r}, which {self.files[0]} has not: "
                    "name those to read as columns."
                )
            for name in columns:
                if name not in found or pyarrow.types.is_null(found[name].type):
                    found[name] = here.field(name)
        return pyarrow.schema([found[name].with_nullable(True) for name in columns])


class DaskSource(TableSource):
    """Rows of a Dask data frame or array, computed a partition at a time. It needs dask.

    Parameters
    ----------
    collection : dask.dataframe.DataFrame or dask.array.Array
        Arrays have two dimensions or more, and are divided along their rows only.

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
                raise ValueError(
                    "the array is divided along its columns too: hand in X.rechunk({1: -1})."
                )
            self._parts = collection.blocks
        else:
            raise TypeError(
                "collection must be a data frame or an array of Dask; got "
                f"{type(collection).__module__}.{type(collection).__name__}."
            )
        self.collection = collection

    def tables(self) -> Iterator[Any]:
        for i in range(self.collection.npartitions):
            yield self._parts[i].compute()


class DatasetSource(TableSource):
    """Rows of a `torch.utils.data.Dataset`, of either style.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Its items are rows (or images) as tensors, arrays or lists of numbers, or tuples of which
        these come first: labels after them are left out.
    n_rows : int, default=65536
        Rows that are gathered at once.

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
                    f"item {i} of the data set is a {type(item).__name__} that is no row of "
                    "numbers, nor has one as its first part: hand in a data set of tensors, "
                    "arrays, or tuples of these and labels."
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
    """Whether an item is a row with something after it, and no list of numbers."""
    return len(item) > 0 and np.ndim(item[0]) > 0


def checked_block_size(n_rows: Any) -> int:
    """How many rows are read at once."""
    if not isinstance(n_rows, Integral) or n_rows < 1:
        raise ValueError(f"n_rows must be a whole number of at least 1, got {n_rows!r}.")
    return int(n_rows)


def _without_index(schema: Any) -> Any:
    """A schema without what pandas has written of its index."""
    known = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in known.get("index_columns", []) if isinstance(name, str)]
    kept = [schema.field(i) for i, name in enumerate(schema.names) if name not in index]
    return imported("pyarrow").schema(kept)


def _files(given: str | os.PathLike[str]) -> list[Path]:
    if "://" in os.fspath(given):
        raise ValueError(f"{given} is no path on this machine: files elsewhere are not read.")
    path = Path(given).expanduser()
    matched = [path] if path.exists() else map(Path, sorted(glob.glob(str(path), recursive=True)))
    found: list[Path] = []
    for each in matched:  # Spark and Dask write folders that are named as files are
        inside = [p for p in sorted(each.glob("**/*.parquet")) if p.is_file()]
        parts = [part for p in inside for part in p.relative_to(each).parts[:-1] if "=" in part]
        if parts:
            raise ValueError(
                f"{each} is partitioned by a column whose values are names of folders "
                f"({parts[0]}), which are not read: use a BlockSource of pyarrow.dataset's batches."
            )
        found += inside if each.is_dir() else [each]
    if not found:
        raise FileNotFoundError(f"there is no Parquet file at {path}.")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Parquet file; errors of reading it name it."""
    pyarrow, parquet = imported("pyarrow"), imported("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"the file {path} cannot be read: {error}") from error


def _cast(table: Any, schema: Any, path: Path) -> Any:
    """A table with the types of the first file, where its own hold the same values."""
    pyarrow = imported("pyarrow")
    try:
        return table.cast(schema)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise ValueError(
            f"the columns of the file {path} have other types than those of the first file, and "
            f"cannot be read as such: {error}"
        ) from error
