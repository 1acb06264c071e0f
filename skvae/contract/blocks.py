"""Processing of rows in blocks, with memory independent of the number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

_CELLS = 1 << 19  # bytes of the rows of a block


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Return slices of `n` rows of `width` values, in order."""
    size = max(1, _CELLS // max(1, width))
    for i in range(0, n, size):
        yield slice(i, min(i + size, n))


def seeds(seed: int) -> Iterator[int]:
    """Yield seeds of blocks: the given seed, then seeds derived from it."""
    yield seed
    i = 0
    while True:
        i += 1
        yield int(np.random.SeedSequence((seed, i)).generate_state(1)[0])


def in_blocks(
    function: Callable[[slice], tuple[np.ndarray, ...]], n: int, width: int
) -> tuple[np.ndarray, ...]:
    """Return the outputs of ``function(rows)`` for all of n rows, computed in blocks."""
    found: list[np.ndarray] = []
    for part in row_blocks(n, width):
        out = function(part)
        if part.stop - part.start == n:
            return out
        if not found:
            found = [np.empty((n, *a.shape[1:]), a.dtype) for a in out]
        for whole, a in zip(found, out, strict=True):
            whole[part] = a
    return tuple(found)
