"""Classes that are allowed in files, and their attributes.

A file refers to classes by name. Allowed are the classes of this package, the densities of
scikit-learn that are listed here, imported subclasses defined by the user, and classes that the
caller passes. No other module is imported. Attributes are parameters and fitted attributes; the
latter are declared in `_fitted_attributes`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ..tables.checks import Axes, Check, Each, Either, Flag, Named, Number, Text, Unset, Whole

_PACKAGE = __name__.partition(".")[0]
_MIXTURE: dict[str, Check] = {
    "weights_": Axes(("c",)),
    "means_": Axes(("c", "d")),
    "covariances_": Axes(),
    "precisions_cholesky_": Axes(),
    "precisions_": Axes(),
    "converged_": Flag(),
    "n_iter_": Whole(),
    "lower_bound_": Number(finite=False),
    "lower_bounds_": Unset(Each(Number(finite=False))),
    "n_features_in_": Whole(1, name="d"),
    "feature_names_in_": Unset(Axes(("d",), "O")),
}
# Axes of `covariances_` and similar attributes for each covariance type.
_COVARIANCES = {
    "full": ("c", "d", "d"),
    "tied": ("d", "d"),
    "diag": ("c", "d"),
    "spherical": ("c",),
}
_DENSITIES: dict[str, dict[str, Check]] = {
    "sklearn.mixture._gaussian_mixture.GaussianMixture": _MIXTURE,
    "sklearn.mixture._bayesian_mixture.BayesianGaussianMixture": {
        **_MIXTURE,
        "weight_concentration_prior_": Number(above=0.0),
        "weight_concentration_": Either((Axes(("c",)), Each(Axes(("c",)), 2, 2))),
        "mean_precision_prior_": Number(above=0.0),
        "mean_precision_": Axes(("c",)),
        "mean_prior_": Axes(("d",)),
        "degrees_of_freedom_prior_": Number(above=0.0),
        "degrees_of_freedom_": Axes(("c",)),
        "covariance_prior_": Either((Number(above=0.0), Axes())),
    },
    "sklearn.neighbors._kde.KernelDensity": {
        "bandwidth_": Number(above=0.0),
        "tree_": Unset(lambda value, where, sizes: None),  # checked when it is built
        "n_features_in_": Whole(1, name="d"),
        "feature_names_in_": Unset(Axes(("d",), "O")),
    },
}
# Attributes of all estimators other than parameters and fitted attributes.
_SETTINGS: dict[str, Check] = {
    "_sklearn_output_config": Named(Text(("default", "pandas", "polars"))),
    "_sklearn_version": Text(),
    "_versions": Named(Text()),
}


def name_of(cls: type) -> str:
    """Return the full name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _subclasses(cls: Any) -> Iterator[Any]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _is_of(name: str, package: str) -> bool:
    return name.partition(".")[0] == package


def find_class(name: str, base: type, allowed: Iterable[type] = ()) -> Any:
    """Find an estimator class by its full name.

    Parameters
    ----------
    name : str
    base : type
        Base class, whose imported subclasses outside of this package are allowed.
    allowed : iterable of type
        Further allowed classes.

    Raises
    ------
    ValueError
        If there is no such class, or it is not allowed in files.
    """
    found = [cls for cls in allowed if name_of(cls) == name]
    module, _, public = name.rpartition(".")
    if not found and _is_of(name, _PACKAGE):
        package = sys.modules[_PACKAGE]
        home = package._HOMES.get(public)
        if home is not None and module == f"{_PACKAGE}.{home}":
            found = [cls for cls in [getattr(package, public)] if hasattr(cls, "_get_param_names")]
    elif not found and name in _DENSITIES:
        found = [getattr(import_module(module), public)]
    elif not found and not _is_of(name, "sklearn"):
        found = [cls for cls in _subclasses(base) if name_of(cls) == name]
    if not found:
        raise ValueError(
            f"it contains a {name}, a class that is not imported or not allowed in files: import "
            "its module before loading or, if you trust the file, allow the class with "
            "skvae.load(path, classes=[...]). (A class defined in the main program of another "
            "script has the module __main__: move it to a module.)"
        )
    return found[-1]  # the newest, if a notebook cell defined it twice


def fitted_attributes(cls: type) -> dict[str, Check]:
    """Return the known fitted attributes of a class, with checks of their values."""
    found: dict[str, Check] = dict(_DENSITIES.get(name_of(cls), {}))
    for base in reversed(cls.__mro__):
        found |= vars(base).get("_fitted_attributes", {})
    return found


def is_fitted(cls: type, state: Mapping[str, Any]) -> bool:
    """Return whether a state has fitted attributes."""
    return any(name in state for name in fitted_attributes(cls))


def check_attributes(cls: Any, names: Iterable[str]) -> None:
    """Raise an error for names of attributes that the class does not have.

    User-defined classes may have further attributes, whose names end in an underscore.
    """
    known = {*cls._get_param_names(), *fitted_attributes(cls), *_SETTINGS}
    ours = name_of(cls) in _DENSITIES or _is_of(cls.__module__, _PACKAGE)
    for name in names:
        free = not ours and name.isidentifier() and name.endswith("_") and not hasattr(cls, name)
        if name not in known and not free:
            raise ValueError(
                f"{cls.__name__} has no attribute {name!r} that is allowed in a file. Names of "
                "fitted attributes of your own classes have to end in an underscore."
            )


def check_state(cls: Any, state: Mapping[str, Any]) -> None:
    """Raise an error for names that the class does not have, or values that fit cannot set."""
    check_attributes(cls, state)
    declared, sizes = fitted_attributes(cls), dict[str, int]()
    for name, check in _SETTINGS.items():
        if name in state:
            check(state[name], name, sizes)
    if not is_fitted(cls, state):
        return
    if "covariances_" in declared:
        axes = _COVARIANCES.get(state.get("covariance_type", ""))
        every = ("covariances_", "precisions_cholesky_", "precisions_")
        declared |= {name: Axes(axes) for name in every}
    for name, check in declared.items():
        if name in state:
            check(state[name], name, sizes)
        elif type(check) is not Unset:
            raise ValueError(f"{cls.__name__} is fitted, but has no {name!r}")
    if "covariances_" in declared:
        weights = state["weights_"]
        if not (weights >= 0.0).all() or not np.isclose(weights.sum(), 1.0):
            raise ValueError("weights_ must be non-negative and sum to one")
    if hasattr(cls, "_check_fitted"):
        cls._check_fitted(state)


def restored(cls: Any, state: dict[str, Any], given: Mapping[str, Any]) -> Any:
    """Return an estimator with a state from a file and parameters given by the caller.

    Parameters that are not in the file have their defaults. Parameters of fitted estimators must be
    valid; parameters of other estimators are validated by `fit`, as usual.
    """
    check_state(cls, state)
    known = cls._get_param_names()
    state = {**state, **given}
    if any(name not in state for name in known):
        state = {**cls().get_params(deep=False), **state}
    if is_fitted(cls, state) and hasattr(cls, "_parameter_constraints"):
        bare = cls.__new__(cls)
        vars(bare).update({name: state[name] for name in known})
        bare._validate_params()
    estimator = cls.__new__(cls)
    estimator.__setstate__(state)
    return estimator
