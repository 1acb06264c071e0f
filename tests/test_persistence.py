"""Fitted models through files and copies, to the last bit; and files that are damaged."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import skops.io
from contracts import (
    assert_same,
    each,
    each_dressed,
    each_transformer,
    estimator_classes,
    fitted,
    labels,
    make,
    new_rows,
    outputs,
    table,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.base import BaseEstimator, clone
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae
from skvae.contract import files, persistence
from skvae.contract.persistence import PersistenceMixin, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -- round trips ------------------------------------------------------------------------------


def _joblib(model, folder, **options):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", **options)


_OF_DENSITIES = {
    "skvae.estimators.options.NetworkOptions",
    "skvae.estimators.options.TrainingOptions",
    "skvae.estimators.ppca.PPCA",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
}


def _skops(model, folder):
    skops.io.dump(model, folder / "model.skops")
    trusted = skops.io.get_untrusted_types(file=folder / "model.skops")
    assert set(trusted) <= {f"{type(model).__module__}.{type(model).__name__}", *_OF_DENSITIES}
    return skops.io.load(folder / "model.skops", trusted=trusted)


def _save(model, folder):
    model.save(folder / "model")
    return skvae.load(folder / "model")


WAYS = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "pickle of protocol 2": lambda model, _: pickle.loads(pickle.dumps(model, 2)),
    "joblib": _joblib,
    "joblib, mapped": lambda model, folder: _joblib(model, folder, mmap_mode="r"),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "copy": lambda model, _: copy.copy(model),
    "skops": _skops,
    "save and load": _save,
}


@pytest.mark.parametrize("way", WAYS)
@each_dressed
def test_round_trip(estimator, way, tmp_path):
    model = fitted(estimator)
    again = WAYS[way](model, tmp_path)
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    public = [k for k in dir(model) if k.endswith("_") and not k.startswith("_")]
    assert [k for k in dir(again) if k.endswith("_") and not k.startswith("_")] == public
    assert_same(outputs(again), outputs(model))


@pytest.mark.parametrize("way", WAYS)
@each
def test_training_goes_on_after_a_round_trip(estimator, way, tmp_path):
    """As if never interrupted: the optimiser's state and the seeds travel too."""
    if not hasattr(estimator, "partial_fit"):
        pytest.skip("learns from whole tables only")
    model = clone(estimator).partial_fit(table(), labels(table()))
    again = WAYS[way](model, tmp_path)
    for chunk in (table(seed=3), table(50, seed=4)):
        model.partial_fit(chunk, labels(chunk))
        again.partial_fit(chunk, labels(chunk))
    assert_same(outputs(again), outputs(model))


@each
def test_unfitted_round_trip(estimator, tmp_path):
    again = _save(estimator, tmp_path)
    assert again.get_params() == estimator.get_params()
    assert_same(outputs(again.fit(table(), labels(table()))), outputs(fitted(estimator)))


@each
def test_a_second_copy_is_the_same_file(estimator, tmp_path):
    model = fitted(estimator)
    model.save(tmp_path / "a")
    skvae.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@each
def test_a_mapped_model_can_be_saved(estimator, tmp_path):
    model = _joblib(fitted(estimator), tmp_path, mmap_mode="r")
    assert_same(outputs(_save(model, tmp_path)), outputs(fitted(estimator)))


@each_transformer
def test_feature_names_travel(estimator, tmp_path):
    frame = pd.DataFrame(table(), columns=list("vwxyz"))
    again = _save(clone(estimator).fit(frame, labels(frame)), tmp_path)
    np.testing.assert_array_equal(again.feature_names_in_, list("vwxyz"), strict=False)
    assert again.feature_names_in_.dtype == object
    again.transform(frame)  # silently
    with pytest.raises(ValueError, match="feature names"):
        again.transform(frame[list("zyxwv")])


def test_a_pipeline_pickles():
    pipeline = make_pipeline(StandardScaler(), make(estimator_classes()[0])).fit(table())
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(
        again.score_samples(new_rows()), pipeline.score_samples(new_rows())
    )


# -- any state --------------------------------------------------------------------------------


class Holder(PersistenceMixin, BaseEstimator):
    def __init__(self, parameter=None, other=1):
        self.parameter = parameter
        self.other = other


