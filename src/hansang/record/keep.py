"""Retention: how long a record is kept, what was deleted, and who may know.

`keep.json` holds what the operator set, `deleted.json` what that has cost so far. Whole files are deleted, the oldest
first; nothing is ever deleted unless a limit is set.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

from hansang.extras import require
from hansang.record.files import alone, file_time, ids_path, parquet_files, replace_text, size_of
from hansang.record.segment import KINDS

KEEP, DELETED = "keep.json", "deleted.json"
DAY = 86400.0
UNITS = ("bytes", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long rows are kept, in days since they were written, and how many bytes of files; None is without a limit."""

    days: float | None = None
    bytes: int | None = None

    def words(self) -> str:
        """Say it, for a message."""
        parts = []
        if self.days is not None:
            parts.append(f"for {self.days:g} days")
        if self.bytes is not None:
            parts.append(f"while the record is below {size_text(self.bytes)}")
        return f"predictions are kept {' and '.join(parts)}" if parts else "predictions are kept without a limit"


@dataclass(frozen=True, slots=True)
class Deleted:
    """What retention has deleted of one kind: rows, files and bytes, and the time of the newest of these rows."""

    rows: int = 0
    files: int = 0
    bytes: int = 0
    before: float = 0.0


def set_keep(folder: Path, keep: Keep) -> None:
    """Say how long a record is kept from now on; the last one to say it is right."""
    if read_keep(folder) != keep:
        replace_text(folder / KEEP, json.dumps(asdict(keep)))


def read_keep(folder: Path) -> Keep:
    """Read how long a record is kept."""
    with suppress(FileNotFoundError):
        return Keep(**json.loads((folder / KEEP).read_text()))
    return Keep()


def read_deleted(folder: Path) -> Mapping[str, Deleted]:
    """Read what was deleted, by kind."""
    with suppress(FileNotFoundError):
        return {kind: Deleted(**facts) for kind, facts in json.loads((folder / DELETED).read_text()).items()}
    return {}


def retention_words(folder: Path) -> str:
    """Say how long predictions are kept and what was deleted, for people who look for one that is not there."""
    words = read_keep(folder).words()
    deleted = read_deleted(folder).get("predictions")
    if deleted is None:
        return words
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(deleted.before))
    return f"{words}; {deleted.rows:,} rows up to {moment} were deleted"


def size_text(size: float) -> str:
    """Write a number of bytes for people."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError("the last unit always fits")


# --- deleting ---


def overdue(folder: Path, keep: Keep, now: float) -> tuple[list[Path], float]:
    """Give the files that are to be deleted now, and when the next one becomes too old."""
    if keep.days is None and keep.bytes is None:
        return [], inf
    files = [(kind, path) for kind in KINDS for path in parquet_files(folder, kind)]
    files.sort(key=lambda item: file_time(item[1]))
    total = sum(size_of(path) for _, path in files)
    gone: list[Path] = []
    due = inf
    for _, path in files:
        too_old = inf if keep.days is None else written_at(path) + keep.days * DAY
        if now >= too_old or (keep.bytes is not None and total > keep.bytes):
            gone.append(path)
            total -= size_of(path)
        else:
            due = min(due, too_old)
    return gone, due


def written_at(path: Path) -> float:
    """Give the time of a file's newest row, nearly: when it was last written."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return time.time()


def delete(folder: Path, paths: list[Path], patience: float) -> bool:
    """Delete files and add them to what was deleted; False when readers left no moment for it."""
    rows = require("hansang.record.merge", "").count_rows
    tally = dict(read_deleted(folder))
    for path in paths:
        kind = path.parent.parent.name
        was = tally.get(kind, Deleted())
        tally[kind] = Deleted(
            was.rows + rows(path),
            was.files + 1,
            was.bytes + size_of(path),
            max(was.before, written_at(path)),
        )
    with alone(folder, patience) as undisturbed:
        if not undisturbed:
            return False
        replace_text(folder / DELETED, json.dumps({kind: asdict(facts) for kind, facts in tally.items()}))
        for path in paths:
            path.unlink(missing_ok=True)
            ids_path(path).unlink(missing_ok=True)
    for day in {path.parent for path in paths} | {ids_path(path).parent for path in paths}:
        with suppress(OSError):
            day.rmdir()  # it stays while there is something in it
    return True
