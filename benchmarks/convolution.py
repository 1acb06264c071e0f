"""Convolutions for images: test ELBO against fully connected layers after equal training time, and
the cost of a step against a bare loop.

1. VAEs with 16 codes on MNIST. A convolutional one is fitted for `--epochs`; the fully connected
   ones get as many epochs as fit into the same time, by the time of an epoch measured first, and
   one more; another convolutional one as many as fit. The test ELBO is that of `mnist_elbo.py`.
   The bar: a higher one.
2. A step of the same convolutional network, written as plain torch modules in a loop with Adam
   (in torch's usual memory layout, and with channels last), as in `training_step.py`. The bar: at
   most 1.10 times the faster of the two.
"""

from __future__ import annotations

import warnings
from statistics import median

import torch
from _common import arguments, in_turn, mnist, parser, ratio, stopwatch, table
from _peers import gaussian, kl
from mnist_elbo import elbo, skvae_parts
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

LATENT, BATCH, FEW = 16, 128, 2
CHANNELS, HIDDEN = (32, 64), 128


class Network(nn.Module):
    """What a convolutional VAE with `NetworkOptions(linear_skip=False)` builds."""

    def __init__(self):
        super().__init__()
        a, b = CHANNELS
        self.encoder = nn.Sequential(
            nn.Conv2d(1, a, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(a, b, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(49 * b, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 2 * LATENT),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 49 * b),
            nn.ReLU(),
            nn.Unflatten(1, (b, 7, 7)),
            nn.ConvTranspose2d(b, a, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(a, 1, 4, 2, 1),
            nn.Sigmoid(),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_variance))
        return self.decoder(z), mean, log_variance


def bare_fit(X, epochs: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    rows = torch.as_tensor(X)
    net = Network().to(memory_format=layout)
    optimiser = torch.optim.Adam(net.parameters(), fused=True)
    for _ in range(epochs):
        for x in rows[torch.randperm(len(rows))].split(BATCH):
            images = x.reshape(-1, 1, 28, 28).contiguous(memory_format=layout)
            y, mean, log_variance = net(images)
            loss = gaussian(x, y, True) + kl(mean, log_variance) / len(x)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()


def skvae_fit(X, epochs: int, **options):
    from skvae import VAE

    model = VAE(LATENT, max_iter=epochs, random_state=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are meant here
        return model.fit(X)


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=60_000, help="training rows")
    p.add_argument("--epochs", type=int, default=6, help="of the convolutional model")
    p.add_argument("--repeats", type=int, default=5, help="turns of the step's timing")
    p.add_argument("--only", choices=("elbo", "step"))
    args = arguments(p, "skvae")
    train, test = mnist(args.data)[: args.rows], mnist(args.data, "test")
    image = {"image_shape": (1, 28, 28)}
    clock = stopwatch()

    def timed(epochs: int, **options):
        start = clock()
        model = skvae_fit(train, epochs, **options)
        return clock() - start, model

    if args.only != "step":
        budget, model = timed(args.epochs, **image)
        rows = [
            ["convolutional, defaults", args.epochs, budget, elbo(*skvae_parts(model), train, test)]
        ]
        others = {
            "convolutional, (256,)": {**image, "hidden_layer_sizes": (256,)},
            "fully connected, defaults": {},
            "fully connected, (512,)": {"hidden_layer_sizes": (512,)},
            "fully connected, (512, 512)": {"hidden_layer_sizes": (512, 512)},
        }
        for name, options in others.items():
            one, two = (timed(n, **options)[0] for n in (1, 2))
            more = "convolutional" not in name  # in doubt for the others
            epochs = more + round(1 + (budget - one) / (two - one))
            seconds, model = timed(epochs, **options)
            value = elbo(*skvae_parts(model), train, test)
            rows.append([name, epochs, seconds, value])
        table(
            ["VAE", "epochs", "seconds of fit", "test ELBO, nats"],
            [[name, n, f"{s:.1f}", f"{e:.1f}"] for name, n, s, e in rows],
        )
    if args.only != "elbo":
        from skvae import NetworkOptions, TrainingOptions

        some = train[: 20 * BATCH]
        options = {
            **image, "hidden_layer_sizes": (HIDDEN,), "noise_variance": "scalar",
            "network": NetworkOptions(
                activation="relu", linear_skip=False, hidden_channels=CHANNELS
            ),
            "training": TrainingOptions(held_out_fraction=0.0),
        }  # fmt: skip
        fits = {
            "bare loop": lambda n: bare_fit(some, n, torch.contiguous_format),
            "bare loop, channels last": lambda n: bare_fit(some, n, torch.channels_last),
            "skvae": lambda n: skvae_fit(some, n, **options),
        }
        long = FEW + 4
        seconds = in_turn(
            {(name, n): lambda f=fit, n=n: f(n) for name, fit in fits.items() for n in (FEW, long)},
            args.repeats,
        )
        step = {
            name: [
                (b - a) / (20 * (long - FEW))
                for a, b in zip(seconds[name, FEW], seconds[name, long], strict=True)
            ]
            for name in fits
        }
        bare = min(list(fits)[:2], key=lambda name: median(step[name]))
        table(
            ["network", "ms a step", f"over the {bare}"],
            [[n, f"{1e3 * median(t):.1f}", ratio(t, step[bare])] for n, t in step.items()],
        )


if __name__ == "__main__":
    main()
