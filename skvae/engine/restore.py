"""Conversion of a fitted model to plain values and arrays, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ..tables.schema import Schema
from .build import build, resolve_device
from .fit import CodeDensity, Curves, Fitted
from .method import Method
from .packed import SPARE_OF_USERS, Allowance, numbers_in
from .settings import ModelSpec, NetworkSettings
from .trainer import TrainState


def pack(fitted: Fitted) -> dict[str, Any]:
    """Convert to dictionaries, lists, numbers and arrays, without the estimator of a density."""
    schema, state, density = fitted.schema, fitted.state, fitted.density
    return {
        "spec": asdict(fitted.spec),
        "schema": schema.to_state(),
        "weights": {name: v.cpu().numpy() for name, v in fitted.model.state_dict().items()},
        "training": {
            "seed": state.seed,
            "epoch": state.epoch,
            "optimisers": [[v.cpu().numpy() for v in values] for values, _ in state.optimisers],
            "limits": [limit for _, limit in state.optimisers],
        },
        "curves": asdict(fitted.curves),
        "codes": None if density is None else [density.location, density.scale],
        "active_units": fitted.active_units,
    }


def _writable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable else array.copy()


def unpack(
    packed: dict[str, Any], method: Method, networks: NetworkSettings, device: str, density: Any
) -> Fitted:
    """Restore a fitted model, on the given device or else the CPU.

    `networks` contains custom networks, `density` is the estimator of a latent density.
    """
    spec, schema = ModelSpec(**packed["spec"]), Schema.from_state(packed["schema"])
    spare = {} if networks.builds_all else {"spare": SPARE_OF_USERS}
    with Allowance(numbers_in(packed["weights"]), **spare):
        model = build(method, spec, networks, schema, seed=None)
    codes = None
    if packed["codes"] is not None:
        codes = CodeDensity(density, *packed["codes"])
        model.density = method._make_latent(codes.prior())
    # which copies; memory-mapped arrays are read-only
    weights = {k: torch.from_numpy(_writable(v)) for k, v in packed["weights"].items()}
    model.load_state_dict(weights)
    place = str(resolve_device(device, fallback=True))
    training = packed["training"]
    optimisers = [
        ([torch.tensor(v) for v in values], limit)
        for values, limit in zip(training["optimisers"], training["limits"], strict=True)
    ]
    state = TrainState(training["seed"], training["epoch"], optimisers)
    return Fitted(
        model.to(place).eval(),
        schema,
        spec,
        state,
        place,
        Curves(**packed["curves"]),
        codes,
        packed["active_units"],
    )
