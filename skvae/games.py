"""Objectives of several players: critics, and those who play against them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .likelihoods import Mask
from .model import Model
from .networks import full
from .objectives import Objective, Player, parameters_of

_MASK_RATE = 5.0  # relative to the other players' rate
_MASK_WAITS = 0.1  # share of the training


class Critic(nn.Module):
    """Tells draws of one law from draws of another.

    Parameters
    ----------
    network : Module
        Rows (n, i) to numbers (n, 1).
    kind : {"logistic", "wasserstein"}
        With "logistic" the value is the log-ratio of the two densities at best (Goodfellow et al.
        2014). With "wasserstein" it is a potential with slope 1 (Arjovsky et al. 2017), held there
        by the penalty ``gradient_penalty E (|slope| - 1)^2`` between the two (Gulrajani 2017).
    gradient_penalty : float
    """

    def __init__(self, network: nn.Module, kind: str = "logistic", gradient_penalty: float = 10.0):
        super().__init__()
        self.network, self.kind = network, kind
        self.gradient_penalty = gradient_penalty

    def forward(self, z: Tensor) -> Tensor:
        """Values (...,) of rows (..., i): large where the first law is the likelier."""
        return full(self.network(z))[..., 0]

    def separate(self, first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of the critic, given draws of both laws."""
        if self.kind == "logistic":
            return F.softplus(-self(first)).mean() + F.softplus(self(second)).mean()
        u = torch.empty(len(first), 1, dtype=first.dtype, device=first.device).uniform_(
            generator=generator
        )
        with torch.enable_grad():
            between = torch.lerp(first.detach(), second.detach(), u).requires_grad_()
            (slope,) = torch.autograd.grad(self(between).sum(), between, create_graph=True)
        length = (slope.square().sum(1) + 1e-12).sqrt()
        penalty = self.gradient_penalty * (length - 1.0).square().mean()
        return self(second).mean() - self(first).mean() + penalty

    def fool(self, second: Tensor) -> Tensor:
        """Loss of who makes draws of the second law: that they seem to be of the first."""
        return F.softplus(-self(second)).mean() if self.kind == "logistic" else -self(second).mean()


