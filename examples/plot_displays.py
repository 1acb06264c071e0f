"""
A tour of the displays
======================

``skvae.displays`` draws models, codes and rows in scikit-learn's way: ``from_estimator`` computes
and draws, the values stay on the object, and ``plot(ax=...)`` draws them again elsewhere. Digits
show what displays do with pictures, wines what they do with tables.
"""

# %%
# Two models: a variational autoencoder of digits, with two codes so that they can be seen, and a
# Pipeline that ends in one for the wines. Rows that go into a display are in the units of the
# Pipeline, and so are those that come out.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAE, ConditionalVAE, DenoisingAE, MaskAAE
from skvae.displays import (
    AttributionDisplay,
    InterpolationDisplay,
    LatentManifoldDisplay,
    LatentMaskDisplay,
    LatentSpaceDisplay,
    OutlierScoreDisplay,
    PairsDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    TrainingCurveDisplay,
)

image_shape = (1, 8, 8)  # channels, height, width
digits, labels = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(digits / 16, labels, random_state=0)
model = VAE(n_components=2, random_state=0).fit(X)

wines = load_wine(as_frame=True)
kinds = wines.target_names[wines.target]
pipeline = make_pipeline(StandardScaler(), VAE(n_components=2, random_state=0)).fit(wines.data)

# %%
# Training
# --------
# Every part of the loss by epoch, and their sum. Where parts differ in size by orders of magnitude,
# the axis becomes logarithmic.

_ = TrainingCurveDisplay.from_estimator(model)

# %%
# Codes
# -----
# Held-out digits in the plane of the two codes. The contours hold 50, 90 and 99 % of the prior,
# N(0, I): draws from there are decoded to new rows, so it should lie where the codes are.

_ = LatentSpaceDisplay.from_estimator(model, X_test, y=y_test, density="prior")

# %%
# Any display draws on given Axes. The same codes of wines, with their kind and with a number.

_, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
_ = LatentSpaceDisplay.from_estimator(pipeline, wines.data, y=kinds, density="codes", ax=axes[0])
_ = LatentSpaceDisplay.from_estimator(pipeline, wines.data, y=wines.data["alcohol"], ax=axes[1])
axes[0].set_title("kind")
axes[1].set_title("alcohol")

# %%
# What the decoder makes of normal quantiles of the two codes: the map of all digits it knows.

_ = LatentManifoldDisplay.from_estimator(model, image_shape=image_shape)

# %%
# Of a table it maps one feature.

_ = LatentManifoldDisplay.from_estimator(pipeline, n_steps=30, feature="color_intensity")

# %%
# Ways between pairs of held-out digits, straight in the space of codes.

_ = InterpolationDisplay.from_estimator(model, X_test[:4], X_test[4:8], image_shape=image_shape)

# %%
# `MaskAAE` learns how many codes the rows need; its mask says which.

_ = LatentMaskDisplay.from_estimator(MaskAAE(n_components=8, random_state=0).fit(wines.data))

# %%
# Rows
# ----
# Reconstructions, here of noisy digits by a denoising autoencoder.

random = np.random.RandomState(0)
noisy = np.clip(X_test + 0.3 * random.randn(*X_test.shape), 0, 1)
denoiser = DenoisingAE(n_components=16, random_state=0).fit(X)
_ = ReconstructionDisplay.from_estimator(denoiser, X_test, X_seen=noisy, image_shape=image_shape)

# %%
# Rows of a table are profiles, in standard deviations.

_ = ReconstructionDisplay.from_estimator(pipeline, wines.data, n_rows=4)

# %%
# New digits of each class, from a model of rows given labels.

conditional = ConditionalVAE(n_components=4, random_state=0).fit(X, y)
_ = SamplesDisplay.from_estimator(
    conditional, 10, y=range(10), noise=False, random_state=0, image_shape=image_shape
)

# %%
# New wines, in standard deviations of the real ones, and against these in pairs of features.

_ = SamplesDisplay.from_estimator(pipeline, 60, random_state=0, reference=wines.data)

# %%

features = ["alcohol", "flavanoids", "color_intensity"]
_ = PairsDisplay.from_estimator(pipeline, wines.data, features=features, random_state=0)

# %%
# Scores
# ------
# Log-densities of held-out digits, of digits with their pixels shuffled, and of noise, with the
# threshold of `predict`. All scores far below are in the first bin.

strange = {
    "held-out digits": X_test,
    "shuffled pixels": X_test[:, random.permutation(64)],
    "uniform noise": random.uniform(size=(200, 64)),
}
_ = OutlierScoreDisplay.from_estimator(model, strange)

# %%
# Why is a row unusual? Shares of its log-density, less what they usually are: for a digit with a
# scratch, by pixel, and for a wine with a wrong number, by feature.

scratched = X_test[0].copy()
scratched[32:40] = 1.0
_ = AttributionDisplay.from_estimator(model, scratched, X, image_shape=image_shape)

# %%

wrong = wines.data[:1].copy()
wrong["ash"] = 5.0
_ = AttributionDisplay.from_estimator(pipeline, wrong, wines.data)
plt.show()
# sphinx_gallery_thumbnail_number = 4
