"""Checks of parameters before scikit-learn's own."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from .scikit_learn import BaseEstimator

_MOST = 1e38  # about the largest number of the networks, which compute in float32
_IN_UNITS_OF_ROWS = ("noise_variance",)


class ParametersMixin(BaseEstimator):
    """Parameters of numpy's types and of Python's numeric tower are checked, too."""

    def _validate_params(self) -> None:
        given: dict[str, Any] = self.get_params(deep=False)
        numbers: dict[str, Any] = {k: v for k, v in given.items() if isinstance(v, Real)}
        name = type(self).__name__
        for key, value in numbers.items():
            if not isinstance(value, int | float | np.generic):  # scikit-learn knows no fractions
                raise ValueError(
                    f"{key} of {name} must be a plain number, got {value!r}: write "
                    f"{key}=float({value!r})."
                )
        with np.errstate(over="ignore"):  # limits beyond the range of float16
            super()._validate_params()
            large = [k for k in numbers if not -_MOST <= numbers[k] <= _MOST]
        for key in large:
            if key not in _IN_UNITS_OF_ROWS:
                raise ValueError(
                    f"{key} of {name} must lie within {_MOST:g} of 0, got {numbers[key]}."
                )
