"""Parameters that get a new name."""

from __future__ import annotations

from inspect import signature
from typing import Any

from .messages import warn

DEPRECATED = "deprecated"  # default of a parameter that has a new name


def renamed_parameter(estimator: Any, old: str, new: str, removal: str) -> Any:
    """Value of a parameter that has a new name, with a warning if the old name is used.

    The estimator keeps both parameters until `removal`; the default of the old one is
    ``"deprecated"``. `fit` calls this function and uses what it returns.

    Parameters
    ----------
    estimator : estimator
    old, new : str
        Both names.
    removal : str
        The version of skvae that no longer has the old name.

    Returns
    -------
    value : object
        Value of the old parameter where it is set, and of the new one otherwise.

    Raises
    ------
    ValueError
        If both are set.

    Warns
    -----
    FutureWarning
        If the old one is set.

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
    # get_params names the class' own parameters, so a wrong name is an error here
    params = estimator.get_params(deep=False)
    before, now = params[old], params[new]
    if isinstance(before, str) and before == DEPRECATED:
        return now
    name = type(estimator).__name__
    if now is not signature(type(estimator)).parameters[new].default:
        raise ValueError(
            f"{name} has both {old}={before!r} and {new}={now!r}: {old} is the former name of "
            f"{new}, so set {new} alone."
        )
    warn(
        f"the parameter {old} of {name} is now called {new}; {old} will be removed in skvae "
        f"{removal}.",
        FutureWarning,
    )
    return before
