"""Held-out log-densities of tables of numbers, beside what a user would try first.

    python densities.py gmm kde ppca "VAE()" "VAE(noise_variance='network')" --seeds 3 --jobs 2

A random half of the normal rows of a table, at most 3000, is fitted, and at most 1000 of the others
are scored: the mean of log p(x), in nats, of columns standardised by the rows that are fitted.
Columns whose numbers come again (fewer distinct ones than half of the rows) get uniform noise of
the width of their smallest spacing, so that no density can live on ties; columns with one number
in 95 % of the rows are left out. Where the table has outliers, the AUROC of the same scores is
shown too, in per cent.

- gmm: scikit-learn's GaussianMixture, components among 1 to 16 by BIC, reg_covar=0.0025, which is
  the square of our noise floor.
- kde: KernelDensity, its bandwidth among 16 by five-fold cross-validation.
- ppca: scikit-learn's PCA, components among 12 by five-fold cross-validation.
- flow: zuko's neural spline flow, three transforms of two hidden layers of 64, Adam, at most 3000
  steps of 128 rows, stopped early on a tenth of the rows.

Others are one of skvae's estimators, with keywords as in outliers.py, scored by 64 draws.

`CHOSEN` tables chose the settings. `KEPT` did not, but for one rule, the number of codes, which was
changed after a look at the image patches.
"""

from __future__ import annotations

import ast
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _common import ODDS, environment, labels, mnist, odds, parser, table
from outliers import keywords, wine

CHOSEN = (
    "cardio",
    "letter",
    "pima",
    "boston",
    "white wine",
    "benign",
    "ionosphere",
    "wine",
    "glass",
    "digit 4",
    "fashion 7x7",
)
KEPT = (
    "abalone",
    "red wine",
    "musk",
    "optdigits",
    "diabetes",
    "adult",
    "arrhythmia",
    "lympho",
    "malignant",
    "digit 1",
    "mnist 7x7",
    "patches",
)
MOST_FITTED, MOST_SCORED = 3000, 1000
Density = tuple[np.ndarray, np.ndarray | None, float]  # scores of new rows, of outliers, seconds


