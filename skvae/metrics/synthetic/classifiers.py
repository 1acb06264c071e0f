"""What trees make of synthetic rows: can they tell them from real ones, can they learn of them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score

from ...tables.labels import Label
from ..neighbours import check_integer, random_source
from ._columns import Tables, read_tables

__all__ = ["train_on_synthetic", "two_sample_auc"]

_MOST_LABELS = 255  # that trees of scikit-learn tell apart
_LEAF = 20  # rows that a leaf has at least


def two_sample_auc(
    real: Any,
    synthetic: Any,
    *,
    n_splits: int = 5,
    kinds: Mapping[Any, str] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    r"""How well trees tell synthetic rows from real ones (classifier two-sample test).

    .. math:: \mathrm{AUC} = P(s(x) < s(y)) + \tfrac12 P(s(x) = s(y))

    with a held-out real row x, a held-out synthetic row y, and the score s of gradient boosted
    trees that have learned to tell the two tables apart from other rows: 0.5 where they are
    alike, 1 where every row betrays itself. Unlike distances of columns and pairs it sees all
    columns at once.

    Parameters
    ----------
    real : array or data frame of shape (n, d)
        Real rows; missing cells may be NaN, None, NA, NaT or null. They say which columns are
        classes.
    synthetic : array or data frame of shape (m, d)
        Rows of the model, of this library or another. Columns are found by their names, in arrays
        by their positions.
    n_splits : int, default=5
        Folds of the cross-validation, at least 2.
    kinds : mapping from names or positions of columns to str, optional
        Kinds that come before what the dtypes of `real` say: "numeric", "integer", "boolean",
        "categorical", "ordinal", "datetime" or "duration". Classes that are numbers need it.
    random_state : int, RandomState or None, default=None
        Source of the folds. None draws afresh; numpy's global generator is not touched.

    Returns
    -------
    float
        Mean area under the ROC curve over the folds, in [0, 1]. Chance moves it to both sides of
        0.5.

    Raises
    ------
    TypeError
        If a table is none, or a column holds cells that are not read, or of another kind than in
        ``real``.
    ValueError
        If a table has fewer rows, or different rows, than folds, ``synthetic`` lacks a column or
        has one more, a column holds infinite numbers or more than 1000 labels, or an argument is
        out of its range.

    See Also
    --------
    marginal_error, pair_error : Say which columns differ.
    closest_record_share : Whether rows are copies, which this figure likes.
    sklearn.ensemble.HistGradientBoostingClassifier : The trees.

    Notes
    -----
    Rows that are equal share a fold while they are at most 20, the rows of a leaf: of a row that
    synthetic rows copy, the classifier would else have seen the real one, and would take the copy
    for real or the other way round. More frequent rows are spread like any others.

    Trees split classes into groups of labels; of more than 255 labels the rarest are taken as
    one. The smaller table is weighed up.

    References
    ----------
    D. Lopez-Paz, M. Oquab, "Revisiting classifier two-sample tests", arXiv:1610.06545, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import two_sample_auc
    >>> x = np.random.default_rng(0).normal(size=(600, 1))
    >>> real, synthetic = np.hstack([x, x])[:300], np.hstack([x, -x])[300:]
    >>> two_sample_auc(real, synthetic, random_state=0) > 0.95
    True
    """
    rng = random_source(random_state)
    tables = read_tables(kinds, real=real, synthetic=synthetic)
    least = min(map(len, tables.values.values()))
    check_integer("n_splits", n_splits, 2, least, "the rows of the smaller table")
    return told_apart(tables, "synthetic", int(n_splits), rng)


def told_apart(tables: Tables, other: str, n_splits: int, rng: np.random.RandomState) -> float:
    """Cross-validated AUC of trees that tell another table from the real one."""
    parts, classes = _features(tables, ("real", other), range(len(tables)))
    X, y = np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts])
    folds = _folds(X, y, n_splits, rng)
    areas = []
    for fold in range(n_splits):
        test = folds == fold
        if any(len(np.unique(y[rows])) < 2 for rows in (test, ~test)):
            raise ValueError(
                f"real and {other} have too few different rows for {n_splits} folds: give more "
                "rows, or take fewer folds."
            )
        trees = HistGradientBoostingClassifier(
            categorical_features=classes,
            class_weight="balanced",
            early_stopping=False,
            min_samples_leaf=_LEAF,
            random_state=_seed(rng),
        )
        X_train, X_test = _no_empty(X[~test], X[test])
        score = trees.fit(X_train, y[~test]).decision_function(X_test)
        areas.append(roc_auc_score(y[test], score))
    return float(np.mean(areas))


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(2**31 - 1))


def _folds(X: np.ndarray, y: np.ndarray, n_splits: int, rng: np.random.RandomState) -> np.ndarray:
    """A fold (n,) for each row: equal rows share it unless they are more than a leaf holds."""
    X = np.where(np.isnan(X), np.inf, X)  # which equals itself
    order = np.lexsort((y, *X.T))
    first = np.append(True, (X[order[1:]] != X[order[:-1]]).any(axis=1))
    size = np.bincount(np.cumsum(first) - 1)
    alone = first | np.repeat(size > _LEAF, size)
    unit = np.cumsum(alone) - 1
    share = np.bincount(unit, y[order]) / np.bincount(unit)
    mixed = np.ceil(share) + np.floor(share)  # 0: only real rows, 1: both, 2: only synthetic ones
    shuffled = rng.permutation(len(mixed))
    shuffled = shuffled[np.argsort(mixed[shuffled], kind="stable")]
    of_unit = np.empty(len(mixed), np.intp)
    of_unit[shuffled] = np.arange(len(mixed)) % n_splits
    folds = np.empty(len(y), np.intp)
    folds[order] = of_unit[unit]
    return folds


def _features(
    tables: Tables, names: Sequence[str], chosen: Sequence[int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Columns as trees take them, and which of them are classes."""
    parts = [tables.values[name][:, list(chosen)] for name in names]
    classes = np.array([tables.labels(j) is not None for j in chosen], bool)
    for place, j in enumerate(chosen):
        labels = tables.labels(j)
        if labels is None:
            continue
        seen = [~np.isnan(part[:, place]) for part in parts]
        codes = [part[here, place].astype(np.intp) for part, here in zip(parts, seen, strict=True)]
        number = _numbers(labels, np.bincount(np.concatenate(codes), minlength=len(labels)))
        for part, here, code in zip(parts, seen, codes, strict=True):
            part[here, place] = number[code]
    return parts, classes


