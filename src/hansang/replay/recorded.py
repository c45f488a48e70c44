"""What a record holds of real input: which rows can be replayed, and why the others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hansang.errors import RecordError, UsageError
from hansang.record.moments import Moment, read_moment
from hansang.record.read import connect
from hansang.record.views import quoted
from hansang.replay.altered import DROP

MARK = "replay-"  # how the request id of a replayed request begins
OMITTED = '{"omitted": "'  # how the record writes a body above its limit
REFERRED = r'\{"sha256": ?"[0-9a-f]{64}"'  # how it writes an upload or a payload
HASHED = '"hash:[0-9a-f]{32}"'  # how it writes a field that is hashed
BATCH = 8192
MEMORY = "1GB"  # beyond it DuckDB sorts on disk

NO_INPUT = "the record has no input: the row did not fit the schema, or was refused before it was read"
HASH = "a field in the input was hashed before it was recorded"
REFERENCE = "a file or payload in the input is not in the record, which has its hash only"
TOO_LARGE = "the input was above HANSANG_RECORD_BODY_LIMIT: the record has its hash only"
PREDICT = "predict"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a record are replayed: live ones of one service and endpoint.

    `altered` names fields of the input that the record does not hold as they came, with how; see `altered_fields`. Rows
    with such a field cannot be replayed, since the model would see another value than it saw then. With `drop` the
    record does not show which rows had the field, so it is all of them. Without `accept`, the fields whose recorded
    value is good enough, no hash is let pass that looks like one of the record's.
    """

    folder: Path
    service: str
    endpoint: str
    since: float | None = None
    until: float | None = None
    version: str | None = None
    limit: int | None = None
    altered: Mapping[str, str] = field(default_factory=dict)
    accept: tuple[str, ...] = ()

    def condition(self) -> str:
        """Write the condition of the rows that are meant."""
        parts = [
            f"service = {quoted(self.service)}",
            f"endpoint = {quoted(self.endpoint)}",
            f"NOT starts_with(coalesce(request_id, ''), {quoted(MARK)})",
        ]
        if self.since is not None:
            parts.append(f"time >= make_timestamptz({round(self.since * 1e6)})")
        if self.until is not None:
            parts.append(f"time < make_timestamptz({round(self.until * 1e6)})")
        if self.version is not None:
            parts.append(f"list_contains(string_split(version, ','), {quoted(self.version)})")
        return " AND ".join(parts)

    def reason(self) -> str:
        """Write the expression that says why a row cannot be replayed; null when it can."""
        cases = [(f"{omitted('input')}", TOO_LARGE), ("input IS NULL OR input = ''", NO_INPUT)]
        for name, how in self.altered.items():
            there = "true" if how == DROP else f"TRY(json_extract_string(input, {quoted(pointer(name))})) IS NOT NULL"
            cases.append((there, f"the record does not hold the field {name} as it came ({how})"))
        cases += [(matches("input", REFERRED), REFERENCE)]
        cases += [] if self.accept else [(matches("input", HASHED), HASH)]
        return f"CASE {' '.join(f'WHEN {when} THEN {quoted(text)}' for when, text in cases)} END"

    def rows(self) -> str:
        """Write the query for the rows with what is compared, in no order."""
        first = f" ORDER BY time, id, row LIMIT {self.limit}" if self.limit is not None else ""
        elsewhere = f"({omitted('output')} OR {matches('output', REFERRED)})"
        return f"""
            SELECT id, row, time, version, status, error, latency_ms, input, truth, {self.reason()} AS reason,
                   output IS NOT NULL AND {elsewhere} AS unknown, CASE WHEN NOT ({elsewhere}) THEN output END AS output
            FROM outcomes WHERE {self.condition()}{first}
        """


def omitted(column: str) -> str:
    """Write the condition that a body was too large for the record."""
    return f"coalesce(starts_with({column}, {quoted(OMITTED)}), false)"


def matches(column: str, pattern: str) -> str:
    """Write the condition that a body holds something."""
    return f"coalesce(regexp_matches({column}, {quoted(pattern)}), false)"


def pointer(name: str) -> str:
    """Point into JSON as RFC 6901 does."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


@dataclass(slots=True)
class Taken:
    """What was taken from a record; `left` are the rows that cannot be replayed, by reason."""

    rows: int = 0
    left: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    first: str | None = None
    last: str | None = None


def open_record(folder: Path, since: float | None, until: float | None, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Open a record so that a query over more than memory holds goes through `scratch`."""
    connection = connect(folder, since, until)
    connection.execute(f"SET memory_limit = {quoted(MEMORY)}; SET temp_directory = {quoted(str(scratch))}")
    return connection


