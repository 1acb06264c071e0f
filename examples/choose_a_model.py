"""Which model, and how many codes?
================================

This example chooses an estimator and its number of components by one grid search, and compares the
winner with PPCA on unseen rows.

The search uses the breast cancer table of scikit-learn. The criterion is the log-density of
held-out rows. Samples of the winner are then compared with rows that the search did not use.
"""

import time
import warnings

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvae import PPCA, RAE, VAE, HuberEnergyVAE, energy_distance, knn_precision_recall


def main():
    began = time.perf_counter()
    X = load_breast_cancer().data
    X, X_test = train_test_split(X, test_size=0.3, random_state=0)
    quick = {"hidden_layer_sizes": (32,), "random_state": 0}
    search = GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("model", PPCA())]),
        {
            "model": [PPCA(), VAE(**quick), HuberEnergyVAE(**quick), RAE(**quick)],
            "model__n_components": [2, 8],
        },
        cv=KFold(3, shuffle=True, random_state=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X)

    results = pd.DataFrame(search.cv_results_)
    results["kind"] = [type(model).__name__ for model in results["param_model"]]
    table = results.pivot(
        index="kind", columns="param_model__n_components", values="mean_test_score"
    )
    print("mean held-out log p(x), nats a row, by kind and n_components")
    print(table.round(2).to_string())

    best = search.best_estimator_
    print(f"\nchosen: {type(best[-1]).__name__} with {best[-1].n_components_} codes")
    scale = best[0]
    for name, model in (("chosen", best[-1]), ("PPCA", PPCA(8).fit(scale.transform(X)))):
        drawn = model.sample(len(X_test), random_state=0)
        rows = scale.transform(X_test)
        precision, recall = knn_precision_recall(rows, drawn)
        print(
            f"{name:7} log p of unseen rows {model.score(rows):7.2f}, energy distance of new rows "
            f"to them {energy_distance(rows, drawn):.3f}, precision {precision:.2f}, "
            f"recall {recall:.2f}"
        )
    ax = table.T.plot(marker="o", xlabel="number of codes", ylabel="held-out log p(x), nats a row")
    ax.set_xticks(table.columns)
    ax.legend(title=None, frameon=False)
    ax.set_title("Which model, and how many codes?", loc="left")
    print(f"{time.perf_counter() - began:.1f} s in all")
    plt.show()


if __name__ == "__main__":
    main()
