"""Rows that do not fit memory: where they come from, how they are shuffled, results in files."""

from __future__ import annotations

import datetime
import os
import tempfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae
from skvae.engine import batches, fit
from skvae.engine.batches import EncodedSource, TensorSource
from skvae.engine.workers import Workers
from skvae.extend import ArraySource
from skvae.sources import (
    BlockSource,
    DatasetSource,
    ParquetSource,
    TableSource,
    map_rows,
)
from skvae.tables.schema import Schema
from skvae.tables.spool import Spool
from skvae.tables.summary import Summary

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


def numbers(n=300, d=4, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    X[:, 1] += X[:, 0]
    return X


def people(n=300, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "income": rng.lognormal(size=n),
            "city": rng.choice(["Paris", "Rome", "Oslo"], n),
            "member": rng.choice([True, False], n),
            "since": np.datetime64("2020-01-01", "us") + rng.integers(0, 10**13, n),
        }
    )
    table.loc[::7, "income"] = np.nan
    return table


def in_parts(X, *edges):
    return BlockSource(lambda: (X[i:j] for i, j in zip((0, *edges), (*edges, len(X)), strict=True)))


@pytest.fixture
def nothing_in_memory(monkeypatch):
    """No encoded copies."""
    monkeypatch.setattr(fit, "MOST_ENCODED", 0)


# -- shuffling ------------------------------------------------------------------------------------


def encoded(X, **sizes):
    source = ArraySource(X)
    return EncodedSource(Schema.fit(Summary.of(source)), source, "cpu")


def rows_of(source, size=32, seed=3, **how):
    order = torch.Generator().manual_seed(seed)
    return [b.x for b, share in source.batches(size, order, Workers(), **how) if share == 1.0]


@pytest.mark.parametrize("n", [20, 500, 1000, 1024, 4099])
@pytest.mark.parametrize("block", [1, 16, 64])
def test_an_epoch_has_every_row_once(n, block, monkeypatch):
    monkeypatch.setattr(batches, "_WINDOW", 600)
    X = np.c_[np.arange(n), np.arange(n) % 3].astype(np.float32)
    source = encoded(X)
    source.block = min(n, block)
    found = rows_of(source)
    plain = TensorSource(source.schema.encode_all(source.source, torch.float32, "cpu"))
    assert [len(b) for b in found] == [len(b) for b in rows_of(plain)]
    assert torch.equal(torch.cat(found).sort(0).values, plain.rows.x.sort(0).values)
    assert not torch.equal(torch.cat(found), plain.rows.x)


