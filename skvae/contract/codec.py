"""Conversion of Python values to JSON and arrays, and back.

Values without a JSON type are written as an object with one key, the name of the type.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..tables.checks import Axes, Maybe, Number, Row, Text, Whole
from .classes import check_attributes, name_of

_PLAIN = (type(None), bool, int, str)
_TENSOR_KINDS = "biuf"
_TREES = ("KDTree", "BallTree")
_TEXT = re.compile(r"O|[<>=|]?U(\d{1,9})")
_MOST_ALIKE = 100  # keys of a dictionary with colliding hashes
_PADDING = 1 << 25  # bytes of string arrays beyond those of their longest strings
_MERSENNE_TWISTER = Row(
    (Text(("MT19937",)), Axes((624,), "u"), Whole(0, 624), Whole(0, 1), Number())
)

# Restores an estimator from the full name of its class and its state.
Restore = Callable[[str, dict[str, Any]], Any]


def encode(value: Any, path: str, tensors: dict[str, np.ndarray]) -> Any:
    """Convert a value to JSON, with arrays added to `tensors`; TypeError for other types."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in (list, tuple):
        items = [encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        return {
            "dict": [
                [encode(key, path, tensors), encode(item, f"{path}.{key}", tensors)]
                for key, item in value.items()
            ]
        }
    if issubclass(kind, np.generic) and value.dtype.kind in _TENSOR_KINDS:
        return {"scalar": _encode_array(np.asarray(value), path, tensors)["array"]}
    if kind is np.ndarray or kind is np.memmap:
        return _encode_array(np.asarray(value), path, tensors)
    if kind is np.random.RandomState:
        return {"RandomState": encode(value.get_state(), path, tensors)}
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, BaseEstimator):
        state = dict(value.__getstate__())
        tree: Any = state.get("tree_")
        if type(tree).__name__ not in _TREES:
            return {"estimator": [name_of(kind), encode(state, path, tensors)]}
        del state["tree_"]  # binary, but rebuilt from its rows, as in `fit` of a density
        rows, *_, weights = tree.__getstate__()
        parts = [type(tree).__name__, np.asarray(rows), weights, state]
        return {"tree_estimator": [name_of(kind), encode(parts, path, tensors)]}
    raise TypeError(f"{path}, which is or contains a {kind.__module__}.{kind.__qualname__}")


def _encode_array(array: np.ndarray, path: str, tensors: dict[str, np.ndarray]) -> Any:
    if array.dtype.kind == "U" or (
        array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat)
    ):
        dtype = "O" if array.dtype.kind == "O" else array.dtype.str
        return {"text": [dtype, list(array.shape), [str(item) for item in array.flat]]}
    if array.dtype.kind not in _TENSOR_KINDS or array.dtype.itemsize > 8:
        raise TypeError(f"{path}, an array of dtype {array.dtype}")
    # The memory order is kept, since rounding of products depends on it.
    transposed = array.flags.f_contiguous and not array.flags.c_contiguous
    name = path
    while name in tensors:
        name += "'"
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    tensors[name] = np.require(native.T if transposed else native, requirements="C")
    return {"array": [name, "F" if transposed else "C"]}


