"""torch's list of modules, with the type of its modules, which torch does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Generic, TypeVar

    M = TypeVar("M", bound=nn.Module)

    class ModuleList(nn.Module, Generic[M]):
        def __init__(self, modules: Iterable[M] = ()) -> None: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[M]: ...
        def __getitem__(self, i: int) -> M: ...

else:
    ModuleList = nn.ModuleList

__all__ = ["ModuleList"]
