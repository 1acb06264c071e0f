"""Kinds of columns, their marginals, and the way from mixed rows to features and back."""

from __future__ import annotations

import frames
import numpy as np
import pytest
import torch
from frames import mixed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skvae.tables.format import TableFormat
from skvae.tables.kinds import ColumnKind, find_kinds
from skvae.tables.marginals import QuantileNormal, match_ranks
from skvae.tables.schema import Schema
from skvae.tables.source import ArraySource, Rows
from skvae.tables.summary import Summary


def schema_of(X: np.ndarray) -> Schema:
    source = ArraySource(X)
    kinds = find_kinds(source, None)
    return Schema.fit(Summary.of(source, kinds), kinds=kinds)


def test_kinds_are_found_by_values():
    kinds = find_kinds(ArraySource(mixed()), None)
    names = ["numeric", "integer", "binary", "discrete", "spiked", "constant", "missing"]
    assert [kind.kind for kind in kinds] == names
    assert kinds[3].values == (-1.0, 1.5, 2.5, 7.0)
    assert sum(kinds[3].counts) == 1000
    assert kinds[4].values == (0.0,)
    assert kinds[4].n_classes == 2
    plain = find_kinds(ArraySource(mixed()), None, by_values=False)
    assert {kind.kind for kind in plain} == {"numeric"}


