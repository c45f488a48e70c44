"""How far each sink of a record is behind, from the files themselves; and what was lost."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hansang.errors import RecordError
from hansang.record.files import file_time, parquet_files, size_of
from hansang.record.losses import corrupt_rows, read_losses
from hansang.record.merge import count_rows
from hansang.record.read import snapshot
from hansang.record.segment import KINDS, list_segments
from hansang.record.sinks.position import Position, Positions, there


@dataclass(frozen=True, slots=True)
class Lag:
    """How far one sink is behind: rows and bytes that it has not got, those in the spool included.

    `age` is that of the oldest of these rows, in seconds; None when the sink has everything.
    """

    position: Position
    rows: int
    bytes: int
    age: float | None

    def document(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        facts = asdict(self.position)
        for name in ("behind_rows", "behind_bytes", "oldest"):
            del facts[name]
        return facts | {"rows_behind": self.rows, "bytes_behind": self.bytes, "age_seconds": self.age}


def lags(folder: Path, now: float | None = None) -> list[Lag]:
    """Look how far each sink is behind; raises `RecordError` when there is no record."""
    if not folder.is_dir():
        raise RecordError(f"no record in {str(folder)!r}; a running service makes it with its first answer")
    if not there(folder):
        return []
    now = time.time() if now is None else now
    spooled_rows = spooled_bytes = 0
    moments: list[float] = []
    for kind in KINDS:
        segments = list_segments(folder, ".open", ".closed", kind=kind)
        spooled_bytes += sum(map(size_of, segments))
        moments += [file_time(path) for path in segments]
        spooled_rows += snapshot(folder, kind=kind)[0].num_rows
    files = [path for kind in KINDS for path in parquet_files(folder, kind)]
    found = []
    with Positions(folder) as positions:
        for position in positions.all():
            waiting = positions.waiting(position.name, files)
            rows = spooled_rows + sum(max(count_rows(path) - done, 0) for path, done in waiting)
            size = spooled_bytes + sum(size_of(path) for path, _ in waiting)
            oldest = min([*moments, *(file_time(path) for path, _ in waiting)], default=None)
            found.append(Lag(position, rows, size, None if oldest is None or not rows else max(now - oldest, 0.0)))
    return found


def losses(folder: Path) -> Counter[str]:
    """Give the rows of a record that are lost, by reason."""
    return read_losses(folder) + Counter({"corrupt frame": corrupt_rows(folder)})
