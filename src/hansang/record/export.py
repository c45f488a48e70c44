"""A part of a record as one file, and what there is in a record altogether."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from hansang.errors import RecordError, UsageError
from hansang.record.files import file_time, parquet_files, size_of
from hansang.record.losses import corrupt_rows
from hansang.record.moments import Moment, read_moment
from hansang.record.read import connect, selection, snapshot
from hansang.record.segment import KINDS, list_segments
from hansang.record.views import quoted

FORMATS = {
    ".parquet": "FORMAT parquet, COMPRESSION zstd",
    ".csv": "FORMAT csv, HEADER",
    ".jsonl": "FORMAT json",
    ".ndjson": "FORMAT json",
}
BODIES = ("input", "output", "tags", "truth", "shadow_output", "staged_output")


def export(  # each says which part
    folder: Path,
    out: Path,
    *,
    view: str = "outcomes",
    since: Moment | None = None,
    until: Moment | None = None,
    columns: Sequence[str] | None = None,
    where: str | None = None,
) -> int:
    """Write a part of a view to a .parquet, .csv or .jsonl file, which appears whole or not at all; gives its rows.

    In JSON Lines the bodies are the JSON they are. Raises `UsageError` for another format, `RecordError` when the
    part cannot be read.
    """
    options = FORMATS.get(out.suffix.lower())
    if options is None:
        raise UsageError(f"{out} must end in .parquet, .csv or .jsonl")
    start = None if since is None else read_moment(since)
    end = None if until is None else read_moment(until, "until")
    temporary = out.with_name(f".{out.name}.tmp")
    with connect(folder, start, end) as connection:
        try:
            query = selection(view, start, end, columns, where)
            if "json" in options:
                query = with_bodies(connection, query)
            connection.execute(f"COPY ({query}) TO {quoted(str(temporary))} ({options})")
            rows = connection.fetchone()
            os.replace(temporary, out)
        except duckdb.Error as error:
            raise RecordError(str(error)) from error
        finally:
            temporary.unlink(missing_ok=True)
    return int(rows[0]) if rows else 0


def with_bodies(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Make the bodies JSON values."""
    names = [column[0] for column in connection.execute(f"DESCRIBE {query}").fetchall()]
    parts = [f"try_cast({name} AS JSON) AS {name}" for name in BODIES if name in names]
    return f"SELECT * REPLACE ({', '.join(parts)}) FROM ({query})" if parts else query


@dataclass(frozen=True, slots=True)
class Holding:
    """How much a record holds of one kind; times are in seconds since the epoch, None when there is nothing."""

    kind: str
    rows: int
    files: int
    bytes: int
    segments: int
    spooled: int
    oldest: float | None
    lost: int


def holdings(folder: Path) -> list[Holding]:
    """Look at what a record holds."""
    if not folder.is_dir():
        raise RecordError(f"no record in {str(folder)!r}; a running service makes it with its first answer")
    found = []
    for kind in KINDS:
        rows, files = snapshot(folder, kind=kind)
        segments = list_segments(folder, ".open", ".closed", kind=kind)
        kept = sum(pq.read_metadata(path).num_rows for path in parquet_files(folder, kind))
        times = [file_time(path) for path in (*files[:1], *segments[:1])]
        found.append(
            Holding(
                kind,
                kept + rows.num_rows,
                len(files),
                sum(map(size_of, files)),
                len(segments),
                rows.num_rows,
                min(times, default=None),
                corrupt_rows(folder) if kind == KINDS[0] else 0,
            )
        )
    return found
