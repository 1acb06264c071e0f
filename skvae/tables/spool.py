"""Rows in a temporary file."""

from __future__ import annotations

import tempfile

import numpy as np


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
        if not np.can_cast(rows.dtype, self.dtype):
            raise TypeError(
                f"some tables of X are {rows.dtype} and the first is {self.dtype}: give all the "
                "same type."
            )
        try:
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
            self._file.flush()
        except OSError as error:
            written = self.n_rows * self.n_features * self.dtype.itemsize
            raise OSError(
                f"the rows of X are copied to a temporary file in {tempfile.gettempdir()}, which "
                f"took {written / 1e9:.3g} GB and no more: set the environment variable TMPDIR "
                f"to a folder on a larger disk. ({error})"
            ) from error
        self.n_rows += len(rows)

    def close(self) -> None:
        self._file.close()

    def rows(self) -> np.ndarray:
        """All rows (n, d), mapped into memory."""
        with self._file as file:
            shape = (self.n_rows, self.n_features)
            return np.asarray(np.memmap(file, self.dtype, "r", shape=shape))
