"""Linear Gaussian model: density, posterior, sampling and fitting, with missing values."""

from .incomplete import fit_incomplete
from .missing import IncompleteGaussian
from .model import LinearGaussian
from .moments import Moments
from .solvers import (
    SOLVERS,
    fit_linear_gaussian,
    fit_moments,
    fit_weighted,
    minka_dimension,
)

__all__ = [
    "SOLVERS",
    "IncompleteGaussian",
    "LinearGaussian",
    "Moments",
    "fit_incomplete",
    "fit_linear_gaussian",
    "fit_moments",
    "fit_weighted",
    "minka_dimension",
]
