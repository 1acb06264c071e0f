"""Memory: how much a process has taken, and errors where it ends, with what to do."""

from __future__ import annotations

import sys
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


def peak_memory() -> float | None:
    """The most bytes that this process has had at once; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
