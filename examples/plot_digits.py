"""
Six things to do with digits
============================

A variational autoencoder of handwritten digits: what it rebuilds, where it puts digits in a plane,
what lies between two of them, what it makes of noise, how it tells what is no digit, and how to
draw digits of a given class. These are the usual experiments with MNIST; here they run on the small
digits that come with scikit-learn, and on MNIST with ``python plot_digits.py --full``, which looks
for its files in ``--data-home``.
"""

# %%
# Half of the digits train, half are held out. ``image_shape`` makes encoder and decoder
# convolutional; the digits are so small that narrow networks will do.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skvae import VAE, ConditionalVAE, DenoisingAE, NetworkOptions
from skvae.datasets import load_fashion_mnist, load_mnist
from skvae.displays import (
    InterpolationDisplay,
    LatentSpaceDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
)

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--full", action="store_true", help="the full-size data, from their files")
parser.add_argument("--data-home", help="folder of these files")
args, _ = parser.parse_known_args()

if args.full:
    X, y = load_mnist(data_home=args.data_home, return_X_y=True)
    X_test, y_test = load_mnist(subset="test", data_home=args.data_home, return_X_y=True)
    image = {"image_shape": (1, 28, 28)}
else:
    X, X_test, y, y_test = train_test_split(
        *load_digits(return_X_y=True), test_size=0.5, random_state=0
    )
    X, X_test = X / 16, X_test / 16
    network = NetworkOptions(hidden_channels=(8, 16))
    image = {"image_shape": (1, 8, 8), "hidden_layer_sizes": (64,), "network": network}

model = VAE(n_components=16, **image, random_state=0).fit(X)

# %%
# Reconstructions
# ---------------
# Held-out digits above what 16 numbers keep of them.

_ = ReconstructionDisplay.from_estimator(model, X_test, n_rows=10)

# %%
# A plane of digits
# -----------------
# A model with two codes puts similar digits side by side, though it has seen no label. The contours
# hold 50, 90 and 99 % of the prior N(0, I).

plane = VAE(n_components=2, **image, random_state=0).fit(X)
_ = LatentSpaceDisplay.from_estimator(plane, X_test[:3000], y=y_test[:3000], density="prior")

# %%
# From one digit to another
# -------------------------
# Straight ways through the 16 codes, from a 0 to a 1, from a 3 to an 8 and from a 4 to a 9.

first = [np.flatnonzero(y_test == digit)[0] for digit in (0, 3, 4)]
last = [np.flatnonzero(y_test == digit)[0] for digit in (1, 8, 9)]
_ = InterpolationDisplay.from_estimator(model, X_test[first], X_test[last])

# %%
# Noise
# -----
# Gaussian noise on held-out digits. The VAE has never seen noise; a denoising autoencoder of the
# same size has, in training, and takes most of it away.

random = np.random.RandomState(0)
noisy = np.clip(X_test + 0.3 * random.randn(*X_test.shape), 0, 1).astype(X.dtype)
denoiser = DenoisingAE(n_components=16, corruption_level=1.0, **image, random_state=0).fit(X)
_, axes = plt.subplots(2, 1, figsize=(8, 6), layout="constrained")
for name, estimator, ax in zip(("VAE", "DenoisingAE"), (model, denoiser), axes, strict=True):
    ReconstructionDisplay.from_estimator(estimator, X_test, X_seen=noisy, n_rows=10, ax=ax)
    ax.set_title(name)

# %%
# How far reconstructions are from the digits without noise, as the noise grows.

levels = np.linspace(0, 0.6, 7)
noise = random.randn(*X_test.shape)
_, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, estimator in (("VAE", model), ("DenoisingAE", denoiser)):
    errors = [
        np.mean((estimator.reconstruct(np.clip(X_test + s * noise, 0, 1)) - X_test) ** 2)
        for s in levels
    ]
    ax.plot(levels, errors, "o-", label=name)
ax.plot(
    levels,
    [np.mean((np.clip(X_test + s * noise, 0, 1) - X_test) ** 2) for s in levels],
    "k:",
    label="the noisy digits themselves",
)
ax.set(xlabel="standard deviation of the noise", ylabel="mean squared error")
ax.legend()

# %%
# What is no digit?
# -----------------
# A rule for anomalies is a score and a threshold. The model here has never seen a 4. The threshold
# accepts 98.4 % of one half of the held-out digits of the other classes; their other half tells
# whether that holds for new digits, and the remaining groups tell what the rule is good for. Two
# scores: the reconstruction error and log p(x).

known = VAE(n_components=16, **image, random_state=0).fit(X[y != 4])
usual, fours = X_test[y_test != 4], X_test[y_test == 4]
half = len(usual) // 2
groups = {
    "other held-out digits": usual[half:],
    "fours, never seen": fours,
    "mirror images": usual.reshape(-1, *image["image_shape"])[..., ::-1].reshape(usual.shape),
    "inverted": 1 - usual,
    "shuffled pixels": usual[:, random.permutation(X.shape[1])],
}
if args.full:
    groups["Fashion-MNIST"] = load_fashion_mnist(subset="test", data_home=args.data_home).data
rules = {
    "by reconstruction error": lambda rows: -known.reconstruction_error(rows),
    "by log p(x)": known.score_samples,
}
_, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (name, rule) in enumerate(rules.items()):
    threshold = np.quantile(rule(usual[:half]), 1 - 0.984)
    flagged = [100 * np.mean(rule(rows) < threshold) for rows in groups.values()]
    bars = ax.barh(np.arange(len(groups)) + 0.4 * i - 0.2, flagged, 0.4, label=name)
    ax.bar_label(bars, fmt=" %.1f %%")
ax.set_yticks(np.arange(len(groups)), groups)
ax.invert_yaxis()
ax.set(xlabel="rejected, % of the group", xlim=(0, 115))
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)

# %%
# Some mirror images are fine digits, of 0 and 8 say, and some fours look like other digits. The
# log-densities behind the rule, with the threshold of `predict`, which needs no share and is
# stricter here:

_ = OutlierScoreDisplay.from_estimator(known, {name: groups[name] for name in list(groups)[:3]})

# %%
# Digits of a class
# -----------------
# `ConditionalVAE` learns rows given labels: each line is drawn for one class.

conditional = ConditionalVAE(n_components=8, **image, random_state=0).fit(X, y)
_ = SamplesDisplay.from_estimator(conditional, 10, y=range(10), noise=False, random_state=0)

# %%
# By Bayes' rule it is a classifier, too. Its accuracy on held-out digits:

float(np.round(conditional.score(X_test, y_test), 3))
# sphinx_gallery_thumbnail_number = 2
