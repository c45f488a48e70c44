"""Puts finished parts together into the output, at constant memory and in one step."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pydantic_core import to_json

from hansang.scoring.answers import as_json, fitted, unified
from hansang.scoring.inputs import SUFFIXES
from hansang.scoring.parts import Parts, errors_of, sync_folder

ROW_GROUP = 128 * 1024


class Sheet(Protocol):
    """A file of the output's format that tables of one schema are appended to."""

    def write(self, table: Any) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is left; the file stays open."""


class ParquetSheet:
    """A Parquet file; small parts share a row group."""

    def __init__(self, file: Any, schema: Any) -> None:
        texts = [field.name for field in schema if is_text(field.type)]  # a dictionary of numbers is seldom worth it
        self.writer = pa.parquet.ParquetWriter(file, schema, use_dictionary=texts or False)
        self.held: list[Any] = []
        self.rows = 0

    def write(self, table: Any) -> None:
        """Append rows."""
        self.held.append(table)
        self.rows += table.num_rows
        if self.rows >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self.writer.close()

    def _flush(self) -> None:
        if self.held:
            self.writer.write_table(pa.concat_tables(self.held), row_group_size=2 * ROW_GROUP)
        self.held, self.rows = [], 0


class CsvSheet:
    """A CSV file; what is no number or text is JSON text."""

    def __init__(self, file: Any, schema: Any) -> None:
        self.schema = pa.schema([pa.field(field.name, csv_type(field.type)) for field in schema])
        self.writer = pa.csv.CSVWriter(file, self.schema, write_options=pa.csv.WriteOptions(quoting_style="needed"))

    def write(self, table: Any) -> None:
        """Append rows."""
        columns = []
        for field, column in zip(self.schema, table.columns, strict=True):
            if column.type == field.type:
                columns.append(column)
            elif pa.types.is_nested(column.type):
                columns.append(pa.array([as_json(value) for value in column.to_pylist()], pa.string()))
            else:
                columns.append(column.cast(field.type))
        self.writer.write_table(pa.table(columns, schema=self.schema))

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


class LinesSheet:
    """A JSON Lines file."""

    def __init__(self, file: Any, schema: Any) -> None:
        self.file = file

    def write(self, table: Any) -> None:
        """Append rows."""
        lines = io.BytesIO()
        for batch in table.to_batches(max_chunksize=8192):
            for row in batch.to_pylist():
                lines.write(to_json(row, bytes_mode="base64", inf_nan_mode="null") + b"\n")
        self.file.write(lines.getbuffer())

    def close(self) -> None:
        """Write what is left."""


SHEETS: dict[str, type[Any]] = {"parquet": ParquetSheet, "csv": CsvSheet, "jsonl": LinesSheet}


def is_text(kind: Any) -> bool:
    """Say whether a column holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def csv_type(kind: Any) -> Any:
    """Give the type that a CSV file writes a column as."""
    if pa.types.is_nested(kind):
        return pa.string()
    return kind.value_type if pa.types.is_dictionary(kind) else kind


class Output:
    """The output in the making, in a file beside the parts; parts are appended in order as they are finished.

    The columns and types are those of the first part. A part that has others, as happens where no schema declares
    them, makes the file begin again at the end, with columns that hold all parts.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.path = parts.folder / "output.tmp"
        self.format = SUFFIXES[parts.out.suffix.lower()]
        self.schemas: dict[Any, None] = {}
        self.sheet: Sheet | None = None
        self.file: Any = None
        self.lock = threading.Lock()
        self.closed = False
        self.count = 0
        self.rows = 0
        self.errors: Counter[str] = Counter()

    def append(self, index: int) -> None:
        """Append a finished part."""
        table = self.parts.read(index)
        with self.lock:
            if self.closed:
                return  # the run has failed meanwhile
            self.errors += errors_of(table)
            self.rows += table.num_rows
            self.count += 1
            table = table.replace_schema_metadata(None)
            self.schemas[table.schema] = None
            if len(self.schemas) == 1:
                self._write(table, table.schema)

    def _write(self, table: Any, schema: Any) -> None:
        if self.sheet is None:
            self.file = self.path.open("wb")
            self.sheet = SHEETS[self.format](self.file, schema)
        self.sheet.write(fitted(table, schema))

    def place(self) -> None:
        """Finish the file, put it in place of the output in one step, and remove the parts."""
        if len(self.schemas) > 1:
            self._again()
        if self.sheet is None:
            self._write(NO_ROWS.empty_table(), NO_ROWS)
        self._finish()
        self.path.rename(self.parts.out)
        sync_folder(Path(self.parts.out.absolute().parent))
        self.parts.remove()

    def close(self) -> None:
        """Let go of the file, whether it is whole or the run has failed."""
        with self.lock:
            self.closed = True
            self._finish()

    def _finish(self) -> None:
        if self.sheet is None:
            return
        self.sheet.close()
        self.sheet = None
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def _again(self) -> None:
        self._finish()
        schema = ordered(unified(list(self.schemas)))
        for index in range(self.count):
            self._write(self.parts.read(index).replace_schema_metadata(None), schema)


NO_ROWS = pa.schema({"row": pa.int64(), "error": pa.string()})


def ordered(schema: Any) -> Any:
    """Put the error last, whichever part had which columns."""
    fields = [field for field in schema if field.name != "error"]
    return pa.schema([*fields, *(field for field in schema if field.name == "error")])
