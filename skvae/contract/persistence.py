"""Saving without pickle: one safetensors file, arrays as tensors and the rest as JSON.

The file is read by any safetensors reader: arrays lie under the path of their attribute, and the
metadata entry ``skvae`` holds JSON with the class, the versions of the packages and the rest of
the state. Loading runs no code but that of skvae, scikit-learn and classes already imported.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open
from sklearn.base import BaseEstimator

_PACKAGE = __name__.partition(".")[0]
_FORMAT = 3
_KEY = "skvae"
_PLAIN = (type(None), bool, int, str)
_TENSOR_KINDS = "biuf"


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in ("skvae", "scikit-learn", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree that is not installed
            found[package] = "0+unknown"
    return found


class PersistenceMixin:
    """`save`, and versions stamped into pickles; for classes left of `BaseEstimator`."""

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**state, "_versions": _versions()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved, here = state.pop("_versions", {}).get("skvae", "unknown"), _versions()["skvae"]
        if saved != here:
            # The state of scikit-learn's base class and of numpy and torch is plain arrays, so
            # only the version of skvae decides whether it still means the same.
            warnings.warn(
                f"This {type(self).__name__} was saved by skvae {saved} and is read by {here}: "
                "it may fail or give other results. Fit and save it again to be sure.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)  # type: ignore[misc]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file that `skvae.load` reads, without pickle.

        The file appears whole or not at all: an interrupted save leaves an older one untouched.

        Parameters
        ----------
        path : str or PathLike
            Name of the file, used exactly as given.

        Raises
        ------
        TypeError
            If a fitted attribute is not made of plain values, arrays and imported estimators.
            A parameter may be anything: a network or a function given by the user is not
            written, and `skvae.load` asks for it.

        Examples
        --------
        >>> import tempfile, skvae
        >>> from sklearn.datasets import load_iris
        >>> model = skvae.PPCA(n_components=2).fit(load_iris().data)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/iris.skvae")
        ...     loaded = skvae.load(f"{folder}/iris.skvae")
        >>> loaded.score(load_iris().data) == model.score(load_iris().data)
        True
        """
        tensors: dict[str, np.ndarray] = {}
        state, supplied = {}, []
        for name, value in self.__getstate__().items():
            if (
                name == "_skl_callbacks"
            ):  # scikit-learn's callbacks watch a fit; none of it is state
                continue
            if name == "_versions":
                continue
            own: dict[str, np.ndarray] = {}
            try:
                state[name] = _encode(value, name, own)
            except TypeError as error:
                if name not in self._get_param_names():  # type: ignore[attr-defined]
                    raise TypeError(
                        f"{type(self).__name__}.save cannot write the attribute {error}. Keep "
                        "such objects in parameters and give them to skvae.load, or use pickle."
                    ) from None
                supplied.append(name)
            else:
                tensors.update(own)
        head = {
            "format": _FORMAT,
            "class": _name_of(type(self)),
            "versions": _versions(),
            "supplied": supplied,
            "state": state,
        }
        head["digest"] = _digest(head, tensors)
        _write(
            os.path.realpath(os.fspath(path)),
            safetensors.numpy.save(tensors, metadata={_KEY: _dumps(head)}),
        )


def load(path: str | os.PathLike[str], **params: Any) -> Any:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : str or PathLike
        Name of the file.
    **params
        Constructor parameters to use in place of those in the file. The ones that `save` could
        not write, such as a network given as `encoder`, must be among them.

    Returns
    -------
    estimator : object
        Equal to the saved one, its outputs to the last bit.

    Raises
    ------
    ValueError
        If the file is damaged or foreign, if its class is not imported, or if a parameter that
        it does not hold is missing.

    Warns
    -----
    UserWarning
        If the file was written by another version of skvae.

    See Also
    --------
    VAE.save : Writes the file; every estimator has it.

    Examples
    --------
    >>> import tempfile, skvae
    >>> from sklearn.datasets import load_iris
    >>> model = skvae.PPCA(n_components=2).fit(load_iris().data)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/iris.skvae")
    ...     skvae.load(f"{folder}/iris.skvae")
    PPCA(n_components=2)
    """
    path = os.fspath(path)
    head, tensors = _read(path)
    cls = _find_class(head["class"])
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        raise ValueError(f"{cls.__name__} has no parameter {', '.join(unknown)}.")
    missing = [name for name in head["supplied"] if name not in params]
    if missing:
        hint = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{path} does not hold the {cls.__name__} parameter {', '.join(missing)}, which "
            f"cannot be written without pickle: call skvae.load(path, {hint})."
        )
    state = {name: _decode(value, tensors) for name, value in head["state"].items()}
    estimator = cls.__new__(cls)
    estimator.__setstate__({**state, **params, "_versions": head["versions"]})
    return estimator


# -- values to JSON and tensors ---------------------------------------------------------------
# What JSON has no type for is written as an object with one key, the name of the type.


def _encode(value: Any, path: str, tensors: dict[str, np.ndarray]) -> Any:
    """JSON for a value; its arrays go to `tensors`. TypeError names what has no form."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in (list, tuple):
        items = [_encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        return {
            "dict": [
                [_encode(key, path, tensors), _encode(item, f"{path}.{key}", tensors)]
                for key, item in value.items()
            ]
        }
    if issubclass(kind, np.generic) and value.dtype.kind in _TENSOR_KINDS:
        return {"scalar": _encode(np.asarray(value), path, tensors)["array"]}
    if kind is np.ndarray or kind is np.memmap:
        return _encode_array(np.asarray(value), path, tensors)
    if kind is np.random.RandomState:
        return {"RandomState": _encode(value.get_state(), path, tensors)}
    if isinstance(value, BaseEstimator):
        state = dict(value.__getstate__())
        tree: Any = state.get("tree_")
        if type(tree).__name__ not in ("KDTree", "BallTree"):
            return {"estimator": [_name_of(kind), _encode(state, path, tensors)]}
        del state["tree_"]  # binary, but built again from its rows, as `fit` of a density does
        rows, *_, weights = tree.__getstate__()
        parts = [type(tree).__name__, np.asarray(rows), weights, state]
        return {"tree_estimator": [_name_of(kind), _encode(parts, path, tensors)]}
    raise TypeError(f"{path}, which is or holds a {kind.__module__}.{kind.__qualname__}")


def _encode_array(array: np.ndarray, path: str, tensors: dict[str, np.ndarray]) -> Any:
    if array.dtype.kind == "U" or (
        array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat)
    ):
        dtype = "O" if array.dtype.kind == "O" else array.dtype.str
        return {"text": [dtype, list(array.shape), [str(item) for item in array.flat]]}
    if array.dtype.kind not in _TENSOR_KINDS or array.dtype.itemsize > 8:
        raise TypeError(f"{path}, an array of dtype {array.dtype}")
    # Products may round differently for rows and columns in memory, so the order is kept.
    transposed = array.flags.f_contiguous and not array.flags.c_contiguous
    name = path
    while name in tensors:
        name += "'"
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    tensors[name] = np.require(native.T if transposed else native, requirements="C")
    return {"array": [name, "F" if transposed else "C"]}


