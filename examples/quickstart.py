"""From digits to codes and back
=============================

From a table of digits to codes, new digits, log-densities and outliers.

Uses the digits that ship with scikit-learn and writes quickstart.png beside the working directory.
"""

import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvae import PPCA, HuberEnergyVAE, energy_distance

N_COMPONENTS = 8
PRINT_INK, MUTED = "#333333", "#888888"


def to_unit(X):
    """Grey values 0..16 to 0..1."""
    return X / 16.0


def from_unit(X):
    return X * 16.0


def not_digits(X, rng):
    """Rows of another kind: pixels of digits in shuffled places, and uniform noise."""
    half = len(X) // 2
    shuffled = X[:half, rng.permutation(X.shape[1])]
    return np.vstack([shuffled, rng.uniform(0.0, 16.0, X[half:].shape)])


def show_digits(ax, rows, per_line, title):
    tiles = np.clip(rows, 0.0, 16.0).reshape(-1, per_line, 8, 8)
    ax.imshow(np.block([[np.pad(t, 1) for t in line] for line in tiles]), cmap="gray_r")
    ax.set_title(title, loc="left", fontsize=10)
    ax.axis("off")


def main():
    began = time.perf_counter()
    rng = np.random.RandomState(0)
    digits = load_digits()
    X, X_test, y, y_test = train_test_split(
        digits.data, digits.target, test_size=0.33, random_state=0, stratify=digits.target
    )

    # A Pipeline whose last step reduces, generates and scores.
    scale = FunctionTransformer(to_unit, from_unit, feature_names_out="one-to-one")
    pipe = make_pipeline(scale, HuberEnergyVAE(N_COMPONENTS, random_state=0)).fit(X)
    model = pipe[-1]
    pca = PCA(N_COMPONENTS, random_state=0).fit(X)
    ppca = make_pipeline(scale, PPCA(N_COMPONENTS)).fit(X)

    def knn(reducer):
        nearest = KNeighborsClassifier(5).fit(reducer.transform(X), y)
        return nearest.score(reducer.transform(X_test), y_test)

    def error(reducer):
        rebuilt = reducer.inverse_transform(reducer.transform(X_test))
        return np.mean(np.square(rebuilt - X_test))

    strange = not_digits(X_test, rng)
    rows = np.vstack([X_test, strange])
    is_strange = np.repeat([1, 0], [len(X_test), len(strange)]) == 0

    def auroc(scorer):
        return roc_auc_score(is_strange, -scorer.score_samples(rows))

    new = from_unit(model.sample(40, random_state=0, noise=False))
    flagged = pipe.predict(rows) == -1

    print(f"HuberEnergyVAE against PCA, {N_COMPONENTS} components, {len(X_test)} held-out digits")
    print(f"{'':44}{'HuberEnergyVAE':>15}{'PCA':>9}")
    for name, ours, theirs, form in [
        ("5-NN accuracy on the codes (higher is better)", knn(pipe), knn(pca), ".3f"),
        ("reconstruction error (squared grey levels)", error(pipe), error(pca), ".2f"),
        ("mean log-density, nats (PCA: PPCA)", pipe.score(X_test), ppca.score(X_test), ".1f"),
        ("AUROC, digits against rows of another kind", auroc(pipe), auroc(ppca), ".3f"),
    ]:
        print(f"{name:45}{ours:>14{form}}{theirs:>9{form}}")
    print(f"flagged as outliers: {flagged[is_strange].mean():.1%} of the rows of another kind, ")
    print(f"    {flagged[~is_strange].mean():.1%} of the held-out digits (no contamination given)")
    print(f"energy distance of the codes to N(0, I): {energy_distance(pipe.transform(X)):.4f}")

    fig, axes = plt.subplots(2, 2, figsize=(9.5, 8.0), layout="constrained")
    ax = axes[0, 0]
    for (name, values), style in zip(model.history_.items(), ["-", "--"], strict=True):
        ax.plot(values, style, color=PRINT_INK, linewidth=1.2, label=name)
    ax.set_yscale("symlog", linthresh=1e-2)  # the unbiased energy term falls below 0 at times
    ax.set_ylim(bottom=-5e-3)
    ax.set_xlabel("epoch")
    ax.set_title("Training: parts of the loss", loc="left", fontsize=10)
    ax.legend(frameon=False)
    pick = rng.choice(len(X_test), 20, replace=False)
    pairs = np.stack([X_test[pick], pipe.inverse_transform(pipe.transform(X_test[pick]))], axis=1)
    pairs = pairs.reshape(2, 10, 2, 64).swapaxes(1, 2).reshape(40, 64)
    show_digits(axes[0, 1], pairs, 10, "Held-out digits, each above its reconstruction")
    show_digits(axes[1, 0], new, 8, "New digits: decoded draws from N(0, I)")
    ax = axes[1, 1]
    plane = HuberEnergyVAE(2, random_state=0).fit(to_unit(X)).transform(to_unit(X_test))
    points = ax.scatter(*plane.T, c=y_test, cmap="tab10", s=9, vmin=-0.5, vmax=9.5)
    fig.colorbar(points, ax=ax, ticks=range(10), label="digit")
    for radius in (1.0, 2.0):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color=MUTED, linewidth=0.8))
    ax.set_aspect("equal")
    ax.set_title(
        "Latent plane of a 2-component model\n(circles: 1 and 2 sd of N(0, I))",
        loc="left",
        fontsize=10,
    )
    fig.savefig("quickstart.png", dpi=130)
    print(f"wrote quickstart.png; {time.perf_counter() - began:.1f} s in all")


if __name__ == "__main__":
    main()
