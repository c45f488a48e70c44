"""Reads inputs as a stream of chunks, at constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hansang.errors import HansangError, UsageError
from hansang.scoring.check import to_arrow
from hansang.scoring.chunk import Chunk, Form
from hansang.scoring.inputs import Source

BLOCK = 4 * 1024 * 1024
BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Piece:
    """Some rows of one input, however many came at once; `unread` says why rows at some positions are missing."""

    rows: int
    weight: float
    table: Any = None
    lines: list[bytes] = field(default_factory=list)
    unread: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read: rows of a chunk, the columns that are wanted (None is all), and which chunks are there already.

    `passed` is told the weight of each chunk that is not read again.
    """

    rows: int
    columns: frozenset[str] | None
    done: Callable[[int], bool]
    passed: Callable[[float], None]


def read_chunks(sources: Sequence[Source], reading: Reading) -> Iterator[Chunk]:
    """Give the chunks that are still to be scored, in order; chunks never cross a file, unless files are the rows."""
    index, start = 0, 0
    for group in grouped(sources):
        source, first = group[0], index
        skip = 0
        while reading.done(index + skip):
            skip += 1
        form, pieces = open_pieces(group, reading, skip * reading.rows)
        for size, chunk in rechunked(pieces, reading.rows, form, source.name):
            if reading.done(index):
                reading.passed(chunk.weight)
            else:
                chunk.index, chunk.start = index, start + (index - first) * reading.rows
                yield chunk
            index += 1
            last = (index - first - 1) * reading.rows + size
        start += last if index > first else 0


def grouped(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Give each data file alone, and files that are rows together."""
    run: list[Source] = []
    for source in sources:
        if run and source.format != "file":
            yield run
            run = []
        run.append(source)
        if source.format != "file":
            yield run
            run = []
    if run:
        yield run


def open_pieces(group: list[Source], reading: Reading, skip: int) -> tuple[Form, Iterator[Piece]]:
    """Choose the reader of a file's format; `skip` rows at the start are not needed any more."""
    source = group[0]
    if source.format == "parquet":
        return "table", parquet_pieces(source, reading, skip)
    if source.format == "csv":
        return "text", csv_pieces(source, reading)
    if source.format == "jsonl":
        return "lines", line_pieces(source, reading.rows)
    return "files", (Piece(1, max(file.size, 1), lines=[str(file.path).encode()]) for file in group)


def rechunked(pieces: Iterator[Piece], rows: int, form: Form, source: str) -> Iterator[tuple[int, Chunk]]:
    """Cut pieces into chunks of equal size, so that a resumed run finds the same ones; with the rows of each."""
    held: list[Piece] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += piece.rows
        while count >= rows:
            chunk, held = cut(held, rows, form, source)
            count -= rows
            yield rows, chunk
    if count:
        yield count, cut(held, count, form, source)[0]


def cut(held: list[Piece], rows: int, form: Form, source: str) -> tuple[Chunk, list[Piece]]:
    """Take the first rows off the held pieces."""
    chunk = Chunk(0, 0, source, form, rows)
    tables, rest, filled = [], [], 0
    for piece in held:
        take = min(piece.rows, rows - filled)
        if take < piece.rows:
            rest.append(after(piece, take))
        if not take:
            continue
        if piece.table is not None:
            tables.append(piece.table.slice(0, take))
        chunk.lines += piece.lines[:take]
        chunk.unread.update((filled + place, text) for place, text in piece.unread.items() if place < take)
        chunk.weight += piece.weight * take / piece.rows
        filled += take
    if tables:
        chunk.table = pa.concat_tables(tables).combine_chunks()
    return chunk, rest


def after(piece: Piece, take: int) -> Piece:
    """Give what is left of a piece."""
    left = piece.rows - take
    return Piece(
        left,
        piece.weight * left / piece.rows,
        piece.table.slice(take) if piece.table is not None else None,
        piece.lines[take:],
        {place - take: text for place, text in piece.unread.items() if place >= take},
    )


# --- Parquet ---


def open_parquet(path: Path) -> Any:
    """Open a Parquet file; one that is truncated or something else is a `UsageError` that names it."""
    try:
        return pa.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path} is not a whole Parquet file: {reason}") from error


