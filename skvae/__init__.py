"""Generative autoencoders as scikit-learn estimators."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

try:
    __version__ = version("skvae")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

# Names are imported with their modules on first use, so importing skvae does not import torch.
_HOMES = {
    "AdversarialAE": "estimators.adversarial_ae",
    "Autoencoder": "estimators.autoencoder",
    "ConditionalVAE": "estimators.conditional_vae",
    "ContractiveAE": "estimators.contractive_ae",
    "DenoisingAE": "estimators.denoising_ae",
    "DenoisingDetector": "estimators.denoising_detector",
    "FactorVAE": "estimators.factor_vae",
    "FlexAE": "estimators.flex_ae",
    "GAN": "estimators.gan",
    "HuberEnergyVAE": "estimators.huber_energy_vae",
    "InfoGAN": "estimators.info_gan",
    "InfoVAE": "estimators.info_vae",
    "InjectiveFlowAE": "estimators.injective_flow_ae",
    "MaskAAE": "estimators.mask_aae",
    "NetworkOptions": "estimators.options",
    "PPCA": "estimators.ppca",
    "RAE": "estimators.rae",
    "SparseAE": "estimators.sparse_ae",
    "SyntheticReport": "metrics.synthetic.report",
    "TableOptions": "estimators.options",
    "TrainingOptions": "estimators.options",
    "TwoStageVAE": "estimators.two_stage_vae",
    "VAE": "estimators.vae",
    "WassersteinAE": "estimators.wasserstein_ae",
    "active_units": "metrics.codes",
    "attribute_directions": "latent",
    "closest_record_share": "metrics.synthetic.closest_records",
    "code_correlation": "metrics.codes",
    "density_coverage": "metrics.precision_recall",
    "energy_distance": "metrics.energy",
    "frechet_distance": "metrics.frechet",
    "interpolate": "latent",
    "knn_precision_recall": "metrics.precision_recall",
    "load": "contract.persistence",
    "marginal_error": "metrics.synthetic.marginals",
    "nearest_training_rows": "metrics.neighbours",
    "pair_error": "metrics.synthetic.marginals",
    "prd_curve": "metrics.precision_recall",
    "prd_f_scores": "metrics.precision_recall",
    "synthetic_report": "metrics.synthetic.report",
    "train_on_synthetic": "metrics.synthetic.classifiers",
    "two_sample_auc": "metrics.synthetic.classifiers",
}
_SUBMODULES = ("dask", "datasets", "displays", "extend", "sources")
__all__ = ["__version__", *_HOMES]
__all__.remove("load")  # `from skvae import *` must not hide that of numpy or joblib


if TYPE_CHECKING:  # for type checkers and editors
    from . import dask as dask
    from . import datasets as datasets
    from . import displays as displays
    from . import extend as extend
    from . import sources as sources
    from .contract.persistence import load as load
    from .estimators.adversarial_ae import AdversarialAE as AdversarialAE
    from .estimators.autoencoder import Autoencoder as Autoencoder
    from .estimators.conditional_vae import ConditionalVAE as ConditionalVAE
    from .estimators.contractive_ae import ContractiveAE as ContractiveAE
    from .estimators.denoising_ae import DenoisingAE as DenoisingAE
    from .estimators.denoising_detector import DenoisingDetector as DenoisingDetector
    from .estimators.factor_vae import FactorVAE as FactorVAE
    from .estimators.flex_ae import FlexAE as FlexAE
    from .estimators.gan import GAN as GAN
    from .estimators.huber_energy_vae import HuberEnergyVAE as HuberEnergyVAE
    from .estimators.info_gan import InfoGAN as InfoGAN
    from .estimators.info_vae import InfoVAE as InfoVAE
    from .estimators.injective_flow_ae import InjectiveFlowAE as InjectiveFlowAE
    from .estimators.mask_aae import MaskAAE as MaskAAE
    from .estimators.options import NetworkOptions as NetworkOptions
    from .estimators.options import TableOptions as TableOptions
    from .estimators.options import TrainingOptions as TrainingOptions
    from .estimators.ppca import PPCA as PPCA
    from .estimators.rae import RAE as RAE
    from .estimators.sparse_ae import SparseAE as SparseAE
    from .estimators.two_stage_vae import TwoStageVAE as TwoStageVAE
    from .estimators.vae import VAE as VAE
    from .estimators.wasserstein_ae import WassersteinAE as WassersteinAE
    from .latent import attribute_directions as attribute_directions
    from .latent import interpolate as interpolate
    from .metrics.codes import active_units as active_units
    from .metrics.codes import code_correlation as code_correlation
    from .metrics.energy import energy_distance as energy_distance
    from .metrics.frechet import frechet_distance as frechet_distance
    from .metrics.neighbours import nearest_training_rows as nearest_training_rows
    from .metrics.precision_recall import density_coverage as density_coverage
    from .metrics.precision_recall import knn_precision_recall as knn_precision_recall
    from .metrics.precision_recall import prd_curve as prd_curve
    from .metrics.precision_recall import prd_f_scores as prd_f_scores
    from .metrics.synthetic.classifiers import train_on_synthetic as train_on_synthetic
    from .metrics.synthetic.classifiers import two_sample_auc as two_sample_auc
    from .metrics.synthetic.closest_records import closest_record_share as closest_record_share
    from .metrics.synthetic.marginals import marginal_error as marginal_error
    from .metrics.synthetic.marginals import pair_error as pair_error
    from .metrics.synthetic.report import SyntheticReport as SyntheticReport
    from .metrics.synthetic.report import synthetic_report as synthetic_report
else:

    def __getattr__(name: str) -> object:
        if name in _SUBMODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'skvae' has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_SUBMODULES})
