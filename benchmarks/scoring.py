"""Rows scored a second, 100,000 x 30: skvae's `score_samples` against PyOD's decision functions.

All have one hidden layer of 64 units each way and 8 codes. PyOD scores in batches of its training
batch size (32 as shipped); it is timed with batches of 4096 too. The bar is 5x at one draw.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from _common import arguments, has_skvae, in_turn, installed, low_rank_rows, parser, ratio, table
from _peers import pyod_fit, skvae_fit


def pyod_autoencoder(X):
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(
        hidden_neuron_list=[64, 8], batch_norm=False, dropout_rate=0.0, epoch_num=1, verbose=0
    ).fit(X)


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=100_000)
    p.add_argument("--repeats", type=int, default=5)
    args = arguments(p, "skvae", "pyod")
    X = low_rank_rows(args.rows, 30)
    runs = {}
    if has_skvae():
        for draws in (1, 16):
            model = skvae_fit(X[:2000], 64, 8, 32, 1, n_importance_samples=draws)
            label = f"skvae VAE, {draws} draw{'s' * (draws > 1)}"
            runs[label] = partial(model.score_samples, X)
    if installed("pyod"):
        for name, model in {
            "PyOD VAE": pyod_fit(X[:2000], 64, 8, 32, 1),
            "PyOD AutoEncoder": pyod_autoencoder(X[:2000]),
        }.items():
            runs[f"{name}, batch 32"] = partial(model.decision_function, X)
            runs[f"{name}, batch 4096"] = partial(model.decision_function, X, 4096)
    seconds = in_turn(runs, args.repeats)
    if not seconds:
        return
    reference = next(iter(seconds))
    table(
        ["score", "rows a second", f"time / {reference}"],
        [
            [k, f"{len(X) / median(v):,.0f}", ratio(v, seconds[reference])]
            for k, v in seconds.items()
        ],
    )


if __name__ == "__main__":
    main()
