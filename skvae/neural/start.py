"""What is fixed before the first step: devices, scaling, networks, a start at PPCA."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..likelihoods import NormalHead, PointHead
from ..linear_gaussian import LinearGaussian
from ..model import Model
from ..networks import Network, as_float, lend_global_generator

START_ROWS = 8192  # rows that set the linear start and the automatic number of components


def resolve_device(device: str, fallback: bool = False) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        if fallback:
            return torch.device("cpu")
        raise ValueError(f"device={device!r} cannot be used here: {error}") from error
    return resolved


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in str(error)  # what torch says on the CPU
    )


def scaling(X: np.ndarray, one_scale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale by feature, (d,) each; one scale for all where features are pixels."""
    size = np.abs(X).max(axis=0).astype(np.float64)
    size[size == 0.0] = 1.0  # so that squares of huge or tiny values stay in range
    location, scale = np.empty(X.shape[1]), np.empty(X.shape[1])
    for j in range(0, X.shape[1], 64):
        columns = slice(j, j + 64)
        part = X[:, columns] / size[columns]
        location[columns] = part.mean(axis=0, dtype=np.float64)
        scale[columns] = part.std(axis=0, dtype=np.float64)
    scale[scale <= 1e-10 * np.abs(location)] = 0.0  # constant but for rounding
    location, scale = location * size, scale * size
    if one_scale:
        scale[:] = np.sqrt(np.mean(np.square(scale)))
    scale[scale == 0.0] = 1.0
    return location, scale


def custom_network(given: Any, inputs: int, outputs: int, seed: int) -> nn.Module:
    """A copy of the user's module, or what the user's factory makes; its widths are tried."""
    if isinstance(given, nn.Module):
        network = copy.deepcopy(given)
    else:
        with lend_global_generator(seed):  # a factory draws from it
            network = given(inputs, outputs)
        if not isinstance(network, nn.Module):
            raise TypeError(
                "encoder and decoder factories must return a torch.nn.Module, got "
                f"{type(network).__name__}."
            )
    network = network.float().cpu()
    with torch.no_grad():
        try:
            shape = tuple(network.eval()(torch.zeros(2, inputs)).shape)
        except RuntimeError as error:
            raise ValueError(
                f"a custom network must map (n, {inputs}) to (n, {outputs}): {error}"
            ) from error
    if shape != (2, outputs):
        raise ValueError(
            f"a custom network must map (n, {inputs}) to (n, {outputs}), but 2 rows gave {shape}."
        )
    return network.train()


def without_context(
    X: np.ndarray, context: np.ndarray, location: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) less what their context explains by least squares, and its part of the mean.

    The second is (d, C), in standardised units: for one-hot labels the means of the classes.
    """
    if not context.shape[1]:
        return X, np.zeros((X.shape[1], 0))
    part = slice(None, None, -(-len(X) // START_ROWS))
    rows, context = X[part].astype(np.float64), context[part].astype(np.float64)
    by_context = np.linalg.lstsq(context, rows - location, rcond=None)[0]
    return rows - context @ by_context, (by_context / scale).T


def start_linear(
    model: Model,
    k: int,
    linear: LinearGaussian,
    location: np.ndarray,
    scale: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Start encoder and decoder at probabilistic PCA of the standardised rows.

    `linear` describes rows less what their context c adds to their mean, ``offsets c``, (d, C).
    """
    linear = linear.truncate(k)  # codes beyond the principal components start at zero
    w, s2 = linear.loadings.astype(np.float64), float(linear.noise_variance)  # (d, k)
    m = w.T @ w + s2 * np.eye(k)
    encoder, decoder = model.encoder, model.decoder
    head = None if encoder is None else encoder.head
    if isinstance(head, NormalHead):
        project = np.linalg.solve(m, w.T)  # posterior mean
        spread = np.log(s2 * np.diag(np.linalg.inv(m)))
        weight = np.vstack([project, np.zeros_like(project)])
        bias = np.concatenate([-project @ linear.mean, spread])
    else:  # whitened codes: W = U (L - s2 I)^1/2 becomes U L^1/2
        excess = np.square(w).sum(axis=0)
        used = excess > 0.0
        w[:, used] *= np.sqrt(1.0 + s2 / excess[used])
        weight = w.T / np.where(used, np.square(w).sum(axis=0), 1.0)[:, None]
        bias = -weight @ linear.mean
    if isinstance(head, NormalHead | PointHead):
        _start_at(encoder.network, np.hstack([weight, -weight @ offsets]), bias)
    b = linear.mean
    if getattr(model.likelihood, "bounded", True):  # logits: a line through the logit of the mean
        logit_of = partial(_logit, location=location, scale=scale)
        b, slope = logit_of(linear.mean)
        w, offsets = w * slope[:, None], logit_of(linear.mean + offsets.T)[0].T - b[:, None]
    w = np.hstack([w, offsets])
    if getattr(model.likelihood, "noise", "") == "network":
        w = np.vstack([w, np.zeros_like(w)])
        b = np.concatenate([b, np.full(len(b), np.log(max(s2, 1e-5)))])
    _start_at(decoder.network, w, b)


def _logit(
    mean: np.ndarray, location: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of standardised means (..., d) of intensities, and their slopes."""
    centre = np.clip(location + scale * mean, 0.02, 0.98)
    slope = scale / np.maximum(centre * (1.0 - centre), 0.05)
    return np.log(centre / (1.0 - centre)), slope


def _start_at(network: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Start at a linear map; inputs and outputs beyond it are at zero."""
    if not (isinstance(network, Network) and network.can_start_linear):
        return
    more = (network.out_features - len(weight), network.in_features - weight.shape[1])
    weight = np.pad(weight, [(0, more[0]), (0, more[1])])
    network.start_linear(as_float(weight), as_float(np.pad(bias, (0, more[0]))))
