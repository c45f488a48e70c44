"""One chunk's way: validation by column, the rest by row, the graph, the answers; the same in every process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic_core import from_json

from hansang.batch import Batch
from hansang.codec import Codec
from hansang.errors import BadRequest, UsageError
from hansang.graph import settle
from hansang.scoring.answers import AnswerWriter, column_of, interleave
from hansang.scoring.check import to_arrow
from hansang.scoring.chunk import Chunk
from hansang.scoring.columns import as_text, chunk_column, column_reader, typed
from hansang.scoring.rows import RowReader, explain
from hansang.service import Endpoint, is_function

Keep = tuple[str, ...] | Literal["all", "none"]

KINDS = 100
OTHERS = "other errors"


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands in the output: which input columns are kept, as text or typed, and whether rows name their file."""

    keep: Keep
    source: bool
    as_text: bool


@dataclass(slots=True)
class Ready:
    """A chunk after validation: the rows that go as columns, those that go one by one, and the errors."""

    columns: Batch | None
    columns_at: np.ndarray
    rows: Batch | None
    rows_at: np.ndarray
    errors: dict[int, Exception]


class Scorer:
    """Scores chunks with one endpoint of a running service."""

    def __init__(self, endpoint: Endpoint, layout: Layout) -> None:
        self.endpoint = endpoint
        self.layout = layout
        self.codec = codec_of(endpoint)
        self.by_row = RowReader(self.codec)
        self.by_column = column_reader(endpoint.row)
        self.writer = AnswerWriter(self.codec)

    async def score(self, chunk: Chunk) -> tuple[Any, Counter[str]]:
        """Give the output rows of a chunk as a table, and how many rows failed with each kind of error."""
        ready = await asyncio.to_thread(self.validate, chunk)
        answers = [
            None if batch is None else await settle(self.endpoint.bound, batch) for batch in (ready.columns, ready.rows)
        ]
        return await asyncio.to_thread(self.assemble, chunk, ready, answers)

    # --- in ---

    def validate(self, chunk: Chunk) -> Ready:
        """Validate a chunk: whole columns at once where the schema is plain, the doubtful rows one by one."""
        errors: dict[int, Exception] = {place: BadRequest(text) for place, text in chunk.unread.items()}
        everything = np.arange(chunk.rows)
        columns, columns_at, doubtful = None, everything[:0], everything
        if self.by_column is not None and chunk.form in ("table", "text"):
            arrays, valid = self.by_column.read(chunk)
            columns_at = everything if valid is None else np.flatnonzero(valid)
            doubtful = everything[:0] if valid is None else np.flatnonzero(~valid)
            if len(columns_at):
                part = arrays if valid is None else {name: array[columns_at] for name, array in arrays.items()}
                columns = background(Batch.of_columns(part, self.by_column.make))
        places = [place for place in doubtful.tolist() if place not in errors]
        rows: list[Any] = []
        rows_at: list[int] = []
        for place, row in zip(places, self.by_row.read(chunk, places), strict=True):
            if isinstance(row, Exception):
                errors[place] = row
            else:
                rows.append(row)
                rows_at.append(place)
        return Ready(columns, columns_at, background(Batch(rows)) if rows else None, np.array(rows_at, int), errors)

    # --- out ---

    def assemble(self, chunk: Chunk, ready: Ready, answers: Sequence[Batch | None]) -> tuple[Any, Counter[str]]:
        """Put predictions, errors and what is kept of the input beside each other, in the order of the input."""
        tables, places = [], []
        for batch, at in zip(answers, (ready.columns_at, ready.rows_at), strict=True):
            if batch is not None:
                table, errors = self.writer.write(batch)
                ready.errors.update((int(at[place]), error) for place, error in errors.items())
                tables.append(table)
                places.append(at)
        whole = len(tables) == 1 and len(places[0]) == chunk.rows
        predictions = tables[0] if whole else interleave(tables, places, chunk.rows)
        texts = {place: explain(error) for place, error in ready.errors.items()}
        columns = {"row": to_arrow(np.arange(chunk.start, chunk.start + chunk.rows))}
        if self.layout.source:
            columns["source"] = repeated(chunk.source, chunk.rows)
            if chunk.form == "files":
                columns["source"] = pa.array([line.decode() for line in chunk.lines], pa.string())
        found = dict(zip(predictions.column_names, predictions.columns, strict=True))
        taken = {*columns, *found, "error"}
        columns |= {(f"input.{n}" if n in taken else n): column for n, column in self.kept(chunk).items()}
        columns |= {n if n not in ("row", "source", "error") else f"output.{n}": c for n, c in found.items()}
        columns["error"] = sparse_text(texts, chunk.rows)
        return pa.table(columns), counted(texts.values())

    def kept(self, chunk: Chunk) -> dict[str, Any]:
        """Give the input columns that are kept."""
        if self.layout.keep == "none" or chunk.form == "files":
            return {}
        if chunk.form == "lines":
            return self.kept_fields(chunk)
        names = chunk.table.column_names
        wanted = names if self.layout.keep == "all" else [name for name in self.layout.keep if name in names]
        if chunk.form == "table":
            return {name: chunk.table.column(name) for name in wanted}
        return {name: self.kept_cells(name, chunk_column(chunk, name)) for name in wanted}

    def kept_cells(self, name: str, column: Any) -> Any:
        """Keep cells of a CSV file: as they are for text output, else with the schema's type where it has one."""
        field = self.by_column.fields.get(name) if self.by_column is not None else None
        if field is None or self.layout.as_text:
            return as_text(column)[0]
        return typed(field, column)[0]

    def kept_fields(self, chunk: Chunk) -> dict[str, Any]:
        """Keep the fields of JSON lines."""
        rows = [loaded(line) for line in chunk.lines]
        every = dict.fromkeys(name for row in rows for name in row)
        names = every if self.layout.keep == "all" else [name for name in self.layout.keep if name in every]
        return {name: column_of([row.get(name) for row in rows]) for name in names}


def codec_of(endpoint: Endpoint) -> Codec:
    """Make the codec of an endpoint; one whose fields come from all over a request cannot be scored."""
    if is_function(endpoint.input):
        raise UsageError(
            f"endpoint {endpoint.path} reads its rows by a function of the request; "
            "give it an input= that is a schema, or score another endpoint with --endpoint"
        )
    return Codec(endpoint.row, endpoint.prediction)


def background(batch: Batch) -> Batch:
    """Mark a batch as bulk work."""
    batch.background = True
    return batch


def repeated(text: str, rows: int) -> Any:
    """Make a column of one text."""
    return pa.nulls(rows, pa.string()).fill_null(text)


def loaded(line: bytes) -> dict[str, Any]:
    """Read a line for keeping; one that is no object has no fields."""
    try:
        value = from_json(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def sparse_text(texts: dict[int, str], rows: int) -> Any:
    """Make a column of text that is null nearly everywhere."""
    if not texts:
        return pa.nulls(rows, pa.string())
    return pa.array([texts.get(place) for place in range(rows)], pa.string())


def counted(texts: Any) -> Counter[str]:
    """Count errors by kind; texts beyond the first hundred kinds are counted together."""
    counts: Counter[str] = Counter()
    for text in texts:
        kind = text if len(text) <= 200 else text[:200] + "…"
        counts[kind if kind in counts or len(counts) < KINDS else OTHERS] += 1
    return counts
