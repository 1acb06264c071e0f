"""Quality against the number of codes, and a mask that finds it, as in talks on MaskAAE (2020).

Samples of a Wasserstein autoencoder are said to be best at one number of codes, that of the rows
where it is known (8 and 16, synthetic), and worse below and above; and MaskAAE to give up the codes
that it does not need (11 to 13 left of 32 to 110 on MNIST). Here: rows on curved surfaces of
dimension 8 and 16 in 128 features, and MNIST. Test log p(x), squared error of reconstructions,
Frechet distance of samples to test rows (of MNIST on 64 principal components of the pixels), energy
distance of test codes to N(0, I), active units. The last table has the active codes of MaskAAE by
the number it was given.
"""

from __future__ import annotations

import warnings

import numpy as np
from _common import arguments, mnist, parser, stopwatch, table
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from skvae import (
    VAE,
    HuberEnergyVAE,
    MaskAAE,
    WassersteinAE,
    active_units,
    energy_distance,
    frechet_distance,
)

KINDS = {kind.__name__: kind for kind in (WassersteinAE, HuberEnergyVAE, VAE)}
SIZES = {
    "synthetic, 8": (2, 4, 6, 8, 10, 12, 16, 24, 32),
    "synthetic, 16": (4, 8, 12, 16, 20, 24, 32, 48),
    "MNIST": (2, 4, 8, 12, 16, 24, 32, 64, 110),
}
MASKED = {"synthetic, 8": (16, 32, 64), "synthetic, 16": (32, 64), "MNIST": (32, 64, 110)}


def curved_rows(n: int, dimension: int, d: int = 128, noise: float = 0.01) -> np.ndarray:
    """Rows on a curved surface, with slight noise."""
    rng = np.random.RandomState(dimension)
    first = rng.normal(size=(dimension, 6 * dimension)) / np.sqrt(dimension)
    second = rng.normal(size=(6 * dimension, d)) / np.sqrt(6 * dimension)
    rows = np.tanh(rng.normal(size=(n, dimension)) @ first) @ second
    return rows + noise * rng.normal(size=(n, d))


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="2000 rows, two sizes, 2 epochs")
    p.add_argument("--rows", type=int, default=20_000, help="synthetic training rows")
    p.add_argument("--epochs", type=int, help="in place of the default budget")
    p.add_argument("--only", nargs="+", choices=list(SIZES), help="which sets of rows")
    p.add_argument("--models", nargs="+", choices=[*KINDS, "MaskAAE"], help="which models")
    p.add_argument("--seed", type=int, default=0)
    args = arguments(p, "skvae")
    warnings.simplefilter("ignore", ConvergenceWarning)  # budgets are meant here
    chosen = args.models or [*KINDS, "MaskAAE"]
    lines, masks, clock = [], [], stopwatch()
    for name in args.only or SIZES:
        sizes, masked, shape = SIZES[name], MASKED[name], {}
        if name == "MNIST":
            train, test = mnist(args.data), mnist(args.data, "test")
            shape = {"image_shape": (1, 28, 28)}
        else:
            rows = curved_rows(args.rows + 5000, int(name.split()[-1]))
            train, test = rows[: args.rows], rows[args.rows :]
        common = {"max_iter": args.epochs, "random_state": args.seed}
        if args.quick:
            train, test, common["max_iter"] = train[:2000], test[:1000], 2
            sizes, masked = sizes[1:3], masked[:1]
        features = PCA(64, random_state=0).fit(train).transform if shape else np.asarray
        seen = features(test)
        for kind in chosen:
            if kind == "MaskAAE":
                continue
            for k in sizes:
                start = clock()
                model = KINDS[kind](k, **shape, **common).fit(train)
                seconds = clock() - start
                codes = model.transform(test)
                new = features(model.sample(len(test), random_state=args.seed))
                figures = [
                    f"{model.score(test):.2f}",
                    f"{model.reconstruction_error(test).mean():.5f}",
                    f"{frechet_distance(seen, new):.4f}",
                    f"{energy_distance(codes[:5000]):.4f}",
                    active_units(codes),
                ]
                lines.append([name, kind, k, *figures, f"{seconds:.0f}"])
                print(lines[-1], flush=True)
        for k in masked if "MaskAAE" in chosen else ():
            start = clock()
            model = MaskAAE(k, **common).fit(train)
            seconds = clock() - start
            least = np.sort(model.mask_)[::-1][: model.n_active_]
            share = f"{least[-1]:.2f}" if len(least) else "-"
            new = features(model.sample(len(test), random_state=args.seed))
            distance = f"{frechet_distance(seen, new):.4f}"
            masks.append([name, k, model.n_active_, share, distance, f"{seconds:.0f}"])
            print(masks[-1], flush=True)
    if lines:
        table(
            [
                "rows", "model", "codes", "test log p(x), nats", "MSE", "Frechet distance",
                "codes to N(0, I)", "active units", "s of fit",
            ],
            lines,
        )  # fmt: skip
    if masks:
        table(
            [
                "rows", "codes of MaskAAE", "active", "least share of these", "Frechet distance",
                "s of fit",
            ],
            masks,
        )  # fmt: skip


if __name__ == "__main__":
    main()
