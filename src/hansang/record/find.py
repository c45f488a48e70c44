"""One prediction by its id: its rows, its feedback and its shadow, from the few files that hold it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hansang.extras import require
from hansang.record.files import hold, replaced_files
from hansang.record.frame import ID_SIZE
from hansang.record.known import Known
from hansang.record.segment import FEEDBACK, PREDICTIONS, list_segments, parquet_path, read_segment

Row = dict[str, Any]
CONTENT = ("truth", "score", "source")


def find(folder: Path, id: str, known: dict[str, Known] | None = None) -> tuple[list[Row], list[Row]]:
    """Give the rows of a prediction, live ones first, and its feedback, the oldest first; none when it is not there.

    `known` remembers between two calls which files there are. Times are in UTC.
    """
    known = {} if known is None else known
    held = hold(folder) if folder.is_dir() else None
    try:
        rows = [row for part in parts(folder, id, known, PREDICTIONS) for row in part.to_pylist()]
        feedback = [row for part in parts(folder, id, known, FEEDBACK) for row in part.to_pylist()]
    finally:
        if held is not None:
            os.close(held)
    rows.sort(key=lambda row: (row["row"], row["role"] != "live", row["time"]))
    return rows, history(feedback)


def parts(folder: Path, id: str, known: dict[str, Known], kind: str) -> Iterator[pa.Table]:
    """Give the rows of an id in each segment and each file that has some; the spool is looked at first."""
    if kind not in known:
        known[kind] = Known(folder, kind)
    spooled: dict[Path, pa.Table] = {}
    for segment in list_segments(folder, ".open", ".closed", kind=kind):
        table = rows_in_segment(segment, id, kind)
        if table is not None:
            spooled[parquet_path(folder, segment)] = table
    files = known[kind].files(id, until=time.time() if kind == FEEDBACK else None)
    replaced = replaced_files(folder, set(files))
    for path in files:
        spooled.pop(path, None)
        if path not in replaced:
            yield from rows_in_file(path, id)
    yield from spooled.values()


def rows_in_segment(segment: Path, id: str, kind: str) -> pa.Table | None:
    """Give the rows of an id in a segment, under whichever of its names; it is decoded only when it holds the id."""
    for path in (segment, segment.with_suffix(".closed")):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        if id.encode() in data:
            layout = require("hansang.record.parquet", "").LAYOUTS[kind]  # rare, and what writes is slow to import
            return only(layout.decode(read_segment(data, path.name)), id)
        return None
    return None


def rows_in_file(path: Path, id: str) -> Iterator[pa.Table]:
    """Give the rows of an id in a Parquet file, of the row groups that may have some."""
    with pq.ParquetFile(path) as file:
        at = file.schema_arrow.get_field_index("id")
        for number in range(file.num_row_groups):
            facts = file.metadata.row_group(number).column(at).statistics
            if facts is None or not facts.has_min_max or facts.min <= id <= facts.max:
                if any(True for _ in places(file.read_row_group(number, columns=["id"])["id"], id)):
                    yield only(file.read_row_group(number), id)


def only(table: pa.Table, id: str) -> pa.Table:
    """Keep the rows of an id; times lose their zone, for Python needs a zone database to read one.

    Arrow's own functions would do the same, but they import pandas where that is installed.
    """
    rows = pa.concat_tables([table.slice(place, 1) for place in places(table["id"], id)] or [table.slice(0, 0)])
    for index, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type):
            bare = pa.timestamp("us")
            chunks = [chunk.view(bare) for chunk in rows.column(index).chunks]
            rows = rows.set_column(index, column.name, pa.chunked_array(chunks, bare))
    return rows


def places(ids: pa.ChunkedArray, id: str) -> Iterator[int]:
    """Give the places at which an id stands among ids; all are of one length."""
    wanted, before = id.encode(), 0
    for chunk in ids.chunks:
        _, _, data = chunk.buffers()
        text = bytes(data)[chunk.offset * ID_SIZE :][: len(chunk) * ID_SIZE] if data is not None else b""
        at = text.find(wanted)
        while at >= 0:
            if at % ID_SIZE == 0:
                yield before + at // ID_SIZE
            at = text.find(wanted, at + 1)
        before += len(chunk)


def history(feedback: list[Row]) -> list[Row]:
    """Order feedback by its time and leave out repeats, by the rules of the view `feedback`."""
    first: dict[tuple[Any, ...], Row] = {}
    for row in sorted(feedback, key=lambda row: row["received"]):
        same = (row["id"], row["row"], row["key"] or id(row), *(row[name] for name in CONTENT))
        first.setdefault(same, row)
    kept: list[Row] = []
    standing: dict[int, tuple[Any, ...]] = {}
    for row in sorted(first.values(), key=lambda row: (row["row"], row["time"], row["received"])):
        content = tuple(row[name] for name in CONTENT)
        if standing.get(row["row"]) != content:
            standing[row["row"]] = content
            kept.append(row)
    return kept


def in_utc(rows: list[Row]) -> list[Row]:
    """Give rows whose times say that they are in UTC."""
    return [
        {
            name: value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
            for name, value in row.items()
        }
        for row in rows
    ]
