"""Marginal distributions of weighted rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .kinds import ColumnKind
from .schema import Schema
from .source import RowSource, repeated

EXAMPLES = 4096  # rows whose values represent the marginals of columns of numbers
_BLOCK = 16_384  # rows read at once


def weigh_marginals(schema: Schema, source: RowSource, weights: np.ndarray) -> Schema:
    """Return a schema with the marginal distributions of weighted rows.

    Locations, scales and column types stay those of the rows without weights, since training
    reads all of them.

    Parameters
    ----------
    schema : Schema
        Schema of the rows without weights.
    source : RowSource
    weights : ndarray of shape (n,)

    Returns
    -------
    schema : Schema
    """
    drawn = source.take(repeated(weights, min(source.n_rows, EXAMPLES)))
    examples = {j: drawn.column(j) for j in schema.examples}
    kept = {j: np.sort(v) if len(v) else schema.examples[j] for j, v in examples.items()}
    kinds = None if schema.kinds is None else _weigh_counts(schema.kinds, source, weights)
    return replace(schema, kinds=kinds, examples=kept)


def _weigh_counts(
    kinds: list[ColumnKind], source: RowSource, weights: np.ndarray
) -> list[ColumnKind]:
    """Return column types whose classes have counts in proportion to weights, none of them 0."""
    sums = {j: np.zeros(len(kind.values)) for j, kind in enumerate(kinds) if kind.values}
    done = 0
    for rows in source.blocks(_BLOCK):
        own = weights[done : done + len(rows)]
        done += len(rows)
        for j, total in sums.items():
            known = np.isin(rows.values[:, j], kinds[j].values)
            if rows.observed is not None:
                known &= rows.observed[:, j]
            place = np.searchsorted(kinds[j].values, rows.values[known, j])
            total += np.bincount(place, own[known], len(total))
    found = list(kinds)
    for j, total in sums.items():
        if total.any():
            counts = np.maximum(1, np.round(sum(kinds[j].counts) * total / total.sum()))
            found[j] = replace(kinds[j], counts=tuple(int(count) for count in counts))
    return found
