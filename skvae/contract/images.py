"""Images as rows, for models that know their shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]


def shape_to_fit(X: Any, given: Shape | None, name: str) -> Shape | None:
    """Shape (channels, height, width) of images that are fitted, or None for rows that are none.

    `given` is the parameter `image_shape`, `name` that of the estimator.
    """
    seen = _shape_of(X, name)
    if given is None:
        if seen is not None and seen[0] > 4 and seen[2] in (1, 3, 4):
            raise ValueError(
                f"X of shape (n, {seen[0]}, {seen[1]}, {seen[2]}) seems to have its channels "
                "last: hand in np.moveaxis(X, -1, 1), or say otherwise by image_shape."
            )
        return seen
    if len(given) != 3:
        raise ValueError(f"image_shape must be (channels, height, width), got {given!r}.")
    return given


def to_rows(X: Any, expected: Shape | None, name: str) -> Any:
    """Images (n, channels, height, width) as rows; anything else as it is."""
    X = _unnested(X)
    shape = _shape_of(X, name)
    if shape is None or expected is None:
        return X
    if shape != expected:
        last = " Its channels seem to be last: hand in np.moveaxis(X, -1, 1)."
        raise ValueError(
            f"X holds images of shape {shape}, but {name} takes (channels, "
            f"height, width) = {expected}." + last * (shape[2:] + shape[:2] == expected)
        )
    return X.reshape(len(X), math.prod(shape))


def _unnested(X: Any) -> Any:
    """Lists of images as an array; anything else as it is."""
    return np.asarray(X) if isinstance(X, list | tuple) and np.ndim(X) > 2 else X


def _shape_of(X: Any, name: str) -> Shape | None:
    axes = np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", 2)
    if axes == 3:
        raise ValueError(
            f"Found array with dim 3, while {name} takes rows, dim 2, or "
            "images, dim 4, (n, channels, height, width): hand in X[:, None] for grey images."
        )
    return tuple(np.shape(X)[1:]) if axes == 4 else None