def moments(since: Moment | None, until: Moment | None) -> tuple[float | None, float | None]:
    """Read the span of time that is replayed; raises `UsageError`."""
    start = None if since is None else read_moment(since, "since")
    end = None if until is None else read_moment(until, "until")
    if start is not None and end is not None and end <= start:
        raise UsageError("until is not after since; there is no time between them")
    return start, end


def endpoint_of(connection: duckdb.DuckDBPyConnection, selection: Selection, known: Sequence[str]) -> str:
    """Choose the endpoint that is replayed where none was named: the only one, or the one at /predict.

    Gives its name in the record. Raises `RecordError` where there are no rows, and `UsageError` where the choice is not
    clear. `known` are the names of the endpoints that answer now.
    """
    where = f"service = {quoted(selection.service)} AND role = 'live'"
    found = dict(fetched(connection, f"SELECT endpoint, count(*) FROM predictions WHERE {where} GROUP BY endpoint"))
    if not found:
        services = fetched(connection, "SELECT DISTINCT service FROM predictions ORDER BY service")
        there = ", ".join(name for (name,) in services) or "none"
        raise RecordError(f"no rows of the service {selection.service!r} in this time; the record has: {there}")
    if selection.endpoint:
        for name in (selection.endpoint, named(selection.endpoint)):
            if name in found:
                return name
        raise UsageError(f"no rows of the endpoint {selection.endpoint!r}; the record has: {', '.join(found)}")
    for choice in ([name for name in found if name in known], list(found)):
        if len(choice) == 1:
            return str(choice[0])
        if PREDICT in choice:
            return PREDICT
    raise UsageError(f"the record has several endpoints; choose with --endpoint: {', '.join(found)}")


def named(path: str) -> str:
    """Give the name that an endpoint of this path has in the record, if it was given no other."""
    return path.strip("/").replace("/", "-") or PREDICT


def fetched(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    """Run a query of our own."""
    try:
        return connection.execute(sql).fetchall()
    except duckdb.Error as error:
        raise RecordError(str(error)) from error


def batches(connection: duckdb.DuckDBPyConnection, sql: str, rows: int = BATCH) -> Iterator[pa.Table]:
    """Run a query and give its result as it comes."""
    try:
        for batch in connection.sql(sql).to_arrow_reader(rows):
            yield pa.Table.from_batches([batch])
    except duckdb.Error as error:
        raise RecordError(str(error)) from error


def take(connection: duckdb.DuckDBPyConnection, selection: Selection, lines: Path, facts: Path) -> Taken:
    """Write the inputs that can be replayed as JSON Lines, and beside them, row by row, what is known of each."""
    taken = Taken()
    writer: Any = None
    with lines.open("wb") as file:
        for table in batches(connection, selection.rows()):
            count(taken, table)
            good = table.filter(pc.is_null(table["reason"]))
            for text in good["input"].to_pylist():
                file.write(one_line(text))
            kept = plain(good.drop_columns(["input", "reason"]))
            writer = writer or pq.ParquetWriter(facts, kept.schema, compression="zstd")
            writer.write_table(kept)
    if writer is not None:
        writer.close()
    return taken


def plain(table: pa.Table) -> pa.Table:
    """Give times without a zone, which are in UTC, and texts as texts."""
    for name, kind in (("time", pa.timestamp("us")), ("version", pa.string())):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    return table


def count(taken: Taken, table: pa.Table) -> None:
    """Count what is replayed and what is not."""
    reasons = Counter(table["reason"].to_pylist())
    taken.rows += reasons.pop(None, 0)
    taken.left.update(reasons)
    taken.versions.update(table["version"].to_pylist())
    times = pc.min_max(table["time"].cast(pa.timestamp("us"))).as_py()
    if times["min"] is not None:
        first, last = (times[name].isoformat() + "Z" for name in ("min", "max"))
        taken.first = min(taken.first or first, first)
        taken.last = max(taken.last or last, last)


def one_line(text: str) -> bytes:
    """Write a body as one line; outside of texts, where JSON has no line ends, they mean nothing."""
    return text.replace("\n", " ").replace("\r", " ").encode() + b"\n"