def test_orders_follow_from_the_seed_alone(monkeypatch):
    monkeypatch.setattr(batches, "_WINDOW", 600)
    source = encoded(numbers(1000))
    first, again, other = rows_of(source), rows_of(source), rows_of(source, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    for skipped in (1, 5, 20):
        rest = rows_of(source, first=skipped)
        assert all(torch.equal(a, b) for a, b in zip(first[skipped:], rest, strict=True))


def test_batches_of_sorted_rows_come_from_all_over_them():
    """Means of batches spread as those of independent draws do, within a tenth."""
    X = np.arange(400_000, dtype=np.float32)[:, None]
    means = [float(b.mean()) for b in rows_of(encoded(X), 128)]
    assert np.std(means) * np.sqrt(128) == pytest.approx(1.0, abs=0.1)


def test_workers_share_the_rows_of_every_batch(monkeypatch):
    source, parts, n_read = encoded(numbers(500)), [], []
    taken = source.source.take
    for rank in range(3):
        workers, read = Workers(), []
        workers.rank, workers.size = rank, 3
        order = torch.Generator().manual_seed(0)
        monkeypatch.setattr(source.source, "take", lambda i: read.append(len(i)) or taken(i))  # noqa: B023
        parts.append(list(source.batches(64, order, workers)))
        n_read.append(sum(read))
    monkeypatch.undo()
    for whole, *some in zip(rows_of(source, 64, seed=0), *parts, strict=True):
        assert sum(share for _, share in some) == pytest.approx(1.0)
        for rank, (batch, _) in enumerate(some):
            assert torch.equal(batch.x, whole[rank::3])
    assert sum(n_read) == 500  # nobody reads the rows of others
    assert max(n_read) - min(n_read) <= 8


def test_some_rows_of_a_source_are_left_out():
    X = numbers(100)
    left_out = np.array([0, 1, 50, 99])
    source, expected = ArraySource(X).without(left_out), np.delete(X, left_out, axis=0)
    assert source.n_rows == 96
    np.testing.assert_array_equal(source.take(slice(None)).values, expected)
    np.testing.assert_array_equal(source.take(slice(3, None, 7)).values, expected[3::7])
    np.testing.assert_array_equal(source.take(np.array([95, 0, 47])).values, expected[[95, 0, 47]])
    np.testing.assert_array_equal(
        np.concatenate([rows.values for rows in source.blocks(10)]), expected
    )


def test_many_rows_are_held_out_without_numbering_all(monkeypatch):
    monkeypatch.setattr(fit, "_MANY", 100)
    settings = skvae.VAE(**SMALL)._fit_settings(0)
    found = fit.hold_out(1000, settings, 0)
    assert len(np.unique(found)) == len(found) > 50
    np.testing.assert_array_equal(found, np.sort(found))
    np.testing.assert_array_equal(found, fit.hold_out(1000, settings, 0))


# -- fits -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_in_memory")
@pytest.mark.parametrize(
    "cls", [skvae.VAE, skvae.HuberEnergyVAE, skvae.AdversarialAE, skvae.GAN, skvae.TwoStageVAE]
)
def test_fits_without_a_copy_of_the_rows(cls):
    X = numbers()
    model = cls(**{k: v for k, v in SMALL.items() if k in cls().get_params()}).fit(X)
    assert np.isfinite(model.sample(5, 0)).all()
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "people"])
def test_a_fit_without_a_copy_is_as_good(kind, monkeypatch):
    """Rows sorted by a column, windows of a tenth of them."""
    make = numbers if kind == "numbers" else people
    X, test = make(3000), make(2000, seed=1)
    X = X[np.argsort(X[:, 0])] if kind == "numbers" else X.sort_values("age")
    found = {}
    for copy in (True, False):
        if not copy:
            monkeypatch.setattr(fit, "MOST_ENCODED", 0)
            monkeypatch.setattr(batches, "_WINDOW", 3000)
            monkeypatch.setattr(batches, "_LEAST_BLOCK", 4)
            monkeypatch.setattr(batches, "_BLOCK", 16)
        found[copy] = [skvae.VAE(random_state=s).fit(X).score(test) for s in range(3)]
    spread = max(np.std(found[True]), np.std(found[False]), 0.02)
    assert abs(np.mean(found[True]) - np.mean(found[False])) < 3.0 * spread


def test_a_mapped_array_is_fitted_as_one_in_memory(tmp_path):
    X = numbers()
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    a, b = skvae.VAE(**SMALL).fit(X), skvae.VAE(**SMALL).fit(mapped)
    np.testing.assert_array_equal(a.score_samples(X), b.score_samples(mapped))


@pytest.mark.parametrize("cls", [skvae.VAE, skvae.PPCA, skvae.GAN])
def test_arrays_in_blocks(cls):
    X = numbers()
    model = cls(**{k: v for k, v in SMALL.items() if k in cls().get_params()})
    whole, parts = model.fit(X).sample(9, 0), model.fit(in_parts(X, 100, 101)).sample(9, 0)
    np.testing.assert_array_equal(whole, parts)


def to_polars(table):
    return pl.from_pandas(table)


def to_arrow(table):
    return pa.Table.from_pandas(table, preserve_index=False)


