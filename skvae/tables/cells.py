"""Values of one column of a table of any library: numbers, or codes of labels."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

NUMBERS = ("numeric", "integer")
TIMES = ("datetime", "duration")
CLASSES = ("boolean", "categorical", "ordinal")
KINDS = (*NUMBERS, *CLASSES, *TIMES)

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
DAY = 86_400.0
# From here on float64 resolves seconds to about a nanosecond.
_NO_NANOSECONDS = 2.0**22
_EPOCH = datetime.datetime(1970, 1, 1)
_MISSING_TYPES = ("NoneType", "NAType", "NaTType")


class UnreadableError(TypeError):
    """Error for a column of an unsupported type; the caller adds the name of the column."""


class LabelsError(ValueError):
    """Error for a column with too many or unknown labels; the caller adds its name."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One column of a table.

    Attributes
    ----------
    kind : str
        One of `KINDS`, from the dtype.
    dtype : str
        Name of the dtype in its library, sufficient to restore it except for the labels.
    load : callable
        Returns numbers (n,), with NaN for missing values, and None; or codes (n,), with -1 for
        missing values, and the labels.
    declared : tuple or None
        Labels in the order of the dtype; None if labels are those that occur.
    """

    kind: str
    dtype: str
    load: Callable[[], tuple[np.ndarray, Sequence[Any] | None]]
    declared: tuple[Any, ...] | None = None


def plain(label: Any) -> str | int | float | bool:
    """Return a label as a Python value."""
    if isinstance(label, str):
        return str(label)
    if isinstance(label, bool | np.bool_):
        return bool(label)
    if isinstance(label, Integral):
        return int(label)
    if isinstance(label, Real) and np.isfinite(float(label)):
        return float(label)
    raise UnreadableError(
        f"has the label {label!r} ({type(label).__name__}): supported labels are strings, "
        "integers, finite floats and booleans, so convert its labels to strings."
    )


# Numbers in and out of integers


def whole(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round numbers without NaN to the nearest integers of a dtype."""
    info = np.iinfo(dtype)
    low, high = float(info.min), float(info.max)
    if int(high) > info.max:
        high = float(np.nextafter(high, 0.0))
    rounded: np.ndarray = np.clip(np.rint(values), low, high).astype(dtype)
    return rounded


def to_seconds(ticks: np.ndarray, unit: str) -> np.ndarray:
    """Convert integers of a unit of time to seconds in float64."""
    per = PER_SECOND[unit]
    if per == 1:
        return ticks.astype(np.float64)
    seconds, rest = np.divmod(ticks, per)
    total: np.ndarray = seconds + rest / float(per)
    return total


