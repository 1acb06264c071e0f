"""From digits to codes and back
=============================

This example maps digits to codes, reconstructs them, samples new digits, and detects images that
are not digits.

It uses the digits of scikit-learn and writes quickstart.png to the working directory.
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
from skvae.displays import (
    LatentSpaceDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
)

N_COMPONENTS = 8


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

    plane = make_pipeline(scale, HuberEnergyVAE(2, random_state=0)).fit(X)
    some = rng.choice(len(X_test), 30, replace=False)
    image = {"image_shape": (1, 8, 8), "cmap": "gray_r"}
    with plt.rc_context({"font.size": 12, "axes.titlesize": 16, "legend.fontsize": 10}):
        fig, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
        LatentSpaceDisplay.from_estimator(plane, X_test, y=y_test, density="prior", ax=axes[0, 0])
        ReconstructionDisplay.from_estimator(pipe, X_test[some], n_rows=30, ax=axes[0, 1], **image)
        groups = {"held-out digits": X_test, "shuffled pixels, noise": strange}
        OutlierScoreDisplay.from_estimator(pipe, groups, ax=axes[1, 0])
        SamplesDisplay.from_estimator(pipe, 70, noise=False, random_state=0, ax=axes[1, 1], **image)
        titles = ["Latent space", "Reconstruction", "Anomaly detection", "New samples"]
        for ax, title in zip(axes.flat, titles, strict=True):
            ax.set_title(title, loc="left")
    fig.savefig("quickstart.png", dpi=130)
    print(f"wrote quickstart.png; {time.perf_counter() - began:.1f} s in all")


if __name__ == "__main__":
    main()