@pytest.mark.parametrize("library", [lambda table: table, to_polars, to_arrow])
def test_frames_in_blocks(library):
    """The last block has a label that the first has not."""
    table = people()
    table.loc[280, "city"] = "Aachen"
    table = library(table)
    source = in_parts(table, 130, 200)
    model = skvae.VAE(**SMALL)
    whole = model.fit(table)
    expected = whole.sample(20, 0), whole.score_samples(table), whole.impute(table)
    parts = model.fit(source)
    assert type(parts.sample(20, 0)) is type(table)
    assert list(parts.feature_names_in_) == list(people().columns)
    assert to_pandas(expected[0]).equals(to_pandas(parts.sample(20, 0)))
    np.testing.assert_allclose(expected[1], parts.score_samples(source), rtol=1e-5, atol=1e-4)
    assert to_pandas(expected[2])["city"].equals(to_pandas(parts.impute(source))["city"])


def to_pandas(table):
    return table if isinstance(table, pd.DataFrame) else table.to_pandas()


def test_categories_of_all_blocks():
    table = people().astype({"city": "category"})
    first, second = table[:150].copy(), table[150:].copy()
    first["city"] = first["city"].cat.remove_categories("Rome")
    model = skvae.VAE(**SMALL).fit(BlockSource(lambda: iter([first, second])))
    labels = model._format_.columns[2].labels
    assert set(labels) == {"Paris", "Rome", "Oslo"}


def test_parquet_files(tmp_path):
    table = to_arrow(people())
    parquet.write_table(table[:100], tmp_path / "a.parquet")
    swapped = table[100:].select(table.column_names[::-1])
    swapped = swapped.set_column(4, "age", swapped["age"].cast(pa.int32()))
    parquet.write_table(swapped, tmp_path / "b.parquet", row_group_size=50)
    model = skvae.VAE(**SMALL)
    expected = model.fit(table).score_samples(table)
    for given in (
        tmp_path,
        str(tmp_path / "*.parquet"),
        [tmp_path / "a.parquet", str(tmp_path / "b.parquet")],
    ):
        source = ParquetSource(given, n_rows=70)
        assert [len(t) for t in source.tables()] == [70, 30, 70, 70, 60]
        np.testing.assert_allclose(model.fit(source).score_samples(source), expected, rtol=1e-5)
    some = ParquetSource(tmp_path, columns=["income", "age"])
    assert list(model.fit(some).feature_names_in_) == ["income", "age"]


def test_datasets_of_torch():
    X = numbers()
    labelled = torch.utils.data.TensorDataset(torch.tensor(X), torch.arange(300))

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(X.tolist())

    expected = skvae.PPCA(2).fit(X).components_
    for dataset in (labelled, Stream()):
        source = DatasetSource(dataset, n_rows=70)
        assert [len(table) for table in source.tables()] == [70, 70, 70, 70, 20]
        found = skvae.PPCA(2).fit(source).components_
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-4)


class Uniform(TableSource):
    """Three tables, and how many of them were read."""

    def __init__(self, is_uniform):
        self.is_uniform, self.n_read = is_uniform, 0

    def tables(self):
        for table in np.array_split(numbers(), 3):
            self.n_read += 1
            yield table


def test_uniform_tables_are_not_read_in_advance():
    sources = [Uniform(True), Uniform(False)]
    once, twice = (skvae.PPCA(2).fit(source).components_ for source in sources)
    np.testing.assert_array_equal(once, twice)
    assert [source.n_read for source in sources] == [4, 6]


def test_images_in_blocks():
    X = np.random.default_rng(0).random((60, 1, 8, 8))
    model = skvae.Autoencoder(n_components=2, max_iter=1, random_state=0)
    parts = model.fit(in_parts(X, 25)).sample(2, 0)
    np.testing.assert_array_equal(parts, model.fit(X).sample(2, 0))
    assert parts.shape == (2, 64)


def test_contamination_looks_at_all_rows():
    X = numbers()
    model = skvae.PPCA(2, contamination=0.1).fit(in_parts(X, 100))
    assert (model.predict(X) == -1).mean() == pytest.approx(0.1, abs=0.01)


# -- methods --------------------------------------------------------------------------------------


