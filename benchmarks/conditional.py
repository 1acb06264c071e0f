"""ConditionalVAE on MNIST: accuracy by Bayes' rule, and whether samples of a class are of it.

Samples of each class (decoder means) are judged by the convolutional classifier of `family.py`,
which never saw the model.

    python benchmarks/conditional.py --threads 1
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import arguments, labels, mnist, parser, stopwatch, table
from family import classifier
from sklearn.exceptions import ConvergenceWarning


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--rows", type=int, default=60_000)
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--beta", type=float, default=8.0)
    p.add_argument("--components", type=int, default=8)
    p.add_argument("--images", action="store_true", help="convolutional networks")
    p.add_argument("--seeds", type=int, nargs="*", default=[0])
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "skvae_family")
    args = arguments(p, "torch", "scikit-learn")
    import skvae

    judge = classifier(args.data, "mnist", args.cache)
    X, y = mnist(args.data, "train")[: args.rows], labels(args.data, "train", "mnist")[: args.rows]
    X_test, y_test = mnist(args.data, "test"), labels(args.data, "test", "mnist")
    rows, clock = [], stopwatch()
    for seed in args.seeds:
        model = skvae.ConditionalVAE(
            args.components, beta=args.beta, hidden_layer_sizes=(256,), max_iter=args.epochs,
            n_importance_samples=1, random_state=seed,
            image_shape=(1, 28, 28) if args.images else None,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            began = clock()
            model.fit(X, y)
            seconds = clock() - began
        shares = []
        for label in range(10):
            drawn = judge.features(model.sample(1000, seed, y=label, noise=False))
            with torch.no_grad():
                guess = judge.head(torch.as_tensor(drawn)).argmax(1).numpy()
            shares.append(np.mean(guess == label))
        accuracy = model.score(X_test, y_test)
        rows.append([seed, f"{accuracy:.2%}", f"{min(shares):.1%}", f"{np.mean(shares):.1%}",
                     f"{seconds:.0f}"])  # fmt: skip
    table(["seed", "accuracy", "recognised, worst class", "mean", "fit, s"], rows)


if __name__ == "__main__":
    main()
