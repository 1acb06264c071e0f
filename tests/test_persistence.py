"""Fitted models through files and copies, to the last bit; and files that are damaged."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import crafted
import golden
import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import skops.io
from contracts import (
    assert_same,
    each,
    each_learner,
    each_learner_dressed,
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
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae
from skvae.contract import persistence
from skvae.contract.classes import fitted_attributes
from skvae.contract.persistence import PersistenceMixin, load
from skvae.tables import files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


VERSIONS = ("_sklearn_version", "_versions")

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
@each_learner_dressed
def test_round_trip(estimator, way, tmp_path):
    model = fitted(estimator)
    again = WAYS[way](model, tmp_path)
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    public = [k for k in dir(model) if k.endswith("_") and not k.startswith("_")]
    assert [k for k in dir(again) if k.endswith("_") and not k.startswith("_")] == public
    assert_same(outputs(again), outputs(model))


@each
def test_training_goes_on_after_a_round_trip(estimator, tmp_path):
    """As if never interrupted: the optimiser's state and the seeds travel too."""
    if not hasattr(estimator, "partial_fit"):
        pytest.skip("learns from whole tables only")
    model = clone(estimator).partial_fit(table(), labels(table()))
    copies = []
    for way in WAYS:
        (tmp_path / way).mkdir()
        copies.append(WAYS[way](model, tmp_path / way))
    found = []
    for one in (model, *copies):
        for chunk in (table(seed=3), table(50, seed=4)):
            one.partial_fit(chunk, labels(chunk))
        found.append(outputs(one))
    for way, after in zip(WAYS, found[1:], strict=True):
        for name, value in found[0].items():
            np.testing.assert_array_equal(after[name], value, err_msg=way, strict=True)


@each_learner
def test_unfitted_round_trip(estimator, tmp_path):
    again = _save(estimator, tmp_path)
    assert again.get_params() == estimator.get_params()
    assert_same(outputs(again.fit(table(), labels(table()))), outputs(fitted(estimator)))


@each_learner
def test_a_second_copy_is_the_same_file(estimator, tmp_path):
    model = fitted(estimator)
    model.save(tmp_path / "a")
    skvae.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@each_learner
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


def _unversioned(node):
    """JSON without the versions that estimators inside have."""
    if isinstance(node, dict):
        return {k: _unversioned(v) for k, v in node.items()}
    if isinstance(node, list):
        kept = [v for v in node if not (isinstance(v, list) and v and v[0] in VERSIONS)]
        return [_unversioned(v) for v in kept]
    return node