METHODS = (
    "transform reconstruct reconstruction_error score_samples decision_function predict p_values "
    "impute"
).split()


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_sources(name):
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    found = getattr(model, name)(in_parts(X, 100, 180))
    np.testing.assert_allclose(found, getattr(model, name)(X), rtol=1e-4, atol=1e-5)


def test_tuples_are_joined():
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    for found, expected in zip(model.posterior(in_parts(X, 99)), model.posterior(X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert model.score(in_parts(X, 99)) == pytest.approx(model.score(X))


def test_any_estimator_is_mapped(tmp_path):
    X = numbers()
    pipeline = make_pipeline(StandardScaler(), skvae.PPCA(2)).fit(X)
    expected = pipeline.transform(X)
    sizes = []

    def transform(rows):
        sizes.append(len(rows))
        return pipeline.transform(rows)

    np.testing.assert_allclose(map_rows(transform, X, n_rows=70), expected, rtol=1e-5)
    assert sizes == [70, 70, 70, 70, 20]
    found = map_rows(pipeline.transform, in_parts(X, 100), tmp_path / "codes.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert os.listdir(tmp_path) == ["codes.npy"]


@pytest.mark.parametrize("library", [lambda table: table, to_polars, to_arrow])
def test_frames_are_mapped(library, tmp_path):
    table = library(people())
    model = skvae.VAE(**SMALL).fit(table)
    expected = to_pandas(model.impute(table))
    in_memory = map_rows(model.impute, table, n_rows=110)
    assert type(in_memory) is type(table)
    source = map_rows(model.impute, table, tmp_path / "filled.parquet", n_rows=110)
    written = pd.concat([t.to_pandas() for t in source.tables()], ignore_index=True)
    for found in (to_pandas(in_memory), written):
        assert list(found.columns) == list(expected.columns)
        np.testing.assert_allclose(found["income"], expected["income"], rtol=1e-4)
        assert (found["city"] == expected["city"]).all()
    codes = map_rows(model.transform, table, tmp_path / "codes.parquet", n_rows=110)
    assert next(codes.tables()).column_names == ["0", "1"]


# -- errors ---------------------------------------------------------------------------------------


def test_a_failed_call_keeps_the_file(tmp_path):
    path, X = tmp_path / "out.npy", numbers()
    np.save(path, X)

    def fails(rows):
        if rows[0, 0] == X[100, 0]:
            raise RuntimeError("in the middle")
        return rows

    with pytest.raises(RuntimeError, match="in the middle"):
        map_rows(fails, X, path, n_rows=50)
    np.testing.assert_array_equal(np.load(path), X)
    assert os.listdir(tmp_path) == ["out.npy"]


def read_again(tables):
    return BlockSource(lambda: tables)


def changing(*readings):
    each = iter(readings)
    return BlockSource(lambda: next(each))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda X: BlockSource(lambda: iter([X[:10], X[10:, :3]])), "has 3 features"),
        (lambda X: BlockSource(lambda: iter([X[:10], X[10:] + np.inf])), "infinity"),
        (lambda X: BlockSource(lambda: iter([])), "have no rows"),
        (lambda X: BlockSource(lambda: iter([X[:1]])), "1 sample"),
        (lambda X: read_again(iter([X[:9], X[9:]])), "the same exhausted iterator again"),
        (lambda X: changing([X], [X[:50]]), "in one pass"),
        (lambda X: BlockSource(lambda: iter([X[:10], X[10:].astype(str).astype(object)])), "."),
    ],
)
def test_bad_tables(source, message):
    model = skvae.VAE(**SMALL)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(source(numbers()))
    with pytest.raises(NotFittedError):
        model.sample()


