"""Examples leave the process as they found it."""

from __future__ import annotations

import numpy as np
import sklearn
import torch

_before: dict[str, object] = {}


def _state() -> dict[str, object]:
    kind, keys, place, *_ = np.random.get_state()
    return {
        "numpy's global generator": (kind, keys.tobytes(), place),
        "torch's global generator": torch.random.get_rng_state().numpy().tobytes(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "scikit-learn's configuration": sklearn.get_config(),
    }


def hold_global_state(gallery_conf: dict, name: str, when: str) -> None:
    """Called by sphinx-gallery before and after each example."""
    if when == "before":
        _before.update(_state())
        return
    changed = [key for key, value in _state().items() if value != _before[key]]
    if changed:
        raise RuntimeError(f"the example {name} left {', '.join(changed)} changed")
