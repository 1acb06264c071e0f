"""Processes that share a fit through torch.distributed, such as those of ``torchrun``."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from ..tables.source import RowSource
from . import meeting
from .meeting import WorkerLostError, several_are_there
from .workers import Workers

_COMPARED_ROWS = 64
_WAIT_FOR_REASON = 1.0  # seconds until a silent worker counts as killed
_local = threading.local()


class _Link:
    """Connections between all processes, for fits only, which a failing fit can close.

    Processes that wait for a worker with closed connections are notified immediately.
    """

    def __init__(self, backend: str):
        wait = meeting.timeout()
        rank, size = meeting.rank_and_size()
        number = meeting.of_all(meeting.default_store(), rank, size, wait.total_seconds())
        self.backend = backend
        self.note = f"skvae/failed/{number}"
        self.group: Any = distributed.new_group(backend=backend, timeout=wait)

    @property
    def is_open(self) -> bool:
        if self.group is None or not distributed.is_initialized():
            return False
        try:
            distributed.get_group_rank(self.group, 0)
        except ValueError:  # the user has restarted torch.distributed
            return False
        return True

    def cut(self, reason: str | None) -> None:
        """Close the connections, and tell others the reason, if they do not have it already."""
        if reason is not None:
            with suppress(RuntimeError):  # the store is gone with its process
                meeting.default_store().compare_set(self.note, "", reason)
        group, self.group = self.group, None
        if group is not None:
            with suppress(RuntimeError, ValueError):
                distributed.destroy_process_group(group)

    def reason(self) -> str:
        """Return why a worker has closed its connections."""
        end = time.monotonic() + _WAIT_FOR_REASON
        try:
            while not meeting.default_store().check([self.note]):
                if time.monotonic() > end:
                    break
                time.sleep(0.02)
            else:
                return str(meeting.default_store().get(self.note).decode())
        except RuntimeError:
            pass
        return (
            "another process of this fit was lost: it was killed, perhaps for lack of memory, or "
            "has ended"
        )


# Between the processes of a group, which are the same for every fit.
_links: dict[str, _Link] = {}


class DistributedWorkers(Workers):
    """Processes of torch.distributed's default group: gloo on CPUs, nccl on GPUs.

    Parameters
    ----------
    device : str
        Of an estimator.
    """

    def __init__(self, device: str):
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        if backend not in _links or not _links[backend].is_open:
            _links[backend] = _Link(backend)
        self.link = _links[backend]

    def meet(self) -> None:
        """Wait until every rank has called fit, or a connection is lost."""
        most = 0.9 * meeting.timeout().total_seconds()  # before an unclear error of torch

        def wait(group: Any) -> None:
            work: Any = distributed.all_reduce(torch.zeros(1), group=group, async_op=True)
            told = f"rank {self.rank} waits for others to call fit"
            meeting.wait_for(work.is_completed, lambda: told, most)
            work.wait()

        self._exchange(wait)

    def place(self, device: str) -> str:
        """Return the device of this process."""
        if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
            thread = meeting.own_thread()
            own = os.environ.get("LOCAL_RANK", self.rank) if thread is None else thread.device
            return f"cuda:{own}"
        return device

    def _exchange(self, function: Callable[..., Any], *values: Any, **how: Any) -> None:
        thread = meeting.own_thread()
        if thread is not None:
            thread.check()
        try:
            function(*values, group=self.link.group, **how)
            return
        except WorkerLostError:
            raise
        except RuntimeError as error:
            traceback.clear_frames(error.__traceback__)  # these would keep the connections open
            cause = str(error).split("\n")[0]
        raise WorkerLostError(f"{self.link.reason()}. (On rank {self.rank}: {cause})")

    def mean_(self, tensors: Sequence[Tensor], share: float) -> None:
        for some in _alike(tensors):
            whole = len(some) == 1 and some[0].is_contiguous()
            flat = some[0] if whole else torch.cat([t.reshape(-1) for t in some])
            with torch.no_grad():
                flat.mul_(share)
                self._exchange(distributed.all_reduce, flat)
                if not whole:
                    _put(flat, some)

    def gather(self, z: Tensor, share: float) -> Tensor:
        own = z.view_as(z)
        if own.requires_grad:
            own.register_hook(lambda slope: slope / share)  # type: ignore[no-untyped-call]
        sizes = torch.zeros(self.size, dtype=torch.int64, device=z.device)
        sizes[self.rank] = len(z)
        self._exchange(distributed.all_reduce, sizes)
        counts = sizes.tolist()
        padded = z.new_zeros((max(counts), *z.shape[1:]))
        padded[: len(z)] = z.detach()
        found = [torch.empty_like(padded) for _ in counts]
        self._exchange(distributed.all_gather, found, padded)
        parts = [part[:n] for part, n in zip(found, counts, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def collect(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        self._exchange(distributed.all_gather_object, found, value)
        return found

    def first(self, value: Any) -> Any:
        found = [value]
        self._exchange(distributed.broadcast_object_list, found, src=0)
        return found[0]

    @torch.no_grad()
    def broadcast_(self, module: nn.Module) -> None:
        for some in _alike([*module.parameters(), *module.buffers()]):
            flat = torch.cat([t.detach().reshape(-1) for t in some])
            self._exchange(distributed.broadcast, flat, src=0)
            _put(flat, some)

    def agree(self, flag: bool) -> bool:
        all_of_them = torch.tensor(int(flag))
        self._exchange(distributed.all_reduce, all_of_them, op=distributed.ReduceOp.MIN)
        return bool(all_of_them)


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Group tensors that can be exchanged as one."""
    found: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(found.values())


