"""What every test over all estimators shares: small instances, data, and a digest of a model."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import KernelDensity

import skvae
from skvae.contract.density import BaseLatentModel
from skvae.contract.generator import BaseGenerator
from skvae.contract.learner import BaseLearner
from skvae.contract.outliers import BaseAutoencoder
from skvae.engine.optimiser import Adam

FAST = {
    "n_components": 2,
    "hidden_layer_sizes": (8,),
    "max_iter": 5,
    "n_importance_samples": 4,
    "random_state": 0,
}
OWN = {
    "ConditionalVAE": {"max_iter": 20, "batch_size": 32, "learning_rate_init": 0.02},
    "FlexAE": {"hidden_layer_sizes": (32,)},
    "InfoGAN": {"hidden_layer_sizes": (32,)},
    "MaskAAE": {"hidden_layer_sizes": (32,)},
}
# Estimators in other dress, where a parameter opens another path through the code.
DRESSES: dict[str, list[dict[str, Any]]] = {
    "AdversarialAE": [{"critic_steps": 2, "hidden_layer_sizes": ()}],
    "Autoencoder": [{"latent_density": KernelDensity()}, {"latent_density": None}],
    "ConditionalVAE": [{"prior": "vamp", "prior_size": 3}],
    "ContractiveAE": [{"jacobian": "hutchinson"}],
    "DenoisingDetector": [{"n_neighbors": 1, "hidden_layer_sizes": (), "contamination": 0.1}],
    "DenoisingAE": [{"corruption": "masking", "noise_variance": "scalar"}],
    "FlexAE": [{"latent_density": KernelDensity(), "network__linear_skip": True}],
    "GAN": [{"loss": "non_saturating", "critic_steps": 1}],
    "HuberEnergyVAE": [{"distance": "surrogate", "noise_variance": 0.5}],
    "InfoGAN": [{"n_categories": 0}, {"n_continuous": 0, "hidden_layer_sizes": ()}],
    "MaskAAE": [{"network__linear_skip": True}],
    "PPCA": [{"n_components": 0.9}],
    "RAE": [{"decoder_penalty": "gradient"}, {"decoder_penalty": "spectral_norm"}],
    "SparseAE": [{"penalty": "kl"}],
    "TwoStageVAE": [{"latent_density": skvae.PPCA(1)}],
    "VAE": [
        {"noise_variance": "network", "beta": 2.0, "kl_warmup": 0.5, "free_bits": 0.1},
        {"early_stopping": True, "training__patience": 1, "network__linear_skip": False},
        {"hidden_layer_sizes": ()},
        {"prior": "mixture", "prior_size": 3, "n_draws": 2},
        {"prior": "vamp", "prior_size": 3, "bound": "importance_weighted", "n_draws": 3},
        {"prior": "flow", "network__linear_skip": True},
        {"prior": "implicit"},
        {"posterior_family": "iaf", "network__linear_skip": True},
        {"latent_density": skvae.VAE(1, hidden_layer_sizes=(4,), max_iter=3)},
    ],
    "WassersteinAE": [{"divergence": "sliced_wasserstein"}],
}


def estimator_classes(kind: type = BaseGenerator) -> list[Any]:
    public = [getattr(skvae, name) for name in skvae.__all__]
    return [c for c in public if isinstance(c, type) and issubclass(c, kind)]


def make(cls: type[Any], **params: Any) -> Any:
    """A small, quick instance."""
    known = cls().get_params()
    quick = FAST | OWN.get(cls.__name__, {})
    return build(cls, **{k: v for k, v in quick.items() if k in known} | params)


def build(cls: type[Any], **params: Any) -> Any:
    """An instance; settings of options objects by their long names, ``training__alpha``."""
    plain = {k: v for k, v in params.items() if "__" not in k}
    return cls(**plain).set_params(**{k: v for k, v in params.items() if "__" in k})


def instances(kind: type = BaseGenerator) -> list[Any]:
    """One small instance of each public estimator."""
    return [make(cls) for cls in estimator_classes(kind)]


def dressed(kind: type = BaseGenerator) -> list[Any]:
    """Those, and some with parameters that open other paths."""
    others = [
        make(c, **params) for c in estimator_classes(kind) for params in DRESSES.get(c.__name__, ())
    ]
    return instances(kind) + others


def is_trained(estimator: Any) -> bool:
    """Whether the fit draws random numbers."""
    return "learning_rate_init" in estimator.get_params()


def _name(estimator: Any) -> str:
    default = make(type(estimator)).get_params(deep=False)
    params = estimator.get_params(deep=False)
    own = [f"{k}={v}" for k, v in params.items() if v is not default[k] and v != default[k]]
    return "-".join([type(estimator).__name__, *own]).replace(" ", "")


def _each(estimators: list[Any]):
    return pytest.mark.parametrize("estimator", estimators, ids=_name)


each, each_dressed = _each(instances()), _each(dressed())
each_latent, each_latent_dressed = (
    _each(instances(BaseLatentModel)),
    _each(dressed(BaseLatentModel)),
)
each_detector = _each(instances(BaseAutoencoder))
each_detector_dressed = _each(dressed(BaseAutoencoder))
each_learner, each_learner_dressed = _each(instances(BaseLearner)), _each(dressed(BaseLearner))
each_transformer = _each([e for e in instances() if hasattr(e, "transform")])


def table(n: int = 120, d: int = 5, seed: int = 0) -> np.ndarray:
    """Curved, correlated rows of features with unlike scales and offsets."""
    rng = np.random.default_rng(seed)
    angle = rng.normal(size=(n, 2))
    X = np.hstack([angle, np.sin(2.0 * angle), angle**2])[:, :d] + 0.1 * rng.normal(size=(n, d))
    return X * np.logspace(-1, 2, d) + np.linspace(-50.0, 50.0, d)


def labels(X: Any) -> np.ndarray:
    """Something for classifiers to learn; the others ignore it."""
    n = len(X) if hasattr(X, "__len__") else getattr(X, "shape", [2])[0]
    return np.arange(n) % 2


def fit(model: Any, X: Any) -> Any:
    return model.fit(X, labels(X))


_fitted: dict[str, Any] = {}


def fitted(estimator: Any) -> Any:
    """The estimator fitted on `table()`; fitted once and shared, so for reading only."""
    name = _name(estimator)
    if name not in _fitted:
        _fitted[name] = fit(clone(estimator), table())
    return _fitted[name]


@cache
def new_rows() -> np.ndarray:
    X = table(40, seed=1)
    X.setflags(write=False)
    return X


def outputs(estimator: Any, X: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Everything a fitted model says."""
    X = new_rows() if X is None else X
    found = {}
    if isinstance(estimator, BaseGenerator):
        found["sample"] = estimator.sample(7, random_state=3)
        found["sample mean"] = estimator.sample(7, random_state=3, noise=False)
    if hasattr(estimator, "transform"):
        found["transform"] = estimator.transform(X)
        found["inverse_transform"] = estimator.inverse_transform(found["transform"])
    if isinstance(estimator, BaseLatentModel):
        found["reconstruct"] = estimator.reconstruct(X)
        found["reconstruction_error"] = estimator.reconstruction_error(X)
        found["posterior mean"], found["posterior std"] = estimator.posterior(X)
        found["score_samples"], found["score error"] = estimator.score_samples(X, return_std=True)
        found["score_features"] = estimator.score_features(X)
        found["score_parts"] = estimator.score_parts(X).latent
    elif hasattr(estimator, "score_samples"):
        found["score_samples"] = estimator.score_samples(X)
        found["score_features"] = estimator.score_features(X)
        found["training_scores_"] = estimator.training_scores_
    if getattr(estimator, "_is_calibrated_", False):
        found["p_values"] = estimator.p_values(X)
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(estimator, method):
            found[method] = getattr(estimator, method)(X)
    return found


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Equal to the last bit."""
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


def digest(estimator: Any, X: np.ndarray | None = None) -> str:
    hashed = hashlib.sha256()
    for value in outputs(estimator, X).values():
        hashed.update(np.ascontiguousarray(value).tobytes())
    return hashed.hexdigest()


def fit_and_digest(estimator: Any, X: np.ndarray) -> str:
    """For workers of joblib."""
    return digest(fit(clone(estimator), X))


def interrupt_at(monkeypatch, call, owner=Adam, name="step"):
    """A KeyboardInterrupt in a step of training, or another method, as Ctrl-C would raise it."""
    calls, original = [0], getattr(owner, name)

    def stop(self, *args, **kwargs):
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, stop)
