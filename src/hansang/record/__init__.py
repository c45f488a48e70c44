"""The prediction record: what was answered, to whom, by which version.

`Recorder` writes, `read.connect` reads with DuckDB; between them the compactor turns the spool into Parquet files.
"""

from hansang.record.record import Limits, Recorder, Stats
from hansang.record.rows import Rows, Shared

__all__ = ["Limits", "Recorder", "Rows", "Shared", "Stats"]
