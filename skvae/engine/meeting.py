"""How processes come together for a fit: who is there, and who will not come."""

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

TELLS_AFTER = 60.0  # seconds of waiting until a message says for whom; then twice that, and so on
_LONGEST_PAUSE = 0.1  # seconds between two looks
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
    """Another process of the fit has failed, or is gone."""

    is_echo = True  # of an error, or an end, elsewhere


@dataclass(frozen=True)
class Thread:
    """What holds for the fits of one thread that has been connected with others.

    Attributes
    ----------
    device : int
        Number of the GPU that it takes.
    is_stopped : callable
        Whether its fit has been given up.
    """

    device: int
    is_stopped: Callable[[], bool]

    def check(self) -> None:
        """Raise an error if the fit has been given up."""
        if self.is_stopped():
            raise WorkerLostError("this fit was given up by the process that began it")


def own_thread() -> Thread | None:
    """What `connected` has set for this thread."""
    return getattr(_local, "thread", None)


def several_are_there() -> bool:
    """Whether this process is one of several that ``torchrun``, or the user, has connected.

    Threads and processes that one of them has started, those of joblib say, work alone; but for a
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
    """Whether the variables that ``torchrun`` sets are there, for more than one process."""
    return all(v in os.environ for v in _VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


def default_store() -> Any:
    """The store of torch.distributed, which all ranks read and write."""
    return distributed.distributed_c10d._get_default_store()


def timeout() -> timedelta:
    """The longest that ranks wait for each other: what `init_process_group` was given."""
    group: Any = distributed.distributed_c10d._get_default_group()
    found: timedelta = group._get_backend(group._device_types[0]).options._timeout
    return found


# -- meeting ---------------------------------------------------------------------------------------


def wait_for(done: Callable[[], bool], told: Callable[[], str], most: float) -> None:
    """Wait until something is done, with a message now and then about what it is.

    Parameters
    ----------
    done : callable
    told : callable
        Gives what is waited for; it is called when that is to be said.
    most : float
        Seconds until that is an error.
    """
    begun, pause, tells_after = time.monotonic(), 1e-4, TELLS_AFTER
    while not done():
        thread = own_thread()
        if thread is not None:
            thread.check()
        waited = time.monotonic() - begun
        if waited > most:
            raise WorkerLostError(
                f"{waited:.0f} s have gone by, and {told()}. All processes have to call it. "
                "distributed=False in TrainingOptions is for a fit of one process alone, and the "
                "timeout of torch.distributed.init_process_group sets how long others may take."
            )
        if waited > tells_after:
            _log.warning("%s, for %.0f s by now: all processes have to call fit", told(), waited)
            tells_after *= 2.0
        time.sleep(pause)
        pause = min(2.0 * pause, _LONGEST_PAUSE)


def listed(ranks: list[int]) -> str:
    """Numbers of ranks as words."""
    numbers = ", ".join(map(str, ranks[:10])) + (", ..." if len(ranks) > 10 else "")
    return f"rank{'s' * (len(ranks) > 1)} {numbers}"


def of_all(store: Any, rank: int, size: int, most: float) -> int:
    """Wait until every rank has called fit, by notes that they leave in a store.

    Parameters
    ----------
    store : torch.distributed.Store
    rank, size : int
    most : float
        Seconds until it is an error that one has not come.

    Returns
    -------
    number : int
        How many such meetings there were, the same for all.

    Raises
    ------
    WorkerLostError
        If one has ended without, or has not come.
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
                f"{listed(ended)} has ended and has not called fit, for which rank {rank} waits: "
                "all processes have to call it, with the same parameters. distributed=False in "
                "TrainingOptions is for a fit of one process alone."
            )
        return not absent

    def leave() -> None:
        with suppress(RuntimeError):  # the store may be gone
            store.set(own, str(count - 1))

    try:
        wait_for(all_are_there, lambda: f"rank {rank} waits for {listed(absent)} to call fit", most)
    except WorkerLostError:
        leave()
        raise
    except RuntimeError as error:  # of torch, which has lost the store
        told = str(error).split("\n")[0]
        raise WorkerLostError(
            "the process that keeps the notes of all, rank 0 or torchrun, is gone: it was killed, "
            f"or has ended. (On rank {rank}: {told})"
        ) from None
    except BaseException:  # as Ctrl-C
        leave()
        raise
    return count


def _number_of(store: Any, name: str) -> int:
    return int(store.get(name)) if store.check([name]) else 0


def rank_and_size() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


# -- connecting ------------------------------------------------------------------------------------


def backend() -> str:
    """Of a group: gloo for tensors in memory, nccl for those on GPUs, where there are any."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def initialise() -> None:
    """Connect the processes that ``torchrun`` has started, once all are there."""
    store = _store_of_variables(wait=True)
    rank, size = rank_and_size()
    _connect(store, rank, size, _default_timeout())


def _connect(store: Any, rank: int, size: int, most: float) -> None:
    """Begin torch.distributed with the notes of a store, once all are there."""
    of_all(store, rank, size, most)
    own = _c10d.PrefixStore("default_pg", store)
    distributed.init_process_group(backend(), store=own, rank=rank, world_size=size)


def _default_timeout() -> float:
    return distributed.distributed_c10d.default_pg_timeout.total_seconds()


def _store_of_variables(wait: bool) -> Any:
    """The store that MASTER_ADDR and MASTER_PORT name; of rank 0 unless torchrun keeps it.

    Names in it are those of one attempt: after a restart torchrun keeps the store.
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
    """A store in this process, on a port that the system chooses, which other hosts can reach."""
    return _c10d.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@contextmanager
def connected(host: str, port: int, rank: int, size: int, thread: Thread) -> Iterator[None]:
    """Connect the fits of this thread, of any, with those of others. The connections end after.

    Parameters
    ----------
    host, port : str, int
        Of a store that all ranks reach.
    rank, size : int
    thread : Thread
    """
    if distributed.is_initialized():
        raise RuntimeError(
            "torch.distributed has been initialised in this process already, by other code: end "
            "that by torch.distributed.destroy_process_group(), or use another process."
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
    """Say to others, who may wait for this process to call fit, that it never will."""
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
    """Whether a rank has started this process, which has inherited its variables (on Linux)."""
    try:
        theirs = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return all(f"{v}={os.environ[v]}".encode() in theirs for v in _VARIABLES)
