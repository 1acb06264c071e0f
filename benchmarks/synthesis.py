"""Synthetic tables of mixed columns: how far from real ones, and what they teach, side by side.

    python synthesis.py real copula "VAE(n_components=16)" --tables adult --cache peers.json

Figures, of as many drawn rows as there are training rows:

- TSTR: gradient boosting learns the target from the drawn rows and is tested on real test rows
  (AUC of classes, R^2 of numbers);
- C2ST: AUC of gradient boosting, five folds, that tells drawn rows from training rows; best 0.5,
  and less where rows were copied;
- marginal: mean over columns of the total variation between the frequencies in training rows and
  in drawn ones (labels, numbers of at most 20 values), or of the Kolmogorov-Smirnov distance;
- pair: mean over pairs of columns of the total variation between two-way tables, numbers cut at
  the deciles of the training rows;
- DCR: share of the drawn rows (2000) whose closest record is a training row and not one of equally
  many held-out rows; 0.5 without copying. Distances add differences of ranks and unequal labels;
- given: a random half of the columns is given, from real test rows (4000), the others are drawn;
  the pair error of pairs with a drawn column.

`real` is the floor: test rows in place of drawn ones (TSTR: training rows). A missing cell is one
more value in all figures.

Tables: adult, by its own split, predicts income; its missing labels are a label "?" of their own
(`--holes` leaves them missing). abalone, 70/30, predicts rings from sex and measures. auto_imports,
70/30, predicts price; its complete rows, without normalised losses, where most holes are.

A method is a name in `PEERS` or one of skvae's estimators, a name or a call with keywords as in
outliers.py, that fits on a frame; it draws by `sample(n, match_marginals=True)` where it has that
keyword and by `sample(n, given=frame)`. TVAE and CTGAN come from the package ctgan, with its
defaults, 300 epochs.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from _common import arguments, has_skvae, installed, parser, table
from imputation import Cache, build, with_error

FIGURES = ("TSTR", "C2ST", "marginal", "pair", "DCR", "given", "seconds")
DISCRETE, CLOSEST, GIVEN = 20, 2000, 4000


# Tables

ADULT = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex "
    "capital-gain capital-loss hours-per-week native-country income"
).split()
ABALONE = "sex length diameter height whole shucked viscera shell rings".split()
AUTO = (
    "symboling normalized-losses make fuel-type aspiration num-of-doors body-style drive-wheels "
    "engine-location wheel-base length width height curb-weight engine-type num-of-cylinders "
    "engine-size fuel-system bore stroke compression-ratio horsepower peak-rpm city-mpg "
    "highway-mpg price"
).split()
Split = tuple[pd.DataFrame, pd.DataFrame]


def read_csv(path: Path, names: Sequence[str], **options) -> pd.DataFrame:
    frame = pd.read_csv(
        path, names=list(names), na_values="?", skipinitialspace=True, keep_default_na=False,
        **options,
    )  # fmt: skip
    return frame.astype({c: object for c in frame if not is_number(frame[c])})


def is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def as_category(train: pd.DataFrame, test: pd.DataFrame) -> Split:
    """Labels as categories, the same in both frames."""
    dtypes = {
        c: pd.CategoricalDtype(sorted(set(train[c].dropna()) | set(test[c].dropna())))
        for c in train
        if not is_number(train[c])
    }
    return train.astype(dtypes), test.astype(dtypes)


def adult(data: Path, seed: int, holes: bool) -> Split:
    train = read_csv(data / "tables" / "adult.data", ADULT)
    test = read_csv(data / "tables" / "adult.test", ADULT, skiprows=1)
    test["income"] = test["income"].str.rstrip(".")
    if not holes:
        train, test = train.fillna("?"), test.fillna("?")
    return as_category(train, test)


def split(frame: pd.DataFrame, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(frame))
    n = round(0.7 * len(frame))
    train, test = frame.iloc[order[:n]], frame.iloc[order[n:]]
    return as_category(train.reset_index(drop=True), test.reset_index(drop=True))


def abalone(data: Path, seed: int, holes: bool) -> Split:
    return split(read_csv(data / "tables" / "abalone.csv", ABALONE), seed)


def auto_imports(data: Path, seed: int, holes: bool) -> Split:
    frame = read_csv(data / "tables" / "auto_imports.csv", AUTO)
    return split(frame.drop(columns="normalized-losses").dropna(), seed)


TABLES: dict[str, tuple[Callable[[Path, int, bool], Split], str]] = {
    "adult": (adult, "income"),
    "abalone": (abalone, "rings"),
    "auto_imports": (auto_imports, "price"),
}


# Frames as numbers


class Columns:
    """Frames as matrices, by what the training frame holds."""

    def __init__(self, train: pd.DataFrame):
        self.names = list(train)
        self.is_label = np.array([not is_number(train[c]) for c in train])
        self.labels = {
            c: {v: float(i) for i, v in enumerate(sorted(train[c].dropna().unique()))}
            for c, label in zip(train, self.is_label, strict=True)
            if label
        }
        X = self.matrix(train)
        self.values: list[np.ndarray | None] = []  # of columns that are counted value by value
        self.edges: list[np.ndarray] = []  # else deciles
        for x in X.T:
            seen = x[~np.isnan(x)]
            values = np.unique(seen)
            counted = self.is_label[len(self.values)] or len(values) <= DISCRETE
            self.values.append(values if counted else None)
            self.edges.append(np.unique(np.quantile(seen, np.arange(0.1, 0.95, 0.1))))
        self.sorted = [np.sort(x[~np.isnan(x)]) for x in X.T]

    def matrix(self, frame: pd.DataFrame) -> np.ndarray:
        """Numbers, and the numbers of labels; NaN for what is missing and for new labels."""
        columns = []
        for c in self.names:
            if c in self.labels:
                numbers = self.labels[c]
                columns.append(np.array([numbers.get(v, np.nan) for v in frame[c]]))
            else:
                columns.append(frame[c].to_numpy(np.float64, na_value=np.nan))
        return np.column_stack(columns)

    def levels(self, X: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Each cell's number of its value or bin, and how many there are in each column."""
        found, sizes = np.empty(X.shape, dtype=np.int64), []
        for j, (x, values, edges) in enumerate(zip(X.T, self.values, self.edges, strict=True)):
            missing = np.isnan(x)
            if values is None:
                found[:, j] = np.searchsorted(edges, x, side="right")
                n = len(edges) + 1
            else:
                place = np.clip(np.searchsorted(values, x), 0, len(values) - 1)
                n = len(values) + 1  # the last: another value
                found[:, j] = np.where(values[place] == x, place, n - 1)
            found[missing, j] = n
            sizes.append(n + 1)
        return found, sizes

    def ranks(self, X: np.ndarray) -> np.ndarray:
        """Shares of the training rows below numbers; labels as they are; -1 where missing."""
        R = X.copy()
        for j in np.flatnonzero(~self.is_label):
            low, high = (
                np.searchsorted(self.sorted[j], X[:, j], side=s) for s in ("left", "right")
            )
            R[:, j] = (low + high) / (2.0 * len(self.sorted[j]))
        return np.where(np.isnan(X), -1.0, R).astype(np.float32)


