"""
Outliers in a table
===================

Fitted on measurements of benign tumours, a model knows what is usual: how unusual are new rows, and
malignant ones? Which of their features are odd? What changes when some of the training rows are
outliers themselves, and how do scikit-learn's detectors do?
"""

# %%
# The model sees 249 benign rows. It scales features itself; what it gives are log-densities in the
# units of the table. Three in ten are held out, since few rows set a threshold roughly: of twenty,
# the lowest score alone would.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import false_discovery_control
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import PPCA, VAE, TrainingOptions
from skvae.displays import AttributionDisplay, OutlierScoreDisplay

tumours = load_breast_cancer(as_frame=True)
benign = tumours.data[tumours.target == 1]
malignant = tumours.data[tumours.target == 0]
X, X_test = train_test_split(benign, test_size=0.3, random_state=0)
model = VAE(training=TrainingOptions(held_out_fraction=0.3), random_state=0).fit(X)

# %%
# Scores and a threshold
# ----------------------
# Log-densities of rows that the model has not seen, with the threshold of `predict`. It is set by
# the scores of training rows that `fit` held out, without a guess of the share of outliers: of new
# rows like those of the training `false_alarm_rate`, here 5 %, lie below it, in the mean over
# such fits.

groups = {"benign, held out": X_test, "malignant": malignant}
_ = OutlierScoreDisplay.from_estimator(model, groups)

# %%
# P-values say the same row by row: the share of held-out rows that score as low. Those of normal
# rows are uniform. Of many rows at once, Benjamini and Hochberg's rule picks some of which at most
# one in ten is a false alarm, in the mean.

p_values = {name: model.p_values(rows) for name, rows in groups.items()}
picked = false_discovery_control(np.concatenate(list(p_values.values()))) <= 0.1
_, ax = plt.subplots(layout="constrained")
for name, p in p_values.items():
    ax.ecdf(p, label=name)
ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="uniform")
ax.set(xlabel="p-value", ylabel="share of rows with at most this p-value")
ax.set_title(
    f"picked: {picked[: len(X_test)].sum()} benign, {picked[len(X_test) :].sum()} malignant"
)
_ = ax.legend()

# %%
# Why is this row odd?
# --------------------
# A log-density is a sum over features: each has its share, here less what is usual for held-out
# rows. First a row with a typing error, the smoothness of a benign tumour ten times too large.

wrong = X_test[:1].copy()
wrong["mean smoothness"] *= 10
_ = AttributionDisplay.from_estimator(model, wrong, X_test)

# %%
# And a malignant row of middling score.

order = np.argsort(model.score_samples(malignant))
middling = malignant.iloc[order[len(order) // 2] : order[len(order) // 2] + 1]
_ = AttributionDisplay.from_estimator(model, middling, X_test)

# %%
# Other detectors, clean and contaminated training rows
# -----------------------------------------------------
# The area under the ROC curve over four divisions of the rows, with its standard error: detectors
# fitted on benign rows alone, and on rows of which one in twenty is malignant. All get standardised
# features. On clean rows the VAE and the isolation forest are level; malignant training rows cost
# the forest and the neighbours little, and the VAE, which learns some of them, more.

detectors = {
    "VAE": lambda: VAE(random_state=0),
    "PPCA": lambda: PPCA(0.9),
    "LocalOutlierFactor": lambda: LocalOutlierFactor(novelty=True),
    "IsolationForest": lambda: IsolationForest(random_state=0),
}
areas = {(name, share): [] for name in detectors for share in (0, 5)}
for seed in range(4):
    usual, unseen = train_test_split(benign.to_numpy(), test_size=0.3, random_state=seed)
    strange = np.random.RandomState(seed).permutation(malignant.to_numpy())
    rows = np.vstack([unseen, strange[13:]])
    is_strange = np.arange(len(rows)) >= len(unseen)
    for (name, share), found in areas.items():
        train = np.vstack([usual, strange[:13]]) if share else usual
        detector = make_pipeline(StandardScaler(), detectors[name]()).fit(train)
        found.append(roc_auc_score(is_strange, -detector.score_samples(rows)))

_, ax = plt.subplots(figsize=(8, 4), layout="constrained")
place = np.arange(len(detectors))
for i, (share, label) in enumerate([(0, "clean"), (5, "one in twenty malignant")]):
    found = np.array([areas[name, share] for name in detectors])
    error = found.std(axis=1, ddof=1) / np.sqrt(found.shape[1])
    bars = ax.bar(place + 0.4 * i - 0.2, found.mean(axis=1), 0.38, yerr=error, label=label)
    ax.bar_label(bars, fmt="%.3f", padding=2)
ax.set_xticks(place, detectors)
ax.set(ylabel="AUROC", ylim=(0.8, 1.0))
ax.legend(title="training rows", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
plt.show()
