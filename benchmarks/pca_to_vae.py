"""From PCA to a VAE, after N. Captier, "Autoencoders and Variational Autoencoders", 2021.

PCA (its density is that of scikit-learn's `PCA.score`), PPCA, a VAE without hidden layers, which
ought to end at PPCA or, with noise of its own for each feature, at factor analysis, and a VAE with
hidden layers; on MNIST, convolutional there, and on tables, which are standardised. Log p(x) of
test rows in nats a row, and squared error of their reconstructions a feature.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from _common import arguments, parser, stopwatch, table
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skvae import PPCA, VAE, NetworkOptions
from skvae.datasets import load_boston_housing, load_mnist

TABLES = {
    "wine": lambda data: load_wine().data,
    "breast cancer": lambda data: load_breast_cancer().data,
    "diabetes": lambda data: load_diabetes(scaled=False).data,
    "Boston Housing": lambda data: load_boston_housing(data_home=data).data,
}


def rows_of(name: str, data: Path) -> tuple[np.ndarray, np.ndarray]:
    if name == "MNIST":
        train, test = (load_mnist(subset=s, data_home=data).data for s in ("train", "test"))
        return train, test
    train, test = train_test_split(TABLES[name](data), test_size=0.3, random_state=0)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def models(name: str, k: int, seed: int, budget: dict) -> dict[str, object]:
    common = {"random_state": seed, **budget}
    linear = {"hidden_layer_sizes": (), "likelihood": "gaussian", **common}
    shape = {"image_shape": (1, 28, 28)} if name == "MNIST" else {}
    return {
        "PCA": PCA(k, random_state=seed),
        "PPCA": PPCA(k),
        "linear VAE, noise as in PPCA": VAE(k, noise_variance="scalar", **linear),
        "linear VAE": VAE(k, noise_variance="feature", **linear),
        "VAE": VAE(k, **shape, **common),
        "VAE, early stopping, linear skip": VAE(
            k, early_stopping=True, network=NetworkOptions(linear_skip=True), **shape, **common
        ),
    }


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="2000 rows, 2 epochs for MNIST")
    p.add_argument("--epochs", type=int, help="in place of the default budget")
    p.add_argument("--components", type=int, nargs="+", default=[2, 8, 32], help="codes")
    p.add_argument("--only", nargs="+", choices=["MNIST", *TABLES], help="which sets of rows")
    p.add_argument("--seed", type=int, default=0)
    args = arguments(p, "skvae")
    warnings.simplefilter("ignore", ConvergenceWarning)  # budgets are meant here
    lines, clock = [], stopwatch()
    for name in args.only or ["MNIST", *TABLES]:
        train, test = rows_of(name, args.data)
        budget = {"max_iter": args.epochs}
        if args.quick:
            train, test = train[:2000], test[:1000]
            budget = {"max_iter": 2 if name == "MNIST" else 50}
        for k in args.components:
            if k >= train.shape[1] - 1:
                continue
            for kind, model in models(name, k, args.seed, budget).items():
                start = clock()
                model.fit(train)
                seconds = clock() - start
                rebuilt = model.inverse_transform(model.transform(test))
                error = np.mean((rebuilt - test) ** 2)
                lines.append(
                    [name, k, kind, f"{model.score(test):.2f}", f"{error:.5f}", f"{seconds:.1f}"]
                )
                print(lines[-1], flush=True)
    table(["rows", "codes", "model", "test log p(x), nats", "MSE", "s of fit"], lines)


if __name__ == "__main__":
    main()