def normal_and_odd(data: Path, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of a table, and others that do not belong there, if any."""
    from sklearn import datasets

    if name in ODDS:
        X, y = odds(data, name)
        return X[y == 0], X[y == 1]
    if name == "boston":
        return np.loadtxt(data / "boston_housing" / "housing.csv", delimiter=","), None
    if name in ("white wine", "red wine"):
        white, red = (wine(data, colour)[:, :-1] for colour in ("white", "red"))
        return (white, red[::8]) if name == "white wine" else (red, white[::40])
    if name in ("benign", "malignant"):
        X, y = datasets.load_breast_cancer(return_X_y=True)
        is_benign = name == "benign"
        return X[y == is_benign], X[y != is_benign][:: 4 if is_benign else 6]
    if name.startswith("digit "):
        X, y = datasets.load_digits(return_X_y=True)
        is_it = y == int(name[-1])
        return X[is_it], X[~is_it][::60]
    if name == "wine":
        return datasets.load_wine().data, None
    if name == "diabetes":
        return datasets.load_diabetes().data, None
    if name == "abalone":
        lines = (data / "tables" / "abalone.csv").read_text().split()
        cells = [line.split(",")[1:] for line in lines if not line.startswith("Sex")]
        return np.array(cells, float), None
    if name == "adult":
        lines = (data / "tables" / "adult.data").read_text().splitlines()
        cells = [line.split(",") for line in lines if line]
        return np.array([[row[i] for i in (0, 2, 4, 10, 11, 12)] for row in cells], float), None
    if name in ("fashion 7x7", "mnist 7x7"):
        source, label = ("fashion_mnist", 5) if name == "fashion 7x7" else ("mnist", 3)
        y = labels(data, "train", source)[:20_000]
        X = 255.0 * mnist(data, "train", source)[:20_000].astype(float)
        X = X.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49)
        return X[y == label], X[y != label][:150]
    path = data / "cifar10" / "cifar10_12000train_1000test.npz"
    images = next(a for a in np.load(path).values() if a.ndim == 4 or a.shape[-1] == 3072)
    if images.ndim == 4 and images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    return images.reshape(-1, 3, 32, 32)[:6000, :, 14:17, 14:17].reshape(6000, 27) + 0.0, None


def split(data: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows to fit, new ones, and outliers."""
    X, odd = normal_and_odd(data, name)
    rng = np.random.default_rng(seed)
    parts = [X.copy(), np.empty((0, X.shape[1])) if odd is None else odd.copy()]
    for j in range(X.shape[1]):
        values = np.unique(X[:, j])
        if 1 < len(values) < len(X) / 2:
            width = np.diff(values).min()
            for part in parts:
                part[:, j] += width * rng.uniform(-0.5, 0.5, len(part))
    order = rng.permutation(len(X))
    fitted, new = order[: len(X) // 2], order[len(X) // 2 :]
    counts = [np.unique(column, return_counts=True)[1].max() for column in X[fitted].T]
    varies = np.array(counts) < 0.95 * len(fitted)
    known = parts[0][fitted][:MOST_FITTED, varies]
    centre, scale = known.mean(0), known.std(0)
    rows, new, others = (
        (part[:, varies] - centre) / scale
        for part in (parts[0][fitted][:MOST_FITTED], parts[0][new][:MOST_SCORED], parts[1])
    )
    return rows, new, None if odd is None else others


def gmm(rows, seed):
    from sklearn.mixture import GaussianMixture

    sizes = range(1, min(16, len(rows) // 4) + 1)
    fits = (GaussianMixture(c, reg_covar=0.0025, random_state=seed).fit(rows) for c in sizes)
    return min(fits, key=lambda mixture: mixture.bic(rows)).score_samples


def kde(rows, seed):
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KernelDensity

    grid = {"bandwidth": np.geomspace(0.05, 3.0, 16)}
    return GridSearchCV(KernelDensity(), grid, cv=5).fit(rows).best_estimator_.score_samples


def ppca(rows, seed):
    from sklearn.decomposition import PCA
    from sklearn.model_selection import GridSearchCV

    most = min(rows.shape[1], len(rows) * 4 // 5) - 1
    grid = {"n_components": sorted({int(k) for k in np.linspace(1, most, 12)})}
    search = GridSearchCV(PCA(svd_solver="full"), grid, cv=5).fit(rows)
    return search.best_estimator_.score_samples


def flow(rows, seed):
    import torch
    import zuko

    torch.manual_seed(seed)
    X = torch.tensor(rows, dtype=torch.float32)
    order = torch.randperm(len(X))
    held_out, train = X[order[: len(X) // 10]], X[order[len(X) // 10 :]]
    model = zuko.flows.NSF(X.shape[1], transforms=3, hidden_features=(64, 64))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    best, state, waited = -np.inf, None, 0
    for step in range(3000):
        loss = -model().log_prob(train[torch.randint(len(train), (128,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 49:
            with torch.no_grad():
                found = float(model().log_prob(held_out).mean())
            waited += 1
            if found > best:
                best, waited = found, 0
                state = {k: v.clone() for k, v in model.state_dict().items()}
            if waited == 10:
                break
    model.load_state_dict(state)

    def score(new):
        with torch.no_grad():
            return model().log_prob(torch.tensor(new, dtype=torch.float32)).double().numpy()

    return score


PLAIN = {"gmm": gmm, "kde": kde, "ppca": ppca, "flow": flow}


def ours(model: str, rows: np.ndarray, seed: int):
    import skvae

    call = ast.parse(model, mode="eval").body
    estimator = getattr(skvae, call.func.id)(**{"random_state": seed} | keywords(call)).fit(rows)
    if hasattr(estimator, "n_importance_samples"):
        estimator.set_params(n_importance_samples=64)
    return estimator.score_samples


def one(data: Path, name: str, model: str, seed: int) -> Density:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows, new, odd = split(data, name, seed)
    start = time.process_time()
    score = PLAIN[model](rows, seed) if model in PLAIN else ours(model, rows, seed)
    seconds = time.process_time() - start
    return score(new), None if odd is None else score(odd), seconds


def main() -> None:
    p = parser(__doc__)
    p.add_argument("models", nargs="*", default=["gmm", "kde", "ppca", "flow", "VAE()"])
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--jobs", type=int, default=1, help="processes, with one thread each")
    p.add_argument("--tables", choices=("chosen", "kept"))
    args = p.parse_args()
    print(environment("skvae", "zuko"), flush=True)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read by the processes that are spawned below
    tables = {"chosen": CHOSEN, "kept": KEPT, None: CHOSEN + KEPT}[args.tables]
    keys = [(n, m, s) for n in tables for m in args.models for s in range(args.seeds)]
    found: dict[tuple[str, str, int], Density] = {}
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(one, args.data, *key): key for key in keys}
        for task in as_completed(tasks):
            found[tasks[task]] = task.result()
    table(["table", "rows", "columns", *args.models], log_density_rows(args, tables, found))
    table(["table", *args.models], auroc_rows(args, tables, found))
    each = [np.mean([v[2] for k, v in found.items() if k[1] == m]) for m in args.models]
    table(["model", *args.models], [["seconds of a fit", *(f"{s:.1f}" for s in each)]])


def log_density_rows(args, tables, found):
    for name in tables:
        rows = split(args.data, name, 0)[0]
        means = {
            m: np.mean([found[name, m, s][0].mean() for s in range(args.seeds)])
            for m in args.models
        }
        best = max(means.values())
        cells = [f"**{v:.2f}**" if v == best else f"{v:.2f}" for v in means.values()]
        yield [name, *rows.shape, *cells]


def auroc_rows(args, tables, found):
    from sklearn.metrics import roc_auc_score

    every = []
    for name in tables:
        if found[name, args.models[0], 0][1] is None:
            continue
        line = []
        for m in args.models:
            values = []
            for s in range(args.seeds):
                new, odd, _ = found[name, m, s]
                y = np.repeat([0, 1], [len(new), len(odd)])
                values.append(100.0 * roc_auc_score(y, -np.r_[new, odd]))
            line.append(np.mean(values))
        every.append(line)
        yield [name, *(f"{v:.1f}" for v in line)]
    yield ["mean", *(f"{v:.1f}" for v in np.mean(every, 0))]


if __name__ == "__main__":
    main()