# Figures


def variation(a: np.ndarray, b: np.ndarray, size: int) -> float:
    """Total variation between the frequencies of integers below size."""
    p, q = (np.bincount(x, minlength=size) / len(x) for x in (a, b))
    return 0.5 * np.abs(p - q).sum()


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of distribution functions; missing values are below all numbers."""
    a, b = (np.sort(np.where(np.isnan(x), -np.inf, x)) for x in (a, b))
    points = np.concatenate([a, b])
    p, q = (np.searchsorted(x, points, side="right") / len(x) for x in (a, b))
    return np.abs(p - q).max()


def marginal_error(columns: Columns, real: np.ndarray, drawn: np.ndarray) -> float:
    (a, sizes), (b, _) = columns.levels(real), columns.levels(drawn)
    return np.mean(
        [
            kolmogorov_smirnov(real[:, j], drawn[:, j])
            if values is None
            else variation(a[:, j], b[:, j], sizes[j])
            for j, values in enumerate(columns.values)
        ]
    )


def pair_error(
    columns: Columns, real: np.ndarray, drawn: np.ndarray, among: Sequence[int] = ()
) -> float:
    """Mean over pairs of columns; with `among`, pairs that have one of these at least."""
    (a, sizes), (b, _) = columns.levels(real), columns.levels(drawn)
    return np.mean(
        [
            variation(
                a[:, i] * sizes[j] + a[:, j], b[:, i] * sizes[j] + b[:, j], sizes[i] * sizes[j]
            )
            for i, j in combinations(range(len(sizes)), 2)
            if not len(among) or i in among or j in among
        ]
    )


def boosting(columns: Sequence[bool], is_classifier: bool, seed: int):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if is_classifier else HistGradientBoostingRegressor
    return kind(categorical_features=columns, random_state=seed)


def tstr(columns: Columns, target: str, drawn: np.ndarray, test: np.ndarray, seed: int) -> float:
    from sklearn.metrics import r2_score, roc_auc_score

    j = columns.names.index(target)
    others = np.delete(np.arange(len(columns.names)), j)
    drawn, test = drawn[~np.isnan(drawn[:, j])], test[~np.isnan(test[:, j])]
    model = boosting(columns.is_label[others], columns.is_label[j], seed)
    model.fit(drawn[:, others], drawn[:, j])
    if columns.is_label[j]:
        return roc_auc_score(test[:, j], model.predict_proba(test[:, others])[:, 1])
    return r2_score(test[:, j], model.predict(test[:, others]))


def c2st(columns: Columns, real: np.ndarray, drawn: np.ndarray, seed: int) -> float:
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng = np.random.default_rng(seed)
    n = min(len(real), len(drawn))
    X = np.concatenate([x[rng.permutation(len(x))[:n]] for x in (real, drawn)])
    y = np.repeat([0, 1], n)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = boosting(columns.is_label, True, seed)
    chance = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
    return roc_auc_score(y, chance[:, 1])


def nearest_distance(rows: np.ndarray, pool: np.ndarray, is_label: np.ndarray) -> np.ndarray:
    found = []
    for part in np.array_split(rows, max(1, len(rows) // 100)):
        distance = np.zeros((len(part), len(pool)), dtype=np.float32)
        for j, label in enumerate(is_label):
            a, b = part[:, j, None], pool[:, j]
            distance += (a != b) if label else np.abs(a - b)
        found.append(distance.min(1))
    return np.concatenate(found)


def closest_record_share(
    columns: Columns, train: np.ndarray, held_out: np.ndarray, drawn: np.ndarray, seed: int
) -> float:
    """Ties count half."""
    rng = np.random.default_rng(seed)
    n = min(len(train), len(held_out))
    rows, *pools = (
        columns.ranks(x[rng.permutation(len(x))[:m]])
        for x, m in ((drawn, CLOSEST), (train, n), (held_out, n))
    )
    a, b = (nearest_distance(rows, pool, columns.is_label) for pool in pools)
    return np.mean(a < b) + 0.5 * np.mean(a == b)


# Methods: fit(train, seed), sample(n), given(frame of some columns)


class Independent:
    """Columns shuffled each by itself."""

    def __init__(self, train: pd.DataFrame, seed: int):
        self.train, self.rng = train, np.random.default_rng(seed)

    def sample(self, n: int) -> pd.DataFrame:
        rows = len(self.train)
        places = [
            self.rng.permutation(rows)[:n] if n <= rows else self.rng.integers(rows, size=n)
            for _ in self.train
        ]
        columns = zip(self.train, places, strict=True)
        return pd.DataFrame({c: self.train[c].array.take(p) for c, p in columns})

    def given(self, frame: pd.DataFrame) -> pd.DataFrame:
        return self.sample(len(frame)).assign(**{c: frame[c].array for c in frame})


class Copula:
    """Gaussian copula of normal scores; labels are cut points, in the order of their frequency.

    The score of a value is that of the middle of its share, so ties have one score; a missing cell
    is the lowest value.
    """

    def __init__(self, train: pd.DataFrame, seed: int):
        self.rng = np.random.default_rng(seed)
        self.values, self.cuts = {}, {}
        self.dtypes = train.dtypes
        for c in train:
            counts = train[c].value_counts()
            counts = counts[counts > 0]
            counts = counts.sort_index() if is_number(train[c]) else counts
            counts = pd.concat([pd.Series({np.nan: train[c].isna().sum()}), counts])
            counts = counts if counts.iloc[0] else counts.iloc[1:]
            self.values[c] = counts.index
            self.cuts[c] = np.concatenate([[0.0], np.cumsum(counts) / len(train)])
        scores = self.scores(train)
        self.scale = scores.std(0) + 1e-12
        self.mean = scores.mean(0)
        Z = (scores - self.mean) / self.scale
        self.R = Z.T @ Z / len(Z) + 1e-9 * np.eye(Z.shape[1])

    def scores(self, frame: pd.DataFrame) -> np.ndarray:
        from scipy.stats import norm

        found = []
        for c in frame:
            middle = (self.cuts[c][:-1] + self.cuts[c][1:]) / 2.0
            place = self.values[c].get_indexer(frame[c].astype(object))
            if is_number(frame[c]):  # a number that training did not have: the next above
                values = self.values[c].to_numpy(np.float64, na_value=-np.inf)
                new = place < 0
                next_above = np.searchsorted(values, frame[c].to_numpy(np.float64)[new])
                place[new] = np.clip(next_above, 0, len(values) - 1)
            found.append(norm.ppf(np.where(place < 0, 0.5, middle[place])))
        return np.column_stack(found)

    def frame(self, Z: np.ndarray) -> pd.DataFrame:
        from scipy.stats import norm

        found = {}
        for z, c in zip(norm.cdf(Z).T, self.values, strict=True):
            place = np.clip(
                np.searchsorted(self.cuts[c], z, "right") - 1, 0, len(self.values[c]) - 1
            )
            found[c] = pd.Series(self.values[c].to_numpy()[place]).astype(self.dtypes[c])
        return pd.DataFrame(found)

    def sample(self, n: int) -> pd.DataFrame:
        L = np.linalg.cholesky(self.R)
        return self.frame(self.rng.normal(size=(n, len(L))) @ L.T)

    def given(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Draws given the scores, which stand for all that their values could have been."""
        names = list(self.values)
        a = [names.index(c) for c in frame]
        b = np.setdiff1d(np.arange(len(names)), a)
        W = np.linalg.solve(self.R[np.ix_(a, a)], self.R[np.ix_(a, b)])
        L = np.linalg.cholesky(self.R[np.ix_(b, b)] - self.R[np.ix_(b, a)] @ W)
        Z = np.zeros((len(frame), len(names)))
        scores = (self.scores(frame) - self.mean[a]) / self.scale[a]
        Z[:, b] = scores @ W + self.rng.normal(size=(len(frame), len(b))) @ L.T
        return self.frame(Z).assign(**{c: frame[c].array for c in frame})


