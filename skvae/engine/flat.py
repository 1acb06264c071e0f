"""Parameters of a training in one buffer, so that a step of the optimiser is one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_ALIGNED = 64  # bytes: where torch's own tensors start, so that products round alike
_homes: Any = WeakIdKeyDictionary()  # parameter -> Flat


class Flat:
    """Parameters as views of one buffer, or of one for each dtype and device.

    Parameters that share memory with other tensors are not moved.
    """

    def __init__(self, parameters: Sequence[Tensor]):
        self.places: dict[int, tuple[Tensor, int, int]] = {}  # id -> buffer, start, stop
        self.addresses: dict[int, int] = {}
        groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for p in parameters:
            if _can_move(p):
                groups.setdefault((p.dtype, p.device), []).append(p)
            else:
                self.places[id(p)] = p.detach().view(-1) if p.is_contiguous() else p.detach(), 0, 0
        for (dtype, device), members in groups.items():
            step = max(1, _ALIGNED // members[0].element_size())
            sizes = [-(-p.numel() // step) * step for p in members]
            buffer = torch.zeros(sum(sizes), dtype=dtype, device=device)
            start = 0
            for p, size in zip(members, sizes, strict=True):
                self.places[id(p)] = buffer, start, start + size
                view = _view(buffer, start, p)
                view.copy_(p.detach())
                p.data = view
                _homes[p] = self
                start += size
        self.addresses = {id(p): p.data_ptr() for p in parameters}

    def holds(self, parameters: Sequence[Tensor]) -> bool:
        """Return whether these are its parameters, and still views of the buffer."""
        return len(parameters) == len(self.addresses) and all(
            self.addresses.get(id(p)) == p.data_ptr() for p in parameters
        )

    def segments(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the longest contiguous runs of some of the parameters, as tensors."""
        runs: list[tuple[Tensor, int, int]] = []
        for buffer, start, stop in self._ordered(parameters):
            if runs and stop and runs[-1][0] is buffer and runs[-1][2] == start:
                runs[-1] = buffer, runs[-1][1], stop
            else:
                runs.append((buffer, start, stop))
        return [buffer[start:stop] if stop else buffer for buffer, start, stop in runs]

    def like(
        self, parameters: Sequence[Tensor], segments: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return zeros in the layout of the segments, and views in the layout of each parameter."""
        zeros = [torch.zeros_like(s) for s in segments]
        parts = []
        for p in parameters:
            address = p.data_ptr()
            for segment, zero in zip(segments, zeros, strict=True):
                offset = address - segment.data_ptr()
                if 0 <= offset < max(1, segment.numel() * segment.element_size()):
                    parts.append(_view(zero, offset // segment.element_size(), p))
                    break
        return zeros, parts

    def _ordered(self, parameters: Sequence[Tensor]) -> list[tuple[Tensor, int, int]]:
        places = [self.places[id(p)] for p in parameters]
        return sorted(places, key=lambda place: (place[0].data_ptr(), place[1]))


def flatten(parameters: Sequence[Tensor]) -> Flat:
    """Return the buffer of these parameters: an existing or a new one."""
    distinct = list({id(p): p for p in parameters}.values())
    home: Flat | None = _homes.get(distinct[0]) if distinct else None
    if home is not None and home.holds(distinct):
        return home
    with torch.no_grad():
        return Flat(distinct)


def release(parameters: Sequence[Tensor]) -> None:
    """Give each parameter its own memory again, as needed to save or export a module."""
    with torch.no_grad():
        for p in parameters:
            if _homes.pop(p, None) is not None:
                p.data = p.detach().clone()


def _view(buffer: Tensor, start: int, p: Tensor) -> Tensor:
    """Return a view of a buffer in the memory layout of a dense parameter."""
    return buffer.as_strided(p.shape, p.stride(), buffer.storage_offset() + start)


def _can_move(p: Tensor) -> bool:
    if type(p) is not torch.nn.Parameter or not p.numel():
        return False
    home: Flat | None = _homes.get(p)
    if home is not None and home.addresses.get(id(p)) == p.data_ptr():
        return True
    dense = torch.empty_like(p, device="meta").stride() == p.stride()
    return dense and p.untyped_storage().nbytes() == p.numel() * p.element_size()
