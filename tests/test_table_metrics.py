"""Synthetic tables against real ones: distances, classifiers, copies, the report."""

from __future__ import annotations

import datetime
import warnings

import frames
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score

import skvae
from skvae import (
    closest_record_share,
    marginal_error,
    pair_error,
    synthetic_report,
    train_on_synthetic,
    two_sample_auc,
)
from skvae.metrics.synthetic import classifiers
from skvae.metrics.synthetic._columns import read_tables

NAN = np.nan


def by_column(real, synthetic, **options):
    return marginal_error(real, synthetic, return_columns=True, **options)[1]


def by_pair(real, synthetic, **options):
    return pair_error(real, synthetic, return_pairs=True, **options)[1]


def people(n=300, seed=0, **options):
    return frames.people(n, seed, **options)


def of_numbers(seed, n=400, d=3):
    return np.random.default_rng(seed).normal(size=(n, d))


# Distances of columns


def test_total_variation_by_hand():
    real = pd.DataFrame({"a": ["x", "x", "y", None], "b": [True, True, False, False]})
    synthetic = pd.DataFrame({"a": ["x", "z"], "b": [True, True]})
    # a: |2/4 - 1/2|, |1/4 - 0|, |0 - 1/2|, missing |1/4 - 0|
    np.testing.assert_allclose(by_column(real, synthetic), [0.5, 0.5])
    assert marginal_error(real, synthetic) == 0.5


def test_kolmogorov_smirnov_by_hand():
    def distance(x, y):
        return by_column(np.array(x, float)[:, None], np.array(y, float)[:, None])[0]

    assert distance([1, 2, 3, 4], [1, 2, 3, 10]) == 0.25
    assert distance([0, 0, 0, 1], [0, 1, 1, 1]) == 0.5
    assert distance([1, 2], [3, 4]) == 1.0
    assert distance([1, NAN], [1, 1]) == 0.5
    assert distance([NAN, NAN], [5, 6]) == 1.0
    assert distance([NAN], [NAN, NAN]) == 0.0
    # the missing are as many, all others lie apart
    assert distance([1, 1, NAN, NAN], [2, 2, NAN, NAN]) == 0.5
    # {x <= 1 or missing} has the probabilities 1/4 + 2/4 and 0
    assert distance([1, 5, NAN, NAN], [5, 5, 5, 5]) == 0.75


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(3, 40))
def test_kolmogorov_smirnov_is_that_of_scipy(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.normal(size=n), 1), np.round(rng.normal(size=m), 1)
    want = scipy.stats.ks_2samp(x, y, method="asymp").statistic
    assert by_column(x[:, None], y[:, None])[0] == pytest.approx(want, abs=1e-12)


@settings(max_examples=40)
@given(frames.pandas_frames(max_rows=6), st.randoms(use_true_random=False))
def test_a_table_is_at_no_distance_from_its_own_rows(X, random):
    if not len(X):
        with pytest.raises(ValueError, match="real has no rows"):
            marginal_error(X, X)
        return
    order = random.sample(range(len(X)), len(X))
    assert marginal_error(X, X.iloc[order]) == 0.0
    assert marginal_error(X, pd.concat([X, X])) == pytest.approx(0.0, abs=1e-12)
    if X.shape[1] > 1:
        assert pair_error(X, X.iloc[order]) == 0.0


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_bounds_symmetry_and_the_order_of_columns(holes):
    X, Y = people(80, holes=holes), people(50, seed=1, holes=holes)
    there, back = by_column(X, Y), by_column(Y, X)
    np.testing.assert_allclose(there, back, rtol=1e-12)
    assert (there > 0.0).all() and (there < 1.0).all()
    order = np.random.default_rng(0).permutation(X.shape[1])
    np.testing.assert_array_equal(by_column(X, Y.iloc[:, order]), there)
    np.testing.assert_array_equal(by_column(X.iloc[:, order], Y), there[order])
    pairs = by_pair(X, Y)
    np.testing.assert_array_equal(pairs, pairs.T)
    np.testing.assert_array_equal(by_pair(X, Y.iloc[:, order]), pairs)
    assert (pairs > 0.0).all() and (pairs < 1.0).all()
    # a coarser table tells less
    assert (pairs >= np.maximum.outer(*[np.diag(pairs)] * 2) - 1e-12).all()
    categories = [list(X).index(name) for name in ("city", "size", "member")]
    np.testing.assert_allclose(np.diag(pairs)[categories], there[categories], rtol=1e-12)
    assert pair_error(X, Y) == pytest.approx(pairs[np.triu_indices(8, 1)].mean())