class Decoder:
    """Conversion of JSON and arrays to values, with an error for any other form.

    Parameters
    ----------
    tensors : dict of str to ndarray
        Arrays, each of which belongs to one value.
    restore : callable
    """

    def __init__(self, tensors: dict[str, np.ndarray], restore: Restore):
        self.tensors = dict(tensors)
        self.restore = restore
        self.padding = _PADDING

    def finish(self) -> None:
        """Raise an error if arrays are left over."""
        if self.tensors:
            raise ValueError(f"the array {min(self.tensors)!r} belongs to no value")

    def __call__(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self(item) for item in node]
        if not isinstance(node, dict):
            return node
        if len(node) != 1:
            raise ValueError(f"a value has {len(node)} types")
        ((kind, value),) = node.items()
        how = getattr(self, f"_{kind}", None) if kind in _KINDS else None
        if how is None:
            raise ValueError(
                f"it contains a {kind!r}, which this version of skvae cannot read: upgrade skvae"
            )
        wanted, n = _KINDS[kind]
        if not isinstance(value, wanted) or (n and len(value) != n):
            raise ValueError(f"a value of type {kind!r} has an invalid form")
        return how(value)

    def _float(self, value: str) -> float:
        if value not in ("nan", "inf", "-inf"):
            raise ValueError(f"{value!r} is not a valid number")
        return float(value)

    def _tuple(self, value: list[Any]) -> tuple[Any, ...]:
        return tuple(self(value))

    def _dict(self, value: list[Any]) -> dict[Any, Any]:
        found, hashes = {}, set()
        for key, item in value:
            key = self(key)
            _check_key(key)
            found[key] = self(item)
            hashes.add(hash(key))
            if len(found) - len(hashes) > _MOST_ALIKE:
                raise ValueError("a dictionary has too many keys with colliding hashes")
        if len(found) != len(value):
            raise ValueError("a dictionary has a duplicate key")
        return found

    def _array(self, value: list[Any]) -> np.ndarray:
        name, order = value
        if not isinstance(name, str) or order not in ("C", "F"):
            raise ValueError("an array has no name or no order")
        if name not in self.tensors:
            raise ValueError(f"the array {name!r} does not exist, or belongs to another value")
        array = self.tensors.pop(name)
        return array.T if order == "F" else array

    def _scalar(self, value: list[Any]) -> Any:
        array = self._array(value)
        if array.ndim:
            raise ValueError(f"{value[0]!r} is not a single number")
        return array[()]

    def _text(self, value: list[Any]) -> np.ndarray:
        dtype, shape, items = value
        form = _TEXT.fullmatch(dtype) if isinstance(dtype, str) else None
        listed = isinstance(shape, list) and isinstance(items, list)
        if form is None or not listed or not all(isinstance(item, str) for item in items):
            raise ValueError("a string array has an invalid form")
        if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) != len(items):
            raise ValueError(f"an array of {len(items)} strings has the shape {shape}")
        if form[1] is not None:
            longest = max(map(len, items), default=0)
            self.padding -= 4 * len(items) * max(int(form[1]) - longest, 0)
            self.padding -= sum(4 * (longest - len(item)) for item in items)
            if self.padding < 0 or longest > int(form[1]):
                raise ValueError(f"{len(items)} strings do not need the dtype {dtype}")
        return np.array(items, dtype=dtype).reshape(shape)

    def _RandomState(self, value: dict[str, Any]) -> np.random.RandomState:
        state = self(value)
        _MERSENNE_TWISTER(state, "the state of a RandomState", {})
        random_state = np.random.RandomState()
        random_state.set_state(state)
        return random_state

    def _estimator(self, value: list[Any]) -> Any:
        name, state = value[0], self(value[1])
        if not isinstance(name, str) or not isinstance(state, dict):
            raise ValueError("an estimator has no name or no state")
        return self.restore(name, state)

    def _tree_estimator(self, value: list[Any]) -> Any:
        name, parts = value[0], self(value[1])
        if not isinstance(name, str) or not isinstance(parts, list) or len(parts) != 4:
            raise ValueError("an estimator has no name or no state")
        kind, rows, weights, state = parts
        if not isinstance(state, dict) or "tree_" in state:
            raise ValueError("an estimator has no state")
        estimator = self.restore(name, state)
        check_attributes(type(estimator), ["tree_"])
        estimator.tree_ = _tree(kind, rows, weights, estimator)
        return estimator


# How values of each type are written, and the number of their elements.
_KINDS: dict[str, tuple[Any, int]] = {
    "float": (str, 0),
    "tuple": (list, 0),
    "dict": (list, 0),
    "array": (list, 2),
    "scalar": (list, 2),
    "text": (list, 3),
    "RandomState": (dict, 0),
    "estimator": (list, 2),
    "tree_estimator": (list, 2),
}


def _check_key(key: Any) -> None:
    """Raise an error for dictionary keys that `encode` does not write."""
    if isinstance(key, tuple):
        for part in key:
            _check_key(part)
    elif not isinstance(key, str | int | float | np.generic | type(None)):
        raise ValueError(f"a dictionary has a {type(key).__name__} as a key")


def _tree(kind: Any, rows: Any, weights: Any, estimator: Any) -> Any:
    """Build the tree of a KernelDensity from its rows and the name of its metric."""
    Text(_TREES)(kind, "a tree", {})
    sizes = {"d": estimator.n_features_in_}
    Axes(("n", "d"))(rows, "the rows of a tree", sizes)
    Maybe(Axes(("n",), above=0.0))(weights, "the weights of a tree", sizes)
    Whole(1)(estimator.leaf_size, "leaf_size", sizes)
    tree = getattr(import_module("sklearn.neighbors"), kind)
    if not len(rows) or estimator.metric not in tree.valid_metrics:
        raise ValueError(f"a {kind} has no rows, or no metric {estimator.metric!r}")
    parameters = estimator.metric_params or {}
    for name, value in parameters.items():
        if isinstance(value, np.ndarray):
            Axes(("d",) * value.ndim)(value, name, sizes)
        else:
            Number(low=0.0)(value, name, sizes)
    return tree(
        rows,
        metric=estimator.metric,
        leaf_size=estimator.leaf_size,
        sample_weight=weights,
        **parameters,
    )
