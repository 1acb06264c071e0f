"""Rows in a temporary file."""

from __future__ import annotations

import tempfile

import numpy as np


class Spool:
    """Rows that are appended to a temporary file and read as an array.

    The file is in the folder `tempfile.gettempdir`, which the variable TMPDIR sets, and is removed
    with the array. If the system supports it, the file has no name, so that nothing is left after a
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
        if not np.can_cast(rows.dtype, self.dtype):
            raise TypeError(
                f"some tables of X are {rows.dtype}, but the first is {self.dtype}: use the same "
                "type for all."
            )
        try:
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
            self._file.flush()
        except OSError as error:
            written = self.n_rows * self.n_features * self.dtype.itemsize
            raise OSError(
                f"the rows of X are copied to a temporary file in {tempfile.gettempdir()}, which "
                f"was full after {written / 1e9:.3g} GB: set the environment variable TMPDIR to a "
                f"folder on a larger disk. ({error})"
            ) from error
        self.n_rows += len(rows)

    def close(self) -> None:
        self._file.close()

    def rows(self) -> np.ndarray:
        """Return all rows (n, d) as a memory-mapped array."""
        with self._file as file:
            shape = (self.n_rows, self.n_features)
            return np.asarray(np.memmap(file, self.dtype, "r", shape=shape))
