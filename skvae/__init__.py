"""Generative autoencoders as scikit-learn estimators."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("skvae")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

# Names load with their modules on first use, so importing skvae does not import torch.
_HOMES = {
    "Autoencoder": "models.autoencoder",
    "DenoisingAE": "models.denoising_ae",
    "HuberEnergyVAE": "models.huber_energy_vae",
    "PPCA": "models.ppca",
    "VAE": "models.vae",
    "energy_distance": "metrics.energy",
    "load": "persistence",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'skvae' has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