class Ctgan:
    """TVAE or CTGAN of the package ctgan; numbers must be complete."""

    def __init__(self, train: pd.DataFrame, seed: int, name: str):
        import ctgan

        self.dtypes = train.dtypes
        labels = [c for c in train if not is_number(train[c])]
        frame = train.astype(dict.fromkeys(labels, object))
        frame[labels] = frame[labels].fillna("missing")
        frame = frame.fillna(train.median(numeric_only=True))
        self.model = getattr(ctgan, name)()
        self.model.set_random_state(seed)
        self.model.fit(frame, labels)

    def sample(self, n: int) -> pd.DataFrame:
        drawn = self.model.sample(n)
        return drawn.astype({c: d for c, d in self.dtypes.items() if not is_number(drawn[c])})


class Ours:
    """One of skvae's estimators."""

    def __init__(self, train: pd.DataFrame, seed: int, name: str):
        self.seed = seed
        self.model = build(name, seed).fit(train)
        known = inspect.signature(self.model.sample).parameters
        self.options = {"match_marginals": True} if "match_marginals" in known else {}
        if "given" not in known:
            self.given = None

    def sample(self, n: int) -> pd.DataFrame:
        return self.model.sample(n, random_state=self.seed, **self.options)

    def given(self, frame: pd.DataFrame) -> pd.DataFrame:
        return self.model.sample(len(frame), random_state=self.seed, given=frame)


