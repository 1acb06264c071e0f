"""Peak memory of every public method of every estimator, beyond its input and its output.

A process for each estimator; the peak of its resident memory is reset before each call (Linux
only). The bars: 64 MB and a tenth of X for what a fitted model says, 1.3 times X for a fit.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import arguments, parser, table

METHODS = (
    "transform inverse_transform reconstruct reconstruction_error posterior score_samples score "
    "score_parts score_features decision_function predict predict_proba predict_log_proba impute "
    "impute_draws sample sample_given fit partial_fit"
).split()
MEGABYTE = 1e6


def resident(name: str) -> float:
    """Resident memory in bytes: now (``VmRSS``) or at its peak (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(name))


def size_of(output: Any) -> int:
    if isinstance(output, np.ndarray):
        return output.nbytes
    if isinstance(output, dict):
        return sum(map(size_of, output.values()))
    return sum(map(size_of, output)) if isinstance(output, tuple | list) else 0


def peak(call: Callable[[], Any]) -> tuple[float, float]:
    """Bytes beyond what there was and what comes out, at the worst moment; and seconds."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    output = call()
    seconds = time.perf_counter() - start
    return resident("VmHWM") - before - size_of(output), seconds


def calls(model: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], Any]]:
    n = len(X)
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, model._n_codes)).astype(np.float32)
    found: dict[str, Callable[[], Any]] = {}
    for name in METHODS:
        method = getattr(model, name.partition("_draws")[0].partition("_given")[0], None)
        if method is None:
            continue
        if name == "inverse_transform":
            found[name] = lambda method=method: method(Z)
        elif name == "sample":
            found[name] = lambda method=method: method(n, 0)
        elif name == "sample_given":
            if model._takes_missing:
                found[name] = lambda method=method: method(n // 50, 0, given={0: 0.5})
        elif name == "impute":
            found[name] = lambda method=method: method(X)
        elif name == "impute_draws":
            found[name] = lambda method=method: method(X[: n // 50], 5, 0)
        elif name in ("fit", "partial_fit") or (name == "score" and hasattr(model, "classes_")):
            found[name] = lambda method=method: method(X, y)
        else:
            found[name] = lambda method=method: method(X)
    return found


def measure(name: str, n: int, d: int, methods: list[str], pipe: Any) -> None:
    import skvae

    warnings.simplefilter("ignore")
    cls = getattr(skvae, name)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    X[:, 1] += X[:, 0]
    y = np.arange(n) % 2
    quick = {
        "n_components": 4,
        "hidden_layer_sizes": (16,),
        "max_iter": 1,
        "n_importance_samples": 2,
        "random_state": 0,
        "batch_size": 512,
    }
    params = cls().get_params()
    model = cls(**{k: v for k, v in quick.items() if k in params}).fit(X[:5000], y[:5000])
    if "impute" in methods and model._takes_missing:
        X[::100, 2] = np.nan
        model.fit(X[:5000], y[:5000])
        np.nan_to_num(X, copy=False)
    for warm in calls(model, X[:200], y[:200]).values():
        warm()  # what is loaded at a first call
    model.fit(X[:5000], y[:5000])
    for method, call in calls(model, X, y).items():
        if method not in methods:
            continue
        if method.startswith("impute"):
            X[::100, 2] = np.nan
        pipe.send((method, *peak(call)))
        np.nan_to_num(X, copy=False)
        if method == "fit":
            model.fit(X[:5000], y[:5000])
    pipe.send(None)


def main() -> None:
    import skvae

    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=1_000_000)
    p.add_argument("--columns", type=int, default=30)
    p.add_argument("--estimators", nargs="*")
    p.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    args = arguments(p, "skvae")
    size = 4.0 * args.rows * args.columns
    names = args.estimators or [
        n for n in skvae.__all__ if hasattr(getattr(skvae, n), "inverse_transform")
    ]
    bar = dict.fromkeys(METHODS, 64e6 + 0.1 * size) | {
        "fit": 1.3 * size,
        "partial_fit": 1.3 * size,
    }
    print(f"{args.rows} x {args.columns} float32, {size / MEGABYTE:.0f} MB; MB at the peak")
    rows, over = [], 0
    context = multiprocessing.get_context("spawn")
    for name in names:
        here, there = context.Pipe()
        process = context.Process(
            target=measure, args=(name, args.rows, args.columns, args.methods, there)
        )
        process.start()
        there.close()
        found = {}
        while True:
            try:
                message = here.recv()
            except EOFError:
                found["failed"] = (float("nan"), 0.0)
                break
            if message is None:
                break
            method, extra, seconds = message
            found[method] = (extra, seconds)
            over += extra > bar[method]
            print(
                f"{name}.{method}: {extra / MEGABYTE:.0f} MB, {seconds:.1f} s"
                f"{' OVER' if extra > bar[method] else ''}",
                flush=True,
            )
        process.join()
        rows.append(
            [name] + [f"{found[m][0] / MEGABYTE:.0f}" if m in found else "" for m in args.methods]
        )
    table(["", *args.methods], rows)
    print(f"{over} over the bar")


if __name__ == "__main__":
    main()
