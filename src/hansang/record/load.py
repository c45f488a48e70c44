"""Feedback from files: truths that a warehouse or an annotator has, row by row, into the record."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic_core import to_json

from hansang.errors import RecordError, UsageError
from hansang.record.feedback import NONE, Feedback, feedback_recorder
from hansang.record.keep import retention_words
from hansang.record.known import Known
from hansang.record.match import Match, by_key, by_request
from hansang.record.moments import read_moment, read_span
from hansang.record.policy import Secret
from hansang.record.prediction_id import ID
from hansang.record.record import Limits, Recorder, nudge
from hansang.record.truths import Truths, read_truths

By = Literal["id", "request_id", "key"]
CHUNK = 10_000
UNREAD = "\0"  # the column that says why a line was not read
BLOCK = 4 * 1024 * 1024
__all__ = ["Columns", "Loaded", "Loader", "read_span"]
READ = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")
Row = dict[str, Any]
Write = Callable[[list[tuple[Any, ...]]], None]
Line = tuple[int, str, tuple[Any, ...]]  # a row's number, its name, and its columns as they are written


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a file says what; one that is None is used under its usual name where there is such a column."""

    id: str | None = None
    truth: str | None = None
    row: str | None = None
    score: str | None = None
    time: str | None = None
    source: str | None = None

    def find(self, names: Sequence[str], by: By) -> dict[str, str]:
        """Give the column of each thing in a file; raises `UsageError` for what is missing."""
        found = {}
        for thing in ("id", "truth", "row", "score", "time", "source"):
            given = getattr(self, thing)
            column = given or (by if thing == "id" else thing)
            if column in names:
                found[thing] = column
            elif given is not None or thing == "id":
                option = f"--{thing}-column"
                raise UsageError(f"no column {column!r}; there are {', '.join(names)} (see {option})")
        if "truth" not in found and "score" not in found:
            raise UsageError(f"no column 'truth' or 'score'; there are {', '.join(names)} (see --truth-column)")
        if by == "key" and "time" not in found:
            raise UsageError("by a key, a truth belongs to the newest prediction before it: give --time-column")
        return found


