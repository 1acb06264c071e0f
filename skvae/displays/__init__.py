"""Pictures of models, codes and rows, in scikit-learn's way of displays.

A display holds computed values. ``from_estimator`` computes them and draws, ``plot(ax=None)`` draws
them again, on one Axes; matplotlib loads only then. Estimators may be the last step of a fitted
Pipeline: rows go in and come out in the units of the Pipeline.
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
