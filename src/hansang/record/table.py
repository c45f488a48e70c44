"""Frames of a segment to one Arrow table: Python works once a group, numpy and Arrow on all rows at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from hansang.record.frame import (
    ERRORS,
    GROUP,
    ID_SIZE,
    KEYS,
    NUMBERS,
    PAYLOAD,
    REQUEST_IDS,
    SIZE,
    STATUSES,
    TAGS,
    Frames,
)
from hansang.record.output_value import single_numbers
from hansang.record.rows import Shared

WORD = pa.dictionary(pa.int32(), pa.string())
WORDS = ("service", "endpoint", "node", "model", "version", "variant", "role")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("row", pa.int32()),
        ("request_id", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        *((name, WORD) for name in WORDS),
        ("key", pa.string()),
        ("status", pa.int32()),
        ("error", pa.string()),
        ("latency_ms", pa.float64()),
        ("queue_ms", pa.float64()),
        ("batch_rows", pa.int32()),
        ("cached", pa.bool_()),
        ("input", pa.string()),
        ("output", pa.string()),
        ("output_value", pa.float64()),
        ("tags", pa.string()),
    ]
)
FAILED = 400
Integers = np.ndarray[tuple[int], np.dtype[np.int32]]


@dataclass(slots=True)
class Columns:
    """The columns as pieces, one a group; sparse ones are kept by flag with the number of their first row.

    The pieces are bytes, not views: the garbage collector does not count them, and there are six a group.
    """

    data: bytes
    rows: int = 0
    heads: list[tuple[int, int, int, float, float]] = field(default_factory=list)
    words: dict[bytes, int] = field(default_factory=dict)
    ids: list[bytes] = field(default_factory=list)
    latencies: list[bytes] = field(default_factory=list)
    input_sizes: list[bytes] = field(default_factory=list)
    output_sizes: list[bytes] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    integers: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    texts: dict[int, list[tuple[int, bytes, bytes]]] = field(default_factory=dict)

    def add(self, at: int) -> None:
        """Take the pieces of the frame whose payload starts here."""
        _, _, groups = PAYLOAD.unpack_from(self.data, at)
        at += PAYLOAD.size
        for _ in range(groups):
            at = self.add_group(at)

    def add_group(self, at: int) -> int:
        """Take the pieces of the group that starts here; give where it ends."""
        payload = self.data
        rows, flags, shared, batch_rows, input_bytes, output_bytes, time, queue = GROUP.unpack_from(payload, at)
        start = at + GROUP.size
        at = start + shared
        word = self.words.setdefault(payload[start:at], len(self.words))
        self.heads.append((rows, word, batch_rows, time, queue))
        self.ids.append(payload[at : (at := at + ID_SIZE * rows)])
        self.latencies.append(payload[at : (at := at + 8 * rows)])
        self.input_sizes.append(payload[at : (at := at + 4 * rows)])
        self.output_sizes.append(payload[at : (at := at + 4 * rows)])
        self.inputs.append(payload[at : (at := at + input_bytes)])
        self.outputs.append(payload[at : (at := at + output_bytes)])
        if flags:
            at = self.add_sparse(at, rows, flags)
        self.rows += rows
        return at

    def add_sparse(self, at: int, rows: int, flags: int) -> int:
        """Take the pieces that only some groups have."""
        payload = self.data
        for flag in (NUMBERS, STATUSES):
            if flags & flag:
                self.integers.setdefault(flag, []).append((self.rows, payload[at : (at := at + 4 * rows)]))
        for flag in (REQUEST_IDS, KEYS, ERRORS, TAGS):
            if flags & flag:
                (size,) = SIZE.unpack_from(payload, at)
                middle = at + SIZE.size + 4 * rows
                piece = (self.rows, payload[at + SIZE.size : middle], payload[middle : (at := middle + size)])
                self.texts.setdefault(flag, []).append(piece)
        return at


def to_table(frames: Frames) -> pa.Table:
    """Decode frames into one table, in the order in which the rows were written."""
    columns = Columns(frames.data)
    for payload in frames:
        columns.add(payload)
    return build(columns) if columns.rows else SCHEMA.empty_table()


def build(columns: Columns) -> pa.Table:
    """Join the pieces to Arrow columns."""
    heads = np.array(columns.heads, np.float64)
    counts = heads[:, 0].astype(np.int64)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, counts)

    status = integers(columns, STATUSES, 200)
    output_sizes = np.frombuffer(b"".join(columns.output_sizes), np.int32)
    output_data = b"".join(columns.outputs)
    input_sizes = np.frombuffer(b"".join(columns.input_sizes), np.int32)
    latencies = np.frombuffer(b"".join(columns.latencies), np.float64)
    arrays = {
        "id": id_column(columns),
        "row": pa.array(integers(columns, NUMBERS, 0)),
        "request_id": texts(columns, REQUEST_IDS),
        "time": pa.array(spread(np.rint(heads[:, 3] * 1e6).astype(np.int64))).cast(SCHEMA.field("time").type),
        **word_columns(columns.words, spread(heads[:, 1].astype(np.int32))),
        "key": texts(columns, KEYS),
        "status": pa.array(status),
        "error": texts(columns, ERRORS),
        "latency_ms": pa.array(np.rint(latencies * 1e6) / 1e3),
        "queue_ms": pa.array(spread(np.rint(heads[:, 4] * 1e6) / 1e3)),
        "batch_rows": pa.array(spread(heads[:, 2].astype(np.int32))),
        "input": strings(input_sizes, b"".join(columns.inputs), input_sizes > 0),
        "output": strings(output_sizes, output_data, output_sizes > 0),
        "output_value": single_numbers(output_sizes, output_data, status < FAILED),
        "tags": texts(columns, TAGS),
    }
    return pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def id_column(columns: Columns) -> pa.Array:
    """Give the ids, which are all of one size."""
    data = b"".join(columns.ids)
    offsets = np.arange(0, len(data) + 1, ID_SIZE, dtype=np.int32)
    return sound(pa.StringArray.from_buffers(columns.rows, pa.py_buffer(offsets), pa.py_buffer(data)))


def integers(columns: Columns, flag: int, default: int) -> Integers:
    """Give a sparse column of whole numbers, the default where a group has none."""
    values = np.full(columns.rows, default, np.int32)
    for start, piece in columns.integers.get(flag, ()):
        values[start : start + len(piece) // 4] = np.frombuffer(piece, np.int32)
    return values


def texts(columns: Columns, flag: int) -> pa.Array:
    """Give a sparse column of texts, null where a row or its group has none."""
    pieces = columns.texts.get(flag)
    if pieces is None:
        return pa.nulls(columns.rows, pa.string())
    sizes = np.full(columns.rows, -1, np.int32)
    for start, piece, _ in pieces:
        sizes[start : start + len(piece) // 4] = np.frombuffer(piece, np.int32)
    return strings(sizes, b"".join([text for _, _, text in pieces]), sizes >= 0)


def strings(sizes: Integers, data: bytes, valid: np.ndarray) -> pa.Array:
    """Make an Arrow string column over bytes that lie one after the other."""
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(np.maximum(sizes, 0), out=offsets[1:])
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)]
    return sound(pa.StringArray.from_buffers(len(sizes), buffers[1], buffers[2], buffers[0]))


def sound(column: pa.Array) -> pa.Array:
    """Make sure that a column is UTF-8; a single bad body must not make a whole file unreadable."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        texts = column.cast(pa.binary(), safe=False).to_pylist()
        return pa.array([text if text is None else text.decode("utf-8", "replace") for text in texts], pa.string())
    return column


def word_columns(words: dict[bytes, int], codes: Integers) -> dict[str, pa.Array]:
    """Give the columns of what the rows of a group share, as dictionaries."""
    shared = [dict(zip(Shared.__slots__, json.loads(word), strict=True)) for word in words]
    columns: dict[str, pa.Array] = {}
    for name in WORDS:
        values = list(dict.fromkeys(one[name] for one in shared))
        index = np.array([values.index(one[name]) for one in shared], np.int32)
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(index[codes]), pa.array(values, pa.string()))
    cached = np.array([one["cached"] for one in shared], np.bool_)
    columns["cached"] = pa.array(cached[codes])
    return columns