@dataclass(slots=True)
class Loaded:
    """What became of the rows of files: `accepted`, `empty` (neither truth nor score), and the errors by their text."""

    accepted: int = 0
    empty: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Loader:
    """Reads feedback from files into a record, whether a server writes to it or not.

    A row with `by="id"` is for the prediction of that id; `"request_id"` gives the truth to every live prediction of
    that request; `"key"` to the newest live prediction with that key that is not after the truth and at most `within`
    seconds before it. With `check`, rows on predictions that are not in the record are errors.

    Truths are kept as the policies of the record's services say; `secret` is what hashes are keyed by, and finds keys
    that are kept as hashes.

    `tell` is given every row that is not taken: its file, its number from 0, its name, and why.
    """

    folder: Path
    columns: Columns = Columns()
    by: By = "id"
    within: float = math.inf
    source: str | None = None
    check: bool = True
    tell: Callable[[Path, int, str, str], None] = lambda file, number, name, text: None
    secret: Secret | None = None
    result: Loaded = field(default_factory=Loaded)

    def load(self, files: Sequence[Path], report: Callable[[int, float], None] | None = None) -> Loaded:
        """Read files; `report` is given the rows so far and the share of the bytes that is done."""
        if not self.folder.is_dir():
            raise RecordError(f"no record in {str(self.folder)!r}; a running service makes it with its first answer")
        truths = read_truths(self.folder, self.secret)
        recorder = feedback_recorder(self.folder, on_full="stop", durability="sync", limits=Limits(seconds=math.inf))
        match = self._match()
        known = Known(self.folder)
        sizes = [max(path.stat().st_size, 1) for path in files]
        rows = 0
        try:
            for number, path in enumerate(files):
                start = 0
                for share, chunk in read_file(path):
                    self._take(path, start, chunk, partial(write, recorder, truths), match, known)
                    start += len(chunk)
                    rows += len(chunk)
                    if report is not None:
                        report(rows, (sum(sizes[:number]) + share * sizes[number]) / sum(sizes))
        finally:
            recorder.roll()
            compact(self.folder)
        return self.result

    def _match(self) -> Match | None:
        if self.by == "id":
            return None
        return by_request(self.folder) if self.by == "request_id" else by_key(self.folder, self.within)

    def _take(self, path: Path, start: int, chunk: list[Row], write: Write, match: Match | None, known: Known) -> None:
        """Take the rows of a chunk that can be taken."""
        places = self.columns.find([name for name in chunk[0] if name != UNREAD], self.by)
        lines: list[Line] = []
        for number, row in enumerate(chunk, start):
            name = row.get(places["id"])
            try:
                line = self._read(row, places)
                if line is not None:
                    lines.append((number, str(name), line))
            except ValueError as error:
                self._refuse(path, number, str(name), str(error))
        if match is not None:
            lines = self._matched(path, lines, match, numbered="row" in places)
        elif self.check and lines:
            missing = known.missing([line[0] for _, _, line in lines])
            for number, name, line in lines:
                if line[0] in missing:
                    self._refuse(
                        path, number, name, f"no such prediction in the record; {retention_words(self.folder)}"
                    )
            lines = [entry for entry in lines if entry[2][0] not in missing]
        if lines:
            write([line for _, _, line in lines])
            self.result.accepted += len(lines)

    def _read(self, row: Row, places: dict[str, str]) -> tuple[Any, ...] | None:
        """Give a row as it is written, None when it says nothing; raises `ValueError` with what is wrong."""
        if row.get(UNREAD):
            raise ValueError(row[UNREAD])
        truth, score = (row.get(places[thing]) if thing in places else None for thing in ("truth", "score"))
        if truth is None and score is None:
            self.result.empty += 1
            return None
        name = row.get(places["id"])
        if name is None:
            raise ValueError(f"no {self.by}")
        if self.by == "id":
            name = str(name).lower()
            if not ID.fullmatch(name):
                raise ValueError("the id is no x-prediction-id, a UUID of version 7")
        number = row.get(places["row"]) if "row" in places else None
        if number is not None and not (isinstance(number, int | float) and number == int(number) >= 0):
            raise ValueError("the row is no whole number from 0")
        source = row.get(places["source"]) if "source" in places else self.source
        return (
            str(name),
            0 if number is None else int(number),
            b"" if truth is None else encoded(truth),
            moment(row.get(places["time"])) if "time" in places else NONE,
            NONE if score is None else finite(score),
            None if source is None else str(source),
        )

    def _matched(self, path: Path, lines: list[Line], match: Match, *, numbered: bool) -> list[Line]:
        """Put the ids of predictions in the place of names."""
        found = match([(line[0], line[1] if numbered else None, line[3]) for _, _, line in lines])
        if self.secret is not None:  # a key that has a policy is kept as its hash
            rest = [place for place in range(len(lines)) if place not in found]
            hashed = [
                (self.secret.hash(lines[n][2][0]), lines[n][2][1] if numbered else None, lines[n][2][3]) for n in rest
            ]
            found |= {rest[place]: pairs for place, pairs in match(hashed).items()}
        matched = []
        for place, (number, name, line) in enumerate(lines):
            if place not in found:
                self._refuse(path, number, name, f"no prediction with this {self.by}")
            matched += [(number, name, (id, row, *line[2:])) for id, row in found.get(place, ())]
        return matched

    def _refuse(self, path: Path, number: int, name: str, text: str) -> None:
        self.result.failed += 1
        self.result.errors[text] += 1
        self.tell(path, number, name, text)


def write(recorder: Recorder, truths: Truths | None, lines: list[tuple[Any, ...]]) -> None:
    """Write rows of feedback, their truths as the policies leave them."""
    ids, numbers, values, times, scores, sources = map(list, zip(*lines, strict=True))
    if truths is not None:
        values = [truths(value) for value in values]
    keys: list[str | None] = [None] * len(lines)
    recorder.write([Feedback(time.time(), ids, numbers, values, times, scores, sources, keys)])


