"""Validation of what displays take: estimators and Pipelines, rows, images, feature names."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from ..contract.inputs import as_table, numeric
from ..tables.containers import TABLE, is_frame
from ..tables.format import ColumnFormat, TableFormat

_CHANNELS = (1, 3)  # of images: grayscale; red, green, blue


def unwrap(estimator: Any, *methods: str) -> tuple[Any, Any]:
    """Split a Pipeline into the steps before the last one (or None) and the last one."""
    before, model = None, estimator
    if isinstance(estimator, Pipeline):
        before, model = (estimator[:-1] if len(estimator) > 1 else None), estimator[-1]
    check_is_fitted(model)
    missing = [name for name in methods if not hasattr(model, name)]
    if missing:
        raise TypeError(f"estimator has no {missing[0]}, which this display needs: {model!r}.")
    return before, model


def into(before: Any, X: Any) -> Any:
    """Transform rows to the input of the last step."""
    return X if before is None else before.transform(X)


def numbers(model: Any, X: Any) -> Any:
    """Convert a frame to numbers, with labels and times if the model was fitted on these."""
    if not is_frame(X):
        return X
    looks = getattr(model, "_format_", None)
    if looks is None or len(looks.columns) != X.shape[1]:
        looks = TableFormat.fit(X)
    return looks.read(X)


def as_text(value: float) -> str:
    """Format a number with four significant digits, and all digits before the decimal point.

    Examples
    --------
    >>> [as_text(value) for value in (12553.2, 1.0, -0.00123456, 2.5e20, float("nan"))]
    ['12553', '1', '-0.001235', '2.5e+20', 'missing']
    """
    if np.isnan(value):
        return "missing"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.4g}"
    decimals = 3 - int(np.floor(np.log10(abs(value)))) if value else 0
    return np.format_float_positional(round(float(value), max(decimals, 0)), trim="-")


def texts_of(model: Any, row: np.ndarray) -> list[str]:
    """Format the values of a row, with labels and times as in the table."""
    looks = getattr(model, "_format_", None)
    if looks is None or len(looks.columns) != len(row):
        return [as_text(value) for value in row]
    return [_cell_text(column, value) for column, value in zip(looks.columns, row, strict=True)]


def _cell_text(column: ColumnFormat, value: float) -> str:
    if np.isnan(value):
        return as_text(value)
    if column.labels is not None:
        return str(column.labels[int(value)])
    if column.kind == "datetime":
        time = str(np.datetime64(round(value), "s")).replace("T", " ")
        if "," in column.dtype:  # it names a time zone
            return f"{time} UTC"
        return time.removesuffix(" 00:00:00")
    if column.kind == "duration":
        return str(datetime.timedelta(seconds=round(value)))
    return as_text(value)


def back(before: Any, X: np.ndarray) -> np.ndarray:
    """Transform rows of the last step back to the units of the Pipeline."""
    if before is None:
        return X
    if not hasattr(before, "inverse_transform"):
        raise TypeError(
            "estimator is a Pipeline with a step that has no inverse_transform, so rows cannot be "
            "transformed back to the units of X. Pass the last step alone, with rows in its own "
            "units."
        )
    return np.asarray(before.inverse_transform(X))


def as_rows(X: Any, name: str) -> Any:
    """Convert X to a table, or images, whose rows can be counted and sliced."""
    X = as_table(X, name)
    if len(getattr(X, "shape", ())) < 2:
        raise ValueError(f"{name} must be {TABLE}, with one row for each sample; got {X!r:.80}.")
    return X


def check_rows(X: Any, name: str, width: int | None = None, *, missing: bool = False) -> np.ndarray:
    """Check that rows (n, d) are finite and have d as given; flatten images.

    With `missing`, missing values (NaN) are allowed.
    """
    with numeric(name):
        table = as_table(X, name)
        if not getattr(table, "shape", ()):
            raise ValueError(f"{name} must be {TABLE}; got {X!r:.80}.")
        rows: np.ndarray = check_array(
            table,
            dtype=[np.float64, np.float32],
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite="allow-nan" if missing else True,
            input_name=name,
        )
    if rows.ndim == 4:
        rows = rows.reshape(len(rows), -1)
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must have the shape (n_rows, n_features) or (n_rows, channels, height, "
            f"width), got {rows.shape}."
        )
    if width is not None and rows.shape[1] != width:
        raise ValueError(f"{name} has {rows.shape[1]} features, but {width} are expected.")
    return rows


def count(value: Any, name: str, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    return int(value)


def check_image_shape(image_shape: Any, d: int) -> Any:
    """Check the (channels, height, width) of rows of d features; None if rows are not images."""
    if image_shape is None:
        return None
    shape = tuple(np.atleast_1d(image_shape).tolist())
    if len(shape) != 3 or any(not isinstance(s, int) or s < 1 for s in shape):
        raise ValueError(f"image_shape must be (channels, height, width), got {image_shape!r}.")
    if shape[0] not in _CHANNELS:
        raise ValueError(
            f"image_shape={shape} has {shape[0]} channels; images that can be drawn have 1 "
            "(grayscale) or 3 (red, green, blue)."
        )
    if np.prod(shape) != d:
        raise ValueError(f"image_shape={shape} makes {np.prod(shape)} features, but rows have {d}.")
    return shape


def image_shape_of(model: Any, image_shape: Any, d: int) -> Any:
    """Return the given shape, else that of the fitted model if such images can be drawn."""
    if image_shape is None:
        image_shape = getattr(model, "image_shape_", None)
        if image_shape is not None and image_shape[0] not in _CHANNELS:
            return None  # other numbers of channels are drawn as a table
    return check_image_shape(image_shape, d)


def check_names(feature_names: Sequence[str] | None, d: int) -> list[str]:
    """Check the names of d features; x0, x1, ... without names."""
    if feature_names is None:
        return [f"x{j}" for j in range(d)]
    if len(feature_names) != d:
        raise ValueError(f"feature_names has {len(feature_names)} names for {d} features.")
    return [str(name) for name in feature_names]


def names_of(estimator: Any, feature_names: Sequence[str] | None) -> Sequence[str] | None:
    """Return the given names, else the feature names seen in fit, if any."""
    if feature_names is None:
        return getattr(estimator, "feature_names_in_", None)
    return feature_names


def own_look(
    estimator: Any, image_shape: Any, feature_names: Sequence[str] | None, d: int
) -> dict[str, Any]:
    """Return image shape and feature names: the given ones, else the estimator's own."""
    return {
        "image_shape": image_shape_of(unwrap(estimator)[1], image_shape, d),
        "feature_names": names_of(estimator, feature_names),
    }


