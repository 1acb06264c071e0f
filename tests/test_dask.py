"""Fits on the workers of a Dask cluster: the model of one process, and errors in place of hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans

import skvae
import skvae.dask
from skvae.engine.meeting import WorkerLostError

distributed = pytest.importorskip("distributed")
array = pytest.importorskip("dask.array")
frame = pytest.importorskip("dask.dataframe")

pytestmark = [
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
        reason="this PyTorch has no gloo",
    ),
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def client():
    """That of a cluster of two processes, with one thread each."""
    own = {"threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(n_workers=2, **own)
        with cluster, distributed.Client(cluster) as client:
            yield client


def numbers(n=400, d=4):
    X = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    X[:, 1] += X[:, 0]
    return X


def people(n=120):
    rng = np.random.default_rng(0)
    age, city = rng.normal(40.0, 10.0, n), rng.choice(["Rome", "Oslo"], n)
    return pd.DataFrame({"age": age, "height": 2.0 * age + rng.normal(size=n), "city": city})


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.module_.parameters()])


class Noted(skvae.VAE):
    """Writes the weights of each process to a file."""

    def fit(self, X, y=None):
        super().fit(X)
        if not isinstance(X, np.ndarray):
            np.save(Path(self.folder) / f"{os.getpid()}.npy", weights(self))
        return self


class Killed(skvae.Autoencoder):
    """The process of one worker is killed in the middle of a fit."""

    def fit(self, X, y=None):
        if distributed.get_worker().address == self.victim:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return super().fit(X)


def state_of_process():
    """What a fit on a worker must not change."""
    threads = torch.get_num_threads(), torch.get_num_interop_threads()
    rng = torch.get_rng_state().sum().item(), str(np.random.get_state()[1])
    return threads, rng, dict(os.environ), len(warnings.filters), threading.active_count()


def is_connected():
    return torch.distributed.is_initialized()


def test_without_a_cluster():
    rows = array.from_array(numbers(), chunks=(200, 4))
    with pytest.raises(ValueError, match="no client of a Dask cluster"):
        skvae.dask.fit(skvae.Autoencoder(**SMALL), rows)


def test_two_workers_fit_the_model_of_one_process(client, tmp_path):
    X = numbers()
    rows = array.from_array(X, chunks=(150, 4))
    model = Noted(**SMALL)
    model.folder = str(tmp_path)
    assert skvae.dask.fit(model, rows) is model
    first, second = (np.load(path) for path in tmp_path.iterdir())
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, weights(model))
    alone = skvae.VAE(**SMALL).fit(X)
    np.testing.assert_allclose(weights(model), weights(alone), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.offset_, alone.offset_, rtol=1e-4)
    assert model.get_params() == Noted(**SMALL).get_params()


def test_workers_are_left_as_they_were(client):
    rows = array.from_array(numbers(), chunks=(200, 4))
    skvae.dask.fit(skvae.Autoencoder(**SMALL), rows)  # its client stays with each worker
    before = client.run(state_of_process)
    skvae.dask.fit(skvae.Autoencoder(**SMALL), rows)
    after = client.run(state_of_process)
    for worker, (*known, threads) in before.items():
        assert list(after[worker][:-1]) == known
        assert after[worker][-1] <= threads + 2  # of gloo, about to end
    assert not any(client.run(is_connected).values())
    from skvae import dask

    assert not any(client.run(lambda: (len(dask._stopped), len(dask._stores)) != (0, 0)).values())


def test_frames_with_labels_and_scores_by_partitions(client):
    X = people()
    rows = frame.from_pandas(X, npartitions=3).persist()
    rng = np.random.RandomState(0)
    model = skvae.dask.fit(skvae.VAE(**SMALL | {"random_state": rng}), rows, client=client)
    own = np.random.RandomState(0)
    alone = skvae.VAE(**SMALL | {"random_state": own}).fit(X)
    assert rng.randint(1 << 30) == own.randint(1 << 30)
    assert list(model.feature_names_in_) == ["age", "height", "city"]
    np.testing.assert_allclose(weights(model), weights(alone), rtol=1e-4, atol=1e-5)
    scores = rows.map_partitions(model.score_samples, meta=np.empty(0)).compute()
    np.testing.assert_allclose(scores, model.score_samples(X), rtol=1e-5)
    flags = rows.map_partitions(model.predict, meta=np.empty(0, int)).compute()
    np.testing.assert_array_equal(flags, model.predict(X))
    codes = rows.map_partitions(model.transform, meta=np.empty((0, 2), np.float32)).compute()
    np.testing.assert_allclose(codes, model.transform(X), rtol=1e-4, atol=1e-6)
    filled = rows.map_partitions(model.impute, meta=dict(rows.dtypes)).compute()
    pd.testing.assert_frame_equal(filled, rows.compute())


def test_arrays_are_scored_by_blocks(client):
    X = numbers()
    rows = array.from_array(X, chunks=(150, 4))
    model = skvae.dask.fit(skvae.PPCA(2), rows)  # by one worker, in closed form
    scores = rows.map_blocks(model.score_samples, drop_axis=1, dtype=float).compute()
    np.testing.assert_allclose(scores, model.score_samples(X))
    codes = rows.map_blocks(model.transform, chunks=(rows.chunks[0], (2,)), dtype=float)
    assert codes.shape == (400, 2)
    np.testing.assert_allclose(codes.compute(), model.transform(X))


def test_what_goes_wrong_on_workers_is_an_error_here(client):
    rows = array.from_array(numbers(), chunks=(200, 4))
    model = skvae.Autoencoder(**SMALL)
    with pytest.raises(ValueError, match="'max_iter' parameter of Autoencoder must be"):
        skvae.dask.fit(clone(model).set_params(max_iter=-1), rows)
    tables = frame.from_pandas(people(), npartitions=3)

    def lacking(table):
        return table.drop(columns="height") if table.index[0] else table

    with pytest.raises(ValueError, match="height"):
        skvae.dask.fit(model, tables.map_partitions(lacking, meta=tables._meta))
    assert not hasattr(model, "n_components_")
    assert not any(client.run(is_connected).values())
    assert skvae.dask.fit(model, rows) is model


def test_a_worker_that_is_killed_in_mid_fit(client):
    rows = array.from_array(numbers(), chunks=(200, 4))
    model = Killed(**SMALL | {"max_iter": 1_000_000})
    model.victim = min(client.nthreads())
    begun = time.monotonic()
    with pytest.raises(WorkerLostError, match=f"worker {model.victim} was lost"):
        skvae.dask.fit(model, rows)
    assert time.monotonic() - begun < 30
    assert not hasattr(model, "n_components_")
    # with those that are there, the other one at least
    assert skvae.dask.fit(skvae.Autoencoder(**SMALL), rows).n_features_in_ == 4


def test_wrong_arguments(client):
    X = numbers()
    rows = array.from_array(X, chunks=(200, 4))
    model = skvae.Autoencoder(**SMALL)
    for estimator, given, error, text in (
        (KMeans(), rows, TypeError, "estimator must be an estimator of skvae, got KMeans"),
        (skvae.ConditionalVAE(), rows, TypeError, "ConditionalVAE needs labels"),
        (model, X, TypeError, "X must be a Dask data frame or array, got ndarray"),
        (model, rows.rechunk((200, 2)), ValueError, "chunked along its columns"),
    ):
        with pytest.raises(error, match=text):
            skvae.dask.fit(estimator, given)
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client, got str"):
        skvae.dask.fit(model, rows, client="tcp://127.0.0.1:8786")


def test_gpus_are_shared_out():
    place = skvae.dask._Place
    same = [place("a", 1, None, None), place("b", 2, None, None), place("a", 3, None, None)]
    assert skvae.dask._gpus(same) == [0, 0, 1]
    turned = [place("a", 1, "0,1", None), place("a", 2, "1,0", None)]  # as by dask-cuda
    assert skvae.dask._gpus(turned) == [0, 0]
