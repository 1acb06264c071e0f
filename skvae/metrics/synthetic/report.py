"""Report of all metrics of a synthetic table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np

from ...tables.printed import html_table, shortened, text_table
from ..neighbours import random_source
from ._columns import Tables, read_tables
from .classifiers import learned_from, told_apart
from .closest_records import closer
from .marginals import column_errors, mean_of_pairs, pair_errors

__all__ = ["SyntheticReport", "synthetic_report"]

_FOLDS = 5
_MOST_COLUMNS = 20  # columns listed in the text
_WIDEST = 32  # characters of a name in the text
_OPTIONAL = """holdout_marginal_error holdout_pair_error holdout_two_sample_auc closest_record_share
    target target_measure train_on_synthetic train_on_real""".split()
_HEADS = ("column", "kind", "distance", "synthetic", "real", "missing", "missing in synthetic")


class ColumnScore(NamedTuple):
    """Distance of one synthetic column from the real column.

    Attributes
    ----------
    name, kind : str
    measure : {"TV", "KS"}
        Total variation distance for categories, Kolmogorov-Smirnov distance for numbers and times.
    error : float
        Distance of the synthetic column.
    holdout_error : float or None
        Distance of the held-out column; None without held-out rows.
    missing, missing_synthetic : float
        Proportions of missing values in the real and the synthetic column.
    """

    name: str
    kind: str
    measure: str
    error: float
    holdout_error: float | None
    missing: float
    missing_synthetic: float


@dataclass(frozen=True, eq=False, repr=False)
class SyntheticReport:
    """Metrics of a synthetic table, computed by `synthetic_report`.

    ``print(report)`` shows the metrics as text; notebooks show them as tables.

    Parameters
    ----------
    n_rows : dict of str to int
        Numbers of rows: "real", "synthetic" and, if given, "holdout".
    columns : tuple of ColumnScore
        Name, kind, measure ("TV" or "KS"), error, holdout_error, missing and missing_synthetic of
        each column, in the order of the real rows; ``pandas.DataFrame(report.columns)`` converts
        them to a table.
    pairs : ndarray of shape (d, d)
        Distances of all pairs of columns, as returned by `pair_error`.
    marginal_error : float
    pair_error : float or None
        None for tables of one column.
    two_sample_auc : float
    holdout_marginal_error, holdout_pair_error, holdout_two_sample_auc : float or None
        The same metrics, with held-out rows in place of synthetic rows.
    closest_record_share : float or None
        None without held-out rows.
    target : str or None
        Name of the predicted column.
    target_measure : {"AUC", "R2"} or None
        Metric of `train_on_synthetic` and `train_on_real`.
    train_on_synthetic : float or None
        Score of trees trained on the synthetic rows, tested on the held-out rows if given,
        otherwise on the real rows.
    train_on_real : float or None
        Score of trees trained on the real rows, tested on the held-out rows.

    See Also
    --------
    synthetic_report : Computes the report.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import synthetic_report
    >>> X = load_iris(as_frame=True).data
    >>> report = synthetic_report(X[::2], X[1::2], random_state=0)
    >>> report.columns[0].name, report.columns[0].measure
    ('sepal length (cm)', 'KS')
    """

    n_rows: dict[str, int]
    columns: tuple[ColumnScore, ...]
    pairs: np.ndarray
    marginal_error: float
    pair_error: float | None
    two_sample_auc: float
    holdout_marginal_error: float | None
    holdout_pair_error: float | None
    holdout_two_sample_auc: float | None
    closest_record_share: float | None
    target: str | None
    target_measure: str | None
    train_on_synthetic: float | None
    train_on_real: float | None

    def __repr__(self) -> str:
        figures = {
            name: getattr(self, name)
            for name in (
                "marginal_error",
                "pair_error",
                "two_sample_auc",
                "closest_record_share",
                "train_on_synthetic",
            )
        }
        parts = [f"{name}={value:.3g}" for name, value in figures.items() if value is not None]
        return f"SyntheticReport({', '.join(parts)})"

    def __str__(self) -> str:
        figures = [("", "synthetic", "real", "best"), *self._figures()]
        worst, more = self._worst()
        lines = [self._title(), "", *text_table(figures), ""]
        lines += ["Columns, the farthest first:", "", *text_table([self._heads(), *worst])]
        return "\n".join([*lines, f"... and {more} more"] if more else lines)

    def _repr_html_(self) -> str:
        figures = [("", "synthetic", "real", "best"), *self._figures()]
        worst, more = self._worst()
        rest = f"<p>... and {more} more</p>" if more else ""
        return (
            f"<p>{escape(self._title())}</p>{html_table(figures)}<p>Columns, the farthest "
            f"first:</p>{html_table([self._heads(), *worst])}{rest}"
        )

    @property
    def _compares(self) -> bool:
        """Return whether there are metrics of held-out real rows to compare with."""
        return self.holdout_marginal_error is not None

    def _title(self) -> str:
        rows = ", ".join(f"{count} {name}" for name, count in self.n_rows.items())
        return f"Synthetic rows against real ones ({rows}; {len(self.columns)} columns)"

    def _figures(self) -> Iterator[tuple[str, ...]]:
        """Return name, metric of synthetic rows, metric of held-out rows and ideal value."""
        held = (
            self.holdout_marginal_error,
            self.holdout_pair_error,
            self.holdout_two_sample_auc,
        )
        yield "marginal error", _number(self.marginal_error), _number(held[0]), "0"
        if self.pair_error is not None:
            yield "pair error", _number(self.pair_error), _number(held[1]), "0"
        yield "two-sample AUC", _number(self.two_sample_auc), _number(held[2]), "0.5"
        if self.closest_record_share is not None:
            yield "closer to real than to holdout", _number(self.closest_record_share), "", "0.5"
        if self.train_on_synthetic is not None:
            what = f"{self.target_measure} of {shortened(self.target, _WIDEST)}, learned from"
            yield what, _number(self.train_on_synthetic), _number(self.train_on_real), "1"

    def _heads(self) -> tuple[str, ...]:
        return _HEADS if self._compares else tuple(h for h in _HEADS if h != "real")

    def _worst(self) -> tuple[list[tuple[str, ...]], int]:
        """Return the columns listed in the text, and the number of the others."""
        order = sorted(self.columns, key=lambda column: -column.error)
        any_missing = any(column.missing or column.missing_synthetic for column in order)
        rows = []
        for column in order[:_MOST_COLUMNS]:
            held = [_number(column.holdout_error)] if self._compares else []
            missing = (column.missing, column.missing_synthetic)
            holes = [f"{100.0 * x:.1f} %" if any_missing else "" for x in missing]
            words = (shortened(column.name, _WIDEST), column.kind, column.measure)
            rows.append((*words, _number(column.error), *held, *holes))
        return rows, len(order) - len(rows)


def synthetic_report(
    real: Any,
    synthetic: Any,
    holdout: Any = None,
    target: Any = None,
    *,
    kinds: Mapping[Any, str] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> SyntheticReport:
    """Evaluate a synthetic table: similarity to real rows, utility, and copies of real rows.

    Parameters
    ----------
    real : array or data frame of shape (n, d)
        Real rows, on which the model was fitted; missing values may be NaN, None, NA, NaT or null.
        They determine which columns are categorical.
    synthetic : array or data frame of shape (m, d)
        Rows generated by the model, in a table of the same or another library. Columns are matched
        by name, in arrays by position.
    holdout : array or data frame of shape (k, d), optional
        Real rows that the model was not trained on. If given, the report also measures whether the
        synthetic rows are copies, and contains all other metrics for `holdout` in place of
        `synthetic` as a baseline. It should have as many rows as `synthetic`, since the distances
        decrease with the number of rows.
    target : str or int, optional
        Column, by name or position, that trees trained on the synthetic rows and on the real rows
        predict for the held-out rows (or for the real rows without `holdout`).
    kinds : mapping from names or positions of columns to str, optional
        Column types that override those inferred from the dtypes of `real`: "numeric", "integer",
        "boolean", "categorical", "ordinal", "datetime" or "duration". Needed for categories that
        are coded as numbers.
    random_state : int, RandomState or None, default=None
        Random source of folds and subsamples. None uses a new seed in each call; numpy's global
        generator is not changed.

    Returns
    -------
    SyntheticReport
        Report with the metrics as attributes; ``print`` shows them as text, notebooks as tables.

    Raises
    ------
    TypeError
        If an argument is not a table, or a column has values of an unsupported type or of another
        type than in ``real``.
    ValueError
        If a table has fewer than 5 rows, the columns of a table differ from those of ``real``, a
        column contains infinite numbers or more than 1000 categories, ``target`` is not a column or
        has only one value, or ``kinds`` is invalid.

    See Also
    --------
    marginal_error, pair_error : Distances of columns and pairs of columns.
    two_sample_auc : Whether a classifier distinguishes synthetic from real rows.
    train_on_synthetic : Predictive performance of models trained on synthetic rows.
    closest_record_share : Whether synthetic rows are copies of training rows.
    displays.SyntheticDisplay : Plots columns and pairs.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import PPCA, synthetic_report
    >>> X = load_iris(as_frame=True).data.round(1)
    >>> real, holdout = X[::2], X[1::2]
    >>> synthetic = PPCA(n_components=2).fit(real).sample(75, random_state=0)
    >>> report = synthetic_report(real, synthetic, holdout, "petal width (cm)", random_state=0)
    >>> bool(report.marginal_error > report.holdout_marginal_error)
    True
    >>> print(str(report).partition(";")[0])
    Synthetic rows against real ones (75 real, 75 synthetic, 75 holdout
    """
    rng = random_source(random_state)
    given = {"real": real, "synthetic": synthetic}
    tables = read_tables(kinds, **given, **({} if holdout is None else {"holdout": holdout}))
    n_rows = {name: len(values) for name, values in tables.values.items()}
    for name, count in n_rows.items():
        if count < _FOLDS:
            raise ValueError(f"{name} has {count} rows, but a report needs at least {_FOLDS}.")
    place = None if target is None else tables.place(target, "target")
    near, pairs, area = _compared(tables, "synthetic", rng)
    found: dict[str, Any] = dict.fromkeys(_OPTIONAL)
    held = None
    if holdout is not None:
        held, held_pairs, held_area = _compared(tables, "holdout", rng)
        found |= {
            "holdout_marginal_error": float(held.mean()),
            "holdout_pair_error": mean_of_pairs(held_pairs) if len(tables) > 1 else None,
            "holdout_two_sample_auc": held_area,
            "closest_record_share": closer(tables, "real", rng),
        }
    if place is not None:
        test = "real" if holdout is None else "holdout"
        found |= {
            "target": tables.names[place],
            "target_measure": "R2" if tables.labels(place) is None else "AUC",
            "train_on_synthetic": learned_from(tables, "synthetic", test, place, rng),
        }
        if holdout is not None:
            found["train_on_real"] = learned_from(tables, "real", test, place, rng)
    return SyntheticReport(
        n_rows=n_rows,
        columns=tuple(_scores(tables, near, held)),
        pairs=pairs,
        marginal_error=float(near.mean()),
        pair_error=mean_of_pairs(pairs) if len(tables) > 1 else None,
        two_sample_auc=area,
        **found,
    )


def _compared(
    tables: Tables, other: str, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return distances of columns (d,) and pairs (d, d), and the AUC, of another table."""
    pairs = pair_errors(tables, other)
    return column_errors(tables, other), pairs, told_apart(tables, other, _FOLDS, rng)


def _scores(tables: Tables, near: np.ndarray, held: np.ndarray | None) -> Iterator[ColumnScore]:
    missing = [np.isnan(tables.values[name]).mean(axis=0) for name in ("real", "synthetic")]
    for j, name in enumerate(tables.names):
        yield ColumnScore(
            name,
            tables.columns[j].kind,
            "KS" if tables.labels(j) is None else "TV",
            float(near[j]),
            None if held is None else float(held[j]),
            float(missing[0][j]),
            float(missing[1][j]),
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
