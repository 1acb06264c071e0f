"""Checks of parameters before scikit-learn's own."""

from __future__ import annotations

from numbers import Real

import numpy as np

from .scikit_learn import BaseEstimator


class ParametersMixin(BaseEstimator):
    """Parameters of numpy's types and of Python's numeric tower are checked, too."""

    def _validate_params(self) -> None:
        for name, value in self.get_params(deep=False).items():
            # scikit-learn asks numpy whether they are NaN, which knows no fractions, say
            if isinstance(value, Real) and not isinstance(value, int | float | np.generic):
                raise ValueError(
                    f"{name} of {type(self).__name__} must be a plain number, got {value!r}: "
                    f"write {name}=float({value!r})."
                )
        with np.errstate(over="ignore"):  # limits beyond the range of float16
            super()._validate_params()
