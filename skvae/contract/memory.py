"""Memory use of the process, and errors with advice if memory is exhausted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def enough_memory(what: str, instead: str) -> Iterator[None]:
    """Context in which memory errors say what did not fit and what to do instead."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # messages of torch, on the CPU and on other devices
        torch_says = "can't allocate memory" in str(error) or "out of memory" in str(error)
        if not isinstance(error, MemoryError) and not torch_says:
            raise
        raise MemoryError(f"{what} does not fit into memory: {instead}. ({error})") from error


def peak_memory() -> float | None:
    """Return the peak memory of this process in bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
