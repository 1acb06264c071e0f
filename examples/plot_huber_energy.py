"""
Codes that follow N(0, I): the Huber-energy distance
====================================================

This example shows how `HuberEnergyVAE` regularises its codes to N(0, I), on digits, on patches of
photographs and on a table. The encoder is deterministic. The loss has one more term, the energy
distance of the codes of a batch to N(0, I). You see what the term does, what is lost without it,
and why it is computed exactly instead of by its closed-form approximation. ``python
plot_huber_energy.py --full`` uses MNIST, Fashion-MNIST and Boston Housing from their files in
``--data-home``, and more patches.
"""

# %%
# The data are sets of images and a table. A third of each is held out. The models of full-size
# images are convolutional.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from skvae import HuberEnergyVAE, energy_distance
from skvae.datasets import (
    load_boston_housing,
    load_fashion_mnist,
    load_image_patches,
    load_mnist,
)
from skvae.displays import (
    InterpolationDisplay,
    LatentSpaceDisplay,
    PairsDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    TrainingCurveDisplay,
)

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--full", action="store_true", help="the full-size data, from their files")
parser.add_argument("--data-home", help="folder of these files")
args, _ = parser.parse_known_args()

if args.full:
    boston = load_boston_housing(data_home=args.data_home)
    names, table = boston.feature_names, boston.data
    patches = load_image_patches(n_samples=20_000, random_state=0)
    images = {
        "MNIST": (load_mnist(data_home=args.data_home).data, (1, 28, 28)),
        "Fashion-MNIST": (load_fashion_mnist(data_home=args.data_home).data, (1, 28, 28)),
        "patches": (patches.data, patches.image_shape),
    }
else:
    diabetes = load_diabetes(scaled=False)
    names, table = diabetes.feature_names, diabetes.data
    patches = load_image_patches(size=16, n_samples=800, random_state=0)
    images = {
        "digits": (load_digits().data / 16, (1, 8, 8)),
        "patches": (patches.data, patches.image_shape),
    }

rows = {name: train_test_split(X, test_size=0.3, random_state=0) for name, (X, _) in images.items()}
rows["table"] = train_test_split(table, test_size=0.3, random_state=0)


def fit(name, n_components, **parameters):
    if args.full and name in images:
        parameters["image_shape"] = images[name][1]
    elif not args.full:
        parameters["hidden_layer_sizes"] = (64,)
    return HuberEnergyVAE(n_components, random_state=0, **parameters).fit(rows[name][0])


models = {name: fit(name, 4 if name == "table" else 8) for name in rows}

# %%
# Training
# --------
# The two terms of the loss are the squared error divided by the variance of the rows, and the
# distance of the codes to N(0, I). For images, training starts at principal components, so both
# terms are small from the beginning. With few patches they jump while the learning rate is highest.
# The distance ends near zero. It can be negative, because its estimate is unbiased.

_, axes = plt.subplots(1, len(models), figsize=(4 * len(models), 3.5), layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    TrainingCurveDisplay.from_estimator(model, ax=ax)
    ax.set_title(name)

# %%
# Reconstructions, samples, transitions
# -------------------------------------
# Held-out images and their reconstructions from eight codes.

_, axes = plt.subplots(len(images), 1, figsize=(8, 2.2 * len(images)), layout="constrained")
for ax, name in zip(axes, images, strict=True):
    ReconstructionDisplay.from_estimator(
        models[name], rows[name][1], n_rows=10, image_shape=images[name][1], ax=ax
    )

# %%
# New images: codes are drawn from N(0, I) and decoded.

_, axes = plt.subplots(len(images), 1, figsize=(8, 2.2 * len(images)), layout="constrained")
for ax, name in zip(axes, images, strict=True):
    SamplesDisplay.from_estimator(
        models[name], 20, noise=False, random_state=0, image_shape=images[name][1], ax=ax
    )

# %%
# Transitions from held-out images to the held-out images that differ most from them.

_, axes = plt.subplots(len(images), 1, figsize=(8, 1.8 * len(images)), layout="constrained")
for ax, name in zip(axes, images, strict=True):
    test = rows[name][1]
    unlike = [np.argmax(np.sum((test - x) ** 2, axis=1)) for x in test[:2]]
    InterpolationDisplay.from_estimator(
        models[name], test[:2], test[unlike], image_shape=images[name][1], ax=ax
    )

# %%
# The table: held-out rows and their reconstructions, in standard deviations of the features.

_ = ReconstructionDisplay.from_estimator(
    models["table"], rows["table"][1], n_rows=4, feature_names=names
)

# %%
# New rows of the table plotted over real rows, in pairs of features.

_ = PairsDisplay.from_estimator(
    models["table"], rows["table"][1], features=[4, 5, 8, 9] if not args.full else [4, 5, 7, 12],
    feature_names=names, random_state=0,
)  # fmt: skip

# %%
# Without the latent term
# -----------------------
# With ``divergence_weight=0`` only the squared error is left, and the codes can have any
# distribution. The plots show the codes of two models with two codes each, with the contours of
# N(0, I).

ways = {
    "exact": {},
    "surrogate": {"distance": "surrogate"},
    "no latent term": {"divergence_weight": 0.0},
}
planes = {(name, way): fit(name, 2, **ways[way]) for name in rows for way in ways}
image = next(iter(images))
_, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for ax, name in zip(axes, ("exact", "no latent term"), strict=True):
    LatentSpaceDisplay.from_estimator(
        planes[image, name], rows[image][1][:2000], density="prior", ax=ax
    )
    ax.set_title(name)

# %%
# Codes drawn from N(0, I) then cover only a small part of the codes of real rows. The samples are
# pale and similar to each other.

_, axes = plt.subplots(2, 1, figsize=(8, 4.4), layout="constrained")
for ax, name in zip(axes, ("exact", "no latent term"), strict=True):
    SamplesDisplay.from_estimator(
        planes[image, name], 20, noise=False, random_state=0, image_shape=images[image][1], ax=ax
    )
    ax.set_title(name)

# %%
# Exact or surrogate
# ------------------
# The distance of one code to N(0, I) is a special function of the length of the code. The
# literature approximates it in closed form, but the approximation favours codes with too large a
# variance. The plots compare the models with two codes on held-out rows of all data. The variance
# of the codes should be 1, and their energy distance to N(0, I) should be 0.

_, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
figures = {
    "variance of the codes": lambda z: np.mean(np.var(z, axis=0)),
    "energy distance of the codes to N(0, I)": energy_distance,
}
for ax, (title, figure) in zip(axes, figures.items(), strict=True):
    for i, way in enumerate(ways):
        values = [figure(planes[name, way].transform(rows[name][1])) for name in rows]
        bars = ax.bar(np.arange(len(rows)) + 0.28 * (i - 1), values, 0.28, label=way)
        ax.bar_label(bars, fmt="%.2g", fontsize=8)
    ax.set(title=title, yscale="log", xticks=range(len(rows)), xticklabels=rows)
    ax.margins(y=0.1)
axes[0].axhline(1, color="k", linewidth=0.8)
axes[0].legend(frameon=False)
plt.show()
# sphinx_gallery_thumbnail_number = 7
