"""Metrics of generative models, samples and codes."""

from .codes import active_units, code_correlation
from .energy import energy_distance
from .frechet import frechet_distance
from .neighbours import nearest_training_rows
from .precision_recall import density_coverage, knn_precision_recall, prd_curve, prd_f_scores
from .synthetic.classifiers import train_on_synthetic, two_sample_auc
from .synthetic.closest_records import closest_record_share
from .synthetic.marginals import marginal_error, pair_error
from .synthetic.report import SyntheticReport, synthetic_report

__all__ = [
    "SyntheticReport",
    "active_units",
    "closest_record_share",
    "code_correlation",
    "density_coverage",
    "energy_distance",
    "frechet_distance",
    "knn_precision_recall",
    "marginal_error",
    "nearest_training_rows",
    "pair_error",
    "prd_curve",
    "prd_f_scores",
    "synthetic_report",
    "train_on_synthetic",
    "two_sample_auc",
]
