"""Generative autoencoders as scikit-learn estimators."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("skvae")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

# Names load with their modules on first use, so importing skvae does not import torch.
_HOMES = {
    "AdversarialAE": "models.adversarial_ae",
    "Autoencoder": "models.autoencoder",
    "ConditionalVAE": "models.conditional_vae",
    "ContractiveAE": "models.contractive_ae",
    "DenoisingAE": "models.denoising_ae",
    "FactorVAE": "models.factor_vae",
    "FlexAE": "models.flex_ae",
    "GAN": "models.gan",
    "HuberEnergyVAE": "models.huber_energy_vae",
    "InfoGAN": "models.info_gan",
    "InfoVAE": "models.info_vae",
    "InjectiveFlowAE": "models.injective_flow_ae",
    "MaskAAE": "models.mask_aae",
    "PPCA": "models.ppca",
    "RAE": "models.rae",
    "SparseAE": "models.sparse_ae",
    "TwoStageVAE": "models.two_stage_vae",
    "VAE": "models.vae",
    "WassersteinAE": "models.wasserstein_ae",
    "active_units": "metrics.codes",
    "attribute_directions": "latent",
    "code_correlation": "metrics.codes",
    "density_coverage": "metrics.precision_recall",
    "energy_distance": "metrics.energy",
    "frechet_distance": "metrics.frechet",
    "interpolate": "latent",
    "knn_precision_recall": "metrics.precision_recall",
    "load": "persistence",
    "nearest_training_rows": "metrics.neighbours",
    "prd_curve": "metrics.precision_recall",
    "prd_f_scores": "metrics.precision_recall",
}
_SUBMODULES = ("datasets", "displays")
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'skvae' has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