def test_bad_files(tmp_path):
    table = to_arrow(people())
    parquet.write_table(table[:100], tmp_path / "a.parquet")
    parquet.write_table(table[100:].drop_columns(["city"]), tmp_path / "b.parquet")
    model = skvae.VAE(**SMALL)
    with pytest.raises(ValueError, match=r"b\.parquet has no column 'city'"):
        model.fit(ParquetSource(tmp_path))
    other = table[100:].set_column(2, "city", pa.array(np.arange(200.0) + 0.5))
    parquet.write_table(other.set_column(0, "age", pa.array(["x"] * 200)), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet have other types"):
        model.fit(ParquetSource(tmp_path))
    (tmp_path / "b.parquet").write_bytes(b"PAR1" + bytes(1000))
    with pytest.raises((ValueError, OSError), match=r"b\.parquet"):
        model.fit(ParquetSource(tmp_path))
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[:200] + bytes(900) + content[1100:])
    with pytest.raises((ValueError, OSError), match=r"b\.parquet"):
        model.fit(ParquetSource(tmp_path))
    with pytest.raises(FileNotFoundError, match="no Parquet file found at"):
        ParquetSource(tmp_path / "nothing")
    with pytest.raises(NotFittedError):
        model.sample()


def test_columns_of_two_kinds_in_two_tables():
    first, second = people()[:100], people()[100:]
    second = second.assign(age=[f"{a} years" for a in second["age"]])
    with pytest.raises(TypeError, match=r"column 'age' of X contains .* in one table and"):
        skvae.VAE(**SMALL).fit(BlockSource(lambda: iter([first, second])))
    order = pd.CategoricalDtype(["S", "M"], ordered=True)
    other = pd.CategoricalDtype(["S", "M", "L"], ordered=True)
    sized = [first.assign(size=pd.Categorical(["S"] * 100, dtype=order))]
    sized.append(people()[100:].assign(size=pd.Categorical(["L"] * 200, dtype=other)))
    with pytest.raises(ValueError, match="ordered labels"):
        skvae.VAE(**SMALL).fit(BlockSource(lambda: iter(sized)))


def test_a_full_disk_is_named(monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def flush(self):
            pass

        def close(self):
            pass

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="TMPDIR"):
        skvae.VAE(**SMALL).fit(in_parts(numbers(), 100))


def test_no_temporary_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool(3, np.float64)
    spool.append(np.ones((4, 3)))
    assert spool.rows().shape == (4, 3)
    skvae.VAE(**SMALL).fit(in_parts(numbers(), 100))
    assert os.listdir(tmp_path) == []


def test_messages(tmp_path):
    X = numbers()
    model = skvae.PPCA(2).fit(X)
    with pytest.raises(TypeError, match=r"BlockSource, which this .*map_rows"):
        model.score_features(in_parts(X, 10))
    with pytest.raises(TypeError, match="function without arguments"):
        BlockSource([X])
    with pytest.raises(ValueError, match=r"\.npy or \.parquet"):
        map_rows(model.transform, X, "codes.csv")
    with pytest.raises(TypeError, match="one table at a time"):
        skvae.ConditionalVAE(**SMALL).fit(in_parts(X, 10), np.zeros(300))
    with pytest.raises(TypeError, match="contains arrays of numbers"):
        map_rows(lambda rows: people()[: len(rows)], X, "rows.npy")
    with pytest.raises(ValueError, match="no rows"):
        map_rows(model.transform, BlockSource(lambda: iter([])))
    with pytest.raises(ValueError, match="n_rows must be"):
        map_rows(model.transform, X, n_rows=0)
    with pytest.raises(TypeError, match="function must be a callable"):
        map_rows("transform", X)
    with pytest.raises(ValueError, match=r"one row for each of the 300 rows .* returned float"):
        map_rows(model.score, X)
    with pytest.raises(TypeError, match="contains arrays of numbers"):
        map_rows(model.posterior, X, "moments.npy")
    shapes = iter([np.zeros(200), np.zeros((100, 3), np.float32)])
    with pytest.raises(ValueError, match=r"float64 of shape \(n,\) .* float32 of shape \(n, 3\)"):
        map_rows(lambda rows: next(shapes), X, tmp_path / "rows.npy", n_rows=200)
    with pytest.raises(IsADirectoryError, match="which is a folder"):
        (tmp_path / "folder.npy").mkdir()
        map_rows(model.transform, X, tmp_path / "folder.npy")
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        map_rows(model.transform, X, "nowhere/codes.npy")
    with pytest.raises(ValueError, match="n_draws can be used only for rows in memory"):
        model.impute(in_parts(X, 10), n_draws=2)
    for cls in (skvae.PPCA, skvae.VAE):
        with pytest.raises(TypeError, match="partial_fit expects one table at a time"):
            cls(2).partial_fit(in_parts(X, 10))


