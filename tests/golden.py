"""Files that a release wrote, and what the models in them say: later releases read them.

``python tests/golden.py`` writes those of this release anew, which is right only while it is not
out: afterwards they stay as they are, and a new layout of files gets a folder of its own.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import crafted
import numpy as np
import pandas as pd
from sklearn.neighbors import KernelDensity

import skvae

FOLDER = Path(__file__).parent / "data" / "0.1"
NAMES = ("table", "labels", "linear", "mixture", "kernel_density")


def made() -> dict[str, tuple[Any, Any]]:
    """Fitted models by name, each with some rows."""
    quick: dict[str, Any] = {"hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 0}
    X, frame = crafted.rows(), crafted.people()
    y = np.where(X[:, 0] > 0.0, "high", "low")
    holes = X.copy()
    holes[::5, 1] = np.nan
    models = (
        (skvae.VAE(2, **quick), frame, None),
        (skvae.ConditionalVAE(2, **quick), X, y),
        (skvae.PPCA(2), holes, None),
        (skvae.Autoencoder(2, **quick), X, None),
        (skvae.Autoencoder(2, latent_density=KernelDensity(bandwidth=0.3), **quick), X, None),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: (model.fit(X, y), X[:8])
            for name, (model, X, y) in zip(NAMES, models, strict=True)
        }


def as_rows(written: Any) -> Any:
    """Rows as they are kept in JSON, as rows again."""
    if isinstance(written, list):
        return np.array(written, float)
    frame = pd.DataFrame({**written, "work": pd.Categorical(written["work"])})
    return frame.astype({"age": float, "owns": bool})


def _plain(rows: Any) -> Any:
    if isinstance(rows, pd.DataFrame):
        return {
            name: [None if pd.isna(cell) else cell for cell in rows[name].tolist()] for name in rows
        }
    return [_plain(row) for row in rows] if rows.ndim > 1 else rows.tolist()


def said(model: Any, rows: Any) -> dict[str, Any]:
    """What a model says of rows, as plain lists: nothing that is drawn."""
    codes = model.transform(rows)
    found = {
        "transform": codes,
        "inverse_transform": model.inverse_transform(codes),
        "score_samples": model.score_samples(rows),
        "impute": model.impute(rows),
    }
    for method in ("decision_function", "predict", "predict_proba"):
        if hasattr(model, method):
            found[method] = getattr(model, method)(rows)
    return {name: _plain(value) for name, value in found.items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, (model, rows) in made().items():
        model.save(FOLDER / f"{name}.skvae")
        rows = _plain(rows)
        expected[name] = {"rows": rows, "said": said(model, as_rows(rows))}
    text = json.dumps(expected, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
