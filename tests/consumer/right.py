"""What a user writes. Both type checkers have to pass it without a remark."""

import numpy as np

import skvae
from skvae import PPCA, VAE, load
from skvae.displays import LatentSpaceDisplay

X = np.random.default_rng(0).normal(size=(100, 5))
model: VAE = VAE(2, beta=2.0, random_state=0).fit(X)
codes: np.ndarray = VAE(2, beta=2.0).fit(X).transform(X)
rebuilt: np.ndarray = model.inverse_transform(codes)
new: np.ndarray = PPCA(2).fit(X).sample(10)
inliers = new[model.predict(new) == 1]
display = LatentSpaceDisplay.from_estimator(model, X)
model = load("model.safetensors")
read = skvae.datasets.load_mnist
version: str = skvae.__version__