def test_forgotten_sources():
    """What is no table is named with the source for it."""
    dataset = torch.utils.data.TensorDataset(torch.tensor(numbers()))
    for given, advice in (
        ("rows/*.parquet", "ParquetSource"),
        (lambda: [numbers()], "BlockSource"),
        (iter([numbers()]), "BlockSource"),
        (dataset, "DatasetSource"),
    ):
        with pytest.raises((TypeError, ValueError), match=advice):
            skvae.PPCA(2).fit(given)


def test_results_of_other_types(tmp_path):
    """The first ones decide what a file holds."""
    X = numbers()
    single = BlockSource(lambda: iter([X[:100].astype(float), X[100:]]))
    np.testing.assert_array_equal(map_rows(lambda rows: rows, single, tmp_path / "a.npy"), X)
    double = BlockSource(lambda: iter([X[:100], X[100:].astype(float)]))
    widths = BlockSource(lambda: iter([X[:100], X[100:, :3]]))
    for source in (double, widths):
        with pytest.raises(ValueError, match="one dtype and shape"):
            map_rows(lambda rows: rows, source, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), X)
    assert os.listdir(tmp_path) == ["a.npy"]
    assert skvae.PPCA(2).fit(double)._format_.dtype == "float64"


def test_tables_without_rows(tmp_path):
    X = numbers()
    source = BlockSource(lambda: iter([X[:0], X[:100], X[:0], X[100:]]))
    model = skvae.PPCA(2).fit(source)
    assert model.n_samples_ == 300
    np.testing.assert_allclose(model.score_samples(source), model.score_samples(X), rtol=1e-5)
    map_rows(model.transform, source, tmp_path / "codes.parquet")
    frame = people()
    empty = skvae.VAE(**SMALL).fit(BlockSource(lambda: iter([frame[:0], frame])))
    np.testing.assert_array_equal(
        empty.score_samples(frame), skvae.VAE(**SMALL).fit(frame).score_samples(frame)
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_column_is_empty_in_one_table(first, tmp_path):
    frame = people()
    some = slice(0, 100) if first else slice(200, 300)
    frame.loc[frame.index[some], "city"] = None
    frame.loc[frame.index[some], "since"] = np.datetime64("NaT")
    parts = [frame[:100].copy(), frame[100:200].copy(), frame[200:].copy()]
    lost = parts[0 if first else 2]
    lost["city"], lost["since"] = None, np.nan
    expected = skvae.VAE(**SMALL).fit(frame).score_samples(frame)
    found = skvae.VAE(**SMALL).fit(BlockSource(lambda: iter(parts))).score_samples(frame)
    np.testing.assert_array_equal(found, expected)
    lost["since"] = np.datetime64("NaT", "us")
    for i, part in enumerate(parts):
        part.to_parquet(tmp_path / f"{i}.parquet")
    found = skvae.VAE(**SMALL).fit(ParquetSource(tmp_path)).score_samples(frame)
    np.testing.assert_array_equal(found, expected)


def test_labels_that_rows_tell():
    """Stated kinds have the sorted labels of all tables, as they have of one."""
    frame = pd.DataFrame({"size": [2, 9] * 40, "late": ["no"] * 80, "x": np.arange(80.0) ** 2})
    other = frame.assign(size=[10, 11] * 40, late="yes")
    kinds = {"size": "ordinal", "late": "boolean"}
    model = skvae.VAE(table=skvae.TableOptions(column_kinds=kinds), **SMALL)
    found = model.fit(BlockSource(lambda: iter([frame, other])))._format_
    assert found.columns[0].labels == (2, 9, 10, 11)
    assert found.columns[1].labels == ("no", "yes")
    with pytest.raises(ValueError, match="cannot be boolean"):
        model.fit(BlockSource(lambda: iter([frame, other, other.assign(late="maybe")])))
    sized = pd.CategoricalDtype(["S", "L"], ordered=True)
    turned = pd.CategoricalDtype(["L", "S"], ordered=True)
    parts = [frame.assign(size=pd.Categorical(["S"] * 80, dtype=d)) for d in (sized, turned)]
    with pytest.raises(ValueError, match="ordered labels"):
        skvae.VAE(**SMALL).fit(BlockSource(lambda: iter(parts)))
    with pytest.raises(ValueError, match="order"):
        skvae.VAE(**SMALL).fit(BlockSource(lambda: iter([frame, frame[["x", "late", "size"]]])))


def test_what_pandas_and_spark_write(tmp_path):
    frame = people()
    frame[frame["age"] > 30].to_parquet(tmp_path / "rows.parquet")  # with its index
    model = skvae.VAE(**SMALL).fit(ParquetSource(tmp_path / "rows.parquet"))
    assert list(model.feature_names_in_) == list(frame.columns)
    frame.to_parquet(tmp_path / "parts", partition_cols=["city"])
    with pytest.raises(ValueError, match="partitioned by a column"):
        ParquetSource(tmp_path / "parts")
    (tmp_path / "spark.parquet").mkdir()
    frame.to_parquet(tmp_path / "spark.parquet" / "part-0.parquet")
    assert len(ParquetSource(tmp_path / "spark*").files) == 1
    frame.assign(more=1).to_parquet(tmp_path / "spark.parquet" / "part-1.parquet")
    with pytest.raises(ValueError, match=r"part-1\.parquet has a column 'more'"):
        model.fit(ParquetSource(tmp_path / "spark.parquet"))
    for given, message in (([], "is empty"), ("s3://bucket/rows", "not a local path")):
        with pytest.raises(ValueError, match=message):
            ParquetSource(given)
    with pytest.raises(TypeError, match="list of names"):
        ParquetSource(tmp_path / "rows.parquet", columns="age")
    with pytest.raises(ValueError, match="n_rows must be"):
        ParquetSource(tmp_path / "rows.parquet", n_rows=0)
    assert "rows.parquet" in repr(ParquetSource(tmp_path / "rows.parquet"))


def test_items_of_datasets():
    class Sized(torch.utils.data.IterableDataset):
        def __len__(self):
            return 300

        def __iter__(self):
            return iter([row, 1] for row in numbers())

    assert skvae.PPCA(2).fit(DatasetSource(Sized())).n_samples_ == 300
    with pytest.raises(TypeError, match="item 0 of the data set is a dict"):
        skvae.PPCA(2).fit(DatasetSource([{"x": 1.0}]))


def test_other_dates_of_the_first_table():
    class Days(TableSource):
        def tables(self):
            for day in (1, 2):
                yield pd.DataFrame({"when": [datetime.datetime(2020, 1, day)] * 30, "x": range(30)})

    model = skvae.VAE(**SMALL).fit(Days())
    assert model.sample(3, 0)["when"].dtype.kind == "M"


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_dask_collections(kind):
    dask = pytest.importorskip("dask")
    from skvae.sources import DaskSource

    X = numbers()
    with dask.config.set(scheduler="synchronous"):
        if kind == "array":
            array = pytest.importorskip("dask.array")
            source = DaskSource(array.from_array(X, chunks=(100, 4)))
            with pytest.raises(ValueError, match="chunked along its columns"):
                DaskSource(array.from_array(X, chunks=(100, 2)))
            X = X.copy()
        else:
            frame = pytest.importorskip("dask.dataframe")
            X = people()
            source = DaskSource(frame.from_pandas(X, npartitions=3))
        expected = skvae.VAE(**SMALL).fit(X).score_samples(X)
        found = skvae.VAE(**SMALL).fit(source).score_samples(source)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(TypeError, match="a Dask data frame or array"):
        DaskSource(X)
