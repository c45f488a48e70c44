"""The Parquet files of a record: which there are, which of them stand for which others, and who may remove some.

Files are only ever added while somebody reads; whoever removes some (merging, retention) waits until nobody does.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hansang.record.segment import lock, segment_time

MERGES = "merges"
READING = "reading.lock"
PAUSE = 0.02


def parquet_files(folder: Path, kind: str) -> list[Path]:
    """List the Parquet files of one kind, oldest first, without those that a merged file stands for already."""
    paths = sorted((folder / kind).glob("*/*.parquet"), key=lambda path: (path.name, path.parent.name))
    replaced = replaced_files(folder, set(paths))
    return [path for path in paths if path not in replaced] if replaced else paths


def replaced_files(folder: Path, present: set[Path]) -> set[Path]:
    """Give the files that a merged one stands for; there are some for a moment, or after a crash."""
    replaced: set[Path] = set()
    for plan in (folder / MERGES).glob("*.json"):
        with suppress(FileNotFoundError):
            merged, sources = read_plan(folder, plan)
            if merged in present:
                replaced.update(sources)
    return replaced


def read_plan(folder: Path, plan: Path) -> tuple[Path, list[Path]]:
    """Read which file is to stand for which others."""
    document = json.loads(plan.read_text())
    place = folder / document["folder"]
    return place / f"{plan.stem}.parquet", [place / name for name in document["sources"]]


def file_time(path: Path) -> float:
    """Read the time of a file's first row from its name, in seconds since the epoch."""
    return segment_time(path)


def hold(folder: Path) -> int | None:
    """Keep the files of a record where they are until the descriptor is closed.

    None where the folder cannot be written to: nothing is locked then, and a file that is merged or deleted meanwhile
    is an error of the query, never a wrong result.
    """
    try:
        descriptor = os.open(folder / READING, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def alone(folder: Path, patience: float) -> Iterator[bool]:
    """Say whether the block may remove files: only when no reader came in between for so many seconds."""
    descriptor = os.open(folder / READING, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + patience
        while not (taken := lock(descriptor)) and time.monotonic() < deadline:
            time.sleep(PAUSE)
        yield taken
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a small file that survives a power loss, whole or not at all; `mode` says who may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def size_of(path: Path) -> int:
    """Give the size of a file, 0 when it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def ids_path(parquet: Path) -> Path:
    """Give the place of a Parquet file's ids."""
    return parquet.parents[2] / "ids" / parquet.parts[-3] / parquet.parent.name / f"{parquet.stem}.ids"
