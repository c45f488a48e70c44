"""Reading: DuckDB views over the Parquet files and over what is still in the spool, with no row twice."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from hansang.errors import RecordError
from hansang.record.files import file_time, hold, parquet_files
from hansang.record.moments import Moment, read_moment
from hansang.record.parquet import LAYOUTS
from hansang.record.segment import FEEDBACK, PREDICTIONS, list_segments, parquet_path, read_segment, segment_kind
from hansang.record.views import VIEWS, quoted

READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
# Feedback is looked at first: what is told while the record is opened is then never there without its prediction.
RELATIONS = {FEEDBACK: ("feedback_rows", "feedback_spool"), PREDICTIONS: (PREDICTIONS, "spool")}


def connect(folder: str | Path, since: float | None = None, until: float | None = None) -> duckdb.DuckDBPyConnection:
    """Open a record as it is now: a DuckDB connection in memory with the views of the record.

    `predictions` has every row, `feedback` every truth with its history, `outcomes` every live answer with its newest
    truth and its shadow, `pairs` every answer that was not sent (a shadow's, say) beside the live one. They are safe
    beside writers and the compactor, and see every row whose write returned before the call; no truth is there whose
    prediction only came meanwhile. While the connection lives, files are neither merged nor deleted.

    `since` and `until`, in seconds since the epoch, leave out files that cannot hold predictions from this time; they
    are not exact. Times are in UTC. Raises `RecordError` when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordError(f"no record in {str(folder)!r}; a running service makes it with its first answer")
    held = hold(folder)
    try:
        connection = duckdb.connect()
        if held is not None:
            weakref.finalize(connection, os.close, held)
            held = None
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")  # it would stand in what we print
        for kind, (name, spool) in RELATIONS.items():
            rows, files = snapshot(folder, since, until if kind == PREDICTIONS else None, kind)
            connection.register(spool, rows)
            connection.execute(f"CREATE TEMP VIEW {name} AS {relation(kind, spool, files)}")
        for name, sql in VIEWS.items():
            connection.execute(f"CREATE TEMP VIEW {name} AS {sql}")
    finally:
        if held is not None:
            os.close(held)
    return connection


def relation(kind: str, spool: str, files: list[Path]) -> str:
    """Give the query for all rows of a kind."""
    columns = ", ".join(LAYOUTS[kind].schema.names)
    query = f"SELECT {columns} FROM {spool}"
    if files:
        names = ", ".join(quoted(str(path)) for path in files)
        query += f" UNION ALL SELECT {columns} FROM read_parquet([{names}], hive_partitioning = false)"
    return query


def snapshot(
    folder: Path, since: float | None = None, until: float | None = None, kind: str = PREDICTIONS
) -> tuple[pa.Table, list[Path]]:
    """Give the rows of the spool, and the Parquet files of all other rows.

    The spool is read first. A segment that vanishes meanwhile has become a file, which the listing that follows
    finds; a segment that was read and whose file is found too counts as the file.
    """
    tables = {}
    for segment in list_segments(folder, ".open", ".closed", kind=kind):
        table = segment_table(segment, since)
        if table is not None:
            tables[parquet_path(folder, segment)] = table
    files = [path for path in parquet_files(folder, kind) if is_recent(path, since) and begins(path, until)]
    ready = set(files)
    fresh = [table for path, table in tables.items() if path not in ready]
    return pa.concat_tables([LAYOUTS[kind].schema.empty_table(), *fresh]).unify_dictionaries(), files


def segment_table(segment: Path, since: float | None) -> pa.Table | None:
    """Decode a segment, under whichever of its names; None when it is Parquet by now, or too old."""
    for path in (segment, segment.with_suffix(".closed")):
        try:
            if not is_recent(path, since):
                return None
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        return LAYOUTS[segment_kind(path)].decode(read_segment(data, path.name))
    return None


def is_recent(path: Path, since: float | None) -> bool:
    """Say whether a file was written after a time."""
    return since is None or path.stat().st_mtime >= since


def begins(path: Path, until: float | None) -> bool:
    """Say whether the first row of a file is from before a time."""
    return until is None or file_time(path) <= until


def read_records(
    folder: str | Path = ".hansang/records",
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    view: str = "outcomes",
) -> pa.Table:
    """Read a record, or a part of it, as one Arrow table in the order of time.

    `view` is `predictions`, `feedback` or `outcomes`. `since` and `until` (not included) are datetimes, seconds since
    the epoch, or texts as `2026-11-23T06:30` and `7d` (ago); `where` is a condition in DuckDB's SQL, as
    `"status = 200 AND version = '8'"`. Times come without a zone, in UTC. Raises `RecordError` when there is no record
    or no such column.
    """
    start = None if since is None else read_moment(since)
    end = None if until is None else read_moment(until, "until")
    with connect(folder, start, end) as connection:
        return query(connection, selection(view, start, end, columns, where))


def selection(
    view: str,
    since: float | None = None,
    until: float | None = None,
    columns: Sequence[str] | None = None,
    where: str | None = None,
) -> str:
    """Write the query for a part of a view."""
    if view not in (PREDICTIONS, FEEDBACK, "outcomes"):
        raise RecordError(f"no view {view!r}; there are predictions, feedback and outcomes")
    conditions = [f"({where})"] if where else []
    conditions += [f"time >= make_timestamptz({round(since * 1e6)})"] if since is not None else []
    conditions += [f"time < make_timestamptz({round(until * 1e6)})"] if until is not None else []
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns) if columns else "*"
    chosen = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {names} FROM {view}{chosen} ORDER BY time, id, row"


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