def to_ticks(seconds: np.ndarray, unit: str) -> np.ndarray:
    """Convert seconds without NaN to integers (int64) of a unit of time, within its range.

    Nanoseconds are kept below 2^22 seconds; above, float64 cannot represent them, and the time is
    rounded to microseconds.
    """
    per = PER_SECOND[unit]
    most = float(2**62 if per == 1 else (2**63 - 1) // per - 1)
    seconds = np.clip(seconds, -most, most)
    begun = np.floor(seconds)
    rest = seconds - begun
    part = np.rint(rest * per)
    if unit == "ns":
        part = np.where(np.abs(seconds) < _NO_NANOSECONDS, part, np.rint(rest * 1e6) * 1e3)
    ticks: np.ndarray = begun.astype(np.int64) * per + part.astype(np.int64)
    return ticks


def numpy_times(cells: np.ndarray) -> np.ndarray:
    """Convert datetime64 or timedelta64 to seconds, NaN for NaT."""
    unit = np.datetime_data(cells.dtype)[0]
    if unit not in PER_SECOND:
        finer = "s" if unit in ("h", "m", "D", "W", "M", "Y") else "ns"
        cells = cells.astype(f"{cells.dtype.kind}8[{finer}]")
        unit = finer
    missing = np.isnat(cells)
    seconds = to_seconds(cells.view(np.int64), unit)
    if missing.any():
        seconds[missing] = np.nan
    return seconds


def as_numpy_times(seconds: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert seconds to datetime64 or timedelta64, NaT for NaN."""
    unit = np.datetime_data(dtype)[0]
    fine = unit if unit in PER_SECOND else "s"
    missing = np.isnan(seconds)
    ticks = to_ticks(np.where(missing, 0.0, seconds), fine)
    times = ticks.view(f"{dtype.kind}8[{fine}]").astype(dtype)
    times[missing] = np.array("NaT", dtype)
    return times


# Arrays of Python objects


def _family(kind: type) -> str | None:
    """Return the family of a class of values; None if a column cannot contain it."""
    if kind.__name__ in _MISSING_TYPES:
        return "missing"
    families: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("text", (str,)),
        ("bool", (bool, np.bool_)),
        ("duration", (datetime.timedelta,)),
        ("integer", (Integral,)),
        ("number", (Real, decimal.Decimal)),
        ("datetime", (datetime.datetime,)),
        ("date", (datetime.date,)),
    )
    if issubclass(kind, np.timedelta64):  # is registered as an integer
        return None
    return next((family for family, known in families if issubclass(kind, known)), None)


_READ_AS = {
    "bool": "boolean",
    "text": "categorical",
    "date": "datetime",
    "datetime": "datetime",
    "duration": "duration",
    "integer": "integer",
    "number": "numeric",
}


def _example(cells: np.ndarray, families: dict[type, str | None], wanted: str | None) -> str:
    return next(repr(cell) for cell in cells if families[type(cell)] == wanted)


def of_objects(cells: np.ndarray) -> Cells:
    """Return a column of Python objects (n,), with a type that depends on the objects.

    Raises
    ------
    UnreadableError
        If the objects have several types, or an unsupported type.
    """
    families = {kind: _family(kind) for kind in set(map(type, cells))}
    if None in families.values():
        odd = next(kind for kind, family in families.items() if family is None)
        raise UnreadableError(
            f"contains {_example(cells, families, None)}, a {odd.__name__}, but each argument must "
            "be a string or a number, a boolean, a date or a time span."
        )
    missing = _missing(cells, {kind for kind, family in families.items() if family == "missing"})
    present = cells[~missing]
    found = {families[kind] for kind in set(map(type, present))}
    if found == {"integer", "number"}:
        found = {"number"}
    if len(found) > 1:
        held = " and ".join(
            f"{family} ({_example(present, families, family)})"
            for family in sorted(map(str, found))
        )
        raise UnreadableError(
            f"contains {held}: convert its values to one type, for example all to strings, or to "
            "numbers with None for other values."
        )
    family = str(found.pop()) if found else "number"
    first = cells[int(np.argmax(missing))] if missing.any() else np.nan
    dtype = _object_dtype(family, first)
    truth = (False, True) if family == "bool" else None
    return Cells(_READ_AS[family], dtype, lambda: _load_objects(present, missing, family), truth)


def _missing(cells: np.ndarray, absent: set[type]) -> np.ndarray:
    if any(kind.__name__ == "NAType" for kind in absent):  # not comparable in an array
        return np.fromiter((type(c) in absent or c != c for c in cells), bool, len(cells))
    missing: np.ndarray = np.not_equal(cells, cells).astype(bool)
    if type(None) in absent:
        missing |= np.equal(cells, np.array(None)).astype(bool)
    return missing


def _object_dtype(family: str, missing: Any) -> str:
    known = [family] if family in ("date", "datetime", "duration") else []
    kind = type(missing).__name__
    if kind in _MISSING_TYPES:
        known.append({"NoneType": "None", "NAType": "NA", "NaTType": "NaT"}[kind])
    return f"object({', '.join(known)})" if known else "object"


def _load_objects(
    present: np.ndarray, missing: np.ndarray, family: str
) -> tuple[np.ndarray, Sequence[Any] | None]:
    if family in ("text", "bool"):
        labels = list(dict.fromkeys(present))
        number = {label: code for code, label in enumerate(labels)}
        codes = np.full(len(missing), -1)
        codes[~missing] = np.fromiter(map(number.__getitem__, present), np.int64, len(present))
        return codes, labels
    values = np.full(len(missing), np.nan)
    if family in ("number", "integer"):
        try:
            values[~missing] = present.astype(np.float64)
        except OverflowError as error:
            raise OverflowError(
                "contains an integer too large for float64 (about 1.8e308): rescale its column, or "
                f"take logarithms. ({error})"
            ) from error
    else:
        values[~missing] = np.fromiter(map(_seconds_of(family), present), float, len(present))
    return values, None


def _seconds_of(family: str) -> Callable[[Any], float]:
    def of_date(cell: datetime.date) -> float:
        return (cell.toordinal() - _EPOCH.toordinal()) * DAY

    def of_datetime(cell: datetime.datetime) -> float:
        if cell.tzinfo is not None:
            raise UnreadableError(
                "contains datetimes with a time zone as Python objects: convert the column to a "
                "dtype of its library, for example with pandas.to_datetime(..., utc=True)."
            )
        return _exact_seconds(cell - _EPOCH)

    known: dict[str, Callable[[Any], float]]
    known = {"date": of_date, "datetime": of_datetime, "duration": _exact_seconds}
    return known[family]


def _exact_seconds(span: datetime.timedelta) -> float:
    return span.days * DAY + span.seconds + span.microseconds / 1e6


def as_objects(values: np.ndarray, kind: str, dtype: str) -> np.ndarray:
    """Convert numbers with NaN to Python objects, with the missing value of the dtype."""
    missing = np.isnan(values)
    cells = np.empty(len(values), object)
    known = marks(dtype)
    if "date" in known or "datetime" in known:
        low, high = datetime.datetime.min, datetime.datetime.max
        ends = [_exact_seconds(end - _EPOCH) for end in (low, high)]
        times = np.clip(values[~missing], ends[0], np.nextafter(ends[1], 0.0))
        stamps = to_ticks(times, "us").view("M8[us]")
        cells[~missing] = (stamps.astype("M8[D]") if "date" in known else stamps).tolist()
    elif "duration" in known:
        most = _exact_seconds(datetime.timedelta.max) - DAY
        spans = to_ticks(np.clip(values[~missing], -most, most), "us").view("m8[us]")
        cells[~missing] = spans.tolist()
    elif kind == "integer":
        cells[~missing] = [
            int(value) if abs(value) < np.inf else value for value in values[~missing]
        ]
    else:
        cells[~missing] = values[~missing].tolist()
    cells[missing] = missing_object(dtype)
    return cells


def marks(dtype: str) -> list[str]:
    """Return the contents of the parentheses in the name of a dtype."""
    inside = dtype.partition("(")[2].removesuffix(")")
    return inside.split(", ") if inside else []


def missing_object(dtype: str) -> Any:
    """Return the missing value of a column of objects."""
    known = marks(dtype)
    if "None" in known:
        return None
    if "NA" in known or "NaT" in known:
        import pandas

        return pandas.NA if "NA" in known else pandas.NaT
    return np.nan


def take_objects(codes: np.ndarray, labels: Sequence[Any], dtype: str) -> np.ndarray:
    """Return labels by their codes as Python objects, with -1 as the missing value."""
    table = np.empty(len(labels) + 1, object)
    table[:-1] = labels
    table[-1] = missing_object(dtype)
    taken: np.ndarray = table[codes]
    return taken
