"""API for new methods: hooks, building blocks and base classes.

See the page "Extending" of the documentation.
"""

from .contract.generator import BaseGenerator
from .engine.batches import BatchSource, TensorSource
from .engine.build import NetworkFactory
from .engine.method import Method
from .engine.settings import ModelSpec
from .engine.workers import Workers
from .estimators.base import LearnedAutoencoder, LearnedGenerator, LearnedModel
from .estimators.variational import Variational
from .nn.adversarial import AdversarialObjective, Critic, CriticObjective
from .nn.batch import Batch
from .nn.distributions import Dirac, Distribution, Normal
from .nn.heads import DiracHead, Head, NormalHead
from .nn.kl_term import KL
from .nn.likelihoods import Bernoulli, Gaussian, Likelihood, Product
from .nn.model import ForwardPass, Model
from .nn.networks import MLP, Network, jacobian, jvp
from .nn.objectives import ImportanceWeighted, Objective, Turn
from .nn.priors import Mixture, Prior, StandardNormal
from .nn.shared_penalties import CodeNorm, LatentDivergence, Penalty
from .nn.shares import batch_mean, normal_like, own_rows, uniform_like, whole_batch
from .tables.schema import Column, Schema
from .tables.source import ArraySource, Rows, RowSource, Stacked

__all__ = [
    "KL",
    "MLP",
    "AdversarialObjective",
    "ArraySource",
    "BaseGenerator",
    "Batch",
    "BatchSource",
    "Bernoulli",
    "CodeNorm",
    "Column",
    "Critic",
    "CriticObjective",
    "Dirac",
    "DiracHead",
    "Distribution",
    "ForwardPass",
    "Gaussian",
    "Head",
    "ImportanceWeighted",
    "LatentDivergence",
    "LearnedAutoencoder",
    "LearnedGenerator",
    "LearnedModel",
    "Likelihood",
    "Method",
    "Mixture",
    "Model",
    "ModelSpec",
    "Network",
    "NetworkFactory",
    "Normal",
    "NormalHead",
    "Objective",
    "Penalty",
    "Prior",
    "Product",
    "RowSource",
    "Rows",
    "Schema",
    "Stacked",
    "StandardNormal",
    "TensorSource",
    "Turn",
    "Variational",
    "Workers",
    "batch_mean",
    "jacobian",
    "jvp",
    "normal_like",
    "own_rows",
    "uniform_like",
    "whole_batch",
]
