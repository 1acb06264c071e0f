"""Cost of a training step: skvae's VAE against a bare tensor loop for the same maths.

One thread. Fits of few and of many epochs are timed in turn; their difference divided by the
steps between is the cost of a step, so that what happens before and after training cancels. The
noise of each feature is learned on both sides; skvae also bounds log-variances and clips gradients.

Beside them stand the matrix products of a step alone, by the same library as the bare loop's.
The bars are 0.55 of the bare loop at 20 features, 0.65 at 30 and 0.90 at 784.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from _common import arguments, has_skvae, in_turn, low_rank_rows, mnist, parser, ratio, table
from _peers import UNITS, bare_fit, skvae_fit

FEW = 2
CASES = (  # features, hidden, latent, steps an epoch at batch 128 and 512
    (20, (64,), 8, (50, 50)),
    (20, (64, 64), 8, (50, 50)),
    (30, (128, 128), 8, (40, 30)),
    (784, (256,), 16, (20, 10)),
    (784, (256, 256), 16, (20, 10)),
)
BATCHES = (128, 512)


def products(
    d: int, hidden: tuple[int, ...], latent: int, batch: int, steps: int
) -> Callable[[], None]:
    """The matrix products of so many steps, forward and backward, and nothing else."""
    calls: list[tuple[Callable[..., object], tuple[torch.Tensor, ...], torch.Tensor]] = []
    for widths in ((d, *hidden, 2 * latent), (latent, *hidden[::-1], d)):
        for a, b in zip(widths, widths[1:], strict=False):
            x, weight, g = torch.randn(batch, a), torch.randn(b, a), torch.randn(batch, b)
            calls.append((torch.addmm, (torch.zeros(b), x, weight.t()), torch.empty(batch, b)))
            calls.append((torch.mm, (g.t(), x), torch.empty(b, a)))
            if a != d:  # rows need no gradient
                calls.append((torch.mm, (g, weight), torch.empty(batch, a)))

    def run() -> None:
        for _ in range(steps):
            for call, inputs, out in calls:
                call(*inputs, out=out)

    return run


def main() -> None:
    p = parser(__doc__)
    p.set_defaults(threads=1)
    p.add_argument("--repeats", type=int, default=9)
    p.add_argument("--epochs", type=int, default=12, help="of the long fits")
    p.add_argument("--only", type=int, choices=sorted({c[0] for c in CASES}), help="one width")
    p.add_argument("--activation", choices=sorted(UNITS), nargs="+", default=sorted(UNITS))
    p.add_argument("--no-clip", action="store_true", help="skvae without gradient clipping")
    args = arguments(p, "skvae")
    rows = []
    for d, hidden, latent, n_steps in CASES:
        if args.only not in (None, d):
            continue
        for batch, steps in zip(BATCHES, n_steps, strict=True):
            n = batch * steps
            X = low_rank_rows(n, d) if d < 784 else mnist(args.data)[:n]
            for activation in args.activation:
                shape = (hidden, latent, batch)
                rows.append(_row(X, shape, steps, activation, args))
    header = ["features", "hidden", "batch", "activation", "bare loop, us a step"]
    header += ["products alone, us", "products / bare"]
    if has_skvae():
        header += ["skvae, us a step", "skvae / bare (range over turns)"]
    table(header, rows)


def _row(X, shape: tuple[tuple[int, ...], int, int], steps: int, activation: str, args) -> list:
    hidden, latent, batch = shape
    d = X.shape[1]
    fits: dict[str, Callable] = {
        "bare": lambda e: bare_fit(X, *shape, e, activation=activation, learned=True)
    }
    if has_skvae():
        from skvae import TrainingOptions

        # an identity mean, as the bare loop has, where intensities would be bounded
        options = {"activation": activation, "likelihood": "gaussian"}
        if args.no_clip:
            options["training"] = TrainingOptions(gradient_clipping=None)
        fits["skvae"] = lambda e: skvae_fit(X, *shape, e, **options)
    runs: dict = {
        (name, epochs): lambda fit=fit, e=epochs: fit(e)
        for name, fit in fits.items()
        for epochs in (FEW, args.epochs)
    }
    n_products = steps * (args.epochs - FEW)
    runs["products"] = products(d, hidden, latent, batch, n_products)
    seconds = in_turn(runs, args.repeats)
    step = {
        name: [
            (b - a) / n_products
            for a, b in zip(seconds[name, FEW], seconds[name, args.epochs], strict=True)
        ]
        for name in fits
    }
    step["products"] = [s / n_products for s in seconds["products"]]
    us = {name: f"{1e6 * median(values):.0f}" for name, values in step.items()}
    row = [d, "-".join(map(str, hidden)), batch, activation, us["bare"]]
    row += [us["products"], ratio(step["products"], step["bare"])[:4]]
    return row + ([us["skvae"], ratio(step["skvae"], step["bare"])] if "skvae" in step else [])


if __name__ == "__main__":
    main()
