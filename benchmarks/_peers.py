"""The peers under one signature: ``fit(X, hidden, latent, batch, epochs, ...)``.

The networks are the same everywhere: hidden layers of ReLU units each way (one, if their number
is given and not a tuple), a diagonal Gaussian posterior, an identity or a sigmoid mean.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

UNITS = {"relu": nn.ReLU, "silu": nn.SiLU}


def sizes(hidden: int | tuple[int, ...]) -> tuple[int, ...]:
    return (hidden,) if isinstance(hidden, int) else tuple(hidden)


def layers(widths: tuple[int, ...], activation: str) -> nn.Sequential:
    found: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        found += [nn.Linear(a, b), UNITS[activation]()]
    return nn.Sequential(*found[:-1])


class Network(nn.Module):
    """The VAE that every contestant trains; `log_std` is for noise that is learned."""

    def __init__(
        self,
        d: int,
        hidden: int | tuple[int, ...],
        latent: int,
        sigmoid: bool = False,
        activation: str = "relu",
        learned: bool = False,
    ):
        super().__init__()
        inner = sizes(hidden)
        self.encoder = layers((d, *inner, 2 * latent), activation)
        self.decoder = layers((latent, *inner[::-1], d), activation)
        if sigmoid:
            self.decoder.append(nn.Sigmoid())
        self.log_std = nn.Parameter(torch.zeros(d)) if learned else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_variance))
        return self.decoder(z), mean, log_variance


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Sum over rows and codes of KL(q || N(0, I))."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum()


def gaussian(x: Tensor, y: Tensor, scalar: bool) -> Tensor:
    """Mean over rows of -log p, without constants, at the noise that is best for the batch."""
    if scalar:
        return 0.5 * x.shape[1] * torch.log((x - y).square().mean() + 1e-6)
    return 0.5 * torch.log((x - y).square().mean(0) + 0.0025).sum()


def learned_gaussian(x: Tensor, y: Tensor, log_std: Tensor) -> Tensor:
    """Mean over rows of -log p, without constants, at noise that is learned."""
    v = torch.exp(2.0 * log_std) + 0.0025
    return 0.5 * (torch.log(v) + (x - y).square().mean(0) / v).sum()


def bare_fit(
    X,
    hidden,
    latent,
    batch,
    epochs,
    *,
    lr=1e-3,
    scalar=False,
    sigmoid=False,
    seed=0,
    activation="relu",
    learned=False,
) -> Network:
    """The loop that a careful user writes with torch alone.

    With `learned` the noise of each feature is a parameter, as it is in skvae; else it is the one
    that is best for the batch.
    """
    torch.manual_seed(seed)
    rows = torch.as_tensor(X)
    net = Network(rows.shape[1], hidden, latent, sigmoid, activation, learned)
    optimiser = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    for _ in range(epochs):
        for x in rows[torch.randperm(len(rows))].split(batch):
            y, mean, log_variance = net(x)
            if net.log_std is None:
                loss = gaussian(x, y, scalar)
            else:
                loss = learned_gaussian(x, y, net.log_std)
            loss = loss + kl(mean, log_variance) / len(x)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    return net


def pythae_fit(
    X, hidden, latent, batch, epochs, *, lr=1e-3, sigmoid=False, shipped=False, noise=1.0
):
    """pythae's VAE; `shipped` takes its own network (512, sigmoid), batch size and rate.

    pythae's Gaussian decoder has unit noise. For the standard deviation `noise` it is given
    X / noise, and a network that undoes that.
    """
    logging.disable(logging.INFO)
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig, training_callbacks
    from tqdm import tqdm

    training_callbacks.tqdm = partial(tqdm, disable=True)  # it has no switch of its own

    net = Network(X.shape[1], hidden, latent, sigmoid)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = net.encoder

        def forward(self, x):
            mean, log_variance = self.net(x * noise).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = net.decoder

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z) / noise)

    config = VAEConfig(input_dim=(X.shape[1],), latent_dim=latent)
    options = {} if shipped else {"per_device_train_batch_size": batch, "learning_rate": lr}
    model = VAE(config) if shipped else VAE(config, encoder=Encoder(), decoder=Decoder())
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(output_dir=folder, num_epochs=epochs, no_cuda=True, **options)
        TrainingPipeline(model=model, training_config=training)(train_data=X / np.float32(noise))
    model.noise = noise
    return model.eval()


def skorch_fit(X, hidden, latent, batch, epochs, *, lr=1e-3, sigmoid=False):
    """The same network in skorch's `NeuralNet`."""
    from skorch import NeuralNet

    class Net(NeuralNet):
        def get_loss(self, y_pred, y_true, X, training=False):
            y, mean, log_variance = y_pred
            return gaussian(X, y, False) + kl(mean, log_variance) / len(X)

    net = Net(
        Network,
        criterion=nn.MSELoss,  # required, unused
        module__d=X.shape[1],
        module__hidden=hidden,
        module__latent=latent,
        module__sigmoid=sigmoid,
        optimizer=torch.optim.Adam,
        lr=lr,
        batch_size=batch,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    return net.fit(X, np.zeros(len(X), np.float32))


def pyod_fit(X, hidden, latent, batch, epochs, *, lr=1e-3):
    """PyOD's VAE, drop-out off; its fit ends by scoring the training rows."""
    from pyod.models.vae import VAE

    return VAE(
        encoder_neuron_list=[hidden],
        decoder_neuron_list=[hidden],
        latent_dim=latent,
        dropout_rate=0.0,
        batch_size=batch,
        epoch_num=epochs,
        lr=lr,
        verbose=0,
    ).fit(X)


def skvae_fit(X, hidden, latent, batch, epochs, *, lr=1e-3, activation="relu", **options):
    """skvae's VAE on the same network."""
    from skvae import VAE, NetworkOptions

    network = NetworkOptions(activation=activation, linear_skip=False)
    options = {"network": network, "random_state": 0} | options
    model = VAE(
        n_components=latent,
        hidden_layer_sizes=sizes(hidden),
        batch_size=batch,
        max_iter=epochs,
        learning_rate_init=lr,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are meant here
        return model.fit(X)
