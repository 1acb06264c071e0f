"""Outlier detection: AUROC on nine ODDS tables, side by side.

    python outliers.py knn ppca vae "VAE(network=NetworkOptions(linear_skip=True))" --seeds 5

Protocol "clean": fit on a random half of the inliers, score the other half and all outliers.
Protocol "contaminated": fit on all rows, score all rows. Without models on the command line all
are run. `--confirm` takes tables that nobody has looked at while tuning.

A model is a name in `MODELS` or a call of one of skvae's estimators with keywords: literals, or
calls of its options such as `NetworkOptions(linear_skip=True)`. skvae and PyOD get raw rows and
scale them themselves; the others get rows standardised with the training rows. Detectors that have
other scores for the rows of the fit ("lof", "detector") give these under "contaminated".
"""

from __future__ import annotations

import ast
import csv
import os
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _common import ODDS, environment, has_skvae, installed, odds, parser, table

Scorer = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # train, test, seed -> abnormality
PROTOCOLS = ("clean", "contaminated")


def standardised(fit_score: Scorer) -> Scorer:
    def scorer(train, test, seed):
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(train)
        return fit_score(scaler.transform(train), scaler.transform(test), seed)

    return scorer


def neighbours(reduce: Callable) -> Scorer:
    """Distance to five neighbours; where the fitted rows are scored, a row is not its own."""

    def scorer(train, test, seed):
        from sklearn.neighbors import NearestNeighbors

        same = np.array_equal(train, test)
        nearest = NearestNeighbors(n_neighbors=5).fit(train)
        return reduce(nearest.kneighbors(None if same else test)[0], axis=1)

    return standardised(scorer)


def ppca(train, test, seed):
    """Log-likelihood of PPCA with the components that hold 90 % of the variance."""
    from sklearn.decomposition import PCA

    return -PCA(n_components=0.9, svd_solver="full").fit(train).score_samples(test)


def mixture(train, test, seed):
    from sklearn.mixture import GaussianMixture

    return -GaussianMixture(10, random_state=seed).fit(train).score_samples(test)


def forest(train, test, seed):
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def local_outlier_factor(train, test, seed):
    """With its default of 20 neighbours."""
    from sklearn.neighbors import LocalOutlierFactor

    if np.array_equal(train, test):
        return -LocalOutlierFactor().fit(train).negative_outlier_factor_
    return -LocalOutlierFactor(novelty=True).fit(train).score_samples(test)


def pyod_vae(train, test, seed):
    from pyod.models.vae import VAE

    return VAE(random_state=seed, verbose=0).fit(train).decision_function(test)


def pyod_pca(train, test, seed):
    from pyod.models.pca import PCA

    return PCA(random_state=seed).fit(train).decision_function(test)


def skvae(name: str, **parameters) -> Scorer:
    def scorer(train, test, seed):
        import skvae

        model = getattr(skvae, name)(**{"random_state": seed} | parameters)
        model.fit(train)
        if hasattr(model, "training_scores_") and np.array_equal(train, test):
            return -model.training_scores_
        return -model.score_samples(test)

    return scorer


MODELS: dict[str, Scorer] = {
    "knn": neighbours(np.max),
    "knn_mean": neighbours(np.mean),
    "pca": pyod_pca,
    "ppca": standardised(ppca),
    "gmm": standardised(mixture),
    "lof": standardised(local_outlier_factor),
    "iforest": forest,
    "pyod_vae": pyod_vae,
    "vae": skvae("VAE"),
    "huber_energy_vae": skvae("HuberEnergyVAE"),
    "denoising_ae": skvae("DenoisingAE"),
    "autoencoder": skvae("Autoencoder"),
    "detector": skvae("DenoisingDetector"),
}


def keywords(call: ast.Call) -> dict[str, object]:
    """Keywords of a call: literals, or calls such as ``NetworkOptions(linear_skip=True)``."""
    import skvae

    return {
        k.arg: getattr(skvae, k.value.func.id)(**keywords(k.value))
        if isinstance(k.value, ast.Call)
        else ast.literal_eval(k.value)
        for k in call.keywords
    }


def find(model: str) -> Scorer:
    """A model by name, or skvae's estimator from a call such as ``VAE(beta=2.0)``."""
    if model in MODELS:
        return MODELS[model]
    try:
        call = ast.parse(model, mode="eval").body
        return skvae(call.func.id, **keywords(call))
    except (AttributeError, SyntaxError, ValueError):
        raise SystemExit(
            f"{model!r} is neither in {list(MODELS)} nor like 'VAE(beta=2.0)'."
        ) from None