class Game(Objective):
    """An objective with a critic, among the model's helpers, that tells two laws apart."""

    critic_steps: int

    @property
    def critic(self) -> Critic:
        return self.model.helpers["critic"]

    def laws(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws of the two laws, given a batch."""
        raise NotImplementedError

    def critic_losses(self, rows: Tensor, generator: torch.Generator, progress: float):
        with torch.no_grad():
            pair = self.laws(rows, generator)
        return {"critic": self.critic.separate(*pair, generator)}

    def critic_player(self) -> Player:
        return Player(self.critic_losses, parameters_of(self.critic), self.critic_steps, beta1=0.5)


class Contest(Game):
    """An objective with one term more, given by a critic of the codes, its opponent.

    Parameters
    ----------
    model : Model
        With the critic among its helpers.
    name : str
        Name of the term.
    term : callable
        ``term(critic, z)``: what the model minimises beside the rest.
    contrast : callable
        ``contrast(z, generator)``: the two laws, as draws, that the critic tells apart.
    critic_steps : int
    **parameters
        Of `Objective`.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        term: Callable[[Critic, Tensor], Tensor],
        contrast: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]],
        critic_steps: int = 1,
        **parameters,
    ):
        super().__init__(model, **parameters)
        self.name, self.term, self.contrast = name, term, contrast
        self.critic_steps = critic_steps

    def terms(self, draw) -> dict[str, Tensor]:
        return {**super().terms(draw), self.name: self.term(self.critic, draw.z)}

    def laws(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.contrast(self.model.encode(rows).sample(generator), generator)

    def players(self) -> dict[str, Player]:
        critic = self.critic_player()
        theirs = {id(p) for p in critic.parameters}
        own = [p for p in parameters_of(self) if id(p) not in theirs]
        return {"model": Player(self.losses, own), "critic": critic}


def permuted(z: Tensor, generator: torch.Generator) -> Tensor:
    """Every column of z (n, k) in an order of its own: a draw with independent coordinates."""
    keys = torch.empty_like(z).uniform_(generator=generator)
    return z.gather(0, keys.argsort(0))


class MaskGame(Game):
    """The four players of MaskAAE (Mondal et al. 2020).

    With codes ``z = a f(x)`` and prior draws ``a e``, a the mask and C a Wasserstein critic:

    - the autoencoder minimises the reconstruction and `silence` times the mean of
      ``(z_j - mean z_j)^2 exp(-10 a_j^2)``, which silences what the mask shuts;
    - the critic tells codes from prior draws;
    - the encoder, at `encoder_rate` times the rate, fools it: it minimises ``-E C(codes)``;
    - the mask, at five times the rate, minimises ``fidelity reconstruction +
      (E C(prior) - E C(codes))^2 + polarisation sum_j a_j (1 - a_j)``, the last doubled after every
      tenth of the training. It waits for the first tenth, while the decoder knows nothing yet, and
      what it has shut stays shut.

    Two things are not in the paper. The reconstruction is that of codes with normal noise of
    standard deviation `code_noise`, because without noise a coordinate with the least share tells
    the decoder all it did before; and C sees codes and prior draws divided by the root mean square
    of a, because the mask would win the undivided game by shutting all.
    """

    def __init__(
        self,
        model: Model,
        encoder_rate: float,
        silence: float,
        fidelity: float,
        polarisation: float,
        critic_steps: int,
        code_noise: float,
    ):
        super().__init__(model, relative=True)
        self.code_noise = code_noise
        self.encoder_rate, self.silence, self.fidelity = encoder_rate, silence, fidelity
        self.polarisation, self.critic_steps = polarisation, critic_steps

    @property
    def mask(self) -> Mask:
        return self.model.encoder.head.mask

    def draw(self, rows, generator, progress=1.0):
        draw = super().draw(rows, generator, progress)
        if not self.training:
            return draw
        z = draw.z + self.code_noise * torch.empty_like(draw.z).normal_(generator=generator)
        return draw._replace(p=self.model.decoder(z))

    def _scaled(self, z: Tensor) -> Tensor:
        return z / (self.mask().square().mean() + 1e-8).sqrt()

    def losses(self, rows, generator, progress=1.0) -> dict[str, Tensor]:
        draw = self.draw(rows, generator, progress)
        shut = torch.exp(-10.0 * self.mask().square())  # (k,)
        spread = (draw.z - draw.z.mean(0)).square()
        return {**self.terms(draw), "silence": self.silence * (spread * shut).mean()}

    def laws(self, rows, generator):
        prior = self.model.prior.sample(len(rows), generator)
        return self._scaled(prior), self._scaled(self.model.encode(rows).mean)

    def encoder_losses(self, rows, generator, progress):
        return {"encoder": self.critic.fool(self._scaled(self.model.encode(rows).mean))}

    def mask_losses(self, rows, generator, progress):
        draw, a = self.draw(rows, generator, progress), self.mask()
        prior = self.model.prior.sample(len(draw.z), generator)
        gap = self.critic(self._scaled(prior)).mean() - self.critic(self._scaled(draw.z)).mean()
        weight = self.polarisation * 2.0 ** min(9, math.floor(10.0 * progress))
        pole = weight * (a * (1.0 - a)).sum()
        loss = self.fidelity * self.terms(draw)["reconstruction"] + gap.square() + pole
        return {"mask": loss * float(progress >= _MASK_WAITS)}

    def players(self) -> dict[str, Player]:
        model = self.model
        encoder = parameters_of(model.encoder.network)
        own = [*encoder, *parameters_of(model.decoder)]
        return {
            "autoencoder": Player(self.losses, own),
            "critic": self.critic_player(),
            "encoder": Player(self.encoder_losses, encoder, lr=self.encoder_rate, beta1=0.5),
            "mask": Player(self.mask_losses, parameters_of(self.mask), lr=_MASK_RATE, beta1=0.5),
        }


class FlexGame(Game):
    """The players of FlexAE (Mondal et al. 2021): a prior G(e), e from N(0, I), that follows codes.

    - The autoencoder minimises the reconstruction;
    - a Wasserstein critic C tells codes from draws of the prior;
    - the prior's network G fools it;
    - the encoder, at `encoder_rate` times the rate, moves codes toward the prior: ``E C(codes)``.
    """

    def __init__(self, model: Model, critic_steps: int, encoder_rate: float):
        super().__init__(model, relative=True)
        self.critic_steps, self.encoder_rate = critic_steps, encoder_rate

    def laws(self, rows, generator):
        return self.model.encode(rows).mean, self.model.prior.sample(len(rows), generator)

    def prior_losses(self, rows, generator, progress):
        return {"prior": self.critic.fool(self.model.prior.sample(len(rows), generator))}

    def encoder_losses(self, rows, generator, progress):
        return {"encoder": self.critic(self.model.encode(rows).mean).mean()}

    def players(self) -> dict[str, Player]:
        model = self.model
        encoder, prior = parameters_of(model.encoder), parameters_of(model.prior)
        return {
            "autoencoder": Player(self.losses, [*encoder, *parameters_of(model.decoder)]),
            "critic": self.critic_player(),
            "prior": Player(self.prior_losses, prior, beta1=0.5),
            "encoder": Player(self.encoder_losses, encoder, lr=self.encoder_rate, beta1=0.5),
        }


class GenerativeGame(Game):
    """A generator of rows against a critic (Goodfellow et al. 2014).

    Where the model has an encoder Q, the generator also minimises ``-information E log Q(c | x)``,
    c the part of the code that Q tells from the generated row x (Chen et al. 2016).
    """

    def __init__(self, model: Model, critic_steps: int = 1, information: float = 0.0):
        super().__init__(model)
        self.critic_steps, self.information = critic_steps, information

    def losses(self, rows, generator, progress=1.0) -> dict[str, Tensor]:
        z = self.model.prior.sample(len(rows), generator)
        x = self.model.decoder(z).mean
        terms = {"generator": self.critic.fool(x)}
        if self.model.encoder is not None:
            log_q = self.model.encoder(x).log_likelihood(z)
            terms["information"] = -self.information * log_q.mean()
        return terms

    def laws(self, rows, generator):
        return rows, self.model.decoder(self.model.prior.sample(len(rows), generator)).mean

    def finish(self, rows, held_out, generator) -> None:
        """Nothing: generated rows have no noise, and no codes of their own."""

    def players(self) -> dict[str, Player]:
        model = self.model
        own = [model.decoder, *([] if model.encoder is None else [model.encoder])]
        return {
            "generator": Player(self.losses, parameters_of(*own), beta1=0.5),
            "critic": self.critic_player(),
        }
