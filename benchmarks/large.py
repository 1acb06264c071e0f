"""Rows that do not fit memory: peak memory, rows a second and log-densities, against an array.

Each figure is of a process of its own. Memory is what the process itself has taken (``RssAnon``, by
a thread that looks every 10 ms) beyond what it had when everything was imported; pages of mapped
files come and go as the system likes, and are not counted (Linux only).
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _common import arguments, parser

MEGABYTE = 1e6
BLOCK = 1 << 18


def anonymous() -> float:
    """Bytes of memory that belong to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


class Peak:
    """The most memory while it is open, beyond what there was."""

    def __enter__(self) -> Peak:
        self.before, self.most, self.ends = anonymous(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        self.begun = time.perf_counter()
        return self

    def watch(self) -> None:
        while not self.ends.wait(0.01):
            self.most = max(self.most, anonymous() - self.before)

    def __exit__(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.begun
        self.ends.set()
        self.thread.join()


def block(seed: int, n: int, d: int, order: np.ndarray | None = None) -> np.ndarray:
    """Correlated rows, of two clusters; the first feature grows with the number of the row."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 4)) + 2.0 * rng.choice([-1.0, 1.0], size=(n, 1))
    W = np.random.default_rng(7).normal(size=(4, d))
    return (np.tanh(Z) @ W + 0.3 * rng.normal(size=(n, d))).astype(np.float32)


def write(folder: Path, n: int, d: int, is_sorted: bool = False) -> tuple[Path, Path]:
    """The same rows as .npy and as Parquet."""
    import pyarrow
    from pyarrow import parquet

    names = [f"x{j}" for j in range(d)]
    out = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (n, d))
    for i in range(0, n, BLOCK):
        out[i : i + BLOCK] = block(i, min(BLOCK, n - i), d)
    if is_sorted:
        out[:] = out[np.argsort(out[:, 0])]
    path = folder / "rows.parquet"
    with parquet.ParquetWriter(path, pyarrow.schema([(x, pyarrow.float32()) for x in names])) as w:
        for i in range(0, n, BLOCK):
            w.write_table(pyarrow.table(list(np.ascontiguousarray(out[i : i + BLOCK].T)), names))
    out.flush()
    return folder / "rows.npy", path


def opened(kind: str, folder: Path) -> Any:
    from skvae.sources import ParquetSource

    if kind == "parquet":
        return ParquetSource(folder / "rows.parquet")
    return np.load(folder / "rows.npy", mmap_mode=None if kind == "array" else "r")


def task(what: str, kind: str, folder: Path, pipe: Any, options: dict[str, Any]) -> None:
    import torch

    import skvae
    from skvae.engine import batches, fit
    from skvae.sources import map_rows

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    small = np.random.default_rng(0).normal(size=(5000, options["d"])).astype(np.float32)
    size = options.get("batch", "auto")
    model = skvae.VAE(max_iter=1, batch_size=size, random_state=options.get("seed", 0))
    if what == "score":  # memory is that of blocks of rows; a small network takes less time
        model.set_params(n_components=2, hidden_layer_sizes=(16,), n_importance_samples=1)
    model.fit(small).score_samples(small)
    if "most" in options:
        fit.MOST_ENCODED = batches.MOST_ENCODED = options["most"]
    X = opened(kind, folder)
    with Peak() as peak:
        if what == "fit":
            model.fit(X)
        elif what == "score":
            map_rows(model.score_samples, X, folder / "scores.npy")
    found = {"memory": peak.most, "seconds": peak.seconds}
    if "test" in options:
        found["score"] = float(model.score(options["test"]))
    pipe.send(found)


def measured(what: str, kind: str, folder: Path, **options: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=task, args=(what, kind, folder, there, options))
    process.start()
    there.close()
    found: dict[str, float] = here.recv()
    process.join()
    return found


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=10_000_000)
    p.add_argument("--batch", type=int, default=128, help="batch_size of the fits")
    p.add_argument("--features", type=int, default=30)
    p.add_argument("--scored", type=int, default=0, help="rows of a sparse file to score")
    p.add_argument("--sorted-rows", type=int, default=300_000)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--what", nargs="+", default=["fit", "score"])
    p.add_argument("--kinds", nargs="+", default=["array", "memmap", "parquet"])
    args = arguments(p)
    d = args.features
    if args.rows:
        print(f"{args.rows:,} x {d} float32\n\n| what | rows from | MB | seconds | rows a second |")
        print("| --- | --- | --- | --- | --- |", flush=True)
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), args.rows, d)
            for what in args.what:
                for kind in args.kinds:
                    most = 1 << 40 if kind == "array" else 0
                    r = measured(what, kind, Path(name), d=d, batch=args.batch, most=most)
                    speed = args.rows / r["seconds"]
                    row = f"| {what} | {kind} | {r['memory'] / MEGABYTE:.0f} | {r['seconds']:.1f} "
                    print(row + f"| {speed:,.0f} |", flush=True)
    if args.scored:
        with tempfile.TemporaryDirectory() as name:
            shape = (args.scored, d)
            np.lib.format.open_memmap(Path(name) / "rows.npy", "w+", np.float32, shape)
            r = measured("score", "memmap", Path(name), d=d)
            print(f"\n{args.scored:,} rows of a sparse file, scored: "
                  f"{r['memory'] / MEGABYTE:.0f} MB, {r['seconds']:.0f} s")  # fmt: skip
    if args.sorted_rows:
        print(f"\n{args.sorted_rows:,} x {d}, sorted by a feature: held-out log p, mean and "
              "standard deviation over seeds\n\n| rows from | log p |\n| --- | --- |")  # fmt: skip
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), args.sorted_rows, d, is_sorted=True)
            test = block(1, 20_000, d)
            for kind, most in (("array", 1 << 40), ("memmap", 0), ("parquet", 0)):
                found = [
                    measured("fit", kind, Path(name), d=d, seed=s, most=most, test=test)["score"]
                    for s in range(args.seeds)
                ]
                print(f"| {kind} | {np.mean(found):.3f} ({np.std(found):.3f}) |", flush=True)


if __name__ == "__main__":
    main()