def test_disjoint_tables_are_at_distance_one():
    real = pd.DataFrame({"a": ["x"] * 9, "b": np.arange(9.0)})
    synthetic = pd.DataFrame({"a": ["y"] * 5, "b": np.arange(5.0) + 100})
    assert marginal_error(real, synthetic) == 1.0
    assert pair_error(real, synthetic) == 1.0


# Distances of pairs


def test_two_way_tables_by_hand():
    real = [["a", 1], ["a", 1], ["b", 2], ["b", 3]]
    synthetic = [["a", 1], ["a", 2], ["b", 2], ["b", 7]]
    # cells: a1 2/4 | 1/4, a2 0 | 1/4, b2 1/4 | 1/4, b3 1/4 | 0, b other 0 | 1/4
    np.testing.assert_allclose(by_pair(real, synthetic), [[0.0, 0.5], [0.5, 0.5]])


def test_numbers_are_cut_at_deciles():
    x = np.arange(1000.0)
    real = np.stack([x, x], axis=1)
    assert pair_error(real, real[::-1]) == 0.0
    # within a tenth it does not matter where numbers lie
    moved = np.stack([x, np.floor(x / 100) * 100 + 50], axis=1)
    assert pair_error(real, moved) == 0.0
    assert pair_error(real, moved, n_bins=20) > 0.4
    turned = np.stack([x, x[::-1]], axis=1)  # no decile is common
    assert pair_error(real, turned) == 1.0
    assert pair_error(real, turned, n_bins=3) == pytest.approx(2 / 3, abs=0.01)
    # a monotone map of a column moves its deciles along
    Y = of_numbers(1)
    X = of_numbers(0) + Y[:, :1]
    assert pair_error(np.exp(X), np.exp(Y)) == pair_error(X, Y)
    # many equal numbers take one part, not several
    tied = np.where(x < 900, 0.0, x)
    zero = np.zeros_like(x)
    pairs = by_pair(np.stack([tied, x], axis=1), np.stack([zero, x], axis=1))
    assert pairs[0, 0] == pytest.approx(0.1, abs=0.002)


def test_few_numbers_are_taken_by_value():
    real = np.array([[0.0, 1.0], [1.0, 0.0]] * 50)
    noise = real + 0.01
    assert pair_error(real, noise) == 1.0
    many = np.array([[0.0, 1.0], [1.0, 0.0]] * 50 + [[i, i] for i in np.linspace(0, 1, 20)])
    assert pair_error(many, many + 1e-9) < 1.0


def test_shuffled_columns_hang_together_no_longer():
    X = people(300, holes=0.0)
    rng = np.random.default_rng(0)
    shuffled = X.apply(lambda column: column.sample(frac=1.0, random_state=rng).to_numpy())
    shuffled = shuffled.astype(X.dtypes)
    assert marginal_error(X, shuffled) == 0.0
    assert pair_error(X, people(300, seed=1, holes=0.0)) < 0.25
    pairs = by_pair(X, shuffled)
    assert pairs[list(X).index("age"), list(X).index("income")] > 0.6
    np.testing.assert_array_equal(np.diag(pairs), 0.0)
    assert two_sample_auc(X, shuffled, random_state=0) > 0.95


