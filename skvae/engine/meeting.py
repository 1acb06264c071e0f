"""Rendezvous of the processes of a fit, with detection of missing ones."""

from __future__ import annotations

import atexit
import logging
import math
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

TELLS_AFTER = 60.0  # seconds until a message about missing processes; doubled after each message
_LONGEST_PAUSE = 0.1  # seconds between two checks
_CONNECTS_WITHIN = 5.0  # seconds
_STARTS_WITHIN = 60.0  # seconds, for a store that is there
_local = threading.local()
_c10d: Any = distributed  # whose types leave some of its public names out
_log = logging.getLogger("skvae")
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_inherited = False  # whether the connections are those of a process that this one is a fork of


def _after_fork() -> None:
    global _inherited
    _inherited = distributed.is_available() and distributed.is_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class WorkerLostError(RuntimeError):
    """Another process of the fit has failed or was lost."""

    is_echo = True  # of an error, or an end, elsewhere


@dataclass(frozen=True)
class Thread:
    """Settings of the fits of one thread that is connected with others.

    Attributes
    ----------
    device : int
        Index of the GPU of the thread.
    is_stopped : callable
        Returns whether its fit has been cancelled.
    """

    device: int
    is_stopped: Callable[[], bool]

    def check(self) -> None:
        """Raise an error if the fit has been cancelled."""
        if self.is_stopped():
            raise WorkerLostError("this fit was cancelled by the process that started it")


def own_thread() -> Thread | None:
    """Return the settings of this thread by `connected`."""
    return getattr(_local, "thread", None)


def several_are_there() -> bool:
    """Return whether this process is one of several connected by ``torchrun`` or the user.

    Threads and processes started by one of them, such as those of joblib, work alone, except a
    thread within `connected`.
    """
    if not distributed.is_available():
        return False
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main and own_thread() is None:
        return False
    if distributed.is_initialized():
        return not _inherited and distributed.get_world_size() > 1
    return multiprocessing.current_process().name == "MainProcess" and _are_named()


