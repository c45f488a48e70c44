"""The rows of a report: the two windows of one service, cut out of a record inside DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hansang.errors import RecordError, UsageError
from hansang.record.read import connect
from hansang.record.views import quoted
from hansang.reports.window import Window, written

NOW, BEFORE = "now", "before"  # the window, and what it is compared with


@dataclass(slots=True)
class Source:
    """A connection with the views `rows` (every answer, with its window in `part`) and `asked` (a file, or nothing).

    `service`, `endpoint` and the windows say which rows; of several endpoints the busiest is taken.
    """

    connection: duckdb.DuckDBPyConnection
    service: str
    endpoint: str
    endpoints: list[str]
    window: Window
    reference: Window | Path

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query and give its rows."""
        try:
            return self.connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise RecordError(str(error)) from error

    def table(self, sql: str) -> pa.Table:
        """Run a query and give its result as an Arrow table."""
        try:
            return self.connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise RecordError(str(error)) from error

    def run(self, sql: str) -> None:
        """Run a statement."""
        try:
            self.connection.execute(sql)
        except duckdb.Error as error:
            raise RecordError(str(error)) from error


def open_source(folder: Path, service: str, endpoint: str | None, window: Window, reference: Window | Path) -> Source:
    """Open the part of a record that a report is about.

    Raises `UsageError` when there is no such record, service or endpoint, and when the window is empty.
    """
    spans = [window] + ([reference] if isinstance(reference, Window) else [])
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    try:
        connection = connect(folder, start, end)
    except RecordError as error:
        raise UsageError(str(error)) from error
    before = f" WHEN {reference.sql} THEN '{BEFORE}'" if isinstance(reference, Window) else ""
    part = f"CASE WHEN {window.sql} THEN '{NOW}'{before} END"
    connection.execute(
        f"CREATE TEMP VIEW spans AS SELECT *, {part} AS part FROM predictions "
        f"WHERE role = 'live' AND service = {quoted(service)} AND ({' OR '.join(span.sql for span in spans)})"
    )
    counted = connection.execute(
        f"SELECT endpoint, count(*) FROM spans WHERE part = '{NOW}' GROUP BY ALL ORDER BY 2 DESC, 1"
    ).fetchall()
    endpoints = [name for name, _ in counted]
    if not endpoints:
        raise UsageError(nothing(folder, service, window))
    if endpoint is not None and endpoint not in endpoints:
        raise UsageError(f"no endpoint {endpoint!r} of {service!r} in the window; there are: {', '.join(endpoints)}")
    chosen = endpoint or endpoints[0]
    connection.execute(f"CREATE TEMP VIEW rows AS SELECT * FROM spans WHERE endpoint = {quoted(chosen)}")
    return Source(connection, service, chosen, endpoints, window, reference)


def nothing(folder: Path, service: str, window: Window) -> str:
    """Say why there is nothing to report."""
    with connect(folder) as connection:
        newest = dict(
            connection.execute(
                "SELECT service, max(epoch_us(time)) / 1e6 FROM predictions WHERE role = 'live' GROUP BY ALL ORDER BY 1"
            ).fetchall()
        )
    if service not in newest:
        return f"no service {service!r} in the record; there are: {', '.join(newest) or 'none yet'}"
    return f"{service!r} answered nothing from {window}; its newest row is of {written(newest[service])}"
