"""What a model found its columns to be, for a person to read."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from .format import ColumnFormat, TableFormat
from .kinds import ColumnKind
from .schema import Schema

_MOST_ROWS = 60
_MOST_VALUES = 5
_WIDEST = 60  # characters of the last column of a text

_STYLE = "text-align:left;padding:0.1em 0.8em;white-space:nowrap"


@dataclass(frozen=True, eq=False)
class SchemaView:
    """Columns of a training table: names, dtypes, kinds, and what values they have.

    Printed it is a table of text, and in a notebook one of HTML.

    Attributes
    ----------
    names : list of str or int
        Names of the columns, or their positions where they have none.
    dtypes : list of str
        What the library of the table calls their types.
    kinds : list of str
        "numeric", "integer", "datetime", "duration", "constant"; "spiked": a number, or one of some
        frequent values; "binary" and "discrete": numbers of few values, which are learned as
        classes; "boolean", "categorical", "ordinal": labels; "missing": no cell was seen.
    values : list of str
        The range of numbers, and the commonest classes with their shares of the rows.

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

    def _rows(self) -> tuple[list[tuple[str, ...]], int]:
        """Rows that are shown, and how many are not."""
        columns = zip(self.names, self.dtypes, self.kinds, self.values, strict=True)
        every: list[tuple[str, ...]] = [tuple(map(str, cells)) for cells in columns]
        return every[:_MOST_ROWS], max(0, len(every) - _MOST_ROWS)

    def __repr__(self) -> str:
        rows, left = self._rows()
        table = [("column", "dtype", "kind", "values"), *rows]
        table = [(*row[:3], _short(row[3])) for row in table]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        return "\n".join(lines + ([f"... and {left} further columns"] if left else []))

    def _repr_html_(self) -> str:
        rows, left = self._rows()
        body = "".join(
            "<tr>" + "".join(f'<td style="{_STYLE}">{escape(c)}</td>' for c in row) + "</tr>"
            for row in rows
        )
        head = "".join(
            f'<th style="{_STYLE}">{c}</th>' for c in ("column", "dtype", "kind", "values")
        )
        more = f"<p>... and {left} further columns</p>" if left else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _values(schema: Schema, j: int, kind: ColumnKind, column: ColumnFormat) -> str:
    """What values a column has."""
    if kind.kind == "missing":
        return ""
    low, high = _number(schema.low[j], kind, column), _number(schema.high[j], kind, column)
    reach = low if low == high else f"{low} to {high}"
    if not kind.values:
        return reach
    total = sum(kind.counts)
    often = sorted(zip(kind.values, kind.counts, strict=True), key=lambda pair: -pair[1])
    if kind.kind == "spiked":  # the shares are among all rows, which are not known here
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
