"""Noise on rows that a denoising autoencoder has to undo; (x, generator) -> corrupted x."""

from __future__ import annotations

import torch
from torch import Tensor


class GaussianNoise:
    """Adds normal noise of standard deviation `level` to standardised features."""

    def __init__(self, level: float, bounds: tuple[Tensor, Tensor]):
        self.level = level

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x + self.level * torch.empty_like(x).normal_(generator=generator)


class Masking:
    """Sets a share `level` of the cells to zero, the mean of standardised features."""

    def __init__(self, level: float, bounds: tuple[Tensor, Tensor]):
        if level > 1.0:
            raise ValueError(f"corruption_level must be at most 1 for masking, got {level}.")
        self.level = level

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x * (torch.empty_like(x).uniform_(generator=generator) >= self.level)


class SaltAndPepper:
    """Sets a share `level` of the cells to the feature's lowest or highest value."""

    def __init__(self, level: float, bounds: tuple[Tensor, Tensor]):
        if level > 1.0:
            raise ValueError(
                f"corruption_level must be at most 1 for salt_and_pepper, got {level}."
            )
        self.level = level
        self.low, self.high = bounds  # (d,) each

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        u = torch.empty_like(x).uniform_(generator=generator)
        low, high = self.low.to(x), self.high.to(x)
        return torch.where(u < self.level / 2, low, torch.where(u < self.level, high, x))


CORRUPTIONS: dict[str, type] = {
    "gaussian": GaussianNoise,
    "masking": Masking,
    "salt_and_pepper": SaltAndPepper,
}