@pytest.mark.parametrize("n, floor", [(10_000, 0.054), (1000, 0.17)])
def test_the_floor_of_finite_samples(n, floor):
    """The figures in the docstrings."""
    X, Y = of_numbers(0, n, 8), of_numbers(1, n, 8)
    assert pair_error(X, Y) == pytest.approx(floor, rel=0.04)
    assert 100 * np.sqrt(0.01 * 0.99 / (2 * np.pi) * 2 / n) == pytest.approx(floor, rel=0.06)
    kinds = dict.fromkeys(range(4), "categorical")
    X, Y = np.random.default_rng(0).integers(0, 10, (2, n, 4))
    want = 100 * np.sqrt(0.01 * 0.99 / (2 * np.pi) * 2 / n)
    assert pair_error(X, Y, kinds=kinds) == pytest.approx(want, rel=0.04)
    X, Y = of_numbers(2, n, 100), of_numbers(3, n, 100)
    assert marginal_error(X, Y) == pytest.approx(0.87 * np.sqrt(2 / n), rel=0.1)
    X, Y = (np.random.default_rng(s).choice(list("aab"), (n, 100)) for s in (0, 1))
    want = 2 * np.sqrt(2 / 9 * 2 / n / (2 * np.pi))
    assert marginal_error(X, Y) == pytest.approx(want, rel=0.15)


def test_tables_of_other_libraries_give_the_same():
    real, synthetic = people(120), people(90, seed=1)
    plain = [
        frame.astype({"size": str, "age": float, "member": object}).mask(frame.isna())
        for frame in (real, synthetic)
    ]
    want = [by_column(real, synthetic), by_pair(real, synthetic)]
    for turn in (pl.from_pandas, pa.Table.from_pandas):
        for a, b in ((turn(plain[0]), turn(plain[1])), (turn(plain[0]), synthetic)):
            np.testing.assert_allclose(by_column(a, b), want[0], rtol=1e-12)
            np.testing.assert_allclose(by_pair(a, b), want[1], rtol=1e-12)
    arrays = [frame.drop(columns=["since", "stay"]).to_numpy(object) for frame in plain]
    few = [frame.drop(columns=["since", "stay"]) for frame in (real, synthetic)]
    np.testing.assert_allclose(by_column(*arrays), want[0][:6], rtol=1e-12)
    for figure in (marginal_error, pair_error):
        assert figure(*arrays) == pytest.approx(figure(*few))
        assert figure(few[0], arrays[1]) == pytest.approx(figure(*few))  # by position
    areas = [two_sample_auc(*some, random_state=0) for some in (arrays, few)]
    assert areas[0] == areas[1]
    hold = people(60, seed=2)
    want = closest_record_share(real, synthetic, hold, random_state=0)
    other = pl.from_pandas(plain[0]), pa.Table.from_pandas(plain[1]), hold
    assert closest_record_share(*other, random_state=0) == want


def test_times_are_compared_as_times():
    days = [datetime.datetime(2020, 1, day) for day in (1, 2, 3, 4)]
    real = pd.DataFrame({"t": days, "d": pd.to_timedelta([1, 2, 3, 4], unit="h")})
    synthetic = pl.DataFrame({"t": days[:2], "d": [datetime.timedelta(hours=9)] * 2})
    np.testing.assert_array_equal(by_column(real, synthetic), [0.5, 1.0])


def test_kinds_make_classes_of_numbers():
    real = np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    synthetic = np.array([[0.0, 5.0], [2.0, 6.0], [2.0, 7.0], [9.0, 7.0]])
    np.testing.assert_allclose(by_column(real, synthetic)[0], 5 / 12)  # KS, at 1
    tv = by_column(real, synthetic, kinds={0: "categorical"})[0]
    np.testing.assert_allclose(tv, 0.5 * (1 / 3 - 1 / 4 + 1 / 3 + 1 / 2 - 1 / 3 + 1 / 4))
    assert pair_error(real, synthetic, kinds={0: "categorical"}) > 0.0


def test_labels_that_only_one_table_has():
    real = pd.DataFrame({"a": pd.Categorical(["x", "y"], categories=["x", "y", "q"])})
    synthetic = pd.DataFrame({"a": ["new", "x", "other", "x"]})
    assert by_column(real, synthetic)[0] == 0.5
    assert by_column(synthetic, real)[0] == 0.5
    booleans = np.array([[True], [False]])
    assert by_column(booleans, np.array([[1.0], [0.3]]))[0] == 0.5
    assert by_column(booleans, np.array([[1], [0]]))[0] == 0.0
    nothing = pd.DataFrame({"a": pd.Series([None, None], dtype="str")})
    assert marginal_error(nothing, synthetic) == 1.0
    assert marginal_error(nothing, nothing) == 0.0


