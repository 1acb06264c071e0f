"""
A table of people: codes, missing values, outliers, synthetic rows
==================================================================

Numbers, categories and missing values in one data frame: from the frame to two codes a person, to
strange people and the column that is to blame, to filled cells, and to 30,000 synthetic people,
without any encoding by hand. ``python plot_adult.py --data-home FOLDER`` reads "Adult" (Becker and
Kohavi, 1996; UCI) from its file ``adult.data``; without the file the people are made up.
"""

# %%
# The table
# ---------
# A person's age, education, work, family, hours of work, gains and losses of capital, and whether
# the income is above 50,000 dollars. "?" stands for a missing value. The sampling weight `fnlwgt`
# says nothing about the person and is left out.

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
# The model takes the frame as it is. What it found its columns to be is in `schema_`: "spiked" is
# a number with a value that comes very often, such as no gain, or 40 hours a week. A category that
# was not there in training, such as a rare country, is to count as missing; else it is an error.

table = TableOptions(handle_unknown="missing")
model = VAE(n_components=4, table=table, random_state=0).fit(train)
print(model.schema_)

# %%
# Codes
# -----
# Each person as four numbers; the two that vary most with income are drawn. The model does not see
# the income of these people: the cells of that column are taken out.

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
# `impute` fills what is missing: here the income of all these people, and then one known cell in
# ten at random. The most probable category is compared with the commonest one, and the conditional
# mean with the mean. Columns of which the others say little gain little.

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
# Strange people
# --------------
# Log-densities are sums over columns. A person's worst column is the one whose share is lowest in
# comparison with what it usually is. The least probable people, one for each worst column:

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
# A typing error in the most usual row of a master: a number of education that belongs to few years
# of school. The two columns do not fit each other, and share the blame.

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
# 30,000 new rows in a frame like that of the fit. ``match_marginals=True`` gives each column the
# distribution that it has in training, and leaves what columns have to do with each other to the
# model.

synthetic = model.sample(30_000, random_state=1, match_marginals=True)
synthetic.head()

# %%
# Columns one by one, and income in groups of people, which is a matter of pairs.

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
# Do synthetic rows do in place of real ones? A classifier of the income is trained on either, and
# judged by real people that neither has seen.


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
