"""Validation of the state of a packed model, as returned by `pack`.

No model is built here. A model is built with an allowance, so that no layers are created whose
numbers are not in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import validate_parameter_constraints
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..nn.convolutions import stage_sizes
from ..nn.networks import ACTIVATIONS
from ..tables.checks import (
    Axes,
    Check,
    Each,
    Fields,
    Flag,
    Maybe,
    Named,
    Number,
    Row,
    Sizes,
    Text,
    Unset,
    Whole,
)
from ..tables.schema import Schema, check_schema

_MOST_LAYERS = 256
_SPARE = 1 << 23  # numbers that may be allocated in addition to those of a file
SPARE_OF_USERS = 1 << 28  # where the caller gives networks, which may hold more than weights
_MOMENT_DRAWS = 4096  # of a density that is no mixture

_LOSSES = Each(Number(finite=False))
_SPEC = Fields(
    {
        "n_features": Whole(1),
        "n_context": Whole(),
        "n_components": Whole(0, name="k"),
        "hidden": Each(Whole(1), 0, _MOST_LAYERS),
        "activation": Text(tuple(ACTIVATIONS)),
        "linear_skip": Flag(),
        "bounded": Flag(),
        "likelihood": Text(("gaussian", "bernoulli", "noiseless")),
        "noise": Text(("fixed", "feature", "scalar", "network")),
        "noise_variance": Maybe(Number(above=0.0)),
        "noise_floor": Number(above=0.0),
        "image_shape": Maybe(Each(Whole(1), 3, 3)),
        "channels": Each(Whole(1), 0, _MOST_LAYERS),
        "residual": Flag(),
        "classes": Each(Whole(1)),
        "n_masks": Whole(),
        "masking": Number(0.0, 1.0),
        "is_mixed": Flag(),
        "method": Named(lambda value, where, sizes: None),
    }
)
PACKED = Fields(
    {
        "spec": _SPEC,
        "schema": check_schema,
        "weights": Named(Axes(kinds="fiub")),
        "training": Fields(
            {
                "seed": Whole(),
                "epoch": Whole(),
                "optimisers": Each(Each(Axes())),
                "limits": Each(Number(low=0.0, finite=False)),
            }
        ),
        "curves": Fields({"loss": _LOSSES, "validation": _LOSSES, "terms": Named(_LOSSES)}),
        "codes": Maybe(Row((Axes(("k",)), Axes(("k",), above=0.0)))),
        "active_units": Maybe(Whole()),
    }
)


def check_code_density(value: Any, where: str, sizes: Sizes) -> None:
    """Raise an error for an object that is not a density of "k" codes."""
    if not all(callable(getattr(value, name, None)) for name in ("sample", "score_samples")):
        raise ValueError(f"{where} must have sample and score_samples")
    width = getattr(value, "n_features_in_", None)
    if width is not None and width != sizes["k"]:
        raise ValueError(f"{where} has {width} dimensions, but codes have {sizes['k']}")


# Fitted attributes of a learned estimator.
LEARNED: dict[str, Check] = {
    "image_shape_": Maybe(Each(Whole(1), 3, 3)),
    "device_": Text(),
    "n_iter_": Whole(),
    "loss_curve_": _LOSSES,
    "validation_scores_": _LOSSES,
    "history_": Named(_LOSSES),
    "best_loss_": Number(finite=False),
    "active_units_": Unset(Whole()),
    "latent_density_": Unset(check_code_density),
    "_fitted_": PACKED,
}


def check_packed(cls: Any, state: dict[str, Any]) -> None:
    """Raise an error for a packed model that is inconsistent, also with other attributes.

    Parameters
    ----------
    cls : type
        Class of the estimator, whose `_architecture` names the parameters of its networks.
    state : dict
        State of the estimator, with valid parts.
    """
    packed = state["_fitted_"]
    spec, schema = packed["spec"], Schema.from_state(packed["schema"])
    layout, shape = schema.layout, spec["image_shape"]
    found = (spec["n_features"], spec["classes"], spec["n_context"])
    wanted = (layout.n_features, layout.classes, len(state.get("classes_", ())))
    if found != wanted:
        raise ValueError(f"a network for {found} features does not match columns with {wanted}")
    if spec["n_masks"] not in (0, len(layout.numbers)):
        raise ValueError(f"n_masks must be 0 or {len(layout.numbers)}, got {spec['n_masks']}")
    if (spec["noise_variance"] is None) == (spec["noise"] == "fixed"):
        raise ValueError("noise and noise_variance are inconsistent")
    if spec["likelihood"] == "bernoulli" and not spec["bounded"]:
        raise ValueError("a Bernoulli likelihood must be bounded")
    images = state["image_shape_"]
    if (None if images is None else list(images)) != (None if shape is None else list(shape)):
        raise ValueError("image_shape_ is not that of the network")
    if shape is not None and (
        math.prod(shape) != spec["n_features"]
        or not spec["channels"]
        or min(stage_sizes(shape, len(spec["channels"]))[-1]) < 1
    ):
        raise ValueError(f"images of shape {shape} do not match the network")
    labels = state["_format_"]["columns"]["labels"]
    each = labels if len(labels) == schema.n_columns else labels * schema.n_columns
    for kind, known in zip(schema.kinds or [], each, strict=False):
        if kind.is_label and max(kind.values) >= len(known or ()):
            raise ValueError(f"a column that is {kind.kind} has more labels than the table")
    _check_method(cls, spec["method"])
    _check_training(packed)
    _check_codes(state, spec["n_components"])


def _check_method(cls: Any, method: dict[str, Any]) -> None:
    """Check that the settings of the networks are valid parameters of the class."""
    if set(method) != set(cls._architecture):
        raise ValueError(f"{cls.__name__} has the settings {cls._architecture}, not {set(method)}")
    validate_parameter_constraints(cls._parameter_constraints, method, cls.__name__)


def _check_training(packed: dict[str, Any]) -> None:
    """Check that optimisers have two moments for each parameter, and a count of steps."""
    training = packed["training"]
    if len(training["optimisers"]) != len(training["limits"]):
        raise ValueError("the training does not have one limit for each optimiser")
    for arrays in training["optimisers"]:
        seen = [array.shape for array in arrays]
        n = len(seen) // 2
        if len(seen) != 2 * n + 1 or seen[n:] != [*seen[:n], ()]:
            raise ValueError("an optimiser does not have two moments for each weight")


def _check_codes(state: dict[str, Any], k: int) -> None:
    """Check the latent density and its standardisation, and the memory that it needs."""
    density = state.get("latent_density_")
    if (density is None) != (state["_fitted_"]["codes"] is None):
        raise ValueError("a latent density needs their location and scale")
    if density is None:
        return
    means = getattr(density, "means_", np.zeros((1, k)))
    if means.ndim != 2 or means.shape[1] != k:
        raise ValueError(f"a latent density must have {k} dimensions")
    weights = state["_fitted_"]["weights"]
    if len(means) * k * k + _MOMENT_DRAWS * k > _SPARE + 2 * numbers_in(weights):
        raise ValueError(f"a density of {k} codes is too large for its model")


def numbers_in(weights: dict[str, np.ndarray]) -> int:
    """Return the number of entries of all arrays."""
    return sum(array.size for array in weights.values())


class Allowance(TorchFunctionMode):
    """Context in which a limited number of entries may be allocated.

    Parameters
    ----------
    n, spare : int

    Raises
    ------
    ValueError
        Before more are allocated.
    """

    def __init__(self, n: int, spare: int = _SPARE):
        super().__init__()
        self.left = n + spare

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        count = _ALLOCATED.get(func)
        if count is not None:
            self.left -= count(*args)
            if self.left < 0:
                raise ValueError("its networks have more parameters than the file contains")
        return func(*args, **(kwargs or {}))


def _of_size(*size: Any) -> int:
    return math.prod(size[0] if isinstance(size[0], list | tuple) else size)


def _square(n: int, m: int | None = None) -> int:
    return n * (n if m is None else m)


def _product(a: Tensor, b: Tensor) -> int:
    return a.numel() * b.numel() // max(1, a.shape[-1]) ** 2


def _pairs(a: Tensor, b: Any) -> int:
    shapes = zip_longest(reversed(a.shape), reversed(getattr(b, "shape", ())), fillvalue=1)
    return math.prod(max(m, n) for m, n in shapes)


def _picked(a: Tensor, at: Any) -> int:
    """Numbers of the rows, or columns, that are picked by their places."""
    n = a.numel()
    for axis, places in enumerate(at if isinstance(at, tuple) else (at,)):
        if hasattr(places, "numel"):
            n = n // max(1, a.shape[axis]) * places.numel()
    return n


# What makes tensors whose size does not follow from weights that are there: layers, and the masks
# of zuko's.
_ALLOCATED: dict[Any, Callable[..., int]] = {
    **dict.fromkeys((torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn), _of_size),
    torch.full: lambda size, value=0: _of_size(size),
    torch.eye: _square,
    Tensor.__matmul__: _product,
    Tensor.__gt__: _pairs,
    Tensor.__getitem__: _picked,
}
