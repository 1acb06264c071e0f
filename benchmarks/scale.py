"""A plan for a billion rows on many GPUs: costs measured on this machine, and what follows.

Measured: reading, encoding and shuffling rows, the first pass over them, steps of training, all on
one thread. Assumed, and to be set on the command line: what a GPU computes, what it takes to start
a step, the network between hosts, the disk. See docs/scale.md for the model.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from _common import arguments, parser, table

D = 30  # features, float32


def best(function, repeats=3) -> float:
    """Seconds of the fastest call."""
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        found.append(time.perf_counter() - begun)
    return min(found)


def measured_rows(n: int) -> tuple[float, float]:
    """Rows a second: of the first pass, and of reading, encoding and shuffling."""
    import torch

    from skvae.engine.batches import EncodedSource
    from skvae.engine.workers import Workers
    from skvae.extend import ArraySource
    from skvae.tables.schema import Schema
    from skvae.tables.summary import Summary

    source = ArraySource(np.random.default_rng(0).normal(size=(n, D)).astype(np.float32))
    first = best(lambda: Summary.of(source))
    rows = EncodedSource(Schema.fit(Summary.of(source)), source, "cpu")
    order = torch.Generator().manual_seed(0)
    encoding = best(lambda: [0 for _ in rows.batches(8192, order, Workers())])
    return n / first, n / encoding


def measured_step(width: int, batch: int) -> float:
    """Seconds of a step."""
    import skvae
    from skvae.engine.optimiser import Adam

    X = np.random.default_rng(0).normal(size=(12 * batch, D)).astype(np.float32)
    model = skvae.VAE(16, hidden_layer_sizes=(width, width), batch_size=batch, max_iter=1)
    seconds, original = [], Adam.step

    def step(self, *args, **kwargs):
        begun = time.perf_counter()
        found = original(self, *args, **kwargs)
        seconds.append(time.perf_counter() - begun)
        return found

    Adam.step = step  # type: ignore[method-assign]
    model.set_params(random_state=0).fit(X)
    Adam.step = original  # type: ignore[method-assign]
    return float(np.median(seconds))


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=float, default=1e9)
    p.add_argument("--batches", type=int, nargs="+", default=[8192, 65536, 524288])
    p.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    p.add_argument("--per-host", type=int, default=8)
    p.add_argument("--widths", type=int, nargs="+", default=[512, 1024])
    p.add_argument("--tflops", type=float, default=30.0, help="of a GPU, float32, as reached")
    p.add_argument("--start", type=float, default=1.0, help="ms to start the kernels of a step")
    p.add_argument("--network", type=float, default=40.0, help="GB a second between hosts")
    p.add_argument("--latency", type=float, default=0.05, help="ms of a reduction of nothing")
    args = arguments(p)
    warnings.simplefilter("ignore")
    first, encoding = measured_rows(1_000_000)
    print(f"first pass {first:,.0f} rows a second, encoding {encoding:,.0f}; {args.rows:.0e} rows: "
          f"first pass {args.rows / first:,.0f} s in every process\n")  # fmt: skip
    lines = []
    for width in args.widths:
        for batch in (1024, 8192):
            seconds = measured_step(width, batch)
            flops = 6 * weights(width) * batch / seconds / 1e9
            lines.append([f"{width}-{width}", batch, f"{1e3 * seconds:.1f}", f"{flops:.0f}"])
    table(["units", "batch", "ms a step, one thread", "GFLOP/s"], lines)
    lines = []
    for width in args.widths:
        for gpus in args.gpus:
            for batch in args.batches:
                lines.append(modelled(args, width, gpus, batch, encoding))
    names = ["units", "GPUs", "batch", "encode", "start", "compute", "reduce"]
    table([*names, "ms a step", "s an epoch", "steps"], lines)


def weights(width: int) -> int:
    """Numbers of a VAE with two hidden layers on each side, 16 codes and D features."""
    sides = (D * width, 2 * width * width, 16 * width * 3, D * width)
    return sum(sides) + 4 * width + 2 * 16 + D


def modelled(args, width: int, gpus: int, batch: int, encoding: float) -> list:
    """One plan: milliseconds of the parts of a step, and seconds of an epoch."""
    own, size = batch / gpus, 4 * weights(width)
    encode = 1e3 * own / encoding
    compute = 1e3 * 6 * weights(width) * own / (args.tflops * 1e12)
    hosts = max(1, gpus // args.per_host)
    reduce = args.latency * (1 + np.log2(gpus)) + (
        1e3 * 2 * size / (args.network * 1e9) if hosts > 1 else 0.0
    )
    step = encode + max(args.start, compute) + reduce
    steps = args.rows / batch
    parts = [f"{part:.2f}" for part in (encode, args.start, compute, reduce, step)]
    name = f"{width}-{width}"
    return [name, gpus, f"{batch:,}", *parts, f"{step * steps / 1e3:,.0f}", f"{steps:,.0f}"]


if __name__ == "__main__":
    main()