def _are_named() -> bool:
    """Return whether the variables of ``torchrun`` are set, for more than one process."""
    return all(v in os.environ for v in _VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


def default_store() -> Any:
    """Return the store of torch.distributed, which all ranks read and write."""
    return distributed.distributed_c10d._get_default_store()


def timeout() -> timedelta:
    """Return the timeout of `init_process_group`, the longest that ranks wait for each other."""
    group: Any = distributed.distributed_c10d._get_default_group()
    found: timedelta = group._get_backend(group._device_types[0]).options._timeout
    return found


# -- meeting ---------------------------------------------------------------------------------------


def wait_for(done: Callable[[], bool], told: Callable[[], str], most: float) -> None:
    """Wait until something is done, with occasional messages.

    Parameters
    ----------
    done : callable
    told : callable
        Returns what the process waits for, for messages.
    most : float
        Seconds until an error is raised.
    """
    begun, pause, tells_after = time.monotonic(), 1e-4, TELLS_AFTER
    while not done():
        thread = own_thread()
        if thread is not None:
            thread.check()
        waited = time.monotonic() - begun
        if waited > most:
            raise WorkerLostError(
                f"{waited:.0f} s have passed, and {told()}. All processes have to call it. Set "
                "distributed=False in TrainingOptions for a fit of one process alone, or increase "
                "the timeout of torch.distributed.init_process_group."
            )
        if waited > tells_after:
            _log.warning("%s, for %.0f s by now: all processes have to call fit", told(), waited)
            tells_after *= 2.0
        time.sleep(pause)
        pause = min(2.0 * pause, _LONGEST_PAUSE)


def listed(ranks: list[int]) -> str:
    """Return ranks as text."""
    numbers = ", ".join(map(str, ranks[:10])) + (", ..." if len(ranks) > 10 else "")
    return f"rank{'s' * (len(ranks) > 1)} {numbers}"


def of_all(store: Any, rank: int, size: int, most: float) -> int:
    """Wait until every rank has called fit, using notes in a store.

    Parameters
    ----------
    store : torch.distributed.Store
    rank, size : int
    most : float
        Seconds until missing ranks are an error.

    Returns
    -------
    number : int
        Number of such rendezvous so far, the same for all ranks.

    Raises
    ------
    WorkerLostError
        If a rank has ended before, or has not called fit in time.
    """
    own = f"skvae/came/{rank}"
    count = 1 + _number_of(store, own)
    store.set(own, str(count))
    absent = [r for r in range(size) if r != rank]

    def all_are_there() -> bool:
        absent[:] = [r for r in absent if _number_of(store, f"skvae/came/{r}") < count]
        ended = [r for r in absent if store.check([f"skvae/ended/{r}"])]
        if ended:
            raise WorkerLostError(
                f"{listed(ended)} has ended without a call of fit, for which rank {rank} waits: "
                "all processes have to call it, with the same parameters. Set distributed=False in "
                "TrainingOptions for a fit of one process alone."
            )
        return not absent

    def leave() -> None:
        with suppress(RuntimeError):  # the store may be lost
            store.set(own, str(count - 1))

    try:
        wait_for(all_are_there, lambda: f"rank {rank} waits for {listed(absent)} to call fit", most)
    except WorkerLostError:
        leave()
        raise
    except RuntimeError as error:  # of torch, which has lost the store
        told = str(error).split("\n")[0]
        raise WorkerLostError(
            "the process of the store, rank 0 or torchrun, was lost: it was killed, or has ended. "
            f"(On rank {rank}: {told})"
        ) from None
    except BaseException:  # such as Ctrl-C
        leave()
        raise
    return count


def _number_of(store: Any, name: str) -> int:
    return int(store.get(name)) if store.check([name]) else 0


def rank_and_size() -> tuple[int, int]:
    """Return the rank of this process, and the number of processes."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


# -- connecting ------------------------------------------------------------------------------------


def backend() -> str:
    """Return the backend of a group: gloo for tensors in memory, nccl for GPUs, if any."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def initialise() -> None:
    """Connect the processes started by ``torchrun``, once all are present."""
    store = _store_of_variables(wait=True)
    rank, size = rank_and_size()
    _connect(store, rank, size, _default_timeout())


def _connect(store: Any, rank: int, size: int, most: float) -> None:
    """Initialise torch.distributed with a store, once all processes are present."""
    of_all(store, rank, size, most)
    own = _c10d.PrefixStore("default_pg", store)
    distributed.init_process_group(backend(), store=own, rank=rank, world_size=size)


def _default_timeout() -> float:
    return distributed.distributed_c10d.default_pg_timeout.total_seconds()


def _store_of_variables(wait: bool) -> Any:
    """Return the store at MASTER_ADDR and MASTER_PORT, of rank 0 or of torchrun.

    Keys contain the attempt, since torchrun keeps the store after a restart.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return _c10d.PrefixStore(f"skvae/attempt/{attempt}", _bare_store(wait))


def _bare_store(wait: bool) -> Any:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    rank, size = rank_and_size()
    elsewhere = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if rank == 0 and not elsewhere:
        return _c10d.TCPStore(
            host,
            port,
            size,
            is_master=True,
            wait_for_workers=False,
            multi_tenant=True,
            use_libuv=os.environ.get("USE_LIBUV", "1") == "1",
        )
    if wait:
        told = f"rank {rank} waits for rank 0 to call fit"
        wait_for(lambda: _listens(host, port), lambda: told, _default_timeout())
        return _c10d.TCPStore(host, port, size, is_master=False, wait_for_workers=False)
    briefly = timedelta(seconds=_CONNECTS_WITHIN)
    return _c10d.TCPStore(
        host, port, size, is_master=False, wait_for_workers=False, timeout=briefly
    )


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _CONNECTS_WITHIN).close()
    except OSError:
        return False
    return True


def new_store() -> Any:
    """Create a store in this process, on a free port that other hosts can reach."""
    return _c10d.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@contextmanager
def connected(host: str, port: int, rank: int, size: int, thread: Thread) -> Iterator[None]:
    """Context in which fits of this thread are connected with those of other processes.

    Parameters
    ----------
    host, port : str, int
        Host and port of a store that all ranks can reach.
    rank, size : int
    thread : Thread
    """
    if distributed.is_initialized():
        raise RuntimeError(
            "torch.distributed is already initialised in this process by other code: call "
            "torch.distributed.destroy_process_group() first, or use another process."
        )
    _local.thread = thread
    try:
        wait = timedelta(seconds=_STARTS_WITHIN)
        store = _c10d.TCPStore(host, port, is_master=False, timeout=wait)
        _connect(store, rank, size, math.inf)  # some may be busy with other tasks
        try:
            yield
        finally:
            with suppress(RuntimeError, ValueError):
                distributed.destroy_process_group()
    finally:
        _local.thread = None


# -- the end of a process --------------------------------------------------------------------------


@atexit.register
def _tell_of_end() -> None:
    """Notify processes that may wait for this process to call fit that it has ended."""
    with suppress(RuntimeError, OSError, ValueError):
        if not several_are_there():
            return
        if distributed.is_initialized():
            store = default_store()
        elif _is_child_of_rank() or not _can_be_told():
            return
        else:
            store = _store_of_variables(wait=False)
        rank, _ = rank_and_size()
        store.set(f"skvae/ended/{rank}", "")


def _can_be_told() -> bool:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    own = os.environ["RANK"] == "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return not own and _listens(host, port)


def _is_child_of_rank() -> bool:
    """Return whether a rank has started this process, which inherits its variables (on Linux)."""
    try:
        theirs = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return all(f"{v}={os.environ[v]}".encode() in theirs for v in _VARIABLES)
