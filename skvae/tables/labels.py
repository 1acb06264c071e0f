"""Conversion of values to numbers: types and labels of columns, and matching of later values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .cells import CLASSES, NUMBERS, TIMES, Cells, LabelsError, UnreadableError, plain
from .containers import numbers_of

Label = str | int | float | bool

MOST_LABELS = 1000


def learn(cells: Cells, stated: str | None) -> tuple[str, tuple[Label, ...] | None]:
    """Learn type and labels of a column.

    Parameters
    ----------
    cells : Cells
    stated : str, optional
        Column type given by the user.

    Raises
    ------
    UnreadableError
        If its values cannot have that type, or its labels have an unsupported type.
    LabelsError
        If it has too many labels.
    """
    kind = stated or cells.kind
    if kind not in CLASSES:
        _check_number(cells, kind)
        return kind, None
    if cells.kind in TIMES:
        raise UnreadableError(f"contains times, and cannot be {kind}: convert them to strings.")
    labels = cells.declared
    if labels is None:
        values, found = cells.load()
        if found is None:
            found = _distinct(values, cells.kind)[1]
        _check_few(len(found))
        labels = tuple(sorted(plain(label) for label in found if label is not None))
    labels = tuple(plain(label) for label in labels if label is not None)
    check_labels(kind, labels)
    return kind, labels


def check_labels(kind: str, labels: tuple[Label, ...]) -> None:
    """Raise an error if a column of that type has too many labels."""
    _check_few(len(labels))
    if kind == "boolean" and len(labels) > 2:
        some = ", ".join(map(repr, labels[:3]))
        raise LabelsError(
            f"cannot be boolean: it has {len(labels)} labels ({some}, ...). Use another column "
            "type."
        )


def _check_few(n_labels: int) -> None:
    if n_labels > MOST_LABELS:
        raise LabelsError(
            f"is categorical with {n_labels} labels, more than the maximum of {MOST_LABELS}: drop "
            "it if it contains identifiers, or group its rare labels (and remove unused "
            "categories)."
        )


def _check_number(cells: Cells, kind: str) -> None:
    """Check that a column can have a type without labels."""
    if cells.kind in TIMES and kind != cells.kind:
        raise UnreadableError(
            f"contains {cells.kind}s, and cannot be {kind}: do not give a type for it."
        )
    if cells.kind in ("categorical", "ordinal"):
        remedy = {"datetime": "pandas.to_datetime", "duration": "pandas.to_timedelta"}.get(
            kind, "pandas.to_numeric"
        )
        raise UnreadableError(
            f"contains labels{_example(*cells.load())}, and cannot be {kind} without conversion: "
            f"convert it first, for example with {remedy}."
        )


def to_numbers(
    cells: Cells, kind: str, labels: tuple[Label, ...] | None, unknown: str, seconds: bool
) -> np.ndarray:
    """Convert values of a later table to numbers (n,), NaN for missing values.

    Parameters
    ----------
    cells : Cells
    kind, labels
        Learned type and labels of the column.
    unknown : {"error", "missing"}
        Treatment of unknown labels.
    seconds : bool
        Whether numbers may represent times.

    Raises
    ------
    UnreadableError
        If the values have another type.
    LabelsError
        If there are unknown labels.
    """
    values, found = cells.load()
    if labels is not None:
        if cells.kind in TIMES and not _is_empty(values):
            raise _mismatch(cells, kind, values, found)
        if found is None:
            values, found = _distinct(values, cells.kind)
        return _by_label(values, found, labels, unknown)
    if _is_empty(values if found is None else np.where(values < 0, np.nan, values)):
        return np.full(len(values), np.nan)
    if found is not None:
        if kind in TIMES or any(isinstance(label, str) for label in found):
            raise _mismatch(cells, kind, values, found)
        return numbers_of(values, [np.nan if label is None else label for label in found])
    wanted = (kind,) if cells.kind in TIMES or (kind in TIMES and not seconds) else NUMBERS
    if cells.kind not in wanted:
        raise _mismatch(cells, kind, values, found)
    return values


def _is_empty(values: np.ndarray) -> bool:
    return bool(np.isnan(values).all())


def _distinct(values: np.ndarray, kind: str) -> tuple[np.ndarray, list[Any]]:
    """Convert numbers to codes, -1 for NaN, and their sorted labels."""
    missing = np.isnan(values)
    labels, places = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1)
    codes[~missing] = places
    return codes, [int(x) if kind == "integer" and np.isfinite(x) else x for x in labels.tolist()]


def _by_label(
    codes: np.ndarray, found: Sequence[Any], labels: tuple[Label, ...], unknown: str
) -> np.ndarray:
    known = {label: float(number) for number, label in enumerate(labels)}
    values: np.ndarray = np.array([*(known.get(label, np.nan) for label in found), np.nan])[codes]
    strange = np.array([*(x is not None and x not in known for x in found), False])
    if unknown == "error" and strange.any() and strange[codes].any():
        places = np.unique(codes[strange[codes]])
        some = ", ".join(repr(found[place]) for place in places[:3])
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        raise LabelsError(
            f"contains {some}{more}, which did not occur in fit: treat them as missing with "
            'handle_unknown="missing", or fit on rows that contain these labels.'
        )
    return values


def _example(values: np.ndarray, found: Sequence[Any] | None) -> str:
    """Return an example value for a message."""
    if found is not None:
        here = values[values >= 0]
        return f" ({found[here[0]]!r})" if len(here) else ""
    here = values[~np.isnan(values)]
    return f" ({here[0].item()!r})" if len(here) else ""


def _mismatch(
    cells: Cells, kind: str, values: np.ndarray, found: Sequence[Any] | None
) -> UnreadableError:
    held = cells.kind if cells.kind not in NUMBERS else "numeric"
    return UnreadableError(
        f"contains {held} values{_example(values, found)}, but contained {kind} values in fit: use "
        "the same type as in fit."
    )
