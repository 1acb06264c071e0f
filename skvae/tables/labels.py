"""From cells to numbers: what a column is learned to be, and later cells matched to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .cells import CLASSES, NUMBERS, TIMES, Cells, LabelsError, UnreadableError, plain
from .containers import numbers_of

Label = str | int | float | bool

MOST_LABELS = 1000


def learn(cells: Cells, stated: str | None) -> tuple[str, tuple[Label, ...] | None]:
    """Kind and labels of a column.

    Parameters
    ----------
    cells : Cells
    stated : str, optional
        The kind that the user wants it to be.

    Raises
    ------
    UnreadableError
        If its cells cannot be of that kind, or its labels are of no plain type.
    LabelsError
        If its labels are too many.
    """
    kind = stated or cells.kind
    if kind not in CLASSES:
        _check_number(cells, kind)
        return kind, None
    if cells.kind in TIMES:
        raise UnreadableError(f"holds times, and cannot be {kind}: turn them into strings.")
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
    """Refuse labels that are too many for a column of that kind."""
    _check_few(len(labels))
    if kind == "boolean" and len(labels) > 2:
        some = ", ".join(map(repr, labels[:3]))
        raise LabelsError(
            f"cannot be boolean: it has {len(labels)} labels ({some}, ...). State another kind."
        )


def _check_few(n_labels: int) -> None:
    if n_labels > MOST_LABELS:
        raise LabelsError(
            f"is a category of {n_labels} labels, more than {MOST_LABELS}, as identifiers are: "
            "drop it, or group its rare labels (and remove categories that are not used)."
        )


def _check_number(cells: Cells, kind: str) -> None:
    """Whether a column can be of a kind without labels."""
    if cells.kind in TIMES and kind != cells.kind:
        raise UnreadableError(f"holds {cells.kind}s, and cannot be {kind}: leave its kind out.")
    if cells.kind in ("categorical", "ordinal"):
        remedy = {"datetime": "pandas.to_datetime", "duration": "pandas.to_timedelta"}.get(
            kind, "pandas.to_numeric"
        )
        raise UnreadableError(
            f"holds labels{_example(*cells.load())}, and cannot be {kind} as it is: "
            f"turn it into such first, with {remedy}, say."
        )


def to_numbers(
    cells: Cells, kind: str, labels: tuple[Label, ...] | None, unknown: str, seconds: bool
) -> np.ndarray:
    """Cells of a table seen later as numbers (n,), NaN where one is missing.

    Parameters
    ----------
    cells : Cells
    kind, labels
        What the column was learned to be.
    unknown : {"error", "missing"}
        What a label is that was not there then.
    seconds : bool
        Whether numbers may stand for times.

    Raises
    ------
    UnreadableError
        If the cells are of another kind.
    LabelsError
        If they have labels that are unknown.
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
    """Numbers as codes, -1 for NaN, and their sorted labels."""
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
            f"holds {some}{more}, which it did not hold in the fit: read them as missing with "
            'handle_unknown="missing", or fit on rows that have them.'
        )
    return values


def _example(values: np.ndarray, found: Sequence[Any] | None) -> str:
    """Some cell, for a message."""
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
        f"holds {held} cells{_example(values, found)} where the fit had {kind} ones: give it the "
        "type that it had then."
    )