def _assert_near(found, expected):
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            _assert_near(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            _assert_near(a, b)
    else:
        near = isinstance(expected, float) and expected == expected
        assert found == (pytest.approx(expected, rel=1e-6, abs=1e-9) if near else expected)


@pytest.mark.filterwarnings("ignore:This .* was saved by skvae:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("name", golden.NAMES)
def test_files_of_a_release(name, tmp_path):
    """Read to the last bit, which outputs are not on every processor."""
    expected = json.loads((golden.FOLDER / "expected.json").read_text("utf-8"))[name]
    path = golden.FOLDER / f"{name}.skvae"
    model = skvae.load(path)
    _assert_near(golden.said(model, golden.as_rows(expected["rows"])), expected["said"])
    model.save(tmp_path / "again")
    (head, tensors), (old, olds) = (files.read(os.fspath(p)) for p in (tmp_path / "again", path))
    for key, value in old["state"].items():  # later releases may have further parameters
        assert _unversioned(head["state"][key]) == _unversioned(value)
    for key, array in olds.items():
        np.testing.assert_array_equal(tensors[key], array, strict=True)
    assert path.stat().st_size < 60_000


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

    monkeypatch.setattr(persistence, "versions", lambda: {**stamp, "skvae": "99.0"})
    for read in (lambda: pickle.loads(pickled), lambda: skvae.load(tmp_path / "file")):
        with pytest.warns(UserWarning, match="saved by skvae .* loaded by 99.0"):
            again = read()
        np.testing.assert_array_equal(again.components_, model.components_)
    monkeypatch.setattr(persistence, "versions", lambda: {**stamp, "numpy": "99.0"})
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
    with pytest.raises(ValueError, match=r"earlier version of skvae .*fit the estimator and save"):
        load(tmp_path / "file")
    with pytest.raises(
        ValueError, match=r"This VAE was saved in the format of an earlier version of skvae"
    ):
        skvae.VAE(1).__setstate__({"_spec": {}, "_weights": {}})


def test_a_newer_format_is_refused(monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        context.setattr(persistence, "_FORMAT", 99)
        Holder("new").save(tmp_path / "file")
    with pytest.raises(
        ValueError, match=r"format 99, but this version of skvae reads format .*upgrade skvae"
    ):
        load(tmp_path / "file")

    def encode(value, path, tensors):
        return {"novelty": 1}

    with monkeypatch.context() as context:
        context.setattr(persistence, "encode", encode)
        Holder().save(tmp_path / "file")
    with pytest.raises(ValueError, match="'novelty', which this version of skvae cannot read"):
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
    with pytest.raises(ValueError, match="not written by skvae"):
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
    path, last = tmp_path / "file", skvae.PPCA(1).fit(table())
    last.save(path)
    for _ in crafted.killed_saves(path, np.linspace(0.0, 0.05, 12)):
        assert skvae.load(path).mean_.shape in ((crafted.WIDTH,), (5,))
        last.save(path)
        assert os.listdir(tmp_path) == ["file"]  # what the killed one left is gone


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    Holder().save(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def _listing(folder):
    return sorted(os.listdir(folder))


@pytest.mark.skipif(files._locks is None, reason="needs locks")
def test_litter_of_the_dead_goes_and_that_of_the_living_stays(tmp_path):
    path = tmp_path / "file"
    dead, other = f".file.{'0' * 32}.tmp", f".another.{'1' * 32}.tmp"
    kept = [other, ".file.tmp", f".file.{'2' * 31}.tmp", f"file.{'3' * 32}.tmp"]
    for name in (dead, *kept):
        (tmp_path / name).write_bytes(b"half of a model")
    with files._temporary(str(tmp_path), "file") as (_, living):
        Holder("new").save(path)
        assert os.path.exists(living)
        assert _listing(tmp_path) == sorted([os.path.basename(living), "file", *kept])
        os.unlink(living)
    assert load(path).parameter == "new"


@pytest.mark.skipif(files._locks is None, reason="needs locks")
def test_a_save_that_was_taken_for_dead_begins_again(tmp_path, monkeypatch):
    """Another save removes its file after it was made and before it was locked."""
    taken, hold = [], files._holds_own

    def late(descriptor, path):
        if not taken:
            taken.append(path)
            os.unlink(path)
        return hold(descriptor, path)

    monkeypatch.setattr(files, "_holds_own", late)
    Holder("new").save(tmp_path / "file")
    assert load(tmp_path / "file").parameter == "new"
    assert _listing(tmp_path) == ["file"]


def test_saves_at_once(tmp_path):
    """Threads over one path: each file is whole, and nothing is left beside it."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: Holder(i).save(tmp_path / "file"), range(80)))
    assert load(tmp_path / "file").parameter in range(80)
    assert _listing(tmp_path) == ["file"]


# -- files of strangers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Fitted models by name, each with rows, and the parts of its file."""
    folder, found = tmp_path_factory.mktemp("strangers"), {}
    for name, (model, X) in crafted.models().items():
        model.save(folder / "file")
        found[name] = (model, X, *files.read(os.fspath(folder / "file")))
    return found


@pytest.mark.parametrize("what", crafted.CRAFTED)
def test_crafted_states(what, strangers, tmp_path):
    start, change = crafted.CRAFTED[what]
    head, tensors = copy.deepcopy(strangers[start][2:])
    change((head, tensors))
    crafted.put(tmp_path / "file", head, tensors)
    modules = set(sys.modules)
    reading = crafted.Reading(tmp_path / "file")
    assert reading.is_refused, reading.error
    assert reading.is_cheap, (reading.seconds, reading.memory)
    assert not {name for name in set(sys.modules) - modules if "test" in name}


@pytest.mark.parametrize("what", crafted.BYTES)
def test_crafted_bytes(what, tmp_path):
    (tmp_path / "file").write_bytes(crafted.BYTES[what])
    reading = crafted.Reading(tmp_path / "file")
    assert reading.is_refused, reading.error
    assert reading.is_cheap, (reading.seconds, reading.memory)


@pytest.mark.parametrize("name", crafted.MODELS)
def test_files_changed_by_chance(name, strangers, tmp_path):
    """Refused, or read as a model with names of its own that works, or says what is wrong."""
    _, X, head, tensors = strangers[name]
    rng = np.random.default_rng(crafted.MODELS.index(name))
    for _ in range(30):
        crafted.put(tmp_path / "file", *crafted.mutated(head, tensors, rng))
        reading = crafted.Reading(tmp_path / "file")
        assert reading.is_cheap, (reading.seconds, reading.memory)
        if reading.model is None:
            assert reading.is_refused, reading.error
            continue
        assert not crafted.foreign_names(reading.model)
        with warnings.catch_warnings(), np.errstate(all="ignore"), suppress(ValueError):
            warnings.simplefilter("ignore")
            crafted.use(reading.model, X)


def test_a_large_foreign_file_is_not_read(tmp_path):
    """Eight sparse gigabytes, of which nothing but the header matters."""
    path, size = tmp_path / "file", 8 << 30
    entry = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    header = json.dumps(entry).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    reading = crafted.Reading(path)
    assert "not written by skvae" in str(reading.error)
    assert reading.seconds < 2.0
    assert reading.memory < 100_000_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        load(tmp_path / "pipe")


@each_learner_dressed
def test_every_fitted_attribute_is_declared(estimator):
    """Or it would be lost: `save` refuses what is not in `_fitted_attributes`."""
    model = fitted(estimator)
    names = set(model.__getstate__()) - set(model.get_params(deep=False)) - {"_versions"}
    assert names <= set(fitted_attributes(type(model)))


def test_what_load_would_refuse_is_not_saved(tmp_path):
    for change in ({"colour_": 1}, {"offset_": "low"}, {"mean_": np.zeros(3)}):
        model = copy.copy(skvae.PPCA(2).fit(table()))
        vars(model).update(change)
        with pytest.raises(ValueError, match=rf"PPCA\.save cannot write.*{next(iter(change))}"):
            model.save(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_parameters_are_the_business_of_fit_until_there_is_one(tmp_path):
    """Bad ones of an unfitted estimator are kept; those of a fitted one can be replaced."""
    assert _save(skvae.PPCA("many"), tmp_path).n_components == "many"
    skvae.PPCA(2).fit(table()).set_params(tol=-1.0).save(tmp_path / "file")
    with pytest.raises(ValueError, match="'tol' parameter of PPCA"):
        skvae.load(tmp_path / "file")
    assert skvae.load(tmp_path / "file", tol=1e-3).tol == 1e-3


def test_a_parameter_that_is_younger_than_the_file(tmp_path):
    model = skvae.PPCA(2).fit(table())
    model.save(tmp_path / "file")
    head, tensors = files.read(os.fspath(tmp_path / "file"))
    del head["state"]["solver"]
    crafted.put(tmp_path / "file", head, tensors)
    assert skvae.load(tmp_path / "file").solver == "auto"


class OwnDensity(KernelDensity):
    pass


class OwnModel(skvae.PPCA):
    def _finish(self, source, unseen=()):
        super()._finish(source, unseen)
        self.n_rows_ = source.n_rows


def test_classes_of_ones_own(tmp_path):
    """Those derived from ours are read once imported, others where the caller says so."""
    own = _save(OwnModel(2).fit(table()), tmp_path)
    assert (type(own), own.n_rows_) == (OwnModel, 120)
    own.noise_ = lambda: 0
    with pytest.raises(TypeError, match="noise_"):
        own.save(tmp_path / "file")
    del own.noise_
    own.note = 3
    with pytest.raises(ValueError, match="end in an underscore"):
        own.save(tmp_path / "file")

    model = make(skvae.Autoencoder, latent_density=OwnDensity()).fit(table())
    model.save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"OwnDensity.*classes=\[\.\.\.\]"):
        skvae.load(tmp_path / "file")
    again = skvae.load(tmp_path / "file", classes=[OwnDensity])
    assert_same(outputs(again), outputs(model))
    skvae.Autoencoder(latent_density=OwnDensity()).save(tmp_path / "file")
    assert skvae.load(tmp_path / "file", latent_density=None).latent_density is None


def test_html_shows_strings_of_a_file_as_text(tmp_path):
    script = "<script>alert(1)</script>"
    frame = pd.DataFrame(table(), columns=[script, *"wxyz"])
    model = _save(skvae.PPCA(2).fit(frame).set_params(solver="auto"), tmp_path)
    assert script not in model._repr_html_()
    assert script not in _save(skvae.PPCA(script), tmp_path)._repr_html_()
