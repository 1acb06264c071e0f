"""Conversion of images to rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]


def shape_to_fit(X: Any, given: Shape | None, name: str) -> Shape | None:
    """Return the shape (channels, height, width) of training images, or None for other rows.

    `given` is the parameter `image_shape`, `name` that of the estimator.
    """
    seen = _shape_of(X, name)
    if given is None:
        if seen is not None and seen[0] > 4 and seen[2] in (1, 3, 4):
            raise ValueError(
                f"X of shape (n, {seen[0]}, {seen[1]}, {seen[2]}) seems to have its channels last: "
                "pass np.moveaxis(X, -1, 1), or set image_shape if this is not the case."
            )
        return seen
    if len(given) != 3:
        raise ValueError(f"image_shape must be (channels, height, width), got {given!r}.")
    return given


def to_rows(X: Any, expected: Shape | None, name: str) -> Any:
    """Flatten images (n, channels, height, width) to rows; return anything else unchanged."""
    X = _unnested(X)
    shape = _shape_of(X, name)
    if shape is None or expected is None:
        return X
    if shape != expected:
        last = " Its channels seem to be last: pass np.moveaxis(X, -1, 1)."
        raise ValueError(
            f"X contains images of shape {shape}, but {name} expects (channels, height, width) = "
            f"{expected}." + last * (shape[2:] + shape[:2] == expected)
        )
    return X.reshape(len(X), math.prod(shape))


def _unnested(X: Any) -> Any:
    """Convert lists of images to an array; return anything else unchanged."""
    return np.asarray(X) if isinstance(X, list | tuple) and np.ndim(X) > 2 else X


def _shape_of(X: Any, name: str) -> Shape | None:
    axes = np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", 2)
    if axes == 3:
        raise ValueError(
            f"Found array with dim 3, while {name} expects rows, dim 2, or images, dim 4, (n, "
            "channels, height, width): pass X[:, None] for grayscale images."
        )
    return tuple(np.shape(X)[1:]) if axes == 4 else None
