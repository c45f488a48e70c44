"""Frames of feedback to one Arrow table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from hansang.record.feedback import HEAD
from hansang.record.frame import ID_SIZE, PAYLOAD, SIZE, Frames
from hansang.record.output_value import single_numbers
from hansang.record.table import sound, strings

TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("row", pa.int32()),
        ("time", TIME),
        ("truth", pa.string()),
        ("truth_value", pa.float64()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("received", TIME),
        ("key", pa.string()),
    ]
)


@dataclass(slots=True)
class Pieces:
    """The columns as pieces of bytes, one a group."""

    rows: int = 0
    received: list[np.ndarray] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    numbers: list[bytes] = field(default_factory=list)
    times: list[bytes] = field(default_factory=list)
    scores: list[bytes] = field(default_factory=list)
    sizes: list[bytes] = field(default_factory=list)
    truths: list[bytes] = field(default_factory=list)
    sources: list[tuple[bytes, bytes]] = field(default_factory=list)
    keys: list[tuple[bytes, bytes]] = field(default_factory=list)

    def add(self, data: bytes, at: int) -> None:
        """Take the pieces of the frame whose payload starts here."""
        _, _, groups = PAYLOAD.unpack_from(data, at)
        at += PAYLOAD.size
        for _ in range(groups):
            rows, truth_bytes, received = HEAD.unpack_from(data, at)
            at += HEAD.size
            self.received.append(np.rint(received * 1e6) + np.arange(rows))
            for pieces, size in (
                (self.ids, ID_SIZE * rows),
                (self.numbers, 4 * rows),
                (self.times, 8 * rows),
                (self.scores, 8 * rows),
                (self.sizes, 4 * rows),
                (self.truths, truth_bytes),
            ):
                pieces.append(data[at : (at := at + size)])
            for texts in (self.sources, self.keys):
                (size,) = SIZE.unpack_from(data, at)
                middle = at + SIZE.size + 4 * rows
                texts.append((data[at + SIZE.size : middle], data[middle : (at := middle + size)]))
            self.rows += rows


def to_feedback_table(frames: Frames) -> pa.Table:
    """Decode frames into one table, in the order in which the rows were written."""
    pieces = Pieces()
    for payload in frames:
        pieces.add(frames.data, payload)
    return build(pieces) if pieces.rows else SCHEMA.empty_table()


def build(pieces: Pieces) -> pa.Table:
    """Join the pieces to Arrow columns."""
    received = np.concatenate(pieces.received).astype(np.int64)
    times = np.frombuffer(b"".join(pieces.times), np.float64)
    given = ~np.isnan(times)
    moments = np.where(given, np.rint(np.where(given, times, 0.0) * 1e6).astype(np.int64), received)
    scores = np.frombuffer(b"".join(pieces.scores), np.float64)
    sizes = np.frombuffer(b"".join(pieces.sizes), np.int32)
    truths, ids = b"".join(pieces.truths), b"".join(pieces.ids)
    offsets = np.arange(0, len(ids) + 1, ID_SIZE, dtype=np.int32)
    arrays = {
        "id": sound(pa.StringArray.from_buffers(pieces.rows, pa.py_buffer(offsets), pa.py_buffer(ids))),
        "row": pa.array(np.frombuffer(b"".join(pieces.numbers), np.int32)),
        "time": pa.array(moments).cast(TIME),
        "truth": strings(sizes, truths, sizes > 0),
        "truth_value": single_numbers(sizes, truths, np.ones(pieces.rows, np.bool_)),
        "score": pa.array(scores, mask=np.isnan(scores)),
        "source": texts(pieces.sources),
        "received": pa.array(received).cast(TIME),
        "key": texts(pieces.keys),
    }
    return pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def texts(pieces: list[tuple[bytes, bytes]]) -> pa.Array:
    """Join the pieces of a column of texts that may be absent."""
    sizes = np.frombuffer(b"".join([sizes for sizes, _ in pieces]), np.int32)
    return strings(sizes, b"".join([text for _, text in pieces]), sizes >= 0)