PEERS: dict[str, Callable | None] = {
    "real": None,
    "independent": Independent,
    "copula": Copula,
    "TVAE": lambda train, seed: Ctgan(train, seed, "TVAE"),
    "CTGAN": lambda train, seed: Ctgan(train, seed, "CTGAN"),
}


def available(methods: Sequence[str]) -> list[str]:
    theirs = {"TVAE", "CTGAN"}
    ctgan = bool(theirs & {*methods}) and installed("ctgan")
    ours = any(m not in PEERS for m in methods) and has_skvae()
    for method in methods:
        if ours and method not in PEERS:
            build(method, 0)  # refuses what it cannot read
    return [m for m in methods if (ctgan if m in theirs else m in PEERS or ours)]


def run(
    train: pd.DataFrame, test: pd.DataFrame, target: str, method: str, seed: int
) -> dict[str, float]:
    columns = Columns(train)
    real, real_test = columns.matrix(train), columns.matrix(test)
    order = np.random.default_rng(seed).permutation(len(test))
    shown, held_out = np.array_split(order, 2)
    rng = np.random.default_rng([seed, 1])
    d = len(columns.names)
    fixed = np.sort(rng.permutation(d)[: d // 2])
    drawn_columns = np.setdiff1d(np.arange(d), fixed)
    given = test.iloc[rng.permutation(len(test))[:GIVEN]].reset_index(drop=True)

    found = dict.fromkeys(FIGURES, np.nan)
    start = time.process_time()
    if method == "real":
        drawn, teacher, like_drawn, completed = real_test, real, real_test[shown], given
    else:
        model = PEERS[method](train, seed) if method in PEERS else Ours(train, seed, method)
        drawn = columns.matrix(model.sample(len(train)))
        found["seconds"] = time.process_time() - start
        teacher = like_drawn = drawn
        draw_given = getattr(model, "given", None)
        completed = draw_given(given[[columns.names[j] for j in fixed]]) if draw_given else None
    found["marginal"] = marginal_error(columns, real, drawn)
    found["pair"] = pair_error(columns, real, drawn)
    found["TSTR"] = tstr(columns, target, teacher, real_test, seed)
    found["C2ST"] = c2st(columns, real, drawn, seed)
    found["DCR"] = closest_record_share(columns, real, real_test[held_out], like_drawn, seed)
    if completed is not None:
        found["given"] = pair_error(columns, real, columns.matrix(completed), drawn_columns)
    return {key: float(value) for key, value in found.items()}


def main() -> None:
    p = parser(__doc__)
    p.add_argument("methods", nargs="*", default=[*PEERS, "VAE"])
    p.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES))
    p.add_argument("--rows", type=int, help="training rows at most")
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--holes", action="store_true", help="leave missing labels missing")
    p.add_argument("--cache", type=Path, help="JSON file that keeps the figures of peers")
    args = arguments(p, "skvae", "pandas", "ctgan")
    methods = available(args.methods)
    cache, nothing = Cache(args.cache), Cache(None)
    for name in args.tables:
        read, target = TABLES[name]
        values = np.full((len(methods), args.seeds, len(FIGURES)), np.nan)
        n = ""
        for seed in range(args.seeds):
            try:
                train, test = read(args.data, seed, args.holes)
            except FileNotFoundError as error:
                print(f"{name}: {error.filename} is not there: skipped.")
                break
            if args.rows and args.rows < len(train):
                rows = np.random.default_rng(seed).permutation(len(train))[: args.rows]
                train = train.iloc[rows].reset_index(drop=True)
            n = f"{len(train)} and {len(test)} rows"
            for i, method in enumerate(methods):
                key = name, len(train), args.holes, seed, method

                def compute(train=train, test=test, target=target, method=method, seed=seed):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        return run(train, test, target, method, seed)

                try:
                    found = (cache if method in PEERS else nothing).get(key, compute)
                except Exception as error:
                    print(f"{key} failed: {error!r}", flush=True)
                    continue
                values[i, seed] = [found[f] for f in FIGURES]
        if n:
            rows = [
                [
                    m,
                    *(
                        with_error(v, 1 if f == "seconds" else 3)
                        for f, v in zip(FIGURES, of.T, strict=True)
                    ),
                ]
                for m, of in zip(methods, values, strict=True)
            ]
            table([f"{name}, {n}", *FIGURES], rows)


if __name__ == "__main__":
    main()
