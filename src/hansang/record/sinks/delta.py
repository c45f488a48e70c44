"""Delta Lake, through delta-rs: one commit a parcel, and a commit that is there already is not made again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from hansang.extras import require
from hansang.record.segment import KINDS
from hansang.record.sinks.address import Address, known_options, wrong
from hansang.record.sinks.sink import TIMES, Parcel, plain

DAY = "day"  # the column that the tables are partitioned by
REMEMBER = "interval 30 days"  # for how long the table knows which parcels it has
STORAGE = {"timeout": "60s", "connect_timeout": "5s", "max_retries": "2", "retry_timeout": "20s"}
PURPOSE = "the Delta Lake sink"


@dataclass(slots=True)
class DeltaSink:
    """Appends to two tables, partitioned by day. Each commit notes its parcel as an application transaction.

    A parcel that comes again finds its note and changes nothing, so that every row is there once.
    """

    root: str
    options: dict[str, str]
    most_rows: int = 200_000

    def __enter__(self) -> Self:
        for kind in KINDS:
            self._table(kind)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def deliver(self, parcel: Parcel) -> None:
        """Append the rows in one commit, unless it was made."""
        deltalake = require("deltalake", "delta", PURPOSE)
        table = self._table(parcel.kind)
        end = parcel.start + parcel.rows
        had = table.transaction_version(parcel.path.stem)
        if had is not None and had >= end:
            return
        rows = parcel.table()
        day = pc.cast(rows[TIMES[parcel.kind]], pa.date32())
        deltalake.write_deltalake(
            table,
            rows.append_column(DAY, day),
            mode="append",
            writer_properties=deltalake.WriterProperties(compression="ZSTD"),
            commit_properties=deltalake.CommitProperties(
                app_transactions=[deltalake.Transaction(parcel.path.stem, end)]
            ),
        )

    def _table(self, kind: str) -> Any:
        """Open a table, and make it when it is missing."""
        deltalake = require("deltalake", "delta", PURPOSE)
        schema = plain(kind).append(pa.field(DAY, pa.date32()))
        return deltalake.DeltaTable.create(
            f"{self.root}/{kind}",
            schema=schema,
            mode="ignore",
            partition_by=[DAY],
            storage_options=self.options or None,
            configuration={"delta.setTransactionRetentionDuration": REMEMBER},
        )


def sink(address: Address) -> DeltaSink:
    """Make the sink of `delta:///folder`, `delta+s3://bucket/prefix`, `delta+gs://…` or `delta+az://…`."""
    parts = address.parts
    options = known_options(address, "endpoint", "region")
    if parts.scheme == "delta":
        if parts.netloc or not parts.path.strip("/"):
            raise wrong(address, "delta:///folder, with three slashes")
        os.makedirs(parts.path, exist_ok=True)
        return DeltaSink(parts.path.rstrip("/"), {})
    if not parts.netloc:
        raise wrong(address)
    scheme = parts.scheme.removeprefix("delta+")
    names = {"endpoint": f"{ {'s3': 'aws', 'gs': 'google', 'az': 'azure'}[scheme] }_endpoint", "region": "aws_region"}
    storage = STORAGE | {names[name]: value for name, value in options.items()}
    if options.get("endpoint", "").startswith("http://"):
        storage["allow_http"] = "true"
    return DeltaSink(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}", storage)
