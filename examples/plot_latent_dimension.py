"""
How many codes?
===============

With too few codes rows cannot be rebuilt; with too many, the codes of a deterministic encoder lie
on a thin sheet where they should fill N(0, I), and draws beside the sheet decode to nothing real.
This page shows both on rows of known dimension, and a model that finds the dimension by itself.
``python plot_latent_dimension.py --full`` asks the same of MNIST, from its files in
``--data-home``, whose dimension nobody knows.
"""

# %%
# Rows on a curved surface of four dimensions in twenty features, with slight noise.

import argparse

import matplotlib.pyplot as plt
import numpy as np

from skvae import VAE, HuberEnergyVAE, MaskAAE, energy_distance
from skvae.datasets import load_mnist
from skvae.displays import LatentMaskDisplay

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--full", action="store_true", help="the full-size data, from their files")
parser.add_argument("--data-home", help="folder of these files")
args, _ = parser.parse_known_args()


def curved_rows(n, dimension, d, noise=0.05):
    random = np.random.RandomState(0)
    hidden = np.tanh(random.randn(n, dimension) @ random.randn(dimension, 48) / dimension**0.5)
    return hidden @ random.randn(48, d) / 48**0.5 + noise * random.randn(n, d)


if args.full:
    X = load_mnist(data_home=args.data_home).data
    X_test = load_mnist(subset="test", data_home=args.data_home).data[:2000]
    true, sizes, most, widths = None, (2, 4, 8, 12, 16, 24, 32, 64), 64, {}
else:
    rows = curved_rows(4000, 4, 20)
    X, X_test = rows[:3000], rows[3000:]
    true, sizes, most = 4, (1, 2, 3, 4, 5, 6, 8, 12), 16
    widths = {"hidden_layer_sizes": (64, 64)}

# %%
# Quality by the number of codes
# ------------------------------
# Two models of each size, judged by held-out rows: log p(x) (higher is better), the squared error
# of reconstructions, and the energy distance of new rows to held-out ones (lower is better). Up to
# the dimension of the rows everything gets better; beyond it reconstructions gain nothing, and the
# density and the samples of `HuberEnergyVAE` get worse. The VAE, whose encoder is random, can fill
# codes that it does not need with noise, and hardly minds.

figures = {
    "held-out log p(x)": lambda model: model.score(X_test),
    "reconstruction error": lambda model: model.reconstruction_error(X_test).mean(),
    "energy distance of samples": lambda model: energy_distance(
        model.sample(2000, random_state=0), X_test, unbiased=True
    ),
}
models = {
    kind.__name__: [kind(k, **widths, random_state=0).fit(X) for k in sizes]
    for kind in (VAE, HuberEnergyVAE)
}
_, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
for ax, (title, figure) in zip(axes, figures.items(), strict=True):
    for name, of_size in models.items():
        ax.plot(sizes, [figure(model) for model in of_size], "o-", label=name)
    if true:
        ax.axvline(true, color="k", linewidth=0.8, linestyle=":", label="dimension of the rows")
    ax.set(title=title, xlabel="codes")
axes[1].set_yscale("log")
axes[0].legend(frameon=False)

# %%
# Active units are the codes of a VAE that carry information on a row. They level off, but above the
# dimension: a surface that bends is described well by a few codes more.

_, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.plot(sizes, [model.active_units_ for model in models["VAE"]], "o-")
ax.plot(sizes, sizes, "k:", linewidth=0.8)
ax.set(xlabel="codes", ylabel="active units of the VAE")

# %%
# A model that finds the dimension
# --------------------------------
# `MaskAAE` is given more codes than needed and learns a mask that closes those that it can do
# without. Networks this small find the number roughly: on other rows of four dimensions they kept
# three to five.

mask = MaskAAE(most, **widths, random_state=0).fit(X)
_ = LatentMaskDisplay.from_estimator(mask)
plt.show()
# sphinx_gallery_thumbnail_number = 3
