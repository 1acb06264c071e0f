"""`encoder_` and `decoder_`: torch modules in the units of X, alone, exported, and in ONNX."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from contracts import fitted, labels, make, new_rows, table
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import skvae

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

DIGITS = load_digits().data[:200] / 16.0
CASES: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {
    "plain": ("VAE", {"network__linear_skip": False}, table()),
    "skip": ("VAE", {"network__linear_skip": True}, table()),
    "linear": ("VAE", {"hidden_layer_sizes": ()}, table()),
    "bounded": ("VAE", {}, DIGITS),
    "bernoulli": ("VAE", {"likelihood": "bernoulli"}, DIGITS),
    "network noise": ("VAE", {"noise_variance": "network"}, table()),
    "images": (
        "VAE",
        {"image_shape": (1, 8, 8), "network__hidden_channels": (2, 4), "max_iter": 1},
        DIGITS,
    ),
    "flow prior": ("VAE", {"prior": "flow"}, table()),
    "flow posterior": ("VAE", {"posterior_family": "iaf"}, table()),
    "labels": ("ConditionalVAE", {}, table()),
    "energy": ("HuberEnergyVAE", {}, table()),
    "mask": ("MaskAAE", {}, table()),
    "sigmoid codes": ("SparseAE", {"penalty": "kl"}, table()),
    "adversarial": ("GAN", {}, table()),
    "information": ("InfoGAN", {}, table()),
}
_models: dict[str, Any] = {}


def model_of(case: str) -> tuple[Any, np.ndarray]:
    """A fitted model and float32 rows for it."""
    name, params, X = CASES[case]
    if case not in _models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            _models[case] = make(getattr(skvae, name), **params).fit(X, labels(X))
    rows = new_rows()[:20] if X.shape[1] == 5 else X[:20]
    return _models[case], rows.astype(np.float32)


def one_hot(model: Any, n: int) -> torch.Tensor | None:
    """The second label for all rows, of a model of rows given labels."""
    if not hasattr(model, "classes_"):
        return None
    return torch.eye(len(model.classes_))[torch.full((n,), 1)]


def parts(case: str) -> dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...], np.ndarray]]:
    """Modules, their inputs, and what the estimator says to the same."""
    model, X = model_of(case)
    context = one_hot(model, len(X))
    more = () if context is None else (context,)
    found = {}
    if hasattr(model, "encoder_"):
        if context is None:
            codes = model.transform(X)
        else:
            codes = model._predictor_.encode(model._given(X, np.full(len(X), model.classes_[1])))
        found["encoder"] = (model.encoder_, (torch.from_numpy(X), *more), codes)
    k = model._fitted_.spec.n_components
    Z = np.random.default_rng(0).normal(size=(20, k)).astype(np.float32)
    if case == "information":
        Z = model._draw_codes(20, 0).astype(np.float32)
    if context is None:
        rows = model._predictor_.decode(Z)
    else:
        rows = model._decode(model._joined(Z, np.full(20, model.classes_[1])))
    found["decoder"] = (model.decoder_, (torch.from_numpy(Z), *more), rows)
    return found


def close(a: torch.Tensor | np.ndarray, b: np.ndarray) -> None:
    a = a.detach().numpy() if isinstance(a, torch.Tensor) else a
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


each_case = pytest.mark.parametrize("case", CASES)
quietly = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:No complete tensor found",  # of torch.export.save, for kernels with channels last
    "ignore:# The axis name",  # of torch.onnx.export, where two inputs share the batch axis
)


@each_case
def test_modules_say_what_the_estimator_says(case):
    for module, inputs, expected in parts(case).values():
        assert not module.training
        out = module(*inputs)
        assert out.dtype == torch.float32
        close(out, expected)
        doubled = module(*(t.double() for t in inputs))
        assert doubled.dtype == torch.float64
        close(doubled, expected)


@each_case
def test_gradients_flow(case):
    for module, (first, *more), _ in parts(case).values():
        given = first.clone().requires_grad_()
        copied = copy.deepcopy(module)
        copied(given, *more).square().mean().backward()
        assert given.grad.abs().sum() > 0
        weights = [p.grad for p in copied.parameters() if p.grad is not None]
        assert any(g.abs().sum() > 0 for g in weights)


def test_codes_of_both_ways_fit_together():
    model, X = model_of("plain")
    close(model.decoder_(model.encoder_(torch.from_numpy(X))), model.reconstruct(X))
    Z = model.transform(X)
    close(model.decoder_(torch.from_numpy(Z)), model.inverse_transform(Z))


def test_weights_are_shared():
    """Training a module trains the estimator; a copy is on its own."""
    model = copy.deepcopy(model_of("plain")[0])
    before = model.transform(new_rows().astype(np.float32))
    alone = copy.deepcopy(model.encoder_)
    with torch.no_grad():
        for p in model.encoder_.parameters():
            p.mul_(1.5)
    after = model.transform(new_rows().astype(np.float32))
    assert np.abs(after - before).max() > 0
    close(alone(torch.from_numpy(new_rows().astype(np.float32))), before)


def test_float64_throughout():
    model, X = model_of("skip")
    encoder = copy.deepcopy(model.encoder_).double()
    Z = model.transform(X.astype(np.float64))
    out = encoder(torch.from_numpy(X.astype(np.float64)))
    np.testing.assert_allclose(out.detach().numpy(), Z, rtol=1e-9)


def test_rows_far_from_zero_keep_their_digits():
    X = table() + 1e9
    model = make(skvae.VAE).fit(X)
    x = torch.from_numpy(X[:20])
    close(model.encoder_(x), model.transform(X[:20]))
    Z = model.transform(X[:20])
    rows = model.decoder_(torch.from_numpy(Z))
    np.testing.assert_allclose(
        rows.detach().numpy() - 1e9, model.inverse_transform(Z) - 1e9, atol=1e-3
    )


@pytest.mark.parametrize("name", ["encoder_", "decoder_"])
def test_modules_are_there_after_a_fit(name):
    with pytest.raises(AttributeError, match=f"{name} is available only after fit"):
        getattr(skvae.VAE(), name)
    assert not hasattr(fitted(make(skvae.GAN)), "encoder_")


def test_rows_of_another_width_are_refused():
    model, X = model_of("plain")
    with pytest.raises(RuntimeError):
        model.encoder_(torch.from_numpy(X[:, :3]))
    with pytest.raises(RuntimeError):
        model.decoder_(torch.zeros(4, 3))


def exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    batch = torch.export.Dim("batch")
    return torch.export.export(module, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))


@each_case
@quietly
def test_exported_programs_run_alone(case):
    for module, inputs, expected in parts(case).values():
        file = io.BytesIO()
        torch.export.save(exported(module, inputs), file)
        file.seek(0)
        program = torch.export.load(file).module()
        close(program(*inputs), expected)
        close(program(*(t[:3] for t in inputs)), expected[:3])


@pytest.mark.parametrize("case", ["plain", "bounded", "images", "labels", "information"])
@quietly
def test_onnx(case):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    for module, inputs, expected in parts(case).values():
        shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
        program = torch.onnx.export(
            module, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False
        )
        file = io.BytesIO()
        program.save(file)
        session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        for n in (20, 3):
            given = {a: t[:n].numpy() for a, t in zip(names, inputs, strict=True)}
            close(session.run(None, given)[0], expected[:n])


def test_weights_that_a_user_trains_on_count_in_both_dtypes():
    X = table()
    model = make(skvae.VAE).fit(X)
    with torch.no_grad():
        for p in model.encoder_.parameters():
            p.zero_()
    for dtype in (np.float32, np.float64):
        assert np.ptp(model.transform(X.astype(dtype)), axis=0).max() == 0.0
