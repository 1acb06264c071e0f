"""Cases of a fuzzer: any parameters, any tables, any public method, and what is made of a call.

Every call must work, or refuse its input by a message that a user can act on. The tool is
`benchmarks/fuzz.py`; `test_every_call_works_or_says_why` makes some of the same calls.
"""

from __future__ import annotations

import inspect
import linecache
import math
import random
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from conftest import global_state  # first: it sets the threads

# ruff: isort: split
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch
from contracts import build, estimator_classes
from frames import people
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.utils._param_validation import StrOptions, make_constraint

import skvae
from skvae import NetworkOptions, TableOptions, TrainingOptions
from skvae.contract.density import BaseLatentModel
from skvae.contract.outliers import BaseAutoencoder

Random = random.Random
F4, F8 = np.finfo(np.float32), np.finfo(np.float64)
WILD = [1e19, -1e25, 1e30, F4.max, F4.min, 1e160, -1e300, F8.max, F8.min]
FAR = 1e19


# -- tables ---------------------------------------------------------------------------------------


@dataclass
class Given:
    """A table that is handed in."""

    X: Any
    n: int  # rows
    kind: str  # for the report
    tame: Any = None  # the same without wild cells, where there are such
    wild: np.ndarray | None = None  # which rows (n,) have them


def plain_rows(r: Random, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(r.randrange(100))
    angle = rng.normal(size=(n, 2))
    X = np.hstack([angle, np.sin(2.0 * angle), angle**2])[:, :d] + 0.1 * rng.normal(size=(n, d))
    return X * np.logspace(-1, 2, d) + np.linspace(-50.0, 50.0, d)


def spoil(r: Random, X: np.ndarray, kind: str) -> np.ndarray:
    """Numbers (n, d) with something unusual."""
    (n, d), i, j = X.shape, r.randrange(len(X)), r.randrange(X.shape[1])
    X = X.copy()
    if kind == "units":
        X *= 10.0 ** np.array([r.randint(-290, 290) for _ in range(d)])
    elif kind == "offset":
        X += r.choice([1e3, -1e9, 1e15])
    elif kind == "constant":
        X[:, j] = r.choice([0.0, 1.0, -1e300, 5e-324])
    elif kind == "few":
        X = np.rint(X / 10.0 ** np.arange(d))
    elif kind == "spiked":
        X[np.random.default_rng(r.randrange(99)).random(n) < 0.7, j] = 0.0
    elif kind == "cell":
        X[i, j] = r.choice([*WILD, 1e5, 5e-324])
    elif kind == "row":
        X[i] = r.choice([*WILD, 1e5])
    elif kind == "holes":
        X[np.random.default_rng(r.randrange(99)).random((n, d)) < 0.2] = np.nan
    elif kind == "empty column":
        X[:, j] = np.nan
    elif kind == "empty row":
        X[i] = np.nan
    elif kind == "infinity":
        X[i, j] = r.choice([math.inf, -math.inf])
    elif kind == "unit range":
        X = 1.0 / (1.0 + np.exp(-X))
    return X


SPOILT = "units offset constant few spiked cell cell row holes holes infinity".split()
SPOILT += ["empty column", "empty row", "unit range"]


def whole(X: np.ndarray, dtype: str) -> np.ndarray:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.nan_to_num(X).clip(max(low, -(2**53)), min(high, 2**53)).astype(dtype)


def frame(X: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])


