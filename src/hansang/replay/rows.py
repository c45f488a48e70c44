"""Both answers to every row, in a file that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json, to_json

from hansang.errors import UsageError
from hansang.replay.compare import Pair
from hansang.replay.flat import Flat

FORMATS = (".parquet", ".jsonl")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("row", pa.int32()),
        ("time", pa.timestamp("us", "UTC")),
        ("version", pa.string()),
        ("changed", pa.bool_()),
        ("recorded", pa.string()),
        ("recorded_error", pa.string()),
        ("new", pa.string()),
        ("new_error", pa.string()),
        ("truth", pa.string()),
    ]
)
BODIES = ("recorded", "new", "truth")


class RowsFile:
    """A .parquet or .jsonl file with a row for every replayed one; answers are JSON, with their leaves by path."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"{path} must end in .parquet or .jsonl for rows")
        self.path = path
        self.temporary = path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> Self:
        try:
            self.file: Any = self.temporary.open("wb")
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error
        self.writer = pq.ParquetWriter(self.file, SCHEMA, compression="zstd") if self._parquet else None
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if self.writer is not None:
            self.writer.close()
        self.file.close()
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink()

    @property
    def _parquet(self) -> bool:
        return self.path.suffix.lower() == ".parquet"

    def write(self, pairs: Sequence[Pair], changed: Sequence[bool]) -> None:
        """Append rows."""
        columns: dict[str, Any] = {
            "id": [pair.id for pair in pairs],
            "row": [pair.row for pair in pairs],
            "time": pa.array([pair.time for pair in pairs], pa.timestamp("us")).cast(SCHEMA.field("time").type),
            "version": [pair.version for pair in pairs],
            "changed": list(changed),
            "recorded": [as_text(pair.old) for pair in pairs],
            "recorded_error": [pair.old_error for pair in pairs],
            "new": [as_text(pair.new) for pair in pairs],
            "new_error": [pair.new_error for pair in pairs],
            "truth": [pair.truth for pair in pairs],
        }
        if self.writer is not None:
            self.writer.write_table(pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA))
            return
        columns["time"] = [None if pair.time is None else pair.time.isoformat() + "Z" for pair in pairs]
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, values, strict=True))
            row |= {name: from_json(row[name]) for name in BODIES if row[name] is not None}
            self.file.write(to_json(row, inf_nan_mode="null") + b"\n")


def as_text(answer: Flat | None) -> str | None:
    """Write an answer's leaves."""
    return None if answer is None else to_json(answer, inf_nan_mode="null").decode()