# Classifiers


def test_two_halves_are_told_apart_by_chance_only():
    X = people(800)
    areas = [
        two_sample_auc(X.iloc[order[:400]], X.iloc[order[400:]], n_splits=2, random_state=0)
        for order in (np.random.default_rng(s).permutation(800) for s in range(2))
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)


def test_what_differs_is_told_apart():
    X = people(200)
    shifted = people(200, seed=1).assign(income=lambda frame: frame["income"] + 1e6)
    assert two_sample_auc(X, shifted, n_splits=2, random_state=0) > 0.9  # where it is not missing
    full = people(200, seed=1, holes=0.0)
    assert (
        two_sample_auc(people(200, holes=0.0), full.assign(city="Rome"), n_splits=2, random_state=0)
        > 0.75
    )
    # missing cells alone give rows away
    assert (
        two_sample_auc(
            people(200, holes=0.0), people(200, 1, holes=0.3), n_splits=2, random_state=0
        )
        > 0.9
    )
    few = two_sample_auc(X, shifted.iloc[:40], n_splits=2, random_state=0)
    assert few > 0.8


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_look_like_what_they_copy(copies):
    X = people(200)
    many = pd.concat([X] * copies)
    shuffled = many.sample(frac=1.0, random_state=0)
    for other in (X, shuffled):
        assert two_sample_auc(many, other, n_splits=2, random_state=0) == pytest.approx(
            0.5, abs=1e-12
        )


def test_frequent_rows_are_learned_by_heart():
    """Two laws of four rows each, without any other structure."""
    cells = np.array([["a", "a"], ["a", "b"], ["b", "a"], ["b", "b"]], object)
    rng = np.random.default_rng(0)
    real = cells[rng.choice(4, 1000, p=[0.4, 0.1, 0.1, 0.4])]
    synthetic = cells[rng.choice(4, 1000, p=[0.1, 0.4, 0.4, 0.1])]
    # P(s < s') + P(s = s') / 2 for the score of two levels
    assert two_sample_auc(real, synthetic, n_splits=2, random_state=0) == pytest.approx(
        0.8, abs=0.03
    )
    again = cells[rng.choice(4, 1000, p=[0.4, 0.1, 0.1, 0.4])]
    assert two_sample_auc(real, again, n_splits=2, random_state=0) == pytest.approx(0.5, abs=0.04)


def test_rare_equal_rows_tell_nothing():
    """Rows of few copies: by plain cross-validation the classes of copies would be foretold."""
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(4):
        real, synthetic = rng.integers(0, 200, (2, 400, 1)) ** 2 % 977
        kinds = {0: "categorical"}
        areas.append(two_sample_auc(real, synthetic, kinds=kinds, n_splits=2, random_state=0))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)


def test_folds():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randint(0, 30, (100, 1)), np.full((60, 1), NAN), [[99.0]] * 40])
    y = rng.randint(0, 2, 200)
    folds = classifiers._folds(X.astype(float), y, 4, rng)
    for value in range(30):
        assert len(set(folds[X[:, 0] == value])) <= 1
    assert set(folds[np.isnan(X[:, 0])]) == set(folds[X[:, 0] == 99.0]) == set(range(4))
    distinct = rng.normal(size=(200, 2))
    folds = classifiers._folds(distinct, y, 4, rng)
    for label in (0, 1):
        counts = np.bincount(folds[y == label], minlength=4)
        assert np.ptp(counts) <= 1


def test_more_labels_than_trees_know():
    rng = np.random.default_rng(0)
    labels = np.array([f"l{i}" for i in range(600)])
    places = (300 * rng.random((2, 1000)) ** 3).astype(int)  # some labels are frequent
    real = pd.DataFrame({"a": labels[places[0]], "b": rng.normal(size=1000)})
    other = pd.DataFrame({"a": labels[places[1] + 300], "b": rng.normal(size=1000)})
    assert (
        two_sample_auc(real, other, n_splits=2, random_state=0) > 0.7
    )  # half of the labels are one
    number = classifiers._numbers(tuple(labels), np.arange(600))
    assert number[:346].tolist() == [254] * 346
    assert sorted(number[346:]) == list(range(254))
    few = classifiers._numbers(("b", "unused", 2, "a", True), np.array([1, 0, 1, 1, 1]))
    assert few[[4, 2, 3, 0]].tolist() == [0, 1, 2, 3]


