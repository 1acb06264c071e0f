"""Automatic choices of a fit, from one pass over the rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..nn.convolutions import stage_sizes
from ..tables.kinds import ColumnKind, find_kinds
from ..tables.marginals import QuantileNormal
from ..tables.schema import Schema
from ..tables.source import RowSource
from ..tables.summary import Summary
from ..tables.weighting import EXAMPLES
from .settings import LikelihoodSettings, ModelSpec, NetworkSettings, TableSettings

_ROUNDING = 1e-6  # tolerance for values outside of [0, 1] after min-max scaling
_LEAST_SPREAD = 1e-30  # of intensities: float32 has no smaller scale
_MASKING = 0.1  # share of the values masked in training for mixed or incomplete rows
_LEAST_PIXELS = 64  # number of features from which rows in [0, 1] are treated as images


def _span(summary: Summary) -> tuple[float, float, bool]:
    """Return smallest and largest value, and whether all lie in [0, 1]."""
    low, high = float(summary.low.min()), float(summary.high.max())
    return low, high, low >= -_ROUNDING and high <= 1.0 + _ROUNDING


def check_intensities(summary: Summary, likelihood: LikelihoodSettings) -> None:
    """Raise an error for rows outside of [0, 1] if the likelihood needs them."""
    low, high, intensities = _span(summary)
    if likelihood.is_for_intensities and not intensities:
        raise ValueError(
            f"{likelihood.described} needs X in [0, 1], but it spans [{low:.4g}, {high:.4g}]. "
            f"Rescale X or use {likelihood.instead}."
        )


def choose_bounded(likelihood: LikelihoodSettings, summary: Summary, is_image: bool) -> bool:
    """Return whether means are bounded by a sigmoid: for images in [0, 1], or if requested."""
    check_intensities(summary, likelihood)
    spread = float(summary.std.max())
    narrow = 0.0 < spread < _LEAST_SPREAD
    if likelihood.is_for_intensities:
        if narrow:
            raise ValueError(
                f"{likelihood.described} needs X in [0, 1] with distinguishable values, but "
                f"standard deviations are at most {spread:.3g}. Rescale X or use "
                f"{likelihood.instead}."
            )
        return True
    wide = is_image or len(summary.low) >= _LEAST_PIXELS
    return likelihood.kind == "auto" and _span(summary)[2] and wide and not narrow


def choose_convolutions(networks: NetworkSettings, n_features: int) -> dict[str, Any]:
    """Return the convolutional stages of image models, if rows are images."""
    shape, channels = networks.image_shape, list(networks.channels)
    if shape is None:
        if networks.residual:
            raise ValueError(
                "residual=True can be used only for images: set image_shape, or pass a 4-D X."
            )
        return {"image_shape": None, "channels": channels, "residual": False}
    if math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={shape} has {math.prod(shape)} pixels, but X has {n_features} features."
        )
    if not channels or min(stage_sizes(shape, len(channels))[-1]) < 1:
        raise ValueError(
            f"hidden_channels={networks.channels!r} halves images {len(channels)} times, which is "
            f"not possible for images of shape {shape}: use fewer stages."
        )
    return {"image_shape": list(shape), "channels": channels, "residual": networks.residual}


def choose_noise(
    likelihood: LikelihoodSettings, of_pixels: bool, by_network: bool
) -> tuple[str, float | None]:
    """Return the kind of the noise, and its variance if it is fixed."""
    noise = likelihood.noise
    if not isinstance(noise, str):
        return "fixed", float(noise)
    if noise == "auto" and by_network:
        return "network", None
    if noise == "auto":
        return ("scalar" if of_pixels else "feature"), None
    return noise, None


def choose_schema(
    likelihood: LikelihoodSettings, table: TableSettings, source: RowSource, is_image: bool
) -> tuple[Schema, bool]:
    """Return the schema of the columns, and whether means are bounded."""
    summary = Summary.of(source)
    if not (np.isfinite(summary.mean).all() and np.isfinite(summary.std).all()):
        raise ValueError("X contains NaN or infinity, or numbers whose variance overflows.")
    if not summary.count.any():
        raise ValueError("all values of X are missing (NaN): pass rows with observed values.")
    labelled = [c for c in table.columns or () if c.is_category]
    if labelled and likelihood.is_for_intensities:
        raise ValueError(
            f"{likelihood.described} needs columns of numbers in [0, 1], but column "
            f"{labelled[0].name!r} of X is categorical. Use {likelihood.instead}."
        )
    bounded = not labelled and choose_bounded(likelihood, summary, is_image)
    pixels = bounded or is_image
    if pixels and (table.marginals != "standard" or any(c.stated for c in table.columns or ())):
        raise ValueError(
            "column_kinds and marginals of table=TableOptions(...) cannot be used for images: "
            "leave them at their defaults, or, for columns in [0, 1] that are not pixels, use "
            "likelihood='gaussian'."
        )
    if pixels or likelihood.is_noiseless:
        holes = source.has_missing and not is_image
        return Schema.fit(summary, one_scale=pixels, sees_masks=holes), bounded
    spikes = bool(labelled) if table.by_values is None else table.by_values
    kinds = find_kinds(source, table.columns, table.by_values is not False, spikes)
    if any(kind.kind == "spiked" for kind in kinds):
        summary = Summary.of(source, kinds)
    mixed = bool(labelled) or source.has_missing or bool(table.masking)
    examples = _examples(source, kinds)
    marginals = {}
    if table.marginals == "quantile":
        for j, values in examples.items():
            values = values[~np.isin(values, kinds[j].values)]
            if len(np.unique(values)) > 1:
                marginals[j] = QuantileNormal.of(values)
    known = None if all(kind.kind == "numeric" for kind in kinds) else kinds
    schema = Schema.fit(
        summary, kinds=known, marginals=marginals, sees_masks=mixed, examples=examples
    )
    return schema, False


def _examples(source: RowSource, kinds: list[ColumnKind]) -> dict[int, np.ndarray]:
    """Return sorted values of numerical columns, of some of the rows."""
    rows = source.some(EXAMPLES)
    found = {}
    for j, kind in enumerate(kinds):
        cells = rows.column(j)
        if kind.has_number and kind.kind != "missing" and len(cells):
            found[j] = np.sort(cells)
    return found


def choose(
    networks: NetworkSettings,
    likelihood: LikelihoodSettings,
    table: TableSettings,
    source: RowSource,
    method: dict[str, Any],
    relative: bool,
) -> tuple[ModelSpec, Schema]:
    """Return the description of the model, without its number of components, and the schema.

    `relative` is True if the reconstruction loss is relative to the variance of rows, so that the
    noise is set after training.
    """
    convolutions = choose_convolutions(networks, source.n_features)
    is_image = convolutions["image_shape"] is not None
    schema, bounded = choose_schema(likelihood, table, source, is_image)
    mixed = schema.sees_masks
    by_network = mixed and not bounded and not relative
    noise, variance = choose_noise(likelihood, bounded or is_image, by_network)
    wanted = networks.linear_skip
    if wanted is None:
        wanted = bounded or is_image or mixed or noise == "network" or not networks.hidden
    kind = "bernoulli" if likelihood.kind == "bernoulli" else "gaussian"
    layout = schema.layout
    masking = table.masking
    if masking is None:
        masking = _MASKING if mixed else 0.0
    spec = ModelSpec(
        n_features=layout.n_features,
        n_context=source.n_context,
        n_components=0,
        hidden=list(networks.hidden),
        activation=networks.activation,
        linear_skip=networks.builds_all and wanted,
        bounded=bounded,
        likelihood="noiseless" if likelihood.is_noiseless else kind,
        noise=noise,
        noise_variance=variance,
        noise_floor=likelihood.floor**2,
        classes=layout.classes,
        n_masks=len(layout.numbers) if mixed else 0,
        masking=masking,
        is_mixed=mixed,
        method=method,
        **convolutions,
    )
    return spec, schema
