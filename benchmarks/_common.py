"""Shared by the benchmarks: data readers, timings in turn, Markdown tables."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ODDS = (
    "arrhythmia",
    "cardio",
    "glass",
    "ionosphere",
    "letter",
    "lympho",
    "musk",
    "optdigits",
    "pima",
)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A command line with the options that every benchmark has."""
    p = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", type=Path, default=DATA, help="folder with mnist/, odds/, ...")
    p.add_argument("--threads", type=int, help="torch threads; as the machine gives if left out")
    return p


def arguments(p: argparse.ArgumentParser, *packages: str) -> argparse.Namespace:
    """Parse, set the threads and print the environment line."""
    args = p.parse_args()
    import torch
    from threadpoolctl import threadpool_limits

    if args.threads:
        torch.set_num_threads(args.threads)
        threadpool_limits(args.threads)
    n = torch.get_num_threads()
    print(f"{environment(*packages)}; {n} thread{'s' * (n > 1)}", flush=True)
    return args


def installed(package: str) -> bool:
    """Whether a distribution is installed; says so where it is not."""
    try:
        version(package)
    except PackageNotFoundError:
        print(f"{package} is not installed: skipped.")
        return False
    return True


def has_skvae() -> bool:
    try:
        from skvae import VAE  # noqa: F401
    except ImportError as error:
        print(f"skvae cannot be imported ({error}): skipped.")
        return False
    return True


def has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices in bfloat16 natively."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(f in flags for f in ("avx512_bf16", "amx_bf16", " bf16"))


def environment(*packages: str) -> str:
    """One line on the machine and on the versions that were measured."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(s.split(":")[1].strip() for s in lines if s.startswith("model name"))
    except (OSError, StopIteration):
        pass
    found = [f"Python {platform.python_version()}"]
    for name in ("numpy", "scikit-learn", "torch", *packages):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{cpu}, {os.cpu_count()} cores{load}; {', '.join(found)}"


def stopwatch() -> Callable[[], float]:
    import torch

    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def in_turn(
    runs: dict[str, Callable[[], object]], repeats: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each run, taken in turns so that a slow spell of the machine hits all alike.

    With one thread CPU time is measured, which other work on the machine disturbs less.
    """
    clock = stopwatch()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + warm_up):
        for name, run in runs.items():
            start = clock()
            run()
            if turn >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


def ratio(a: Sequence[float], b: Sequence[float]) -> str:
    """Median of a_i / b_i over turns, with its range."""
    r = [x / y for x, y in zip(a, b, strict=True)]
    return f"{median(r):.2f}" + (f" ({min(r):.2f}-{max(r):.2f})" if len(r) > 1 else "")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    print(flush=True)


def mnist(data: Path, split: str = "train", name: str = "mnist") -> np.ndarray:
    """Images of MNIST or Fashion-MNIST as float32 rows in [0, 1]."""
    return _read(data, split, name).data


def labels(data: Path, split: str, name: str) -> np.ndarray:
    return _read(data, split, name).target


def _read(data: Path, split: str, name: str):
    from skvae import datasets

    return getattr(datasets, f"load_{name}")(subset=split, data_home=data)


def low_rank_rows(n: int, d: int, rank: int = 8, seed: int = 0) -> np.ndarray:
    """Standardised rows around a curved surface of few dimensions, float32."""
    rng = np.random.default_rng(seed)
    x = np.tanh(rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)))
    x += 0.1 * rng.normal(size=(n, d))
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)


def odds(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and 0/1 outlier labels of an ODDS table."""
    from scipy.io import loadmat

    content = loadmat(data / "odds" / f"{name}.mat")
    return content["X"].astype(np.float64), content["y"].ravel().astype(int)
