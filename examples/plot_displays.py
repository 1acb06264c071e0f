"""
A tour of the displays
======================

This example shows the plots of ``skvae.displays``: for images with digits, and for tables with
wines. Displays work as in scikit-learn: ``from_estimator`` computes the values and draws them, the
object stores them, and ``plot(ax=...)`` draws them again.
"""

# %%
# The example uses two models: a variational autoencoder of digits with two codes, so that you can
# see them, and a Pipeline for the wines that ends in one. Displays take and return rows in the
# units of the Pipeline.

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
# The training curves show each term of the loss by epoch, and the sum. If the terms differ by
# orders of magnitude, the axis becomes logarithmic.

_ = TrainingCurveDisplay.from_estimator(model)

# %%
# Codes
# -----
# Held-out digits in the plane of the two codes. The contours contain 50, 90 and 99 % of the prior
# N(0, I). Samples are decoded from there, so the contours should cover the codes.

_ = LatentSpaceDisplay.from_estimator(model, X_test, y=y_test, density="prior")

# %%
# Every display can draw on given Axes. Here are the codes of wines, coloured by class and by a
# number.

_, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
_ = LatentSpaceDisplay.from_estimator(pipeline, wines.data, y=kinds, density="codes", ax=axes[0])
_ = LatentSpaceDisplay.from_estimator(pipeline, wines.data, y=wines.data["alcohol"], ax=axes[1])
axes[0].set_title("kind")
axes[1].set_title("alcohol")

# %%
# The decoder is applied to a grid of normal quantiles of the two codes. The result is a map of all
# digits that it can generate.

_ = LatentManifoldDisplay.from_estimator(model, image_shape=image_shape)

# %%
# For a table, the map shows one feature.

_ = LatentManifoldDisplay.from_estimator(pipeline, n_steps=30, feature="color_intensity")

# %%
# Interpolation between pairs of held-out digits, on straight lines in latent space.

_ = InterpolationDisplay.from_estimator(model, X_test[:4], X_test[4:8], image_shape=image_shape)

# %%
# `MaskAAE` learns how many codes the rows need. The plot shows its mask.

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
# Rows of a table are drawn as profiles, in standard deviations.

_ = ReconstructionDisplay.from_estimator(pipeline, wines.data, n_rows=4)

# %%
# New digits of each class, from a model that was trained with labels.

conditional = ConditionalVAE(n_components=4, random_state=0).fit(X, y)
_ = SamplesDisplay.from_estimator(
    conditional, 10, y=range(10), noise=False, random_state=0, image_shape=image_shape
)

# %%
# New wines, in standard deviations of the real ones, and then compared with real wines in pairs of
# features.

_ = SamplesDisplay.from_estimator(pipeline, 60, random_state=0, reference=wines.data)

# %%

features = ["alcohol", "flavanoids", "color_intensity"]
_ = PairsDisplay.from_estimator(pipeline, wines.data, features=features, random_state=0)

# %%
# Scores
# ------
# Log-densities of held-out digits, of digits with shuffled pixels, and of noise, with the threshold
# of `predict`. All scores far below it are in the first bin.

strange = {
    "held-out digits": X_test,
    "shuffled pixels": X_test[:, random.permutation(64)],
    "uniform noise": random.uniform(size=(200, 64)),
}
_ = OutlierScoreDisplay.from_estimator(model, strange)

# %%
# Why is a row unusual? The plots show the shares of its log-density minus their usual values: by
# pixel for a digit with a scratch, and by feature for a wine with a wrong number.

scratched = X_test[0].copy()
scratched[32:40] = 1.0
_ = AttributionDisplay.from_estimator(model, scratched, X, image_shape=image_shape)

# %%

wrong = wines.data[:1].copy()
wrong["ash"] = 5.0
_ = AttributionDisplay.from_estimator(pipeline, wrong, wines.data)
plt.show()
# sphinx_gallery_thumbnail_number = 4
