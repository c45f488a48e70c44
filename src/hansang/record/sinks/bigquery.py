"""BigQuery with Google's own clients: Arrow batches through the Storage Write API, or rows through `insertAll`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import pyarrow as pa

from hansang.extras import require
from hansang.record.segment import FEEDBACK, PREDICTIONS
from hansang.record.sinks.address import Address, known_options, wrong
from hansang.record.sinks.sink import KEYS, TIMES, Parcel, Refused, other_name, plain, words

CALL = 30.0  # seconds for one call; the clients' own patience is 600
ONCE: dict[str, Any] = {"timeout": CALL, "retry": None}  # the delivery tries again by itself
STREAM_BYTES = 8_000_000  # of one append; the service takes 10 MB
INSERT_ROWS, INSERT_BYTES = 500, 8_000_000  # of one insertAll; the service takes 10 MB
CLUSTERS = {PREDICTIONS: ("service", "model", "version", "id"), FEEDBACK: ("id",)}
TYPES = {
    pa.string(): "STRING",
    pa.int32(): "INT64",
    pa.float64(): "FLOAT64",
    pa.bool_(): "BOOL",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}
PURPOSE = "the BigQuery sink"
TOO_LARGE, BAD = 413, 400


@dataclass(slots=True)
class BigQuerySink:
    """Appends to two tables of a data set, made when they are missing: partitioned by day, clustered.

    BigQuery has no unique key, so that a parcel that came twice is there twice; the view `<table>_once` beside each
    table shows every row once. Credentials are Google's defaults.
    """

    project: str
    dataset: str
    tables: dict[str, str]
    write: Literal["storage", "insertAll"] = "storage"
    endpoint: str = ""
    grpc: str = ""
    most_rows: int = 20_000
    _client: Any = field(default=None, init=False, repr=False)
    _writer: Any = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        bigquery = require("google.cloud.bigquery", "bigquery", PURPOSE)
        options: dict[str, Any] = {}
        if self.endpoint:
            credentials = require("google.auth.credentials", "bigquery", PURPOSE).AnonymousCredentials()
            options = {"client_options": {"api_endpoint": self.endpoint}, "credentials": credentials}
        self._client = bigquery.Client(self.project, **options)
        for kind in self.tables:
            self._create(kind)
        if self.write == "storage":
            self._writer = self._make_writer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if self._writer is not None:
            self._writer.transport.close()

    def deliver(self, parcel: Parcel) -> None:
        """Append the rows; those that do not fit the table are refused, the others are there."""
        errors = require("google.api_core.exceptions", "bigquery", PURPOSE)
        try:
            if self.write == "storage":
                self._append(parcel)
            else:
                self._insert(parcel)
        except errors.GoogleAPICallError as error:
            if error.code in (TOO_LARGE, BAD):
                raise Refused(error.message) from error
            raise

    # --- the table ---

    def _create(self, kind: str) -> None:
        """Make a table and its view, unless they are there."""
        bigquery = require("google.cloud.bigquery", "bigquery", PURPOSE)
        errors = require("google.api_core.exceptions", "bigquery", PURPOSE)
        name = f"{self.project}.{self.dataset}.{self.tables[kind]}"
        try:
            self._client.get_table(name, **ONCE)
            return
        except errors.NotFound:
            pass
        required = (*KEYS[kind], TIMES[kind])
        table = bigquery.Table(
            name,
            [
                bigquery.SchemaField(
                    column.name, TYPES[column.type], "REQUIRED" if column.name in required else "NULLABLE"
                )
                for column in plain(kind)
            ],
        )
        table.time_partitioning = bigquery.TimePartitioning(bigquery.TimePartitioningType.DAY, TIMES[kind])
        table.clustering_fields = list(CLUSTERS[kind])
        self._client.create_table(table, exists_ok=True, **ONCE)
        view = bigquery.Table(f"{name}_once")
        view.view_query = once(name, kind)
        self._client.create_table(view, exists_ok=True, **ONCE)

    # --- the Storage Write API ---

    def _make_writer(self) -> Any:
        storage = require("google.cloud.bigquery_storage_v1", "bigquery", PURPOSE)
        if not self.grpc:
            return storage.BigQueryWriteClient()
        channel = require("grpc", "bigquery", PURPOSE).insecure_channel(self.grpc)
        transports = require(
            "google.cloud.bigquery_storage_v1.services.big_query_write.transports", "bigquery", PURPOSE
        )
        return storage.BigQueryWriteClient(transport=transports.BigQueryWriteGrpcTransport(channel=channel))

    def _append(self, parcel: Parcel) -> None:
        """Append Arrow batches to the table's default stream, one after the other."""
        refused: dict[int, str] = {}
        first = 0
        for batch in batches(arrow_rows(parcel.table())):
            faults = self._append_batch(parcel.kind, batch)
            if faults:  # with one bad row none was taken
                good = pa.array([place not in faults for place in range(batch.num_rows)])
                refused |= {first + place: text for place, text in faults.items()}
                if len(faults) < batch.num_rows and self._append_batch(parcel.kind, batch.filter(good)):
                    raise ConnectionError("BigQuery refused rows that it had not named before")
            first += batch.num_rows
        if refused:
            raise Refused("rows do not fit the table", refused)

    def _append_batch(self, kind: str, batch: pa.RecordBatch) -> dict[int, str]:
        """Append a batch; gives the rows that do not fit, and nothing was taken then."""
        errors = require("google.api_core.exceptions", "bigquery", PURPOSE)
        stream = f"projects/{self.project}/datasets/{self.dataset}/tables/{self.tables[kind]}/streams/_default"
        metadata = [("x-goog-request-params", f"write_stream={stream}")]
        request = self._request(stream, batch)
        taken = False
        for answer in self._writer.append_rows(iter([request]), timeout=CALL, metadata=metadata):
            if answer.row_errors:
                return {fault.index: fault.message for fault in answer.row_errors}
            if answer.error.code:
                raise errors.from_grpc_status(answer.error.code, answer.error.message)
            taken = True
        if not taken:
            raise ConnectionError("BigQuery ended the stream without an answer")
        return {}

    @staticmethod
    def _request(stream: str, batch: pa.RecordBatch) -> Any:
        types = require("google.cloud.bigquery_storage_v1.types", "bigquery", PURPOSE)
        data = types.AppendRowsRequest.ArrowData(
            writer_schema=types.ArrowSchema(serialized_schema=batch.schema.serialize().to_pybytes()),
            rows=types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes()),
        )
        return types.AppendRowsRequest(write_stream=stream, arrow_rows=data)

    # --- insertAll ---

    def _insert(self, parcel: Parcel) -> None:
        """Insert rows as JSON; each has an id that BigQuery knows for about a minute."""
        rows = words(parcel.table())
        key = KEYS[parcel.kind]
        name = f"{self.project}.{self.dataset}.{self.tables[parcel.kind]}"
        refused: dict[int, str] = {}
        for start, end in pieces(rows):
            part = rows[start:end]
            ids = ["/".join(str(row[column]) for column in key) for row in part]
            faults = self._client.insert_rows_json(name, part, ids, skip_invalid_rows=True, **ONCE)
            for fault in faults:
                reasons = [error for error in fault["errors"] if error.get("reason") != "stopped"]
                if reasons:
                    refused[start + fault["index"]] = "; ".join(str(error.get("message", "")) for error in reasons)
                else:
                    raise ConnectionError("BigQuery stopped at a row without a reason")
        if refused:
            raise Refused("rows do not fit the table", refused)


