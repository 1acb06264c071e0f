"""Plots of models, codes and rows, with the API of scikit-learn's displays.

A display stores computed values. ``from_estimator`` computes and plots them, ``plot(ax=None)``
plots them again, on one Axes; matplotlib is imported only then. The estimator may be the last step
of a fitted Pipeline: rows are then given and shown in the units of the Pipeline's input.
"""

from .attribution import AttributionDisplay
from .interpolation import InterpolationDisplay
from .latent_manifold import LatentManifoldDisplay
from .latent_mask import LatentMaskDisplay
from .latent_space import LatentSpaceDisplay
from .outlier_score import OutlierScoreDisplay
from .pairs import PairsDisplay
from .reconstruction import ReconstructionDisplay
from .samples import SamplesDisplay
from .synthetic import SyntheticDisplay
from .training_curve import TrainingCurveDisplay

__all__ = [
    "AttributionDisplay",
    "InterpolationDisplay",
    "LatentManifoldDisplay",
    "LatentMaskDisplay",
    "LatentSpaceDisplay",
    "OutlierScoreDisplay",
    "PairsDisplay",
    "ReconstructionDisplay",
    "SamplesDisplay",
    "SyntheticDisplay",
    "TrainingCurveDisplay",
]
