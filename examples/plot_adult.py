"""
A table of people: codes, missing values, outliers, synthetic rows
==================================================================

This example fits one model to a data frame of numbers, categories and missing values, without
encoding it by hand. You see a map of the people in latent space, imputed values, unusual people
with the column that makes them unusual, and 30,000 synthetic people. ``python plot_adult.py
--data-home FOLDER`` reads "Adult" (Becker and Kohavi, 1996; UCI) from its file ``adult.data``.
Without the file, the people are simulated.
"""

# %%
# The table
# ---------
# The columns are age, education, work, family, hours of work, capital gains and losses, and whether
# the income is above 50,000 dollars. "?" is a missing value. The sampling weight `fnlwgt` is not a
# property of the person and is left out.

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skvae import VAE, TableOptions

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--data-home", help="folder of adult.data")
args, _ = parser.parse_known_args()

NAMES = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex "
    "capital-gain capital-loss hours-per-week native-country income"
).split()


def made_people(n=5000):
    """People with columns like those of Adult, some of them missing."""
    rng = np.random.RandomState(0)
    schools = np.array("9th HS-grad Some-college Bachelors Masters Doctorate".split())
    school = np.clip(np.round(rng.normal(2, 1.2, n)), 0, 5).astype(int)
    age = np.clip(rng.gamma(6, 4, n) + 17, 17, 90).round().astype(int)
    male, married = rng.rand(n) < 0.67, rng.rand(n) < 0.1 + 0.5 * (age > 27)
    jobs = np.array("Craft-repair Sales Adm-clerical Exec-managerial Prof-specialty".split())
    job = np.clip(np.round(school + rng.normal(0, 1, n)), 0, 4).astype(int)
    gain = np.where(rng.rand(n) < 0.08, np.exp(rng.normal(8.5, 0.8, n)), 0).round().astype(int)
    hours = np.where(rng.rand(n) < 0.5, 40, np.clip(rng.normal(40, 12, n), 1, 99).round())
    rich = rng.rand(n) < 1 / (1 + np.exp(-(school + 2 * married + gain / 4000 - 5)))
    family = np.where(married, np.where(male, "Husband", "Wife"), "Not-in-family")
    people = pd.DataFrame(
        {
            "age": age,
            "workclass": rng.choice(["Private", "Self-emp", "State-gov"], n, p=[0.75, 0.15, 0.1]),
            "education": schools[school],
            "education-num": np.array([5, 9, 10, 13, 14, 16])[school],
            "marital-status": np.where(married, "Married-civ-spouse", "Never-married"),
            "occupation": jobs[job],
            "relationship": family,
            "sex": np.where(male, "Male", "Female"),
            "capital-gain": gain,
            "hours-per-week": hours.astype(int),
            "income": np.where(rich, ">50K", "<=50K"),
        }
    )
    return people.mask((rng.rand(n, 1) < 0.06) & people.columns.isin(["workclass", "occupation"]))


here = Path.cwd()
beside = [folder / "shared" / "data" / "tables" for folder in (here, *here.parents)]
folders = [Path(args.data_home)] if args.data_home else beside
file = next((f / "adult.data" for f in folders if (f / "adult.data").exists()), None)
if file is None:
    people = made_people()
else:
    people = pd.read_csv(file, names=NAMES, na_values="?", skipinitialspace=True)
    people = people.drop(columns="fnlwgt").sample(5000, random_state=0, ignore_index=True)
print("Adult" if file else "made-up people", people.shape)
train, test = people[:4000], people[4000:].reset_index(drop=True)
people.head()

# %%
# The model takes the frame without preprocessing. `schema_` shows the column types that it
# detected. A "spiked" column is a number with a very frequent value, such as a gain of 0, or 40
# hours a week. A category that did not occur in training, such as a rare country, counts as missing
# here. By default it is an error.

table = TableOptions(handle_unknown="missing")
model = VAE(n_components=4, table=table, random_state=0).fit(train)
print(model.schema_)

# %%
# Codes
# -----
# Each person becomes four numbers. The plot shows the two that differ most with income. The model
# does not see the income of these people: the column is set to missing.

hidden = test.assign(income=None)
codes, rich = model.transform(hidden), test["income"] == ">50K"
apart = abs(codes[rich].mean(axis=0) - codes[~rich].mean(axis=0)) / codes.std(axis=0)
i, j = np.sort(np.argsort(apart)[-2:])

_, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
for which, label, colour in ((~rich, "at most 50K", "C0"), (rich, "above 50K", "C1")):
    ax.scatter(codes[which, i], codes[which, j], 9, colour, alpha=0.5, lw=0, label=label)
ax.set(xlabel=f"code {i}", ylabel=f"code {j}", title="people the model has not seen")
_ = ax.legend(title="income, not shown", markerscale=2, loc="upper left", bbox_to_anchor=(1, 1))

# %%
# Missing values
# --------------
# `impute` fills in missing values: first the income of all these people, and then one in ten known
# values at random. Categories are compared with the most frequent category, and numbers with the
# mean. Columns that depend little on the others gain little.

chance = model.impute(hidden, n_draws=20, random_state=0)
probability = np.mean([filled["income"] == ">50K" for filled in chance], axis=0)
print(f"area under the ROC curve of imputed income: {roc_auc_score(rich, probability):.3f}")

