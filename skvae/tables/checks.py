"""Validators for the state that is read from a file.

A check is called with a value, its name for errors, and the sizes known so far. Sizes have names:
the first check with a name sets the size, and all others must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NoReturn

import numpy as np

Sizes = dict[str, int]
Check = Callable[[Any, str, Sizes], None]

MOST = 1 << 53  # default bound of integers


def refuse(where: str, must: str, value: Any) -> NoReturn:
    """Raise an error that says what a value must be."""
    shown = type(value).__name__ if isinstance(value, list | tuple | dict) else repr(value)
    if isinstance(value, np.ndarray):
        shown = f"an array of {value.dtype} of shape {value.shape}"
    raise ValueError(f"{where} must be {must}, got {shown[:200]}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def _agree(name: str, n: int, where: str, sizes: Sizes) -> None:
    if sizes.setdefault(name, n) != n:
        raise ValueError(f"{where} has {n} entries, but other parts have {sizes[name]}")


@dataclass(frozen=True)
class Whole:
    """Check for an integer in a range; with a name it is a size shared with other checks."""

    low: int = 0
    high: int = MOST
    name: str | None = None

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not _is_whole(value) or not self.low <= value <= self.high:
            refuse(where, f"an integer in [{self.low}, {self.high}]", value)
        if self.name is not None:
            _agree(self.name, int(value), where, sizes)


@dataclass(frozen=True)
class Number:
    """Check for a number, finite by default, in a closed range or above a bound."""

    low: float = -np.inf
    high: float = np.inf
    above: float = -np.inf
    finite: bool = True

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
            refuse(where, "a number", value)
        number = float(value)
        if not self.finite:
            return
        if not np.isfinite(number):
            refuse(where, "a finite number", value)
        if not (self.low <= number <= self.high and number > self.above):
            refuse(where, f"a number in [{max(self.low, self.above)}, {self.high}]", value)


@dataclass(frozen=True)
class Flag:
    """Check for True or False."""

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, bool | np.bool_):
            refuse(where, "True or False", value)


@dataclass(frozen=True)
class Text:
    """Check for a string, or one of given strings."""

    options: tuple[str, ...] = ()

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, str) or (self.options and value not in self.options):
            refuse(where, f"one of {self.options}" if self.options else "a string", value)


@dataclass(frozen=True)
class Either:
    """Check for one of several types of values."""

    checks: tuple[Check, ...]

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        said = []
        for check in self.checks:
            try:
                return check(value, where, sizes)
            except ValueError as error:
                said.append(str(error))
        raise ValueError(" or ".join(said))


@dataclass(frozen=True)
class Maybe:
    """Check for None or a value."""

    check: Check

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if value is not None:
            self.check(value, where, sizes)


@dataclass(frozen=True)
class Unset:
    """Check for a value that may be absent."""

    check: Check

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        self.check(value, where, sizes)


@dataclass(frozen=True)
class Each:
    """Check for a list or tuple with a number of equal entries."""

    check: Check
    least: int = 0
    most: int = MOST
    name: str | None = None

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, list | tuple):
            refuse(where, "a list", value)
        if not self.least <= len(value) <= self.most:
            raise ValueError(
                f"{where} must have {self.least} to {self.most} entries, got {len(value)}"
            )
        if self.name is not None:
            _agree(self.name, len(value), where, sizes)
        for i, item in enumerate(value):
            self.check(item, f"{where}.{i}", sizes)


@dataclass(frozen=True)
class Row:
    """Check for a list with one check for each entry."""

    checks: tuple[Check, ...]

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, list | tuple) or len(value) != len(self.checks):
            refuse(where, f"a list of {len(self.checks)} values", value)
        for i, (check, item) in enumerate(zip(self.checks, value, strict=True)):
            check(item, f"{where}.{i}", sizes)


@dataclass(frozen=True)
class Named:
    """Check for a dictionary with string keys."""

    check: Check

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            refuse(where, "a dictionary with names", value)
        for key, item in value.items():
            self.check(item, f"{where}.{key}", sizes)


@dataclass(frozen=True)
class Fields:
    """Check for a dictionary with exactly these keys, except those that may be absent."""

    checks: Mapping[str, Check]

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        if not isinstance(value, dict):
            refuse(where, "a dictionary", value)
        for name in value:
            if name not in self.checks:
                raise ValueError(f"{where} contains the unknown entry {name!r}")
        for name, check in self.checks.items():
            if name in value:
                check(value[name], f"{where}.{name}", sizes)
            elif type(check) is not Unset:
                raise ValueError(f"{where} has no entry {name!r}")


@dataclass(frozen=True)
class Axes:
    """Check for an array.

    Parameters
    ----------
    shape : tuple of int or str, or None
        Lengths of the axes, or the names of their sizes; None for any shape.
    kinds : str
        Kinds of the dtype: "f" floating, "i" and "u" integer, "b" boolean, "O" and "U" text.
    above : float
        Lower bound of all numbers, exclusive.
    finite : bool
        Whether both infinity and NaN are rejected; otherwise only infinity.
    """

    shape: tuple[int | str, ...] | None = None
    kinds: str = "f"
    above: float = -np.inf
    finite: bool = True

    def __call__(self, value: Any, where: str, sizes: Sizes) -> None:
        wanted = "any shape" if self.shape is None else f"shape {self.shape}"
        if not isinstance(value, np.ndarray) or value.dtype.kind not in self.kinds:
            refuse(where, f"an array of kind {self.kinds!r} and {wanted}", value)
        if self.shape is not None:
            if value.ndim != len(self.shape):
                refuse(where, f"an array of {wanted}", value)
            for n, size in zip(value.shape, self.shape, strict=True):
                if isinstance(size, str):
                    _agree(size, n, where, sizes)
                elif n != size:
                    refuse(where, f"an array of {wanted}", value)
        if value.dtype.kind == "O" and not all(isinstance(item, str) for item in value.flat):
            refuse(where, "an array of strings", value)
        if value.dtype.kind not in "OU":
            self._check_numbers(value, where)

    def _check_numbers(self, value: np.ndarray, where: str) -> None:
        if value.dtype.kind == "f":
            bad = np.isinf(value).any() if not self.finite else not np.isfinite(value).all()
            if bad:
                raise ValueError(f"{where} must be finite")
        if self.above > -np.inf and not (value > self.above).all():
            raise ValueError(f"{where} must be above {self.above}")