def test_the_seed_decides():
    X, Y = people(150), people(150, seed=1)
    first = two_sample_auc(X, Y, n_splits=2, random_state=3)
    assert two_sample_auc(X, Y, n_splits=2, random_state=3) == first
    assert two_sample_auc(X, Y, random_state=np.random.RandomState(3), n_splits=2) == first
    order = np.random.default_rng(0).permutation(150)
    assert two_sample_auc(X.iloc[order], Y, n_splits=2, random_state=3) == pytest.approx(
        first, abs=0.02
    )
    before = np.random.get_state()[1].copy()
    two_sample_auc(X, Y, n_splits=2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_training_on_real_rows_is_a_plain_fit():
    train, test = people(400, holes=0.0), people(300, seed=1)
    read = read_tables(None, test=test, train=train).values
    for target, plain, measure in (
        ("size", HistGradientBoostingClassifier, "auc"),
        ("income", HistGradientBoostingRegressor, "r2"),
        ("member", HistGradientBoostingClassifier, "auc"),
        ("since", HistGradientBoostingRegressor, "r2"),
    ):
        j = list(train).index(target)
        classes = [name in ("city", "size", "member") for name in train if name != target]
        seen = ~np.isnan(read["test"][:, j])
        X, X_test = np.delete(read["train"], j, 1), np.delete(read["test"], j, 1)[seen]
        y, y_test = read["train"][:, j], read["test"][seen, j]
        model = plain(categorical_features=classes, random_state=0).fit(X, y)
        if measure == "r2":
            want = r2_score(y_test, model.predict(X_test))
        elif target == "member":
            want = roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])
        else:
            want = roc_auc_score(y_test, model.predict_proba(X_test), multi_class="ovr")
        for name in (target, j):
            got = train_on_synthetic(train, test, name, random_state=0)
            assert got == pytest.approx(want, abs=1e-12)


def test_classes_that_one_table_lacks():
    train, test = people(300, holes=0.0), people(300, seed=1, holes=0.0)
    full = train_on_synthetic(train, test, "size", random_state=0)
    some = train_on_synthetic(train[train["size"] != "M"], test, "size", random_state=0)
    assert 0.6 < some < full
    one = train_on_synthetic(train[train["size"] == "M"], test, "size", random_state=0)
    assert one == 0.5
    no_l = train_on_synthetic(train, test[test["size"] != "L"], "size", random_state=0)
    assert no_l > 0.65
    strange = train.assign(city=train["city"].replace("Rome", "Roma"))
    assert 0.3 < train_on_synthetic(strange, test, "city", random_state=0) < 0.95


def test_a_table_that_has_learned_nothing_teaches_nothing():
    train, test = people(400, holes=0.0), people(400, seed=1, holes=0.0)
    shuffled = train.assign(income=train["income"].sample(frac=1.0, random_state=0).to_numpy())
    assert train_on_synthetic(train, test, "income", random_state=0) > 0.9
    assert train_on_synthetic(shuffled, test, "income", random_state=0) < 0.1


# Closest records


def test_copies_are_closest_and_other_rows_by_chance():
    train, holdout, other = people(300), people(300, seed=1), people(600, seed=2)
    assert closest_record_share(train, train, holdout, random_state=0) > 0.99
    assert closest_record_share(train, holdout, holdout, random_state=0) < 0.51
    share = closest_record_share(train, other, holdout, random_state=0)
    assert share == pytest.approx(0.5, abs=0.08)
    # half copies: 1/2 + 1/4
    mixed = pd.concat([train, other.iloc[:300]])
    share = closest_record_share(train, mixed, holdout, random_state=0)
    assert share == pytest.approx(0.75, abs=0.05)
    assert closest_record_share(train, other, train, random_state=0) == 0.5  # all are ties


