"""Files of the safetensors format: validated when read, written atomically.

A file consists of eight bytes with the length of the header, the header in JSON, and numbers. No
numbers are read before the header has been validated against the length of the file.
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
except ImportError:  # Windows, where an open file cannot be removed
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
    """Position of the numbers of an array."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that determine the meaning of a file."""
    found = {}
    for package in ("skvae", "scikit-learn", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree that is not installed
            found[package] = "0+unknown"
    return found


def dumps(value: Any) -> str:
    """Return JSON in the form that is hashed and written."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def digest(head: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Return a hash of the contents of a file."""
    hashed = hashlib.sha256(dumps(head).encode())
    for name in sorted(tensors):
        array = tensors[name]
        hashed.update(f"{name} {array.dtype.name} {array.shape}".encode())
        hashed.update(array.reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def to_bytes(head: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """Return the bytes of a file in the format of `read`, with the digest in its header."""
    head = {**head, "digest": digest(head, tensors)}
    data = safetensors.numpy.save(tensors, metadata={KEY: dumps(head)})
    check_affordable(data[_NUMBER:][: int.from_bytes(data[:_NUMBER], "little")], len(data))
    return data


def check_affordable(text: bytes, size: int) -> None:
    """Raise an error for JSON that would need far more memory than the size of its file."""
    cost = sum(text.count(character) * each for character, each in _COSTS.items())
    cost += 2 * len(text) * (1 if text.isascii() else 4)
    if cost > _MOST_COST + size:
        raise ValueError(f"its header is too large to be read, {len(text)} bytes")


# -- reading ----------------------------------------------------------------------------------


def read(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the metadata and the arrays of a file; the digest has to be checked afterwards.

    Raises
    ------
    ValueError
        If the file was not written by skvae, or is inconsistent.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading a pipe would block
        raise ValueError(f"{path} is not a regular file.")
    with open(path, "rb") as file:  # errors of opening a file are those of Python
        size = os.fstat(file.fileno()).st_size
        try:
            text, tensors = _header(file, size)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged or not a file of skvae: {error}") from error
        if text is None:
            raise ValueError(f"{path} is a safetensors file, but was not written by skvae.")
        try:
            check_affordable(text.encode(), size)
            head = json.loads(text)
            if not isinstance(head, dict):
                raise ValueError("its header is not a dictionary")
            return head, {tensor.name: _array(file, tensor) for tensor in tensors}
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error


def _header(file: BinaryIO, size: int) -> tuple[str | None, list[_Place]]:
    """Return our metadata, or None, and the positions of the arrays in order."""
    n = int.from_bytes(file.read(_NUMBER), "little")
    if size < _NUMBER or n > size - _NUMBER:
        raise ValueError("it ends within its header")
    if n > _MOST_HEADER:
        raise ValueError(f"its header has {n} bytes, but the format allows {_MOST_HEADER}")
    check_affordable(raw := file.read(n), size)
    header = json.loads(raw.decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not a dictionary")
    metadata = header.pop("__metadata__", {})
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        text = None
    tensors = [_tensor(name, entry) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            raise ValueError(f"{tensor.name} does not begin at the end of the previous array")
        at = tensor.end
    if at != size - _NUMBER - n:
        raise ValueError("it is longer or shorter than its header says")
    return text, tensors


def _tensor(name: str, entry: Any) -> _Place:
    """Return an entry of the header, checked for consistency."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry {name!r} of its header does not describe an array")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        raise ValueError(f"the entry {name!r} of its header does not describe an array")
    # files of other programs may have other types, as long as these are not read
    whole = all(type(n) is int and n >= 0 for n in [*shape, *offsets])
    if not whole or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"the entry {name!r} of its header has no shape or no position")
    tensor = _Place(name, dtype, tuple(shape), *offsets)
    if dtype in _DTYPES:
        wanted = math.prod(shape) * _DTYPES[dtype].itemsize
        if tensor.end - tensor.begin != wanted:
            raise ValueError(f"the entry {name!r} of its header does not match its shape")
    return tensor


def _array(file: BinaryIO, tensor: _Place) -> np.ndarray:
    """Return the next array of a file: aligned, writable, independent of the file."""
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"{tensor.name} has the dtype {tensor.dtype}, which is not supported")
    array = np.empty(tensor.shape, _DTYPES[tensor.dtype])
    content = array.reshape(-1).view(np.uint8)
    if content.size and file.readinto(content.data) != content.size:  # type: ignore[attr-defined]
        raise ValueError("it ended while it was read")
    if array.dtype == bool and content.size and content.max() > 1:
        raise ValueError(f"{tensor.name} contains values that are neither true nor false")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# -- writing ----------------------------------------------------------------------------------
# A save writes a file `.name.<32 hex digits>.tmp` in the folder of its target, and renames it.
# Meanwhile it holds a lock on the file, which the kernel releases when the process ends, however it
# ends. The next save to the same path removes files without a lock.


def write(path: str, data: bytes) -> None:
    """Replace a file atomically, flushed to the disk before and after."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: str, keeps: bool = False) -> Iterator[BinaryIO]:
    """Context of a file to write, which atomically replaces the one at `path` at the end.

    It is flushed to the disk before and after, and removed after an error. Temporary files of
    killed processes that wrote to the same path are removed.

    Parameters
    ----------
    path : str
    keeps : bool
        Whether contents that cannot replace the file, for example because Windows has it
        memory-mapped, are kept under a name given in the error.
    """
    folder, name = os.path.split(path)
    _clear(folder, name)
    with _temporary(folder, name) as (file, temporary):
        yield file
        file.flush()
        os.fsync(file.fileno())
        if _locks is None:  # pragma: no cover
            file.close()  # Windows cannot rename an open file
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
    """Context of a new file locked by this process, removed after an error."""
    while True:
        temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
        with open(temporary, "xb") as file:
            try:
                if not _holds_own(file.fileno(), temporary):
                    continue  # another save removed it before it was locked: try again
                yield file, temporary
                return
            except BaseException:
                with suppress(OSError):
                    file.close()
                    os.unlink(temporary)
                raise


def _clear(folder: str, name: str) -> None:
    """Remove temporary files of killed saves to this path."""
    left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{32}}\.tmp")
    if _locks is None or not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if left.fullmatch(entry.name)]
    for path in found:
        with suppress(OSError):  # it was removed, or belongs to another user
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _hold(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Lock a file, and return whether no other process has locked it."""
    try:
        _locks.flock(descriptor, _locks.LOCK_EX | _locks.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holds_own(descriptor: int, path: str) -> bool:
    """Lock a new file, and return whether it still exists."""
    if _locks is None:  # pragma: no cover
        return True
    try:
        return _hold(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
    except OSError:  # a file system without locks, where no files are removed
        return True
