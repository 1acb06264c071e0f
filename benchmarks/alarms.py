"""False alarms: how many clean rows `predict` flags that the model has not seen.

    python alarms.py --models PPCA VAE --splits 200

A model is fitted to n normal rows of a table; the others, at most 1000, and all outliers are new
rows. For every false-alarm rate the share of the normal ones that is flagged, with its standard
error over splits, which take the tables in turn; the share of the outliers that is flagged (power);
and how p-values of normal rows are distributed, one row of each split: the largest excess of their
share at or below a over a, with the 1 % critical value of Kolmogorov and Smirnov's one-sided test.

The tail of few scores was chosen with PCA, mixtures and kernels on cardio, pima, letter, breast
cancer, optdigits, glass, red among white, ionosphere, musk and digit 4. `KEPT` are others; `CHOSEN`
are five of those ten.
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _common import environment, odds, parser, table
from outliers import CONFIRM, confirmation

CHOSEN = ("cardio", "pima", "letter", "breast cancer", "optdigits")
KEPT = ("arrhythmia", "lympho", "digit 1", "digit 8", "poor or great white")
RATES = (0.01, 0.05, 0.1)
MOST_NEW = 1000


def one(data: Path, model: str, n: int, split: int, tables: tuple[str, ...]) -> dict | None:
    """Shares flagged of normal rows and of outliers at each rate, and a p-value of a normal row."""
    import torch

    import skvae

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    fitting = [t for t in tables if (read(data, t)[1] == 0).sum() >= n + 50]
    if not fitting:
        return None
    X, y = read(data, fitting[split % len(fitting)])
    normal = np.random.default_rng([split, n]).permutation(np.flatnonzero(y == 0))
    new, odd = X[normal[n : n + MOST_NEW]], X[y == 1]
    detector = skvae.PPCA(0.9) if model == "PPCA" else getattr(skvae, model)(random_state=split)
    detector.fit(X[normal[:n]])
    calibration, is_calibrated = detector.calibration_scores_, detector._is_calibrated_
    found = {"p": detector.p_values(new)[0], "m": len(calibration)}
    for rate in RATES:
        detector.set_params(false_alarm_rate=rate)._set_calibration(calibration, is_calibrated)
        found[rate] = [(detector.predict(rows) == -1).mean() for rows in (new, odd)]
    return found


def read(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = (confirmation if name in CONFIRM else odds)(data, name)
    return X.astype(float), y


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--models", nargs="*", default=["PPCA", "VAE"])
    p.add_argument("--sizes", nargs="*", type=int, default=[40, 100, 200, 500, 1000])
    p.add_argument("--splits", type=int, default=200)
    p.add_argument("--jobs", type=int, default=1, help="processes, with one thread each")
    p.add_argument("--tables", choices=("chosen", "kept"), default="kept")
    args = p.parse_args()
    print(environment("skvae"), flush=True)
    tables = KEPT if args.tables == "kept" else CHOSEN
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read by the processes that are spawned below
    rows = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for model in args.models:
            for n in args.sizes:
                tasks = [
                    pool.submit(one, args.data, model, n, split, tables)
                    for split in range(args.splits)
                ]
                found = [result for task in tasks if (result := task.result())]
                rows.append([model, n, int(np.median([f["m"] for f in found])), *cells(found)])
                print("|", " | ".join(map(str, rows[-1])), "|", flush=True)
    rates = [f"{what} at {rate:.0%}" for rate in RATES for what in ("false alarms", "power")]
    table(["model", "rows", "scores", *rates, "excess of p-values (critical)"], rows)


def cells(found: list[dict]) -> list[str]:
    shown = []
    for rate in RATES:
        shares = np.array([f[rate] for f in found])  # (splits, 2)
        error = shares[:, 0].std(ddof=1) / len(shares) ** 0.5
        shown += [f"{shares[:, 0].mean():.2%} +- {error:.2%}", f"{shares[:, 1].mean():.0%}"]
    p = np.sort([f["p"] for f in found])
    excess = max(np.max(np.arange(1, len(p) + 1) / len(p) - p), 0.0)
    critical = (np.log(100.0) / (2.0 * len(p))) ** 0.5
    return [*shown, f"{excess:.3f} ({critical:.3f})"]


if __name__ == "__main__":
    main()
