"""Tables that follow one another, together too large for memory."""

from __future__ import annotations

import glob
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_ROWS = 65_536  # of a table, where the source leaves it open


class TableSource(ABC):
    """Rows as tables that follow one another: frames or arrays with the same columns.

    A subclass has the method `tables`. Estimators read them several times.
    """

    is_uniform: bool = False  # whether dtypes are those of the first table everywhere

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

    def tables(self) -> Iterator[Any]:
        return iter(self._make())


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

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        columns: Sequence[str] | None = None,
        n_rows: int = _ROWS,
    ):
        given = [paths] if isinstance(paths, str | os.PathLike) else paths
        self.files = [file for path in given for file in _files(Path(path))]
        self.columns = None if columns is None else list(columns)
        self.n_rows = n_rows

    def tables(self) -> Iterator[Any]:
        """Tables of pyarrow. A file with other columns than the first, or a broken one, is named.

        Columns are matched by their names.
        """
        pyarrow, parquet = (_imported(name, "pyarrow") for name in ("pyarrow", "pyarrow.parquet"))
        schema = None
        for path in self.files:
            try:
                with parquet.ParquetFile(path, pre_buffer=False) as file:
                    found = file.schema_arrow
                    known = set(found.names)
                    columns = found.names if self.columns is None else self.columns
                    columns = columns if schema is None else schema.names
                    lacking = [name for name in columns if name not in known]
                    if lacking:
                        raise ValueError(f"the file {path} has no column {lacking[0]!r}.")
                    for batch in file.iter_batches(self.n_rows, columns=columns):
                        table = pyarrow.Table.from_batches([batch]).select(columns)
                        schema = table.schema if schema is None else schema
                        yield table if table.schema.equals(schema) else _cast(table, schema, path)
            except (OSError, pyarrow.ArrowException) as error:
                kind = OSError if isinstance(error, OSError) else ValueError
                raise kind(f"the file {path} cannot be read: {error}") from error
            finally:
                pyarrow.default_memory_pool().release_unused()


class DaskSource(TableSource):
    """Rows of a Dask data frame or array, computed a partition at a time. It needs dask.

    Parameters
    ----------
    collection : dask.dataframe.DataFrame or dask.array.Array
        Arrays have two dimensions or more, and are divided along their rows only.
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
    """

    def __init__(self, dataset: Any, n_rows: int = _ROWS):
        self.dataset, self.n_rows = dataset, n_rows

    def tables(self) -> Iterator[Any]:
        items: list[np.ndarray] = []
        for item in self._items():
            items.append(np.asarray(item[0] if isinstance(item, tuple) else item))
            if len(items) == self.n_rows:
                yield np.stack(items)
                items = []
        if items:
            yield np.stack(items)

    def _items(self) -> Iterator[Any]:
        if hasattr(self.dataset, "__len__") and hasattr(self.dataset, "__getitem__"):
            return (self.dataset[i] for i in range(len(self.dataset)))
        return iter(self.dataset)


class Spool:
    """Rows that are written to a temporary file one after another, and read as an array.

    The file lies where `tempfile.gettempdir` says, which the variable TMPDIR sets, and vanishes
    with the array. It has no name where the system allows that, so nothing is left of it after a
    crash.

    Parameters
    ----------
    n_features : int
    dtype : numpy dtype
    """

    def __init__(self, n_features: int, dtype: np.dtype):
        self.n_features, self.dtype, self.n_rows = n_features, np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile(prefix="skvae-")  # noqa: SIM115

    def append(self, rows: np.ndarray) -> None:
        try:
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        except OSError as error:
            written = self.n_rows * self.n_features * self.dtype.itemsize
            raise OSError(
                f"the rows of X are copied to a temporary file, for which {tempfile.gettempdir()} "
                f"has no room beyond {written / 1e9:.3g} GB: set the environment variable TMPDIR "
                f"to a folder on a larger disk. ({error})"
            ) from error
        self.n_rows += len(rows)

    def close(self) -> None:
        self._file.close()

    def rows(self) -> np.ndarray:
        """All rows (n, d), mapped into memory."""
        with self._file as file:
            file.flush()
            shape = (self.n_rows, self.n_features)
            return np.asarray(np.memmap(file, self.dtype, "r", shape=shape))


def _imported(name: str, package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {package}: pip install {package}. ({error})") from error


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("**/*.parquet"))
    elif path.exists():
        found = [path]
    else:
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    if not found:
        raise FileNotFoundError(f"there is no Parquet file at {path}.")
    return found


def _cast(table: Any, schema: Any, path: Path) -> Any:
    """A table with the types of the first file, where its own hold the same values."""
    pyarrow = _imported("pyarrow", "pyarrow")
    try:
        return table.cast(schema)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise ValueError(
            f"the columns of the file {path} have other types than those of the first file, and "
            f"cannot be read as such: {error}"
        ) from error