def test_larger_tables_have_no_advantage():
    train, holdout, other = of_numbers(0, 3000), of_numbers(1, 300), of_numbers(2, 1000)
    for pair in ((train, holdout), (holdout, train)):
        share = closest_record_share(pair[0], other, pair[1], random_state=0)
        assert share == pytest.approx(0.5, abs=0.06)
    first = closest_record_share(train, other, holdout, random_state=5)
    assert closest_record_share(train, other, holdout, random_state=5) == first


def test_shares_of_both_sides_add_up():
    a, b, other = people(100), people(100, seed=1), people(150, seed=2)
    shares = [closest_record_share(*tables) for tables in ((a, other, b), (b, other, a))]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_distances_by_hand():
    """Numbers in standard deviations, labels and holes at 1."""
    train = pd.DataFrame({"x": [0.0, 4.0], "c": ["a", "b"], "h": [1.0, NAN]})
    holdout = pd.DataFrame({"x": [2.0, 2.0], "c": ["a", "b"], "h": [1.0, 1.0]})
    sd = np.sqrt(2.0)  # of x in both; h is constant
    rows = [(1.0, "a", 1.0), (4.0, "b", 1.0), (0.5, "b", NAN), (3.2, "q", 1.0)]
    frame = pd.DataFrame(rows, columns=["x", "c", "h"])
    won = 0.0
    for x, c, h in rows:
        near = []
        for table in (train, holdout):
            d2 = [
                ((x - a) / sd) ** 2 + (c != b) + (np.isnan(h) != np.isnan(e))
                for a, b, e in table.itertuples(index=False)
            ]
            near.append(min(d2))
        won += 0.5 if np.isclose(*near) else near[0] < near[1]
    assert closest_record_share(train, frame, holdout) == won / 4
    assert 0.0 < won / 4 < 1.0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_units_do_not_matter(scale):
    tables = [of_numbers(seed, 100) for seed in range(3)]
    want = closest_record_share(*tables, random_state=0)
    scaled = [np.concatenate([t[:, :1] * scale, t[:, 1:] + 7.0], axis=1) for t in tables]
    assert closest_record_share(*scaled, random_state=0) == want


def test_closest_records_in_bounded_memory(monkeypatch):
    tables = [people(200, seed=seed) for seed in range(3)]
    labels = [table[["city", "size"]] for table in tables]
    want = [closest_record_share(*some, random_state=0) for some in (tables, labels)]
    monkeypatch.setattr(skvae.metrics.neighbours, "_BLOCK", 1)
    got = [closest_record_share(*some, random_state=0) for some in (tables, labels)]
    assert got == pytest.approx(want)


# The report


@pytest.fixture(scope="module")
def tables():
    return people(150), people(140, seed=1), people(130, seed=2)


def test_a_report_holds_the_figures_of_the_functions(tables):
    real, synthetic, holdout = tables
    report = synthetic_report(real, synthetic, holdout, "city", random_state=0)
    assert report.n_rows == {"real": 150, "synthetic": 140, "holdout": 130}
    assert report.marginal_error == marginal_error(real, synthetic)
    assert report.pair_error == pair_error(real, synthetic)
    np.testing.assert_array_equal(report.pairs, by_pair(real, synthetic))
    assert report.two_sample_auc == two_sample_auc(real, synthetic, random_state=0)
    assert report.holdout_marginal_error == marginal_error(real, holdout)
    assert report.holdout_pair_error == pair_error(real, holdout)
    assert 0.4 < report.holdout_two_sample_auc < 0.6
    assert abs(report.closest_record_share - 0.5) < 0.2
    assert (report.target, report.target_measure) == ("city", "AUC")
    want = train_on_synthetic(synthetic, holdout, "city")
    assert report.train_on_synthetic == pytest.approx(want, abs=0.02)
    want = train_on_synthetic(real, holdout, "city")
    assert report.train_on_real == pytest.approx(want, abs=0.02)
    frame = pd.DataFrame(report.columns)
    np.testing.assert_array_equal(frame["error"], by_column(real, synthetic))
    np.testing.assert_array_equal(frame["holdout_error"], by_column(real, holdout))
    np.testing.assert_allclose(frame["missing"], real.isna().mean())
    assert frame["name"].tolist() == list(real)
    assert set(frame["measure"][frame["kind"].isin(["categorical", "ordinal", "boolean"])]) == {
        "TV"
    }


