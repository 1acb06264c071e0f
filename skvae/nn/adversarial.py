"""Critics and adversarial objectives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batch import Batch
from .fused import unfused
from .model import ForwardPass, Model
from .networks import full
from .objectives import Corruption, Objective, Turn, parameters_of
from .shared_penalties import Penalty
from .shares import uniform_like


class Critic(nn.Module):
    """Network that distinguishes samples of two distributions.

    Parameters
    ----------
    network : Module
        Rows (n, i) to numbers (n, 1).
    kind : {"logistic", "wasserstein"}
        With "logistic" the optimal value is the log-ratio of the two densities (Goodfellow et al.
        2014). With "wasserstein" it is a 1-Lipschitz potential (Arjovsky et al. 2017), enforced by
        the penalty ``gradient_penalty E (|slope| - 1)^2`` between the two (Gulrajani 2017).
    gradient_penalty : float
    """

    def __init__(self, network: nn.Module, kind: str = "logistic", gradient_penalty: float = 10.0):
        super().__init__()
        self.network, self.kind = network, kind
        self.gradient_penalty = gradient_penalty

    def forward(self, z: Tensor) -> Tensor:
        """Return values (...,) of rows (..., i), larger where the first is more likely."""
        return full(self.network(z))[..., 0]

    def separate(self, first: Tensor, second: Tensor, rng: torch.Generator) -> Tensor:
        """Return the loss of the critic, given samples of both distributions."""
        if self.kind == "logistic":
            return F.softplus(-self(first)).mean() + F.softplus(self(second)).mean()
        u = uniform_like(first[:, :1], rng)
        with torch.enable_grad(), unfused():
            between = torch.lerp(first.detach(), second.detach(), u).requires_grad_()
            (slope,) = torch.autograd.grad(self(between).sum(), between, create_graph=True)
        length = (slope.square().sum(1) + 1e-12).sqrt()
        penalty = self.gradient_penalty * (length - 1.0).square().mean()
        loss: Tensor = self(second).mean() - self(first).mean() + penalty
        return loss

    def fool(self, second: Tensor) -> Tensor:
        """Return the adversarial loss of the network that generates the second samples."""
        value: Tensor = self(second)
        return F.softplus(-value).mean() if self.kind == "logistic" else -value.mean()


class AdversarialObjective(Objective):
    """Objective with a critic of two distributions, an auxiliary network of the model."""

    critic_steps: int = 1

    @property
    def critic(self) -> Critic:
        found: Critic = self.model.auxiliary["critic"]  # type: ignore[assignment]
        return found

    def laws(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return samples of the two distributions, given a batch."""
        raise NotImplementedError

    def prior_draws(self, n: int, rng: torch.Generator) -> Tensor:
        """Sample codes (n, k) from the prior of the training."""
        return self.model.prior.sample(n, rng, self.model)

    def critic_losses(
        self, batch: Batch, rng: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            first, second = self.laws(batch, rng)
        return {"critic": self.critic.separate(first, second, rng)}

    def critic_turn(self) -> Turn:
        return Turn(self.critic_losses, parameters_of(self.critic), self.critic_steps, beta1=0.5)


class CriticObjective(AdversarialObjective):
    """Objective with a further term given by a critic of the codes.

    Parameters
    ----------
    model : Model
        With the critic among its auxiliary networks.
    name : str
        Name of the term.
    term : callable
        ``term(critic, z)``: further term that the model minimises.
    contrast : callable
        ``contrast(z, rng)``: samples of the two distributions that the critic distinguishes.
    critic_steps : int
    penalties, corrupt, relative, n_draws
        As in `Objective`.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        term: Callable[[Critic, Tensor], Tensor],
        contrast: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]],
        critic_steps: int = 1,
        *,
        penalties: dict[str, Penalty] | None = None,
        corrupt: Corruption | None = None,
        relative: bool = False,
        n_draws: int = 1,
    ):
        super().__init__(model, penalties, corrupt, relative, n_draws)
        self.name, self.term, self.contrast = name, term, contrast
        self.critic_steps = critic_steps

    def terms(self, done: ForwardPass) -> dict[str, Tensor]:
        return {**super().terms(done), self.name: self.term(self.critic, done.z)}

    def laws(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.contrast(self.model.encode(batch).sample(rng), rng)

    def turns(self) -> dict[str, Turn]:
        critic = self.critic_turn()
        theirs = {id(p) for p in critic.parameters}
        own = [p for p in parameters_of(self) if id(p) not in theirs]
        return {"model": Turn(self.losses, own), "critic": critic}


class GenerativeAdversarial(AdversarialObjective):
    """Objective of a generator of rows and a critic (Goodfellow et al. 2014).

    If the model has an encoder Q, the generator also minimises ``-information E log Q(c | x)``,
    with c the part of the code that Q estimates from the generated row x (Chen et al. 2016).
    """

    def __init__(self, model: Model, critic_steps: int = 1, information: float = 0.0):
        super().__init__(model)
        self.critic_steps, self.information = critic_steps, information

    def losses(
        self, batch: Batch, rng: torch.Generator | None, progress: float = 1.0
    ) -> dict[str, Tensor]:
        assert rng is not None
        z = self.prior_draws(batch.n_rows, rng)
        x = self.model.decode(z).mean
        terms = {"generator": self.critic.fool(x)}
        if self.model.has_encoder:
            log_q = self.model.encode(Batch(x)).log_likelihood(z)
            terms["information"] = -self.information * log_q.mean()
        return terms

    def laws(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return batch.x, self.model.decode(self.prior_draws(batch.n_rows, rng)).mean

    def rescale(self, rows: Batch) -> None:
        """Do nothing: codes are sampled from the prior."""

    def finalise(self, rows: Batch, held_out: Batch | None, rng: torch.Generator) -> None:
        """Do nothing: generated rows have no noise, and no posterior codes."""

    def turns(self) -> dict[str, Turn]:
        model = self.model
        own: list[nn.Module] = [model.decoder, *([model.encoder] if model.has_encoder else [])]
        return {
            "generator": Turn(self.losses, parameters_of(*own), beta1=0.5),
            "critic": self.critic_turn(),
        }
