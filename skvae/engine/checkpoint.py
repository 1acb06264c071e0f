"""Checkpoints of trainings, which continue from them with bitwise identical results."""

from __future__ import annotations

import hashlib
import math
import os
import time
import types
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..tables.files import digest, read, to_bytes, versions, write
from ..tables.schema import Schema
from ..tables.source import RowSource
from .settings import CheckpointSettings
from .workers import Workers

_FORMAT = 1
_ROWS = 1024  # rows that are compared themselves; other rows are compared by the schema
_ASKED = 16  # steps between two agreements of several processes on the time
_INSTEAD = "Delete it to start a new fit, or set checkpoint to another path."

Plain = dict[str, Any]
Arrays = dict[str, Tensor]


class Checkpoint:
    """Checkpoint file of one fit.

    Parameters
    ----------
    settings : CheckpointSettings
    workers : Workers
        Workers of the fit. All of them read the file; the first one writes it.
    start : str
        Description of the state from which the fit continues; ``described(None)`` without one.

    Attributes
    ----------
    begins_anew : bool
        Whether that state is of the model returned by the interrupted fit of the file, which itself
        began without a model. The fit then continues, and not the model.
    head : dict or None
        Description of the fit in the file; None without a file.

    Raises
    ------
    ValueError
        If the file is damaged or not a checkpoint.
    OSError
        If the file cannot be written.
    """

    def __init__(self, settings: CheckpointSettings, workers: Workers, start: str):
        self.path = os.path.realpath(settings.path)
        self.settings, self.workers = settings, workers
        self.begins_anew = False
        self.head: Plain | None = None
        self.arrays: dict[str, np.ndarray] = {}
        self.identity: Plain = {}
        self.seed = 0
        self.known: tuple[int, ...] | None = None  # the file as written by this fit
        self.at = -math.inf  # time of the last write
        self.asked = 0
        self.has_failed = False
        _refuse_folder(self.path)
        if os.path.lexists(self.path):
            self._read()
            self.known = _stamp(self.path)
        there, gone = workers.agree(self.head is not None), workers.agree(self.head is None)
        if not there and not gone:
            raise ValueError(
                "only some processes of this fit can read its checkpoint "
                f"{self.path}: use a path on a shared file system."
            )
        if self.head is not None and self.head["handed_over"] == start:
            start = self.head["identity"]["start"]
            self.begins_anew = start == described(None)
        self.start = start

    def _read(self) -> None:
        try:
            head, arrays = read(self.path)
            if "checkpoint" not in head:
                raise ValueError(f"{self.path} is not a checkpoint.")
            if head["checkpoint"] != _FORMAT:
                raise ValueError(f"{self.path} is a checkpoint of another version of skvae.")
            if head.pop("digest", None) != digest(head, arrays):
                raise ValueError(f"{self.path} is damaged: its digest does not match its contents.")
        except ValueError as error:
            raise ValueError(f"{str(error).rstrip('.')}. {_INSTEAD}") from error
        self.head, self.arrays = head, arrays

    def seed_or(self, seed: int) -> int:
        """Return the seed of the fit in the file if the user has set none, else the given one."""
        free = self.settings.parameters["random_state"] is None
        self.seed = seed if self.head is None or not free else int(self.head["seed"])
        return self.seed

    def identify(
        self, source: RowSource, schema: Schema, device: str, weights: np.ndarray | None = None
    ) -> None:
        """Identify this fit; ValueError if the file belongs to another one."""
        stamps, here = versions(), self.settings.parameters
        own = {name: described(value) for name, value in here.items()}
        own["processes"] = described(self.workers.size)
        self.identity = {
            "parameters": {**own, "device": described(torch.device(device).type)},
            "versions": {name: stamps[name] for name in ("skvae", "torch")},
            "rows": _described_rows(source, schema, weights),
            "start": self.start,
        }
        if self.head is not None:
            self._compare(self.head["identity"])

    def _compare(self, found: Plain) -> None:
        """Raise an error for a file of another fit."""
        differs = []
        theirs, mine = found["parameters"], self.identity["parameters"]
        if theirs != mine:
            names = sorted(n for n in {*theirs, *mine} if theirs.get(n) != mine.get(n))
            differs.append(f"the parameters ({', '.join(names)})")
        if found["versions"] != self.identity["versions"]:
            differs.append(f"the versions ({found['versions']}, here {self.identity['versions']})")
        if found["rows"] != self.identity["rows"]:
            differs.append("the rows")
        if found["start"] != self.start:
            differs.append("the model from which it continues")
        if differs:
            raise ValueError(
                f"{self.path} is the checkpoint of another fit, which differs in "
                f"{' and in '.join(differs)}. {_INSTEAD}"
            )

    def go_on(self, load: Callable[[Plain, Arrays], None]) -> None:
        """Call ``load(training, arrays)`` with the contents of the file, if there is one."""
        if self.head is None:
            return
        arrays = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        try:
            load(self.head["training"], arrays)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}. {_INSTEAD}") from error
        self.head, self.arrays = None, {}

    def is_due(self) -> bool:
        """Return whether to write now, agreed by all processes."""
        self.asked += 1
        if self.workers.size > 1 and self.asked % _ASKED:
            return False
        return self.workers.agree(time.monotonic() - self.at >= self.settings.interval)

    def write(self, training: Plain, arrays: Arrays, handed_over: str | None = None) -> None:
        """Replace the file; failures are an error the first time, and warnings later.

        `handed_over` describes the state of the model returned to the user, if there is one.
        """
        head = {
            "checkpoint": _FORMAT,
            "seed": self.seed,
            "identity": self.identity,
            "handed_over": handed_over,
            "training": training,
        }
        error: OSError | None = None
        if self.workers.rank == 0:
            try:
                self._replace(head, arrays)
            except OSError as found:
                error = found
        first, self.at = self.at == -math.inf, time.monotonic()
        if first and not self.workers.agree(error is None):
            raise _unwritable(self.path, error)
        if error is not None and not self.has_failed:
            self.has_failed = True
            text = f"{_unwritable(self.path, error)}. The fit continues and will try again."
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _replace(self, head: Plain, arrays: Arrays) -> None:
        now = _stamp(self.path)
        if now is not None and now != self.known:
            raise FileExistsError("another fit writes to it; use different paths")
        numbers = {name: _numpy(value) for name, value in arrays.items()}
        write(self.path, to_bytes(head, numbers))
        self.known = _stamp(self.path)

    def remove(self) -> None:
        """Remove the file of a completed fit, if it still belongs to this fit."""
        if self.workers.rank == 0 and self.known is not None and _stamp(self.path) == self.known:
            os.unlink(self.path)


