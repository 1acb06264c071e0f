"""Printable summary of the columns of a fitted model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .format import ColumnFormat, TableFormat
from .kinds import ColumnKind
from .printed import html_table, shortened, text_table
from .schema import Schema

_MOST_ROWS = 60
_MOST_VALUES = 5
_WIDEST = 60  # characters of the last column of the text


@dataclass(frozen=True, eq=False)
class SchemaView:
    """Summary of the columns of a training table: names, dtypes, column types and values.

    It is printed as a text table, and shown as an HTML table in notebooks.

    Attributes
    ----------
    names : list of str or int
        Names of the columns, or their positions if they have no names.
    dtypes : list of str
        Dtypes of the columns, as named by the library of the table.
    kinds : list of str
        Column types: "numeric", "integer", "datetime", "duration", "constant"; "spiked" for numbers
        with some frequent values; "binary" and "discrete" for numbers with few values, which are
        modelled as categories; "boolean", "categorical", "ordinal" for labels; "missing" for
        columns without observed values.
    values : list of str
        Range of numbers, and the most frequent categories with their proportions.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAE
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([rng.normal(size=200), rng.random(200) < 0.2])
    >>> model = VAE(1, random_state=0).fit(X)
    >>> model.schema_.kinds
    ['numeric', 'binary']
    """

    names: list[str | int]
    dtypes: list[str]
    kinds: list[str]
    values: list[str]

    @classmethod
    def of(cls, schema: Schema, looks: TableFormat) -> SchemaView:
        kinds = schema.kinds or [ColumnKind("numeric")] * schema.n_columns
        columns = list(looks.columns)
        names = [j if c.name is None else c.name for j, c in enumerate(columns)]
        values = [_values(schema, j, kinds[j], c) for j, c in enumerate(columns)]
        return cls(
            [n if isinstance(n, int) else str(n) for n in names],
            [c.dtype for c in columns],
            [k.kind for k in kinds],
            values,
        )

    def _rows(self) -> tuple[list[tuple[str, ...]], str]:
        """Return the header and the rows that are shown, and a note on the others."""
        columns = zip(self.names, self.dtypes, self.kinds, self.values, strict=True)
        every: list[tuple[str, ...]] = [tuple(map(str, cells)) for cells in columns]
        left = len(every) - _MOST_ROWS
        more = f"... and {left} further columns" if left > 0 else ""
        return [("column", "dtype", "kind", "values"), *every[:_MOST_ROWS]], more

    def __repr__(self) -> str:
        rows, more = self._rows()
        lines = text_table((*row[:3], shortened(row[3], _WIDEST)) for row in rows)
        return "\n".join([*lines, more] if more else lines)

    def _repr_html_(self) -> str:
        rows, more = self._rows()
        return html_table(rows) + (f"<p>{more}</p>" if more else "")


def _values(schema: Schema, j: int, kind: ColumnKind, column: ColumnFormat) -> str:
    """Describe the values of a column."""
    if kind.kind == "missing":
        return ""
    low, high = _number(schema.low[j], kind, column), _number(schema.high[j], kind, column)
    reach = low if low == high else f"{low} to {high}"
    if not kind.values:
        return reach
    total = sum(kind.counts)
    often = sorted(zip(kind.values, kind.counts, strict=True), key=lambda pair: -pair[1])
    if kind.kind == "spiked":  # proportions of all rows, whose number is not known here
        return f"{reach}, often {', '.join(_number(v, kind, column) for v, _ in often)}"
    labels = column.labels
    shown = []
    for value, count in often[:_MOST_VALUES]:
        name = _number(value, kind, column)
        if kind.is_label and labels is not None:
            name = str(labels[int(value)])
        shown.append(f"{name} {count / total:.0%}")
    more = len(often) - _MOST_VALUES
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")


def _number(value: float, kind: ColumnKind, column: ColumnFormat) -> str:
    if column.kind == "datetime":
        return str(np.datetime64(round(float(value)), "s")).replace("T", " ")
    if column.kind == "duration":
        return f"{value:g} s"
    return f"{value:.6g}"
