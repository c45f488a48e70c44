"""What the sinks' tests write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hansang.record import Rows
from hansang.record.feedback import NONE, Feedback
from hansang.record.parquet import convert
from hansang.record.segment import finished_segments
from tests.record.making import rows_of

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z


def id_at(time: float, number: int) -> str:
    """A prediction's id of this time, as the server makes it."""
    milliseconds = int(time * 1000)
    return f"{milliseconds >> 16 & 0xFFFFFFFF:08x}-{milliseconds & 0xFFFF:04x}-7000-8000-{number:012x}"


def predicted(numbers: range, **changes: Any) -> Rows:
    return rows_of(0, len(numbers), NOW, ids=[id_at(NOW, number) for number in numbers], **changes)


def truth_of(number: int) -> Feedback:
    return Feedback(NOW + number, [id_at(NOW, number)], [0], [b'{"y":1}'], [NONE], [NONE], [None], [None])


def compact(folder: Path) -> None:
    """Turn every finished segment into Parquet."""
    for segment in finished_segments(folder):
        convert(segment, folder)
