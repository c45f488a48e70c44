"""PostgreSQL: COPY into a staging table, then INSERT … ON CONFLICT DO NOTHING, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.csv

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
PURPOSE = "the PostgreSQL sink"
OWN = ("table", "feedback")
LIMITS = {"connect_timeout": "10", "tcp_user_timeout": "30000", "application_name": "hansang"}
STATEMENT = 60_000  # milliseconds


@dataclass(slots=True)
class PostgresSink:
    """Inserts rows into two tables, which are made when they are missing; what is there already is not doubled.

    The rows of a parcel are there all or none. Rows that PostgreSQL cannot hold, as texts with a zero byte, are
    refused.
    """

    url: str
    tables: dict[str, str]
    most_rows: int = 20_000
    _connection: Any = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        psycopg = require("psycopg", "postgres", PURPOSE)
        self._connection = psycopg.connect(self.url, autocommit=True)
        self._connection.execute(f"SET statement_timeout = {STATEMENT}")
        self._connection.execute("SET client_min_messages = warning")
        for kind, table in self.tables.items():
            self._create(kind, table)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def deliver(self, parcel: Parcel) -> None:
        """Insert the rows that are not there yet."""
        psycopg = require("psycopg", "postgres", PURPOSE)
        sql = require("psycopg.sql", "postgres", PURPOSE)
        staging, table = sql.Identifier(f"staging_{parcel.kind}"), self._name(self.tables[parcel.kind])
        columns = sql.SQL(", ").join(map(sql.Identifier, plain(parcel.kind).names))
        data = pa.BufferOutputStream()
        pa.csv.write_csv(parcel.table(), data, pa.csv.WriteOptions(include_header=False))
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(staging, columns)
                with cursor.copy(copy) as stream:
                    stream.write(data.getvalue())
                insert = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {staging} ON CONFLICT DO NOTHING"
                cursor.execute(sql.SQL(insert).format(table=table, columns=columns, staging=staging))
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise Refused(str(error)) from error

    def _create(self, kind: str, table: str) -> None:
        """Make a table, its index by time, and the staging table of this connection."""
        sql = require("psycopg.sql", "postgres", PURPOSE)
        name, key, moment = self._name(table), KEYS[kind], TIMES[kind]
        columns = [
            sql.SQL("{} " + TYPES[field.type] + (" NOT NULL" if field.name in (*key, moment) else "")).format(
                sql.Identifier(field.name)
            )
            for field in plain(kind)
        ]
        parts = {
            "table": name,
            "columns": sql.SQL(", ").join(columns),
            "key": sql.SQL(", ").join(map(sql.Identifier, key)),
            "moment": sql.Identifier(moment),
            "index": sql.Identifier(f"{table.rpartition('.')[2]}_{moment}"),
            "staging": sql.Identifier(f"staging_{kind}"),
        }
        schema, _, _ = table.rpartition(".")
        if schema:
            make = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            self._unless_there(make, "SELECT to_regnamespace(%s)", schema)
        make = sql.SQL("CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({key}))").format(**parts)
        self._unless_there(make, "SELECT to_regclass(%s)", name.as_string(self._connection))
        self._connection.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} USING brin ({moment})").format(**parts)
        )
        self._connection.execute(
            sql.SQL("CREATE TEMP TABLE {staging} (LIKE {table}) ON COMMIT DELETE ROWS").format(**parts)
        )

    def _unless_there(self, make: Any, question: str, name: str) -> None:
        """Make something unless it is there, which needs fewer rights."""
        if self._connection.execute(question, [name]).fetchone()[0] is None:
            self._connection.execute(make)

    @staticmethod
    def _name(table: str) -> Any:
        """Quote a table's name, which may have a schema before it."""
        return require("psycopg.sql", "postgres", PURPOSE).Identifier(*table.split("."))


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
