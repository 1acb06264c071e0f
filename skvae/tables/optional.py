"""Import of optional dependencies."""

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
    """Import a module of an optional package, or raise an error with instructions.

    Parameters
    ----------
    name : str
        Name of the module.
    what : str
        Feature that needs the package, for the message.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        install = f'"skvae[{_EXTRAS[package]}]"' if package in _EXTRAS else package
        raise ImportError(
            f"{what} needs {package}, which cannot be imported: pip install {install}. ({error})"
        ) from error
