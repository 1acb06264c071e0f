"""Files of the safetensors format: read with distrust, written whole or not at all.

A file is eight bytes with the length of a header, the header in JSON, and numbers. Nothing of the
numbers is read before the header has been found to be ours and to fit the length of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import safetensors.numpy

_locks: Any
try:
    import fcntl as _locks
except ImportError:  # Windows, where a file that is open cannot be removed
    _locks = None

KEY = "skvae"
_NUMBER = 8  # bytes of the length of the header
_LETTERS = {"I": (1, 2, 4, 8), "U": (1, 2, 4, 8), "F": (2, 4, 8)}
_DTYPES = {"BOOL": np.dtype(bool)} | {
    f"{letter}{8 * size}": np.dtype(f"<{letter.lower()}{size}")
    for letter, sizes in _LETTERS.items()
    for size in sizes
}
# What JSON costs in memory, at most, by the characters that begin or part values, and what it may.
_COSTS = {b",": 60, b"[": 60, b"{": 180}
_MOST_COST = 90_000_000
_MOST_HEADER = 100_000_000  # bytes, of the safetensors format


class _Place(NamedTuple):
    """Where the numbers of an array lie."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that decide what a file means."""
    found = {}
    for package in ("skvae", "scikit-learn", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree that is not installed
            found[package] = "0+unknown"
    return found


def dumps(value: Any) -> str:
    """JSON as it is hashed and written."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def digest(head: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """A hash of everything in a file."""
    hashed = hashlib.sha256(dumps(head).encode())
    for name in sorted(tensors):
        array = tensors[name]
        hashed.update(f"{name} {array.dtype.name} {array.shape}".encode())
        hashed.update(array.reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def to_bytes(head: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """The bytes of a file that `read` reads, with the digest in its head."""
    head = {**head, "digest": digest(head, tensors)}
    data = safetensors.numpy.save(tensors, metadata={KEY: dumps(head)})
    check_affordable(data[_NUMBER:][: int.from_bytes(data[:_NUMBER], "little")], len(data))
    return data


def check_affordable(text: bytes, size: int) -> None:
    """Refuse JSON that would take far more memory than the file it is in has bytes."""
    cost = sum(text.count(character) * each for character, each in _COSTS.items())
    cost += 2 * len(text) * (1 if text.isascii() else 4)
    if cost > _MOST_COST + size:
        raise ValueError(f"its header is too large to be read, {len(text)} bytes")


# -- reading ----------------------------------------------------------------------------------


def read(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `skvae` wrote beside the arrays, and the arrays; the digest is still to be checked.

    Raises
    ------
    ValueError
        If the file is not one of ours, or its parts do not fit each other.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would be waited for
        raise ValueError(f"{path} is not a regular file.")
    with open(path, "rb") as file:  # what cannot be opened says so in Python's own words
        size = os.fstat(file.fileno()).st_size
        try:
            text, tensors = _header(file, size)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged or not a file of skvae: {error}") from error
        if text is None:
            raise ValueError(f"{path} is a safetensors file, but not one that skvae wrote.")
        try:
            check_affordable(text.encode(), size)
            head = json.loads(text)
            if not isinstance(head, dict):
                raise ValueError("its header is no dictionary")
            return head, {tensor.name: _array(file, tensor) for tensor in tensors}
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error


def _header(file: BinaryIO, size: int) -> tuple[str | None, list[_Place]]:
    """Our text, None where there is none, and where the arrays lie, one after another."""
    n = int.from_bytes(file.read(_NUMBER), "little")
    if size < _NUMBER or n > size - _NUMBER:
        raise ValueError("it ends before its header does")
    if n > _MOST_HEADER:
        raise ValueError(f"its header has {n} bytes, and the format allows {_MOST_HEADER}")
    check_affordable(raw := file.read(n), size)
    header = json.loads(raw.decode())
    if not isinstance(header, dict):
        raise ValueError("its header is no dictionary")
    metadata = header.pop("__metadata__", {})
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        text = None
    tensors = [_tensor(name, entry) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            raise ValueError(f"{tensor.name} does not begin where the array before it ends")
        at = tensor.end
    if at != size - _NUMBER - n:
        raise ValueError("it is longer or shorter than its header says")
    return text, tensors


def _tensor(name: str, entry: Any) -> _Place:
    """An entry of the header, its parts checked against each other."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry {name!r} of its header is none of an array")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        raise ValueError(f"the entry {name!r} of its header is none of an array")
    # the numbers of foreign files may have other types, as long as they are not to be read
    whole = all(type(n) is int and n >= 0 for n in [*shape, *offsets])
    if not whole or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"the entry {name!r} of its header has no shape or no place")
    tensor = _Place(name, dtype, tuple(shape), *offsets)
    if dtype in _DTYPES:
        wanted = math.prod(shape) * _DTYPES[dtype].itemsize
        if tensor.end - tensor.begin != wanted:
            raise ValueError(f"the entry {name!r} of its header does not fit its shape")
    return tensor


