"""Feedback: what turned out to be true of a prediction, in frames of the same spool.

    group  rows (4) | truth bytes (4) | received (8) | ids | rows' numbers (4 a row) | times (8 a row)
           | scores (8 a row) | sizes of the truths (4 a row) | truths | sources | keys

A time or a score that is not a number is absent; `sources` and `keys` are sparse columns of texts as in `frame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any

from hansang.errors import RecordError
from hansang.record.frame import ID_SIZE, PAYLOAD, sealed, text_column
from hansang.record.record import Recorder
from hansang.record.segment import FEEDBACK

HEAD = Struct("<IId")
NONE = float("nan")


@dataclass(slots=True)
class Feedback:
    """Truths that came together; every list has one entry a row.

    `time` is when they were received, in seconds since the epoch; each row counts as received one microsecond after
    the one before it, so that of two in one request the later wins. `truths` are compact JSON in UTF-8, `b""` when
    only a score was given. A time or a score that is `NONE` was not given. `keys` hold the requests' Idempotency-Key.
    """

    time: float
    ids: list[str]
    numbers: list[int]
    truths: list[bytes]
    times: list[float]
    scores: list[float]
    sources: list[str | None]
    keys: list[str | None]


def feedback_recorder(folder: Path, **options: Any) -> Recorder:
    """Make a recorder that writes `Feedback`, with the promises and the options of any other."""
    return Recorder(folder, kind=FEEDBACK, encoding=encode_feedback, **options)


@lru_cache(256)
def fixed(rows: int) -> Struct:
    """Give the layout of the columns of fixed size."""
    return Struct(f"<{rows}i{2 * rows}d{rows}I")


def encode_feedback(sync: bytes, before: int, groups: Sequence[Feedback], limit: int) -> tuple[bytes, int]:
    """Encode the groups of one turn as a frame; give it with its number of rows.

    Raises `RecordError` when the lists of a group are not of one length, or when a truth is larger than the limit.
    """
    parts = [b""]
    rows = 0
    try:
        for group in groups:
            parts += encode_group(group, limit)
            rows += len(group.ids)
    except (StructError, ValueError) as error:
        raise RecordError(f"feedback does not fit the record: {error}") from error
    parts[0] = PAYLOAD.pack(rows, before, len(groups))
    return sealed(sync, b"".join(parts)), rows


def encode_group(group: Feedback, limit: int) -> list[bytes]:
    """Encode a group as parts to be joined."""
    rows = len(group.ids)
    ids = "".join(group.ids).encode()
    if len(ids) != rows * ID_SIZE:
        raise RecordError(f"an id of the record is {ID_SIZE} ASCII characters; got {group.ids!r}")
    sizes = list(map(len, group.truths))
    if rows and max(sizes) > limit:
        raise RecordError(f"a truth has {max(sizes)} bytes; the limit is {limit}")
    truths = b"".join(group.truths)
    columns = fixed(rows).pack(*group.numbers, *group.times, *group.scores, *sizes)
    head = HEAD.pack(rows, len(truths), group.time)
    return [head, ids, columns, truths, *text_column(group.sources, rows), *text_column(group.keys, rows)]
