"""What a sink is: it takes slices of the record's Parquet files, each at least once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from hansang.errors import HansangError
from hansang.record.parquet import LAYOUTS
from hansang.record.segment import FEEDBACK, PREDICTIONS

# What tells a row from every other one; a sink that gets it again keeps it once.
KEYS = {
    PREDICTIONS: ("id", "row", "role", "node", "model", "version"),
    FEEDBACK: ("id", "row", "received"),
}
TIMES = {PREDICTIONS: "time", FEEDBACK: "received"}  # the column that partitions go by


@dataclass(frozen=True, slots=True)
class Parcel:
    """Rows `start` to `start + rows` of one file of the record. The same parcel may come again, under the same name."""

    path: Path
    kind: str
    start: int
    rows: int

    @property
    def name(self) -> str:
        """A name that only these rows have, as `predictions/20261118T110640-7-0a1b/0-50000`."""
        return f"{self.kind}/{self.path.stem}/{self.start}-{self.start + self.rows}"

    def table(self) -> pa.Table:
        """Read the rows, with plain columns: texts, whole numbers, numbers, booleans and times in UTC."""
        wanted = []
        with pq.ParquetFile(self.path) as file:
            first = 0
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                low, high = max(self.start, first), min(self.start + self.rows, first + rows)
                if low < high:
                    wanted.append(file.read_row_group(number).slice(low - first, high - low))
                first += rows
        schema = plain(self.kind)
        return pa.concat_tables([part.select(schema.names).cast(schema) for part in wanted])

    def halves(self) -> tuple[Parcel, Parcel]:
        """Cut it in two."""
        middle = self.rows // 2
        rest = replace(self, start=self.start + middle, rows=self.rows - middle)
        return replace(self, rows=middle), rest


class Sink(Protocol):
    """Takes parcels; entering connects and makes what is missing, leaving lets go. Used by one thread.

    `most_rows` is the size of its parcels, 0 for whole files. `deliver` returns when the rows are safe there. It raises
    `Refused` for rows that will never be taken; any other error means that it is to be tried again later, and the sink
    is left and entered anew before that. No call may block for much longer than a minute.
    """

    most_rows: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def deliver(self, parcel: Parcel) -> None:
        """Take the rows of a parcel; those that it has already are not doubled for its readers."""


class Refused(HansangError):
    """A sink will never take these rows.

    `rows` are their places in the parcel, with the reasons; all others have been taken then. Without it nothing was
    taken, and somebody must find out which rows it is about.
    """

    def __init__(self, text: str, rows: Mapping[int, str] | None = None) -> None:
        super().__init__(text)
        self.rows = rows or {}


def plain(kind: str) -> pa.Schema:
    """Give the columns of a kind as every store can hold them: dictionaries become the texts they stand for."""
    fields = [
        pa.field(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type, field.nullable)
        for field in LAYOUTS[kind].schema
    ]
    return pa.schema(fields)


def words(table: pa.Table) -> list[dict[str, Any]]:
    """Give rows whose times are texts, as `2026-11-18T11:06:40.250000Z`."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = pa.compute.strftime(table.column(index).cast(pa.timestamp("us")), "%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(index, field.name, column)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def other_name(table: str, given: str | None, joint: str = "_") -> str:
    """Name the place of feedback beside the one of predictions."""
    return given or ("feedback" if table == "predictions" else f"{table}{joint}feedback")