def available(models: list[str]) -> list[str]:
    theirs = {"pca": "pyod", "pyod_vae": "pyod"}
    plain = {"knn", "knn_mean", "lof", "ppca", "gmm", "iforest"}
    ours = any(m not in theirs and m not in plain for m in models) and has_skvae()
    pyod = any(m in theirs for m in models) and installed("pyod")
    return [m for m in models if m in plain or (pyod if m in theirs else ours)]


def wine(data: Path, colour: str) -> np.ndarray:
    path = data / "wine_quality" / f"winequality-{colour}.csv"
    return np.loadtxt(path, delimiter=";", skiprows=1)


def confirmation(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_breast_cancer, load_digits

    if name == "red among white":  # every 16th red wine, 100 of them
        X = np.vstack([wine(data, "white"), wine(data, "red")[::16]])
        return X[:, :-1], np.repeat([0, 1], [4898, 100])
    if name == "poor or great white":  # quality <= 3 or >= 9: 25 of 4898
        X = wine(data, "white")
        return X[:, :-1], ((X[:, -1] <= 3) | (X[:, -1] >= 9)).astype(int)
    if name == "breast cancer":  # malignant
        X, y = load_breast_cancer(return_X_y=True)
        return X, 1 - y
    X, y = load_digits(return_X_y=True)
    return X, (y == int(name.split()[1])).astype(int)


CONFIRM = (
    "red among white",
    "poor or great white",
    "breast cancer",
    "digit 1",
    "digit 4",
    "digit 8",
)


def auroc(data: Path, name: str, protocol: str, model: str, seed: int) -> tuple[float, float]:
    """AUROC in percent and the seconds of fit and score."""
    from sklearn.metrics import roc_auc_score

    warnings.simplefilter("ignore")
    X, y = (confirmation if name in CONFIRM else odds)(data, name)
    train = test = np.arange(len(X))
    if protocol == "clean":
        inliers = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
        train, held_out = np.array_split(inliers, 2)
        test = np.concatenate([held_out, np.flatnonzero(y)])
    start = time.process_time()  # one thread
    score = find(model)(X[train], X[test], seed)
    seconds = time.process_time() - start
    # PyOD's PCA gives infinite scores where an eigenvalue is zero.
    return 100.0 * roc_auc_score(y[test], np.nan_to_num(score)), seconds


def with_error(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values.mean():.1f}"
    return f"{values.mean():.1f} +- {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def main() -> None:
    p = parser(__doc__)
    p.add_argument("models", nargs="*", default=list(MODELS))
    p.add_argument("--protocol", choices=PROTOCOLS, help="one of the two")
    p.add_argument("--tables", nargs="*", help="some of the tables")
    p.add_argument("--confirm", action="store_true", help="the tables kept back from tuning")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--jobs", type=int, default=1, help="processes, with one thread each")
    p.add_argument("--csv", type=Path, help="file for every single result, written at once")
    args = p.parse_args()
    print(environment("skvae", "pyod"), flush=True)
    models = available(args.models)
    tables = args.tables or (CONFIRM if args.confirm else ODDS)
    protocols = [args.protocol] if args.protocol else PROTOCOLS
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read by the processes that are spawned below
    if args.csv:
        args.csv.write_text("table,protocol,model,seed,auroc,seconds\n")
    results: dict[tuple[str, str, str, int], tuple[float, float]] = {}
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        tasks = {
            pool.submit(auroc, args.data, *key): key
            for key in (
                (name, protocol, model, seed)
                for protocol in protocols
                for name in tables
                for model in models
                for seed in range(args.seeds)
            )
        }
        for done, task in enumerate(as_completed(tasks), 1):
            key = tasks[task]
            try:
                results[key] = task.result()
            except Exception as error:
                print(f"{key} failed: {error!r}", flush=True)
                results[key] = np.nan, np.nan
            if args.csv:
                with args.csv.open("a", newline="") as file:
                    csv.writer(file).writerow([*key, *results[key]])
            print(f"\r{done} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for protocol in protocols:
        # (models, tables, seeds), AUROC and seconds
        values = np.array(
            [
                [[results[t, protocol, m, s] for s in range(args.seeds)] for t in tables]
                for m in models
            ]
        )
        columns = [[with_error(v) for v in per_table[..., 0]] for per_table in values]
        rows = [[t, *(c[i] for c in columns)] for i, t in enumerate(tables)]
        rows.append(["**mean**", *(with_error(v[..., 0].mean(0)) for v in values)])
        rows.append(["seconds a fit", *(f"{v[..., 1].mean():.2f}" for v in values)])
        table([f"{protocol}, AUROC in %", *models], rows)


if __name__ == "__main__":
    main()
