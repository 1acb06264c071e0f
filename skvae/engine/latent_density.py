"""Density estimators of the codes, fitted after training."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch import Tensor

from ..nn.networks import as_float
from ..nn.priors import Mixture, Prior

HELD_OUT = "held out"  # the prior or a mixture, selected by the likelihood of held-out rows
_MOST_ROWS = 5000  # codes that select the number of components of a mixture
_MOMENT_DRAWS = 4096
_DRAWN_KERNELS = ("gaussian", "tophat")


def check_density(given: Any, owner: str) -> None:
    """Check, before training, that an object can be a density of the codes of an estimator."""
    if isinstance(given, type):
        raise TypeError(
            f"latent_density of {owner} must be an instance, got the class {given.__name__}: use "
            f"{given.__name__}()."
        )
    if isinstance(given, KernelDensity) and given.kernel not in _DRAWN_KERNELS:
        raise ValueError(
            f"latent_density of {owner} must support sampling, but a KernelDensity with "
            f"kernel={given.kernel!r} does not: use one of {', '.join(map(repr, _DRAWN_KERNELS))}."
        )
    if hasattr(given, "_validate_params"):  # estimators with the API of scikit-learn
        try:
            given._validate_params()
        except ValueError as error:
            raise ValueError(
                f"latent_density of {owner} has an invalid parameter: {error}"
            ) from error


def fit_density(given: Any, codes: np.ndarray, seed: int) -> Any:
    """Clone and fit the user's estimator to codes (n, k), or the mixture with the best BIC."""
    # k-means, which initialises a mixture, does not work with array API dispatch
    with config_context(array_api_dispatch=False):
        if isinstance(given, str):
            return _best_mixture(codes, seed)
        density = clone(given)
        if "random_state" in density.get_params() and density.random_state is None:
            density.set_params(random_state=seed % 2**32)
        try:
            return density.fit(codes)
        except ValueError as error:
            raise ValueError(
                f"latent_density={given!r} cannot be fitted to the codes of {len(codes)} rows of "
                f"X. ({error})"
            ) from error


def mixtures(codes: np.ndarray, seed: int) -> Iterator[GaussianMixture]:
    """Fit mixtures of 1, 2, 4, 8 and 16 components, as far as there are enough codes."""
    rows = _to_choose(codes)
    for c in (1, 2, 4, 8, 16):
        if c > 1 and len(rows) < 4 * c * (codes.shape[1] + 1):
            break
        mixture = GaussianMixture(
            c, reg_covar=1e-3, tol=1e-2, max_iter=200, random_state=seed % 2**32
        )
        with config_context(array_api_dispatch=False):
            fitted = mixture.fit(rows)
        yield fitted


def _best_mixture(codes: np.ndarray, seed: int) -> GaussianMixture:
    """Fit the mixture with the best Bayesian information criterion."""
    rows = _to_choose(codes)
    return min(mixtures(codes, seed), key=lambda mixture: mixture.bic(rows))


def _to_choose(codes: np.ndarray) -> np.ndarray:
    at = np.linspace(0, len(codes) - 1, min(len(codes), _MOST_ROWS)).astype(int)
    chosen: np.ndarray = codes[at]
    return chosen


def to_prior(density: Any, centre: np.ndarray, spread: np.ndarray) -> Prior:
    """Return the distribution of ``centre + spread * u`` for u from a fitted density."""
    if isinstance(density, GaussianMixture):
        return _from_mixture(density, centre, spread)
    return FittedDensity(density, centre, spread)


def _from_mixture(mixture: GaussianMixture, centre: np.ndarray, spread: np.ndarray) -> Mixture:
    covariances, kind = mixture.covariances_, mixture.covariance_type
    c, k = mixture.means_.shape
    if kind == "tied":
        covariances = np.broadcast_to(covariances, (c, k, k))
    elif kind == "diag":
        covariances = np.stack([np.diag(v) for v in covariances])
    elif kind == "spherical":
        covariances = np.stack([v * np.eye(k) for v in covariances])
    scales = np.linalg.cholesky(covariances) * spread[:, None]
    weights = np.maximum(mixture.weights_, 1e-12)
    return Mixture(
        as_float(np.log(weights)), as_float(mixture.means_ * spread + centre), as_float(scales)
    )


class FittedDensity(Prior):
    """Latent distribution given by a fitted estimator with `sample` and `score_samples`."""

    centre: Tensor
    spread: Tensor

    def __init__(self, density: Any, centre: np.ndarray, spread: np.ndarray):
        super().__init__()
        self.estimator = density
        self.register_buffer("centre", as_float(centre))
        self.register_buffer("spread", as_float(spread))
        draws = self.sample(_MOMENT_DRAWS, torch.Generator().manual_seed(0))
        self.normal = Mixture.of_draws(draws)

    def log_prob(self, z: Tensor, model: Any = None) -> Tensor:
        u = ((z - self.centre) / self.spread).reshape(-1, z.shape[-1]).double().cpu().numpy()
        finite = np.isfinite(u).all(axis=1)
        value = np.full(len(u), -np.inf)  # for codes that overflow
        if finite.any():
            value[finite] = self.estimator.score_samples(u if finite.all() else u[finite])
        return torch.from_numpy(value).to(z).reshape(z.shape[:-1]) - self.spread.log().sum()

    def sample(self, n: int, rng: torch.Generator, model: Any = None) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
        density, takes = self.estimator, inspect.signature(self.estimator.sample).parameters
        if "random_state" in takes:
            drawn = density.sample(n, random_state=seed)
        else:
            if "random_state" in density.get_params():
                density = copy.copy(density).set_params(random_state=seed)
            drawn = density.sample(n)
        u = drawn[0] if isinstance(drawn, tuple) else drawn  # mixtures also return labels
        return torch.from_numpy(np.asarray(u)).to(self.centre) * self.spread + self.centre

    def proposals(self, model: Any = None) -> Mixture:
        return self.normal
