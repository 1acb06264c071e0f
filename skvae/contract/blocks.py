"""Many rows a block at a time: memory beyond input and output does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

_CELLS = 1 << 19  # of the rows of a block


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of `n` rows of `width` cells, in order."""
    size = max(1, _CELLS // max(1, width))
    for i in range(0, n, size):
        yield slice(i, min(i + size, n))


def seeds(seed: int) -> Iterator[int]:
    """Seeds of blocks: the given one, then others that follow from it."""
    yield seed
    i = 0
    while True:
        i += 1
        yield int(np.random.SeedSequence((seed, i)).generate_state(1)[0])


def in_blocks(
    function: Callable[[slice], tuple[np.ndarray, ...]], n: int, width: int
) -> tuple[np.ndarray, ...]:
    """Outputs of ``function(rows)`` for all of n rows, written to their place."""
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
