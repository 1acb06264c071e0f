"""Which classes a file may hold, and which attributes they may have.

A file names classes. It gets those of this package, densities of scikit-learn that are listed
here, estimators that a user derived from ours and has imported, and what the caller allows by name.
No other module is imported for it. Attributes are parameters, and what a fit sets: our classes and
those listed here say what that is, in `_fitted_attributes`.
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
# Of each covariance type the axes of `covariances_` and their like.
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
        "tree_": Unset(lambda value, where, sizes: None),  # checked where it is built
        "n_features_in_": Whole(1, name="d"),
        "feature_names_in_": Unset(Axes(("d",), "O")),
    },
}
# What any estimator may have beside parameters and what a fit sets.
_SETTINGS: dict[str, Check] = {
    "_sklearn_output_config": Named(Text(("default", "pandas", "polars"))),
    "_sklearn_version": Text(),
    "_versions": Named(Text()),
}


def name_of(cls: type) -> str:
    """The full name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _subclasses(cls: Any) -> Iterator[Any]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _is_of(name: str, package: str) -> bool:
    return name.partition(".")[0] == package


def find_class(name: str, base: type, allowed: Iterable[type] = ()) -> Any:
    """An estimator class by its full name.

    Parameters
    ----------
    name : str
    base : type
        Whose imported subclasses, outside of this package, are users' own.
    allowed : iterable of type
        Further classes.

    Raises
    ------
    ValueError
        If there is none that a file may hold.
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
            f"it holds a {name}, a class that is not imported, or none that files may hold: import "
            "its module before loading, or allow it, by skvae.load(path, classes=[...]), if you "
            "trust the file. (A class from the main program of another script goes by __main__: "
            "move it to a module.)"
        )
    return found[-1]  # the newest, where a notebook cell defined it twice


def fitted_attributes(cls: type) -> dict[str, Check]:
    """What a fit of the class sets, with what that may be, as far as it is known."""
    found: dict[str, Check] = dict(_DENSITIES.get(name_of(cls), {}))
    for base in reversed(cls.__mro__):
        found |= vars(base).get("_fitted_attributes", {})
    return found


def is_fitted(cls: type, state: Mapping[str, Any]) -> bool:
    """Whether a state has some of what a fit sets."""
    return any(name in state for name in fitted_attributes(cls))


def check_attributes(cls: Any, names: Iterable[str]) -> None:
    """Refuse names of attributes that the class does not have.

    A class of a user may have further ones, if they end in an underscore and mean nothing else.
    """
    known = {*cls._get_param_names(), *fitted_attributes(cls), *_SETTINGS}
    ours = name_of(cls) in _DENSITIES or _is_of(cls.__module__, _PACKAGE)
    for name in names:
        free = not ours and name.isidentifier() and name.endswith("_") and not hasattr(cls, name)
        if name not in known and not free:
            raise ValueError(
                f"{cls.__name__} has no attribute {name!r} that a file may hold. Those of a class "
                "of your own end in an underscore."
            )


def check_state(cls: Any, state: Mapping[str, Any]) -> None:
    """Refuse a state with names that the class does not have, or values that a fit cannot set."""
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
            raise ValueError(f"{cls.__name__} was fitted, but lacks {name!r}")
    if "covariances_" in declared:
        weights = state["weights_"]
        if not (weights >= 0.0).all() or not np.isclose(weights.sum(), 1.0):
            raise ValueError("weights_ must be shares")
    if hasattr(cls, "_check_fitted"):
        cls._check_fitted(state)


def restored(cls: Any, state: dict[str, Any], given: Mapping[str, Any]) -> Any:
    """An estimator with a state from a file, some parameters given by the caller.

    A parameter that the file does not know has its default. Those of a fitted estimator must be
    valid; those of another one are looked at by `fit`, as ever.
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
