"""The prediction record: what was answered, to whom, by which version.

`Recorder` writes, `read.connect` reads with DuckDB; between them the compactor turns the spool into Parquet files. The
names below are imported when they are first used: who only reads needs none of what a writer does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hansang.record.record import Limits as Limits
    from hansang.record.record import Recorder as Recorder
    from hansang.record.record import Stats as Stats
    from hansang.record.rows import Rows as Rows
    from hansang.record.rows import Shared as Shared

_PLACES = {"Limits": "record", "Recorder": "record", "Rows": "rows", "Shared": "rows", "Stats": "record"}

__all__ = ["Limits", "Recorder", "Rows", "Shared", "Stats"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"hansang.record.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'hansang.record' has no attribute {name!r}")