def _put(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [t.numel() for t in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def all_processes(
    asked: bool | str, device: str, alone: Callable[[], Workers] = Workers
) -> Iterator[Workers]:
    """Context of the workers of one fit, which fails on all of them if it fails on one.

    Parameters
    ----------
    asked : False or "auto"
        False for a fit of this process alone.
    device : str
        Of the estimator.
    alone : callable
        Returns the workers if this process is alone.

    Yields
    ------
    workers : Workers
        Workers of the fit; this process alone within a shared fit, for example for a latent
        density.
    """
    if asked is False or getattr(_local, "joined", False) or not several_are_there():
        yield alone()
        return
    if not distributed.is_initialized():
        meeting.initialise()
    workers = DistributedWorkers(device)
    try:
        workers.meet()
        _local.joined = True
        yield workers
        workers.agree(True)  # no worker has failed since the last exchange
    except WorkerLostError:
        workers.link.cut(None)
        raise
    except BaseException as error:
        told = f"rank {workers.rank} has failed: {type(error).__name__}: {error}"
        workers.link.cut(told.rstrip(". "))
        raise
    finally:
        _local.joined = False


def check_same(
    workers: Workers, source: RowSource, name: str, parameters: Mapping[str, Any]
) -> None:
    """Raise an error if the rows or parameters of the processes differ."""
    if workers.size == 1:
        return
    plain = bool | int | float | str | os.PathLike | None
    told_of = {k: repr(v) for k, v in parameters.items() if isinstance(v, plain)}
    for r, theirs in enumerate(workers.collect(told_of)):
        differs = sorted(k for k, v in told_of.items() if theirs.get(k, v) != v)
        if differs:
            raise ValueError(
                f"All processes have to fit with the same parameters, but {', '.join(differs)} of "
                f"rank {r} differs from that of rank {workers.rank}. Do not set parameters by "
                "rank: skvae writes checkpoints on one process only."
            )
    own = f"{name} of {source.n_rows} rows of {source.n_features} features"
    each = workers.collect(own)
    if len(set(each)) > 1:
        listed = "; ".join(f"rank {r}: {text}" for r, text in enumerate(each))
        raise ValueError(
            "All processes have to fit the same estimator to the same rows, of which each trains "
            f"on its share: {listed}."
        )
    part = source.some(_COMPARED_ROWS)
    told = [t for t in (part.values, part.context) if t is not None]
    some = np.nan_to_num(np.hstack([np.asarray(t, np.float64) for t in told]))
    others = workers.collect(some)
    # not bitwise: they may have been computed on different machines
    near = 1e-3 * np.abs(others[0]).mean(0) + 1e-30
    for r, rows in enumerate(others):
        if rows.shape != some.shape or (np.abs(rows - others[0]) > near).any():
            raise ValueError(
                "All processes need the same rows in the same order, of which each trains on its "
                f"share, but the rows of rank {r} differ from those of rank 0. If rows are sampled "
                "or shuffled, use the same seed in all processes."
            )
