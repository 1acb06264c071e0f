"""A data frame of Dask, fitted and scored on a LocalCluster of two, against torchrun's weights.

Partitions are made when they are asked for, so the rows lie nowhere. Memory is that of each worker,
looked up every 50 ms, beyond what it has once all is imported: its own (``RssAnon``), and with the
pages of mapped files that happen to be in memory (``VmRSS``), which is what Dask's limit counts
(Linux only).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _common import arguments, parser
from large import block

MEGABYTE = 1e6
KINDS = ("RssAnon", "VmRSS")


def memory(pid: int) -> tuple[float, ...]:
    """Bytes of a process, of each kind."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.partition(":")[0]: line.split() for line in lines}
    return tuple(1024.0 * int(found[kind][1]) for kind in KINDS)


class Peaks:
    """The most memory of some processes while it is open, beyond what there was."""

    def __init__(self, pids: list[int]):
        self.pids = pids

    def __enter__(self) -> Peaks:
        self.before = {pid: memory(pid) for pid in self.pids}
        self.most = dict.fromkeys(self.pids, (0.0, 0.0))
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        self.begun = time.perf_counter()
        return self

    def watch(self) -> None:
        while not self.ends.wait(0.05):
            for pid in self.pids:
                own = zip(memory(pid), self.before[pid], self.most[pid], strict=True)
                self.most[pid] = tuple(max(most, now - before) for now, before, most in own)

    def __exit__(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.begun
        self.ends.set()
        self.thread.join()

    def __str__(self) -> str:
        each = [f"{own / MEGABYTE:.0f} ({all_ / MEGABYTE:.0f})" for own, all_ in self.most.values()]
        return f"{', '.join(each)} | {self.seconds:.1f}"


def part(i: int, n: int, d: int) -> Any:
    import pandas as pd

    return pd.DataFrame(block(i, n, d), columns=[f"x{j}" for j in range(d)], copy=False)


def sizes(rows: int, most: int) -> list[int]:
    return [min(most, rows - i) for i in range(0, rows, most)]


def model(batch: int) -> Any:
    import torch

    import skvae

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return skvae.VAE(max_iter=1, batch_size=batch, n_importance_samples=1, random_state=0)


def weights(fitted: Any) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in fitted.module_.parameters()])


def rank(args: Any) -> None:
    """What each process of torchrun does."""
    import os

    from skvae.sources import BlockSource

    tables = [(i, n, args.features) for i, n in enumerate(sizes(args.rows, args.partition))]
    fitted = model(args.batch).fit(BlockSource(lambda: (part(*table) for table in tables)))
    if os.environ["RANK"] == "0":
        np.save(args.out, weights(fitted))


def by_torchrun(args: Any, folder: Path) -> tuple[np.ndarray, float]:
    """The weights, and the seconds that they took."""
    out = folder / "weights.npy"
    own = f"--rows {args.rows} --batch {args.batch} --features {args.features}"
    own += f" --partition {args.partition} --out {out}"
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    begun = time.perf_counter()
    subprocess.run([*start, __file__, *own.split()], check=True)
    return np.load(out), time.perf_counter() - begun


def on_cluster(args: Any) -> np.ndarray:
    """Fit and score on the workers of Dask; gives the weights."""
    import os

    import dask.dataframe as dd
    import pandas as pd
    from distributed import Client, LocalCluster

    import skvae.dask

    counts = sizes(args.rows, args.partition)
    frame = dd.from_map(
        part, range(len(counts)), counts, d=args.features, meta=part(0, 2, args.features)
    )
    # one thread each: torch's, and that of the partitions
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=args.limit
        ) as cluster,
        Client(cluster) as client,
    ):
        small = frame.partitions[0].head(2000, compute=False)
        skvae.dask.fit(model(args.batch), small)
        pids = list(client.run(os.getpid).values())
        print("| what | MB of each worker (with mapped pages) | seconds |\n| --- | --- | --- |")
        with Peaks(pids) as peaks:
            fitted = skvae.dask.fit(model(args.batch), frame)
        print(f"| fit | {peaks} |", flush=True)
        with Peaks(pids) as peaks:
            scores = frame.map_partitions(fitted.score_samples, meta=pd.Series(dtype="f8"))
            mean = scores.map_partitions(lambda s: pd.Series([s.sum()]), meta=pd.Series(dtype="f8"))
            total = float(mean.sum().compute())
        print(f"| score | {peaks} |\n\nmean log p {total / args.rows:.4f}", flush=True)
    return weights(fitted)


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=20_000_000)
    p.add_argument("--features", type=int, default=10)
    p.add_argument("--batch", type=int, default=8192, help="batch_size of the fits")
    p.add_argument("--partition", type=int, default=250_000, help="rows of a partition")
    p.add_argument("--limit", default="auto", help="memory_limit of a worker")
    p.add_argument("--out", type=Path, help="for a process of torchrun: where the weights go")
    if "--out" in sys.argv:
        rank(p.parse_args())
        return
    args = arguments(p, "dask", "distributed")
    print(f"{args.rows:,} x {args.features} float32, batch_size {args.batch}, one epoch\n")
    found = on_cluster(args)
    with tempfile.TemporaryDirectory() as folder:
        expected, seconds = by_torchrun(args, Path(folder))
    far = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"torchrun with 2 processes: {seconds:.1f} s; weights differ by {far:.1e} of the largest")


if __name__ == "__main__":
    main()
