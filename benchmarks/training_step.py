"""Cost of a training step: skvae's VAE against a bare tensor loop for the same maths.

One thread. Fits of few and of many epochs are timed in turn; their difference divided by the
steps between is the cost of a step, so that what happens before and after training cancels.
The bar is 1.10.
"""

from __future__ import annotations

from statistics import median

from _common import arguments, has_skvae, in_turn, low_rank_rows, mnist, parser, ratio, table
from _peers import bare_fit, skvae_fit

FEW = 2
CASES = (  # features, hidden, latent, batch, steps an epoch
    (20, 64, 8, 128, 50),
    (20, 64, 8, 512, 50),
    (784, 256, 16, 128, 20),
    (784, 256, 16, 512, 10),
)


def main() -> None:
    p = parser(__doc__)
    p.set_defaults(threads=1)
    p.add_argument("--repeats", type=int, default=9)
    p.add_argument("--epochs", type=int, default=12, help="of the long fits")
    p.add_argument("--only", type=int, choices=(20, 784), help="one width")
    p.add_argument("--no-clip", action="store_true", help="skvae without gradient clipping")
    args = arguments(p, "skvae")
    fits = {"bare loop": bare_fit}
    if has_skvae():
        from skvae import TrainingOptions

        options = {"training": TrainingOptions(gradient_clipping=None)} if args.no_clip else {}
        fits["skvae"] = lambda *a: skvae_fit(*a, **options)
    rows = []
    for d, hidden, latent, batch, steps in CASES:
        if args.only not in (None, d):
            continue
        n = batch * steps
        X = low_rank_rows(n, d) if d < 784 else mnist(args.data)[:n]
        runs = {
            (name, epochs): lambda fit=fit, e=epochs, X=X, a=(hidden, latent, batch): fit(X, *a, e)
            for name, fit in fits.items()
            for epochs in (FEW, args.epochs)
        }
        seconds = in_turn(runs, args.repeats)
        step = {
            name: [
                (b - a) / (steps * (args.epochs - FEW))
                for a, b in zip(seconds[name, FEW], seconds[name, args.epochs], strict=True)
            ]
            for name in fits
        }
        row = [d, hidden, batch, *(f"{1e6 * median(step[name]):.0f}" for name in fits)]
        rows.append([*row, ratio(step["skvae"], step["bare loop"])] if "skvae" in step else row)
    header = ["features", "hidden", "batch", *(f"{name}, us a step" for name in fits)]
    table([*header, "ratio (range over turns)"] if "skvae" in fits else header, rows)


if __name__ == "__main__":
    main()
