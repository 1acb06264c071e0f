"""
From PCA to a variational autoencoder
=====================================

Principal component analysis finds a plane; probabilistic PCA puts a density around it; a linear
variational autoencoder finds the same density by gradient descent; and hidden layers bend the
plane. This page checks each step by numbers. ``python plot_pca_to_vae.py --full`` adds MNIST to the
last comparison, from its files in ``--data-home``.
"""

# %%
# PCA and PPCA
# ------------
# Rows around a space of three dimensions, with noise in all of twenty features. PPCA's axes are
# those of PCA, and its density is a Gaussian with covariance ``W W' + s^2 I``; scikit-learn's PCA
# has the same density in its ``score_samples``.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import subspace_angles
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_s_curve
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skvae import PPCA, VAE, NetworkOptions
from skvae.datasets import load_mnist
from skvae.displays import TrainingCurveDisplay

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--full", action="store_true", help="the full-size data, from their files")
parser.add_argument("--data-home", help="folder of these files")
args, _ = parser.parse_known_args()

random = np.random.RandomState(0)
k, d = 3, 20
directions = random.randn(k, d)
directions /= np.linalg.norm(directions, axis=0)
X = random.randn(3000, k) @ directions + 0.5 * random.randn(3000, d)
X, X_test = X[:2000], X[2000:]

pca = PCA(k).fit(X)
ppca = PPCA(k).fit(X)

# %%
# The linear VAE
# --------------
# Without hidden layers encoder and decoder are linear, and ``noise_variance="scalar"`` is equal
# noise in every feature, as PPCA has it. Then the bound that a VAE maximises can be tight, and
# training ends close to PPCA. By default the networks would start at PPCA; here they start at
# random.

linear = VAE(
    k,
    hidden_layer_sizes=(),
    noise_variance="scalar",
    network=NetworkOptions(linear_skip=False),
    learning_rate_init=0.006,
    max_iter=200,
    random_state=0,
).fit(X)
training = TrainingCurveDisplay.from_estimator(linear)

# %%
# Three models, nearly one answer: the largest angle between their planes and PCA's, the variance
# of the noise, the mean log p(x) of the held-out rows, and the error of their reconstructions.
# The posterior means that a VAE decodes are drawn a little to the centre, which costs some error.

decoder = linear.inverse_transform(np.eye(k)) - linear.inverse_transform(np.zeros((1, k)))
cells = []
for name, plane, noise, model in (
    ("PCA", pca.components_, pca.noise_variance_, pca),
    ("PPCA", ppca.components_, ppca.noise_variance_, ppca),
    ("linear VAE", decoder, np.mean(linear.noise_variance_), linear),
):
    angle = np.degrees(subspace_angles(pca.components_.T, plane.T).max())
    rebuilt = model.inverse_transform(model.transform(X_test))
    error = np.mean((rebuilt - X_test) ** 2)
    cells.append(
        [name, f"{angle:.2f}°", f"{noise:.4f}", f"{model.score(X_test):.3f}", f"{error:.4f}"]
    )
header = ["", "angle to PCA's plane", "noise variance", "held-out log p(x)", "squared error"]
_, ax = plt.subplots(figsize=(8, 1.8), layout="constrained")
ax.axis("off")
drawn = ax.table(cells, colLabels=header, loc="center", cellLoc="center", edges="horizontal")
drawn.auto_set_font_size(False)
drawn.set_fontsize(9)
drawn.scale(1, 1.6)

# %%
# A curved surface
# ----------------
# Rows on an S-shaped sheet in space. The best plane goes through its middle; hidden layers bend it.
# Draws from each model, seen from the side. (A sheet so thin is hard to find by descent: the KL
# term is turned on slowly, and training is longer than usual.) The VAE gains 1.5 nats a row. It
# bends its own sheet too far, and closes the S to an 8.

curve = make_s_curve(3000, noise=0.05, random_state=0)[0]
S, S_test = curve[:2000], curve[2000:]
flat = PPCA(2).fit(S)
bent = VAE(2, kl_warmup=0.5, learning_rate_init=0.005, max_iter=300, random_state=0).fit(S)
_, axes = plt.subplots(1, 3, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained")
rows = {
    "held-out rows": S_test,
    f"PPCA, log p(x) = {flat.score(S_test):.2f}": flat.sample(1000, random_state=0),
    f"VAE, log p(x) = {bent.score(S_test):.2f}": bent.sample(1000, random_state=0),
}
for ax, (name, points) in zip(axes, rows.items(), strict=True):
    ax.scatter(points[:, 0], points[:, 2], s=5)
    ax.set(title=name, aspect="equal")

# %%
# What bending gains
# ------------------
# Held-out log p(x) of a VAE less that of PPCA with as many codes, in nats a feature, by the number
# of codes. Tables are standardised first, so that PPCA's equal noise is less of a handicap. The VAE
# starts at PPCA and stops early: wine has 124 rows to train on, which hidden layers soon know by
# heart.

tables = {
    "wine": StandardScaler().fit_transform(load_wine().data),
    "breast cancer": StandardScaler().fit_transform(load_breast_cancer().data),
    "digits": load_digits().data / 16,
}
sizes = [2, 4, 8]
if args.full:
    tables["MNIST"] = load_mnist(data_home=args.data_home).data


def vae(n_components):
    return VAE(
        n_components,
        hidden_layer_sizes=(64,),
        early_stopping=True,
        network=NetworkOptions(linear_skip=True),
        random_state=0,
    )


_, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, table in tables.items():
    train, test = train_test_split(table, test_size=0.3, random_state=0)
    gains = [vae(k).fit(train).score(test) - PPCA(k).fit(train).score(test) for k in sizes]
    ax.plot(sizes, np.array(gains) / table.shape[1], "o-", label=name)
ax.axhline(0, color="k", linewidth=0.8)
ax.set(xlabel="codes", ylabel="gain of the VAE (nats a feature)", xscale="log")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend()
plt.show()
# sphinx_gallery_thumbnail_number = 3
