"""Rows that do not fit memory: where they are read from, and results written to files.

See the page "More rows than memory" of the documentation.
"""

from .contract.map_rows import map_rows
from .tables.table_sources import BlockSource, DaskSource, DatasetSource, ParquetSource, TableSource

__all__ = [
    "BlockSource",
    "DaskSource",
    "DatasetSource",
    "ParquetSource",
    "TableSource",
    "map_rows",
]
