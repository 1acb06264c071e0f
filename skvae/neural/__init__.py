"""The door's torch side: arrays to tensors and back, one fit for every learned estimator."""

from .autoencoder import BaseNeuralAutoencoder, BaseNeuralModel
from .conditional import BaseConditional
from .generator import BaseNeuralGenerator
from .informative import BaseInformative
from .variational import BaseVariational

__all__ = [
    "BaseConditional",
    "BaseInformative",
    "BaseNeuralAutoencoder",
    "BaseNeuralGenerator",
    "BaseNeuralModel",
    "BaseVariational",
]
