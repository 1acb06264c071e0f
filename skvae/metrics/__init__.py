"""How far apart two samples are: figures for models, samples and codes."""

from .energy import energy_distance

__all__ = ["energy_distance"]