rng = np.random.default_rng(0)
taken = pd.DataFrame(rng.random(test.shape) < 0.1, columns=test.columns) & test.notna()
filled = model.impute(test.mask(taken))
gains = {}
for name in test:
    cells, truth = filled[name][taken[name]], test[name][taken[name]]
    if pd.api.types.is_numeric_dtype(test[name]):
        error, usual = abs(cells - truth).mean(), abs(train[name].mean() - truth).mean()
    else:
        error, usual = (cells != truth).mean(), (train[name].mode()[0] != truth).mean()
    gains[name] = error / usual
gains = pd.Series(gains).sort_values()

_, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
bars = ax.barh(gains.index, gains)
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.axvline(1, color="0.3", lw=1, ls="--")
ax.invert_yaxis()
ax.set(xlim=(0, max(1.15, gains.max() + 0.15)), xlabel="error, relative to mean or commonest label")
_ = ax.set_title("cells that were taken out and imputed")

# %%
# Unusual people
# --------------
# The score of a row is a log-density, which is a sum over columns. The column responsible for a low
# score is the one whose share is lowest compared with its mean share. The table shows the least
# probable person for each responsible column:

shares = model.score_features(test)
unusual = pd.DataFrame(shares - shares.mean(axis=0), columns=test.columns)
least = model.decision_function(test).argsort()
worst = unusual.loc[least].idxmin(axis=1).drop_duplicates()[:6]
pd.DataFrame(
    {
        "column": worst,
        "value": [str(test.at[row, name]) for row, name in worst.items()],
        "nats below usual": [round(-unusual.at[row, name], 1) for row, name in worst.items()],
        "outlier": model.predict(test.loc[worst.index]) == -1,
    }
)

# %%
# This person has a typing error. The row is the most typical one with a master's degree, but its
# `education-num` is changed to a value that stands for few years of school. The two columns do not
# fit each other, so both get low shares.

masters = test[test["education"] == "Masters"].dropna()
row = masters.iloc[[model.score_samples(masters).argmax()]].copy()
row["education-num"] = 5
share = pd.Series(model.score_features(row)[0] - shares.mean(axis=0), test.columns)
labels = [f"{name} = {row.iloc[0][name]}" for name in share.index]

_, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
ax.barh(labels, share, color=np.where(share == share.min(), "C3", "C0"))
ax.axvline(0, color="0.3", lw=1)
ax.invert_yaxis()
_ = ax.set(xlabel="share of the log-density less the usual one, nats")

# %%
# Synthetic people
# ----------------
# The model generates 30,000 new rows in a frame like the training frame. ``match_marginals=True``
# gives each column its distribution in training. The dependence between columns comes from the
# model.

synthetic = model.sample(30_000, random_state=1, match_marginals=True)
synthetic.head()

# %%
# The plots compare single columns, and income in groups of people, which depends on pairs of
# columns.

columns = ["age", "hours-per-week", "education", "occupation"]
_, axes = plt.subplots(3, 2, figsize=(9, 10), layout="constrained")
for ax, name in zip(axes.flat, columns, strict=False):
    both = [table[name].dropna() for table in (test, synthetic)]
    if pd.api.types.is_numeric_dtype(test[name]):
        ax.hist(both, np.linspace(0, 100, 21), density=True, label=["real", "synthetic"])
    else:
        table = pd.DataFrame({"real": both[0].value_counts(normalize=True)})
        table["synthetic"] = both[1].value_counts(normalize=True)
        table[:10][::-1].plot.barh(ax=ax, width=0.8, legend=False, ylabel="")
    ax.set_title(name)
ENDS, AGES = (16, 25, 35, 45, 55, 65), ["17-25", "26-35", "36-45", "46-55", "56-65"]
groups = {
    "education": lambda table: table["education"],
    "age": lambda table: pd.cut(table["age"], ENDS, labels=AGES).astype(str),
}
for ax, (name, group) in zip(axes[2], groups.items(), strict=True):
    shown = {}
    for label, table in (("real", people), ("synthetic", synthetic)):
        of_group = (table["income"] == ">50K").groupby(group(table))
        shown[label] = of_group.mean()[of_group.size() >= 0.01 * len(table)]
    table = 100 * pd.DataFrame(shown).dropna()
    if name == "education":
        table = table.sort_values("real")[-10:]
    else:
        table = table.loc[AGES[::-1]]
    table.plot.barh(ax=ax, width=0.8, legend=False, ylabel="")
    ax.set_title(f"income above 50K by {name}, %")
_ = axes[0, 0].legend()

# %%
# Can synthetic rows replace real ones? A classifier of the income is trained on real or on
# synthetic rows, and tested on real people that neither has seen.


def area(rows):
    """Area under the ROC curve on the test rows, of a logistic regression."""
    numbers = rows.select_dtypes("number").columns
    encoder = make_column_transformer(
        (StandardScaler(), numbers),
        (OneHotEncoder(handle_unknown="ignore"), rows.columns.difference([*numbers, "income"])),
    )
    classifier = make_pipeline(encoder, LogisticRegression(max_iter=2000))
    classifier.fit(rows.drop(columns="income"), rows["income"])
    return roc_auc_score(rich, classifier.predict_proba(test)[:, 1])


print(f"trained on 4000 real people {area(train):.3f}, on synthetic ones {area(synthetic):.3f}")
plt.show()