def encoded(truth: Any) -> bytes:
    """Write a truth as JSON; raises `ValueError` for one that is not a number."""
    if isinstance(truth, float) and not math.isfinite(truth):
        raise ValueError("the truth is not a finite number")
    return to_json(truth, inf_nan_mode="null", serialize_unknown=True)


def finite(score: Any) -> float:
    """Read a score."""
    number = float(score)
    if not math.isfinite(number):
        raise ValueError("the score is not a finite number")
    return number


def moment(value: Any) -> float:
    """Read a time; raises `ValueError` for what is none."""
    if value is None:
        return NONE
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        return read_moment(value, "time")
    except UsageError as error:
        raise ValueError(str(error)) from error


def compact(folder: Path) -> None:
    """Have the new segments turned into Parquet: by the compactor that is there, or by one that ends with its work."""
    if not nudge(folder):
        command = [sys.executable, "-P", "-m", "hansang.record.compact", str(folder)]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


# --- files ---


def read_file(path: Path) -> Iterator[tuple[float, list[Row]]]:
    """Read a file by chunks of rows, each with the share of the file that is read; it is never held whole.

    Raises `UsageError` for a file that is not of its format.
    """
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise UsageError(f"{path} is not read: give files that end in .parquet, .csv or .jsonl")
    try:
        if suffix in (".parquet", ".pq"):
            yield from parquet_rows(path)
        elif suffix == ".csv":
            yield from csv_rows(path)
        else:
            yield from line_rows(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error


def parquet_rows(path: Path) -> Iterator[tuple[float, list[Row]]]:
    """Read a Parquet file."""
    with pq.ParquetFile(path) as file:
        total, seen = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(CHUNK):
            seen += batch.num_rows
            yield seen / total, rows_of(batch)


def csv_rows(path: Path) -> Iterator[tuple[float, list[Row]]]:
    """Read a CSV file with a header line; the types of the columns are found in its first four megabytes."""
    options = pa.csv.ReadOptions(block_size=BLOCK)
    size = max(path.stat().st_size, 1)
    with pa.csv.open_csv(path, read_options=options) as reader:
        for number, batch in enumerate(reader, 1):
            for at in range(0, batch.num_rows, CHUNK):
                yield min(number * BLOCK / size, 1.0), rows_of(batch.slice(at, CHUNK))


def rows_of(batch: Any) -> list[Row]:
    """Give a record batch as rows whose times need no database of zones."""
    for index, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type):
            values = batch.column(index).cast(pa.timestamp("us"), safe=False)
            batch = batch.set_column(index, column.name, values)
    rows: list[Row] = batch.to_pylist()
    return rows


def line_rows(path: Path) -> Iterator[tuple[float, list[Row]]]:
    """Read a file with one JSON object a line; a line that is none says so in `UNREAD`."""
    size, seen = max(path.stat().st_size, 1), 0
    with path.open("rb") as file:
        rows: list[Row] = []
        names: dict[str, None] = {}
        for line in file:
            seen += len(line)
            if not line.strip():
                continue
            row = parsed(line)
            names.update(dict.fromkeys(row))
            rows.append(row)
            if len(rows) == CHUNK:
                yield seen / size, evened(rows, names)
                rows = []
        if rows:
            yield 1.0, evened(rows, names)


def evened(rows: list[Row], names: dict[str, None]) -> list[Row]:
    """Let the first row name every column that there was so far."""
    rows[0] = {**dict.fromkeys(names), **rows[0]}
    return rows


def parsed(line: bytes) -> Row:
    """Read one line."""
    try:
        row = json.loads(line)
    except ValueError:
        return {UNREAD: "the line is not JSON"}
    return row if isinstance(row, dict) else {UNREAD: "the line is no JSON object"}