def parquet_pieces(source: Source, reading: Reading, skip: int) -> Iterator[Piece]:
    """Read a Parquet file by record batches; the rows of a broken row group are unread, and the rest goes on."""
    with open_parquet(source.path) as file:
        total = max(file.metadata.num_rows, 1)
        names = [name for name in file.schema_arrow.names if reading.columns is None or name in reading.columns]
        for number in range(file.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            if skip >= rows:  # chunks that are done are counted by their rows alone
                skip -= rows
                yield blank(file, names, rows, source.size * rows / total, {})
                continue
            for piece in row_group(file, number, names, reading.rows):
                piece.weight = source.size * piece.rows / total
                yield piece
            skip = 0


def row_group(file: Any, number: int, names: list[str], most: int) -> Iterator[Piece]:
    """Read one row group."""
    rows, seen = file.metadata.row_group(number).num_rows, 0
    try:
        for batch in file.iter_batches(batch_size=most, row_groups=[number], columns=names):
            seen += batch.num_rows
            yield Piece(batch.num_rows, 0, pa.Table.from_batches([batch]))
    except (pa.ArrowException, OSError) as error:
        reason = f"the row group {number} cannot be read: {str(error).partition(chr(10))[0]}"
        yield blank(file, names, rows - seen, 0, dict.fromkeys(range(rows - seen), reason))


def blank(file: Any, names: list[str], rows: int, weight: float, unread: dict[int, str]) -> Piece:
    """Give rows of which nothing is known."""
    columns = {name: pa.nulls(rows, file.schema_arrow.field(name).type) for name in names}
    return Piece(rows, weight, pa.table(columns), unread=unread)


# --- CSV ---


def csv_header(path: Path) -> list[str]:
    """Read the names of a CSV file's columns."""
    try:
        with path.open("rb") as file:
            line = file.readline(BLOCK)
        if not line.strip(BOM + b"\r\n "):
            raise UsageError(f"{path} has no header line; the first line of a CSV file names its columns")
        names: list[str] = open_csv(path, {}, []).schema.names
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as CSV: {str(error).partition(chr(10))[0]}") from error
    if len(set(names)) != len(names):
        raise UsageError(f"{path} names a column twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    return names


def open_csv(path: Path, types: dict[str, Any], bad: list[Any]) -> Any:
    """Open a CSV file; rows with too few or too many cells are put into `bad` and left out."""

    def note(row: Any) -> str:
        bad.append((row.number - 2, f"the line has {row.actual_columns} cells; expected {row.expected_columns}"))
        return "skip"

    csv = pa.csv
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),  # only so are the bad rows' numbers known
        parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        convert_options=csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
        ),
    )


def csv_pieces(source: Source, reading: Reading) -> Iterator[Piece]:
    """Read the cells of a CSV file as bytes; what they mean is for the schema to say."""
    names = csv_header(source.path)
    wanted = [name for name in names if reading.columns is None or name in reading.columns]
    bad: list[tuple[int, str]] = []
    seen = 0
    try:
        for batch in open_csv(source.path, dict.fromkeys(names, pa.binary()), bad):
            table = pa.Table.from_batches([batch])
            piece = Piece(table.num_rows, max(table.nbytes - 4 * table.num_rows * len(names), 1), table.select(wanted))
            with_bad(piece, bad, seen)
            seen += piece.rows
            if piece.rows:
                yield piece
    except (pa.ArrowException, OSError) as error:
        raise HansangError(
            f"{source.path} cannot be read after row {seen}: {str(error).partition(chr(10))[0]}"
        ) from error
    if bad:
        yield with_bad(
            Piece(0, 1, cast(Any, pa.table({name: pa.array([], pa.binary()) for name in wanted}))), bad, seen
        )


def with_bad(piece: Piece, bad: list[tuple[int, str]], seen: int) -> Piece:
    """Put the rows that were left out back into their places, unread; those of later pieces stay in `bad`."""
    total, unread = piece.rows, {}
    while bad and bad[0][0] - seen <= total:
        place, text = bad.pop(0)
        unread[place - seen] = text
        total += 1
    if unread:
        order = np.full(total, -1, np.int64)
        order[[place for place in range(total) if place not in unread]] = np.arange(piece.rows)
        piece.table = piece.table.take(to_arrow(order, order >= 0))
        piece.rows, piece.unread = total, unread
    return piece


# --- JSON Lines ---


def line_pieces(source: Source, most: int) -> Iterator[Piece]:
    """Read lines; empty ones are no rows."""
    try:
        with source.path.open("rb", buffering=BLOCK) as file:
            lines: list[bytes] = []
            for number, line in enumerate(file):
                text = (line.removeprefix(BOM) if number == 0 else line).strip()
                if text:
                    lines.append(text)
                if len(lines) == most:
                    yield Piece(most, sum(map(len, lines)) + most, lines=lines)
                    lines = []
            if lines:
                yield Piece(len(lines), sum(map(len, lines)) + len(lines), lines=lines)
    except OSError as error:
        raise HansangError(f"{source.path} cannot be read: {error.strerror}") from error
