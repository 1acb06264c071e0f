"""Missing cells of rows that no fit has seen: errors of means, and of draws, side by side.

    python imputation.py missforest PPCA "VAE(beta=0.5)" --mechanisms MCAR --cache peers.json

Each seed takes at most 2000 rows of a table, splits them 70/30 at random and knocks out 30 % of
the cells of both parts; methods fit on the rows with holes and fill the holes of the others. Errors
are of the hidden test cells, in units of the standard deviation of the complete training rows.

MCAR: every cell alike. MAR: cells of a random half of the columns, by a logistic function of the
other columns, which stay complete. MNAR: by a logistic function of the cell's own value, high or
low ones. Logits have standard deviation 1 (Muzellec et al., 2020), and their constant makes 30 %
of the training cells of each column that can miss cells.

A method is a name in `PEERS` or one of skvae's estimators, `PPCA` or a call with keywords as in
outliers.py. skvae fills means by `impute(X)` and draws by `impute(X, n_draws=100)`. Peers and PPCA,
which do not scale columns, get those standardised by the observed training cells; other
estimators of skvae get the cells as they are.
"""

from __future__ import annotations

import ast
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import arguments, has_skvae, odds, parser, table
from outliers import keywords, wine

RATE, MOST_ROWS = 0.3, 2000
MECHANISMS = ("MCAR", "MAR", "MNAR")
FIGURES = ("rmse", "crps", "coverage", "seconds", "seconds_draws")


@dataclass
class Filled:
    """What a method says of the test rows; `std` is of a Gaussian around its means."""

    mean: np.ndarray  # (n, d)
    draws: np.ndarray | None = None  # (m, n, d)
    std: np.ndarray | None = None  # (d,)
    seconds: float = 0.0  # fit and means
    seconds_draws: float = np.nan


Method = Callable[[np.ndarray, np.ndarray, int], Filled]  # train, test, seed


# Tables


def numbers(path: Path, columns: Sequence[int], **options) -> np.ndarray:
    """Complete rows of some columns of a file, separated by commas; "?" and NA are missing."""
    X = np.genfromtxt(path, delimiter=",", usecols=columns, missing_values="?", **options)
    return X[~np.isnan(X).any(1)]


def toy(name: str) -> Callable[[Path], np.ndarray]:
    def load(data: Path) -> np.ndarray:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")().data

    return load


TABLES: dict[str, Callable[[Path], np.ndarray]] = {
    "iris": toy("iris"),
    "wine": toy("wine"),
    "breast_cancer": toy("breast_cancer"),
    "diabetes": toy("diabetes"),
    "boston_housing": lambda data: np.loadtxt(data / "boston_housing" / "housing.data"),
    "wine_red": lambda data: wine(data, "red"),
    "wine_white": lambda data: wine(data, "white"),
    "abalone": lambda data: numbers(data / "tables" / "abalone.csv", range(1, 9)),
    # month, hour, pm2.5, DEWP, TEMP, PRES, Iws, Is, Ir
    "pollution": lambda data: numbers(
        data / "tables" / "pollution.csv", (2, 4, 5, 6, 7, 8, 10, 11, 12), skip_header=1
    ),
    # symboling, normalised losses, and from wheel base to price all but the names
    "auto_imports": lambda data: numbers(
        data / "tables" / "auto_imports.csv", (0, 1, *range(9, 14), 16, *range(18, 26))
    ),
    "glass": lambda data: odds(data, "glass")[0],
    "cardio": lambda data: odds(data, "cardio")[0],
    "ionosphere": lambda data: odds(data, "ionosphere")[0],
    "letter": lambda data: odds(data, "letter")[0],
    "pima": lambda data: odds(data, "pima")[0],
}