def _array(file: BinaryIO, tensor: _Place) -> np.ndarray:
    """The next array of a file: aligned, writable, independent of the file."""
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"{tensor.name} has the dtype {tensor.dtype}, which skvae does not write")
    array = np.empty(tensor.shape, _DTYPES[tensor.dtype])
    content = array.reshape(-1).view(np.uint8)
    if content.size and file.readinto(content.data) != content.size:  # type: ignore[attr-defined]
        raise ValueError("it ended while it was read")
    if array.dtype == bool and content.size and content.max() > 1:
        raise ValueError(f"{tensor.name} holds what is neither true nor false")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# -- writing ----------------------------------------------------------------------------------
# A save writes a file beside the one it is to replace, `.name.<32 hex digits>.tmp`, and renames it.
# While it lives it holds a lock on it, which the kernel drops when the process dies, however it
# dies. The next save to the same path removes those that nobody holds.


def write(path: str, data: bytes) -> None:
    """Replace a file in one step, flushed to the disk before and after."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: str, keeps: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of the one at `path` in one step at the end.

    It is flushed to the disk before and after, and gone after an error. What killed processes that
    wrote to the same path left behind is removed.

    Parameters
    ----------
    path : str
    keeps : bool
        Whether contents are kept, under a name that is told, that cannot take their place, as
        where Windows has the old file mapped.
    """
    folder, name = os.path.split(path)
    _clear(folder, name)
    with _temporary(folder, name) as (file, temporary):
        yield file
        file.flush()
        os.fsync(file.fileno())
        if _locks is None:  # pragma: no cover
            file.close()  # Windows renames no open file
        try:
            os.replace(temporary, path)
        except OSError as error:
            if not keeps:
                raise
            kept = f"{path}.{uuid.uuid4().hex[:8]}"
            os.replace(temporary, kept)
            raise OSError(
                f"{path} cannot be replaced ({error}): its new contents are in {kept}."
            ) from error
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _temporary(folder: str, name: str) -> Iterator[tuple[BinaryIO, str]]:
    """A new file that this process holds; gone after an error."""
    while True:
        temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
        with open(temporary, "xb") as file:
            try:
                if not _holds_own(file.fileno(), temporary):
                    continue  # another save removed it before it was held: once more
                yield file, temporary
                return
            except BaseException:
                with suppress(OSError):
                    file.close()
                    os.unlink(temporary)
                raise


def _clear(folder: str, name: str) -> None:
    """Remove what killed saves to this path left behind."""
    left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{32}}\.tmp")
    if _locks is None or not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if left.fullmatch(entry.name)]
    for path in found:
        with suppress(OSError):  # it is gone, or somebody else's
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _hold(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Whether no other process holds a file; from now on this one does."""
    try:
        _locks.flock(descriptor, _locks.LOCK_EX | _locks.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holds_own(descriptor: int, path: str) -> bool:
    """Hold a file that was just made; whether it is still there."""
    if _locks is None:  # pragma: no cover
        return True
    try:
        return _hold(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
    except OSError:  # a file system without locks, where nobody removes anything
        return True