CONTAINERS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "longdouble": lambda X: X.astype(np.longdouble),
    "int64": lambda X: whole(X, "int64"),
    "int8": lambda X: whole(X, "int8"),
    "uint8": lambda X: whole(X, "uint8"),
    "bool": lambda X: X > 0,
    "object": lambda X: X.astype(object),
    "strings": lambda X: X.astype(str),
    "list": lambda X: X.tolist(),
    "tuples": lambda X: tuple(map(tuple, X.tolist())),
    "list of arrays": list,
    "decimals": lambda X: [[Decimal(str(v)) for v in row] for row in X.tolist()],
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "big endian": lambda X: X.astype(">f8"),
    "tensor": lambda X: torch.from_numpy(np.ascontiguousarray(X)),
    "masked": lambda X: np.ma.masked_greater(X, 60.0),
    "memory view": lambda X: memoryview(np.ascontiguousarray(X)),
    "pandas": frame,
    "pandas float32": lambda X: frame(X.astype(np.float32)),
    "pandas numbered": pd.DataFrame,
    "pandas int": lambda X: frame(whole(X, "int64")),
    "pandas Float64": lambda X: frame(X).convert_dtypes(),
    "pandas index": lambda X: frame(X).set_axis([f"row {i}" for i in range(len(X))]),
    "polars": lambda X: pl.DataFrame(X, schema=[f"c{j}" for j in range(X.shape[1])]),
    "pyarrow": lambda X: pa.Table.from_pandas(frame(X)),
}
EXACT = set(CONTAINERS) & set(
    "float64,object,list,tuples,fortran,strided,big endian,tensor,pandas,pandas index,"
    "pandas Float64,pandas numbered,polars,pyarrow,list of arrays".split(",")
)
TAME = {"plain", "few", "spiked", "constant", "offset", "unit range", "plain, holes", "holes"}
ILL: dict[str, Callable[[np.ndarray], Any]] = {
    "None": lambda X: None,
    "scalar": lambda X: 3.0,
    "numpy scalar": lambda X: np.float64(3.0),
    "text": lambda X: "abc",
    "one row": lambda X: X[:1],
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "1-D": lambda X: X[:, 0],
    "3-D": lambda X: X[None],
    "5-D": lambda X: X[None, None, None],
    "0-D": lambda X: np.array(1.0),
    "wide": lambda X: np.hstack([X, X]),
    "narrow": lambda X: X[:, 1:],
    "sparse": sparse.csr_array,
    "sparse matrix": sparse.csc_matrix,
    "complex": lambda X: X + 1j,
    "dates": lambda X: whole(X, "int64").view("M8[s]"),
    "ragged": lambda X: [*X.tolist(), [1.0] * (X.shape[1] + 1)],
    "empty list": lambda X: [],
    "empty lists": lambda X: [[], []],
    "mixed cells": lambda X: [["a", *row[1:]] for row in X.tolist()],
    "nothing": lambda X: [[None for _ in row] for row in X.tolist()],
    "dicts": lambda X: [{"a": v} for v in X[:, 0]],
    "dict": lambda X: {"a": [1, 2]},
    "set": lambda X: {1.0, 2.0},
    "generator": lambda X: (row for row in X),
    "function": lambda X: len,
    "bytes": lambda X: b"abc",
    "no numbers": lambda X: torch.empty(X.shape, device="meta"),
    "gradients": lambda X: torch.ones(X.shape, requires_grad=True),
    "big integers": lambda X: [[10**400 for _ in row] for row in X.tolist()],
    "structured": lambda X: np.zeros(len(X), [("a", "f8"), ("b", "i4")]),
    "series": lambda X: pd.Series(X[:, 0]),
    "no frame": lambda X: pd.DataFrame(),
    "same names": lambda X: pd.DataFrame(np.hstack([X, X]), columns=["a"] * 2 * X.shape[1]),
    "other names": lambda X: pd.DataFrame(X, columns=[f"z{j}" for j in range(X.shape[1])]),
    "levels": lambda X: pd.DataFrame(
        X, columns=pd.MultiIndex.from_tuples([("a", j) for j in range(X.shape[1])])
    ),
    "labels": lambda X: frame(X).assign(c0="label"),
    "lists in cells": lambda X: frame(X).assign(c0=[[1.0]] * len(X)),
    "lazy": lambda X: pl.LazyFrame(frame(X)),
}
people_of = cache(people)
PEOPLE: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda X: X,
    "polars": pl.from_pandas,
    "pyarrow": pa.Table.from_pandas,
    "objects": lambda X: X.to_numpy(object, na_value=None),
    "new label": lambda X: X.assign(city="Atlantis"),
    "fewer columns": lambda X: X.drop(columns="city"),
    "other order": lambda X: X[X.columns[::-1]],
    "other kinds": lambda X: X.assign(age="old", city=3.0),
    "all missing": lambda X: X.mask(np.ones(X.shape, bool)),
}
PEOPLE_EXACT = {"pandas", "polars", "pyarrow", "objects"}


