"""PostgreSQL: COPY into a staging table, then INSERT … ON CONFLICT DO NOTHING, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import pyarrow as pa

from hansang.errors import RecordError
from hansang.extras import require
from hansang.record.segment import FEEDBACK, PREDICTIONS
from hansang.record.sinks.address import Address, wrong
from hansang.record.sinks.sink import KEYS, TIMES, Parcel, Refused, other_name, plain

TYPES = {
    pa.string(): "text",
    pa.int32(): "integer",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.timestamp("us", "UTC"): "timestamptz",
}
DRIVER, PURPOSE = "adbc_driver_postgresql.dbapi", "the PostgreSQL sink"
OWN = ("table", "feedback")
LIMITS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",  # milliseconds
    "keepalives_idle": "10",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "hansang",
}
STATEMENT = 60_000  # milliseconds


@dataclass(slots=True)
class PostgresSink:
    """Inserts rows into two tables, which are made when they are missing; what is there already is not doubled.

    The rows of a parcel are there all or none. Rows that PostgreSQL cannot hold, as texts with a zero byte, are
    refused. A table of the user's own may have other types, as `jsonb` for the bodies: values are cast to them.
    """

    url: str
    tables: dict[str, str]
    most_rows: int = 20_000
    _connection: Any = field(default=None, init=False, repr=False)
    _inserts: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __enter__(self) -> Self:
        self._connection = require(DRIVER, "postgres", PURPOSE).connect(self.url)
        self._run(f"SET statement_timeout = {STATEMENT}")
        self._run("SET client_min_messages = warning")
        for kind, table in self.tables.items():
            self._create(kind, table)
        self._connection.commit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def deliver(self, parcel: Parcel) -> None:
        """Insert the rows that are not there yet, in one transaction."""
        driver = require(DRIVER, "postgres", PURPOSE)
        rows = parcel.table().select(plain(parcel.kind).names).cast(plain(parcel.kind))
        try:
            with self._connection.cursor() as cursor:
                cursor.adbc_ingest(f"staging_{parcel.kind}", rows, mode="append", temporary=True)  # by COPY
            self._run(self._inserts[parcel.kind])
            self._connection.commit()  # which empties the staging table, too
        except (driver.DataError, driver.IntegrityError) as error:
            self._connection.rollback()
            raise Refused(said(error)) from error
        except driver.Error as error:
            raise RecordError(said(error)) from error

    def _create(self, kind: str, table: str) -> None:
        """Make a table, its index by time, and the staging table of this connection."""
        schema, _, only = table.rpartition(".")
        name, staging, moment = quoted(table), quoted(f"staging_{kind}"), quoted(TIMES[kind])
        if schema:
            self._unless_there(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}", "to_regnamespace", quoted(schema))
        columns = {each.name: TYPES[each.type] for each in plain(kind)}
        never_null = (*KEYS[kind], TIMES[kind])
        described = [
            f"{quoted(column)} {of}{' NOT NULL' if column in never_null else ''}" for column, of in columns.items()
        ]
        key = ", ".join(map(quoted, KEYS[kind]))
        self._unless_there(
            f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(described)}, PRIMARY KEY ({key}))", "to_regclass", name
        )
        index = quoted(f"{only}_{TIMES[kind]}")
        self._run(f"CREATE INDEX IF NOT EXISTS {index} ON {name} USING brin ({moment})")
        bare = ", ".join(f"{quoted(column)} {of}" for column, of in columns.items())
        self._run(f"CREATE TEMP TABLE {staging} ({bare}) ON COMMIT DELETE ROWS")
        query = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::regclass"
        types = dict(self._run(f"{query} AND attnum > 0 AND NOT attisdropped", [name]))
        names = ", ".join(map(quoted, columns))
        values = ", ".join(f"{quoted(column)}::{types.get(column, of)}" for column, of in columns.items())
        self._inserts[kind] = f"INSERT INTO {name} ({names}) SELECT {values} FROM {staging} ON CONFLICT DO NOTHING"

    def _unless_there(self, make: str, question: str, name: str) -> None:
        """Make something unless it is there, which needs fewer rights."""
        if self._run(f"SELECT {question}($1)::text", [name])[0][0] is None:
            self._run(make)

    def _run(self, statement: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement; gives its rows, none where it has no result."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return rows


def said(error: BaseException) -> str:
    """Give PostgreSQL's own words; the driver puts the whole statement before them."""
    text = str(error)
    return text[max(text.find("ERROR:"), 0) :].strip()


def quoted(name: str) -> str:
    """Quote a name, which may have a schema before it."""
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in name.split("."))


def sink(address: Address) -> PostgresSink:
    """Make the sink of `postgresql://user@host/database?table=schema.predictions`; other options are libpq's."""
    parts, options = address.parts, address.options
    table = options.get("table", "predictions")
    if not parts.path.strip("/") and "dbname" not in options:
        raise wrong(address)
    if not table or table.count(".") > 1:
        raise wrong(address, "table=predictions or table=schema.predictions")
    schema, dot, name = table.rpartition(".")
    feedback = options.get("feedback") or f"{schema}{dot}{other_name(name, None)}"
    query = urlencode(LIMITS | {key: value for key, value in options.items() if key not in OWN})
    url = parts._replace(scheme="postgresql", query=query).geturl()
    return PostgresSink(url, {PREDICTIONS: table, FEEDBACK: feedback})
