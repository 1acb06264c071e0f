"""The linear Gaussian model in closed form: density, posterior, draws and maximum likelihood."""

from .model import LinearGaussian
from .moments import Moments
from .solvers import SOLVERS, fit_linear_gaussian, fit_moments, minka_dimension

__all__ = [
    "SOLVERS",
    "LinearGaussian",
    "Moments",
    "fit_linear_gaussian",
    "fit_moments",
    "minka_dimension",
]
