"""Reading: one DuckDB view over the Parquet files and over what is still in the spool, with no row twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from hansang.errors import RecordError
from hansang.record.segment import list_segments, parquet_path, read_segment
from hansang.record.table import SCHEMA, to_table

SIDES = ("node", "model", "version", "variant", "status", "error", "latency_ms", "queue_ms", "output", "output_value")
PAIRS = f"""
    SELECT live.id, live.row, live.time, live.service, live.endpoint, live.request_id, live.key, other.role, live.input,
           {", ".join(f"{side}.{name} AS {side}_{name}" for side in ("live", "other") for name in SIDES)},
           live.output IS NOT DISTINCT FROM other.output AND live.status = other.status AS same
    FROM predictions AS live
    JOIN predictions AS other ON live.id = other.id AND live.row = other.row
    WHERE live.role = 'live' AND other.role <> 'live'
"""
READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def connect(folder: str | Path, since: float | None = None) -> duckdb.DuckDBPyConnection:
    """Open a record as it is now: a DuckDB connection in memory with the views `predictions` and `pairs`.

    `pairs` sets every answer that was not sent (a shadow's, say) beside the live one of the same id and row. Both are
    safe beside writers and the compactor, and see every row whose write returned before the call. `since`, in seconds
    since the epoch, leaves out files that were last written before. Times are in UTC.

    Raises `RecordError` when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordError(f"no record in {str(folder)!r}; a running service makes it with its first answer")
    spool, files = snapshot(folder, since)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("spool", spool)
    query = f"SELECT {', '.join(SCHEMA.names)} FROM spool"
    if files:
        names = ", ".join(quoted(str(path)) for path in files)
        query += f" UNION ALL SELECT {', '.join(SCHEMA.names)} FROM read_parquet([{names}], hive_partitioning = false)"
    connection.execute(f"CREATE TEMP VIEW predictions AS {query}")
    connection.execute(f"CREATE TEMP VIEW pairs AS {PAIRS}")
    return connection


def snapshot(folder: Path, since: float | None = None) -> tuple[pa.Table, list[Path]]:
    """Give the rows of the spool, and the Parquet files of all other rows.

    The spool is read first. A segment that vanishes meanwhile has become a file, which the listing that follows
    finds; a segment that was read and whose file is found too counts as the file.
    """
    tables = {}
    for segment in list_segments(folder, ".open", ".closed"):
        table = segment_table(segment, since)
        if table is not None:
            tables[parquet_path(folder, segment)] = table
    files = [path for path in sorted(folder.glob("predictions/*/*.parquet")) if is_recent(path, since)]
    ready = set(files)
    fresh = [table for path, table in tables.items() if path not in ready]
    return pa.concat_tables([SCHEMA.empty_table(), *fresh]).unify_dictionaries(), files


def segment_table(segment: Path, since: float | None) -> pa.Table | None:
    """Decode a segment, under whichever of its names; None when it is Parquet by now, or too old."""
    for path in (segment, segment.with_suffix(".closed")):
        try:
            if not is_recent(path, since):
                return None
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        return to_table(read_segment(data, path.name))
    return None


def is_recent(path: Path, since: float | None) -> bool:
    """Say whether a file was written after a time."""
    return since is None or path.stat().st_mtime >= since


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
    """Run one query that only reads and give its result; times come without a zone, in UTC.

    Raises `RecordError` with DuckDB's own words when the query is wrong, or when it would change something.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in READS:
            raise RecordError("got something else than one query; the record is read with a single SELECT")
        result = connection.sql(sql, params=list(parameters) or None)
        return without_zone(result.to_arrow_table())
    except duckdb.Error as error:
        raise RecordError(str(error)) from error


def without_zone(table: pa.Table) -> pa.Table:
    """Drop the zone of times, which are in UTC: Python needs a zone database to read it, and containers have none."""
    for index, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type) and column.type.tz:
            naive = table.column(index).cast(pa.timestamp(column.type.unit))
            table = table.set_column(index, column.name, naive)
    return table


def quoted(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"