def _assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray | np.generic):
        np.testing.assert_array_equal(a, b, strict=True)
        assert a.flags.c_contiguous == b.flags.c_contiguous
        assert a.flags.f_contiguous == b.flags.f_contiguous
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_equal(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            _assert_equal(a[key], b[key])
    else:
        assert a == b or (a != a and b != b)


_dtypes = st.sampled_from("? u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8".split())
_arrays = _dtypes.flatmap(lambda d: arrays(d, array_shapes(min_dims=0, min_side=0, max_side=3)))
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    _arrays,
    _arrays.map(np.asfortranarray),
    _dtypes.flatmap(lambda d: arrays(d, ())).map(lambda a: a[()]),
    arrays(object, (3,), elements=st.text()),
)
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(value=_values)
def test_any_plain_state_round_trips(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("state") / "file"
    holder = Holder(value)
    holder.fitted_ = {"nested": [value]}
    holder.save(path)
    again = load(path)
    _assert_equal(again.parameter, value)
    _assert_equal(again.fitted_, holder.fitted_)


def test_arrays_are_writable_and_keep_their_order(tmp_path):
    holder = Holder()
    holder.strided_ = np.arange(12.0).reshape(3, 4)[:, ::2]
    holder.fortran_ = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    holder.swapped_ = np.arange(3, dtype=">i4")
    holder.text_ = np.array([["a", "bc"]])
    again = _save(holder, tmp_path)
    for name in ("strided_", "fortran_", "swapped_", "text_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(holder, name))
        assert getattr(again, name).flags.writeable
        assert getattr(again, name).flags.aligned
    assert again.fortran_.flags.f_contiguous


def test_estimators_and_random_states_inside(tmp_path):
    holder = Holder(GaussianMixture(2, random_state=np.random.RandomState(3)))
    holder.density_ = clone(holder.parameter).fit(table(), labels(table()))
    again = _save(holder, tmp_path)
    np.testing.assert_array_equal(
        again.density_.score_samples(table()), holder.density_.score_samples(table())
    )
    ours, theirs = again.parameter.random_state, holder.parameter.random_state
    assert ours.randint(1000, size=9).tolist() == theirs.randint(1000, size=9).tolist()


class _NotPlain(list):
    pass


@pytest.mark.parametrize(
    "value",
    [
        lambda: 0,
        _NotPlain(),
        {1, 2},
        b"bytes",
        1j,
        np.array([1j]),
        np.array([object()]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.ma.masked_array([1.0]),
        np.random.default_rng(0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain(value, tmp_path):
    """Refused in fitted attributes, asked for again in parameters; never written in part."""
    path = tmp_path / "file"
    Holder("old").save(path)
    holder = Holder()
    holder.inner_ = {"deep": [1.0, value]}
    with pytest.raises(TypeError, match=r"inner_\.deep\.1"):
        holder.save(path)
    assert load(path).parameter == "old"

    Holder([np.ones(3), value], other=5).save(path)
    with pytest.raises(ValueError, match=r"Holder parameter parameter.*parameter=\.\.\."):
        load(path)
    again = load(path, parameter="mine")
    assert (again.parameter, again.other) == ("mine", 5)


def test_other_parameters_can_be_replaced(tmp_path):
    Holder("old").save(tmp_path / "file")
    assert load(tmp_path / "file", other=3).other == 3
    with pytest.raises(ValueError, match="no parameter colour"):
        load(tmp_path / "file", colour=3)


def _linear(inputs, outputs, bias=True):
    import torch

    return torch.nn.Linear(inputs, outputs, bias)


@pytest.mark.parametrize("cls", [c for c in estimator_classes() if "encoder" in c().get_params()])
def test_a_network_given_by_the_user(cls, tmp_path):
    model = make(cls, encoder=functools.partial(_linear, bias=False), decoder=_linear).fit(
        table(), labels(table())
    )
    model.save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"(?=.*encoder=\.\.\.)(?=.*decoder=\.\.\.)"):
        skvae.load(tmp_path / "file")
    again = skvae.load(tmp_path / "file", encoder=model.encoder, decoder=model.decoder)
    assert_same(outputs(again), outputs(model))
    assert_same(outputs(pickle.loads(pickle.dumps(model))), outputs(model))


# -- classes and versions ---------------------------------------------------------------------


def test_only_imported_classes_load(tmp_path):
    class Local(Holder):
        pass

    Local("here").save(tmp_path / "file")
    assert load(tmp_path / "file").parameter == "here"
    program = "import sys, skvae; skvae.load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")], capture_output=True, text=True
    )
    assert "ValueError" in done.stderr
    assert "import its module" in done.stderr


def test_ppca_loads_without_torch(tmp_path):
    skvae.PPCA(2).fit(table()).save(tmp_path / "file")
    program = """
        import sys, skvae
        model = skvae.load(sys.argv[1])
        model.transform([[0.0] * 5])
        assert "torch" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "file")], check=True
    )


def test_versions_are_stamped(monkeypatch, tmp_path):
    model = skvae.PPCA(2).fit(table())
    model.save(tmp_path / "file")
    pickled = pickle.dumps(model)
    stamp = model.__getstate__()["_versions"]
    assert set(stamp) == {"skvae", "scikit-learn", "torch", "numpy"}
    assert stamp["numpy"] == np.__version__
    assert not hasattr(pickle.loads(pickled), "_versions")

    monkeypatch.setattr(persistence, "_versions", lambda: {**stamp, "skvae": "99.0"})
    for read in (lambda: pickle.loads(pickled), lambda: skvae.load(tmp_path / "file")):
        with pytest.warns(UserWarning, match="saved by skvae .* read by 99.0"):
            again = read()
        np.testing.assert_array_equal(again.components_, model.components_)
    monkeypatch.setattr(persistence, "_versions", lambda: {**stamp, "numpy": "99.0"})
    pickle.loads(pickled)  # silently: arrays are arrays
    skvae.load(tmp_path / "file")


def test_an_unknown_version_warns():
    state = skvae.PPCA(2).fit(table()).__getstate__()
    del state["_versions"]
    with pytest.warns(UserWarning, match="saved by skvae unknown"):
        skvae.PPCA().__setstate__(state)


def test_files_and_pickles_of_an_earlier_layout_are_refused(monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        context.setattr(persistence, "_FORMAT", 1)
        skvae.PPCA(1).fit(np.eye(3)).save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"earlier layout of skvae .*fit the estimator and save"):
        load(tmp_path / "file")
    with pytest.raises(ValueError, match=r"This VAE was saved by an earlier layout of skvae"):
        skvae.VAE(1).__setstate__({"_spec": {}, "_weights": {}})


def test_a_newer_format_is_refused(monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        context.setattr(persistence, "_FORMAT", 99)
        Holder("new").save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"format 99, and this skvae reads format .*upgrade skvae"):
        load(tmp_path / "file")

    def encode(value, path, tensors):
        return {"novelty": 1}

    with monkeypatch.context() as context:
        context.setattr(persistence, "encode", encode)
        Holder().save(tmp_path / "file")
    with pytest.raises(ValueError, match="'novelty', which this skvae cannot read"):
        load(tmp_path / "file")


# -- files ------------------------------------------------------------------------------------


def test_names_are_used_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("plain", "with.dots.pkl", str(tmp_path / "text"), tmp_path / "path", "ü ñ"):
        Holder(str(path)).save(path)
        assert load(path).parameter == str(path)
    assert sorted(os.listdir()) == sorted(["plain", "with.dots.pkl", "text", "path", "ü ñ"])


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    Holder("linked").save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert load(tmp_path / "file").parameter == "linked"


def test_any_reader_of_safetensors_can_look_inside(tmp_path):
    model = skvae.PPCA(2).fit(table())
    model.save(tmp_path / "file")
    found = safetensors.numpy.load_file(tmp_path / "file")
    np.testing.assert_array_equal(found["mean_"], model.mean_)


def test_damaged_files(tmp_path):
    """Every change of a byte and every cut is noticed."""
    path = tmp_path / "file"
    holder = Holder("a parameter")
    holder.weights_ = np.arange(6.0)
    holder.save(path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"\0"]
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1 << i % 8
        damaged.append(bytes(changed))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ValueError, match="file"):
            load(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"w": np.ones(3)}, path)
    with pytest.raises(ValueError, match="not one that skvae wrote"):
        load(path)
    for content in ("null", "[]", "{}", '{"digest": 3}', '{"digest": 1, "format": "x"}', "{"):
        safetensors.numpy.save_file({}, path, metadata={"skvae": content})
        with pytest.raises(ValueError, match="file"):
            load(path)
    for data in (
        pickle.dumps(Holder()),
        b"",
        b"text",
        json.dumps({"a": 1}).encode(),
        os.urandom(99),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="file"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing here")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["full", "stop"])
def test_a_failed_save_leaves_the_old_file(call, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    Holder("old").save(path)

    def fail(*_):
        raise error

    with monkeypatch.context() as context, pytest.raises(type(error)):
        context.setattr(files.os, call, fail)
        Holder("new").save(path)
    assert load(path).parameter == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_save_into_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError):
        Holder().save(tmp_path / "no folder" / "file")
    with pytest.raises(OSError):
        Holder().save(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_save_leaves_a_whole_file(tmp_path):
    """Models of two kinds are saved over one another without end, until the process dies."""
    program = """
        import sys
        import numpy as np
        import skvae
        models = [skvae.PPCA(1).fit(np.arange(8e5).reshape(4, -1) ** (s + 1)) for s in (0, 1)]
        while True:
            for model in models:
                model.save(sys.argv[1])
                print(flush=True)
    """
    path = tmp_path / "file"
    for delay in (0.0, 0.013, 0.05):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert skvae.load(path).mean_.shape == (200_000,)
    skvae.PPCA(1).fit(table()).save(path)
    assert os.listdir(tmp_path) == ["file"]  # what the killed ones left is gone


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    Holder().save(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