def feature_index(feature: Any, names: list[str]) -> int:
    """Return the index of a feature given by index or name."""
    if isinstance(feature, str):
        if feature not in names:
            raise ValueError(f"feature {feature!r} is not among the feature names {names}.")
        return names.index(feature)
    if isinstance(feature, bool) or not isinstance(feature, Integral):
        raise ValueError(f"a feature must be an index or a feature name, got {feature!r}.")
    if not 0 <= int(feature) < len(names):
        raise ValueError(f"feature index {feature} is out of range for {len(names)} features.")
    return int(feature)


def units(reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (d,) of features; 0 and 1 for fewer than 2 values."""
    seen = ~np.isnan(reference)
    count = seen.sum(axis=0)
    values = np.where(seen, reference, 0.0).astype(np.float64)
    mean = values.sum(axis=0) / np.maximum(count, 1)
    scale = np.sqrt(np.where(seen, (values - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count, 1))
    enough = count > 1
    return np.where(enough, mean, 0.0), np.where(enough & (scale > 0.0), scale, 1.0)


def reference_rows(reference: ArrayLike | None, X: np.ndarray) -> np.ndarray:
    """Return the rows that set the units: the given ones, else the displayed ones."""
    return X if reference is None else check_rows(reference, "reference", X.shape[1], missing=True)


def check_components(components: Any, k: int, most: int = 2) -> tuple[int, ...]:
    """Check the indices of one or two of k latent coordinates; None for the first ones."""
    if components is None:
        return tuple(range(min(k, most)))
    chosen = tuple(np.atleast_1d(components).tolist())
    valid = all(isinstance(c, int) and 0 <= c < k for c in chosen)
    if not valid or not 1 <= len(chosen) <= most or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"components must be one or two different indices of the {k} latent coordinates, got "
            f"{components!r}."
        )
    return chosen
