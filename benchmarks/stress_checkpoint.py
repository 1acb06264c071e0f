"""Fits that are killed at random moments, and what checkpoints cost.

A fit is killed, again and again, until one comes to its end; its file is compared with that of a
fit that was not killed. Bar: the same bits, every time. Then the time of one writing, for networks
of several widths, as a share of the default interval of 300 s. Bar: 2 %.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
from _common import arguments, parser, table

SCRIPT = textwrap.dedent(
    """
    import sys, warnings
    import numpy as np
    import skvae
    warnings.simplefilter("ignore")
    path, target = sys.argv[1:]
    X = np.random.default_rng(0).normal(size=(400, 6))
    options = skvae.TrainingOptions(checkpoint=path, checkpoint_interval=0.05)
    model = skvae.VAE(2, hidden_layer_sizes=(16,), batch_size=16, max_iter=60, random_state=0)
    print("begun", flush=True)
    model.set_params(training=options).fit(X)
    model.set_params(training=None).save(target)
    """
)


def kills(n: int, seed: int) -> None:
    """So many kills, each at a random moment of a fit."""
    folder = Path(tempfile.mkdtemp())
    path, whole, target = folder / "checkpoint", folder / "whole", folder / "target"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    begun = time.perf_counter()
    with subprocess.Popen([*command, str(whole)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        begun = time.perf_counter()
        process.wait()
    longest = time.perf_counter() - begun
    rng, killed, ended, equal = np.random.default_rng(seed), 0, 0, 0
    while killed < n or not ended:
        with subprocess.Popen([*command, str(target)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # type: ignore[union-attr]
            if killed < n:
                time.sleep(rng.uniform(0.0, 0.7 * longest))
                process.send_signal(signal.SIGKILL)
            process.wait()
        killed += process.returncode != 0
        if target.exists():
            ended += 1
            equal += target.read_bytes() == whole.read_bytes()
            target.unlink()
    left = len(list(folder.iterdir())) - 1
    table(
        ["kills", "fits ended", "with the same bits", "files left"], [[killed, ended, equal, left]]
    )


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
