"""What every test over all estimators shares: small instances, data, and a digest of a model."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import skvae
from skvae.base import BaseAutoencoder

FAST = {
    "n_components": 2,
    "hidden_layer_sizes": (8,),
    "max_iter": 5,
    "n_importance_samples": 4,
    "random_state": 0,
}
# Estimators in other dress, where a parameter opens another path through the code.
DRESSES: dict[str, list[dict[str, Any]]] = {
    "PPCA": [{"n_components": 0.9}],
    "VAE": [
        {"noise": "network", "beta": 2.0, "kl_warmup": 0.5, "free_bits": 0.1},
        {"early_stopping": True, "n_iter_no_change": 1, "linear_skip": False},
        {"hidden_layer_sizes": ()},
    ],
    "DenoisingAE": [{"corruption": "masking", "noise": "scalar"}],
    "HuberEnergyVAE": [{"method": "surrogate", "noise": 0.5}],
}


def estimator_classes() -> list[type[BaseAutoencoder]]:
    public = [getattr(skvae, name) for name in skvae.__all__]
    return [c for c in public if isinstance(c, type) and issubclass(c, BaseAutoencoder)]


def make(cls: type[BaseAutoencoder], **params: Any) -> BaseAutoencoder:
    """A small, quick instance."""
    known = cls().get_params()
    return cls(**{k: v for k, v in FAST.items() if k in known} | params)


def instances() -> list[BaseAutoencoder]:
    """One small instance of each public estimator."""
    return [make(cls) for cls in estimator_classes()]


def dressed() -> list[BaseAutoencoder]:
    """Those, and some with parameters that open other paths."""
    others = [
        make(c, **params) for c in estimator_classes() for params in DRESSES.get(c.__name__, ())
    ]
    return instances() + others


def is_trained(estimator: BaseAutoencoder) -> bool:
    """Whether the fit draws random numbers."""
    return "learning_rate_init" in estimator.get_params()


def _name(estimator: BaseAutoencoder) -> str:
    default = make(type(estimator)).get_params()
    params = estimator.get_params()
    own = [f"{k}={v}" for k, v in params.items() if v is not default[k] and v != default[k]]
    return "-".join([type(estimator).__name__, *own]).replace(" ", "")


each = pytest.mark.parametrize("estimator", instances(), ids=_name)
each_dressed = pytest.mark.parametrize("estimator", dressed(), ids=_name)


def table(n: int = 120, d: int = 5, seed: int = 0) -> np.ndarray:
    """Curved, correlated rows of features with unlike scales and offsets."""
    rng = np.random.default_rng(seed)
    angle = rng.normal(size=(n, 2))
    X = np.hstack([angle, np.sin(2.0 * angle), angle**2])[:, :d] + 0.1 * rng.normal(size=(n, d))
    return X * np.logspace(-1, 2, d) + np.linspace(-50.0, 50.0, d)


_fitted: dict[str, BaseAutoencoder] = {}


def fitted(estimator: BaseAutoencoder) -> BaseAutoencoder:
    """The estimator fitted on `table()`; fitted once and shared, so for reading only."""
    name = _name(estimator)
    if name not in _fitted:
        _fitted[name] = clone(estimator).fit(table())
    return _fitted[name]


@cache
def new_rows() -> np.ndarray:
    X = table(40, seed=1)
    X.setflags(write=False)
    return X


def outputs(estimator: BaseAutoencoder, X: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Everything a fitted model says."""
    X = new_rows() if X is None else X
    Z = estimator.transform(X)
    mean, std = estimator.posterior(X)
    score, error = estimator.score_samples(X, return_std=True)
    return {
        "transform": Z,
        "inverse_transform": estimator.inverse_transform(Z),
        "reconstruct": estimator.reconstruct(X),
        "reconstruction_error": estimator.reconstruction_error(X),
        "posterior mean": mean,
        "posterior std": std,
        "score_samples": score,
        "score error": error,
        "score_features": estimator.score_features(X),
        "score_parts": estimator.score_parts(X).latent,
        "decision_function": estimator.decision_function(X),
        "predict": estimator.predict(X),
        "sample": estimator.sample(7, random_state=3),
        "sample mean": estimator.sample(7, random_state=3, noise=False),
    }


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Equal to the last bit."""
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


def digest(estimator: BaseAutoencoder, X: np.ndarray | None = None) -> str:
    hashed = hashlib.sha256()
    for value in outputs(estimator, X).values():
        hashed.update(np.ascontiguousarray(value).tobytes())
    return hashed.hexdigest()


def fit_and_digest(estimator: BaseAutoencoder, X: np.ndarray) -> str:
    """For workers of joblib."""
    return digest(clone(estimator).fit(X))