def _decode(node: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    match kind:
        case "float":
            return float(value)
        case "tuple":
            return tuple(_decode(value, tensors))
        case "dict":
            return {_decode(key, tensors): _decode(item, tensors) for key, item in value}
        case "array":
            name, order = value
            return tensors[name].T if order == "F" else tensors[name]
        case "scalar":
            return tensors[value[0]][()]
        case "text":
            dtype, shape, items = value
            return np.array(items, dtype=dtype).reshape(shape)
        case "RandomState":
            random_state = np.random.RandomState()
            random_state.set_state(_decode(value, tensors))
            return random_state
        case "estimator":
            return _restored(value[0], _decode(value[1], tensors))
        case "tree_estimator":
            tree, rows, weights, state = _decode(value[1], tensors)
            estimator = _restored(value[0], state)
            estimator.tree_ = getattr(import_module("sklearn.neighbors"), tree)(
                rows,
                metric=estimator.metric,
                leaf_size=estimator.leaf_size,
                sample_weight=weights,
                **(estimator.metric_params or {}),
            )
            return estimator
    raise ValueError(f"The file holds a {kind!r}, which this skvae cannot read: upgrade skvae.")


def _restored(name: str, state: Any) -> Any:
    cls = _find_class(name)
    estimator = cls.__new__(cls)
    estimator.__setstate__(state)
    return estimator


# -- classes ----------------------------------------------------------------------------------


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _subclasses(cls: Any) -> Iterator[Any]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _find_class(name: str) -> Any:
    """An estimator class by its full name: skvae's, scikit-learn's, or of an imported module."""
    package = sys.modules[_PACKAGE]
    public = name.rpartition(".")[2]
    if name.startswith(f"{_PACKAGE}.") and public in package.__all__:
        getattr(package, public)  # imports its module
    if name.startswith("sklearn."):
        with suppress(ImportError):  # then it is not found
            import_module(name.rpartition(".")[0])
    found = [cls for cls in _subclasses(BaseEstimator) if _name_of(cls) == name]
    if not found:
        raise ValueError(
            f"The file holds a {name}, a class that is not imported: import its module before "
            "loading. (A class from the main program of another script goes by __main__: move "
            "it to a module.)"
        )
    return found[-1]  # the newest, where a notebook cell defined it twice


# -- the file ---------------------------------------------------------------------------------


def _dumps(head: dict[str, Any]) -> str:
    return json.dumps(head, allow_nan=False, separators=(",", ":"))


def _digest(head: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(_dumps(head).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with open(path, "rb"):
        pass  # what cannot be opened says so in Python's own words
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            # Copies: aligned, writable, and independent of the file.
            tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, UnicodeError) as error:
        raise ValueError(f"{path} is damaged or not a file of skvae: {error}") from error
    if _KEY not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not one that skvae wrote.")
    try:
        head = json.loads(metadata[_KEY])
        digest = head.pop("digest")
        newer = head["format"] > _FORMAT
        if digest != _digest(head, tensors):
            raise ValueError("its digest does not fit its contents")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if head["format"] < _FORMAT:
        raise ValueError(
            f"{path} was saved by an earlier layout of skvae (format {head['format']}; this one "
            f"reads format {_FORMAT}): fit the estimator and save it again."
        )
    if newer:
        warnings.warn(
            f"{path} has format {head['format']}, newer than {_FORMAT}, the newest that this "
            "skvae knows: it may be misread. Upgrade skvae.",
            UserWarning,
            stacklevel=3,
        )
    return head, tensors


def _write(path: str, data: bytes) -> None:
    """Replace a file in one step, flushed to the disk before and after."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
