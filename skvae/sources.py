"""Rows that do not fit memory: where they are read from, and results written to files.

See the page "More rows than memory" of the documentation.
"""

from .contract.mapping import map_rows
from .tables.large import BlockSource, DaskSource, DatasetSource, ParquetSource, TableSource

__all__ = [
    "BlockSource",
    "DaskSource",
    "DatasetSource",
    "ParquetSource",
    "TableSource",
    "map_rows",
]
