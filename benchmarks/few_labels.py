"""Codes as features for a classifier with few labels, as in B. Laurent's course (INSA Toulouse).

Encoders see `--rows` images of MNIST without labels; a classifier sees the codes of 100 labelled
ones, ten of each class, drawn `--draws` times, and is judged on all test digits. The same
classifiers get raw pixels and principal components: logistic regression on standardised features,
and a support vector machine with a Gaussian kernel. Accuracies in percent, mean and standard error
over draws. The bar: codes beat pixels and PCA with the same classifier.
"""

from __future__ import annotations

import warnings

import numpy as np
from _common import arguments, parser, stopwatch, table
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skvae import PPCA, VAE, DenoisingAE, HuberEnergyVAE
from skvae.datasets import load_mnist

IMAGE = {"image_shape": (1, 28, 28), "random_state": 0}
FEATURES = {
    "pixels": FunctionTransformer(),
    "PCA, 10": PCA(10),
    "PCA, 16": PCA(16),
    "PCA, 50": PCA(50),
    "PPCA, 16": PPCA(16),
    "VAE, 16": VAE(16, random_state=0),
    "VAE, convolutional, 16": VAE(16, **IMAGE),
    "HuberEnergyVAE, convolutional, 16": HuberEnergyVAE(16, **IMAGE),
    "DenoisingAE, convolutional, 16": DenoisingAE(16, **IMAGE),
    "VAE, convolutional, 10": VAE(10, **IMAGE),
    "VAE, convolutional, 32": VAE(32, **IMAGE),
}
CLASSIFIERS = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "SVM": make_pipeline(StandardScaler(), SVC(C=10.0)),
}


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=60_000)
    p.add_argument("--draws", type=int, default=10)
    p.add_argument("--labels", type=int, default=100)
    p.add_argument("--epochs", type=int, help="of the encoders, in place of their own budget")
    p.add_argument("--only", nargs="+", help="features that hold one of these texts")
    args = arguments(p, "skvae")
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = load_mnist(data_home=args.data, return_X_y=True)
    X, y = X[: args.rows], y[: args.rows]
    test = load_mnist(subset="test", data_home=args.data)
    rng = np.random.default_rng(0)
    each = args.labels // 10
    draws = [
        np.concatenate([rng.choice(np.flatnonzero(y == c), each, replace=False) for c in range(10)])
        for _ in range(args.draws)
    ]
    rows, clock = [], stopwatch()
    for name, encoder in FEATURES.items():
        if args.only and not any(text in name for text in args.only):
            continue
        if args.epochs and "max_iter" in encoder.get_params():
            encoder.set_params(max_iter=args.epochs)
        start = clock()
        encoder.fit(X)
        seconds = clock() - start
        some = np.unique(np.concatenate(draws))
        codes = dict(zip(some, encoder.transform(X[some]), strict=True))
        unseen = encoder.transform(test.data)
        row = [name, f"{seconds:.0f}"]
        for classifier in CLASSIFIERS.values():
            scores = [
                100.0
                * classifier.fit(np.stack([codes[i] for i in d]), y[d]).score(unseen, test.target)
                for d in draws
            ]
            error = np.std(scores, ddof=1) / np.sqrt(len(scores))
            row.append(f"{np.mean(scores):.1f} +- {error:.1f}")
        rows.append(row)
        print(row, flush=True)
    table(["features", "s of fit", *CLASSIFIERS], rows)


if __name__ == "__main__":
    main()