def test_a_report_is_text(tables):
    real, synthetic, holdout = tables
    report = synthetic_report(real, synthetic, holdout, "income", random_state=0)
    text = str(report)
    lines = text.splitlines()
    assert lines[0].startswith("Synthetic rows against real ones (150 real, 140 synthetic, 130")
    assert max(map(len, lines)) <= 100
    for figure in ("marginal_error", "pair_error", "two_sample_auc", "closest_record_share"):
        assert f"{getattr(report, figure):.3f}" in text
    assert f"R2 of income, learned from          {report.train_on_synthetic:.3f}" in text
    assert all(name in text for name in real)
    errors = [column.error for column in report.columns]
    worst = report.columns[int(np.argmax(errors))].name
    after = lines[lines.index("Columns, the farthest first:") + 3]
    assert after.startswith(worst)
    assert len(repr(report)) < 200 and f"pair_error={report.pair_error:.3g}" in repr(report)
    html = report._repr_html_()
    assert html.count("<tr>") == 6 + 9 and html.count("<table>") == 2
    alone = synthetic_report(real, synthetic, random_state=0)
    assert "closer" not in str(alone) and "learned" not in str(alone)
    assert "real  best" not in str(alone)
    assert alone.closest_record_share is alone.train_on_synthetic is alone.target is None
    assert alone.holdout_pair_error is None


def test_a_report_without_holdout_predicts_the_real_rows(tables):
    report = synthetic_report(*tables[:2], target="income", random_state=0)
    assert report.train_on_real is None and report.target_measure == "R2"
    assert report.train_on_synthetic == pytest.approx(
        train_on_synthetic(tables[1], tables[0], "income"), abs=0.02
    )


def test_reports_of_narrow_wide_and_odd_tables():
    one = synthetic_report(*(of_numbers(seed, 40, 1) for seed in range(3)))
    assert one.pair_error is None and one.holdout_pair_error is None
    assert "pair error" not in str(one)
    assert one.columns[0].name == "x0"
    wide = synthetic_report(of_numbers(0, 50, 25), of_numbers(1, 50, 25))
    assert "... and 5 more" in str(wide) and "... and 5 more" in wide._repr_html_()
    names = {0: "a <b> & a name that goes on and on and on for long", 1: "two\nlines"}
    odd = [pd.DataFrame(of_numbers(seed, 50, 2)).rename(columns=names) for seed in (0, 1)]
    report = synthetic_report(*odd, random_state=0)
    assert "<b>" not in report._repr_html_() and "&lt;b&gt;" in report._repr_html_()
    assert "two lines" in str(report) and "..." in str(report)


@settings(max_examples=5)
@given(frames.pandas_frames(max_rows=30))
def test_any_table_can_be_reported(X):
    real = pd.concat([X, X], ignore_index=True)
    if len(X) < 3:
        with pytest.raises(ValueError, match=r"real has (no|\d) rows"):
            synthetic_report(real, real)
        return
    try:
        report = synthetic_report(real, real, real, random_state=0)
    except ValueError as error:
        assert "too few different rows" in str(error)
        return
    assert report.marginal_error == 0.0
    assert report.closest_record_share == 0.5
    assert str(report) and report._repr_html_()


# Errors


FIGURES = {
    "marginal": lambda a, b: marginal_error(a, b),
    "pair": lambda a, b: pair_error(a, b),
    "auc": lambda a, b: two_sample_auc(a, b),
    "closest": lambda a, b: closest_record_share(b, a, b),
    "tstr": lambda a, b: train_on_synthetic(b, a, "x"),
    "report": lambda a, b: synthetic_report(a, b),
}


