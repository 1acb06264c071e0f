"""Checks of parameters before scikit-learn's validation."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from .scikit_learn import BaseEstimator

_MOST = 1e38  # about the largest number of float32, in which networks compute
_IN_UNITS_OF_ROWS = ("noise_variance",)


class ParametersMixin(BaseEstimator):
    """Mixin that also validates parameters of numpy's and Python's numeric types."""

    def _validate_params(self) -> None:
        given: dict[str, Any] = self.get_params(deep=False)
        numbers: dict[str, Any] = {k: v for k, v in given.items() if isinstance(v, Real)}
        name = type(self).__name__
        for key, value in numbers.items():
            if not isinstance(
                value, int | float | np.generic
            ):  # scikit-learn does not support fractions
                raise ValueError(
                    f"{key} of {name} must be a float or an int, got {value!r}: use "
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
