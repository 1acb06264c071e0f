"""
Outliers in a table
===================

This example fits a model to measurements of benign tumours and detects unusual rows among new ones.
You see the scores of benign and malignant tumours, p-values, the features that make a row unusual,
and a comparison with the detectors of scikit-learn on clean and on contaminated training rows.
"""

# %%
# The model is fitted to 249 benign rows. It scales features itself, and returns log-densities in
# the units of the table. Three in ten rows are held out to set the threshold. With few held-out
# rows the threshold is rough: with twenty, the lowest score alone would set it.

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
# The plot shows log-densities of rows that the model has not seen, with the threshold of `predict`.
# The threshold comes from the scores of training rows that `fit` held out, so you do not need to
# guess the share of outliers. On average over such fits, a share of `false_alarm_rate`, here 5 %,
# of new normal rows lies below it.

groups = {"benign, held out": X_test, "malignant": malignant}
_ = OutlierScoreDisplay.from_estimator(model, groups)

# %%
# P-values give the same information for each row: the share of held-out rows that score as low. The
# p-values of normal rows are uniform. For many rows at once, use the rule of Benjamini and
# Hochberg. On average at most one in ten of the rows that it selects is a false alarm.

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
# Why is this row unusual?
# ------------------------
# A log-density is a sum over features. The plot shows the share of each feature minus its usual
# value in held-out rows. The first row has a typing error: the smoothness of a benign tumour is ten
# times too large.

wrong = X_test[:1].copy()
wrong["mean smoothness"] *= 10
_ = AttributionDisplay.from_estimator(model, wrong, X_test)

# %%
# The next row is a malignant tumour with the median score.

order = np.argsort(model.score_samples(malignant))
middling = malignant.iloc[order[len(order) // 2] : order[len(order) // 2] + 1]
_ = AttributionDisplay.from_estimator(model, middling, X_test)

# %%
# Other detectors, clean and contaminated training rows
# -----------------------------------------------------
# The plot shows the area under the ROC curve, on average over four splits, with its standard error.
# The detectors were fitted to benign rows only, or to rows of which one in twenty is malignant. All
# get standardised features. On clean rows the VAE and the isolation forest are equally good.
# Malignant training rows cost the forest and the nearest neighbours little. They cost the VAE more,
# because it learns some of them.

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