def test_few_rows_and_many_levels_are_numbers():
    """Too few rows for each value, or images whose pixels have a few levels each."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, 5, (60, 3)).astype(float)
    assert {kind.kind for kind in find_kinds(ArraySource(few), None)} == {"integer"}
    pixels = rng.integers(0, 17, (2000, 64)).astype(float)
    assert {kind.kind for kind in find_kinds(ArraySource(pixels), None)} == {"numeric"}
    measured = np.round(rng.normal(3.0, 0.4, (150, 1)), 1)  # to one digit: no spikes
    assert find_kinds(ArraySource(measured), None)[0].kind == "numeric"


def test_labels_and_stated_kinds_are_not_questioned():
    people = frames.people(400)
    looks = TableFormat.fit(people, {"age": "numeric", "gain": "integer"})
    kinds = find_kinds(ArraySource(looks.read(people)), looks.columns)
    found = dict(zip(people.columns, kinds, strict=True))
    assert found["city"].kind == "categorical"
    assert found["size"].kind == "ordinal"
    assert found["member"].kind == "boolean"
    assert found["age"] == ColumnKind("numeric")
    assert found["gain"].kind == "integer"  # though 80 % are 0
    assert found["since"].kind == "datetime"
    assert sum(found["city"].counts) == people["city"].notna().sum()


def test_kinds_do_not_depend_on_how_rows_are_divided():
    from skvae.tables.source import Stacked

    X = mixed(40_000)
    whole = find_kinds(ArraySource(X), None)
    parts = find_kinds(Stacked([ArraySource(X[:17]), ArraySource(X[17:])]), None)
    assert whole == parts


def test_encoding_and_back():
    X = mixed()
    schema = schema_of(X)
    batch = schema.encode(ArraySource(X).take(slice(None)))
    assert batch.observed is not None
    # normal, whole, spiked, constant, missing; then classes: 2, 4, and zero or another number
    assert batch.x.shape == (1000, 5 + 2 + 4 + 2)
    np.testing.assert_array_equal(schema.layout.numbers, [0, 1, 4, 5, 6])
    assert schema.layout.classes == [2, 4, 2]
    classes = batch.x[:, 5:]
    for part in torch.split(classes, [2, 4, 2], -1):
        assert (part.sum(-1) == 1.0).all()
    spike = X[:, 4] == 0.0
    np.testing.assert_array_equal(batch.observed[:, 2].numpy(), ~spike)
    numbers = batch.x[:, 2][~torch.from_numpy(spike)]
    torch.testing.assert_close(numbers.mean(), torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(numbers.std(correction=0), torch.ones((), dtype=torch.float64))
    back = schema.decode(batch.x.numpy())
    np.testing.assert_allclose(back[:, :6], X[:, :6], rtol=1e-12)
    exact = [2, 3, 5]
    np.testing.assert_array_equal(back[:, exact], X[:, exact])
    np.testing.assert_array_equal(back[spike, 4], 0.0)
    assert np.isnan(back[:, 6]).all()


def test_means_decode_to_means_of_numbers_and_the_likeliest_label():
    kinds = [
        ColumnKind("discrete", (0.0, 10.0), (5, 5)),
        ColumnKind("categorical", (0.0, 2.0), (1, 1)),
    ]
    kinds.append(ColumnKind("spiked", (7.0,), (30,)))
    zeros = np.zeros(3)
    schema = Schema(zeros, zeros + 1.0, zeros, zeros + 10.0, kinds=kinds)
    x = np.array([[4.0, 0.3, 0.7, 0.4, 0.6, 0.75, 0.25]])
    np.testing.assert_allclose(schema.decode(x), [[7.0, 2.0, 0.75 * 7.0 + 0.25 * 4.0]])


def test_hidden_and_new_cells():
    X = mixed()
    schema = schema_of(X)
    strange = X[:4].copy()
    strange[0, 2] = 0.5  # neither 0 nor 1
    strange[1, 3] = np.nan
    strange[2, 4] = 12.5
    batch = schema.encode(ArraySource(strange).take(slice(None)))
    start = schema.layout.starts
    assert not batch.x[0, start[2] : start[2] + 2].any()
    assert not batch.observed[0, start[2]]
    assert not batch.x[1, start[3] : start[3] + 4].any()
    volume = schema.log_volume(ArraySource(strange).take(slice(None)))
    assert volume[0, 2] == pytest.approx(2.0 * np.log(1001.0))  # rule of succession, twice
    assert volume[1, 3] == 0.0
    assert volume[2, 4] == pytest.approx(np.log(schema.scale[4]))
    assert volume[3, 0] == pytest.approx(np.log(schema.scale[0]))


def test_a_constant_is_known_to_a_millionth_of_its_size():
    schema = schema_of(mixed())
    doubled = np.array([[10.0, 0, 0, 1.5, 0.0, 0.002, np.nan]])
    x = schema.encode(ArraySource(doubled).take(slice(None))).x[0, 3]
    assert x == pytest.approx(1e6)
    assert schema.decode(np.zeros((1, 13)))[0, 5] == 0.001


def test_plain_numbers_are_encoded_as_ever():
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 7.0, (200, 4))
    X[:, 1] = np.rint(100.0 * X[:, 1])
    source = ArraySource(X)
    plain = Schema.fit(Summary.of(source))
    kinds = find_kinds(source, None)
    schema = Schema.fit(Summary.of(source), kinds=kinds)
    assert kinds[1].kind == "integer"
    rows = source.take(slice(None))
    assert torch.equal(plain.encode(rows).x, schema.encode(rows).x)
    assert schema.encode(rows).observed is None
    half = schema.settle(X + 0.4)
    np.testing.assert_array_equal(half[:-1, 1], np.minimum(X[:, 1], X[:, 1].max())[:-1])


def test_the_state_of_a_schema_is_plain_and_whole():
    X = mixed()
    source = ArraySource(X)
    kinds = find_kinds(source, None)
    marginals = {0: QuantileNormal.of(X[:, 0])}
    schema = Schema.fit(
        Summary.of(source, kinds), kinds=kinds, marginals=marginals, sees_masks=True
    )
    again = Schema.from_state(schema.to_state())
    rows = source.take(slice(None))
    assert torch.equal(schema.encode(rows).x, again.encode(rows).x)
    assert again.kinds == schema.kinds
    assert again.sees_masks


# -- marginals -------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(-1e6, 1e6)))
def test_a_quantile_map_is_increasing_and_has_an_inverse(values):
    if len(np.unique(values)) < 2 or np.diff(np.unique(values)).min() < 1e-6:
        return
    marginal = QuantileNormal.of(values)
    x = np.linspace(values.min() - 3.0 * np.ptp(values), values.max() + 3.0 * np.ptp(values), 400)
    z = marginal.forward(x)
    assert (np.diff(z) > 0.0).all()
    np.testing.assert_allclose(marginal.inverse(z), x, rtol=1e-9, atol=1e-9 * np.ptp(values))


def test_quantile_scores_are_normal_and_keep_densities():
    """Scores have mean 0 and variance 1, and exp(log N(z) + log dz/dx) integrates to one."""
    values = np.random.default_rng(0).exponential(5.0, 4000)
    marginal = QuantileNormal.of(values)
    z = marginal.forward(values)
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1.0) < 0.01
    x = np.linspace(-60.0, 120.0, 400_001)
    log_density = -0.5 * marginal.forward(x) ** 2 - 0.5 * np.log(2.0 * np.pi)
    density = np.exp(log_density + marginal.log_slope(x))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-3)
    step = 1e-6
    between = 0.5 * (marginal.x[1:] + marginal.x[:-1])
    slope = (marginal.forward(between + step) - marginal.forward(between - step)) / (2.0 * step)
    np.testing.assert_allclose(np.exp(marginal.log_slope(between)), slope, rtol=1e-5)


def test_far_values_stay_far():
    marginal = QuantileNormal.of(np.random.default_rng(0).normal(40.0, 10.0, 1000))
    assert marginal.forward(np.array([1e6]))[0] > 1e4


def test_draws_take_the_quantiles_of_their_ranks():
    drawn = np.array([5.0, -1.0, 0.3, 9.0])
    np.testing.assert_array_equal(match_ranks(drawn, np.arange(4.0)), [2.0, 0.0, 1.0, 3.0])
    rng = np.random.default_rng(0)
    values = rng.exponential(size=1000)
    matched = match_ranks(rng.normal(size=1000), values)
    np.testing.assert_array_equal(np.sort(matched), np.sort(values))


def test_rows_without_missing_cells_have_no_mask():
    X = np.random.default_rng(0).normal(size=(20, 3))
    assert ArraySource(X).take(slice(None)).observed is None
    X[3, 1] = np.nan
    rows: Rows = ArraySource(X).take(slice(None))
    assert rows.observed is not None
    assert rows.observed.sum() == 59