def _refuse_folder(path: str) -> None:
    """Raise an OSError if the file cannot be written."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"the checkpoint {path} cannot be written: the folder {folder} does not exist"
        )
    if os.path.isdir(path):
        raise IsADirectoryError(f"the checkpoint {path} cannot be written: it is a folder")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"the checkpoint {path} cannot be written: {folder} is read-only")


def _unwritable(path: str, error: OSError | None) -> OSError:
    why = "the first process could not" if error is None else error.strerror or str(error)
    kind = OSError if error is None else type(error)
    return kind(f"the checkpoint {path} cannot be written: {why}")


def _stamp(path: str) -> tuple[int, ...] | None:
    """Return what distinguishes a file from a replacement."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _numpy(value: Tensor) -> np.ndarray:
    return np.require(value.detach().cpu().numpy(), requirements="C")


# -- which fit ---------------------------------------------------------------------------------


def described(*values: Any) -> str:
    """Return a hash of values: parameters, networks, arrays. Functions are hashed by name."""
    hashed = hashlib.sha256()
    for value in values:
        _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = _numpy(value)
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        hashed.update(f"array {value.dtype.str} {value.shape}".encode())
        hashed.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return
    parts: Any = None
    if isinstance(value, Mapping):
        parts = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple | np.ndarray):
        parts = list(value)
    elif isinstance(value, nn.Module):
        parts = [_name(kind), repr(value), dict(value.state_dict())]
    elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        parts = [_name(value)]
    elif hasattr(value, "get_params"):
        parts = [_name(kind), value.get_params(deep=False)]
    elif isinstance(value, partial):
        parts = [value.func, value.args, value.keywords]
    elif value is not None and not isinstance(value, bool | int | float | str):
        parts = [_name(kind)]
    if parts is None:
        text = f"{kind.__name__} {value!r}"
        hashed.update(f"{len(text)} {text}".encode())
        return
    hashed.update(f"{len(parts)} parts".encode())
    for part in parts:
        _feed(hashed, part)


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _described_rows(source: RowSource, schema: Schema, weights: np.ndarray | None) -> str:
    """Return a hash of some rows and of the schema, and of the weights if there are any."""
    some = source.some(_ROWS)
    sizes = [source.n_rows, source.n_features, source.n_context, bool(source.has_missing)]
    told = [sizes, some.values, some.observed, some.context, schema.to_state()]
    return described(*told) if weights is None else described(*told, weights)
