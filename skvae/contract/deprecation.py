"""Deprecation of renamed parameters."""

from __future__ import annotations

from inspect import signature
from typing import Any

from .messages import warn

DEPRECATED = "deprecated"  # default of a deprecated parameter


def renamed_parameter(estimator: Any, old: str, new: str, removal: str) -> Any:
    """Return the value of a renamed parameter, with a warning if the old name is used.

    The estimator has both parameters until `removal`; the default of the old one is
    ``"deprecated"``. `fit` calls this function and uses the returned value.

    Parameters
    ----------
    estimator : estimator
    old, new : str
        Old and new name of the parameter.
    removal : str
        Version of skvae in which the old name is removed.

    Returns
    -------
    value : object
        Value of the old parameter if it is set, and of the new one otherwise.

    Raises
    ------
    ValueError
        If both parameters are set.

    Warns
    -----
    FutureWarning
        If the old parameter is set.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> class Model(BaseEstimator):
    ...     def __init__(self, n_components=2, n_codes="deprecated"):
    ...         self.n_components = n_components
    ...         self.n_codes = n_codes
    >>> renamed_parameter(Model(n_components=3), "n_codes", "n_components", "0.3")
    3
    """
    # get_params contains the parameters of the class, so that a wrong name is an error here
    params = estimator.get_params(deep=False)
    before, now = params[old], params[new]
    if isinstance(before, str) and before == DEPRECATED:
        return now
    name = type(estimator).__name__
    default = signature(type(estimator)).parameters[new].default
    if type(now) is not type(default) or now != default:
        raise ValueError(
            f"{name} has both {old}={before!r} and {new}={now!r}: {old} is the former name of "
            f"{new}, so set only {new}."
        )
    warn(
        f"the parameter {old} of {name} is now called {new}; {old} will be removed in skvae "
        f"{removal}.",
        FutureWarning,
    )
    return before
