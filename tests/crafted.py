"""Files as a stranger might make them: changed by chance, or on purpose, with their digest right.

What is changed is the parsed head and the arrays; `put` hashes them anew.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
import torch
from sklearn.base import BaseEstimator
from sklearn.mixture import BayesianGaussianMixture
from sklearn.neighbors import KernelDensity

import skvae
from skvae.contract.classes import fitted_attributes
from skvae.tables.files import digest, dumps

Parts = tuple[dict[str, Any], dict[str, np.ndarray]]


def put(path: Any, head: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Write a file with the digest of what is in it."""
    head = {k: v for k, v in head.items() if k != "digest"}
    head["digest"] = digest(head, tensors)
    data = safetensors.numpy.save(tensors, metadata={"skvae": dumps(head)})
    with open(path, "wb") as file:
        file.write(data)


# -- models to begin with -------------------------------------------------------------------------


def people(n: int = 150) -> pd.DataFrame:
    """A table of numbers, labels and holes."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, n)
    frame = pd.DataFrame(
        {
            "age": age.astype(float),
            "hours": np.where(rng.random(n) < 0.4, 40.0, rng.normal(38.0, 9.0, n).round(1)),
            "work": pd.Categorical.from_codes(rng.integers(0, 3, n), ["farm", "office", "shop"]),
            "owns": age + rng.normal(0.0, 20.0, n) > 50.0,
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "work"] = np.nan
    return frame


def rows(n: int = 120, d: int = 4) -> np.ndarray:
    """Correlated numbers."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.1 * rng.normal(size=(n, d))


MODELS = [
    "VAE, a table",
    "VAE, images",
    "VAE, a flow",
    "VAE, pseudo-inputs",
    "ConditionalVAE",
    "PPCA",
    "Autoencoder, a kernel density",
    "RAE, a mixture",
    "HuberEnergyVAE, a Bayesian mixture",
    "TwoStageVAE, PPCA",
    "InfoGAN",
]


