"""
Convolutional models of images
==============================

Rows that are images can have convolutional networks: by ``image_shape``, by rows in four
dimensions, or by networks of one's own. This page shows the three, on colour patches of photographs
and on digits, and compares them with fully connected networks.
``python plot_images.py --full`` takes MNIST, from its files in ``--data-home``, in place of the
digits, and patches of 32 x 32.
"""

# %%
# Images by their shape
# ---------------------
# Colour patches of two photographs as rows, all reds of a patch first. ``image_shape`` says what
# they are: (channels, height, width). `hidden_channels` of `NetworkOptions` are the channels of
# the stages, each of which halves height and width.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skvae import VAE, NetworkOptions
from skvae.datasets import load_image_patches, load_mnist
from skvae.displays import InterpolationDisplay, ReconstructionDisplay, SamplesDisplay

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--full", action="store_true", help="the full-size data, from their files")
parser.add_argument("--data-home", help="folder of these files")
args, _ = parser.parse_known_args()

if args.full:
    patches = load_image_patches(size=32, n_samples=20_000, random_state=0)
    digits, digit_shape = load_mnist(data_home=args.data_home).data, (1, 28, 28)
    size = {}
else:
    patches = load_image_patches(size=16, n_samples=1500, random_state=0)
    digits, digit_shape = load_digits().data / 16, (1, 8, 8)
    size = {"hidden_layer_sizes": (64,), "network": NetworkOptions(hidden_channels=(8, 16))}

X, X_test = train_test_split(patches.data, test_size=0.3, random_state=0)
model = VAE(16, image_shape=patches.image_shape, **size, random_state=0).fit(X)
_ = ReconstructionDisplay.from_estimator(model, X_test, n_rows=10)

# %%
# New patches, and ways between held-out ones. Colours, light and coarse shape are there; fine
# texture, of which 16 numbers cannot tell, is not.

_ = SamplesDisplay.from_estimator(model, 20, noise=False, random_state=0)

# %%

unlike = [np.argmax(np.sum((X_test - x) ** 2, axis=1)) for x in X_test[:3]]
_ = InterpolationDisplay.from_estimator(model, X_test[:3], X_test[unlike])

# %%
# Rows in four dimensions
# -----------------------
# Arrays of shape (n, channels, height, width) say it themselves. What comes out are rows all the
# same, as everywhere in scikit-learn.

D, D_test = train_test_split(digits, test_size=0.3, random_state=0)
convolutional = VAE(16, **size, random_state=0).fit(D.reshape(-1, *digit_shape))
_ = ReconstructionDisplay.from_estimator(convolutional, D_test, n_rows=10)

# %%
# A network of one's own
# ----------------------
# An encoder is a function of the numbers of its inputs and outputs that returns a module. It gets
# rows; `nn.Unflatten` makes them images. The decoder here is left fully connected.


def encoder(in_features, out_features):
    _, height, width = digit_shape
    return nn.Sequential(
        nn.Unflatten(1, digit_shape),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(16 * (height // 2) * (width // 2), out_features),
    )


own = VAE(16, encoder=encoder, random_state=0).fit(D)

# %%
# Against fully connected layers
# ------------------------------
# The mean log p(x) of held-out images (higher is better), in nats a pixel and channel. On patches
# convolutions gain; the small digits leave them little to find, and the encoder of our own, which
# keeps more of the resolution, does best there.

connected = VAE(16, random_state=0).fit(D)
connected_patches = VAE(16, random_state=0).fit(X)
bars = {
    "digits\nfully connected": connected.score(D_test) / D.shape[1],
    "digits\nown encoder": own.score(D_test) / D.shape[1],
    "digits\nconvolutional": convolutional.score(D_test) / D.shape[1],
    "patches\nfully connected": connected_patches.score(X_test) / X.shape[1],
    "patches\nconvolutional": model.score(X_test) / X.shape[1],
}
_, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
drawn = ax.bar(list(bars), list(bars.values()), color=["C0"] * 3 + ["C1"] * 2)
ax.bar_label(drawn, fmt="%.3f")
ax.set(ylabel="held-out log p(x), nats a number")
ax.margins(y=0.12)
plt.show()
# sphinx_gallery_thumbnail_number = 2