def _no_empty(X: np.ndarray, X_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of which there is nothing to learn as zeros: trees refuse those without a number."""
    empty = np.isnan(X).all(axis=0)
    return np.where(empty, 0.0, X), np.where(empty, 0.0, X_test)


def _numbers(labels: tuple[Label, ...], counts: np.ndarray) -> np.ndarray:
    """New numbers of labels that occur, in their sorted order; rare ones share the last."""
    order = np.array(
        sorted(range(len(labels)), key=lambda k: (_is_text(labels[k]), labels[k])), int
    )
    used = order[counts[order] > 0]
    kept = used
    if len(used) > _MOST_LABELS:
        frequent = np.argsort(-counts[used], kind="stable")[: _MOST_LABELS - 1]
        kept = used[np.sort(frequent)]
    number = np.full(len(labels), len(kept))
    number[kept] = np.arange(len(kept))
    return number


def _is_text(label: Label) -> bool:
    return isinstance(label, str)


def train_on_synthetic(
    synthetic: Any,
    test: Any,
    target: Any,
    *,
    kinds: Mapping[Any, str] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    r"""How well trees that learn from synthetic rows predict a column of real ones (TSTR).

    Gradient boosted trees learn the target from all other columns of the synthetic rows, and
    predict it for real rows. Compare with the same figure of trees that learn from real rows:
    hand those in as `synthetic`.

    The figure for a target of classes is the area under the ROC curve, each class against all
    others, and the mean over the classes of the test rows; for numbers and times it is

    .. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y)^2}.

    Parameters
    ----------
    synthetic : array or data frame of shape (m, d)
        Rows to learn from, of any library. Columns are found by their names, in arrays by their
        positions.
    test : array or data frame of shape (n, d)
        Real rows, best such that the model has not seen. They say which columns are classes.
    target : str or int
        Column to predict, by name or position.
    kinds : mapping from names or positions of columns to str, optional
        Kinds that come before what the dtypes of `test` say: "numeric", "integer", "boolean",
        "categorical", "ordinal", "datetime" or "duration". Classes that are numbers need it.
    random_state : int, RandomState or None, default=None
        Source of the rows that trees hold out where they have more than 10,000. None draws
        afresh; numpy's global generator is not touched.

    Returns
    -------
    float
        Mean area under the ROC curve, in [0, 1], 0.5 for guesses; or :math:`R^2`, at most 1, and
        0 for the mean of the test rows.

    Raises
    ------
    TypeError
        If a table is none, or a column holds cells that are not read, or of another kind than in
        ``test``.
    ValueError
        If a table has no rows with a target, or no other column, that of ``test`` has but one
        value, ``synthetic`` lacks a column or has one more, a column holds infinite numbers or
        more than 1000 labels, or an argument is out of its range.

    See Also
    --------
    two_sample_auc : Whether the rows are alike at all.
    sklearn.ensemble.HistGradientBoostingClassifier : The trees, with their defaults.

    Notes
    -----
    Rows whose target is missing are left out. A class that no synthetic row has is predicted for
    no row, so its area is 0.5; a class that no test row has does not count. Of more than 255
    labels of a column the rarest are taken as one.

    References
    ----------
    C. Esteban, S. L. Hyland, G. Raetsch, "Real-valued (medical) time series generation with
    recurrent conditional GANs", arXiv:1706.02633, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import train_on_synthetic
    >>> X = load_iris(as_frame=True).frame
    >>> X["target"] = X["target"].astype("category")
    >>> train_on_synthetic(X[::2], X[1::2], "target", random_state=0) > 0.95
    True
    """
    rng = random_source(random_state)
    tables = read_tables(kinds, test=test, synthetic=synthetic)
    return learned_from(tables, "synthetic", "test", tables.place(target, "target"), rng)


def learned_from(
    tables: Tables, train: str, test: str, target: int, rng: np.random.RandomState
) -> float:
    """AUC or R^2 of trees that learn a column from one table, on another."""
    others = [j for j in range(len(tables)) if j != target]
    if not others:
        raise ValueError(f"{test} has no column beside the target.")
    parts, classes = _features(tables, (train, test), others)
    known = {}
    for name, part in zip((train, test), parts, strict=True):
        y = tables.values[name][:, target]
        seen = ~np.isnan(y)
        if not seen.any():
            raise ValueError(f"{name}: the target is missing in every row.")
        known[name] = (part[seen], y[seen])
    if len(np.unique(known[test][1])) < 2:
        raise ValueError(f"{test}: the target has one value, which there is nothing to learn of.")
    options = {"categorical_features": classes, "random_state": _seed(rng)}
    learn = _predicted if tables.labels(target) is None else _ranked
    (X, y), (X_test, y_test) = known[train], known[test]
    X, X_test = _no_empty(X, X_test)
    return learn(X, y, X_test, y_test, options)


def _predicted(
    X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray, options: dict[str, Any]
) -> float:
    trees = HistGradientBoostingRegressor(**options).fit(X, y)
    return float(r2_score(y_test, trees.predict(X_test)))


def _ranked(
    X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray, options: dict[str, Any]
) -> float:
    classes = np.unique(y)
    shares = dict.fromkeys(classes, np.zeros(len(y_test)))
    if len(classes) > 1:
        trees = HistGradientBoostingClassifier(**options).fit(X, y)
        shares = dict(zip(trees.classes_, trees.predict_proba(X_test).T, strict=True))
    areas = [
        roc_auc_score(y_test == label, shares.get(label, np.zeros(len(y_test))))
        for label in np.unique(y_test)
    ]
    return float(np.mean(areas))
