"""Errors of a memory that ends, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def enough_memory(what: str, instead: str) -> Iterator[None]:
    """Where memory ends, say of what, and what there is to do instead."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # what torch says, on the CPU and on others
        torch_says = "can't allocate memory" in str(error) or "out of memory" in str(error)
        if not isinstance(error, MemoryError) and not torch_says:
            raise
        raise MemoryError(f"{what} does not fit into memory: {instead}. ({error})") from error
