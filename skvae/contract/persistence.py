"""Saving without pickle: one safetensors file, arrays as tensors and the rest as JSON.

The file can be read by any safetensors reader: arrays are stored under the path of their attribute,
and the metadata entry ``skvae`` contains JSON with the class, the versions of the packages and the
rest of the state. Loading runs only code of skvae, of some densities of scikit-learn, and of
estimators of the user that are already imported; the contents of a file are checked before they are
used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ..tables.checks import MOST, Check, Each, Fields, Named, Text, Whole
from ..tables.files import digest, read, to_bytes, versions, write
from .classes import check_state, find_class, name_of, restored
from .codec import Decoder, encode

_FORMAT = 5
_HEAD = Fields(
    {
        "format": Whole(),
        "class": Text(),
        "versions": Named(Text()),
        "supplied": Each(Text()),
        "state": Named(lambda value, where, sizes: None),
    }
)
# Exceptions, besides ValueError, that values passing all checks may still raise.
_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    MemoryError,
)


class PersistenceMixin:
    """Mixin with `save` and versions in pickles, to the left of `BaseEstimator` in the bases."""

    # Fitted attributes, in addition to those of the bases, and checks of their values; files with
    # other attributes are rejected.
    _fitted_attributes: ClassVar[dict[str, Check]] = {}

    @classmethod
    def _check_fitted(cls, state: dict[str, Any]) -> None:
        """Raise an error if the parts of a fitted state are valid but do not match each other."""

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**state, "_versions": versions()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved, here = state.pop("_versions", {}).get("skvae", "unknown"), versions()["skvae"]
        if saved != here:
            # The state of scikit-learn's base class and of numpy and torch is plain arrays, so
            # only the version of skvae decides whether it still means the same.
            warnings.warn(
                f"This {type(self).__name__} was saved by skvae {saved} and is loaded by {here}: "
                "it may fail or give different results. To be safe, fit and save it again.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)  # type: ignore[misc]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file that `skvae.load` reads, without pickle.

        The file is written atomically: an interrupted save leaves an existing file unchanged.

        Parameters
        ----------
        path : str or PathLike
            Path of the file, used exactly as given.

        Raises
        ------
        TypeError
            If a fitted attribute does not consist of plain values, arrays and imported estimators.
            Parameters can be of any type: custom networks and functions are not written and have to
            be passed to `skvae.load`.
        ValueError
            If a fitted attribute does not belong to the class, or was changed to a value that
            `skvae.load` would reject.

        Examples
        --------
        >>> import tempfile, skvae
        >>> from sklearn.datasets import load_iris
        >>> model = skvae.PPCA(n_components=2).fit(load_iris().data)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/iris.skvae")
        ...     loaded = skvae.load(f"{folder}/iris.skvae")
        >>> loaded.score(load_iris().data) == model.score(load_iris().data)
        True
        """
        cls: Any = type(self)
        parameters = cls._get_param_names()
        tensors: dict[str, np.ndarray] = {}
        state, supplied = {}, []
        for name, value in self._state_to_save().items():
            own: dict[str, np.ndarray] = {}
            try:
                state[name] = encode(value, name, own)
            except TypeError as error:
                if name not in parameters:
                    raise TypeError(
                        f"{cls.__name__}.save cannot write the attribute {error}. Store such "
                        "objects in parameters and pass them to skvae.load, or use pickle."
                    ) from None
                supplied.append(name)
            else:
                tensors.update(own)
        head = {
            "format": _FORMAT,
            "class": name_of(cls),
            "versions": versions(),
            "supplied": supplied,
            "state": state,
        }
        write(os.path.realpath(os.fsdecode(path)), to_bytes(head, tensors))

    def _state_to_save(self) -> dict[str, Any]:
        """Return the state to save; ValueError if `load` would fail."""
        state = self.__getstate__()
        # callbacks belong to a fit; versions are written separately
        state = {k: v for k, v in state.items() if k not in ("_skl_callbacks", "_versions")}
        try:
            check_state(type(self), state)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}.save cannot write this: {error}") from error
        return state


def load(path: str | os.PathLike[str], *, classes: Iterable[type] = (), **params: Any) -> Any:
    """Load an estimator from a file written by `save`.

    Loading an untrusted file runs no code from the file, but the model may not be what it claims to
    be: see the page "Saving" of the documentation.

    Parameters
    ----------
    path : str or PathLike
        Path of the file.
    classes : iterable of type, default=()
        Further classes of estimators that are allowed in the file, such as a custom latent density.
        Allowed by default are the classes of skvae, your own subclasses of them, and scikit-learn's
        GaussianMixture, BayesianGaussianMixture and KernelDensity.
    **params
        Constructor parameters that replace those in the file. Parameters that `save` could not
        write, such as a custom `encoder`, are required.

    Returns
    -------
    estimator : object
        The estimator, with outputs that are bitwise identical to those of the saved one.

    Raises
    ------
    ValueError
        If the file is damaged, was not written by `save` or has a newer format, if its contents are
        not a valid state of its class, if its class is not imported, or if a required parameter is
        missing.

    Warns
    -----
    UserWarning
        If the file was written by another version of skvae.

    See Also
    --------
    VAE.save : Writes the file; a method of all estimators.

    Examples
    --------
    >>> import tempfile, skvae
    >>> from sklearn.datasets import load_iris
    >>> model = skvae.PPCA(n_components=2).fit(load_iris().data)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/iris.skvae")
    ...     skvae.load(f"{folder}/iris.skvae")
    PPCA(n_components=2)
    """
    path = os.fspath(path)
    head, tensors = read(path)
    allowed = list(classes)
    try:
        _check_head(head, tensors)
        cls = find_class(head["class"], PersistenceMixin, allowed)
        supplied = head["supplied"]
        if not set(supplied) <= set(cls._get_param_names()):
            raise ValueError(
                f"{cls.__name__} does not have the parameters {supplied} named in the file"
            )
    except _FAULTS as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        raise ValueError(f"{cls.__name__} has no parameter {', '.join(unknown)}.")
    missing = [name for name in supplied if name not in params]
    if missing:
        hint = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{path} does not contain the {cls.__name__} parameter {', '.join(missing)}, which "
            f"cannot be written without pickle: call skvae.load(path, {hint})."
        )

    def restore(name: str, state: dict[str, Any]) -> Any:
        return restored(find_class(name, PersistenceMixin, allowed), state, {})

    decode = Decoder(tensors, restore)
    try:
        own = {name: value for name, value in head["state"].items() if name not in params}
        state = {name: decode(value) for name, value in own.items()}
        if len(own) == len(head["state"]):
            decode.finish()
        return restored(cls, {**state, "_versions": head["versions"]}, params)
    except _FAULTS as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _check_head(head: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Raise an error for a file of another format, or one that was changed."""
    if "checkpoint" in head:
        raise ValueError(
            "it is the checkpoint of a fit: call fit with the same arguments to continue"
        )
    layout: Any = head.get("format")
    Whole(-MOST)(layout, "its format", {})
    if layout > _FORMAT:
        raise ValueError(
            f"it has format {layout}, but this version of skvae reads format {_FORMAT}: upgrade "
            "skvae"
        )
    if layout < _FORMAT:
        raise ValueError(
            f"it was saved by an earlier version of skvae (format {layout}; this version reads "
            f"format {_FORMAT}): fit the estimator and save it again"
        )
    found = head.pop("digest", None)
    _HEAD(head, "its header", {})
    if found != digest(head, tensors):
        raise ValueError("it is damaged: its digest does not match its contents")