@pytest.mark.parametrize("figure", [name for name in FIGURES if name not in ("closest", "tstr")])
def test_errors_name_the_table(figure):
    compare = FIGURES[figure]
    good = pd.DataFrame({"x": np.arange(9.0), "y": list("abcabcabc")})
    bad = {
        "synthetic lacks columns of real: 'y'": good[["x"]],
        "synthetic has columns that are not in real: 'z'": good.assign(z=1),
        "synthetic has 1 columns, but real has 2": np.ones((3, 1)),
        "synthetic has no rows": good.iloc[:0],
        "synthetic: column 'x' contains infinite numbers": good.assign(x=np.inf),
        "synthetic: .*several columns named 'x'": good.set_axis(["x", "x"], axis=1),
    }
    for message, table in bad.items():
        with pytest.raises(ValueError, match=message):
            compare(good, table)
    for message, table in {
        "synthetic: X must be a table": 3,
        "synthetic: .*a lazy frame": pl.DataFrame(good).lazy(),
        "synthetic: column 'x' of X contains categorical values": good.assign(x="word"),
        "synthetic: column 'y' contains times": good.assign(y=datetime.datetime(2020, 1, 1)),
        r"synthetic: column 'y' contains \('a',\), a tuple": good.assign(y=[("a",)] * 9),
    }.items():
        with pytest.raises(TypeError, match=message):
            compare(good, table)
    with pytest.raises(TypeError, match="real: X must be a table"):
        compare(None, good)
    with pytest.raises(ValueError, match="real has no rows"):
        compare(good.iloc[:0], good)
    with pytest.raises(ValueError, match="real has no columns"):
        compare(good[[]], good)
    with pytest.raises(ValueError, match="synthetic: column 'y' is categorical with 1001 labels"):
        many = pd.DataFrame({"x": np.arange(1001.0), "y": [f"{i}" for i in range(1001)]})
        compare(good, many)


def test_errors_of_parameters():
    X, Y = people(60), people(60, seed=1)
    with pytest.raises(ValueError, match="real has only one column"):
        pair_error(X[["age"]], Y[["age"]])
    with pytest.raises(ValueError, match="n_bins must be an integer of at least 2, got 1"):
        pair_error(X, Y, n_bins=1)
    with pytest.raises(ValueError, match="n_splits must be at most 4"):
        two_sample_auc(X, Y.iloc[:4])
    with pytest.raises(ValueError, match="n_splits must be an integer"):
        two_sample_auc(X, Y, n_splits=1)
    with pytest.raises(ValueError, match="too few different rows for 5 folds"):
        two_sample_auc(X, Y.iloc[[0] * 9])
    with pytest.raises(ValueError, match="random_state: "):
        two_sample_auc(X, Y, random_state="seed")
    with pytest.raises(ValueError, match="real: the type of column 'age' must be one of"):
        marginal_error(X, Y, kinds={"age": "number"})
    with pytest.raises(
        ValueError, match="target refers to the column 'nothing', which test does not"
    ):
        train_on_synthetic(X, Y, "nothing")
    for target in (8, -1, True, None):
        with pytest.raises(ValueError, match=r"target refers to the column.*from 0 to 7"):
            train_on_synthetic(X, Y, target)
    with pytest.raises(ValueError, match="test has no column other than the target"):
        train_on_synthetic(X[["age"]], Y[["age"]], "age")
    with pytest.raises(ValueError, match="test: the target has only one value"):
        train_on_synthetic(X, Y.assign(city="Rome"), "city")
    with pytest.raises(ValueError, match="synthetic: the target is missing in every row"):
        train_on_synthetic(X.assign(income=NAN), Y, "income")
    with pytest.raises(ValueError, match="holdout lacks columns of train: 'city'"):
        closest_record_share(X, Y, Y.drop(columns="city"))
    with pytest.raises(ValueError, match="1e150 standard deviations"):
        closest_record_share(of_numbers(0), of_numbers(1) * 1e200, of_numbers(2))
    with pytest.raises(ValueError, match="target refers to the column 'x'"):
        synthetic_report(X, Y, target="x")
    with pytest.raises(ValueError, match="holdout has 4 rows, but a report needs at least 5"):
        synthetic_report(X, Y, Y.iloc[:4])


def test_no_warnings_of_odd_columns():
    X = people(60).assign(empty=NAN, same=1.0, one="a", nothing=None)
    Y = people(60, seed=1).assign(empty=NAN, same=1.0, one="a", nothing=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = synthetic_report(X, Y, Y, "income", random_state=0)
    found = {column.name: column.error for column in report.columns}
    assert found["empty"] == found["same"] == found["one"] == found["nothing"] == 0.0