def read(data: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Tables by name, without constant columns; those without a file are skipped."""
    found = {}
    for name in names:
        try:
            X = np.asarray(TABLES[name](data), dtype=np.float64)
        except OSError:  # scipy's for files that are not there is of no narrower kind
            print(f"{name}: its file is not in {data}: skipped.")
            continue
        found[name] = X[:, X.std(0) > 0.0]
    return found


def spread(X: np.ndarray) -> np.ndarray:
    """Standard deviation of observed cells; 1 in constant columns, not their rounding error."""
    return np.where(np.nanmax(X, 0) > np.nanmin(X, 0), np.nanstd(X, 0), 1.0)


# Holes


def intercept(logits: np.ndarray) -> float:
    """Constant that makes the mean of the logistic function RATE."""
    from scipy.optimize import brentq
    from scipy.special import expit

    return brentq(lambda b: expit(logits + b).mean() - RATE, -100.0, 100.0)


def hidden(
    train: np.ndarray, test: np.ndarray, mechanism: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the cells to knock out of standardised rows."""
    from scipy.special import expit

    n, d = len(train), train.shape[1]
    rows = np.concatenate([train, test])
    chance = np.zeros(rows.shape)
    if mechanism == "MCAR":
        chance[:] = RATE
    elif mechanism == "MAR":
        holed = rng.permutation(d)[: (d + 1) // 2]
        complete = np.setdiff1d(np.arange(d), holed)
        logits = rows[:, complete] @ rng.normal(size=(len(complete), len(holed)))
        logits /= logits[:n].std(0)
        for j, column in enumerate(holed):
            chance[:, column] = expit(logits[:, j] + intercept(logits[:n, j]))
    else:
        logits = rows * rng.choice((-1.0, 1.0), d)
        for j in range(d):
            chance[:, j] = expit(logits[:, j] + intercept(logits[:n, j]))
    mask = rng.random(rows.shape) < chance
    mask[:n][:, mask[:n].all(0)] = False  # a column that no fit could learn
    return mask[:n], mask[n:]


@dataclass
class Task:
    """Rows with holes, and what was in them."""

    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    scale: np.ndarray


def make_task(X: np.ndarray, seed: int, mechanism: str) -> Task:
    rng = np.random.default_rng([seed, MECHANISMS.index(mechanism)])
    rows = X[rng.permutation(len(X))[:MOST_ROWS]]
    n = round(0.7 * len(rows))
    mean, scale = rows[:n].mean(0), spread(rows[:n])
    standard = (rows - mean) / scale
    masks = hidden(standard[:n], standard[n:], mechanism, rng)
    holed = np.where(np.concatenate(masks), np.nan, rows)
    return Task(holed[:n], holed[n:], rows[n:], masks[1], scale)


# Methods


def standardised(method: Method) -> Method:
    """By mean and standard deviation of the observed training cells, and back."""

    def fill(train, test, seed):
        mean, std = np.nanmean(train, 0), spread(train)
        found = method((train - mean) / std, (test - mean) / std, seed)
        found.mean = found.mean * std + mean
        if found.draws is not None:
            found.draws = found.draws * std + mean
        if found.std is not None:
            found.std = found.std * std
        return found

    return fill


def column_mean(train, test, seed):
    return Filled(np.where(np.isnan(test), np.nanmean(train, 0), test))


def nearest(train, test, seed):
    from sklearn.impute import KNNImputer

    imputer = KNNImputer(n_neighbors=5, keep_empty_features=True).fit(train)
    return Filled(imputer.transform(test))


def chained(seed: int, **parameters):
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer(random_state=seed, keep_empty_features=True, **parameters)


def iterative(train, test, seed):
    """Linear regressions in turn; the Gaussian has the residuals of the last round's."""
    imputer = chained(seed)
    complete = imputer.fit_transform(train)
    std = np.zeros(train.shape[1])
    for step in imputer.imputation_sequence_[-train.shape[1] :]:
        seen = ~np.isnan(train[:, step.feat_idx])
        guess = step.estimator.predict(complete[seen][:, step.neighbor_feat_idx])
        std[step.feat_idx] = np.sqrt(np.mean((train[seen, step.feat_idx] - guess) ** 2))
    return Filled(imputer.transform(test), std=std)


def iterative_held_out(train, test, seed):
    """The same means; the Gaussian has the errors of cells hidden in a fifth of the rows.

    Residuals at training cells say little: cells that were filled in know them.
    """
    n = len(train) * 4 // 5
    held_out = train[n:]
    cells = np.random.default_rng(seed).random(held_out.shape) < RATE
    guess = chained(seed).fit(train[:n]).transform(np.where(cells, np.nan, held_out))
    square = np.where(cells, held_out - guess, np.nan) ** 2  # NaN where nothing was observed
    std = np.sqrt(np.where(np.isnan(square).all(0), 1.0, np.nanmean(square, 0)))
    return Filled(chained(seed).fit(train).transform(test), std=std)


def iterative_draws(train, test, seed):
    """50 draws of the cells, all of one fit; their means are the means."""
    imputer = chained(seed, sample_posterior=True).fit(train)
    draws = imputer.transform(np.tile(test, (50, 1))).reshape(50, *test.shape)
    return Filled(draws.mean(0), draws)


def missforest(train, test, seed):
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(100, max_features="sqrt", random_state=seed)
    return Filled(chained(seed, estimator=forest, max_iter=5).fit(train).transform(test))


PEERS: dict[str, Method] = {
    "mean": standardised(column_mean),
    "knn": standardised(nearest),
    "iterative": standardised(iterative),
    "iterative_held_out": standardised(iterative_held_out),
    "iterative_draws": standardised(iterative_draws),
    "missforest": standardised(missforest),
}
OURS = ("PPCA", "VAE")


def build(method: str, seed: int):
    """skvae's estimator from its name or from a call such as ``VAE(beta=2.0)``."""
    import skvae

    try:
        call = ast.parse(method, mode="eval").body
        if isinstance(call, ast.Name):
            return getattr(skvae, call.id)(random_state=seed)
        return getattr(skvae, call.func.id)(**{"random_state": seed} | keywords(call))
    except (AttributeError, SyntaxError, ValueError):
        raise SystemExit(
            f"{method!r} is neither in {list(PEERS)} nor like 'VAE(beta=2.0)'."
        ) from None


def ours(method: str) -> Method:
    def fill(train, test, seed):
        start = time.process_time()
        model = build(method, seed).fit(train)
        mean = model.impute(test)
        middle = time.process_time()
        draws = model.impute(test, n_draws=100, random_state=seed)
        end = time.process_time()
        return Filled(mean, draws, seconds=middle - start, seconds_draws=end - middle)

    return standardised(fill) if method.partition("(")[0] == "PPCA" else fill


def available(methods: Sequence[str]) -> list[str]:
    """Methods without those of skvae that cannot be imported or take no missing cells."""
    from sklearn.utils import get_tags

    found, can_import = [], None
    for method in methods:
        if method not in PEERS:
            can_import = has_skvae() if can_import is None else can_import
            if not can_import:
                continue
            model = build(method, 0)
            if not (hasattr(model, "impute") and get_tags(model).input_tags.allow_nan):
                print(f"{method} takes no missing cells: skipped.")
                continue
        found.append(method)
    return found


# Figures


def crps_of_draws(draws: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each cell, without bias by the number of draws: draws (m, cells), y (cells,)."""
    m = len(draws)
    weights = 2.0 * np.arange(1, m + 1) - m - 1.0
    spread = weights @ np.sort(draws, axis=0) / (m * (m - 1))  # half of E|a - b|
    return np.abs(draws - y).mean(0) - spread


def crps_of_gaussian(mean: np.ndarray, std: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    std = np.maximum(std, 1e-12)
    z = (y - mean) / std
    return std * (z * (2.0 * norm.cdf(z) - 1.0) + 2.0 * norm.pdf(z) - 1.0 / np.sqrt(np.pi))


def figures(found: Filled, task: Task) -> dict[str, float]:
    """Errors of the hidden test cells, in standard deviations of the training rows."""
    unit = np.broadcast_to(task.scale, task.mask.shape)[task.mask]
    y, mean = task.truth[task.mask] / unit, found.mean[task.mask] / unit
    result = dict.fromkeys(FIGURES, np.nan)
    result |= {"seconds": found.seconds, "seconds_draws": found.seconds_draws}
    result["rmse"] = np.sqrt(np.mean((y - mean) ** 2))
    if found.draws is not None:
        draws = found.draws[:, task.mask] / unit
        result["crps"] = crps_of_draws(draws, y).mean()
        low, high = np.quantile(draws, (0.05, 0.95), axis=0, method="weibull")
        result["coverage"] = np.mean((low <= y) & (y <= high))
    elif found.std is not None:
        std = np.broadcast_to(found.std, task.mask.shape)[task.mask] / unit
        result["crps"] = crps_of_gaussian(mean, std, y).mean()
        result["coverage"] = np.mean(np.abs(y - mean) <= 1.6448536269514722 * std)
    return {key: float(value) for key, value in result.items()}


def run(X: np.ndarray, seed: int, mechanism: str, method: str) -> dict[str, float]:
    task = make_task(X, seed, mechanism)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        found = PEERS.get(method, ours(method))(task.train, task.test, seed)
        if not found.seconds:
            found.seconds = time.process_time() - start
    return figures(found, task)


class Cache:
    """Figures of peers by key, in a JSON file that is written after each."""

    def __init__(self, path: Path | None):
        self.path = path
        self.known = json.loads(path.read_text()) if path and path.exists() else {}

    def get(self, key: Sequence[object], compute: Callable[[], dict[str, float]]):
        name = "|".join(map(str, key))
        if name not in self.known:
            self.known[name] = compute()
            if self.path:
                part = self.path.with_suffix(".part")
                part.write_text(json.dumps(self.known, indent=0, sort_keys=True))
                part.replace(self.path)
        return self.known[name]


# Report


def number(value: float, digits: int = 3) -> str:
    return f"{value:.3g}" if value >= 1e4 else f"{value:.{digits}f}"


def with_error(values: np.ndarray, digits: int = 3) -> str:
    """Mean and standard error, over tables or seeds."""
    if len(values) < 2:
        return number(values.mean(), digits)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{number(values.mean(), digits)} +- {number(error, digits)}"


def report(
    mechanism: str, tables: Sequence[str], methods: Sequence[str], values: dict[str, np.ndarray]
) -> None:
    """Markdown tables of figures (methods, tables, seeds)."""
    for figure in ("rmse", "crps", "coverage"):
        kept = [i for i in range(len(methods)) if not np.isnan(values[figure][i]).all()]
        if not kept:
            continue
        per_table = values[figure][kept].mean(-1)
        rows = [[t, *map(number, per_table[:, i])] for i, t in enumerate(tables)]
        rows.append(["**mean**", *map(with_error, per_table)])
        rows.append(["median", *map(number, np.median(per_table, axis=1))])
        table([f"{mechanism}, {figure}", *(methods[i] for i in kept)], rows)
    rows = [
        [label, *(f"{v:.2f}" for v in values[key].mean((-1, -2)))]
        for label, key in (("fit and means", "seconds"), ("100 draws", "seconds_draws"))
    ]
    table([f"{mechanism}, seconds", *methods], rows)
    if "missforest" in methods:
        rmse = values["rmse"].mean(-1)
        forest = rmse[methods.index("missforest")]
        for method, mine in zip(methods, rmse, strict=True):
            if method not in PEERS:
                print(
                    f"{method} beats MissForest in {np.sum(mine < forest)} of {len(tables)} "
                    f"tables, by {with_error(forest - mine)} in the mean."
                )
        print(flush=True)


def main() -> None:
    p = parser(__doc__)
    p.add_argument("methods", nargs="*", default=[*PEERS, *OURS])
    p.add_argument("--mechanisms", nargs="*", choices=MECHANISMS, default=MECHANISMS)
    p.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES))
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--cache", type=Path, help="JSON file that keeps the figures of peers")
    args = arguments(p, "skvae", "pandas")
    methods, tables = available(args.methods), read(args.data, args.tables)
    cache, nothing = Cache(args.cache), Cache(None)
    for mechanism in args.mechanisms:
        values = {f: np.full((len(methods), len(tables), args.seeds), np.nan) for f in FIGURES}
        for i, method in enumerate(methods):
            for seed in range(args.seeds):
                for j, (name, X) in enumerate(tables.items()):
                    key = name, seed, mechanism, method
                    try:
                        found = (cache if method in PEERS else nothing).get(
                            key, lambda X=X, key=key: run(X, *key[1:])
                        )
                    except Exception as error:
                        print(f"{key} failed: {error!r}", flush=True)
                        continue
                    for figure in FIGURES:
                        values[figure][i, j, seed] = found[figure]
        report(mechanism, list(tables), methods, values)


if __name__ == "__main__":
    main()