def models() -> dict[str, tuple[Any, Any]]:
    """Small fitted models of several kinds, each with rows that it takes."""
    quick: dict[str, Any] = {
        "hidden_layer_sizes": (6,),
        "max_iter": 3,
        "random_state": 0,
        "n_importance_samples": 2,
    }
    X, frame = rows(), people()
    y = np.where(X[:, 0] > 0.0, "high", "low")
    images = np.random.default_rng(2).random((60, 1, 6, 6))
    table = skvae.TableOptions(marginals="quantile")
    network = skvae.NetworkOptions(hidden_channels=(2,))
    made: dict[str, tuple[Any, Any, Any]] = {
        "VAE, a table": (skvae.VAE(2, table=table, **quick), frame, None),
        "VAE, images": (skvae.VAE(2, network=network, **quick), images, None),
        "VAE, a flow": (skvae.VAE(2, prior="flow", **quick), X, None),
        "VAE, pseudo-inputs": (skvae.VAE(2, prior="vamp", prior_size=3, **quick), X, None),
        "ConditionalVAE": (skvae.ConditionalVAE(2, **quick), X, y),
        "PPCA": (skvae.PPCA(2, random_state=np.random.RandomState(0)), X, None),
        "Autoencoder, a kernel density": (
            skvae.Autoencoder(2, latent_density=KernelDensity(), **quick),
            X,
            None,
        ),
        "RAE, a mixture": (skvae.RAE(2, decoder_penalty="spectral_norm", **quick), X, None),
        "HuberEnergyVAE, a Bayesian mixture": (
            skvae.HuberEnergyVAE(
                2, latent_density=BayesianGaussianMixture(n_components=2), **quick
            ),
            X,
            None,
        ),
        "TwoStageVAE, PPCA": (skvae.TwoStageVAE(2, latent_density=skvae.PPCA(1), **quick), X, None),
        "InfoGAN": (
            skvae.InfoGAN(2, n_categories=2, hidden_layer_sizes=(6,), max_iter=3, random_state=0),
            X,
            None,
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: (model.fit(X, y), X[:9]) for name, (model, X, y) in made.items()}


# -- saves that are killed --------------------------------------------------------------------

_NURSERY = """
import os, sys
import numpy as np
import skvae
models = [skvae.PPCA(1).fit(np.arange(4e5).reshape(4, -1) ** (s + 1)) for s in (0, 1)]
for _ in sys.stdin:
    pid = os.fork()
    while pid == 0:
        for model in models:
            model.save(sys.argv[1])
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("dead", flush=True)
"""
WIDTH = 100_000  # features of the models that are saved


def killed_saves(path: Any, delays: Iterable[float]) -> Iterator[None]:
    """Processes that save over a file without end, each killed after so many seconds."""
    command = [sys.executable, "-W", "ignore", "-c", _NURSERY, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        assert nursery.stdin is not None and nursery.stdout is not None
        for delay in delays:
            print(file=nursery.stdin, flush=True)
            pid = int(nursery.stdout.readline())
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            nursery.stdout.readline()
            yield
        nursery.stdin.close()


# -- what has been read ---------------------------------------------------------------------------


def foreign_names(estimator: BaseEstimator) -> set[str]:
    """Names that are on an estimator, or on one inside, without being its own."""
    cls = type(estimator)
    own = {*cls._get_param_names(), *fitted_attributes(cls)}
    own |= {"_predictor_", "_sklearn_output_config", "_sklearn_version"}
    found = set(vars(estimator)) - own
    for value in vars(estimator).values():
        if isinstance(value, BaseEstimator):
            found |= foreign_names(value)
    return found


def use(model: Any, X: Any) -> None:
    """Call what a user calls."""
    repr(model)
    with torch.random.fork_rng():  # zuko draws random numbers when a flow is printed
        model._repr_html_()
    model.sample(3, random_state=0)
    if hasattr(model, "transform"):
        model.inverse_transform(model.transform(X))
    if hasattr(model, "score_samples"):
        model.score_samples(X)
        model.reconstruct(X)
        model.posterior(X)
    for method in ("predict", "predict_proba", "impute"):
        if hasattr(model, method):
            getattr(model, method)(X)


def high_water() -> int | None:
    """The most memory that this process has had since the last call, in bytes, where Linux says."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except (OSError, StopIteration):
        return None
    return 1024 * found


class Reading:
    """One try to read a file: what came of it, and what it took."""

    def __init__(self, path: Any):
        self.model: Any = None
        self.error: Exception | None = None
        high_water()
        before, start = high_water(), time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.model = skvae.load(path)
        except Exception as error:
            self.error = error
        self.seconds = time.perf_counter() - start
        after, size = high_water(), os.path.getsize(path)
        self.memory = 0 if before is None or after is None else after - before
        self.is_cheap = self.seconds <= 2.0 and self.memory <= 2 * size + 100_000_000

    @property
    def is_refused(self) -> bool:
        """Whether it was refused as the documentation says."""
        return isinstance(self.error, ValueError) and len(str(self.error)) > 20


# -- changes by chance ----------------------------------------------------------------------------

_ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 1000, 10**9, 2**31, 2**63, -(2**70), 0.5, -1.5, 1e300,
    "", "x", "fit", "float32", "<script>alert(1)</script>", "a" * 5000, "ü\u2028",
    [], {}, [[]], [1, 2, 3], ["a"], {"float": "nan"}, {"float": "inf"}, {"float": "1e5"},
    {"tuple": []}, {"tuple": [1, 2]}, {"dict": []}, {"dict": [["a", 1]]}, {"array": ["x", "C"]},
    {"scalar": ["x", "C"]}, {"text": ["<U9", [1], ["a"]]}, {"text": ["<U999999999", [1], ["a"]]},
    {"estimator": ["skvae.estimators.vae.VAE", {"dict": []}]},
    {"estimator": ["sklearn.pipeline.Pipeline", {"dict": []}]},
    {"estimator": ["sklearn.mixture._gaussian_mixture.GaussianMixture", {"dict": []}]},
    {"RandomState": {"tuple": ["MT19937", [], 1, 0, 0.0]}}, {"novelty": 1}, {"a": 1, "b": 2},
]  # fmt: skip
_NAMES = ["fit", "predict", "_doc_link_template", "__class__", "__dict__", "_repr_html_", "x", "x_"]


def _nodes(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in JSON."""
    yield at
    if isinstance(node, dict):
        for key, item in node.items():
            yield from _nodes(item, (*at, key))
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _nodes(item, (*at, i))


def _get(node: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        node = node[key]
    return node


def mutated(head: dict[str, Any], tensors: dict[str, np.ndarray], rng: Any) -> Parts:
    """The parts of a file, changed in one place or two."""
    head, tensors = copy.deepcopy(head), dict(tensors)
    for _ in range(rng.choice([1, 1, 2])):
        if tensors and rng.random() < 0.35:
            _change_array(tensors, rng)
        else:
            _change_value(head, rng)
    return head, tensors


def _change_value(head: dict[str, Any], rng: Any) -> None:
    paths = list(_nodes(head.get("state")))[1:]
    if rng.random() < 0.1 or not paths:
        paths = [(key,) for key in head]
        root: Any = head
    else:
        root = head["state"]
    at = paths[rng.integers(len(paths))]
    parent, key = _get(root, at[:-1]), at[-1]
    what = rng.integers(8)
    if what <= 2:
        parent[key] = copy.deepcopy(_ODD[rng.integers(len(_ODD))])
    elif what == 3:  # what stands elsewhere
        parent[key] = copy.deepcopy(_get(root, paths[rng.integers(len(paths))]))
    elif what == 4:
        del parent[key]
    elif what == 5:
        if isinstance(parent, dict):
            parent[_NAMES[rng.integers(len(_NAMES))]] = parent.pop(key)
        else:
            parent.insert(key, copy.deepcopy(parent[key]))
    elif what == 6 and root is not head:
        root[_NAMES[rng.integers(len(_NAMES))]] = _ODD[rng.integers(len(_ODD))]
    elif isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = [parent[key] + 1, -parent[key], parent[key] * 1000, 0.5][rng.integers(4)]
    else:
        parent[key] = [parent[key]]


def _change_array(tensors: dict[str, np.ndarray], rng: Any) -> None:
    name = list(tensors)[rng.integers(len(tensors))]
    array = tensors[name].copy()
    what = rng.integers(8)
    if what == 0:
        del tensors[name]
        return
    if what == 1:
        tensors[name + "x"] = tensors.pop(name)
        return
    if what == 2:
        array = array.astype(["f4", "f8", "f2", "i8", "u1", "?"][rng.integers(6)])
    elif what == 3:
        array = array.reshape(-1)[: max(0, array.size - 1)]
    elif what == 4:
        array = np.concatenate([array.reshape(1, -1)] * 2)
    elif what == 5:
        array = array.reshape(*array.shape, 1)
    elif array.size:
        odd = [0, -1, 1, 2**30, np.nan, np.inf, -np.inf, 1e-30, -1e30]
        with np.errstate(all="ignore"):
            value = np.array(odd[rng.integers(len(odd))]).astype(array.dtype)
        if what == 6:
            array.reshape(-1)[rng.integers(array.size)] = value
        else:
            array[...] = value
    tensors[name] = np.ascontiguousarray(array).reshape(array.shape)


# -- changes on purpose ---------------------------------------------------------------------------


def _state(**values: Any) -> Callable[[Parts], None]:
    return lambda parts: parts[0]["state"].update(values)


def _head(**values: Any) -> Callable[[Parts], None]:
    return lambda parts: parts[0].update(values)


def _pairs(head: dict[str, Any], *path: str) -> dict[str, Any]:
    """A dictionary of the state as one that can be changed; `_put_pairs` writes it back."""
    node = head["state"][path[0]]
    for key in path[1:]:
        node = dict(map(tuple, node["dict"]))[key]
    return node


def _inside(*path: str, value: Any) -> Callable[[Parts], None]:
    """Set what lies deep in the state."""

    def change(parts: Parts) -> None:
        node = _pairs(parts[0], *path[:-1])
        for pair in node["dict"]:
            if pair[0] == path[-1]:
                pair[1] = value
                return
        node["dict"].append([path[-1], value])

    return change


def _array(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Parts], None]:
    def changed(parts: Parts) -> None:
        parts[1][name] = np.ascontiguousarray(change(parts[1][name].copy()))

    return changed


def _random_state(position: Any = 3, gauss: Any = 0.0, name: str = "MT19937", n: int = 624):
    def change(parts: Parts) -> None:
        parts[0]["state"]["random_state"] = {
            "RandomState": {"tuple": [name, {"array": ["keys", "C"]}, position, 0, gauss]}
        }
        parts[1].pop("random_state.1", None)
        parts[1]["keys"] = np.zeros(n, np.uint32)

    return change


def _spec(**values: Any) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        for name, value in values.items():
            _inside("_fitted_", "spec", name, value=value)(parts)

    return change


def _nested(depth: int) -> Any:
    node: Any = 0
    for _ in range(depth):
        node = [node]
    return node


def _kernel_density(**values: Any) -> Callable[[Parts], None]:
    """Parameters of the density in its state."""

    def change(parts: Parts) -> None:
        _, (_, _, _, state) = parts[0]["state"]["latent_density_"]["tree_estimator"]
        state["dict"] = [p for p in state["dict"] if p[0] not in values]
        state["dict"] += [[key, value] for key, value in values.items()]

    return change


def _both(*changes: Callable[[Parts], None]) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        for each in changes:
            each(parts)

    return change


_TABLE, _IMAGES, _PLAIN = "VAE, a table", "VAE, images", "VAE, pseudo-inputs"
_KERNEL, _MIXTURE, _LABELS = "Autoencoder, a kernel density", "RAE, a mixture", "ConditionalVAE"
_SCRIPT = "<script>alert(1)</script>"
_GAUSSIAN = "sklearn.mixture._gaussian_mixture.GaussianMixture"

# By what is wrong: the model to begin with, and the change.
CRAFTED: dict[str, tuple[str, Callable[[Parts], None]]] = {
    "a link of HTML": ("PPCA", _state(_doc_link_template=_SCRIPT)),
    "a module of links": ("PPCA", _state(_doc_link_module="x")),
    "a method": ("PPCA", _state(fit=3)),
    "a private method": (_PLAIN, _state(_learn=3)),
    "a class": ("PPCA", _state(__class__="x")),
    "a property": (_PLAIN, _state(module_=3)),
    "a name of nothing": ("PPCA", _state(colour_=3)),
    "a predictor": (_PLAIN, _state(_predictor_=3)),
    "constraints": ("PPCA", _state(_parameter_constraints={"dict": []})),
    "a representation": ("PPCA", _state(_repr_html_=_SCRIPT)),
    "routing": ("PPCA", _state(_metadata_request={"dict": []})),
    "a position of 1e9": ("PPCA", _random_state(10**9)),
    "a negative position": ("PPCA", _random_state(-1)),
    "too few keys": ("PPCA", _random_state(n=623)),
    "another generator": ("PPCA", _random_state(name="PCG64")),
    "an infinite normal": ("PPCA", _random_state(gauss={"float": "inf"})),
    "wide layers": (_PLAIN, _spec(hidden=[30_000, 30_000])),
    "wide layers of a flow": ("VAE, a flow", _spec(hidden=[30_000, 30_000])),
    "many layers": (_PLAIN, _spec(hidden=[1] * 100_000)),
    "a layer of text": (_PLAIN, _spec(hidden=["a"])),
    "a negative layer": (_PLAIN, _spec(hidden=[-1])),
    "many components": (_PLAIN, _spec(n_components=10**6)),
    "components everywhere": (
        "VAE, a flow",
        _both(_spec(n_components=10**6), _state(n_components_=10**6)),
    ),
    "many features": (_PLAIN, _spec(n_features=10**9)),
    "many pseudo-inputs": (
        _PLAIN,
        lambda p: _inside("_fitted_", "spec", "method", "prior_size", value=10**9)(p),
    ),
    "another prior": (
        _PLAIN,
        lambda p: _inside("_fitted_", "spec", "method", "prior", value="fit")(p),
    ),
    "many channels": (_IMAGES, _spec(channels=[60_000])),
    "many stages": (_IMAGES, _spec(channels=[1] * 200)),
    "other images": (_IMAGES, _spec(image_shape=[1, 1, 36])),
    "an activation": (_PLAIN, _spec(activation="__class__")),
    "many columns": (_TABLE, _inside("_format_", "n_columns", value=10**10)),
    "wide cells": (
        _TABLE,
        _inside("_format_", "columns", "dtype", value=["<U999999999"] * 4),
    ),
    "a class of a billion": (
        _TABLE,
        lambda p: _pairs(p[0], "_fitted_", "schema", "kinds")[2][1].__setitem__(-1, 1e9),
    ),
    "a marginal that falls": (
        _TABLE,
        lambda p: [
            p[1].__setitem__(name, a[::-1].copy())
            for name, a in p[1].items()
            if "marginals.0.2" in name
        ],
    ),
    "no scale": (_PLAIN, _array("_fitted_.schema.scale", np.zeros_like)),
    "no number": (_PLAIN, _array("_fitted_.schema.location", lambda a: a * np.nan)),
    "wide text": (
        _LABELS,
        _state(classes_={"text": ["<U1000000000", [2], ["high", "low"]]}),
    ),
    "text of another shape": (_LABELS, _state(classes_={"text": ["<U4", [2**40], ["a", "b"]]})),
    "labels not in order": (_LABELS, _state(classes_={"text": ["<U4", [2], ["low", "high"]]})),
    "one label more": (_LABELS, _state(classes_={"text": ["<U4", [3], ["a", "b", "c"]]})),
    "a threshold of text": ("PPCA", _state(offset_="0")),
    "no threshold": ("PPCA", lambda p: p[0]["state"].pop("offset_")),
    "no noise": ("PPCA", _state(noise_variance_=0.0)),
    "axes of another table": ("PPCA", _array("components_", lambda a: a[:1])),
    "a module to import": ("PPCA", _head(**{"class": "sklearn.tests.test_base.MyEstimator"})),
    "a class of scikit-learn": ("PPCA", _head(**{"class": "sklearn.svm._classes.SVC"})),
    "a function": ("PPCA", _head(**{"class": "skvae.contract.persistence.load"})),
    "an abstract class": ("PPCA", _head(**{"class": "skvae.estimators.base.LearnedModel"})),
    "a newer format": ("PPCA", _head(format=99)),
    "format 0": ("PPCA", _head(format=0)),
    "a format of True": ("PPCA", _head(format=True)),
    "parameters that it lacks": ("PPCA", _head(supplied=["fit"])),
    "deep values": ("PPCA", _state(tol=_nested(900))),
    "slow keys": (
        "PPCA",
        _state(tol={"dict": [[i * (2**61 - 1), 0] for i in range(1, 30_000)]}),
    ),
    "a list as a key": ("PPCA", _state(tol={"dict": [[[1], 2]]})),
    "an array twice": ("PPCA", _state(loadings_={"array": ["components_", "C"]})),
    "a leaf of nothing": (_KERNEL, _kernel_density(leaf_size=0)),
    "a metric": (_KERNEL, _kernel_density(metric="pyfunc")),
    "a bandwidth": (_KERNEL, _kernel_density(bandwidth_=-1.0)),
    "a method of a density": (_KERNEL, _kernel_density(sample="x")),
    "shares of nothing": (_MIXTURE, _array("latent_density_.weights_", lambda a: -a)),
    "a mixture of others": (_MIXTURE, _array("latent_density_.means_", lambda a: a[:, :1])),
    "a mixture as the model": ("PPCA", _head(**{"class": _GAUSSIAN})),
    "a density that is none": (
        _MIXTURE,
        _state(
            latent_density_={"estimator": ["skvae.estimators.options.NetworkOptions", {"dict": []}]}
        ),
    ),
    "draws without end": (_PLAIN, _state(n_importance_samples=2**31)),
    "a rate of learning": (_PLAIN, _state(learning_rate_init="fast")),
    "moments of others": (
        _PLAIN,
        _array("_fitted_.training.optimisers.0.0", lambda a: a[:1]),
    ),
    "a weight of nothing": (
        _PLAIN,
        _array("_fitted_.weights.decoder.network.layers.0.weight", lambda a: a * np.nan),
    ),
}


# -- bytes ----------------------------------------------------------------------------------------


def _file(header: Any, rest: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def _entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _with(entries: dict[str, Any], rest: bytes) -> bytes:
    """A file with arrays of some kind, whose head is one of ours."""
    return _file({"__metadata__": {"skvae": '{"format":4}'}, **entries}, rest)


BYTES: dict[str, bytes] = {
    "nothing": b"",
    "a header of 2^63 bytes": struct.pack("<Q", 2**63),
    "a header that ends": struct.pack("<Q", 1000) + b"{}",
    "brackets": _file(b"[" * 1_000_000),
    "many lists": _file(b"[" + b"[]," * 3_000_000 + b"0]"),
    "many dictionaries": _file(b"[" + b'{"a":{}},' * 1_000_000 + b"0]"),
    "long text": _file({"__metadata__": {"skvae": "[" + "0," * 4_000_000 + "0]"}}),
    "a snake": _file('{"__metadata__": {"skvae": "\U0001f40d'.encode() + b"a" * 9_000_000 + b'"}}'),
    "a number": _file(b"9" * 100_000),
    "text that is none": _file(b"\xff\xfe"),
    "bfloat16": _with({"a": _entry("BF16", [1], 0, 2)}, b"\0\0"),
    "float8": _with({"a": _entry("F8_E4M3", [1], 0, 1)}, b"\0"),
    "a bool of 2": _with({"a": _entry("BOOL", [1], 0, 1)}, b"\2"),
    "an overlap": _with({"a": _entry("U8", [4], 0, 4), "b": _entry("U8", [4], 0, 4)}, bytes(4)),
    "a hole": _with({"a": _entry("U8", [1], 1, 2)}, bytes(2)),
    "a huge array": _with({"a": _entry("F64", [2**40], 0, 2**43)}, bytes(8)),
    "a negative shape": _with({"a": _entry("U8", [-1], 0, 1)}, bytes(1)),
    "a hundred axes": _with({"a": _entry("U8", [1] * 100, 0, 1)}, bytes(1)),
    "an empty giant": _with({"a": _entry("U8", [0, 2**62, 2**62], 0, 0)}, b""),
    "a foreign file": _file({"a": _entry("U8", [1], 0, 1)}, bytes(1)),
    "a list for a head": _file({"__metadata__": {"skvae": "[]"}}),
    "NaN for a head": _file({"__metadata__": {"skvae": '{"format":NaN}'}}),
}  # fmt: skip
