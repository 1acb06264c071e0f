"""PPCA beside scikit-learn's PCA: time and memory of a fit, and how exact the result is.

Run ``python benchmarks/ppca.py [--repeats 7] [--components 10] [--dtype float32] [--flat]``.
Fits of all solvers are interleaved. "x PCA" is the median over rounds of a solver's time over
that of PCA's default solver in the same round. Memory is the rise of the peak resident size of a
fresh process above that with the rows in place. "error" is the largest relative error of the
leading eigenvalues, against skvae's "svd" (with --check, which is slow).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
from sklearn.decomposition import PCA

from skvae import PPCA

SOLVERS = {
    "PCA auto": lambda k: PCA(k, random_state=0),
    "PCA covariance_eigh": lambda k: PCA(k, svd_solver="covariance_eigh"),
    "PCA randomized": lambda k: PCA(k, svd_solver="randomized", random_state=0),
    "PCA arpack": lambda k: PCA(k, svd_solver="arpack", random_state=0),
    "PCA full": lambda k: PCA(k, svd_solver="full"),
    "PPCA auto": lambda k: PPCA(k),
    "PPCA randomized": lambda k: PPCA(k, solver="randomized", random_state=0),
    "PPCA em": lambda k: PPCA(k, solver="em", max_iter=50, random_state=0),
}
SLOW = {  # minutes or gigabytes
    "100000x200": {"PCA full", "PCA arpack"},
    "2000x5000": {"PCA covariance_eigh", "PCA full"},
}


def make_rows(shape, dtype, flat):
    """Twenty directions of falling variance and noise; or, with `flat`, noise alone."""
    n, d = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=dtype)
    if not flat:
        directions = rng.standard_normal((20, d), dtype=dtype)
        directions *= np.linspace(2.0, 0.2, 20, dtype=dtype)[:, None]
        for start in range(0, n, 16):  # in blocks, to leave no mark on the peak
            block = X[start : start + 16]
            block += rng.standard_normal((len(block), 20), dtype=dtype) @ directions
    return X


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(args, shape, name):
    """The rise of the peak in MB, from a fresh process."""
    command = [sys.executable, __file__, "--shape", shape, "--memory", name]
    command += ["--components", str(args.components), "--dtype", args.dtype]
    done = subprocess.run(
        command + ["--flat"] * args.flat, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", default=["100000x200", "2000x5000"])
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--all", action="store_true", help="the slow solvers of PCA too")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    k = args.components
    chosen = {
        shape: [name for name in SOLVERS if args.all or name not in SLOW.get(shape, ())]
        for shape in args.shape
    }
    memory = {}
    if not args.memory:  # first, as a child's peak begins at that of its parent
        for shape, names in chosen.items():
            memory[shape] = {name: measure_memory(args, shape, name) for name in names}
    for shape, names in chosen.items():
        X = make_rows(shape, np.dtype(args.dtype), args.flat)
        if args.memory:
            small = np.random.default_rng(0).standard_normal((64, 8))
            SOLVERS[args.memory](2).fit(small)  # imports and work areas of the libraries
            before = peak_mb()
            SOLVERS[args.memory](k).fit(X)
            print(peak_mb() - before)
            return
        times, models = {name: [] for name in names}, {}
        for _ in range(args.repeats):
            for name in names:
                time.sleep(0.2)  # threads of the fit before go on waiting for work, busily
                start = time.perf_counter()
                models[name] = SOLVERS[name](k).fit(X)
                times[name].append(time.perf_counter() - start)
        exact = None
        if args.check:
            exact = PPCA(k, solver="svd").fit(X).explained_variance_
        kind = "flat" if args.flat else "20 directions"
        threads = os.environ.get("OMP_NUM_THREADS", "all")
        print(f"\n{shape} {args.dtype} k={k} {kind}, {args.repeats} rounds, threads: {threads}")
        print(f"{'solver':22}{'seconds':>9}{'x PCA':>8}{'MB':>8}{'x PCA':>8}{'error':>10}")
        base = memory[shape]["PCA auto"]
        for name in names:
            ratio = statistics.median(
                a / b for a, b in zip(times[name], times["PCA auto"], strict=True)
            )
            error = "-"
            if exact is not None:
                scale = (len(X) - 1) / len(X) if name.startswith("PCA") else 1.0
                found = scale * models[name].explained_variance_
                error = f"{np.max(np.abs(found / exact - 1)):.1e}"
            seconds = statistics.median(times[name])
            mb = memory[shape][name]
            print(f"{name:22}{seconds:9.3f}{ratio:8.2f}{mb:8.1f}{mb / base:8.2f}{error:>10}")


if __name__ == "__main__":
    main()