@dataclass
class World:
    """Where the tables of a case come from: all have the same columns, mostly."""

    r: Random
    kind: str
    d: int
    trained_tame: bool = False  # on numbers without wild cells or odd units
    trained_on: str = ""

    def n_rows(self) -> int:
        return self.r.choice([1, 2, 3, 7, 20, 40, 60])

    def table(self, training: bool = False) -> Given:
        r = self.r
        n = r.choice([2, 20, 40, 60]) if training else self.n_rows()
        if self.kind == "people":
            return self._people(n, training)
        if self.kind == "images":
            return self._images(n)
        X = plain_rows(r, n, self.d)
        tame, spoilt = X, "plain"
        if r.random() < 0.6:
            spoilt = r.choice(SPOILT)
            X = spoil(r, X, spoilt)
            if r.random() < 0.3:
                holes = np.isnan(spoil(r, X, "holes"))
                X, tame = np.where(holes, np.nan, X), np.where(holes, np.nan, tame)
                spoilt = f"{spoilt}, holes"
        name = r.choice([*CONTAINERS]) if r.random() < 0.5 else "float64"
        if r.random() < (0.08 if training else 0.12):
            name = r.choice([*ILL])
            ill = ILL[name](X)
            return Given(ill, 1 if name == "one row" else n, f"ill: {name}")
        if training:
            self.trained_tame = spoilt in TAME and name in EXACT
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Given(CONTAINERS[name](X), n, f"{name}, {spoilt}")
        far = (np.abs(X) >= FAR).any(axis=1)
        if far.any() and spoilt.startswith(("cell", "row")) and name in EXACT:
            found.tame, found.wild = CONTAINERS[name](tame), far
        return found

    def _people(self, n: int, training: bool) -> Given:
        r = self.r
        tame = X = people_of(n, r.randrange(5), r.choice([0.0, 0.1]))
        name = r.choice([*PEOPLE]) if r.random() < 0.6 else "pandas"
        kept, wild = name in PEOPLE_EXACT, r.random() < 0.3
        if training:
            self.trained_tame = kept and not wild
        if not wild:
            return Given(PEOPLE[name](X), n, f"people, {name}")
        X, far = X.copy(), np.arange(n) == r.randrange(n)
        X.loc[far, r.choice(["income", "gain"])] = r.choice(WILD)
        found = Given(PEOPLE[name](X), n, f"people, {name}, cell")
        if kept:
            found.tame, found.wild = PEOPLE[name](tame), far
        return found

    def _images(self, n: int) -> Given:
        r = self.r
        X = np.random.default_rng(r.randrange(99)).random((n, *self.image_shape))
        spoilt = r.choice(["plain", "cell", "holes", "infinity", "units"])
        if spoilt != "plain":
            X = spoil(r, X.reshape(n, -1), spoilt).reshape(X.shape)
        ways: dict[str, Callable[[np.ndarray], Any]] = {
            "4-D": lambda X: X,
            "rows": lambda X: X.reshape(n, -1),
            "bytes": lambda X: whole(255.0 * X, "uint8"),
            "single": lambda X: X.astype(np.float32),
            "last": lambda X: np.moveaxis(X, 1, -1),
            "list": lambda X: X.tolist(),
            "3-D": lambda X: X[:, 0],
        }
        name = r.choice([*ways])
        with np.errstate(over="ignore"):
            return Given(ways[name](X), n, f"images, {name}, {spoilt}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1, 4, self.d)

    def labels(self, n: int) -> Any:
        r = self.r
        good: list[Callable[[], Any]] = [
            lambda: np.arange(n) % 2,
            lambda: np.array(["a", "b"])[np.arange(n) % 2],
            lambda: [bool(i % 2) for i in range(n)],
            lambda: pd.Series(np.arange(n) % 3),
        ]
        bad: list[Callable[[], Any]] = [
            lambda: None,
            lambda: 3,
            lambda: "abc",
            lambda: np.arange(n + 1) % 2,
            lambda: np.zeros((n, 2)),
            lambda: np.full(n, np.nan),
            lambda: np.linspace(0.0, 1.0, n),
            lambda: [(1, "a")[i % 2] for i in range(n)],
            lambda: [(1, None)[i % 2] for i in range(n)],
            lambda: [[1], [2, 3]],
            lambda: np.zeros(n, int),
            lambda: np.array([{}] * n),
            lambda: [10**400] * n,
            lambda: torch.zeros(n, device="meta"),
            lambda: [1j] * n,
        ]
        return r.choice(good)() if r.random() < 0.8 else r.choice(bad)()

    def codes(self, k: int) -> Any:
        r = self.r
        Z = np.random.default_rng(r.randrange(99)).normal(size=(self.n_rows(), k))
        if r.random() < 0.3:
            Z = spoil(r, Z, r.choice(["cell", "row", "infinity", "holes"]))
        with np.errstate(over="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if r.random() < 0.2:
                return r.choice([*ILL.values()])(Z)
            return r.choice([*CONTAINERS.values()])(Z)

    def given(self) -> Any:
        r = self.r
        if self.kind == "people":
            some: list[Any] = [{"city": "Rome"}, {"age": 30, "income": r.choice(WILD)}, {"city": 3}]
            some += [people_of(3, 1, 0.1)[["age", "size"]], {"since": "2020-01-01"}, {"size": None}]
        else:
            row = np.full((1, self.d), np.nan)
            row[0, r.randrange(self.d)] = r.choice([0.5, *WILD, math.inf])
            some = [{0: 1.0}, {0: r.choice(WILD)}, row, row[0], {0: math.inf}, {0: [1.0, 2.0, 3.0]}]
            some += [np.full((3, self.d), np.nan), {-1: 1.0}]
        some += [{}, {"no": 1}, {99: 1.0}, {0: "a"}, {0: {}}, 3, "abc", [1.0], {(): 1}, {0: [[1]]}]
        return r.choice(some)


# -- parameters -----------------------------------------------------------------------------------


def frozen(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(inputs, outputs).requires_grad_(False)


class Constant(torch.nn.Module):
    """Looks at nothing and learns nothing."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), self.outputs)


class Poison(torch.nn.Linear):
    """NaN for half of the rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.where(x[:, :1] < 0.0, math.nan, 1.0)


class Double(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).double()


def odd_values() -> list[Any]:
    """What somebody may hand in for a parameter."""
    numbers = [-1, 0, 1, 2, 3, 7, 0.0, 0.1, 0.5, 1.0, 1e-300, 1e300, math.nan, math.inf, 10**30]
    typed = [np.int8(2), np.uint8(1), np.int64(3), np.float32(0.5), np.float16(0.5), np.bool_(True)]
    arrays = [np.array(2), np.array([4, 4]), np.array([]), np.array([1, 4, 4], np.int8)]
    several = [(), (4,), [4], [4, 4], (1, 4, 4), {}, {1}, {"c0": "categorical"}, {0: "integer"}]
    words = ["auto", "abc", "", "cpu", "meta", "cuda:7", b"x"]
    others = [None, True, False, object(), 1j, Decimal("0.5"), Fraction(1, 2), -math.inf]
    others += [np.random.RandomState(0), np.random.default_rng(0)]
    densities = [KernelDensity(), KernelDensity(kernel="cosine"), GaussianMixture(2)]
    densities += [GaussianMixture, GaussianMixture(200), skvae.PPCA(1), skvae.PPCA("abc")]
    densities += [skvae.VAE(1, hidden_layer_sizes=(2,), max_iter=1), GaussianMixture("abc")]
    networks: list[Any] = [torch.nn.Linear, frozen, torch.nn.LSTM, Constant, Poison, Double, len]
    networks += [torch.nn.Linear(5, 4), torch.nn.Linear(2, 5), torch.nn.Identity()]
    networks += [lambda i, o: torch.nn.Sequential(torch.nn.Linear(i, o), torch.nn.BatchNorm1d(o))]
    networks += [lambda i, o: 3, lambda: None, lambda i, o: torch.nn.Linear(i, o, device="meta")]
    options = [TrainingOptions(noise_floor=1e300), NetworkOptions(activation=3), TableOptions()]
    return [
        *(*numbers, *typed, *arrays, *several, *words, *others),
        *(*densities, *networks, *options),
    ]


ENDLESS = {"max_iter", "n_importance_samples", "prior_size", "n_draws", "critic_steps"}
ENDLESS |= {"n_projections", "n_components", "n_categories", "n_continuous", "batch_size"}


def is_sane(name: str, value: Any) -> bool:
    """Whether a valid value is small enough for the time of a fuzzer."""
    if name in ENDLESS and isinstance(value, float | int | np.number):
        return value < 10 or value != value
    return True


def parameters(r: Random, cls: type[Any], wild: bool) -> dict[str, Any]:
    """Some parameters that satisfy their constraints, with `wild` some that need not."""
    constraints = cls._parameter_constraints
    known = sorted(inspect.signature(cls).parameters)
    values = odd_values()
    found = {}
    for name in r.sample(known, r.randint(0, min(3, len(known)))):
        allowed = [make_constraint(c) for c in constraints[name]]
        words = [w for c in allowed if isinstance(c, StrOptions) for w in sorted(c.options)]
        valid = [v for v in values if is_sane(name, v) and any(map(satisfied(v), allowed))]
        if words and r.random() < 0.7:
            valid = words
        if valid:
            found[name] = r.choice(valid)
    for name in r.sample(known, r.randint(1, 2)) if wild else ():
        value = r.choice(values)
        if is_sane(name, value) or name not in ENDLESS:
            found[name] = value
    for name, kind in (
        ("network", NetworkOptions),
        ("training", TrainingOptions),
        ("table", TableOptions),
    ):
        if name in known and name not in found and r.random() < 0.2:
            found[name] = kind(**parameters(r, kind, wild and r.random() < 0.3))
    return found


def satisfied(value: Any) -> Callable[[Any], bool]:
    def by(constraint: Any) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers beyond the range of float16
            try:
                return bool(constraint.is_satisfied_by(value))
            except (TypeError, ValueError, OverflowError):
                return False

    return by


QUICK = {
    "n_components": 2,
    "hidden_layer_sizes": (4,),
    "max_iter": 1,
    "n_importance_samples": 2,
    "prior_size": 3,
    "random_state": 0,
}


def draw_model(r: Random, world: World) -> tuple[Any, str]:
    cls = r.choice(estimator_classes())
    params = parameters(r, cls, wild=r.random() < 0.3)
    known = inspect.signature(cls).parameters
    quick = {k: v for k, v in QUICK.items() if k in known}
    if world.kind == "images" and "network" in known and "network" not in params:
        quick["network__hidden_channels"] = (2,)
    described = f"{cls.__name__}({', '.join(f'{k}={v!r}' for k, v in params.items())})"
    return build(cls, **(quick | params)), described


# -- what is made of a call -----------------------------------------------------------------------

OWN_CODE = Path(skvae.__file__).parent
VALIDATION = {"validation.py", "_param_validation.py", "base.py", "multiclass.py", "_array_api.py"}
VALIDATION |= {"_available_if.py", "_set_output.py", "_metadata_requests.py"}
DEEP = re.compile(
    r"\btorch\b(?!\.(Tensor|nn\.Module))|LAPACK|linalg|cholesky|broadcast|mat1|size of tensor|"
    r"ufunc|scalar type|NoneType|not supported between|unsupported operand|object has no attribute"
)
SUBJECTS = (
    r"\b(X|y|Z|given|sample|array|classes|labels?|features?|column|networks?|input|input_features|"
    r"n_samples|n_draws|coverage|method|output config|data|{names})\b"
)
OPTIONS = [
    name for cls in (NetworkOptions, TrainingOptions, TableOptions) for name in cls().get_params()
]
UNDERSTOOD = (ValueError, TypeError, NotFittedError, AttributeError, FloatingPointError)


class DefectError(AssertionError):
    """Something that must not happen to a user."""


def why_unclear(error: BaseException, model: Any) -> str | None:
    """What is wrong with an error, None where a user can understand it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    if not isinstance(error, UNDERSTOOD):
        return f"{type(error).__name__} at {where}"
    path = Path(last.filename)
    own = path.is_relative_to(OWN_CODE)
    known = own or ("sklearn" in path.parts and path.name in VALIDATION)
    if not known:
        return f"deep inside, at {where}"
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    if not line.startswith("raise"):
        return f"not raised on purpose, at {where}"
    text = str(error)
    said = re.sub(r"[Gg]ot .*", "", text, flags=re.DOTALL).partition(" (it raised")[0]
    if DEEP.search(re.sub(r"\([^()]*\)$", "", said)):
        return f"internal words, at {where}"
    names = "|".join([type(model).__name__, *model.get_params(), *OPTIONS])
    if not re.search(SUBJECTS.format(names=names), text):
        return f"names nothing, at {where}"
    return None


def cells_of(table: Any) -> list[np.ndarray]:
    """Columns of any table, True where a cell is missing."""
    if isinstance(table, np.ndarray):
        return [pd.isna(table.reshape(len(table), -1)[:, j]) for j in range(table[:1].size)]
    if isinstance(table, pl.DataFrame):
        return [(s.is_null() | s.is_nan() if s.dtype.is_float() else s.is_null()).to_numpy()
                for s in table]  # fmt: skip
    if isinstance(table, pa.Table):
        return [column.is_null(nan_is_null=True).to_numpy() for column in table.columns]
    return [pd.isna(table[name]).to_numpy() for name in table]


@dataclass
class Case:
    """A model, its fit, and calls of its methods."""

    number: int
    world: World
    model: Any
    described: str
    calls: Counter = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    unseen: np.ndarray | None = None  # columns of which the fit saw no cell
    traces: bool = False  # whether to print where errors come from

    def defect(self, name: str, what: str, error: BaseException | None = None) -> None:
        self.calls["defect"] += 1
        if self.traces and error is not None:
            traceback.print_exception(error)
        text = "" if error is None else f"\n    {type(error).__name__}: {str(error)[:400]}"
        self.defects.append(
            f"case {self.number}: {self.described}, fitted on {self.world.trained_on}\n"
            f"  {name}: {what}{text}"
        )

    def attempt(
        self, name: str, call: Callable[[], Any], check: Callable[[Any], None] | None = None
    ) -> Any:
        """What a call gives, None after an error."""
        before = {k: id(v) for k, v in vars(self.model).items()}
        try:
            found = call()
        except Exception as error:
            why = why_unclear(error, self.model)
            after = {k: id(v) for k, v in vars(self.model).items()}
            if why is None and after != before:
                why = "the failed call changed the estimator"
            if why is None:
                self.calls["refused"] += 1
            else:
                self.defect(name, why, error)
            return None
        try:
            if check is not None:
                check(found)
        except AssertionError as error:
            self.defect(name, f"wrong result: {str(error).strip()[:300]}")
            return None
        self.calls["fine"] += 1
        return found

    # -- what results must be like ----------------------------------------------------------------
    def rows_are_whole(self, table: Any) -> None:
        """No cell is missing but those of columns that were never seen."""
        for j, missing in enumerate(cells_of(table)):
            if self.unseen is None or not self.unseen[j]:
                assert not missing.any(), f"column {j} holds NaN"

    @staticmethod
    def codes_are_finite(Z: Any) -> None:
        assert np.isfinite(np.asarray(Z, float)).all(), "codes are not finite"

    def scores_are_numbers(self, n: int, *scores: Any) -> None:
        for score in scores:
            assert len(score) == n, "another number of rows"
            assert not np.isnan(score).any(), "NaN"

    def run(self) -> None:
        r, world, model = self.world.r, self.world, self.model
        if r.random() < 0.1:
            name = r.choice(sorted(METHODS))
            self.call_method(name)
        table = world.table(training=True)
        world.trained_on = table.kind
        y = world.labels(table.n)
        first = r.choice(["fit"] * 8 + ["partial_fit", "fit_transform", "fit_predict"])
        if not hasattr(model, first):
            first = "fit"
        self.attempt(first, lambda: getattr(model, first)(table.X, y))
        if not hasattr(model, "n_components_"):
            try:
                model.sample()
            except NotFittedError:
                return
            self.defect("sample", f"no NotFittedError after a failed {first}")
            return
        known = self.attempt("sample", lambda: model.sample(3, 0))
        if known is not None:
            self.unseen = np.array([missing.all() for missing in cells_of(known)])
            all_seen = "people" in table.kind and "missing" not in table.kind and table.n > 20
            if all_seen and self.unseen.any():
                self.defect("sample", "NaN")
        for _ in range(10):
            self.call_method(r.choice(sorted(METHODS)))

    def call_method(self, name: str) -> None:
        if hasattr(self.model, name.partition(" ")[0]):
            METHODS[name](self)
        elif hasattr(type(self.model), name):
            self.attempt(name, lambda: getattr(self.model, name))


METHODS: dict[str, Callable[[Case], None]] = {}


def method(call: Callable[[Case], None]) -> Callable[[Case], None]:
    METHODS[call.__name__] = call
    return call


def on_rows(name: str, check: Callable[[Case, Given, Any], None]) -> None:
    """A method that takes rows and nothing else."""

    def call(case: Case) -> None:
        table, act = case.world.table(), getattr(case.model, name)

        def checked(found: Any) -> None:
            check(case, table, found)
            if table.wild is not None and table.tame is not None and case.world.trained_tame:
                near = getattr(case.model, name)(table.tame)
                for a, b in zip(arrays_of(found), arrays_of(near), strict=True):
                    left, right = a[~table.wild], b[~table.wild]
                    same = np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
                    assert same, "a wild row changes its neighbours"

        case.attempt(f"{name}({table.kind})", lambda: act(table.X), checked)

    METHODS[name] = call


def arrays_of(found: Any) -> list[np.ndarray]:
    if isinstance(found, dict):
        return [v for v in found.values() if isinstance(v, np.ndarray)]
    parts = found if isinstance(found, tuple) else (found,)
    return [part for part in parts if isinstance(part, np.ndarray)]


def _transform(case: Case, table: Given, Z: Any) -> None:
    case.codes_are_finite(Z)
    assert len(Z) == table.n


def _posterior(case: Case, table: Given, found: Any) -> None:
    mean, std = found
    case.codes_are_finite(mean)
    case.codes_are_finite(std)
    assert (std >= 0.0).all() and len(mean) == len(std) == table.n


def _scores(case: Case, table: Given, score: Any) -> None:
    case.scores_are_numbers(table.n, score)
    assert (score < np.inf).all(), "infinite score"


def _predict(case: Case, table: Given, found: Any) -> None:
    assert len(found) == table.n
    if isinstance(case.model, BaseAutoencoder):
        assert set(found) <= {-1, 1}
        if table.wild is not None and case.world.trained_tame:
            assert (found[table.wild] == -1).all(), "a wild row is no outlier"
    else:
        assert set(found) <= set(case.model.classes_)


def _proba(case: Case, table: Given, found: Any) -> None:
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def _log_proba(case: Case, table: Given, found: Any) -> None:
    _proba(case, table, np.exp(found))


def _decision(case: Case, table: Given, found: Any) -> None:
    _scores(case, table, found)
    assert ((found < 0) == (case.model.predict(table.X) == -1)).all()


def _p_values(case: Case, table: Given, found: Any) -> None:
    least = 1.0 / (1.0 + len(case.model.calibration_scores_))
    assert found.shape == (table.n,) and (least <= found).all() and (found <= 1.0).all()


def _parts(case: Case, table: Given, parts: Any) -> None:
    case.scores_are_numbers(table.n, *parts.values())


def _errors(case: Case, table: Given, found: Any) -> None:
    case.scores_are_numbers(table.n, found)
    assert (found >= 0.0).all()


def _features(case: Case, table: Given, found: Any) -> None:
    case.scores_are_numbers(table.n, found)
    assert found.shape[1] == case.model.n_features_in_


def _rows(case: Case, table: Given, found: Any) -> None:
    case.rows_are_whole(found)
    assert len(found) == table.n


for _name, _check in {
    "transform": _transform,
    "posterior": _posterior,
    "score_samples": _scores,
    "predict": _predict,
    "predict_proba": _proba,
    "predict_log_proba": _log_proba,
    "decision_function": _decision,
    "p_values": _p_values,
    "score_parts": _parts,
    "score_features": _features,
    "reconstruction_error": _errors,
    "reconstruct": _rows,
    "impute": _rows,
}.items():
    on_rows(_name, _check)


@method
def calibrate(case: Case) -> None:
    table = case.world.table()

    def check(found: Any) -> None:
        assert found is case.model and len(found.p_values(table.X)) == table.n

    case.attempt(f"calibrate({table.kind})", lambda: case.model.calibrate(table.X), check)


@method
def score(case: Case) -> None:
    table = case.world.table()
    y = (case.world.labels(table.n),) if isinstance(case.model, skvae.ConditionalVAE) else ()

    def check(found: Any) -> None:
        assert isinstance(found, float) and found == found

    case.attempt(f"score({table.kind})", lambda: case.model.score(table.X, *y), check)


@method
def inverse_transform(case: Case) -> None:
    Z = case.world.codes(getattr(case.model, "_n_codes", 2) if is_fitted(case.model) else 2)
    case.attempt("inverse_transform", lambda: case.model.inverse_transform(Z), case.rows_are_whole)


@method
def sample(case: Case) -> None:
    r, world = case.world.r, case.world
    n = r.choice([1, 3, 3, 7, np.int8(3), 0, -1, 2.0, None, True, "3", 10**30, [3], math.nan])
    seed = r.choice([0, 1, None, np.uint8(3), np.random.RandomState(1), -1, "a", 2.5, 10**30])
    how: dict[str, Any] = {"noise": r.choice([True, True, False, "no", None])}
    if isinstance(case.model, BaseLatentModel):
        if r.random() < 0.5:
            how["method"] = r.choice(["prior", "posterior", "posterior", "quantized", "abc", None])
        if how.get("method") == "posterior" or r.random() < 0.1:
            how["X"] = world.table().X
        if r.random() < 0.4:
            how["given"] = world.given()
        if r.random() < 0.2:
            how["match_marginals"] = True
    if hasattr(case.model, "classes_") and r.random() < 0.5:
        how["y"] = r.choice([0, "a", 99, None, world.labels(3), np.zeros(7)])
    shown = {k: v if k != "X" else "..." for k, v in how.items()}
    case.attempt(
        f"sample({n!r}, {seed!r}, {shown})",
        lambda: case.model.sample(n, seed, **how),
        case.rows_are_whole,
    )


@method
def impute_draws(case: Case) -> None:
    r, table = case.world.r, case.world.table()
    n = r.choice([1, 3, np.int8(2), 0, -1, 2.0, "3", True, 10**30])

    def check(tables: Any) -> None:
        for part in tables:
            _rows(case, table, part)

    if hasattr(case.model, "impute"):
        case.attempt(
            f"impute({table.kind}, {n!r})", lambda: case.model.impute(table.X, n, 0), check
        )


@method
def impute_intervals(case: Case) -> None:
    r, table = case.world.r, case.world.table()
    coverage = r.choice([0.9, 0.5, np.float32(0.5), 0, 1, -1.0, "a", None, math.nan, 1.0 - 1e-17])
    n = r.choice([20, 30, np.int16(20), 1, "a", 2.5, None])

    def check(tables: Any) -> None:
        for part in tables:
            _rows(case, table, part)

    case.attempt(
        f"impute_intervals({table.kind}, {coverage!r}, {n!r})",
        lambda: case.model.impute_intervals(table.X, coverage, n, 0),
        check,
    )


@method
def score_error(case: Case) -> None:
    table = case.world.table()
    if hasattr(case.model, "score_samples"):
        case.attempt(
            f"score_samples({table.kind}, return_std=True)",
            lambda: case.model.score_samples(table.X, return_std=True),
            lambda found: case.scores_are_numbers(table.n, *found),
        )


def sampled(case: Case, n: int) -> Any:
    """Rows drawn, None where a chunk left what follows from it to be computed and that fails."""
    return case.attempt("sample", lambda: case.model.sample(n, 0))


@method
def refit(case: Case) -> None:
    r, world = case.world.r, case.world
    name = r.choice(["fit", "partial_fit"])
    tame, on, seen = world.trained_tame, world.trained_on, case.unseen
    table = world.table(training=True)
    y = world.labels(table.n)
    before = sampled(case, 2) if is_fitted(case.model) else None
    done = case.attempt(
        f"{name} again ({table.kind})", lambda: getattr(case.model, name)(table.X, y)
    )
    if done is not None:
        world.trained_tame &= name == "fit" and not getattr(case.model, "warm_start", False)
        drawn = sampled(case, 3)
        if drawn is not None:
            case.unseen = np.array([cells.all() for cells in cells_of(drawn)])
        return
    world.trained_tame, world.trained_on, case.unseen = tame, on, seen
    if before is not None:
        after = sampled(case, 2)
        if repr(before) != repr(after):
            case.defect(name, "a failed fit changed the model")


@method
def set_output(case: Case) -> None:
    r = case.world.r
    kind = r.choice(["pandas", "polars", "default", None, "abc"])
    table = case.world.table()

    def call() -> Any:
        model = clone(case.model) if not is_fitted(case.model) else case.model
        try:
            return model.set_output(transform=kind).transform(table.X)
        finally:
            vars(model).pop("_sklearn_output_config", None)

    case.attempt(f"set_output({kind!r}).transform({table.kind})", call, case.codes_are_finite)


@method
def get_feature_names_out(case: Case) -> None:
    names = case.world.r.choice([None, ["a"], []])
    case.attempt("get_feature_names_out", lambda: case.model.get_feature_names_out(names))


@method
def attributes(case: Case) -> None:
    for name in dir(case.model):
        if name.endswith("_") and not name.endswith("__"):
            case.attempt(name, lambda name=name: getattr(case.model, name))


@method
def shown(case: Case) -> None:
    case.attempt("repr", lambda: (repr(case.model), case.model._repr_html_()))


def is_fitted(model: Any) -> bool:
    return hasattr(model, "n_components_")


for _name in ("refit", "attributes", "shown", "score_error", "impute_draws"):
    METHODS[f"__class__ {_name}"] = METHODS.pop(_name)  # those that are there for every model


# -- many calls -----------------------------------------------------------------------------------


@contextmanager
def only_notices() -> Iterator[None]:
    """Warnings that are for users pass; others, of numpy say, are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        yield


def run_case(r: Random, number: int = 0, traces: bool = False) -> Case:
    """Draw a case and make its calls."""
    world = World(r, r.choice(["numbers"] * 6 + ["people"] * 2 + ["images"]), r.randint(1, 6))
    with torch.random.fork_rng():  # of the networks among the parameters
        model, described = draw_model(r, world)
    case = Case(number, world, model, described, traces=traces)
    with only_notices():
        before = global_state()
        try:
            case.run()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            case.defect("between calls", f"at {Path(where.filename).name}:{where.lineno}", error)
        after = global_state()
    changed = [key for key in before if before[key] != after.get(key)]
    if changed:
        case.defect("any call", f"changed global state: {', '.join(changed)}")
    return case
