"""Fits that are killed at random moments, and what checkpoints cost.

A fit is killed, again and again, until one comes to its end; its file is compared with that of a
fit that was not killed. Bar: the same bits, every time. Then the time of one writing, for networks
of several widths, as a share of the default interval of 300 s. Bar: 2 %.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import arguments, parser, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kills import killed_fits


def kills(n: int, seed: int) -> None:
    """So many kills, each at a random moment of a fit."""
    folder = Path(tempfile.mkdtemp())
    found = list(killed_fits(folder, n, max_iter=60, interval=0.05, seed=seed))
    equal = [same for _, same in found if same is not None]
    left = len(list(folder.iterdir()))
    row = [sum(was_killed for was_killed, _ in found), len(equal), sum(equal), left]
    table(["kills", "fits ended", "with the same bits", "files left"], [row])


def costs(widths: list[int]) -> None:
    """Seconds of one writing."""
    from skvae import VAE, TrainingOptions
    from skvae.engine.checkpoint import Checkpoint

    X, lines = np.random.default_rng(0).normal(size=(1000, 100)), []
    path, original = Path(tempfile.mkdtemp()) / "checkpoint", Checkpoint.write
    for width in widths:
        seconds, sizes = [], []

        def timed(self, *args, **kwargs):
            begun = time.perf_counter()
            original(self, *args, **kwargs)
            seconds.append(time.perf_counter() - begun)  # noqa: B023
            sizes.append(path.stat().st_size)  # noqa: B023

        Checkpoint.write = timed  # type: ignore[method-assign]
        training = TrainingOptions(checkpoint=path, checkpoint_interval=0.0)
        model = VAE(8, hidden_layer_sizes=(width, width), max_iter=1, batch_size=250)
        model.set_params(training=training).fit(X)
        Checkpoint.write = original  # type: ignore[method-assign]
        middle = float(np.median(seconds))
        size = f"{max(sizes) / 1e6:.1f}"
        lines.append([width, size, f"{middle:.3f}", f"{100 * middle / 300:.3f} %"])
    table(["units", "MB", "seconds", "of 300 s"], lines)


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--kills", type=int, default=100)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--widths", type=int, nargs="*", default=[128, 1024, 4096])
    args = arguments(p)
    costs(args.widths)
    kills(args.kills, args.seed)


if __name__ == "__main__":
    main()