def once(name: str, kind: str) -> str:
    """Give the query that shows every row of a table once; the same in BigQuery and DuckDB."""
    return (
        f"SELECT * FROM `{name}` WHERE true "
        f"QUALIFY row_number() OVER (PARTITION BY {', '.join(KEYS[kind])} ORDER BY {TIMES[kind]}) = 1"
    )


def arrow_rows(table: pa.Table) -> pa.Table:
    """Give whole numbers the width that BigQuery has."""
    fields = [pa.field(each.name, pa.int64() if pa.types.is_integer(each.type) else each.type) for each in table.schema]
    return table.cast(pa.schema(fields))


def batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Cut a table into batches that one append may carry."""
    count = max(1, -(-table.nbytes // STREAM_BYTES))
    size = max(1, -(-table.num_rows // count))
    for batch in table.combine_chunks().to_batches(size):
        if batch.nbytes > STREAM_BYTES and batch.num_rows > 1:
            yield from batches(pa.Table.from_batches([batch]))
        else:
            yield batch


def pieces(rows: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Cut rows into pieces that one insertAll may carry, by their numbers."""
    start = size = 0
    for number, row in enumerate(rows):
        length = 600 + sum(len(value) for value in row.values() if isinstance(value, str))
        if number > start and (number - start >= INSERT_ROWS or size + length > INSERT_BYTES):
            yield start, number
            start, size = number, 0
        size += length
    if start < len(rows):
        yield start, len(rows)


def sink(address: Address) -> BigQuerySink:
    """Make the sink of `bigquery://project/dataset/table?write=insertAll`.

    `endpoint` and `grpc` are for an emulator, as BIGQUERY_EMULATOR_HOST is; nobody logs in there.
    """
    parts = address.parts
    options = known_options(address, "write", "feedback", "endpoint", "grpc")
    names = parts.path.strip("/").split("/")
    write = options.get("write", "storage")
    if not parts.netloc or not names[0] or len(names) > 2 or write not in ("storage", "insertAll"):
        raise wrong(address, "bigquery://project/dataset/predictions, with ?write=storage or ?write=insertAll")
    table = names[1] if len(names) == 2 else PREDICTIONS
    tables = {PREDICTIONS: table, FEEDBACK: other_name(table, options.get("feedback"))}
    endpoint = options.get("endpoint") or os.environ.get("BIGQUERY_EMULATOR_HOST", "")
    if endpoint and not urlsplit(endpoint).scheme:
        endpoint = f"http://{endpoint}"
    return BigQuerySink(
        parts.netloc,
        names[0],
        tables,
        "insertAll" if write == "insertAll" else "storage",
        endpoint,
        options.get("grpc", ""),
    )
