"""Normalising flows, implemented by zuko."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .networks import lend_global_generator

_N_TRANSFORMS = 3


class Flow(nn.Module):
    """Masked autoregressive affine transforms (Papamakarios et al. 2017), initially the identity.

    The fast direction is `forward`; `inverse` needs one pass for every coordinate. A single
    coordinate is transformed by monotonic splines (Durkan et al. 2019).

    Parameters
    ----------
    n_components : int
        Dimension k of the transform.
    n_context : int
        Dimension of the context, or 0.
    hidden : list of int
        Numbers of units of the hidden layers.
    rng : torch.Generator
        Seed of the hidden layers.
    """

    def __init__(self, n_components: int, n_context: int, hidden: list[int], rng: torch.Generator):
        super().__init__()
        try:
            from zuko.flows import MAF, NSF
        except ImportError as error:
            raise ImportError(
                'normalising flows need the package zuko: pip install "skvae[flows]"'
            ) from error
        seed = int(torch.randint(2**31, (1,), generator=rng))
        with lend_global_generator(seed):
            kind = MAF if n_components > 1 else NSF
            self.transform = kind(
                n_components, n_context, transforms=_N_TRANSFORMS, hidden_features=hidden
            ).transform
        for step in self.transform.transforms:
            layers = [m for m in step.modules() if isinstance(m, nn.Linear)]
            for p in (layers[-1] if layers else step).parameters():
                nn.init.zeros_(p)

    def forward(self, u: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image (..., k) of u and the log-determinant (...,) of the Jacobian."""
        image, log_det = self.transform(context).call_and_ladj(u)
        return image, log_det

    def __repr__(self) -> str:
        with lend_global_generator(0):  # zuko uses random numbers to show its layers
            return super().__repr__()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        u: Tensor = self.transform(context).inv(z)
        return u
