"""Packages that are not installed with skvae."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXTRAS = {
    "matplotlib": "displays",
    "pandas": "tables",
    "pyarrow": "parquet",
    "dask": "dask",
    "distributed": "dask",
}


def imported(name: str, what: str = "this") -> Any:
    """A module of a package that is not installed with skvae.

    Parameters
    ----------
    name : str
        Of the module.
    what : str
        What needs the package, for the message.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        install = f'"skvae[{_EXTRAS[package]}]"' if package in _EXTRAS else package
        raise ImportError(
            f"{what} needs {package}, which cannot be imported: pip install {install}. ({error})"
        ) from error
