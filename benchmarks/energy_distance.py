"""Energy distance beside a double loop, scipy and geomloss, and on a million rows.

Run ``python benchmarks/energy_distance.py [--threads 1] [--rows 3000] [--skip-large]``.
"x skvae" is the median over rounds of another implementation's time over skvae's in the same
round; "difference" is relative, between the two values. The last table runs the sliced form on
a million rows of eight columns in a fresh process: seconds and the peak of its memory; beside it
the error of the sliced form on fifty thousand of those rows, against all their pairs, over ten
sets of directions.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
import torch
from _common import arguments, in_turn, installed, parser, ratio, table

from skvae.metrics import energy_distance
from skvae.nn.divergences import HuberEnergy

LARGE = {  # what is done to standard normal rows
    "one column x 1.5, all + 0.2": lambda X: X * np.r_[1.5, np.ones(7)] + 0.2,
    "all x 1.1": lambda X: X * 1.1,
    "three columns alone": lambda X: X * np.r_[np.ones(3), np.zeros(5)],
}


def double_loop(X, Y):
    def gap(A, B):
        return sum(np.sqrt(((a - b) ** 2).sum()) for a in A for b in B) / (len(A) * len(B))

    return gap(X, Y) - 0.5 * (gap(X, X) + gap(Y, Y))


def compare(title, ours, theirs, repeats, rows):
    values, other = float(ours()), float(theirs())
    seconds = in_turn({"skvae": ours, "other": theirs}, repeats)
    rows.append(
        (
            title,
            f"{median(seconds['skvae']) * 1e3:.2f}",
            f"{median(seconds['other']) * 1e3:.2f}",
            ratio(seconds["other"], seconds["skvae"]),
            f"{abs(values / other - 1):.0e}",
        )
    )


def peers(args):
    rng = np.random.default_rng(0)
    rows = []
    X, Y = rng.normal(size=(200, 8)), rng.normal(size=(200, 8)) + 0.3
    compare(
        "double loop, 200 x 200, k = 8",
        lambda: energy_distance(X, Y),
        lambda: double_loop(X, Y),
        1,
        rows,
    )
    if installed("scipy"):
        from scipy.stats import energy_distance as scipy_distance

        x, y = rng.normal(size=(2, 1_000_000))
        compare(
            "scipy, 1e6 x 1e6, k = 1",
            lambda: energy_distance(x[:, None], y[:, None] + 0.1),
            lambda: scipy_distance(x, y + 0.1) ** 2 / 2,
            args.repeats,
            rows,
        )
    if installed("geomloss"):
        from geomloss import SamplesLoss

        loss = SamplesLoss("energy", backend="tensorized")
        for k in (8, 64):
            for tracked in (False, True):
                x = torch.tensor(rng.normal(size=(args.rows, k)), requires_grad=tracked)
                y = torch.tensor(rng.normal(size=(args.rows, k)) + 0.3)

                def step(distance, x=x, y=y, tracked=tracked):
                    value = distance(x, y)
                    if tracked:
                        value.backward()
                    return value.detach()

                compare(
                    f"geomloss, {args.rows} x {args.rows}, k = {k}" + ", gradient" * tracked,
                    lambda step=step: step(energy_distance),
                    lambda step=step, loss=loss: step(loss),
                    args.repeats,
                    rows,
                )
    table(("other", "skvae ms", "other ms", "x skvae", "difference"), rows)


def training():
    rows = []
    for n, k in ((128, 8), (128, 64), (512, 8)):
        z = torch.randn(n, k, generator=torch.Generator().manual_seed(0)).requires_grad_()
        energies = {
            "exact": HuberEnergy(),
            "surrogate": HuberEnergy(method="surrogate"),
            "exact, delta = 0.1": HuberEnergy(0.1),
        }
        forward = in_turn({m: lambda e=e, z=z: e(z) for m, e in energies.items()}, 200)
        both = in_turn({m: lambda e=e, z=z: e(z).backward() for m, e in energies.items()}, 200)
        rows += [
            (n, k, m, f"{median(forward[m]) * 1e3:.3f}", f"{median(both[m]) * 1e3:.3f}")
            for m in energies
        ]
    table(("codes", "k", "HuberEnergy", "forward ms", "forward and backward ms"), rows)


def large_rows(n, name):
    return LARGE[name](np.random.default_rng(0).normal(size=(n, 8)))


def peak_mb():
    """Peak of this process's memory; ru_maxrss would start from that of its parent."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def large_once(name, two, threads):
    torch.set_num_threads(threads)
    X = large_rows(1_000_000, name)
    Y = np.random.default_rng(1).normal(size=(1_000_000, 8)) if two else None
    energy_distance(X[:10_000], method="sliced", random_state=0)
    wall, cpu = time.perf_counter(), time.process_time()
    value = energy_distance(X, Y, unbiased=True, method="sliced", random_state=0)
    return {
        "value": value,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": peak_mb(),
    }


def large():
    rows = []
    threads = torch.get_num_threads()
    for name in LARGE:
        for two in (False, True):
            command = [sys.executable, __file__, "--once", name, "--threads", str(threads)]
            out = subprocess.run(
                command + ["--two"] * two, check=True, capture_output=True, text=True
            )
            run = json.loads(out.stdout.splitlines()[-1])
            errors = ["", ""]
            if not two:
                X = large_rows(50_000, name)
                exact = energy_distance(X, unbiased=True)
                drawn = [
                    energy_distance(X, unbiased=True, method="sliced", random_state=seed) / exact
                    - 1
                    for seed in range(10)
                ]
                errors = [
                    f"{100 * mean(drawn):+.2f}",
                    f"{100 * stdev(drawn):.2f}",
                ]
            law = "normal rows" if two else "N(0, I)"
            figures = [f"{run['wall']:.1f}", f"{run['cpu']:.1f}", f"{run['peak']:.0f}"]
            rows.append((name, law, f"{run['value']:.5f}", *figures, *errors))
    table(
        ("rows", "against", "d2", "wall s", "CPU s", "peak MB", "mean error, %", "sd, %"),
        rows,
    )


if __name__ == "__main__":
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=3000)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--skip-large", action="store_true")
    p.add_argument("--once", choices=LARGE, help="one run of the last table")
    p.add_argument("--two", action="store_true", help="that run with two samples")
    args = arguments(p, "scipy", "geomloss")
    if args.once:
        print(json.dumps(large_once(args.once, args.two, torch.get_num_threads())))
        sys.exit()
    peers(args)
    training()
    if not args.skip_large:
        large()
