"""How far apart two samples are: figures for models, samples and codes."""

from .codes import active_units, code_correlation
from .energy import energy_distance
from .frechet import frechet_distance
from .neighbours import nearest_training_rows
from .precision_recall import density_coverage, knn_precision_recall, prd_curve, prd_f_scores

__all__ = [
    "active_units",
    "code_correlation",
    "density_coverage",
    "energy_distance",
    "frechet_distance",
    "knn_precision_recall",
    "nearest_training_rows",
    "prd_curve",
    "prd_f_scores",
]
