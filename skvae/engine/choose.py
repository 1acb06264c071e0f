"""What a fit decides by looking at the rows once."""

from __future__ import annotations

import math
from typing import Any

from ..nn.convolutions import stage_sizes
from ..tables.schema import Schema, Summary
from .settings import LikelihoodSettings, ModelSpec, NetworkSettings

_ROUNDING = 1e-6  # by which a min-max scaler may leave [0, 1]
_LEAST_PIXELS = 64  # features of rows in [0, 1] that are taken for images


def _span(summary: Summary) -> tuple[float, float, bool]:
    """Smallest and largest value, and whether all lie in [0, 1]."""
    low, high = float(summary.low.min()), float(summary.high.max())
    return low, high, low >= -_ROUNDING and high <= 1.0 + _ROUNDING


def check_intensities(summary: Summary, likelihood: LikelihoodSettings) -> None:
    """Refuse rows outside of [0, 1] for a likelihood that asks for them."""
    low, high, intensities = _span(summary)
    if likelihood.is_for_intensities and not intensities:
        raise ValueError(
            f"{likelihood.described} needs X in [0, 1], but it spans [{low:.4g}, {high:.4g}]. "
            f"Rescale X or use {likelihood.instead}."
        )


def choose_bounded(likelihood: LikelihoodSettings, summary: Summary, is_image: bool) -> bool:
    """Whether means are bounded by a sigmoid: for images in [0, 1], and where told."""
    check_intensities(summary, likelihood)
    if likelihood.is_for_intensities:
        return True
    wide = is_image or len(summary.low) >= _LEAST_PIXELS
    return likelihood.kind == "auto" and _span(summary)[2] and wide


def choose_convolutions(networks: NetworkSettings, n_features: int) -> dict[str, Any]:
    """Convolutional stages of image models, where rows are images."""
    shape, channels = networks.image_shape, list(networks.channels)
    if shape is None:
        if networks.residual:
            raise ValueError("residual=True is for images: give image_shape, or a 4-D X.")
        return {"image_shape": None, "channels": channels, "residual": False}
    if math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={shape} has {math.prod(shape)} pixels, but X has {n_features} features."
        )
    if not channels or min(stage_sizes(shape, len(channels))[-1]) < 1:
        raise ValueError(
            f"hidden_channels={networks.channels!r} halves images {len(channels)} times, "
            f"which those of shape {shape} do not allow."
        )
    return {"image_shape": list(shape), "channels": channels, "residual": networks.residual}


def choose_noise(likelihood: LikelihoodSettings, of_pixels: bool) -> tuple[str, float | None]:
    """Kind of the noise, and its variance where it is fixed."""
    noise = likelihood.noise
    if not isinstance(noise, str):
        return "fixed", float(noise)
    if noise == "auto":
        return ("scalar" if of_pixels else "feature"), None
    return noise, None


def choose(
    networks: NetworkSettings,
    likelihood: LikelihoodSettings,
    summary: Summary,
    n_context: int,
    method: dict[str, Any],
) -> tuple[ModelSpec, Schema]:
    """The description of the model, its number of components still open, and the schema."""
    d = len(summary.mean)
    bounded = choose_bounded(likelihood, summary, networks.image_shape is not None)
    convolutions = choose_convolutions(networks, d)
    is_image = convolutions["image_shape"] is not None
    noise, variance = choose_noise(likelihood, bounded or is_image)
    wanted = networks.linear_skip
    if wanted is None:
        wanted = bounded or is_image or not networks.hidden
    kind = "bernoulli" if likelihood.kind == "bernoulli" else "gaussian"
    spec = ModelSpec(
        n_features=d,
        n_context=n_context,
        n_components=0,
        hidden=list(networks.hidden),
        activation=networks.activation,
        linear_skip=networks.builds_all and wanted,
        bounded=bounded,
        likelihood="noiseless" if likelihood.is_noiseless else kind,
        noise=noise,
        noise_variance=variance,
        noise_floor=likelihood.floor**2,
        method=method,
        **convolutions,
    )
    return spec, Schema.fit(summary, one_scale=bounded or is_image)
