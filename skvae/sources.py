"""Sources of rows that do not fit into memory, and functions that write results to files.

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
