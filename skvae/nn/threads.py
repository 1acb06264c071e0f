"""Number of threads of torch: one for narrow layers, and one in a forked process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import threadpoolctl
import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Context with one thread, for the calling thread only."""
    set_mkl = _mkl_setter()
    with _thread_pools().limit(limits=1, user_api="openmp"):
        before = 0 if set_mkl is None else set_mkl(1)
        try:
            yield
        finally:
            if set_mkl is not None:
                set_mkl(before)


@cache
def _thread_pools() -> threadpoolctl.ThreadpoolController:
    """Return the thread pools loaded with torch, cached since the search is slow."""
    return threadpoolctl.ThreadpoolController()


@cache
def _mkl_setter() -> Any:
    """Sets MKL's threads for the calling thread, and gives the old number; None without MKL.

    Where MKL_NUM_THREADS is set, MKL does not ask OpenMP for its number of threads.
    """
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not library.exists():  # another build, as on Windows
        return None
    return getattr(ctypes.CDLL(str(library)), "MKL_Set_Num_Threads_Local", None)


def _in_a_forked_process() -> None:
    """Limit threads: OpenMP threads of the parent do not exist, and its runtime would hang."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_process)
