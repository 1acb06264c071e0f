"""Time to a test ELBO on MNIST, VAE 784-512-16 with scalar Gaussian noise, X in [0, 1].

The targets are the test ELBOs that two peers reach in ten epochs: a bare loop with plain Adam
(rate 1e-3, batch 128, sigmoid mean, noise at its closed form) and pythae's VAE: with equal
settings; with equal settings and rows scaled so that its unit noise is right (the hard target);
and as shipped (rate 1e-4, batch 64). skvae is fitted with 1, 2, 3, ... epochs until it
passes a target; the ratio is the time of the peer over the time of that fit. The bars: 3x and 4x
in float32, 6x and 8x in bfloat16 where the CPU has it.

The ELBO is computed outside the timer by one estimator for all: mean, standard deviation and
decoder come from the model; the scalar noise variance is fitted in closed form to residuals of
training rows (so a model trained with another noise is not at a disadvantage).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _common import (
    arguments,
    has_bfloat16,
    has_skvae,
    in_turn,
    installed,
    mnist,
    parser,
    ratio,
    stopwatch,
    table,
)
from _peers import bare_fit, pythae_fit, skvae_fit

HIDDEN, LATENT, BATCH = 512, 16, 128
NOISE = 0.1  # about the standard deviation that plain Adam ends with
Posterior = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Decode = Callable[[np.ndarray], np.ndarray]


def elbo(posterior: Posterior, decode: Decode, train: np.ndarray, test: np.ndarray) -> float:
    """Mean test ELBO in nats a row, four draws a row, noise variance from 10,000 training rows."""
    rng = np.random.default_rng(0)

    def residuals(X, draws):
        mean, std = posterior(X)
        return (
            mean,
            std,
            [
                X - decode((mean + std * rng.standard_normal(mean.shape)).astype(np.float32))
                for _ in range(draws)
            ],
        )

    variance = float(np.mean(np.square(residuals(train[:10_000], 1)[2], dtype=np.float64)))
    mean, std, r = residuals(test, 4)
    kl = 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * np.log(std)).sum(1).mean()
    square = np.mean(np.square(r, dtype=np.float64)) * test.shape[1]
    constant = test.shape[1] * math.log(2.0 * math.pi * variance)
    return float(-0.5 * (square / variance + constant) - kl)


def bare_parts(net) -> tuple[Posterior, Decode]:
    def posterior(X):
        with torch.no_grad():
            mean, log_variance = net.encoder(torch.as_tensor(X)).chunk(2, -1)
        return mean.numpy(), torch.exp(0.5 * log_variance).numpy()

    def decode(Z):
        with torch.no_grad():
            return net.decoder(torch.as_tensor(Z)).numpy()

    return posterior, decode


def pythae_parts(model) -> tuple[Posterior, Decode]:
    def posterior(X):
        with torch.no_grad():
            out = model.encoder(torch.as_tensor(X) / model.noise)
        return out.embedding.numpy(), torch.exp(0.5 * out.log_covariance).numpy()

    def decode(Z):
        with torch.no_grad():
            return model.decoder(torch.as_tensor(Z)).reconstruction.numpy() * model.noise

    return posterior, decode


def skvae_parts(model) -> tuple[Posterior, Decode]:
    return model.posterior, model.inverse_transform


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--epochs", type=int, default=10, help="of the peers")
    p.add_argument("--most", type=int, default=8, help="most epochs that skvae is tried with")
    p.add_argument("--lr", type=float, default=6e-3, help="skvae's learning_rate_init")
    p.add_argument("--activation", default="gelu", help="skvae's activation")
    p.add_argument("--repeats", type=int, default=0, help="further turns of all timings")
    p.add_argument("--rows", type=int, default=60_000, help="training rows, fewer for a trial")
    p.add_argument("--seed", type=int, default=0)
    args = arguments(p, "skvae", "pythae")
    train, test = mnist(args.data)[: args.rows], mnist(args.data, "test")
    clock = stopwatch()
    sizes = HIDDEN, LATENT, BATCH

    def run(fit, parts):
        start = clock()
        model = fit()
        seconds = clock() - start
        return seconds, elbo(*parts(model), train, test)

    equal = partial(pythae_fit, train, *sizes, args.epochs, sigmoid=True)
    peers = {
        "plain Adam": (
            partial(
                bare_fit, train, *sizes, args.epochs, scalar=True, sigmoid=True, seed=args.seed
            ),
            bare_parts,
        )
    }
    if installed("pythae"):
        peers["pythae, equal settings"] = (equal, pythae_parts)
        scaled = partial(equal, noise=NOISE)
        peers["pythae, equal settings and noise"] = (scaled, pythae_parts)
        peers["pythae, as shipped"] = (partial(equal, shipped=True), pythae_parts)
    fits = {name: fit for name, (fit, _) in peers.items()}
    first = {name: run(*peer) for name, peer in peers.items()}
    rows = [[f"{k}, {args.epochs} epochs", f"{t:.1f}", f"{e:.1f}"] for k, (t, e) in first.items()]

    passes = {}  # (peer, precision) -> epochs
    if has_skvae():
        from skvae import NetworkOptions, TrainingOptions

        for precision in ["float32"] + ["bfloat16"] * has_bfloat16():
            waiting = {name: first[name] for name in peers}
            for epochs in range(1, args.most + 1):
                name = f"skvae {precision}, {epochs} epochs"
                fits[name] = partial(
                    skvae_fit, train, *sizes, epochs, lr=args.lr, noise_variance="scalar",
                    network=NetworkOptions(activation=args.activation),
                    training=TrainingOptions(precision=precision), random_state=args.seed,
                )  # fmt: skip
                first[name] = seconds, value = run(fits[name], skvae_parts)
                rows.append([name, f"{seconds:.1f}", f"{value:.1f}"])
                for peer in [k for k, (_, target) in waiting.items() if value >= target]:
                    passes[peer, precision] = name
                    del waiting[peer]
                if not waiting:
                    break
    table(["fit", "seconds", "test ELBO, nats"], rows)
    if not passes:
        return
    turns = {name: [seconds] for name, (seconds, _) in first.items()}
    if args.repeats:
        needed = {k: fits[k] for pair in passes.items() for k in (pair[0][0], pair[1])}
        turns |= in_turn(needed, args.repeats, warm_up=False)
    table(
        ["target", "first passed by", "time of the peer / time of skvae"],
        [[peer, name, ratio(turns[peer], turns[name])] for (peer, _), name in passes.items()],
    )


if __name__ == "__main__":
    main()
