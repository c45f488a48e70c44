"""What the record's tests write."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hansang.record import Rows, Shared
from hansang.record.feedback import NONE, Feedback
from hansang.record.parquet import convert
from hansang.record.segment import finished_segments

ROOT = Path(__file__).parents[2]
SHARED = Shared("bikes", "/predict", "model", "models:/bikes", "3")
TIME = 1_795_000_000.25  # 2026-11-18T11:06:40Z

MakeRows = Callable[..., Rows]
ReadRows = Callable[..., list[dict[str, Any]]]


def rows_of(first: int, count: int, time: float = TIME, **changes: Any) -> Rows:
    numbers = range(first, first + count)
    values: dict[str, Any] = {
        "shared": SHARED,
        "batch_rows": count,
        "queue": 0.0005,
        "ids": [f"0198a000-0000-7000-8000-{n:012d}" for n in numbers],
        "time": time,
        "latencies": [0.001 + n * 1e-6 for n in numbers],
        "inputs": [b'{"x":%d}' % n for n in numbers],
        "outputs": [b'{"y":%d.5}' % n for n in numbers],
    }
    return Rows(**{**values, **changes})


def writer_command(folder: Path, first: int, count: int, segment: int) -> list[str]:
    """The command that writes so many rows from a process of its own; see `writer.py`."""
    return [sys.executable, "-m", "tests.record.writer", *map(str, (folder, first, count, segment))]


def id_at(time: float, number: int = 0) -> str:
    """A prediction's id of this time, as the server makes it."""
    milliseconds = int(time * 1000)
    head = f"{milliseconds >> 16 & 0xFFFFFFFF:08x}-{milliseconds & 0xFFFF:04x}-7000-8000"
    return f"{head}-{number:012x}"


def predicted(time: float, *numbers: int, **changes: Any) -> Rows:
    """Predictions made and answered at this time."""
    return rows_of(0, len(numbers), time, ids=[id_at(time, number) for number in numbers], **changes)


def truth_of(
    id: str, truth: bytes, received: float, *, row: int = 0, time: float = NONE, score: float = NONE, **texts: str
) -> Feedback:
    """One row of feedback."""
    return Feedback(received, [id], [row], [truth], [time], [score], [texts.get("source")], [texts.get("key")])


def compact(folder: Path) -> None:
    """Turn every finished segment into Parquet."""
    for segment in finished_segments(folder):
        convert(segment, folder)
