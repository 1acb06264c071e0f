"""Saving without pickle: one safetensors file, arrays as tensors and the rest as JSON.

The file is read by any safetensors reader: arrays lie under the path of their attribute, and the
metadata entry ``skvae`` holds JSON with the class, the versions of the packages and the rest of
the state. Loading runs no code but that of skvae, of some densities of scikit-learn, and of
estimators of the user's that are already imported; what a file holds is checked before it is used.
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
# What may come of values that no check has thought of, besides ValueError.
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
    """`save`, and versions stamped into pickles; for classes left of `BaseEstimator`."""

    # What a fit sets, beside what the bases say, and what its values may be; in files nothing else
    # is read.
    _fitted_attributes: ClassVar[dict[str, Check]] = {}

    @classmethod
    def _check_fitted(cls, state: dict[str, Any]) -> None:
        """Refuse the state of a fitted estimator whose parts, each as it may be, do not fit."""

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
                f"This {type(self).__name__} was saved by skvae {saved} and is read by {here}: "
                "it may fail or give other results. Fit and save it again to be sure.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)  # type: ignore[misc]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file that `skvae.load` reads, without pickle.

        The file appears whole or not at all: an interrupted save leaves an older one untouched.

        Parameters
        ----------
        path : str or PathLike
            Name of the file, used exactly as given.

        Raises
        ------
        TypeError
            If a fitted attribute is not made of plain values, arrays and imported estimators.
            A parameter may be anything: a network or a function given by the user is not
            written, and `skvae.load` asks for it.
        ValueError
            If a fitted attribute is not one of its class, or was changed to what `skvae.load`
            would refuse.

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
                        f"{cls.__name__}.save cannot write the attribute {error}. Keep such "
                        "objects in parameters and give them to skvae.load, or use pickle."
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
        """The state, but for what is none of a file; ValueError if `load` would refuse it."""
        state = self.__getstate__()
        # scikit-learn's callbacks watch a fit; versions are written for themselves
        state = {k: v for k, v in state.items() if k not in ("_skl_callbacks", "_versions")}
        try:
            check_state(type(self), state)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}.save cannot write this: {error}") from error
        return state


def load(path: str | os.PathLike[str], *, classes: Iterable[type] = (), **params: Any) -> Any:
    """Read an estimator that `save` wrote.

    A file from a stranger can do no harm but to give a model that is not what it seems: see the
    page "Saving" of the documentation.

    Parameters
    ----------
    path : str or PathLike
        Name of the file.
    classes : iterable of type, default=()
        Classes of estimators that the file may hold beside those of skvae, your own that are
        derived from them, and scikit-learn's GaussianMixture, BayesianGaussianMixture and
        KernelDensity: a density of codes of your own, say.
    **params
        Constructor parameters to use in place of those in the file. The ones that `save` could
        not write, such as a network given as `encoder`, must be among them.

    Returns
    -------
    estimator : object
        Equal to the saved one, its outputs to the last bit.

    Raises
    ------
    ValueError
        If the file is damaged, foreign or of a newer format, if what it holds is not what a fit of
        its class could have left, if its class is not imported, or if a parameter that it does not
        hold is missing.

    Warns
    -----
    UserWarning
        If the file was written by another version of skvae.

    See Also
    --------
    VAE.save : Writes the file; every estimator has it.

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
            raise ValueError(f"{cls.__name__} has no parameter of those it lacks, {supplied}")
    except _FAULTS as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        raise ValueError(f"{cls.__name__} has no parameter {', '.join(unknown)}.")
    missing = [name for name in supplied if name not in params]
    if missing:
        hint = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{path} does not hold the {cls.__name__} parameter {', '.join(missing)}, which "
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
    """Refuse what was not written by this format, or has changed since."""
    if "checkpoint" in head:
        raise ValueError("it is the checkpoint of a fit, which the same fit goes on from")
    layout: Any = head.get("format")
    Whole(-MOST)(layout, "its format", {})
    if layout > _FORMAT:
        raise ValueError(
            f"it has format {layout}, and this skvae reads format {_FORMAT}: upgrade skvae"
        )
    if layout < _FORMAT:
        raise ValueError(
            f"it was saved by an earlier layout of skvae (format {layout}; this one reads format "
            f"{_FORMAT}): fit the estimator and save it again"
        )
    found = head.pop("digest", None)
    _HEAD(head, "its header", {})
    if found != digest(head, tensors):
        raise ValueError("it is damaged: its digest does not fit its contents")
